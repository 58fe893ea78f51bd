"""Azurite as a process: Azure Blob Storage that this project did not write. In memory, on a free port, ended by its pid.

It knows no roles and no signatures of tokens; the lab's door stands before it (`remit.lab.blob`).
"""

import base64
import contextlib
import http.client
import importlib.util
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
READY = 60.0  # seconds for Node to start on a busy machine
_END = 10.0


@dataclass(frozen=True)
class Azurite:
    """A running store. `keys`: account → key in base64."""

    address: str
    keys: dict[str, str]


@contextlib.contextmanager
def azurite(*accounts: str) -> Iterator[Azurite]:
    """A store with these accounts for as long as the block; installs it when `make` has not."""
    installer = _installer()
    installer.install()
    keys = {account: base64.b64encode(secrets.token_bytes(64)).decode() for account in accounts}
    program = installer.FOLDER / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    with socket.socket() as free, tempfile.TemporaryDirectory(prefix="remit-azurite-") as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [installer.node(), program, "--blobHost", "127.0.0.1", "--blobPort", str(port)]
        quiet = ("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "AZURITE_ACCOUNTS": ";".join(f"{account}:{key}" for account, key in keys.items()),
        }
        process = subprocess.Popen(
            [*command, *quiet], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _ready(process, port)
            yield Azurite(f"http://127.0.0.1:{port}", keys)
        finally:
            process.terminate()
            try:
                process.wait(_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + READY
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except OSError:
            assert process.poll() is None, "Azurite did not start"
            assert time.monotonic() < deadline, "Azurite did not become ready"
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()


def _installer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("providers_install", HERE / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
