"""What the engine is told about a request: entities and context in Cedar's JSON, built from checked words only.

Nothing that came from the wire or a token is ever placed where Cedar looks for `__entity` or `__extn`: such values
are strings, at places where the schema wants strings, and ids stand in explicit `type`/`id` objects. What is not in
the estate is refused here, because the engine would accept it (a permit that names no resource applies to anything).

Two words come from elsewhere and are from closed lists. A country that is not in its list is a database's word for
"somewhere" (`EU`, `ZZ`): it is told as absent, as for an address that the database does not know, and places are then
not known. A risk that is not in its list is a judgement on this very sign-in that nobody here can read: absent would
mean that there is none, so the request is refused.
Source of the forms: https://docs.cedarpolicy.com/auth/entities-syntax.html
"""

import json
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

from remit.model.decision import Circumstances
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.grant import Grant
from remit.model.identity import Authentication, Device, Identity, Kind
from remit.model.job import job
from remit.model.operation import EXPLICIT_ACTIONS, INSTALLATION, Group, Operation, Request, Resource, Work
from remit.model.reasons import Reason
from remit.policy.schema import child_types, vocabulary

ACT_AS = "iam.serviceAccounts.actAs"
PROJECT_PREFIX = "//cloudresourcemanager.googleapis.com/projects/"
CONTAINER_PREFIX = "//blob.core.windows.net/projects/"
BUCKET_PREFIX = "//storage.googleapis.com/projects/_/buckets/"
ACCOUNT_PREFIX = "//iam.googleapis.com/projects/-/serviceAccounts/"

_CONTAINER = re.compile(rf"{re.escape(CONTAINER_PREFIX)}[^/]+/accounts/([^/]+)/containers/([^/]+)")
_DATABASE = re.compile(r"//remit/projects/([^/]+)/databases/([^/]+)(?:/roles/([^/]+))?")
_GOES_ALONG = frozenset({ACT_AS, *(action.id for action in EXPLICIT_ACTIONS)})

Uid = Mapping[str, str]
Entity = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """May this principal do this action to this one resource; a request asks one for each pair.

    `target`: the resource as Cedar knows it.
    """

    operation: Operation
    resource: Resource
    target: Uid = field(compare=False)  # follows from `resource`


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything about one request: who, the questions, and what they are about.

    `resources`: the entities of resources that the base set lacks.
    """

    identity: Identity
    circumstances: Circumstances
    principal: Uid
    questions: tuple[Question, ...]
    resources: tuple[Entity, ...]
    peer: str

    @property
    def job(self) -> str:
        """The job that the caller asks from within, empty for none: the caller's own, whatever its name."""
        return job(self.identity.principal.key, self.circumstances.job_name)

    def entities(self, groups: AbstractSet[str], roles: AbstractSet[str], jobs: AbstractSet[str]) -> tuple[Entity, ...]:
        """The entities that the base set lacks: the caller, in those of their groups, roles and job, and resources."""
        above = [uid("Group", name) for name in sorted(self.identity.groups & groups)]
        above += [uid("Role", name) for name in sorted(self.identity.roles & roles)]
        above += [uid("Job", self.job)] if self.job in jobs else []
        return {**entity(self.principal, *above), "tags": dict(self.identity.attributes)}, *self.resources

    def grants(self, question: Question, granted: Grant | None = None) -> tuple[Grant, ...]:
        """The grants that a question may rest on, `granted` taken as one of them; the policies see the first.

        Those in force for this caller and run that cover its operation, or that cover what the request is named by
        and hold the project of what goes along with it (`_extends_to`). Most approvals first, then the longest.
        """
        held = (*self.circumstances.grants, *((granted,) if granted else ()))
        if not held:
            return ()
        now, run, principal = self.circumstances.now, self.circumstances.job, self.identity.principal.key
        first, asked = self.questions[0].operation, question.operation
        found = [each for each in held if each.holds(principal, run, now) and _extends_to(each, asked, first)]
        return tuple(sorted(found, key=lambda each: (-each.approvals, -each.until, each.id)))

    def context(self, question: Question, completed: frozenset[str] = frozenset(), granted: Grant | None = None) -> str:
        """The context of one question, as if the authentication contexts `completed` were satisfied too.

        `granted`: a grant that is taken as in force besides the caller's own.
        """
        circumstances = self.circumstances
        country = circumstances.country if circumstances.country in vocabulary("Country") else ""
        context: dict[str, Any] = {
            "authentication": _authentication(self.identity.authentication, circumstances.now, completed),
            "device": _device(self.identity.device),
            "guest": self.identity.guest,
            "outlived": sorted(circumstances.outlived),
            "locations": sorted(circumstances.locations),
            "locations_known": circumstances.locations_known and country == circumstances.country,
            "now": _moment(circumstances.now),
        }
        known = {"home": self.identity.home, "peer": self.peer, "job": circumstances.job}
        context |= {name: value for name, value in known.items() if value}
        entities = {
            "country": ("Country", country),
            "risk": ("Risk", circumstances.risk),
            "acts_as": ("ServiceAccount", question.operation.acts_as),
        }
        context |= {name: {"__entity": uid(kind, value)} for name, (kind, value) in entities.items() if value}
        grants = self.grants(question, granted)
        return json.dumps(context | _asked(question.operation) | ({"grant": _grant(grants[0])} if grants else {}))


def _extends_to(grant: Grant, asked: Operation, first: Operation) -> bool:
    """Whether a grant covers an operation, or what it accompanies: a job's bucket and account are part of the job.

    What could be asked for by itself is no part of it: another action, another model of one call, another bucket.
    """
    if grant.covers(asked):
        return True
    project = grant.wanted.resource.project
    inside = bool(project) and all(each.project == project for each in asked.resources)
    return inside and _goes_along(asked, first) and grant.covers(first)


def _goes_along(asked: Operation, first: Operation) -> bool:
    stored = asked.action == first.action and all(each.type == "Bucket" for each in asked.resources)
    return asked.action.id in _GOES_ALONG or (stored and first.resources[0].type != "Bucket")


def _grant(grant: Grant) -> dict[str, Any]:
    return {
        "id": grant.id,
        "approvals": grant.approvals,
        "break_glass": grant.wanted.break_glass,
        "since": _moment(grant.since),
        "until": _moment(grant.until),
        "lasting": grant.wanted.lasting,
        "job": bool(grant.wanted.job),
    }


def _asked(operation: Operation) -> dict[str, Any]:
    """What an operation says beyond its action and resources."""
    told: dict[str, Any] = {}
    if operation.work:
        told["work"] = _work(operation.work)
    if operation.within:
        told["within"] = operation.within
    if operation.asked:
        told["asked"] = {each.name: getattr(operation.asked, each.name) for each in fields(operation.asked)}
    return told


@lru_cache(1_000)
def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _work(work: Work) -> dict[str, Any]:
    """Every field by its own name: the schema has the same."""
    told = {each.name: getattr(work, each.name) for each in fields(work)}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in told.items()}


def _authentication(found: Authentication, now: int, completed: frozenset[str]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "methods": sorted(found.methods),
        "contexts": sorted(found.contexts | completed),
        "capabilities": sorted(found.capabilities),
    }
    # completing a challenge may rest on an older sign-in, so it makes nobody younger; nor does a clock that runs ahead
    return told | ({"age": max(0, now - found.at)} if found.at else {})


def _device(device: Device) -> dict[str, Any]:
    told: dict[str, Any] = {
        "managed": device.managed,
        "compliant": device.compliant,
        "known_network": device.known_network,
    }
    return told | ({"id": device.id} if device.id else {})


def uid(kind: str, identifier: str) -> Uid:
    """An entity's id in the explicit form, in which no character of `identifier` means anything."""
    return {"type": kind, "id": identifier}


def entity(name: Uid, *parents: Uid) -> Entity:
    """An entity that has no attributes, and what it is a member of."""
    return {"uid": name, "attrs": {}, "parents": list(parents)}


def base_entities(estate: Estate) -> str:
    """The entities that every decision shares: environments and projects. Actions come from the schema."""
    environments = sorted({project.environment for project in estate.projects})
    entities = [entity(uid("Environment", name)) for name in environments]
    entities += [entity(uid("Project", each.id), uid("Environment", each.environment)) for each in estate.projects]
    return json.dumps(entities)


def gather(
    identity: Identity,
    request: Request,
    circumstances: Circumstances,
    estate: Estate,
    actions: Mapping[str, Group],
) -> Facts:
    """The facts of one request; raises `Refused` for what the catalogue or the estate does not know."""
    _check_risk(circumstances.risk)
    questions: list[Question] = []
    entities: dict[str, Entity] = {}
    for operation in request.operations:
        _check_action(operation, actions)
        _check_acts_as(operation, request)
        for resource in operation.resources:
            target = resource_uid(resource, estate)
            questions.append(Question(operation, resource, target))
            if resource == INSTALLATION:
                entities["installation"] = entity(target)
            elif resource.type != "Project":  # projects are in the base set
                _place(entities, resource, target)
    return Facts(
        identity=identity,
        circumstances=circumstances,
        principal=uid("Person" if identity.principal.kind is Kind.PERSON else "Workload", identity.principal.key),
        questions=tuple(questions),
        resources=tuple(entities.values()),
        peer=_peer(circumstances.peer),
    )


def _place(entities: dict[str, Entity], resource: Resource, target: Uid) -> None:
    """Puts a resource into its project, and below those that it lies in, if there are any."""
    parents = [uid("Project", resource.project)]
    for above in _above(resource):
        entities.setdefault(f"{above['type']} {above['id']}", entity(above, *parents))
        parents.append(above)
    entities[f"{resource.type} {target['id']}"] = entity(target, *parents)


def _above(resource: Resource) -> Iterator[Uid]:
    """The resources that another one lies in, outermost first: each is the first parts of its name.

    What is said of a served model holds for each of its versions and labels: a request may name any of them.
    """
    between = child_types().get(resource.type)
    service, _, relative = resource.name.removeprefix("//").partition("/")
    segments = relative.split("/")
    # projects/P/services/S, projects/P/databases/D, or a collection's
    lengths = {between: 4 if between in {"Service", "Database"} else 6} if between else {}
    lengths |= {resource.type: 6} if resource.type == "ServedModel" else {}  # projects/P/services/S/models/M
    for kind, length in lengths.items():
        if len(segments) > length:
            yield uid(kind, f"//{service}/{'/'.join(segments[:length])}")


def resource_uid(resource: Resource, estate: Estate) -> Uid:
    """The resource's Cedar id; raises `Refused` unless the estate knows it or, for a child, its project."""
    if resource == INSTALLATION:
        return uid("Installation", "remit")
    project = estate.project(resource.project)
    if project is None or project.id != resource.project:
        raise _unknown(resource)
    identifier = _identifier(resource)
    if resource.type == "Bucket" and estate.owner_of_bucket(identifier) != project:
        raise _unknown(resource)
    if resource.type == "Container" and estate.owner_of_container(_container(resource)) != project:
        raise _unknown(resource)
    if resource.type in {"Database", "DatabaseRole"} and not _has_database(estate, resource):
        raise _unknown(resource)
    if resource.type == "Operation" and resource.name.startswith(BUCKET_PREFIX):  # an upload that is under way
        bucket = resource.name.removeprefix(BUCKET_PREFIX).partition("/")[0]
        if estate.owner_of_bucket(bucket) != project:
            raise _unknown(resource)
    if resource.type == "ServiceAccount" and estate.owner_of_account(identifier) != project:
        raise _unknown(resource)
    return uid(resource.type, identifier)


def _identifier(resource: Resource) -> str:
    prefixes = {"Project": PROJECT_PREFIX, "Bucket": BUCKET_PREFIX, "ServiceAccount": ACCOUNT_PREFIX}
    prefix = prefixes.get(resource.type)
    if prefix is not None:
        identifier = resource.name.removeprefix(prefix)
        known = resource.name.startswith(prefix) and (resource.type != "Project" or identifier == resource.project)
    else:
        identifier = resource.name
        service, _, relative = resource.name.removeprefix("//").partition("/")
        upload = resource.type == "Operation" and resource.name.startswith(BUCKET_PREFIX)
        inside = upload or relative.startswith(f"projects/{resource.project}/")
        known = resource.type in child_types() and resource.name.startswith("//") and bool(service) and inside
    if not known:
        raise _unknown(resource)
    return identifier


def _container(resource: Resource) -> str:
    """`ACCOUNT/CONTAINER` of a container's canonical name, empty for another form."""
    found = _CONTAINER.fullmatch(resource.name)
    return f"{found[1]}/{found[2]}" if found else ""


def _has_database(estate: Estate, resource: Resource) -> bool:
    """Whether a database, or a role of one, stands in the estate, in just this project."""
    found = _DATABASE.fullmatch(resource.name)
    database = estate.database(found[2]) if found else None
    if found is None or database is None or not database.project == resource.project == found[1]:
        return False
    return found[3] in database.roles if resource.type == "DatabaseRole" else found[3] is None


def _check_risk(risk: str) -> None:
    if risk and risk not in vocabulary("Risk"):
        raise Refused(Reason.POLICY_ERROR, "the risk of this sign-in could not be read")


def _check_action(operation: Operation, actions: Mapping[str, Group]) -> None:
    """A whole group is an action too: it stands for those of its members that no policy names."""
    if operation.action.id == str(operation.action.group):
        return
    known = actions.get(operation.action.id)
    if known is None:
        raise Refused(Reason.METHOD_UNKNOWN, f"`{operation.action.id}` is not an action that policies know")
    if known is not operation.action.group:  # the catalogue contradicts itself: nobody can say what was meant
        raise Refused(Reason.POLICY_ERROR, f"`{operation.action.id}` is in two action groups")


def _check_acts_as(operation: Operation, request: Request) -> None:
    """An operation that runs as an account is decided only beside the question whether it may."""
    if not operation.acts_as:
        return
    name = ACCOUNT_PREFIX + operation.acts_as
    asked = any(
        other.action.id == ACT_AS and any(resource.name == name for resource in other.resources)
        for other in request.operations
    )
    if not asked:
        raise Refused(Reason.POLICY_ERROR, f"the request runs as `{operation.acts_as}` and does not ask to act as it")


@lru_cache(1_000)  # callers keep their address, and reading one takes a fortieth of a decision (measured)
def _peer(address: str) -> str:
    """The address in one spelling: IPv4 inside IPv6 is IPv4, so that a range rule cannot be walked around."""
    if not address:
        return ""
    try:
        parsed = ip_address(address)
    except ValueError:
        raise Refused(Reason.POLICY_ERROR, "the caller's network address could not be read") from None
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Address(int(parsed)))  # a zone (`%eth0`) is no part of the address
    return str(parsed)


def _unknown(resource: Resource) -> Refused:
    return Refused(Reason.RESOURCE_UNKNOWN, f"{resource.type} `{resource.name}` belongs to no known project")
