"""`/v1/identity` and `/v1/decision`: who the caller is here, and one of the caller's own decisions.

Both want the caller's token for Remit in `Authorization`, or a browser's session, and refuse whoever has been revoked;
a decision is shown to the principal that it was taken on, and to nobody else: an unknown one and somebody else's look
the same. With `?groups=paths` the first also tells by which path each group came about:

    "paths": [{"group": ID, "name": NAME, "path": [{"id": ID, "name": NAME}, …]}]    from the direct group upwards
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from remit.access.ports import Revocations, Sessions
from remit.arbiter.check import bearer
from remit.arbiter.cookies import session_secret
from remit.model.errors import Refused, SignInAgain
from remit.model.identity import Identity, Principal
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

Authenticate = Callable[[UnverifiedToken, int], Awaitable[Identity]]
Find = Callable[[str], Mapping[str, Any] | None]
"""A decision by its id, with what became known of it later; may block."""
_PRIVATE = {"cache-control": "no-store"}
Paths = Callable[[Principal], Awaitable[Sequence[Mapping[str, Any]]]]
_SHOWN = (
    "decision",
    "at",
    "outcome",
    "reasons",
    "detail",
    "hint",
    "challenge",
    "not_before",
    "action",
    "resource",
    "project",
    "failed",
    "started",
    "upstream",
    "upstream_detail",
)


class Person:
    """Both endpoints. `paths`: how groups came about, where a directory can say it; raises `Refused`."""

    def __init__(
        self,
        authenticate: Authenticate,
        find: Find,
        clock: Callable[[], int],
        *,
        paths: Paths | None = None,
        revocations: Revocations | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self._authenticate = authenticate
        self._find = find
        self._clock = clock
        self._paths = paths
        self._revocations = revocations
        self._sessions = sessions

    async def identity(self, request: Request) -> JSONResponse:
        """Who the caller's token says this is."""
        try:
            identity = await self._who(request)
            shown = _shown(identity)
            if self._paths and request.query_params.get("groups") == "paths":
                shown["paths"] = [dict(path) for path in await self._paths(identity.principal)]
            return JSONResponse(shown, headers=_PRIVATE)
        except Refused as refused:
            return _refused(refused)

    async def decision(self, request: Request) -> JSONResponse:
        """One decision, by `id`."""
        try:
            identity = await self._who(request)
        except Refused as refused:
            return _refused(refused)
        found = await asyncio.to_thread(self._find, request.query_params.get("id", ""))
        if found is None or found.get("principal") != identity.principal.key:
            return JSONResponse({"error": "not_found", "error_description": "no decision of yours has this id"}, 404)
        return JSONResponse({key: found[key] for key in _SHOWN if key in found}, headers=_PRIVATE)

    async def _who(self, request: Request) -> Identity:
        now = self._clock() // 1_000_000
        presented = request.headers.getlist("authorization")
        session = None if presented or self._sessions is None else session_secret(request)
        if session is not None and self._sessions is not None:
            identity, _ = await self._sessions.authenticate(session, now)
        elif (token := bearer(presented)) is not None:
            identity = await self._authenticate(token, now)
        else:
            raise Refused(Reason.TOKEN_MISSING)
        if self._revocations:
            self._revocations.check(identity, "", now)
        return identity


def _shown(identity: Identity) -> dict[str, Any]:
    return {
        "principal": identity.principal.key,
        "issuer": identity.principal.issuer,
        "tenant": identity.principal.tenant,
        "kind": str(identity.principal.kind),
        "name": identity.display,
        "guest": identity.guest,
        "home": identity.home,
        "roles": sorted(identity.roles),
        "groups": sorted(identity.groups),
        "groups_at": identity.groups_at,
        "methods": sorted(identity.authentication.methods),
        "contexts": sorted(identity.authentication.contexts),
        "authenticated_at": identity.authentication.at,
        "device": asdict(identity.device),
        "address": identity.address,
        "client": identity.client,
        "session": identity.session,
        "attributes": dict(identity.attributes),
        "issued_at": identity.issued_at,
        "expires_at": identity.expires_at,
    }


def _refused(refused: Refused) -> JSONResponse:
    number = refused.reason.http_status
    headers = {**_PRIVATE, "x-remit-reason": str(refused.reason), "www-authenticate": "Bearer"}
    document: dict[str, Any] = {"error": str(refused.reason), "error_description": refused.message}
    if refused.hint:
        document["hint"] = refused.hint
    if isinstance(refused, SignInAgain):
        document["not_before"] = refused.not_before
    return JSONResponse(document, number, headers)
