"""PostgreSQL's side: who connects by the policy, what remit.yaml gives, and what a database itself lets its roles do.

Each role is logged in as, in the way of the door, where this machine can; elsewhere it was only read. Leaves out
databases that `trust.databases` does not name, and people whom a policy permits by themselves and not by a role.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from remit.model.errors import HopFailed, TrustBroken
from remit.trust.clouds.sql import Look, told, wants
from remit.trust.clouds.sql_names import PUBLIC, place
from remit.trust.clouds.sql_reading import Held
from remit.trust.desired.sql import ATTRIBUTES, CONNECT
from remit.trust.planning.dangerous import unbound
from remit.trust.settings import DatabaseRoles
from remit.trust.things import Fields
from remit.trust.verifying.findings import ALL, Finding, Hop

Enter = Callable[[str, str], Awaitable[bool]]
"""Logs in to a database as a role; false where this machine cannot; raises `HopFailed` and `TrustBroken`."""
_APPLY = "`remit trust apply`"


@dataclass(frozen=True, slots=True)
class Case:
    """One database. `connects`: role of it → app roles that the policy lets connect as it; `look`: what it holds."""

    one: DatabaseRoles
    connects: Mapping[str, Sequence[str]]
    look: Look
    principal: str = ""

    def apps(self, role: str) -> str:
        """The app roles behind a role, as a finding names them."""
        return ALL.join(sorted(self.connects.get(role, ())))

    def where(self, on: str = "") -> str:
        """A database, or what lies in it, as a finding names it."""
        return f"databases/{self.one.name}" + (f"/{on}" if on not in {"", "database"} else "")


async def walked(case: Case, enter: Enter) -> tuple[Hop, ...]:
    """A hop for each role that is there."""
    there = {found.address.name.partition("/")[2] for found in case.look.roles}
    return tuple([await _entered(case.one, role, enter) for role in case.one.roles if role in there])


def unasked(case: Case) -> Iterator[Hop]:
    """Roles that nobody connects as by any role of remit.yaml: that may be meant, and is said."""
    for role in case.one.roles:
        if not case.connects.get(role):
            said = "no role of `trust.roles` may connect as it; a policy may permit a person or a job by name"
            yield Hop(f"sql-policy {case.one.name}/{role}", holds=True, said=said, walked=False)


async def _entered(one: DatabaseRoles, role: str, enter: Enter) -> Hop:
    name = f"sql-login {one.name}/{role}"
    try:
        if await enter(one.name, role):
            return Hop(name, holds=True, said=f"the database lets Remit in as `{role}`")
    except (HopFailed, TrustBroken) as error:
        cure = error.hint or "is it reachable from here, and does its `pg_hba.conf` say what docs/databases.md shows?"
        return Hop(name, holds=False, said=error.message, cure=cure)
    return Hop(name, holds=True, said="not logged in: this machine has not what it takes; it was read", walked=False)


def findings(case: Case) -> Iterator[Finding]:
    """Everything on which policy, remit.yaml and the database disagree."""
    roles = {found.address.name.partition("/")[2]: found.fields for found in case.look.roles}
    for role in case.one.roles:
        if role not in roles:
            yield _no_role(case, role)
            continue
        yield from _attributes(case, role, roles[role])
        yield from _absent(case, role)
        yield from _through(case, role, roles[role])
    for each in case.look.held:
        if told(case.one, each) and not (each.role in case.one.roles and wants(case.one, each.role, each)):
            yield _unwanted(case, each)


def _no_role(case: Case, role: str) -> Finding:
    apps = case.apps(role)
    said = f"the policy lets {apps} connect as it, and" if apps else "remit.yaml wants it, and"
    return Finding("missing", apps, role, case.where(), "LOGIN", "sql-role", f"{said} there is no such role", _APPLY)


def _attributes(case: Case, role: str, fields: Fields) -> Iterator[Finding]:
    apps, where = case.apps(role), case.where()
    if not fields.get("login"):
        said = "remit.yaml wants it, and it may not log in"
        yield Finding("clash", apps, role, where, "LOGIN", "sql-role", said, f"ALTER ROLE … LOGIN: {_APPLY}")
    for name in ATTRIBUTES:
        if name != "login" and fields.get(name):
            yield Finding("excess", apps, role, where, name.upper(), "sql-role", unbound(name), f"take it: {_APPLY}")
    if fields.get("password"):
        said = "whoever knows its password could log in past Remit"
        yield Finding("excess", apps, role, where, "PASSWORD", "sql-role", said, f"take it: {_APPLY}")
    if case.principal and fields.get("principal") != case.principal:
        said = "another application's tokens log in as it, or none do"
        yield Finding("clash", apps, role, where, "LOGIN", "sql-role", said, f"say whose it is: {_APPLY}")


def _absent(case: Case, role: str) -> Iterator[Finding]:
    """What remit.yaml gives it and it does not hold itself, and tables whose schema it does not find."""
    held = {(str(each.place), each.privilege) for each in case.look.held if each.role == role}
    given = {"database": (CONNECT,), **case.one.grants.get(role, {})}
    for on, privileges in given.items():
        where, apps = case.where(on), case.apps(role)
        gone = on != "database" and on not in case.look.objects
        for privilege in dict.fromkeys((*privileges, *((CONNECT,) if on == "database" else ()))):
            if (on, privilege) not in held:
                said = "there is no such object" if gone else "remit.yaml gives it, and nobody gave it there"
                cure = "have whoever owns the schema make it" if gone else f"give it: {_APPLY}"
                yield Finding("missing", apps, role, where, privilege, "sql-grant", said, cure)
        schema = place(on).parts[0] if place(on).kind in {"tables", "sequences"} else ""
        if schema and not gone and schema not in case.look.finds.get(role, ()):
            said = f"it does not find schema `{schema}`, so that nothing given there is of use"
            cure = f"write `schemas/{schema}: [USAGE]` below `{role}` in `trust.databases`, and {_APPLY}"
            yield Finding("clash", apps, role, where, "USAGE", "sql-grant", said, cure)


def _through(case: Case, role: str, fields: Fields) -> Iterator[Finding]:
    """Memberships, and what each brings in this database."""
    groups = fields.get("memberships")
    for group in map(str, groups) if isinstance(groups, tuple) else ():
        said = "it is a member, and may all that this one may, also what it is given later"
        yield Finding("excess", case.apps(role), role, case.where(), group, "sql-role", said, f"end it: {_APPLY}")
    for each in case.look.held:
        if each.role in case.look.member.get(role, ()) and not wants(case.one, role, each):
            said = f"it has it as a member of `{each.role}`"
            where = case.where(str(each.place))
            yield Finding(
                "excess", case.apps(role), role, where, each.privilege, "sql-grant", said, f"end that: {_APPLY}"
            )


def _unwanted(case: Case, each: Held) -> Finding:
    where = case.where(str(each.place))
    if each.role == PUBLIC:
        apps = ALL.join(sorted({app for some in case.connects.values() for app in some}))
        cure = f"take it from PUBLIC, or give it to each role in remit.yaml: {_APPLY}"
        said = "everybody at the database has it, these roles among them"
        return Finding("excess", apps, "", where, each.privilege, "sql-grant", said, cure)
    said = "it was given to it, and remit.yaml does not say so"
    return Finding(
        "excess", case.apps(each.role), each.role, where, each.privilege, "sql-grant", said, f"take it: {_APPLY}"
    )
