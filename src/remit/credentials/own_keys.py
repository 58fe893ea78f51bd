"""The signing keys of Remit's own issuer: a folder of files that only their owner may read.

RSA in PKCS #8, PEM. All keys of the folder are published; the newest that has been there long enough for readers to
know it signs, so that a rotation is: stage a new key, have its readers prove that they know it, promote it, and retire
the old one when its last token has ended. A staged key signs nothing but proofs. Leaves out: who the readers are
(`trust.rotating`), keys that live in a cloud's key service. `kid`: RFC 7638.
"""

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from remit.model.errors import Problem, SettingsInvalid
from remit.state.private_file import read_private

BITS = 3072  # of a new key; Google takes any RSA key of 2048 and more
MIN_BITS = 2048  # RFC 7518 section 3.3
SETTLE = 600.0  # seconds that a new key is published before it signs; a folder's only key signs at once
LONGEST = 900.0  # seconds: ten minutes that a token lives, and five that a reader's clock may be late
_FILE_LIMIT = 16 * 1024  # bytes; a PKCS #8 key of 4096 bits has about 3300
_FIRST = "issuer-000001.pem"
_STAGED = "staged.pem"  # no `issuer-`: neither published nor signing


@dataclass(frozen=True, slots=True, eq=False)
class OwnKey:
    """One key; `made`: when its file was written, seconds since the epoch."""

    private: rsa.RSAPrivateKey
    kid: str
    made: float

    def jwk(self) -> dict[str, str]:
        """The public half (RFC 7517)."""
        return {**_required(self.private), "use": "sig", "alg": "RS256", "kid": self.kid}

    def sign(self, claims: Mapping[str, object]) -> str:
        """A compact RS256 token."""
        header = {"alg": "RS256", "kid": self.kid, "typ": "JWT"}
        signed = f"{_encode(_json(header))}.{_encode(_json(claims))}"
        signature = self.private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encode(signature)}"

    def __repr__(self) -> str:
        return f"<OwnKey {self.kid}>"


class OwnKeys:
    """A folder of keys, read anew when it changes. `wall`: seconds since the epoch.

    Raises `SettingsInvalid` when a key is not one, or when others could read or change it.
    """

    def __init__(self, folder: Path, wall: Callable[[], float]) -> None:
        self._folder = folder
        self._wall = wall
        self._seen: tuple[tuple[str, int], ...] = ()
        self._keys: tuple[OwnKey, ...] = ()
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the state folder: its owner's alone
        folder.mkdir(mode=0o700, exist_ok=True)
        if not _files(folder):
            _make(folder / _FIRST)
        self.published()

    def published(self) -> tuple[OwnKey, ...]:
        """All keys, the oldest first; raises `SettingsInvalid`."""
        files = _files(self._folder)
        if not files:
            raise _invalid(self._folder, "the own issuer has no key any more")
        seen = tuple((path.name, path.lstat().st_mtime_ns) for path in files)
        if seen != self._seen:
            self._keys, self._seen = tuple(sorted(map(_load, files), key=lambda key: key.made)), seen
        return self._keys

    def signing(self) -> OwnKey:
        """The newest key that has settled, else the oldest; raises `SettingsInvalid`."""
        keys = self.published()
        settled = [key for key in keys if key.made <= self._wall() - SETTLE]
        return settled[-1] if settled else keys[0]

    def add(self) -> OwnKey:
        """Put a new key beside the others and return it; it signs once it has settled."""
        _make(self._next())
        return self.published()[-1]

    def staged(self) -> OwnKey | None:
        """The key of a rotation that has begun, which is no key of the issuer's yet."""
        path = self._folder / _STAGED
        found = _load(path) if path.exists() else None
        if found and found.kid in {key.kid for key in self.published()}:
            path.unlink()  # it was promoted, and a crash came before its first name was gone
            return None
        return found

    def stage(self) -> OwnKey:
        """The staged key, made where there is none."""
        if (found := self.staged()) is not None:
            return found
        _make(self._folder / _STAGED)
        return _load(self._folder / _STAGED)

    def promote(self) -> None:
        """The staged key is published from now on, and signs once it has settled."""
        path = self._folder / _STAGED
        os.utime(path, (self._wall(), self._wall()))
        self._next().hardlink_to(path)
        path.unlink()
        _sync(self._folder)

    def unstage(self) -> None:
        """As if it had never been staged."""
        (self._folder / _STAGED).unlink(missing_ok=True)

    def demote(self, kid: str) -> None:
        """A key stays published, but the newest of the others signs at once."""
        oldest = self.published()[0].made
        os.utime(self._path(kid), (oldest - 1, oldest - 1))

    def remove(self, kid: str) -> None:
        """A key is gone; raises `ValueError` for the only one."""
        if len(self.published()) == 1:
            raise ValueError("an issuer keeps a key")
        self._path(kid).unlink(missing_ok=True)
        _sync(self._folder)

    def ended(self) -> tuple[str, ...]:
        """The `kid` of every key that no living token was signed with: another has signed for long enough."""
        *others, newest = self.published()
        now = self._wall()
        if newest.made > now - SETTLE - LONGEST:
            return ()
        # a key that was demoted signed until then, and the kernel keeps that time: nobody can set it
        return tuple(key.kid for key in others if self._path(key.kid).lstat().st_ctime <= now - LONGEST)

    def _next(self) -> Path:
        number = max(int(path.stem.rpartition("-")[2]) for path in _files(self._folder)) + 1
        return self._folder / f"issuer-{number:06}.pem"

    def _path(self, kid: str) -> Path:
        found = (path for path in _files(self._folder) if _load(path).kid == kid)
        return next(found, self._folder / "issuer-none.pem")


def has_keys(folder: Path) -> bool:
    """Whether an issuer has keys there; asking makes none."""
    return bool(_files(folder))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("issuer-*.pem") if path.stem.rpartition("-")[2].isdigit())


def _make(path: Path) -> None:
    """A new key, whole or not at all; the one of another process that was faster stays."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".issuer-")  # 0600 from the start
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(name)
        _sync(path.parent)
    except FileExistsError:
        return
    finally:
        Path(name).unlink()


def _sync(folder: Path) -> None:
    """The names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _load(path: Path) -> OwnKey:
    pem = read_private(path, _FILE_LIMIT, "the own issuer's key")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise _invalid(path, "the own issuer's key is not a PEM private key") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < MIN_BITS:
        raise _invalid(path, f"the own issuer's key is not an RSA key of {MIN_BITS} bits or more")
    return OwnKey(key, _thumbprint(key), path.lstat().st_mtime)


def _required(key: rsa.RSAPrivateKey) -> dict[str, str]:
    """The members that RFC 7638 takes the thumbprint over, in its order."""
    numbers = key.public_key().public_numbers()
    return {"e": _encode(_bytes(numbers.e)), "kty": "RSA", "n": _encode(_bytes(numbers.n))}


def _thumbprint(key: rsa.RSAPrivateKey) -> str:
    return _encode(hashlib.sha256(_json(_required(key))).digest())


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)


def _invalid(path: Path, message: str, *, hint: str = "") -> SettingsInvalid:
    return SettingsInvalid((Problem(str(path), 0, 0, message),), hint=hint)
