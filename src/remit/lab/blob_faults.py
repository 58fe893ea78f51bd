"""Making the lab's Blob Storage fail as the real one does: a token that ends mid-read, a busy server, a cut, a stall.

Each fault waits for requests of one operation, lets some pass, and ends after so many.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from remit.lab.blob_errors import BlobError
from remit.lab.http import Response

KINDS = frozenset({"expired", "busy", "role", "firewall", "drop", "stall"})


@dataclass(slots=True)
class Fault:
    """What is wrong with one operation. `kind`: of `KINDS`.

    `after`: requests that pass first; `times`: how often, negative for good; `bytes`: of the body that come before a
    cut or a stall; `seconds`: how long a stall lasts.
    """

    kind: str
    operation: str = "GetBlob"
    after: int = 0
    times: int = 1
    bytes: int = 0
    seconds: float = 0.0


class BlobFaults:
    """What is broken at present, and how often something broke."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, given: Mapping[str, Any] | None) -> None:
        """The control door's command: a fault's fields; `null` mends everything."""
        if given is None:
            self._faults.clear()
            return
        if given["kind"] not in KINDS:
            raise ValueError(f"kinds: {', '.join(sorted(KINDS))}")
        self._faults.append(Fault(**given))

    def due(self, operation: str) -> Fault | None:
        """The fault that this request meets, which counts it; raises `BlobError` for those that are answers."""
        for fault in self._faults:
            if fault.operation != operation or not fault.times:
                continue
            if fault.after:
                fault.after -= 1
                continue
            fault.times -= fault.times > 0
            _refuse(fault.kind)
            return fault
        return None


def _refuse(kind: str) -> None:
    if kind == "expired":
        raise BlobError("InvalidAuthenticationInfo", "Lifetime validation failed. The token is expired.")
    if kind == "busy":
        raise BlobError("ServerBusy")
    if kind == "role":
        raise BlobError("AuthorizationPermissionMismatch")
    if kind == "firewall":
        raise BlobError("AuthorizationFailure")


def broken(response: Response, fault: Fault) -> Response:
    """The answer as this fault lets it through."""
    return replace(response, parts=_cut(response.parts, fault)) if response.parts else response


async def _cut(parts: AsyncGenerator[bytes, None], fault: Fault) -> AsyncGenerator[bytes, None]:
    left, waited = fault.bytes, False
    async for part in parts:
        if len(part) < left or waited:
            left -= len(part)
            yield part
            continue
        yield part[:left]
        if fault.kind == "drop":
            raise ConnectionAbortedError
        await asyncio.sleep(fault.seconds)
        waited = True
        yield part[left:]
