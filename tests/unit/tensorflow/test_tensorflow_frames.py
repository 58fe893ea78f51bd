"""Frames of TFRecord files, held against what TensorFlow itself writes."""

import gzip
import random
import secrets

import pytest

from remit.tensorflow.errors import DataCorrupt
from remit.tensorflow.frames import Frames, unpacked


def parsed(data: bytes, sizes) -> list[bytes]:
    """The records of a file that comes in pieces of these sizes."""
    frames, found, at = Frames("f"), [], 0
    while at < len(data):
        size = next(sizes)
        found += frames.feed(data[at : at + size])
        at += size
    frames.finish()
    return found


@pytest.mark.promise("T6")
def test_records_are_those_that_tensorflow_wrote_however_they_are_cut(written):
    seed = secrets.randbelow(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    records = [chance.randbytes(chance.choice((0, 1, 11, 100, 70_000))) for _ in range(60)]
    data = written(records)
    for largest in (1, 7, 13, 5000, 10**7):
        if largest == 1:
            assert parsed(data[: len(written(records[:3]))], iter(lambda: 1, 0)) == records[:3]
            continue
        assert parsed(data, iter(lambda top=largest: chance.randint(1, top), 0)) == records


@pytest.mark.parametrize("at", [0, 7, 8, 11, 12, 40, -1, -4, -5])
def test_any_changed_byte_is_found(written, at):
    data = bytearray(written([b"one record of some length" * 2]))
    data[at] ^= 0x10
    with pytest.raises(DataCorrupt, match="byte 0: a record"):
        Frames("f").feed(bytes(data))


def test_a_wrong_record_is_told_with_its_place(written):
    data = bytearray(written([b"first", b"second"]))
    data[-1] ^= 1
    frames = Frames("az://a/c/p")
    with pytest.raises(DataCorrupt, match=r"`az://a/c/p`, byte 21"):
        frames.feed(bytes(data))


@pytest.mark.parametrize("cut", [1, 11, 12, 20])
def test_a_file_that_ends_within_a_record_is_not_a_short_file(written, cut):
    frames = Frames("f")
    frames.feed(written([b"whole", b"another"])[: 21 + cut])
    with pytest.raises(DataCorrupt, match="ends within a record"):
        frames.finish()


def test_a_length_that_nobody_could_have_written_is_refused():
    import struct

    from remit.tensorflow.frames import _masked

    head = struct.pack("<Q", 2**40)
    with pytest.raises(DataCorrupt):
        Frames("f").feed(head + struct.pack("<I", _masked(head)) + b"x" * 64)


@pytest.mark.parametrize("compression", ["GZIP", "ZLIB"])
def test_packed_files_are_read(written, compression):
    records = [secrets.token_bytes(500) for _ in range(50)]
    data = written(records, compression)
    pieces = [data[at : at + 333] for at in range(0, len(data), 333)]
    assert parsed(b"".join(unpacked(pieces, compression, "f")), iter(lambda: 999, 0)) == records


def test_a_packed_file_of_several_members_is_read_whole():
    assert b"".join(unpacked([gzip.compress(b"one") + gzip.compress(b"two")], "GZIP", "f")) == b"onetwo"


def test_what_unpacks_to_very_much_comes_in_pieces():
    bomb = gzip.compress(b"\0" * (64 * 1024 * 1024))
    assert max(map(len, unpacked([bomb], "GZIP", "f"))) <= 8 * 1024 * 1024


@pytest.mark.parametrize("data", [b"not packed at all", gzip.compress(b"much" * 100)[:-9]])
def test_what_is_not_packed_or_not_whole_is_refused(data):
    with pytest.raises(DataCorrupt):
        list(unpacked([data], "GZIP", "f"))
