"""The trust of one installation: who reviews it, and what the policy lets each role do.

What is asked of the clouds with these: `trust_plan`, `trust_verifying`.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from remit.assembly import rooms
from remit.catalogue import methods
from remit.catalogue.store import DELETE, GET, INSERT, LIST
from remit.model.decision import Circumstances
from remit.model.estate import Estate
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.secret import AccessToken
from remit.policy.judge import CedarJudge

_SCOPE = ("https://www.googleapis.com/auth/cloud-platform",)
REVIEW_LIFETIME = 900  # seconds
PROBE = "trust-verify"
"""Whom Google's log names: a workload that nobody is."""

_NOW = 1  # any moment that is not 0, which means unknown: nobody's sign-in is older
_STRONGEST = Authentication(frozenset({"pwd", "mfa"}), frozenset(f"c{number}" for number in range(1, 100)), at=_NOW)
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


class PolicyWants:
    """What the policy lets a role do, asked of the policy itself for everything that the gateway serves."""

    def __init__(self, judge: CedarJudge, estate: Estate, tenant: str) -> None:
        self._judge = judge
        self._estate = estate
        self._tenant = tenant
        self._known: dict[tuple[str, frozenset[str], str], frozenset[str]] = {}
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

    def permissions(self, role: str, groups: frozenset[str], project: str) -> frozenset[str]:
        """IAM permissions of what the policy permits this role and these groups, at their strongest.

        People and workloads may hold one role: what either is permitted, the account must be able to do. Worked out
        once.
        """
        if (role, groups, project) not in self._known:
            self._known[role, groups, project] = self._permitted(role, groups, project)
        return self._known[role, groups, project]

    def _permitted(self, role: str, groups: frozenset[str], project: str) -> frozenset[str]:
        holders = [self._identity(role, groups, kind) for kind in Kind]
        ground, permits = self._judge.book.ground, dict[str, bool]()
        found = set[str]()
        for action in self._served.values():
            # all that the engine knows by one name are one question to it: nothing else of these requests differs
            known = ground.action(action.id, action.group)["id"]
            if known not in permits:
                permits[known] = any(self._permits(identity, action, project) for identity in holders)
            if permits[known]:
                found.add(action.permission)
        return frozenset(found)

    def governed_on_buckets(self) -> frozenset[str]:
        """IAM permissions of what tokens for buckets are good for."""
        return frozenset(action.permission for action in _ON_BUCKETS)

    def on_bucket(self, role: str, groups: frozenset[str], project: str, bucket: str) -> frozenset[str]:
        """IAM permissions of what the policy permits this role and these groups with a bucket's objects."""
        resource = Resource("Bucket", f"//storage.googleapis.com/projects/_/buckets/{bucket}", project)
        holders = [self._identity(role, groups, kind) for kind in Kind]
        return frozenset(
            action.permission
            for action in _ON_BUCKETS
            if any(self._decided(identity, action, resource) for identity in holders)
        )

    def _permits(self, identity: Identity, action: Action, project: str) -> bool:
        found = self._estate.project(project)
        if found is None:
            return False
        resource = Resource("Project", f"//cloudresourcemanager.googleapis.com/projects/{found.id}", found.id)
        return self._decided(identity, action, resource)

    def _decided(self, identity: Identity, action: Action, resource: Resource) -> bool:
        request = Request((Operation(action, (resource,)),))
        now = Circumstances(now=_NOW, locations_known=True)
        return self._judge.decide(identity, request, now).outcome is Outcome.PERMIT

    def _identity(self, role: str, groups: frozenset[str], kind: Kind) -> Identity:
        known = somebody(Principal("", self._tenant, PROBE, kind), groups)
        return replace(known, display=role, roles=frozenset({role}), authentication=_STRONGEST)


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
