"""Who holds which role where: the role assignments of Contoso's subscription, as they stand and as they are seen.

A role holds at its scope and below; one assigned to a group holds for everybody in it. A change is seen by readers and
by whoever enforces it only after the `lag`. An assignment whose condition `arm_conditions` does not understand gives
nothing. Source: learn.microsoft.com/azure/role-based-access-control/overview.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from remit.lab import contoso_azure as azure
from remit.lab.arm_conditions import Asked, UnknownConditionError, understood
from remit.lab.arm_errors import ArmError
from remit.lab.arm_roles import ROLES, named
from remit.lab.arm_scopes import reaches
from remit.lab.contoso_shapes import RoleAssignment
from remit.lab.lag import Lag, Slowly

_BORN = "2025-01-06T08:00:00.0000000Z"


@dataclass(frozen=True, slots=True)
class Assignment:
    """One role assignment. `name`: a GUID; `scope`: canonical; `role`: a role definition's GUID; `kind`: of principal.

    `more`: `description`, `condition`, `conditionVersion`, as far as given; `by`: object id of whoever made it.
    """

    name: str
    scope: str
    role: str
    principal: str
    kind: str = "ServicePrincipal"
    more: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""
    created: str = _BORN
    updated: str = _BORN

    @property
    def resource(self) -> str:
        """Its Resource Manager id."""
        return f"{self.scope}/providers/Microsoft.Authorization/roleAssignments/{self.name}"

    @property
    def held(self) -> tuple[str, str, str]:
        """Who holds what where: of these Azure keeps each once."""
        return self.scope, self.role, self.principal

    def describe(self) -> dict[str, Any]:
        """As the API tells it."""
        return {
            "properties": {
                "roleDefinitionId": ROLES[self.role].resource(azure.SUBSCRIPTION),
                "principalId": self.principal,
                "principalType": self.kind,
                "scope": self.scope,
                "condition": self.more.get("condition"),
                "conditionVersion": self.more.get("conditionVersion"),
                "createdOn": self.created,
                "updatedOn": self.updated,
                "createdBy": self.by,
                "updatedBy": self.by,
                "delegatedManagedIdentityResourceId": None,
                "description": self.more.get("description"),
            },
            "id": self.resource,
            "type": "Microsoft.Authorization/roleAssignments",
            "name": self.name,
        }


class Assignments:
    """All role assignments. `groups`: object id → the ids of every group that it is in, nested ones included."""

    def __init__(
        self,
        born: Iterable[RoleAssignment] = azure.ASSIGNMENTS,
        groups: Callable[[str], Iterable[str]] = lambda _: (),
        lag: Lag | None = None,
    ) -> None:
        self.lag = lag or Lag()
        self._groups = groups
        self._kept: Slowly[str, Assignment] = Slowly(self.lag)
        for each in (*azure.ADMINISTRATION, *azure.ITSELF, *born):
            self._kept.put(_key(made := _born(each)), made)

    def seen(self) -> tuple[Assignment, ...]:
        """What readers see at present."""
        return tuple(self._kept.all_seen().values())

    def find(self, scope: str, name: str) -> Assignment | None:
        """One that readers see, by its name at a scope."""
        return next((each for each in self.seen() if (each.scope, each.name) == (scope, name)), None)

    def put(self, asked: Assignment) -> bool:
        """Make one; false when it is there already under this name, and then only `more` changes. Raises `ArmError`."""
        there = self._kept.all_written()
        old = there.get(_key(asked))
        if old is not None:
            if old.held != asked.held:
                raise ArmError(
                    HTTPStatus.FORBIDDEN,
                    "RoleAssignmentUpdateNotPermitted",
                    "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
                )
            self._kept.put(_key(old), replace(old, more=asked.more, updated=asked.updated))
            return False
        twin = next((each for each in there.values() if each.held == asked.held), None)
        if twin is not None:
            raise ArmError(
                HTTPStatus.CONFLICT,
                "RoleAssignmentExists",
                f"The role assignment already exists. The ID of the existing role assignment is {_short(twin.name)}.",
            )
        self._kept.put(_key(asked), asked)
        return True

    def remove(self, scope: str, name: str) -> Assignment | None:
        """Take one away; `None` when there was none."""
        key = f"{scope}/{name}"
        old = self._kept.written(key)
        self._kept.drop(key)
        return old

    def permits(self, oid: str, action: str, scope: str, *, data: bool = False, asked: Asked | None = None) -> bool:
        """Whether a principal may do this at a scope, by what is seen at present.

        `asked`: what conditions are held against besides the action.
        """
        those = self._giving(oid, action, scope, data=data)
        return any(_holds(each, asked or Asked(action)) for each in those)

    def unread(self, oid: str, action: str, scope: str, *, data: bool = False) -> str:
        """Why conditions that stand between a principal and an action cannot be evaluated, empty where they can."""
        return " ".join(filter(None, map(_unread, self._giving(oid, action, scope, data=data))))

    def _giving(self, oid: str, action: str, scope: str, *, data: bool) -> Iterator[Assignment]:
        """The assignments that would permit it but for their conditions."""
        holders = self.holders(oid)
        for each in self.seen():
            held = each.principal in holders and reaches(each.scope, scope)
            if held and ROLES[each.role].permits(action, data=data):
                yield each

    def holders(self, oid: str) -> frozenset[str]:
        """A principal and every group that it is in: what any of these holds it has."""
        return frozenset({oid.lower(), *(group.lower() for group in self._groups(oid))})

    def commands(self) -> Mapping[str, Callable[[Any], object]]:
        """For the control door: `assign`, `unassign` take `principal`, `role` and `container` or `scope`.

        `assign` takes a `condition`, too; without one it takes away what one there was.
        """
        return {
            "assign": lambda given: self.assign(_given(given), given.get("condition", "")),
            "unassign": lambda given: self._take(_given(given)),
        }

    def assign(self, given: RoleAssignment, condition: str = "") -> None:
        """Make one unless the same is there."""
        born = _born(given)
        there = (each for each in self._kept.all_written().values() if each.held == born.held)
        made = next(there, None) or born
        more = {"condition": condition, "conditionVersion": "2.0"} if condition else {}
        if made is born or made.more.get("condition", "") != condition:
            self._kept.put(_key(made), replace(made, more=more))

    def _take(self, given: RoleAssignment) -> None:
        wanted = _born(given).held
        for key, each in self._kept.all_written().items():
            if each.held == wanted:
                self._kept.drop(key)


def _holds(each: Assignment, asked: Asked) -> bool:
    condition = each.more.get("condition")
    try:
        return not condition or understood(str(condition))(asked)
    except UnknownConditionError:
        return False


def _unread(each: Assignment) -> str:
    try:
        if each.more.get("condition"):
            understood(str(each.more["condition"]))
    except UnknownConditionError as unknown:
        return f"The lab cannot evaluate the condition of role assignment {each.name}: {unknown}."
    return ""


def _key(each: Assignment) -> str:
    return f"{each.scope}/{each.name}"


def _born(given: RoleAssignment) -> Assignment:
    role = named(given.role).id
    name = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{given.scope} {role} {given.principal}"))
    return Assignment(name, given.scope, role, given.principal.lower())


def _given(given: Mapping[str, str]) -> RoleAssignment:
    scope = given.get("scope") or azure.container_scope(given["container"])
    return RoleAssignment(given["principal"], scope, given["role"])


def _short(guid: str) -> str:
    """A GUID as Azure writes it in sentences."""
    return guid.replace("-", "")
