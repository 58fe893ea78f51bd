"""`/v1/jobs`: a run begins and ends; `/v1/lifetime`: what one would depend on, and how long that lasts.

`POST /v1/jobs` takes `{"job": "j-…", "name"?, "project"?, "lasting"?}` and answers `grants` (ids of those that the run
has), `lasting` (seconds: as declared, else what 95 of 100 runs like it kept within, 0 where nobody knows) and
`outlived`: the hops that end for good before that. `DELETE /v1/jobs?job=j-…` ends it; it may be told twice.
`GET /v1/lifetime?project=&lasting=&name=` answers every hop, and what the policies would say of such a run (`outcome`,
empty where no project is named). `decision` is empty where none was recorded. Errors have the form of the other
endpoints. A browser's session may ask as well, and change something only from our own pages (RFC 6265bis section 8.8).
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from remit.access.run import Begin, Ruling
from remit.access.run import Jobs as Story
from remit.arbiter.documents import caller, checked, document, malformed, plain, query, refused, wrong
from remit.model.errors import Refused
from remit.model.lifetime import Hop

_BEGIN = {"job": str, "name": str, "project": str, "lasting": int}
_ASKED = ("project", "lasting", "name")
_DIGITS = 9  # of seconds: a year has eight


class Jobs:
    """The endpoints. `origin`: of our own pages, `https://host[:port]`."""

    def __init__(self, story: Story, origin: str = "") -> None:
        self._story = story
        self._origin = origin

    async def jobs(self, request: Request) -> JSONResponse:
        """`/v1/jobs`."""
        try:
            asker = caller(request, self._origin)
            if request.method == "DELETE":
                ended = await self._story.end(asker, query(request, ("job",))["job"])
                return plain({"grants": list(ended.ids)}) if ended.done else refused(ended.decision)
            begin = Begin(**checked(await document(request), _BEGIN, ("job",)))
        except Refused as refusal:
            return wrong(refusal)
        ruling = await self._story.start(asker, begin)
        if not ruling.done:
            return refused(ruling.decision)
        outlived = [_told(hop) for hop in ruling.outlived]
        return plain(
            {
                "decision": ruling.decision.id,
                "grants": list(ruling.ids),
                "outlived": outlived,
                "lasting": ruling.lasting,
            }
        )

    async def lifetime(self, request: Request) -> JSONResponse:
        """`/v1/lifetime`."""
        try:
            asker = caller(request, self._origin)
            asked = query(request, _ASKED)
            begin = Begin(name=asked["name"], project=asked["project"], lasting=_seconds(asked["lasting"]))
        except Refused as refusal:
            return wrong(refusal)
        ruling = await self._story.outlook(asker, begin)
        return plain(_outlook(ruling, begin)) if ruling.done else refused(ruling.decision)


def _outlook(ruling: Ruling, begin: Begin) -> Mapping[str, Any]:
    verdict = ruling.decision.verdict
    asked = begin.project != ""
    return {
        "lasting": ruling.lasting,
        "declared": begin.lasting > 0,
        "hops": [{**_told(hop), "renews": hop.renews, "source": hop.source} for hop in ruling.hops],
        "outlived": [_told(hop) for hop in ruling.outlived],
        "outcome": str(verdict.outcome) if asked else "",
        "detail": verdict.detail if asked else "",
        "hint": verdict.hint if asked else "",
    }


def _told(hop: Hop) -> dict[str, Any]:
    return {"hop": hop.name, "lasts": hop.lasts, "why": hop.why, "change": hop.change}


def _seconds(text: str) -> int:
    if text and not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise malformed("`lasting` is a number of seconds")
    return int(text or 0)
