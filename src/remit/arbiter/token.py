"""`/v1/token`: the broker, an RFC 8693 token exchange.

`subject_token` is the caller's token for Remit; `audience` names what the answer is for, here
`//storage.googleapis.com/projects/PROJECT`, a `direct` Storage token; `job` is the run that asks. Errors have RFC
6749's form (section 5.2).
"""

import re
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse

from remit.arbiter import refusal
from remit.arbiter.check import single
from remit.model.decision import Answer
from remit.model.secret import UnverifiedToken

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
_AUDIENCE = "//storage.googleapis.com/projects/"
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]{0,62}")  # id or number; an id has 30 characters, a domain before it 32 more
_JOB = re.compile(r"(j-[0-9a-z]{26})?")
_MAXIMUM_FORM = 64 << 10  # bytes: a token of the largest size, and a few words
_PRIVATE = {"cache-control": "no-store"}
_ERRORS = {400: "invalid_request", 401: "invalid_grant", 403: "access_denied", 503: "temporarily_unavailable"}

Exchange = Callable[[UnverifiedToken, str, str, str], Awaitable[Answer]]


class Token:
    """The endpoint."""

    def __init__(self, exchange: Exchange, clock: Callable[[], int]) -> None:
        self._exchange = exchange
        self._clock = clock

    async def __call__(self, request: Request) -> JSONResponse:
        """One exchange."""
        form = await _form(request)
        if form is None:
            return _error(
                400, "invalid_request", "the form is not one `application/x-www-form-urlencoded` of single values"
            )
        if form.get("grant_type") != _GRANT:
            return _error(400, "unsupported_grant_type", f"`grant_type` must be `{_GRANT}`")
        if form.get("subject_token_type") != _ACCESS_TOKEN or not form.get("subject_token"):
            return _error(400, "invalid_request", f"`subject_token` of type `{_ACCESS_TOKEN}` is needed")
        audience = form.get("audience", "")
        project = audience.removeprefix(_AUDIENCE)
        if project == audience or not _PROJECT.fullmatch(project):
            return _error(400, "invalid_target", f"`audience` must be `{_AUDIENCE}PROJECT`")
        job = form.get("job", "")
        if not _JOB.fullmatch(job):
            return _error(400, "invalid_request", "`job` is not the id of a run")
        peer = single(request.headers.items(), "x-remit-peer")
        return self._answer(await self._exchange(UnverifiedToken(form["subject_token"]), project, peer, job))

    def _answer(self, answer: Answer) -> JSONResponse:
        decision, credential = answer.decision, answer.credential
        if not decision.permitted or credential is None:
            number = refusal.status(decision)
            shown = {"x-remit-decision": decision.id, "x-remit-reason": str(decision.verdict.reasons[0])}
            return _error(number, _ERRORS[number], refusal.message(decision), shown)
        document = {
            "access_token": credential.token.reveal(),
            "issued_token_type": _ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": credential.expires_at - self._clock() // 1_000_000,
            "scope": " ".join(credential.scopes),
            "decision": decision.id,
        }
        return JSONResponse(document, headers=_PRIVATE)


def _error(status: int, error: str, description: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": error, "error_description": description}, status, {**_PRIVATE, **(headers or {})})


async def _form(request: Request) -> dict[str, str] | None:
    """The form's values, or `None` when it is not one, too large, or names a value twice."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return None
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAXIMUM_FORM:
            return None
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None
