"""The roles that PostgreSQL must hold and what they may do there, as a script for teams that apply by other means.

Running it again changes nothing. Databases that `trust.databases` does not name are in it as well, without grants.
Leaves out what is to be taken away, `pg_hba.conf`, of which it says the lines, and Azure SQL. Sources:
postgresql.org/docs/current/sql-createrole.html;
learn.microsoft.com/azure/postgresql/flexible-server/security-manage-entra-users.
"""

from collections.abc import Iterator, Mapping, Sequence

from remit.model.counts import counted
from remit.trust.clouds.sql_names import place
from remit.trust.settings import DatabaseRoles
from remit.trust.things import Address, Ref

_NOUNS: Mapping[str, str] = {
    "database": "DATABASE",
    "schemas": "SCHEMA",
    "tables": "TABLE",
    "sequences": "SEQUENCE",
}
_PLAIN = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"


def sql(databases: Sequence[DatabaseRoles], ids: Mapping[Ref, str]) -> str:
    """The script, for `psql`. `ids`: of principals at Entra, as far as they are known."""
    return "\n".join(line for one in databases for line in _database(one, ids))


def _database(one: DatabaseRoles, ids: Mapping[Ref, str]) -> Iterator[str]:
    host, _, port = one.address.rpartition(":")
    yield f"-- {one.name}, as an administrator of the server"
    yield f"\\connect postgres - {host.strip('[]')} {port}"
    if one.clients:
        yield from _entra(one, ids)
    else:
        yield f"-- pg_hba.conf: hostssl  {_word(one.database)}  {','.join(map(_word, one.roles))}  NETWORK  cert"
        for role in one.roles:
            yield from _role(role)
    yield from (f"GRANT CONNECT ON DATABASE {_name(one.database)} TO {_name(role)};" for role in one.roles)
    if any(one.grants.values()):
        yield f"\\connect {_name(one.database)}"
        yield from _grants(one)
    yield ""


def _grants(one: DatabaseRoles) -> Iterator[str]:
    """Privileges are words of PostgreSQL's own, as remit.yaml was read."""
    for role, objects in one.grants.items():
        for on, privileges in objects.items():
            where = place(on)
            names = ".".join(map(_name, where.parts or (one.database,)))
            yield f"GRANT {', '.join(privileges)} ON {_NOUNS[where.kind]} {names} TO {_name(role)};"


def _role(role: str) -> Iterator[str]:
    """Remit's certificates log in as it: it has no password, and nothing that would outlive a decision."""
    made = f"BEGIN CREATE ROLE {_name(role)}; EXCEPTION WHEN duplicate_object THEN NULL; END"
    tag = _tag(made)
    yield f"DO {tag} {made} {tag};"
    yield f"ALTER ROLE {_name(role)} {_PLAIN} PASSWORD NULL;"


def _entra(one: DatabaseRoles, ids: Mapping[Ref, str]) -> Iterator[str]:
    """A role of an application's; by its object id, since display names can be anybody's."""
    if len(one.roles) != 1 or len(one.clients) != 1:
        roles, applications = counted(len(one.roles), "role"), counted(len(one.clients), "application")
        yield f"-- {roles} and {applications}: say of each role whose it is, as below"
    alone = "" if len(one.roles) == len(one.clients) == 1 else "-- "
    for client in one.clients:
        principal = ids.get(Ref(Address("entra.principal", client), "id"))
        if principal is None:
            yield f"-- {_comment(client)} has no principal yet: `remit trust apply`, then print this again"
            continue
        for role in one.roles:
            made = (
                f"pgaadauth_create_principal_with_oid('{_text(role)}', '{_text(principal)}', 'service', false, false)"
            )
            yield f"{alone}SELECT {made}"
            yield f"{alone}WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{_text(role)}');"


def _name(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _text(text: str) -> str:
    """Within single quotes."""
    return text.replace("'", "''")


def _tag(text: str) -> str:
    """A dollar quote that the text does not end."""
    tag = "$remit$"
    while tag in text:
        tag = f"{tag[:-1]}_$"
    return tag


def _comment(text: str) -> str:
    return " ".join(text.split())


def _word(text: str) -> str:
    """A name in pg_hba.conf."""
    return f'"{text}"' if not text.replace("_", "a").isalnum() else text
