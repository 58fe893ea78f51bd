"""The filter language of ML Metadata's lists, as far as the client library speaks it.

Comparisons (`schema_title="system.Run"`, `uri = "gs://…"`), `in_context("NAME")`, `parent_contexts:"NAME"[,"NAME"]`,
AND, OR, parentheses. Left out: NOT, `has_association`, wild cards: they are refused, never ignored. Source:
google/cloud/aiplatform/v1/metadata_service.proto, `ListContextsRequest.filter` and its like.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from grpc import StatusCode

from remit.lab import filters
from remit.lab.errors import CloudError
from remit.lab.vertex.resources import canonical

_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|!=|<=|>=|[(),=:<>]|[^\s(),=:<>!"]+)')


@dataclass(frozen=True, slots=True)
class Node:
    """A resource as a filter sees it. `contexts`: the names of the contexts that it is in."""

    fields: Mapping[str, Any]
    parents: frozenset[str]
    contexts: frozenset[str]


Test = Callable[[Node], bool]


def parse(text: str) -> Test:
    """What a filter asks; an empty one lets everything pass. Raises `INVALID_ARGUMENT`."""
    if not text.strip():
        return lambda _: True
    reader = _Reader(text)
    test = reader.alternatives()
    if reader.at < len(reader.tokens):
        raise reader.wrong()
    return test


class _Reader:
    """Reads tokens from left to right: OR binds less than AND."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.tokens: list[str] = []
        at = 0
        while at < len(text.rstrip()):
            token = _TOKEN.match(text, at)
            if token is None:
                raise self.wrong()
            self.tokens.append(token[1])
            at = token.end()

    def wrong(self) -> CloudError:
        """The refusal of what is not understood."""
        return CloudError(StatusCode.INVALID_ARGUMENT, f"Invalid filter expression: {self.text}")

    def alternatives(self) -> Test:
        """One side of OR, or both."""
        tests = [self._all()]
        while self._taken("OR"):
            tests.append(self._all())
        return lambda node: any(test(node) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._taken("AND"):
            tests.append(self._one())
        return lambda node: all(test(node) for test in tests)

    def _one(self) -> Test:
        if self._taken("("):
            test = self.alternatives()
            self._must(")")
            return test
        name = self._next()
        if name == "in_context":
            self._must("(")
            wanted = canonical(_unquoted(self._next()))
            self._must(")")
            return lambda node: wanted in node.contexts
        operator, value = self._next(), self._next()
        if name == "parent_contexts":
            names = [value]
            while self._taken(","):
                names.append(self._next())
            parents = frozenset(canonical(_unquoted(each)) for each in names)
            return lambda node: parents <= node.parents
        (comparison,) = filters.parse(f"{name}{operator}{value}")
        return lambda node: comparison.holds(node.fields)

    def _next(self) -> str:
        if self.at >= len(self.tokens):
            raise self.wrong()
        self.at += 1
        return self.tokens[self.at - 1]

    def _taken(self, word: str) -> bool:
        found = self.at < len(self.tokens) and self.tokens[self.at] == word
        self.at += found
        return found

    def _must(self, word: str) -> None:
        if not self._taken(word):
            raise self.wrong()


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token
