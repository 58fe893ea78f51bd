"""The database's end: reached over TLS that is checked in full, and logged in to as the role that was decided.

With a certificate of Remit's own (`hostssl … cert`), or with a token as password, which is said over TLS only and to a
server that asks for just that. Without TLS only a database on this very machine is talked to. What a server says on its
way to refusing may quote what it was given: it is repeated without. Leaves out SCRAM and every other method.
"""

import asyncio
import contextlib
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from remit.model.secret import Secret
from remit.sql import protocol
from remit.sql.link import Link, opened, watched
from remit.sql.ports import Admission
from remit.sql.protocol import NOT_NOW, UNREACHABLE, Failure
from remit.sql.settings import Target

_LONGEST = 64 << 10  # bytes of one message while a login is going on
_MOST = 200  # messages of it: a server tells some fifteen settings
_PASSED_ON = frozenset(b"SN")
_CODE = re.compile(r"[0-9A-Z]{5}")
_SHOWN = 300  # characters of what a server said
_TELLING = 8  # characters of a part of a secret that must not be repeated
_OK, _CLEARTEXT = 0, 3


@dataclass(slots=True)
class Upstream:
    """A database's end, logged in. `greeting`: settings and notices for the client, as they came; `key`: to cancel."""

    link: Link
    target: Target
    greeting: bytes = b""
    process: int = 0
    key: bytes = b""


async def log_in(target: Target, role: str, settings: Mapping[str, str], given: Admission, within: float) -> Upstream:
    """A connection of a role's; raises `Failure`."""
    try:
        async with asyncio.timeout(within):
            return await _log_in(target, role, settings, given, within)
    except TimeoutError:
        message = f"remit: the database `{target.name}` did not answer within {within:g} s"
        raise Failure(UNREACHABLE, f"{message} (decision {given.decision})") from None
    except asyncio.IncompleteReadError:
        message = f"remit: the database `{target.name}` hung up while it was logged in to"
        raise Failure(UNREACHABLE, f"{message} (decision {given.decision})") from None
    except Failure as failure:
        raise Failure(failure.code, f"{failure.message} (decision {given.decision})", hint=failure.hint) from None


async def cancel(upstream: Upstream, within: float) -> None:
    """Ends what a connection is doing, if it is doing anything; never raises: who cannot be asked goes on."""
    with contextlib.suppress(OSError, TimeoutError, Failure):
        async with asyncio.timeout(within):
            link = await _reach(upstream.target, None, within)
            try:
                await link.send(protocol.cancellation(upstream.process, upstream.key))
                await link.reader.read(1)  # the server hangs up when it has passed it on
            finally:
                await link.close()


async def _log_in(target: Target, role: str, settings: Mapping[str, str], given: Admission, within: float) -> Upstream:
    link = await _reach(target, given.secret if given.certificate else None, within)
    upstream = Upstream(link, target)
    try:
        await link.send(protocol.startup(protocol.VERSION_3, {"user": role, "database": target.database, **settings}))
        await _authenticate(upstream, role, given)
        await _until_ready(upstream, role, given)
    except BaseException:  # nobody else would end it: a cancelled task neither
        await link.close()
        raise
    return upstream


async def _authenticate(upstream: Upstream, role: str, given: Admission) -> None:
    said = False
    while True:
        kind, body = await upstream.link.message(_LONGEST)
        asked = int.from_bytes(body[:4]) if kind == ord("R") and len(body) >= 4 else -1  # noqa: PLR2004 - one number
        if asked == _OK:
            return
        if asked == _CLEARTEXT and not given.certificate and not said:
            said = True
            await upstream.link.send(protocol.message(b"p", given.secret.reveal().encode() + b"\0"))
        elif kind == ord("E"):
            raise _refused(upstream.target, role, body, given.secret)
        else:
            how = "a certificate of Remit's" if given.certificate else "a token as password"
            message = f"remit: the database `{upstream.target.name}` wants another login than {how}"
            raise Failure(UNREACHABLE, message, hint="set its `pg_hba.conf` as docs/databases.md shows")


async def _until_ready(upstream: Upstream, role: str, given: Admission) -> None:
    for _ in range(_MOST):
        kind, body = await upstream.link.message(_LONGEST)
        if kind in _PASSED_ON:
            upstream.greeting += protocol.message(bytes([kind]), body)
        elif kind == ord("K") and len(body) > 4:  # noqa: PLR2004 - one number, and a secret
            upstream.process, upstream.key = int.from_bytes(body[:4]), body[4:]
        elif kind == ord("Z"):
            return
        elif kind == ord("E"):
            raise _refused(upstream.target, role, body, given.secret)
        else:
            break
    raise Failure(UNREACHABLE, f"remit: the database `{upstream.target.name}` says what belongs to no login")


def _refused(target: Target, role: str, body: bytes, secret: Secret) -> Failure:
    """A server's own refusal, in its own words as long as they hold nothing of the secret."""
    said = protocol.fields(body)
    code = said.get("C", "")
    words = said.get("M", "")[:_SHOWN]
    told = f": {words}" if words and not _quotes(" ".join(said.values()), secret) else ""
    hint = "" if code == NOT_NOW else "Remit let you in, and the database did not: see its log and its `pg_hba.conf`"
    message = f"remit: the database `{target.name}` refused a login as `{role}`{told}"
    return Failure(code if _CODE.fullmatch(code) else UNREACHABLE, message, hint=hint)


def _quotes(text: str, secret: Secret) -> bool:
    """Whether a text holds a piece of a secret."""
    value = secret.reveal()
    return any(value[at : at + _TELLING] in text for at in range(max(1, len(value) - _TELLING + 1)))


async def _reach(target: Target, certificate: Secret | None, within: float) -> Link:
    """A link to the database, in TLS wherever it is not on this machine; raises `Failure`."""
    try:
        sock = await _connected(target)
    except OSError as error:
        message = f"remit: the database `{target.name}` cannot be reached: {error.strerror or type(error).__name__}"
        raise Failure(UNREACHABLE, message, hint=f"is `{target.host}:{target.port}` where it listens?") from None
    try:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, protocol.SSL_REQUEST)
        answer = await loop.sock_recv(sock, 1)  # not one byte more: what follows belongs to TLS
        if answer == b"S":
            return await opened(sock, _context(target, certificate), target.host, within)
        if answer == b"N" and is_loopback(target.host):
            return await opened(sock, None, target.host, within)
    except ssl.SSLCertVerificationError as error:
        sock.close()
        message = f"remit: the certificate of `{target.host}` does not hold: {error.verify_message}"
        raise Failure(UNREACHABLE, message, hint="`ca_file` names the authority that it is checked against") from None
    except OSError as error:
        sock.close()
        message = f"remit: no TLS with the database `{target.name}`: {type(error).__name__}"
        raise Failure(UNREACHABLE, message) from None
    except BaseException:
        sock.close()
        raise
    sock.close()
    message = f"remit: the database `{target.name}` speaks no TLS, and is not on this machine"
    raise Failure(UNREACHABLE, message, hint="switch `ssl` on there")


async def _connected(target: Target) -> socket.socket:
    """A socket to the first address that answers; raises `OSError`."""
    loop = asyncio.get_running_loop()
    last = OSError("no address is known")
    for family, kind, number, _, address in await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, number)
        try:
            watched(sock)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last


def _context(target: Target, certificate: Secret | None) -> ssl.SSLContext:
    """TLS that checks chain and name, and shows a certificate of ours where there is one."""
    context = ssl.create_default_context(cafile=str(target.roots) if target.roots else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        # OpenSSL reads files only: this one is in memory, and nobody else's
        held = os.memfd_create("remit", os.MFD_CLOEXEC)
        try:
            os.write(held, certificate.reveal().encode())
            context.load_cert_chain(f"/proc/self/fd/{held}")
        finally:
            os.close(held)
    return context


def is_loopback(host: str) -> bool:
    """Whether a host is this very machine by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
