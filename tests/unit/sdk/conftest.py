"""An installation in small for the sdk: a real HTTP server that answers from a table, and a lab to sign in at."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from remit.lab import lifecycle
from remit.model.errors import NotSignedIn
from remit.model.secret import AccessToken
from remit.sdk.configuration import Configuration

TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
CLI = "a0000000-0000-4000-8000-000000000002"


def configuration(url: str, **changes) -> Configuration:
    values = {
        "url": url,
        "authority": "https://login.microsoftonline.com",
        "tenant": TENANT,
        "client": CLI,
        "scope": "api://remit/.default",
        "ca_pem": "-----BEGIN CERTIFICATE-----\ndoor\n-----END CERTIFICATE-----\n",
        "terminated": frozenset({"logging.googleapis.com"}),
        "refused": frozenset({"sts.googleapis.com"}),
    }
    return Configuration(**{**values, **changes})


class Installation(ThreadingHTTPServer):
    """`answers[path]` is status, headers and body; `asked` keeps method, path, headers and body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    def say(self, path: str, document: object, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.answers[path] = (status, named, body)


class _Handler(BaseHTTPRequestHandler):
    server: Installation

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, headers, body))
        status, named, content = self.server.answers.get(self.path.partition("?")[0], (404, {}, b"{}"))
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **named}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _serve  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def installation() -> Iterator[Installation]:
    with Installation() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class SignedIn:
    """A sign-in that needs no provider. `trouble`: what `token` raises."""

    def __init__(self, found: Configuration) -> None:
        self.configuration = found
        self.trouble: NotSignedIn | None = None

    def token(self) -> AccessToken:
        if self.trouble:
            raise self.trouble
        return AccessToken("identity-of-dana")


@pytest.fixture
def signed_in(installation: Installation) -> SignedIn:
    return SignedIn(configuration(installation.url))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lifecycle.Lab]:
    folder = tmp_path_factory.mktemp("lab")
    yield lifecycle.up(folder)
    lifecycle.down(folder)


@pytest.fixture
def lab_environment(lab: lifecycle.Lab, monkeypatch: pytest.MonkeyPatch) -> lifecycle.Lab:
    for name, value in lifecycle.variables(lab).items():
        monkeypatch.setenv(name, value)
    return lab
