"""The shipped schema taken apart: entities, the records of the context with what each word means, closed lists.

Read from the schema's own text, whose form is ours: a comment above a declaration is about it and those that follow
without one, a comment behind a field is about the field. Leaves out the actions, which are the catalogue's.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from remit.policy.schema import shipped_text

_ENTITY = re.compile(r"entity ([A-Z][\w,\s]*?)(?: in \[([^\]]*)\])?(?: tags (\w+))?(?: enum \[([^\]]*)\])?;")
_TYPE = re.compile(r"type (\w+) = \{\n(.*?)\n\};", re.DOTALL)
_FIELD = re.compile(r"^\s*(?:(\w+)(\?)?: ([\w<>]+,|\{)|(\},))\s*(?://\s*(.*))?$")


@dataclass(frozen=True, slots=True)
class EntityType:
    """`within`: types that it can be in; `tags`: of what kind, empty for none; `words`: the closed list of its ids."""

    name: str
    within: tuple[str, ...]
    tags: str
    words: tuple[str, ...]
    meaning: str


@dataclass(frozen=True, slots=True)
class Word:
    """One field of a record, by its whole name below it (`authentication.methods`)."""

    name: str
    type: str
    optional: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Record:
    """One record type. `Circumstances` is the context of every action."""

    name: str
    meaning: str
    words: tuple[Word, ...]


def parts() -> dict[str, Any]:
    """Everything as plain values."""
    return {"entities": [asdict(each) for each in entities()], "types": [asdict(each) for each in records()]}


def entities() -> tuple[EntityType, ...]:
    """The entity types, in the order of the schema."""
    return tuple(each for meaning, code in _paragraphs() for each in _entities(meaning, code))


def records() -> tuple[Record, ...]:
    """The record types, in the order of the schema."""
    return tuple(
        Record(name, meaning, tuple(_words(body)))
        for meaning, code in _paragraphs()
        for name, body in _TYPE.findall(code)
    )


def _paragraphs() -> Iterator[tuple[str, str]]:
    """What stands between empty lines: its comment in one line, and its declarations."""
    for paragraph in shipped_text().split("\n\n"):
        lines = paragraph.splitlines()
        comment = [line.removeprefix("//").strip() for line in lines if line.startswith("//")]
        yield " ".join(comment), "\n".join(line for line in lines if not line.startswith("//"))


def _entities(meaning: str, code: str) -> Iterator[EntityType]:
    for names, within, tags, words in _ENTITY.findall(code):
        for name in names.split(","):
            parents = tuple(each.strip() for each in within.split(",") if each.strip())
            yield EntityType(name.strip(), parents, tags, tuple(re.findall(r'"([^"]*)"', words)), meaning)


def _words(body: str) -> Iterator[Word]:
    """The fields, those of a record inside by their name below it; raises `ValueError` for a line of another form."""
    above: list[str] = []
    for line in body.splitlines():
        found = _FIELD.match(line)
        if found is None:
            raise ValueError(f"the schema's line `{line.strip()}` is of a form that is not known here")
        name, optional, kind, closing, meaning = found.groups()
        if closing:
            above.pop()
            continue
        if kind == "{":
            above.append(name)
            continue
        yield Word(".".join((*above, name)), kind.rstrip(","), bool(optional), meaning or "")
