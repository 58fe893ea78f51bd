"""The loopback end of a browser sign-in: which answer counts, and what anybody else is told."""

import socket
import threading
import webbrowser
from urllib.parse import urlencode

import httpx
import pytest

from remit.model.errors import NotSignedIn
from remit.sdk import browser
from remit.sdk.browser import Receiver


def ask(receiver, *, method="POST", host=None, headers=None, **fields):
    port = receiver.url.rpartition(":")[2]
    url = f"http://127.0.0.1:{port}/"
    given = {"host": host or f"localhost:{port}", **(headers or {})}
    if method == "GET":
        return httpx.get(f"{url}?{urlencode(fields, doseq=True)}", headers=given, trust_env=False)
    return httpx.post(url, data=fields, headers=given, trust_env=False)


def waiting(receiver, state="right"):
    found = []
    thread = threading.Thread(target=lambda: found.append(receiver.answer(state, 10)), daemon=True)
    thread.start()
    while receiver._server.state != state:
        pass
    return thread, found


@pytest.mark.promise("V1")
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_answer_to_this_sign_in_is_taken_once(method):
    with Receiver() as receiver:
        thread, found = waiting(receiver)
        said = ask(receiver, method=method, code="c-1", state="right", iss="https://idp")
        thread.join(5)
        assert found == [{"code": "c-1", "state": "right", "iss": "https://idp"}]
        assert said.status_code == 200
        assert "go back to the terminal" in said.text
        assert "c-1" not in said.text
        assert said.headers["cache-control"] == "no-store"
        assert said.headers["referrer-policy"] == "no-referrer"
        receiver._server.answers.put({})  # as if it had not been taken yet
        assert ask(receiver, method=method, code="c-2", state="right").status_code == 400


def test_a_provider_s_no_is_shown_as_text():
    with Receiver() as receiver:
        thread, found = waiting(receiver)
        said = ask(receiver, error="access_denied", error_description="<script>no</script>", state="right")
        thread.join(5)
    assert found[0]["error"] == "access_denied"
    assert "&lt;script&gt;no" in said.text
    assert "not signed in" in said.text


@pytest.mark.parametrize(
    "fields",
    [
        {"code": "c", "state": "wrong"},
        {"code": "c", "state": ""},
        {"code": "c"},
        {"state": "right"},
        {"code": "c", "error": "e", "state": "right"},
        {"code": ["c", "d"], "state": "right"},
        {"code": "c", "state": "right", "host": "evil.example"},
        {"code": "c", "state": "right", "host": "127.0.0.1"},
        {"code": "x" * (70 << 10), "state": "right"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_any_other_answer_is_none(fields, method):
    if method == "GET" and len(str(fields)) > 60_000:
        fields = {"code": "c", "state": "wrong"}
    with Receiver() as receiver:
        receiver._server.state = "right"
        said = ask(receiver, method=method, **fields)
        assert said.status_code == 400
        assert receiver._server.answers.empty()


def test_before_a_sign_in_is_under_way_nothing_counts():
    with Receiver() as receiver:
        assert ask(receiver, code="c", state="").status_code == 400
        with socket.create_connection(receiver._server.server_address) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n")
            assert b" 400 " in connection.recv(1000)


def test_a_connection_that_says_nothing_holds_nobody_up():
    with Receiver() as receiver, socket.create_connection(receiver._server.server_address):
        thread, found = waiting(receiver)
        ask(receiver, code="c", state="right")
        thread.join(5)
        assert found


def test_only_loopback_listens():
    with Receiver() as receiver:
        assert receiver._server.server_address[0] == "127.0.0.1"
        assert receiver.url.startswith("http://localhost:")


def test_nobody_signs_in():
    with Receiver() as receiver, pytest.raises(NotSignedIn, match="nobody signed in") as caught:
        receiver.answer("s", 0.01)
    assert "--device" in caught.value.hint


class Shown(webbrowser.BaseBrowser):
    def __init__(self, trouble=None):
        super().__init__("shown")
        self.trouble = trouble
        self.opened = []

    def open(self, url, new=0, autoraise=True):
        if self.trouble:
            raise self.trouble
        self.opened.append(url)
        return True


@pytest.fixture
def browsers(monkeypatch):
    """The machine has these browsers, as `webbrowser` finds them."""
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)

    def installed(*found):
        monkeypatch.setattr(webbrowser, "_tryorder", [f"b{index}" for index, _ in enumerate(found)])
        monkeypatch.setattr(webbrowser, "_browsers", {f"b{index}": [None, one] for index, one in enumerate(found)})

    return installed


def test_whether_a_browser_can_be_opened(browsers, monkeypatch):
    browsers(Shown())
    assert not browser.available()  # nobody would see it
    monkeypatch.setenv("DISPLAY", ":0")
    assert browser.available()
    browsers()
    assert not browser.available()
    monkeypatch.delenv("DISPLAY")
    browsers(Shown())
    monkeypatch.setattr(browser.sys, "platform", "darwin")
    assert browser.available()


def test_opening(browsers):
    shown = Shown()
    browsers(shown)
    assert browser.show("https://idp")
    assert shown.opened == ["https://idp"]
    browsers(Shown(webbrowser.Error("no")))
    assert not browser.show("https://idp")
    browsers()
    assert not browser.show("https://idp")
