"""Names for decisions, runs and grants: sortable by time, unique, and useless for guessing another one.

`d-`, `j-` or `g-` and 26 characters of Crockford base32: 48 bits of milliseconds and 80 random bits, as a ULID
(github.com/ulid/spec).
"""

import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26


def decision_id(at: int) -> str:
    """A new decision id for a time in microseconds since the epoch."""
    return f"d-{_unique(at)}"


def job_id(at: int) -> str:
    """A new name for a run that begins at a time in microseconds since the epoch."""
    return f"j-{_unique(at)}"


def grant_id(at: int) -> str:
    """A new name for a grant that is asked for at a time in microseconds since the epoch."""
    return f"g-{_unique(at)}"


def arbiter_id(at: int) -> str:
    """A new name for an arbiter that starts at a time in microseconds since the epoch."""
    return f"a-{_unique(at)}"


def decided_at(decision: str) -> int | None:
    """The millisecond since the epoch that a decision id holds, or `None` when it is no decision id."""
    digits = decision.removeprefix("d-")
    if digits == decision or len(digits) != _LENGTH or not set(digits) <= set(_ALPHABET):
        return None
    number = 0
    for digit in digits:
        number = number << 5 | _ALPHABET.index(digit)
    return number >> 80


def _unique(at: int) -> str:
    number = (at // 1000) << 80 | secrets.randbits(80)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
