"""The loopback end of a sign-in in the browser (RFC 8252 section 7.3, RFC 7636): where the provider sends the code.

msal builds the request and redeems the code; its own receiver listens on all addresses when it takes its surroundings
for a container, and a browser that connects ahead of time holds it up, so this one stands in its place: 127.0.0.1
only, a thread a connection, one answer. The answer counts when it names the state of this sign-in; the code in it is
worth nothing without the verifier (PKCE), which never leaves this process.
"""

import hmac
import os
import queue
import sys
import threading
import webbrowser
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from remit.model.errors import NotSignedIn

_MAXIMUM_FORM = 64 << 10  # bytes: a code of any provider, and its state
_PATIENCE = 10.0  # seconds for a request to arrive on an open connection
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Remit</title>
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:20vh auto;padding:0 1rem}}</style>
<h1>{title}</h1><p>{text}</p></html>
"""


def available() -> bool:
    """Whether a browser can be opened that a person would see: a screen or `BROWSER`, and something to open."""
    if sys.platform not in {"darwin", "win32"} and not any(
        os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    ):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def show(url: str) -> bool:
    """Opens an address in the browser; false when that did not work."""
    try:
        return webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False


class Receiver:
    """Listens while a sign-in lasts. `url`: the redirect URI; Entra wants `localhost` and lets any port be."""

    def __init__(self) -> None:
        self._server = _Server()
        self.url = f"http://localhost:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, state: str, patience: float) -> dict[str, str]:
        """What the provider sends back for the request with this state; `patience` in seconds, then `NotSignedIn`."""
        self._server.state = state
        try:
            return self._server.answers.get(timeout=patience)
        except queue.Empty:
            pass
        raise NotSignedIn("nobody signed in in the browser", hint="try again, or `remit login --device`")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a browser may keep a connection open that says nothing

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = ""
        self.answers: queue.Queue[dict[str, str]] = queue.Queue(1)

    def take(self, fields: dict[str, str]) -> bool:
        """Whether these fields are the answer that is waited for; the first one is, and no other."""
        if not self.state or not hmac.compare_digest(fields.get("state", "").encode(), self.state.encode()):
            return False
        try:
            self.answers.put_nowait(fields)
        except queue.Full:
            return False
        return True


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE

    def do_GET(self) -> None:
        """`response_mode=query`, for providers that know no other."""
        self._receive(urlsplit(self.path).query)

    def do_POST(self) -> None:
        """`response_mode=form_post`: the code stays out of the browser's history."""
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > _MAXIMUM_FORM:
            self._page(400, "That was no answer", "Go back to the terminal and sign in again.")
            return
        self._receive(self.rfile.read(int(length)).decode("latin-1"))

    def _receive(self, raw: str) -> None:
        pairs = parse_qsl(raw, keep_blank_values=True)
        fields = dict(pairs)
        own = f"localhost:{self.server.server_address[1]}"  # by another name another site's page could be asking
        once = len(fields) == len(pairs) and ("code" in fields) != ("error" in fields)
        if self.headers.get("host") != own or not once or not self.server.take(fields):
            self._page(400, "That was no answer", "It belongs to no sign-in that is under way here.")
        elif "error" in fields:
            said = fields.get("error_description") or fields["error"]
            self._page(200, "You are not signed in", f"The identity provider said: {said}")
        else:
            self._page(200, "Almost done", "Close this window and go back to the terminal.")

    def _page(self, status: int, title: str, text: str) -> None:
        page = _PAGE.format(title=escape(title), text=escape(text)).encode()
        self.send_response(status)
        headers = {
            "content-type": "text/html; charset=utf-8",
            "content-length": str(len(page)),
            "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",  # the code may stand in this page's own address
            "connection": "close",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Says nothing: what is asked here holds a code."""
