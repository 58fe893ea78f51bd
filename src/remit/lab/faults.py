"""Making the lab fail on purpose: a host that answers an error or hangs, keys that turn, tokens that end.

A fake cloud may be told to break; nothing of this exists in the product. The control door is plain HTTP on loopback
behind a random path that only the lab's folder tells.
"""

import asyncio
import hmac
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from remit.lab.http import Handler, Request, Response
from remit.lab.http_server import reply


class Clock:
    """Seconds since the epoch, set off by `skew` (a fault: one cloud's clock is wrong)."""

    def __init__(self) -> None:
        self.skew = 0.0

    def __call__(self) -> float:
        """Now."""
        return time.time() + self.skew


@dataclass(slots=True)
class Fault:
    """What one host does wrong: waits `hang` seconds, then answers `status` when that is not 0."""

    status: int = 0
    hang: float = 0.0
    retry_after: int = 0


@dataclass(slots=True)
class Faults:
    """What is broken at present, by host, and the switches that break other things."""

    hosts: dict[str, Fault] = field(default_factory=dict)

    def around(self, handler: Handler) -> Handler:
        """The handler, with the fault of its request's host first."""

        async def faulty(request: Request) -> Response:
            fault = self.hosts.get(request.host)
            if fault:
                await asyncio.sleep(fault.hang)
                if fault.status:
                    return _broken(fault)
            return await handler(request)

        return faulty


def _broken(fault: Fault) -> Response:
    """An error that says nothing, as a front end answers when what is behind it is down."""
    headers = {"retry_after": str(fault.retry_after)} if fault.retry_after else {}
    status = "RESOURCE_EXHAUSTED" if fault.status == HTTPStatus.TOO_MANY_REQUESTS else "INTERNAL"
    error = {"code": fault.status, "message": "The lab was told to fail.", "status": status}
    return reply({"error": error}, fault.status, **headers)


class Control:
    """The control door: `GET /SECRET` tells the state, `POST /SECRET` with a JSON object of commands changes it.

    Commands are given by the service: name → what to call with the command's value; a text that one returns stands in
    the answer's `told`. `fault` and `clear` are its own.
    """

    def __init__(self, secret: str, faults: Faults, commands: Mapping[str, Callable[[Any], object]]) -> None:
        self._path = f"/{secret}"
        self._faults = faults
        self._commands: dict[str, Callable[[Any], object]] = {
            "fault": self._fault,
            "clear": lambda _: faults.hosts.clear(),
            **commands,
        }

    async def __call__(self, request: Request) -> Response:
        """Answer on the secret path only; an unknown command changes nothing."""
        if not hmac.compare_digest(request.path.encode(), self._path.encode()):
            return Response(HTTPStatus.NOT_FOUND)
        told: dict[str, str] = {}
        if request.method == "POST":
            asked = json.loads(request.body)
            unknown = sorted(set(asked) - set(self._commands))
            if unknown:
                return reply({"unknown": unknown, "known": sorted(self._commands)}, HTTPStatus.BAD_REQUEST)
            for name, value in asked.items():
                if isinstance(answer := self._commands[name](value), str):
                    told[name] = answer
        hosts = {
            host: {"status": fault.status, "hang": fault.hang, "retry_after": fault.retry_after}
            for host, fault in self._faults.hosts.items()
        }
        return reply({"pid": os.getpid(), "faults": hosts, "told": told})

    def _fault(self, value: Mapping[str, Any]) -> None:
        self._faults.hosts[value["host"]] = Fault(
            int(value.get("status", 0)), float(value.get("hang", 0)), int(value.get("retry_after", 0))
        )
