"""What a session holds, encrypted at rest, and what a browser carries through a sign-in.

AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits, which is sound for 2^32 messages under one key. What a
text is for and whose it is are bound to it as associated data, each part with its length, so that a row moved to
another place cannot be read. Keys stand in a file of their owner's, one a line, `NAME BASE64URL`: the first one
encrypts, all of them decrypt, and so a key is rotated by a new line on top. Leaves out: keys in a vault, which mount
such a file.
"""

import base64
import os
import re
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from remit.model.errors import Problem, SettingsInvalid

_NONCE = 12  # bytes
_KEY = 32  # bytes: AES-256
_TAG = 16  # bytes
_LINE = re.compile(r"([a-z0-9-]{1,32}) ([A-Za-z0-9_-]{43})=?")
_MAXIMUM_FILE = 4096  # bytes: some sixty keys


class Unreadable(ValueError):
    """A sealed text is not ours, was changed, stands in another's place, or its key is gone."""


class Cipher:
    """Seals and opens. `keys`: name and 32 bytes each, the one that encrypts first."""

    __slots__ = ("_keys", "_newest")

    def __init__(self, keys: tuple[tuple[str, bytes], ...]) -> None:
        self._keys: Final = {name.encode(): AESGCM(key) for name, key in keys}
        self._newest: Final = keys[0][0].encode()

    def seal(self, text: bytes, *place: str) -> bytes:
        """The text, encrypted for one place (`session` and the row's key, `flow` and the provider)."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._keys[self._newest].encrypt(nonce, text, _bound(self._newest, place))
        return bytes([len(self._newest)]) + self._newest + nonce + sealed

    def open(self, sealed: bytes, *place: str) -> bytes:
        """The text that was sealed for this place; raises `Unreadable`."""
        length = sealed[0] if sealed else 0
        name, nonce, rest = (
            sealed[1 : 1 + length],
            sealed[1 + length : 1 + length + _NONCE],
            sealed[1 + length + _NONCE :],
        )
        key = self._keys.get(name)
        if key is None or len(rest) < _TAG:
            raise Unreadable("the sealed text cannot be read")
        try:
            return key.decrypt(nonce, rest, _bound(name, place))
        except InvalidTag:
            raise Unreadable("the sealed text cannot be read") from None


def read_cipher(path: Path) -> Cipher:
    """The cipher of a key file; raises `SettingsInvalid` for one that others may read, or that holds no good keys."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAXIMUM_FILE + 1).decode("ascii", "replace")
    except OSError as error:
        raise _invalid(path, f"cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise _invalid(path, "may be read by others than its owner", hint=f"run `chmod 600 {path}`")
    lines = [_LINE.fullmatch(line) for line in text.splitlines() if line]
    keys = tuple((line[1], base64.urlsafe_b64decode(line[2] + "=")) for line in lines if line is not None)
    if len(text) > _MAXIMUM_FILE or not keys or len(keys) != len(lines) or len(dict(keys)) != len(keys):
        raise _invalid(path, "does not hold one key a line, `NAME BASE64URL` of 32 bytes, each name once")
    return Cipher(keys)


def make_key_file(path: Path, name: str = "k1") -> None:
    """Makes the file with one new key when there is none; whole or not at all, for its owner only."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = f"{name} {base64.urlsafe_b64encode(secrets.token_bytes(_KEY)).decode()}\n"
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.") as file:  # 0600 by its nature
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            return  # another process was first, and its key is the one that counts


def _bound(name: bytes, place: tuple[str, ...]) -> bytes:
    parts = (b"remit-1", name, *(part.encode() for part in place))
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _invalid(path: Path, what: str, *, hint: str = "") -> SettingsInvalid:
    return SettingsInvalid((Problem(str(path), 0, 0, f"the key file of the sessions {what}"),), hint=hint)
