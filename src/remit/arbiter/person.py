"""`/v1/identity` and `/v1/decision`: who the caller is here, and one of the caller's own decisions.

Both want the caller's token for Remit in `Authorization`; a decision is shown to the principal that it was taken on,
and to nobody else: an unknown one and somebody else's look the same.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from remit.arbiter.check import bearer
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

Authenticate = Callable[[UnverifiedToken, int], Awaitable[Identity]]
Find = Callable[[str], Mapping[str, Any] | None]
_SHOWN = ("decision", "at", "outcome", "reasons", "detail", "challenge", "action", "resource", "project")


class Person:
    """Both endpoints."""

    def __init__(self, authenticate: Authenticate, find: Find, clock: Callable[[], int]) -> None:
        self._authenticate = authenticate
        self._find = find
        self._clock = clock

    async def identity(self, request: Request) -> JSONResponse:
        """Who the caller's token says this is."""
        try:
            return JSONResponse(_shown(await self._who(request)))
        except Refused as refused:
            return _refused(refused)

    async def decision(self, request: Request) -> JSONResponse:
        """One decision, by `id`."""
        try:
            identity = await self._who(request)
        except Refused as refused:
            return _refused(refused)
        found = self._find(request.query_params.get("id", ""))
        if found is None or found.get("principal") != identity.principal.key:
            return JSONResponse({"error": "not_found", "error_description": "no decision of yours has this id"}, 404)
        return JSONResponse({key: found[key] for key in _SHOWN if key in found})

    async def _who(self, request: Request) -> Identity:
        token = bearer(request.headers.getlist("authorization"))
        if token is None:
            raise Refused(Reason.TOKEN_MISSING)
        return await self._authenticate(token, self._clock() // 1_000_000)


def _shown(identity: Identity) -> dict[str, Any]:
    return {
        "principal": identity.principal.key,
        "issuer": identity.principal.issuer,
        "kind": str(identity.principal.kind),
        "name": identity.display,
        "guest": identity.guest,
        "roles": sorted(identity.roles),
        "groups": sorted(identity.groups),
        "methods": sorted(identity.authentication.methods),
        "contexts": sorted(identity.authentication.contexts),
        "client": identity.client,
        "expires_at": identity.expires_at,
    }


def _refused(refused: Refused) -> JSONResponse:
    number = refused.reason.http_status
    headers = {"x-remit-reason": str(refused.reason), "www-authenticate": "Bearer"}
    return JSONResponse({"error": str(refused.reason), "error_description": refused.message}, number, headers)
