"""What may happen once happens once, whichever process sees it first, and also after a restart.

SAML assertions (SAML profiles 4.1.4.5), Security Event Tokens (RFC 8417 section 2.2) and logout tokens (OpenID Connect
Back-Channel Logout 2.6) are names in one table; the primary key decides who was first. Only a digest of a name is
kept. Leaves out: until when a name matters (its reader knows), waiting in the background (a call blocks: ask from a
thread).
"""

import hashlib
import logging

from sqlalchemy import BigInteger, Column, Engine, MetaData, String, Table, delete, insert
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from remit.model.errors import Refused
from remit.model.reasons import Reason

CLEAR_EVERY = 60  # seconds between two looks for rows that nobody needs
GRACE = 300  # seconds that a row outlives its end: arbiters' clocks may differ

metadata = MetaData()

STEPS: tuple[tuple[str, ...], ...] = ()
"""Statements from each version of this table to the next (`remit.state.schema.migrate`)."""

seen = Table(
    "replay_seen",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("until", BigInteger, nullable=False, index=True),
)
"""`kind`: whose name it is (`saml`, `set`, `logout`); `name`: its SHA-256 in hex; `until`: epoch seconds."""

log = logging.getLogger(__name__)


class Replay:
    """The names that were seen, in the database that all arbiters share."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cleared_at: int | None = None

    def first(self, kind: str, name: str, until: int, now: int) -> bool:
        """True for exactly one caller, false for every other one; durable before it returns.

        `until`: when the thing named would be refused anyway, epoch seconds, as `now`. Raises `Refused`:
        `TOKEN_EXPIRED` for what has ended already, `PLANE_UNAVAILABLE` when the database does not answer.
        """
        if until <= now:
            raise Refused(Reason.TOKEN_EXPIRED)
        row = {"kind": kind, "name": hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest(), "until": until}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(seen).values(row))
        except IntegrityError:
            return False
        except SQLAlchemyError as error:
            log.warning("what was seen before is not known: %s", type(error).__name__)
            raise Refused(Reason.PLANE_UNAVAILABLE, hint="try again soon") from None
        self._clear(now)
        return True

    def _clear(self, now: int) -> None:
        """Now and then; in a transaction of its own, so that two who clear at once cost nobody an answer."""
        if self._cleared_at is not None and 0 <= now - self._cleared_at < CLEAR_EVERY:
            return
        self._cleared_at = now
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(seen).where(seen.c.until < now - GRACE))
        except SQLAlchemyError as error:
            log.warning("what was seen long ago is not cleared: %s", type(error).__name__)
