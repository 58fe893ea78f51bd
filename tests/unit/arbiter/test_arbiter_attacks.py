"""What was tried against the arbiter's own reading of browsers and proxies, each as it was found."""

import pytest
from starlette.requests import Request

from remit.arbiter.check import forwarded_request, wire_request
from remit.arbiter.cookies import session_secret
from remit.model.errors import Refused

KEY = (b"sec-websocket-key", b"MDAwMDAwMDAwMDAwMDAwMA==")


def request(*headers):
    scope = {"type": "http", "method": "GET", "path": "/check/x", "raw_path": b"/check/x", "query_string": b""}
    return Request({**scope, "headers": [(b"host", b"board.service"), *headers]})


@pytest.mark.parametrize(
    "blank", [b"\xa0", b"\x85", b"\x1c", b"\x1d", b"\x1e", b"\x1f", b"\x0b", b"\x0c", b"\xc2\xa0", b"\xad"]
)
def test_only_a_blank_of_the_grammar_is_one(blank):
    """`__Host-` keeps others from planting a cookie of that very name, and of no name that is only read as it."""
    planted = blank + b"__Host-remit=evil"
    assert session_secret(request((b"cookie", planted))) is None
    assert session_secret(request((b"cookie", b"a=1;" + planted))) is None
    found = session_secret(request((b"cookie", planted + b"; __Host-remit=good")))
    assert found is not None
    assert found.reveal() == "good"
    assert session_secret(request((b"cookie", b"__Host-remit=good" + blank))).reveal() != "good"


def test_the_grammars_own_blanks_are():
    assert session_secret(request((b"cookie", b"a=1; \t__Host-remit=good"))).reveal() == "good"
    with pytest.raises(Refused):
        session_secret(request((b"cookie", b"__Host-remit=a; \t__Host-remit=b")))


@pytest.mark.parametrize("read", [forwarded_request, lambda asked: wire_request(asked, b"")])
def test_a_websocket_is_one_when_a_proxy_keeps_the_upgrade_to_itself(read):
    """Other proxies do not pass `upgrade` to whom they ask: it was decided on as the reading of a page."""
    assert read(request(KEY)).header("upgrade") == "websocket"
    assert read(request(KEY, (b"upgrade", b"websocket"))).header("upgrade") == "websocket"
    assert read(request(KEY, KEY)).header("upgrade") == "websocket"
    assert read(request()).header("upgrade") == ""
