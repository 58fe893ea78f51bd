"""The ends of a plane: told to stop before it is ready, and an arbiter whose parent is gone before it looked."""

import asyncio
import os
import shutil
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from remit.assembly import serve
from remit.assembly.child import ArbiterProcess
from remit.gateway.process import Running, children
from remit.model.errors import RemitError
from remit.settings.read import read

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso"


@pytest.fixture
def plane(runtime_folder):
    shutil.copytree(EXAMPLE / "policies", runtime_folder / "policies")
    shutil.copy(EXAMPLE / "remit.yaml", runtime_folder)
    return serve.Plane(read(runtime_folder / "remit.yaml"))


def test_who_is_told_to_stop_does_not_wait_until_all_is_ready(plane):
    async def told():
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.2, stop.set)
        return await plane._ready(stop)

    began = time.monotonic()
    assert asyncio.run(told()) is False
    assert time.monotonic() - began < 5


def test_what_never_becomes_ready_is_said(plane, monkeypatch):
    monkeypatch.setattr(serve, "_READY", 0.1)
    with pytest.raises(RemitError, match="did not become ready within 0 s: nothing answered"):
        asyncio.run(plane._ready(asyncio.Event()))


def test_a_parent_that_is_gone_is_noticed_by_the_end_of_its_pipe():
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as ours:
        os.write(write_end, serve.GO)
        assert not serve._hung_up(ours)
        assert ours.readline() == serve.GO
        assert not serve._hung_up(ours)
        os.close(write_end)
        assert serve._hung_up(ours)


def test_a_pair_of_sockets_which_asyncio_may_use_does_the_same():
    ours, theirs = socket.socketpair()
    with ours, ours.makefile("rb") as end:
        theirs.sendall(serve.GO)
        assert end.readline() == serve.GO
        assert not serve._hung_up(end)
        theirs.close()
        assert serve._hung_up(end)


class Waiting(ArbiterProcess):
    """One whose predecessor still answers, until `changed`."""

    def __init__(self, settings):
        super().__init__(settings)
        self._retired = [Running(os.getpid())]
        self.changed = False

    @property
    def serves(self):
        return self.changed


def test_a_new_gateway_waits_until_the_new_arbiter_is_asked(plane):
    async def told():
        waiting, stop = Waiting(plane._settings), asyncio.Event()
        waited = asyncio.create_task(waiting.relieved(stop))
        await asyncio.sleep(0.2)
        assert not waited.done()
        waiting.changed = True
        await asyncio.wait_for(waited, 1)

    asyncio.run(told())


@pytest.mark.parametrize("error", [OSError("no space"), RemitError("refused"), TimeoutError(), KeyError("x")])
def test_whatever_is_wrong_with_what_is_new_what_runs_goes_on(plane, monkeypatch, caplog, error):
    async def validate(_):
        raise error

    monkeypatch.setattr(serve.Envoy, "validate", validate)
    stop = asyncio.Event()
    asyncio.run(plane.reload(stop))
    assert not stop.is_set()
    assert not plane._leaving
    said = str(error) or type(error).__name__
    assert caplog.messages == [f"SIGHUP: the new configuration is not taken, the old one stays: {said}"]


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        (("", ""), "nothing changed in `remit.yaml` and the policies"),
        (("  leases: false\n", ""), "`gateway` changed"),
        (("  # a remark\n", "// a remark\n"), "the policies (now {version}) changed"),
        (("  leases: false\n", "// a remark\n"), "`gateway`, the policies (now {version}) changed"),
    ],
)
def test_what_is_taken_over_is_said_also_when_it_is_nothing(plane, monkeypatch, caplog, edits, said):
    async def validate(_):
        return None

    monkeypatch.setattr(serve.Envoy, "validate", validate)
    section, policies = edits
    file = plane._settings.file
    plane._policies = serve.rooms.judge(plane._settings).policy_version
    file.write_text(file.read_text().replace("gateway:\n", f"gateway:\n{section}"))
    edited = plane._settings.policy.folder / "guests.cedar"
    edited.write_text(edited.read_text() + policies)
    stop = asyncio.Event()
    asyncio.run(plane.reload(stop))
    version = serve.rooms.judge(plane._settings).policy_version
    what = said.format(version=version)
    assert caplog.messages == [f"SIGHUP: {what} since this program began; the one that is installed now takes over"]
    assert stop.is_set()


def test_a_part_that_runs_alone_is_not_ended_by_a_sighup_and_says_what_to_do(plane, monkeypatch, caplog):
    async def run(_, stop, __):
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(1000):
            if not caplog.messages:
                await asyncio.sleep(0.01)

    monkeypatch.setattr(serve.arbiter, "run", run)
    monkeypatch.setattr(serve.ctypes, "CDLL", lambda _: SimpleNamespace(prctl=lambda *_: 0))
    serve.serve_arbiter(plane._settings)
    [said] = caplog.messages
    assert said.startswith("SIGHUP changes nothing here")
    assert said.endswith("end it and start it anew")


def test_who_was_told_to_end_meanwhile_does_not_go_on(plane, monkeypatch):
    async def validate(_):
        return None

    monkeypatch.setattr(serve.Envoy, "validate", validate)
    stop = asyncio.Event()
    stop.set()
    asyncio.run(plane.reload(stop))
    assert not plane._leaving


def test_children_of_the_program_before_this_one_are_reaped():
    pid = os.posix_spawn("/bin/true", ["/bin/true"], {})

    async def reaped():
        [found] = [one for one in children() if one.pid == pid]
        await asyncio.wait_for(found.ended(), 5)

    asyncio.run(reaped())
    assert not Path(f"/proc/{pid}").exists()
