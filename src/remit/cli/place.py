"""What was asked about, as people read it."""

import re
from collections.abc import Mapping
from typing import Any

_BUCKET = re.compile(r"//storage\.googleapis\.com/projects/_/buckets/([^/]+)")
_CONTAINER = re.compile(r"//blob\.core\.windows\.net/projects/[^/]+/accounts/([^/]+)/containers/([^/]+)")


def place(found: Mapping[str, Any]) -> str:
    """The resource of an answer, and the prefix in it below which was asked."""
    below = f" below `{found['within']}`" if found.get("within") else ""
    return f"`{found['resource']}`{below}"


def parts(found: Mapping[str, Any]) -> str:
    """How what lies below a prefix is asked about, of an answer about all of a bucket or a container; else empty."""
    if found.get("within"):
        return ""
    bucket, container = (form.fullmatch(str(found["resource"])) for form in (_BUCKET, _CONTAINER))
    if bucket:
        return f"gs://{bucket[1]}/PREFIX/"
    return f"az://{container[1]}/{container[2]}/PREFIX/" if container else ""
