"""The device code flow: a code to type, a page to type it on, and what the polling client hears meanwhile.

The page takes no password: whoever can reach the lab may be anybody in Contoso. The second factor is one button.
Source: RFC 8628; learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code.
"""

import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from http import HTTPStatus

from remit.lab import contoso
from remit.lab.contoso import App
from remit.lab.entra_challenge import Challenge
from remit.lab.entra_errors import EntraError
from remit.lab.entra_scopes import Asked
from remit.lab.entra_sessions import Session, Sessions
from remit.lab.http import Request, Response
from remit.lab.http_server import form

PAGE = "/common/oauth2/deviceauth"
LIFETIME = 900  # seconds a code is good for
INTERVAL = 1  # seconds between polls; Entra says 5, the lab's users should not wait for it
_ALPHABET = "".join(set(string.ascii_uppercase + string.digits) - set("AEIOU01"))  # Entra spells no words


@dataclass(slots=True)
class Pending:
    """One started flow. `tenant`: whose people may approve it, any when empty; `session` stands once somebody did."""

    client: App
    asked: Asked
    challenge: Challenge
    tenant: str
    expires_at: float
    session: Session | None = None
    declined: bool = False


class DeviceFlows:
    """All started flows, by device code and by user code."""

    def __init__(self, sessions: Sessions, clock: Callable[[], float]) -> None:
        self._sessions = sessions
        self._clock = clock
        self._by_device: dict[str, Pending] = {}
        self._by_user: dict[str, Pending] = {}

    def start(self, client: App, asked: Asked, challenge: Challenge, tenant: str) -> tuple[str, str]:
        """Begin a flow: the device code and the user code."""
        device = secrets.token_urlsafe(48)
        user = "".join(secrets.choice(_ALPHABET) for _ in range(9))
        pending = Pending(client, asked, challenge, tenant, self._clock() + LIFETIME)
        self._by_device[device] = self._by_user[user] = pending
        return device, user

    def redeem(self, device: str, client: App) -> Pending:
        """The approved flow, once; raises `EntraError` while it is pending and when it never will be."""
        pending = self._by_device.get(device)
        if pending is None or pending.client.id != client.id:
            raise EntraError("invalid_grant", 70000, "Provided grant is invalid or malformed.")
        if pending.expires_at <= self._clock():
            raise EntraError(
                "expired_token",
                70020,
                "The provided value for the input parameter 'device_code' is not valid. This device code has expired.",
            )
        if pending.declined:
            raise EntraError("authorization_declined", 70019, "The end user denied the authorization request.")
        if pending.session is None:
            raise EntraError(
                "authorization_pending",
                70016,
                "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
            )
        del self._by_device[device]
        return pending

    async def page(self, request: Request) -> Response:
        """The page that a person sees, and what the person sends with it.

        Fields: `user_code`; `account` (user name); `second_factor=approve` where the sign-in demands one;
        `decline=yes` to refuse.
        """
        fields = form(request) if request.method == "POST" else {"user_code": request.parameter("user_code")}
        pending = self._by_user.get(fields.get("user_code", "").strip().upper())
        if request.method != "POST":
            return _html(_form(fields["user_code"]))
        if pending is None or pending.session or pending.declined or pending.expires_at <= self._clock():
            return _html(f"<p>That code didn't work.</p>{_form('')}", HTTPStatus.BAD_REQUEST)
        if fields.get("decline"):
            pending.declined = True
            return _html("<p>You declined. You may close this window.</p>")
        return self._sign_in(pending, fields)

    def _sign_in(self, pending: Pending, fields: Mapping[str, str]) -> Response:
        user = contoso.person(fields.get("account", ""), pending.tenant)
        if user is None:
            return _html(f"<p>We couldn't find that account.</p>{_form(fields['user_code'])}", HTTPStatus.BAD_REQUEST)
        methods = frozenset({"pwd", "mfa"} if fields.get("second_factor") == "approve" else {"pwd"})
        if not pending.challenge.methods <= methods:
            return _html(f"<p>More information required.</p>{_form(fields['user_code'], user.upn, second_factor=True)}")
        try:
            pending.session = self._sessions.begin(user, methods)
        except EntraError as error:
            return _html(f"<p>{escape(error.message)}</p>", HTTPStatus.FORBIDDEN)
        return _html(f"<p>You have signed in to {escape(pending.client.name)}. You may close this window.</p>")


def _html(body: str, status: int = HTTPStatus.OK) -> Response:
    page = f"<!doctype html><title>Sign in to Contoso (lab)</title><h1>Contoso (lab)</h1>{body}"
    return Response(status, page.encode(), {"content-type": "text/html; charset=utf-8", "cache-control": "no-store"})


def _form(user_code: str, account: str = "", *, second_factor: bool = False) -> str:
    options = "".join(
        f'<option value="{escape(user.upn)}"{" selected" if user.upn == account else ""}>{escape(user.name)}</option>'
        for user in contoso.EVERYBODY
    )
    factor = '<button name="second_factor" value="approve">Approve on my phone</button>' if second_factor else ""
    return (
        f'<form method="post" action="{PAGE}"><label>Code <input name="user_code" value="{escape(user_code)}"></label>'
        f'<label>Account <select name="account">{options}</select></label>{factor or "<button>Continue</button>"}'
        '<button name="decline" value="yes">Decline</button></form>'
    )
