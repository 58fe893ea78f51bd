"""Stock clients through the door, to a real PostgreSQL: what passes, what ends, and what is known of it afterwards."""

import asyncio
import os
import socket
import threading
import time

import psycopg
import pytest
import sqlalchemy
from psycopg_pool import ConnectionPool
from tests.unit.sql.conftest import READER, WRITER

pytestmark = pytest.mark.promise("T6")


def test_a_stock_client_reads_as_its_role(world):
    with world.connect() as connection:
        assert connection.execute("SELECT count(*), current_user, session_user FROM claims").fetchone() == (
            1000,
            READER,
            READER,
        )
        assert connection.info.parameter_status("server_version")
    [wish] = world.arbiter.heard
    assert (wish.database, wish.role, wish.peer) == ("fraud", READER, "127.0.0.1")


def test_what_a_role_may_is_postgresqls_word(world):
    with world.connect() as connection:
        for statement in ("SELECT * FROM salaries", "DELETE FROM claims", f"SET ROLE {WRITER}", "SET ROLE remit"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
            connection.rollback()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SET SESSION AUTHORIZATION remit")
        connection.rollback()
    with world.connect(WRITER) as connection:
        connection.execute("UPDATE claims SET note = 'seen' WHERE id = 1")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"password": "a token that nobody knows"}, "the token has expired"),
        ({"password": ""}, "no password supplied|carries no identity"),
        ({"user": "remit"}, "no policy permits this"),
        ({"user": f'"{READER}"'}, "no policy permits this"),
        ({"user": READER.upper()}, "no policy permits this"),
        ({"dbname": "Fraud"}, "no policy permits this"),
        ({"dbname": "postgres"}, "no policy permits this"),
        ({"dbname": "fraud "}, "no policy permits this"),
        ({"options": "-c role=remit"}, "`role` cannot be set"),
        ({"options": "-c session_preload_libraries=x"}, "cannot be set"),
        ({"options": "-d 5"}, "`options` may hold"),
        ({"options": "--search_path=public -f s"}, "`options` may hold"),
        ({"replication": "database"}, "replication does not pass"),
        ({"replication": "true"}, "replication does not pass"),
    ],
)
def test_whoever_may_not_is_told_why(world, changed, said):
    with pytest.raises(psycopg.OperationalError, match=said):
        psycopg.connect(**{**world.address(), **changed})


def test_a_refusal_has_its_decision_and_a_hint(world):
    with pytest.raises(psycopg.OperationalError) as caught:
        world.connect("remit")
    assert "decision d-" in str(caught.value)
    assert "HINT:  ask for a grant" in str(caught.value)
    assert "dana-token" not in str(caught.value)


def test_settings_pass_and_the_run_is_known(world):
    job = "j-" + "0" * 26
    more = {"application_name": f"train.py {job}", "options": "-c search_path=public -c statement_timeout=5s"}
    with world.connect(**more) as connection:
        assert connection.execute("SHOW search_path").fetchone() == ("public",)
        assert connection.execute("SHOW statement_timeout").fetchone() == ("5s",)
        assert connection.execute("SHOW application_name").fetchone() == (f"train.py {job}",)
    assert world.arbiter.heard[0].job == job


def test_copy_in_both_directions(world):
    rows = [(n, n / 2, f"copied {n}") for n in range(10_000, 30_000)]
    with world.connect(WRITER) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY claims FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        with cursor.copy("COPY (SELECT id, note FROM claims WHERE id >= 10000 ORDER BY id) TO STDOUT") as copy:
            assert [int(row[0]) for row in copy.rows()] == [row[0] for row in rows]
        connection.rollback()


def test_rows_of_any_size(world):
    with world.connect() as connection:
        big = "x" * (20 << 20)
        assert connection.execute("SELECT %s::text", [big]).fetchone() == (big,)


def test_prepared_statements_and_pipelines(world):
    with world.connect() as connection:
        for n in range(20):  # psycopg prepares after five
            assert connection.execute("SELECT id FROM claims WHERE id = %s", [n + 1]).fetchone() == (n + 1,)
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int", [n], prepare=True) for n in range(500)]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(500))
    world.wait(lambda: "select id from claims where id = ?" in world.arbiter.texts())


def test_notices_and_listening(world):
    seen = []
    with world.connect() as connection:
        connection.add_notice_handler(lambda said: seen.append(said.message_primary))
        connection.autocommit = True
        connection.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
        connection.execute("LISTEN news")
        with world.connect(WRITER, autocommit=True) as other:
            other.execute("NOTIFY news, 'it happened'")
        assert [said.payload for said in connection.notifies(timeout=10, stop_after=1)] == ["it happened"]
    assert seen == ["hello"]


def test_a_pool_and_sqlalchemy(world):
    with ConnectionPool(kwargs=world.address(), min_size=2, max_size=4) as pool:
        pool.wait(20)
        with pool.connection() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    engine = sqlalchemy.create_engine("postgresql+psycopg://", connect_args=world.address(), pool_pre_ping=True)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM claims").scalar() == 1000
    engine.dispose()


def test_a_client_cancels_its_own_query(world):
    with world.connect() as connection:
        threading.Timer(0.5, connection.cancel_safe, kwargs={"timeout": 10}).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")


def test_nobody_cancels_with_another_secret(world):
    with world.connect() as connection, world.connect() as other:
        process = connection.info.backend_pid
        done = threading.Event()

        def sleep() -> None:
            connection.execute("SELECT pg_sleep(1.5)")
            done.set()

        running = threading.Thread(target=sleep)
        running.start()
        for secret in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"12345678"):
            world.loop.run(cancelled(world, process, secret))
        other.cancel_safe(timeout=10)
        running.join(30)
        assert done.is_set()


async def cancelled(world, process, secret):
    reader, writer = await asyncio.open_connection("127.0.0.1", world.settings.port)
    packet = (80877102).to_bytes(4) + process.to_bytes(4) + secret
    writer.write((len(packet) + 4).to_bytes(4) + packet)
    assert await reader.read() == b""
    writer.close()


def running(owner, statement):
    query = "SELECT count(*) FROM pg_stat_activity WHERE query = %s AND state = 'active' AND pid <> pg_backend_pid()"
    return owner.execute(query, [statement]).fetchone()[0]


def test_a_client_that_drops_takes_its_query_with_it(world, owner):
    statement = "SELECT pg_sleep(61)"
    connection = world.connect()
    connection.pgconn.send_query(statement.encode())
    connection.pgconn.flush()
    world.wait(lambda: running(owner, statement))
    with socket.socket(fileno=os.dup(connection.fileno())) as link:
        link.shutdown(socket.SHUT_RDWR)  # without a word, as whoever is killed
    world.wait(lambda: not running(owner, statement))
    world.wait(lambda: not len(world.door))
    connection.close()


def test_a_database_that_drops_ends_the_client(world, owner):
    with world.connect() as connection:
        owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [READER])
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            connection.execute("SELECT 1")
    world.wait(lambda: not len(world.door))


@pytest.mark.promise("V22")
def test_whoever_is_revoked_is_cut_and_told_so(world, owner):
    connection = world.connect()
    statement = "SELECT pg_sleep(62)"
    threading.Timer(0.3, lambda: world.arbiter.over.add("d-00000000000000000000000001")).start()
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="the permit of this connection is over"):
        connection.execute(statement)
    assert time.monotonic() - began < 20
    world.wait(lambda: not running(owner, statement))
    assert connection.closed


def test_an_arbiter_that_cannot_be_asked_ends_everything(make_world):
    world = make_world(blind_seconds=0.5, flush_seconds=60)
    with world.connect() as connection:
        world.arbiter.away = True
        with pytest.raises(psycopg.OperationalError, match="cannot say whether"):
            connection.execute("SELECT pg_sleep(30)")


def test_what_cannot_be_recorded_does_not_go_on(world):
    with world.connect() as connection:
        world.arbiter.unrecordable = True
        with pytest.raises(psycopg.OperationalError, match="could not be recorded"):
            connection.execute("SELECT pg_sleep(30)")


def test_a_permit_that_has_an_end_ends(world):
    world.arbiter.until = int(time.time()) + 2
    with (
        pytest.raises(psycopg.OperationalError, match="permit of this connection is over"),
        world.connect() as connection,
    ):
        connection.execute("SELECT pg_sleep(60)")


def test_a_connection_lives_for_a_while_and_ends_between_transactions(make_world):
    world = make_world(lifetime=0.3)
    connection = world.connect()
    for _ in range(10):  # one transaction
        connection.execute("SELECT pg_sleep(0.1)")
    connection.commit()
    world.wait(lambda: not len(world.door))
    with pytest.raises(psycopg.OperationalError, match="has lived its"):
        connection.execute("SELECT 1")


def test_one_principal_has_so_many_connections(make_world):
    world = make_world(each=2)
    with world.connect(), world.connect():
        with pytest.raises(psycopg.OperationalError, match="2 connections of yours are open"):
            world.connect()
        world.arbiter.people["pat-token"] = ("t/pat", {("fraud", READER)})
        world.connect(password="pat-token").close()


@pytest.mark.promise("T3")
def test_what_runs_is_recorded_without_what_it_holds(world):
    with world.connect() as connection:
        connection.execute("SELECT note FROM claims WHERE note = 'a secret of Dana''s' AND amount > 12.5 -- hush")
        for n in range(3):
            connection.execute("SELECT id FROM claims WHERE id = %s", [n], prepare=True)
        connection.execute("SELECT 1; SELECT $tag$quoted$tag$")
    world.wait(lambda: any("tag" not in text and ";" in text for text in world.arbiter.texts()))
    texts = world.arbiter.texts()
    assert "select note from claims where note = ? and amount > ?" in texts
    assert "select ?; select ?" in texts
    assert not any(word in text for text in texts for word in ("secret", "hush", "quoted", "12"))
    counted = {one.text: one.count for all_ in world.arbiter.recorded.values() for one in all_}
    assert counted["select id from claims where id = ?"] == 3


def test_a_door_that_is_followed_by_another_lets_its_own_go_on(world):
    with world.connect() as connection:
        world.leave()
        world.wait(lambda: refuses(world))
        assert connection.execute("SELECT 1").fetchone() == (1,)


def refuses(world):
    try:
        world.connect().close()
    except psycopg.OperationalError:
        return True
    return False


def test_a_door_that_closes_waits_for_what_is_under_way(world):
    with world.connect() as connection, world.connect(autocommit=True) as idle:
        idle.execute("SELECT 1")
        threading.Timer(0.3, lambda: world.loop.loop.call_soon_threadsafe(world.stop.set)).start()
        assert connection.execute("SELECT pg_sleep(1), 7").fetchone()[1] == 7
        with pytest.raises(psycopg.OperationalError, match="closes this door"):
            idle.execute("SELECT 1")
