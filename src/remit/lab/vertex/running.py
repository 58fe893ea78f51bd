"""What is under way: one task for each resource that works, with the states, times and errors that all of them share.

Jobs have `JOB_STATE_*`, pipelines `PIPELINE_STATE_*`; the words after the prefix are the same. Source:
google/cloud/aiplatform/v1/job_state.proto, pipeline_state.proto.
"""

import asyncio
from collections.abc import Awaitable, Callable

from grpc import StatusCode

from remit.lab.api_table import Proto
from remit.lab.errors import CloudError
from remit.lab.vertex.resources import Resources, Scope, set_state, stamp

INTERNAL = "Internal error encountered."
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


class Running:
    """The resources of one kind that work. `prefix`: of their states; `kind`: their message type."""

    def __init__(self, resources: Resources, kind: str, prefix: str = "JOB_STATE_") -> None:
        self._resources = resources
        self._kind = kind
        self._prefix = prefix
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, thing: Proto, work: Callable[[], Awaitable[None]]) -> Proto:
        """Begins the work of a resource, which ends with `work`: a `CloudError` becomes its error."""
        set_state(thing, f"{self._prefix}PENDING")
        task = asyncio.create_task(self._live(thing, work))
        self._tasks[thing.name] = task
        task.add_done_callback(lambda _: self._tasks.pop(thing.name, None))
        return thing

    def cancel(self, scope: Scope) -> Proto:
        """The `Cancel…` method: asks for an end, and does nothing to what has ended."""
        self.cancel_named(scope.name)
        return scope.answer()

    def cancel_named(self, name: str) -> Proto:
        """Asks one resource to end."""
        thing = self._resources.get(name, self._kind)
        if thing.name in self._tasks and state_of(thing) != f"{self._prefix}CANCELLING":
            set_state(thing, f"{self._prefix}CANCELLING")
            self._tasks[thing.name].cancel()
        return thing

    def check_deletable(self, name: str) -> None:
        """Refuses to delete what has not ended."""
        thing = self._resources.get(name, self._kind)
        if not state_of(thing).endswith(_ENDED):
            text = f"Cannot delete {self._kind} {thing.name} in state {state_of(thing)}, cancel it first."
            raise CloudError(StatusCode.FAILED_PRECONDITION, text)

    async def close(self) -> None:
        """Ends all of them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _live(self, thing: Proto, work: Callable[[], Awaitable[None]]) -> None:
        try:
            set_state(thing, f"{self._prefix}RUNNING")
            stamp(thing, "start_time", "update_time")
            await work()
            set_state(thing, f"{self._prefix}SUCCEEDED")
        except asyncio.CancelledError:
            set_state(thing, f"{self._prefix}CANCELLED")
            thing.error.code, thing.error.message = StatusCode.CANCELLED.value[0], "CANCELED"
        except CloudError as error:
            set_state(thing, f"{self._prefix}FAILED")
            thing.error.code, thing.error.message = error.code.value[0], error.message
        finally:
            if not state_of(thing).endswith(_ENDED):  # a mistake of the lab's own must not look like work
                set_state(thing, f"{self._prefix}FAILED")
                thing.error.code, thing.error.message = StatusCode.INTERNAL.value[0], INTERNAL
            stamp(thing, "end_time", "update_time")


def state_of(thing: Proto) -> str:
    """A resource's state by its word."""
    return str(thing.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number[thing.state].name)
