"""Settings, and the configuration that is made of them, held against golden files."""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest

from remit.gateway.bootstrap import bootstrap, discovered_listeners, discovered_secrets, endpoint_secrets
from remit.gateway.headers import OBJECTS, PASSED, SERVICE, SERVICE_WEBSOCKET, WEBSOCKET
from remit.gateway.native import module_path
from remit.gateway.settings import Address, Endpoint, GatewaySettings, ServiceRoute
from remit.gateway.streams import matches
from remit.model.errors import SettingsInvalid

GOLDEN = Path(__file__).parents[2] / "golden" / "gateway"
KEYS = {"https://login.microsoftonline.com/t/v2.0": '{"keys":[]}', "https://token.example": '{"keys":[1]}'}
PLAIN = GatewaySettings(
    hosts=("us-central1-aiplatform.googleapis.com", "logging.googleapis.com"),
    issuers=(("https://login.microsoftonline.com/t/v2.0", "remit"),),
    arbiter_socket=Path("/run/remit/arbiter.sock"),
    access_log=Path("/var/lib/remit/spool/access.log"),
    admin_socket=Path("/run/remit/admin.sock"),
    runtime=Path("/run/remit/envoy"),
    authority=Path("/var/lib/remit/door"),
    listen_port=8443,
    leasable_grpc={"/google.cloud.aiplatform.v1.PredictionService/Predict": (1,)},
    leasable_fields={"/google.cloud.aiplatform.v1.PredictionService/Predict": (1, 2, 3, 4)},
    streaming_grpc=("/google.cloud.aiplatform.v1.PredictionService/StreamingPredict",),
)
EXPOSED = dataclasses.replace(
    PLAIN,
    listen_host="0.0.0.0",
    tls_certificate=Path("/etc/remit/tls.pem"),
    tls_key=Path("/etc/remit/tls.key"),
    upstream_address="10.0.0.2:443",
    upstream_ca=Path("/etc/remit/roots.pem"),
    hosts=("us-central1-aiplatform.googleapis.com",),
    issuers=(*PLAIN.issuers, (PLAIN.issuers[0][0], "api://remit"), ("https://token.example", "remit")),
    leases=False,
    api_prefixes=("/saml/",),
    streams=(
        ":streamGenerateContent",
        ":serverStreamingPredict",
        "/chat/completions",
        "/google.cloud.aiplatform.v1.PredictionService/S",
    ),
    websockets=("us-central1-aiplatform.googleapis.com",),
    streams_socket=Path("/run/remit/streams.sock"),
)
VERTEX, LOGGING = PLAIN.hosts
BOARD = ServiceRoute(
    "board.service",
    http=Address("board.internal", 6006),
    prefix="/apps/board/",
    host="board.example.com",
    websockets=True,
)
MODEL = ServiceRoute(
    "model.service",
    http=Address("10.0.0.9", 8501, tls=True, roots=Path("/etc/remit/model.pem")),
    grpc=Address("model.internal", 8500, tls=True),
    host="model.example.com",
    walked={"/tensorflow.serving.PredictionService/Predict": (1,)},
)
SECOND = Endpoint("127.0.0.1", 8444, {"us-central1-aiplatform.gateway.example.com": VERTEX})
SERVING = dataclasses.replace(
    PLAIN,
    hosts=("storage.googleapis.com",),
    objects=("storage.googleapis.com",),
    services=(BOARD, MODEL),
    endpoint=Endpoint("127.0.0.1", 8444, {"storage.gateway.example.com": "storage.googleapis.com"}),
    streams_socket=Path("/run/remit/streams.sock"),
)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("services.json", bootstrap(SERVING)),
        ("secrets-endpoint.json", endpoint_secrets(Path("/tls/c.pem"), Path("/tls/k.pem"))),
        ("loopback.json", bootstrap(PLAIN)),
        ("exposed.json", bootstrap(EXPOSED)),
        ("check.json", discovered_listeners(PLAIN, KEYS)),
        ("check-two-issuers.json", discovered_listeners(EXPOSED, KEYS)),
        ("check-without-keys.json", discovered_listeners(PLAIN, {})),
        ("secrets.json", discovered_secrets(Path("/c.pem"), Path("/k.pem"))),
    ],
)
def test_golden(name, document):
    """Set `REMIT_GOLDEN=write` to accept what is made now; then read the difference."""
    text = json.dumps(readable(document), indent=1, sort_keys=True) + "\n"
    if os.environ.get("REMIT_GOLDEN") == "write":
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


def readable(document):
    """What the gate is told, as what it is, and not where its module lies."""
    if isinstance(document, dict) and document.get("filter_name") == "gate":
        told = json.loads(document["filter_config"]["value"])
        return {key: readable(value) for key, value in document.items()} | {
            "filter_config": told | {"passed": named(told)}
        }
    if isinstance(document, dict):
        return {key: readable(value) for key, value in document.items()}
    if isinstance(document, list):
        return [readable(value) for value in document]
    return "(the native module)" if document == str(module_path()) else document


def named(told):
    """The list of headers, by the name that it has in the code."""
    return next(name for name, names in LISTS.items() if sorted(names) == told["passed"])


LISTS = {
    "PASSED": PASSED,
    "WEBSOCKET": WEBSOCKET,
    "OBJECTS": OBJECTS,
    "SERVICE": SERVICE,
    "SERVICE_WEBSOCKET": SERVICE_WEBSOCKET,
}

BAD = [
    ({"hosts": ()}, "at least one"),
    ({"hosts": ("Logging.googleapis.com",)}, "exact lower-case"),
    ({"hosts": ("*.googleapis.com",)}, "exact lower-case"),
    ({"hosts": ("localhost",)}, "exact lower-case"),
    ({"hosts": ("a.b", "a.b")}, "twice"),
    ({"issuers": ()}, "nobody could"),
    ({"issuers": (("http://x", "a"),)}, "https URL"),
    ({"issuers": (("https://x", ""),)}, "audience"),
    ({"listen_port": 0}, "not a port"),
    ({"listen_host": "localhost"}, "not an IP"),
    ({"listen_host": "0.0.0.0"}, "plaintext"),
    ({"listen_host": "::"}, "plaintext"),
    ({"tls_key": Path("/k")}, "come together"),
    ({"arbiter_socket": Path("relative")}, "absolute"),
    ({"admin_socket": Path("/" + "x" * 200)}, "at most 104"),
    ({"api_paths": ("/check",)}, "never `/check`"),
    ({"api_paths": ("/check/x",)}, "never `/check`"),
    ({"api_paths": ("healthz",)}, "plain path"),
    *(
        ({"api_prefixes": (it,)}, "plain folder")
        for it in ("/", "saml/", "/saml", "/check/", "/check/x/", "/a//", "/../")
    ),
    ({"streams": ("streamGenerateContent",)}, "neither"),
    ({"streams": (":a.b",)}, "neither"),
    ({"streams": PLAIN.streaming_grpc}, "the client streams"),
    ({"streams": (":x",)}, "set `streams_socket`"),
    ({"websockets": PLAIN.hosts}, "set `streams_socket`"),
    ({"websockets": ("a.b",)}, "not among"),
    ({"streams_socket": Path("relative")}, "absolute"),
    ({"upstream_address": "nowhere"}, "host:port"),
    ({"upstream_address": "a:99999"}, "host:port"),
    ({"concurrency": 0}, "between"),
    ({"lease_max_entries": 1}, "between"),
    ({"check_timeout_ms": 1000}, "between"),
    ({"keys_seconds": 0}, "between"),
    ({"connection_seconds": 0}, "between"),
    ({"stream_seconds": 0}, "between"),
    ({"streaming_grpc": ("Predict",)}, "gRPC path"),
    ({"leasable_grpc": {"/a.B/C": ()}}, "field numbers"),
    ({"leasable_grpc": {"/a.B/C": (0,)}}, "field numbers"),
    ({"leasable_grpc": {"/a.B/C": (1,)}, "streaming_grpc": ("/a.B/C",)}, "both"),
    ({"leasable_fields": {"/a.B/C": (1,)}}, "not leasable"),
    ({"leasable_grpc": {"/a.B/C": (1,)}, "leasable_fields": {"/a.B/C": ()}}, "include those"),
    ({"leasable_grpc": {"/a.B/C": (1,)}, "leasable_fields": {"/a.B/C": (2,)}}, "include those"),
    ({"leasable_grpc": {"/a.B/C": (1,)}, "leasable_fields": {"/a.B/C": (0, 1)}}, "include those"),
    ({"leasable_grpc": {"/a.B/C": (1,)}, "leasable_fields": {"/a.B/C": (1, 2**29)}}, "include those"),
]

BOTH = {"services": (BOARD, MODEL), "streams_socket": Path("/s")}


def board(**changes):
    return BOTH | {"services": (dataclasses.replace(BOARD, **changes),)}


def second(**changes):
    return BOTH | {"endpoint": dataclasses.replace(SECOND, **changes)}


BAD += [
    ({"services": (BOARD,)}, "set `streams_socket`"),
    (BOTH | {"services": (BOARD, BOARD)}, "the name `board.service` belongs to two"),
    (BOTH | {"services": (BOARD, BOARD)}, "the prefix `/apps/board/` belongs to two"),
    (BOTH | {"services": (BOARD, BOARD)}, "the host `board.example.com` belongs to two"),
    (board(known_as="board"), "`NAME.service`"),
    (board(known_as="Board.service"), "`NAME.service`"),
    (board(http=None), "leads nowhere"),
    (board(prefix="", host=""), "stands nowhere"),
    (board(http=None, grpc=BOARD.http), "gRPC has no prefixes"),
    (board(http=None, grpc=BOARD.http, prefix=""), "they begin as a GET"),
    (board(host="Board.example.com"), "not an exact lower-case"),
    (board(host="*.example.com"), "not an exact lower-case"),
    (board(host=VERTEX), "which is among `hosts`"),
    (board(http=Address("Board", 80)), "neither a lower-case DNS name nor"),
    (board(http=Address("http://board", 80)), "neither a lower-case DNS name nor"),
    (board(http=Address("board", 0)), "which is none"),
    (board(http=Address("board", 65_536)), "which is none"),
    (board(http=Address("board", 80, roots=Path("/r"))), "set `tls`"),
    (board(walked={"Predict": (1,)}), "`/package.Service/Method`"),
    (board(walked={"/a.B/C": ()}), "field numbers"),
    (board(walked={"/a.B/C": (0,)}), "field numbers"),
    *(
        (board(prefix=it), "must be a plain folder")
        for it in ("/", "apps/", "/apps", "/a//", "/../", "/a b/", "/a%2f/")
    ),
    (board(prefix="/check/"), "`/check/`, which is Remit's own"),
    (board(prefix="/check/x/"), "lies below `/check/`"),
    (board(prefix="/v1/"), "covers `/v1/token`"),
    (board(prefix="/healthz/"), "covers `/healthz`"),
    (board() | {"api_prefixes": ("/apps/board/saml/",)}, "covers `/apps/board/saml/`"),
    (board() | {"api_prefixes": ("/apps/",)}, "lies below `/apps/`"),
    (BOTH | {"services": (BOARD, dataclasses.replace(MODEL, prefix="/apps/board/x/"))}, "covers `/apps/board/x/`"),
    (second(listen_host="localhost"), "the endpoint's `listen_host`"),
    (second(listen_port=0), "the endpoint's `listen_port`"),
    (second(listen_port=8443), "an address of its own"),
    ({"endpoint": dataclasses.replace(SECOND, names={})}, "nobody could reach anything"),
    (second(names={"Gateway.example.com": VERTEX}), "endpoint name `Gateway.example.com`"),
    (second(names={"a.example.com": "storage.googleapis.com"}), "stands for `storage.googleapis.com`"),
    (second(names={"board.example.com": VERTEX}), "is the host of a service"),
    (second(names={LOGGING: VERTEX}), "is another host than"),
    (second(certificate=Path("/c")), "come together"),
    (second(key=Path("/k")), "come together"),
    ({"objects": ("storage.googleapis.com",)}, "not among"),
    ({"objects": (VERTEX,), "websockets": (VERTEX,), "streams_socket": Path("/s")}, "objects and serve"),
    *(({"streams": (it,)}, "neither") for it in ("chat/completions", "/chat/completions/", ":a:b", "", "/", "/a b")),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_settings(change, message):
    with pytest.raises(SettingsInvalid, match=re.escape(message)):
        dataclasses.replace(PLAIN, **change)


def test_every_problem_is_reported_at_once():
    with pytest.raises(SettingsInvalid) as caught:
        dataclasses.replace(PLAIN, hosts=(), issuers=(), listen_port=0)
    assert len(caught.value.problems) == 3
    with pytest.raises(SettingsInvalid) as caught:
        dataclasses.replace(SERVING, **board(known_as="x", prefix="/v1/", websockets=True, http=None), endpoint=None)
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(
    ("end", "path", "watched"),
    [
        (":streamRawPredict", "/v1/e:streamRawPredict", True),
        (":streamRawPredict", "/v1/e:streamRawPredicts", False),
        (":streamRawPredict", "/v1/e:predict", False),
        (":streamRawPredict", "/v1/e%3AstreamRawPredict", True),
        (":streamRawPredict", "/v1/e:%73treamRawPredict", True),
        ("/chat/completions", "/v1/e/chat/completions", True),
        ("/chat/completions", "/chat/completions", True),
        ("/chat/completions", "/v1/e/xchat/completions", False),
        ("/chat/completions", "/v1/e/chat/completions/x", False),
    ],
)
def test_ends_of_paths_that_stream(end, path, watched):
    settings = dataclasses.replace(PLAIN, streams=(end, "/a.B/C"), streams_socket=Path("/s"))
    calls, [rest] = matches(settings)
    assert calls == [{"path": "/a.B/C", "grpc": {}}]
    assert bool(re.fullmatch(rest["safe_regex"]["regex"], path)) == watched


def test_the_names_that_the_doors_certificate_holds():
    assert SERVING.names == (
        "storage.googleapis.com", "board.example.com", "model.example.com", "storage.gateway.example.com",
    )  # fmt: skip
    own = dataclasses.replace(SERVING.endpoint, certificate=Path("/c"), key=Path("/k"))
    assert dataclasses.replace(SERVING, endpoint=own).names == SERVING.names[:-1]
    assert PLAIN.names == PLAIN.hosts


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1"])
def test_plaintext_on_loopback(host):
    assert dataclasses.replace(PLAIN, listen_host=host).listen_host == host


def test_a_websocket_names_no_body():
    assert not {"content-length", "transfer-encoding", "cookie", "te", "x-remit-job"} & set(WEBSOCKET)


@pytest.mark.parametrize("names", [PASSED, WEBSOCKET, OBJECTS, SERVICE, SERVICE_WEBSOCKET])
def test_no_list_holds_a_name_that_could_say_who_asks(names):
    assert not [name for name in names if name.startswith(("x-remit-", "x-envoy-", "proxy-", "x-original-", "x-http-"))]
    assert {name for name in names if name.startswith("x-forwarded-")} <= {"x-forwarded-proto"}
    assert len(set(names)) == len(names)
