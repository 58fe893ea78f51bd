"""The second door: REST and gRPC on one TLS port by names of Contoso's, alike the tunnel in every answer.

And an Envoy that a user runs already, in its plain form, which asks the arbiter of the running plane.
"""

import contextlib
import importlib.util
import json
import re
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import httpx
import pytest
from google.cloud.aiplatform_v1.types import CreateCustomJobRequest, GetCustomJobRequest, PredictRequest

from remit.cli.story.installation import free_port
from remit.lab.board import ASSERTION

pytestmark = pytest.mark.e2e

HERE = Path(__file__).resolve().parent
TEST = "projects/contoso-fraud-test/locations/us-central1"
PROD = "projects/contoso-fraud-prod/locations/us-central1"
JOBS = "/google.cloud.aiplatform.v1.JobService/"
PREDICT = "/google.cloud.aiplatform.v1.PredictionService/Predict"


def _load(name: str, path: Path) -> ModuleType:
    """A module that stands beside the tests, once."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


lib = _load("e2e_services_world", HERE / "services_world.py")
stock = _load("e2e_stock_envoy", HERE.parent / "unit" / "arbiter" / "test_arbiter_stock_envoy.py")


@pytest.fixture(scope="module")
def town(pytestconfig: pytest.Config) -> Any:
    return lib.shared(pytestconfig)


# One answer on both.

JOB: dict[str, Any] = {
    "displayName": "doors",
    "jobSpec": {"workerPoolSpecs": [{"machineSpec": {"machineType": "m1-ultramem-160"}, "replicaCount": "1"}]},
}
REST: list[tuple[str, str, str, Any, dict[str, str]]] = [
    ("dana", "GET", f"/v1/{TEST}/customJobs?pageSize=1", None, {}),
    ("dana", "GET", f"/v1/{TEST}/customJobs/404", None, {}),
    ("dana", "GET", f"/v1beta1/{TEST}/models", None, {}),
    ("dana", "GET", "/v1/projects/100000000001/locations/us-central1/endpoints", None, {}),
    ("dana", "POST", f"/v1/{TEST}/endpoints/404:predict", {"instances": [1]}, {}),
    ("dana", "POST", f"/v1/{TEST}/endpoints/404:rawPredict", {"any": "thing"}, {}),
    ("ada", "POST", f"/v1/{TEST}/customJobs", JOB, {}),
    ("dana", "POST", f"/v1/{TEST}/customJobs", JOB, {}),
    ("dana", "DELETE", f"/v1/{PROD}/customJobs/404", None, {}),
    ("sam", "POST", f"/v1/{TEST}/endpoints/404:predict", {"instances": [1]}, {}),
    ("dana", "GET", "/v1/projects/somebody-elses/locations/us-central1/models", None, {}),
    ("dana", "GET", "/v1/projects/contoso-fraud-test/locations/europe-west4/models", None, {}),
    ("dana", "POST", f"/v1/{TEST}/endpoints/404:unheardOf", {}, {}),
    ("dana", "POST", f"/v1/{TEST}/customJobs", b'{"displayName": "a", "displayName": "b"}', {}),
    ("dana", "POST", f"/v1/{TEST}/customJobs", b"{", {}),
    ("dana", "POST", f"/v1/{TEST}/customJobs", b"\x1f\x8b", {"content-encoding": "gzip"}),
    ("dana", "GET", f"/v1/{TEST}/customJobs/..", None, {}),
    ("dana", "GET", f"/v1/{TEST}/customJobs%2F1", None, {}),
    ("dana", "GET", f"/v1//{TEST}/customJobs", None, {}),
    ("dana", "TRACE", f"/v1/{TEST}/customJobs", None, {}),
    ("dana", "GET", f"/v1/{TEST}/customJobs", None, {"x-http-method-override": "DELETE"}),
    ("dana", "GET", "/", None, {}),
    ("", "GET", f"/v1/{TEST}/customJobs", None, {}),
    ("", "GET", f"/v1/{TEST}/customJobs", None, {"authorization": "Bearer a.b.c"}),
    ("", "GET", f"/v1/{TEST}/customJobs", None, {"authorization": "Basic ZGFuYTpkYW5h"}),
    ("", "GET", f"/v1/{TEST}/customJobs", None, {"cookie": f"__Host-remit={'A' * 43}"}),
]


@pytest.mark.promise("V24")
def test_both_doors_give_the_same_answers(town: Any) -> None:
    """Of permitted, refused and malformed requests: status, reason, every header that matters, and the body."""
    statuses = []
    for name, method, target, body, more in REST:
        headers = {**(town.bearer(name) if name else {}), **more}
        said = []
        for opened in (town.world.tunnel(), town.at(lib.VERTEX_HERE)):
            with opened as connection:
                said.append(told(connection.ask(method, target, body, headers)))
        assert said[0] == said[1], (name, method, target)
        statuses.append(said[0][0])
    print(dict(zip((f"{method} {target}" for _, method, target, _, _ in REST), statuses, strict=True)))
    assert {200, 400, 401, 403, 404} <= set(statuses)


def told(reply: Any) -> tuple[Any, ...]:
    """What a caller can tell answers apart by, without what differs each time."""
    named = ("x-remit-reason", "x-remit-upstream", "content-type", "www-authenticate", "cache-control")
    headers = {name: reply.headers.get(name) for name in named}
    return reply.status, headers, "x-remit-decision" in reply.headers, _same(reply.body)


def _same(body: bytes) -> bytes:
    return re.sub(rb"d-[0-9a-z]{26}", b"d-", body)


CALLS: list[tuple[str, str, bytes]] = [
    ("dana", f"{JOBS}GetCustomJob", GetCustomJobRequest.serialize(GetCustomJobRequest(name=f"{TEST}/customJobs/404"))),
    ("ada", f"{JOBS}DeleteCustomJob", GetCustomJobRequest.serialize(GetCustomJobRequest(name=f"{TEST}/customJobs/1"))),
    ("ada", f"{JOBS}CreateCustomJob", CreateCustomJobRequest.serialize(CreateCustomJobRequest(parent=TEST))),
    ("dana", PREDICT, PredictRequest.serialize(PredictRequest(endpoint=f"{TEST}/endpoints/404"))),
    ("sam", PREDICT, PredictRequest.serialize(PredictRequest(endpoint=f"{TEST}/endpoints/404"))),
    ("dana", PREDICT, b"\x0a\x01a\x0a\x01b"),
    ("dana", PREDICT, b"\xff"),
    ("dana", f"{JOBS}Unheard", b""),
    ("dana", "/any.Service/Call", b""),
    ("", f"{JOBS}GetCustomJob", b""),
]


def test_both_doors_give_the_same_answers_to_calls(town: Any) -> None:
    codes = set()
    for name, path, data in CALLS:
        said = []
        for door, host in (("tunnel", lib.VERTEX), ("endpoint", lib.VERTEX_HERE)):
            metadata = (("authorization", town.bearer(name)["authorization"]),) if name else ()
            with town.channel(host, door=door) as channel, pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(path)(data, metadata=metadata, timeout=lib.SOON)
            error = refused.value
            given = dict((*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())))
            said.append((error.code().name, _same(error.details().encode()), given.get("x-remit-reason")))
        assert said[0] == said[1], path
        codes.add(said[0][0])
    assert {"NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_ARGUMENT"} <= codes


def test_rest_and_grpc_on_one_port(town: Any) -> None:
    """One name, one port, one token; what the cloud says of either is that Dana's account asked."""
    nonce = str(time.time_ns())
    with town.at(lib.VERTEX_HERE) as connection:
        assert connection.ask("GET", f"/v1/{TEST}/customJobs/1{nonce}", headers=town.bearer()).status == 404
    request = GetCustomJobRequest.serialize(GetCustomJobRequest(name=f"{TEST}/customJobs/2{nonce}"))
    metadata = (("authorization", town.bearer()["authorization"]),)
    with town.channel(lib.VERTEX_HERE, door="endpoint") as channel, pytest.raises(grpc.RpcError) as missing:
        channel.unary_unary(f"{JOBS}GetCustomJob")(request, metadata=metadata, timeout=lib.SOON)
    assert missing.value.code().name == "NOT_FOUND"
    assert len(town.world.cloud(nonce)) == 2


# Names.


@pytest.mark.promise("N9")
def test_tls_and_the_request_name_the_same(town: Any) -> None:
    for host in (lib.DIGITS, lib.OTHER, lib.VERTEX, "evil.example", f"{lib.VERTEX_HERE}:1", f"{lib.VERTEX_HERE}."):
        with town.at(lib.VERTEX_HERE, host=host) as connection:
            answer = connection.ask("GET", f"/v1/{TEST}/customJobs", headers=town.bearer())
        assert answer.status == 421, host
    for host in (f"{lib.VERTEX_HERE}:443", f"{lib.VERTEX_HERE}:{town.endpoint}", lib.VERTEX_HERE.upper()):
        with town.at(lib.VERTEX_HERE, host=host) as connection:
            assert connection.ask("GET", f"/v1/{TEST}/customJobs", headers=town.bearer()).status == 200, host
    with town.at(lib.OTHER, host=lib.VERTEX_HERE) as connection:
        assert connection.ask("GET", f"/v1/{TEST}/customJobs", headers=town.bearer()).status == 421
    metadata = (("authorization", town.bearer()["authorization"]),)
    predict = PredictRequest.serialize(PredictRequest(endpoint=f"{TEST}/endpoints/misdirected"))
    for authority in (lib.DIGITS, lib.VERTEX, "evil.example"):
        with (
            town.channel(lib.VERTEX_HERE, door="endpoint", authority=authority) as channel,
            pytest.raises(grpc.RpcError) as refused,
        ):
            channel.unary_unary(PREDICT)(predict, metadata=metadata, timeout=lib.SOON)
        assert refused.value.code().name == "UNKNOWN", authority  # what gRPC makes of HTTP's 421
    assert not town.world.cloud("misdirected")


@pytest.mark.parametrize("name", ["evil.example", "us-central1-aiplatform.googleapis.com", "contoso.example", ""])
def test_another_name_in_tls_meets_nobody(town: Any, name: str) -> None:
    """Google's own name neither: the endpoint is not Google."""
    context = ssl.create_default_context(cadata=town.world.door_roots)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", town.endpoint), 10) as raw, pytest.raises(OSError):  # noqa: PT011 - however it ends
        context.wrap_socket(raw, server_hostname=name or None).recv(1)


def test_what_is_no_tls_and_what_is_a_tunnel(town: Any) -> None:
    with socket.create_connection(("127.0.0.1", town.endpoint), 10) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: vertex.contoso.example\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert raw.recv(100) == b""
    with town.at(lib.VERTEX_HERE) as connection:
        assert connection.ask("CONNECT", f"{lib.VERTEX_HERE}:443", headers=town.bearer()).status in {400, 403, 404, 421}


def test_a_service_by_its_own_name(town: Any) -> None:
    """There no cookie of Remit's is, and nobody is sent to sign in; a program's token works as it does below."""
    with town.at(lib.OTHER) as connection:
        page = connection.ask("GET", "/?own", headers={"accept": "text/html"})
        assert (page.status, page.reason) == (401, "token_missing")
        assert "location" not in page.headers
        answer = connection.ask("GET", "/apps/other/me", headers=town.bearer())
    assert (answer.status, json.loads(answer.body)["claims"]["sub"]) == (200, lib.DANA)
    with town.world.tunnel(host=lib.OTHER) as tunnel:
        answer = tunnel.ask("GET", "/apps/other/me", headers=town.bearer())
    assert (answer.status, json.loads(answer.body)["claims"]["sub"]) == (200, lib.DANA)


# An Envoy of somebody else's.


@pytest.mark.promise("V24")
def test_an_envoy_that_users_run_already_asks_us(town: Any, runtime_folder: Path, forge: Callable[..., str]) -> None:
    """Stock Envoy, `ext_authz` in its HTTP form, the arbiter's own socket: who may, with which identity, in whose log."""
    port, upstream = free_port(), town.apps.serve(town.other.handle)
    socket_ = Path(town.world.settings.gateway.arbiter_socket)
    config = stock.bootstrap(port, socket_, int(upstream.rpartition(":")[2]))
    with (
        stock.running(config, runtime_folder, port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=lib.SOON) as client,
    ):
        at = {"host": lib.OTHER}
        forged = {"x-remit-assertion": "forged", "x-remit-peer": "6.6.6.6", "cookie": "theme=dark"}
        answer = client.post("/apps/other/form?stock", headers={**at, **town.bearer(), **forged}, data={"note": "x"})
        assert (answer.status_code, answer.json()["who"]) == (200, "dana@contoso.example")
        token = town.bearer()["authorization"].removeprefix("Bearer ")
        unsigned = {"authorization": f"Bearer {forge(token, {})}"}  # no native check stands before this arbiter
        for headers, status in (({}, 401), (town.bearer("ada"), 403), (unsigned, 401), ({"cookie": "a=b"}, 401)):
            refused = client.post("/apps/other/form?refused", headers={**at, **headers}, data={"note": "x"})
            assert refused.status_code == status
            assert refused.json()["error"]["details"][0]["domain"] == "remit"
        assert client.get("/apps/other/", headers={"host": "evil.example", **town.bearer()}).status_code in {400, 403}
    calls = [call for call in list(town.other.calls) if "stock" in call["target"] or "refused" in call["target"]]
    assert len(calls) == 1
    headers = calls[0]["headers"]
    assert town.claims(headers)["sub"] == lib.DANA
    assert headers[ASSERTION] != "forged"
    assert "authorization" not in headers
    rows = town.world.records(resource="services/other", who=lib.DANA)
    assert [row.outcome for row in rows if row.action == "web.requests.write"] == ["permit"]
