"""The story's data: the handwritten digits that scikit-learn ships, as TFRecords, and the training package.

The digits are the test set of the Optical Recognition of Handwritten Digits data (UCI, E. Alpaydin and C. Kaynak,
CC BY 4.0): 1,797 images of 8 by 8 pixels, 0 to 16. A TFRecord is a length, its masked CRC-32C, the bytes, and theirs
(tensorflow.org/tutorials/load_data/tfrecord); an example is a protocol buffer of two features, written by hand here
so that TensorFlow need not be imported.
"""

import base64
import io
import json
import struct
import tarfile
from collections.abc import Iterable
from pathlib import Path

import google_crc32c
import httpx

_HELD_OUT = 5  # every fifth digit is held out
_QUESTIONS = 8
_SHARDS = 2
_LENGTH = 2  # the wire type of bytes (protobuf.dev/programming-guides/encoding)


def seed(control: str, projects: Iterable[str], package: Path) -> None:
    """Puts data and package into the buckets of projects, through the lab's control door: they were there before."""
    objects = records() | {"digits/questions.json": questions()}
    for project in projects:
        for name, content in objects.items():
            _put(control, f"{project}-data", name, content)
        _put(control, f"{project}-staging", "packages/digits-1.0.tar.gz", packed(package))


def _put(control: str, bucket: str, name: str, content: bytes) -> None:
    given = {"bucket": bucket, "name": name, "base64": base64.b64encode(content).decode()}
    httpx.post(control, json={"put_object": given}, trust_env=False, timeout=10).raise_for_status()


def records() -> dict[str, bytes]:
    """The objects that training reads: `digits/train-….tfrecord`, `digits/heldout-….tfrecord`."""
    kept, held_out = _digits()
    shards = {f"digits/train-{shard:05}.tfrecord": kept[shard::_SHARDS] for shard in range(_SHARDS)}
    shards["digits/heldout-00000.tfrecord"] = held_out
    return {name: b"".join(map(_record, map(_example, found))) for name, found in shards.items()}


def questions() -> bytes:
    """Some held-out digits, to ask a served model about."""
    _, held_out = _digits()
    chosen = held_out[:: len(held_out) // _QUESTIONS][:_QUESTIONS]
    return json.dumps([{"pixels": pixels, "label": label} for pixels, label in chosen]).encode()


def packed(source: Path) -> bytes:
    """A source distribution of a training package, as `setup.py sdist` makes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("setup.py", "trainer/__init__.py", "trainer/task.py"):
            archive.add(source / name, f"digits-1.0/{name}")
    return buffer.getvalue()


Digit = tuple[list[float], int]


def _digits() -> tuple[list[Digit], list[Digit]]:
    from sklearn.datasets import load_digits

    data = load_digits()
    every = [
        ([float(value) for value in pixels], int(label)) for pixels, label in zip(data.data, data.target, strict=True)
    ]
    kept = [digit for index, digit in enumerate(every) if index % _HELD_OUT]
    return kept, every[::_HELD_OUT]


def _example(digit: Digit) -> bytes:
    """`tf.train.Example` with the features `pixels` (floats) and `label` (an integer)."""
    pixels, label = digit
    floats = _field(1, struct.pack(f"<{len(pixels)}f", *pixels))  # FloatList.value, packed
    integers = _field(1, _varint(label))  # Int64List.value, packed
    features = _feature("pixels", _field(2, floats)) + _feature("label", _field(3, integers))
    return _field(1, features)


def _feature(name: str, value: bytes) -> bytes:
    return _field(1, _field(1, name.encode()) + _field(2, value))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits an octet
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*octets, number])


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _crc(length) + content + _crc(content)


def _crc(content: bytes) -> bytes:
    crc = int(google_crc32c.value(content))
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
