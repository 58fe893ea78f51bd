"""Azure Resource Manager at management.azure.com: who asks, whether they may, and which answer is whose.

Subscriptions, resource groups, storage accounts with their containers, role definitions and role assignments, managed
identities with their federated credentials, and the activity log. Only role assignments (`arm_access`) and federated
credentials (`arm_identities`) can be changed. Source: learn.microsoft.com/rest/api/ resources, storagerp,
authorization, managedidentity, monitor.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from remit.lab import arm_identities, contoso, contoso_azure
from remit.lab.arm_access import Access
from remit.lab.arm_activity import Activity, Caller, understand
from remit.lab.arm_assignments import Assignments
from remit.lab.arm_errors import (
    AUDIENCES,
    ArmError,
    forbidden,
    no_subscription,
    no_version,
    unauthenticated,
    unroutable,
    wrong_audience,
    wrong_version,
)
from remit.lab.arm_resources import read, subscriptions
from remit.lab.arm_scopes import SUBSCRIPTION_ID
from remit.lab.arm_throttle import Throttle
from remit.lab.entra_keys import Keys
from remit.lab.entra_registry import Registry
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.jwt import BrokenTokenError

_VERSIONS = {
    "microsoft.authorization": ("2015-07-01", "2018-07-01", "2020-04-01-preview", "2022-04-01", "2022-05-01-preview"),
    "microsoft.insights": ("2015-04-01",),
    "microsoft.managedidentity": ("2018-11-30", "2022-01-31-preview", "2023-01-31", "2024-11-30"),
    "microsoft.storage": ("2021-09-01", "2022-09-01", "2023-01-01", "2023-05-01", "2024-01-01"),
    "": ("2016-06-01", "2018-05-01", "2019-06-01", "2020-01-01", "2021-01-01", "2021-04-01", "2022-12-01"),
}
"""Namespace in lower case → API versions; the empty one: of subscriptions and resource groups."""
_EVENTS = "/providers/microsoft.insights/eventtypes/management/values"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request whose caller is known. `path`: decoded, without the slashes that clients double at its beginning."""

    request: Request
    caller: Caller
    path: str

    @property
    def lower(self) -> str:
        return self.path.lower()


class Arm:
    """Answers management.azure.com.

    `clock`: seconds since the epoch; `kind_of`: object id → `User`, `Group` or `ServicePrincipal`, empty for one that
    the directory does not know, or not yet; `registry`: of the tenant whose identities there are, or Contoso's.
    """

    def __init__(
        self,
        keys: Keys,
        clock: Callable[[], float],
        assignments: Assignments,
        kind_of: Callable[[str], str],
        registry: Registry | None = None,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._assignments = assignments
        self.activity = Activity(clock)
        self._access = Access(assignments, self.activity, kind_of)
        self._identities = arm_identities.Identities(registry or Registry(clock), self.activity)
        self._throttle = Throttle(time.monotonic)

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        said = {"x-ms-request-id": str(uuid.uuid4()), "x-ms-correlation-request-id": str(uuid.uuid4())}
        try:
            caller = self._caller(request)
            asked = _Asked(request, caller, "/" + unquote(request.path).strip("/"))
            _check_version(asked)
            said |= self._throttle.spend(caller.oid, request.method)
            answer = self._answer(asked)
        except ArmError as error:
            answer = error.render()
        return Response(answer.status, answer.body, {**answer.headers, **said})

    def commands(self) -> Mapping[str, Callable[[Any], object]]:
        """For the control door, which finds those of role assignments at `Blob`.

        `arm_throttle` takes `{"times", "retry_after"}`; `arm_page` how many role assignments one answer holds.
        """
        return {
            "arm_throttle": lambda given: setattr(
                self._throttle, "fault", (given["times"], given.get("retry_after", 1))
            ),
            "arm_page": lambda size: setattr(self._access, "page", int(size)),
        }

    def _caller(self, request: Request) -> Caller:
        """Whoever asks; raises `ArmError`."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not scheme:
            missing = "Authentication failed. The 'Authorization' header is missing."
            raise unauthenticated("AuthenticationFailed", missing, contoso.TENANT)
        try:
            claims = self._keys.verify(token.strip() if scheme.lower() == "bearer" else "")
        except BrokenTokenError as cause:
            why = "The access token is invalid."
            raise unauthenticated("InvalidAuthenticationToken", why, contoso.TENANT) from cause
        self._valid(claims)
        oid, client = str(claims["oid"]), str(claims.get("appid") or claims.get("azp") or "")
        return Caller(oid, str(claims.get("upn") or claims.get("preferred_username") or oid), client, claims)

    def _valid(self, claims: Mapping[str, Any]) -> None:
        audience, now = claims.get("aud"), self._clock()
        if audience not in (*AUDIENCES, contoso_azure.ARM.id):
            raise wrong_audience(audience, contoso.TENANT)
        issuers = {contoso.issuer(contoso.TENANT, version) for version in ("1.0", "2.0")}
        if claims.get("iss") not in issuers or claims.get("tid") != contoso.TENANT or not claims.get("oid"):
            why = (
                "The access token is from the wrong issuer. It must match the tenant associated with this subscription."
            )
            raise unauthenticated("InvalidAuthenticationTokenTenant", why, contoso.TENANT)
        if not float(claims.get("nbf", "inf")) <= now < float(claims.get("exp", 0)):
            why = "The access token expiry UTC time is earlier than current UTC time, or it is not yet valid."
            raise unauthenticated("ExpiredAuthenticationToken", why, contoso.TENANT)

    def _require(self, caller: Caller, action: str, scope: str) -> None:
        if not self._assignments.permits(caller.oid, action, scope):
            raise forbidden(caller.client if caller.name == caller.oid else caller.name, caller.oid, action, scope)

    def _answer(self, asked: _Asked) -> Response:
        scope, marker, rest = asked.lower.rpartition("/providers/microsoft.authorization/")
        if marker:
            rest, scope = asked.path[len(scope) + len(marker) :], asked.path[: len(scope)]
            _known_subscription(scope)
            return self._access(asked.request, asked.caller, scope, rest, self._require)
        if identity := arm_identities.PATH.fullmatch(asked.path):
            _known_subscription(asked.path)
            return self._identities(asked.request, asked.caller, identity, self._require)
        if asked.request.method != "GET":
            raise ArmError(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", "The lab changes role assignments alone.")
        if asked.lower == "/subscriptions":
            return reply({"value": subscriptions(partial(self._assignments.permits, asked.caller.oid))})
        _known_subscription(asked.path)
        if asked.lower.endswith(_EVENTS):
            return self._events(asked)
        permits = partial(self._assignments.permits, asked.caller.oid)
        return reply(read(asked.path, permits, partial(self._require, asked.caller)))

    def _events(self, asked: _Asked) -> Response:
        """Who may read a resource group, or one resource, may read what happened to it and to nothing else."""
        wanted = understand(asked.request.parameter("$filter"))
        scope = asked.path[: -len(_EVENTS)]
        scope = wanted.resource or (f"{scope}/resourceGroups/{wanted.group}" if wanted.group else scope)
        self._require(asked.caller, "Microsoft.Insights/eventtypes/values/read", scope)
        return reply({"value": self.activity.read(wanted)})


def _check_version(asked: _Asked) -> None:
    """The API version of the last namespace in the path."""
    version = asked.request.parameter("api-version")
    if not version:
        raise no_version()
    namespace, _, kind = asked.lower.rpartition("/providers/")[2].partition("/")
    namespace = namespace if "/providers/" in asked.lower else ""
    known = _VERSIONS.get(namespace)
    if known is None:
        raise unroutable(asked.request.method, asked.path)
    if version.lower() not in known:
        raise wrong_version(namespace, kind.partition("/")[0], version, known)


def _known_subscription(scope: str) -> None:
    """Raises `ArmError` for another one; a scope above subscriptions passes."""
    parts = scope.split("/")
    if len(parts) > 2 and parts[1].lower() == "subscriptions" and parts[2].lower() != SUBSCRIPTION_ID:  # noqa: PLR2004 - /subscriptions/ID
        raise no_subscription(parts[2])
