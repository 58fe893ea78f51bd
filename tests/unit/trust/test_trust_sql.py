"""Database roles held by a real PostgreSQL: planned, applied, drifted from, taken back, and killed in between."""

from dataclasses import replace

import pytest
from tests.unit.trust.clouds_in_memory import Killed
from tests.unit.trust.sql_world import World

from remit.model.errors import TrustBroken
from remit.trust.applying.apply import Interrupted
from remit.trust.planning.plan import Act, Risk

GRANTS = {
    "reader": {
        "schemas/public": ("USAGE",),
        "tables/public.features": ("SELECT",),
        'tables/"odd.one"."a ""b"" c"': ("SELECT", "INSERT"),
    },
    "writer": {
        "database": ("TEMPORARY",),
        "tables/public.features": ("INSERT", "UPDATE"),
        "sequences/public.n": ("USAGE",),
    },
}
SCHEMA = (
    "CREATE TABLE features (id int, secret text)",
    "CREATE SEQUENCE n",
    'CREATE SCHEMA "odd.one"',
    'CREATE TABLE "odd.one"."a ""b"" c" (x int) PARTITION BY RANGE (x)',
    'CREATE TABLE "odd.one".part PARTITION OF "odd.one"."a ""b"" c" FOR VALUES FROM (1) TO (9)',
    "CREATE VIEW seen AS SELECT id FROM features",
)


@pytest.fixture
def world(postgres_database, tmp_path):
    made = World(postgres_database, tmp_path)
    made.run(*SCHEMA)
    yield made
    made.close()


@pytest.fixture
def settings(world):
    """A file that gives little."""
    given = {"reader": {"tables/public.features": ("SELECT",)}, "writer": {"tables/public.features": ("INSERT",)}}
    return world.settings(world.roles(**given))


@pytest.fixture
def agreed(world, settings):
    """The trust of a file that the database holds."""
    assert world.apply(settings).left.empty
    return settings


@pytest.mark.promise("T6")
def test_a_plan_is_applied_and_then_there_is_nothing_to_do(world):
    settings = world.settings(world.roles(**GRANTS))
    plan = world.plan(settings)
    assert not plan.problems
    assert {change.act for change in plan.changes} == {Act.MAKE}
    assert not [change.name for change in plan.changes if change.unsafe]
    says = {change.says for change in plan.changes}
    assert f"{world.reader} may SELECT from public.features" in says
    outcome = world.apply(settings)
    assert (outcome.left.empty, outcome.steps) == (True, len(plan.changes))
    assert world.plan(settings).empty
    holds = "SELECT pg_catalog.has_table_privilege(%s, %s, %s)"
    assert world.ask(holds, world.reader, "features", "SELECT") == [(True,)]
    assert world.ask(holds, world.reader, "features", "INSERT") == [(False,)]
    assert world.ask(holds, world.writer, "features", "UPDATE") == [(True,)]
    assert world.ask(holds, world.reader, '"odd.one"."a ""b"" c"', "INSERT") == [(True,)]
    rows = world.ask(
        "SELECT rolcanlogin, rolsuper, rolcreaterole, rolpassword FROM pg_authid WHERE rolname = ANY(%s)",
        [world.reader, world.writer],
    )
    assert rows == [(True, False, False, None)] * 2


DRIFTS = {
    "a privilege is taken": (
        "REVOKE SELECT ON features FROM {r}",
        "+ sql.grant features/{r} SELECT tables/public.features",
    ),
    "one more is given": ("GRANT DELETE ON features TO {r}", "- sql.grant features/{r} DELETE tables/public.features"),
    "to be given on": (
        "GRANT SELECT ON features TO {r} WITH GRANT OPTION",
        "~ sql.grant features/{r} SELECT tables/public.features",
    ),
    "a column": (
        "GRANT UPDATE (secret) ON features TO {r}",
        "- sql.grant features/{r} UPDATE columns/public.features.secret",
    ),
    "a view": ("GRANT SELECT ON seen TO {r}", "- sql.grant features/{r} SELECT tables/public.seen"),
    "a partition": ('GRANT SELECT ON "odd.one".part TO {r}', '- sql.grant features/{r} SELECT tables/"odd.one".part'),
    "a schema": ("GRANT CREATE ON SCHEMA public TO {r}", "- sql.grant features/{r} CREATE schemas/public"),
    "a sequence": ("GRANT UPDATE ON SEQUENCE n TO {r}", "- sql.grant features/{r} UPDATE sequences/public.n"),
    "a catalogue": ("GRANT SELECT ON pg_authid TO {r}", "- sql.grant features/{r} SELECT tables/pg_catalog.pg_authid"),
    "a function of PostgreSQL's": (
        "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {r}",
        "- sql.grant features/{r} EXECUTE functions/pg_read_file(text)",
    ),
    "what is made later": (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {r}",
        "- sql.grant features/{r} SELECT defaults/tables/remit.public",
    ),
    "an owned table": ("ALTER TABLE features OWNER TO {r}", "- sql.grant features/{r} OWNER tables/public.features"),
    "an owned schema": ('ALTER SCHEMA "odd.one" OWNER TO {r}', '- sql.grant features/{r} OWNER schemas/"odd.one"'),
    "an owned function": (
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION f(int) OWNER TO {r}",
        "- sql.grant features/{r} OWNER functions/public.f(integer)",
    ),
    "a membership": ("GRANT pg_read_all_data TO {r}", "~ sql.role features/{r}"),
    "one to be given on": ("GRANT pg_read_all_data TO {r} WITH ADMIN OPTION", "~ sql.role features/{r}"),
    "a superuser": ("ALTER ROLE {r} SUPERUSER", "~ sql.role features/{r}"),
    "past row security": ("ALTER ROLE {r} BYPASSRLS", "~ sql.role features/{r}"),
    "a password": ("ALTER ROLE {r} PASSWORD 'left'", "~ sql.role features/{r}"),
    "no login": ("ALTER ROLE {r} NOLOGIN", "~ sql.role features/{r}"),
    "an end": ("ALTER ROLE {r} VALID UNTIL '2027-01-01'", "~ sql.role features/{r}"),
}


@pytest.mark.promise("T6")
def test_each_drift_is_found_and_reverted(world, agreed):
    """One database, one drift after the other: each is one change, and applying it leaves nothing."""
    for name, (statement, line) in DRIFTS.items():
        world.run(statement)
        plan = world.plan(agreed)
        assert [f"{one.act} {one.name}" for one in plan.changes] == [line.format(r=world.reader)], name
        assert not plan.changes[0].unsafe, name
        assert world.apply(agreed, plan=plan).left.empty, name
        holds = world.ask("SELECT pg_catalog.has_table_privilege(%s, 'features', 'SELECT')", world.reader)
        assert holds == [(True,)], name


@pytest.mark.promise("V12")
def test_what_everybody_has_is_told_and_is_not_ours_to_take(world, agreed):
    world.run("GRANT SELECT ON features TO PUBLIC", "GRANT CREATE ON SCHEMA public TO PUBLIC")
    plan = world.plan(agreed)
    names = [
        "sql.grant features/public SELECT tables/public.features",
        "sql.grant features/public CREATE schemas/public",
    ]
    assert sorted(change.name for change in plan.changes) == sorted(names)
    assert {one.risk for change in plan.changes for one in change.unsafe} == {Risk.NOT_OURS}
    assert plan.changes[0].says.startswith("everybody may no longer")
    with pytest.raises(TrustBroken, match="unsafe, and not named"):
        world.apply(agreed)
    assert world.apply(agreed, *names).left.empty


def test_a_function_with_its_owners_rights_is_told_and_a_plain_one_is_not(world, agreed):
    world.run(
        "CREATE FUNCTION plain() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION strong() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    )
    assert world.names(agreed) == ["- sql.grant features/public EXECUTE functions/public.strong()"]


def test_what_another_gave_is_taken_as_he_would(world, agreed):
    world.run(
        "CREATE ROLE {g}",
        "GRANT USAGE ON SCHEMA public TO {g}",
        "GRANT DELETE ON features TO {g} WITH GRANT OPTION",
        "SET ROLE {g}; GRANT DELETE ON features TO {r}; RESET ROLE",
        "GRANT pg_monitor TO {g} WITH ADMIN OPTION",
        "GRANT pg_monitor TO {r} GRANTED BY {g}",
    )
    assert len(world.names(agreed)) == 2
    assert world.apply(agreed).left.empty
    assert world.ask("SELECT pg_catalog.has_table_privilege(%s, 'features', 'DELETE')", world.group) == [(True,)]


def test_what_a_role_gave_on_stands_in_the_way_and_is_said(world, agreed):
    world.run(
        "CREATE ROLE {g}",
        "GRANT DELETE ON features TO {r} WITH GRANT OPTION",
        "SET ROLE {r}; GRANT DELETE ON features TO {g}; RESET ROLE",
    )
    with pytest.raises(Interrupted, match="dependent privileges exist") as refused:
        world.apply(agreed)
    assert "look whom it was given on to" in refused.value.hint
    world.run("SET ROLE {r}; REVOKE DELETE ON features FROM {g}")
    assert world.resume(agreed).left.empty


def test_what_is_only_told_of_is_taken_by_hand(world, agreed):
    world.run("CREATE TYPE mood AS ENUM ('a')", "GRANT USAGE ON TYPE mood TO {r}")
    assert world.names(agreed) == [f"- sql.grant features/{world.reader} SOME others/type public.mood"]
    with pytest.raises(Interrupted, match="is told of, and not changed by Remit"):
        world.apply(agreed)
    world.run("REVOKE USAGE ON TYPE mood FROM {r}")
    assert world.resume(agreed).left.empty


def test_a_role_that_has_what_it_should_by_another_way_is_given_it_itself(world, agreed):
    """A membership and a right of everybody's are no ground to stand on: they may go tomorrow."""
    world.run(
        "CREATE ROLE {g}",
        "GRANT SELECT ON features TO {g}, PUBLIC",
        "GRANT {g} TO {r}",
        "REVOKE SELECT ON features FROM {r}",
    )
    assert f"+ sql.grant features/{world.reader} SELECT tables/public.features" in world.names(agreed)


@pytest.mark.promise("T6")
def test_tricks_with_names_do_not_mislead(world, agreed):
    """Functions, views and operators beside PostgreSQL's own, where a session would look first."""
    world.run(
        f'ALTER DATABASE "{world.database}" SET search_path TO evil, pg_catalog',
        f'ALTER ROLE remit IN DATABASE "{world.database}" SET search_path TO evil, public, pg_catalog',
        "CREATE SCHEMA evil",
        "CREATE VIEW evil.pg_roles AS SELECT * FROM pg_catalog.pg_roles WHERE false",
        "CREATE VIEW evil.pg_class AS SELECT * FROM pg_catalog.pg_class WHERE false",
        "CREATE FUNCTION evil.aclexplode(aclitem[]) RETURNS SETOF record LANGUAGE sql AS 'SELECT 1 WHERE false'",
        "CREATE FUNCTION evil.ne(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
        "CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.ne)",
        'CREATE TABLE "public; DROP TABLE features; --" ("x""y" int)',
        'GRANT SELECT ON "public; DROP TABLE features; --" TO {r}',
        'GRANT SELECT ("x""y") ON "public; DROP TABLE features; --" TO "{w}"',
    )
    table = '"public; DROP TABLE features; --"'
    assert sorted(world.names(agreed)) == sorted(
        [
            f"- sql.grant features/{world.reader} SELECT tables/public.{table}",
            f'- sql.grant features/{world.writer} SELECT columns/public.{table}."x""y"',
        ]
    )
    assert world.apply(agreed).left.empty
    assert world.ask("SELECT pg_catalog.to_regclass('public.features') IS NOT NULL") == [(True,)]


def test_what_is_not_there_is_a_problem_and_is_not_made(world):
    one = world.roles(reader={"tables/public.nothing": ("SELECT",), "schemas/nowhere": ("USAGE",)})
    problems = world.plan(world.settings(one)).problems
    assert len(problems) == 2
    assert "`sql.object features/tables/public.nothing` is not there, and is not Remit's to make" in problems


@pytest.mark.promise("T6")
def test_killed_at_every_step_it_goes_on_or_goes_back(world, settings):
    """Before and after each of the database's own steps, in turns resumed and rolled back."""

    class Dying:
        name = "sql"

        def __init__(self, cloud, at):
            self._cloud, self._left = cloud, at

        async def read(self, wanted):
            return await self._cloud.read(wanted)

        async def make(self, thing):
            self._left -= 1
            if self._left == 0:
                raise Killed
            found = await self._cloud.make(thing)
            self._left -= 1
            if self._left == 0:
                raise Killed
            return found

    steps = len(world.plan(settings).changes)
    for at in range(1, 2 * steps + 1, 5):
        with pytest.raises(Killed):
            world.apply(settings, cloud=Dying(world.cloud(settings), at))
        undone = world.rollback(settings)
        assert (undone.left, undone.same) == ((), True), at
    assert world.ask("SELECT count(*) FROM pg_roles WHERE rolname = ANY(%s)", [world.reader, world.writer]) == [(0,)]
    with pytest.raises(Killed):
        world.apply(settings, cloud=Dying(world.cloud(settings), steps))
    assert world.resume(settings).left.empty


def test_whoever_may_not_give_is_told_so(world, agreed):
    """PostgreSQL warns and goes on; a grant that was not made is no success."""
    world.run("CREATE ROLE {g} LOGIN", 'REVOKE INSERT ON features FROM "{w}"', "GRANT SELECT ON features TO {g}")
    other = replace(agreed, databases=(replace(agreed.databases[0], administrator=world.group),))
    with pytest.raises(Interrupted, match="is not given to"):
        world.apply(other)
    world.run("REVOKE SELECT ON features FROM {g}")
    with pytest.raises(TrustBroken, match="permission denied") as refused:
        world.resume(other)
    assert world.group in refused.value.hint


PUBLIC_DRIFTS = {
    "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO PUBLIC": "EXECUTE functions/pg_read_file(text)",
    "CREATE FOREIGN DATA WRAPPER w; GRANT USAGE ON FOREIGN DATA WRAPPER w TO PUBLIC": (
        "SOME others/foreign-data wrapper w"
    ),
    "CREATE SERVER s FOREIGN DATA WRAPPER w; GRANT USAGE ON FOREIGN SERVER s TO PUBLIC": "SOME others/server s",
    "SELECT lo_create(4711); GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC": "SOME others/large object 4711",
    "GRANT SET ON PARAMETER log_statement TO PUBLIC": "SOME others/parameter log_statement",
}


@pytest.mark.promise("V12")
def test_what_everybody_was_given_of_what_postgresql_kept_back_is_told(world, agreed):
    world.run(*PUBLIC_DRIFTS)
    try:
        assert sorted(world.names(agreed)) == sorted(
            f"- sql.grant features/public {each}" for each in PUBLIC_DRIFTS.values()
        )
    finally:
        world.run("REVOKE SET ON PARAMETER log_statement FROM PUBLIC")  # the server's, and not this database's alone
