"""Secrets in a text: the rules, asked only where one of their marks stands.

Texts are bytes read as Latin-1: nothing fails to decode, every letter is one byte, and lower case has the same length,
so that a mark's place in the lowered text is its place in the text. What a rule sees around a mark is bounded, and the
next mark that it is asked for lies behind half of that, so that a hostile text costs no more than a long one.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from detect_secrets.filters.allowlist import is_line_allowlisted
from detect_secrets.util.code_snippet import get_code_snippet

from remit.scan.rules import ENVIRONMENT_FILE, RULES, Names, Rule, spans

_LINE = 4096  # letters of a longer line that are seen on each side of a mark: a SAS has 200, a JSON on one line 2400

_UNSHOWN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Hit:
    """A secret from `start` to `end` of a text."""

    rule: Rule
    start: int
    end: int
    names: Names


def hits(text: str, file: str) -> list[Hit]:
    """Every secret of a text, each once, in the text's order."""
    lowered = text.lower()
    environment = bool(ENVIRONMENT_FILE.search(file))
    found: list[Hit] = []
    taken = bytearray(len(text))
    for rule in RULES:
        if not rule.environment or environment:
            for hit in _of(rule, text, lowered):
                if 1 not in taken[hit.start : hit.end]:
                    taken[hit.start : hit.end] = b"\1" * (hit.end - hit.start)
                    found.append(hit)
    return sorted(found, key=lambda hit: hit.start)


def _of(rule: Rule, text: str, lowered: str) -> Iterator[Hit]:
    seen: set[tuple[int, int]] = set()
    for first, last in _places(rule, lowered):
        for start, end in spans(rule.plugin, text[first:last]):
            span = (first + start, first + end)
            if end > start and span not in seen:
                seen.add(span)
                names = rule.about(text, *span)
                if names is not None:
                    secret = text[slice(*span)]
                    yield Hit(rule, *span, {name: each for name, each in names.items() if secret not in each})


def _places(rule: Rule, lowered: str) -> Iterator[tuple[int, int]]:
    """The pieces of a text that a rule is shown: a line, or what lies around a mark."""
    for mark in rule.marks:
        at = lowered.find(mark)
        while at >= 0:
            if rule.around:
                first, last, onward = max(0, at - rule.around), at + rule.around, at + max(1, rule.around // 2)
            else:
                line, following = lowered.rfind("\n", 0, at) + 1, lowered.find("\n", at)
                ends = len(lowered) if following < 0 else following
                first, last = max(line, at - _LINE), min(ends, at + 2 * _LINE)
                onward = ends if last == ends else at + _LINE
            yield first, last
            at = lowered.find(mark, max(onward, at + 1))


def allowed(text: str, start: int, file: str) -> bool:
    """Whether the line, or the one before it, has detect-secrets' comment `pragma: allowlist secret`."""
    last, ends = text.rfind("\n", 0, start), text.find("\n", start)
    line = text[last + 1 : len(text) if ends < 0 else ends][-_LINE:]
    before = text[text.rfind("\n", 0, last) + 1 : last][-_LINE:] if last >= 0 else ""
    if "pragma" not in line and "pragma" not in before:
        return False
    context = get_code_snippet([before, line], 2)
    return bool(is_line_allowlisted(file, line, context))


@functools.lru_cache(maxsize=4096)
def masked(path: str) -> str:
    """A path as it may be shown: whoever names a file after a key has written the key.

    And whoever names one `##vso[…]`, or after a line's end `::add-mask::`, speaks to the pipeline that shows it.
    """
    for hit in reversed(hits(path, "")):
        path = f"{path[: hit.start]}…{path[hit.end :]}"
    return "".join(letter if letter.isprintable() else _UNSHOWN for letter in path.replace("##", f"#{_UNSHOWN}"))
