"""Fingerprints: alike for what differs in literals only, and never with anything of one."""

import random
import string

import pytest

from remit.sql.statements import CAPTURE, FULL, SHOWN, Tally, normalised, statement

pytestmark = pytest.mark.promise("T3")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("SELECT 1", "select ?"),
        ("  select\n\t1 ; ", "select ?;"),
        ("SELECT * FROM t WHERE a='x' AND b = 'it''s'", "select * from t where a = ? and b = ?"),
        ("select E'a\\'b', e'\\\\' , c", "select ?, c"),
        ("select U&'d\\0061t' UESCAPE '!', U&\"d\\0061t\"", 'select ? uescape ?, U&"d\\0061t"'),
        ("select B'1001', X'1F', N'x', t.typename'x'", "select ?, t.typename ?"),
        ("select $$a 'quoted' $x$ text$$, $x$ $$ $x$, $1, $22", "select ?"),
        ("select a$1$b from t", "select a$1$b from t"),
        ("select $1a$ from t", "select ? a$ from t"),
        ("select 'open", "select ?"),
        ("select $tag$ open $ta$", "select ?"),
        ('select "Quoted ""Name"" -- no comment" from t', 'select "Quoted ""Name"" -- no comment" from t'),
        ("select /* a /* nested */ comment */ 1 -- and\n, 2.5e-3, .5, 1_000, 0x1F", "select ?"),
        ("select a--b\nfrom t", "select a from t"),
        ("select 1 /* open /* twice */", "select ?"),
        ("select * from t where id in (1, 2, 3)", "select * from t where id in (?)"),
        ("insert into t values (1, 'a'), (2, 'b'), (3, 'c')", "insert into t values (?)"),
        ("select a::text, b<=c, d->>'e', x||y", "select a :: text, b <= c, d ->> ?, x || y"),
        ("select 'a'\n 'b' -- still\n 'c', d", "select ?, d"),
        ("select E'a'\n'b\\'c', d", "select ?, d"),
        ("select 'a' 'b'", "select ? ?"),
        ("select größe, \N{SNOWMAN} from t", "select größe, \N{SNOWMAN} from t"),
        ("", ""),
    ],
)
def test_what_is_left_of_a_text(text, normal):
    assert normalised(text) == normal


@pytest.mark.parametrize("text", [r"select 'a\' or b = 'hidden'", r"select 'a\'' , 'hidden'", r"select N'\'hidden'"])
def test_what_can_be_read_in_two_ways_is_not_kept(text):
    assert normalised(text).endswith("? …")
    assert "hidden" not in normalised(text)


@pytest.mark.parametrize(
    ("encoding", "letter"), [("shift_jis", "表"), ("big5", "許"), ("gbk", "昞"), ("shift_jis", "ﾃ表")]
)
def test_half_a_letter_is_no_backslash(encoding, letter):
    text = f"values (E'{letter}', 'hidden')".encode(encoding)
    assert text.count(b"\\") == 1
    assert statement(text).text == "values (? …"


def test_nothing_of_a_literal_is_ever_left():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    quotes = [
        lambda s: "'" + s.replace("'", "''").replace("\\", "") + "'",
        lambda s: "E'" + s.replace("\\", "\\\\").replace("'", "\\'") + "'",
        lambda s: f"$q${s.replace('$', '')}$q$",
        lambda s: f"/* {s.replace('*', '').replace('/', '')} */ 1",
        lambda s: f"1 -- {s}\n",
    ]
    signs = string.ascii_letters + "'\"\\$-/* ;(),"
    for _ in range(2_000):
        secret = "".join(draw.choice(signs) for _ in range(draw.randrange(12))) + "SECRET"
        parts = [draw.choice(["a", "from", "(", ")", ",", "=", '"c"', draw.choice(quotes)(secret)]) for _ in range(12)]
        text = " ".join(parts)
        assert "secret" not in normalised(text).lower(), (seed, text)


def test_long_texts_are_known_by_their_beginning():
    found = statement(("select " + "a," * 5_000).encode()[:CAPTURE])
    assert len(found.text) == SHOWN
    assert found.text.endswith("…")
    assert len(found.fingerprint) == 64
    assert found.fingerprint != statement(b"select a").fingerprint
    assert statement(b"select 'a'") == statement(b"SELECT   'b' -- c")
    assert statement(b"\xff\xfe").text == "\ufffd\ufffd"


def tally():
    now = iter(range(1, 10_000))
    return Tally(lambda: next(now))


def parse(name, text):
    return name + b"\0" + text + b"\0\0\0"


def bind(portal, name):
    return portal + b"\0" + name + b"\0\0\0\0\0\0\0"


def test_what_is_prepared_counts_when_it_runs():
    found = tally()
    found.heard(ord("P"), parse(b"s1", b"select $1"))
    assert [(one.text, one.count) for one in found.take()] == [("select ?", 0)]
    for _ in range(3):
        found.heard(ord("B"), bind(b"", b"s1"))
    found.heard(ord("Q"), b"select 2\0")
    [one] = found.take()
    assert (one.text, one.count, one.first, one.last) == ("select ?", 4, 2, 5)
    assert found.take() == ()


def counted(found):
    return {one.text: one.count for one in found.take()}


def test_a_name_that_is_given_again_counts_for_all_that_it_may_stand_for():
    """The server refuses the second, or passes it over after an error: the first is what runs."""
    found, name = tally(), b"s" * 63
    found.heard(ord("P"), parse(name, b"delete from t"))
    found.heard(ord("P"), parse(name + b"other", b"select 1"))
    found.heard(ord("B"), bind(b"", name + b"third"))
    assert counted(found) == {"delete from t": 1, "select ?": 1}
    for n in range(40):
        found.heard(ord("P"), parse(b"t", b"select a%d" % n))
    found.heard(ord("B"), bind(b"", b"t"))
    told = counted(found)
    assert (told["select a0"], told["a statement that was prepared too long ago"]) == (1, 1)


def test_what_has_no_name_counts_when_it_comes():
    found = tally()
    found.heard(ord("P"), parse(b"", b"delete from t"))
    found.heard(ord("P"), parse(b"", b"select a"))
    for _ in range(3):
        found.heard(ord("B"), bind(b"", b""))
    assert counted(found) == {"delete from t": 1, "select a": 3}


@pytest.mark.parametrize("message", [(ord("Q"), b" " * CAPTURE), (ord("P"), b"\0" + b" " * CAPTURE)])
def test_what_stands_behind_much_else_is_told_as_cut(message):
    found = tally()
    found.heard(*message)
    [one] = found.take()
    assert one.text == "…"


def test_what_could_not_be_recorded_is_still_to_be():
    found = tally()
    found.heard(ord("Q"), b"select 1\0")
    taken = found.take()
    found.heard(ord("Q"), b"select 2\0")
    found.put_back(taken)
    assert [(one.count, one.first, one.last) for one in found.take()] == [(2, 1, 2)]


def test_a_statement_that_was_forgotten_is_told_as_such():
    found = tally()
    for n in range(1_001):
        found.heard(ord("P"), parse(b"s%d" % n, b"select a"))
    found.heard(ord("B"), bind(b"", b"s0"))
    found.heard(ord("F"), b"\0\0\0\1")
    assert {one.text: one.count for one in found.take()} == {
        "select a": 0,
        "a statement that was prepared too long ago": 1,
        "a call of a function by its number": 1,
    }


def test_so_many_different_ones_are_counted_at_once():
    found = tally()
    for n in range(FULL):
        assert not found.full
        found.heard(ord("Q"), b"select a%d\0" % n)
    assert found.full
    found.take()
    assert not found.full
