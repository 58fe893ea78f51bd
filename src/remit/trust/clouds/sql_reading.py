"""What a PostgreSQL database holds of Remit's roles: their attributes, and every privilege that reaches them there.

Given to a role itself, to everybody (`public`), or to a role that one of ours is a member of. What PostgreSQL and its
extensions give to everybody from the start is not told: to connect to a database and make temporary tables there, to
find what lies in schema `public`, to use types and languages, to call functions, but not those that run with their
owner's rights or that PostgreSQL keeps back. Leaves out row security, settings of roles, who may become one of them,
and other databases of the server. Catalogues are everybody's to read, so that any login will do; whether a role has a
password only a superuser sees. Sources:
postgresql.org/docs/17/catalogs.html (`pg_init_privs`, `pg_shdepend`), /functions-info.html (`aclexplode`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from remit.trust.clouds.sql_names import OWNER, PUBLIC, Place, grant_name, place, role_name
from remit.trust.settings import DatabaseRoles
from remit.trust.things import Address, Found, Value

if TYPE_CHECKING:
    from remit.trust.clouds.sql_login import Session

ADMIN = " with admin option"
"""Behind a membership that its holder may give on."""
_PRINCIPAL = "aadauth,oid="

_ROLES = """
SELECT r.rolname::text, r.rolcanlogin, r.rolsuper, r.rolcreatedb, r.rolcreaterole, r.rolreplication, r.rolbypassrls,
       coalesce(r.rolvaliduntil::text, ''),
       ARRAY(SELECT g.rolname || CASE WHEN pg_catalog.bool_or(m.admin_option) THEN %(admin)s::text ELSE '' END
             FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
             WHERE m.member = r.oid GROUP BY g.rolname),
       coalesce((SELECT l.label FROM pg_catalog.pg_shseclabel l
                 WHERE l.objoid = r.oid AND l.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass
                   AND l.provider = 'pgaadauth'), '')
FROM pg_catalog.pg_roles r WHERE r.rolname = ANY(%(roles)s)
"""
_PASSWORDS = "SELECT rolname::text FROM pg_catalog.pg_authid WHERE rolpassword IS NOT NULL AND rolname = ANY(%(roles)s)"
_MAY_SEE = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')"

_FINDS = """
SELECT r.rolname::text, n.nspname::text FROM pg_catalog.pg_roles r CROSS JOIN pg_catalog.pg_namespace n
 WHERE r.rolname = ANY(%(roles)s) AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')
"""
_HOLDERS = """
WITH RECURSIVE reached AS (
  SELECT oid, rolname::text AS who, oid AS via FROM pg_catalog.pg_roles WHERE rolname = ANY(%(roles)s)
  UNION
  SELECT r.oid, r.who, m.roleid FROM reached r JOIN pg_catalog.pg_auth_members m ON m.member = r.via
), holders AS (
  SELECT DISTINCT via AS oid, pg_catalog.pg_get_userbyid(via)::text AS name FROM reached
  UNION ALL SELECT 0::pg_catalog.oid, 'public'
)
"""

# object, what it is registered by, its owner, and each line of its list, the built-in one where it has none
_LISTS = """
lists AS (
  SELECT 'database' AS kind, ARRAY[]::text[] AS parts, '' AS word, 1262 AS class, d.oid AS id, 0 AS part,
         d.datdba AS owner, coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba)) AS acl, false AS kept
    FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
  UNION ALL
  SELECT 'schemas', ARRAY[n.nspname::text], '', 2615, n.oid, 0,
         n.nspowner, coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner)), n.nspname = 'information_schema'
    FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_(toast|temp_)'
  UNION ALL
  SELECT CASE c.relkind WHEN 'S' THEN 'sequences' ELSE 'tables' END, ARRAY[n.nspname::text, c.relname::text], '',
         1259, c.oid, 0, c.relowner,
         coalesce(c.relacl, pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)),
         n.nspname = 'information_schema'
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  UNION ALL
  SELECT 'columns', ARRAY[n.nspname::text, c.relname::text, a.attname::text], '',
         1259, c.oid, a.attnum::int, c.relowner, a.attacl, false
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
  UNION ALL
  SELECT 'functions', ARRAY[p.oid::pg_catalog.regprocedure::text], '', 1255, p.oid, 0, p.proowner,
         coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)),
         NOT EXISTS (SELECT FROM pg_catalog.pg_init_privs i WHERE i.classoid = 1255 AND i.objoid = p.oid)
         AND (NOT p.prosecdef OR n.nspname IN ('pg_catalog', 'information_schema')
              OR EXISTS (SELECT FROM pg_catalog.pg_depend e
                         WHERE e.classid = 1255 AND e.objid = p.oid AND e.deptype = 'e'))
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  UNION ALL
  SELECT 'defaults', array_remove(ARRAY[pg_catalog.pg_get_userbyid(d.defaclrole)::text, n.nspname::text], NULL),
         CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
                              WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE 'large objects' END,
         826, d.oid, 0, d.defaclrole, d.defaclacl, d.defaclobjtype IN ('f', 'T')
    FROM pg_catalog.pg_default_acl d LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace
)
"""
_HELD = """
SELECT l.kind, l.parts, l.word, h.name, e.privilege_type::text, pg_catalog.bool_or(e.is_grantable),
       pg_catalog.array_agg(DISTINCT pg_catalog.pg_get_userbyid(e.grantor)::text), e.grantee = l.owner
  FROM lists l CROSS JOIN LATERAL pg_catalog.aclexplode(l.acl) e JOIN holders h ON h.oid = e.grantee
 WHERE e.grantee <> 0 OR NOT l.kept
   AND NOT (l.kind = 'database' AND e.privilege_type IN ('CONNECT', 'TEMPORARY'))
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_init_privs i CROSS JOIN LATERAL pg_catalog.aclexplode(i.initprivs) b
                    WHERE i.classoid = l.class AND i.objoid = l.id AND i.objsubid = l.part
                      AND b.grantee = 0 AND b.privilege_type = e.privilege_type)
 GROUP BY l.kind, l.parts, l.word, h.name, e.privilege_type, e.grantee = l.owner
"""

# whatever names one of ours as its owner, or in a list that is not read above: of this database, or of the server
_OWNED = """
SELECT s.deptype::text, h.name,
       CASE s.classid WHEN 1259 THEN (SELECT CASE c.relkind WHEN 'S' THEN 'sequences' ELSE 'tables' END
                                        FROM pg_catalog.pg_class c WHERE c.oid = s.objid)
                      WHEN 2615 THEN 'schemas' WHEN 1255 THEN 'functions' WHEN 1262 THEN 'database' ELSE 'others' END,
       CASE s.classid
         WHEN 1259 THEN (SELECT ARRAY[n.nspname::text, c.relname::text] FROM pg_catalog.pg_class c
                           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = s.objid)
         WHEN 2615 THEN (SELECT ARRAY[n.nspname::text] FROM pg_catalog.pg_namespace n WHERE n.oid = s.objid)
         WHEN 1255 THEN ARRAY[s.objid::pg_catalog.regprocedure::text]
         ELSE ARRAY[coalesce(pg_catalog.pg_describe_object(s.classid, s.objid, s.objsubid), s.objid::text)] END,
       s.classid = 1262 AND s.objid = (SELECT d.oid FROM pg_catalog.pg_database d
                                        WHERE d.datname = pg_catalog.current_database())
  FROM pg_catalog.pg_shdepend s JOIN holders h ON h.oid = s.refobjid
 WHERE s.refclassid = 1260 AND h.oid <> 0 AND s.objsubid = 0
   AND s.dbid IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
   AND (s.deptype = 'o' OR s.deptype = 'a' AND s.classid NOT IN (1262, 2615, 1259, 1255, 826))
   AND s.classid <> 826
   AND NOT (s.classid = 1259 AND EXISTS (SELECT FROM pg_catalog.pg_class c
                                          WHERE c.oid = s.objid AND c.relkind NOT IN ('r', 'p', 'v', 'm', 'f', 'S')))
   AND NOT (s.classid = 1247 AND EXISTS (SELECT FROM pg_catalog.pg_type t
                                          WHERE t.oid = s.objid AND (t.typrelid <> 0 OR t.typelem <> 0)))
"""
# what everybody has of the kinds that are only told of, where PostgreSQL gives it to nobody by itself
_EVERYBODYS = """
SELECT DISTINCT pg_catalog.pg_describe_object(o.class, o.id, 0) FROM (
  SELECT 2328 AS class, oid AS id, fdwacl AS acl FROM pg_catalog.pg_foreign_data_wrapper
  UNION ALL SELECT 1417, oid, srvacl FROM pg_catalog.pg_foreign_server
  UNION ALL SELECT 1213, oid, spcacl FROM pg_catalog.pg_tablespace
  UNION ALL SELECT 2613, oid, lomacl FROM pg_catalog.pg_largeobject_metadata{}
) o CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) e
 WHERE e.grantee = 0
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_init_privs i CROSS JOIN LATERAL pg_catalog.aclexplode(i.initprivs) b
                    WHERE i.classoid = o.class AND i.objoid = o.id AND b.grantee = 0
                      AND b.privilege_type = e.privilege_type)
"""
_PARAMETERS = " UNION ALL SELECT 6243, oid, paracl FROM pg_catalog.pg_parameter_acl"
_WITH_PARAMETERS = 150000  # the version from which they can be given
_ALL_HELD = _HOLDERS + "," + _LISTS + _HELD
_ALL_OWNED = _HOLDERS + _OWNED
_REACHED = f"{_HOLDERS} SELECT who, pg_catalog.pg_get_userbyid(via)::text FROM reached WHERE via <> oid"  # noqa: S608 - of this file's own
_OBJECTS = f"WITH {_LISTS} SELECT kind, parts, word FROM lists WHERE kind <> 'functions'"  # noqa: S608 - the same
SOME = "SOME"
"""Some privilege on an object of a kind that is only told of."""


@dataclass(frozen=True, slots=True)
class Held:
    """A privilege in a database. `role`: who holds it, `public` for everybody; `grantors`: who gave it.

    `owned`: its holder owns the object, and has it by that.
    """

    place: Place
    role: str
    privilege: str
    grantable: bool
    grantors: tuple[str, ...]
    owned: bool = False


async def held(opened: "Session", roles: Sequence[str]) -> tuple[Held, ...]:
    """Every privilege that reaches one of the roles: its own, everybody's, and of what it is a member of."""
    given = {"roles": list(roles)}
    found: list[Held] = []
    rows = await (await opened.execute(_ALL_HELD, given)).fetchall()
    for kind, parts, word, role, privilege, grantable, grantors, owned in rows:
        where = Place(kind, tuple(parts), word)
        found.append(Held(where, role, privilege, bool(grantable), tuple(sorted(grantors)), bool(owned)))
    rows = await (await opened.execute(_ALL_OWNED, given)).fetchall()
    for deptype, role, kind, parts, here in rows:
        where = Place(kind) if here else Place("others" if kind == "database" else kind, tuple(parts))
        found.append(Held(where, role, OWNER if deptype == "o" else SOME, grantable=False, grantors=()))
    parameters = _PARAMETERS if opened.info.server_version >= _WITH_PARAMETERS else ""
    rows = await (await opened.execute(_EVERYBODYS.format(parameters).encode())).fetchall()
    found += [Held(Place("others", (what,)), PUBLIC, SOME, grantable=False, grantors=()) for (what,) in rows]
    return tuple(sorted(found, key=lambda one: (one.role, str(one.place), one.privilege)))


async def memberships(opened: "Session", roles: Sequence[str]) -> dict[str, frozenset[str]]:
    """Role → all that it is a member of, over however many others."""
    rows = await (await opened.execute(_REACHED, {"roles": list(roles)})).fetchall()
    return {role: frozenset(via for who, via in rows if who == role) for role in roles}


async def schemas(opened: "Session", roles: Sequence[str]) -> dict[str, frozenset[str]]:
    """Role → schemas in which it finds things, by whatever way."""
    rows = await (await opened.execute(_FINDS, {"roles": list(roles)})).fetchall()
    return {role: frozenset(name for who, name in rows if who == role) for role in roles}


async def read_roles(opened: "Session", one: DatabaseRoles, roles: Sequence[str]) -> tuple[Found, ...]:
    """The roles that there are, with their attributes."""
    given: dict[str, Any] = {"roles": list(roles), "admin": ADMIN}
    rows = await (await opened.execute(_ROLES, given)).fetchall()
    seen = await (await opened.execute(_MAY_SEE)).fetchone()
    passwords = await (await opened.execute(_PASSWORDS, given)).fetchall() if seen and seen[0] else []
    known = {row[0] for row in passwords}
    return tuple(_role(one, row, password=row[0] in known) for row in rows)


async def read_objects(opened: "Session", names: Sequence[str]) -> frozenset[str]:
    """Which of these objects are there, as they are named."""
    rows = await (await opened.execute(_OBJECTS)).fetchall()
    there = {str(Place(kind, tuple(parts), word)) for kind, parts, word in rows}
    return frozenset(name for name in names if str(place(name)) in there)


def found_grant(one: DatabaseRoles, each: Held) -> Found:
    """A privilege as the plan knows it."""
    on = str(each.place)
    fields: dict[str, Value] = {"database": one.name, "object": on, "role": each.role, "privilege": each.privilege}
    fields |= {"grantable": True} if each.grantable else {}
    return Found(Address("sql.grant", grant_name(one.name, each.role, each.privilege, on)), fields)


def _role(one: DatabaseRoles, row: Sequence[Any], *, password: bool) -> Found:
    names = ("login", "superuser", "createdb", "createrole", "replication", "bypassrls")
    fields: dict[str, Value] = dict(zip(names, row[1:7], strict=True))
    fields |= {"memberships": tuple(sorted(row[8])), "password": password}
    fields["valid"] = "" if row[7] == "infinity" else row[7]
    if row[9].startswith(_PRINCIPAL):
        fields["principal"] = row[9].removeprefix(_PRINCIPAL).partition(",")[0].lower()
    return Found(Address("sql.role", role_name(one.name, row[0])), fields)
