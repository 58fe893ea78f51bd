"""The lab's side of a model server: starts the process, asks it, ends it."""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from grpc import StatusCode

import remit
from remit.lab.errors import CloudError

_START = 60.0  # seconds to load a model: TensorFlow's library alone takes one
_LINE = 64 * 1024 * 1024  # bytes of one answer
_GRACE = 3.0  # seconds between the end of its input and SIGKILL


class ServedModel:
    """One running model server. Requests wait for each other."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()

    @classmethod
    async def start(cls, folder: Path) -> "ServedModel":
        """Loads the SavedModel in `folder`; raises `CloudError` when it does not load."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "remit.lab.vertex.model_server",
            str(folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "PYTHONPATH": str(Path(remit.__file__).parent.parent),
                "TF_CPP_MIN_LOG_LEVEL": "2",
            },
            limit=_LINE,
            start_new_session=True,
        )
        model = cls(process)
        try:
            async with asyncio.timeout(_START):
                said = await model._hear()
        except (TimeoutError, asyncio.CancelledError):
            await model.stop()
            raise
        if not said.get("ready"):
            await model.stop()
            why = said.get("error") or "the process ended"
            text = f"Model server terminated: model server container terminated: {why}"
            raise CloudError(StatusCode.FAILED_PRECONDITION, text)
        return model

    async def predict(self, body: Any) -> Any:
        """The answer to a body in TensorFlow Serving's JSON form; raises `CloudError`."""
        async with self._turn:
            if self._process.stdin is None or self._process.returncode is not None:
                raise CloudError(StatusCode.UNAVAILABLE, "The model server is not available.")
            self._process.stdin.write(json.dumps(body).encode() + b"\n")
            await self._process.stdin.drain()
            said = await self._hear()
        if not said:
            raise CloudError(StatusCode.UNAVAILABLE, "The model server is not available.")
        if said["status"] != 200:  # noqa: PLR2004  # OK
            raise CloudError(StatusCode.INVALID_ARGUMENT, json.dumps(said["body"]))
        return said["body"]

    async def stop(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _GRACE)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _hear(self) -> dict[str, Any]:
        """One line of the server's, empty when it has ended."""
        line = await self._process.stdout.readline() if self._process.stdout is not None else b""
        found: dict[str, Any] = json.loads(line) if line else {}
        return found
