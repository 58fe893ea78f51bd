"""Long-running operations (google/longrunning/operations.proto): work that answers later.

Left out: cancelling and deleting an operation. An operation is named below the resource that it works on.
"""

import asyncio
from collections.abc import Awaitable, Callable

from grpc import StatusCode

from remit.lab.api_table import Method, Proto, table
from remit.lab.errors import CloudError
from remit.lab.vertex.resources import Scope, canonical, new_id, stamp

_WAIT = 60.0  # seconds: the longest that `WaitOperation` holds a call


class Operations:
    """Every operation since the lab began."""

    def __init__(self) -> None:
        self._operation = table().message("google.longrunning.Operation")
        self._known: dict[str, Proto] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def done(self, owner: str, method: Method, result: Proto) -> Proto:
        """An operation that has succeeded already."""
        operation = self._new(owner, method)
        _finish(operation, result)
        return operation

    def start(self, owner: str, method: Method, work: Callable[[], Awaitable[Proto]]) -> Proto:
        """An operation that ends when `work` does; a `CloudError` becomes its error."""
        operation = self._new(owner, method)
        self._tasks[operation.name] = asyncio.create_task(self._work(operation, work))
        return operation

    async def serve(self, scope: Scope) -> Proto:
        """`GetOperation`, `WaitOperation` and `ListOperations`."""
        if scope.call.method.name == "ListOperations":
            found = [
                operation for name, operation in self._known.items() if name.startswith(f"{scope.name}/operations/")
            ]
            return scope.answer(operations=found)
        operation = self._known.get(canonical(scope.request.name))
        if operation is None:
            raise CloudError(StatusCode.NOT_FOUND, f"Operation {scope.request.name} not found")
        task = self._tasks.get(operation.name)
        if scope.call.method.name == "WaitOperation" and task is not None:
            await asyncio.wait({task}, timeout=_WAIT)
        return operation

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _work(self, operation: Proto, work: Callable[[], Awaitable[Proto]]) -> None:
        try:
            _finish(operation, await work())
        except CloudError as error:
            operation.error.code, operation.error.message = error.code.value[0], error.message
            operation.done = True

    def _new(self, owner: str, method: Method) -> Proto:
        operation = self._operation(name=f"{owner}/operations/{new_id()}")
        if method.progress:
            progress = table().message(method.progress)()
            if "generic_metadata" in progress.DESCRIPTOR.fields_by_name:
                stamp(progress.generic_metadata, "create_time", "update_time")
            operation.metadata.Pack(progress)
        self._known[operation.name] = operation
        return operation


def _finish(operation: Proto, result: Proto) -> None:
    operation.response.Pack(result)
    operation.done = True
