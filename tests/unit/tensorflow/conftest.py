"""TensorFlow itself, and Blob Storage as the lab and Azurite play it, shared by the tests beside this file."""

import importlib.util
import json
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from remit.lab import contoso, contoso_azure, lifecycle
from remit.tensorflow.patience import Patience

ACCOUNT = "contosofraudtest"
IDENTITY = contoso.FRAUD_PIPELINE
ROOT = Path(__file__).resolve().parents[2]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"shared_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tf() -> ModuleType:
    """TensorFlow, which takes ten seconds once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        import tensorflow as tf
    return tf


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lifecycle.Lab]:
    folder = tmp_path_factory.mktemp("lab")
    yield lifecycle.up(folder)
    lifecycle.down(folder)


@dataclass
class Storage:
    """Contoso's Blob Storage. `keys`: of its accounts, which only tests and benchmarks ever see."""

    lab: lifecycle.Lab
    keys: dict[str, str]

    def control(self, **commands: Any) -> dict[str, Any]:
        answer = httpx.post(self.lab.control, json=commands, trust_env=False, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def assignment(self, container: str, role: str) -> dict[str, str]:
        return {"principal": IDENTITY.oid, "container": f"{ACCOUNT}/{container}", "role": role}

    def put(self, container: str, name: str, content: bytes) -> None:
        """A blob, written by the pipeline's own identity."""
        from remit.tensorflow.blob import Container, ambient

        client = Container(f"{ACCOUNT}/{container}", ambient)._client
        client.get_blob_client(name).upload_blob(content, overwrite=True)

    def log(self) -> list[dict[str, Any]]:
        lines = Path(self.lab.folder, "storage_blob.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def stored(lab: lifecycle.Lab) -> Iterator[Storage]:
    """The lab before a real Azurite; the pipeline's identity writes to `features` and `staging`."""
    with load(ROOT / "providers" / "azurite.py").azurite(ACCOUNT, "contosofraudprod") as store:
        storage = Storage(lab, store.keys)
        storage.control(azurite={"address": store.address, "keys": store.keys})
        yield storage


@pytest.fixture
def storage(stored: Storage, lab: lifecycle.Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """This process on a machine of Contoso's, as the pipeline; what a test breaks is mended."""
    for name, value in (lifecycle.variables(lab) | {"AZURE_CLIENT_ID": IDENTITY.client_id}).items():
        monkeypatch.setenv(name, value)
    from azure.core.exceptions import ResourceExistsError

    from remit.tensorflow.blob import Container, ambient

    for container in ("features", "staging"):
        stored.control(assign=stored.assignment(container, contoso_azure.CONTRIBUTOR))
        try:
            Container(f"{ACCOUNT}/{container}", ambient)._client.create_container()
        except ResourceExistsError:
            continue
    yield stored
    stored.control(blob_fault=None, blob_keys=False)
    for container in ("features", "staging"):
        stored.control(unassign=stored.assignment(container, contoso_azure.CONTRIBUTOR))


@pytest.fixture
def written(tf: ModuleType, tmp_path: Path) -> Callable[..., bytes]:
    """The bytes of a TFRecord file that TensorFlow itself wrote."""

    def write(records: list[bytes], compression: str = "") -> bytes:
        path = tmp_path / "written.tfrecord"
        with tf.io.TFRecordWriter(str(path), compression or None) as writer:
            for record in records:
                writer.write(record)
        return path.read_bytes()

    return write


class Time:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, []

    def patience(self, seconds: float = 120.0) -> Patience:
        return Patience(seconds, lambda: self.now, self.sleep, lambda _, high: high)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def metadata_server() -> Iterator[Callable[[bytes], str]]:
    """A metadata server that gives one answer, in Google's form or App Service's; its `HOST:PORT`."""
    started: list[HTTPServer] = []

    def start(answer: bytes, status: int = 200) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                azure = self.headers.get("X-IDENTITY-HEADER") == "secret"
                good = azure or self.headers.get("Metadata-Flavor") == "Google"
                self.send_response(status if good else 403)
                self.send_header("Metadata-Flavor", "Google")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()
