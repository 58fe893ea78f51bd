"""`/sign-in`: the choice of a provider, the way there, the way back, and the provider's word that somebody left.

It turns HTTP and cookies into calls of identity's `SignIn`, and answers with a redirect (always 303: what was posted
must never be posted on, RFC 9700 section 4.12) or with a page that says why not. Whatever comes back, the cookie of
the sign-in is taken away. Leaves out: the account page (`account`).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from remit.arbiter import cookies
from remit.arbiter.pages import PRIVATE, page, refusal
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import Secret, SessionSecret, UnverifiedToken

_FORM = "application/x-www-form-urlencoded"
_MAXIMUM_SAML = 256 << 10  # bytes: a response of 128 KiB, base64 and form-encoded
_MAXIMUM_LOGOUT = 32 << 10  # bytes: a token of 16 KiB
_SEE_OTHER = 303
_TIMEOUT = 10.0  # seconds for a form to arrive


class Departure(Protocol):
    """As identity's."""

    @property
    def location(self) -> str:
        """Where the browser goes."""

    @property
    def flow(self) -> Secret:
        """What its cookie holds meanwhile."""

    @property
    def posted(self) -> bool:
        """Whether the answer comes as a form from another site."""


class Arrival(Protocol):
    """As identity's."""

    @property
    def session(self) -> SessionSecret:
        """For the cookie."""

    @property
    def to(self) -> str:
        """A path on our own origin."""


class SignIn(Protocol):
    """identity: how somebody signs in. Everything raises `Refused`."""

    @property
    def providers(self) -> Sequence[tuple[str, str]]:
        """Name and title of each."""

    async def begin(self, name: str, to: str, now: int, *, context: str = "", fresh: bool = False) -> Departure:
        """Sends a browser to a provider."""

    async def finish(self, name: str, query: str, cookie: Secret, before: SessionSecret | None, now: int) -> Arrival:
        """Takes it back from an OpenID provider."""

    async def accept(self, name: str, response: str, cookie: Secret, before: SessionSecret | None, now: int) -> Arrival:
        """Takes it back from a SAML provider."""

    async def logout(self, name: str, token: UnverifiedToken, now: int) -> int:
        """A provider says that a session is over."""


class SignInPages:
    """The endpoints. `clock`: microseconds since the epoch."""

    def __init__(self, sign_in: SignIn, clock: Callable[[], int]) -> None:
        self._sign_in = sign_in
        self._clock = clock

    def routes(self) -> list[Route]:
        """Where each one stands."""
        return [
            Route("/sign-in", self.choose, methods=["GET"]),
            Route("/sign-in/{name}", self.depart, methods=["GET"]),
            Route("/sign-in/{name}/callback", self.arrive, methods=["GET"]),
            Route("/sign-in/{name}/saml", self.arrive_posted, methods=["POST"]),
            Route("/sign-in/{name}/backchannel-logout", self.logged_out, methods=["POST"]),
        ]

    async def choose(self, request: Request) -> Response:
        """A button for each provider."""
        query = request.query_params
        try:
            known = cookies.session_secret(request) is not None
        except Refused as refused:
            return refusal(refused, self._now())
        return page(
            "sign_in",
            providers=self._sign_in.providers,
            to=query.get("to", ""),
            signed_out="signed-out" in query,
            known=known,
        )

    async def depart(self, request: Request) -> Response:
        """To the provider. `to`: return address; `context`: authentication context (`c1`); `fresh`: sign in anew."""
        name, query = request.path_params["name"], request.query_params
        to, context = query.get("to", ""), query.get("context", "")
        try:
            departure = await self._sign_in.begin(name, to, self._now(), context=context, fresh="fresh" in query)
        except Refused as refused:
            return refusal(refused, self._now(), to=to, where=self._where(name))
        response = RedirectResponse(departure.location, _SEE_OTHER, PRIVATE)
        cookies.set_flow(response, departure.flow, posted=departure.posted)
        return response

    async def arrive(self, request: Request) -> Response:
        """Back from an OpenID provider."""
        name = request.path_params["name"]
        query = request.scope["query_string"].decode("latin-1")
        try:
            flow, before = cookies.flow_secret(request, posted=False), cookies.session_secret(request)
            arrival = await self._sign_in.finish(name, query, flow, before, self._now())
        except Refused as refused:
            response: Response = refusal(refused, self._now(), where=self._where(name))
        else:
            response = _welcome(arrival)
        cookies.end_flow(response, posted=False)
        return response

    async def arrive_posted(self, request: Request) -> Response:
        """Back from a SAML provider, by a form (bindings 3.5). Its `RelayState` is nothing that we sent."""
        name = request.path_params["name"]
        try:
            form = await read_form(request, _MAXIMUM_SAML)
            flow, before = cookies.flow_secret(request, posted=True), cookies.session_secret(request)
            arrival = await self._sign_in.accept(name, form.get("SAMLResponse", ""), flow, before, self._now())
        except Refused as refused:
            response: Response = refusal(refused, self._now(), where=self._where(name))
        else:
            response = _welcome(arrival)
        cookies.end_flow(response, posted=True)
        return response

    async def logged_out(self, request: Request) -> Response:
        """OpenID Connect Back-Channel Logout 1.0 section 2.8: 200, or 400 with the reason."""
        try:
            form = await read_form(request, _MAXIMUM_LOGOUT)
            await self._sign_in.logout(
                request.path_params["name"], UnverifiedToken(form.get("logout_token", "")), self._now()
            )
        except Refused as refused:
            error = {"error": "invalid_request", "error_description": f"{refused.reason}: {refused.message}"}
            return JSONResponse(error, 400, {**PRIVATE, "x-remit-reason": str(refused.reason)})
        return Response(status_code=200, headers=PRIVATE)

    def _now(self) -> int:
        return self._clock() // 1_000_000

    def _where(self, name: str) -> str:
        known = name in dict(self._sign_in.providers)
        return f"sign-in at {name}" if known else "sign-in at an unknown provider"


def _welcome(arrival: Arrival) -> Response:
    response = RedirectResponse(arrival.to, _SEE_OTHER, PRIVATE)
    cookies.set_session(response, arrival.session)
    return response


async def read_form(request: Request, most: int) -> dict[str, str]:
    """A small form of single values; raises `Refused`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Refused(Reason.REQUEST_MALFORMED, f"the request is no form of type `{_FORM}`")
    body = bytearray()
    try:
        async with asyncio.timeout(_TIMEOUT):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise Refused(Reason.REQUEST_MALFORMED, "the form is too large")
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=8, errors="strict")
    except (TimeoutError, ValueError):
        raise Refused(Reason.REQUEST_MALFORMED, "the form cannot be read") from None
    if len(dict(pairs)) != len(pairs):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the form says something twice")
    return dict(pairs)
