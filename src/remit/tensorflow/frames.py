"""The frames of a TFRecord file, taken from bytes as they come, each with both of its checksums held.

    uint64 length │ uint32 masked crc32c of length │ bytes │ uint32 masked crc32c of bytes      (little-endian)

Source: tensorflow/core/lib/io/record_writer.h and tsl/platform/crc32c (the mask); RFC 1950, RFC 1952 (compression).
"""

import struct
import zlib
from collections.abc import Iterable, Iterator

import google_crc32c

from remit.tensorflow.errors import DataCorrupt

_HEAD = struct.Struct("<QI")
_FOOT = struct.Struct("<I")
_SIZES = _HEAD.size + _FOOT.size
LONGEST = 2**31 - 1  # bytes of one record: what a protobuf may hold
_WINDOW = {"GZIP": 31, "ZLIB": 15}  # zlib's wbits
_PIECE = 8 * 1024 * 1024  # bytes that are unpacked at once, however well they were packed
COMPRESSIONS = ("", *_WINDOW)


class Frames:
    """Takes bytes, gives records. `name`: the file, for what is said of a wrong one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._held = bytearray()
        self._wanted = 0  # bytes without which nothing can be done
        self._at = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Every record that is whole now; raises `DataCorrupt`."""
        if self._held or len(data) < self._wanted:
            self._held += data
            if len(self._held) < self._wanted:
                return []
            data = bytes(self._held)
        records, used = self._taken(data)
        self._held = bytearray(memoryview(data)[used:])
        self._at += used
        return records

    def finish(self) -> None:
        """The file has ended; raises `DataCorrupt` when it did so within a record."""
        if self._held:
            raise self._wrong(0, "the file ends within a record")

    def _taken(self, data: bytes) -> tuple[list[bytes], int]:
        records: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= _HEAD.size:
            length, check = _HEAD.unpack_from(data, at)
            if _masked(data[at : at + 8]) != check or length > LONGEST:
                raise self._wrong(at, "a record's length is not what was written")
            stop = at + _SIZES + length
            if stop > end:
                self._wanted = stop - at
                return records, at
            record = data[at + _HEAD.size : stop - _FOOT.size]
            if _masked(record) != _FOOT.unpack_from(data, stop - _FOOT.size)[0]:
                raise self._wrong(at, "a record is not what was written")
            records.append(record)
            at = stop
        self._wanted = _HEAD.size
        return records, at

    def _wrong(self, at: int, what: str) -> DataCorrupt:
        return DataCorrupt(
            f"`{self._name}`, byte {self._at + at}: {what}", hint="is it a TFRecord file, and its compression?"
        )


def _masked(data: bytes) -> int:
    check: int = google_crc32c.value(data)
    return ((check >> 15 | check << 17) + 0xA282EAD8) & 0xFFFFFFFF


def unpacked(pieces: Iterable[bytes], compression: str, name: str) -> Iterator[bytes]:
    """The bytes of a file that was packed: `""`, `GZIP` or `ZLIB`; raises `DataCorrupt`."""
    if not compression:
        yield from pieces
        return
    window = _WINDOW[compression]
    engine, begun = zlib.decompressobj(window), False
    try:
        for piece in pieces:
            data = piece
            while data:
                if engine.eof:  # another member follows (RFC 1952 section 2.2)
                    engine = zlib.decompressobj(window)
                begun = True
                if found := engine.decompress(data, _PIECE):
                    yield found
                data = engine.unused_data if engine.eof else engine.unconsumed_tail
    except zlib.error as cause:
        raise DataCorrupt(f"`{name}` is not packed as {compression}", hint="is it packed at all?") from cause
    if begun and not engine.eof:
        raise DataCorrupt(f"`{name}` ends too early")
