"""Paths matched segment by segment: a literal first, then whatever stands in its place.

What Google writes as `{name=projects/*/locations/*}` is matched here without expansion, decoding or normalisation. A
custom verb is what follows the last segment's colon. `endpoints/openapi/completions` is its own path and not an
endpoint's; `endpoints/openapi:predict` is the prediction of an endpoint called `openapi`, which is how Google reads it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Leaf = TypeVar("Leaf")


@dataclass(slots=True)
class _Node(Generic[Leaf]):
    """What follows one segment, and what ends there: by key and custom verb."""

    below: dict[str, "_Node[Leaf]"] = field(default_factory=dict)
    leaves: dict[tuple[str, str], Leaf] = field(default_factory=dict)

    def found(self, segments: list[str], key: tuple[str, str]) -> Iterator[Leaf]:
        """Every leaf of a path, the one with the earliest literals first."""
        if not segments:
            if key in self.leaves:
                yield self.leaves[key]
            return
        first, *rest = segments
        for segment in dict.fromkeys((first, "*")) if first else ():
            if segment in self.below:
                yield from self.below[segment].found(rest, key)


class Routes(Generic[Leaf]):
    """Leaves by form (`v1/projects/*:move`) and key (the HTTP verb, where there is one)."""

    def __init__(self) -> None:
        self._root: _Node[Leaf] = _Node()

    def add(self, form: str, leaf: Leaf, key: str = "") -> None:
        """Adds a leaf; the first one of a form and key counts."""
        segments, custom = _split(form)
        node = self._root
        for segment in segments:
            node = node.below.setdefault(segment, _Node())
        node.leaves.setdefault((key, custom), leaf)

    def find(self, path: str, key: str = "") -> Leaf | None:
        """The leaf of a path, `None` for none."""
        segments, custom = _split(path)
        return next(self._root.found(segments, (key, custom)), None)


def _split(path: str) -> tuple[list[str], str]:
    before, slash, last = path.rpartition("/")
    name, _, custom = last.partition(":")
    return [*(before.split("/") if slash else ()), name], custom
