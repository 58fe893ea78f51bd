"""PostgreSQL, of which the trust wants roles and what they may do in one database each, down to schemas and tables.

Each step is a transaction of its own, and is looked at before it is committed: PostgreSQL only warns whoever gives or
takes what is not his to give. What is there already is answered, what is gone is not taken. What somebody else gave is
taken as he would. Leaves out making schemas and tables, and databases that `trust.databases` does not name. Sources:
postgresql.org/docs/17/ddl-priv.html, /sql-revoke.html (notes); learn.microsoft.com/azure/postgresql,
"Manage Microsoft Entra roles".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from remit.trust.clouds import sql_reading as reading
from remit.trust.clouds.port import CloudRefused
from remit.trust.clouds.sql_login import Login, session
from remit.trust.clouds.sql_names import PUBLIC
from remit.trust.clouds.sql_reading import Held, found_grant
from remit.trust.desired.sql import CONNECT
from remit.trust.settings import DatabaseRoles, TrustSettings
from remit.trust.things import Address, Fields, Found, Thing

NEEDS: Mapping[str, str] = {
    "trust.databases.DATABASE.administrator": (
        "a role that may make roles, and give on what remit.yaml lets them do: it owns the objects, is a member of who "
        "does, or is a superuser"
    ),
}
"""What → why: `apply`."""
READS: Mapping[str, str] = {
    "trust.databases.DATABASE.administrator": (
        "any login will do: catalogues are everybody's to read; whether roles have passwords only a superuser sees"
    ),
}
"""The same, for `plan`, `verify` and `drift`."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one database holds.

    `held`: all that reaches a role; `member`: role → all that it is a member of; `finds`: role → schemas that it may
    look into, by whatever way.
    """

    roles: tuple[Found, ...]
    objects: frozenset[str]
    held: tuple[Held, ...]
    member: Mapping[str, frozenset[str]]
    finds: Mapping[str, frozenset[str]]


class Databases:
    """PostgreSQL's databases. `folder`: of remit.yaml; `login`: as whom each is asked."""

    name = "sql"

    def __init__(self, settings: TrustSettings, folder: Path, login: Login) -> None:
        self._databases = {one.name: one for one in settings.databases if one.administrator}
        self._folder = folder
        self._login = login

    async def look(self, one: DatabaseRoles) -> Look:
        """All of one database; raises `TrustBroken`."""
        objects = {on for given in one.grants.values() for on in given} - {"database"}
        async with session(one, self._folder, self._login) as opened, opened.transaction():
            return Look(
                roles=await reading.read_roles(opened, one, one.roles),
                objects=await reading.read_objects(opened, sorted(objects)),
                held=await reading.held(opened, one.roles),
                member=await reading.memberships(opened, one.roles),
                finds=await reading.schemas(opened, one.roles),
            )

    async def read(self, wanted: Sequence[Thing]) -> tuple[Found, ...]:
        """Roles and objects of the file, and whatever the roles may do beside what it says."""
        del wanted  # the file's own words say it
        found: list[Found] = []
        for one in self._databases.values():
            seen = await self.look(one)
            found += seen.roles
            found += (Found(Address("sql.object", f"{one.name}/{on}"), {}) for on in sorted(seen.objects))
            found += (found_grant(one, each) for each in seen.held if told(one, each))
        return tuple(found)

    async def make(self, thing: Thing) -> Found:
        """A role, or a grant; what is there already and is the same is answered."""
        one = self._database(thing.address, thing.fields)
        role = thing.address.kind == "sql.role"
        # Azure makes roles of applications from one database of its own
        async with session(one, self._folder, self._login, "postgres" if role and one.clients else "") as opened:
            from remit.trust.clouds import sql_acts  # noqa: PLC0415 - psycopg, a fifth of a second

            async with opened.transaction():
                return await (sql_acts.make_role if role else sql_acts.give)(opened, one, thing)

    async def change(self, thing: Thing, found: Found) -> Found:
        """A role's attributes, memberships and principal, those that differ; or whether a grant can be given on."""
        del found  # what is there now counts
        one = self._database(thing.address, thing.fields)
        async with session(one, self._folder, self._login) as opened:
            from remit.trust.clouds import sql_acts  # noqa: PLC0415 - psycopg, a fifth of a second

            role = thing.address.kind == "sql.role"
            async with opened.transaction():
                return await (sql_acts.change_role if role else sql_acts.give)(opened, one, thing)

    async def remove(self, found: Found) -> None:
        """Take a grant, or end a role that holds nothing any more; nothing happens when it is not there."""
        one = self._database(found.address, found.fields)
        async with session(one, self._folder, self._login) as opened:
            from remit.trust.clouds import sql_acts  # noqa: PLC0415 - psycopg, a fifth of a second

            role = found.address.kind == "sql.role"
            async with opened.transaction():
                await (sql_acts.drop_role if role else sql_acts.take)(opened, one, found)

    def _database(self, address: Address, fields: Fields) -> DatabaseRoles:
        name = address.name.partition("/")[0] if address.kind == "sql.role" else str(fields.get("database"))
        if name not in self._databases:
            raise CloudRefused(f"`trust.databases` does not name `{name}`", hint="plan again")
        return self._databases[name]


def told(one: DatabaseRoles, each: Held) -> bool:
    """Whether a privilege is a line of its own in a plan.

    What a membership brings goes with it, and is none; nor what everybody has, when every role is to have it; nor what
    an owner has by owning, unless it is wanted.
    """
    if each.role == PUBLIC:
        return not all(wants(one, role, each) for role in one.roles)
    if each.role not in one.roles:
        return False
    return not each.owned or wants(one, each.role, each)


def wants(one: DatabaseRoles, role: str, each: Held) -> bool:
    """Whether remit.yaml gives a privilege to a role."""
    on = str(each.place)
    return each.privilege in one.grants.get(role, {}).get(on, ()) or (on, each.privilege) == ("database", CONNECT)
