"""Framing: the same messages however they come in pieces, nothing that lies, and errors that fit their fields."""

import random

import pytest

from remit.sql import protocol
from remit.sql.protocol import FROM_CLIENT, FROM_SERVER, Failure, Frames, message


def watch():
    return Frames(FROM_CLIENT, {ord("Q"): 8, ord("X"): 0})


def test_a_stream_in_any_pieces():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    stream = b"".join(
        message(kind, draw.randbytes(draw.randrange(40))) for kind in draw.choices([b"Q", b"d", b"S", b"B"], k=300)
    ) + message(b"X", b"")
    whole = watch().feed(stream)
    for _ in range(50):
        frames, at, found = watch(), 0, []
        while at < len(stream):
            size = draw.randrange(1, 60)
            found += frames.feed(stream[at : at + size])
            at += size
        assert found == whole
        assert frames.whole


def test_what_is_captured_is_bounded():
    assert watch().feed(message(b"Q", b"a" * 100)) == [(ord("Q"), b"a" * 8)]


def test_whole_is_between_two_messages_only():
    frames = Frames(FROM_SERVER, {})
    data = message(b"D", b"12345")
    for at in range(len(data)):
        assert frames.whole == (at == 0)
        frames.feed(data[at : at + 1])
    assert frames.whole


@pytest.mark.parametrize(
    "data",
    [
        b"Q\0\0\0\3",
        b"Q\0\0\0\0",
        b"Q\x7f\xff\xff\xff",
        b"Q\xff\xff\xff\xff",
        b"p\0\0\0\5\0",
        b"\0\0\0\0\x08",
        b"Z\0\0\0\5I",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_message_of_a_client_is_cut_off(data):
    with pytest.raises(Failure) as caught:
        watch().feed(data)
    assert caught.value.code == protocol.VIOLATION
    frames = watch()
    with pytest.raises(Failure):
        [frames.feed(data[at : at + 1]) for at in range(len(data))]


def test_an_error_holds_nothing_that_ends_a_field():
    body = protocol.error("28000", "a\0b\nc\x1b[31m", "h\0")[5:]
    assert protocol.fields(body) == {"S": "FATAL", "V": "FATAL", "C": "28000", "M": "a b c [31m", "H": "h "}


def test_packets():
    assert protocol.startup(3 << 16, {"user": "a"}) == bytes.fromhex("00000010 00030000") + b"user\0a\0\0"
    assert protocol.cancellation(7, b"abcd") == bytes.fromhex("00000010 04d2162e 00000007") + b"abcd"
    assert protocol.negotiate((3 << 16) + 2, ("_pq_.x",))[5:] == bytes.fromhex("00030002 00000001") + b"_pq_.x\0"
