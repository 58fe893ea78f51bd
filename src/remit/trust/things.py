"""What the clouds must hold and what they do hold, as plain values that can be compared.

A `Thing` is wanted, a `Found` is there. A change to the clouds is a value before it is an act: nothing here asks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """What a thing is called in a plan. `kind`: `CLOUD.NOUN`, one of `KINDS`; `name`: unique within the kind."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def cloud(self) -> str:
        """`entra`, `google`, `azure` or `sql`."""
        return self.kind.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Ref:
    """An id that a cloud gives to a thing when it is made. `name`: which, a key of `Found.ids`."""

    of: Address
    name: str

    def __str__(self) -> str:
        return f"<{self.name} of {self.of}>"


@dataclass(frozen=True, slots=True)
class Text:
    """A text with ids in it that are not known yet."""

    parts: tuple["str | Ref", ...]

    def __str__(self) -> str:
        return "".join(map(str, self.parts))


Value: TypeAlias = "str | int | bool | Ref | Text | tuple[Value, ...] | Mapping[str, Value] | None"
"""What a field holds. Collections that a cloud keeps in no order are sorted tuples."""

Fields: TypeAlias = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing that a cloud must hold.

    `fields`: what is compared and written; `needs`: what must be there before, beside what `fields` refer to; `says`:
    what it allows, and to whom, in words for whoever reads a plan; `given`: somebody else's, which is looked up for its
    ids and never made, changed or removed.
    """

    address: Address
    fields: Fields
    needs: tuple[Address, ...] = ()
    says: str = ""
    given: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that a cloud holds. `ids`: what the cloud calls it (`id`, `appId`, …), for `Ref` and for changes."""

    address: Address
    fields: Fields
    ids: Mapping[str, str] = field(default_factory=dict)


KINDS: Mapping[str, tuple[str, ...]] = {
    "entra.application": (),
    "entra.principal": (),
    "entra.federation": ("application", "issuer", "subject"),
    "entra.assignment": ("role", "principal"),
    "entra.consent": ("permission", "principal"),
    "entra.delegation": ("principal", "resource", "whom"),
    "entra.credential": ("of", "application", "key"),
    "google.pool": (),
    "google.provider": (),
    "google.account": (),
    "google.role": (),
    "google.binding": ("resource", "role", "member", "condition"),
    "google.audit": ("project", "service"),
    "azure.assignment": ("scope", "role", "principal"),
    "azure.identity": (),
    "azure.federation": ("identity", "issuer", "subject"),
    "sql.object": (),
    "sql.role": (),
    "sql.grant": ("database", "object", "role", "privilege"),
}
"""Kind → the fields by which one that is there is known for one that is wanted; none: by the address's name."""


def refs(value: Value) -> Iterator[Ref]:
    """Every id that a value waits for."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Text):
        yield from (part for part in value.parts if isinstance(part, Ref))
    elif isinstance(value, tuple):
        for each in value:
            yield from refs(each)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from refs(each)


def resolved(value: Value, ids: Mapping[Ref, str]) -> Value:
    """The value with every id in its place that is known; what is not known stays a reference."""
    if isinstance(value, Ref):
        return ids.get(value, value)
    if isinstance(value, Text):
        parts = tuple(ids.get(part, part) if isinstance(part, Ref) else part for part in value.parts)
        whole = all(isinstance(part, str) for part in parts)
        return "".join(map(str, parts)) if whole else Text(parts)
    if isinstance(value, tuple):
        return tuple(resolved(each, ids) for each in value)
    if isinstance(value, Mapping):
        return {name: resolved(each, ids) for name, each in value.items()}
    return value


def settled(fields: Fields, ids: Mapping[Ref, str]) -> Fields:
    """As `resolved`, for all fields."""
    return {name: resolved(value, ids) for name, value in fields.items()}


def ids_of(found: Iterator[Found] | tuple[Found, ...] | list[Found]) -> dict[Ref, str]:
    """Every id that is known of what is there."""
    return {Ref(one.address, name): value for one in found for name, value in one.ids.items()}
