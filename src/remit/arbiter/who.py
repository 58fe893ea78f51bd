"""`/v1/can` and `/v1/who`: may they, and who else could.

`POST /v1/can` takes one JSON object, `{"action": …, "resource": …}` with `who` and `with` beside it; `GET /v1/who`
takes `action` and `resource`. An action group stands for those of its members that no policy names. What an answer
discloses is the story's word (`access.who`): policies are named only to those who may ask about others. Errors have the
form of the other endpoints, and name the decision where one is on record.
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from remit.access.assumed import Assumed
from remit.access.who import Answer, Asking, Subject, Who
from remit.arbiter.documents import answered, caller, checked, document, malformed, printable, query, wrong
from remit.arbiter.grants import held
from remit.model.errors import Refused
from remit.model.outcome import Outcome

_ASKED = {"action": str, "resource": str, "who": str, "with": dict}
_WITH = {
    "contexts": list,
    "methods": list,
    "country": str,
    "peer": str,
    "risk": str,
    "compliant": bool,
    "managed": bool,
    "job": str,
    "job_name": str,
    "acts_as": str,
    "outlived": list,
}
_LISTS = ("contexts", "methods", "outlived")
_MOST = 20  # words of a list


class WhoMay:
    """Both endpoints. `origin`: of our own pages, `https://host[:port]`."""

    def __init__(self, story: Who, origin: str = "") -> None:
        self._story = story
        self._origin = origin

    async def can(self, request: Request) -> JSONResponse:
        """About one person."""
        try:
            asking = _asking(checked(await document(request), _ASKED, ("action", "resource")))
            answer = await self._story.can(caller(request, self._origin), asking)
        except Refused as refused:
            return wrong(refused)
        return answered(answer.decision, _about_one(answer) if answer.subjects else {})

    async def who(self, request: Request) -> JSONResponse:
        """About everybody."""
        try:
            asked = query(request, ("action", "resource"))
            answer = await self._story.who(caller(request, self._origin), asked["action"], asked["resource"])
        except Refused as refused:
            return wrong(refused)
        return answered(answer.decision, _about_all(answer))


def _asking(found: Mapping[str, Any]) -> Asking:
    given = checked(found.get("with", {}), _WITH, ())
    lists: dict[str, Any] = {name: tuple(given.get(name, ())) for name in _LISTS}
    if any(len(words) > _MOST or not all(map(printable, words)) for words in lists.values()):
        raise malformed(f"`with.contexts`, `with.methods` and `with.outlived` are lists of at most {_MOST} words")
    others = {name: value for name, value in given.items() if name not in lists}
    return Asking(found["action"], found["resource"], found.get("who", ""), Assumed(**lists, **others))


def _about_one(answer: Answer) -> dict[str, Any]:
    (subject,) = answer.subjects
    verdict = subject.verdict
    wanted = verdict.outcome is Outcome.STEP_UP
    return {
        **_asked(answer),
        "outcome": str(verdict.outcome),
        "reasons": [str(reason) for reason in verdict.reasons],
        "detail": verdict.detail,
        "hint": f"a sign-in with `{verdict.challenge}` would do" if wanted and verdict.challenge else verdict.hint,
        "who": {"principal": subject.identity.principal.key, "name": subject.identity.display},
        "assumed": dict(answer.told),
        "ways": [list(way) for way in subject.ways],
        "grants": [held(grant) for grant in subject.grants],
        **({"policies": [policy.id for policy in verdict.policies]} if answer.full else {}),
    }


def _about_all(answer: Answer) -> dict[str, Any]:
    return {
        **_asked(answer),
        "as_of": answer.as_of,
        "people": [_row(subject) for subject in answer.subjects],
    }


def _asked(answer: Answer) -> dict[str, Any]:
    return {
        "action": answer.action.id if answer.action else "",
        "resource": answer.resource.name if answer.resource else "",
        "within": answer.within,
    }


def _row(subject: Subject) -> dict[str, Any]:
    principal, verdict = subject.identity.principal, subject.verdict
    return {
        "principal": principal.key,
        "name": subject.identity.display,
        "kind": str(principal.kind),
        "guest": subject.identity.guest,
        "outcome": str(verdict.outcome),
        "reasons": [str(reason) for reason in verdict.reasons],
        "challenge": verdict.challenge,
        "policies": [policy.id for policy in verdict.policies],
        "ways": [list(way) for way in subject.ways],
    }
