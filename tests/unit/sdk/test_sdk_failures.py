"""Failures tell the truth: what clouds really answer, through the clients that really raise it."""

import asyncio
import base64
import contextlib
import datetime as dt
import itertools
import json
import os
import queue
import socket
import ssl
import struct
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import remit
from remit.lab import contoso, entra_scopes
from remit.lab.api_surface import start_grpc
from remit.lab.faults import Refusing
from remit.lab.iam import CLOUD_PLATFORM
from remit.lab.service import Clouds
from remit.model.causes import Cause
from remit.model.errors import NotSignedIn, Refused, RemitError
from remit.model.reasons import Reason
from remit.sdk import failures
from remit.sdk.failures import diagnose, noted

VECTORS = Path(__file__).parents[2] / "vectors" / "cloud_errors" / "recorded.json"
RECORDED = json.loads(VECTORS.read_text(encoding="utf-8"))
DECISION = "d-01m80qgcfx5fbkpsfm97w2aqr1"
SAID = (
    "remit: no policy permits this: `x.y` on project `p`: this is for ml engineers; the group `ml-engineers` is missing"
    f" (decision {DECISION}); ask the owner of `ml-engineers` to be added to it"
)


@contextlib.contextmanager
def answering(status, body, headers=None, context=None):
    """A server on loopback that always answers so; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = body.encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Nobody reads it."""

        do_POST = do_GET  # noqa: N815 - the name that http.server calls

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_):
            """A client that does not trust it hangs up."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def caught(action):
    """What an action raises."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 - that is what is asked
        return error
    pytest.fail("nothing was raised")


def by_blob(row):
    from azure.storage.blob import BlobClient

    headers = {"content-type": "application/xml", "x-ms-error-code": row["code"], "x-ms-request-id": "0"}
    with answering(row["status"], row["body"], headers) as url:
        client = BlobClient(f"{url}/contoso", "models", "blob", retry_total=0)
        return caught(client.download_blob)


def by_storage(row):
    from google.auth.credentials import Credentials
    from google.cloud import storage

    class Mine(Credentials):
        def refresh(self, request):
            self.token = "mine"

    with answering(row["status"], row["body"], {"content-type": "application/json"}) as url:
        client = storage.Client("p", Mine(), client_options={"api_endpoint": url})
        return caught(lambda: client.bucket("contoso").blob("train").reload(retry=None))


def by_rest(row):
    import requests
    from google.api_core import exceptions

    with answering(row["status"], row["body"], {"content-type": "application/json"}) as url:
        place = f"{url}/v1/projects/p/locations/l/endpoints/1:predict?host=aiplatform.googleapis.com"
        return exceptions.from_http_response(requests.post(place, timeout=60))


def by_grpc(row):
    import grpc
    from google.cloud.aiplatform_v1.services.prediction_service import PredictionServiceClient, transports

    def refuse(_request, context):
        context.abort(grpc.StatusCode[row["code"]], row["body"])

    server = grpc.server(futures.ThreadPoolExecutor(1))
    method = "google.cloud.aiplatform.v1.PredictionService"
    handler = grpc.unary_unary_rpc_method_handler(refuse)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(method, {"Predict": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            client = PredictionServiceClient(transport=transports.PredictionServiceGrpcTransport(channel=channel))
            return caught(lambda: client.predict(endpoint="projects/p/locations/l/endpoints/1", retry=None, timeout=60))
    finally:
        server.stop(None).wait()


def _raise(error, cause):
    raise error from cause


def by_postgresql(row):
    import psycopg

    def serve(listener):
        connection, _ = listener.accept()
        with connection:
            (length,) = struct.unpack("!I", connection.recv(4, socket.MSG_WAITALL))
            connection.recv(length - 4, socket.MSG_WAITALL)
            fields = b"".join(
                f"{k}{v}".encode() + b"\0" for k, v in (("S", "FATAL"), ("C", row["code"]), ("M", row["body"]))
            )
            connection.sendall(b"E" + struct.pack("!I", len(fields) + 5) + fields + b"\0")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        plain = "sslmode=disable gssencmode=disable user=dana dbname=features"
        error = caught(lambda: psycopg.connect(f"host=127.0.0.1 port={port} {plain}"))
        thread.join()
    return error


def by_odbc(row):
    kind = type(
        "InterfaceError", (Exception,), {"__module__": "pyodbc"}
    )  # pyodbc needs a driver manager to be imported
    return kind(row["code"], row["body"])


def by_identity(row):
    from azure.core.exceptions import ClientAuthenticationError

    return ClientAuthenticationError(message=row["body"])


def by_proxy(row):
    from requests.exceptions import ProxyError

    return ProxyError(row["body"])


def by_tensorflow(row):
    from tensorflow.python.framework import errors_impl

    return getattr(errors_impl, row["code"])(None, None, row["body"])


BY = {name.removeprefix("by_"): value for name, value in globals().items() if name.startswith("by_")}


@pytest.mark.promise("T8")
@pytest.mark.parametrize("row", RECORDED, ids=lambda row: row["name"])
def test_what_a_cloud_said(row):
    found = diagnose(BY[row["by"]](row))
    assert (found.cause, found.service) == (Cause(row["cause"]), row["service"])
    assert found.hint
    assert row.get("named", "") in found.message


@pytest.mark.promise("T8")
def test_every_class_of_failure_is_recorded_for_every_service():
    told = {(row["service"], row["cause"]) for row in RECORDED}
    for service in ("Blob", "SQL", "Storage", "Vertex"):
        wanted = {"iam", "expired", "audience", "firewall", "throttled", "token"}
        assert not {cause for cause in wanted if (service, cause) not in told}, service


def test_every_row_of_the_table_has_its_source_and_words():
    document = failures._document()
    for row in document["rows"]:
        assert row["source"].startswith("https://"), row
        assert row["message"][0].islower() or row["message"].startswith(("Google ", "Blob ")), row
        assert not row["message"].endswith("."), row
        assert row["hint"]
        assert set(row) <= {
            "cause", "service", "codes", "text", "kinds", "status", "sure", "message", "hint", "who", "source",
        }  # fmt: skip
        assert {"codes", "text", "kinds", "status"} & set(row), row


# what a refused request tells of itself


def _jwt(claims):
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims, 0)
    )


NEVER, LONG_AGO = 4_000_000_000, 1_000_000_000
STORAGE = "https://storage.googleapis.com/"
INVALID = '{"error": {"code": 401, "message": "Invalid Credentials", "errors": [{"reason": "authError"}]}}'


def by_request(token, url=f"{STORAGE}storage/v1/b/contoso/o/x", status=401, body=INVALID, **headers):
    """As google-cloud-storage raises it: the answer, and the request that it answers."""
    import requests
    from google.api_core import exceptions

    answer = requests.Response()
    answer.status_code, answer._content, answer.url = status, body.encode(), url
    answer.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    answer.request = requests.Request("GET", url, headers={"Authorization": f"Bearer {token}"}).prepare()
    return exceptions.from_http_response(answer)


@pytest.mark.promise("T8")
@pytest.mark.parametrize(
    ("token", "cause"),
    [
        (_jwt({"aud": "https://storage.azure.com", "exp": NEVER}), Cause.AUDIENCE),  # Entra's
        (_jwt({"aud": ["api://remit"], "exp": LONG_AGO}), Cause.AUDIENCE),
        (_jwt({"aud": "32555940559.apps.googleusercontent.com", "exp": NEVER}), Cause.AUDIENCE),  # an ID token
        (_jwt({"aud": "https://storage.googleapis.com.contoso.example/", "exp": NEVER}), Cause.AUDIENCE),
        (_jwt({"exp": NEVER}), Cause.AUDIENCE),
        (_jwt({"aud": STORAGE, "exp": LONG_AGO}), Cause.EXPIRED),  # a service account's own
        (_jwt({"aud": STORAGE, "exp": NEVER}), Cause.TOKEN),
        (_jwt({"aud": STORAGE, "exp": "soon"}), Cause.TOKEN),
        (_jwt([]), Cause.TOKEN),
        ("ya29.of-another-party", Cause.TOKEN),
        ("a.b.c", Cause.TOKEN),
        (f"e.{base64.urlsafe_b64encode(b'[' * 20_000).decode()}.x", Cause.TOKEN),
        ("", Cause.TOKEN),
    ],
)
def test_a_token_says_what_storage_does_not(token, cause):
    found = diagnose(by_request(token))
    assert (found.cause, found.service) == (cause, "Storage")
    assert not token or token[:20] not in str(found)


def test_only_a_401_of_google_s_is_explained_by_the_token():
    entra = _jwt({"aud": "https://storage.azure.com", "exp": LONG_AGO})
    assert diagnose(by_request(entra, status=403)).cause is Cause.TOKEN  # by its text
    assert diagnose(by_request(entra, status=403, body="{}")).cause is Cause.IAM
    assert diagnose(by_request(entra, url="https://api.contoso.example/x", body="{}")).cause is Cause.TOKEN


def test_a_cloud_s_no_behind_the_gateway_names_the_permit():
    error = by_request("x", status=403, body="{}", x_remit_decision=DECISION)
    assert diagnose(error).decision == DECISION
    assert "remit explain d-" in str(diagnose(error))
    assert diagnose(by_request("x", status=403, body="{}", x_remit_decision="d-1; rm -rf")).decision == ""


VERTEX = "aiplatform.googleapis.com"


@pytest.fixture(scope="module")
def clouds(tmp_path_factory):
    """The lab's Vertex AI over gRPC, and what it holds."""
    found, ready, over = Clouds(tmp_path_factory.mktemp("clouds")), queue.Queue(), threading.Event()

    async def serve():
        server, port = await start_grpc([found.vertex.surface.grpc])
        ready.put(port)
        await asyncio.to_thread(over.wait)
        await server.stop(None)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    yield found, ready.get()
    over.set()
    thread.join()


@pytest.mark.promise("T8")
@pytest.mark.parametrize(
    ("wrong", "cause", "hint"),
    [
        ("iam", Cause.IAM, "give it a role"),
        ("token_expired", Cause.EXPIRED, "remit.google.Credentials"),
        ("audience", Cause.AUDIENCE, "remit run"),
        ("perimeter", Cause.FIREWALL, "a role does not help"),
        ("quota", Cause.THROTTLED, "ask less often"),
    ],
)
def test_vertex_over_grpc_by_google_s_own_client(clouds, wrong, cause, hint):
    import grpc
    from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient, transports

    lab, port = clouds
    if wrong == "audience":
        blob = entra_scopes.resource_of(lab.entra.tokens.registry, "https://storage.azure.com")
        token = lab.entra.tokens.for_machine(contoso.MANAGED_IDENTITIES[0], blob).token
    else:
        account = contoso.account("ml-engineer", contoso.FRAUD_TEST)
        token, _ = lab.iam.mint(email=account, scopes=(CLOUD_PLATFORM,), lifetime=600)
        lab.faults.refusing[VERTEX] = Refusing(wrong)
    parent = "projects/contoso-fraud-test/locations/us-central1"
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            client = ModelServiceClient(transport=transports.ModelServiceGrpcTransport(channel=channel))
            given = [("authorization", f"Bearer {token}")]
            error = caught(lambda: client.list_models(parent=parent, retry=None, timeout=60, metadata=given))
    finally:
        lab.faults.refusing.clear()
    found = diagnose(error)
    assert (found.cause, found.service, hint in found.hint) == (cause, "Vertex", True), found


# on the way


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """The TLS of somebody whom nobody trusts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Contoso TLS inspection")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("stranger") / "pair.pem"
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    file.write_bytes(key.private_bytes(pem, form, none) + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def by_urllib(url, timeout=60):
    import urllib.request

    urllib.request.urlopen(url, timeout=timeout)  # noqa: S310 - a test's own


def by_requests(url, timeout=60):
    import requests

    requests.get(url, timeout=timeout)


def by_httpx(url, timeout=60):
    import httpx

    httpx.get(url, timeout=timeout)


def by_aiohttp(url, timeout=60):
    import aiohttp

    async def go():
        limit = aiohttp.ClientTimeout(total=timeout)
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(url):
            pass

    asyncio.run(go())


def by_azure(url, timeout=60):
    from azure.storage.blob import BlobClient

    arguments = {"retry_total": 0, "connection_timeout": timeout, "read_timeout": timeout}
    BlobClient(f"{url}/contoso", "models", "blob", **arguments).download_blob()


def by_google(url, timeout=60):
    from google.auth.transport.requests import Request

    Request()(url, timeout=timeout)


CLIENTS = [by_urllib, by_requests, by_httpx, by_aiohttp, by_azure, by_google]


@contextlib.contextmanager
def silent():
    with socket.create_server(("127.0.0.1", 0)) as listener:  # it takes connections, and says nothing
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def closed():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def cutting():
    """It takes a connection, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve():
            while not over.is_set():
                connection, _ = listener.accept()
                with connection:
                    if not over.is_set():
                        connection.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join()


@pytest.mark.promise("T8")
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("place", "cause"), [(silent, Cause.TIMEOUT), (closed, Cause.CONNECTION), (cutting, Cause.CONNECTION)]
)
def test_a_network_that_fails(client, place, cause):
    with place() as url:
        assert diagnose(caught(lambda: client(url, 1 if place is silent else 60))).cause is cause


@pytest.mark.promise("T8")
@pytest.mark.parametrize("client", CLIENTS)
def test_a_name_that_is_none(client):
    assert diagnose(caught(lambda: client("http://contoso.blob.core.windows.invalid"))).cause is Cause.DNS


@pytest.mark.promise("T8")
@pytest.mark.parametrize("client", CLIENTS)
def test_tls_of_somebody_in_between(client, stranger):
    with answering(200, "", context=stranger) as url:
        found = diagnose(caught(lambda: client(url)))
    assert found.cause is Cause.TLS
    assert "REQUESTS_CA_BUNDLE" in found.hint
    assert "proxy" in found.who


@pytest.mark.promise("T8")
@pytest.mark.parametrize(
    ("place", "cause"),
    [
        ("host=contoso.postgres.invalid", Cause.DNS),
        ("host=127.0.0.1 port=1", Cause.CONNECTION),
    ],
)
def test_a_database_that_is_not_reached(place, cause):
    import psycopg
    import sqlalchemy

    for error in (
        caught(lambda: psycopg.connect(place)),
        caught(
            lambda: sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(place)).connect()
        ),
    ):
        assert (diagnose(error).cause, diagnose(error).service) == (cause, "SQL")


@pytest.mark.promise("T8")
def test_a_database_that_says_nothing():
    import psycopg

    with silent() as url:
        error = caught(lambda: psycopg.connect(f"host=127.0.0.1 port={url.rpartition(':')[2]} connect_timeout=2"))
    assert (diagnose(error).cause, diagnose(error).service) == (Cause.TIMEOUT, "SQL")


@pytest.mark.promise("T8")
def test_a_right_that_is_missing_in_a_real_database(postgres_database):
    import sqlalchemy

    engine = sqlalchemy.create_engine(postgres_database.replace("postgresql:", "postgresql+psycopg:", 1))
    role = f"reader_{os.getpid()}"
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE salaries (n int)")
        connection.exec_driver_sql(f"CREATE ROLE {role}")
        connection.exec_driver_sql(f"SET ROLE {role}")
        error = caught(lambda: connection.exec_driver_sql("SELECT n FROM salaries"))
        connection.rollback()
        missing = caught(lambda: connection.exec_driver_sql("SELECT n FROM nowhere"))
    engine.dispose()
    found = diagnose(error)
    assert (found.cause, found.service, found.who) == (Cause.IAM, "SQL", "the owner of that table or schema")
    assert found.message == "the role lacks a right in the database, on `salaries`"
    assert diagnose(missing).cause is Cause.NOT_FOUND


# refusals of remit's own


def _grpc_refusal():
    return by_grpc({"code": "PERMISSION_DENIED", "body": SAID})


def _storage_refusal():
    body = json.dumps({"error": {"code": 403, "message": SAID, "status": "PERMISSION_DENIED"}})
    return by_storage({"status": 403, "body": body})


def _tensorflow_refusal():
    body = json.dumps({"error": {"code": 403, "message": SAID}}, indent=1)
    text = f"Error executing an HTTP request: HTTP response code 403 with body '{body}'\n\t when reading gs://b/o"
    return by_tensorflow({"code": "PermissionDeniedError", "body": text})


def _own_refusal():
    return Refused(Reason.NO_POLICY_PERMITS, SAID)


def _database_refusal():
    return by_postgresql({"code": "28000", "body": SAID})


@pytest.mark.promise("T8")
@pytest.mark.parametrize(
    "make", [_grpc_refusal, _storage_refusal, _tensorflow_refusal, _own_refusal, _database_refusal]
)
def test_a_refusal_names_its_decision_and_who_can_grant(make):
    found = diagnose(make())
    assert (found.cause, found.service, found.decision) == (Cause.REFUSED, "Remit", DECISION)
    assert found.message.startswith("no policy permits this: `x.y` on project `p`")
    assert found.hint == "ask the owner of `ml-engineers` to be added to it"
    assert found.who == "owner of `ml-engineers`"
    assert str(found).splitlines()[-1] == f"more: remit explain {DECISION}"


@pytest.mark.promise("T8")
@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ('no pg_hba.conf entry for host "203.0.113.9", user "x", database "fraud", no encryption', Cause.FIREWALL),
        ("sorry, too many clients already", Cause.THROTTLED),
        ("something that nobody knows", Cause.REFUSED),
    ],
)
def test_what_a_database_said_through_the_door_is_not_remit_s_no(said, cause):
    text = f"remit: the database `fraud` refused a login as `x`: {said} (decision {DECISION})"
    found = diagnose(by_postgresql({"code": "28000", "body": text}))
    assert (found.cause, found.decision) == (cause, DECISION)
    assert found.service == ("Remit" if cause is Cause.REFUSED else "SQL")


@pytest.mark.promise("T8")
def test_a_hint_of_postgresql_s_own_form_is_a_hint():
    text = f"FATAL:  remit: a policy forbids this: no (decision {DECISION})\nHINT:  ask the owner of the data to see"
    found = diagnose(RuntimeError(f"connection failed: {text}"))
    assert (found.hint, found.who) == ("ask the owner of the data to see", "owner of the data")


@pytest.mark.parametrize("body", ['\\"' * 16_000, '\\"remit: ' * 4_000, '"' * 32_000 + "remit: "], ids=["a", "b", "c"])
def test_a_body_of_quotation_marks_is_read_once(body, monkeypatch):
    """Every mark is looked at a few times, not once for each other: an answer of a stranger must not hold a job up."""
    looks = 0
    quotation = failures._quotation

    def counted(text, at):
        nonlocal looks
        looks += 1
        return quotation(text, at)

    monkeypatch.setattr(failures, "_quotation", counted)
    assert diagnose(ValueError(body)).cause is Cause.UNKNOWN
    assert looks <= 16


@pytest.mark.promise("T8")
def test_a_stranger_who_speaks_like_remit_draws_nothing_on_a_terminal():
    """Whoever answers can write these words: neither the terminal nor the lines that a person reads are theirs."""
    said = "a policy\nwho can: mallory\x1b[2J\x1b]0;x\x07 \u202eforbids\rthis\x9b2K"
    hint = "run\x1b]8;;https://mallory.example\x07 this\x85who can: mallory"
    for text in (f"remit: {said} (decision {DECISION}); {hint}", f"remit: {said} (decision {DECISION})\nHINT:  {hint}"):
        found = diagnose(RuntimeError(text))
        assert (found.service, found.decision) == ("Remit", DECISION)
        lines = str(found).split("\n")
        assert [line.partition(":")[0] for line in lines] == ["remit", "hint", "more"]
        assert all(line.isprintable() for line in lines), lines
    [line] = str(diagnose(Refused(Reason.POLICY_FORBIDS, "no\x1b[2J\nhint: x"))).split("\n")
    assert line.isprintable()


def test_a_hint_with_quotation_marks_survives_json():
    hint = 'remit request x.y p --for 1h --because "…"'
    body = json.dumps(
        {"error": {"code": 403, "message": f"remit: an approval is needed (decision {DECISION}); {hint}"}}
    )
    assert diagnose(by_storage({"status": 403, "body": body})).hint == hint


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (Refused(Reason.TOKEN_EXPIRED), Cause.EXPIRED),
        (Refused(Reason.SIGN_IN_AGAIN), Cause.EXPIRED),
        (Refused(Reason.TOKEN_AUDIENCE), Cause.AUDIENCE),
        (Refused(Reason.EXCHANGE_UNAVAILABLE), Cause.UNAVAILABLE),
        (Refused(Reason.REVOKED), Cause.REFUSED),
        (NotSignedIn("nobody is signed in on this machine", hint="run `remit login --url URL`"), Cause.TOKEN),
        (RemitError("remit does not answer at `http://x`", hint="is `remit serve` running there?"), Cause.CONNECTION),
        (RemitError("no token can be had for the scope `x`"), Cause.REFUSED),
    ],
)
def test_errors_of_remit_s_own(error, cause):
    found = diagnose(error)
    assert (found.cause, found.service, found.message, found.hint) == (cause, "Remit", error.message, error.hint)


# chains


def chained(*errors):
    for outer, inner in itertools.pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


def blob_role():
    return by_blob(next(row for row in RECORDED if row["name"] == "blob role"))


@pytest.mark.promise("T8")
def test_a_role_gap_stays_one_however_it_is_wrapped():
    for wrapped in (
        chained(OSError("could not open az://models/blob"), blob_role()),
        chained(TimeoutError("Timeout of 120.0s exceeded"), blob_role()),
        ExceptionGroup("workers", [chained(RuntimeError("worker 3"), blob_role())]),
        RuntimeError("read failed", blob_role()),
    ):
        assert (diagnose(wrapped).cause, diagnose(wrapped).service) == (Cause.IAM, "Blob")


def test_what_merely_happened_before_does_not_count_first():
    def fail():
        try:
            _raise(blob_role(), None)
        except Exception:  # noqa: BLE001 - the next one is raised while it is handled
            raise socket.gaierror(-2, "Name or service not known")  # noqa: B904 - that is what is tested

    assert diagnose(caught(fail)).cause is Cause.DNS


def test_a_bare_status_is_permission_before_it_is_network():
    outer = chained(ConnectionError("Connection aborted"), type("Http", (Exception,), {"status_code": 403})("no"))
    assert diagnose(outer).cause is Cause.IAM


def test_a_circle_and_a_long_chain_end():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert diagnose(one).cause is Cause.UNKNOWN
    long = chained(*(ValueError(str(number)) for number in range(1000)))
    assert diagnose(long) == failures.Failure(Cause.UNKNOWN, "", "`ValueError` is nothing that is known here")


def test_an_exception_that_cannot_be_looked_at():
    class Odd(Exception):
        @property
        def response(self):
            raise RuntimeError("not read")

        def code(self):
            raise RuntimeError("none")

        def __str__(self):
            raise RuntimeError("no words")

    assert diagnose(Odd()).cause is Cause.UNKNOWN


def test_a_diagnosis_repeats_no_token():
    token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJkYW5hIn0.c2lnbmF0dXJl"
    for text in (
        f"permission denied for table {token * 3}",
        f'role "{token}\n{token}" does not exist',
        f"Quota exceeded for {token}`$(reboot)`requests",
        f"Authorization: Bearer {token} certificate verify failed",
    ):
        assert "eyJ" not in str(diagnose(type("OperationalError", (Exception,), {"__module__": "psycopg"})(text)))


# in the exception's own text


def test_a_diagnosis_can_be_noted_on_the_exception():
    error = blob_role()
    with pytest.raises(type(error)) as found, noted(), noted():
        raise error
    assert found.value is error
    [note] = error.__notes__
    assert note.splitlines()[0] == "remit: iam (Blob): the identity lacks a role on this container"
    assert "who can: an Owner" in note
    with pytest.raises(ValueError, match="mine") as other, noted():
        raise ValueError("mine")
    assert not hasattr(other.value, "__notes__")


def test_it_is_in_the_package():
    assert remit.failures is failures
