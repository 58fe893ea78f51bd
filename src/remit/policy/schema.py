"""The Cedar schema: the shipped part, and the actions that this policy set can tell apart.

The catalogue knows some 1,200 actions. Declaring them all was measured at 0.7 s to parse, 9 s to validate eleven
policies and 1 ms more for every decision. So only the actions that a policy names are declared, and each group
gets one stand-in for its other members. That loses nothing: an action has no attributes and Cedar cannot look into
an id, so a policy can only tell apart the actions that it names, and their groups.
Source of the grammar: https://docs.cedarpolicy.com/schema/human-readable-schema.html
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

from remit.model.operation import Group

PRINCIPALS = ("Person", "Workload")
_CHILDREN = re.compile(r"^entity ([A-Z][\w,\s]*?) in \[Project(?:, (\w+))?(?:, \w+)*\];", re.MULTILINE)
_VOCABULARY = re.compile(r"^entity (\w+) enum \[([^\]]*)\];", re.MULTILINE)
_ACTION_ID = re.compile(r"[A-Za-z0-9_./-]+")


@cache
def shipped_text() -> str:
    """The part of the schema that does not depend on the catalogue."""
    return (files("remit.policy") / "remit.cedarschema").read_text(encoding="utf-8")


@cache
def child_types() -> Mapping[str, str]:
    """The entity types that lie in a project, read from the schema itself, each with the type that may lie between."""
    found = _CHILDREN.findall(shipped_text())
    return {name.strip(): between for names, between in found for name in names.split(",")}


@cache
def vocabulary(kind: str) -> frozenset[str]:
    """The ids that an entity type with a closed list can have, read from the schema itself; raises `KeyError`."""
    return {name: frozenset(re.findall(r'"([^"]*)"', ids)) for name, ids in _VOCABULARY.findall(shipped_text())}[kind]


def stand_in(group: Group) -> str:
    """The id of the action that stands for all members of a group that no policy names."""
    return f"any other {group}"


def schema_text(actions: Mapping[str, Group], named: Iterable[str]) -> str:
    """The whole schema: the shipped part, the `named` ones among `actions`, and a stand-in for each group.

    Raises `ValueError` for an action id that could not have come from a catalogue.
    """
    declared = {name: actions[name] for name in sorted(set(named) & set(actions))}
    for name in declared:
        if not _ACTION_ID.fullmatch(name) or name in set(Group):
            raise ValueError(f"`{name}` cannot be an action's id")
    declared |= {stand_in(group): group for group in Group}
    return shipped_text() + "".join(_declaration(name, group) for name, group in declared.items())


def _declaration(name: str, group: Group) -> str:
    resources = ", ".join(sorted({"Installation", "Project", *child_types()}))
    return (
        f'action "{name}" in [Action::"{group}"] appliesTo '
        f"{{ principal: [{', '.join(PRINCIPALS)}], resource: [{resources}], context: Circumstances }};\n"
    )
