"""Probes the trust hop by hop, as Remit itself and as each role, and compares Entra, the policy and IAM.

1  the tenant's keys, the tenants of guests, Remit's own way to its reviewer, limits of the clouds
2  what Entra holds: applications, credentials, consents; who holds which role
3  what Google holds: pool, providers and their keys, accounts, who may become them; what Azure holds
4  each role's way, walked by a probe that is nobody
5  the policy against bindings, and both against what Google answers

A part that cannot be looked at is a hop that does not hold, and hides no other. Nothing is changed anywhere. Left out:
databases, which say themselves what a login may read.
"""

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import httpx

from remit.model.errors import TrustBroken
from remit.model.estate import Project
from remit.trust.clouds.asking import Asking, Sleep
from remit.trust.clouds.entra_graph import Graph
from remit.trust.clouds.google import Google
from remit.trust.clouds.google_names import IAM, estate_accounts, safe
from remit.trust.clouds.port import Cloud, Missing
from remit.trust.desired.limits import limits
from remit.trust.planning.matching import Matched, matched
from remit.trust.planning.reading import read
from remit.trust.settings import TrustSettings
from remit.trust.things import Found, Thing, ids_of, settled
from remit.trust.verifying import own, structure
from remit.trust.verifying.bindings import absent, past_accounts
from remit.trust.verifying.compare import Side, disagreements, groups_of, impersonation, strangers
from remit.trust.verifying.containers import container_findings
from remit.trust.verifying.credentials import credentials
from remit.trust.verifying.findings import ALL, Finding, Hop, Report
from remit.trust.verifying.lines import lines_of
from remit.trust.verifying.ports import Walker, Wanted
from remit.trust.verifying.roles import Holders, Sides, assigned, expired, role_findings
from remit.trust.verifying.walking import Walked, Way, walk

_ENTRA = ("entra.application", "entra.principal", "entra.federation", "entra.consent")
_GOOGLE = ("google.pool", "google.provider", "google.account", "google.role", "google.audit")
_ACT = "iam.serviceAccounts.actAs"
_MAY_ACT = "roles/iam.serviceAccountUser"
_DRY = "aiplatform.models.list"
_HINTS = {
    "entra": "give Remit's application the permissions at Microsoft Graph that `remit trust plan --needs` lists",
    "google": "give the reviewer `roles/iam.securityReviewer` on every project, and see that it can be reached",
    "azure": "give Remit's managed identity `Reader` on the resource groups of the storage accounts",
}
_Answer = TypeVar("_Answer")
_Sides: TypeAlias = Mapping[str, tuple[Mapping[str, frozenset[str]], frozenset[str]]]
"""Resource → what the policy wants of each role there, and what the comparison speaks about."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a verification looks through.

    `clouds`: asked as whoever reviews, `google` and `graph` as well; `client`: for what needs no reviewer; `guests`:
    tenants whose people may come; `others`: roles that other issuers give; `today`: `YYYY-MM-DD`; `secrets`: app ids
    whose secret remit.yaml names; `sleep`: seconds.
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


class Verify:
    """One verification of one installation. `things`: all that the clouds must hold."""

    def __init__(
        self, settings: TrustSettings, things: Sequence[Thing], sight: Sight, walker: Walker, wanted: Wanted
    ) -> None:
        self._settings = settings
        self._things = things
        self._sight = sight
        self._walker = walker
        self._wanted = wanted
        self._hops: list[Hop] = []
        self._findings: list[Finding] = []
        self._permits: Mapping[str, bool] = {}
        self._unseen = ["databases: what a login may read there, each database says itself"]

    async def __call__(self) -> Report:
        """Walks and compares everything."""
        sight, settings = self._sight, self._settings
        # the policy takes seconds to ask: off the loop, and before, so that no hop's patience ends meanwhile
        self._permits = await asyncio.to_thread(self._permitting)
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
        hops = (*said, keys, *way, *guests, *self._hops, *applications)
        return Report(hops, tuple(sorted(self._findings, key=_order)), tuple(self._unseen))

    async def _looked(self) -> None:
        """What the clouds hold, and each role's way: Entra first, whose ids the others name."""
        entra = await self._read("entra", ())
        await asyncio.gather(self._roles(entra), self._google(entra), self._azure(entra))

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
        sides = Sides(self._settings.roles, self._permits, names, sight.others, sight.today)
        by_id = dict(zip((one.ids["id"] for one in assignments), holders, strict=True))
        found = [*role_findings(sides, holders), *assigned(match, by_id), *expired(self._settings, sight.today)]
        self._findings += found
        if not found:
            said = f"{len(holders)} assignments, each of a role that the policy permits something"
            self._hops.append(Hop("entra-roles", holds=True, said=said))

    def _permitting(self) -> dict[str, bool]:
        """Mapped role → whether the policy permits it anything, in any project."""
        found: dict[str, bool] = {}
        for one in self._settings.mappings:
            wants = found.get(one.role) or bool(self._wants(one.role, one.account, one.project))
            found[one.role] = wants
        return found

    def _wants(self, role: str, account: str, project: str, bound: frozenset[str] = frozenset()) -> frozenset[str]:
        return self._wanted.permissions(role, self._groups(role, account) | bound, project)

    def _groups(self, role: str, account: str) -> frozenset[str]:
        """The groups of a role and of those who may become an account, by the file."""
        held = (group for each in self._settings.roles if each.name == role for group in each.groups)
        named = (member for each in self._settings.accounts if each.email == account for member in each.members)
        return frozenset({*held, *(name.removeprefix("group/") for name in named if name.startswith("group/"))})

    async def _azure(self, entra: Sequence[Found] | None) -> None:
        if not self._settings.azure:
            return
        if entra is None:
            self._unseen.append("Azure: whose its role assignments are, Entra would have to say")
            return
        found = await self._read("azure", entra)
        if found is None:
            return
        match = matched(self._things, (*entra, *found))
        findings = list(container_findings(match, self._settings))
        self._findings += findings
        if not findings:
            count = sum(thing.address.kind == "azure.assignment" for thing in self._things)
            said = f"{count} role assignments on containers, and no other that opens them"
            self._hops.append(Hop("azure-assignment", holds=True, said=said))

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
            bound = frozenset(group for role in roles for group in self._groups(role, account))
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
        sides = await asyncio.to_thread(self._sides, account, place, roles, bound)
        asked = {resource: governed for resource, (_, governed) in sides.items()}
        wants = sides[f"projects/{place.id}"][0]
        call = bool(place.locations) and any(_DRY in each for each in wants.values())
        walked = await asyncio.gather(
            *(
                walk(
                    Way(role, place, account, bound, asked if role == roles[0] else {}, call),
                    self._walker,
                    self._sight.client,
                    self._sight.sleep,
                )
                for role in roles
            )
        )
        self._hops += [hop for one in walked for hop in one.hops]
        await self._compared(account, sides, walked[0], bindings)

    def _sides(self, account: str, place: Project, roles: Sequence[str], bound: frozenset[str]) -> _Sides:
        """What the policy wants on the project, on its buckets, and of accounts that jobs run as."""
        wants = {role: self._wants(role, account, place.id, bound) for role in roles}
        sides: dict[str, tuple[Mapping[str, frozenset[str]], frozenset[str]]] = {}
        sides[f"projects/{place.id}"] = (wants, self._wanted.governed())
        groups = {role: self._groups(role, account) | bound for role in roles}
        for bucket in place.buckets:
            on = {role: self._wanted.on_bucket(role, groups[role], place.id, bucket) for role in roles}
            sides[f"buckets/{bucket}"] = (on, self._wanted.governed_on_buckets())
        for other in self._acting(account):
            sides[f"accounts/{other}"] = (dict.fromkeys(roles, frozenset({_ACT})), frozenset({_ACT}))
        return sides

    async def _compared(
        self,
        account: str,
        sides: _Sides,
        walked: Walked,
        bindings: Sequence[Found] | None,
    ) -> None:
        for resource, (wants, governed) in sides.items():
            tested = walked.tested.get(resource)
            if bindings is None:  # a hop says why: without them nothing tells what is granted from what is denied
                return
            lines = await self._tried("google", lines_of(self._sight.google, account, resource, bindings))
            if lines is not None:
                self._findings += disagreements(Side(account, resource, wants, governed, lines, tested))

    def _acting(self, account: str) -> Iterator[str]:
        """The accounts that this one may let jobs run as, by the file."""
        for each in self._settings.accounts:
            if each.email == account:
                for resource, roles in each.grants.items():
                    if resource.startswith("accounts/") and _MAY_ACT in roles:
                        yield resource.removeprefix("accounts/")


def _match(things: Sequence[Thing], found: Sequence[Found], cloud: str) -> Matched:
    """Pairs of one cloud, with the ids that others gave in their places."""
    match = matched(things, found)
    pairs = tuple((thing, one) for thing, one in match.pairs if thing.address.cloud == cloud)
    return Matched(pairs, tuple(one for one in match.rest if one.address.cloud == cloud))


def _order(finding: Finding) -> tuple[str, ...]:
    kinds = {"missing": "1", "clash": "2", "excess": "3"}
    return kinds[finding.kind], finding.role, finding.account, finding.resource, finding.said, finding.permission
