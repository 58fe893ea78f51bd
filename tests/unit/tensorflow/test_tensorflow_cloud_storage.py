"""TensorFlow's own `gs://`: never as nobody, and read on after a cut like everything else."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from remit.lab import contoso, lifecycle
from remit.tensorflow.cloud_storage import Anonymous, CloudStorage, _by_somebody, identified
from remit.tensorflow.errors import ReadRefused
from remit.tensorflow.patience import Verdict

TOKEN = json.dumps({"access_token": "t", "expires_in": 3000, "token_type": "Bearer"}).encode()

UNTYPED = b'{"access_token": "t", "expires_in": 3000}'  # measured: TensorFlow takes it as no answer

PROGRAM = """
import sys
from remit.tensorflow import tfrecords
from remit.tensorflow.errors import ReadFailed
try:
    words = sorted(tfrecords(sys.argv[1], patience=1).as_numpy_iterator())
    print(b" ".join(words).decode())
except ReadFailed as error:
    print(type(error).__name__, error.message, "|", error.hint)
    print(str(error.__cause__), file=sys.stderr)
"""


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"shared_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.promise("T8")
def test_with_a_token_at_hand_tensorflow_may_ask(metadata_server):
    identified({"GCE_METADATA_HOST": metadata_server(TOKEN)})


@pytest.mark.promise("T8")
@pytest.mark.parametrize(
    ("answer", "status"), [(b"", 200), (b"{}", 200), (TOKEN, 500), (b"<html>", 200), (b"[]", 200), (UNTYPED, 200)]
)
def test_without_one_it_would_be_nobody_and_may_not(metadata_server, answer, status):
    with pytest.raises(Anonymous, match="as nobody") as told:
        identified({"GCE_METADATA_HOST": metadata_server(answer, status)})
    assert "remit run" in told.value.hint


def test_nobody_answers():
    with pytest.raises(Anonymous):
        identified({"GCE_METADATA_HOST": f"127.0.0.1:{free_port()}"})


def test_a_proxy_between_tensorflow_and_the_metadata_server_is_seen(metadata_server, monkeypatch):
    """The library under TensorFlow would ask it too, get nothing, and TensorFlow would go on as nobody."""
    host = metadata_server(TOKEN)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Anonymous, match="as nobody"):
        identified({"GCE_METADATA_HOST": host})
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    identified({"GCE_METADATA_HOST": host})


@pytest.mark.parametrize("name", ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_AUTH_TOKEN_FOR_TESTING"])
def test_a_key_file_does_not_stand_in_for_a_runs_identity(metadata_server, name):
    given = {"GCE_METADATA_HOST": metadata_server(TOKEN), name: "/some/key.json"}
    identified(given)
    with pytest.raises(ReadRefused, match="stand in"):
        identified(given | {"REMIT_JOB": "j-1"})


def test_a_switch_that_makes_it_anonymous_is_refused(metadata_server):
    with pytest.raises(ReadRefused, match="NO_GCE_CHECK"):
        identified({"GCE_METADATA_HOST": metadata_server(TOKEN), "NO_GCE_CHECK": "True"})


@pytest.mark.parametrize(
    ("kind", "message", "verdict"),
    [
        ("PermissionDeniedError", "Error executing an HTTP request: HTTP response code 403 with body", Verdict.NEVER),
        ("UnavailableError", "HTTP response code 503", Verdict.AGAIN),
        ("AbortedError", "All 10 retry attempts failed", Verdict.AGAIN),
        ("NotFoundError", "HTTP response code 404", Verdict.NEVER),
        ("FailedPreconditionError", "", Verdict.NEVER),
    ],
)
def test_what_an_error_of_tensorflows_means(tf, kind, message, verdict):
    assert CloudStorage().judge(getattr(tf.errors, kind)(None, None, message)) is verdict
    assert CloudStorage().judge(Anonymous("x")) is Verdict.AGAIN


@pytest.mark.promise("T8")
@pytest.mark.parametrize(("body", "said"), [("Anonymous caller does not", "as nobody"), ("Invalid", "did not take")])
def test_a_token_that_was_not_taken_is_no_role_that_lacks(tf, body, said):
    error = tf.errors.PermissionDeniedError(None, None, f"HTTP response code 401 with body '{body}'")
    with pytest.raises(ReadRefused, match=said) as told, _by_somebody():
        raise error
    assert CloudStorage().judge(told.value) is Verdict.RENEW


def told(lab: lifecycle.Lab, metadata: str, pattern: str) -> str:
    environment = os.environ | lifecycle.reach(lab) | {"GCE_METADATA_HOST": metadata, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, pattern],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stderr[-2000:])
    return done.stdout.strip()


@pytest.fixture
def bucket(lab, written) -> tuple[str, bytes]:
    """A pattern of two files at Contoso's Cloud Storage, and a metadata server's answer with an engineer's token."""
    wire = load(Path(__file__).parents[1] / "lab" / "conftest.py").Wire(lab)
    wire.engineer = wire.account_token(contoso.DANA, contoso.account("ml-engineer", contoso.FRAUD_TEST))
    name = contoso.FRAUD_TEST.buckets[0]
    for file in range(2):
        wire.put(name, f"train/{file}.tfrecord", written([f"{file}-{number}".encode() for number in range(3)]))
    return f"gs://{name}/train/*.tfrecord", json.dumps(
        {"access_token": wire.engineer, "expires_in": 3000, "token_type": "Bearer"}
    ).encode()


@pytest.mark.promise("T7")
def test_records_come_from_cloud_storage_through_tensorflow(lab, bucket, metadata_server):
    assert told(lab, metadata_server(bucket[1]), bucket[0]) == "0-0 0-1 0-2 1-0 1-1 1-2"


@pytest.mark.promise("T8")
def test_tensorflow_does_not_go_on_as_nobody(lab, bucket):
    said = told(lab, f"127.0.0.1:{free_port()}", bucket[0])
    assert said.startswith("Anonymous the metadata server gives no token"), said
