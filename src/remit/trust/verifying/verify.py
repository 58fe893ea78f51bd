"""Probes the trust hop by hop, as Remit itself and as each role, and compares Entra, the policy and IAM.

1  the tenant's keys, the tenants of guests, Remit's own way to its reviewer, limits of the clouds
2  what Entra holds: applications, credentials, consents; who holds which role
3  what Google holds: pool, providers and their keys, accounts, who may become them; what Azure holds
4  each role's way, walked by a probe that is nobody; their own ways, where somebody asks for it
5  the policy against bindings, and both against what Google answers
6  each database: who connects by the policy, what remit.yaml gives, what it lets its roles do; logged in as each

A part that cannot be looked at is a hop that does not hold, and hides no other. Nothing is changed anywhere.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import httpx

from remit.model.counts import counted
from remit.model.errors import TrustBroken
from remit.trust.clouds.asking import Asking, Sleep
from remit.trust.clouds.entra_graph import Graph
from remit.trust.clouds.google import Google
from remit.trust.clouds.google_names import IAM, estate_accounts, safe
from remit.trust.clouds.port import Cloud, Missing, NotSetUp
from remit.trust.clouds.sql import Databases
from remit.trust.desired.limits import limits
from remit.trust.desired.sql import unseen
from remit.trust.planning.matching import Matched, matched
from remit.trust.planning.reading import read
from remit.trust.settings import DatabaseRoles, TrustSettings
from remit.trust.things import Address, Found, Ref, Thing, ids_of, settled
from remit.trust.verifying import databases, own, structure
from remit.trust.verifying.bindings import absent, past_accounts
from remit.trust.verifying.compare import Side, below, disagreements, groups_of, impersonation, strangers
from remit.trust.verifying.containers import container_findings
from remit.trust.verifying.credentials import credentials
from remit.trust.verifying.denials import named
from remit.trust.verifying.findings import ALL, Finding, Hop, Report
from remit.trust.verifying.identity import identity_hops
from remit.trust.verifying.lines import lines_of
from remit.trust.verifying.oneself import OwnWays
from remit.trust.verifying.ports import Oneself, Walker, Wanted
from remit.trust.verifying.roles import Holders, Sides, assigned, expired, role_findings
from remit.trust.verifying.walking import Walked, Way, dry_calls, walk
from remit.trust.verifying.wants import PolicySide, Wants

_ENTRA = ("entra.application", "entra.principal", "entra.federation", "entra.consent", "entra.delegation")
_GOOGLE = ("google.pool", "google.provider", "google.account", "google.role", "google.audit")
_HINTS = {
    "sql": "look at `trust.databases` and at the address; docs/databases.md says how each is logged in to",
    "entra": "give Remit's application the permissions at Microsoft Graph that `remit trust plan --needs` lists",
    "google": "give the reviewer `roles/iam.securityReviewer` on every project, and see that it can be reached",
    "azure": "give Remit's managed identity `Reader` on itself and on the resource groups of the storage accounts",
}
_ABOVE = "Google: what the folders and the organisation above the projects grant or deny"
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Sight:
    """What a verification looks through.

    `clouds`: asked as whoever reviews, `google` and `graph` as well; `client`: for what needs no reviewer; `guests`:
    tenants whose people may come; `others`: roles that other issuers give; `today`: `YYYY-MM-DD`; `secrets`: app ids
    whose secret remit.yaml names; `sleep`: seconds; `databases`: PostgreSQL, `None` where nobody asks it.
    """

    clouds: Mapping[str, Cloud]
    google: Google
    ask: Asking
    graph: Graph
    client: httpx.AsyncClient
    guests: frozenset[str]
    others: frozenset[str]
    today: str
    secrets: frozenset[str] = frozenset()
    sleep: Sleep = asyncio.sleep
    databases: Databases | None = None


class Verify:
    """One verification of one installation.

    `things`: all that the clouds must hold; `me`: whoever wants their own ways walked too, `None` for nobody.
    """

    def __init__(  # noqa: PLR0917 - one for each of what it looks at, through and for
        self,
        settings: TrustSettings,
        things: Sequence[Thing],
        sight: Sight,
        walker: Walker,
        wanted: Wanted,
        me: Oneself | None = None,
    ) -> None:
        self._settings = settings
        self._things = things
        self._sight = sight
        self._walker = walker
        self._wants = PolicySide(settings, wanted, sight.others)
        self._own = OwnWays(me, settings.mappings)
        self._hops: list[Hop] = []
        self._findings: list[Finding] = []
        self._permits: Mapping[str, bool] = {}
        self._unseen = [*unseen(settings), _ABOVE]

    async def __call__(self) -> Report:
        """Walks and compares everything."""
        sight, settings = self._sight, self._settings
        # the policy takes seconds to ask: off the loop, and before, so that no hop's patience ends meanwhile
        self._permits = await asyncio.to_thread(self._wants.permitting)
        self._hops += await self._own.begin()
        keys, way, guests, applications, _ = await asyncio.gather(
            own.issuer_hop(sight.client, settings),
            own.own_way(self._walker),
            own.guest_hops(sight.client, sight.guests),
            own.applications(self._walker, settings),
            self._looked(),
        )
        said = tuple(
            Hop("limit", holds=False, said=each, cure="no cloud takes it: change remit.yaml, and `remit trust plan`")
            for each in limits(self._things)
        )
        hops = (*said, keys, *way, *guests, *self._hops, *applications, *self._own.end())
        findings = await named(sight.ask, settings, self._findings)
        return Report(hops, tuple(sorted(findings, key=_order)), tuple(self._unseen))

    async def _looked(self) -> None:
        """What the clouds hold, and each role's way: Entra first, whose ids the others name."""
        entra = await self._read("entra", ())
        await asyncio.gather(self._roles(entra), self._google(entra), self._azure(entra), self._databases(entra or ()))

    async def _read(self, name: str, known: Sequence[Found]) -> tuple[Found, ...] | None:
        """What one cloud holds; `None`, and a hop that says why, where it does not say."""
        ids = ids_of(tuple(known))
        things = [
            Thing(thing.address, settled(thing.fields, ids), thing.needs, thing.says, thing.given)
            for thing in self._things
            if thing.address.cloud == name
        ]
        return await self._tried(name, read((self._sight.clouds[name],), things))

    async def _tried(self, name: str, asked: Awaitable[_Answer]) -> _Answer | None:
        try:
            return await asked
        except NotSetUp as lacking:
            self._unseen.append(f"{lacking.message}: {lacking.hint}")
            return None
        except TrustBroken as error:
            hint = error.hint or _HINTS[name]
            self._hops.append(Hop(f"{name}-review", holds=False, said=error.message, cure=hint))
            return None

    async def _roles(self, entra: Sequence[Found] | None) -> None:
        if entra is None:
            return
        match = _match(self._things, entra, "entra")
        self._hops += structure.hops(match, _ENTRA, self._settings)
        sight = self._sight
        held = await self._tried("entra", credentials(sight.graph, match, sight.secrets, sight.today))
        self._findings += held or ()
        assignments = [one for one in entra if one.address.kind == "entra.assignment"]
        holders = await self._tried("entra", Holders(sight.graph).read(assignments))
        if holders is None:
            return
        remit = next((one for one in entra if str(one.address) == "entra.application remit"), None)
        offered = remit.fields.get("roles") if remit else ()
        names = frozenset(map(str, offered)) if isinstance(offered, tuple) else frozenset[str]()
        known = Sides(self._settings.roles, self._permits, names, sight.others, sight.today)
        by_id = dict(zip((one.ids["id"] for one in assignments), holders, strict=True))
        found = [*role_findings(known, holders), *assigned(match, by_id), *expired(self._settings, sight.today)]
        self._findings += found
        if not found:
            said = f"{counted(len(holders), 'assignment')}, each of a role that the policy permits something"
            self._hops.append(Hop("entra-roles", holds=True, said=said))

    async def _azure(self, entra: Sequence[Found] | None) -> None:
        if not self._settings.azure and self._settings.applications is None:
            return
        if entra is None:
            said = "whose its role assignments are, and where Remit's managed identity lies, Entra would have to say"
            self._unseen.append(f"Azure: {said}")
            return
        found = await self._read("azure", entra)
        if found is None:
            return
        match = matched(self._things, (*entra, *found))
        self._hops += identity_hops(match)
        if not self._settings.azure:
            return
        findings = list(container_findings(match, self._settings))
        self._findings += findings
        if not findings:
            count = sum(thing.address.kind == "azure.assignment" for thing in self._things)
            said = f"{counted(count, 'role assignment')} on containers, and no other that opens them"
            self._hops.append(Hop("azure-assignment", holds=True, said=said))

    async def _databases(self, entra: Sequence[Found]) -> None:
        ids = ids_of(tuple(entra))
        for one in self._settings.databases:
            if one.administrator and self._sight.databases is not None:
                name = one.clients[0] if len(one.clients) == len(one.roles) == 1 else ""
                principal = ids.get(Ref(Address("entra.principal", name), "id"), "")
                await self._database(one, self._sight.databases, principal)

    async def _database(self, one: DatabaseRoles, asked: Databases, principal: str) -> None:
        look = await self._tried("sql", asked.look(one))
        if look is None:
            return
        connects = {role: await asyncio.to_thread(self._wants.connecting, one, role) for role in one.roles}
        case = databases.Case(one, connects, look, principal)
        self._hops += [*await databases.walked(case, self._walker.enter), *databases.unasked(case)]
        found = tuple(databases.findings(case))
        self._findings += found
        if not found:
            roles = counted(len(look.roles), "role holds", "roles hold")
            said = f"{roles} what remit.yaml gives there, and nothing else"
            self._hops.append(Hop(f"sql-grants {one.name}", holds=True, said=said))

    async def _google(self, entra: Sequence[Found] | None) -> None:
        found, keys = await asyncio.gather(self._read("google", entra or ()), self._keys())
        if found is None:
            found, bindings = (), None
        else:
            match = _match(self._things, (*(entra or ()), *found), "google")
            self._hops += structure.hops(match, _GOOGLE, self._settings)
            if entra is not None:  # else Remit's own members are strangers
                await self._strangers(match)
            self._findings += absent(match, self._working)
            bindings = [one for one in found if one.address.kind == "google.binding"]
        self._hops += keys
        accounts = sorted({one.account for one in self._settings.mappings})
        await asyncio.gather(*(self._account(account, bindings) for account in accounts))

    async def _keys(self) -> tuple[Hop, ...]:
        provider = self._settings.own_provider.removeprefix("//iam.googleapis.com/")
        own_keys = self._walker.keys()
        if not provider or not own_keys:
            return ()
        try:
            document = await self._sight.ask("GET", f"{IAM}/{safe(provider)}")
        except Missing:
            return ()  # said already: the provider is not there
        except TrustBroken as error:
            return (Hop("google-keys", holds=False, said=error.message, cure=error.hint or _HINTS["google"]),)
        return tuple(structure.issuer_keys(document, own_keys))

    async def _strangers(self, match: Matched) -> None:
        kept = {*self._settings.administrators, *self._settings.apart}
        unwanted = [one for one in match.rest if one.fields.get("member") not in kept]
        for account in estate_accounts(self._settings):
            self._findings += strangers(account, self._working(account).split(ALL), unwanted)
        compared = {(one.account, one.project) for one in self._settings.mappings}
        google = self._sight.google
        self._findings += await past_accounts(unwanted, self._settings.pool, compared, google.permissions)

    def _working(self, account: str) -> str:
        return ALL.join(sorted({one.role for one in self._settings.mappings if one.account == account}))

    async def _account(self, account: str, bindings: Sequence[Found] | None) -> None:
        """Everything about one account: who may become it, the ways to it, what it may in each project."""
        mine = [one for one in self._settings.mappings if one.account == account]
        roles = sorted({one.role for one in mine})
        pool = self._settings.pool
        if bindings is None:  # it is walked all the same
            bound = frozenset(group for role in roles for group in self._wants.groups(role, account))
        else:
            self._hops += impersonation(account, pool, bindings, roles)
            bound = groups_of(account, pool, bindings)
        for project in sorted({one.project for one in mine}):
            those = sorted({one.role for one in mine if one.project == project})
            await self._project(account, project, those, bound, bindings)

    async def _project(
        self, account: str, project: str, roles: Sequence[str], bound: frozenset[str], bindings: Sequence[Found] | None
    ) -> None:
        place = self._settings.estate.project(project)
        if place is None:
            return
        sides = await asyncio.to_thread(self._wants.sides, account, place, roles, bound)
        # of a part of a bucket Google answers no such question
        asked = {resource: each.governed for resource, each in sides.items() if not resource.endswith("/")}
        permitted = frozenset[str]().union(*sides[f"projects/{place.id}"].roles.values())
        call = next((each for each in dry_calls(place) if each.permission in permitted), None)
        ways = [Way(role, place, account, bound, asked if role == roles[0] else {}, call) for role in roles]
        client, sleep = self._sight.client, self._sight.sleep
        probed = await asyncio.gather(*(walk(way, self._walker, client, sleep) for way in ways))
        tried = [await self._own.walk(replace(way, asked=asked), client, sleep) for way in ways]
        own = [one for one in tried if one is not None]
        mine = {hop.role for one in own for hop in one.hops if hop.walked}
        self._hops += [hop for one in probed for hop in one.hops if hop.walked or hop.role not in mine]
        self._hops += [hop for one in own for hop in one.hops]
        told = next((one for one in (probed[0], *own) if one.tested), probed[0])
        await self._compared(account, sides, told, bindings)

    async def _compared(
        self,
        account: str,
        sides: Mapping[str, Wants],
        walked: Walked,
        bindings: Sequence[Found] | None,
    ) -> None:
        for resource, wants in sides.items():
            tested = walked.tested.get(resource)
            if bindings is None:  # a hop says why: without them nothing tells what is granted from what is denied
                return
            if resource.endswith("/"):
                continue
            lines = await self._tried("google", lines_of(self._sight.google, account, resource, bindings))
            if lines is not None:
                parts = frozenset(self._wants.parts(account, resource))
                side = Side(account, resource, wants, lines, tested, parts)
                self._findings += disagreements(side)
                for part in sorted(parts):
                    self._findings += disagreements(below(side, part, sides[f"{resource}/{part}"]))


def _match(things: Sequence[Thing], found: Sequence[Found], cloud: str) -> Matched:
    """Pairs of one cloud, with the ids that others gave in their places."""
    match = matched(things, found)
    pairs = tuple((thing, one) for thing, one in match.pairs if thing.address.cloud == cloud)
    return Matched(pairs, tuple(one for one in match.rest if one.address.cloud == cloud))


def _order(finding: Finding) -> tuple[str, ...]:
    kinds = {"missing": "1", "clash": "2", "excess": "3"}
    return kinds[finding.kind], finding.role, finding.account, finding.resource, finding.said, finding.permission
