"""What an exception means: the cause, what to do, and who can do it, for Blob, SQL, Storage and Vertex AI.

A missing role, an expired token, a firewall and a broken name look alike from a job: clouds answer 403 to half of them,
and clients wrap, retry and rename the rest. `diagnose` reads the whole chain of an exception (causes, contexts, groups,
what SQLAlchemy and azure-core keep inside) for statuses, codes and texts, and looks them up in `failure_table.json`,
whose rows name their sources. A row that is sure decides at the outermost exception that it fits; the others, which
go by a bare status or a kind of error, are asked last, what is about permission before what is about the network.

No library is imported for it: an exception is known by the names of its classes and what it has. A diagnosis is made of
the table's own words, a refusal's, and of names of at most a hundred harmless characters; texts of clouds, which may
hold tokens, are matched and never repeated. Whoever answers a job can write what looks like a refusal of Remit's: its
words are made one line without control characters, and `remit explain` knows nothing of a decision that was none.
"""

import contextlib
import functools
import importlib.resources
import itertools
import json
import os
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from remit.model.causes import Cause
from remit.model.errors import NotSignedIn, Refused, RemitError
from remit.model.reasons import Reason
from remit.sdk import shown

_DEEPEST = 32  # exceptions in one chain
_LONGEST = 32 << 10  # characters of one text that are read
_INSIDE = ("orig", "inner_exception", "reason", "os_error", "certificate_error", "last_exc", "cause")
_GRPC = {
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_TENSORFLOW = {4: 504, 5: 404, 7: 403, 8: 429, 14: 503, 16: 401}  # tensorflow/python/framework/errors_impl.py
_STATUS = re.compile(r"HTTP response code (\d{3})")
_CODE = re.compile(r'<Code>(\w{1,60})</Code>|ErrorCode:\s*(\w{1,60})|"?reason"?: ?"(\w{1,60})"')
_REFUSAL = re.compile(
    r"remit: (.{1,2000}?) \(decision (d-[0-9a-z]{1,40})\)(?:(?:; |\nHINT:  )([^\n]{1,500}))?", re.DOTALL
)
_PASSED_ON = re.compile(r"remit: the database `[^`\n]{1,64}` refused a login as `")
_BEGINS = re.compile(r"remit: ")
_ENDS = re.compile(r'(?:[^"\\]|\\.)*"')
_LOOKS = 8  # places that may be a refusal within quotation marks: the first mostly is
_ASK = re.compile(r"\bask (?:the |your )?([^;]{3,120}?)(?: to | for |$)")
_EXPIRED = frozenset({Reason.TOKEN_EXPIRED, Reason.SESSION_ENDED, Reason.SIGN_IN_AGAIN})
_HARMLESS = re.compile(r"[A-Za-z0-9 ._:/@-]{1,100}")
_NOT_NOW = 503  # HTTP


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong. `service`: `Blob`, `SQL`, `Storage`, `Vertex`, `Remit` or empty; `hint`: what to do.

    `decision`: the id of Remit's, for `remit explain`; `who`: who can grant or change it. Each may be empty.
    """

    cause: Cause
    service: str
    message: str
    hint: str = ""
    decision: str = ""
    who: str = ""

    def __str__(self) -> str:
        place = f" ({self.service})" if self.service else ""
        parts = [f"remit: {self.cause}{place}: {self.message}"]
        parts += [f"hint: {self.hint}"] if self.hint else []
        parts += [f"who can: {self.who}"] if self.who else []
        parts += [f"more: remit explain {self.decision}"] if self.decision else []
        return "\n".join(parts)


@dataclass(frozen=True, slots=True)
class _Sign:
    """One exception of the chain, taken apart."""

    exception: BaseException
    kinds: str
    statuses: frozenset[int]
    codes: frozenset[str]
    text: str


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the table: every condition that it has must hold."""

    cause: Cause
    words: Mapping[str, str]
    statuses: frozenset[int]
    codes: frozenset[str]
    kinds: re.Pattern[str] | None
    text: re.Pattern[str] | None
    sure: bool

    def fits(self, sign: _Sign) -> dict[str, str] | None:
        """What the text named, `None` when the row does not fit."""
        if self.statuses and not self.statuses & sign.statuses:
            return None
        if self.codes and not self.codes & sign.codes:
            return None
        if self.kinds and not self.kinds.search(sign.kinds):
            return None
        found = self.text.search(sign.text) if self.text else None
        if self.text and not found:
            return None
        return {name: value for name, value in (found.groupdict() if found else {}).items() if value}


def diagnose(exception: BaseException) -> Failure:
    """What an exception of azure-core, google-auth, gRPC, psycopg, TensorFlow or another library means.

    It always answers: with `Cause.UNKNOWN` for what is in no row.
    """
    chain = [_read(one) for one in _chain(exception)]
    service = _service(chain)
    if passed_on := next((sign for sign in chain if _PASSED_ON.search(sign.text)), None):  # it was not Remit's no
        said = _said(passed_on.text)
        if found := _looked_up(chain, service):
            return replace(found, decision=said[1] if said else "")
    for found in (_refused(chain), _looked_up(chain, service)):
        if found:
            return found if found.decision else replace(found, decision=_permitted(chain))
    return Failure(Cause.UNKNOWN, service, f"`{type(exception).__name__}` is nothing that is known here")


def _permitted(chain: Iterable[_Sign]) -> str:
    """The decision that the gateway named on an answer: its permit, when it was the cloud that refused."""
    for sign in chain:
        with contextlib.suppress(Exception):  # what a library does on access is its own
            if named := shown.decision(_has(sign.exception, "response")):
                return named
    return ""


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Notes its diagnosis on any exception that leaves the block, where a traceback shows it, unless it is unknown."""
    try:
        yield
    except Exception as error:
        found = diagnose(error)
        if found.cause is not Cause.UNKNOWN and str(found) not in getattr(error, "__notes__", ()):
            error.add_note(str(found))
        raise


# the chain


def _chain(exception: BaseException) -> list[BaseException]:
    """The exception and what it came from, the nearest first; what merely happened before comes last."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [exception]
    before: list[BaseException] = []
    while (waiting or before) and len(found) < _DEEPEST:
        one = waiting.pop(0) if waiting else before.pop(0)
        if any(one is seen for seen in found):
            continue
        found.append(one)
        waiting += _inside(one)
        if one.__context__ is not None and not one.__suppress_context__:
            before.append(one.__context__)
    return found


def _inside(one: BaseException) -> list[BaseException]:
    kept = [_has(one, name) for name in _INSIDE]
    args = _has(one, "args")
    kept += args if isinstance(args, tuple) else ()
    kept += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
    return [inner for inner in (one.__cause__, *kept) if isinstance(inner, BaseException)]


def _read(one: BaseException) -> _Sign:
    response = _has(one, "response")
    texts = (_text(one), _has(one, "message"), _call(one, "details"), _has(response, "text"))
    text = "\n".join(part[:_LONGEST] for part in texts if isinstance(part, str))
    kinds = "\n".join(f"{kind.__module__}.{kind.__qualname__}" for kind in type(one).__mro__)
    return _Sign(one, kinds, frozenset(_statuses(one, response, text)), frozenset(_codes(one, text)), text)


def _statuses(one: BaseException, response: object, text: str) -> Iterator[int]:
    for said in (_has(one, "status_code"), _has(one, "status"), _has(one, "code"), _has(response, "status_code")):
        if isinstance(said, int):  # an HTTPStatus among them
            yield int(said)
    grpc = _has(_call(one, "code"), "name")
    if isinstance(grpc, str) and grpc in _GRPC:
        yield _GRPC[grpc]
    number = _has(one, "error_code")
    if isinstance(number, int) and number in _TENSORFLOW:
        yield _TENSORFLOW[number]
    yield from (int(found) for found in _STATUS.findall(text))


def _codes(one: BaseException, text: str) -> Iterator[str]:
    """Codes that clients keep (Azure's, SQLSTATE, Google's reasons), those in bodies of answers, and the token's."""
    with contextlib.suppress(Exception):  # what a library does on access is its own
        yield from shown.faults(_has(one, "response"))
    for name in ("error_code", "sqlstate", "pgcode", "reason"):
        said = _has(one, name)
        said = _has(said, "value") or said  # an enumeration's
        if isinstance(said, str):
            yield said
    args = _has(one, "args")
    if isinstance(args, tuple) and args and isinstance(args[0], str) and len(args[0]) == 5:  # noqa: PLR2004 - SQLSTATE of ODBC
        yield args[0]
    for found in _CODE.findall(text):
        yield next(filter(None, found))


def _has(thing: object, name: str) -> Any:
    """An attribute, `None` when there is none or it cannot be had: a response that was not read, for one."""
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - what a library does on access is its own
        return None


def _call(thing: object, name: str) -> Any:
    """What a method without arguments says (gRPC's `code` and `details`), `None` when it is none."""
    try:
        return getattr(thing, name)()
    except Exception:  # noqa: BLE001 - the same
        return None


def _text(one: BaseException) -> str:
    try:
        return str(one)
    except Exception:  # noqa: BLE001 - the same
        return ""


# what it means


def _refused(chain: Iterable[_Sign]) -> Failure | None:
    """A refusal of Remit's own, by its error or by the words that it is told in everywhere."""
    for sign in chain:
        if found := _said(sign.text):
            message, decision, hint = found
            return _refusal(_reason(message), message, hint, decision)
        error = sign.exception
        if isinstance(error, Refused):
            return _refusal(error.reason, error.message, error.hint, str(_has(error, "decision") or ""))
        if isinstance(error, RemitError):
            cause = Cause.TOKEN if isinstance(error, NotSignedIn) else Cause.CONNECTION
            cause = cause if "answer" in error.message or cause is Cause.TOKEN else Cause.REFUSED
            return Failure(cause, "Remit", _line(error.message), _line(error.hint))
    return None


def _said(text: str) -> tuple[str, str, str] | None:
    """Message, decision and hint of a refusal in a text, or in a JSON string of one."""
    inner = ""
    for place in itertools.islice(_BEGINS.finditer(text), _LOOKS):
        with contextlib.suppress(ValueError):
            inner += f"{json.loads(_quotation(text, place.start()))}\n"
    found = _REFUSAL.search(inner + text)
    return (found[1], found[2], (found[3] or "").strip()) if found else None


def _quotation(text: str, at: int) -> str:
    """The JSON string around a place; empty where there is none."""
    begins, ends = text.rfind('"', 0, at), _ENDS.match(text, at)
    while begins > 0 and text[begins - 1] == "\\":
        begins = text.rfind('"', 0, begins)
    return text[begins : ends.end()] if ends and begins >= 0 else ""


def _refusal(reason: Reason | None, message: str, hint: str, decision: str) -> Failure:
    cause = Cause.REFUSED
    if reason in _EXPIRED:
        cause = Cause.EXPIRED
    elif reason is Reason.TOKEN_AUDIENCE:
        cause = Cause.AUDIENCE
    elif reason and reason.http_status == _NOT_NOW:
        cause = Cause.UNAVAILABLE
    message, hint, decision = map(_line, (message, hint, decision))
    asked = _ASK.search(hint)
    return Failure(cause, "Remit", message, hint, decision, asked[1].strip() if asked else "")


def _line(text: str) -> str:
    """One line that draws nothing on a terminal but its letters."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _reason(message: str) -> Reason | None:
    return next((reason for reason in Reason if message.startswith(reason.sentence)), None)


def _looked_up(chain: list[_Sign], service: str) -> Failure | None:
    table = _table()
    for sign in chain:
        for row in table:
            if row.sure and (named := row.fits(sign)) is not None:
                return _failure(row, named, service)
    for row in table:
        for sign in chain:
            if not row.sure and (named := row.fits(sign)) is not None:
                return _failure(row, named, service)
    return None


def _failure(row: _Row, named: Mapping[str, str], service: str) -> Failure:
    filled = {name: _fill(row.words.get(name, ""), named) for name in ("message", "hint", "who")}
    return Failure(row.cause, row.words.get("service") or service, **filled)


def _fill(text: str, named: Mapping[str, str]) -> str:
    """Puts in what the cloud named; words in brackets go when it named nothing."""

    def put(found: re.Match[str]) -> str:
        value = named.get(found[2], "")
        return f"{found[1]}{value}{found[3]}" if _HARMLESS.fullmatch(value) else ""

    return re.sub(r"\[([^\[\]{}]*)\{(\w+)\}([^\[\]{}]*)\]", put, text)


def _service(chain: Iterable[_Sign]) -> str:
    everything = [f"{sign.kinds}\n{sign.text}\n{_libraries(sign.exception)}" for sign in chain]
    for name, pattern in _document()["services"].items():
        if any(re.search(pattern, one) for one in everything):
            return str(name)
    return ""


def _libraries(exception: BaseException) -> str:
    """The modules of installed libraries that an exception came through: a gRPC error does not say whose it is."""
    frames = (frame for frame, _ in traceback.walk_tb(exception.__traceback__))
    places = (frame.f_code.co_filename.replace(os.sep, "/").partition("/site-packages/")[2] for frame in frames)
    return "\n".join(place.replace("/", ".") for place in places if place)


@functools.cache
def _document() -> Mapping[str, Any]:
    text = importlib.resources.files("remit.sdk").joinpath("failure_table.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


@functools.cache
def _table() -> tuple[_Row, ...]:
    return tuple(_row(document) for document in _document()["rows"])


def _row(document: Mapping[str, Any]) -> _Row:
    kinds, text = document.get("kinds"), document.get("text")
    return _Row(
        Cause(document["cause"]),
        {name: document[name] for name in ("service", "message", "hint", "who") if name in document},
        frozenset(document.get("status", ())),
        frozenset(document.get("codes", ())),
        re.compile(kinds) if kinds else None,
        re.compile(text) if text else None,
        sure=document.get("sure", True),
    )
