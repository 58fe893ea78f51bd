"""A YAML file as plain values that remember where they stood, so that a problem has a line and a column.

The safe subset only: no tags, no anchors or aliases, no duplicate keys (YAML 1.1 as PyYAML reads it, narrowed).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from remit.model.errors import Problem, SettingsInvalid

Place = tuple[int, int]
Path_ = tuple[str | int, ...]

_MAXIMUM_BYTES = 1 << 20  # a megabyte of configuration is a mistake
_MAXIMUM_DEPTH = 32  # the deepest key of remit.yaml lies at 5


@dataclass(frozen=True, slots=True)
class Document:
    """`value`: plain dicts, lists and scalars; `places`: line and column, from 1, of every path."""

    file: str
    value: Any
    places: Mapping[Path_, Place]

    def problem(self, path: Path_, message: str) -> Problem:
        """A problem at a path, or at the nearest ancestor that the file holds."""
        for length in range(len(path), -1, -1):
            if (place := self.places.get(path[:length])) is not None:
                return Problem(self.file, place[0], place[1], message)
        return Problem(self.file, 0, 0, message)


def load(file: Path) -> Document:
    """Reads a file; raises `SettingsInvalid` when it cannot be read or is not the safe subset."""
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAXIMUM_BYTES + 1)
    except OSError as error:
        hint = "name it with `--config`, run this in the folder that holds it, or begin one: `remit trust init`"
        raise SettingsInvalid((Problem(str(file), 0, 0, f"cannot be read: {error.strerror}"),), hint=hint) from error
    if len(text) > _MAXIMUM_BYTES:
        raise SettingsInvalid((Problem(str(file), 0, 0, "is larger than one megabyte"),))
    return parse(str(file), text)


def parse(file: str, text: bytes) -> Document:
    """As `load`, from bytes."""
    reader = _Reader(file)
    try:
        reader.look(yaml.parse(text.decode("utf-8"), Loader=yaml.SafeLoader))
        node = None if reader.problems else yaml.compose(text.decode("utf-8"), Loader=yaml.SafeLoader)
        value = {} if node is None else reader.read(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        problem = Problem(file, *place, f"not valid YAML: {error.problem}")
        raise SettingsInvalid((problem,)) from error
    except yaml.reader.ReaderError as error:
        before = text.decode("utf-8")[: error.position]
        raise SettingsInvalid((_odd(file, before, "a character is not allowed"),)) from error
    except UnicodeDecodeError as error:
        before = text[: error.start].decode("utf-8")
        raise SettingsInvalid((_odd(file, before, "this is not UTF-8"),)) from error
    if reader.problems:
        raise SettingsInvalid(tuple(reader.problems))
    return Document(file, value, reader.places)


def _odd(file: str, before: str, message: str) -> Problem:
    """A problem with the character that stands behind this text."""
    line = before.rpartition("\n")[2]
    return Problem(file, before.count("\n") + 1, len(line) + 1, f"not valid YAML: {message}")


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.places: dict[Path_, Place] = {}

    def complain(self, mark: Any, message: str) -> None:
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, message))

    def look(self, events: Iterable[Any]) -> None:
        """Complains of what is not the safe subset; stops at a depth that costs the parser too much."""
        depth = 0
        for event in events:
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                self.complain(event.start_mark, "anchors and aliases are not allowed")
            if getattr(event, "tag", None):
                self.complain(event.start_mark, "tags are not allowed")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAXIMUM_DEPTH:
                self.complain(event.start_mark, "values are nested too deeply")
                return

    def read(self, node: yaml.Node, path: Path_) -> Any:
        self.places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in result:
                self.complain(key_node.start_mark, f"`{key}` stands twice")
            result[key] = self.read(value_node, (*path, key))
            self.places[(*path, key)] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        constructor = yaml.constructor.SafeConstructor()
        try:
            return constructor.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self.complain(node.start_mark, "this value is not allowed here")
            return None
