"""`/account` and `/sign-out`: who you are here, where you are signed in, and the end of it.

Whoever signs somebody out must be this page: the `Origin` is ours, and the form holds a token that only the browser
with the session can know (RFC 6265bis section 8.8: `SameSite` alone is no defence). Signing out needs no provider and
no valid token, only the session. Leaves out: logout at the provider, which keeps its own sessions.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from remit.access.ports import Revocations
from remit.arbiter import cookies
from remit.arbiter.pages import PRIVATE, page, refusal
from remit.arbiter.sign_in import read_form
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.reasons import Reason
from remit.model.secret import SessionSecret, UnverifiedToken

_MAXIMUM_FORM = 4 << 10  # bytes: two short fields
_SEE_OTHER = 303
_SHOWN_GROUPS = 200  # Entra's most in a token; more make no readable page


class Line(Protocol):
    """One session, as identity's `SessionLine`."""

    @property
    def id(self) -> str:
        """`s-…`."""

    @property
    def principal(self) -> str:
        """`Principal.key`."""


class Sessions(Protocol):
    """identity: the sessions. Everything raises `Refused`."""

    async def authenticate(self, session: SessionSecret, now: int) -> tuple[Identity, UnverifiedToken | None]:
        """Whose it is."""

    async def current(self, session: SessionSecret, now: int) -> Line:
        """Which one it is."""

    async def of(self, principal: str, now: int) -> Sequence[Line]:
        """All live ones of a principal."""

    async def end(self, session: SessionSecret) -> int:
        """Ends it."""

    async def end_id(self, name: str) -> int:
        """Ends the one of this name."""

    async def end_all(self, principal: str) -> int:
        """Ends all of a principal."""


class Account:
    """The endpoints. `origin`: of our pages, `https://host[:port]`; `clock`: microseconds since the epoch.

    `revocations`: whoever they name is shown nothing but why; signing out is for them too.
    """

    def __init__(
        self, sessions: Sessions, origin: str, clock: Callable[[], int], *, revocations: Revocations | None = None
    ) -> None:
        self._sessions = sessions
        self._origin = origin
        self._clock = clock
        self._revocations = revocations

    def routes(self) -> list[Route]:
        """Where each one stands."""
        return [
            Route("/account", self.show, methods=["GET"]),
            Route("/sign-out", self.sign_out, methods=["POST"]),
            Route("/sign-out/everywhere", self.sign_out_everywhere, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """Who you are, and your sessions."""
        now = self._now()
        try:
            secret = cookies.session_secret(request)
            if secret is None:
                return RedirectResponse("/sign-in", _SEE_OTHER, PRIVATE)
            identity, _ = await self._sessions.authenticate(secret, now)
            if self._revocations:
                self._revocations.check(identity, "", now)
            current = await self._sessions.current(secret, now)
            lines = await self._sessions.of(current.principal, now)
        except Refused as refused:
            return refusal(refused, now, to="/account", where="account")
        return page(
            "account",
            identity=identity,
            groups=sorted(identity.groups)[:_SHOWN_GROUPS],
            more=max(0, len(identity.groups) - _SHOWN_GROUPS),
            sessions=lines,
            current=current.id,
            token=form_token(secret),
        )

    async def sign_out(self, request: Request) -> Response:
        """Ends this session, or the one that the form names, if it is the same person's."""
        try:
            secret, form = await self._asked_by_us(request)
            if secret is None or not form.get("session"):
                return await self._bye(secret)
            current = await self._sessions.current(secret, self._now())
            if form["session"] == current.id:
                return await self._bye(secret)
            if form["session"] in {line.id for line in await self._sessions.of(current.principal, self._now())}:
                await self._sessions.end_id(form["session"])
        except Refused as refused:
            return refusal(refused, self._now(), to="/account", where="sign-out")
        return RedirectResponse("/account", _SEE_OTHER, PRIVATE)

    async def sign_out_everywhere(self, request: Request) -> Response:
        """Ends all sessions of whoever asks."""
        try:
            secret, _ = await self._asked_by_us(request)
            if secret is not None:
                await self._sessions.end_all((await self._sessions.current(secret, self._now())).principal)
            return await self._bye(secret)
        except Refused as refused:
            return refusal(refused, self._now(), to="/account", where="sign-out")

    async def _bye(self, secret: SessionSecret | None) -> Response:
        if secret is not None:
            await self._sessions.end(secret)
        response = RedirectResponse("/sign-in?signed-out", _SEE_OTHER, PRIVATE)
        cookies.end_session(response)
        return response

    async def _asked_by_us(self, request: Request) -> tuple[SessionSecret | None, dict[str, str]]:
        """The session, if the browser has one, and the form, which only our page can have sent; raises `Refused`."""
        if request.headers.getlist("origin") != [self._origin]:
            raise Refused(
                Reason.REQUEST_MALFORMED, "the request comes from another site", hint="use the buttons of this page"
            )
        form = await read_form(request, _MAXIMUM_FORM)
        secret = cookies.session_secret(request)
        if secret is not None and not hmac.compare_digest(form.get("token", "").encode(), form_token(secret).encode()):
            raise Refused(
                Reason.REQUEST_MALFORMED,
                "the form belongs to another session",
                hint="open the account page anew, and use its buttons",
            )
        return secret, form

    def _now(self) -> int:
        return self._clock() // 1_000_000


def form_token(secret: SessionSecret) -> str:
    """What our forms hold: bound to the session, useless for finding it."""
    return hmac.new(secret.reveal().encode(), b"remit form", hashlib.sha256).hexdigest()
