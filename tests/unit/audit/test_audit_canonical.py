import json

import pytest

from remit.audit.canonical import ENTRY_LIMIT, canonical_entry, canonical_row


def test_an_entry_is_sorted_compact_json():
    assert canonical_entry({"b": 1, "a": "é", "c": ["x", "y"]}) == '{"a":"é","b":1,"c":["x","y"]}'.encode()


def test_strings_are_escaped_as_rfc_8785_says():
    # RFC 8785, section 3.2.2.2: two-letter escapes, else lower-case hex, and nothing above U+001F is escaped
    text = '\b\t\n\f\r"\\\x00\x0b\x1f\x7f/€\u2028😂'
    expected = '{"a":"\\b\\t\\n\\f\\r\\"\\\\\\u0000\\u000b\\u001f\x7f/€\u2028😂"}'
    assert canonical_entry({"a": text}) == expected.encode()


def test_what_is_written_reads_back_the_same(rng):
    for _ in range(200):
        text = "".join(chr(rng.choice([rng.randrange(0x80), rng.randrange(0x80, 0xD800)])) for _ in range(20))
        entry = {"text": text, "number": rng.randrange(-(2**53) + 1, 2**53), "list": [text, ""]}
        data = canonical_entry(entry)
        assert json.loads(data) == entry
        assert canonical_entry(json.loads(data)) == data


@pytest.mark.parametrize(
    "entry",
    [
        {"a": 2**53},
        {"a": -(2**53)},
        {"a": 1.5},
        {"a": True},
        {"a": None},
        {"a": {"b": 1}},
        {"a": [1]},
        {"a": ("x",)},
        {"ä": "x"},
        {"a": "\ud800"},
        {"a": "x" * ENTRY_LIMIT},
    ],
)
def test_what_has_no_canonical_form_is_refused(entry):
    with pytest.raises(ValueError):  # noqa: PT011 - the codec's own words among them
        canonical_entry(entry)


def test_the_longest_entry_has_one_byte_less_than_64_kib():
    overhead = len(canonical_entry({"a": ""}))
    assert len(canonical_entry({"a": "x" * (ENTRY_LIMIT - 1 - overhead)})) == ENTRY_LIMIT - 1
    with pytest.raises(ValueError, match="65535 are allowed"):
        canonical_entry({"a": "x" * (ENTRY_LIMIT - overhead)})


def test_a_row_keeps_all_that_envoy_wrote():
    row, at = canonical_row(b'{"time":"1790000000000001","status":200,"decision":null,"asked":true}')
    assert row == b'{"asked":true,"decision":null,"status":200,"time":"1790000000000001"}'
    assert at == 1_790_000_000_000_001
    assert canonical_row(b'{"time":5}')[1] == 5


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b'{"time":"179000000000',
        b'{"time":"1"}{"time":"2"}',
        b'{"time":"1","time":"2"}',
        b'{"time":"1","a":1.0}',
        b'{"time":"1","a":NaN}',
        b'{"time":"1","a":{}}',
        b'{"time":"1","a":9007199254740992}',
        b'{"status":200}',
        b'{"time":null}',
        b'{"time":true}',
        b'{"time":"-1"}',
        '{"time":"\u0661"}'.encode(),
        b'{"time":"0"}',
        b'{"time":"1","a":"\xff"}',
        b'{"time":"1","a":"\\ud800"}',
        b"[1]",
        b"[" * 60_000,
        b'{"time":' + b"1" * 5000 + b"}",
        b'{"time":"1","a":"' + b"x" * ENTRY_LIMIT + b'"}',
    ],
)
def test_what_is_no_row_is_refused(line):
    with pytest.raises(ValueError):  # noqa: PT011 - the codec's own words among them
        canonical_row(line)
