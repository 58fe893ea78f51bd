"""Who asks the clouds, and may they read what a plan reads: each permission tried, or asked about, one by one.

A token's own claims do not decide this: a person's directory roles stand in none, so that the thing itself is read, one
entry of it. Google is asked what the caller may.
Source: cloud.google.com/resource-manager/reference/rest/v1/projects/testIamPermissions,
cloud.google.com/storage/docs/json_api/v1/buckets/testIamPermissions.
"""

import base64
import json
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

import httpx

from remit.assembly.doctor_checks import Check, State
from remit.model.errors import TrustBroken
from remit.model.estate import Project
from remit.trust.clouds import azure, entra, google
from remit.trust.clouds.administrator import VARIABLE
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.entra_graph import SCOPE as GRAPH
from remit.trust.clouds.port import Denied, Tokens
from remit.trust.settings import TrustSettings

_PART = "access"
_GRAPH = "https://graph.microsoft.com/v1.0"
_PROBES: Mapping[str, str] = {
    "Application.Read.All": "applications?$top=1&$select=id",
    "AuditLog.Read.All": "auditLogs/directoryAudits?$top=1",
    "DelegatedPermissionGrant.Read.All": "oauth2PermissionGrants?$top=1",
}
"""Permission of `entra.READS` → what cannot be read without it."""
_ROLES: Mapping[str, tuple[str, ...]] = {
    "roles/iam.securityReviewer": (
        "resourcemanager.projects.getIamPolicy",
        "iam.roles.list",
        "iam.serviceAccounts.list",
        "iam.serviceAccounts.getIamPolicy",
        "iam.workloadIdentityPools.list",
        "iam.workloadIdentityPoolProviders.list",
    ),
    "roles/logging.viewer": ("logging.logEntries.list",),
}
"""Role of `google.READS` → what a plan or a drift needs of it."""
_ON_BUCKETS = "storage.buckets.getIamPolicy"
_ASSIGNMENTS = "providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01&$filter=atScope()"


class Access:
    """The clouds, asked as whoever runs the command."""

    def __init__(self, client: httpx.AsyncClient, tokens: Tokens, trust: TrustSettings) -> None:
        self._tokens = tokens
        self._trust = trust
        self._graph = Asking(client, tokens, GRAPH)
        self._google = Asking(client, tokens, google.SCOPE)
        self._azure = Asking(client, tokens, azure.SCOPE)

    async def __call__(self) -> AsyncIterator[Check]:
        """Each check as it is made."""
        at_microsoft = await self._microsoft()
        yield at_microsoft
        if at_microsoft.state is State.PASS:
            for permission, path in _PROBES.items():
                yield await self._reads(permission, path)
        else:
            yield _skipped("Microsoft Graph", "nobody is signed in at Microsoft")
        at_google = await self._at_google()
        yield at_google
        for project in self._trust.estate.projects:
            if at_google.state is State.PASS:
                yield await self._project(project)
            else:
                yield _skipped(project.id, "nobody is signed in at Google")
        async for check in self._resource_groups():
            yield check

    async def _microsoft(self) -> Check:
        try:
            claims = _claims((await self._tokens.token(GRAPH)).reveal())
        except TrustBroken as broken:
            return Check(_PART, "at Microsoft", State.FAIL, broken.message, broken.hint)
        who = str(claims.get("upn") or claims.get("unique_name") or f"application {claims.get('appid', 'unnamed')}")
        if claims.get("tid") not in {None, self._trust.tenant}:
            said = f"{who} of tenant `{claims['tid']}`, and remit.yaml names `{self._trust.tenant}`"
            return Check(_PART, "at Microsoft", State.FAIL, said, f"`az login --tenant {self._trust.tenant}`")
        return Check(_PART, "at Microsoft", State.PASS, who)

    async def _reads(self, permission: str, path: str) -> Check:
        try:
            await self._graph("GET", f"{_GRAPH}/{path}")
        except Denied:
            cure = f"grant `{permission}` at Microsoft Graph, or, to a person, the directory role Global Reader"
            return Check(_PART, permission, State.FAIL, f"not held: {entra.READS[permission]}", cure)
        except TrustBroken as broken:
            return Check(_PART, permission, State.FAIL, broken.message, broken.hint)
        return Check(_PART, permission, State.PASS, entra.READS[permission])

    async def _at_google(self) -> Check:
        try:
            await self._tokens.token(google.SCOPE)
        except TrustBroken as broken:
            return Check(_PART, "at Google", State.FAIL, broken.message, broken.hint)
        how = f"the token in `{VARIABLE}`" if os.environ.get(VARIABLE) else "application default credentials"
        return Check(_PART, "at Google", State.PASS, how)

    async def _project(self, project: Project) -> Check:
        """What is missing in one project and on its buckets, with the roles that hold it."""
        permissions = [each for held in _ROLES.values() for each in held]
        url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{project.id}:testIamPermissions"
        try:
            answer = await self._google("POST", url, {"permissions": permissions})
            held = set(answer.get("permissions", ()))
            closed = [bucket for bucket in project.buckets if not await self._bucket(bucket)]
        except TrustBroken as broken:
            return Check(_PART, project.id, State.FAIL, broken.message, broken.hint)
        missing = [each for each in permissions if each not in held] + [f"{_ON_BUCKETS} on {each}" for each in closed]
        if not missing:
            said = f"{', '.join(_ROLES)}: policies, accounts, pools, buckets and logs can be read"
            return Check(_PART, project.id, State.PASS, said)
        roles = [role for role, wanted in _ROLES.items() if not held.issuperset(wanted)] or [next(iter(_ROLES))]
        cure = "; ".join(
            f"`gcloud projects add-iam-policy-binding {project.id} --member=user:YOU --role={role}`" for role in roles
        )
        return Check(_PART, project.id, State.FAIL, f"not held: {', '.join(missing)}", cure)

    async def _bucket(self, name: str) -> bool:
        query = urlencode({"permissions": _ON_BUCKETS})
        answer = await self._google(
            "GET", f"https://storage.googleapis.com/storage/v1/b/{name}/iam/testPermissions?{query}"
        )
        return _ON_BUCKETS in answer.get("permissions", ())

    async def _resource_groups(self) -> AsyncIterator[Check]:
        groups = dict.fromkeys((one.subscription, one.group) for one in self._trust.storage)
        if not groups:
            yield Check(_PART, "at Azure", State.APART, "no containers are named in remit.yaml")
        for subscription, group in groups:
            scope = f"/subscriptions/{subscription}/resourceGroups/{group}"
            try:
                await self._azure("GET", f"https://management.azure.com{scope}/{_ASSIGNMENTS}")
            except Denied:
                cure = f"`az role assignment create --role Reader --assignee YOU --scope {scope}`"
                yield Check(_PART, f"at Azure, {group}", State.FAIL, "not held: Reader", cure)
            except TrustBroken as broken:
                yield Check(_PART, f"at Azure, {group}", State.FAIL, broken.message, broken.hint)
            else:
                yield Check(_PART, f"at Azure, {group}", State.PASS, "Reader: role assignments can be read")


def _skipped(name: str, why: str) -> Check:
    return Check(_PART, name, State.SKIPPED, why, "mend the line above")


def _claims(token: str) -> Mapping[str, Any]:
    """What a token says of who holds it, without belief in it: it is only told. None where it is not for reading."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, IndexError):
        return {}
    return claims if isinstance(claims, dict) else {}
