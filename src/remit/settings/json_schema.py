"""remit.yaml for editors: the table of keys as JSON Schema (draft 7), each key with its meaning.

It says what one key may hold. What keys say of each other (names that nothing has, names that stand twice) is told by
reading the file. What keys mean stands in docs/configuration.md; `tools/remit_schema.py` brings both together.
"""

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, cast

from remit.settings.schema import RemitYaml

_DRAFT = "http://json-schema.org/draft-07/schema#"
_ID = "urn:remit:remit.yaml:1"
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_NAMED = re.compile(r"\.[A-Z]+(?=\.|$)")


def shipped() -> str:
    """The schema that comes with this version, as text."""
    return (resources.files("remit.settings") / "remit.schema.json").read_text(encoding="utf-8")


def schema(meanings: Mapping[str, str]) -> dict[str, Any]:
    """The schema. `meanings`: of keys as docs/configuration.md writes them (`issuers[].entra.tenant`), in Markdown."""
    told = {_NAMED.sub(".*", key): _LINK.sub(r"\1", meaning) for key, meaning in meanings.items()}
    made = RemitYaml.model_json_schema()
    whole = cast("dict[str, Any]", _whole(made, made.pop("$defs")))
    _explain(whole, "", told)
    return {"$schema": _DRAFT, "$id": _ID, **whole, "title": "remit.yaml"}


def _whole(part: Any, shared: Mapping[str, Any]) -> Any:
    """Every part in its own place: one that is shared means different things in different places."""
    if isinstance(part, list):
        return [_whole(one, shared) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        beside = {name: value for name, value in part.items() if name != "$ref"}
        return _whole({**shared[part["$ref"].rpartition("/")[2]], **beside}, shared)
    result = {name: _whole(value, shared) for name, value in part.items()}
    if "patternProperties" in result:
        result["additionalProperties"] = False
    return result


def _explain(part: dict[str, Any], key: str, told: Mapping[str, str]) -> None:
    """Puts what a key means beside it, here and below."""
    if key in told:
        part["description"] = told[key]
    for name, below in part.get("properties", {}).items():
        _explain(below, f"{key}.{name}".lstrip("."), told)
    for below in _named(part):
        _explain(below, f"{key}.*", told)
    if isinstance(part.get("items"), dict):
        _explain(part["items"], f"{key}[]", told)
    for below in part.get("anyOf", ()):  # what may be left out
        _explain(below, key, {name: meaning for name, meaning in told.items() if name != key})
        if "description" not in part and "description" in below:
            part["description"] = below["description"]


def _named(part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from part.get("patternProperties", {}).values()
    if isinstance(part.get("additionalProperties"), dict):
        yield part["additionalProperties"]
