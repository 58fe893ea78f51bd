"""Where a sign-in is kept: a keyring by keyring's own interface, the keeper, and a file only by name."""

import os
import stat
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.backends.chainer import ChainerBackend
from keyring.errors import KeyringLocked, PasswordDeleteError, PasswordSetError

from remit.model.errors import NotSignedIn, RemitError
from remit.model.secret import Secret
from remit.sdk import store as stores
from remit.sdk.keeper import Keeper
from remit.sdk.pin import Pin
from remit.sdk.store import Entry, FileStore, KeyringStore, chosen, forget, held, named, platform_keyring

ENTRY = Entry("http://127.0.0.1:8443", Pin("door", (991, 0)), Secret("{}"), {})


class Memory(KeyringBackend):
    """A keyring of this test's: items of a bounded size, and what it is told to refuse."""

    priority = 0  # never taken by keyring itself; an instance says otherwise

    def __init__(self, bound=1 << 20):
        super().__init__()
        self.priority = 5
        self.bound = bound
        self.items = {}
        self.locked = False
        self.read = []

    def get_password(self, service, username):
        self.read.append(username)
        if self.locked:
            raise KeyringLocked("a secret that must not be told")
        return self.items.get((service, username))

    def set_password(self, service, username, password):
        if len(password) > self.bound:
            raise PasswordSetError("too long")
        self.items[service, username] = password

    def delete_password(self, service, username):
        if (service, username) not in self.items:
            raise PasswordDeleteError
        del self.items[service, username]


@pytest.fixture
def memory():
    found = Memory()
    keyring.set_keyring(found)
    return found


@pytest.fixture(params=["keyring", "small keyring", "keeper", "file"])
def kept(request, runtime_folder, tmp_path):
    if request.param == "keyring":
        yield KeyringStore(Memory())
    elif request.param == "small keyring":
        yield KeyringStore(Memory(100), limit=100)
    elif request.param == "file":
        yield FileStore(tmp_path / "state" / "remit")
    else:
        keeper = Keeper(runtime_folder / "keeper.sock")
        yield keeper
        keeper.end()


@pytest.mark.promise("V1")
@pytest.mark.parametrize("text", ["e", "ä\n" * 500, "x" * (1 << 17), '{"a": "b"}'])
def test_every_store_keeps_one_entry(kept, text):
    assert kept.get() is None
    kept.end()  # nothing to forget is no error
    kept.put(Secret("before"))
    kept.put(Secret(text))
    assert kept.get() == Secret(text)
    assert kept.name in stores.NAMES
    assert kept.place()
    kept.end()
    assert kept.get() is None


def test_an_entry_is_what_went_in():
    assert Entry.opened(ENTRY.sealed()) == ENTRY
    workload = Entry("u", Pin("d"), workload={"kind": "github", "why": "w", "value": ""})
    assert Entry.opened(workload.sealed()) == workload
    assert "a-token" not in repr(Entry("u", Pin("d"), Secret("a-token")))
    for text in ("", "[]", "7", "{}", '{"url": "u", "cache": "{}"}', '{"url": "u", "pin": 1}'):
        with pytest.raises(NotSignedIn, match="another version's") as caught:
            Entry.opened(Secret(text))
        assert caught.value.__context__ is None


# the keyring


def test_parts_leave_nothing_behind():
    memory = Memory(64)
    kept = KeyringStore(memory, limit=64)
    kept.put(Secret("a" * 640))
    assert len(memory.items) == 11  # the head and ten parts
    kept.put(Secret("b" * 100))
    assert len(memory.items) == 3
    kept.end()
    assert memory.items == {}


def test_whoever_reads_while_another_writes_sees_one_of_both():
    memory = Memory(64)
    kept = KeyringStore(memory, limit=64)
    kept.put(Secret("a" * 100))
    stale = memory.items["remit", "sign-in"]
    kept.put(Secret("b" * 100))
    fresh = memory.items["remit", "sign-in"]
    memory.items["remit", "sign-in"] = stale  # as another process read it, a moment ago

    class Then(Memory):
        def get_password(self, service, username):
            found = super().get_password(service, username)
            if username != "sign-in":
                self.items["remit", "sign-in"] = fresh
            return found

    later = Then(64)
    later.items = memory.items
    assert KeyringStore(later, limit=64).get() == Secret("b" * 100)
    memory.items["remit", "sign-in"] = stale
    assert KeyringStore(memory, limit=64).get() is None  # its parts are gone for good


def test_two_who_forget_at_once(monkeypatch):
    memory = Memory()
    kept = KeyringStore(memory)
    kept.put(Secret("a"))
    monkeypatch.setattr(memory, "delete_password", lambda service, name: Memory.delete_password(memory, service, name))
    del memory.items[next(key for key in memory.items if key[1] != "sign-in")]
    kept.end()
    assert memory.items == {}


def test_a_locked_keyring_says_so_and_nothing_more():
    memory = Memory()
    memory.locked = True
    with pytest.raises(NotSignedIn, match="does not answer: KeyringLocked") as caught:
        KeyringStore(memory).get()
    assert caught.value.__context__ is None
    assert "REMIT_STORE" in caught.value.hint
    with pytest.raises(NotSignedIn, match="does not answer: PasswordSetError"):
        KeyringStore(Memory(1)).put(Secret("long"))


def test_a_head_that_is_not_ours():
    memory = Memory()
    memory.items["remit", "sign-in"] = "somebody's password"
    assert KeyringStore(memory).get() == Secret("")  # no parts; which is no entry either


class Weak(Memory):
    def __init__(self):
        super().__init__()
        self.priority = 0.5


Plain = type("PlaintextKeyring", (Memory,), {"__module__": "keyrings.alt.file"})


@pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring, Weak, Plain])
def test_what_is_no_keyring(backend):
    keyring.set_keyring(backend())
    assert platform_keyring() is None
    assert chosen().name == "keeper"
    with pytest.raises(RemitError, match="no keyring here that keeps a secret") as caught:
        chosen("keyring")
    assert "--store keeper" in caught.value.hint


def test_of_several_keyrings_the_first_real_one(monkeypatch):
    real = Memory()

    class Chain(ChainerBackend):
        backends = (Plain(), real, Memory())

    keyring.set_keyring(Chain())
    found = platform_keyring()
    found.put(Secret("e"))
    assert real.items


# the file


def test_a_file_is_this_user_s_alone(tmp_path):
    folder = tmp_path / "state" / "remit"
    kept = FileStore(folder)
    kept.put(Secret("tokens"))
    [file] = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert str(file) in kept.place()
    for path, mode in ((file, 0o640), (file, 0o604), (folder, 0o750), (folder, 0o701)):
        before = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode)
        with pytest.raises(NotSignedIn, match="is not yours alone") as caught:
            kept.get()
        assert caught.value.hint.startswith(f"chmod {before:o} {path}")
        path.chmod(before)
    assert kept.get() == Secret("tokens")
    folder.chmod(0o755)
    with pytest.raises(NotSignedIn, match="is not yours alone"):
        kept.put(Secret("more"))


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_is_not_read(tmp_path, kind):
    kept = FileStore(tmp_path)
    tmp_path.chmod(0o700)
    file, other = tmp_path / "sign-in", tmp_path / "other"
    other.touch(mode=0o600)
    if kind == "link":
        file.symlink_to(other)
    elif kind == "pipe":
        os.mkfifo(file, 0o600)
    else:
        file.mkdir(mode=0o600)
    with pytest.raises(NotSignedIn, match="is not yours alone"):
        kept.get()


def test_another_user_s_file(tmp_path, monkeypatch):
    kept = FileStore(tmp_path / "remit")
    kept.put(Secret("tokens"))
    monkeypatch.setattr(stores.os, "getuid", lambda: 4242)
    with pytest.raises(NotSignedIn, match="is not yours alone"):
        kept.get()


def test_a_file_that_cannot_be_written_leaves_none(tmp_path, monkeypatch):
    kept = FileStore(tmp_path / "remit")
    kept.put(Secret("before"))
    monkeypatch.setattr(Path, "replace", _no_space)
    with pytest.raises(OSError, match="no space"):
        kept.put(Secret("after"))
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "remit").iterdir()] == ["sign-in"]
    assert kept.get() == Secret("before")


def _no_space(*_):
    raise OSError(28, "no space")


def test_the_folder_of_state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert str(tmp_path / "state" / "remit" / "sign-in") in FileStore().place()
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert str(tmp_path / "home" / ".local" / "state" / "remit" / "sign-in") in FileStore().place()


# which one


def test_a_keyring_comes_first_and_a_file_never_by_itself(memory):
    assert chosen().name == "keyring"
    keyring.set_keyring(fail.Keyring())
    assert chosen().name == "keeper"
    assert chosen("file").name == "file"


def test_a_locked_keyring_is_found_out_before_anybody_signs_in(memory, capsys):
    memory.locked = True
    assert chosen().name == "keeper"
    assert "KeyringLocked; the sign-in is kept in memory" in capsys.readouterr().err


def test_a_sign_in_is_found_wherever_it_is(memory):
    assert held() is None
    for name in stores.NAMES:
        kept = named(name)
        kept.put(ENTRY.sealed())
        found, entry = held()
        assert (found.name, Entry.opened(entry)) == (name, ENTRY)
        forget()
        assert kept.get() is None
    assert held() is None


def test_a_new_sign_in_ends_what_the_others_hold(memory):
    named("keyring").put(Secret("a"))
    named("file").put(Secret("b"))
    forget(but=named("file"))
    assert (named("keyring").get(), named("file").get()) == (None, Secret("b"))


def test_a_store_by_name_is_the_only_one(memory, monkeypatch):
    monkeypatch.setenv("REMIT_STORE", "file")
    named("keyring").put(Secret("a"))
    memory.read.clear()
    assert held() is None
    assert chosen().name == "file"
    forget()
    assert memory.read == []
    assert named("keyring").get() == Secret("a")
    with pytest.raises(RemitError, match="`REMIT_STORE` names `file`, not `keeper`"):
        chosen("keeper")
    monkeypatch.setenv("REMIT_STORE", "floppy")
    with pytest.raises(RemitError, match="`floppy` is no place for a sign-in") as caught:
        held()
    assert "keyring, keeper, file" in caught.value.hint


def test_a_keyring_is_not_even_loaded_while_the_keeper_holds(runtime_folder, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime_folder))
    monkeypatch.setattr(stores, "platform_keyring", None)  # calling it would fail
    kept = Keeper()
    kept.put(Secret("e"))
    try:
        assert held()[0].name == "keeper"
        assert "for 23 h 59 min more" in kept.place()
    finally:
        kept.end()
    assert kept.place() == "the memory of a process of yours"
