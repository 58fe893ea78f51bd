"""A sign-in under way, as the browser carries it: sealed in a cookie, for ten minutes, for one provider.

The state of RFC 6749 section 10.12 is bound to the browser by lying in its cookie, and to the provider by the seal
(RFC 9700 sections 4.4 and 4.7); nothing is kept for somebody who has not come back yet, so that beginning costs no
row. That it is used once is the business of whoever opens it (`sign_in`).
"""

import base64
import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, field

from remit.identity.browser.cipher import Cipher, Unreadable
from remit.identity.tokens.claims import SKEW
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import Secret

LIFETIME = 600  # seconds to sign in at the provider, second factor included
MAX_COOKIE = 4000  # characters: browsers keep 4096, name and attributes included


@dataclass(frozen=True, slots=True)
class Flow:
    """`state`: of OIDC, or a SAML request's id; `to`: where to go afterwards, checked; `started`: epoch seconds.

    `max_age`: seconds since the last authentication that were asked for, -1 for any.
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    to: str
    started: int
    max_age: int = -1

    @property
    def challenge(self) -> str:
        """RFC 7636 section 4.2, `S256`."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def new_flow(to: str, now: int, max_age: int = -1) -> Flow:
    """A flow that nobody can guess: 256 random bits for each of its three secrets."""
    # an XML id starts with a letter or an underscore (SAML core 1.3.4), a state with anything
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    return Flow(f"_{state}", nonce, verifier, to, now, max_age)


def seal_flow(cipher: Cipher, provider: str, flow: Flow) -> Secret:
    """The cookie's value."""
    sealed = cipher.seal(json.dumps(asdict(flow)).encode(), "flow", provider)
    return Secret(base64.urlsafe_b64encode(sealed).rstrip(b"=").decode())


def open_flow(cipher: Cipher, provider: str, cookie: Secret, now: int) -> Flow:
    """The flow of a cookie for this provider; raises `Refused` with `REQUEST_MALFORMED`."""
    flow = _open(cipher, provider, cookie.reveal())
    if flow is None:
        raise Refused(
            Reason.REQUEST_MALFORMED,
            "this sign-in was not begun in this browser at this provider",
            hint="start again; if it happens every time, let the browser keep cookies for this site",
        )
    if not flow.started - SKEW <= now < flow.started + LIFETIME:
        raise Refused(
            Reason.REQUEST_MALFORMED, f"this sign-in took longer than {LIFETIME // 60} minutes", hint="start again"
        )
    return flow


def _open(cipher: Cipher, provider: str, text: str) -> Flow | None:
    if not text or len(text) > MAX_COOKIE:
        return None
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return Flow(**json.loads(cipher.open(sealed, "flow", provider)))
    except (Unreadable, ValueError):
        return None
