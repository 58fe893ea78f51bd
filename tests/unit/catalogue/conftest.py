"""Requests on the wire, for the catalogue's tests."""

from collections.abc import Callable
from urllib.parse import quote

import pytest
from google.protobuf import json_format

from remit.catalogue import Catalogue
from remit.catalogue.descriptors import procedures
from remit.model.estate import Estate, Project
from remit.model.wire import WireRequest

SETS = ("vertex_v1", "vertex_v1beta1", "logging_v2", "resourcemanager_v3")
REGIONAL = "us-central1-aiplatform.googleapis.com"


def _project(name, number, environment, locations=("us-central1", "europe-west4")):
    short = name.removeprefix("contoso-")
    return Project(
        name,
        number,
        environment,
        locations,
        (f"contoso-{short}-data", f"contoso-{short}-staging"),
        (f"trainer@{name}.iam.gserviceaccount.com",),
    )


@pytest.fixture(scope="session")
def estate() -> Estate:
    return Estate(
        (
            _project("contoso-fraud-test", "100000000001", "test"),
            _project("contoso-fraud-prod", "100000000002", "prod", ("us-central1", "global")),
            _project("contoso-churn-prod", "100000000003", "prod"),
        )
    )


@pytest.fixture(scope="session")
def catalogue(estate) -> Catalogue:
    return Catalogue(estate)


class Requests(dict):
    """The class of each procedure's request, by path: quiet, since hypothesis prints what a test is given."""

    def __repr__(self) -> str:
        return "the request of each procedure"


@pytest.fixture(scope="session")
def requests_by_path() -> Requests:
    return Requests((procedure.path, procedure.request) for name in SETS for procedure in procedures(name))


@pytest.fixture(scope="session")
def encode(requests_by_path) -> Callable[[str, dict], bytes]:
    """The bytes of a procedure's request message, given as JSON."""

    def encoded(path, value):
        message = requests_by_path[path]()
        json_format.ParseDict(value, message, descriptor_pool=message.DESCRIPTOR.file.pool)
        return message.SerializeToString()

    return encoded


def frame(payload: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(payload).to_bytes(4, "big") + payload


@pytest.fixture(scope="session")
def grpc_wire(encode) -> Callable[..., WireRequest]:
    """A gRPC request; `value` is the message as JSON, or its bytes."""

    def made(path, value, *, host=REGIONAL, headers=(), body=None, content_type="application/grpc", method="POST"):
        if not path.startswith("/"):
            path = f"/google.cloud.aiplatform.v1.{path}"
        if body is None:
            body = frame(value if isinstance(value, bytes) else encode(path, value))
        headers = (("content-type", content_type), *headers)
        return WireRequest(None, method, host, path, headers, body, body_sent=True)

    return made


@pytest.fixture(scope="session")
def rest_wire() -> Callable[..., WireRequest]:
    """A REST request; `body` is text or bytes, `None` for one that was not sent along."""

    def made(method, target, body=None, *, host=REGIONAL, headers=(("content-type", "application/json"),), query=None):
        if query:
            target += "?" + "&".join(f"{quote(key)}={quote(value)}" for key, value in query.items())
        raw = body.encode() if isinstance(body, str) else body
        return WireRequest(None, method, host, target, tuple(headers), raw or b"", body_sent=raw is not None)

    return made


@pytest.fixture(scope="session")
def job() -> dict:
    """A custom job as the SDK writes it, in JSON."""
    return {
        "displayName": "digits",
        "labels": {"team": "fraud", "a": "b", "c": "d"},
        "jobSpec": {
            "workerPoolSpecs": [
                {
                    "machineSpec": {"machineType": "n1-standard-4"},
                    "replicaCount": "1",
                    "containerSpec": {
                        "imageUri": "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest",
                        "command": ["python", "-m", "trainer"],
                        "args": ["--epochs=3", "--data=gs://contoso-fraud-test-data/digits"],
                        "env": [{"name": "A", "value": "b"}],
                    },
                }
            ],
            "serviceAccount": "trainer@contoso-fraud-test.iam.gserviceaccount.com",
            "baseOutputDirectory": {"outputUriPrefix": "gs://contoso-fraud-test-staging/out"},
            "scheduling": {"timeout": "600s", "restartJobOnWorkerRestart": True},
        },
    }
