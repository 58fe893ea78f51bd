"""Is the door still the one that was signed in at? Asked before every token that is handed out.

A door that speaks https proves itself by its certificate. One on loopback proves nothing: when it is down, whoever
takes its port would be sent tokens. So two things are remembered from the sign-in and held against now: the SHA-256 of
the door's authority, and whose process listens. The first tells an installation that was set up anew; the second tells
a thief, who can repeat the public certificate but does not run as that user (/proc/net/tcp and tcp6, proc(5)).

Limits: a process of this user, of root or of the door's own user is not told from the door. Between the look and the
connection pass milliseconds in which the door could end and another take its port. A kernel that lists no
listeners (not Linux, or a door outside this network namespace) leaves the first check alone, if it already did so at
the sign-in.
"""

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from remit.model.errors import RemitError
from remit.sdk.configuration import Configuration

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LOCAL, _STATE, _UID = 1, 3, 7  # columns of the tables
_LISTENING = "0A"  # TCP_LISTEN
_WORD = 4  # bytes: the kernel prints addresses as 32-bit words in the machine's order
_MAPPED = "::ffff:"  # how an IPv4 address stands in the second table
_ROOT = 0
_FAMILIES = {"localhost": ("127.0.0.1", "::1")}


@dataclass(frozen=True, slots=True)
class Pin:
    """What was seen of a door at sign-in. `door`: SHA-256 of its authority, hex; `owners`: who listened, user ids."""

    door: str
    owners: tuple[int, ...] = ()

    def check(self, configuration: Configuration, tables: Sequence[Path] = _TABLES) -> None:
        """Raises `RemitError` when the door is another; reads one or two of those tables on loopback."""
        if urlsplit(configuration.url).scheme == "https":
            return
        self.compare(configuration)
        now = owners(configuration.url, tables)
        if self.owners and not now:
            raise RemitError(f"remit does not answer at `{configuration.url}`", hint="is `remit serve` running there?")
        strangers = sorted(set(now) - {os.getuid(), _ROOT, *self.owners})
        if strangers:
            message = f"`{configuration.url}` is answered by a process of another user (uid {strangers[0]})"
            raise RemitError(message, hint="no token was sent; tell whoever runs remit on this machine")

    def compare(self, configuration: Configuration) -> None:
        """The first half: the installation's own certificate."""
        if configuration.door != self.door:
            message = f"the installation at `{configuration.url}` is not the one that you signed in at"
            hint = "no token was sent; if it was set up anew, run `remit logout` and sign in again"
            raise RemitError(message, hint=hint)


def seen(configuration: Configuration, tables: Sequence[Path] = _TABLES) -> Pin:
    """What there is to remember of a door, now."""
    if urlsplit(configuration.url).scheme == "https":
        return Pin(configuration.door)
    return Pin(configuration.door, owners(configuration.url, tables))


def owners(url: str, tables: Sequence[Path] = _TABLES) -> tuple[int, ...]:
    """Whose processes listen where a loopback URL leads; empty when the kernel lists none."""
    place = urlsplit(url)
    suffix = f":{place.port or 80:04X}"
    host = place.hostname or ""
    found: set[int] = set()
    for address in _FAMILIES.get(host, (host,)):
        found |= _of(address, suffix, tables)
    return tuple(sorted(found))


def _of(address: str, suffix: str, tables: Sequence[Path]) -> set[int]:
    """As the kernel chooses: who listens on the very address comes before who listens on all of them."""
    exact, every = _forms(address)
    every_one: set[int] = set()
    for table in tables[1:] if ":" in address else tables:
        listening = tuple(_listening(table, suffix))
        if mine := {uid for local, uid in listening if local in exact}:
            return mine
        every_one |= {uid for local, uid in listening if local in every}
    return every_one


def _listening(table: Path, suffix: str) -> Iterator[tuple[str, int]]:
    if not table.exists():  # another system, or a kernel without IPv6
        return
    for line in table.read_text(encoding="ascii").splitlines():
        if suffix in line:
            columns = line.split()
            if columns[_STATE] == _LISTENING and columns[_LOCAL].endswith(suffix):
                yield columns[_LOCAL].removesuffix(suffix), int(columns[_UID])


def _forms(address: str) -> tuple[set[str], set[str]]:
    """How an address stands in the tables, and how all addresses of its family do."""
    if ":" in address:
        return {_hex(address)}, {_hex("::")}
    return {_hex(address), _hex(_MAPPED + address)}, {_hex("0.0.0.0"), _hex("::"), _hex(_MAPPED + "0.0.0.0")}  # noqa: S104 - looked for, not listened on


def _hex(address: str) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    raw = socket.inet_pton(family, address)
    words = (raw[place : place + _WORD] for place in range(0, len(raw), _WORD))
    return b"".join(word[::-1] if sys.byteorder == "little" else word for word in words).hex().upper()
