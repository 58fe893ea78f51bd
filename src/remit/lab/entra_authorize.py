"""The authorization endpoint: a sign-in in a browser becomes a code, and the code is redeemed once.

Response type `code` alone, by query or form post, with S256. No person sits before the page: whoever the client hints
at signs in, else whoever the control door named; where neither did, the page offers everybody. Leaves out: consent,
passwords, the hybrid and implicit flows, RFC 9207's `iss`, which Entra does not send. Sources: RFC 6749, RFC 7636,
OpenID Connect Core; learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from urllib.parse import urlencode

from remit.lab import contoso, entra_challenge, entra_scopes
from remit.lab.contoso import App, User
from remit.lab.entra_challenge import Challenge
from remit.lab.entra_clients import Redirects, find
from remit.lab.entra_errors import EntraError, missing
from remit.lab.entra_registry import Registry
from remit.lab.entra_scopes import Asked
from remit.lab.entra_sessions import Session, Sessions
from remit.lab.http import Request, Response
from remit.lab.http_server import form
from remit.lab.jwt import encode

LIFETIME = 600  # seconds that a code is good for
COOKIE = "ESTSAUTH"
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_MODES = ("query", "form_post")


@dataclass(slots=True)
class Code:
    """A sign-in that waits to be redeemed. `verifier`: the S256 challenge, empty for none."""

    client: App
    redirect: str
    asked: Asked
    challenge: Challenge
    session: Session
    nonce: str
    verifier: str
    expires_at: float
    redeemed: bool = False


class _PageError(Exception):
    """What the person has to see, since it must not, or cannot, go back to the client."""

    def __init__(self, error: EntraError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True)
class Authorize:
    """The endpoint of every tenant, and the codes that it gave out. `clock`: seconds since the epoch."""

    sessions: Sessions
    redirects: Redirects
    clock: Callable[[], float]
    _codes: dict[str, Code] = field(default_factory=dict)

    def answer(self, request: Request, tenant: str) -> Response:
        """A page, or what the browser takes to the client. `tenant`: whose people may sign in, any when empty."""
        fields = form(request) if request.method == "POST" else _query(request)
        try:
            # 1. who asks, and where answers go: until then nothing leaves the page
            client = find(self._registry, fields)
            redirect = self.redirects.require(client, fields.get("redirect_uri", ""))
        except EntraError as error:
            return _page(error)
        try:
            # 2. what is asked
            code = self._understood(fields, client, redirect)
            # 3. who signs in
            signed_in = self._sign_in(fields, _cookie(request), code.challenge, tenant)
        except _PageError as shown:
            return _page(shown.error)
        except EntraError as error:
            return _send(fields, redirect, _told(error))
        if signed_in is None:
            return _choose(request, fields, tenant)
        # 4. the code
        code.session = signed_in
        name = f"1.{secrets.token_urlsafe(64)}"
        self._codes[name] = code
        cookie = f"{COOKIE}={self.sessions.remember(signed_in)}; Path=/; Secure; HttpOnly; SameSite=None"
        return _send(fields, redirect, {"code": name, "session_state": signed_in.id}, cookie)

    @property
    def _registry(self) -> Registry:
        return self.sessions.directory.registry

    def redeem(self, fields: Mapping[str, str], client: App) -> Code:
        """What a code stands for, once; raises `EntraError`."""
        code = self._codes.get(fields.get("code", ""))
        if code is None or code.client.id != client.id:
            raise EntraError("invalid_grant", 70000, "Provided grant is invalid or malformed.")
        if code.redeemed:
            raise EntraError("invalid_grant", 54005, "OAuth2 Authorization code was already redeemed.")
        if code.expires_at <= self.clock():
            raise EntraError("invalid_grant", 70008, "The provided authorization code has expired.")
        if fields.get("redirect_uri") != code.redirect:
            raise EntraError(
                "invalid_grant",
                500112,
                f"The reply address '{fields.get('redirect_uri')}' does not match the reply address "
                f"'{code.redirect}' provided when requesting Authorization code.",
            )
        if s256(fields.get("code_verifier", "")) != code.verifier:
            raise EntraError(
                "invalid_grant",
                501481,
                "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
            )
        code.redeemed = True
        return code

    def sign_out(self, request: Request) -> Response:
        """End the browser's sign-in, and return to the client when the address is one of its own."""
        self.sessions.forget(_cookie(request))
        gone = {"set-cookie": f"{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=None; Max-Age=0"}
        back = request.parameter("post_logout_redirect_uri")
        if back and any(self.redirects.known(app, back) for app in self._registry.apps()):
            state = request.parameter("state")
            return Response(
                HTTPStatus.FOUND, b"", gone | {"location": _extend(back, {"state": state} if state else {})}
            )
        return _html("<p>You signed out of your account.</p>", more=gone)

    def _understood(self, fields: Mapping[str, str], client: App, redirect: str) -> Code:
        """The request as a code that nobody has signed in for yet; raises `EntraError`, which the client is told."""
        if fields.get("response_type") != "code":
            raise EntraError(
                "unsupported_response_type",
                70005,
                f"The app requested an unsupported response type '{fields.get('response_type', '')}'.",
            )
        if fields.get("response_mode", "query") not in _MODES:
            raise _bad(70007, "'response_mode' is not one of the supported values.")
        verifier = fields.get("code_challenge", "")
        if client.public and not verifier:
            raise _bad(9002325, "Proof Key for Code Exchange is required for public clients.")
        if verifier and (fields.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(verifier)):
            raise _bad(501491, "The code_challenge is not an S256 challenge.")
        if "request" in fields or "request_uri" in fields:
            raise _bad(900001, "Request objects are not supported.")
        if not fields.get("scope"):
            raise missing("scope")
        asked = entra_scopes.understand(self._registry, fields["scope"])
        challenge = entra_challenge.understand(fields.get("claims", ""))
        nobody = Session(contoso.UNA, "", frozenset())
        ends = self.clock() + LIFETIME
        return Code(client, redirect, asked, challenge, nobody, fields.get("nonce", ""), verifier, ends)

    def _sign_in(self, fields: Mapping[str, str], cookie: str, challenge: Challenge, tenant: str) -> Session | None:
        """The sign-in that the request ends in, `None` when somebody has to choose who it is."""
        prompt, hint = fields.get("prompt", ""), fields.get("login_hint", "")
        held = self.sessions.remembered(cookie)
        if held and (prompt == "select_account" or not _is_hinted(held.user, hint, tenant)):
            held = None
        again = prompt == "login" or (held is not None and self._is_old(held, fields.get("max_age", "")))
        if held and not again and challenge.methods <= held.methods:
            return held
        if prompt == "none":
            self._refuse_silently(held, challenge)
        browser = self.sessions.browser
        if browser.decline:
            raise EntraError("access_denied", 65004, "User declined to consent to access the app.")
        account = hint or (held.user.upn if held else browser.account)
        if not account:
            return None
        return self._signed_in(self._person(account, tenant), challenge, held)

    def _signed_in(self, user: User, challenge: Challenge, held: Session | None) -> Session:
        wanted = self.sessions.browser.second_factor
        methods = {"pwd"} | (held.methods if held else frozenset())
        if wanted == "always" or (challenge.methods and wanted == "approve"):
            methods.add("mfa")
        if not challenge.methods <= methods:
            raise EntraError("access_denied", 500121, "Authentication failed during strong authentication request.")
        try:
            return self.sessions.begin(user, frozenset(methods), session=held.id if held else "")
        except EntraError as error:
            raise _PageError(error) from error

    def _refuse_silently(self, held: Session | None, challenge: Challenge) -> None:
        if held:
            entra_challenge.require(challenge, held.methods, error="interaction_required")
        raise EntraError(
            "login_required",
            50058,
            "Session information is not sufficient for single-sign-on: a silent sign-in request was sent but no user "
            "is signed in.",
        )

    def _person(self, account: str, tenant: str) -> User:
        user = contoso.person(account, tenant)
        if user is None:
            known = contoso.person(account)
            number, why = (50020, "does not exist in tenant") if known else (50034, "does not exist in the directory")
            raise _PageError(EntraError("invalid_request", number, f"The user account '{account}' {why}."))
        return user

    def _is_old(self, held: Session, max_age: str) -> bool:
        return max_age.isdigit() and held.at + int(max_age) < self.clock()


def s256(verifier: str) -> str:
    """The challenge of a verifier (RFC 7636 section 4.2), empty for none."""
    return encode(hashlib.sha256(verifier.encode()).digest()) if verifier else ""


def _is_hinted(user: User, hint: str, tenant: str) -> bool:
    found = contoso.person(hint) if hint else user
    return found is user and tenant in {"", user.tenant}


def _bad(number: int, message: str) -> EntraError:
    return EntraError("invalid_request", number, message)


def _told(error: EntraError) -> dict[str, str]:
    """An error as the client is told it; a token request's `invalid_grant` has no meaning here."""
    description = f"AADSTS{error.number}: {error.message}"
    return {"error": error.error, "error_description": description} | ({"claims": error.claims} if error.claims else {})


def _query(request: Request) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in request.query:
        fields.setdefault(name, value)
    return fields


def _cookie(request: Request) -> str:
    pairs = (pair.strip().partition("=") for pair in request.headers.get("cookie", "").split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), "")


def _send(fields: Mapping[str, str], redirect: str, told: Mapping[str, str], cookie: str = "") -> Response:
    """The answer on its way to the client, by the browser."""
    told = {**told, **({"state": fields["state"]} if "state" in fields else {})}
    more = {"set-cookie": cookie} if cookie else {}
    if fields.get("response_mode") != "form_post":
        return Response(
            HTTPStatus.FOUND, b"", more | {"location": _extend(redirect, told), "cache-control": "no-store"}
        )
    inputs = "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in told.items())
    return _html(
        f'<form method="post" action="{escape(redirect)}">{inputs}<noscript><button>Continue</button></noscript></form>'
        "<script>document.forms[0].submit()</script>",
        more=more,
    )


def _extend(uri: str, fields: Mapping[str, str]) -> str:
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode(fields)}" if fields else uri


def _choose(request: Request, fields: Mapping[str, str], tenant: str) -> Response:
    """A page that offers everybody of the tenant."""
    people = [user for user in contoso.EVERYBODY if tenant in {"", user.tenant}]
    targets = [_extend(request.path, {**fields, "login_hint": user.upn}) for user in people]
    links = "".join(
        f'<li><a href="{escape(target)}">{escape(user.name)}</a></li>'
        for user, target in zip(people, targets, strict=True)
    )
    return _html(f"<p>Pick an account</p><ul>{links}</ul>")


def _page(error: EntraError) -> Response:
    return _html(
        f"<p>Sorry, but we're having trouble signing you in.</p><p>AADSTS{error.number}: {escape(error.message)}</p>",
        HTTPStatus.BAD_REQUEST,
    )


def _html(body: str, status: int = HTTPStatus.OK, more: Mapping[str, str] | None = None) -> Response:
    page = f"<!doctype html><title>Sign in to your account (lab)</title><h1>Sign in (lab)</h1>{body}"
    headers = {"content-type": "text/html; charset=utf-8", "cache-control": "no-store", **(more or {})}
    return Response(status, page.encode(), headers)
