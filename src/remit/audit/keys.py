"""The ledger's signing key: a file that is made once, at installation, and that only its owner may read.

PKCS #8 in PEM, Ed25519. Leaves out rotation and keys that live in a cloud's key service.
"""

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.audit.note import Signer
from remit.audit.spool import sync_folder
from remit.model.errors import Problem, SettingsInvalid
from remit.state.private_file import read_private

_KEY_FILE_LIMIT = 4096
"""A PKCS #8 Ed25519 key in PEM has about 120 bytes."""


def make_key(path: Path, origin: str) -> Signer:
    """Makes a new key, durable before it returns; raises `SettingsInvalid` when there is one already."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise _invalid(path, "there is a key already, and it is never replaced") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return _signer(path, origin, key)


def load_key(path: Path, origin: str) -> Signer:
    """The key in a file; raises `SettingsInvalid` when others could read or change it, or when it is not a key."""
    pem = read_private(path, _KEY_FILE_LIMIT, "the ledger's key")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise _invalid(path, "the ledger's key is not a PEM private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _invalid(path, "the ledger's key is not an Ed25519 key")
    return _signer(path, origin, key)


def _signer(path: Path, origin: str, key: Ed25519PrivateKey) -> Signer:
    try:
        return Signer(origin, key)
    except ValueError as error:
        raise _invalid(path, f"the audit origin cannot name a log: {error}") from None


def _invalid(path: Path, message: str, *, hint: str = "") -> SettingsInvalid:
    return SettingsInvalid((Problem(str(path), 0, 0, message),), hint=hint)
