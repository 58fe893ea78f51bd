"""Editing lists of a YAML file as text: one item comes or goes, and every other character stays where it is. Pure.

Comments and spacing are kept, but for the comment on the line of what goes. The edited text is read again and held
against the same edit of its values, so that a form that was not foreseen is refused and never written.
"""

import copy
import json
from dataclasses import dataclass
from typing import Any

import yaml

from remit.model.errors import TrustBroken


@dataclass(frozen=True, slots=True)
class Edit:
    """`path`: keys from the top to a list; `value`: the item; `comes`: whether it is added, else removed."""

    path: tuple[str, ...]
    value: str
    comes: bool

    def __str__(self) -> str:
        where = ".".join(self.path)
        return f"`{self.value}` {'added to' if self.comes else 'removed from'} `{where}`"


def edited(text: str, edits: tuple[Edit, ...]) -> str:
    """The text after all edits; raises `TrustBroken` where one cannot be made without touching the rest."""
    for edit in edits:
        try:
            wanted = _changed(copy.deepcopy(yaml.safe_load(text)), edit)
            after = _added(text, edit) if edit.comes else _removed(text, edit)
            same = yaml.safe_load(after) == wanted
        except (yaml.YAMLError, KeyError, ValueError, AttributeError, TypeError) as cause:
            raise _cannot(edit) from cause
        if not same:
            raise _cannot(edit)
        text = after
    return text


def _cannot(edit: Edit) -> TrustBroken:
    return TrustBroken(f"the file is not of a form in which this can be edited: {edit}", hint="edit it by hand")


def _changed(values: Any, edit: Edit) -> Any:
    """The same edit on values. A list that becomes empty goes with its key; what held nothing else is `{}`."""
    place = values
    for key in edit.path[:-1]:
        place = place.setdefault(key, {}) if edit.comes else place[key]
    found = place.setdefault(edit.path[-1], []) if edit.comes else place[edit.path[-1]]
    if edit.comes:
        found.append(edit.value)
    else:
        found.remove(edit.value)
        if not found:
            del place[edit.path[-1]]
    return values


def _added(text: str, edit: Edit) -> str:
    parent, depth = _deepest(yaml.compose(text, Loader=yaml.SafeLoader), edit.path)
    item = _scalar(edit.value)
    if isinstance(parent, yaml.SequenceNode):
        if not parent.flow_style:
            column = parent.start_mark.column
            return _line_after(text, _end(parent), f"{' ' * column}- {item}")
        at = parent.value[-1].end_mark.index if parent.value else parent.start_mark.index + 1
        return text[:at] + (f", {item}" if parent.value else item) + text[at:]
    rest = edit.path[depth:]
    tail = f"[{item}]"
    for key in reversed(rest[1:]):
        tail = f"{{{_scalar(key)}: {tail}}}"
    line = f"{_scalar(rest[0])}: {tail}"
    if not parent.flow_style:
        return _line_after(text, _end(parent), f"{' ' * parent.start_mark.column}{line}")
    at = parent.value[-1][1].end_mark.index if parent.value else parent.start_mark.index + 1
    return text[:at] + (f", {line}" if parent.value else line) + text[at:]


def _removed(text: str, edit: Edit) -> str:
    node, depth = _deepest(yaml.compose(text, Loader=yaml.SafeLoader), edit.path)
    if depth != len(edit.path) or not isinstance(node, yaml.SequenceNode):
        raise KeyError(edit.path)
    place = next(number for number, one in enumerate(node.value) if str(one.value) == edit.value)
    if len(node.value) == 1:
        return _without_key(text, edit.path)
    item = node.value[place]
    if not node.flow_style:
        return _without_lines(text, item.start_mark.index, item.end_mark.index)
    if place:
        return text[: node.value[place - 1].end_mark.index] + text[item.end_mark.index :]
    return text[: item.start_mark.index] + text[node.value[1].start_mark.index :]


def _without_key(text: str, path: tuple[str, ...]) -> str:
    """Without a key and its value; the mapping that held it alone is `{}`."""
    holder, _ = _deepest(yaml.compose(text, Loader=yaml.SafeLoader), path[:-1])
    place = next(number for number, (key, _) in enumerate(holder.value) if key.value == path[-1])
    key, value = holder.value[place]
    if len(holder.value) == 1:
        if holder.flow_style:
            return text[: holder.start_mark.index] + "{}" + text[holder.end_mark.index :]
        above = text.rindex(":", 0, holder.start_mark.index) + 1
        return text[:above] + " {}" + text[_end(holder) :]
    if not holder.flow_style:
        return _without_lines(text, key.start_mark.index, _end(value))
    if place:
        return text[: holder.value[place - 1][1].end_mark.index] + text[value.end_mark.index :]
    return text[: key.start_mark.index] + text[holder.value[1][0].start_mark.index :]


def _deepest(node: Any, path: tuple[str, ...]) -> tuple[Any, int]:
    """The node at a path, or the last that is there on the way to it, and how many keys lead to it."""
    for depth, key in enumerate(path):
        found = next((value for each, value in node.value if each.value == key), None)
        if found is None:
            return node, depth
        node = found
    return node, len(path)


def _end(node: Any) -> int:
    """Where the last character of a value stands: a block's own end lies behind the comments that follow."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(node, yaml.MappingNode) else last)


def _line_after(text: str, at: int, line: str) -> str:
    end = text.find("\n", at)
    return f"{text}\n{line}\n" if end < 0 else f"{text[: end + 1]}{line}\n{text[end + 1 :]}"


def _without_lines(text: str, start: int, end: int) -> str:
    first, last = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    return text[:first] + (text[last + 1 :] if last >= 0 else "")


def _scalar(value: str) -> str:
    """As YAML writes it, plain where that is read as the same text."""
    try:
        plain = yaml.safe_load(f"[{value}]") == [value] and yaml.safe_load(f"{value}: 1") == {value: 1}
    except yaml.YAMLError:
        plain = False
    return value if plain else json.dumps(value)
