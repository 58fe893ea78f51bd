"""Conditions of IAM bindings, in real CEL, over `request.time`, the resource's name, type and service, and a prefix.

The prefix is what a list of objects asks for (`storage.googleapis.com/objectListPrefix`), of any other request none.
What the lab cannot evaluate (other attributes of an API, tags, `extract`, dates by time zone) it does not take, so that
no condition stands that would not be held against anything. Sources: cloud.google.com/iam/docs/conditions-overview and
conditions-attribute-reference.
"""

from datetime import UTC, datetime
from typing import Any

_LONGEST = 12_000  # bytes of an expression, cloud.google.com/iam/quotas
_LISTED = "storage.googleapis.com/objectListPrefix"
_KINDS = (
    ("/objects/", "storage.googleapis.com/Object"),
    ("projects/_/buckets/", "storage.googleapis.com/Bucket"),
    ("/serviceAccounts/", "iam.googleapis.com/ServiceAccount"),
)


def holds(expression: str, resource: str, now: float, listed: str | None = None) -> bool:
    """Whether a condition is true of a resource (relative name) now; one that cannot be evaluated is not.

    `listed`: the prefix that a list of objects asks for, `None` for what is no such list, or asks for none.
    """
    try:
        return _evaluate(expression, resource, now, listed) is True
    except (KeyError, TypeError, ValueError, RuntimeError):
        return False


def problem(expression: str) -> str:
    """Why a condition cannot be taken, empty when it can."""
    if not expression:
        return "The condition's expression is empty."
    if len(expression.encode()) > _LONGEST:
        return f"The condition's expression is longer than {_LONGEST} bytes."
    try:
        found = _evaluate(expression, "projects/_/buckets/b/objects/o", 0.0, None)
    except (KeyError, TypeError, ValueError, RuntimeError) as cause:
        return f"The condition's expression cannot be evaluated: {cause}"
    return "" if isinstance(found, bool) else "The condition's expression is not a truth value."


def _evaluate(expression: str, resource: str, now: float, listed: str | None) -> Any:
    import cel  # noqa: PLC0415 - costs most of a second, and a lab without conditions need not pay it

    kind = next((kind for mark, kind in _KINDS if mark in resource), "")
    service = kind.partition("/")[0]

    def attribute(_api: object, name: str, otherwise: object) -> object:
        if name != _LISTED:
            raise ValueError(name)
        return otherwise if listed is None else listed

    context = cel.Context()
    context.add_variable("request", {"time": datetime.fromtimestamp(now, UTC)})
    context.add_variable("resource", {"name": resource, "type": kind, "service": service})
    context.add_variable("api", {})
    context.add_function("getAttribute", attribute)
    return cel.evaluate(expression, context)
