"""Claims as a table: which are needed, of what shape, and which reason a wrong one has.

The habit is that of a form: a claim is required, optional, checked elsewhere, or the mark of another kind of
token; the names of the rest are reported. Leaves out: what values mean (`entra`).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from remit.model.errors import Refused
from remit.model.reasons import Reason

MAX_TEXT = 1024  # Entra's longest claim, a user's sub, has 43 characters; names have at most 256
MAX_LIST = 200  # Entra puts at most 200 groups in a token, then an overage mark

_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Need(Enum):
    """What a table says of a claim."""

    REQUIRED = auto()
    OPTIONAL = auto()
    ELSEWHERE = auto()  # a rule of its own reads it, or it decides nothing here
    FOREIGN = auto()  # marks a token that is no access token: its presence refuses


@dataclass(frozen=True, slots=True)
class Claim:
    """One row: the need, the shape as a test and in words, and the reason of a refusal."""

    need: Need
    fits: Callable[[object], bool] = lambda _: True
    shape: str = "anything"
    reason: Reason = Reason.TOKEN_CLAIMS


def check(claims: Mapping[str, object], table: Mapping[str, Claim]) -> tuple[str, ...]:
    """Holds claims against a table and returns the names that it does not know; raises `Refused`."""
    for name, row in table.items():
        present = name in claims
        if row.need is Need.FOREIGN and present:
            raise Refused(row.reason, f"the token has the claim `{name}`: it is not an access token")
        if row.need is Need.REQUIRED and not present:
            raise Refused(row.reason, f"the token lacks the claim `{name}`")
        if present and not row.fits(claims[name]):
            raise Refused(row.reason, f"the token's claim `{name}` is not {row.shape}")
    return tuple(sorted(claims.keys() - table.keys()))


def is_text(value: object) -> bool:
    """A string of 1 to `MAX_TEXT` characters."""
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT


def is_guid(value: object) -> bool:
    """An object id as Entra writes it: lower case, with hyphens."""
    return isinstance(value, str) and _GUID.fullmatch(value) is not None


def is_seconds(value: object) -> bool:
    """A whole positive number of seconds since the epoch: neither a float nor a boolean."""
    return type(value) is int and value > 0


def is_texts(value: object) -> bool:
    """A list of at most `MAX_LIST` strings."""
    return isinstance(value, list) and len(value) <= MAX_LIST and all(map(is_text, value))


def is_guids(value: object) -> bool:
    """A list of at most `MAX_LIST` object ids."""
    return isinstance(value, list) and len(value) <= MAX_LIST and all(map(is_guid, value))
