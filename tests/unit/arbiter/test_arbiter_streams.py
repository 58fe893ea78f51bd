"""The watch by itself, asked as Envoy asks it; with the real Envoy it is tested in the gateway's room."""

import asyncio
import contextlib
import random
import tempfile
import time
from pathlib import Path

import grpc
import grpc.aio
import pytest

from remit.arbiter import streams as streams_module
from remit.arbiter.streams import METHOD, Streams

NOW = 1_800_000_000
TRAILERS = b"\x3a\x02\x0a\x00"


def field(number, data):
    return bytes([number << 3 | 2, len(data)]) + data


def opening(*decisions, name=b"x-goog-request-reason", raw=3):
    """ProcessingRequest.request_headers, with a mark for each decision."""
    marks = [field(1, field(1, name) + field(raw, f"decision/{each}".encode())) for each in decisions]
    return field(2, field(1, b"".join(marks)) + b"\x18\x01") + b"\x42\x00\x5a\x00"


class House:
    """The watch, its ledger and its clock."""

    def __init__(self, **more):
        self.now = float(NOW)
        self.records = {"d-1": self.record("dana"), "d-2": self.record("ada")}
        self.revoked = set()
        self.broken = self.lost = False
        self.streams = Streams(self.find, self.is_revoked, clock=lambda: self.now, **more)

    def record(self, name, **changes):
        return {
            "decision": "d", "outcome": "permit", "at": NOW * 1_000_000, "expires": NOW + 100, "principal": name
        } | changes  # fmt: skip

    def find(self, decision):
        if self.lost:
            raise RuntimeError("no database")
        return self.records.get(decision)

    def is_revoked(self, record, now):
        if self.broken:
            raise RuntimeError("no view")
        assert isinstance(now, int)
        return record["principal"] in self.revoked

    def run(self, story):
        """Runs a story with a function that opens streams."""

        async def go():
            with tempfile.TemporaryDirectory(prefix="st", dir="/tmp") as folder:
                path = Path(folder) / "s"
                async with (
                    self.streams.listening(path),
                    grpc.aio.insecure_channel(f"unix:{path}") as channel,
                    contextlib.AsyncExitStack() as calls,
                ):

                    async def opened(first, method=METHOD):
                        call = channel.stream_stream(method)()
                        calls.callback(call.cancel)
                        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                            await call.write(first)  # it may be refused before
                        return call

                    await story(opened)

        asyncio.run(go())


async def end(call, within=2.0):
    """The status with which the watch ends a stream that may be open or not."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        await asyncio.wait_for(call.read(), within)
    return await asyncio.wait_for(call.code(), within)


@pytest.mark.parametrize("raw", [2, 3])
def test_a_stream_opens_and_ends_by_itself(raw):
    house = House()

    async def story(opened):
        call = await opened(opening("d-1", raw=raw))
        assert await call.read() == b"\x0a\x00"
        assert len(house.streams) == 1
        await call.write(TRAILERS)
        assert await call.read() == b"\x32\x00"
        await call.done_writing()
        assert await end(call) is grpc.StatusCode.OK

    house.run(story)
    assert len(house.streams) == 0


def test_only_the_revoked_one_is_cut():
    house = House()

    async def story(opened):
        danas, adas = await opened(opening("d-1")), await opened(opening("d-2"))
        assert [await danas.read(), await adas.read()] == [b"\x0a\x00"] * 2
        house.revoked.add("dana")
        began = time.monotonic()
        assert await end(danas) is grpc.StatusCode.PERMISSION_DENIED
        assert time.monotonic() - began < 1
        await asyncio.sleep(0.6)
        assert not adas.done()
        assert len(house.streams) == 1

    house.run(story)


def test_told_of_a_change_it_looks_at_once(monkeypatch):
    monkeypatch.setattr(streams_module, "_LOOK_EVERY", 60)
    house = House()
    house.streams.changed()  # before it serves, there is nothing to look at

    async def story(opened):
        call = await opened(opening("d-1"))
        await call.read()
        house.revoked.add("dana")
        await asyncio.to_thread(house.streams.changed)
        assert await end(call, 1) is grpc.StatusCode.PERMISSION_DENIED

    house.run(story)


def test_a_revocation_that_is_lifted_at_once_ends_what_was_open(monkeypatch):
    monkeypatch.setattr(streams_module, "_LOOK_EVERY", 60)
    house = House()

    async def story(opened):
        danas, adas = await opened(opening("d-1")), await opened(opening("d-2"))
        assert [await danas.read(), await adas.read()] == [b"\x0a\x00"] * 2
        house.revoked.add("dana")
        house.streams.changed()
        house.streams.changed()
        house.revoked.clear()  # before the watch has had a turn
        assert await end(danas) is grpc.StatusCode.PERMISSION_DENIED
        assert not adas.done()

    house.run(story)


def test_a_revocation_that_comes_while_a_stream_opens_ends_it(monkeypatch):
    """It is asked for once the stream is where the revocation would have found it."""
    monkeypatch.setattr(streams_module, "_LOOK_EVERY", 60)
    house = House()
    asked = []

    def revoked(record, _):
        asked.append(len(house.streams))
        return record["principal"] in house.revoked

    house.streams._revoked = revoked

    async def story(opened):
        house.revoked.add("dana")
        assert await end(await opened(opening("d-1"))) is grpc.StatusCode.PERMISSION_DENIED
        assert asked == [1]
        assert len(house.streams) == 0

    house.run(story)


def test_a_stream_ends_a_minute_after_its_token():
    house = House()

    async def story(opened):
        call = await opened(opening("d-1"))
        await call.read()
        house.now = NOW + 160.0
        await asyncio.sleep(0.6)
        assert not call.done()
        house.now = NOW + 161.0
        assert await end(call) is grpc.StatusCode.PERMISSION_DENIED

    house.run(story)


def test_a_judge_that_fails_cuts():
    house = House()

    async def story(opened):
        call = await opened(opening("d-1"))
        await call.read()
        house.broken = True
        assert await end(call) is grpc.StatusCode.PERMISSION_DENIED
        assert await end(await opened(opening("d-2"))) is grpc.StatusCode.PERMISSION_DENIED

    house.run(story)


def test_a_ledger_that_fails_opens_nothing():
    house = House()
    house.lost = True

    async def story(opened):
        assert await end(await opened(opening("d-1"))) is grpc.StatusCode.PERMISSION_DENIED

    house.run(story)


REFUSED = {
    "unknown": opening("d-3"),
    "no mark": opening(),
    "two marks": opening("d-1", "d-1"),
    "another header": opening("d-1", name=b"x-goog-request-params"),
    "empty": b"",
    "another message": b"\x1a\x02\x0a\x00",
    "cut off": opening("d-1")[:20],
    "an odd wire type": b"\x11" + b"1" * 8,
    "an endless number": b"\xff" * 12,
    "not a decision": field(2, field(1, field(1, field(1, b"x-goog-request-reason") + field(3, b"d-1")))),
    "not text": field(2, field(1, field(1, field(1, b"x-goog-request-reason") + field(3, b"decision/\xff")))),
    "no value": field(2, field(1, field(1, field(1, b"x-goog-request-reason")))),
}


@pytest.mark.parametrize("first", REFUSED.values(), ids=REFUSED)
def test_what_opens_nothing(first):
    house = House()

    async def story(opened):
        assert await end(await opened(first)) is grpc.StatusCode.PERMISSION_DENIED
        assert len(house.streams) == 0

    house.run(story)


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "deny"},
        {"outcome": "step_up"},
        {"at": (NOW - 16) * 1_000_000},
        {"expires": NOW - 61},
        {"expires": None},
        {"principal": "gone"},
    ],
)
def test_what_record_opens_nothing(changes):
    house = House()
    house.records["d-1"] = house.record("dana", **changes)
    house.revoked.add("gone")

    async def story(opened):
        assert await end(await opened(opening("d-1"))) is grpc.StatusCode.PERMISSION_DENIED

    house.run(story)


def test_a_young_decision_opens_for_a_quarter_of_a_minute():
    house = House()
    house.records["d-1"] = house.record("dana", at=(NOW - 15) * 1_000_000)

    async def story(opened):
        assert await (await opened(opening("d-1"))).read() == b"\x0a\x00"

    house.run(story)


def test_streams_are_bounded():
    house = House(limit=1)

    async def story(opened):
        first = await opened(opening("d-1"))
        assert await first.read() == b"\x0a\x00"
        assert await end(await opened(opening("d-2"))) is grpc.StatusCode.PERMISSION_DENIED
        first.cancel()
        for _ in range(200):
            await asyncio.sleep(0.01 if len(house.streams) else 0)
        assert await (await opened(opening("d-2"))).read() == b"\x0a\x00"

    house.run(story)


def test_nobody_takes_all_streams():
    house = House(limit=4, share=2)
    house.records["d-3"] = house.record("dana")

    async def story(opened):
        for decision in ("d-1", "d-3"):
            assert await (await opened(opening(decision))).read() == b"\x0a\x00"
        assert await end(await opened(opening("d-1"))) is grpc.StatusCode.PERMISSION_DENIED
        assert await (await opened(opening("d-2"))).read() == b"\x0a\x00"

    house.run(story)


def test_what_nobody_asked_for_ends_the_stream():
    house = House()

    async def story(opened):
        call = await opened(opening("d-1"))
        await call.read()
        await call.write(b"\x22\x00")
        assert await end(call) is grpc.StatusCode.PERMISSION_DENIED

    house.run(story)


def test_the_end_of_the_watch_cuts_all():
    house = House()

    async def go():
        with tempfile.TemporaryDirectory(prefix="st", dir="/tmp") as folder:
            path = Path(folder) / "s"
            async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
                async with house.streams.listening(path):
                    call = channel.stream_stream(METHOD)()
                    await call.write(opening("d-1"))
                    await call.read()
                assert await end(call) not in {None, grpc.StatusCode.OK}

    asyncio.run(go())


def test_there_is_one_method():
    house = House()

    async def story(opened):
        call = await opened(opening("d-1"), method="/envoy.service.ext_proc.v3.ExternalProcessor/Other")
        assert await end(call) is grpc.StatusCode.UNIMPLEMENTED

    house.run(story)


def test_any_bytes_are_no_decision_or_one():
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(3000):
        message = bytearray(opening("d-1"))
        for _ in range(chance.randrange(1, 4)):
            message[chance.randrange(len(message))] = chance.randrange(256)
        found = streams_module._decision(bytes(message))
        assert found is None or found.isascii()


def test_four_thousand_streams_are_looked_at_quickly():
    house = House()
    record = house.record("dana")
    began = time.perf_counter()
    assert not any(house.streams._over(record) for _ in range(4000))
    print(f"4,000 looks take {(time.perf_counter() - began) * 1000:.0f} ms")
