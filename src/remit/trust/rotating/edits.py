"""Two changes to the text of remit.yaml: another day of expiry, and a holder less. All else stays byte for byte.

What a change would mean besides is refused: the result, read again, must differ in the one place only. The file is the
narrow YAML that Remit reads (no anchors, no tags). Leaves out the file itself (`assembly`).
"""

import copy
import datetime as dt
from collections.abc import Iterator
from typing import Any

import yaml

from remit.model.errors import TrustBroken

Path_ = tuple[str | int, ...]
_BY_HAND = "change it by hand"


def renewed(text: str, under: str, day: str) -> str:
    """The text with another `expires` for a role or an account; raises `TrustBroken`."""
    place = ("trust", "accounts" if "@" in under else "roles", under)
    value = yaml.safe_load(text)
    section = _at(value, place)
    if not isinstance(section, dict):
        raise TrustBroken(f"`{under}` is no role or account under `trust`")
    node = _node(text, place)
    if "expires" in section:
        found = _node(text, (*place, "expires"))
        after = text[: found.start_mark.index] + day + text[found.end_mark.index :]
    elif node.flow_style:
        at = node.start_mark.index + 1
        after = f"{text[:at]}expires: {day}{', ' if section else ''}{text[at:]}"
    else:
        at = node.start_mark.index
        after = f"{text[:at]}expires: {day}\n{' ' * node.start_mark.column}{text[at:]}"
    wanted = copy.deepcopy(value)
    _at(wanted, place)["expires"] = dt.date.fromisoformat(day)
    return _checked(after, wanted)


def removed(text: str, name: str) -> str:
    """The text without one holder: `ROLE/OID`, or `ACCOUNT/MEMBER`; raises `TrustBroken`."""
    value = yaml.safe_load(text)
    under, _, holder = name.partition("/")
    place = next(_places(value, under, holder), None)
    if place is None:
        raise TrustBroken(f"`{name}` is no assignment that this file names one by one", hint=_BY_HAND)
    *above, index = place
    held = _at(value, tuple(above))
    if len(held) == 1 and above[1] == "accounts":
        hint = "remove the account, or name who else may become it"
        raise TrustBroken(f"with nobody named, whoever holds its roles could become `{under}`", hint=hint)
    wanted = copy.deepcopy(value)
    del _at(wanted, tuple(above))[index]
    return _checked(_without(text, tuple(above), int(index)), wanted)


def _places(value: Any, under: str, holder: str) -> Iterator[Path_]:
    names = ("members",) if "@" in under else ("groups", "people", "workloads")
    place: Path_ = ("trust", "accounts" if "@" in under else "roles", under)
    for key in names:
        held = _at(value, (*place, key))
        for index, one in enumerate(held if isinstance(held, list) else ()):
            if one == holder:
                yield (*place, key, index)


def _without(text: str, place: Path_, index: int) -> str:
    items = _node(text, place)
    start, end = items.start_mark.index, items.end_mark.index
    if len(items.value) == 1:
        gone = text[start:end].rstrip()
        return f"{text[:start]}[]{text[start + len(gone) :]}" if items.flow_style else _emptied(text, items)
    item = items.value[index]
    if not items.flow_style:  # the line of its own that it stands on, with what is said of it there
        first = text.rindex("\n", 0, item.start_mark.index) + 1
        last = text.find("\n", item.end_mark.index)
        return text[:first] + (text[last + 1 :] if last >= 0 else "")
    if index:
        return text[: items.value[index - 1].end_mark.index] + text[item.end_mark.index :]
    return text[: item.start_mark.index] + text[items.value[1].start_mark.index :]


def _emptied(text: str, items: yaml.SequenceNode) -> str:
    """A list in lines whose only one goes: `[]` behind its key."""
    item = items.value[0]
    key = text.rindex(":", 0, items.start_mark.index) + 1
    last = text.find("\n", item.end_mark.index)
    return f"{text[:key]} []\n{text[last + 1 :] if last >= 0 else ''}"


def _checked(text: str, wanted: Any) -> str:
    try:
        if yaml.safe_load(text) == wanted:
            return text
    except yaml.YAMLError:
        pass  # told as any other text that is not what was meant
    raise TrustBroken("the file cannot be changed in this one place", hint=_BY_HAND)


def _at(value: Any, place: Path_) -> Any:
    for key in place:
        if isinstance(value, dict):
            value = value.get(key)
        else:
            value = value[key] if isinstance(value, list) and isinstance(key, int) else None
    return value


def _node(text: str, place: Path_) -> Any:
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in place:
        node = next(value for name, value in node.value if name.value == key)
    return node
