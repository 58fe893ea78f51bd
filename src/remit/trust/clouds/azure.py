"""Azure, of which the trust wants role assignments on containers, read and changed through Resource Manager.

What its managed identity trusts, and who looks after that, is in `azure_identity`.

Reading sees whatever reaches a container of the file: every role of the file's own applications, wherever it was given,
and every role of anybody's that opens blobs; on the container, its storage account, resource group, subscription and
above. Left out: what groups bring to applications beside that, eligible and deny assignments, and accounts' keys.
Source: learn.microsoft.com/rest/api/authorization/role-assignments (2022-04-01).
"""

import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from remit.model.errors import TrustBroken
from remit.trust.clouds import azure_identity, azure_roles
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.azure_roles import Role
from remit.trust.clouds.port import CloudRefused, Conflict, Denied, Missing
from remit.trust.settings import TrustSettings
from remit.trust.things import Address, Found, Thing

HOST = "management.azure.com"
SCOPE = f"https://{HOST}/.default"
KIND = "azure.assignment"
_VERSION = "api-version=2022-04-01"
_ASSIGNMENTS = "providers/Microsoft.Authorization/roleAssignments"
_DEFINITIONS = "providers/Microsoft.Authorization/roleDefinitions"
_PAGES = 1000  # of one list: more is a server that runs in circles
_GUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ID = re.compile(rf"((?:/[^/?#\s]+)*)/{_ASSIGNMENTS}/{_GUID}", re.IGNORECASE)
_ROLE = re.compile(rf"(?:/[^/?#\s]+)*/{_DEFINITIONS}/({_GUID})", re.IGNORECASE)
_NAMES = uuid.UUID("6d0b6c1e-5d6c-5d3c-9a3e-0f7f2f6f5a71")
"""Below which the names of assignments are made: the same assignment has the same name, however often it is made."""
_APART = "azure:"
"""Before the object id of a principal whose roles are somebody else's business, in `apart`."""
_NOT_YET = "PrincipalNotFound"
_CONDITION = ("condition", "conditionVersion")
_HINT = "`remit trust plan --needs` lists the roles at Azure, each with what it is for"

NEEDS: Mapping[str, str] = {
    "Role Based Access Control Administrator": (
        "on the resource groups of the storage accounts: gives and takes roles on containers; a condition can narrow "
        "it to Storage Blob Data Reader and Storage Blob Data Contributor"
    ),
    "Managed Identity Contributor": (
        "on Remit's managed identity, when a plan takes a federated credential from it; its holder can become Remit"
    ),
}
"""Role → why: `apply`. It reads, too."""

READS: Mapping[str, str] = {
    "Reader": (
        "on the resource groups of the storage accounts, and on Remit's managed identity: reads role assignments and "
        "definitions, whom the identity trusts, and in the activity log who changed what"
    ),
}
"""Role → why: `plan`, `verify` and `drift`. It opens no blob."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A role assignment as Azure tells it. `role`: a GUID; `scope`: empty for the whole tenant."""

    id: str
    scope: str
    role: str
    principal: str
    condition: str
    version: str


class Azure:
    """Azure's role assignments. `ask`: as whoever reviews or changes, for tokens of `SCOPE`."""

    name = "azure"

    def __init__(self, ask: Asking, settings: TrustSettings) -> None:
        self._ask = ask
        self._accounts = {account.resource: account.name for account in settings.storage}
        self._containers = tuple(name for project in settings.estate.projects for name in project.containers)
        self._apart = frozenset(m.removeprefix(_APART).lower() for m in settings.apart if m.startswith(_APART))
        self._roles: dict[str, Role] = {}
        self._federations = azure_identity.Federations(self._send, _next)

    async def read(self, wanted: Sequence[Thing]) -> tuple[Found, ...]:
        """All that reaches the file's containers and its applications there; raises `TrustBroken`."""
        mine = [thing for thing in wanted if thing.address.kind == KIND]
        self._roles = {}  # a custom role may have changed since
        found: dict[str, Found] = {}
        for account, name in self._accounts.items():
            ours = tuple(self._ours(account, name, mine))
            if not ours:
                continue
            for each in await self._held(account):
                role = await self._role(each.role, account)
                if self._concerns(each, role, account, ours, mine):
                    found[each.id.lower()] = _found(each, role, mine)
        return (*found.values(), *await self._itself(wanted))

    async def make(self, thing: Thing) -> Found:
        """Make it, or answer what is there under another name; raises `Missing` while the principal is not known."""
        if thing.address.kind == azure_identity.KIND:
            return await self._federations.make(thing)
        scope, role, principal = _asked(thing)
        name = uuid.uuid5(_NAMES, f"{scope.lower()} {role.id} {principal}")
        try:
            answer = await self._put(f"{scope}/{_ASSIGNMENTS}/{name}", thing)
        except Conflict:
            there = await self._twin(scope, role, principal)
            if there is None:  # another's is not to be seen yet
                raise
            found = _found(there, role, [thing])
            same = all(found.fields.get(name) == thing.fields.get(name) for name in _CONDITION)
            return found if same else await self.change(thing, found)  # what it opens is not left to who was faster
        return _found(_held(answer), role, [thing])

    async def change(self, thing: Thing, found: Found) -> Found:
        """Give it the condition that is wanted, or none: whose, which and where is what it is."""
        answer = await self._put(_id(found), thing)
        return _found(_held(answer), _asked(thing)[1], [thing])

    async def remove(self, found: Found) -> None:
        """Remove it; nothing happens when it is not there."""
        if found.address.kind == azure_identity.KIND:
            await self._federations.remove(found)
            return
        try:
            await self._send("DELETE", _url(_id(found)))
        except Missing:
            return

    async def _itself(self, wanted: Sequence[Thing]) -> list[Found]:
        """Remit's managed identity, whom it trusts, and who could have it trust somebody."""
        return [
            await self._kept(one) if one.address == thing.address and one.ids else one
            for thing in wanted
            if thing.address.kind == azure_identity.IDENTITY
            for one in await self._federations.read(thing)
        ]

    async def _kept(self, identity: Found) -> Found:
        resource, keepers = identity.ids["id"], list[str]()
        async for each in self._list(resource, f"&$filter={quote('atScope()')}"):
            role = await self._role(each.role, resource)
            if role.becomes:
                keepers.append(azure_identity.keeper(role.name, each.scope, each.principal, resource))
        return Found(identity.address, {**identity.fields, "keepers": tuple(sorted(keepers))}, identity.ids)

    def _ours(self, account: str, name: str, wanted: Sequence[Thing]) -> Iterator[str]:
        """The ids of the file's containers in an account, in lower case."""
        base = f"{account}/blobServices/default/containers/".lower()
        for container in self._containers:
            if container.partition("/")[0] == name:
                yield base + container.partition("/")[2].lower()
        yield from (scope for thing in wanted if (scope := str(thing.fields["scope"]).lower()).startswith(base))

    def _concerns(self, each: _Held, role: Role, account: str, ours: Sequence[str], wanted: Sequence[Thing]) -> bool:
        """Whether an assignment is the trust's business: an application's of the file, or one that opens its blobs."""
        if any(thing.fields.get("principal") == each.principal for thing in wanted):
            return True
        scope = each.scope.lower()
        above = not scope.startswith(f"{account.lower()}/")
        reaches = above or any(container == scope or container.startswith(f"{scope}/") for container in ours)
        return reaches and role.opens and each.principal not in self._apart

    async def _held(self, account: str) -> list[_Held]:
        """Everything at, below and above a storage account."""
        found: dict[str, _Held] = {}
        for more in ("", f"&$filter={quote('atScope()')}"):
            async for each in self._list(account, more):
                found[each.id.lower()] = each
        return list(found.values())

    async def _twin(self, scope: str, role: Role, principal: str) -> _Held | None:
        text = quote(f"principalId eq '{principal}'")
        async for each in self._list(scope, f"&$filter={text}"):
            if (each.scope.lower(), each.role, each.principal) == (scope.lower(), role.id, principal):
                return each
        return None

    async def _list(self, scope: str, more: str) -> AsyncIterator[_Held]:
        """Every page. The token goes to Azure, wherever a page says that the next one lies."""
        url = _url(f"{scope}/{_ASSIGNMENTS}") + more
        for _ in range(_PAGES):
            page = await self._send("GET", url)
            values = page.get("value")
            if not isinstance(values, list):
                raise TrustBroken(f"`{scope}` answered no list of role assignments")
            for value in values:
                yield _held(value)
            if not page.get("nextLink"):
                return
            url = _next(page["nextLink"])
        raise TrustBroken(f"the role assignments of `{scope}` have no last page")

    async def _role(self, guid: str, account: str) -> Role:
        """A role by its id, asked for once."""
        if guid not in self._roles:
            self._roles[guid] = azure_roles.known(guid) or await self._described(guid, account)
        return self._roles[guid]

    async def _described(self, guid: str, account: str) -> Role:
        try:
            return azure_roles.understood(guid, await self._send("GET", _url(f"{account}/{_DEFINITIONS}/{guid}")))
        except Missing:
            return azure_roles.gone(guid)

    async def _put(self, resource: str, thing: Thing) -> dict[str, Any]:
        """`principalType` spares the look into the directory, which sees a new principal only after a while."""
        scope, role, principal = _asked(thing)
        subscription = "/".join(scope.split("/")[:3])
        properties = {
            "roleDefinitionId": f"{subscription}/{_DEFINITIONS}/{role.id}",
            "principalId": principal,
            "principalType": "ServicePrincipal",
            **{name: str(thing.fields[name]) for name in _CONDITION if thing.fields.get(name)},
        }
        return await self._send("PUT", _url(resource), {"properties": properties})

    async def _send(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            return await self._ask(method, url, body)
        except CloudRefused as refusal:
            if refusal.code == _NOT_YET:
                raise Missing(refusal.message, status=refusal.status, code=refusal.code) from refusal
            if isinstance(refusal, Denied) and refusal.code == "AuthorizationFailed":
                raise Denied(refusal.message, status=refusal.status, code=refusal.code, hint=_HINT) from refusal
            raise


def _url(resource: str) -> str:
    return f"https://{HOST}{quote(resource, safe='/()')}?{_VERSION}"


def _next(link: object) -> str:
    parts = urlsplit(link) if isinstance(link, str) else None
    # the whole authority: a name and a password before the host would be part of it
    if parts is None or parts.scheme != "https" or parts.netloc.lower() not in {HOST, f"{HOST}:443"}:
        raise TrustBroken("Azure names a next page that is not at Azure Resource Manager")
    return parts.geturl()


def _asked(thing: Thing) -> tuple[str, Role, str]:
    """Scope, role and principal of a wanted thing; raises `TrustBroken`."""
    principal = thing.fields["principal"]
    if not isinstance(principal, str) or not re.fullmatch(_GUID, principal):
        raise TrustBroken(f"whose `{thing.address}` is to be is not known")
    return str(thing.fields["scope"]), azure_roles.built_in(str(thing.fields["role"])), principal


def _id(found: Found) -> str:
    """What Azure calls it; raises `TrustBroken`."""
    resource = found.ids.get("id", "")
    if not _ID.fullmatch(resource):
        raise TrustBroken(f"`{found.address}` has no id of Azure's")
    return resource


def _held(value: Any) -> _Held:
    """A role assignment out of an answer; raises `TrustBroken`."""
    try:
        properties = value["properties"]
        match = _ID.fullmatch(value["id"])
        role = _ROLE.fullmatch(properties["roleDefinitionId"])
        principal = str(properties["principalId"]).lower()
        condition, version = (str(properties.get(name) or "") for name in _CONDITION)
    except (KeyError, TypeError, AttributeError) as cause:
        raise TrustBroken("Azure describes a role assignment in no known form") from cause
    if not match or not role or not re.fullmatch(_GUID, principal):
        raise TrustBroken("Azure describes a role assignment in no known form")
    return _Held(value["id"], match[1], role[1].lower(), principal, condition, version)


def _found(each: _Held, role: Role, wanted: Sequence[Thing]) -> Found:
    """As the plan knows it: in the file's own spelling of scopes, which Azure reads in any case."""
    scopes = {str(thing.fields["scope"]).lower(): str(thing.fields["scope"]) for thing in wanted}
    names = {thing.fields["principal"]: thing.address.name.rpartition(" ")[2] for thing in wanted}
    scope = scopes.get(each.scope.lower(), each.scope) or "/"
    fields = {"scope": scope, "role": role.name, "principal": each.principal}
    fields |= {"condition": each.condition, "conditionVersion": each.version} if each.condition else {}
    name = f"{scope} {role.name} {names.get(each.principal, each.principal)}"
    return Found(Address(KIND, name), fields, {"id": each.id})
