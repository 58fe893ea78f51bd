"""Rows of real databases as tensors, a batch at a time."""

import sqlite3
from contextlib import closing

import pytest

from remit.model.errors import RemitError

QUERY = "SELECT id, amount, merchant, fraud FROM payment ORDER BY id"
NUMBER = 2500


@pytest.fixture
def postgresql(postgres_database):
    import psycopg

    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE payment (id bigint, amount double precision, merchant text, fraud boolean)")
        fill = "INSERT INTO payment SELECT n, n / 4.0, 'm' || n % 7, n % 9 = 0 FROM generate_series(1, {}) n"
        connection.execute(fill.format(NUMBER))
    opened = []

    def connect():
        opened.append(psycopg.connect(postgres_database))
        return opened[-1]

    return connect, opened


@pytest.fixture
def lite(tmp_path):
    path = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a, b)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(1, "x"), (2, "y"), (3, None), (4.5, "z")])
        connection.commit()
    return lambda: sqlite3.connect(path, check_same_thread=False)


@pytest.mark.promise("T6")
def test_rows_of_postgresql_come_in_batches_of_tensors(tf, postgresql):
    from remit.tensorflow import rows

    connect, opened = postgresql
    dataset = rows(QUERY, connect=connect, batch=1000)
    assert {name: spec.dtype for name, spec in dataset.element_spec.items()} == {
        "id": tf.int64,
        "amount": tf.float64,
        "merchant": tf.string,
        "fraud": tf.bool,
    }
    for _ in range(2):
        batches = list(dataset.as_numpy_iterator())
        assert [len(each["id"]) for each in batches] == [1000, 1000, 500]
        assert [value for each in batches for value in each["id"].tolist()] == list(range(1, NUMBER + 1))
        assert batches[0]["merchant"][:2].tolist() == [b"m1", b"m2"]
        assert batches[0]["amount"][1] == 0.5
    assert len(opened) == 3, "one to see the columns, one for each pass: each with a token of its own"
    assert all(connection.closed for connection in opened)


def test_a_large_answer_is_not_fetched_whole(tf, postgresql):
    from remit.tensorflow import rows

    signature = {"n": tf.TensorSpec([None], tf.int64)}
    query = "SELECT 1 / (100000 - n) AS n FROM generate_series(1, 100001) n"  # its end is an error
    dataset = rows(query, connect=postgresql[0], batch=10, output_signature=signature, prefetch=1)
    assert [len(each["n"]) for each in dataset.take(2)] == [10, 10]


def test_an_iteration_that_is_left_closes_its_connection(tf, postgresql):
    import gc

    from remit.tensorflow import rows

    connect, opened = postgresql
    for _ in rows(QUERY, connect=connect, batch=10).take(1):
        pass
    gc.collect()
    assert all(connection.closed for connection in opened)


def test_parameters_stay_values(tf, postgresql):
    from remit.tensorflow import rows

    query = "SELECT id FROM payment WHERE merchant = %s"
    with pytest.raises(RemitError, match="no rows"):
        rows(query, connect=postgresql[0], parameters=["m1' OR '1'='1"])
    assert len(next(rows(query, connect=postgresql[0], parameters=["m1"]).as_numpy_iterator())["id"]) > 300


def test_a_role_decides_what_can_be_read(tf, postgresql):
    """PostgreSQL itself holds the role to its tables; its words reach whoever reads."""
    import psycopg

    from remit.tensorflow import rows

    connect, _ = postgresql
    with closing(connect()) as connection:
        connection.autocommit = True
        connection.execute("DROP ROLE IF EXISTS nobody_in_particular")
        connection.execute("CREATE ROLE nobody_in_particular")

    def as_role():
        connection = connect()
        connection.execute("SET ROLE nobody_in_particular")
        return connection

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table payment"):
        rows(QUERY, connect=as_role)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT a, b FROM t WHERE a = 3", "`b` begins with NULL"),
        ("SELECT a, a FROM t", "a name of its own"),
        ("SELECT a FROM t WHERE a > 9", "no rows"),
        ("DELETE FROM t", "a name of its own"),
    ],
)
def test_what_is_no_tensor_is_told(tf, lite, query, said):
    from remit.tensorflow import rows

    with pytest.raises(RemitError, match=said):
        rows(query, connect=lite)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT b FROM t", "column `b` has NULL"),
        ("SELECT a FROM t", "column `a` has more than whole numbers"),
    ],
)
def test_what_becomes_none_on_the_way_is_told(tf, lite, query, said):
    from remit.tensorflow import rows

    with pytest.raises(tf.errors.UnknownError, match=said):
        list(rows(query, connect=lite))


@pytest.mark.parametrize(
    ("query", "kind", "said"),
    [
        ("SELECT 'false' AS a", "bool", "more than yes and no"),
        ("SELECT 2 AS a", "bool", "more than yes and no"),
        ("SELECT '1.5' AS a", "float64", "has text"),
        ("SELECT x'31' AS a", "float32", "has text"),
        ("SELECT 1 AS a", "string", "more than text"),
        ("SELECT 9223372036854775807 AS a", "int32", "does not fit"),
    ],
)
def test_what_does_not_become_what_was_declared_is_told(tf, lite, query, kind, said):
    from remit.tensorflow import rows

    signature = {"a": tf.TensorSpec([None], getattr(tf, kind))}
    with pytest.raises(tf.errors.UnknownError, match=said):
        list(rows(query, connect=lite, output_signature=signature))


def test_yes_and_no_are_declared_for_a_database_that_has_numbers_only(tf, lite):
    from remit.tensorflow import rows

    signature = {"a": tf.TensorSpec([None], tf.bool)}
    [batch] = rows("SELECT 1 AS a UNION ALL SELECT 0", connect=lite, output_signature=signature)
    assert sorted(batch["a"].numpy().tolist()) == [False, True]


def test_nothing_is_written(tf, lite):
    from remit.tensorflow import rows

    with pytest.raises(RemitError):
        rows("INSERT INTO t VALUES (5, 'w')", connect=lite)
    with closing(lite()) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (4,)


def test_another_query_than_was_declared_is_told(tf, lite):
    from remit.tensorflow import rows

    signature = {"other": tf.TensorSpec([None], tf.int64)}
    with pytest.raises(tf.errors.UnknownError, match="declared are"):
        list(rows("SELECT a FROM t", connect=lite, output_signature=signature))
