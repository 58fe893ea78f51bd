"""What stock clients do, straight at the database and through the door: the answers are the same."""

import asyncio
import shutil
import subprocess

import psycopg
import pytest
from psycopg import pq, sql
from tests.unit.sql.conftest import WRITER

pytestmark = pytest.mark.promise("T6")


def copies(connection):
    connection.execute("CREATE TEMP TABLE c (id int, note text, data bytea)")
    with connection.cursor() as cursor:
        with cursor.copy("COPY c FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text", "bytea"])
            for n in range(3_000):
                copy.write_row((n, f"note {n}\t\\.\n", b"Q\0\0\0\4X" * (n % 50)))
        with pytest.raises(TypeError):
            _given_up(cursor)
    connection.rollback()
    with connection.cursor() as cursor, cursor.copy("COPY (SELECT id, note FROM claims ORDER BY id) TO STDOUT") as copy:
        return b"".join(copy)


def _given_up(cursor):
    with cursor.copy("COPY c FROM STDIN") as copy:
        copy.write("1\tx\t\\\\x00\n")
        copy.write(1)


def _wrong(cursor):
    with cursor.copy("COPY c FROM STDIN") as copy:
        for _ in range(2_000):
            copy.write("no number\n" * 100)


def _by_zero(connection):
    with connection.pipeline() as pipeline:
        connection.execute("SELECT 1")
        connection.execute("SELECT 1 / %s", [0])
        connection.execute("SELECT 2")
        pipeline.sync()


def copy_that_is_wrong(connection):
    connection.execute("CREATE TEMP TABLE c (id int)")
    connection.commit()
    with pytest.raises(psycopg.DataError):
        _wrong(connection.cursor())
    connection.rollback()
    return connection.execute("SELECT count(*) FROM c").fetchall()


def pipelines(connection):
    found = []
    with connection.pipeline() as pipeline:
        cursors = [connection.execute("SELECT repeat('x', 1000), %s::int", [n]) for n in range(2_000)]
        pipeline.sync()
        found += [cursor.fetchone() for cursor in cursors]
    with pytest.raises(psycopg.errors.DivisionByZero):
        _by_zero(connection)
    connection.rollback()
    with connection.pipeline():
        found.append(connection.execute("SELECT %s::text", ["after it"]).fetchone())
    return found


def cursors_of_the_server(connection):
    found = []
    with connection.cursor("a", scrollable=True, withhold=True) as cursor:
        cursor.execute("SELECT id FROM claims ORDER BY id")
        connection.commit()
        cursor.scroll(500)
        found += cursor.fetchmany(10)
        cursor.scroll(-5)
        found += cursor.fetchone()
    with connection.cursor() as cursor:
        found += list(cursor.stream("SELECT id FROM claims ORDER BY id LIMIT 50"))
    return found


def large_objects(connection):
    number = connection.execute("SELECT lo_create(0)").fetchone()[0]
    descriptor = connection.execute("SELECT lo_open(%s, 393216)", [number]).fetchone()[0]
    connection.execute("SELECT lowrite(%s, %s)", [descriptor, b"\0\1Q" * 100_000])
    connection.execute("SELECT lo_lseek(%s, 0, 0)", [descriptor])
    found = connection.execute("SELECT md5(loread(%s, 400000))", [descriptor]).fetchall()
    connection.execute("SELECT lo_unlink(%s)", [number])
    return found


def prepared(connection):
    found = [connection.execute("SELECT %s::int + 1", [n], prepare=True).fetchone() for n in range(20)]
    for n in range(150):  # more than psycopg keeps: the oldest are closed
        found += connection.execute(sql.SQL("SELECT {}").format(n), prepare=True).fetchall()
    connection.execute("DEALLOCATE ALL")
    with connection.cursor() as cursor:
        cursor.executemany("SELECT %s::text", [(n,) for n in range(300)], returning=True)
        found += [result.fetchone() for result in cursor.results()]
    return found


def whatever_size(connection):
    given = "ü" * 6_000_000
    [[there, size]] = connection.execute("SELECT %s::text, length(%s::text)", [given, given]).fetchall()
    return there == given, size


def encodings(connection):
    connection.execute("SET client_encoding TO latin1")
    found = connection.execute("SELECT 'größe', %s::text", ["größe"]).fetchall()
    connection.execute("SET client_encoding TO sjis")
    return found + connection.execute("SELECT E'表', %s::text", ["表\\"]).fetchall()


def several_results(connection):
    results = connection.pgconn.exec_(b"SELECT 1; SELECT 2 WHERE false; SELECT 1/0; SELECT 3")
    states = [pq.ExecStatus(results.status).name]
    connection.rollback()
    cursor = connection.execute("SELECT 1; SELECT 'x'; SELECT id FROM claims LIMIT 0")
    states.append(cursor.fetchall())
    while cursor.nextset():
        states.append(cursor.fetchall())
    return states


def what_fails(connection):
    found = []
    for text in ("SELECT * FROM salaries", "SELEC", "SELECT 'x'::int", "SET ROLE remit", "COPY claims TO '/tmp/x'", ""):
        try:
            found.append(connection.execute(text).statusmessage)
        except psycopg.Error as error:
            found.append((error.sqlstate, error.diag.message_primary, error.diag.statement_position))
        connection.rollback()
    return found


SCRIPT = r"""
\set ON_ERROR_STOP 0
SELECT count(*) FROM claims;
SELECT id, amount FROM claims WHERE id = 7 \gdesc
\copy (SELECT id FROM claims ORDER BY id LIMIT 3) TO STDOUT
CREATE TEMP TABLE p (id int, note text);
\copy p FROM STDIN
1	one
2	two
\.
SELECT * FROM p ORDER BY id;
SELECT format('SELECT %s', n) FROM generate_series(1, 3) n \gexec
\set FETCH_COUNT 100
SELECT sum(id) FROM claims;
\d claims
\dt claims
SELECT 1/0;
BEGIN; SELECT broken; SELECT 1; ROLLBACK;
LISTEN here; NOTIFY here, 'there';
SELECT 1 \; SELECT 2;
"""


def psql(connection):
    given = connection.info.get_parameters()  # newer ones among them than an older psql knows
    words = {name: given[name] for name in ("host", "port", "user", "dbname") if name in given}
    words["password"] = connection.info.password or "none"
    target = " ".join(f"{name}='{value}'" for name, value in words.items())
    done = subprocess.run(
        [PSQL, "-X", "-q", target], input=SCRIPT, capture_output=True, text=True, timeout=60, check=True
    )
    return [line for line in (done.stdout + done.stderr).splitlines() if "notification" not in line]


PSQL = shutil.which("psql")
WORK = [
    copies,
    copy_that_is_wrong,
    pipelines,
    cursors_of_the_server,
    large_objects,
    prepared,
    whatever_size,
    encodings,
    several_results,
    what_fails,
    *([psql] if PSQL else []),
]


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
def test_answers_are_the_databases_own(world, upstream, work):
    with psycopg.connect(**{**upstream[2], "user": WRITER}) as straight, world.connect(WRITER) as through:
        assert work(through) == work(straight)
    assert not any("\N{REPLACEMENT CHARACTER}" in text for text in world.arbiter.texts()), work


def test_an_asynchronous_client_cancels_and_goes_on(world):
    async def story():
        async with await psycopg.AsyncConnection.connect(**world.address(WRITER)) as connection:
            sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(67)"))
            await asyncio.sleep(0.3)
            await connection.cancel_safe(timeout=20)
            with pytest.raises(psycopg.errors.QueryCanceled):
                await sleeping
            await connection.rollback()
            return await (await connection.execute("SELECT 5")).fetchone()

    assert asyncio.run(story()) == (5,)
