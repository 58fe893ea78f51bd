"""Entra, of which the trust wants applications, their principals, federated credentials and roles, and nothing beside.

Read and changed through Microsoft Graph (`entra_graph`), each noun in a file of its own. Reading sees what the file's
applications hold, whoever put it there; other applications of the tenant are never looked at.
"""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence

import httpx

from remit.model.errors import TrustBroken
from remit.trust.clouds.asking import Asking, Sleep
from remit.trust.clouds.entra_applications import Ours, Principals, Registrations, nothing
from remit.trust.clouds.entra_assignments import ASSIGNMENT, CONSENT, Assignments, Holder
from remit.trust.clouds.entra_delegations import Delegations
from remit.trust.clouds.entra_federations import KIND as FEDERATION
from remit.trust.clouds.entra_federations import Federations
from remit.trust.clouds.entra_graph import SCOPE, Graph
from remit.trust.clouds.entra_secrets import Credentials, held
from remit.trust.clouds.port import Missing, Tokens
from remit.trust.things import Address, Found, Ref, Thing, ids_of, settled

APPLICATION, PRINCIPAL = "entra.application", "entra.principal"
REMIT = Address(PRINCIPAL, "remit")
MICROSOFT_GRAPH = Address(PRINCIPAL, "microsoft-graph")

NEEDS: Mapping[str, str] = {
    "Application.ReadWrite.All": "registers Remit's applications and their principals, and their federated credentials",
    "AppRoleAssignment.ReadWrite.All": (
        "gives groups, people and workloads their roles at Remit, and Remit its permissions at Microsoft Graph"
    ),
    "DelegatedPermissionGrant.ReadWrite.All": "takes from Remit's applications what lets them act as people elsewhere",
}
"""Permission at Microsoft Graph → what `apply` does with it. Whoever holds the second can give themselves any other."""

READS: Mapping[str, str] = {
    "Application.Read.All": "reads Remit's applications, principals, federated credentials and role assignments",
    "AuditLog.Read.All": "reads in the directory's audit log who changed what, for `drift`",
    "DelegatedPermissionGrant.Read.All": "reads where Remit's applications may act as people",
}
"""Permission at Microsoft Graph → what `plan`, `verify` and `drift` do with it. Remit itself holds all of them."""


class Entra:
    """One tenant, as whom `tokens` speak for.

    `ours`: the ids of whatever was made here before; `secrets`: app ids of which remit.yaml names a file with a secret.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        tokens: Tokens,
        *,
        ours: Ours = nothing,
        secrets: Collection[str] = (),
        sleep: Sleep | None = None,
    ) -> None:
        asking = Asking(client, tokens, SCOPE, sleep=sleep) if sleep else Asking(client, tokens, SCOPE)
        graph = Graph(asking)
        self._registrations = Registrations(graph, ours)
        self._principals = Principals(graph)
        self._federations = Federations(graph)
        self._assignments = Assignments(graph, self._principals)
        self._delegations = Delegations(graph)
        self._credentials = Credentials(graph)
        self._secrets = frozenset(secrets)
        self._ids: dict[Ref, str] = {}  # of what was read or made: the other things lie below these

    @property
    def name(self) -> str:
        """`entra`."""
        return "entra"

    async def read(self, wanted: Sequence[Thing]) -> tuple[Found, ...]:
        """What there is; applications first, since everything else is found by their ids."""
        self._ids = {}
        found = [
            *await self._known(wanted, APPLICATION),
            *await self._known(wanted, PRINCIPAL),
        ]
        rest = [self._resolved(thing) for thing in wanted]
        roles = (*await self._federated(rest), *await self._assigned(rest), *await self._consented(rest))
        return (*found, *roles, *await self._delegated(rest), *self._credentialed(rest))

    async def make(self, thing: Thing) -> Found:
        """Make it, once."""
        match thing.address.kind:
            case "entra.application":
                made = await self._registrations.make(thing)
            case "entra.principal":
                made = await self._principals.make(thing)
            case "entra.federation":
                holder = self._id(Address(APPLICATION, str(thing.fields["application"])))
                made = await self._federations.make(thing, holder)
            case "entra.assignment":
                made = await self._assignments.make(thing, self._id(REMIT))
            case "entra.consent":
                made = await self._assignments.make(thing, self._id(MICROSOFT_GRAPH))
            case "entra.delegation":
                made = await self._delegations.make(thing)
            case "entra.credential":
                made = self._credentials.make(thing)
            case _:
                raise _unknown(thing.address)
        self._ids |= ids_of([made])
        return made

    async def change(self, thing: Thing, found: Found) -> Found:
        """Only the fields that differ."""
        match thing.address.kind:
            case "entra.application":
                return await self._registrations.change(thing, found)
            case "entra.principal":
                return await self._principals.change(thing, found)
            case "entra.federation":
                return await self._federations.change(thing, found)
            case "entra.assignment" | "entra.consent":
                # who holds it and which it is make up what it is; what is left Entra says itself
                raise TrustBroken(
                    f"`{found.fields.get('principal')}` is a {found.fields.get('principalType')} at Entra",
                    hint="list it under `groups`, `people` or `workloads` as what it is",
                )
            case _:
                raise _unknown(thing.address)

    async def remove(self, found: Found) -> None:
        """Remove it; nothing happens when it is not there."""
        match found.address.kind:
            case "entra.application":
                await self._registrations.remove(found)
            case "entra.principal":
                await self._principals.remove(found)
            case "entra.federation":
                await self._federations.remove(found)
            case "entra.assignment" | "entra.consent":
                await self._assignments.remove(found)
            case "entra.delegation":
                await self._delegations.remove(found)
            case "entra.credential":
                await self._credentials.remove(found)
            case _:
                raise _unknown(found.address)

    async def _known(self, wanted: Sequence[Thing], kind: str) -> list[Found]:
        found = []
        for thing in map(self._resolved, _of(wanted, kind)):
            one = await self._find(thing)
            if one is not None:
                found.append(one)
                self._ids |= ids_of([one])
        return found

    async def _find(self, thing: Thing) -> Found | None:
        if thing.address.kind == APPLICATION:
            return await self._registrations.find(thing)
        app_id = thing.fields.get("appId") if thing.given else thing.fields["application"]
        # a reference that is left says that there is no such application yet
        return await self._principals.find(thing, app_id) if isinstance(app_id, str) else None

    async def _federated(self, wanted: Sequence[Thing]) -> list[Found]:
        federations = list(_of(wanted, FEDERATION))
        return [
            one
            for thing in _of(wanted, APPLICATION)
            if (holder := self._ids.get(Ref(thing.address, "id")))
            for one in await self._federations.read(thing.address.name, holder, federations)
        ]

    async def _assigned(self, wanted: Sequence[Thing]) -> tuple[Found, ...]:
        api = self._ids.get(Ref(REMIT, "id"))
        return await self._assignments.read(api, list(_of(wanted, ASSIGNMENT))) if api else ()

    async def _consented(self, wanted: Sequence[Thing]) -> list[Found]:
        api = self._ids.get(Ref(MICROSOFT_GRAPH, "id"))
        consents = list(_of(wanted, CONSENT))
        remit = self._ids.get(Ref(REMIT, "id"), "")
        return [
            one
            for thing in _of(wanted, PRINCIPAL)
            if api and not thing.given and (principal := self._ids.get(Ref(thing.address, "id")))
            for one in await self._assignments.consents(api, remit, Holder(thing.address.name, principal), consents)
        ]

    async def _delegated(self, wanted: Sequence[Thing]) -> list[Found]:
        microsoft = self._ids.get(Ref(MICROSOFT_GRAPH, "id"), "")
        return [
            one
            for thing in _of(wanted, PRINCIPAL)
            if not thing.given and (principal := self._ids.get(Ref(thing.address, "id")))
            for one in await self._delegations.read(Holder(thing.address.name, principal), microsoft)
        ]

    def _credentialed(self, wanted: Sequence[Thing]) -> Iterator[Found]:
        """What was found holds; an application's secrets are known where remit.yaml names their file."""
        now = dt.datetime.now(dt.UTC)
        for kind, seen in ((APPLICATION, self._registrations.seen), (PRINCIPAL, self._principals.seen)):
            for thing in _of(wanted, kind):
                document = seen.get(self._ids.get(Ref(thing.address, "id"), ""))
                if document is None or thing.given:
                    continue
                named = kind == APPLICATION and document.get("appId") in self._secrets
                every = held(thing.address, document, now)
                yield from (one for one in every if not named or one.fields["credential"] != "secret")

    def _resolved(self, thing: Thing) -> Thing:
        return Thing(thing.address, settled(thing.fields, self._ids), thing.needs, thing.says, thing.given)

    def _id(self, address: Address) -> str:
        found = self._ids.get(Ref(address, "id"))
        if found is None:
            raise Missing(f"`{address}` is not there, or was not read")
        return found


def _of(wanted: Sequence[Thing], kind: str) -> Iterator[Thing]:
    return (thing for thing in wanted if thing.address.kind == kind)


def _unknown(address: Address) -> TrustBroken:
    return TrustBroken(f"`{address}` is nothing that Entra holds")
