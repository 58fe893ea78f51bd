"""The second door: names, certificates, who speaks; what the first door's tests say of it stands beside them."""

import contextlib
import datetime as dt
import socket
import ssl
import time

import pytest
from cryptography import x509

from remit.gateway.certificates import ensure
from remit.gateway.settings import Endpoint

VERTEX = "us-central1-aiplatform.googleapis.com"
LOGGING = "logging.googleapis.com"
NAME = "us-central1-aiplatform.gateway.example.com"


@pytest.fixture
def way():
    return "endpoint"


def trusting():
    """A caller who takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.mark.parametrize(
    "name", [None, VERTEX, "evil.example", f"x.{NAME}", "gateway.example.com", f"{NAME}.evil.example", "127.0.0.1"]
)
def test_no_other_name_is_served(world, name):
    raw = socket.create_connection(("127.0.0.1", world.settings.endpoint.listen_port), 5)
    with raw, pytest.raises(OSError):  # noqa: PT011  # TLS and TCP errors are both this kind
        trusting().wrap_socket(raw, server_hostname=name)


def test_there_is_nothing_without_tls(world):
    with socket.create_connection(("127.0.0.1", world.settings.endpoint.listen_port), 5) as raw:
        raw.sendall(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        with contextlib.suppress(ConnectionResetError):
            assert raw.recv(100) == b""


@pytest.mark.parametrize("port", ["", ":443", "{own}"])
def test_the_name_stands_for_its_host(world, port):
    port = port.format(own=f":{world.settings.endpoint.listen_port}")
    answer = world.call("/v1/named?a=b%2520", token=world.issuer.token(), host=VERTEX + port)
    assert answer.status == 200
    assert world.arbiter.seen[0].one("host") == VERTEX
    assert world.arbiter.seen[0].target == "/check/v1/named?a=b%2520"
    assert world.upstream.seen[0].one("host") == VERTEX
    assert world.upstream.seen[0].target == "/v1/named?a=b%2520"


@pytest.mark.parametrize("port", [":80", ":8443", ":0443", ":"])
def test_another_port_is_another_name(world, port):
    assert world.call("/v1/x", token=world.issuer.token(), host=VERTEX + port).status in {400, 421}
    assert world.arbiter.seen == world.upstream.seen == []


def test_a_connection_serves_the_name_that_it_was_opened_for(world):
    """Even when the certificate holds both names, as clients of HTTP/2 may believe (RFC 9113 section 9.1.1)."""
    assert world.call("/v1/x", token=world.issuer.token(), host=LOGGING, name=VERTEX).status == 421
    assert world.arbiter.seen == world.upstream.seen == []


def test_rest_and_grpc_on_one_port(world):
    assert world.rpc(world.message(f1="projects/p"), token=world.issuer.token()) == world.message(f1="projects/p")
    assert world.call("/v1/x", token=world.issuer.token()).status == 200
    assert world.arbiter.seen[0].one("content-type") == "application/grpc"
    assert {seen.one("host") for seen in world.arbiter.seen} == {VERTEX}


FORGED = (
    "Proxy-Authorization: Bearer {token}\r\n",
    "X-Remit-Caller: 6.6.6.6 j-00000000000000000000000000\r\nProxy-Authorization: Bearer {token}\r\n",
    "X-Remit-Assertion: {token}\r\n",
    "Cookie: __Host-remit={token}\r\n",
)


@pytest.mark.parametrize("header", FORGED)
def test_nothing_else_is_an_identity(world, header):
    answer = world.call("/v1/x", headers=header.format(token=world.issuer.token()))
    assert (answer.status, answer.reason) == (401, "token_missing")
    assert world.arbiter.seen == world.upstream.seen == []


@pytest.mark.parametrize("header", FORGED)
def test_what_is_forged_changes_nothing(world, header):
    """The caller is who is connected, and speaks for no job."""
    token = world.issuer.token("mallory")
    header = header.format(token=token) + "X-Remit-Peer: 6.6.6.6\r\nX-Remit-Job: j-00000000000000000000000000\r\n"
    assert world.call("/v1/forged", token=token, headers=header + "X-Forwarded-For: 6.6.6.6\r\n").status == 200
    [asked] = world.arbiter.seen
    assert asked.one("authorization") == f"Bearer {token}"
    assert asked.one("x-remit-peer") == "127.0.0.1"
    assert asked.one("x-remit-job") is None
    [seen] = world.upstream.seen
    assert seen.all("authorization") == ["Bearer ya29.google"]
    assert not [name for name, _ in seen.headers if name.startswith(("x-remit", "proxy-", "cookie", "x-forwarded"))]


def test_a_lease_of_one_door_is_no_lease_of_the_other(world):
    world.arbiter.answer = lambda _: world.arbiter.permit(500)
    token = world.issuer.token("between")
    for expected in (1, 1):
        world.call("/v1/doors", token=token)
        assert len(world.arbiter.seen) == expected
    world.way = "tunnel"
    world.call("/v1/doors", token=token)
    assert len(world.arbiter.seen) == 2


def test_access_events(world):
    before = len(world.log(0))
    world.call("/v1/logged?secret=query", token=world.issuer.token())
    [line] = world.log(before + 1)[before:]
    assert (line["door"], line["host"], line["peer"]) == ("endpoint", VERTEX, "127.0.0.1")
    assert (line["decision"], line["path"], line["asked"]) == ("d-01JD000000000000000000000A", "/v1/logged", True)


def serial(world):
    """The number of the certificate that is shown now."""
    raw = socket.create_connection(("127.0.0.1", world.settings.endpoint.listen_port), 5)
    with trusting().wrap_socket(raw, server_hostname=NAME) as inner:
        return x509.load_der_x509_certificate(inner.getpeercert(binary_form=True)).serial_number


def test_an_operators_certificate_is_taken_anew_without_a_cut(another_world, tmp_path, world):
    first = ensure(tmp_path / "first", (NAME,), dt.datetime.now(dt.UTC))
    second = ensure(tmp_path / "second", (NAME,), dt.datetime.now(dt.UTC))
    for kind in ("certificate", "key"):
        (tmp_path / kind).write_bytes(getattr(first, kind).read_bytes())
    port = world.settings.endpoint.listen_port + 1
    given = Endpoint("127.0.0.1", port, {NAME: VERTEX}, tmp_path / "certificate", tmp_path / "key")
    place = another_world(hosts=(VERTEX,), endpoint=given)
    place.way = "endpoint"
    assert serial(place) == x509.load_pem_x509_certificate(first.certificate.read_bytes()).serial_number
    context = ssl.create_default_context(cafile=str(first.authority))
    raw = socket.create_connection(("127.0.0.1", given.listen_port), 5)
    with context.wrap_socket(raw, server_hostname=NAME) as kept:
        for kind in ("key", "certificate"):
            draft = tmp_path / f"{kind}.new"
            draft.write_bytes(getattr(second, kind).read_bytes())
            draft.rename(tmp_path / kind)
        wanted = x509.load_pem_x509_certificate(second.certificate.read_bytes()).serial_number
        deadline = time.monotonic() + 10
        while serial(place) != wanted:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        request = f"GET /v1/x HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {place.issuer.token()}\r\n\r\n"
        assert place.send(request.encode(), connection=kept).status == 200
