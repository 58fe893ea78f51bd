"""The watch over open streams: whose caller is revoked, or whose token has ended, is cut.

The gateway keeps one gRPC stream open here for every event stream, server stream and WebSocket that it serves
(`remit.gateway.streams`). Its first message names the decision that permitted it. The watch answers that it may open,
and later says nothing, or ends its side with an error: then Envoy resets the caller's stream, an idle one too. When
this process dies, every stream that it watches is cut: fail closed; callers open anew at another arbiter.

Leaves out: who is revoked (a predicate, asked for every open stream four times a second), whether a stream is permitted
(the check did that; what is opened on its strength must be young). The messages are few, and read by hand.
Source: envoy.service.ext_proc.v3 (external_processor.proto), protobuf.dev/encoding.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from remit.arbiter.sockets import taking_the_place_of
from remit.model.outcome import Outcome

METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
LIMIT = 4_000  # open streams: a look at each costs microseconds, four times a second
SHARE = LIMIT // 2  # of one principal, who must not keep everybody else out

_log = logging.getLogger(__name__)
_LOOK_EVERY = 0.25  # seconds
_YOUNG = 15.0  # seconds between a decision and the stream that it opens: its own body may take a while to come
_SKEW = 60  # seconds after a token's end for which it is still taken, as identity does
_MARK, _PREFIX = b"x-goog-request-reason", b"decision/"
_MAY_OPEN = b"\x0a\x00"  # ProcessingResponse.request_headers, empty: go on as it is
_TRAILERS, _GO_ON = 0x3A, b"\x32\x00"  # ProcessingRequest.response_trailers, and the empty answer to it
_OPTIONS = (  # Envoy asks every second whether we live; gRPC's own server would take offence
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_receive_message_length", 65_536),  # one header
    ("grpc.so_reuseport", 0),
)

Record = Mapping[str, Any]
Find = Callable[[str], Record | None]
"""A decision's record by its id, which may block: `outcome`, `at` (microseconds), `expires` (seconds), and the rest."""
Revoked = Callable[[Record, int], bool]
"""Whether the record's principal, session or job counts no longer, at a time in seconds; must not block."""


class Streams:
    """All open streams. `clock`: seconds since the epoch; `limit`: how many may be open, `share`: of one principal."""

    def __init__(
        self,
        find: Find,
        revoked: Revoked,
        *,
        clock: Callable[[], float] = time.time,
        limit: int = LIMIT,
        share: int = SHARE,
    ) -> None:
        self._find = find
        self._revoked = revoked
        self._clock = clock
        self._limit = limit
        self._share = share
        self._coming = 0
        self._open: dict[asyncio.Future[str], Record] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def changed(self) -> None:
        """Marks every stream that may be open no longer; from any thread.

        A revocation that is lifted a moment later would pass between two looks: so whoever acknowledges it calls this
        before, and its streams are cut whatever comes after.
        """
        loop = self._loop
        if loop is not None:
            for cut in self._ended():
                loop.call_soon_threadsafe(_cut, cut)

    def _ended(self) -> list[asyncio.Future[str]]:
        return [cut for cut, record in list(self._open.items()) if self._over(record)]

    @contextlib.asynccontextmanager
    async def listening(self, socket: Path) -> AsyncIterator[None]:
        """Serves on a Unix socket that only this user may open; at the end every stream is cut."""
        self._loop = asyncio.get_running_loop()
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((_Process(self._watch),))
        with taking_the_place_of(socket) as own:
            server.add_insecure_port(f"unix:{own}")
            await server.start()
        looking = asyncio.create_task(self._keep_looking())
        try:
            yield
        finally:
            looking.cancel()
            self._loop = None
            await server.stop(None)
            await asyncio.gather(looking, return_exceptions=True)

    async def _watch(self, _: object, context: Any) -> None:
        """One stream, from its opening to its end."""
        if len(self._open) + self._coming >= self._limit:
            return _end(context, "too many streams are open")
        self._coming += 1
        try:
            record = await self._admitted(await context.read())
        finally:
            self._coming -= 1
        if record is None:
            return _end(context, "no young permit is known for it")
        if sum(other.get("principal") == record.get("principal") for other in self._open.values()) >= self._share:
            return _end(context, "too many streams of this caller are open")
        cut: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._open[cut] = record
        try:
            if self._over(record):  # asked after it is in the table: a revocation comes before this, or finds it there
                return _end(context, "its permit is not in force")
            await context.write(_MAY_OPEN)
            if await _ends_by_itself(context, cut):
                return None
        finally:
            del self._open[cut]
        _log.info("the stream of decision %s is cut: %s", record.get("decision"), cut.result())
        return _end(context, cut.result())

    async def _admitted(self, first: Any) -> Record | None:
        """The record of the permit that a stream is opened with; `None` when it is not known, no permit, or old."""
        decision = _decision(first) if isinstance(first, bytes) else None
        if decision is None:
            return None
        try:
            record = await asyncio.to_thread(self._find, decision)
        except Exception:  # noqa: BLE001 - whatever fails, a stream that nobody can watch does not open
            _log.warning("decision %s cannot be looked up: its stream does not open", decision, exc_info=True)
            return None
        if record is None or record.get("outcome") != str(Outcome.PERMIT):
            return None
        return record if self._clock() - record["at"] / 1_000_000 <= _YOUNG else None

    def _over(self, record: Record) -> bool:
        """Whether a stream may be open no longer; an error is a yes."""
        now = self._clock()
        try:
            return bool(now > record["expires"] + _SKEW or self._revoked(record, int(now)))
        except Exception:  # noqa: BLE001 - whatever fails, an open stream without a judge is cut
            _log.warning("decision %s cannot be judged: its stream is cut", record.get("decision"), exc_info=True)
            return True

    async def _keep_looking(self) -> None:
        while True:
            for cut in self._ended():
                _cut(cut)
            await asyncio.sleep(_LOOK_EVERY)


class _Process(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc publishes no types
    """The one method of the service, with its messages as bytes."""

    def __init__(self, watch: Callable[[object, Any], Any]) -> None:
        self._handler = grpc.stream_stream_rpc_method_handler(watch)

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method, `None` when there is none."""
        return self._handler if handler_call_details.method == METHOD else None


def _cut(cut: asyncio.Future[str]) -> None:
    if not cut.done():
        cut.set_result("its permit is no longer in force")


def _end(context: Any, because: str) -> None:
    """Any status but OK makes Envoy reset the caller's stream."""
    context.set_code(grpc.StatusCode.PERMISSION_DENIED)
    context.set_details(because)


async def _ends_by_itself(context: Any, cut: asyncio.Future[str]) -> bool:
    """Waits for the end of the caller's stream, or until it is cut."""
    while True:
        reading = asyncio.ensure_future(context.read())
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else may look at it
        await asyncio.wait((reading, cut), return_when=asyncio.FIRST_COMPLETED)
        if cut.done():
            return False
        said = reading.result()
        if said is grpc.aio.EOF:
            return True
        if not said or said[0] != _TRAILERS:
            cut.set_result("the gateway said what nobody asked for")
            return False
        await context.write(_GO_ON)


def _decision(message: bytes) -> str | None:
    """The decision that the first message names in exactly one header; `None` for anything else."""
    try:
        marks = [
            fields.get(3) or fields.get(2) or b""
            for headers in _values(message, 2)
            for every in _values(headers, 1)
            for fields in map(dict, map(_fields, _values(every, 1)))
            if fields.get(1) == _MARK
        ]
        text = marks[0] if len(marks) == 1 else b""
        return text.removeprefix(_PREFIX).decode("ascii") if text.startswith(_PREFIX) else None
    except (ValueError, IndexError):
        return None


def _values(message: bytes, number: int) -> list[bytes]:
    return [value for field, value in _fields(message) if field == number]


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message; raises `ValueError` or `IndexError` for what is cut off or odd."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        size, at = _varint(message, at)
        if tag & 7 == 0:  # a number, just read
            continue
        if tag & 7 != 2 or at + size > len(message):  # noqa: PLR2004 - wire type 2, length-delimited
            raise ValueError(tag)
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:  # noqa: PLR2004 - ten groups of seven bits hold 64
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:  # noqa: PLR2004 - the last group's mark
            return value, at
    raise ValueError(value)
