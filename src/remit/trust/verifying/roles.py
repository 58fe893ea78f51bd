"""Entra's side of each role: who holds it, whom that reaches, and whether the policy lets them do anything.

What the directory says is read first (`Holders`), what it means is pure. An app role that a group holds reaches the
group's direct members alone, and of these people alone (learn.microsoft.com/entra/identity-platform/
howto-add-app-roles-in-apps, /entra/identity/enterprise-apps/assign-user-or-group-access-portal).
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from remit.trust.clouds.entra_graph import Graph
from remit.trust.clouds.port import Missing
from remit.trust.planning.matching import Matched
from remit.trust.settings import Role, TrustSettings
from remit.trust.things import Found
from remit.trust.verifying.findings import ALL, Finding

_AT_ONCE = 8  # requests
_GROUP, _PERSON = "#microsoft.graph.group", "#microsoft.graph.user"
_KIND = "entra.assignment"
_NO_ROLE = "default access"
_COLLECTIONS: Mapping[str, str] = {"User": "users", "ServicePrincipal": "servicePrincipals"}


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who holds a role. `reaches`: whether anybody has it thereby; `why`: what is in the way."""

    role: str
    kind: str
    name: str
    reaches: bool
    why: str = ""


class Holders:
    """Reads who holds roles."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._few = asyncio.Semaphore(_AT_ONCE)

    async def read(self, assignments: Sequence[Found]) -> tuple[Holder, ...]:
        """Every assignment's holder as it stands; raises `TrustBroken`."""
        names = await self._names({one.ids["resource"] for one in assignments})
        holding = (self._holder(one, names) for one in assignments)
        answers = await asyncio.gather(*holding, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return tuple(answer for answer in answers if isinstance(answer, Holder))

    async def _names(self, resources: Iterable[str]) -> dict[str, str]:
        """Object id → display name, as assignments tell it."""
        lists = [f"servicePrincipals/{quote(each, safe='')}/appRoleAssignedTo" for each in sorted(resources)]
        documents = [document for path in lists async for document in self._graph.each(path)]
        return {str(one.get("principalId")): str(one.get("principalDisplayName") or "") for one in documents}

    async def _holder(self, one: Found, names: Mapping[str, str]) -> Holder:
        role, oid = str(one.fields["role"]), str(one.fields["principal"])
        kind = str(one.fields["principalType"])
        async with self._few:
            if kind == "Group":
                return await self._group(role, oid, names.get(oid) or oid)
            path = f"{_COLLECTIONS.get(kind, 'users')}/{quote(oid, safe='')}?$select=id,displayName,accountEnabled"
            document = await self._graph.find(path)
        if document is None:
            return Holder(role, kind, oid, reaches=False, why="is not in the directory any more")
        disabled = document.get("accountEnabled") is False
        name = str(document.get("displayName") or oid)
        return Holder(role, kind, name, reaches=not disabled, why="is disabled" if disabled else "")

    async def _group(self, role: str, oid: str, name: str) -> Holder:
        path = f"groups/{quote(oid, safe='')}/members?$select=id,displayName,accountEnabled"
        others: list[str] = []
        nested: list[str] = []
        try:
            async for one in self._graph.each(path):
                kind = one.get("@odata.type")
                if kind == _PERSON and one.get("accountEnabled") is not False:
                    return Holder(role, "Group", name, reaches=True)
                (nested if kind == _GROUP else others).append(str(one.get("displayName") or one.get("id")))
        except Missing:
            return Holder(role, "Group", name, reaches=False, why="is not in the directory any more")
        if others:
            why = f"has no member who is a person and may sign in, but `{others[0]}`"
            return Holder(role, "Group", name, reaches=False, why=why)
        paths = ", ".join(f"`{name}` -> `{inner}`" for inner in nested)
        why = f"has only groups as members ({paths}), which Entra does not look into" if nested else "has no members"
        return Holder(role, "Group", name, reaches=False, why=why)


@dataclass(frozen=True, slots=True)
class Sides:
    """What is known of roles.

    `mapped`: role → whether the policy permits those who hold it anything, of roles that work as an account;
    `offered`: app roles that Entra knows; `others`: roles that other issuers than Entra give; `today`: `YYYY-MM-DD`.
    """

    roles: Sequence[Role]
    mapped: Mapping[str, bool]
    offered: frozenset[str]
    others: frozenset[str]
    today: str


def role_findings(sides: Sides, holders: Sequence[Holder]) -> Iterator[Finding]:
    """Where Entra's roles and the policy defeat each other."""
    declared = {role.name: role for role in sides.roles}
    held = {holder.role for holder in holders} - {_NO_ROLE}
    for name in sorted({*declared, *sides.mapped, *held}):
        mine = [holder for holder in holders if holder.role == name]
        yield from _offered(name, sides)
        yield from _holders(name, mine)
        yield from _expired(declared.get(name), sides.today)
        reached = any(holder.reaches for holder in mine) or name in sides.others
        permits = sides.mapped.get(name, False)
        if permits and not reached:
            cure = f"assign `{name}` to somebody: `groups`, `people` or `workloads` under `trust.roles.{name}`"
            yield _clash(name, "the policy permits it, and nobody holds it", cure)
        elif mine and not permits:
            cure = f"permit it something, map it to an account under `credentials.accounts`, or take `{name}` away"
            yield _clash(name, "it is held at Entra, and no policy permits it anything at Google", cure)


def assigned(match: Matched, holders: Mapping[str, Holder]) -> Iterator[Finding]:
    """Roles that remit.yaml gives and Entra does not, and that somebody has behind the file's back.

    `holders`: assignment's id → holder.
    """
    wanted = [(thing, one) for thing, one in match.pairs if thing.address.kind == _KIND]
    for thing, one in wanted:
        if one is None:
            role, oid = str(thing.fields["role"]), str(thing.fields["principal"])
            said = f"remit.yaml gives it to `{oid}`, and Entra does not: no token of theirs holds it"
            yield Finding("missing", role, "", "entra", role, "entra-roles", said, "assign it: `remit trust apply`")
    for one in match.rest if wanted else ():  # a file that names no holders knows no stranger
        holder = holders.get(one.ids.get("id", "")) if one.address.kind == _KIND else None
        if holder and holder.reaches and holder.role != _NO_ROLE:
            said = f"`{holder.name}` ({one.fields['principal']}) holds it, and remit.yaml does not say so"
            cure = f"take `{holder.role}` away: `remit trust apply`; or list it under `trust.roles.{holder.role}`"
            yield Finding("excess", holder.role, "", "entra", holder.role, "entra-roles", said, cure)


def expired(settings: TrustSettings, today: str) -> Iterator[Finding]:
    """Accounts of Google's that were to be looked at again by now."""
    for one in settings.accounts:
        if one.expires and one.expires < today:
            roles = ALL.join(sorted({each.role for each in settings.mappings if each.account == one.email}))
            said = f"it expired on {one.expires}, and stands{f' ({one.owner} answers for it)' if one.owner else ''}"
            cure = f"renew `expires` of `{one.email}` under `trust.accounts`, or take it out"
            resource = f"accounts/{one.email}"
            yield Finding("clash", roles, one.email, resource, "expires", "google-impersonation", said, cure)


def _offered(name: str, sides: Sides) -> Iterator[Finding]:
    if name in sides.offered or name in sides.others:
        return
    cure = f"list `{name}` under `trust.roles`, then `remit trust apply`; or correct its spelling"
    yield _clash(name, "there is no such app role at Remit's application: no token can hold it", cure)


def _holders(name: str, holders: Sequence[Holder]) -> Iterator[Finding]:
    for holder in holders:
        if not holder.reaches:
            what = "group" if holder.kind == "Group" else "account"
            nested = "assign the inner groups themselves, or people" if "only groups" in holder.why else ""
            cure = nested or f"take `{name}` from it, or repair it: a role that nobody has is nobody's to watch"
            yield _clash(name, f"{what} `{holder.name}` {holder.why}: `{name}` reaches nobody by it", cure)


def _expired(role: Role | None, today: str) -> Iterator[Finding]:
    if role and role.expires and role.expires < today:
        owner = f" ({role.owner} answers for it)" if role.owner else ""
        cure = f"renew `trust.roles.{role.name}.expires`, or take its assignments away{owner}"
        yield _clash(role.name, f"its assignments expired on {role.expires}, and stand", cure)


def _clash(role: str, said: str, cure: str) -> Finding:
    return Finding("clash", role, "", "entra", role, "entra-roles", said, cure)
