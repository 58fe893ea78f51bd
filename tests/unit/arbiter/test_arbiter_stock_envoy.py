"""A stock Envoy that users already run asks the arbiter: its `ext_authz` in its plain form, as `check` says."""

import asyncio
import http.server
import json
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from remit.arbiter.application import serve
from remit.arbiter.check import Check
from remit.gateway.binary import envoy_binary
from remit.model.credential import Credential
from remit.model.decision import Answer, Circumstances, Decision, Verdict
from remit.model.estate import Service, ServiceKind
from remit.model.names import decision_id
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.secret import AccessToken

NOW = 1_800_000_000
ORIGIN = "https://remit.contoso.example"
LAB = Service("lab", "p", ServiceKind.WEB, "lab", host="lab.contoso.example")
VERTEX = "us-central1-aiplatform.googleapis.com"
EXT_AUTHZ = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def exactly(*names):
    return {"patterns": [{"exact": name} for name in names]}


def bootstrap(port, arbiter, upstream):
    """What an operator writes, in Envoy's own words."""
    ours = {
        "@type": EXT_AUTHZ,
        "http_service": {
            "server_uri": {"uri": "http://arbiter", "cluster": "arbiter", "timeout": "0.9s"},
            "path_prefix": "/check",
            "authorization_request": {
                "headers_to_add": [
                    {"key": "x-remit-body", "value": "whole"},
                    {"key": "x-remit-peer", "value": "10.1.2.3"},
                ]
            },
            "authorization_response": {"allowed_upstream_headers": exactly("authorization", "x-remit-assertion")},
        },
        "allowed_headers": exactly("authorization", "cookie", "content-type", "origin", "accept"),
        "with_request_body": {"max_request_bytes": 65_536, "allow_partial_message": False},
        "failure_mode_allow": False,
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    manager = {
        "@type": MANAGER,
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "ask", "typed_config": ours},
            {"name": "router", "typed_config": {"@type": ROUTER}},
        ],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}

    def cluster(name, address):
        endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
        return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": [endpoint]}}

    def here(number):
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    return {
        "static_resources": {
            "listeners": [{"name": "in", "address": here(port), "filter_chains": [chain]}],
            "clusters": [
                cluster("arbiter", {"pipe": {"path": str(arbiter)}}),
                cluster("upstream", here(upstream)),
            ],
        }
    }


class Upstream(http.server.BaseHTTPRequestHandler):
    """Says what reached it."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): self.headers.get_all(name) for name in self.headers}
        said = json.dumps({"path": self.path, "headers": headers, "body": body.decode()}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST  # noqa: N815 - the name that the standard library calls

    def log_message(self, *_):
        return None


class House:
    """The story: permits whoever has the one good token."""

    def __init__(self):
        self.asked = []

    async def decide(self, wire, refused):
        self.asked.append(wire)
        good = refused is None and wire.token is not None and wire.token.reveal() == "good"
        verdict = (
            Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,)) if good else Verdict(Outcome.DENY, (Reason.REVOKED,))
        )
        decision = Decision(decision_id(NOW * 1_000_000), NOW * 1_000_000, verdict, Circumstances(now=NOW))
        account = "" if wire.host == LAB.known_as else "sa@p"
        return Answer(decision, Credential(AccessToken("obtained"), NOW + 60, account, ()))


@contextmanager
def arbiter(house, path):
    """The real server on its socket, in a thread of its own."""
    check = Check(house.decide, origin=ORIGIN, services=(LAB,))
    app = Starlette(routes=[Route("/check/{path:path}", check.__call__, methods=["GET", "POST"])])
    stop, loop = asyncio.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(app, path, stop),))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@contextmanager
def running(config, folder, port):
    file = folder / "envoy.json"
    file.write_text(json.dumps(config))
    command = [envoy_binary(), "-c", file, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def door(runtime_folder):
    house, path = House(), runtime_folder / "arbiter.sock"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    try:
        with (
            arbiter(house, path),
            running(bootstrap(port, path, upstream.server_address[1]), runtime_folder, port),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
        ):
            yield house, client
    finally:
        upstream.shutdown()
        upstream.server_close()


def test_a_stock_envoy_asks_and_passes_on_what_it_is_given(door):
    house, client = door
    # what a caller says in our name does not reach us
    spoofed = {"x-remit-body": "none", "x-remit-peer": "6.6.6.6", "x-remit-job": "j-0123456789abcdefghijklmnop"}
    token = {"authorization": "Bearer good"}
    answer = client.post("/v1/a%2Fb:x?c=%20", headers={"host": VERTEX, **token, **spoofed}, content=b'{"a":1}')
    assert answer.status_code == 200
    assert answer.json()["headers"]["authorization"] == ["Bearer obtained"]
    assert answer.json()["body"] == '{"a":1}'
    [wire] = house.asked
    assert (wire.method, wire.host, wire.target) == ("POST", VERTEX, "/v1/a%2Fb:x?c=%20")
    assert (wire.body_sent, wire.body, wire.peer, wire.job) == (True, b'{"a":1}', "10.1.2.3", "")

    forged = {"x-remit-assertion": "forged", "cookie": "__Host-remit=secret"}
    seen = client.get("/x", headers={"host": VERTEX, **token, **forged}).json()["headers"]
    assert not {"x-remit-assertion", "cookie"} & set(seen)

    forged = {"x-remit-assertion": "forged", "cookie": "theme=dark"}
    seen = client.get("/x", headers={"host": LAB.host, **token, **forged}).json()["headers"]
    assert (seen["x-remit-assertion"], seen["cookie"]) == (["obtained"], ["theme=dark"])
    assert "authorization" not in seen
    assert house.asked[-1].host == LAB.known_as

    for headers in ({}, {"authorization": "Bearer bad"}, {"cookie": "__Host-remit=a; __Host-remit=b"}):
        answer = client.get("/x", headers={"host": VERTEX, **headers})
        assert answer.status_code == 403
        assert answer.headers["x-remit-reason"] == "revoked"
        assert answer.json()["error"]["status"] == "PERMISSION_DENIED"
    cookie = {"cookie": "__Host-remit=secret", "origin": "https://evil.example"}
    assert client.post("/x", headers={"host": LAB.host, **cookie}).status_code == 403
    assert house.asked[-1].session is None
    assert client.post("/x", headers={"host": VERTEX, **token}, content=b"x" * 70_000).status_code == 413
