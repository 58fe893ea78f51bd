"""Cloud Storage past the gateway: what a `direct` token for buckets amounts to. Requests through it: `store.py`."""

from collections.abc import Iterable
from typing import Literal

from remit.catalogue.names import Names
from remit.catalogue.store import DELETE, GET, INSERT, LIST
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.operation import Operation, Request
from remit.model.reasons import Reason

_READ = (GET, LIST)
_WRITE = (*_READ, INSERT, DELETE)


def storage_request(estate: Estate, buckets: Iterable[str], mode: Literal["read", "write"]) -> Request:
    """What a token for these buckets (names, no `gs://`) lets its holder do: one operation per action.

    `write` holds everything that `read` does. Raises `Refused` for a bucket outside the estate, and for none at all.
    """
    names = Names(estate)
    resources = tuple(names.bucket(bucket) for bucket in dict.fromkeys(buckets))
    if not resources:
        raise Refused(Reason.RESOURCE_UNKNOWN, "a token for Cloud Storage names at least one bucket")
    asked = _WRITE if mode == "write" else _READ
    return Request(tuple(Operation(action, resources) for action in asked))
