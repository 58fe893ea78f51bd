"""An installation in small for the sdk: a real HTTP server that answers from a table, and a lab to sign in at."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from remit.lab import lifecycle
from remit.model.errors import NotSignedIn
from remit.model.secret import AccessToken
from remit.sdk.configuration import Configuration

TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
CLI = "a0000000-0000-4000-8000-000000000002"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nZG9vcg==\n-----END CERTIFICATE-----\n"  # its digest is all that counts


def configuration(url: str, **changes) -> Configuration:
    values = {
        "url": url,
        "authority": "https://login.microsoftonline.com",
        "tenant": TENANT,
        "client": CLI,
        "scope": "api://remit/.default",
        "ca_pem": CERTIFICATE,
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

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the names that http.server calls

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

    def origin(self) -> str:
        return "a test"

    def token(self) -> AccessToken:
        if self.trouble:
            raise self.trouble
        return AccessToken("identity-of-dana")


@pytest.fixture
def signed_in(installation: Installation) -> SignedIn:
    return SignedIn(configuration(installation.url))


@pytest.fixture
def installed(installation: Installation) -> Installation:
    """An installation whose people sign in at the lab's Entra."""
    document = {
        "authority": "https://login.microsoftonline.com",
        "tenant": TENANT,
        "client": CLI,
        "scope": "api://remit/.default",
        "ca_pem": CERTIFICATE,
        "terminated": [],
        "refused": [],
    }
    installation.say("/v1/configuration", document)
    return installation


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


@pytest.fixture(autouse=True)
def _nothing_of_the_developer_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test meets the keyring, the keeper, the files or the identities of whoever runs it."""
    import keyring
    from keyring.backends import fail

    before = keyring.core._keyring_backend
    keyring.set_keyring(fail.Keyring())  # keyring's own way of saying that there is none
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME"):
        (tmp_path / "own").mkdir(mode=0o700, exist_ok=True)
        monkeypatch.setenv(name, str(tmp_path / "own"))
    for name in tuple(os.environ):
        if name.startswith(("REMIT_", "AZURE_", "ACTIONS_", "IDENTITY_")):
            monkeypatch.delenv(name)
    yield
    keyring.core._keyring_backend = before
