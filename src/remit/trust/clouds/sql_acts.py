"""Giving and taking in a session at a PostgreSQL database, looked at before it is committed.

PostgreSQL only warns whoever gives or takes what is not his, so that nothing is believed before it is read again. What
somebody else gave is taken as he would take it. Sources: postgresql.org/docs/17/sql-revoke.html (notes),
/sql-grant.html; learn.microsoft.com/azure/postgresql, "Manage Microsoft Entra roles".
"""

from typing import TYPE_CHECKING

from psycopg.sql import Composable

from remit.trust.clouds import sql_reading as reading
from remit.trust.clouds import sql_statements as said
from remit.trust.clouds.port import CloudRefused, Denied
from remit.trust.clouds.sql_names import OWNER, PUBLIC, Place, place
from remit.trust.clouds.sql_reading import Held, found_grant
from remit.trust.desired.sql import CONNECT
from remit.trust.settings import DatabaseRoles
from remit.trust.things import Address, Fields, Found, Thing, Value

if TYPE_CHECKING:
    from remit.trust.clouds.sql_login import Session

_ENTRAS = "SELECT pg_catalog.pgaadauth_create_principal_with_oid(%s, %s, 'service', false, false)"
_SIGNATURE = "SELECT pg_catalog.to_regprocedure(%s)::text"
_GRANTORS = """
SELECT pg_catalog.pg_get_userbyid(m.grantor)::text FROM pg_catalog.pg_auth_members m
 WHERE m.member = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %s)
   AND m.roleid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %s)
"""
_GRANTED_BY = 160000  # the version from which a membership is its grantor's


async def give(opened: "Session", one: DatabaseRoles, thing: Thing) -> Found:
    """A grant as it is wanted: given where it is not there, and to be given on or not."""
    where, role, privilege = _grant(thing.fields)
    wanted = bool(thing.fields.get("grantable"))
    there = await _now(opened, where, role, privilege)
    if there is None or (wanted and not there.grantable):
        target = await _target(opened, one, where)
        if privilege == OWNER:
            await opened.execute(said.owned_by(where, target, role))
        else:
            await opened.execute(said.grant(where, target, role, privilege, grantable=wanted))
    elif there.grantable and not wanted:
        await _revoke(opened, one, there, option=True)
    there = await _now(opened, where, role, privilege)
    if there is None or there.grantable is not wanted:
        raise _undone(one, f"`{privilege}` on `{where}` is not given to `{role}` as it should be")
    return found_grant(one, there)


async def take(opened: "Session", one: DatabaseRoles, found: Found) -> None:
    """A grant, where it is there. What somebody owned, whoever is logged in owns instead."""
    where, role, privilege = _grant(found.fields)
    there = await _now(opened, where, role, privilege)
    if there is None:
        return
    if privilege == OWNER:
        await _disown(opened, one, where, role)
    else:
        await _revoke(opened, one, there, option=False)
    if await _now(opened, where, role, privilege):
        raise _undone(one, f"`{privilege}` on `{where}` is not taken from `{role}`")


async def make_role(opened: "Session", one: DatabaseRoles, thing: Thing) -> Found:
    """A role that is not there; one that is there must be the same."""
    role = _role(thing.address)
    found = await reading.read_roles(opened, one, [role])
    if found and (differs := _differing(found[0].fields, thing.fields)):
        message = f"the role `{role}` of `{one.name}` is there, with other {' and '.join(sorted(differs))}"
        raise CloudRefused(message, hint="plan again: somebody made it meanwhile")
    if found:
        return found[0]
    if one.clients:
        await opened.execute(_ENTRAS, (role, _principal(one, role, thing.fields)))
    else:
        await opened.execute(said.create_role(role))
    return await change_role(opened, one, thing)


async def change_role(opened: "Session", one: DatabaseRoles, thing: Thing) -> Found:
    """Only what differs: who may change one attribute may not even name another."""
    role = _role(thing.address)
    now = await reading.read_roles(opened, one, [role])
    if not now:
        raise CloudRefused(f"the role `{role}` of `{one.name}` is not there", hint="plan again")
    differs = _differing(now[0].fields, thing.fields)
    if (statement := said.alter_role(role, {name: thing.fields.get(name) for name in differs})) is not None:
        await opened.execute(statement)
    if "memberships" in differs:
        before, after = _names(now[0].fields.get("memberships")), _names(thing.fields.get("memberships"))
        for group in sorted(before - after):
            await _leave(opened, group, role)
        for group in sorted(after - before):
            await opened.execute(said.join(group, role))
    if "principal" in differs:
        await opened.execute(said.label_role(role, str(thing.fields.get("principal") or "")))
    now = await reading.read_roles(opened, one, [role])
    # a password cannot be given back, and nobody says that it was
    if left := _differing(now[0].fields, thing.fields) - {"password"}:
        raise _undone(one, f"{' and '.join(sorted(left))} of `{role}` did not change")
    return now[0]


async def drop_role(opened: "Session", one: DatabaseRoles, found: Found) -> None:
    """Ends a role that owns nothing and holds nothing."""
    role = _role(found.address)
    if await reading.read_roles(opened, one, [role]):
        await opened.execute(said.drop_role(role))


async def _now(opened: "Session", where: Place, role: str, privilege: str) -> Held | None:
    """A privilege as it is there."""
    roles = [] if role == PUBLIC else [role]
    same = (each for each in await reading.held(opened, roles) if (each.role, each.privilege) == (role, privilege))
    return next((each for each in same if each.place == where), None)


async def _target(opened: "Session", one: DatabaseRoles, where: Place) -> Composable:
    signature = ""
    if where.kind == "functions":
        row = await (await opened.execute(_SIGNATURE, where.parts)).fetchone()
        signature = str(row[0]) if row and row[0] else ""
    return said.named(where, one.database, signature)


async def _revoke(opened: "Session", one: DatabaseRoles, there: Held, *, option: bool) -> None:
    """As whoever is logged in, and where that was not enough as each who gave it."""
    target = await _target(opened, one, there.place)
    statement = said.revoke(there.place, target, there.role, there.privilege, option=option)
    await opened.execute(statement)
    left = await _now(opened, there.place, there.role, there.privilege)
    if left is None or (option and not left.grantable):
        return
    for grantor in left.grantors:
        await opened.execute(said.become(grantor))
        await opened.execute(statement)
        await opened.execute(b"RESET ROLE")


async def _disown(opened: "Session", one: DatabaseRoles, where: Place, role: str) -> None:
    """What the file gives the role there it keeps, which it had by owning."""
    target = await _target(opened, one, where)
    await opened.execute(said.owned_by(where, target, None))
    given = one.grants.get(role, {}).get(str(where), ())
    for privilege in (*given, *((CONNECT,) if where.kind == "database" else ())):
        await opened.execute(said.grant(where, target, role, privilege))


async def _leave(opened: "Session", group: str, role: str) -> None:
    grantors = [""]
    if opened.info.server_version >= _GRANTED_BY:
        rows = await (await opened.execute(_GRANTORS, (role, group.removesuffix(reading.ADMIN)))).fetchall()
        grantors = [row[0] for row in rows]
    for grantor in grantors:
        await opened.execute(said.leave(group, role, grantor))


def _principal(one: DatabaseRoles, role: str, fields: Fields) -> str:
    principal = fields.get("principal")
    if not principal:
        message = f"whose the role `{role}` of `{one.name}` is, remit.yaml does not say: it has several applications"
        raise CloudRefused(message, hint="`remit trust plan --out sql` prints the statements: choose among them")
    return str(principal)


def _undone(one: DatabaseRoles, told: str) -> Denied:
    hint = f"is it for `{one.administrator}` to give and to take?"
    return Denied(f"the database `{one.name}` did not do it: {told}", hint=hint)


def _role(address: Address) -> str:
    return address.name.partition("/")[2]


def _grant(fields: Fields) -> tuple[Place, str, str]:
    return place(str(fields["object"])), str(fields["role"]), str(fields["privilege"])


def _differing(now: Fields, wanted: Fields) -> set[str]:
    return {name for name in {*now, *wanted} if (now.get(name) or None) != (wanted.get(name) or None)}


def _names(value: Value) -> set[str]:
    return set(map(str, value)) if isinstance(value, tuple) else set()
