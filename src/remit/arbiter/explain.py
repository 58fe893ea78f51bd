"""`GET /v1/explain?id=d-…`: why a decision came out as it did, and what would change it.

One's own, as a caller reads it; with `full=1`, and of somebody else's, with all policies, to those who may
(`access.explain`). Errors have the form of the other endpoints.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from remit.access.explain import Explain, Explained
from remit.arbiter.documents import answered, caller, error, query, wrong
from remit.model.errors import Refused
from remit.model.explanation import Change, Explanation, PolicyTold, QuestionTold

_SHOWN = (
    "decision",
    "at",
    "outcome",
    "reasons",
    "detail",
    "hint",
    "challenge",
    "action",
    "resource",
    "project",
    "failed",
    "upstream",
    "upstream_detail",
)
_MORE = ("principal", "name", "policies", "policy_version", "obligations", "grants", "peer", "country", "risk")


class Why:
    """The endpoint. `origin`: of our own pages, `https://host[:port]`."""

    def __init__(self, story: Explain, origin: str = "") -> None:
        self._story = story
        self._origin = origin

    async def __call__(self, request: Request) -> JSONResponse:
        """One question, one answer."""
        try:
            asked = query(request, ("id", "full"))
            found = await self._story(caller(request, self._origin), asked["id"], full=asked["full"] == "1")
        except Refused as refused:
            return wrong(refused)
        if found.decision.permitted and not found.entry:
            return error(404, "not_found", found.left, headers={"x-remit-decision": found.decision.id})
        by = found.decision.id if found.full else ""  # of one's own nothing is recorded
        return answered(found.decision, {**_told(found), "by": by, "decision": found.entry.get("decision", "")})


def _told(found: Explained) -> dict[str, Any]:
    fields = (*_SHOWN, *_MORE) if found.full else _SHOWN
    return {
        **{name: found.entry[name] for name in fields if name in found.entry},
        "full": found.full,
        "left": found.left,
        "same": found.same,
        **(_explanation(found.explanation) if found.explanation else {"questions": [], "repairs": []}),
        "ways": [{"group": way.group, "way": list(way.names)} for way in found.ways],
    }


def _explanation(explanation: Explanation) -> dict[str, Any]:
    return {
        "questions": [_question(question) for question in explanation.questions],
        "repairs": [[_change(change) for change in repair.changes] for repair in explanation.repairs],
    }


def _question(question: QuestionTold) -> dict[str, Any]:
    return {
        "action": question.operation.action.id,
        "resource": question.resource.name,
        "within": question.operation.within,
        "allowed": question.allowed,
        "policies": [_policy(told) for told in question.policies],
    }


def _policy(told: PolicyTold) -> dict[str, Any]:
    return {
        "id": told.policy.id,
        "effect": told.policy.effect,
        "purpose": told.policy.annotation("purpose"),
        "decided": told.decided,
        "conditions": [{"text": one.text, "holds": one.holds, "saw": one.saw} for one in told.conditions],
    }


def _change(change: Change) -> dict[str, str]:
    return {
        "means": str(change.means),
        "what": change.what,
        "value": change.value,
        "command": change.command,
        "who": change.who,
    }
