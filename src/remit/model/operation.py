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

    `type`: the schema's entity type (`Project`, `CustomJob`, `Model`, `Endpoint`, `Operation`, `Bucket`,
    `LogView`, `ServiceAccount`); `name`: canonical full name, `//SERVICE/RELATIVE_NAME`, project by id;
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


@dataclass(frozen=True, slots=True)
class Operation:
    """One action with every resource that it touches; `resources[0]` is the one it is named by.

    `acts_as`: e-mail of the service account that the work will run as, empty when none is named.
    """

    action: Action
    resources: tuple[Resource, ...]
    acts_as: str = ""

    def __post_init__(self) -> None:
        if not self.resources:
            message = "an operation touches at least one resource"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Request:
    """All operations that one wire request asks for, never empty.

    `lease_key_fields`: names of the walked body fields that a lease's key must hold (gRPC), and
    `leasable`: whether the gateway may repeat a permit without asking (DESIGN section 5).
    """

    operations: tuple[Operation, ...]
    leasable: bool = False
    lease_key_fields: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.operations:
            message = "a request holds at least one operation"
            raise ValueError(message)

    @property
    def first(self) -> Operation:
        """The operation that the request is named by."""
        return self.operations[0]
