"""What a condition demands of one attribute of the context, so that it becomes true or false.

Only conditions of a known form are read: an attribute compared with literals. Leaves out everything else (patterns,
arithmetic, two attributes compared), of which nothing is demanded, and how a demand is met (`changes`).
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from cedarpy import pst

from remit.policy.why.trees import attribute, path


class Ask(Enum):
    """What an attribute has to be."""

    TRUE = auto()
    FALSE = auto()
    THERE = auto()
    ONE_OF = auto()
    NONE_OF = auto()
    WITHIN = auto()  # a set that holds nothing but the values
    HOLDS = auto()  # a set that holds all of the values
    HOLDS_ANY = auto()
    LACKS = auto()
    AT_MOST = auto()
    AT_LEAST = auto()
    INSIDE = auto()  # an address of a range
    OUTSIDE = auto()
    BELOW = auto()  # an entity that lies in one of the values


@dataclass(frozen=True, slots=True)
class Demand:
    """`path`: of the attribute, without `context`; `values`: strings, or ids of entities; `number`: a bound."""

    path: tuple[str, ...]
    ask: Ask
    values: tuple[str, ...] = ()
    number: int = 0


_OPPOSITE: Final = {
    Ask.TRUE: Ask.FALSE,
    Ask.ONE_OF: Ask.NONE_OF,
    Ask.NONE_OF: Ask.ONE_OF,
    Ask.HOLDS_ANY: Ask.LACKS,
    Ask.INSIDE: Ask.OUTSIDE,
}
_BOUNDS: Final = {
    "less": (Ask.AT_MOST, -1),
    "less_eq": (Ask.AT_MOST, 0),
    "greater": (Ask.AT_LEAST, 1),
    "greater_eq": (Ask.AT_LEAST, 0),
}
_MIRRORED: Final = {"less": "greater", "less_eq": "greater_eq", "greater": "less", "greater_eq": "less_eq"}


def demand_of(condition: pst.Expr, *, wanted: bool) -> Demand | None:
    """The demand that makes a condition what is wanted; `None` when its form is not known."""
    if isinstance(condition, pst.UnaryOp) and condition.op == "not":
        return demand_of(condition.arg, wanted=not wanted)
    found = _demand(condition)
    return found if wanted or found is None else _opposite(found)


def texts(expr: pst.Expr) -> tuple[str, ...] | None:
    """The strings, or ids of entities, that a literal or a set of literals holds."""
    match expr:
        case pst.StringLit(value):
            return (value,)
        case pst.EntityLit(name):
            return (name.id,)
        case pst.Set(elements):
            found = [texts(each) for each in elements if not isinstance(each, pst.Set)]
            flat = tuple(text for each in found if each for text in each)
            return flat if len(flat) == len(elements) else None
    return None


def _opposite(found: Demand) -> Demand | None:
    match found.ask:
        case Ask.AT_MOST:
            return Demand(found.path, Ask.AT_LEAST, number=found.number + 1)
        case Ask.AT_LEAST:
            return Demand(found.path, Ask.AT_MOST, number=found.number - 1)
        case Ask.HOLDS if len(found.values) == 1:
            return Demand(found.path, Ask.LACKS, found.values)
    ask = _OPPOSITE.get(found.ask)
    return Demand(found.path, ask, found.values) if ask else None


def _demand(condition: pst.Expr) -> Demand | None:
    steps = path(condition)
    if steps:
        return Demand(steps[1:], Ask.TRUE)
    match condition:
        case pst.HasAttr(base, attrs):
            steps = path(attribute(base, attrs))
            return Demand(steps[1:], Ask.THERE) if steps else None
        case pst.UnaryOp("is_empty", arg):
            steps = path(arg)
            return Demand(steps[1:], Ask.WITHIN) if steps else None
        case pst.BinaryOp(op, left, right):
            if path(left):
                return _of_attribute(op, (path(left) or ())[1:], right)
            return _of_literal(op, left, (path(right) or ())[1:]) if path(right) else None
    return None


def _of_attribute(op: pst.BinaryOpName, steps: tuple[str, ...], right: pst.Expr) -> Demand | None:
    """`context.x OP literal`."""
    if isinstance(right, pst.LongLit):
        return _bounded(op, steps, right.value)
    match op, right:
        case "is_in_range", pst.UnaryOp("ip", pst.StringLit(value)):
            return Demand(steps, Ask.INSIDE, (value,))
    asks = {
        "eq": Ask.ONE_OF,
        "not_eq": Ask.NONE_OF,
        "in": Ask.BELOW,
        "contains": Ask.HOLDS,
        "contains_all": Ask.HOLDS,
        "contains_any": Ask.HOLDS_ANY,
    }
    values = texts(right)
    return Demand(steps, asks[op], values) if op in asks and values is not None else None


def _of_literal(op: pst.BinaryOpName, left: pst.Expr, steps: tuple[str, ...]) -> Demand | None:
    """`literal OP context.x`."""
    if isinstance(left, pst.LongLit):
        return _bounded(_MIRRORED.get(op, op), steps, left.value)
    asks = {"eq": Ask.ONE_OF, "not_eq": Ask.NONE_OF, "contains": Ask.ONE_OF, "contains_all": Ask.WITHIN}
    values = texts(left)
    return Demand(steps, asks[op], values) if op in asks and values is not None else None


def _bounded(op: str, steps: tuple[str, ...], number: int) -> Demand | None:
    if op not in _BOUNDS:
        return None
    ask, by = _BOUNDS[op]
    return Demand(steps, ask, number=number + by)
