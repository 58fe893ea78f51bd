"""A plan: changes in the order in which they can be made, as a value with a checksum."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from remit.trust.things import Address, Fields, Ref, Text, Thing, Value


class Act(StrEnum):
    """What is done to a thing, one character each."""

    MAKE = "+"
    CHANGE = "~"
    REMOVE = "-"


class Risk(StrEnum):
    """Why a change is not made unless it is named."""

    WIDENS = "widens"
    """Somebody may do more than before on something that is in use."""
    LAST_ADMINISTRATOR = "last-administrator"
    """Nobody would be left who can repair this."""
    UNCONDITIONED = "unconditioned"
    """A provider without a condition, or one that admits others than Remit."""
    WIDE_SCOPE = "wide-scope"
    """A role on a whole subscription, project or resource group where a resource would do."""
    NOT_OURS = "not-ours"
    """What is removed is no account, application or pool of this file."""
    DESTROYS = "destroys"
    """What is removed takes with it what cannot be made again as it was."""


@dataclass(frozen=True, slots=True)
class Unsafe:
    """A change that must be named to be made. `said`: what would come of it."""

    risk: Risk
    said: str


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `before`, `after`: the thing's fields, `None` where it is not there; `thing`: what is wanted.

    `says`: what the change allows or takes away, and to or from whom; `ids`: what the cloud calls what is there.
    """

    act: Act
    address: Address
    before: Fields | None
    after: Fields | None
    says: str
    thing: Thing | None = None
    ids: Mapping[str, str] | None = None
    unsafe: tuple[Unsafe, ...] = ()

    @property
    def name(self) -> str:
        """How `--allow` names it."""
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes, each behind those that it needs. `problems`: why no plan can be carried out as things stand."""

    changes: tuple[Change, ...]
    problems: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.changes and not self.problems

    def refused(self, allowed: Collection[str] = ()) -> tuple[Change, ...]:
        """The unsafe changes that `allowed` does not name: exactly, letter by letter."""
        return tuple(change for change in self.changes if change.unsafe and change.name not in allowed)

    @property
    def checksum(self) -> str:
        """Of everything that a reader was shown: 32 hex digits of SHA-256.

        With half of them somebody who may word two plans could find two with one checksum: a harmless one to be
        reviewed, and another.
        """
        rows = [
            [
                change.act,
                str(change.address),
                plain(change.before),
                plain(change.after),
                change.says,
                [[one.risk, one.said] for one in change.unsafe],
            ]
            for change in self.changes
        ]
        text = json.dumps([rows, list(self.problems)], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def plain(value: "Value | Fields") -> Any:
    """A value as JSON shows it; an id that is not known yet as `<NAME of ADDRESS>`."""
    if isinstance(value, Ref | Text):
        return str(value)
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in sorted(value.items())}
    return value
