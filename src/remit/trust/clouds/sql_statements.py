"""Statements that give and take at PostgreSQL, composed by psycopg: no name is ever put into a text. Pure.

Source: postgresql.org/docs/17/sql-grant.html, /sql-revoke.html, /sql-alterrole.html, /sql-alterdefaultprivileges.html.
"""

from collections.abc import Mapping, Sequence

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from remit.model.errors import TrustBroken
from remit.trust.clouds.sql_names import KNOWN, OWNER, PUBLIC, Place
from remit.trust.clouds.sql_reading import ADMIN
from remit.trust.things import Fields

_BOOLEANS: Mapping[str, tuple[SQL, SQL]] = {
    "login": (SQL("NOLOGIN"), SQL("LOGIN")),
    "superuser": (SQL("NOSUPERUSER"), SQL("SUPERUSER")),
    "createdb": (SQL("NOCREATEDB"), SQL("CREATEDB")),
    "createrole": (SQL("NOCREATEROLE"), SQL("CREATEROLE")),
    "replication": (SQL("NOREPLICATION"), SQL("REPLICATION")),
    "bypassrls": (SQL("NOBYPASSRLS"), SQL("BYPASSRLS")),
}
_WORDS: Mapping[str, SQL] = {
    "SELECT": SQL("SELECT"),
    "INSERT": SQL("INSERT"),
    "UPDATE": SQL("UPDATE"),
    "DELETE": SQL("DELETE"),
    "TRUNCATE": SQL("TRUNCATE"),
    "REFERENCES": SQL("REFERENCES"),
    "TRIGGER": SQL("TRIGGER"),
    "MAINTAIN": SQL("MAINTAIN"),
    "CREATE": SQL("CREATE"),
    "CONNECT": SQL("CONNECT"),
    "TEMPORARY": SQL("TEMPORARY"),
    "USAGE": SQL("USAGE"),
    "EXECUTE": SQL("EXECUTE"),
}
_DEFAULTS: Mapping[str, SQL] = {
    "tables": SQL("TABLES"),
    "sequences": SQL("SEQUENCES"),
    "functions": SQL("ROUTINES"),
    "types": SQL("TYPES"),
    "schemas": SQL("SCHEMAS"),
}


def grant(where: Place, target: Composable, role: str, privilege: str, *, grantable: bool = False) -> Composed:
    """Gives a privilege. `target`: as of `named`; raises `TrustBroken` for what is only told of."""
    tail = SQL(" WITH GRANT OPTION") if grantable else SQL("")
    body = SQL("GRANT {} ON {} TO {}").format(_privilege(where, privilege), target, _who(role))
    return _among_defaults(where) + body + tail


def revoke(where: Place, target: Composable, role: str, privilege: str, *, option: bool = False) -> Composed:
    """Takes a privilege, or with `option` the right to give it on. What was given on already stands in its way."""
    head = SQL("REVOKE GRANT OPTION FOR ") if option else SQL("REVOKE ")
    body = SQL("{} ON {} FROM {}").format(_privilege(where, privilege), target, _who(role))
    return _among_defaults(where) + head + body


def owned_by(where: Place, target: Composable, role: str | None) -> Composed:
    """Gives an object to a role, or to whoever is logged in."""
    if where.kind not in {"database", "schemas", "tables", "sequences", "functions"}:
        raise _only_told(where, OWNER)
    who = SQL("CURRENT_USER") if role is None else Identifier(role)
    return SQL("ALTER {} OWNER TO {}").format(target, who)


def named(where: Place, database: str, signature: str = "") -> Composable:
    """What stands behind ON. `database`: its name at the server; `signature`: of a function, in PostgreSQL's words."""
    match where.kind:
        case "database":
            return SQL("DATABASE {}").format(Identifier(database))
        case "schemas":
            return SQL("SCHEMA {}").format(Identifier(*where.parts))
        case "tables" | "columns":
            return SQL("TABLE {}").format(Identifier(*where.parts[:2]))
        case "sequences":
            return SQL("SEQUENCE {}").format(Identifier(*where.parts))
        case "functions" if signature:
            return SQL("ROUTINE ") + SQL(signature)  # quoted by PostgreSQL, whose text it is
        case "defaults" if where.word in _DEFAULTS:
            return _DEFAULTS[where.word]
    raise _only_told(where, "")


def create_role(role: str) -> Composed:
    """A role that may do nothing yet."""
    return SQL("CREATE ROLE {}").format(Identifier(role))


def alter_role(role: str, fields: Fields) -> Composed | None:
    """Sets just these fields of a role; `None` when there is nothing of this kind among them."""
    words: list[Composable] = [pair[bool(fields[name])] for name, pair in _BOOLEANS.items() if name in fields]
    if "password" in fields and not fields["password"]:
        words.append(SQL("PASSWORD NULL"))
    if "valid" in fields:
        words.append(SQL("VALID UNTIL {}").format(Literal(str(fields["valid"] or "infinity"))))
    return SQL("ALTER ROLE {} {}").format(Identifier(role), SQL(" ").join(words)) if words else None


def label_role(role: str, principal: str) -> Composed:
    """Says whose of Entra's a role is, by object id; empty: nobody's."""
    label = Literal(f"aadauth,oid={principal},type=service") if principal else SQL("NULL")
    return SQL("SECURITY LABEL FOR pgaadauth ON ROLE {} IS {}").format(Identifier(role), label)


def join(group: str, role: str) -> Composed:
    """Makes a role a member. `group`: its name, perhaps with `ADMIN` behind it."""
    name = group.removesuffix(ADMIN)
    tail = SQL(" WITH ADMIN OPTION") if name != group else SQL("")
    return SQL("GRANT {} TO {}").format(Identifier(name), Identifier(role)) + tail


def leave(group: str, role: str, grantor: str) -> Composed:
    """Ends a membership that somebody gave; `grantor`: empty where the server tells of none (before 16)."""
    by = SQL(" GRANTED BY {}").format(Identifier(grantor)) if grantor else SQL("")
    return SQL("REVOKE {} FROM {}").format(Identifier(group.removesuffix(ADMIN)), Identifier(role)) + by


def become(role: str) -> Composed:
    """For the rest of the transaction: what somebody gave only he takes."""
    return SQL("SET LOCAL ROLE {}").format(Identifier(role))


def drop_role(role: str) -> Composed:
    """Ends a role that owns nothing and holds nothing."""
    return SQL("DROP ROLE {}").format(Identifier(role))


def _privilege(where: Place, privilege: str) -> Composable:
    if privilege not in KNOWN.get(where.kind, ()):
        raise _only_told(where, privilege)
    if where.kind == "columns":
        return SQL("{} ({})").format(_WORDS[privilege], Identifier(where.parts[2]))
    return _WORDS[privilege]


def _who(role: str) -> Composable:
    return SQL("PUBLIC") if role == PUBLIC else Identifier(role)


def _among_defaults(where: Place) -> Composed:
    if where.kind != "defaults":
        return SQL("{}").format(SQL(""))
    inside: Sequence[Composable] = [SQL(" IN SCHEMA {}").format(Identifier(each)) for each in where.parts[1:]]
    return SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {}{} ").format(Identifier(where.parts[0]), SQL("").join(inside))


def _only_told(where: Place, privilege: str) -> TrustBroken:
    said = f"`{privilege}` on `{where}`" if privilege else f"what stands at `{where}`"
    return TrustBroken(f"{said} is told of, and not changed by Remit", hint="change it by hand, then plan again")
