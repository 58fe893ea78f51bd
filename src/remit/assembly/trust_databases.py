"""Databases in the trust: entered as Remit enters them, to read what they hold and to prove that a role is let in."""

import asyncio
import contextlib
import datetime as dt
import os
from collections.abc import AsyncIterator, Mapping

from remit.assembly import rooms
from remit.assembly.trust import PROBE
from remit.credentials.azure_federation import SCOPES
from remit.credentials.database_certificate import DatabaseCertificates
from remit.credentials.settings import AzureLine
from remit.model.errors import TrustBroken
from remit.model.secret import AccessToken
from remit.settings.read import Settings
from remit.sql.ports import Admission
from remit.sql.protocol import Failure
from remit.sql.settings import Target
from remit.sql.upstream import log_in
from remit.trust.clouds.port import NotSetUp
from remit.trust.clouds.sql_login import address
from remit.trust.settings import DatabaseRoles

_SERVICE = "postgresql"
_WITHIN = 15.0  # seconds for a login
_NO_DOOR = (
    "write where Remit's door listens, as `gateway: {databases: 127.0.0.1:5433}`, start `remit serve`, and give the "
    "database `ca.pem` of the folder `databases` in `state.folder` (docs/databases.md); the administrator can look "
    "before: `--as self`"
)
_HINT = (
    "ask where `remit serve` runs, whose first start with `gateway.databases` makes what it takes; "
    "or as the administrator: `--as self`"
)


class AsDoor:
    """Databases as Remit's own roles enter them, to look: catalogues are everybody's to read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @contextlib.asynccontextmanager
    async def __call__(self, one: DatabaseRoles) -> AsyncIterator[Mapping[str, str]]:
        """As the first role; raises `TrustBroken` where this machine has not what it takes, `NotSetUp` where none."""
        role = one.roles[0]
        async with rooms.open_hops(self._settings) as hops:
            secret = await _secret(self._settings, hops, one, role)
        if secret is None and self._settings.sql is None and not one.clients:
            said = f"the database `{one.name}` is not set up: remit.yaml has no `gateway.databases`"
            raise NotSetUp(said, hint=_NO_DOOR)
        if secret is None:
            raise TrustBroken(f"this machine cannot log in to the database `{one.name}` as Remit does", hint=_HINT)
        if one.clients:
            yield {"user": role, "password": secret.reveal(), "require_auth": "password"}
            return
        # libpq reads files only: this one is in memory, and nobody else's; and it says nothing else to the server
        held = os.memfd_create("remit", os.MFD_CLOEXEC)
        try:
            os.fchmod(held, 0o600)
            os.write(held, secret.reveal().encode())
            place = f"/proc/self/fd/{held}"
            yield {"user": role, "sslcert": place, "sslkey": place, "require_auth": "none"}
        finally:
            os.close(held)


async def entered(settings: Settings, hops: rooms.Hops, database: str, role: str) -> bool:
    """Logs in as a role in the way of the door, and out again; false where this machine has not what it takes.

    Raises `HopFailed`, and `TrustBroken` when the database refuses.
    """
    one = next(each for each in settings.trust.databases if each.name == database)
    secret = await _secret(settings, hops, one, role)
    if secret is None:
        return False
    roots = settings.file.parent / one.roots if one.roots else None
    target = Target(one.name, *address(one), one.database, roots)
    given = Admission(PROBE, PROBE, secret, certificate=not one.clients, until=0)
    try:
        upstream = await log_in(target, role, {"application_name": PROBE}, given, _WITHIN)
    except Failure as failure:
        raise TrustBroken(failure.message, hint=failure.hint) from None
    await upstream.link.close()
    return True


async def _secret(settings: Settings, hops: rooms.Hops, one: DatabaseRoles, role: str) -> AccessToken | None:
    """A certificate or a token for a role, `None` where only another machine can make one."""
    if one.clients:
        line = _line(settings, one)
        return (await hops.azure.token(line, SCOPES[_SERVICE])).value if hops.azure and line else None
    folder = settings.database_authority
    if not await asyncio.to_thread((folder / "ca.key").exists):  # another machine's authority is not made here
        return None
    certificates = DatabaseCertificates(folder, lambda: dt.datetime.now(dt.UTC))
    return (await asyncio.to_thread(certificates.make, role, PROBE))[0]


def _line(settings: Settings, one: DatabaseRoles) -> AzureLine | None:
    lines = (line for line in settings.credentials.azure if one.name in line.databases and _SERVICE in line.services)
    return next((line for line in lines if line.project == one.project), None)
