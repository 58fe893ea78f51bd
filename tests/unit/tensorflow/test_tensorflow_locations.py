"""Addresses: where a token may be sent, and which files a pattern stands for."""

import pytest

from remit.model.errors import RemitError
from remit.tensorflow.locations import Location, matcher, parse

GOOD = {
    "az://contosofraudtest/features/train/*.tfrecord": Location("az", "contosofraudtest/features", "train/*.tfrecord"),
    "abfs://features@contosofraudtest.dfs.core.windows.net/a/b": Location("az", "contosofraudtest/features", "a/b"),
    "abfss://features@contosofraudtest.blob.core.windows.net/a": Location("az", "contosofraudtest/features", "a"),
    "gs://bucket/a/b-*": Location("gs", "bucket", "a/b-*"),
    "/data/x.tfrecord": Location("file", "", "/data/x.tfrecord"),
    "x?.tfrecord": Location("file", "", "x?.tfrecord"),
}
BAD = [
    "",
    "az://features/train.tfrecord",
    "az://Account/features/x",
    "az://contosofraudtest/features/",
    "az://contosofraudtest/fea--tures/x",
    "az://evil.example/features/x",
    "abfs://features@evil.example/x",
    "abfs://features@contosofraudtest.dfs.core.windows.net.evil.example/x",
    "abfs://features@evil.example/.dfs.core.windows.net/x",
    "abfs://a@b@contosofraudtest.dfs.core.windows.net/x",
    "https://contosofraudtest.blob.core.windows.net/features/x",
    "s3://bucket/x",
    "gs://bucket",
    "file:///etc/passwd",
]
SIGNED = [
    "az://contosofraudtest/features/x?sv=2024-01-01&sig=abc",
    "https://contosofraudtest.blob.core.windows.net/features/x?sp=r&sig=abc%3D",
]


@pytest.mark.parametrize("text", GOOD)
def test_an_address_is_understood(text):
    assert parse(text) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_a_token_is_sent_to_nobody_else(text):
    with pytest.raises(RemitError, match="no address"):
        parse(text)


@pytest.mark.promise("T7")
@pytest.mark.parametrize("text", SIGNED)
def test_a_signature_is_no_identity_and_is_not_repeated(text):
    with pytest.raises(RemitError, match="static credential") as told:
        parse(text)
    assert "sig=" not in f"{told.value} {told.value.hint}"


@pytest.mark.parametrize(
    ("pattern", "fits", "others"),
    [
        ("a/*.tfrecord", ["a/x.tfrecord", "a/.tfrecord"], ["a/b/x.tfrecord", "a/x.tfrecords", "b/x.tfrecord"]),
        ("a/**.tfrecord", ["a/x.tfrecord", "a/b/x.tfrecord"], ["x.tfrecord"]),
        ("a-0000?-of-?", ["a-00001-of-4"], ["a-00010-of-4", "a-0000/-of-4"]),
        ("a[0-3]", ["a0", "a3"], ["a4", "a03"]),
        ("a[!0-3]", ["a4"], ["a0", "a/"]),
        ("a+(b).x", ["a+(b).x"], ["aab.x", "a+(b)yx"]),
    ],
)
def test_a_pattern_stands_for_these_and_no_others(pattern, fits, others):
    found = matcher(pattern)
    assert [name for name in fits + others if found.fullmatch(name)] == fits


def test_a_range_that_runs_backwards_is_told():
    with pytest.raises(RemitError, match="is no pattern"):
        matcher("a/[z-a]*")
