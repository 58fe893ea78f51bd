"""Once means once: in any database, from any number of processes, and after a restart."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, func, select

from remit.identity import replay
from remit.identity.replay import CLEAR_EVERY, GRACE, Replay
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.state.database import open_database
from remit.state.schema import migrate
from remit.state.settings import StateSettings

NOW = 1_795_000_000

RACE = """
import sys
from remit.identity.replay import Replay
from remit.model.errors import Refused
from remit.state.database import open_database
from remit.state.settings import StateSettings

replay = Replay(open_database(StateSettings(sys.argv[1], 20_000)))
print("ready", flush=True)
sys.stdin.readline()
print(*(n for n in range(40) if replay.first("saml", f"race-{n}", 1_795_000_100, 1_795_000_000)))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path) -> str:
    return f"sqlite:///{tmp_path}/state.db" if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_database(StateSettings(url, 20_000))
    migrate(engine, "replay", replay.metadata, replay.STEPS)
    yield engine
    with engine.begin() as connection:
        connection.execute(replay.seen.delete())
    engine.dispose()


def test_only_the_first_is_first(engine: Engine) -> None:
    seen = Replay(engine)
    assert seen.first("saml", "a", NOW + 10, NOW) is True
    assert seen.first("saml", "a", NOW + 10, NOW) is False
    assert seen.first("saml", "a", NOW + 99, NOW + 9) is False
    assert seen.first("set", "a", NOW + 10, NOW) is True
    assert seen.first("saml", "A", NOW + 10, NOW) is True
    assert seen.first("saml", "x" * 100_000 + "\udc80", NOW + 10, NOW) is True


@pytest.mark.promise("V5")
def test_a_restart_forgets_nothing(engine: Engine, url: str) -> None:
    Replay(engine).first("saml", "a", NOW + 10, NOW)
    engine.dispose()
    again = open_database(StateSettings(url))
    assert Replay(again).first("saml", "a", NOW + 10, NOW) is False
    again.dispose()


def test_among_processes_each_name_has_one_winner(engine: Engine, url: str) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", RACE, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 3
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        won = [name for racer in racers for name in racer.communicate(timeout=60)[0].split()]
        assert [racer.returncode for racer in racers] == [0, 0, 0]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert sorted(map(int, won)) == list(range(40))


def test_what_nobody_needs_is_cleared_now_and_then(engine: Engine) -> None:
    seen = Replay(engine)

    def rows() -> int:
        with engine.begin() as connection:
            return connection.execute(select(func.count()).select_from(replay.seen)).scalar_one()

    seen.first("saml", "old", NOW + 10, NOW)
    late = NOW + 10 + GRACE + 1
    seen.first("saml", "new", late + 999, late)
    assert rows() == 1
    seen.first("saml", "short", late + 1, late)
    seen.first("saml", "newer", late + 999, late + CLEAR_EVERY - 1)
    assert rows() == 3
    assert seen.first("saml", "short", late + 999, late + 2) is False, "its row outlives its end"


def test_what_has_ended_is_never_first(engine: Engine) -> None:
    for until in (NOW, NOW - 1):
        with pytest.raises(Refused) as caught:
            Replay(engine).first("saml", "a", until, NOW)
        assert caught.value.reason is Reason.TOKEN_EXPIRED
    assert Replay(engine).first("saml", "a", NOW + 1, NOW) is True


@pytest.mark.promise("V5")
def test_a_database_that_fails_is_a_refusal(engine: Engine) -> None:
    seen = Replay(engine)
    replay.metadata.drop_all(engine)
    try:
        with pytest.raises(Refused) as caught:
            seen.first("saml", "a", NOW + 10, NOW)
        assert caught.value.reason is Reason.PLANE_UNAVAILABLE
        seen._clear(NOW)  # costs nobody an answer
    finally:
        replay.metadata.create_all(engine)
