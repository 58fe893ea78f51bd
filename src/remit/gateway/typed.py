"""How Envoy's JSON spells an extension: a name and a message with its type (xDS v3 `TypedExtensionConfig`)."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

_PREFIX = "type.googleapis.com/envoy."


def message(kind: str, **fields: Any) -> Json:
    """A message of the type `envoy.KIND`, as `google.protobuf.Any` in JSON."""
    return {"@type": _PREFIX + kind, **fields}


def extension(name: str, kind: str, fields: Mapping[str, Any] | None = None) -> Json:
    """An extension called `envoy.NAME` (its own name stays when it holds no dot) with a message of `envoy.KIND`."""
    return {"name": f"envoy.{name}" if "." in name else name, "typed_config": message(kind, **(fields or {}))}
