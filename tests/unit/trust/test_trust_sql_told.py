"""What is told of databases: by a verification, as drift, and in the words of a plan."""

import asyncio
import io
from dataclasses import replace

import pytest
import yaml
from tests.unit.trust.sql_world import World

from remit.model.errors import HopFailed, TrustBroken
from remit.model.reasons import Reason
from remit.trust.clouds.sql_names import Place, place
from remit.trust.desired.sql import sql, unseen
from remit.trust.drifting.adoption import adoption
from remit.trust.drifting.attribution import cause
from remit.trust.drifting.blast import Known, blast
from remit.trust.drifting.drift import drifts
from remit.trust.drifting.edit import edited
from remit.trust.drifting.report import Explained, render
from remit.trust.planning.diff import plan
from remit.trust.planning.gcloud import gcloud
from remit.trust.planning.render import render as page
from remit.trust.planning.sql import sql as script
from remit.trust.planning.terraform import terraform
from remit.trust.settings import DatabaseRoles
from remit.trust.verifying.databases import Case, findings, unasked, walked


@pytest.fixture
def world(postgres_database, tmp_path):
    made = World(postgres_database, tmp_path)
    made.run("CREATE TABLE features (id int, secret text)", "CREATE SCHEMA hidden", "CREATE TABLE hidden.t (x int)")
    yield made
    made.close()


@pytest.fixture
def settings(world):
    given = {
        "reader": {"tables/public.features": ("SELECT",), "tables/hidden.t": ("SELECT",)},
        "writer": {"tables/public.features": ("INSERT",)},
    }
    return world.settings(world.roles(**given))


def case(world, settings, connects=None):
    [one] = settings.databases
    given = connects or {world.reader: ("DataScientist", "MLEngineer"), world.writer: ("Pipeline",)}
    return Case(one, given, asyncio.run(world.cloud(settings).look(one)))


def lines(world, settings, connects=None):
    found = findings(case(world, settings, connects))
    return sorted(f"{one.kind} {one.account} {one.permission} {one.resource}" for one in found)


@pytest.mark.promise("V3")
def test_three_sides_are_held_against_each_other(world, settings):
    r, w = world.reader, world.writer
    assert lines(world, settings) == sorted(f"missing {role} LOGIN databases/features" for role in (r, w))
    assert world.apply(settings).left.empty
    hidden = f"clash {r} USAGE databases/features/tables/hidden.t"
    assert lines(world, settings) == [hidden], "a table in a schema that it does not find"
    [hop] = unasked(case(world, settings, {r: ("DataScientist",), w: ()}))
    assert (hop.name, hop.holds, hop.walked) == (f"sql-policy features/{w}", True, False)
    world.run(
        "GRANT USAGE ON SCHEMA hidden TO {r}",
        "REVOKE SELECT ON features FROM {r}",
        "CREATE ROLE {g}",
        "GRANT DELETE ON features TO {g}",
        "GRANT UPDATE (secret) ON features TO PUBLIC",
        'GRANT {g} TO "{w}"',
        "ALTER ROLE \"{w}\" NOLOGIN CREATEROLE PASSWORD 'left'",
        "DROP TABLE hidden.t",
    )
    assert lines(world, settings) == sorted(
        [
            f"missing {r} SELECT databases/features/tables/public.features",
            f"missing {r} SELECT databases/features/tables/hidden.t",
            f"excess {r} USAGE databases/features/schemas/hidden",
            "excess  UPDATE databases/features/columns/public.features.secret",
            f"clash {w} LOGIN databases/features",
            f"excess {w} CREATEROLE databases/features",
            f"excess {w} PASSWORD databases/features",
            f"excess {w} {world.group} databases/features",
            f"excess {w} DELETE databases/features/tables/public.features",
        ]
    )
    found = {one.permission: one for one in findings(case(world, settings))}
    assert found["UPDATE"].role == "DataScientist and MLEngineer and Pipeline"
    assert found["DELETE"].said == f"it has it as a member of `{world.group}`"
    assert all(one.cure for one in found.values())


def test_each_role_is_walked_or_said_to_be_read(world, settings):
    world.run("CREATE ROLE {r} LOGIN", 'CREATE ROLE "{w}"')
    broken = HopFailed("database-certificate", Reason.EXCHANGE_UNAVAILABLE, "the databases' authority has expired")

    async def enter(database, role):
        if role == world.reader:
            return answer
        raise broken

    for answer in (True, False):
        here, away = asyncio.run(walked(case(world, settings), enter))
        assert (here.holds, here.walked) == (True, answer)
        assert (away.holds, away.said) == (False, broken.message)
        assert "pg_hba.conf" in away.cure


@pytest.mark.promise("T6")
def test_drift_is_told_with_what_it_means_and_without_a_name(world, settings):
    assert world.apply(settings).left.empty
    world.run(
        "GRANT pg_read_all_data TO {r}", "GRANT DELETE ON features TO {r}", "GRANT CREATE ON SCHEMA public TO PUBLIC"
    )
    found = drifts(world.plan(settings), settings)
    told = render([Explained(one, cause(one, {}, ()), blast(one, Known(settings))) for one in found])
    for words in (
        "PostgreSQL keeps no record of who and when",
        f"gains: whoever connects to features as {world.reader}: all that pg_read_all_data may do",
        f"gains: whoever connects to features as {world.reader}: to DELETE from public.features",  # noqa: S608 - no statement
        "gains: everybody at features: to make tables and functions in schema public",
        "! wide-scope: it would have all that `pg_read_all_data` may do, on the whole server",
        "! widens: everybody at the database would hold it",
    ):
        assert words in " ".join(told.split()), words


def test_a_grant_is_adopted_into_the_file_and_nothing_else_is(world, settings):
    assert world.apply(settings).left.empty
    r = world.reader
    text = f"trust:\n  databases:\n    features:\n      administrator: dba\n      roles:\n        {r}:\n"
    text += "          tables/public.features: [SELECT]\n          tables/hidden.t: [SELECT]  # kept\n"
    world.run("GRANT DELETE ON features TO {r}", "REVOKE SELECT ON hidden.t FROM {r}")
    edits = tuple(edit for one in drifts(world.plan(settings), settings) for edit in adoption(one, settings))
    given = yaml.safe_load(io.StringIO(edited(text, edits)))["trust"]["databases"]["features"]["roles"][r]
    assert given == {"tables/public.features": ["SELECT", "DELETE"]}
    for statement in (
        "GRANT DELETE ON features TO PUBLIC",
        "GRANT {g} TO {r}",
        "GRANT SELECT ON pg_authid TO {r}",
        "GRANT UPDATE (secret) ON features TO {r}",
        "GRANT SELECT ON features TO {r} WITH GRANT OPTION",
        "REVOKE CONNECT ON DATABASE {d} FROM {r}",
    ):
        assert world.apply(settings, *(change.name for change in world.plan(settings).changes)).left.empty
        world.run(*(["CREATE ROLE {g}"] if "{g}" in statement else []), statement.replace("{d}", world.database))
        [one] = drifts(world.plan(settings), settings)
        with pytest.raises(TrustBroken, match="cannot be adopted"):
            adoption(one, settings)


ONE = DatabaseRoles(
    "claims",
    "db.example:5432",
    "claims",
    ("reader",),
    administrator="dba",
    grants={"reader": {"schemas/s": ("USAGE", "CREATE"), 'tables/s."a.b"': ("SELECT", "TRIGGER")}},
)


def test_a_plan_reads_as_who_may_do_what_and_marks_what_gives_the_rest(world, settings):
    mine = replace(settings, databases=(ONE,))
    made = plan(sql(mine), (), mine)
    text = page(made)
    for words in (
        "PostgreSQL\n  database claims: reader",
        "+ role         reader",
        '+ grant        SELECT on tables/s."a.b"',
        'reader may SELECT from s."a.b"',
        "widens: `CREATE`: reader may put there what others find in place of their own",
        "widens: `TRIGGER`: reader may have its own code run by whoever writes there",
    ):
        assert words in text, words
    assert {change.name for change in made.changes if change.unsafe} == {
        "sql.grant claims/reader CREATE schemas/s",
        'sql.grant claims/reader TRIGGER tables/s."a.b"',
    }
    assert 'GRANT SELECT, TRIGGER ON TABLE "s"."a.b" TO "reader";' in script([ONE], {})
    assert '\\connect "claims"\n' in script([ONE], {})
    assert "`remit trust plan --out sql`" in terraform(sql(mine))
    assert "`remit trust plan --out sql`" in gcloud(made)
    assert unseen(replace(mine, databases=(ONE, replace(ONE, name="other", administrator="")))) == (
        "the database `other`: `trust.databases` does not name it",
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("database", ()),
        ("schemas/public", ("public",)),
        ("tables/a.b", ("a", "b")),
        ('tables/"a.b"."c""d/e f"', ("a.b", 'c"d/e f')),
        ('columns/a.b."."', ("a", "b", ".")),
        ("defaults/tables/owner.s", ("owner", "s")),
        ("functions/public.f(integer)", ("public.f(integer)",)),
    ],
)
def test_names_come_back_as_they_were(text, parts):
    assert place(text).parts == parts
    assert str(place(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "database/x", "schemas/", "schemas/a.b", "tables/a", "tables/a.b.c", 'tables/a."b', "tables/a.b\n", "x/y"],
)
def test_what_is_no_name_is_none(text):
    with pytest.raises(ValueError, match=r".*"):
        place(text)


def test_two_objects_never_have_one_name():
    assert str(Place("tables", ("a.b", "c"))) != str(Place("tables", ("a", "b.c")))
