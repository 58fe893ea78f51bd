"""One request's life in the native gate: bodies that come in pieces, callers who leave, arbiters that hang, new keys.

Whatever comes, Envoy lives on. Leaves out errors within the gate (test_gateway_mutations.py).
"""

import json
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from joserfc.jwk import RSAKey

VERTEX = "us-central1-aiplatform.googleapis.com"
ISSUER = "https://login.microsoftonline.com/6f1c2a34-8b5d-4e6f-9a01-c0de00000001/v2.0"
HELD, STREAMED = "/v1/x", "/v1/projects/p/locations/l/endpoints/1:rawPredict"  # whether the gate waits for the body
BODY = bytes(range(256)) * 2
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS = 0, 1, 3, 4  # kinds of frames (RFC 9113 section 6)
END, WHOLE = 1, 4  # flags: of a stream, of its headers


@pytest.fixture
def gate(world):
    before = world.envoy.pid
    yield world
    world.reset()
    assert world.call("/v1/after", token=world.issuer.token()).status == 200
    assert (world.envoy.pid, world.envoy.restarts) == (before, 0)


def head(gate, path, fields="", method="POST"):
    identity = f"Authorization: Bearer {gate.issuer.token()}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: {gate.name(VERTEX)}\r\n{identity}{fields}\r\n".encode()


def frame(kind, flags, payload=b"", stream=1):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A header field without indexing and without Huffman coding (RFC 7541 section 6.2.2)."""

    def text(data):
        size = len(data)
        start = bytes([size]) if size < 127 else bytes([127, (size - 127) & 0x7F | 0x80, (size - 127) >> 7])
        return start + data.encode()

    return b"\0" + text(name) + text(value)


def opened(gate, path, kind="text/plain", more=()):
    """The frames that begin a POST over HTTP/2."""
    fields = [(":method", "POST"), (":scheme", "https"), (":path", path), (":authority", gate.name(VERTEX))]
    fields += [("content-type", kind), ("te", "trailers"), ("authorization", f"Bearer {gate.issuer.token()}"), *more]
    return PREFACE + frame(SETTINGS, 0, stream=0) + frame(HEADERS, WHOLE, b"".join(literal(*field) for field in fields))


def until(check, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("path", [HELD, STREAMED])
@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0\r\nX-Late: 1\r\nAuthorization: Bearer x\r\n\r\n"])
def test_a_body_in_many_chunks_arrives_as_it_was(gate, path, end):
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY)
    with gate.tunnel() as inner:
        inner.sendall(head(gate, path, "Transfer-Encoding: chunked\r\n"))
        for start in range(0, len(chunks), 100):
            inner.sendall(chunks[start : start + 100])
        assert gate.send(end, connection=inner).status == 200
    [seen] = gate.upstream.seen
    assert seen.body == BODY
    assert seen.all("authorization") == ["Bearer ya29.google"]
    assert seen.all("x-late") == []
    assert [asked.body for asked in gate.arbiter.seen] == ([BODY] if path == HELD else [b""])


@pytest.mark.parametrize("path", [HELD, STREAMED])
@pytest.mark.parametrize("late", [False, True], ids=["no trailers", "trailers"])
def test_a_body_in_many_frames_arrives_as_it_was(gate, path, late):
    pieces = [BODY[start : start + 7] for start in range(0, len(BODY), 7)]
    with gate.tunnel(alpn="h2") as inner:
        inner.sendall(opened(gate, path))
        for piece in pieces[:-1]:
            inner.sendall(frame(DATA, 0, piece))
        if late:
            fields = literal("authorization", "Bearer smuggled") + literal("x-remit-assertion", "a.b.c")
            inner.sendall(frame(DATA, 0, pieces[-1]) + frame(HEADERS, WHOLE | END, fields))
        else:
            inner.sendall(frame(DATA, END, pieces[-1]))
        until(lambda: gate.upstream.seen)
    [seen] = gate.upstream.seen
    assert seen.body == BODY
    assert seen.all("authorization") == ["Bearer ya29.google"]
    assert seen.all("x-remit-assertion") == []


@pytest.mark.parametrize("late", [False, True], ids=["no trailers", "trailers"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_message_in_many_frames_is_decided_on_whole(gate, size, late):
    message = gate.message(f1="projects/mine", f2="x")
    body = b"\0" + struct.pack(">I", len(message)) + message
    with gate.tunnel(alpn="h2") as inner:
        inner.sendall(opened(gate, "/a.B/C", "application/grpc", [("x-goog-request-params", "a=projects/mine")]))
        last = (len(body) - 1) // size * size
        for start in range(0, len(body), size):
            end = END if start == last and not late else 0
            inner.sendall(frame(DATA, end, body[start : start + size]))
        if late:
            inner.sendall(frame(HEADERS, WHOLE | END, literal("x-late", "1")))
        until(lambda: gate.upstream.seen)
    [seen], [asked] = gate.upstream.seen, gate.arbiter.seen
    assert (asked.body, seen.body) == (body, message)
    assert seen.all("x-goog-request-params") == ["a=projects/mine"]


def test_one_that_says_a_strange_header_many_times(gate):
    strange = "".join(f"X-Strange: {number}\r\n" for number in range(50))
    answer = gate.call(headers=strange, token=gate.issuer.token())
    assert answer.status == 200
    assert gate.upstream.seen[0].all("x-strange") == []
    gate.upstream.seen.clear()
    assert gate.call(headers=strange * 2, token=gate.issuer.token()).status == 431
    assert gate.upstream.seen == []


def test_a_lease_is_renewed_while_the_arbiter_hangs(gate):
    """One asks and waits in vain; the others go by the lease until its end, and no longer."""
    permit, request = gate.arbiter.permit(500), head(gate, "/v1/hang", method="GET")
    hanging = type(permit)(headers=permit.headers, delay=2)
    answers = iter([permit])
    gate.arbiter.answer = lambda _: next(answers, hanging)
    with gate.tunnel() as first, gate.tunnel() as second, gate.tunnel() as third:
        began = time.monotonic()
        assert gate.send(request, connection=first).status == 200
        time.sleep(max(0, 0.41 - (time.monotonic() - began)))
        with ThreadPoolExecutor(3) as threads:
            found = [*threads.map(lambda each: gate.send(request, connection=each).status, (first, second, third))]
        assert sorted(found) == [200, 200, 503]
        assert len(gate.arbiter.seen) == 2
        assert gate.send(request, connection=first).status == 503


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
def test_callers_who_leave_while_the_arbiter_is_asked(gate, alpn):
    permit = gate.arbiter.permit(500)
    gate.arbiter.answer = lambda _: type(permit)(headers=permit.headers, delay=0.2)
    for number in range(20):
        path = f"/v1/left{number}"
        with gate.tunnel(alpn=alpn) as inner:
            if alpn == "h2":
                inner.sendall(opened(gate, path) + frame(DATA, END, b"x"))
            else:
                inner.sendall(head(gate, path, "Content-Length: 1\r\n") + b"x")
            until(lambda number=number: len(gate.arbiter.seen) > number)
            if alpn == "h2":
                inner.sendall(frame(RESET, 0, struct.pack(">I", 8)))
    time.sleep(0.3)
    assert gate.upstream.seen == []


@pytest.mark.parametrize("path", [HELD, STREAMED])
def test_callers_who_leave_within_a_body(gate, path):
    for _ in range(20):
        with gate.tunnel() as inner:
            inner.sendall(head(gate, path, "Content-Length: 1000\r\n") + b"x" * 500)
            inner.shutdown(socket.SHUT_RDWR)
    for _ in range(20):
        with gate.tunnel(alpn="h2") as inner:
            inner.sendall(opened(gate, path) + frame(DATA, 0, b"x" * 500) + frame(RESET, 0, struct.pack(">I", 8)))
    assert [seen.body for seen in gate.upstream.seen] == []
    if path == HELD:
        assert gate.arbiter.seen == []


def test_callers_who_leave_while_an_answer_is_told(gate):
    """The arbiter hears of a refusal of the upstream's, and takes its time."""
    permit = gate.arbiter.permit()
    slow = type(permit)(headers={"x-remit-upstream": "iam"}, delay=0.3)
    gate.arbiter.answer = lambda seen: slow if seen.target.startswith("/answered/") else permit
    gate.upstream.answer = lambda _: type(permit)(403, {"content-type": "application/json"}, b"{}")
    for number in range(10):
        with gate.tunnel() as inner:
            inner.sendall(head(gate, f"/v1/told{number}", method="GET"))
            until(lambda number=number: len(gate.arbiter.seen) > 2 * number + 1)
    time.sleep(0.4)


def test_new_keys_while_the_arbiter_is_asked(gate):
    """The check, by which the question goes, is made anew meanwhile."""
    permit = gate.arbiter.permit()
    gate.arbiter.answer = lambda _: type(permit)(headers=permit.headers, delay=0.4)
    token, old = gate.issuer.token(), json.loads(gate.issuer.jwks)["keys"]
    new = RSAKey.generate_key(2048, parameters={"kid": "k2"}).as_dict(private=False)
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(gate.call, f"/v1/keys{number}", token=token) for number in range(4)]
        until(lambda: len(gate.arbiter.seen) == 4)
        gate.loop.run(gate.envoy.update_keys({ISSUER: json.dumps({"keys": [*old, new]})}))
        assert {call.result().status for call in calls} == {200}
    gate.loop.run(gate.envoy.update_keys(gate.issuer.keys))
