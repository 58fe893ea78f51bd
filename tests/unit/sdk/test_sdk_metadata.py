"""The metadata server: what google-auth asks, what it must never be given, and when the broker is asked again."""

import asyncio
import json
import threading
import time

import pytest

from remit.model.errors import NotSignedIn, Refused, SignInAgain
from remit.model.reasons import Reason
from remit.model.secret import AccessToken
from remit.sdk import metadata
from remit.sdk.broker import Exchanged
from remit.sdk.loopback import Head
from remit.sdk.metadata import Metadata

ROOT = "/computeMetadata/v1/"
ACCOUNT = ROOT + "instance/service-accounts/default/"
FLAVOR = ("metadata-flavor", "Google")
HOST = ("host", "127.0.0.1:8080")


class Exchange:
    """The broker: a new token every time, or what it is told to raise."""

    def __init__(self, life=900):
        self.life = life
        self.trouble = None
        self.calls = 0
        self.threads = set()

    def __call__(self):
        self.calls += 1
        self.threads.add(threading.get_ident())
        if self.trouble:
            raise self.trouble
        return Exchanged(AccessToken(f"token-{self.calls}"), self.life)


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self, monkeypatch):
        self.moved = 0.0
        monkeypatch.setattr(metadata.time, "monotonic", self.now)
        self._real = time.perf_counter

    def now(self):
        return self._real() + self.moved


def ask(server, path, *headers, method="GET"):
    raw = asyncio.run(server.handle(Head(method, path, (HOST, *headers))))
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"\r\nmetadata-flavor: Google" in head
    return int(head.split(b" ")[1]), body.decode(), head.decode()


def token(server):
    status, body, _ = ask(server, ACCOUNT + "token", FLAVOR)
    return status, json.loads(body) if status == 200 else body


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", "computeMetadata/\n"),
        (ROOT, "instance/\nproject/\n"),
        (ROOT + "project/project-id", "contoso-fraud-test"),
        (ROOT + "universe/universe-domain", "googleapis.com"),
        (ROOT + "instance/service-accounts/", "default/\n"),
        (ACCOUNT + "email", "default"),
        (ACCOUNT + "scopes", "https://www.googleapis.com/auth/cloud-platform\n"),
    ],
)
def test_what_google_s_libraries_ask(path, text):
    status, body, head = ask(Metadata("contoso-fraud-test", Exchange()), path, FLAVOR)
    assert (status, body) == (200, text)
    assert "content-type: application/text" in head


def test_an_account_is_json_recursive_or_not():
    for query in ("", "?recursive=true"):
        status, body, head = ask(Metadata("p", Exchange()), ACCOUNT + query, FLAVOR)
        assert status == 200
        assert json.loads(body)["email"] == "default"
        assert "content-type: application/json" in head


def test_the_ping_needs_no_header():
    assert ask(Metadata("p", Exchange()), "/")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", ACCOUNT + "token", (), 403),
        ("GET", ACCOUNT + "token", (("metadata-flavor", "google"),), 403),
        ("GET", ACCOUNT + "token", (FLAVOR, ("x-forwarded-for", "1.2.3.4")), 403),
        ("GET", ACCOUNT + "token", (FLAVOR, ("x-forwarded-for", "")), 403),
        ("GET", "/", (("x-forwarded-for", "1.2.3.4"),), 403),
        ("POST", ACCOUNT + "token", (FLAVOR,), 403),
        ("PUT", "/", (FLAVOR,), 403),
        ("GET", ACCOUNT + "identity", (FLAVOR,), 404),
        ("GET", ROOT + "instance/attributes/", (FLAVOR,), 404),
        ("GET", "/latest/meta-data/", (FLAVOR,), 404),
        ("GET", "/project/project-id", (FLAVOR,), 404),
    ],
)
def test_what_is_refused(method, path, headers, status):
    exchange = Exchange()
    found = ask(Metadata("p", exchange), path, *headers, method=method)
    assert found[0] == status
    assert exchange.calls == 0


def test_a_token_is_renewed_at_five_minutes(monkeypatch):
    clock, exchange = Clock(monkeypatch), Exchange()
    server = Metadata("p", exchange)
    status, found = token(server)
    assert (status, found["access_token"], found["token_type"]) == (200, "token-1", "Bearer")
    assert 898 <= found["expires_in"] <= 900
    clock.moved = 595
    assert token(server)[1]["access_token"] == "token-1"
    assert token(server)[1]["expires_in"] >= 300
    clock.moved = 601
    found = token(server)[1]
    assert found["access_token"] == "token-2"
    assert found["expires_in"] >= 898
    assert exchange.calls == 2
    assert threading.get_ident() not in exchange.threads  # it blocks, and nobody else waits for it


def test_many_who_ask_at_once_are_one_exchange():
    exchange = Exchange()
    server = Metadata("p", exchange)

    async def story():
        head = Head("GET", ACCOUNT + "token", (HOST, FLAVOR))
        return await asyncio.gather(*(server.handle(head) for _ in range(20)))

    assert len(set(asyncio.run(story()))) <= 2  # the seconds may differ by one
    assert exchange.calls == 1


def test_a_refusal_gives_a_word_that_is_good_for_nothing(monkeypatch, capsys):
    clock, exchange = Clock(monkeypatch), Exchange()
    exchange.trouble = Refused(Reason.NO_POLICY_PERMITS, "no bucket for you")
    server = Metadata("p", exchange)
    status, found = token(server)
    assert (status, found["access_token"]) == (200, "remit-reads-nothing-here")
    assert 300 <= found["expires_in"] <= 600
    assert "no bucket for you" in capsys.readouterr().err
    token(server)
    assert exchange.calls == 1
    clock.moved = 301
    exchange.trouble = None
    assert token(server)[1]["access_token"] == "token-2"  # asked again: policies change


@pytest.mark.parametrize(
    "trouble",
    [NotSignedIn("nobody is signed in"), Refused(Reason.EXCHANGE_UNAVAILABLE), Refused(Reason.PLANE_UNAVAILABLE)],
)
def test_an_outage_is_no_token_and_says_so(trouble, capsys):
    exchange = Exchange()
    exchange.trouble = trouble
    server = Metadata("p", exchange)
    assert token(server) == (503, "no token can be had right now\n")
    assert trouble.message in capsys.readouterr().err
    exchange.trouble = None
    assert token(server)[1]["access_token"] == "token-2"  # as soon as it can be had


@pytest.mark.parametrize(
    "headers",
    [
        (("host", "attacker.example:8080"), FLAVOR),
        (FLAVOR,),
        (HOST, ("origin", "http://attacker.example"), FLAVOR),
        (HOST, ("sec-fetch-mode", "cors"), FLAVOR),
    ],
)
def test_a_page_in_the_user_s_browser_gets_nothing(headers):
    exchange = Exchange()
    raw = asyncio.run(Metadata("p", exchange).handle(Head("GET", ACCOUNT + "token", headers)))
    assert raw.startswith(b"HTTP/1.1 403")
    assert exchange.calls == 0


def test_once_access_has_been_revoked_there_is_nothing_more(capsys):
    exchange, told = Exchange(), []
    server = Metadata("p", exchange, lambda: told.append("over"))
    assert token(server)[0] == 200
    server._held = None  # it has ended
    exchange.trouble = Refused(Reason.REVOKED)
    assert token(server) == (403, "access has been revoked\n")
    exchange.trouble = None
    assert token(server) == (403, "access has been revoked\n")
    assert (exchange.calls, told) == (2, ["over"])
    assert capsys.readouterr().err == ""  # whoever started the run says it, once
    assert ask(server, ROOT + "project/project-id", FLAVOR)[:2] == (200, "p")


def test_a_hint_is_told_with_a_refusal(capsys):
    exchange = Exchange()
    exchange.trouble = SignInAgain(1_700_000_000)
    assert token(Metadata("p", exchange))[0] == 200
    assert capsys.readouterr().err.splitlines()[1] == "hint: sign in again: `remit login`"
