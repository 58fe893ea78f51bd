"""The numbers and secrets that clients cancel by: the door's own, each for one connection of one database.

A cancel request comes over a connection of its own and proves nothing but that it knows the secret: so the secret is
random, as long as the client's version of the protocol allows, and never the database's.
"""

import hmac
import secrets
from dataclasses import dataclass

from remit.sql.startup import Cancel
from remit.sql.upstream import Upstream

_SHORT, _LONG = 4, 32  # bytes: protocol 3.0, and 3.2


@dataclass(frozen=True, slots=True)
class Key:
    """What one client was given."""

    process: int
    secret: bytes
    upstream: Upstream

    def __repr__(self) -> str:
        return f"<Key {self.process}>"


class Keys:
    """All that are given out."""

    def __init__(self) -> None:
        self._given: dict[int, Key] = {}

    def give(self, upstream: Upstream, minor: int) -> Key:
        """A new one, for a client of protocol 3.`minor`."""
        process = 0
        while not process or process in self._given:
            process = secrets.randbits(31)
        size = _LONG if minor >= 2 else _SHORT  # noqa: PLR2004 - since protocol 3.2 they have any length
        key = Key(process, secrets.token_bytes(size), upstream)
        self._given[process] = key
        return key

    def take(self, key: Key) -> None:
        """Nothing is cancelled by it any more."""
        del self._given[key.process]

    def find(self, asked: Cancel) -> Upstream | None:
        """What a request may cancel; `None` for whoever does not know the secret."""
        key = self._given.get(asked.process)
        return key.upstream if key and hmac.compare_digest(key.secret, asked.secret) else None
