"""`/v1/revocations`: what has been revoked, and revoking.

`GET` lists what stands. `POST` takes one JSON object, `{"subject": …}` with `scope`, `sign_in_again`, `for` (seconds),
`because` and `lift` beside it, and answers when it holds at every arbiter. Errors have the form of the other endpoints
(`error`, `error_description`), and name the decision.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from remit.access.asking import Caller
from remit.access.revoke import Acknowledgement, InForce, Revoke, Ruling, Wish
from remit.arbiter import refusal
from remit.arbiter.check import bearer, single
from remit.model.revocation import Scope

_MAXIMUM_BODY = 16 << 10  # bytes: the longest subject and reason, many times over
_LONGEST_WORD = 1024  # characters of a subject: as a claim's (`identity/tokens/claims.py`)
_LONGEST_REASON = 1000  # characters
_LONGEST_LOCK = 10 * 366 * 86400  # seconds
_MEMBERS = {"subject": str, "scope": str, "sign_in_again": bool, "for": int, "because": str, "lift": bool}
_PRIVATE = {"cache-control": "no-store"}


class Revocations:
    """The endpoint."""

    def __init__(self, story: Revoke) -> None:
        self._story = story

    async def __call__(self, request: Request) -> JSONResponse:
        """One question, one answer."""
        caller = _caller(request)
        if request.method == "GET":
            ruling = await self._story.list(caller)
            return _answer(ruling, {"revocations": [listed(found) for found in ruling.standing]})
        asked = await _asked(request)
        if isinstance(asked, str):
            return _error(400, "invalid_request", asked)
        wish, lift = asked
        ruling = await (self._story.lift(caller, wish) if lift else self._story.create(caller, wish))
        if ruling.decision.permitted and ruling.acknowledged is None:
            description = "nothing that an operator locked is to be lifted there"
            return _error(404, "not_found", description, {"x-remit-decision": ruling.decision.id})
        done = shown(ruling.acknowledged) if ruling.acknowledged else {}
        document = {"scope": ruling.scope, "subject": ruling.subject, **done, "warning": ruling.warning}
        return _answer(ruling, document)


def listed(found: InForce) -> dict[str, Any]:
    """One revocation that stands."""
    asked = found.revocation
    return {
        "epoch": found.number,
        "at": found.at,
        "scope": str(asked.scope),
        "subject": asked.subject,
        "locked": asked.locked,
        "until": asked.until,
        "before": asked.before,
        "source": asked.source,
        "because": asked.because,
        "actor": found.actor,
    }


def shown(done: Acknowledgement) -> dict[str, Any]:
    """That it holds everywhere."""
    return {
        "epoch": done.epoch,
        "arbiters": list(done.arbiters),
        "fenced": list(done.fenced),
        "took_ms": done.took_ms,
    }


def _caller(request: Request) -> Caller:
    token = bearer(request.headers.getlist("authorization"))
    return Caller(token, peer=single(request.headers.items(), "x-remit-peer"))


async def _asked(request: Request) -> tuple[Wish, bool] | str:
    """What is asked for and whether it is a lift, or what is wrong with it."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAXIMUM_BODY:
            return f"the body is larger than {_MAXIMUM_BODY} bytes"
    try:
        document = json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return "the body is not one JSON object with each name once"
    if not isinstance(document, dict) or not isinstance(document.get("subject"), str):
        return "the body is not a JSON object that names a `subject`"
    wrong = sorted(name for name, value in document.items() if type(value) is not _MEMBERS.get(name))
    if wrong:
        return f"the member `{wrong[0]}` is not known, or not of its type"
    return _wish(document)


def _wish(document: Mapping[str, Any]) -> tuple[Wish, bool] | str:
    scope = document.get("scope", "")
    if scope and scope not in set(Scope):
        return f"`scope` is one of {', '.join(f'`{name}`' for name in Scope)}"
    lasting = document.get("for", 0)
    if not 0 <= lasting <= _LONGEST_LOCK:
        return f"`for` is a number of seconds from 0 to {_LONGEST_LOCK}"
    subject, because = document["subject"], document.get("because", "")
    if len(subject) > _LONGEST_WORD or len(because) > _LONGEST_REASON or not (subject + because).isprintable():
        return "`subject` or `because` is too long, or holds control characters"
    lift, again = document.get("lift", False), document.get("sign_in_again", False)
    if (lift and (again or lasting)) or (again and lasting):
        return "`lift`, `sign_in_again` and `for` exclude each other"
    return Wish(subject, Scope(scope) if scope else None, again, lasting, because), lift


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name occurs twice")
    return values


def _answer(ruling: Ruling, document: Mapping[str, Any]) -> JSONResponse:
    decision = ruling.decision
    if decision.permitted:
        return JSONResponse({"decision": decision.id, **document}, headers=_PRIVATE)
    number = refusal.status(decision)
    return _error(number, str(decision.verdict.reasons[0]), refusal.message(decision), refusal.headers(decision))


def _error(status: int, error: str, description: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": error, "error_description": description}, status, {**_PRIVATE, **(headers or {})})
