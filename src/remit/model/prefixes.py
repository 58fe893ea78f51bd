"""Prefixes in buckets and containers: which texts are one, and what holds below one in a bucket, in Google's words.

A prefix ends in `/` and is of letters, digits and four signs, none of which means anything in CEL, in Azure's
conditions, in a URL or in a shell: nothing has to be escaped, and no two readers differ. Source:
cloud.google.com/iam/docs/conditions-attribute-reference (`resource.name`, `storage.googleapis.com/objectListPrefix`).
"""

import re

PREFIX = r"([A-Za-z0-9_]([A-Za-z0-9_.=-]*[A-Za-z0-9_=-])?/)+"
"""No empty part, and none that begins or ends with a dot: Azure drops such dots."""
LONGEST = 90
"""Characters: the title of a condition holds 100 (cloud.google.com/iam/docs/reference/rest/Shared.Types/Expr)."""

_BUCKET = r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"


def is_prefix(text: str) -> bool:
    """Whether a text is a prefix, and could mean nothing else."""
    return len(text) <= LONGEST and bool(re.fullmatch(PREFIX, text))


def below_in_google(bucket: str, prefix: str) -> str:
    """Holds for objects below the prefix, and for lists of just these; raises `ValueError` for what is no prefix."""
    if not re.fullmatch(_BUCKET, bucket) or not is_prefix(prefix):
        raise ValueError(f"{bucket}/{prefix}")
    return (
        f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/{prefix}") || '
        f'api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("{prefix}")'
    )
