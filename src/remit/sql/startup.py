"""How a client begins: TLS or not, who it wants to be and where, its token; or a request to cancel.

    1 it may ask for GSSAPI encryption (never) and for TLS, in the protocol's way or at once (`sslnegotiation=direct`);
      without TLS it must come from this very machine
    2 its first packet names the role (`user`), the database and some settings, from a closed list
    3 the password that it is asked for is its token

Every packet has a bound, and what comes at the wrong time ends it. Source: postgresql.org/docs/18, "Message Flow",
"Start-up", "SSL Session Encryption", "Protocol Versions".
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from remit.model.secret import UnverifiedToken
from remit.sql import protocol
from remit.sql.link import Link, accepted, exactly, first_byte
from remit.sql.protocol import NO_IDENTITY, NO_PERMIT, VIOLATION, Failure

ALPN = "postgresql"
LONGEST_PACKET = 10_000  # bytes, as PostgreSQL's MAX_STARTUP_PACKET_LENGTH
LONGEST_TOKEN = 64 << 10  # bytes, as PostgreSQL's PG_MAX_AUTH_TOKEN_LENGTH
_HEAD = 8  # bytes of a length and a code
_NEWEST = 2  # minor version: with keys of any length for cancelling
_ROUNDS = 3  # packets before the first real one: GSSAPI, then TLS, each once
_HANDSHAKE = b"\x16"  # what TLS begins with, and no packet of PostgreSQL's does
_KEYS = range(4, 257)  # bytes of a cancel request's secret
_JOB = re.compile(r"(?:^|[\s/=])(j-[0-9a-z]{26})(?=\s|$)")
_OPTION = re.compile(r"(?:-c\s*|--)([A-Za-z_][A-Za-z0-9_]*)=((?:[^\s\\]|\\.)*)(?:\s+|$)", re.DOTALL)

SETTINGS = frozenset(
    {
        "application_name",
        "bytea_output",
        "client_encoding",
        "client_min_messages",
        "datestyle",
        "default_transaction_isolation",
        "default_transaction_read_only",
        "extra_float_digits",
        "geqo",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "intervalstyle",
        "jit",
        "lock_timeout",
        "search_path",
        "statement_timeout",
        "tcp_keepalives_idle",
        "timezone",
        "transaction_timeout",
        "work_mem",
    }
)
"""What a client may set as it connects, by itself or in `options`: nothing that decides who it is."""

_OFF = frozenset({"false", "off", "no", "0"})


@dataclass(frozen=True, slots=True)
class Cancel:
    """A request to end what a connection is doing."""

    process: int
    secret: bytes


@dataclass(frozen=True, slots=True)
class Startup:
    """Where a client wants to go. `settings`: to be passed on; `minor`: of protocol 3; `job`: the run it names."""

    role: str
    database: str
    settings: Mapping[str, str]
    minor: int
    job: str


class Caller:
    """A client that has connected and said nothing yet.

    `tls`: `None` where there is none to be had; `near`: whether it comes from this machine; `within`: seconds for a
    handshake. The methods raise `Failure`, `OSError`, `TimeoutError` and `IncompleteReadError`.
    """

    def __init__(self, sock: socket.socket, tls: ssl.SSLContext | None, *, near: bool, within: float) -> None:
        self._sock = sock
        self._tls = tls
        self._near = near
        self._within = within
        self.link: Link | None = None

    async def begin(self) -> Startup | Cancel:
        """Steps 1 and 2."""
        code, body = await self._first()
        if code == protocol.CANCEL:
            return _cancel(body)
        if code >> 16 != protocol.VERSION_3 >> 16:
            raise Failure(VIOLATION, f"version {code >> 16} of the protocol is not spoken here, but version 3")
        if not self._near and not self._in_tls:
            hint = "connect with `sslmode=verify-full`"
            raise Failure(NO_PERMIT, "remit: a token is not taken without TLS", hint=hint)
        link = self.link = self.link or await accepted(self._sock, None, self._within)
        given = _parameters(body)
        unknown = tuple(name for name in given if name.startswith("_pq_."))
        minor = min(code & 0xFFFF, _NEWEST)
        if unknown or minor != code & 0xFFFF:
            await link.send(protocol.negotiate(protocol.VERSION_3 + minor, unknown))
        return _startup({name: value for name, value in given.items() if name not in unknown}, minor)

    async def token(self) -> UnverifiedToken:
        """Step 3."""
        link = self._open()
        await link.send(protocol.ASK_PASSWORD)
        kind, body = await link.message(LONGEST_TOKEN)
        if kind != ord("p"):
            raise Failure(VIOLATION, "a password was to be said next, and nothing else")
        if body[-1:] != b"\0" or b"\0" in body[:-1]:
            raise Failure(VIOLATION, "a password ends with a zero byte, and holds none")
        if len(body) == 1:
            hint = "the password is your token for Remit: `remit token remit` prints one"
            raise Failure(NO_IDENTITY, "remit: the connection carries no identity", hint=hint)
        return UnverifiedToken(body[:-1].decode("latin-1"))

    async def refuse(self, failure: Failure) -> None:
        """Says why not; whoever is gone does not hear it."""
        data = protocol.failure(failure)
        if self.link is not None:
            await self.link.send(data)
        else:
            await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def close(self) -> None:
        """Ends it; never raises."""
        if self.link is not None:
            await self.link.close()
        else:
            self._sock.close()

    @property
    def _in_tls(self) -> bool:
        return self.link is not None and self.link.writer.get_extra_info("ssl_object") is not None

    def _open(self) -> Link:
        if self.link is None:
            raise Failure(VIOLATION, "nobody has said who they are")
        return self.link

    async def _first(self) -> tuple[int, bytes]:
        """Step 1: the first real packet, by its code."""
        if await first_byte(self._sock) == _HANDSHAKE:
            await self._encrypt()
            found = self._open().writer.get_extra_info("ssl_object")
            if found.selected_alpn_protocol() != ALPN:  # it may have been made for another protocol, by another's page
                raise Failure(VIOLATION, f"whoever begins with TLS asks for `{ALPN}` in it (ALPN)")
            return self._real(*await self._packet())
        asked: set[int] = set()
        while len(asked) < _ROUNDS:
            code, body = await self._packet()
            if code not in {protocol.SSL, protocol.GSS}:
                return code, body
            if code in asked or body:
                raise Failure(VIOLATION, "encryption was asked for in no way that the protocol knows")
            asked.add(code)
            if code == protocol.SSL and self._tls:
                await asyncio.get_running_loop().sock_sendall(self._sock, b"S")
                await self._encrypt()
                return self._real(*await self._packet())
            await asyncio.get_running_loop().sock_sendall(self._sock, b"N")
        raise Failure(VIOLATION, "encryption was asked for too often")

    async def _encrypt(self) -> None:
        if self._tls is None:
            raise Failure(NO_PERMIT, "this door has no TLS")
        self.link = await accepted(self._sock, self._tls, self._within)

    async def _packet(self) -> tuple[int, bytes]:
        """The next packet without a type: nothing is read beyond its end."""
        head = await self._read(_HEAD)
        length, code = int.from_bytes(head[:4]), int.from_bytes(head[4:])
        if not _HEAD <= length <= LONGEST_PACKET:
            raise Failure(VIOLATION, "this is not how a connection to PostgreSQL begins")
        return code, await self._read(length - _HEAD)

    async def _read(self, size: int) -> bytes:
        if self.link is not None:
            return await self.link.reader.readexactly(size)
        return await exactly(self._sock, size)

    @staticmethod
    def _real(code: int, body: bytes) -> tuple[int, bytes]:
        if code in {protocol.SSL, protocol.GSS}:
            raise Failure(VIOLATION, "encryption was asked for within encryption")
        return code, body


def _cancel(body: bytes) -> Cancel:
    if len(body) - 4 not in _KEYS:
        raise Failure(VIOLATION, "a request to cancel has a number and a secret")
    return Cancel(int.from_bytes(body[:4]), body[4:])


def _parameters(body: bytes) -> dict[str, str]:
    """Names and values, each name once; the whole packet is read, or none of it counts."""
    *parts, end, rest = body.split(b"\0") if body.endswith(b"\0") else (b"", b"x", b"x")
    if end or rest or len(parts) % 2 or not all(parts[::2]):
        raise Failure(VIOLATION, "the first packet does not hold names and values")
    try:
        pairs = [part.decode() for part in parts]
    except UnicodeDecodeError:
        raise Failure(VIOLATION, "the first packet holds what is not UTF-8") from None
    names = [name if name.startswith("_pq_.") else name.lower() for name in pairs[::2]]
    if len(set(names)) != len(names):
        raise Failure(VIOLATION, "the first packet names a setting twice")
    return dict(zip(names, pairs[1::2], strict=True))


def _startup(given: dict[str, str], minor: int) -> Startup:
    """Step 2; raises `Failure` for what is not on the list."""
    role = given.pop("user", "")
    database = given.pop("database", role)
    if not role:
        raise Failure(NO_PERMIT, "remit: the connection names no role", hint="say which one: `user=ROLE`")
    if given.pop("replication", "off").lower() not in _OFF:
        raise Failure(NO_PERMIT, "remit: replication does not pass this door")
    for name in (*given, *_optional(given.get("options", ""))):
        if name not in SETTINGS and name != "options":
            hint = "set it once you are connected"
            raise Failure(NO_PERMIT, f"remit: `{name[:64]}` cannot be set while connecting", hint=hint)
    job = _JOB.search(given.get("application_name", ""))
    return Startup(role, database, given, minor, job[1] if job else "")


def _optional(options: str) -> list[str]:
    """The settings that `options` names; raises `Failure` for any other switch of the server's program."""
    found, at = [], 0
    while at < len(options):
        match = _OPTION.match(options, at)
        if match is None:
            raise Failure(NO_PERMIT, "remit: `options` may hold `-c NAME=VALUE` only")
        found.append(match[1].lower())
        at = match.end()
    return found
