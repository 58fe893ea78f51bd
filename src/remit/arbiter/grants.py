"""`/v1/grants`: asking for a grant, answering, the list; `/v1/jobs`: a run takes what waits for it, and gives it back.

`GET /v1/grants`, with `all=1` also what is over. `POST /v1/grants` takes `{"ask": {"action", "resource", "for",
"because", "job"?, "break_glass"?}}`, or `{"grant", "say": "approve|deny|withdraw|review", "because"?, "digest"?}`.
`POST /v1/jobs` takes `{"job": "j-…", "name"}`, `DELETE /v1/jobs?job=j-…` ends it. All times are seconds. `decision` is
empty where nobody had to be asked: withdrawing one's own. Errors have the form of the other endpoints.
A browser's session may ask as well, and change something only from our own pages (RFC 6265bis section 8.8).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from remit.access.asking import Caller
from remit.access.request import Ask, Ruling, Said, Told, Wish
from remit.arbiter import refusal
from remit.arbiter.check import bearer, single
from remit.arbiter.cookies import session_secret
from remit.model.errors import Refused
from remit.model.grant import Step
from remit.model.reasons import Reason

_MAXIMUM_BODY = 16 << 10  # bytes: the longest names and reason, many times over
_LONGEST_WORD = 2048  # characters of an action or a resource: twice the longest name of Vertex AI
_LONGEST_REASON = 1000  # characters: more than the story takes, and says
_ASK = {"action": str, "resource": str, "for": int, "because": str, "job": str, "break_glass": bool}
_ASK_NEEDS = frozenset({"action", "resource", "for", "because"})
_SAY = {"grant": str, "say": str, "because": str, "digest": str}
_SAY_NEEDS = frozenset({"grant", "say"})
_JOB = {"job": str, "name": str}
_WORDS = {str(step): step for step in (Step.APPROVE, Step.DENY, Step.WITHDRAW, Step.REVIEW)}
_PRIVATE = {"cache-control": "no-store"}


class Grants:
    """The endpoints. `origin`: of our own pages, `https://host[:port]`."""

    def __init__(self, story: Ask, origin: str = "") -> None:
        self._story = story
        self._origin = origin

    async def grants(self, request: Request) -> JSONResponse:
        """`/v1/grants`."""
        try:
            caller = self._caller(request)
            if request.method == "GET":
                everything = request.query_params.get("all", "") == "1"
                ruling = await self._story.show(caller, everything=everything)
                return _answer(ruling, {"grants": [shown(told, ruling) for told in ruling.grants]})
            asked = _words(await _document(request))
        except Refused as refused:
            return _error(refused.reason.http_status, "invalid_request", refused.message)
        ruling = await (self._story.say(caller, asked) if isinstance(asked, Said) else self._story.ask(caller, asked))
        return _answer(ruling, {"grant": shown(ruling.grants[0], ruling)} if ruling.grants else {}, decided=True)

    async def jobs(self, request: Request) -> JSONResponse:
        """`/v1/jobs`."""
        try:
            caller = self._caller(request)
            if request.method == "DELETE":
                ruling = await self._story.end(caller, request.query_params.get("job", ""))
            else:
                asked = _checked(await _document(request), _JOB, frozenset(_JOB))
                ruling = await self._story.start(caller, asked["job"], asked["name"])
        except Refused as refused:
            return _error(refused.reason.http_status, "invalid_request", refused.message)
        return _answer(ruling, {"grants": list(ruling.ids)})

    def _caller(self, request: Request) -> Caller:
        """Who asks; raises `Refused` for a browser that another site sent."""
        presented = request.headers.getlist("authorization")
        peer = single(request.headers.items(), "x-remit-peer")
        session = None if presented else session_secret(request)
        if session is None:
            return Caller(bearer(presented), peer=peer)
        origin = request.headers.getlist("origin")
        if (origin or request.method != "GET") and (not self._origin or origin != [self._origin]):
            raise Refused(Reason.REQUEST_MALFORMED, "the request comes from another site")
        return Caller(None, session, peer)


def shown(told: Told, ruling: Ruling) -> dict[str, Any]:
    """One grant, as it is when it is told."""
    kept, wanted = told.kept, told.kept.wanted
    return {
        "id": kept.id,
        "principal": wanted.principal,
        "name": kept.name,
        "action": wanted.action,
        "resource": wanted.resource.name,
        "project": wanted.resource.project,
        "for": wanted.lasting,
        "because": wanted.because,
        "job": wanted.job,
        "break_glass": wanted.break_glass,
        "state": str(kept.standing(ruling.decision.circumstances.now)),
        "asked_at": kept.asked_at,
        "since": kept.since,
        "until": kept.until,
        "needed": kept.needed,
        "votes": [
            {
                "principal": vote.principal,
                "name": vote.name,
                "said": str(vote.said),
                "at": vote.at,
                "because": vote.because,
            }
            for vote in kept.votes
        ],
        "mine": told.mine,
        "may_approve": told.may_approve,
        "digest": wanted.digest,
        "review_due": kept.review_due,
    }


def _words(document: Mapping[str, Any]) -> Wish | Said:
    """What is asked for, or what is said; raises `Refused`."""
    if set(document) == {"ask"}:
        asked = _checked(document["ask"], _ASK, _ASK_NEEDS)
        words = asked["action"], asked["resource"]
        return Wish(*words, asked["for"], asked["because"], asked.get("job", ""), asked.get("break_glass", False))
    said = _checked(document, _SAY, _SAY_NEEDS)
    if said["say"] not in _WORDS:
        raise _malformed(f"`say` is one of {', '.join(f'`{word}`' for word in _WORDS)}")
    return Said(said["grant"], _WORDS[said["say"]], said.get("because", ""), said.get("digest", ""))


def _checked(document: Any, members: Mapping[str, type], needed: frozenset[str]) -> Mapping[str, Any]:
    """An object with members of these types and no others; raises `Refused`."""
    if not isinstance(document, dict):
        raise _malformed("what is asked for is not a JSON object")
    missing = sorted(needed - set(document))
    if missing:
        raise _malformed(f"the member `{missing[0]}` is missing")
    for name, value in document.items():
        if type(value) is not members.get(name):
            raise _malformed(f"the member `{name}` is not known, or not of its type")
        most = _LONGEST_REASON if name == "because" else _LONGEST_WORD
        if isinstance(value, str) and (len(value) > most or not value.isprintable()):
            raise _malformed(f"`{name}` is too long, or holds what does not print")
    return document


async def _document(request: Request) -> Any:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAXIMUM_BODY:
            raise _malformed(f"the body is larger than {_MAXIMUM_BODY} bytes")
    try:
        return json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise _malformed("the body is not one JSON object with each name once") from None


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name occurs twice")
    return values


def _malformed(message: str) -> Refused:
    return Refused(Reason.REQUEST_MALFORMED, message)


def _answer(ruling: Ruling, document: Mapping[str, Any], *, decided: bool = False) -> JSONResponse:
    decision = ruling.decision
    if ruling.done:
        return JSONResponse({**({"decision": decision.id} if decided else {}), **document}, headers=_PRIVATE)
    number = refusal.status(decision)
    return _error(number, str(decision.verdict.reasons[0]), refusal.message(decision), refusal.headers(decision))


def _error(status: int, error: str, description: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": error, "error_description": description}, status, {**_PRIVATE, **(headers or {})})
