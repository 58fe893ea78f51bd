"""Secrets that cannot print: tokens on their way in, and on their way out.

A slots class, not a dataclass: neither `repr`, `str`, `format`, a traceback's locals nor `pickle`
shows the value. `reveal()` is the one way to it, so that a search finds every use.
"""

import hashlib
from typing import NoReturn


class Secret:
    """A string that must never be printed, logged, pickled or put in a URL."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value, for the wire only."""
        return self._value

    def digest(self) -> str:
        """SHA-256 of the value in hex: fit for a cache key, useless for a thief."""
        return hashlib.sha256(self._value.encode("utf-8", "surrogatepass")).hexdigest()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} hidden>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._value == self._value

    def __hash__(self) -> int:
        return hash((type(self), self._value))

    def __reduce__(self) -> NoReturn:
        message = "a secret cannot be pickled"
        raise TypeError(message)


class UnverifiedToken(Secret):
    """A bearer token as it came from the wire: nothing about it is known to be true."""

    __slots__ = ()


class SessionSecret(Secret):
    """What a browser's cookie holds: the name of a session that only its owner knows."""

    __slots__ = ()


class AccessToken(Secret):
    """A token that Remit obtained: good at the party it was issued for."""

    __slots__ = ()
