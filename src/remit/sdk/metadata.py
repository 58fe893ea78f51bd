"""Google's metadata server on loopback, for one job (cloud.google.com/compute/docs/metadata).

google-auth and TensorFlow's C++ ask it for a token and get the `direct` Storage token where policy permits one; else a
word that is good for nothing, since behind the tunnel nobody reads what is inside. A token with under five minutes
left is never handed out: google-auth would ask again on every call (it renews at 3 min 45 s). Once access has been
revoked there is nothing more, and nobody is asked again.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from remit.model.errors import Refused, RemitError
from remit.model.reasons import Reason
from remit.sdk.broker import Exchanged
from remit.sdk.loopback import Head, reply

_PREFIX = "/computeMetadata/v1/"
_ACCOUNT = "instance/service-accounts/default/"
_RENEW = 300  # seconds
_PLACEHOLDER_LIFE = 600  # seconds, after which the broker is asked again
_NOT_NOW = 503  # HTTP: what may be permitted in a moment
_EMAIL = "default"
_NAMES = frozenset({"127.0.0.1", "localhost", "metadata.google.internal"})
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(frozen=True, slots=True)
class Page:
    """What one path answers."""

    status: int
    kind: str
    text: str


class Metadata:
    """Answers metadata requests. `exchange` asks the broker; it blocks, and is called in a thread.

    `revoked`: called once, when the broker says that access has been revoked.
    """

    def __init__(
        self, project: str, exchange: Callable[[], Exchanged], revoked: Callable[[], None] = lambda: None
    ) -> None:
        self._project = project
        self._exchange = exchange
        self._revoked = revoked
        self._over = False
        self._held: tuple[str, float] | None = None
        self._lock = asyncio.Lock()

    async def handle(self, head: Head) -> bytes:
        """One request, one answer."""
        page = await self._page(head)
        headers = {"metadata-flavor": "Google", "server": "Metadata Server for VM", "content-type": page.kind}
        return reply(page.status, page.text.encode(), headers)

    async def _page(self, head: Head) -> Page:
        path = head.target.partition("?")[0]
        if head.method != "GET" or head.header("x-forwarded-for") is not None or _from_a_page(head):
            return Page(403, "text/html", "refused\n")
        if path == "/":
            return Page(200, "application/text", "computeMetadata/\n")
        if head.header("metadata-flavor") != "Google":
            return Page(403, "text/html", "Missing Metadata-Flavor:Google header.\n")
        if path == _PREFIX + _ACCOUNT + "token":
            return await self._token()
        text = self._texts().get(path.removeprefix(_PREFIX))
        if text is None:
            return Page(404, "text/html", "not found\n")
        return Page(200, "application/json" if text.startswith("{") else "application/text", text)

    def _texts(self) -> dict[str, str]:
        account = json.dumps({"aliases": ["default"], "email": _EMAIL, "scopes": [_SCOPE]})
        return {
            "": "instance/\nproject/\n",
            "project/project-id": self._project,
            "universe/universe-domain": "googleapis.com",
            "instance/service-accounts/": "default/\n",
            _ACCOUNT: account,
            _ACCOUNT + "email": _EMAIL,
            _ACCOUNT + "scopes": _SCOPE + "\n",
        }

    async def _token(self) -> Page:
        try:
            token, expires_at = await self._fresh()
        except RemitError as error:
            if not self._over:
                _say(error.message, error.hint)
                return Page(503, "text/html", "no token can be had right now\n")
            return Page(403, "text/html", f"{Reason.REVOKED.sentence}\n")
        document = {"access_token": token, "expires_in": int(expires_at - time.monotonic()), "token_type": "Bearer"}
        return Page(200, "application/json", json.dumps(document))

    async def _fresh(self) -> tuple[str, float]:
        async with self._lock:
            if self._over:
                raise Refused(Reason.REVOKED)
            if self._held is None or self._held[1] - time.monotonic() < _RENEW:
                began = time.monotonic()
                try:
                    exchanged = await asyncio.to_thread(self._exchange)
                    self._held = (exchanged.token.reveal(), began + exchanged.expires_in)
                except Refused as refused:
                    if refused.reason is Reason.REVOKED:
                        self._end()
                        raise
                    if refused.reason.http_status == _NOT_NOW:
                        raise
                    _say(f"no direct access to Storage: {refused.message}", refused.hint)
                    self._held = ("remit-reads-nothing-here", began + _PLACEHOLDER_LIFE)
            return self._held

    def _end(self) -> None:
        """What has been held is given up, and nobody is asked again."""
        self._over, self._held = True, None
        self._revoked()


def _say(message: str, hint: str) -> None:
    sys.stderr.write(f"remit: {message}\n" + (f"hint: {hint}\n" if hint else ""))


def _from_a_page(head: Head) -> bool:
    """Whether a browser asks: by what browsers add, or by another name for this address (DNS rebinding)."""
    host = (head.header("host") or "").partition(":")[0]
    return host not in _NAMES or any(name == "origin" or name.startswith("sec-fetch-") for name, _ in head.headers)
