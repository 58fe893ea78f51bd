import asyncio
import json
import ssl

import pytest
from grpc import StatusCode

from remit.lab import certificates
from remit.lab.errors import CloudError
from remit.lab.faults import Control, Faults
from remit.lab.front import Front
from remit.lab.http import Response
from remit.lab.http_server import Hosts, HttpServer
from remit.lab.proxy import Proxy


async def echo(request):
    if request.path == "/refuse":
        raise CloudError(StatusCode.PERMISSION_DENIED, "no")
    if request.path == "/break":
        raise ZeroDivisionError
    if request.path == "/hollow":
        return Response(204)
    told = {"method": request.method, "host": request.host, "path": request.path, "query": request.query}
    return Response(200, json.dumps(told).encode() + b"|" + request.body, {"x-seen": request.headers.get("x-a", "")})


def port_of(server):
    return server.sockets[0].getsockname()[1]


def talk(*parts: bytes, handler=echo, **more) -> bytes:
    """Everything that the server says to these bytes, until it closes."""

    async def run():
        server = await HttpServer(handler, **more).listen()
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        for part in parts:
            writer.write(part)
            await writer.drain()
        said = await reader.read()
        writer.close()
        server.close()
        return said

    return asyncio.run(run())


CLOSE = b"Connection: close\r\n"


def test_requests_follow_each_other_on_one_connection():
    said = talk(
        b"GET /a%2Fb?x=1&y= HTTP/1.1\r\nHost: One.Example:443\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
        b"HEAD /b HTTP/1.1\r\nHost: two\r\n\r\n",
        b"GET /hollow HTTP/1.1\r\nHost: two\r\n" + CLOSE + b"\r\n",
    )
    assert said.count(b"HTTP/1.1 200 OK") == 2
    assert b'{"method": "GET", "host": "one.example", "path": "/a%2Fb", "query": [["x", "1"], ["y", ""]]}' in said
    assert b"x-seen: 1, 2" in said
    assert b'"HEAD"' not in said
    assert b"HTTP/1.1 204 No Content" in said


def test_what_tensorflow_sends():
    start = b"POST /u HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: identity\r\n\r\n"
    head = b"PUT /u HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
    said = talk(start, head + CLOSE + b"\r\n", b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nT: 1\r\n\r\n")
    assert b"HTTP/1.1 100 Continue\r\n\r\n" in said
    assert said.endswith(b"|hello world")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 101\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", b"400"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 70000 + b"\r\n\r\n", b"431"),
    ],
)
def test_requests_that_cannot_be_read(request_bytes, status):
    said = talk(request_bytes, body_limit=100)
    assert said.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close" in said


def test_a_silent_connection_ends():
    assert talk(b"GET / HT", idle=0.05) == b""


def test_a_handlers_refusals_and_failures():
    said = talk(b"GET /refuse HTTP/1.1\r\n\r\nGET /break HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert b"HTTP/1.1 403 Forbidden" in said
    assert b'"status": "PERMISSION_DENIED"' in said
    assert b"HTTP/1.1 500" in said
    assert b'"status": "INTERNAL"' in said


def test_hosts_by_name_and_by_ending():
    hosts = Hosts({"a.example": echo}, {"-b.example": echo})
    for host in ("a.example", "x-b.example"):
        assert b"200 OK" in talk(b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n" + CLOSE + b"\r\n", handler=hosts)
    assert b"404 Not Found" in talk(b"GET / HTTP/1.1\r\nHost: c\r\n" + CLOSE + b"\r\n", handler=hosts)


def test_faults_and_the_control_door():
    faults, heard = Faults(), []
    control = Control("secret", faults, {"hear": heard.append, "say": str})

    def command(body, path=b"/secret", method=b"POST"):
        raw = json.dumps(body).encode()
        head = method + b" " + path + b" HTTP/1.1\r\nContent-Length: " + str(len(raw)).encode() + b"\r\n"
        return talk(head + CLOSE + b"\r\n" + raw, handler=control)

    def asked(host=b"a"):
        return talk(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n" + CLOSE + b"\r\n", handler=faults.around(echo))

    assert b"404" in command({"fault": {"host": "a"}}, path=b"/guess")
    assert b'"status": 500' in command({"fault": {"host": "a", "status": 500}})
    assert b"HTTP/1.1 500" in asked()
    assert b"HTTP/1.1 200" in asked(b"b")
    command({"fault": {"host": "a", "status": 429, "retry_after": 7}})
    assert b"retry-after: 7" in asked()
    command({"fault": {"host": "a", "hang": 0.05}})
    assert b"HTTP/1.1 200" in asked()
    assert b'"faults": {}' in command({"clear": True, "hear": 1})
    assert heard == [1]
    assert b'"unknown": ["explode"]' in command({"explode": 1, "hear": 2})
    assert heard == [1]
    assert b'"told": {"say": "yes"}' in command({"say": "yes", "hear": 3})
    assert b'"pid"' in command({}, method=b"GET")


def test_certificates_are_kept_while_good(tmp_path):
    first = certificates.ensure(tmp_path)
    before = first.authority.read_bytes()
    assert certificates.ensure(tmp_path).authority.read_bytes() == before
    assert first.key.stat().st_mode & 0o077 == 0
    first.front.unlink()
    assert certificates.ensure(tmp_path).authority.read_bytes() != before


def through_the_proxy(tmp_path, head: bytes, then=None, grpc=0):
    """What the proxy answers to `head`; `then` goes on over an open tunnel with (reader, writer, context)."""

    async def run():
        found = certificates.ensure(tmp_path)
        front = await Front(found, HttpServer(echo), grpc).listen()
        proxy = await Proxy(port_of(front)).listen()
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(proxy))
        writer.write(head)
        said = await reader.readuntil(b"\r\n\r\n")
        if then:
            said = await then(reader, writer, ssl.create_default_context(cafile=str(found.authority)))
        writer.close()
        front.close()
        proxy.close()
        return said

    return asyncio.run(run())


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_tunnel_to_a_listed_host(tmp_path, version):
    async def get(_, writer, context):
        await writer.start_tls(context, server_hostname="sts.googleapis.com")
        writer.write(b"GET / HTTP/1.1\r\nHost: sts.googleapis.com\r\n" + CLOSE + b"\r\n")
        return await _.read()

    said = through_the_proxy(tmp_path, b"CONNECT sts.googleapis.com:443 HTTP/" + version + b"\r\n\r\n", get)
    assert b'"host": "sts.googleapis.com"' in said


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT pypi.org:443 HTTP/1.1\r\n\r\n",
        b"CONNECT sts.googleapis.com:80 HTTP/1.1\r\n\r\n",
        b"CONNECT sts.googleapis.com.evil.example:443 HTTP/1.1\r\n\r\n",
        b"CONNECT evil-sts.googleapis.com:443 HTTP/1.1\r\n\r\n",
        b"CONNECT metadata.google.internal:443 HTTP/1.1\r\n\r\n",
        b"GET http://sts.googleapis.com/ HTTP/1.1\r\n\r\n",
    ],
)
def test_every_other_target_is_refused(tmp_path, head):
    assert through_the_proxy(tmp_path, head).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("host", "agreed"),
    [
        ("us-central1-aiplatform.googleapis.com", "h2"),
        ("logging.googleapis.com", "h2"),
        ("sts.googleapis.com", "http/1.1"),
    ],
)
def test_http2_is_offered_where_grpc_is_served(tmp_path, host, agreed):
    async def agree(_, writer, context):
        context.set_alpn_protocols(["h2", "http/1.1"])
        await writer.start_tls(context, server_hostname=host)
        return writer.get_extra_info("ssl_object").selected_alpn_protocol()

    assert through_the_proxy(tmp_path, b"CONNECT " + host.encode() + b":443 HTTP/1.1\r\n\r\n", agree, grpc=1) == agreed
