"""What a workload identity provider makes of an assertion: attribute mapping and condition, in real CEL.

The limits are those of iam.googleapis.com, projects.locations.workloadIdentityPools.providers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from remit.lab.contoso import Provider

_SUBJECT_BYTES = 127
_GROUPS = 400
_MAPPED_BYTES = 8 * 1024


class MappingError(Exception):
    """An assertion that the provider does not take; `error` is the OAuth code."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


@dataclass(frozen=True, slots=True)
class Mapped:
    """The attributes of a principal in the pool."""

    subject: str
    groups: tuple[str, ...]
    attributes: tuple[tuple[str, str], ...]

    def principal(self, pool: str) -> str:
        """The principal's IAM name."""
        return f"principal://iam.googleapis.com/{pool}/subject/{self.subject}"

    def sets(self, pool: str) -> frozenset[str]:
        """Every principal set that the principal is in."""
        base = f"principalSet://iam.googleapis.com/{pool}"
        return frozenset(
            {
                f"{base}/*",
                *(f"{base}/group/{group}" for group in self.groups),
                *(f"{base}/{name}/{value}" for name, value in self.attributes),
            }
        )


def apply(provider: Provider, assertion: Mapping[str, Any]) -> Mapped:
    """Map the assertion and hold it against the condition; raises `MappingError`."""
    values = {
        name: _evaluate(name, expression, {"assertion": dict(assertion)}) for name, expression in provider.mapping
    }
    subject = values.get("google.subject")
    if not isinstance(subject, str) or not subject:
        raise MappingError("invalid_grant", "The mapped attribute google.subject must be a non-empty string.")
    if len(subject.encode()) > _SUBJECT_BYTES:
        raise MappingError(
            "invalid_request",
            "The size of mapped attribute google.subject exceeds the 127 bytes limit. Either modify your attribute "
            "mapping or the incoming assertion to produce a mapped attribute that is less than 127 bytes.",
        )
    groups = tuple(values.get("google.groups") or ())
    if len(groups) > _GROUPS:
        raise MappingError(
            "invalid_request",
            f"The current count of {len(groups)} mapped attribute google.groups exceeds the {_GROUPS} count limit. "
            "Either modify your attribute mapping or the incoming assertion to produce a mapped attribute that has "
            f"less than {_GROUPS} groups.",
        )
    context = {
        "assertion": dict(assertion),
        "google": _members("google.", values),
        "attribute": _members("attribute.", values),
    }
    if provider.condition and _evaluate("condition", provider.condition, context) is not True:
        raise MappingError("unauthorized_client", "The given credential is rejected by the attribute condition.")
    attributes = tuple((name, str(value)) for name, value in values.items() if name.startswith("attribute."))
    if sum(len(str(each).encode()) for each in (subject, *groups, *(value for _, value in attributes))) > _MAPPED_BYTES:
        raise MappingError("invalid_request", "The size of all mapped attributes exceeds the 8 KB limit.")
    return Mapped(subject, groups, attributes)


def _members(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _evaluate(name: str, expression: str, context: dict[str, Any]) -> Any:
    import cel  # noqa: PLC0415 - costs most of a second, and a lab that nobody exchanges at need not pay it

    try:
        return cel.evaluate(expression, context)
    except (KeyError, TypeError, ValueError, RuntimeError) as cause:
        error = "unauthorized_client" if name == "condition" else "invalid_grant"
        what = "attribute condition" if name == "condition" else f"mapping of {name}"
        raise MappingError(error, f"The {what} could not be evaluated on the given credential.") from cause
