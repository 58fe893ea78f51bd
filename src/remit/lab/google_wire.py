"""What the administration of Google's IAM has in common over REST: bodies, masks, pages, times.

Unknown members are refused, as Google refuses them. Source: cloud.google.com/apis/design/standard_fields.
"""

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from grpc import StatusCode

from remit.lab.errors import CloudError
from remit.lab.http import Request

DAY = 24 * 3600.0  # seconds


def invalid(message: str) -> CloudError:
    """A request that is not taken."""
    return CloudError(StatusCode.INVALID_ARGUMENT, message)


def missing(message: str = "Requested entity was not found.") -> CloudError:
    """A thing that is not there."""
    return CloudError(StatusCode.NOT_FOUND, message)


def taken(message: str = "Requested entity already exists") -> CloudError:
    """A name that is in use already."""
    return CloudError(StatusCode.ALREADY_EXISTS, message)


def body(request: Request, names: Collection[str]) -> dict[str, Any]:
    """A request's JSON object, of these members; raises `CloudError`."""
    try:
        found = json.loads(request.body or b"{}")
    except ValueError as cause:
        raise invalid("Invalid JSON payload received.") from cause
    return members(found, names)


def members(found: object, names: Collection[str], place: str = "") -> dict[str, Any]:
    """An object that has none but these members; raises `CloudError`. `place`: where it stands, ending in a dot."""
    if not isinstance(found, dict):
        raise invalid("Invalid JSON payload received.")
    unknown = next((name for name in found if name not in names), None)
    if unknown is not None:
        at = f" at '{place.rstrip('.')}'" if place else ""
        raise invalid(f'Invalid JSON payload received. Unknown name "{unknown}"{at}: Cannot find field.')
    return found


def text(found: Mapping[str, Any], name: str, most: int) -> str:
    """A text of at most so many characters, empty when absent; raises `CloudError`."""
    value = found.get(name) or ""
    if not isinstance(value, str) or len(value) > most:
        raise invalid(f"Invalid value at '{name}': a text of at most {most} characters is expected.")
    return value


def flag(found: Mapping[str, Any], name: str) -> bool:
    """A truth value, false when absent; raises `CloudError`."""
    value = found.get(name)
    if not isinstance(value, bool | None):
        raise invalid(f"Invalid value at '{name}' (TYPE_BOOL).")
    return bool(value)


def mask(given: str, known: Collection[str]) -> list[str]:
    """The members that an update mask names; raises `CloudError` for an empty one and for others."""
    names = [name.strip() for name in given.split(",")]
    if not given or not set(names) <= set(known):
        raise invalid(f"Invalid update mask: {given}")
    return names


def page(request: Request, found: Sequence[Any], most: int) -> tuple[list[Any], dict[str, str]]:
    """What a page holds, and the token of the next one as a member of the answer. `most`: of one page."""
    size, token = request.parameter("pageSize"), request.parameter("pageToken")
    count = min(int(size), most) if size.isdigit() and size != "0" else most
    try:
        start = int(base64.urlsafe_b64decode(token)) if token else 0
    except ValueError as cause:
        raise invalid("Invalid page token.") from cause
    end = start + count
    more = {"nextPageToken": base64.urlsafe_b64encode(str(end).encode()).decode()} if len(found) > end else {}
    return list(found[start:end]), more


def etag(revision: int) -> str:
    """An etag in the form that Google's policies have."""
    return base64.b64encode(b"\x07\x06" + revision.to_bytes(6)).decode() if revision else "ACAB"


def timestamp(seconds: float) -> str:
    """RFC 3339, of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def yes(request: Request, name: str) -> bool:
    """Whether a query parameter says so."""
    return request.parameter(name).lower() == "true"
