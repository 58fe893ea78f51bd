"""The door's identity: what is remembered of it, and who is sent nothing."""

import os
import socket
import time
from dataclasses import replace

import pytest
from tests.unit.sdk.conftest import CERTIFICATE, configuration

from remit.model.errors import NotSignedIn, RemitError
from remit.sdk import pin
from remit.sdk.keeper import Keeper
from remit.sdk.pin import Pin, owners, seen
from remit.sdk.sign_in import SignIn
from remit.sdk.store import Entry

OTHER = CERTIFICATE.replace("ZG9vcg==", "dGhpZWY=")
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(local, uid, state="0A"):
    return f"   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  {uid}        0 1 1 0 100 0\n"


@pytest.fixture
def tables(tmp_path):
    """The kernel's tables, as a test writes them."""

    def written(four=(), six=()):
        for name, lines in (("tcp", four), ("tcp6", six)):
            (tmp_path / name).write_text(HEAD + "".join(lines))
        return (tmp_path / "tcp", tmp_path / "tcp6")

    return written


def test_a_real_listener_is_found_to_be_ours():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert owners(f"http://127.0.0.1:{port}") == (os.getuid(),)
        assert owners(f"http://localhost:{port}") == (os.getuid(),)
    assert owners(f"http://127.0.0.1:{port}") == ()


@pytest.mark.parametrize("address", ["::1", "::"])
def test_a_real_listener_in_the_other_family(address):
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert owners(f"http://[::1]:{port}") == (os.getuid(),)
        assert owners(f"http://127.0.0.1:{port}") == ((os.getuid(),) if address == "::" else ())


ONE, ALL = "0100007F:20FB", "00000000:20FB"  # 127.0.0.1:8443
ONE6, ALL6 = "00000000000000000000000001000000:20FB", "00000000000000000000000000000000:20FB"
MAPPED = "0000000000000000FFFF00000100007F:20FB"


@pytest.mark.parametrize(
    ("four", "six", "host", "found"),
    [
        ([line(ONE, 1)], [], "127.0.0.1", (1,)),
        ([line(ONE, 1)], [line(ALL6, 2)], "127.0.0.1", (1,)),  # the very address comes first
        ([line(ALL, 1)], [], "127.0.0.1", (1,)),
        ([], [line(ALL6, 2)], "127.0.0.1", (2,)),
        ([], [line(MAPPED, 2)], "127.0.0.1", (2,)),
        ([line(ONE, 1)], [line(ONE6, 2)], "localhost", (1, 2)),
        ([line(ONE, 1)], [line(ONE6, 2)], "[::1]", (2,)),
        ([line(ONE, 1, state="01")], [], "127.0.0.1", ()),  # a connection, no listener
        ([line("0100007F:20FC", 1), line("0200007F:20FB", 1)], [], "127.0.0.1", ()),
    ],
)
def test_who_listens(tables, four, six, host, found):
    assert owners(f"http://{host}:8443", tables(four, six)) == found


def test_a_kernel_that_lists_nothing(tmp_path):
    assert owners("http://127.0.0.1:8443", (tmp_path / "none",)) == ()


def at_door(certificate=CERTIFICATE, url="http://127.0.0.1:8443"):
    return configuration(url, ca_pem=certificate)


@pytest.mark.parametrize("uid", [0, os.getuid(), 991])
def test_the_door_that_was_seen_is_the_door(tables, uid):
    known = seen(at_door(), tables([line(ONE, 991)]))
    assert known == Pin(at_door().door, (991,))
    known.check(at_door(), tables([line(ONE, uid)]))


def test_whoever_took_the_port_is_not(tables):
    known = seen(at_door(), tables([line(ONE, 991)]))
    with pytest.raises(RemitError, match=r"is answered by a process of another user \(uid 1234\)") as caught:
        known.check(at_door(), tables([line(ONE, 1234)]))
    assert "no token was sent" in caught.value.hint
    with pytest.raises(RemitError, match="does not answer at"):
        known.check(at_door(), tables())
    with pytest.raises(RemitError, match="is not the one that you signed in at") as caught:
        known.check(at_door(OTHER), tables([line(ONE, 991)]))
    assert "remit logout" in caught.value.hint


def test_where_the_kernel_lists_nothing_the_certificate_is_left(tables):
    known = seen(at_door(), tables())
    assert known.owners == ()
    known.check(at_door(), tables())
    with pytest.raises(RemitError, match="another user"):  # somebody appeared
        known.check(at_door(), tables([line(ONE, 1234)]))


def test_https_proves_itself(tables):
    away = at_door(url="https://remit.example:8443")
    known = seen(away, tables([line(ONE, 1234)]))
    assert known == Pin(away.door)
    known.check(replace(away, ca_pem=OTHER), tables([line(ONE, 1234)]))


def test_looking_is_cheap():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        found = at_door(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        known = seen(found)
        began = time.perf_counter()
        for _ in range(20):
            known.check(found)
        assert (
            time.perf_counter() - began
        ) / 20 < 0.05  # seconds; the kernel takes a few milliseconds to list its connections


def test_no_token_leaves_for_another_door(installed, runtime_folder, lab_environment, monkeypatch):
    kept = Keeper(runtime_folder / "keeper.sock")
    here = configuration(installed.url)
    try:
        kept.put(Entry(installed.url, Pin(at_door(OTHER).door, (os.getuid(),))).sealed())
        with pytest.raises(RemitError, match="is not the one that you signed in at"):
            SignIn.kept(kept).token()
        with pytest.raises(RemitError, match="is not the one that you signed in at"):
            SignIn.at(installed.url, kept)  # signing in again does not help the thief
        kept.put(Entry(installed.url, seen(here)).sealed())
        SignIn.at(installed.url, kept)
        with pytest.raises(NotSignedIn):  # the door is the right one, and nobody is signed in
            SignIn.kept(kept).token()
        with monkeypatch.context() as changed:
            changed.setattr(pin, "_ROOT", -1)
            changed.setattr(pin.os, "getuid", lambda: 4242)
            with pytest.raises(RemitError, match="another user"):
                SignIn(kept, here, "", Pin(here.door, (4242,))).token()
        kept.put(Entry("http://127.0.0.1:1", Pin("")).sealed())
        SignIn.at(installed.url, kept)  # another installation's sign-in says nothing of this one
    finally:
        kept.end()
    assert {path for _, path, *_ in installed.asked} == {"/v1/configuration"}
