"""`/v1/grants`: asking for a grant, answering, the list.

`GET /v1/grants`, with `all=1` also what is over. `POST /v1/grants` takes `{"ask": {"action", "resource", "for",
"because", "job"?, "break_glass"?}}`, or `{"grant", "say": "approve|deny|withdraw|review", "because"?, "digest"?}`.
What was asked for and is permitted already is answered with `permitted` in place of `grant`: nothing was asked for.
All times are seconds. `decision` is empty where nobody had to be asked: withdrawing one's own. Errors have the form of
the other endpoints.
A browser's session may ask as well, and change something only from our own pages (RFC 6265bis section 8.8).
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from remit.access.assumed import RUN
from remit.access.request import Ask, Ruling, Said, Told, Wish
from remit.arbiter.documents import caller, checked, document, malformed, plain, refused, wrong
from remit.model.decision import Decision, relied_on
from remit.model.errors import Refused
from remit.model.grant import Grant, Step, Wanted

_ASK = {"action": str, "resource": str, "for": int, "because": str, "job": str, "break_glass": bool}
_ASK_NEEDS = frozenset({"action", "resource", "for", "because"})
_SAY = {"grant": str, "say": str, "because": str, "digest": str}
_SAY_NEEDS = frozenset({"grant", "say"})
_WORDS = {str(step): step for step in (Step.APPROVE, Step.DENY, Step.WITHDRAW, Step.REVIEW)}


class Grants:
    """The endpoint. `origin`: of our own pages, `https://host[:port]`."""

    def __init__(self, story: Ask, origin: str = "") -> None:
        self._story = story
        self._origin = origin

    async def grants(self, request: Request) -> JSONResponse:
        """`/v1/grants`."""
        try:
            asker = caller(request, self._origin)
            if request.method == "GET":
                everything = request.query_params.get("all", "") == "1"
                ruling = await self._story.show(asker, everything=everything)
                return _answer(ruling, {"grants": [shown(told, ruling) for told in ruling.grants]})
            asked = _words(await document(request))
        except Refused as refusal:
            return wrong(refusal)
        ruling = await (self._story.say(asker, asked) if isinstance(asked, Said) else self._story.ask(asker, asked))
        found = {"grant": shown(ruling.grants[0], ruling)} if ruling.grants else {}
        found |= {"permitted": _permitted(ruling.permitted, ruling.decision)} if ruling.permitted else {}
        return _answer(ruling, {"decision": ruling.decision.id, **found})


def held(grant: Grant) -> dict[str, Any]:
    """A grant that a permit rests on; `until` is 0 while it waits for a run of its name to begin."""
    return {"id": grant.id, "job": grant.wanted.job, "until": 0 if grant.job == RUN else grant.until}


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


def _words(found: Any) -> Wish | Said:
    """What is asked for, or what is said; raises `Refused`."""
    if isinstance(found, dict) and set(found) == {"ask"}:
        asked = checked(found["ask"], _ASK, _ASK_NEEDS)
        words = asked["action"], asked["resource"]
        return Wish(*words, asked["for"], asked["because"], asked.get("job", ""), asked.get("break_glass", False))
    said = checked(found, _SAY, _SAY_NEEDS)
    if said["say"] not in _WORDS:
        raise malformed(f"`say` is one of {', '.join(f'`{word}`' for word in _WORDS)}")
    return Said(said["grant"], _WORDS[said["say"]], said.get("because", ""), said.get("digest", ""))


def _permitted(wanted: Wanted, decision: Decision) -> dict[str, Any]:
    """What was asked for and needs no grant, and the grants by which it is permitted, if any."""
    return {
        "principal": wanted.principal,
        "name": decision.identity.display if decision.identity else "",
        "action": wanted.action,
        "resource": wanted.resource.name,
        "grants": [held(grant) for grant in relied_on(decision.verdict, decision.circumstances)],
    }


def _answer(ruling: Ruling, found: Mapping[str, Any]) -> JSONResponse:
    return plain(found) if ruling.done else refused(ruling.decision)
