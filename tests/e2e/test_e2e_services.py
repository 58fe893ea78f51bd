"""Services behind the running plane: a web application with people in front of it, from a few lines of remit.yaml on.

What a service was sent is read where it arrived (`services_world.py`), what a person sees in a real Chromium.
"""

import contextlib
import importlib.util
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from remit.gateway.headers import SERVICE
from remit.lab.board import ASSERTION, Board
from remit.lab.http import Request, Response
from remit.lab.jwt import BrokenTokenError

pytestmark = pytest.mark.e2e

HERE = Path(__file__).resolve().parent
SESSION = "__Host-remit"
NAME = "dana@contoso.example"
RELOAD = 120.0  # seconds for a new program to start on a machine that has other things to do; alone it takes four


def _load(name: str, path: Path) -> ModuleType:
    """A module that stands beside the tests, once."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


lib = _load("e2e_services_world", HERE / "services_world.py")
browsers = _load("e2e_services_browsers", HERE.parent / "providers" / "browser.py")


@pytest.fixture(scope="module")
def town(pytestconfig: pytest.Config) -> Any:
    return lib.shared(pytestconfig)


@pytest.fixture(scope="module")
def chromium(town: Any) -> Iterator[Any]:
    front = Path(town.world.lab.folder, "front.pem").read_text()
    with browsers.Chromium(proxy=f"http://127.0.0.1:{town.world.lab.proxy}", trusted=[front]) as browser:
        yield browser


@pytest.fixture
def sign_in(town: Any) -> Callable[[str], Any]:
    """Somebody with a session and without a window."""

    def signed_in(name: str) -> Any:
        account(town, name)
        found = browsers.Visitor(town.origin)
        with town.world.entra.browser() as browser:
            back = browser.get(found.depart("entra")).headers["location"]
        assert found.ask("GET", back).status_code == 303
        return found

    return signed_in


def account(town: Any, name: str) -> None:
    """Who signs in next at Entra's page."""
    town.world.control(browser={"account": f"{name}@contoso.example"})


def seen(board: Board, text: str) -> list[Any]:
    """What reached a board, of the requests whose target holds a text."""
    return [call for call in list(board.calls) if text in call["target"]]


def why(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.headers.get("x-remit-reason", "")


def cookie(visitor: Any) -> str:
    return f"{SESSION}={visitor.cookies[SESSION]}"


# From nothing.


@pytest.mark.promise("V24")
def test_a_plain_web_application_gets_a_sign_in_with_a_few_lines(town: Any, chromium: Any) -> None:
    """From the first written line to the page: the application knows nobody, has no library and no sign-in."""
    notes = Board(
        prefix="/apps/notes", jwks=f"{town.origin}/.well-known/jwks.json", audience=f"{town.origin}/apps/notes/"
    )
    url, before = town.apps.serve(notes.handle), town.world.config.read_text("utf-8")
    account(town, "dana")
    with chromium.person() as dana:
        began = time.monotonic()
        lines = f"  - name: notes\n    project: contoso-fraud-test\n    http: {url}\n    prefix: /apps/notes/\n"
        town.write(before + lines)
        town.told()
        answers = [404]
        while answers[-1] != 303:
            assert time.monotonic() - began < RELOAD, town.world.tail()
            answers.append(town.ask("GET", "/apps/notes/", headers={"accept": "text/html"}).status_code)
            time.sleep(0.05)
        known = time.monotonic() - began
        asked = dana.go(f"{town.origin}/apps/notes/?from=nothing", "Continue with Contoso")
        assert f"{town.origin}/sign-in" in dana.url, asked
        shown = dana.press("Continue with Contoso", "Signed in: dana@contoso.example")
        took = time.monotonic() - began
        print(f"from the written line to the page: {took:.1f} s, of which {known:.1f} s until the door knew of it")
        assert dana.url == f"{town.origin}/apps/notes/?from=nothing", shown
        assert took < 300  # minutes, on whatever machine
        town.world.until_ready()
    assert 401 not in answers  # it is not there, and then it is: no gateway is ahead of its arbiter
    [page] = seen(notes, "from=nothing")
    claims = town.claims(page["headers"])
    assert (claims["iss"], claims["aud"], claims["sub"]) == (town.origin, f"{town.origin}/apps/notes/", lib.DANA)
    assert 0 < claims["exp"] - claims["iat"] <= 60
    assert SESSION not in page["headers"].get("cookie", "")
    assert not {name for name in page["headers"] if name not in {*SERVICE, "host", ASSERTION}}


# With a window.


@pytest.mark.promise("V24")
def test_what_a_page_does_works(town: Any, chromium: Any) -> None:
    """Events as they are sent, a WebSocket, a form: all of them with the person's name, none with the session."""
    account(town, "dana")
    with chromium.person() as dana:
        dana.go(f"{town.origin}/sign-in/entra", "Where you are signed in")
        dana.go(f"{town.origin}/apps/board/", "Signed in: dana@contoso.example")
        began = time.monotonic()
        dana.until("event 0")
        dana.until("event 4")
        assert 0.2 < time.monotonic() - began < 5  # five of them, a fifth of a second apart
        dana.read(
            "window.said = [], window.talk = new WebSocket(location.href.replace(/^http/, 'ws') + 'socket'),"
            " talk.onmessage = (event) => { said.push(event.data); document.title = said.join(); },"
            " talk.onopen = () => { talk.send('who'); talk.send('hello'); }, 0"
        )
        lib.until(lambda: dana.read("said.join()") == "dana@contoso.example,hello", lambda: dana.text)
        dana.read("document.querySelector('input').value = 'a note', document.querySelector('form').requestSubmit()")
        assert '"who": "dana@contoso.example"' in dana.until('"note": "a note"')
        dana.go(f"{town.origin}/apps/board/cookies/hostile", "cookies")
        held = dana.cookies()
        assert held["board"]["value"] == "kept"
        assert {name for name in held if "remit" in name.lower()} == {SESSION}
        assert "stolen" not in held[SESSION]["value"]
        assert dana.go(f"{town.origin}/account", "Where you are signed in")
        dana.go(f"{town.origin}/apps/board/headers?last", "board=kept")
    [last] = seen(town.board, "headers?last")
    assert last["headers"]["cookie"] == "board=kept"
    for call in list(town.board.calls):
        assert SESSION not in json.dumps(call)


@pytest.mark.promise("V24")
def test_another_page_cannot_act_for_a_person(town: Any, chromium: Any) -> None:
    """A page on another port of the same host is the same site to a browser: it sends the cookie along."""
    tries = f"""<!doctype html><title>Evil</title><body>evil<form method=post action="{town.origin}/apps/board/form">
        <input name=note value=evil><button>Win</button></form><script>
        window.talk = new WebSocket("{town.origin.replace("http", "ws")}/apps/board/socket?evil");
        talk.onopen = () => document.title = "open"; talk.onerror = () => document.title = "shut";
        </script>"""

    async def evil(_: Request) -> Response:
        return Response(200, tries.encode(), {"content-type": "text/html"})

    url = town.apps.serve(evil)
    account(town, "dana")
    with chromium.person() as dana:
        dana.go(f"{town.origin}/sign-in/entra", "Where you are signed in")
        dana.go(f"{town.origin}/apps/board/?mine", "Signed in: dana@contoso.example")
        dana.go(url, "evil")
        lib.until(lambda: dana.read("document.title") in {"open", "shut"})
        assert dana.read("document.title") == "shut"
        dana.press("Win", "the request comes from another site")
    assert not [call for call in list(town.board.calls) if "evil" in json.dumps(call)]


def test_whoever_may_not_is_told_why(town: Any, chromium: Any) -> None:
    account(town, "sam")
    with chromium.person() as sam:
        sam.go(f"{town.origin}/sign-in/entra", "Where you are signed in")
        said = sam.go(f"{town.origin}/apps/board/?sam", "no_policy_permits".upper())
        assert "PERMISSION_DENIED" in said
        assert "ml engineers" in said
    assert not seen(town.board, "?sam")


# Without one.


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {}),
        ("POST", {"origin": "null"}),
        ("POST", {"origin": "https://evil.example"}),
        ("POST", {"origin": "http://127.0.0.1:1"}),
        ("PUT", {"origin": "https://evil.example"}),
        ("DELETE", {"origin": ""}),
        ("GET", {"origin": "https://evil.example"}),
    ],
)
def test_a_session_counts_from_our_own_pages_only(
    town: Any, sign_in: Callable[[str], Any], method: str, headers: dict[str, str]
) -> None:
    dana = sign_in("dana")
    assert why(dana.ask(method, "/apps/board/form?foreign", **headers)) == (400, "request_malformed")
    assert not seen(town.board, "foreign")
    assert dana.ask(method, f"/apps/board/form?{method}", origin=town.origin).status_code in {200, 404, 405}


def test_what_a_program_gets(town: Any, sign_in: Callable[[str], Any], forge: Callable[..., str]) -> None:
    nobody = town.ask("GET", "/apps/board/?nobody")
    assert why(nobody) == (401, "token_missing")
    assert nobody.json()["error"]["status"] == "UNAUTHENTICATED"
    page = town.ask("GET", "/apps/board/?nobody", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/sign-in?to=%2Fapps%2Fboard%2F%3Fnobody")
    assert town.ask("POST", "/apps/board/form?nobody", headers={"accept": "text/html"}).status_code == 401
    assert not seen(town.board, "nobody")

    dana = town.ask("GET", "/apps/board/me", headers=town.bearer("dana"))
    assert dana.json()["claims"]["sub"] == lib.DANA
    assert (
        town.ask("POST", "/apps/board/form", headers=town.bearer("dana"), data={"note": "x"}).json()["who"]
        == "dana@contoso.example"
    )
    assert town.ask("GET", "/apps/board/me", headers=town.bearer("ada")).status_code == 200
    refused = town.ask("POST", "/apps/board/form?ada", headers=town.bearer("ada"), data={"note": "x"})
    assert why(refused) == (403, "no_policy_permits")
    assert not seen(town.board, "ada")

    token = town.bearer("dana")["authorization"].removeprefix("Bearer ")
    bad = {"authorization": f"Bearer {forge(token, {'oid': 'another'})}"}
    assert why(town.ask("GET", "/apps/board/?forged", headers=bad))[0] == 401
    both = {**town.bearer("dana"), "cookie": cookie(sign_in("dana"))}
    assert why(town.ask("GET", "/apps/board/?both", headers=both)) == (400, "request_ambiguous")
    assert not [*seen(town.board, "forged"), *seen(town.board, "both")]


SPOOFED = (
    "x-remit-assertion", "x-remit-caller", "x-remit-decision", "x-remit-peer", "x-forwarded-user", "x-forwarded-email",
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-prefix", "x-auth-request-user", "remote-user", "x-remote-user",
    "x-webauth-user", "x-goog-iap-jwt-assertion", "x-goog-authenticated-user-email", "x-ms-client-principal",
    "x-goog-request-reason", "x-original-url", "x-rewrite-url", "x-http-method-override", "proxy-authorization", "forwarded",
)  # fmt: skip


@pytest.mark.promise("V24")
@pytest.mark.parametrize("who", ["a program", "a person"])
def test_no_other_word_of_who_asks_arrives(town: Any, sign_in: Callable[[str], Any], who: str) -> None:
    mark = who.replace(" ", "-")
    own = town.bearer("dana") if who == "a program" else {"cookie": f"theme=dark; {cookie(sign_in('dana'))}; a=b"}
    sent = {**dict.fromkeys(SPOOFED, "forged"), **own}
    if who == "a program":
        sent["cookie"] = "theme=dark; a=b"
    assert town.ask("GET", f"/apps/board/headers?{mark}", headers=sent).status_code == 200
    [call] = seen(town.board, mark)
    headers = call["headers"]
    assert "forged" not in json.dumps(call)
    assert {"authorization", *SPOOFED} & set(headers) == {ASSERTION}
    assert headers["cookie"] == "theme=dark; a=b"
    claims = town.claims(headers)
    assert (claims["aud"], claims["sub"]) == (f"{town.origin}/apps/board/", lib.DANA)


def test_a_service_sets_no_cookie_of_ours(town: Any, sign_in: Callable[[str], Any]) -> None:
    dana = sign_in("dana")
    set_ = dana.ask("GET", "/apps/board/cookies/hostile").headers.get_list("set-cookie")
    assert [line.partition("=")[0] for line in set_] == ["board"]
    assert dana.account().status_code == 200


def test_an_assertion_is_nobodys_identity_here(town: Any) -> None:
    """A service that keeps what it was shown can show it to nobody: not to Remit, not to the next service."""
    assert town.ask("GET", "/apps/board/headers?kept", headers=town.bearer("dana")).status_code == 200
    [call] = seen(town.board, "headers?kept")
    assertion = call["headers"][ASSERTION]
    shown = {"authorization": f"Bearer {assertion}"}
    for path in ("/apps/board/?again", "/apps/other/?again", "/v1/identity", "/v1/revocations"):
        assert town.ask("GET", path, headers=shown).status_code == 401
    assert town.ask("POST", "/v1/token", headers=shown, json={}).status_code in {400, 401}
    with town.world.tunnel() as tunnel:
        answer = tunnel.ask("GET", f"/v1/{TEST}/customJobs", headers=shown)
    assert (answer.status, answer.reason) == (401, "token_issuer")
    assert not [*seen(town.board, "again"), *seen(town.other, "again")]
    with pytest.raises(BrokenTokenError, match="for another audience"):
        town.apps.run(town.other.who(Request("GET", "", "/", (), {ASSERTION: assertion}, b"")))


TEST = "projects/contoso-fraud-test/locations/us-central1"
GAMES = [
    "/apps/board/../account", "/apps/board/..", "/apps/board/%2e%2e/account", "/apps/board/.%2e/other/", "/apps/board%2f..",
    "/apps/board%2F", "/apps%2fboard/", "//apps/board/", "/apps//board/", "/apps/./board/", "/apps/other/../board/",
    "/apps/board/..%2fother/", "/apps/board/..%5cother/", "/apps/board/..\\other/", "/apps/board/..;/other/", "/apps/board;x/",
    "/apps/boards/", "/apps/Board/", "/APPS/board/", "/apps/board", "/apps/board/%252e%252e/other/", "/apps/board/%00/../other/",
    "/apps/board/#/../other/", "/apps/board//apps/other/", "/sign-in/../apps/board/", "/sign-in/..%2fapps/board/", "/check/apps/board/",
    "/check/../apps/board/", "/apps/board/%c0%ae%c0%ae/other/", "/apps/board/\xc3\xaf\xc2\xbc\xc2\x8f", "http://other.service/apps/board/../other/",
    "*", "apps/board/", "/apps/board/%", "/apps/board/%zz", "/apps/board/a\tb",
]  # fmt: skip


@pytest.mark.promise("N9")
def test_games_with_the_path_reach_nothing(town: Any, sign_in: Callable[[str], Any]) -> None:
    """Neither a service, nor Remit's own pages in a service's clothes: with a token, and with a session."""
    sent = {
        "a program": f"Authorization: {town.bearer('dana')['authorization']}",
        "a person": f"Cookie: {cookie(sign_in('dana'))}",
    }
    boards = (len(town.board.calls), len(town.other.calls))
    for who, identity in sent.items():
        for target in GAMES:
            head = (
                f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{town.world.port}\r\n{identity}\r\nConnection: close\r\n\r\n"
            )
            said = town.raw(head)
            status = int(said[9:12]) if said else 0
            assert status in {0, 400, 404}, (who, target, said[:200])
            assert b"signed in" not in said, (who, target)
    assert (len(town.board.calls), len(town.other.calls)) == boards


def test_a_name_of_ours_is_no_host(town: Any) -> None:
    """What the arbiter calls a service is no name by which a caller could choose one."""
    token = town.bearer("dana")["authorization"]
    for host in ("other.service", "board.service:443", lib.OTHER, lib.DIGITS, "evil.example"):
        for target in ("/apps/board/headers?host", f"http://{host}/apps/board/headers?host"):
            head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"
            assert b" 200 " in town.raw(head)[:20]
    with contextlib.suppress(OSError):
        town.raw("CONNECT other.service:443 HTTP/1.1\r\nHost: other.service:443\r\n\r\n")
    for call in seen(town.board, "headers?host"):
        assert town.claims(call["headers"])["aud"] == f"{town.origin}/apps/board/"
    for call in list(town.other.calls):
        assert town.claims(call["headers"])["aud"] == f"{town.origin}/apps/other/"


# What stays open.


class Events:
    """An event stream that somebody reads: when each one came, and when none came any more."""

    def __init__(self, town: Any, own: dict[str, str], query: str) -> None:
        self.came: list[float] = []
        self.ended = 0.0
        self._arguments = (f"{town.origin}/apps/board/events?{query}", {**own, "accept": "text/event-stream"})
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        lib.until(lambda: self.came or self.ended, lambda: f"no event came of {self._arguments[0]}")
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        if failed is None:  # else that is what went wrong, and the thread ends with its own timeout or the town
            self._thread.join(lib.SOON)
            assert self.ended, f"{self._arguments[0]} is open, after {len(self.came)} events"

    def _read(self) -> None:
        url, headers = self._arguments
        try:
            with (
                contextlib.suppress(httpx.RemoteProtocolError),
                httpx.stream("GET", url, headers=headers, trust_env=False, timeout=lib.SOON) as answer,
            ):
                self.came += (time.monotonic() for line in answer.iter_lines() if line.startswith("data:"))
        finally:
            self.ended = time.monotonic()


@pytest.mark.promise("N10")
@pytest.mark.parametrize("who", ["a program", "a person"])
def test_what_is_open_ends_with_a_revocation(town: Any, sign_in: Callable[[str], Any], who: str) -> None:
    """Events and a WebSocket, and an idle one of each; the next request is refused, and after the lift all is well."""
    own = town.bearer("dana") if who == "a program" else {"cookie": cookie(sign_in("dana")), "origin": town.origin}
    url = f"{town.origin.replace('http', 'ws')}/apps/board/socket"
    given = {name: value for name, value in own.items() if name != "origin"}
    with (
        Events(town, own, "count=1000&pause=0.02") as busy,
        Events(town, own, "count=2&pause=60") as idle,
        connect(url, additional_headers=given, origin=town.origin, proxy=None) as talk,
    ):
        talk.send("who")
        assert talk.recv(timeout=10) == NAME
        town.revoke(lib.DANA)
        began = time.monotonic()
        try:
            with pytest.raises(ConnectionClosed):
                talk.recv(timeout=10)
            closed = time.monotonic() - began
            lib.until(lambda: busy.ended and idle.ended)
            after = town.ask("GET", "/apps/board/headers?after", headers=own)
        finally:
            town.revoke(lib.DANA, lift=True)
    last, ends = busy.came[-1] - began, [one.ended - began for one in (busy, idle)]
    print(f"{who}: last event {last:+.3f} s from the acknowledgement; closed {max(closed, *ends):.2f} s after it")
    assert last < 0.5
    assert max(closed, *ends) < 2
    assert after.status_code in {401, 403}
    assert after.headers["x-remit-reason"] == "revoked"
    assert not seen(town.board, "headers?after")
    lib.until(lambda: town.ask("GET", "/apps/board/me", headers=own).status_code == 200)


def test_a_websocket_from_elsewhere_does_not_open(town: Any, sign_in: Callable[[str], Any]) -> None:
    url = f"{town.origin.replace('http', 'ws')}/apps/board/socket?elsewhere"
    given = {"cookie": cookie(sign_in("dana"))}
    for origin in ("https://evil.example", "null", None):
        with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=given, origin=origin, proxy=None):
            pass
        assert refused.value.response.status_code == 400
    with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=town.bearer("ada"), proxy=None):
        pass
    assert refused.value.response.status_code == 403
    assert not seen(town.board, "elsewhere")


def test_an_open_stream_outlives_a_new_configuration(town: Any) -> None:
    """Events go on when a new program has taken over both of its children, and the watch over them does."""
    own, arbiter = town.bearer("dana"), town.world.arbiter
    with Events(town, own, "count=100000&pause=0.05") as open_:
        town.told()
        took = lib.until(lambda: (town.world.arbiter or arbiter) != arbiter, town.world.tail, RELOAD)
        town.world.until_ready()
        heard = len(open_.came)
        lib.until(lambda: len(open_.came) > heard + 20 or open_.ended, town.world.tail)
        assert not open_.ended, town.world.tail()
        town.revoke(lib.DANA)
        town.revoke(lib.DANA, lift=True)
        lib.until(lambda: open_.ended, town.world.tail)
    print(f"a new program was in office after {took:.1f} s, and the stream went on until it was revoked")


def test_headers_that_a_client_sends_twice(town: Any) -> None:
    token = town.bearer("dana")["authorization"]
    for twice in (f"Authorization: {token}", "Host: 127.0.0.1", "Content-Length: 0"):
        other = "Authorization: Bearer x.y.z" if twice.startswith("Auth") else twice
        head = f"GET /apps/board/?twice HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n{other}\r\n"
        with contextlib.suppress(socket.error):
            said = town.raw(f"{head}{twice}\r\nConnection: close\r\n\r\n")
            assert said[9:12] in {b"400", b"401"}, (twice, said[:200])
    assert not seen(town.board, "twice")
