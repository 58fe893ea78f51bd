"""Microsoft Graph: whose groups, and who signed in.

`getMemberObjects`, `transitiveMemberOf` and `auditLogs/signIns`, each behind the application permission that it needs.
No paging: Contoso has five groups. Source: learn.microsoft.com/graph/api/directoryobject-getmemberobjects.
"""

import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from remit.lab import contoso
from remit.lab.entra_keys import Keys
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.jwt import BrokenTokenError
from remit.lab.sign_in_log import SignInLog

_GROUPS = re.compile(
    r"/v1\.0/(users|servicePrincipals|directoryObjects)/([0-9a-fA-F-]{36})/(getMemberObjects|getMemberGroups)"
)
_MEMBER_OF = re.compile(
    r"/v1\.0/(users|servicePrincipals)/([0-9a-fA-F-]{36})/transitiveMemberOf(?:/microsoft\.graph\.group)?"
)
_CONTEXT = "https://graph.microsoft.com/v1.0/$metadata"


class GraphError(Exception):
    """A refusal in Graph's error object."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Graph:
    """Answers graph.microsoft.com. `clock`: seconds since the epoch."""

    def __init__(self, keys: Keys, sign_ins: SignInLog, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._sign_ins = sign_ins
        self._clock = clock

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        try:
            return reply(self._answer(request))
        except GraphError as error:
            return _render(error, request)

    def _answer(self, request: Request) -> dict[str, Any]:
        roles = self._roles(request)
        if request.method == "POST" and (match := _GROUPS.fullmatch(request.path)):
            _need(roles, "GroupMember.Read.All")
            body = json.loads(request.body or b"{}")
            if "securityEnabledOnly" not in body:
                raise GraphError(
                    HTTPStatus.BAD_REQUEST, "Request_BadRequest", "The parameter 'securityEnabledOnly' is missing."
                )
            return {"@odata.context": f"{_CONTEXT}#Collection(Edm.String)", "value": [g.id for g in _groups(match[2])]}
        if request.method == "GET" and (match := _MEMBER_OF.fullmatch(request.path)):
            _need(roles, "GroupMember.Read.All")
            groups = [
                {
                    "@odata.type": "#microsoft.graph.group",
                    "id": group.id,
                    "displayName": group.name,
                    "securityEnabled": True,
                }
                for group in _groups(match[2])
            ]
            return {"@odata.context": f"{_CONTEXT}#directoryObjects", "value": groups}
        if request.method == "GET" and request.path == "/v1.0/auditLogs/signIns":
            _need(roles, "AuditLog.Read.All")
            return {"@odata.context": f"{_CONTEXT}#auditLogs/signIns", "value": self._sign_ins.entries}
        raise GraphError(HTTPStatus.BAD_REQUEST, "BadRequest", f"Resource not found for the segment '{request.path}'.")

    def _roles(self, request: Request) -> frozenset[str]:
        """The application permissions of the bearer's token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise GraphError(HTTPStatus.UNAUTHORIZED, "InvalidAuthenticationToken", "Access token is empty.")
        try:
            claims = self._keys.verify(token)
        except BrokenTokenError as cause:
            raise GraphError(
                HTTPStatus.UNAUTHORIZED, "InvalidAuthenticationToken", f"Access token validation failure: {cause}."
            ) from cause
        if claims["aud"] not in {contoso.GRAPH.uri, contoso.GRAPH.id}:
            raise GraphError(
                HTTPStatus.UNAUTHORIZED,
                "InvalidAuthenticationToken",
                "Access token validation failure. Invalid audience.",
            )
        if claims["exp"] <= self._clock():
            raise GraphError(
                HTTPStatus.UNAUTHORIZED,
                "InvalidAuthenticationToken",
                "Lifetime validation failed, the token is expired.",
            )
        return frozenset(claims.get("roles", ()))


def _need(roles: frozenset[str], role: str) -> None:
    if role not in roles:
        raise GraphError(
            HTTPStatus.FORBIDDEN, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."
        )


def _groups(oid: str) -> tuple[contoso.Group, ...]:
    known = {user.oid for user in contoso.USERS} | {each.oid for each in contoso.MANAGED_IDENTITIES}
    if oid.lower() not in known:
        raise GraphError(
            HTTPStatus.NOT_FOUND,
            "Request_ResourceNotFound",
            f"Resource '{oid}' does not exist or one of its queried reference-property objects are not present.",
        )
    return contoso.groups_of(oid.lower())


def _render(error: GraphError, request: Request) -> Response:
    inner = {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "request-id": str(uuid.uuid4()),
        "client-request-id": request.headers.get("client-request-id", ""),
    }
    return reply({"error": {"code": error.code, "message": str(error), "innerError": inner}}, error.status)
