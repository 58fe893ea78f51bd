"""What somebody leaves running behind him: it ends with his connection, however he goes and whatever he sent ahead."""

import asyncio
import contextlib

import pytest
from tests.unit.sql.conftest import READER
from tests.unit.sql.test_sql_attacks import ASK, Raw, password, startup

from remit.model.secret import UnverifiedToken
from remit.sql.asking import arbiter
from remit.sql.ports import Wish
from remit.sql.protocol import NOT_NOW
from remit.sql.recording import Recording
from remit.sql.statements import Tally

pytestmark = [pytest.mark.promise("T6"), pytest.mark.promise("V22")]

LEAVE = b"X\0\0\0\x04"


def query(text):
    return b"Q" + (len(text) + 5).to_bytes(4) + text.encode() + b"\0"


def active(owner):
    found = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state = 'active'"
    return owner.execute(found, [READER]).fetchone()[0]


def ready(world):
    """A raw connection that is logged in."""
    raw = Raw(world)
    raw.say(startup())
    assert raw.hear(9) == ASK
    raw.say(password())
    while raw.message()[0] != b"Z":
        pass
    return raw


AHEAD = query("SELECT pg_sleep(63)") + query("SELECT pg_sleep(64)") + query("SELECT pg_sleep(65)")


def test_what_was_sent_ahead_ends_when_somebody_is_revoked(world, owner):
    with ready(world) as raw:
        raw.say(AHEAD)
        world.wait(lambda: active(owner))
        world.arbiter.over.add("d-00000000000000000000000001")
        world.wait(lambda: not len(world.door))
        world.wait(lambda: not active(owner))


def test_what_was_sent_ahead_ends_with_whoever_drops(world, owner):
    with ready(world) as raw:
        raw.say(AHEAD)
        world.wait(lambda: active(owner))
    world.wait(lambda: not active(owner))


@pytest.mark.parametrize("data", [query("SELECT pg_sleep(66)") + LEAVE, query("SELECT 1") + AHEAD + LEAVE])
def test_saying_goodbye_leaves_nothing_running(world, owner, data):
    with ready(world) as raw:
        raw.say(data)
        world.wait(lambda: active(owner))
    world.wait(lambda: not active(owner))
    world.wait(lambda: not len(world.door))


class Slow:
    """An arbiter that thinks about connections for ever, and knows of ends at once."""

    def __init__(self):
        self.tasks = set()

    async def __call__(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            if b"/database/ended" in await reader.readuntil(b"\r\n\r\n"):
                writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"ended":[]}')
            while await reader.read(4096):  # until nobody wants to know any more
                pass
        writer.close()


async def _asked_while_busy(path, slow):
    async with await asyncio.start_unix_server(slow, path):
        try:
            return await _ended_while_busy(path)
        finally:
            await asyncio.gather(*slow.tasks)


async def _ended_while_busy(path):
    async with arbiter(path) as asked:
        wish = Wish(UnverifiedToken("x"), "fraud", READER, "127.0.0.1", "")
        waiting = [asyncio.create_task(asked.connect(wish)) for _ in range(256)]
        await asyncio.sleep(0.5)
        try:
            return await asked.ended({"d-1"})
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


def test_many_who_want_in_do_not_blind_the_door_for_those_who_are(tmp_path):
    assert asyncio.run(_asked_while_busy(tmp_path / "arbiter.sock", Slow())) == frozenset()


class Broken:
    """An arbiter whose answers nobody foresaw."""

    async def ran(self, decision, statements):
        raise RuntimeError("whatever it is")


def test_recording_that_fails_in_any_way_ends_the_connection():
    async def told():
        failed = asyncio.get_running_loop().create_future()
        tally = Tally(lambda: 1)
        tally.heard(ord("Q"), b"select 1\0")
        recording = Recording(Broken(), "d-1", tally, 0.01, failed.set_result)
        failure = await asyncio.wait_for(failed, 20)
        await recording.finish()
        return failure

    assert asyncio.run(told()).code == NOT_NOW
