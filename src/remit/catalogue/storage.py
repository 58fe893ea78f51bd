"""Cloud Storage past the gateway: what a `direct` token for buckets amounts to. Requests through it: `store.py`."""

from collections.abc import Iterable
from typing import Literal

from remit.catalogue.names import Names, shown
from remit.catalogue.store import DELETE, GET, INSERT, LIST
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.operation import Operation, Request
from remit.model.prefixes import is_prefix
from remit.model.reasons import Reason

_READ = (GET, LIST)
_WRITE = (*_READ, INSERT, DELETE)


def storage_request(estate: Estate, buckets: Iterable[str], mode: Literal["read", "write"]) -> Request:
    """What a token for these buckets lets its holder do: one operation per action, and per prefix.

    `buckets`: names without `gs://`, or `NAME/PREFIX/` for what lies below. `write` holds everything that `read` does.
    Raises `Refused` for a bucket outside the estate, and for none at all.
    """
    names, asked = Names(estate), _WRITE if mode == "write" else _READ
    parted = [name.partition("/") for name in dict.fromkeys(buckets)]
    whole = tuple(names.bucket(bucket) for bucket, slash, _ in parted if not slash)
    parts = [(names.bucket(bucket), prefix) for bucket, slash, prefix in parted if slash]
    if not whole and not parts:
        raise Refused(Reason.RESOURCE_UNKNOWN, "a token for Cloud Storage names at least one bucket")
    for bucket, prefix in parts:
        if not is_prefix(prefix):
            raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(prefix)} is no prefix in {bucket.name.rpartition('/')[2]}")
    of_whole = (Operation(action, whole) for action in asked if whole)
    of_parts = (Operation(action, (bucket,), within=prefix) for bucket, prefix in parts for action in asked)
    return Request((*of_whole, *of_parts))
