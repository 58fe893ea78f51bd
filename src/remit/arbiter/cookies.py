"""The cookies of browsers: the session's, and the one that a sign-in travels with. Names and attributes stand here.

`__Host-` (RFC 6265bis section 4.1.3) keeps siblings and plain http from planting one: such a cookie is Secure, has no
Domain, and lies at `/`. Two of one name in a request are a trap or a broken browser, and are refused, whichever would
be the good one. Leaves out: what the values mean (identity).
"""

from typing import Literal

from starlette.requests import HTTPConnection
from starlette.responses import Response

from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import Secret, SessionSecret

SESSION = "__Host-remit"
FLOW = "__Host-remit-flow"
POSTED_FLOW = "__Host-remit-flow-posted"
"""Of a provider that answers by a form from its own site: without `SameSite`, and good for that answer only."""

_FLOW_LIFE = 600  # seconds, as the flow itself
_MAXIMUM = 4096  # characters: no cookie of ours is longer


def session_secret(request: HTTPConnection) -> SessionSecret | None:
    """The session that the browser names, `None` for none; raises `Refused` for two."""
    value = cookie(request, SESSION)
    return SessionSecret(value) if value else None


def flow_secret(request: HTTPConnection, *, posted: bool) -> Secret:
    """The sign-in that the browser is in, empty for none; raises `Refused` for two."""
    return Secret(cookie(request, POSTED_FLOW if posted else FLOW))


def cookie(request: HTTPConnection, name: str) -> str:
    """The one value of a cookie, empty when it is absent or too long; raises `Refused` when it is there twice."""
    # blanks of the grammar only: more, and `\xa0__Host-remit`, which anybody may plant, would be ours
    pairs = (pair.strip(" \t").partition("=") for line in request.headers.getlist("cookie") for pair in line.split(";"))
    values = [value for key, _, value in pairs if key == name]
    if len(values) > 1:
        raise Refused(
            Reason.REQUEST_AMBIGUOUS,
            f"the browser sent two cookies named `{name}`",
            hint="remove this site's cookies in the browser's settings, and sign in again",
        )
    return values[0] if values and len(values[0]) <= _MAXIMUM else ""


def set_session(response: Response, secret: SessionSecret) -> None:
    """Gives the browser its session, until it is closed: the limits are the server's."""
    _set(response, SESSION, secret.reveal(), None, "lax")


def set_flow(response: Response, flow: Secret, *, posted: bool) -> None:
    """Gives the browser its sign-in."""
    _set(response, POSTED_FLOW if posted else FLOW, flow.reveal(), _FLOW_LIFE, "none" if posted else "lax")


def end_session(response: Response) -> None:
    """Takes the session away, with the attributes that it was given with: a browser ignores anything less."""
    _set(response, SESSION, "", 0, "lax")


def end_flow(response: Response, *, posted: bool) -> None:
    """Takes the sign-in away."""
    _set(response, POSTED_FLOW if posted else FLOW, "", 0, "none" if posted else "lax")


def _set(response: Response, name: str, value: str, age: int | None, site: Literal["lax", "none"]) -> None:
    response.set_cookie(name, value, max_age=age, path="/", secure=True, httponly=True, samesite=site)
