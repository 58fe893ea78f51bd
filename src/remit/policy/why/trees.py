"""Reading a policy's tree: its parts, the attributes that a part names, and how Cedar writes it.

The engine writes a tree with brackets around everything; here only those stay that the grammar needs. Leaves out
what a part evaluates to (`probes`) and what would change that (`repairs`).
Source of the grammar and its precedence: https://docs.cedarpolicy.com/policies/syntax-grammar.html
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Final

from cedarpy import pst

_WORD = re.compile(r"[A-Za-z_]\w*")
_OR, _AND, _RELATION, _SUM, _PRODUCT, _UNARY, _MEMBER = range(1, 8)
_INFIX: Final = {
    "or": ("||", _OR),
    "and": ("&&", _AND),
    "eq": ("==", _RELATION),
    "not_eq": ("!=", _RELATION),
    "less": ("<", _RELATION),
    "less_eq": ("<=", _RELATION),
    "greater": (">", _RELATION),
    "greater_eq": (">=", _RELATION),
    "in": ("in", _RELATION),
    "add": ("+", _SUM),
    "sub": ("-", _SUM),
    "mul": ("*", _PRODUCT),
}
_METHODS: Final = {
    "decimal_less_than": "lessThan",
    "decimal_less_eq": "lessThanOrEqual",
    "decimal_greater": "greaterThan",
    "decimal_greater_eq": "greaterThanOrEqual",
    "is_ipv4": "isIpv4",
    "is_ipv6": "isIpv6",
}
_FUNCTIONS = frozenset({"datetime", "decimal", "duration", "ip"})

Scope = pst.PrincipalOrResourceConstraint | pst.ActionConstraint


def scope_parts(tree: pst.Template) -> tuple[pst.Expr, ...]:
    """What a policy's head demands of principal, action and resource, as expressions; nothing where it demands none."""
    found = (
        _scope(pst.Var("principal"), tree.principal),
        _scope(pst.Var("action"), tree.action),
        _scope(pst.Var("resource"), tree.resource),
    )
    return tuple(part for part in found if part is not None)


def subject(part: pst.Expr) -> pst.Expr | None:
    """What a part of a head is about: the principal, the action or the resource."""
    match part:
        case pst.BinaryOp(_, left, _):
            return left
        case pst.Is(base, _, _):
            return base
    return None


def leaves(expr: pst.Expr) -> Iterator[pst.Expr]:
    """The conditions that `&&`, `||`, `!` and `if` join, in their order; a negated condition stays in one piece."""
    match expr:
        case pst.BinaryOp("and" | "or", left, right):
            yield from leaves(left)
            yield from leaves(right)
        case pst.UnaryOp("not", pst.BinaryOp("and" | "or") | pst.UnaryOp("not") | pst.IfThenElse() as inner):
            yield from leaves(inner)
        case pst.IfThenElse(condition, then, otherwise):
            for each in (condition, then, otherwise):
                yield from leaves(each)
        case pst.BoolLit():
            return  # `true` sees nothing
        case _:
            yield expr


def path(expr: pst.Expr) -> tuple[str, ...] | None:
    """The attribute that an expression is, from `context` on (`context`, `device`, `compliant`); `None` for others."""
    match expr:
        case pst.Var("context"):
            return ("context",)
        case pst.GetAttr(base, attr):
            above = path(base)
            return (*above, attr) if above else None
    return None


def named(expr: pst.Expr) -> tuple[pst.Expr, ...]:
    """What a condition looks at: variables, attributes of the context, tags of the principal; each once."""
    return tuple(dict.fromkeys(_named(expr)))


def as_cedar(expr: pst.Expr) -> str:
    """An expression as Cedar writes it, on one line."""
    return _written(expr, 0)


def quoted(text: str) -> str:
    """A string as Cedar writes it."""
    return '"' + "".join(map(_escaped, text)) + '"'


def entity_name(name: pst.EntityUid) -> str:
    """An entity's id as Cedar writes it."""
    return f"{name.type}::{quoted(name.id)}"


def _scope(var: pst.Var, scope: Scope) -> pst.Expr | None:
    match scope:
        case pst.ScopeEq(pst.EntityUid() as name) | pst.ActionEq(name):
            return pst.BinaryOp("eq", var, pst.EntityLit(name))
        case pst.ScopeIn(pst.EntityUid() as name) | pst.ActionIn((name,)):
            return pst.BinaryOp("in", var, pst.EntityLit(name))
        case pst.ActionIn(names):
            return pst.BinaryOp("in", var, pst.Set(tuple(map(pst.EntityLit, names))))
        case pst.ScopeIs(kind):
            return pst.Is(var, kind, None)
        case pst.ScopeIsIn(kind, pst.EntityUid() as name):
            return pst.Is(var, kind, pst.EntityLit(name))
    return None


def _named(node: Any) -> Iterator[pst.Expr]:
    match node:
        case pst.GetAttr() if path(node):
            yield node
        case pst.HasAttr(base, attrs) if path(base):
            yield attribute(base, attrs)
        case pst.BinaryOp("get_tag" | "has_tag", left, right):
            yield pst.BinaryOp("get_tag", left, right)
        case pst.Var():
            yield node
        case _:
            for each in _inside(node):
                yield from _named(each)


def attribute(base: pst.Expr, attrs: Iterable[str]) -> pst.Expr:
    """What stands below `base` at these steps."""
    for attr in attrs:
        base = pst.GetAttr(base, attr)
    return base


def _inside(node: Any) -> Iterable[Any]:
    """What a node of a tree holds: nodes, tuples, maps and plain values."""
    if isinstance(node, dict):
        return node.values()
    if isinstance(node, tuple):
        return node
    return [getattr(node, each.name) for each in fields(node)] if is_dataclass(node) else ()


def _written(expr: pst.Expr, around: int) -> str:
    text, strength = _told(expr)
    return f"({text})" if strength < around else text


def _told(expr: pst.Expr) -> tuple[str, int]:
    """An expression's text and how strongly it holds together."""
    match expr:
        case pst.BinaryOp(op, left, right) if op in _INFIX:
            sign, strength = _INFIX[op]
            # relations do not chain; the others lean to the left
            text = f"{_written(left, strength + (strength == _RELATION))} {sign} {_written(right, strength + 1)}"
        case pst.HasAttr() | pst.Like() | pst.Is():
            text, strength = f"{_written(expr.base, _SUM)} {_question(expr)}", _RELATION
        case pst.UnaryOp("neg", pst.LongLit(value)):  # without brackets it would be another literal
            text, strength = f"-({value})", _UNARY
        case pst.UnaryOp("not" | "neg" as op, arg):
            text, strength = ("!" if op == "not" else "-") + _written(arg, _MEMBER), _UNARY
        case pst.IfThenElse(condition, then, otherwise):
            text, strength = f"if {as_cedar(condition)} then {as_cedar(then)} else {as_cedar(otherwise)}", 0
        case _:
            text, strength = _call(expr) or _collection(expr) or _literal(expr), _MEMBER
    return text, strength


def _question(expr: pst.HasAttr | pst.Like | pst.Is) -> str:
    match expr:
        case pst.HasAttr(_, attrs):
            return "has " + (".".join(attrs) if all(map(_WORD.fullmatch, attrs)) else quoted(attrs[0]))
        case pst.Like(_, pattern):
            text = "".join("*" if isinstance(each, pst.Wildcard) else _pattern(each.value) for each in pattern)
            return f'like "{text}"'
        case pst.Is(_, kind, inside):
            return f"is {kind}" + (f" in {_written(inside, _SUM)}" if inside else "")


def _call(expr: pst.Expr) -> str:
    match expr:
        case pst.GetAttr(base, attr):
            return _written(base, _MEMBER) + (f".{attr}" if _WORD.fullmatch(attr) else f"[{quoted(attr)}]")
        case pst.BinaryOp(op, left, right):
            return f"{_written(left, _MEMBER)}.{_method(op)}({as_cedar(right)})"
        case pst.UnaryOp(op, arg) if op in _FUNCTIONS:
            return f"{op}({as_cedar(arg)})"
        case pst.UnaryOp(op, arg):
            return f"{_written(arg, _MEMBER)}.{_method(op)}()"
    return ""


def _collection(expr: pst.Expr) -> str:
    match expr:
        case pst.Set(elements):
            return f"[{', '.join(map(as_cedar, elements))}]"
        case pst.Record(found):
            return "{" + ", ".join(f"{quoted(name)}: {as_cedar(value)}" for name, value in found.items()) + "}"
    return ""


def _literal(expr: pst.Expr) -> str:
    match expr:
        case pst.BoolLit(value):
            return str(value).lower()
        case pst.StringLit(value):
            return quoted(value)
        case pst.EntityLit(value):
            return entity_name(value)
        case pst.LongLit(value):
            return str(value)
        case pst.Var(name):
            return name
    raise ValueError(f"`{type(expr).__name__}` stands in no loaded policy")  # a slot: templates are refused


def _method(op: str) -> str:
    if op in _METHODS:
        return _METHODS[op]
    first, *more = op.split("_")
    return first + "".join(word.capitalize() for word in more)


def _pattern(char: str) -> str:
    return r"\*" if char == "*" else _escaped(char)


def _escaped(char: str) -> str:
    if char in '\\"':
        return f"\\{char}"
    return char if char.isprintable() else f"\\u{{{ord(char):x}}}"
