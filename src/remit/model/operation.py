"""What is being asked: operations on resources, in the providers' own terms.

A request is a non-empty set of operations; a permit needs them all (DESIGN section 2).
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Group(StrEnum):
    """The action groups, from weakest to strongest. A method that publishes no permission is `ADMINISTER`."""

    USE = "use"
    OBSERVE = "observe"
    LAUNCH = "launch"
    CHANGE = "change"
    ADMINISTER = "administer"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be done.

    `id`: the provider's method id (`aiplatform.projects.locations.endpoints.predict`);
    `permission`: its IAM permission where one is published, else empty.
    """

    id: str
    group: Group
    permission: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """What an action is done to.

    `type`: the schema's entity type (`Project`, `CustomJob`, `Model`, `Endpoint`, `Operation`, `Bucket`, `LogView`,
    `ServiceAccount`, `Service`, …); `name`: canonical full name, `//SERVICE/RELATIVE_NAME`, project by id;
    `project`: the project's id in `remit.yaml`.
    """

    type: str
    name: str
    project: str


INSTALLATION = Resource("Installation", "//remit/installation", "")
"""Remit itself, for the actions of its own API; it belongs to no project."""

OWN_ACTIONS = (
    Action("remit.revocations.create", Group.ADMINISTER),
    Action("remit.revocations.lift", Group.ADMINISTER),
    Action("remit.revocations.list", Group.OBSERVE),
)
"""What can be done to the installation."""

GRANTS_REQUEST = Action("remit.grants.request", Group.OBSERVE)
GRANTS_APPROVE = Action("remit.grants.approve", Group.ADMINISTER)
GRANTS_BREAK_GLASS = Action("remit.grants.break_glass", Group.ADMINISTER)
ACCESS_QUERY = Action("remit.access.query", Group.ADMINISTER)
DECISIONS_EXPLAIN = Action("remit.decisions.explain", Group.ADMINISTER)
RUNS_START = Action("remit.runs.start", Group.USE)

ACCESS_ACTIONS = (GRANTS_REQUEST, GRANTS_APPROVE, GRANTS_BREAK_GLASS, ACCESS_QUERY, DECISIONS_EXPLAIN, RUNS_START)
"""What can be done about a resource, or the installation: ask for a grant (which whoever a grant would permit may),
approve one, take one without waiting, ask who may what, see why with all policies, and begin a run that works in a
project (`remit run`, which starts nothing at a cloud)."""

UNTYPED = Action("remit.messages.untyped", Group.ADMINISTER)
"""Sending a message with parts that nobody can read beforehand: task inputs, pipeline specs, free JSON."""

EXTERNAL = Action("remit.messages.external", Group.ADMINISTER)
"""Sending a message that names what is none of Google's: a web address, a file server, somebody's search or drive."""

OTHERS = Action("remit.works.others", Group.ADMINISTER)
"""Reading or ending what somebody else started: their long-running operations and jobs."""

EXPLICIT_ACTIONS = (UNTYPED, EXTERNAL, OTHERS)
"""What a request asks for besides its method, each a permission of its own that no action group below
`administer` grants."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a launch or a change asks of the cloud: the guardrails that policy may set.

    `machines`, `accelerators`: Google's type names (`n1-standard-4`, `NVIDIA_TESLA_T4`); `accelerator_count`: of all
    replicas together; `replicas`: likewise, at the most that the message allows; `region`; `images`: container images
    as named; `registries`: `HOST/PROJECT/REPOSITORY` of each, or what stands before its last slash; `networks`:
    canonical names; `buckets`: names; `urls`: hosts of web addresses; `environment`: names of environment variables;
    `labels`: `key=value`; `duration`: the longest that it may run, in seconds, 0 when the message sets no end;
    `interactive`: whether somebody could log in to it while it runs (`enableWebAccess`, dashboards).
    """

    region: str = ""
    machines: frozenset[str] = frozenset()
    accelerators: frozenset[str] = frozenset()
    accelerator_count: int = 0
    replicas: int = 0
    images: frozenset[str] = frozenset()
    registries: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    buckets: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()
    environment: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    duration: int = 0
    interactive: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """The grant that an approval is about. `action`: method id or group; `lasting`: seconds; `by`: `Principal.key`."""

    action: str
    lasting: int
    by: str
    break_glass: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One action with every resource that it touches; `resources[0]` is the one it is named by.

    `acts_as`: e-mail of the service account that the work will run as, empty when none is named; `work`: what it asks
    of the cloud, `None` where it starts and changes nothing; `within`: the part of the first resource that is meant (an
    object's name, a path of a service), and for an action of `EXPLICIT_ACTIONS` the id of the method that asks for it;
    `asked`: for `remit.grants.*`, what is to be granted.
    """

    action: Action
    resources: tuple[Resource, ...]
    acts_as: str = ""
    work: Work | None = None
    within: str = ""
    asked: Asked | None = None

    def __post_init__(self) -> None:
        if not self.resources:
            message = "an operation touches at least one resource"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Request:
    """All operations that one wire request asks for, never empty.

    `lease_key_fields`: names of the walked body fields that a lease's key must hold (gRPC), and
    `leasable`: whether the gateway may repeat a permit without asking (DESIGN section 5); `starts`: whether the answer
    names something that belongs to the caller from then on; `stampable`: whether its message has room for labels.
    """

    operations: tuple[Operation, ...]
    leasable: bool = False
    lease_key_fields: tuple[str, ...] = field(default=())
    starts: bool = False
    stampable: bool = False

    def __post_init__(self) -> None:
        if not self.operations:
            message = "a request holds at least one operation"
            raise ValueError(message)

    @property
    def first(self) -> Operation:
        """The operation that the request is named by."""
        return self.operations[0]
