"""Applications that Entra has yet to make: what stands for them in remit.yaml, and how their ids take its place.

Wherever the id of an application belongs, `app:NAME` may stand until there is one: `app:remit`, `app:remit-cli`, and
`app:PROJECT/ROLE` for one that opens Azure. Nothing starts with such a file; only the trust is planned with it.
"""

import os
import re
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from remit.model.errors import Problem, SettingsInvalid
from remit.settings.document import Document, Path_, load, parse
from remit.state.private_file import write_whole

HINT = "run `remit trust plan`, then `remit trust apply`: it makes the application and writes its id here"

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PREFIX = "app:"
_ANY = object()  # an index of a list
_PLACES: tuple[tuple[object, ...], ...] = (
    ("issuers", _ANY, "entra", "audience"),
    ("issuers", _ANY, "entra", "clients", _ANY),
    ("sign_in", "client"),
    ("sign_in", "browser", "providers", _ANY, "client"),
    ("credentials", "on_behalf_of", "application"),
    ("credentials", "azure", "accounts", _ANY, "client"),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """A document with an id in the place of each placeholder. `names`: stand-in → name; `paths`: where each stood."""

    document: Document
    names: Mapping[str, str]
    paths: Mapping[Path_, str]


def stand_in(name: str) -> str:
    """The id that stands for an application while Entra has none for it; always the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{_PREFIX}{name}"))


def standing(document: Document) -> Standing:
    """The document with its placeholders told apart; what does not belong there stays and is refused like any text."""
    paths = _placeholders(document)
    value = _replaced(document.value, (), {path: stand_in(name) for path, name in paths.items()})
    return Standing(replace(document, value=value), {stand_in(name): name for name in paths.values()}, paths)


def problems(found: Standing) -> Iterator[Problem]:
    """That nothing can start with an application that is not there."""
    for path, name in found.paths.items():
        yield found.document.problem(path, f"`{_PREFIX}{name}` is an application that entra has yet to make")


def settle(file: Path, ids: Mapping[str, str]) -> tuple[str, ...]:
    """Writes the ids of applications into a file, each in the place of its placeholder; everything else stays as it is.

    `ids`: name → app id. Returns the names that stood there. Raises `SettingsInvalid` when the file is wrong, changes
    while it is written, or `ids` holds what is no id.
    """
    if wrong := [name for name, one in ids.items() if not _GUID.fullmatch(one)]:
        raise SettingsInvalid((Problem(str(file), 0, 0, f"the id for `{wrong[0]}` is none of entra's"),))
    target = file.resolve()
    document = load(target)
    before = target.read_bytes()
    paths = {path: name for path, name in _placeholders(document).items() if name in ids}
    if not paths:
        return ()
    after = _written(before.decode(), paths, ids).encode()
    wanted = _replaced(document.value, (), {path: ids[name] for path, name in paths.items()})
    if parse(str(target), after).value != wanted:
        raise SettingsInvalid((Problem(str(file), 0, 0, "the ids cannot be written into it"),), hint=_by_hand(ids))
    _put(target, before, after, _by_hand(ids))
    return tuple(dict.fromkeys(paths.values()))


def _placeholders(document: Document) -> dict[Path_, str]:
    """Path → name of each. What another issuer calls a client of its own is no placeholder, however it is written."""
    return {path: name for path, name in _found(document.value, ()) if not _elsewhere(document.value, path)}


def _elsewhere(value: Any, path: Path_) -> bool:
    """Whether a client is another issuer's than the tenant's."""
    match path:
        case ("sign_in", "client"):
            return "issuer" in value["sign_in"]
        case ("sign_in", "browser", "providers", int(index), _):
            return value["sign_in"]["browser"]["providers"][index].get("entra") is not True
        case _:
            return False


def _found(value: Any, path: Path_) -> Iterator[tuple[Path_, str]]:
    if isinstance(value, str) and value.startswith(_PREFIX) and len(value) > len(_PREFIX) and _fits(path):
        yield path, value.removeprefix(_PREFIX)
    for key, below in _children(value):
        yield from _found(below, (*path, key))


def _fits(path: Path_) -> bool:
    return any(
        len(path) == len(place)
        and all(isinstance(one, int) if want is _ANY else one == want for one, want in zip(path, place, strict=True))
        for place in _PLACES
    )


def _replaced(value: Any, path: Path_, ids: Mapping[Path_, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(below, (*path, key), ids) for key, below in value.items()}
    if isinstance(value, list):
        return [_replaced(below, (*path, index), ids) for index, below in enumerate(value)]
    return ids.get(path, value)


def _children(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _written(text: str, paths: Mapping[Path_, str], ids: Mapping[str, str]) -> str:
    """The text with each placeholder's own characters exchanged, from the last to the first."""
    nodes = _spans(yaml.compose(text, Loader=yaml.SafeLoader), ())
    for start, end, name in sorted(((*span, paths[path]) for path, span in nodes if path in paths), reverse=True):
        text = text[:start] + text[start:end].replace(f"{_PREFIX}{name}", ids[name], 1) + text[end:]
    return text


def _spans(node: yaml.Node | None, path: Path_) -> Iterator[tuple[Path_, tuple[int, int]]]:
    """Where each scalar stands, quotes included."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _spans(value, (*path, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _spans(value, (*path, index))
    elif node is not None:
        yield path, (node.start_mark.index, node.end_mark.index)


def _put(target: Path, before: bytes, after: bytes, hint: str) -> None:
    """Writes the file whole, with its mode and owner, unless somebody else wrote it meanwhile."""
    status = target.stat()
    if target.read_bytes() != before:
        raise SettingsInvalid((Problem(str(target), 0, 0, "changed while the ids were written into it"),), hint=hint)
    write_whole(target, after, stat.S_IMODE(status.st_mode))
    target.chmod(stat.S_IMODE(status.st_mode))  # what the umask took away
    with suppress(PermissionError):  # only the superuser can give a file away
        os.chown(target, status.st_uid, status.st_gid)


def _by_hand(ids: Mapping[str, str]) -> str:
    return "put " + ", ".join(f"`{one}` in the place of `{_PREFIX}{name}`" for name, one in sorted(ids.items()))
