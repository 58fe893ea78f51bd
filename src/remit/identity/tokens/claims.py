"""Claims as a table: which are needed, of what shape, and which reason a wrong one has.

The habit is that of a form: a claim is required, optional, checked elsewhere, or the mark of another kind of
token; the names of the rest are reported. Times are the same rule for every issuer (RFC 7519 section 4.1). Leaves
out: what values mean (`entra`, `oidc`).
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from remit.model.errors import Refused
from remit.model.reasons import Reason

MAX_TEXT = 1024  # Entra's longest claim, a user's sub, has 43 characters; names have at most 256
MAX_LIST = 200  # Entra puts at most 200 groups in a token, then an overage mark
MAX_DISPLAY = 256  # Entra's bound for display names
MAX_REPORTS = 32  # log lines about unknown claims, one a combination: a log is no function of traffic
SKEW = 60  # seconds that two well-kept clocks may differ

_ENTRA_CONTEXT = re.compile(r"c[0-9]{1,2}")
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

log = logging.getLogger(__name__)


class Need(Enum):
    """What a table says of a claim."""

    REQUIRED = auto()
    OPTIONAL = auto()
    ELSEWHERE = auto()  # a rule of its own reads it, or it decides nothing here
    FOREIGN = auto()  # marks a token of another kind: its presence refuses


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
            raise Refused(row.reason, f"the token has the claim `{name}`, which no token of its kind has")
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


def is_subject(value: object) -> bool:
    """A text that prints: it becomes a key, in logs and records too."""
    return is_text(value) and str(value).isprintable()


def is_scalar(value: object) -> bool:
    """A string of at most `MAX_TEXT` characters, a whole number or a boolean."""
    return isinstance(value, int) or (isinstance(value, str) and len(value) <= MAX_TEXT)


def contexts_of(said: object) -> frozenset[str]:
    """What an issuer other than Entra says of the way somebody signed in (`acr`, a SAML context); empty when unsaid.

    `c1` to `c99` are Entra's authentication contexts, which policies ask for by these names: nobody else proves one.
    """
    return frozenset({said} if isinstance(said, str) and said and not _ENTRA_CONTEXT.fullmatch(said) else ())


def check_times(claims: Mapping[str, object], now: int) -> None:
    """Whether a token whose times have their shape counts at `now`, give or take `SKEW`; raises `Refused`."""
    issued, ends = seconds(claims, "iat"), seconds(claims, "exp")
    if ends <= issued:
        raise Refused(Reason.TOKEN_CLAIMS, "the token's claim `exp` is not after `iat`")
    if seconds(claims, "auth_time") > issued + SKEW:
        raise Refused(Reason.TOKEN_CLAIMS, "the token's claim `auth_time` is after `iat`")
    if now >= ends + SKEW:
        raise Refused(Reason.TOKEN_EXPIRED, hint="get a new token: `remit login`")
    if now < max(issued, seconds(claims, "nbf")) - SKEW:
        raise Refused(Reason.TOKEN_NOT_YET_VALID, hint="compare this machine's clock with the time")


def text(claims: Mapping[str, object], name: str) -> str:
    """A claim as text, empty when absent."""
    return str(claims.get(name, ""))


def texts(claims: Mapping[str, object], name: str) -> frozenset[str]:
    """A list of strings as a set, empty when absent."""
    value = claims.get(name, ())
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset()


def seconds(claims: Mapping[str, object], name: str) -> int:
    """A time in seconds since the epoch, 0 when absent."""
    return int(str(claims.get(name, 0)))


def printable(name: str) -> str:
    """A name for people's eyes, without anything that a terminal or a log line would act on."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name[:MAX_DISPLAY])


class Unknown:
    """Tells the log, by name and once a combination, of claims that a table does not know; `whose`: for the line."""

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self._reported: set[tuple[str, ...]] = set()

    def report(self, names: tuple[str, ...]) -> None:
        """Logs a combination that is new; the values of claims never reach the log."""
        if names and names not in self._reported and len(self._reported) < MAX_REPORTS:
            self._reported.add(names)
            log.info("tokens of %s carry claims that decide nothing: %s", self._whose, names)
