"""Hostile input through the real Envoy, at every listener, in front of an arbiter that permits everything.

What is refused reaches nobody; what is not refused reaches the upstream exactly as the arbiter saw it, byte for byte,
with no header outside the allow-list. Nobody else's vectors are in here: the forms are those of the advisories named in
each group (CVE numbers) and of RFC 9112 sections 3, 6 and 11.
"""

import contextlib
import itertools
import re
import socket
import time

import pytest

from remit.gateway.headers import OBJECTS, PASSED, SERVICE

pytestmark = pytest.mark.usefixtures("watched")
VERTEX = "us-central1-aiplatform.googleapis.com"
STORAGE = "storage.googleapis.com"
WAYS = ["tunnel", "endpoint", "folder"]
MARK = "smuggled"


@pytest.fixture
def place(town):
    """A town whose arbiter permits everything of everybody, in the manner of the site that is asked for."""
    town.arbiter.answer = lambda seen: (
        town.arbiter.vouch() if seen.one("host").endswith(".service") else town.arbiter.permitted()
    )
    return town


class Caller:
    """One who sends raw bytes by one way, over one connection for as long as that lasts."""

    def __init__(self, place, way):
        self.place, self.way = place, way
        self.folder = way == "folder"
        self.host = place.board("folder") if self.folder else VERTEX
        self.identity = f"Authorization: Bearer {place.issuer.token()}\r\n"
        self.connection = None
        if not self.folder:
            place.way = way
            self.host = place.name(VERTEX)

    def open(self):
        self.connection = self.place.web_connection("folder") if self.folder else self.place.tunnel()
        self.connection.settimeout(5)

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def target(self, target):
        """The status of the answer to a GET of this target; 0 for none."""
        head = b"GET " + target + f" HTTP/1.1\r\nHost: {self.host}\r\n{self.identity}\r\n".encode()
        return self.raw(head, lasting=True)

    def raw(self, data, *, lasting=False, wait=5.0):
        """The status of the first answer to these bytes; 0 for none within `wait` seconds."""
        if not self.connection:
            self.open()
        self.connection.settimeout(wait)
        said = b""
        try:
            self.connection.sendall(data)
            while b"\r\n\r\n" not in said and (more := self.connection.recv(65536)):
                said += more
            length = re.search(rb"content-length: (\d+)", said)
            while (
                length
                and len(said.partition(b"\r\n\r\n")[2]) < int(length[1])
                and (more := self.connection.recv(65536))
            ):
                said += more
        except OSError:
            lasting = False
        status = re.match(rb"HTTP/1.1 (\d+)", said)
        if not lasting or not status or b"connection: close" in said.lower():
            self.close()
        return int(status[1]) if status else 0

    def arrived(self):
        """What reached the arbiter and what the upstream, and forgets it."""
        servers = (self.place.arbiter, self.place.web, self.place.upstream)
        asked, *seen = ([one for one in server.seen if one.target != "/answered"] for server in servers)
        for server in servers:
            server.seen.clear()
        return asked, [*seen[0], *seen[1]]


@pytest.fixture(params=WAYS)
def caller(place, request):
    caller = Caller(place, request.param)
    yield caller
    caller.close()


def targets():
    """Paths that some parser reads as another path (CVE-2019-9901, 2021-29492, 2021-32779, 2026-73551, 2026-26205)."""
    dots = [
        "..",
        ".",
        "%2e%2e",
        "%2E.",
        ".%2e",
        "%252e%252e",
        "..;",
        "..;x=1",
        ".%00.",
        "%c0%ae%c0%ae",
        "%u002e%u002e",
        "...",
        "..%20",
        "..%09",
    ]
    slashes = [
        "/",
        "//",
        "///",
        "\\",
        "%2f",
        "%2F",
        "%5c",
        "%5C",
        "%252f",
        "%255c",
        "/./",
        "/;/",
        "/.;/",
        "%c0%af",
        "%e0%80%af",
        "/%20/",
        "%09/",
        "/\t/",
    ]
    ends = [
        "",
        ";",
        ";a=b",
        "%00",
        "%0a",
        "%0d%0a",
        "#",
        "#x",
        "?",
        "??",
        "?a#b",
        "%",
        "%2",
        "%zz",
        "%23",
        "%3f",
        "%3F",
        "~",
        "*",
        "\x7f",
        "\x01",
        " ",
        "é",
        "\xff",
        "%ff",
        "|",
        "<",
        '"',
        "`",
        "{}",
        "[]",
        "^",
        "%25",
        "%u0041",
        "&",
        "=",
        "@",
        ":",
        "::",
        ",",
        "$",
        "!",
        "'",
        "()",
        "+",
    ]
    for dot, slash in itertools.product(dots, slashes):
        yield f"allowed{slash}{dot}{slash}forbidden"
        yield f"{dot}{slash}forbidden"
    for end in ends:
        yield f"forbidden{end}"
        yield f"forbidden{end}/x"
        yield f"{end}forbidden"
    yield from (
        "FORBIDDEN",
        "%66orbidden",
        "forbidden%20",
        "f%6Frbidden",
        "forbidden/",
        "forbidden//",
        "forbidden/.",
        "\uff46orbidden",
    )
    yield from (
        f"x?{query}"
        for query in (
            "$alt=json",
            "%24alt=json",
            "alt=media&alt=json",
            "access_token=x",
            "a=/../b",
            "a=//b",
            "a=%2e%2e",
            "/healthz",
            "a;b",
            "a b",
        )
    )


def whole_targets(host):
    """Targets that are no plain path: other forms of RFC 9112 section 3.2, other hosts, other schemes."""
    yield from ("*", "", "v1/x", "?x", "//v1/x", f"//{host}/v1/x", "//evil.example/v1/x", "http:/v1/x", "http:///v1/x")
    for scheme, name in itertools.product(
        ("http", "https", "htTpS", "ftp", "ws"),
        (
            host,
            f"u@{host}",
            f"u:p@{host}",
            f"{host}:443",
            "evil.example",
            f"{host}@evil.example",
            f"{host}.evil.example",
            "",
        ),
    ):
        yield f"{scheme}://{name}/v1/x"


@pytest.mark.promise("N9")
def test_the_path_that_was_decided_on_is_the_path_that_is_sent(caller):
    base = "/apps/board/" if caller.folder else "/v1/projects/p/"
    passed, count = [], 0
    for text in [*(base + target for target in targets()), *whole_targets(caller.host)]:
        target = text.encode("latin-1", "ignore") if text.isascii() or max(map(ord, text)) < 256 else text.encode()
        count += 1
        status = caller.target(target)
        asked, seen = caller.arrived()
        if not seen:
            assert status >= 400 or status == 0, target
            continue
        assert len(seen) == 1, target
        [last] = asked[-1:]
        assert last.target == "/check" + seen[0].target, target
        if "://" not in text:  # an absolute form's path is what follows its authority
            assert seen[0].target.encode("latin-1") == target.rstrip(b" "), target
        passed.append(text.rstrip(" "))
    assert count > 600
    if caller.folder:  # nothing of a service's that a lenient server reads as something else
        odd = re.compile(r"(^|/)\.{1,2}(/|$)|//|;|\\|%(2e|2f|5c|25|00|0a|0d|09)", re.IGNORECASE)
        assert not [target for target in passed if odd.search(target.partition("?")[0].split("://")[-1])]
        assert all(re.match(r"(https?://[^/]*)?/apps/board/", target, re.IGNORECASE) for target in passed)
    assert not [
        target for target in passed if re.search(r"[^!-~]|#|%2f|%5c|\\|;", target.partition("?")[0], re.IGNORECASE)
    ]


NAMES = """
    Accept-Datetime Access-Control-Request-Headers Access-Control-Request-Method Base-Url CF-Connecting-IP CF-IPCountry
    CF-RAY CF-Visitor Client-IP Cluster-Client-IP Contact Destination Fastly-Client-IP Forwarded Forwarded-For
    Forwarded-For-IP Front-End-Https From Http-Url If-None-Match2 Incap-Client-IP Max-Forwards Origin-Url Profile Proxy
    Proxy-Authorization Proxy-Connection Proxy-Host Proxy-Url Real-IP Redirect Referrer Remote-Addr Remote-User
    Request-Uri Surrogate-Capability True-Client-IP Trailer Upgrade-Insecure-Requests Uri Url Via WL-Proxy-Client-IP Warning
    X-ARR-SSL X-Access-Token X-Amz-Security-Token X-Amzn-Oidc-Accesstoken X-Amzn-Oidc-Data X-Amzn-Oidc-Identity X-Api-Key
    X-Api-Version X-Attribute X-Auth-Request-Access-Token X-Auth-Request-Email X-Auth-Request-Groups X-Auth-Request-User
    X-Auth-Token X-Authenticated-Groups X-Authenticated-User X-Authorization X-Azure-ClientIP X-Azure-SocketIP X-B3-Traceid
    X-Backend-Host X-BlueCoat-Via X-Client-Cert X-Client-IP X-Client-Verify X-Cloud-Trace-Context X-Cluster-Client-IP
    X-Consumer-Username X-Correlation-ID X-Csrf-Header X-Custom-IP-Authorization X-Debug X-Endpoint-Api-Userinfo
    X-Envoy-Attempt-Count X-Envoy-Decorator-Operation X-Envoy-Downstream-Service-Cluster X-Envoy-Expected-Rq-Timeout-Ms
    X-Envoy-External-Address X-Envoy-Force-Trace X-Envoy-Hedge-On-Per-Try-Timeout X-Envoy-IP-Tags X-Envoy-Internal
    X-Envoy-Max-Retries X-Envoy-Original-Dst-Host X-Envoy-Original-Host X-Envoy-Original-Path X-Envoy-Peer-Metadata
    X-Envoy-Retry-Grpc-On X-Envoy-Retry-On X-Envoy-Upstream-Alt-Stat-Name X-Envoy-Upstream-Rq-Timeout-Ms X-Forward-For
    X-Forwarded X-Forwarded-By X-Forwarded-Client-Cert X-Forwarded-Email X-Forwarded-For X-Forwarded-For-Original
    X-Forwarded-Groups X-Forwarded-Host X-Forwarded-Path X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Proto
    X-Forwarded-Scheme X-Forwarded-Server X-Forwarded-Ssl X-Forwarded-Uri X-Forwarded-User X-Forwarder-For X-Frame-Options
    X-Goog-Api-Key X-Goog-Authenticated-User-Email X-Goog-Authenticated-User-Id X-Goog-Iam-Authority-Selector
    X-Goog-Iam-Authorization-Token X-Goog-Iap-Jwt-Assertion X-Goog-Request-Reason X-Goog-User-Project X-Http-Destinationurl
    X-Http-Host-Override X-Http-Method X-Http-Method-Override X-Http-Path-Override X-Https X-Id-Token X-Istio-Attributes
    X-Jwt-Assertion X-Method-Override X-Ms-Client-Principal X-Ms-Client-Principal-Id X-Ms-Client-Principal-Name
    X-Ms-Token-Aad-Access-Token X-Oauth X-Original-Forwarded-For X-Original-Host X-Original-Method X-Original-Remote-Addr
    X-Original-Uri X-Original-Url X-Originally-Forwarded-For X-Originating-IP X-Override-Url X-Pomerium-Jwt-Assertion
    X-Proxy-User X-Proxy-Url X-ProxyUser-Ip X-Real-IP X-Real-Ip X-Redirect X-Ref X-Remit-Assertion X-Remit-Body
    X-Remit-Caller X-Remit-Decision X-Remit-Epoch X-Remit-Host X-Remit-Job X-Remit-Lease-Ms X-Remit-Peer X-Remit-Reason
    X-Remit-Tell X-Remit-Upgrade X-Remit-Upstream X-Remote-Addr X-Remote-IP X-Remote-User X-Request-Id X-Request-Start
    X-Requestid X-Rewrite-Url X-Rewrite-Uri X-Serverless-Authorization X-Server-Name X-Ssl-Client-Cert X-Ssl-Client-S-Dn
    X-Token X-Traceid X-True-IP X-Url-Scheme X-User X-User-Agent X-User-Email X-User-Groups X-Userinfo X-Vouch-User
    X-Wap-Profile X-Webauth-Email X-Webauth-User X-Wsgi-User Kubeflow-Userid Impersonate-User Impersonate-Group
    Cf-Access-Authenticated-User-Email Cf-Access-Jwt-Assertion Traceparent Tracestate Baggage Dpop Client-Cert
    Signature Signature-Input Ssl-Client-Cert Sec-Websocket-Key Sec-Websocket-Protocol Keep-Alive2 Alt-Used Priority
    Early-Data Expect2 Purpose Sourcemap Nel Upgrade2 Http2-Settings2 Refresh Authorization2 Authenticate Token User Id
""".split()  # noqa: SIM905  # a list of 200 names is read more easily as words


def test_of_all_names_only_listed_ones_arrive(caller):
    """CVE-2026-30851, 2023-27487, 2024-45806, 2025-64484 and every list of headers that somebody believed."""
    assert len(NAMES) > 200
    allowed = {*(SERVICE if caller.folder else PASSED), "host", "x-remit-assertion", "x-goog-request-reason"}
    path = "/apps/board/x" if caller.folder else "/v1/x"
    for group in (NAMES[start : start + 40] for start in range(0, len(NAMES), 40)):
        head = f"GET {path} HTTP/1.1\r\nHost: {caller.host}\r\n{caller.identity}"
        head += "".join(f"{name}: 127.0.0.1 {MARK}\r\n" for name in group)
        assert caller.raw(head.encode() + b"\r\n", lasting=True) == 200, group
        [asked], [seen] = caller.arrived()
        assert {name for name, _ in seen.headers} <= allowed
        assert not [one for one in (*asked.headers, *seen.headers) if MARK in one[1]]


BROKEN = {  # name → lines after the request line; every one of them makes the request void
    "no host": "",
    "two hosts": "Host: {host}\r\nHost: {host}\r\n",
    "another host too": "Host: {host}\r\nHost: evil.example\r\n",
    "a host with a user": "Host: u@{host}\r\n",
    "a host with a path": "Host: {host}/x\r\n",
    "a host with a space": "Host: {host} x\r\n",
    "an underscore": "Host: {host}\r\nX_Remit_Caller: 6.6.6.6\r\n",
    "an underscore in authorization": "Host: {host}\r\nAuthorization_: x\r\n",
    "a space before the colon": "Host: {host}\r\nX-A : b\r\n",
    "a space before the length's colon": "Host: {host}\r\nContent-Length : 5\r\n\r\nhello",
    "a name with a bracket": "Host: {host}\r\nX[a]: b\r\n",
    "an empty name": "Host: {host}\r\n: b\r\n",
    "no colon": "Host: {host}\r\nnothing\r\n",
    "a zero byte": "Host: {host}\r\nX-A: a\0b\r\n",
    "two lengths": "Host: {host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a list of lengths": "Host: {host}\r\nContent-Length: 5, 6\r\n\r\nhello!",
    "a signed length": "Host: {host}\r\nContent-Length: +5\r\n\r\nhello",
    "a negative length": "Host: {host}\r\nContent-Length: -5\r\n\r\nhello",
    "a length in hex": "Host: {host}\r\nContent-Length: 0x5\r\n\r\nhello",
    "a huge length": "Host: {host}\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
    "length and chunks": "Host: {host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": "Host: {host}\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "chunks twice": "Host: {host}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks of chunks": "Host: {host}\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunks not last": "Host: {host}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "another coding": "Host: {host}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "no coding": "Host: {host}\r\nTransfer-Encoding: identity\r\n\r\n",
    "a coding with a tab": "Host: {host}\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a coding in quotes": 'Host: {host}\r\nTransfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "a coding with a space": "Host: {host}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a coding that is longer": "Host: {host}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is none": "Host: {host}\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
    "a chunk size with a prefix": "Host: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
    "a chunk size beyond all": "Host: {host}\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx\r\n0\r\n\r\n",
    "70 headers": "Host: {host}\r\n" + "".join(f"X-{number}: 1\r\n" for number in range(70)),
    "a header of 64 KiB": "Host: {host}\r\nX-A: " + "a" * 65_536 + "\r\n",
    "headers of a megabyte": "Host: {host}\r\n" + "".join(f"X-{number}: {'a' * 20_000}\r\n" for number in range(52)),
    "a generic upgrade": "Host: {host}\r\nConnection: Upgrade\r\nUpgrade: anything\r\n",
    "an upgrade to tls": "Host: {host}\r\nConnection: Upgrade\r\nUpgrade: TLS/1.3\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_request_reaches_nobody(caller, name):
    """CVE-2026-73548 among them; a body that never comes is not waited for longer than a moment here."""
    path = "/apps/board/x" if caller.folder else "/v1/x"
    lines = BROKEN[name].format(host=caller.host)
    head, _, body = lines.partition("\r\n\r\n")
    head = head.rstrip("\r\n") + "\r\n" if head else ""
    request = f"POST {path} HTTP/1.1\r\n{caller.identity}{head}\r\n{body}"
    status = caller.raw(request.encode("latin-1") + f"GET /{MARK} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), wait=0.7)
    _, seen = caller.arrived()
    whole = [one for one in seen if not (caller.folder and name.startswith("a chunk"))]  # a stream's end may be cut
    assert whole == [], name
    assert status == 0 or status >= 400, name
    assert not [one for one in seen if MARK in one.target]


LENIENT = {  # what Envoy's codec takes in another form than it was sent: it must then be one request, of one meaning
    "bare line feeds": "GET {path} HTTP/1.1\nHost: {host}\n{identity}\n\n",
    "a folded header": "GET {path} HTTP/1.1\r\nHost: {host}\r\n{identity}X-A: b\r\n Host: evil.example\r\n\r\n",
    "a folded authorization": "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization:\r\n Bearer x\r\n{identity}\r\n",
    "empty lines first": "\r\n\r\nGET {path} HTTP/1.1\r\nHost: {host}\r\n{identity}\r\n",
    "a chunk extension": "POST {path} HTTP/1.1\r\nHost: {host}\r\n{identity}Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n",
    "a trailer": "POST {path} HTTP/1.1\r\nHost: {host}\r\n{identity}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Remit-Assertion: f\r\n\r\n",
    "an old version": "GET {path} HTTP/1.0\r\nHost: {host}\r\n{identity}\r\n",
    "a future version": "GET {path} HTTP/1.2\r\nHost: {host}\r\n{identity}\r\n",
    "http 0.9": "GET {path}\r\n\r\n",
    "spaces in the request line": "GET  {path}  HTTP/1.1\r\nHost: {host}\r\n{identity}\r\n",
    "a tab in the request line": "GET\t{path}\tHTTP/1.1\r\nHost: {host}\r\n{identity}\r\n",
    "a body on a GET": "GET {path} HTTP/1.1\r\nHost: {host}\r\n{identity}Content-Length: 5\r\n\r\nhello",
    "a name in upper case": "GET {path} HTTP/1.1\r\nHOST: {host}\r\n{identity}X-REMIT-ASSERTION: f\r\n\r\n",
    "connection names headers": "GET {path} HTTP/1.1\r\nHost: {host}\r\n{identity}Connection: authorization, x-remit-caller, host, x-remit-assertion\r\n\r\n",
    "te names trailers": "GET {path} HTTP/1.1\r\nHost: {host}\r\n{identity}TE: trailers, deflate\r\nConnection: TE\r\n\r\n",
    "an upgrade to h2c": "GET {path} HTTP/1.1\r\nHost: {host}\r\n{identity}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "an expectation": "POST {path} HTTP/1.1\r\nHost: {host}\r\n{identity}Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx",
    "a bare carriage return": "GET {path} HTTP/1.1\r\nHost: {host}\r\n{identity}Accept: a\rX-Remit-Assertion: f\r\n\r\n",
    "a chunk that is longer than said": "POST {path} HTTP/1.1\r\nHost: {host}\r\n{identity}Transfer-Encoding: chunked\r\n\r\n1\r\nxGET / HTTP/1.1\r\n0\r\n\r\n",
    "bytes that are no text": "GET {path} HTTP/1.1\r\nHost: {host}\r\n{identity}Accept: \xff\xfe\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", LENIENT)
def test_an_odd_request_is_one_plain_request_or_none(caller, name):
    """CVE-2023-27488 among them."""
    path = "/apps/board/x" if caller.folder else "/v1/x"
    request = LENIENT[name].format(path=path, host=caller.host, identity=caller.identity).encode("latin-1")
    caller.raw(request, wait=2)
    asked, seen = caller.arrived()
    assert len(seen) <= len(asked) <= 1
    allowed = {*(SERVICE if caller.folder else PASSED), "host", "x-remit-assertion", "x-goog-request-reason"}
    for one in seen:
        assert one.target == path
        assert {header for header, _ in one.headers} <= allowed
        assert not [value for _, value in one.headers if "\r" in value or "\n" in value]
        assert one.body in ({b"", b"x", b"hello"} if caller.folder else {b"", b"x"})
        assert one.one("host") == (caller.host if caller.folder else VERTEX)
        assert one.all("x-remit-assertion") == (["as.ser.tion"] if caller.folder else [])
        assert one.all("authorization") == ([] if caller.folder else ["Bearer ya29.google"])


@pytest.mark.parametrize(
    "method", ["TRACE", "TRACK", "CONNECT", "DEBUG", "PROPFIND", "MOVE", "COPY", "SEARCH", "get", "G ET", ""]
)
def test_methods_that_nobody_has(caller, method):
    path = "/apps/board/x" if caller.folder else "/v1/x"
    path = f"{caller.host}:443" if method == "CONNECT" and not caller.folder else path
    request = f"{method} {path} HTTP/1.1\r\nHost: {caller.host}\r\n{caller.identity}\r\n"
    status = caller.raw(request.encode(), wait=2)
    assert status == 0 or status >= 400
    assert caller.arrived()[1] == []


def test_pipelined_requests_are_decided_on_one_by_one(caller):
    """The second is refused: what was said of the first is not said of it."""
    answers = iter([True, False, True])
    permits = caller.place.arbiter.answer
    refusal = caller.place.arbiter.refuse()
    caller.place.arbiter.answer = lambda seen: permits(seen) if next(answers) else refusal
    path = "/apps/board/pipe" if caller.folder else "/v1/pipe"
    one = "GET {path}{number} HTTP/1.1\r\nHost: {host}\r\n{identity}\r\n"
    data = "".join(one.format(path=path, number=n, host=caller.host, identity=caller.identity) for n in range(3))
    caller.open()
    caller.connection.sendall(data.encode())
    caller.connection.settimeout(5)
    said = b""
    with contextlib.suppress(TimeoutError):
        while said.count(b"HTTP/1.1 ") < 3 and (more := caller.connection.recv(65536)):
            said += more
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200", b"403", b"200"]
    assert [seen.target for seen in caller.arrived()[1]] == [f"{path}0", f"{path}2"]


def test_whoever_is_slow_is_waited_for_only_so_long(place):
    """Ten seconds for headers, whatever is sent meanwhile (slowloris), and for a handshake that never begins."""
    open_ones = {}
    for way in WAYS:
        caller = Caller(place, way)
        place.way = "tunnel" if caller.folder else way
        caller.open()
        caller.connection.sendall(b"GET / HTTP/1.1\r\n")
        open_ones[way] = caller.connection
    open_ones["silent"] = socket.create_connection(("127.0.0.1", place.settings.endpoint.listen_port), 5)
    began, ended = time.monotonic(), {}
    while len(ended) < len(open_ones) and time.monotonic() - began < 14:
        for way, connection in open_ones.items():
            if way not in ended and over(connection, b"" if way == "silent" else b"X-A: b\r\n"):
                ended[way] = time.monotonic() - began
    for connection in open_ones.values():
        connection.close()
    assert ended.keys() == open_ones.keys()
    assert all(8 < seconds < 13 for seconds in ended.values()), ended


def over(connection, more):
    """Whether the other side is done with this connection; if not, it gets some more."""
    connection.settimeout(0.2)
    try:
        said = connection.recv(1000)
    except TimeoutError:
        with contextlib.suppress(OSError):
            connection.sendall(more)
        return False
    except OSError:
        return True
    assert said == b"" or said.startswith(b"HTTP/1.1 408"), said
    return True


@pytest.fixture(scope="module")
def _store(another_world):
    return another_world(hosts=(STORAGE,), objects=(STORAGE,))


@pytest.fixture(params=["tunnel", "endpoint"])
def store(_store, place, request):
    """A world that terminates Cloud Storage."""
    _store.reset()
    _store.way = request.param
    _store.arbiter.answer = lambda _: place.arbiter.permitted()
    return _store


OBJECT = "/storage/v1/b/bucket/o/"


@pytest.mark.parametrize(
    "name",
    ["a%2Fb%2fc", "..%2F..%2Fx", "%2E%2E", "a%20b", "a%25b", "%C3%A4", "a%3Fb%23c", "a%5Cb", "a'b()*!", "a@b:c,d;"],
)
def test_an_objects_name_goes_as_it_is_or_not_at_all(store, name):
    answer = store.call(OBJECT + name + "?alt=media", token=store.issuer.token(), host=STORAGE, name=STORAGE)
    if answer.status == 200:
        assert store.arbiter.seen[0].target == f"/check{OBJECT}{name}?alt=media"
        assert store.upstream.seen[0].target == f"{OBJECT}{name}?alt=media"
    else:
        assert answer.status == 400
        assert store.upstream.seen == []


def test_slashes_in_an_objects_name_pass(store):
    answer = store.call(OBJECT + "a%2Fb%2Fc.txt", token=store.issuer.token(), host=STORAGE, name=STORAGE)
    assert answer.status == 200
    assert store.upstream.seen[0].target == OBJECT + "a%2Fb%2Fc.txt"


def test_an_upload_passes_in_a_stream_and_the_store_says_whether_it_begins(store):
    """Nothing of it reaches the arbiter; copies, grants and other projects cannot be named in headers."""
    store.upstream.answer = store_reply
    size = 40_000_000
    forged = "X-Goog-Copy-Source: /victim/o\r\nX-Goog-Acl: public-read\r\nX-Goog-User-Project: victim\r\n"
    wanted = "X-Goog-Hash: md5=x\r\nContent-Range: bytes 0-9/10\r\nX-Goog-If-Generation-Match: 0\r\n"
    head = (
        f"PUT /upload/storage/v1/b/bucket/o?uploadType=resumable HTTP/1.1\r\nHost: {store.name(STORAGE)}\r\n{forged}{wanted}"
        f"Authorization: Bearer {store.issuer.token()}\r\nContent-Type: a/b\r\nContent-Length: {size}\r\n\r\n"
    )
    with store.tunnel(STORAGE) as connection:
        answer = store.send(head.encode() + b"x" * size, connection=connection)
    assert (answer.status, answer.body) == (200, str(size).encode())
    assert store.arbiter.seen[0].body == b""
    [seen] = store.upstream.seen
    assert {name for name, _ in seen.headers} <= {*OBJECTS, "host", "x-goog-request-reason"}
    assert (seen.one("x-goog-hash"), seen.one("content-range")) == ("md5=x", "bytes 0-9/10")
    assert not {"x-goog-copy-source", "x-goog-acl", "x-goog-user-project"} & {name for name, _ in seen.headers}


def store_reply(seen):
    from types import SimpleNamespace

    return SimpleNamespace(status=200, headers={}, body=str(len(seen.body)).encode(), delay=0, raw=None, hold=None)


def test_an_expectation_is_the_stores_to_answer(store):
    """A refusal comes instead of `100 Continue`, before any of the body."""
    refusal = refused(403)
    store.arbiter.answer = lambda _: refusal
    with store.tunnel(STORAGE) as connection:
        head = (
            f"PUT {OBJECT}x HTTP/1.1\r\nHost: {store.name(STORAGE)}\r\nAuthorization: Bearer {store.issuer.token()}\r\n"
        )
        connection.sendall(head.encode() + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 403")
    assert store.upstream.seen == []


def refused(status):
    from types import SimpleNamespace

    headers = {"x-remit-decision": "d-1", "x-remit-reason": "no_policy_permits"}
    return SimpleNamespace(status=status, headers=headers, body=b"", delay=0, raw=None, hold=None)


def test_no_grpc_where_bodies_are_not_read(store):
    headers = "Content-Type: application/grpc\r\n"
    path = "/google.storage.v2.Storage/ReadObject"
    store.call(
        path, method="POST", token=store.issuer.token(), headers=headers, body=b"\0" * 5, host=STORAGE, name=STORAGE
    )
    assert store.arbiter.seen == store.upstream.seen == []
