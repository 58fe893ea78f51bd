"""The trust of one installation: who reviews it, and what the policy lets each role do.

What is asked of the clouds with these: `trust_plan`, `trust_verifying`.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import IntEnum
from types import MappingProxyType

from remit.access.request import SHORTEST
from remit.assembly import rooms
from remit.catalogue import actions, methods
from remit.catalogue.databases import CONNECT
from remit.catalogue.store import DELETE, GET, INSERT, LIST
from remit.model.decision import Circumstances
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.grant import Grant, Wanted
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.secret import AccessToken
from remit.policy.engine import EvaluationFailed
from remit.policy.facts import gather
from remit.policy.judge import CedarJudge
from remit.policy.weigh import weigh

_log = logging.getLogger(__name__)
_SCOPE = ("https://www.googleapis.com/auth/cloud-platform",)
REVIEW_LIFETIME = 900  # seconds
PROBE = "trust-verify"
"""Whom Google's log names: a workload that nobody is."""

_NOW = 1  # any moment that is not 0, which means unknown: nobody's sign-in is older
_STRONGEST = Authentication(frozenset({"pwd", "mfa"}), frozenset(f"c{number}" for number in range(1, 100)), at=_NOW)
_EVERYBODY = 99  # approvals: more than any policy wants
_RUN = "j-supposed"
_ON_PROJECTS = ("aiplatform.", "logging.", "cloudresourcemanager.")
_ON_BUCKETS = (GET, LIST, INSERT, DELETE)
"""What a token for buckets amounts to (`catalogue.storage`)."""


class ApplicationReviewer:
    """The reviewing account, reached as Remit's own application: no person is needed."""

    def __init__(self, hops: rooms.Hops, account: str) -> None:
        self._hops = hops
        self._account = account

    async def token(self) -> AccessToken:
        """A token of the reviewing account; raises `HopFailed`."""
        assertion = await self._hops.identity.assertion()
        own = await self._hops.entra.own(assertion.value)
        federated = await self._hops.sts.exchange(own.value)
        return (await self._hops.iam.impersonate(federated.value, self._account, _SCOPE, REVIEW_LIFETIME)).value


class Reach(IntEnum):
    """How far the policy lets somebody go with one action on one resource."""

    NEVER = 0
    GRANTED = 1
    """With a grant: approved by as many as it takes, taken in an emergency, or for one run."""
    ALWAYS = 2


class PolicyWants:
    """What the policy lets a role do, asked of the policy itself for everything that the gateway serves.

    Somebody's own job, by its name, is nobody's role: what policies permit that alone is not known here.
    """

    def __init__(self, judge: CedarJudge, estate: Estate, tenant: str) -> None:
        self._judge = judge
        self._estate = estate
        self._tenant = tenant
        self._known: dict[tuple[str, frozenset[str], str], Mapping[str, Reach]] = {}
        self._actions = actions()
        self._served: Mapping[str, Action] = MappingProxyType(
            {
                row.id: Action(row.id, Group(row.group), row.permission)
                for row in methods()
                if row.served and row.permission and row.id.startswith(_ON_PROJECTS)
            }
        )

    def governed(self) -> frozenset[str]:
        """IAM permissions of everything that the gateway serves."""
        return frozenset(action.permission for action in self._served.values())

    def permissions(self, role: str, groups: frozenset[str], project: str, *, granted: bool = True) -> frozenset[str]:
        """IAM permissions of what the policy permits this role and these groups, at their strongest.

        People and workloads may hold one role: what either is permitted, the account must be able to do. `granted`:
        with whatever can be granted just in time, else as things stand.
        """
        least = Reach.GRANTED if granted else Reach.ALWAYS
        reaches = self._reaches(role, groups, project)
        return frozenset(self._served[name].permission for name, reach in reaches.items() if reach >= least)

    def methods(self, role: str, groups: frozenset[str], project: str) -> frozenset[tuple[str, str]]:
        """Likewise, whatever can be granted among it: each IAM permission with a method that needs it."""
        reaches = self._reaches(role, groups, project)
        return frozenset((self._served[name].permission, name) for name, reach in reaches.items() if reach)

    def _reaches(self, role: str, groups: frozenset[str], project: str) -> Mapping[str, Reach]:
        """Method → how far the policy goes with it. Worked out once."""
        if (role, groups, project) not in self._known:
            self._known[role, groups, project] = self._permitted(role, groups, project)
        return self._known[role, groups, project]

    def _permitted(self, role: str, groups: frozenset[str], project: str) -> Mapping[str, Reach]:
        found = self._estate.project(project)
        if found is None:
            return {}
        resource = Resource("Project", f"//cloudresourcemanager.googleapis.com/projects/{found.id}", found.id)
        ground, reaches = self._judge.book.ground, dict[str, Reach]()
        holders = self._holders(role, groups)
        methods = dict[str, Reach]()
        for action in self._served.values():
            # all that the engine knows by one name are one question to it: nothing else of these requests differs
            known = ground.action(action.id, action.group)["id"]
            if known not in reaches:
                reaches[known] = self._furthest(holders, action, resource)
            methods[action.id] = reaches[known]
        return methods

    def governed_on_buckets(self) -> frozenset[str]:
        """IAM permissions of what tokens for buckets are good for."""
        return frozenset(action.permission for action in _ON_BUCKETS)

    def on_bucket(
        self, role: str, groups: frozenset[str], project: str, bucket: str, within: str = "", *, granted: bool = True
    ) -> frozenset[str]:
        """IAM permissions of what the policy permits this role and these groups with a bucket's objects.

        `within`: the prefix below which they lie, empty for all of the bucket; `granted`: as of `permissions`.
        """
        resource = Resource("Bucket", f"//storage.googleapis.com/projects/_/buckets/{bucket}", project)
        holders, least = self._holders(role, groups), Reach.GRANTED if granted else Reach.ALWAYS
        return frozenset(
            action.permission for action in _ON_BUCKETS if self._furthest(holders, action, resource, within) >= least
        )

    def connects(self, role: str, groups: frozenset[str], project: str, database: str, login: str) -> bool:
        """Whether the policy lets this role and these groups connect to a database as one of its roles, ever."""
        resource = Resource("DatabaseRole", f"//remit/projects/{project}/databases/{database}/roles/{login}", project)
        return self._furthest(self._holders(role, groups), CONNECT, resource) is not Reach.NEVER

    def _furthest(self, holders: tuple[Identity, ...], action: Action, resource: Resource, within: str = "") -> Reach:
        reach = Reach.NEVER
        for identity in holders:
            if reach is not Reach.ALWAYS:
                reach = max(reach, self._reach(identity, action, resource, within))
        return reach

    def _reach(self, identity: Identity, action: Action, resource: Resource, within: str) -> Reach:
        """As the judge weighs it, without its words for what is refused. An error is no permit."""
        request = Request((Operation(action, (resource,), within=within),))
        try:
            return max(self._weighed(identity, request))
        except (Refused, EvaluationFailed) as failure:
            _log.error("policy set %s failed to evaluate %s: %s", self._judge.policy_version, action.id, failure)
            return Reach.NEVER

    def _weighed(self, identity: Identity, request: Request) -> Iterator[Reach]:
        """Outside a run and in one, as things stand and with any grant that could be asked for."""
        book = self._judge.book
        for run in ("", _RUN):
            now = Circumstances(now=_NOW, locations_known=True, job=run)
            hearing = book.ground.hear(gather(identity, request, now, self._estate, self._actions))
            found = weigh(book, hearing)
            if found.clean:
                yield Reach.ALWAYS
                return
            granting = found.allowed or book.together.looked_at(hearing, "grant")
            if granting and any(weigh(book, hearing, granted=one).clean for one in _grants(identity, request, run)):
                yield Reach.GRANTED
            if not granting and not book.together.looked_at(hearing, "job"):
                break
        yield Reach.NEVER

    def _holders(self, role: str, groups: frozenset[str]) -> tuple[Identity, ...]:
        return tuple(self._identity(role, groups, kind) for kind in Kind)

    def _identity(self, role: str, groups: frozenset[str], kind: Kind) -> Identity:
        known = somebody(Principal("", self._tenant, PROBE, kind), groups)
        return replace(known, display=role, roles=frozenset({role}), authentication=_STRONGEST)


def _grants(identity: Identity, request: Request, run: str) -> Iterator[Grant]:
    """As short as can be: approved by as many people as can be, and taken in an emergency."""
    first = request.first
    for hurry in (False, True):
        wanted = Wanted(
            identity.principal.key, first.action.id, first.resources[0], SHORTEST, "", job=run, break_glass=hurry
        )
        yield Grant("g-supposed", wanted, _NOW, _NOW + SHORTEST, 0 if hurry else _EVERYBODY, run)


def somebody(principal: Principal, groups: frozenset[str]) -> Identity:
    """An identity that no token told: of these groups, and of nothing else."""
    return Identity(
        principal=principal,
        display=PROBE,
        groups=groups,
        groups_at=0,
        roles=frozenset(),
        scopes=frozenset(),
        client="",
        authentication=Authentication(),
        guest=False,
        issued_at=0,
        expires_at=0,
        token_id="",
    )
