"""Numbers of things in words, and that nobody says them by hand."""

import re
from pathlib import Path

import pytest

from remit.model.counts import counted

SOURCE = Path(__file__).resolve().parents[3] / "src" / "remit"
BY_HAND = re.compile(r"""'s' if |(?:if .* == 1 else|else) ['"]e?s['"]""")


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ("key",), "0 keys"),
        (1, ("key",), "1 key"),
        (2, ("key",), "2 keys"),
        (1, ("policy", "policies"), "1 policy"),
        (2, ("policy", "policies"), "2 policies"),
        (0, ("policy", "policies"), "0 policies"),
    ],
)
def test_a_number_takes_the_word_that_goes_with_it(number, words, said):
    assert counted(number, *words) == said


def test_nobody_says_them_by_hand():
    files = [file for file in SOURCE.rglob("*.py") if file.name != "counts.py"]
    found = {file: BY_HAND.search(file.read_text(encoding="utf-8")) for file in files}
    assert {file.name: match[0] for file, match in found.items() if match} == {}
