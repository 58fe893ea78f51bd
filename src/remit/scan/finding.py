"""What leaves a file: a finding, without the secret.

A fingerprint stays the same over runs and machines, and goes to logs of pipelines and into baselines, which more people
read than the repository. So it is keyed by nothing and confirms no guess. Of what a vendor made at random it is a
digest: 80 of 256 bits, and nobody guesses the 128 bits and more that went in. Of one that a person chose it is a
digest of its place and public names alone: a new password in the same place has the fingerprint of the old one.

Within one run, findings of the same secret are told by a digest under a key of that run, which nobody keeps.
"""

import hashlib
import math
import re
from collections import Counter
from dataclasses import dataclass, field

from remit.scan.kinds import KINDS, Kind

_LEAST_BITS = 96  # what looks less random than this is not digested, whatever its form says
_SHOWN = 20  # hex digits: two of a million findings meet with a chance of 1 in 10^12


@dataclass(frozen=True, slots=True)
class Found:
    """One secret at one place.

    `file`: as the person would name it, below the path that was asked about. `line`: from 1. `cell`: of a notebook,
    from 1, with `where` (`source`, `output`). `blob`: the object of the history, empty in the work tree. `names`: what
    is public about it. `same`: equal for equal secrets of one run. `dismissed`: why it does not count, mostly empty.
    """

    kind: str
    file: str
    line: int
    names: dict[str, str]
    fingerprint: str
    same: bytes = field(repr=False)
    cell: int = 0
    where: str = ""
    blob: str = ""
    dismissed: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is reported: where first, in which commit (empty: in the work tree alone), and whether it is there still."""

    found: Found
    commit: str = ""
    present: bool = True

    @property
    def kind(self) -> Kind:
        """Its kind, with what replaces it."""
        return KINDS[self.found.kind]


def normal(kind: str, secret: str) -> str:
    """A secret without what its container did to it: a private key has lines here, and escaped ones there."""
    if kind not in {"private-key", "google-service-account-key"}:
        return secret
    return re.sub(r"[^A-Za-z0-9+/=]", "", re.sub(r"\\+[nr]", "", secret))


def fingerprint(kind: Kind, secret: str, file: str, names: dict[str, str]) -> str:
    """Twenty hex digits, see above."""
    if kind.random and _bits(secret) >= _LEAST_BITS:
        parts = ["secret", kind.name, secret]
    else:
        parts = ["place", kind.name, file, *(f"{name}={names[name]}" for name in sorted(names))]
    digest = hashlib.sha256(b"remit scan 1")
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:_SHOWN]


def same(key: bytes, kind: str, secret: str) -> bytes:
    """What tells equal secrets of one run."""
    return hashlib.blake2b(f"{kind}\0{secret}".encode("utf-8", "surrogatepass"), key=key, digest_size=16).digest()


def _bits(secret: str) -> float:
    """Shannon's estimate over the letters: an upper bound for what a person chose, about right for random ones."""
    counts = Counter(secret)
    return -sum(count * math.log2(count / len(secret)) for count in counts.values())
