"""Signed notes and checkpoints: c2sp.org/signed-note and c2sp.org/tlog-checkpoint, with Ed25519 (type 0x01).

A note that is opened has at least one good signature by a known key and no bad one; signatures by unknown keys are
passed over, as the specification asks. Leaves out cosignatures by witnesses, and other key types.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from remit.audit.tlog import HASH_SIZE
from remit.model.errors import EvidenceBroken

_ED25519 = b"\x01"
_KEY_ID_SIZE = 4
_NOTE_LIMIT = 1_000_000
"""Notes are short: a longer one is refused unread (the bound of Go's `sumdb/note`)."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key that notes are checked with, and the name that it signs under."""

    name: str
    public: Ed25519PublicKey

    @classmethod
    def parse(cls, vkey: str) -> "Verifier":
        """From `NAME+KEYID+BASE64`; raises `EvidenceBroken` when the parts do not fit each other."""
        name, _, rest = vkey.partition("+")
        given, _, material = rest.partition("+")
        data = _decode(material)
        if not valid_name(name) or data[:1] != _ED25519 or len(data) != 1 + HASH_SIZE:
            raise EvidenceBroken("the verifier key is not an Ed25519 key in the form `NAME+KEYID+BASE64`")
        verifier = cls(name, Ed25519PublicKey.from_public_bytes(data[1:]))
        if given != verifier.key_id.hex():
            raise EvidenceBroken(f"the key id of the verifier key `{name}` does not fit its key")
        return verifier

    @property
    def key_id(self) -> bytes:
        """The four bytes that name the key in a signature line."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public.public_bytes_raw()).digest()[:4]

    def __str__(self) -> str:
        material = base64.b64encode(_ED25519 + self.public.public_bytes_raw()).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a tree: the log's name, how many leaves, and the root over them."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """From a note's text; extension lines are passed over. Raises `EvidenceBroken`."""
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0] or not (lines[1].isascii() and lines[1].isdecimal()):  # noqa: PLR2004 - three lines and the end of the last
            raise EvidenceBroken("the checkpoint does not hold an origin, a size and a root")
        root = _decode(lines[2])
        if len(root) != HASH_SIZE or str(int(lines[1])) != lines[1]:
            raise EvidenceBroken("the checkpoint's size or root is not in its one canonical form")
        return cls(lines[0], int(lines[1]), root)


class Signer:
    """A private key and the name that it signs under."""

    __slots__ = ("_key", "verifier")

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        """Raises `ValueError` for a name that a note cannot carry."""
        if not valid_name(name):
            raise ValueError(f"`{name}` cannot name a log: no space, no `+`, not empty")
        self._key = key
        self.verifier = Verifier(name, key.public_key())

    def sign(self, text: str) -> str:
        """The signed note of a text that ends with a newline."""
        signature = base64.b64encode(self.verifier.key_id + self._key.sign(text.encode())).decode()
        return f"{text}\n— {self.verifier.name} {signature}\n"


def open_note(note: str, verifiers: Iterable[Verifier]) -> str:
    """The text of a note that a known key signed; raises `EvidenceBroken`."""
    text, signatures = _split(note)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    good = 0
    for line in signatures:
        name, key_id, signature = _signature(line)
        verifier = known.get((name, key_id))
        if verifier is None:
            continue
        try:
            verifier.public.verify(signature, text.encode())
        except InvalidSignature:
            raise EvidenceBroken(f"the signature of `{name}` does not verify") from None
        good += 1
    if not good:
        raise EvidenceBroken("no known key signed this note")
    return text


def open_checkpoint(note: str, verifiers: Iterable[Verifier]) -> Checkpoint:
    """The checkpoint in a signed note, whose origin must be the name of a given key; raises `EvidenceBroken`."""
    trusted = tuple(verifiers)
    checkpoint = Checkpoint.parse(open_note(note, trusted))
    if checkpoint.origin not in {verifier.name for verifier in trusted}:
        raise EvidenceBroken(f"the checkpoint is of another log, `{checkpoint.origin}`")
    return checkpoint


def valid_name(name: str) -> bool:
    """Whether a key may have this name: not empty, no space, no `+`, nothing that does not print."""
    return bool(name) and name.isprintable() and "+" not in name and not any(char.isspace() for char in name)


def _split(note: str) -> tuple[str, list[str]]:
    if len(note) > _NOTE_LIMIT or not note.endswith("\n") or any(char < " " and char != "\n" for char in note):
        raise EvidenceBroken("this is not a signed note")
    text, separator, tail = note.rpartition("\n\n")
    if not separator or not tail:
        raise EvidenceBroken("the note carries no signature")
    return text + "\n", tail.removesuffix("\n").split("\n")


def _signature(line: str) -> tuple[str, bytes, bytes]:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—" or not valid_name(parts[1]):  # noqa: PLR2004 - dash, name, signature
        raise EvidenceBroken("a signature line of the note is malformed")
    data = _decode(parts[2])
    if len(data) <= _KEY_ID_SIZE:
        raise EvidenceBroken("a signature line of the note is malformed")
    return parts[1], data[:_KEY_ID_SIZE], data[_KEY_ID_SIZE:]


def _decode(text: str) -> bytes:
    """Base64 in its one canonical form."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise EvidenceBroken("a base64 value of the note is malformed") from None
    if base64.b64encode(data).decode() != text:
        raise EvidenceBroken("a base64 value of the note is not canonical")
    return data
