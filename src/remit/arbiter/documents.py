"""What the API's own endpoints share: one JSON object in, one out, and who asks.

Errors are `error` and `error_description` (as RFC 6749 section 5.2 has them), with `hint` where there is one; a refusal
names its decision. A browser's session may ask too, and change something only from our own pages (RFC 6265bis 8.8).
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from remit.access.asking import Caller
from remit.arbiter import refusal
from remit.arbiter.check import bearer, single
from remit.arbiter.cookies import session_secret
from remit.model.decision import Decision
from remit.model.errors import Refused
from remit.model.reasons import Reason

_MAXIMUM_BODY = 16 << 10  # bytes: the longest names and reason, many times over
_LONGEST_WORD = 2048  # characters of a name: twice the longest of Vertex AI
_SHOWN = 64  # characters of an unknown name that a refusal repeats
_LONGEST = {"because": 1000}  # characters: more than the stories take, and they say so
_PRIVATE = {"cache-control": "no-store"}


def caller(request: Request, origin: str = "") -> Caller:
    """Who asks. `origin`: of our own pages; raises `Refused` for a browser that another site sent."""
    presented = request.headers.getlist("authorization")
    peer = single(request.headers.items(), "x-remit-peer")
    session = None if presented else session_secret(request)
    if session is None:
        return Caller(bearer(presented), peer=peer)
    came_from = request.headers.getlist("origin")
    if (came_from or request.method != "GET") and (not origin or came_from != [origin]):
        raise malformed("the request comes from another site")
    return Caller(None, session, peer)


async def document(request: Request) -> Any:
    """The body, read strictly; raises `Refused`."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAXIMUM_BODY:
            raise malformed(f"the body is larger than {_MAXIMUM_BODY} bytes")
    try:
        return json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise malformed("the body is not one JSON object with each name once") from None


def query(request: Request, names: Collection[str]) -> Mapping[str, str]:
    """What stands behind the `?`: no name but these and each once, empty where one is absent; raises `Refused`."""
    pairs = request.query_params.multi_items()
    found = checked(dict(pairs), dict.fromkeys(names, str), ())
    if len(found) != len(pairs):
        raise malformed("a name stands twice in the query")
    return {**dict.fromkeys(names, ""), **found}


def checked(found: Any, members: Mapping[str, type], needed: Collection[str]) -> Mapping[str, Any]:
    """An object with members of these types and no others; raises `Refused`."""
    if not isinstance(found, dict):
        raise malformed("what is asked for is not a JSON object")
    missing = sorted(set(needed) - set(found))
    if missing:
        raise malformed(f"the member `{missing[0]}` is missing")
    for name, value in found.items():
        if name not in members:
            shown = name[:_SHOWN] if name.isprintable() else "…"  # half a character could not even be answered
            raise malformed(f"the member `{shown}` is not known")
        if type(value) is not members[name]:
            raise malformed(f"the member `{name}` is not of its type")
        if isinstance(value, str) and not printable(value, _LONGEST.get(name, _LONGEST_WORD)):
            raise malformed(f"`{name}` is too long, or holds what does not print")
    return found


def printable(value: object, longest: int = _LONGEST_WORD) -> bool:
    """Whether this is a text that can be shown, of so many characters at most."""
    return isinstance(value, str) and len(value) <= longest and value.isprintable()


def answered(decision: Decision, found: Mapping[str, Any]) -> JSONResponse:
    """The answer to a question that was permitted, with its decision; else the refusal."""
    if decision.permitted:
        return JSONResponse({"decision": decision.id, **found}, headers=_PRIVATE)
    return refused(decision)


def refused(decision: Decision) -> JSONResponse:
    """The refusal of a question."""
    hint, number = refusal.hint(decision), refusal.status(decision)
    said = refusal.message(decision).removesuffix(f"; {hint}")
    return error(number, str(decision.verdict.reasons[0]), said, hint=hint, headers=refusal.headers(decision))


def plain(found: Mapping[str, Any]) -> JSONResponse:
    """An answer that no decision stands behind."""
    return JSONResponse(dict(found), headers=_PRIVATE)


def wrong(refusal_: Refused) -> JSONResponse:
    """The answer to a question that cannot be read, or was put by nobody who may."""
    reason = refusal_.reason
    name = "invalid_request" if reason is Reason.REQUEST_MALFORMED else str(reason)
    headers = {} if reason is Reason.REQUEST_MALFORMED else {"x-remit-reason": str(reason)}
    return error(reason.http_status, name, refusal_.message, hint=refusal_.hint, headers=headers)


def error(
    status: int, name: str, description: str, *, hint: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error in the API's own form."""
    found = {"error": name, "error_description": description, **({"hint": hint} if hint else {})}
    return JSONResponse(found, status, {**_PRIVATE, **(headers or {})})


def malformed(message: str) -> Refused:
    """What a question is refused with that cannot be read."""
    return Refused(Reason.REQUEST_MALFORMED, message)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name occurs twice")
    return values
