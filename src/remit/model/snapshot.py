"""What a decision was taken on, as one text in its record: enough to decide again, under these policies or others.

Identity without groups and roles (which are kept once, under their digest), the request with all its operations, the
circumstances with the grants in force. Each value is an object of its own fields; what is empty is left out, sets are
sorted, so that one snapshot has one text: sorted compact JSON, as RFC 8785 has it. Reading is strict: what would not be
written in exactly the same way is not believed. Never in it: a token, a body, a query string, for no field has one.
"""

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from itertools import pairwise
from operator import attrgetter
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from remit.model.decision import Circumstances
from remit.model.identity import Identity
from remit.model.operation import Request
from remit.model.outcome import Outcome

SCHEMA = "facts/1"

_APART: Mapping[type, frozenset[str]] = {Identity: frozenset({"groups", "roles"})}
_NEVER: Any = object()
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class FactsUnreadable(ValueError):
    """A text is not what this program would have written of any decision."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a decision was taken on."""

    identity: Identity
    request: Request
    circumstances: Circumstances


@dataclass(frozen=True, slots=True)
class Past:
    """A decision of the record: how it came out, and what it was taken on.

    `at`: microseconds since the epoch; `policies`: ids of those that decided; `version`: of the set they were in;
    `action`, `resource`: those that the request is named by; `facts`: as in the record; `groups`, `roles`: of whoever
    asked, at that time.
    """

    decision: str
    at: int
    outcome: Outcome
    policies: tuple[str, ...]
    version: str
    principal: str
    name: str
    action: str
    resource: str
    facts: str
    groups: frozenset[str]
    roles: frozenset[str]

    def taken_on(self) -> Taken:
        """Everything again, as it was; raises `FactsUnreadable`."""
        return read_facts(self.facts, self.groups, self.roles)


def write_facts(identity: Identity, request: Request, circumstances: Circumstances) -> str:
    """The text of a snapshot."""
    return _text(
        {
            "schema": SCHEMA,
            "identity": _written(identity),
            "request": _written(request),
            "circumstances": _written(circumstances),
        }
    )


def read_facts(text: str, groups: frozenset[str], roles: frozenset[str]) -> Taken:
    """A snapshot from its text, with the groups and roles that its record names; raises `FactsUnreadable`."""
    try:
        found = json.loads(text, parse_float=_refuse, parse_constant=_refuse)
        if _text(found) != text:  # a name twice, out of order, a blank: another reader may see something else
            _refuse("that is written in another way")
        _check_schema(found.pop("schema"))
        identity, request, around = (found.pop(name) for name in ("identity", "request", "circumstances"))
        if found:
            _refuse("that has unknown parts")
        return Taken(
            identity=_form(Identity).read(identity, groups=groups, roles=roles),
            request=_form(Request).read(request),
            circumstances=_form(Circumstances).read(around),
        )
    except FactsUnreadable:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FactsUnreadable(f"the facts of a decision cannot be read: {error}") from error


def _written(value: Identity | Request | Circumstances) -> Any:
    kind: Any = type(value)
    write = _form(kind).write
    return write(value) if write else value


def _check_schema(name: object) -> None:
    if name != SCHEMA:
        raise FactsUnreadable(f"facts of the form `{name}` are not known here")


@dataclass(frozen=True, slots=True)
class _Form:
    """How values of one type become JSON and come back. `write`: `None` for those that are JSON already.

    `empty`: what is left out, and comes back when absent.
    """

    write: Callable[[Any], Any] | None
    read: Callable[..., Any]
    empty: Any = _NEVER


@cache
def _form(kind: Any) -> _Form:
    if kind in {str, int, bool}:
        return _Form(None, _exactly(kind), kind())
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _Form(str, lambda value: kind(_exactly(str)(value)))
    if is_dataclass(kind) and isinstance(kind, type):
        return _object(kind)
    if isinstance(kind, types.UnionType):
        (inner,) = (each for each in get_args(kind) if each is not types.NoneType)
        return _Form(_form(inner).write, _form(inner).read, None)
    if get_origin(kind) is frozenset:
        return _Form(sorted, _set(*get_args(kind)), frozenset())
    if get_origin(kind) is tuple:
        return _tuple(*get_args(kind))
    message = f"`{kind}` has no form in a snapshot"
    raise TypeError(message)


def _set(kind: Any) -> Callable[[Any], Any]:
    read, plain = _form(kind).read, _exactly(list)

    def whole(values: Any) -> frozenset[Any]:
        found = [read(each) for each in plain(values)]
        if any(one >= other for one, other in pairwise(found)):
            _refuse("that has a set out of order")
        return frozenset(found)

    return whole


def _tuple(*kinds: Any) -> _Form:
    """Tuples of any length, and those of as many as are named."""
    plain = _exactly(list)
    if kinds[-1] is Ellipsis:
        each = _form(kinds[0])
        write, read = each.write, each.read
        return _Form(
            (lambda values: [write(value) for value in values]) if write else list,
            lambda values: tuple(read(value) for value in plain(values)),
            (),
        )
    if any(_form(kind).write for kind in kinds):
        message = "a tuple of objects has no form in a snapshot"
        raise TypeError(message)
    reads = [_form(kind).read for kind in kinds]
    return _Form(list, lambda values: tuple(read(one) for read, one in zip(reads, plain(values), strict=True)))


def _object(kind: type) -> _Form:
    hints = get_type_hints(kind)
    names = sorted({each.name for each in fields(kind)} - _APART.get(kind, frozenset()))
    forms = {name: _form(hints[name]) for name in names}
    steps = [(name, form.write, form.empty) for name, form in forms.items()]
    taken: Callable[[Any], Any] = attrgetter(*names)
    empty = {name: form.empty for name, form in forms.items() if form.empty is not _NEVER}
    plain = _exactly(dict)

    def write(value: Any) -> dict[str, Any]:
        held = taken(value) if len(names) > 1 else (taken(value),)
        return {
            name: step(one) if step else one for (name, step, none), one in zip(steps, held, strict=True) if one != none
        }

    reads = {name: (form.read, form.empty) for name, form in forms.items()}

    def read(told: Any, **beside: frozenset[str]) -> Any:
        values = {**empty, **beside}
        for name, one in plain(told).items():
            step, none = reads[name]
            values[name] = found = step(one)
            if found == none:
                _refuse("that tells an empty field")
        return kind(**values)

    return _Form(write, read, _NEVER if len(empty) < len(names) or kind in _APART else _nothing(kind, empty))


def _nothing(kind: type, empty: Mapping[str, Any]) -> Any:
    """The value all of whose fields are empty, where there can be one."""
    try:
        return kind(**empty)
    except ValueError:  # a request without operations, an operation without resources
        return _NEVER


def _exactly(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not kind:  # a bool is an int to Python
            _refuse(f"that has a `{type(value).__name__}` for a `{kind.__name__}`")
        return value

    return check


def _text(value: Any) -> str:
    return _ENCODER.encode(value)


def _refuse(what: str) -> NoReturn:
    message = f"a text {what}"
    raise FactsUnreadable(message)
