"""Statements by fingerprint: a text without comments, literals and numbers, the same for all that differ in those only.

A lexer, no parser: it knows how PostgreSQL quotes, and decides nothing. Of a text that can be read in two ways it keeps
what stands before: a backslash before a quote means one thing or the other by `standard_conforming_strings`, and one
after a letter beyond ASCII may be half of a letter (`client_encoding`: Shift-JIS, Big5, GBK).
Source: postgresql.org/docs/18, "Lexical Structure"; src/backend/parser/scan.l.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from remit.sql.ports import Ran

CAPTURE = 16 << 10
"""Bytes of a statement that are looked at: a longer one is known by its beginning."""

SHOWN = 400
"""Characters of the text that is kept."""

FULL = 200
"""Different statements that are counted before they are recorded: then whoever runs them waits."""

_NAMES = 1_000  # prepared statements whose text is remembered, for one connection
_TEXTS = 16  # texts that one name was given and that are remembered: whoever uses it again has used two or three
_LONGEST_NAME = 63  # bytes of a name that count, as PostgreSQL's NAMEDATALEN
_CUT = "…"
_LETTER = r"A-Za-z_\x80-\U0010ffff"
_TOKEN = re.compile(
    rf"""
      (?P<space>[ \t\n\r\f\v]+|--[^\r\n]*)
    | (?P<comment>/\*)
    | (?P<escaped>[eE]')
    | (?P<string>(?:[nNbBxX]|[uU]&)?')
    | (?P<quoted>(?:[uU]&)?"[^"]*(?:""[^"]*)*"?)
    | (?P<parameter>\$[0-9]+)
    | (?P<dollar>\$(?:[{_LETTER}][0-9{_LETTER}]*)?\$)
    | (?P<number>0[xX][0-9a-fA-F_]+|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?)
    | (?P<name>[{_LETTER}][0-9${_LETTER}]*)
    | (?P<operator>(?:(?!--|/\*)[-+*/<>=~!@#%^&|`?:])+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_STRING = re.compile(r"[^']*(?:''[^']*)*")
_ESCAPED = re.compile(r"[^'\\]*(?:(?:\\.|'')[^'\\]*)*\\?", re.DOTALL)
_GOES_ON = re.compile(r"[ \t\f\v]*(?:--[^\r\n]*)?[\r\n](?:[ \t\n\r\f\v]|--[^\r\n]*[\r\n])*'")
_HALVED = re.compile(r"[^\x00-\x7f]\\")
_COMMENT = re.compile(r"/\*|\*/")
_NO_SPACE_BEFORE = frozenset({")", ",", ";", ".", "]", "["})
_NO_SPACE_AFTER = frozenset({"(", ".", "[", ""})


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as it is recorded. `fingerprint`: SHA-256 of the normalised text, hex; `text`: its beginning."""

    fingerprint: str
    text: str


@lru_cache(2_000)  # programs send the same few texts again and again
def statement(text: bytes, *, whole: bool = True) -> Statement:
    """The statement of a text in the client's encoding, at most `CAPTURE` bytes of it; `whole`: whether that is all."""
    normal = normalised(text.decode("utf-8", "replace")) + ("" if whole else _CUT)
    shown = normal if len(normal) <= SHOWN else normal[: SHOWN - 1] + _CUT
    return Statement(hashlib.sha256(normal.encode()).hexdigest(), shown)


def normalised(text: str) -> str:
    """The text without comments, literals, numbers and parameters; lists of them are as one."""
    found: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:  # no text: every character is a token
            break
        kind, token, at = str(match.lastgroup), match.group(), match.end()
        if kind == "comment":
            at = _after_comment(text, at)
        elif kind in {"string", "escaped", "dollar"}:
            at = _after_literal(text, at, kind, token)
            _literal(found)
            if at < 0:
                found.append(_CUT)
                break
        elif kind in {"number", "parameter"}:
            _literal(found)
        elif kind != "space":
            found.append(token.lower() if kind == "name" else token)
            _shorten(found)
    return _joined(found)


def _literal(found: list[str]) -> None:
    """A literal, unless it only lengthens a list."""
    if found[-2:] == ["?", ","]:
        found.pop()
    else:
        found.append("?")


def _shorten(found: list[str]) -> None:
    """Rows of literals are as one."""
    if found[-7:] == ["(", "?", ")", ",", "(", "?", ")"]:
        del found[-4:]


def _joined(tokens: list[str]) -> str:
    text, before = "", ""
    for token in tokens:
        tight = token in _NO_SPACE_BEFORE or before in _NO_SPACE_AFTER
        text, before = text + token if tight else f"{text} {token}", token
    return text


def _after_comment(text: str, at: int) -> int:
    depth = 1
    while depth:
        match = _COMMENT.search(text, at)
        if match is None:
            return len(text)
        at, depth = match.end(), depth + (1 if match.group() == "/*" else -1)
    return at


def _after_literal(text: str, at: int, kind: str, opening: str) -> int:
    """Where a literal ends, -1 where nobody can say; the end of the text for one that does not."""
    if kind == "dollar":
        end = text.find(opening, at)
        return len(text) if end < 0 else end + len(opening)
    body = _ESCAPED if kind == "escaped" else _STRING
    while True:
        match = body.match(text, at)
        end = match.end() if match else at
        if end < len(text) and kind == "string" and "\\'" in text[at : end + 1]:
            return -1
        if kind == "escaped" and _HALVED.search(text, at, end):
            return -1
        more = _GOES_ON.match(text, end + 1)
        if more is None:
            return min(end + 1, len(text))
        at = more.end()


class Tally:
    """What ran on one connection since it was last recorded. `clock`: microseconds since the epoch.

    Whether the server took a text for a name is not looked at: it may still have had another under it. So every text
    that a name was given counts when the name is used, and a text without a name counts as soon as it is there.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._ran: dict[str, Ran] = {}
        self._prepared: dict[bytes, tuple[Statement, ...]] = {}
        self._counted = False  # whether the first use of the one without a name counts already

    @property
    def full(self) -> bool:
        """Whether nothing more may run before this is recorded."""
        return len(self._ran) >= FULL

    def heard(self, kind: int, body: bytes) -> None:
        """One message of the client's: a query, or a statement that is prepared, or bound to be run."""
        first, ended, rest = body.partition(b"\0")
        if kind == ord("Q"):
            self._add(statement(first, whole=bool(ended)), 1)
        elif kind == ord("P"):
            text, ended, _ = rest.partition(b"\0")
            self._prepare(first[:_LONGEST_NAME], statement(text, whole=bool(ended)))
        elif kind == ord("B"):
            self._bind(rest.partition(b"\0")[0][:_LONGEST_NAME])
        elif kind == ord("F"):
            self._add(_CALL, 1)

    def take(self) -> tuple[Ran, ...]:
        """What there is to record, which counts from nothing again."""
        taken, self._ran = tuple(self._ran.values()), {}
        return taken

    def put_back(self, taken: Iterable[Ran]) -> None:
        """What could not be recorded is still to be."""
        for one in taken:
            newer = self._ran.get(one.fingerprint)
            self._ran[one.fingerprint] = (
                replace(one, count=one.count + newer.count, last=newer.last) if newer is not None else one
            )

    def _prepare(self, name: bytes, found: Statement) -> None:
        texts = self._prepared.pop(name, ()) if name else ()
        if found not in texts:
            texts = (*texts, found) if len(texts) < _TEXTS else (*texts[:_TEXTS], _FORGOTTEN)
        self._prepared[name] = texts
        if len(self._prepared) > _NAMES:
            del self._prepared[next(iter(self._prepared))]
        self._counted = self._counted or not name
        self._add(found, 0 if name else 1)

    def _bind(self, name: bytes) -> None:
        runs = 0 if self._counted and not name else 1
        self._counted = self._counted and bool(name)
        for found in self._prepared.get(name, (_FORGOTTEN,)):
            self._add(found, runs)

    def _add(self, found: Statement, runs: int) -> None:
        now = self._clock()
        known = self._ran.get(found.fingerprint)
        if known is None:
            known = Ran(found.fingerprint, found.text, 0, now, now)
        self._ran[found.fingerprint] = replace(known, count=known.count + runs, last=now)


LOOKED_AT = {ord("Q"): CAPTURE, ord("P"): CAPTURE, ord("B"): 1 << 10, ord("F"): 4, ord("X"): 0}
"""How much of each message is looked at: names of statements and portals have 63 bytes."""

_FORGOTTEN = statement(b"a statement that was prepared too long ago")
_CALL = statement(b"a call of a function by its number")
