"""The broker: `/v1/token`, an RFC 8693 token exchange, and `/TENANT/oauth2/v2.0/token`, in Entra's form.

Of the former `subject_token` is the caller's token for Remit, `audience` names what the answer is for (`audience.py`),
`job` the run that asks: what an unmodified google-auth sends from an `external_account` file. The latter is what
azure-identity's `WorkloadIdentityCredential` posts to its authority host: `client_assertion` is the caller's token, and
`client_id` one of the applications of `credentials.azure`. It stands below `/azure/` too, where that host's root is not
free; but its client takes the first part of the path for the tenant, and finds no token again that it kept. Errors have
RFC 6749's form (section 5.2). Whatever would ask for less than a caller gets, or for somebody else, is refused:
`resource`, `actor_token`, `options`, a claims challenge. Other parameters are ignored, as section 3.2 demands.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse

from remit.access.exchange import Audience, Target
from remit.arbiter import refusal
from remit.arbiter.audience import NotUnderstoodError, at_entra, exchanged
from remit.arbiter.check import single
from remit.model.decision import Answer
from remit.model.secret import UnverifiedToken

ENTRA_PATH = "/{tenant}/oauth2/v2.0/token"
_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPE = "urn:ietf:params:oauth:token-type:"
_ACCESS_TOKEN = f"{_TYPE}access_token"
_TAKEN = frozenset({_ACCESS_TOKEN, f"{_TYPE}jwt", f"{_TYPE}id_token"})
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LIMITS = ("resource", "actor_token", "actor_token_type", "options")  # each asks for less, or for somebody else
_JOB = re.compile(r"(j-[0-9a-z]{26})?")
_MAXIMUM_FORM = 64 << 10  # bytes: a token of the largest size, and a few words
_PRIVATE = {"cache-control": "no-store"}
_ERRORS = {400: "invalid_request", 401: "invalid_grant", 403: "access_denied", 503: "temporarily_unavailable"}
_NO_FORM = "the form is not one `application/x-www-form-urlencoded` of single values"

Exchange = Callable[[UnverifiedToken, Audience, str, str], Awaitable[Answer]]


class Token:
    """The endpoints. `tenant`: the Entra tenant whose applications' tokens are asked for here."""

    def __init__(self, exchange: Exchange, clock: Callable[[], int], tenant: str) -> None:
        self._exchange = exchange
        self._clock = clock
        self._tenant = tenant

    async def __call__(self, request: Request) -> JSONResponse:
        """One exchange."""
        form = await _form(request)
        if form is None:
            return _error(400, "invalid_request", _NO_FORM)
        try:
            audience = _exchanged(form)
        except NotUnderstoodError as error:
            return _error(400, error.error, str(error))
        answer = await self._exchange(
            UnverifiedToken(form["subject_token"]), audience, _peer(request), form.get("job", "")
        )
        told = {"issued_token_type": _ACCESS_TOKEN}
        if answer.credential is not None:
            told["scope"] = " ".join(answer.credential.scopes)
        if audience.target is not Target.REMIT:
            told["decision"] = answer.decision.id
        return self._answer(answer, told, _ERRORS)

    async def entra(self, request: Request) -> JSONResponse:
        """One token of an application's, as from Entra."""
        form = await _form(request)
        if form is None:
            return _error(400, "invalid_request", _NO_FORM)
        if request.path_params["tenant"] != self._tenant:
            return _error(400, "invalid_request", "the path names another tenant than this installation's")
        try:
            audience = _at_entra(form)
        except NotUnderstoodError as error:
            return _error(400, error.error, str(error))
        answer = await self._exchange(UnverifiedToken(form["client_assertion"]), audience, _peer(request), "")
        # no `scope`, as from Entra: clients keep a token under what is said there, and would not find it again
        return self._answer(answer, {"decision": answer.decision.id}, {**_ERRORS, 401: "invalid_client"})

    def _answer(self, answer: Answer, told: Mapping[str, str], errors: Mapping[int, str]) -> JSONResponse:
        decision, credential = answer.decision, answer.credential
        if not decision.permitted or credential is None:
            number = refusal.status(decision)
            shown = {"x-remit-decision": decision.id, "x-remit-reason": str(decision.verdict.reasons[0])}
            return _error(number, errors[number], refusal.message(decision), shown)
        document = {
            "access_token": credential.token.reveal(),
            "token_type": "Bearer",
            "expires_in": credential.expires_at - self._clock() // 1_000_000,
            **told,
        }
        return JSONResponse(document, headers=_PRIVATE)


def _exchanged(form: Mapping[str, str]) -> Audience:
    """What an RFC 8693 form asks for; raises `NotUnderstoodError`."""
    if form.get("grant_type") != _GRANT:
        raise NotUnderstoodError("unsupported_grant_type", f"`grant_type` must be `{_GRANT}`")
    if form.get("subject_token_type") not in _TAKEN or not form.get("subject_token"):
        types = ", ".join(f"`{each}`" for each in sorted(_TAKEN))
        raise NotUnderstoodError("invalid_request", f"`subject_token` is needed, of a type of {types}")
    if form.get("requested_token_type", _ACCESS_TOKEN) != _ACCESS_TOKEN:
        raise NotUnderstoodError("invalid_request", f"`requested_token_type` can be `{_ACCESS_TOKEN}` only")
    for name in _LIMITS:
        if name in form:
            raise NotUnderstoodError("invalid_request", f"`{name}` is not understood here, and is not ignored")
    audience = exchanged(form.get("audience", ""), form.get("scope", ""))
    if not _JOB.fullmatch(form.get("job", "")):
        raise NotUnderstoodError("invalid_request", "`job` is not the id of a run")
    return audience


def _at_entra(form: Mapping[str, str]) -> Audience:
    """What a form of Entra's asks for; raises `NotUnderstoodError`."""
    if form.get("grant_type") != "client_credentials":
        raise NotUnderstoodError("unsupported_grant_type", "`grant_type` must be `client_credentials`")
    if form.get("client_assertion_type") != _ASSERTION or not form.get("client_assertion"):
        raise NotUnderstoodError("invalid_request", f"`client_assertion` of type `{_ASSERTION}` is needed")
    if _challenged(form.get("claims", "")):
        message = "a claims challenge is not answered here: the token cannot be made as it demands"
        raise NotUnderstoodError("interaction_required", message)
    return at_entra(form.get("client_id", ""), form.get("scope", ""))


def _challenged(claims: str) -> bool:
    """Whether `claims` asks for more than to say what the client understands (`xms_cc`), which promises nothing."""
    if not claims:
        return False
    try:
        asked = json.loads(claims)
    except (ValueError, RecursionError):
        return True
    token = asked.get("access_token") if isinstance(asked, dict) and len(asked) == 1 else None
    return not isinstance(token, dict) or not token.keys() <= {"xms_cc"}


def _peer(request: Request) -> str:
    return single(request.headers.items(), "x-remit-peer")


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
