"""A session at a PostgreSQL database, as whoever administers it, and PostgreSQL's refusals in the words of the port.

TLS as the door does it: chain and name are checked in full, and without TLS only this very machine is talked to. Of
libpq's own means (`PGPASSWORD`, `PGPASSFILE`, `PGSSLCERT`, `PGSERVICE`, …) those say who somebody is, and none where
to go. A database that takes tokens of Entra's gets the administrator's, where its name is one of Azure's: the token is
good for every such database, so that no other host hears it, whatever remit.yaml says. A password is proven and not
told, unless `PGREQUIREAUTH` has it so. In the session names mean what they mean to PostgreSQL itself, whatever somebody
made beside it. Sources: postgresql.org/docs/17/libpq-envars.html,
/libpq-ssl.html, /errcodes-appendix.html; learn.microsoft.com/azure/postgresql, "Microsoft Entra authentication".
"""

import asyncio
import contextlib
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from remit.trust.clouds.port import CloudRefused, Conflict, Denied, Throttled, Tokens
from remit.trust.settings import DatabaseRoles

if TYPE_CHECKING:  # a fifth of a second, and not every file names a database
    import psycopg

    Session: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]

SCOPE = "https://ossrdbms-aad.database.windows.net/.default"
"""Of the tokens that Azure Database for PostgreSQL takes as passwords."""
_AZURES = (
    ".postgres.database.azure.com",
    ".postgres.cosmos.azure.com",
    ".postgres.database.usgovcloudapi.net",
    ".postgres.database.chinacloudapi.cn",
)
"""Ends of names that only Azure gives, to databases of its own."""
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
_CONNECT = 10  # seconds
_SHOWN = 300  # characters of what a server said
_TELLING = 8  # characters of a part of a secret that must not be repeated
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_SETTINGS = (
    "SET search_path TO pg_catalog, pg_temp",
    "SET TimeZone TO 'UTC'",
    "SET jit TO off",  # compiling would take longer than what is asked
    "SET lock_timeout TO '10s'",
    "SET statement_timeout TO '60s'",
)
_BUSY = ("53", "57P03", "40001", "40P01", "55P03", "57014")
_HINT = (
    "log in as `{role}` by libpq's own means: `PGPASSWORD`, `PGPASSFILE`, `PGSERVICE`, or `PGSSLCERT` and `PGSSLKEY`"
)


class Login(Protocol):
    """As whom databases are asked."""

    def __call__(self, one: DatabaseRoles) -> AbstractAsyncContextManager[Mapping[str, str]]:
        """What libpq is told beside the address: `user`, and how it proves itself unless libpq knows; `TrustBroken`."""


class AsAdministrator:
    """Whoever runs the command, as the role that remit.yaml names. `tokens`: for databases that take Entra's."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    @contextlib.asynccontextmanager
    async def __call__(self, one: DatabaseRoles) -> AsyncIterator[Mapping[str, str]]:
        """The administrator's own login."""
        if one.clients:
            token = await self._tokens.token(SCOPE)
            yield {"user": one.administrator, "password": token.reveal(), "require_auth": "password"}
        elif "PGREQUIREAUTH" in os.environ:
            yield {"user": one.administrator}
        else:  # whoever changes an address in remit.yaml would be told the password, if the server there asked for it
            yield {"user": one.administrator, "require_auth": "!password"}


@contextlib.asynccontextmanager
async def session(one: DatabaseRoles, folder: Path, login: Login, database: str = "") -> "AsyncIterator[Session]":
    """A session in which each statement is a transaction of its own unless one is begun; raises `TrustBroken`.

    `folder`: of remit.yaml; `database`: another one of the same server.
    """
    import psycopg  # noqa: PLC0415 - see above
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - the same

    host, port = address(one)
    if one.clients and not takes_tokens(host):
        message = f"no token is sent to `{one.address}` for the database `{one.name}`: it is no host of Azure's"
        raise CloudRefused(
            message, hint=f"name it as Azure does, `SERVER{_AZURES[0]}`: a token opens other databases too"
        )
    async with login(one) as given:
        mode = await _mode(one, host, port)
        arguments = {
            "host": host,
            "hostaddr": "",  # nor what `PGHOSTADDR` says
            "port": str(port),
            "dbname": database or one.database,
            "sslmode": mode,
            "sslrootcert": str(folder / one.roots) if one.roots else _roots(),
            "gssencmode": "disable",
            "options": "",
            "client_encoding": "utf8",
            "application_name": "remit trust",
            "connect_timeout": str(_CONNECT),
            "tcp_user_timeout": "60000",  # milliseconds that nothing is heard for
            **given,
        }
        opened, secret = None, given.get("password", "")
        try:
            opened = await psycopg.AsyncConnection.connect(make_conninfo(**arguments), autocommit=True)
            for statement in _SETTINGS:
                await opened.execute(statement.encode())
        except psycopg.Error as error:
            if opened is not None:
                await opened.close()
            raise _unreached(one, given["user"], error, secret) from None
        try:
            with told(one):
                yield opened
        finally:
            await opened.close()


def address(one: DatabaseRoles) -> tuple[str, int]:
    """Host and port."""
    host, _, port = one.address.rpartition(":")
    return host.strip("[]"), int(port)


@contextlib.contextmanager
def told(one: DatabaseRoles) -> Iterator[None]:
    """PostgreSQL's errors as the port's."""
    import psycopg  # noqa: PLC0415 - see above

    try:
        yield
    except psycopg.Error as error:
        raise refusal(one, error) from None


def refusal(one: DatabaseRoles, error: "psycopg.Error") -> CloudRefused:
    """What PostgreSQL said, as the class that it belongs to."""
    code = error.sqlstate or ""
    message = f"the database `{one.name}` says: {_words(error)}"
    if code == "42501":
        return Denied(message, code=code, hint=f"is `{one.administrator}` one who may give this there?")
    if code == "42710":
        return Conflict(message, code=code)
    if code.startswith(_BUSY):
        return Throttled(message, code=code)
    hint = ""
    if code == "2BP01":
        hint = "somebody has it from this role: look whom it was given on to, and take it there first"
    return CloudRefused(message, code=code, hint=hint)


def _unreached(one: DatabaseRoles, user: str, error: "psycopg.Error", secret: str) -> CloudRefused:
    """Why nobody could log in; a server may quote what it was given."""
    code, words = error.sqlstate or "", _words(error)
    if secret and any(secret[at : at + _TELLING] in words for at in range(max(1, len(secret) - _TELLING + 1))):
        words = "it was refused"
    message = f"nobody could log in to the database `{one.name}` as `{user}`: {words}"
    if code.startswith(_BUSY):
        return Throttled(message, code=code)
    hint = "the administrator of a database that takes Entra's tokens is one of Entra's" if one.clients else ""
    kind: Callable[..., CloudRefused] = Denied if code.startswith("28") else CloudRefused
    return kind(message, code=code, hint=hint or f"{_HINT.format(role=user)}; is `{one.address}` where it listens?")


def _words(error: "psycopg.Error") -> str:
    said = error.diag.message_primary or next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return said[:_SHOWN]


async def _mode(one: DatabaseRoles, host: str, port: int) -> str:
    """TLS that is checked in full; none only at this very machine, and only where the server has none."""
    if not is_loopback(host):
        return "verify-full"
    try:
        async with asyncio.timeout(_CONNECT):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_SSL_REQUEST)
                return "verify-full" if await reader.readexactly(1) == b"S" else "disable"
            finally:
                writer.close()
    except (OSError, EOFError, TimeoutError) as error:
        message = f"the database `{one.name}` cannot be reached: {type(error).__name__}"
        raise CloudRefused(message, hint=f"is `{one.address}` where it listens?") from None


def takes_tokens(host: str) -> bool:
    """Whether a host may hear a token of Entra's: a database of Azure's, or this very machine."""
    return host.lower().endswith(_AZURES) or is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether a host is this very machine by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _roots() -> str:
    """The system's roots: libpq brings an OpenSSL of its own, which may look for them elsewhere."""
    found = ssl.get_default_verify_paths()
    named = (os.environ.get(found.openssl_cafile_env, ""), found.cafile or "", *_BUNDLES)
    return next((each for each in named if each and Path(each).is_file()), "system")
