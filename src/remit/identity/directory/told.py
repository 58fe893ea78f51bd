"""What the directory's poll has told of each account, in the database.

So that a restart, or a second arbiter, raises no epoch for what everybody knows. Two arbiters that see a change in the
same moment may both tell it, which ends nothing twice. Calls block.
"""

import contextlib
from dataclasses import dataclass

from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from remit.identity.directory.tables import links, told


@dataclass(frozen=True, slots=True)
class Standing:
    """How an account stands. `locked`: disabled or deleted; `before`: what is older has ended, epoch seconds.

    `sure`: false when whoever was telling it may have died of it, and it has to be told again.
    """

    locked: bool = False
    before: int = 0
    sure: bool = True


class Told:
    """The table `told`. Every method raises `SQLAlchemyError` when the database fails.

    `reader`, `writer`: engines on the same database, which may be one and the same.
    """

    def __init__(self, reader: Engine, writer: Engine) -> None:
        self._reader = reader
        self._writer = writer

    def of(self, tenant: str) -> dict[str, Standing]:
        """By `Principal.key`, every account of the tenant of which something was told."""
        rows = select(told).where(told.c.subject.startswith(f"{tenant}/", autoescape=True))
        with self._reader.connect() as connection:
            return {row.subject: Standing(row.locked, row.before, row.sure) for row in connection.execute(rows)}

    def put(self, subject: str, standing: Standing) -> None:
        """Keeps what was told of one account."""
        values = {"locked": standing.locked, "before": standing.before, "sure": standing.sure}
        change = update(told).where(told.c.subject == subject).values(**values)
        with self._writer.begin() as connection:
            if connection.execute(change).rowcount:
                return
        try:
            with self._writer.begin() as connection:
                connection.execute(insert(told).values(subject=subject, **values))
        except IntegrityError:  # another arbiter was faster
            with self._writer.begin() as connection:
                connection.execute(change)

    def link(self, tenant: str, collection: str) -> str:
        """From where on the changes of a collection were not told; empty when none ever were."""
        wanted = select(links.c.link).where(links.c.tenant == tenant, links.c.collection == collection)
        with self._reader.connect() as connection:
            return connection.execute(wanted).scalar() or ""

    def keep_link(self, tenant: str, collection: str, link: str) -> None:
        """Keeps that everything before it was told."""
        change = update(links).where(links.c.tenant == tenant, links.c.collection == collection).values(link=link)
        with self._writer.begin() as connection:
            if connection.execute(change).rowcount:
                return
        with contextlib.suppress(IntegrityError), self._writer.begin() as connection:  # another arbiter's is as good
            connection.execute(insert(links).values(tenant=tenant, collection=collection, link=link))

    def forget(self, tenant: str, horizon: int) -> None:
        """Drops accounts that are not locked, and of which nothing ended since `horizon`, epoch seconds."""
        old = delete(told).where(
            told.c.subject.startswith(f"{tenant}/", autoescape=True),
            told.c.sure,
            ~told.c.locked,
            told.c.before < horizon,
        )
        with self._writer.begin() as connection:
            connection.execute(old)
