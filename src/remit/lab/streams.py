"""Taking connections, and carrying bytes between two of them until both directions have ended."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_log = logging.getLogger(__name__)

_BLOCK = 64 * 1024  # bytes a read: one TLS record holds a quarter of it


def accepting(handler: Connected) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
    """What `asyncio.start_server` wants: each connection is a task that is held on to, and may be cancelled.

    Given a coroutine function, Python 3.11 loses such tasks to the garbage collector and complains of cancelled ones.
    """
    tasks: set[asyncio.Task[None]] = set()

    def ended(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("a connection failed", exc_info=error)

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handler(reader, writer)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(run(reader, writer))
        tasks.add(task)
        task.add_done_callback(ended)

    return accept


async def splice(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter], other: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Copy both ways, and close both when either side fails or both have said all."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(one[0], other[1]))
            group.create_task(_copy(other[0], one[1]))
    except* OSError:
        pass  # one side went away: the other is closed below
    finally:
        await close(one[1])
        await close(other[1])


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection that may be gone already."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(_BLOCK):
        writer.write(block)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()  # TLS has no half-close
