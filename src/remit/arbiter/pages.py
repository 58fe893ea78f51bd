"""Pages for people: plain HTML, no script, nothing from elsewhere, every value escaped.

One style sheet stands inside each page and is named by its hash in the Content-Security-Policy, so that a page of
refusal needs nothing else to be readable. A page of refusal has the reason's code, a time and a short reference, which
the log has too, and says what to do. Leaves out: what is refused and why (identity).
"""

import base64
import datetime as dt
import hashlib
import logging
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from remit.model.errors import Refused
from remit.model.reasons import Reason

_FOLDER = Path(__file__).with_name("templates")
_STYLE = (_FOLDER / "style.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

_HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    # `no-referrer` would make browsers send `Origin: null` with our own forms (fetch.spec.whatwg.org, "append a request
    # `Origin` header"); nothing that leaves for another site carries a referrer under this one either
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
PRIVATE = {"cache-control": "no-store", "referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}
"""Headers of answers without a page."""

_WHY: Mapping[Reason, str] = {
    Reason.SESSION_ENDED: "You signed out, were away for too long, or stayed for as long as a session may last.",
}
"""What a reason's own sentence, which the title says already, leaves open."""

_NEXT: Mapping[Reason, str] = {
    Reason.SESSION_ENDED: "Sign in again. Your work is where you left it.",
    Reason.SIGN_IN_AGAIN: "Sign in again: what was issued before does not count any more.",
    Reason.REVOKED: "Ask your security team why, and until when.",
    Reason.TOKEN_TENANT: "Sign in with an account of an organisation that is known here, "
    "or ask your administrators to add yours.",
    Reason.TOKEN_EXPIRED: "Start again. If it stays, a clock is wrong: this installation's or the identity provider's.",
    Reason.TOKEN_NOT_YET_VALID: "Tell your administrators: the clocks of this installation and of the identity "
    "provider differ by more than a minute.",
    Reason.TOKEN_AUDIENCE: "Tell your administrators: the identity provider issued something for another application.",
    Reason.TOKEN_CLIENT: "Tell your administrators: the identity provider issued something for another application.",
    Reason.TOKEN_ISSUER: "Start again from the sign-in page, and nowhere else. "
    "If it stays, show this page to your administrators.",
    Reason.TOKEN_SIGNATURE: "Start again. If it stays, show this page to your administrators.",
    Reason.IDENTITY_INCOMPLETE: "Try again in a minute. If it stays, show this page to your administrators.",
}
_ANYTHING_ELSE = "Start again. If it stays, show this page to your administrators."
# hints that other ways in write for terminals
_TERMINAL = "remit login"

_TITLES: Mapping[Reason, str] = {
    Reason.SESSION_ENDED: "Your session has ended",
    Reason.SIGN_IN_AGAIN: "Please sign in again",
    Reason.REVOKED: "Your access has been revoked",
    Reason.TOKEN_TENANT: "Your organisation has no access here",
    Reason.IDENTITY_INCOMPLETE: "Your groups could not be determined",
    Reason.EXCHANGE_REFUSED: "The identity provider said no",
    Reason.EXCHANGE_UNAVAILABLE: "The identity provider does not answer",
    Reason.REQUEST_MALFORMED: "This sign-in cannot go on",
    Reason.REQUEST_AMBIGUOUS: "This request can be read in two ways",
    Reason.RESOURCE_UNKNOWN: "There is nothing here",
    Reason.RECORD_UNAVAILABLE: "Not possible right now",
    Reason.PLANE_UNAVAILABLE: "Not possible right now",
}
_NOT_SHOWN = "We could not verify who you are"
_NOT_FOUND = {Reason.RESOURCE_UNKNOWN: 404}

log = logging.getLogger(__name__)


def _moment(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _machine(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _words(text: str) -> Markup:
    """Escaped text, in which what stands in backticks is a literal."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # one that has no partner is a letter like any other
        return escape(text)
    literal = Markup("<code>{}</code>")
    return Markup("").join(
        literal.format(piece) if number % 2 else escape(piece) for number, piece in enumerate(pieces)
    )


_TEMPLATES = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
_TEMPLATES.filters.update(moment=_moment, machine=_machine, address=lambda text: quote(text, safe=""), words=_words)
_TEMPLATES.globals["style"] = Markup(_STYLE)  # noqa: S704 - our own file, and the only text that is not escaped


def page(name: str, status: int = 200, **values: object) -> HTMLResponse:
    """A page of a template's, with the headers that all of them have."""
    return HTMLResponse(_TEMPLATES.get_template(f"{name}.html").render(values), status, _HEADERS)


def refusal(refused: Refused, now: int, *, to: str = "", where: str = "") -> HTMLResponse:
    """The page that says why somebody may not enter. `now`: epoch seconds; `to`: the address that was wanted.

    `where`: what refused, for the log: a provider's configured name, never what a stranger sent.
    """
    reason = refused.reason
    reference = "r-" + "".join(secrets.choice(_ALPHABET) for _ in range(8))
    log.info("%s: a page of refusal, %s, %s, reference %s", where or "sign-in", reason, refused.message, reference)
    status = _NOT_FOUND.get(reason, reason.http_status)
    response = page(
        "refused",
        status,
        title=_TITLES.get(reason, _NOT_SHOWN),
        message=_why(refused),
        hint=_hint(refused),
        reason=str(reason),
        now=now,
        reference=reference,
        to=to,
    )
    response.headers["x-remit-reason"] = str(reason)
    return response


def _why(refused: Refused) -> str:
    own = refused.message == refused.reason.sentence
    return _WHY[refused.reason] if own and refused.reason in _WHY else _sentence(refused.message)


def _hint(refused: Refused) -> str:
    if refused.hint and _TERMINAL not in refused.hint:
        return _sentence(refused.hint)
    return _NEXT.get(refused.reason, _ANYTHING_ELSE)


def _sentence(text: str) -> str:
    """An error's words, which start in lower case and have no full stop, as prose."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
