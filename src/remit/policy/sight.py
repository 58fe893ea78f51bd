"""What of the context a policy looks at: what it does not look at cannot change what it says."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from cedarpy import pst

WHOLE = ""
"""For a context that is looked at as a whole: it is no name of an attribute of its own."""


def looked_at(policy: pst.Template) -> frozenset[str]:
    """The attributes of the context that the conditions name, `WHOLE` among them for all."""
    found: set[str] = set()
    left: list[Any] = list(policy.clauses)
    while left:
        match left.pop():
            case pst.GetAttr(pst.Var("context"), attribute):
                found.add(attribute)
            case pst.HasAttr(pst.Var("context"), attributes):
                found.add(attributes[0])
            case pst.Var("context"):
                found.add(WHOLE)
            case Mapping() as node:
                left += node.values()
            case tuple() as node:
                left += node
            case node if is_dataclass(node) and not isinstance(node, type):
                left += (getattr(node, each.name) for each in fields(node))
    return frozenset(found)
