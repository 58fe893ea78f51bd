"""Refusals that name the field which is wrong, and messages of the same version of the API as another."""

from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format
from grpc import StatusCode

from remit.lab.api_table import Proto, table
from remit.lab.errors import CloudError

REQUIRED = "Required field is not set."


def refuse(*found: tuple[str, str]) -> None:
    """Raises `INVALID_ARGUMENT` for the fields found wrong, in Vertex AI's words; none, and it returns."""
    if found:
        lines = "".join(f"\t{number}.Field: {field}; Message: {why}" for number, (field, why) in enumerate(found, 1))
        raise CloudError(StatusCode.INVALID_ARGUMENT, f"List of found errors:{lines}\t")


def require(message: Proto, prefix: str, fields: Sequence[str]) -> None:
    """Raises unless these fields of a message are set. `prefix`: where it stands in the request."""
    refuse(*((f"{prefix}.{field}", REQUIRED) for field in fields if not getattr(message, field)))


def sibling(message: Proto, name: str) -> Proto:
    """A new message by its short name, out of the package that another one is of (v1 or v1beta1)."""
    return table().message(f"{message.DESCRIPTOR.file.package}.{name}")()


def from_json(value: Any, message: Proto, field: str) -> Proto:
    """JSON, in either spelling, read into a message; raises `INVALID_ARGUMENT` with the field's name."""
    try:
        return json_format.ParseDict(value, message, descriptor_pool=table().pool)
    except (json_format.ParseError, TypeError, ValueError) as error:
        raise CloudError(StatusCode.INVALID_ARGUMENT, f"Invalid value of field `{field}`: {error}") from error


def as_json(message: Proto) -> dict[str, object]:
    """A message as JSON, in the API's own spelling."""
    found: dict[str, object] = json_format.MessageToDict(message, descriptor_pool=table().pool)
    return found
