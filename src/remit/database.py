"""`remit.database`: tokens as passwords, fresh for each connection. `Connection` brings psycopg with it, when used."""

from typing import TYPE_CHECKING

from remit.sdk.database import attach, connect_arguments, mssql_attributes, password, token_provider

if TYPE_CHECKING:
    from remit.sdk.database_psycopg import Connection

__all__ = ["Connection", "attach", "connect_arguments", "mssql_attributes", "password", "token_provider"]


def __getattr__(name: str) -> object:
    if name != "Connection":
        message = f"module `{__name__}` has no attribute `{name}`"
        raise AttributeError(message)
    from remit.sdk.database_psycopg import Connection  # noqa: PLC0415 - a driver that not every job has

    return Connection
