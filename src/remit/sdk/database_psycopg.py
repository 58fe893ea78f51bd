"""A psycopg connection whose password is a token of Remit's, fresh each time that one is opened."""

from typing import Any, Self

import psycopg

from remit.sdk.database import connect_arguments


class Connection(psycopg.Connection[Any]):
    """As psycopg's own, and `ConnectionPool(…, connection_class=Connection, kwargs={"resource": "remit"})` takes it."""

    @classmethod
    def connect(cls, conninfo: str = "", *, resource: str = "", **arguments: Any) -> Self:  # type: ignore[override]  # one argument more
        """Connects; `resource`: whose token it is, as in `password`, and `arguments` as psycopg's."""
        return super().connect(**connect_arguments(conninfo, resource=resource, **arguments))
