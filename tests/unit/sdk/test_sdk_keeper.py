"""The keeper: a real process that holds one secret for one user, and nothing on disk."""

import asyncio
import contextlib
import json
import os
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from remit.model.errors import NotSignedIn
from remit.model.secret import Secret
from remit.sdk import keeper
from remit.sdk.keeper import Keeper


@pytest.fixture
def kept(runtime_folder):
    found = Keeper(runtime_folder / "keeper.sock")
    yield found
    found.end()


def process_of(address):
    """The keeper's own process id, as the kernel tells it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(address))
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(raw[:4], "little")


@pytest.mark.promise("V22")
def test_an_entry_lives_in_the_keeper_s_memory_alone(kept, runtime_folder):
    assert kept.get() is None
    kept.put(Secret("a-refresh-token"))
    assert kept.get() == Secret("a-refresh-token")
    kept.put(Secret("b" * (1 << 20)))
    assert kept.get() == Secret("b" * (1 << 20))
    [found] = runtime_folder.iterdir()
    assert stat.S_ISSOCK(found.stat().st_mode)
    assert found.stat().st_mode & 0o777 == 0o600
    process = process_of(found)
    assert b"refresh" not in Path(f"/proc/{process}/cmdline").read_bytes()
    assert os.getsid(process) == process  # it outlives the shell that started it
    kept.end()
    _until(lambda: not found.exists())
    assert kept.get() is None
    kept.end()  # nothing to end is no error


def test_a_keeper_imports_nothing_from_the_folder_that_it_is_started_in(kept, tmp_path, monkeypatch):
    (tmp_path / "struct.py").write_text("raise SystemExit")  # as a repository of a stranger's may hold
    monkeypatch.chdir(tmp_path)
    kept.put(Secret("a-refresh-token"))
    assert kept.get() == Secret("a-refresh-token")


def _until(done):
    end = time.monotonic() + 5
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_garbage_does_not_hurt_it(kept, runtime_folder):
    kept.put(Secret("e"))
    for line in (
        b"",
        b"\n",
        b"not json\n",
        b"[]\n",
        b"7\n",
        b"{}\n",
        b'{"op": "put"}\n',
        b'{"op": "other"}\n',
        b"x" * (5 << 20),
    ):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(runtime_folder / "keeper.sock"))
            with contextlib.suppress(ConnectionError):
                connection.sendall(line)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(100)
    assert kept.get() == Secret("e")


def test_another_user_is_not_answered(runtime_folder, monkeypatch):
    """The process is this one here, so that the kernel's word can be another."""
    address = runtime_folder / "keeper.sock"
    server = keeper._Server()
    server.entry = "secret"
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(address)), daemon=True)
    thread.start()
    _until(lambda: Keeper(address).get() is not None)
    monkeypatch.setattr(keeper, "uid_of", lambda connection: os.getuid() + 1)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(address))
        with contextlib.suppress(ConnectionError):  # it hangs up before it reads
            connection.sendall(b'{"op": "get"}\n')
            assert connection.recv(100) == b""
    with pytest.raises(NotSignedIn, match="belongs to another user") as caught:
        Keeper(address).get()
    assert str(address) in caught.value.hint
    monkeypatch.undo()
    assert Keeper(address).get() == Secret("secret")
    Keeper(address).put(Secret("other"))
    assert server.entry == "other"
    Keeper(address).end()
    thread.join(5)
    assert not thread.is_alive()


def test_it_ends_by_itself(runtime_folder, monkeypatch):
    monkeypatch.setattr(keeper, "_LIFETIME", 0.05)
    asyncio.run(asyncio.wait_for(keeper._main(str(runtime_folder / "k.sock")), 5))
    assert not (runtime_folder / "k.sock").exists()


@pytest.mark.parametrize("replaced", [False, True])
def test_it_ends_when_nobody_can_reach_it(runtime_folder, monkeypatch, replaced):
    monkeypatch.setattr(keeper, "_LOOK", 0.02)
    address = runtime_folder / "k.sock"

    async def story():
        task = asyncio.create_task(keeper._Server().serve(address))
        while not address.exists():  # noqa: ASYNC110 - a socket tells nobody that it is there
            await asyncio.sleep(0.01)
        if replaced:  # by another keeper's, which must stay
            (runtime_folder / "other").touch()
            (runtime_folder / "other").rename(address)
        else:
            address.unlink()
        await asyncio.wait_for(task, 5)

    asyncio.run(story())
    assert address.exists() == replaced


@pytest.mark.parametrize("answer", [b"", b"nonsense\n", b"[]\n", b"{}\n"])
def test_a_keeper_that_answers_nonsense(runtime_folder, answer):
    address = runtime_folder / "keeper.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()

        def serve():
            with listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(NotSignedIn, match="does not answer"):
            Keeper(address).get()
        thread.join()


def test_a_dead_socket_is_no_keeper(kept, runtime_folder):
    address = runtime_folder / "keeper.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
    assert kept.get() is None
    kept.put(Secret("again"))  # takes its place
    assert kept.get() == Secret("again")


def test_a_folder_in_which_it_cannot_start(runtime_folder, monkeypatch):
    monkeypatch.setattr(keeper, "_START", 0.5)
    with pytest.raises(NotSignedIn, match="did not start"):
        Keeper(runtime_folder / "none" / "keeper.sock").put(Secret("x"))
    with pytest.raises(NotSignedIn, match="does not answer"):
        Keeper(runtime_folder / ("x" * 200)).get()


def test_the_folder_is_this_user_s_alone(runtime_folder, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime_folder))
    folder = keeper.own_folder()
    assert folder == runtime_folder / "remit"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert Keeper().get() is None
    folder.chmod(0o755)
    with pytest.raises(NotSignedIn, match="not a folder of yours alone") as caught:
        Keeper()
    assert caught.value.hint == f"chmod 700 {folder}"
    folder.rmdir()
    other = runtime_folder / "other"
    other.mkdir(mode=0o700)
    folder.symlink_to(other)  # somebody else could have put it there
    with pytest.raises(NotSignedIn, match="not a folder of yours alone"):
        Keeper()


def test_without_a_runtime_folder_there_is_one_in_the_temporary_folder(runtime_folder, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(keeper.tempfile, "gettempdir", lambda: str(runtime_folder))
    assert keeper.own_folder() == runtime_folder / f"remit-{os.getuid()}"


def test_the_wire_is_one_line_of_json(kept, runtime_folder):
    kept.put(Secret("ä\n"))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(runtime_folder / "keeper.sock"))
        connection.sendall(b'{"op": "get"}\n')
        assert json.loads(connection.recv(1000)) == {"entry": "ä\n"}
