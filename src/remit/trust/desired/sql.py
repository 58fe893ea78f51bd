"""What PostgreSQL must hold: the roles that Remit logs in as, and what each may do in its one database.

Pure. A role may log in and nothing else: it is a member of none, and has no password. To connect is given to each;
everything else stands in remit.yaml. Schemas and tables are somebody else's to make, and must be there. Leaves out
databases that `trust.databases` does not name. Source: postgresql.org/docs/17/sql-createrole.html.
"""

from collections.abc import Iterator, Mapping

from remit.trust.clouds.sql_names import grant_name, place, role_name
from remit.trust.settings import DatabaseRoles, TrustSettings
from remit.trust.things import Address, Fields, Ref, Thing, Value

CONNECT = "CONNECT"
ATTRIBUTES: Mapping[str, bool] = {
    "login": True,
    "superuser": False,
    "createdb": False,
    "createrole": False,
    "replication": False,
    "bypassrls": False,
}
"""Field of a role → what it is for each of Remit's."""


def sql(settings: TrustSettings) -> tuple[Thing, ...]:
    """Every role, every grant, and the objects that they need."""
    things = (thing for one in settings.databases if one.administrator for thing in _database(one))
    return tuple({thing.address: thing for thing in things}.values())


def unseen(settings: TrustSettings) -> tuple[str, ...]:
    """What the trust does not look at, a line."""
    names = [f"`{one.name}`" for one in settings.databases if not one.administrator]
    if not names:
        return ()
    word = "databases" if len(names) > 1 else "database"
    return (f"the {word} {', '.join(names)}: `trust.databases` does not name {'them' if len(names) > 1 else 'it'}",)


def _database(one: DatabaseRoles) -> Iterator[Thing]:
    for role in one.roles:
        address = Address("sql.role", role_name(one.name, role))
        yield _role(one, role, address)
        given = one.grants.get(role, {})
        yield from _grants(one, role, "database", tuple(dict.fromkeys([CONNECT, *given.get("database", ())])))
        for on, privileges in given.items():
            if on != "database":
                yield Thing(Address("sql.object", f"{one.name}/{on}"), {}, given=True, says=f"{on} of {one.name}")
                yield from _grants(one, role, on, privileges)


def _role(one: DatabaseRoles, role: str, address: Address) -> Thing:
    fields: dict[str, Value] = {**ATTRIBUTES, "memberships": (), "password": False, "valid": ""}
    says = f"lets Remit log in to `{one.name}` as `{role}`, for whom the policy permits it"
    if len(one.roles) == len(one.clients) == 1:
        principal = Address("entra.principal", one.clients[0])
        fields["principal"] = Ref(principal, "id")
        return Thing(address, fields, (principal,), f"{says}, with a token of application {one.clients[0]}")
    return Thing(address, fields, (), says)


def _grants(one: DatabaseRoles, role: str, on: str, privileges: tuple[str, ...]) -> Iterator[Thing]:
    needs = [Address("sql.role", role_name(one.name, role))]
    needs += [] if on == "database" else [Address("sql.object", f"{one.name}/{on}")]
    for privilege in privileges:
        fields = grant_fields(one.name, on, role, privilege)
        name = grant_name(one.name, role, privilege, on)
        yield Thing(Address("sql.grant", name), fields, tuple(needs), f"{role} may {may(on, privilege, one.name)}")


def grant_fields(database: str, on: str, role: str, privilege: str, *, grantable: bool = False) -> Fields:
    """The fields of a grant."""
    fields: dict[str, Value] = {"database": database, "object": on, "role": role, "privilege": privilege}
    return {**fields, "grantable": True} if grantable else fields


def may(on: str, privilege: str, database: str) -> str:
    """What a privilege lets somebody do, in words: `SELECT from public.features`."""
    found = place(on)
    where = on.partition("/")[2]
    words = _WORDS.get((found.kind, privilege)) or _ANY.get(privilege)
    if words is None:
        return f"{privilege} on {where or database}"
    return words.format(where or database)


_WORDS: Mapping[tuple[str, str], str] = {
    ("database", "CONNECT"): "connect to {}",
    ("database", "TEMPORARY"): "make temporary tables in {}",
    ("database", "CREATE"): "make schemas in {}",
    ("schemas", "USAGE"): "find what lies in schema {}",
    ("schemas", "CREATE"): "make tables and functions in schema {}",
    ("sequences", "USAGE"): "take numbers from {}",
}
_ANY: Mapping[str, str] = {
    "SELECT": "SELECT from {}",
    "INSERT": "INSERT into {}",
    "UPDATE": "UPDATE {}",
    "DELETE": "DELETE from {}",
    "TRUNCATE": "TRUNCATE {}",
    "EXECUTE": "EXECUTE {}",
    "OWNER": "do anything with {}, which it owns",
}
