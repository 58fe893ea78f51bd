"""Tokens as passwords of databases: a fresh one for each connection that is opened.

A database looks at a token when somebody logs in, and never again: a connection outlives its token, and a pool that
opens another an hour later needs another. Which token: `remit` for a database behind Remit's own door, and
`postgresql://PROJECT` or `sql://PROJECT` for Azure's own addresses. It is said each time, since a token that is sent to
the wrong server is somebody else's then.

For PostgreSQL the token crosses as it is (AuthenticationCleartextPassword), so that a server away from this machine
has to prove itself first: `sslmode=verify-full` where nothing is said, and a weaker one is refused. So it is for Azure
SQL where the connection string is seen here (`attach`): `Encrypt=yes`.
Sources: libpq's `libpq-connect` (sslmode, sslrootcert=system), learn.microsoft.com/azure/postgresql (Entra
authentication), learn.microsoft.com/sql/connect/odbc/using-azure-active-directory (SQL_COPT_SS_ACCESS_TOKEN).
"""

import os
import re
import struct
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from remit.model.errors import RemitError
from remit.sdk.ambient import Ambient
from remit.sdk.resources import Resource, parse, project_of
from remit.sdk.tokens import Tokens

if TYPE_CHECKING:
    from remit.sdk.credential import Credential

_ACCESS_TOKEN = 1256  # SQL_COPT_SS_ACCESS_TOKEN (msodbcsql.h)
_TRUSTED = ";Trusted_Connection=Yes"  # what SQLAlchemy adds where there is no user, and what a token excludes
_TLS = re.compile(r"(?:^|;)\s*(encrypt|trustservercertificate)\s*=([^;]*)", re.IGNORECASE)
_ENCRYPTS = frozenset({"yes", "true", "mandatory", "strict"})
_NO = frozenset({"no", "false"})
_NAME_ROOM = 32  # characters: PostgreSQL keeps 63 of a name, and a run's id is 28 of them
_PROVEN = frozenset({"verify-ca", "verify-full"})
_LOCAL = ("/", "@")  # a Unix socket's folder, an abstract one
_LOOPBACK = frozenset({"", "localhost", "127.0.0.1", "::1"})  # libpq's own default is a socket
_LIBPQ = frozenset({"psycopg", "psycopg_async", "psycopg2"})

_tokens = Tokens(Ambient().ask)


def password(resource: str) -> str:
    """A token for `remit`, `postgresql://PROJECT` or `sql://PROJECT`, good for five minutes at least where it can be.

    It is a secret, and a `str` since drivers want one. Raises `Refused` and other `RemitError`s.
    """
    return _tokens.get(_resource(resource)).token.reveal()


def connect_arguments(conninfo: str = "", *, resource: str, **arguments: Any) -> dict[str, Any]:
    """What libpq and psycopg are to be told, a fresh password among it; `arguments` as theirs.

    `ConnectionPool(kwargs=lambda: connect_arguments("host=… dbname=… user=…", resource="remit"))` renews by itself.
    Raises `RemitError` where the token would cross a network to a server that proves nothing.
    """
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - a driver that not every job has

    found: dict[str, Any] = {**conninfo_to_dict(conninfo), **arguments}
    _protect(found, os.environ)
    _name(found, os.environ)
    found["password"] = password(resource)
    return found


def attach(engine: Any, resource: str) -> None:
    """Lets an SQLAlchemy engine, or an asynchronous one, log in with a fresh token each time that it connects.

    For psycopg, psycopg2 and pyodbc. Make the engine with `pool_pre_ping=True`: what the server has closed is then
    opened again with a new token. Raises `RemitError` for another driver.
    """
    from sqlalchemy import event  # noqa: PLC0415 - not every job has it

    wanted = _resource(resource)
    engine = getattr(engine, "sync_engine", engine)
    if engine.dialect.driver not in _LIBPQ | {"pyodbc"}:
        raise RemitError(f"tokens for the driver `{engine.dialect.driver}` are not known here", hint="use psycopg")

    def log_in(dialect: Any, _record: object, positional: list[Any], named: MutableMapping[str, Any]) -> None:
        if dialect.driver in _LIBPQ:
            _protect(named, os.environ)
            _name(named, os.environ)
            named["password"] = _tokens.get(wanted).token.reveal()
            return
        positional[:] = [_encrypted(text.replace(_TRUSTED, "")) for text in positional]
        token = _attributes(_tokens.get(wanted).token.reveal())
        named["attrs_before"] = {**named.get("attrs_before", {}), **token}

    event.listen(engine, "do_connect", log_in)


def mssql_attributes(resource: str) -> dict[int, bytes]:
    """`attrs_before` of `pyodbc.connect` for Azure SQL: a fresh token in the form of Microsoft's driver.

    The connection string then names no user, no password, no `Trusted_Connection` and no `Authentication`.
    """
    return _attributes(password(resource))


def token_provider(resource: str) -> "Credential":
    """What mssql-python takes as `token_provider`: it asks for a token of Azure SQL's each time that it connects."""
    from remit.sdk.credential import Credential  # noqa: PLC0415 - azure-core

    return Credential(_resource(resource).project or None)


def _attributes(token: str) -> dict[int, bytes]:
    """ACCESSTOKEN: its length in bytes, then UTF-16 without a mark (msodbcsql.h)."""
    encoded = token.encode("utf-16-le")
    return {_ACCESS_TOKEN: struct.pack(f"<I{len(encoded)}s", len(encoded), encoded)}


def _resource(text: str) -> Resource:
    found = parse(text)
    if found.project:
        project_of(found.project, os.environ)  # a run has no tokens for another project
    return found


def _protect(arguments: MutableMapping[str, Any], environment: Mapping[str, str]) -> None:
    """Demands that a server away from this machine proves itself before it is sent a token."""
    if _local(arguments, environment):
        return
    mode = str(arguments.get("sslmode") or environment.get("PGSSLMODE") or "verify-full")
    if mode not in _PROVEN:
        message = f"with `sslmode={mode}` whoever sits between could take the token that is sent as the password"
        raise RemitError(message, hint="use `sslmode=verify-full`")
    arguments["sslmode"] = mode
    own = Path("~/.postgresql/root.crt").expanduser()
    if not (arguments.get("sslrootcert") or environment.get("PGSSLROOTCERT") or own.exists()):
        arguments["sslrootcert"] = "system"


def _encrypted(text: str) -> str:
    """The connection string, with TLS to a server that has proved itself: older drivers (17) do without when unsaid."""
    said = [(name.lower(), value.strip().lower()) for name, value in _TLS.findall(text)]  # drivers take the first
    if any(value not in (_ENCRYPTS if name == "encrypt" else _NO) for name, value in said):
        message = "with `Encrypt=no` or `TrustServerCertificate=yes` whoever sits between could take the token"
        raise RemitError(message, hint="use `Encrypt=yes`, and no `TrustServerCertificate`")
    return text if "encrypt" in dict(said) else f"{text};Encrypt=yes"


def _name(arguments: MutableMapping[str, Any], environment: Mapping[str, str]) -> None:
    """Adds the run to a name that the program gives the connection; without one libpq takes `PGAPPNAME`."""
    name, job = str(arguments.get("application_name") or ""), environment.get("REMIT_JOB", "")
    if name and job and job not in name:
        arguments["application_name"] = f"{name[:_NAME_ROOM]} {job}"


def _local(arguments: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
    """Whether every server that may be meant is on this machine. A service's file may name any."""
    if arguments.get("service") or environment.get("PGSERVICE"):
        return False
    said = (
        arguments.get("hostaddr")
        or environment.get("PGHOSTADDR")
        or arguments.get("host")
        or environment.get("PGHOST", "")
    )
    return all(place in _LOOPBACK or place.startswith(_LOCAL) for place in str(said).split(","))
