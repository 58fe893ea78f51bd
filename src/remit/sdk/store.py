"""Where a sign-in is kept between commands: the platform's keyring, else the keeper, and a file only by name.

    keyring    the desktop's own store (Secret Service, KWallet, Keychain, Credential Manager), through `keyring`
    keeper     a process of this user that holds it in memory (keeper.py)
    file       `$XDG_STATE_HOME/remit/sign-in`, 0600 in a folder of 0700, when somebody asked for it by name

`REMIT_STORE` names one of them; then the others are not even looked at. Without it a sign-in is looked for where
looking costs least first, which gives the same answer, since a new sign-in ends whatever the other stores hold.
"""

import contextlib
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from remit.model.errors import NotSignedIn, RemitError
from remit.model.secret import Secret
from remit.sdk.keeper import Keeper
from remit.sdk.pin import Pin

NAMES = ("keyring", "keeper", "file")
"""In the order in which a new sign-in takes them; `file` never by itself."""
_CHEAPEST_FIRST = ("keeper", "file", "keyring")  # a socket, a file, then a third of a second of imports
_SERVICE, _HEAD = "remit", "sign-in"
_SMALL = 1200  # characters: Windows keeps 2560 bytes of UTF-16 (CRED_MAX_CREDENTIAL_BLOB_SIZE, wincred.h)
_LARGE = 1 << 20  # characters: the others name no limit
_MAXIMUM = 4 << 20  # bytes: as the keeper's
_FOLDER, _FILE = stat.S_IFDIR | 0o700, stat.S_IFREG | 0o600
_UNREAL = ("keyring.backends.fail.", "keyring.backends.null.", "keyrings.alt.")
_VIABLE = 1  # the priority at which keyring itself calls a backend recommended


class Store(Protocol):
    """Keeps one entry for this user. All calls block; they raise `RemitError` when the store is there but broken."""

    @property
    def name(self) -> str:
        """As in `NAMES`."""

    def place(self) -> str:
        """Where that is, for people."""

    def get(self) -> Secret | None:
        """The entry, `None` when there is none."""

    def put(self, entry: Secret) -> None:
        """Keeps an entry in place of the one before."""

    def end(self) -> None:
        """Forgets the entry; no error when there is none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A sign-in as it is kept.

    `url`: the installation; `pin`: its door as it was; `cache`: msal's tokens; `workload`: instead of those, by which
    identity of its own a workload signed in (no secret: the identity is there or it is not).
    """

    url: str
    pin: Pin
    cache: Secret = field(default=Secret(""))
    workload: Mapping[str, str] = field(default_factory=dict)

    def sealed(self) -> Secret:
        """The entry as a store takes it."""
        document = {
            "url": self.url,
            "pin": asdict(self.pin),
            "cache": self.cache.reveal(),
            "workload": {**self.workload},
        }
        return Secret(json.dumps(document))

    @classmethod
    def opened(cls, sealed: Secret) -> "Entry":
        """The entry that a store gave back; raises `NotSignedIn` for one that another version wrote."""
        try:
            document: dict[str, Any] = json.loads(sealed.reveal())
            pin = Pin(str(document["pin"]["door"]), tuple(map(int, document["pin"]["owners"])))
            return cls(str(document["url"]), pin, Secret(str(document["cache"])), dict(document["workload"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # outside the handler: the error would hold the entry
        raise NotSignedIn("the sign-in on this machine is another version's", hint="run `remit login --url URL`")


class KeyringStore:
    """The platform's keyring. `backend`: as `keyring` gives it; `limit`: characters that one of its items holds.

    An entry that is longer lies in parts under names of their own, and the head names them: it changes last, so that
    whoever reads meanwhile sees the old sign-in or the new one.
    """

    name = "keyring"

    def __init__(self, backend: Any, limit: int = _SMALL if sys.platform == "win32" else _LARGE) -> None:
        self._backend = backend
        self._limit = limit

    def place(self) -> str:
        """Which keyring that is."""
        return f"the keyring ({type(self._backend).__module__.rpartition('.')[2]})"

    def get(self) -> Secret | None:
        """The entry; a part that is missing makes it none."""
        for _ in range(2):  # somebody may have written between the head and the parts
            head = self._read(_HEAD)
            if not head:
                return None
            parts = [self._read(name) for name in _parts(head)]
            if None not in parts:
                return Secret("".join(part or "" for part in parts))
        return None

    def put(self, entry: Secret) -> None:
        """Writes the parts, then the head, then forgets the parts of before."""
        text, before = entry.reveal(), self._read(_HEAD)
        head = f"{secrets.token_hex(8)} {-(-len(text) // self._limit)}"
        for index, name in enumerate(_parts(head)):
            self._ask("set_password", name, text[index * self._limit : (index + 1) * self._limit])
        self._ask("set_password", _HEAD, head)
        self._drop(before)

    def end(self) -> None:
        """Forgets the head first: nobody can read what is left."""
        head = self._read(_HEAD)
        if head:
            self._ask("delete_password", _HEAD)
        self._drop(head)

    def _drop(self, head: str | None) -> None:
        for name in _parts(head or ""):
            with contextlib.suppress(RemitError):  # another process may have been faster
                self._ask("delete_password", name)

    def _read(self, name: str) -> str | None:
        found = self._ask("get_password", name)
        return None if found is None else str(found)

    def _ask(self, what: str, *words: str) -> Any:
        try:
            return getattr(self._backend, what)(_SERVICE, *words)
        except Exception as error:  # noqa: BLE001 - each backend has errors of its own: D-Bus's, the system's, keyring's
            said = type(error).__name__
        raise NotSignedIn(f"{self.place()} does not answer: {said}", hint="unlock it, or name another: `REMIT_STORE`")


def _parts(head: str) -> list[str]:
    """The names of the parts that a head names."""
    generation, _, count = head.partition(" ")
    return [f"{_HEAD}.{generation}.{index}" for index in range(int(count))] if count.isdecimal() else []


class FileStore:
    """A file that only this user may read. What it holds signs in as this user: asked for by name, or never."""

    name = "file"

    def __init__(self, folder: Path | None = None) -> None:
        state = os.environ.get("XDG_STATE_HOME")
        self._folder = folder or (Path(state) if state else Path.home() / ".local" / "state") / "remit"
        self._file = self._folder / _HEAD

    def place(self) -> str:
        """The file's path."""
        return f"the file `{self._file}`"

    def get(self) -> Secret | None:
        """The entry; raises `NotSignedIn` when somebody else could have read or written it."""
        try:
            _demand_own(self._folder, self._folder.lstat(), _FOLDER)
            _demand_own(self._file, self._file.lstat(), _FILE)  # before it is opened: a pipe would not let go
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            _demand_own(self._file, os.fstat(descriptor), _FILE)  # again: it is this one that is read
            return Secret(file.read(_MAXIMUM).decode("utf-8", "replace"))

    def put(self, entry: Secret) -> None:
        """Writes a file beside it and puts it in its place, so that a reader finds the one or the other whole."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _demand_own(self._folder, self._folder.lstat(), _FOLDER)
        fresh = self._folder / f"{_HEAD}.{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
                file.write(entry.reveal().encode())
            fresh.replace(self._file)
        finally:
            fresh.unlink(missing_ok=True)

    def end(self) -> None:
        """Removes the file."""
        self._file.unlink(missing_ok=True)


def _demand_own(path: Path, status: os.stat_result, form: int) -> None:
    """`form`: the type and the widest permissions that it may have."""
    mode = stat.S_IMODE(form)
    if (
        stat.S_IFMT(status.st_mode) != stat.S_IFMT(form)
        or status.st_uid != os.getuid()
        or status.st_mode & 0o777 & ~mode
    ):
        raise NotSignedIn(f"`{path}` is not yours alone", hint=f"chmod {mode:o} {path}, if you trust what is there")


def platform_keyring() -> KeyringStore | None:
    """The platform's keyring, `None` where there is none that keeps a secret: nothing, or a file in plain text."""
    import keyring  # noqa: PLC0415 - a third of a second, and only a sign-in asks
    from keyring.backends.chainer import ChainerBackend  # noqa: PLC0415 - the same

    found = keyring.get_keyring()
    several = list(found.backends) if isinstance(found, ChainerBackend) else [found]
    return next((KeyringStore(backend) for backend in several if _keeps_secrets(backend)), None)


def _keeps_secrets(backend: Any) -> bool:
    return not f"{type(backend).__module__}.".startswith(_UNREAL) and backend.priority >= _VIABLE


def named(name: str) -> Store | None:
    """One store, `None` for a keyring where there is none; raises `RemitError` for what is no store."""
    match name:
        case "keyring":
            return platform_keyring()
        case "keeper":
            return Keeper()
        case "file":
            return FileStore()
    raise RemitError(f"`{name}` is no place for a sign-in", hint=f"name one of {', '.join(NAMES)}")


def _looked_at() -> Iterator[Store]:
    wanted = os.environ.get("REMIT_STORE")
    for name in (wanted,) if wanted else _CHEAPEST_FIRST:
        if store := named(name):
            yield store


def held() -> tuple[Store, Secret] | None:
    """The store that holds a sign-in, and the entry; `None` when nobody is signed in."""
    for store in _looked_at():
        if (entry := store.get()) is not None:
            return store, entry
    return None


def chosen(name: str = "") -> Store:
    """The store for a new sign-in: the one that is named, here or by `REMIT_STORE`, else the best there is."""
    wanted = os.environ.get("REMIT_STORE", "")
    if name and wanted and name != wanted:
        raise RemitError(f"`REMIT_STORE` names `{wanted}`, not `{name}`", hint="unset it, or leave `--store` out")
    if name := name or wanted:
        store = named(name)
        if store is None:
            raise RemitError("there is no keyring here that keeps a secret", hint="name another: `--store keeper`")
        return store
    try:
        if keyring := platform_keyring():
            keyring.get()  # locked, or nobody there to unlock it: found out before somebody signs in
            return keyring
    except NotSignedIn as error:
        sys.stderr.write(f"remit: {error.message}; the sign-in is kept in memory\n")
    return Keeper()


def forget(but: Store | None = None) -> None:
    """Ends what every store holds, except one."""
    for store in _looked_at():
        if but is None or store.name != but.name:
            store.end()
