"""Reading what Google holds: the provider, IAM policies, roles.

Sources: cloud.google.com/iam/docs/reference/rest/v1 (workloadIdentityPools.providers.get, serviceAccounts.getIamPolicy,
roles.get), cloud.google.com/resource-manager/reference/rest/v1/projects/getIamPolicy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from remit.model.errors import TrustBroken
from remit.model.secret import AccessToken

_TIMEOUT = 10.0  # seconds
_IAM = "https://iam.googleapis.com/v1"
_PROJECTS = "https://cloudresourcemanager.googleapis.com/v1/projects"


@dataclass(frozen=True, slots=True)
class Provider:
    """A workload identity provider as it stands."""

    active: bool
    issuer: str
    audiences: tuple[str, ...]
    mapping: Mapping[str, str]
    condition: str


@dataclass(frozen=True, slots=True)
class Binding:
    """One line of an IAM policy."""

    role: str
    members: frozenset[str]


class Google:
    """Google's IAM, read as the reviewing account."""

    def __init__(self, client: httpx.AsyncClient, token: AccessToken) -> None:
        self._client = client
        self._token = token
        self._roles: dict[str, frozenset[str]] = {}

    async def provider(self, name: str) -> Provider:
        """The provider with this full resource name (`//iam.googleapis.com/projects/…`)."""
        document = await self._ask("GET", f"{_IAM}/{name.removeprefix('//iam.googleapis.com/')}")
        oidc = document.get("oidc") or {}
        return Provider(
            active=document.get("state") == "ACTIVE" and not document.get("disabled"),
            issuer=str(oidc.get("issuerUri", "")),
            audiences=tuple(map(str, oidc.get("allowedAudiences", ()))),
            mapping=dict(document.get("attributeMapping") or {}),
            condition=str(document.get("attributeCondition", "")),
        )

    async def account_bindings(self, account: str) -> tuple[Binding, ...]:
        """Who may use a service account."""
        return _bindings(await self._ask("POST", f"{_IAM}/projects/-/serviceAccounts/{account}:getIamPolicy"))

    async def project_bindings(self, project: str) -> tuple[Binding, ...]:
        """Who may do what in a project."""
        return _bindings(await self._ask("POST", f"{_PROJECTS}/{project}:getIamPolicy"))

    async def permissions(self, role: str) -> frozenset[str]:
        """What a role includes."""
        if role not in self._roles:
            document = await self._ask("GET", f"{_IAM}/{role}")
            self._roles[role] = frozenset(map(str, document.get("includedPermissions", ())))
        return self._roles[role]

    async def _ask(self, method: str, url: str) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self._token.reveal()}"}
        body: dict[str, str] | None = {} if method == "POST" else None
        try:
            answer = await self._client.request(method, url, headers=headers, json=body, timeout=_TIMEOUT)
            document = answer.json()
        except (httpx.HTTPError, ValueError) as cause:
            raise TrustBroken(f"`{url}` does not answer") from cause
        if not answer.is_success or not isinstance(document, dict):
            error = document.get("error") if isinstance(document, dict) else None
            said = f": {error['message']}" if isinstance(error, dict) and error.get("message") else ""
            raise TrustBroken(f"`{url}` answered {answer.status_code}{said}")
        return document


def _bindings(document: dict[str, Any]) -> tuple[Binding, ...]:
    lines = document.get("bindings", ())
    return tuple(Binding(str(line.get("role", "")), frozenset(line.get("members", ()))) for line in lines)
