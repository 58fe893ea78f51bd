"""The access log, written by our own module in Envoy: what comes, whole lines only; whatever happens, none is lost."""

import dataclasses
import http.client
import itertools
import json
import os
import re
import signal
import socket
import ssl
import stat
import threading
import time

import pytest

from remit.audit.canonical import canonical_row
from remit.audit.spool import Spool
from remit.gateway.envoy import Envoy
from remit.model.errors import RemitError

EVENT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
CALLERS = 4


def until(check, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def own(another_world):
    return another_world()


@pytest.fixture
def fresh(own, world):
    """The module's own world, which answers with leases."""
    own.reset()
    own.arbiter.answer = lambda _: world.arbiter.permit(500)
    return own


def rows(log):
    """The rows as the audit reads them; raises `ValueError` for a line that is none."""
    return [json.loads(canonical_row(line)[0]) for line in log.read_bytes().splitlines()]


def paths(log):
    return [row["path"] for row in rows(log) if row["door"] == "endpoint" and row["status"] == 200]


class Callers:
    """Some who ask without pause, each for paths of its own; `answered` are those that had their answer."""

    def __init__(self, world):
        self.world, self.token = world, world.issuer.token()
        self.answered, self.failed = [], 0
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CALLERS)]

    def _ask(self, number):
        context = ssl.create_default_context(cafile=str(self.world.envoy.authority))
        numbers, door = itertools.count(), self.world.settings.endpoint
        [name, *_] = door.names
        while not self._done.is_set():
            try:
                with (
                    socket.create_connection((door.listen_host, door.listen_port), 10) as raw,
                    context.wrap_socket(raw, server_hostname=name) as inner,
                ):
                    while not self._done.is_set():
                        path = f"/v1/{number}/{next(numbers)}"
                        head = f"GET {path} HTTP/1.1\r\nHost: {name}\r\nAuthorization: Bearer {self.token}\r\n\r\n"
                        if self.world.send(head.encode(), connection=inner).status == 200:
                            self.answered.append(path)
            except (OSError, http.client.HTTPException):  # Envoy is away
                self.failed += 1
                time.sleep(0.02)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        until(lambda: len(self.answered) > 20)
        return self

    def __exit__(self, *_):
        self._done.set()
        for thread in self._threads:
            thread.join()


HOSTILE = [
    (b'a"b\\c/', 'a"b\\c/'),
    (b'","decision":"d-0', '","decision":"d-0'),
    (b"\xc3\xa9 \xe2\x80\xa8 \xf0\x9f\x98\x80", "é \u2028 😀"),
    (b"\xff\xfe", "ÿþ"),
    (b"\xed\xa0\x80", "í\xa0\x80"),  # a lone surrogate
    (b"\xc0\xaf", "À¯"),  # an overlong slash
    (b"tab\there", "tab\there"),
    (b"x" + b"\xc3\xa9" * 300, ("x" + "é" * 300).encode()[:256].decode("latin-1")),  # cut within a character
    (b"z" * 5000, "z" * 256),
    (b"", ""),
]


@pytest.mark.parametrize(("sent", "written"), HOSTILE)
def test_hostile_bytes_become_json(fresh, sent, written):
    log = fresh.settings.access_log
    before = len(rows(log)) if log.exists() else 0
    head = f"GET /v1/x?secret HTTP/1.1\r\nHost: {fresh.settings.hosts[0]}\r\nUser-Agent: ".encode()
    fresh.send(head + sent + b"\r\n\r\n")
    until(lambda: len(rows(log)) > before and rows(log)[-1]["method"] == "CONNECT")
    assert [row["agent"] for row in rows(log) if row["door"] == "door"][-1] == written
    assert b"secret" not in log.read_bytes()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/\xff HTTP/1.1\r\nHost: x",
        b'GET /v1/"\\\xc3\xa9 HTTP/1.1\r\nHost: x',
        b"GET /v1/x#secret HTTP/1.1\r\nHost: HOST",
        b"GET /v1/" + b"%00" * 2000 + b" HTTP/1.1\r\nHost: HOST",
        b'GET /v1/x HTTP/1.1\r\nHost: a"b',
        b"GET /v1/x HTTP/1.1\r\nHost: \xff",
        b"\x00\x01\x02",
    ],
)
@pytest.mark.parametrize("door", ["door", "outer"])
def test_hostile_requests_become_json(fresh, head, door):
    log = fresh.settings.access_log
    data, count = head.replace(b"HOST", fresh.settings.hosts[0].encode()) + b"\r\n\r\n", log.read_bytes().count(b"\n")
    if door == "door":
        with fresh.tunnel() as inner:
            inner.sendall(data)
            inner.recv(1)
    else:
        with socket.create_connection(("127.0.0.1", fresh.settings.listen_port), 5) as raw:
            raw.sendall(data)
            raw.recv(1)
    until(lambda: log.read_bytes().count(b"\n") > count)
    last = next(row for row in reversed(rows(log)) if row["door"] == door and row["method"] != "CONNECT")
    assert last["peer"] == "127.0.0.1"
    assert len(last["path"] or "") <= 1024
    assert b"secret" not in log.read_bytes()


def test_every_event_has_a_name_of_its_own(fresh):
    with Callers(fresh):
        time.sleep(0.3)
    events = [row["event"] for row in rows(fresh.settings.access_log)]
    assert len(events) == len(set(events))
    assert all(EVENT.fullmatch(event) for event in events)


def test_a_request_whose_caller_goes_away_has_its_peer(fresh, world):
    permitted = world.arbiter.permit()
    fresh.arbiter.answer = lambda _: dataclasses.replace(permitted, delay=0.5)
    with fresh.tunnel() as inner:
        head = (
            f"GET /v1/gone HTTP/1.1\r\nHost: {fresh.settings.hosts[0]}\r\nAuthorization: Bearer {fresh.issuer.token()}"
        )
        inner.sendall(head.encode() + b"\r\n\r\n")
        until(lambda: fresh.arbiter.seen)
    until(lambda: "/v1/gone" in fresh.settings.access_log.read_text())
    [row] = [row for row in rows(fresh.settings.access_log) if row["path"] == "/v1/gone"]
    assert (row["peer"], row["flags"], row["status"]) == ("127.0.0.1", "DC", 0)


def test_it_is_its_owners_alone(fresh):
    assert stat.S_IMODE(fresh.settings.access_log.stat().st_mode) == 0o600


def test_renames_under_load_lose_and_double_nothing(another_world, world):
    busy = another_world(concurrency=2)
    busy.arbiter.answer = lambda _: world.arbiter.permit(500)
    spool, final = Spool(busy.settings.access_log), {}
    with Callers(busy) as callers:
        for number in range(1, 31):
            time.sleep(0.02)
            spool.rotate(number)
            assert spool.released(1, anew=True)
            final |= {path: path.read_bytes() for path in spool.pending().values() if path not in final}
    until(lambda: set(callers.answered) <= set(paths(spool.log)).union(*map(paths, final)))
    assert all(path.read_bytes() == data for path, data in final.items())
    written = [path for log in (*final, spool.log) for path in paths(log)]
    assert len(written) == len(set(written))
    assert callers.failed == 0


def test_killed_under_load_it_loses_what_was_not_answered_yet(another_world, world):
    """A line is in the log's tail before its answer is on the way."""
    busy = another_world()
    busy.arbiter.answer = lambda _: world.arbiter.permit(500)
    with Callers(busy) as callers:
        for _ in range(3):
            pid, count = busy.envoy.pid, len(callers.answered)
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: busy.envoy.pid not in {None, pid})
            until(lambda count=count: len(callers.answered) > count + 100, 10)
    until(lambda: paths(busy.settings.access_log)[-1] in callers.answered)
    lost = set(callers.answered) - set(paths(busy.settings.access_log))
    print(f"{len(lost)} of {len(callers.answered)} answered requests have no line")
    assert not lost


def test_a_stop_leaves_no_line_behind(another_world, world):
    stopped = another_world()
    stopped.arbiter.answer = lambda _: world.arbiter.permit(500)
    with Callers(stopped) as callers:
        pass
    stopped.loop.run(stopped.envoy.stop())
    assert set(callers.answered) <= set(paths(stopped.settings.access_log))


def test_what_a_killed_envoy_left_is_in_the_log_of_the_next(another_world, world):
    """All that ever stood in the tail, since a line's bytes stay there when it is written."""
    busy = another_world()
    busy.arbiter.answer = lambda _: world.arbiter.permit(500)
    log, pid = busy.settings.access_log, busy.envoy.pid
    with Callers(busy):
        os.kill(pid, signal.SIGSTOP)
        [tail] = log.parent.glob("access.log.tail*")
        assert stat.S_IMODE(tail.stat().st_mode) == 0o600
        stood = {path.decode() for path in re.findall(rb'"path":"(/v1/\d+/\d+)"', tail.read_bytes())}
        os.kill(pid, signal.SIGKILL)
        until(lambda: busy.envoy.pid not in {None, pid} and busy.loop.run(busy.envoy.healthy()))
    assert stood
    assert stood <= set(paths(log))


def test_a_line_that_was_torn_stays_by_itself(another_world):
    world = another_world()
    log, token = world.settings.access_log, world.issuer.token()
    pid = world.envoy.pid
    os.kill(pid, signal.SIGKILL)
    with log.open("ab") as file:
        file.write(b'{"torn')
    until(lambda: world.envoy.pid not in {None, pid} and world.loop.run(world.envoy.healthy()))
    assert world.call("/v1/whole", token=token).status == 200
    until(lambda: "/v1/whole" in log.read_text())
    torn, whole, *_ = log.read_bytes().splitlines()[-3:]
    assert torn.endswith(b'{"torn')
    assert json.loads(canonical_row(whole)[0])["path"] == "/v1/whole"


def test_a_log_that_cannot_be_opened_is_no_start(world):
    run = world.folder / "run3"
    (taken := world.folder / "taken").mkdir()
    changes = {"runtime": run, "admin_socket": world.folder / "admin3.sock", "access_log": taken}
    with pytest.raises(RemitError, match="access log"):
        world.loop.run(Envoy(dataclasses.replace(world.settings, **changes)).start())


def test_a_configuration_that_is_only_tried_opens_no_log(another_world):
    world = another_world()
    other = Envoy(dataclasses.replace(world.settings, access_log=world.folder / "spool" / "never.log"))
    world.loop.run(other.validate())
    assert not other.settings.access_log.exists()
