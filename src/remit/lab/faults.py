"""Making the lab fail on purpose: a host that answers an error or hangs, a service that refuses, tokens that end.

A fake cloud may be told to break; nothing of this exists in the product. The control door is plain HTTP on loopback
behind a random path that only the lab's folder tells.
"""

import asyncio
import hmac
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from http import HTTPStatus
from typing import Any

from grpc import StatusCode

from remit.lab.api_surface import Call, Check
from remit.lab.errors import CloudError
from remit.lab.http import Handler, Request, Response
from remit.lab.http_server import reply
from remit.lab.refusals import KINDS, OF_BUCKETS, STORAGE, Refused, refusal

# Their methods are known, so what they refuse they refuse method by method, over gRPC as over REST.
_SURFACES = frozenset({"aiplatform.googleapis.com", "logging.googleapis.com"})
_JSON_API = ("/storage/", "/upload/", "/download/", "/batch/")  # what else is asked there is the XML API's


class Clock:
    """Seconds since the epoch, set off by `skew` (a fault: one cloud's clock is wrong)."""

    def __init__(self) -> None:
        self.skew = 0.0

    def __call__(self) -> float:
        """Now."""
        return time.time() + self.skew


@dataclass(slots=True)
class Fault:
    """What one host does wrong: waits `hang` seconds, then answers `status` when that is not 0.

    `retry_after`: seconds that it asks to wait; `times`: how often yet, negative for as long as nobody clears it.
    """

    status: int = 0
    hang: float = 0.0
    retry_after: int = 0
    times: int = -1


@dataclass(slots=True)
class Refusing:
    """What one service refuses: `kind` of `refusals.KINDS`, of Storage's `OF_BUCKETS` besides.

    `method`: the last part of a gRPC method's name, empty for all; `permission`: what an `iam` refusal names; `times`:
    how often yet, negative for as long as nobody clears it; `after`: how many calls pass first.
    """

    kind: str
    method: str = ""
    permission: str = ""
    times: int = -1
    after: int = 0

    def due(self, method: str) -> bool:
        """Whether a call of this method is refused, which counts it."""
        if not self.times or self.method not in {"", method.rpartition(".")[2]}:
            return False
        if self.after:
            self.after -= 1
            return False
        self.times -= self.times > 0
        return True


@dataclass(slots=True)
class Faults:
    """What is broken at present, by host, and what which service refuses (`aiplatform.googleapis.com`)."""

    hosts: dict[str, Fault] = field(default_factory=dict)
    refusing: dict[str, Refusing] = field(default_factory=dict)

    def refusal(self, refused: Refused) -> CloudError | None:
        """How a call is refused at present, `None` when it is not."""
        found = self.refusing.get(refused.service)
        if found is None or not found.due(refused.method):
            return None
        return refusal(found.kind, replace(refused, permission=found.permission or refused.permission))

    def of(self, service: str, permission: Callable[[Call], str] = lambda _: "") -> Check:
        """The check of a service's surface. `permission`: what a call needs, for refusals in IAM's name."""

        def check(call: Call) -> CloudError | None:
            if service not in self.refusing:
                return None
            target = call.method.target(call.request)
            name = f"{call.method.service}.{call.method.name}"
            return self.refusal(Refused(service, name, target[1] if target else "", permission(call)))

        return check

    def around(self, handler: Handler) -> Handler:
        """The handler, with the fault of its request's host first."""

        async def faulty(request: Request) -> Response:
            fault = self.hosts.get(request.host)
            if fault and fault.times:
                fault.times -= fault.times > 0
                await asyncio.sleep(fault.hang)
                if fault.status:
                    return _broken(fault)
            if request.host not in _SURFACES and (refused := self.refusal(Refused(request.host))):
                return _refusal(request, refused)
            return await handler(request)

        return faulty


def _refusal(request: Request, refused: CloudError) -> Response:
    """In the form of the API that was asked."""
    xml = request.host == STORAGE and not request.path.startswith(_JSON_API)
    headers = {"content-type": f"application/{'xml' if xml else 'json'}; charset=UTF-8"} | refused.challenge
    return Response(refused.http_status, refused.xml() if xml else refused.json(), headers)


def _broken(fault: Fault) -> Response:
    """An error that says nothing, as a front end answers when what is behind it is down."""
    headers = {"retry_after": str(fault.retry_after)} if fault.retry_after else {}
    status = "RESOURCE_EXHAUSTED" if fault.status == HTTPStatus.TOO_MANY_REQUESTS else "INTERNAL"
    error = {"code": fault.status, "message": "The lab was told to fail.", "status": status}
    return reply({"error": error}, fault.status, **headers)


class Control:
    """The control door: `GET /SECRET` tells the state, `POST /SECRET` with a JSON object of commands changes it.

    Commands are given by the service: name → what to call with the command's value; a text that one returns stands in
    the answer's `told`. `fault`, `refuse` and `clear` are its own.
    """

    def __init__(self, secret: str, faults: Faults, commands: Mapping[str, Callable[[Any], object]]) -> None:
        self._path = f"/{secret}"
        self._faults = faults
        self._commands: dict[str, Callable[[Any], object]] = {
            "fault": self._fault,
            "refuse": self._refuse,
            "clear": self._clear,
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
        refusing = {service: asdict(each) for service, each in self._faults.refusing.items()}
        return reply({"pid": os.getpid(), "faults": hosts, "refusing": refusing, "told": told})

    def _fault(self, value: Mapping[str, Any]) -> None:
        self._faults.hosts[value["host"]] = Fault(
            int(value.get("status", 0)),
            float(value.get("hang", 0)),
            int(value.get("retry_after", 0)),
            int(value.get("times", -1)),
        )

    def _clear(self, _: Any) -> None:
        self._faults.hosts.clear()
        self._faults.refusing.clear()

    def _refuse(self, value: Mapping[str, Any]) -> None:
        """`service` and a `kind`; `null` for the kind ends it."""
        service, kind = value["service"], value.get("kind")
        if kind is None:
            self._faults.refusing.pop(service, None)
            return
        kinds = {*KINDS, *(OF_BUCKETS if service == STORAGE else ())}
        if kind not in kinds:
            raise CloudError(StatusCode.INVALID_ARGUMENT, f"kinds of refusals: {', '.join(sorted(kinds))}")
        self._faults.refusing[service] = Refusing(
            kind,
            str(value.get("method", "")),
            str(value.get("permission", "")),
            int(value.get("times", -1)),
            int(value.get("after", 0)),
        )
