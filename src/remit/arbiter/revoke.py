"""`/v1/revocations`: what has been revoked, and revoking.

`GET` lists what stands. `POST` takes one JSON object, `{"subject": …}` with `scope`, `sign_in_again`, `for` (seconds),
`because` and `lift` beside it, and answers when it holds at every arbiter. Errors have the form of the other endpoints
(`error`, `error_description`), and name the decision.
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from remit.access.asking import Caller
from remit.access.revoke import Acknowledgement, InForce, Revoke, Ruling, Wish
from remit.arbiter import refusal
from remit.arbiter.check import bearer, single
from remit.arbiter.documents import document, error, plain
from remit.model.errors import Refused
from remit.model.revocation import Scope

_LONGEST_WORD = 1024  # characters of a subject: as a claim's (`identity/tokens/claims.py`)
_LONGEST_REASON = 1000  # characters
_LONGEST_LOCK = 10 * 366 * 86400  # seconds
_MEMBERS = {"subject": str, "scope": str, "sign_in_again": bool, "for": int, "because": str, "lift": bool}


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
            return error(400, "invalid_request", asked)
        wish, lift = asked
        ruling = await (self._story.lift(caller, wish) if lift else self._story.create(caller, wish))
        if ruling.decision.permitted and ruling.acknowledged is None:
            description = "nothing that an operator locked is to be lifted there"
            return error(404, "not_found", description, headers={"x-remit-decision": ruling.decision.id})
        done = shown(ruling.acknowledged) if ruling.acknowledged else {}
        found = {"scope": ruling.scope, "subject": ruling.subject, **done, "warning": ruling.warning}
        return _answer(ruling, found)


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
    try:
        found = await document(request)
    except Refused as refused:
        return refused.message
    if not isinstance(found, dict) or not isinstance(found.get("subject"), str):
        return "the body is not a JSON object that names a `subject`"
    wrong = sorted(name for name, value in found.items() if type(value) is not _MEMBERS.get(name))
    if wrong:
        return f"the member `{wrong[0]}` is not known, or not of its type"
    return _wish(found)


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


def _answer(ruling: Ruling, found: Mapping[str, Any]) -> JSONResponse:
    decision = ruling.decision
    if decision.permitted:
        return plain({"decision": decision.id, **found})
    said, headers = refusal.message(decision), refusal.headers(decision)
    return error(refusal.status(decision), str(decision.verdict.reasons[0]), said, headers=headers)
