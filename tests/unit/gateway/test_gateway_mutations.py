"""An error at any statement of the gate lets nothing through that the arbiter did not permit (fault F20, NT1).

The module is compiled once more, with a fault before every statement of every function that can fail; a request says
by a header which one strikes it. Each is asked for what would be permitted and for what would be refused, as Google and
as a web service. A fault in what looks at answers leaves them as they came, or cuts them, and a stolen cookie out.
Leaves out what is done once at the start (`Site.new`), and the access log, which lets nobody through.
"""

import contextlib
import copy
import hashlib
import http.client
import json
import os
import platform
import re
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from remit.gateway import envoy as envoy_module
from remit.gateway import module
from remit.gateway.bootstrap import bootstrap
from remit.gateway.filters import off, switched_on
from remit.gateway.gates import GATE
from remit.gateway.headers import PASSED
from remit.gateway.typed import extension

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src" / "remit" / "gateway" / "native"
CACHE = ROOT / ".zig-cache"
ROOMS = ("abi", "answer", "check", "gate", "lease", "question", "report", "rules", "site", "text", "web", "wire")
ONCE = {("site", "new"), ("site", "set")}
AT_ONCE = 16  # callers: what is waited for is mostly an answer that was cut
OURS = {"x-goog-request-reason", "x-goog-request-params"}
FUNCTION = re.compile(r"^( *)(?:pub )?fn (\w+)\(.*\) (\S.*) \{$")
MEMBER = re.compile(r"error\{(\w+)")
CAUGHT = re.compile(r"catch return ([^;,]+)[;,]")
COMMENT = re.compile(r"(^|\s)//.*$")
BLOCK = re.compile(r"(\)|\||else|=>) \{$")
HOOK = re.compile(
    r"^export fn envoy_dynamic_module_on_http_filter_(?!destroy)\w+\([^{}]*call: \*Call[^{}]*\{$", re.MULTILINE
)
FAULT = """
const std = @import("std");
const abi = @import("abi.zig");

threadlocal var chosen: u32 = 0;
var next = std.atomic.Value(u32).init(0); // for a stream that has not begun: nothing of it can be read

pub fn hits(point: u32) bool {
    return point == chosen;
}

pub fn enter(call: anytype) u32 {
    defer chosen = call.fault orelse 0;
    if (call.fault == null) call.fault = said(call.stream);
    return chosen;
}

pub fn leave(before: u32) void {
    chosen = before;
}

pub fn begin() void {
    chosen = next.swap(0, .acq_rel);
}

fn said(stream: abi.Stream) u32 {
    if (number(stream, "x-next-fault")) |point| next.store(point, .release);
    return number(stream, "x-fault") orelse 0;
}

fn number(stream: abi.Stream, name: []const u8) ?u32 {
    return std.fmt.parseInt(u32, stream.header(.request, name) orelse return null, 10) catch null;
}
"""
FAULTS = '@import("fault.zig")'


class Place(NamedTuple):
    """Where a fault strikes: before a statement."""

    room: str
    function: str
    line: int


def failing(returned, body):
    """What a function returns that fails at once, `None` for one that cannot."""
    if "!" in returned:
        member = MEMBER.match(returned)
        return f"error.{member[1]}" if member else "error.OutOfMemory"
    caught = CAUGHT.search(body)  # it answers for its errors by itself
    return caught[1] if caught else None


def statements(body):
    """The lines of a function before which an error can be: inside no value, call or switch.

    Nor between a step and the `errdefer` that takes it back.
    """
    blocks, ended = [True], True
    for number, line in enumerate(body):
        code = COMMENT.sub("", line).strip()
        if not code:
            continue
        if code[0] in "})":
            blocks.pop()
        elif blocks[-1] and ended and not code.startswith("errdefer"):
            yield number
        ended = code[-1] in ";{}"
        if code[-1] in "{(":
            blocks.append(bool(BLOCK.search(code)) and "switch (" not in code)


def mutated(room, places):
    """A room's source with its faults; where they are is added to `places`."""
    out, lines = [], (SOURCE / f"{room}.zig").read_text(encoding="utf-8").split("\n")
    while lines:
        out.append(lines.pop(0))
        start = FUNCTION.match(out[-1])
        if not start or (room, start[2]) in ONCE:
            continue
        body = lines[: lines.index(f"{start[1]}}}")]
        del lines[: len(body)]
        fails = failing(start[3], "\n".join(body))
        struck = {*statements(body)} if fails else set()
        for number, line in enumerate(body):
            if number in struck:
                places.append(Place(room, start[2], number + 1))
                out.append(f"if ({FAULTS}.hits({len(places)})) return {fails};")
            out.append(line)
    return "\n".join(out)


def hooked(room, text):
    """Each hook of a request's stream goes by the fault that its headers named."""
    if room == "gate":
        return text.replace("    report: ?Report = null,", "    fault: ?u32 = null,\n    report: ?Report = null,", 1)
    if room == "module":
        text = HOOK.sub(rf"\g<0>\nconst before = {FAULTS}.enter(call);\ndefer {FAULTS}.leave(before);", text)
        return text.replace("return Call.new(", f"{FAULTS}.begin();\ndefer {FAULTS}.leave(0);\nreturn Call.new(", 1)
    return text


@pytest.fixture(scope="module")
def places():
    """Where each fault strikes, by its number."""
    found = []
    for room in ROOMS:
        mutated(room, found)
    return dict(enumerate(found, 1))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """The module with its faults, compiled when no one of the same source lies there yet."""
    places, folder = [], tmp_path_factory.mktemp("faulty")
    rooms = {file.stem: file.read_text(encoding="utf-8") for file in SOURCE.glob("*.zig")} | {"fault": FAULT}
    rooms |= {room: mutated(room, places) for room in ROOMS}
    rooms = {room: hooked(room, text) for room, text in rooms.items()}
    library = CACHE / "faulty" / f"{hashlib.sha256(json.dumps(rooms, sort_keys=True).encode()).hexdigest()}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        for room, text in rooms.items():
            (folder / f"{room}.zig").write_text(text, encoding="utf-8")
        compiled(folder).replace(library)
    return library


def compiled(folder):
    form = ("-dynamic", "-O", "ReleaseSafe", "-lc", "-fallow-shlib-undefined")
    target = ("-target", f"{platform.machine()}-linux-gnu.2.31", "--name", "faulty")
    made = CACHE / "faulty" / f"{folder.name}-{os.getpid()}.so"
    where = ("--cache-dir", CACHE, "--global-cache-dir", CACHE, f"-femit-bin={made}")
    zig = (sys.executable, "-m", "ziglang", "build-lib", *form, *target, *where, folder / "module.zig")
    ran = subprocess.run(zig, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return made


GOOGLE, WEB, MARKED = "us-central1-aiplatform.googleapis.com", "web.service", "marked.service"
MARKS = {  # what a gate that fails may have set before, and whether that is a permit
    "nothing": ({}, False),
    "of no decision": ({"permitted": "x-1"}, False),
    "no text": ({"permitted": True}, False),
    "another name": ({"permit": "d-1"}, False),
    "a refusal": ({"reason": "no_policy_permits", "decision": "d-1"}, False),
    "a decision": ({"decision": "d-1"}, False),
    "a permit": ({"permitted": "d-1"}, True),
    "a permit by the arbiter": ({"permitted": "d-1 asked"}, True),
}


def with_faults(settings):
    """A web service besides Google, and a site where others set the marks in the gate's place."""
    document = copy.deepcopy(bootstrap(settings))
    changes = {f"door:{WEB}": web, f"door:{MARKED}": marked}
    for listener in document["static_resources"]["listeners"]:
        if change := changes.get(listener["name"]):
            change(listener["filter_chains"][0]["filters"][-1]["typed_config"])
    for cluster in document["static_resources"]["clusters"]:
        tls = cluster.get("transport_socket", {}).get("typed_config", {}).get("common_tls_context")
        if tls:  # the fake upstream has one certificate
            tls["validation_context"]["match_typed_subject_alt_names"][0]["matcher"] = {"exact": GOOGLE}
    return document


def web(manager):
    config = next(it for it in manager["http_filters"] if it["name"] == GATE)["typed_config"]["filter_config"]
    told = json.loads(config["value"]) | {"mode": "web", "assertion": True, "leasable": {}, "streaming": []}
    config["value"] = json.dumps(told | {"passed": [*PASSED, "cookie", "origin"]})
    host = manager["route_config"]["virtual_hosts"][0]
    host["request_headers_to_remove"] = ["x-forwarded-for", "authorization", "x-goog-request-reason"]


def marked(manager):
    kind = "extensions.filters.http.set_metadata.v3.Config"
    chain, (host, *_) = manager["http_filters"], manager["route_config"]["virtual_hosts"]
    (gate,) = (place for place, it in enumerate(chain) if it["name"] == GATE)
    chain[gate : gate + 1] = [
        off(extension("filters.http.set_metadata", kind, {"metadata": [value]}) | {"name": name})
        for name, (marks, _) in MARKS.items()
        for value in [{"metadata_namespace": "remit", "value": marks}]
    ]
    for name in MARKS:
        route = copy.deepcopy(host["routes"][-1])
        route["match"]["headers"] = [{"name": "x-mark", "string_match": {"exact": name}}]
        route["typed_per_filter_config"] = {name: switched_on()}
        host["routes"].insert(0, route)


@pytest.fixture(scope="module")
def mutant(another_world, faulty):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envoy_module, "bootstrap", with_faults)
        patch.setattr(module, "module_path", lambda: faulty)
        yield another_world(hosts=(GOOGLE, WEB, MARKED))


class Reply:
    delay, hold, body = 0, None, b""

    def __init__(self, status, raw=None, **headers):
        self.status, self.raw = status, raw
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


PERMIT = Reply(200, x_remit_decision="d-1", authorization="Bearer upstream", x_remit_lease_ms="500", x_remit_epoch="0")
ADMIT = Reply(200, x_remit_decision="d-1", x_remit_assertion="a.b.c", x_remit_lease_ms="500", x_remit_epoch="0")
INSTEAD = Reply(
    200, x_remit_body="replace", x_remit_tell="1", **{k.replace("-", "_"): v for k, v in PERMIT.headers.items()}
)
INSTEAD.body = b"{1}"
TOLD = Reply(200, x_remit_tell="1", **{k.replace("-", "_"): v for k, v in PERMIT.headers.items()})
ANSWERS = {
    "refused": Reply(403, x_remit_decision="d-1", x_remit_reason="no_policy_permits", location="/sign-in"),
    "broken": Reply(200),
    "doubled": Reply(200, x_remit_decision="d-1\r\nx-remit-decision: d-2"),
    "unavailable": Reply(503),
    "unfinished": Reply(503, x_remit_again="1"),
}
JSON = "Content-Type: application/json\r\n"
SESSION = "Cookie: a=b; __Host-remit=s; c=d\r\nAccept: text/html\r\n"
RESET = 3  # the kind of a frame (RFC 9113 section 6.4)
ENDPOINT = "/v1/projects/p/locations/l/endpoints/1"


def requests(token, number):
    """What is asked of each fault, by name: method, path, headers, body. The read is a question of its own."""
    inside = f"Authorization: Bearer {token}\r\n"
    return {
        "read": ("GET", f"/v1/x?{number}", inside, b""),
        "predict": ("POST", f"{ENDPOINT}{number}:predict", inside + JSON, b'{"instances":[]}'),
        "raw": ("POST", "/v1/x:rawPredict", inside, b"x"),
        "create": ("POST", "/v1/x", inside + JSON, b"{}"),
        "call": (
            "POST",
            "/a.B/C",
            inside + "Content-Type: application/grpc\r\nTE: trailers\r\nx-goog-request-params: a=%78\r\n",
            b"\0\0\0\0\x03\x0a\x01x",
        ),
    }


def visits(token, number):
    """What is asked of each fault at a web service."""
    return {
        "bearer": ("GET", f"/a%20b?c=%2F{number}", f"Authorization: Bearer {token}\r\n", b""),
        "session": ("POST", f"/a?{number}", SESSION + "Origin: https://a\r\n", b"x"),
        "nobody": ("GET", "/a", "Accept: text/html\r\n", b""),
    }


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A header field without indexing and without Huffman coding (RFC 7541 section 6.2.2)."""

    def text(data):
        size = len(data)
        head = bytes([size]) if size < 127 else bytes([127, (size - 127) & 0x7F | 0x80, (size - 127) >> 7])
        return head + data.encode()

    return b"\0" + text(name) + text(value)


def ended(connection):
    """The kind of the frame that ends a stream (RFC 9113 section 6)."""
    with connection.makefile("rb") as frames:
        while head := frames.read(9):
            size, kind, flags, stream = int.from_bytes(head[:3]), head[3], head[4], head[8]
            frames.read(size)
            if stream == 1 and (kind == RESET or (kind < RESET and flags & 1)):
                return kind
    return None


class Caller:
    """One connection a site for many requests, opened anew when an early refusal or a cut has closed it."""

    def __init__(self, world):
        self.world, self.connections = world, {}

    def send(self, host, what, **named):
        """The answer, `None` where it was cut. `named`: headers, such as `x_fault`."""
        method, path, headers, body = what
        for name, value in named.items():
            headers += f"{name.replace('_', '-')}: {value}\r\n"
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}{length}\r\n"
        if host not in self.connections:
            self.connections[host] = self.world.tunnel(host)
        try:
            answer = self.world.send(head.encode() + body, connection=self.connections[host])
        except (http.client.HTTPException, OSError):
            answer = None
        if answer is None or answer.headers.get("connection") == "close":
            self.connections.pop(host).close()
        return answer

    def close(self):
        for connection in self.connections.values():
            connection.close()


@pytest.fixture
def site(mutant):
    mutant.reset()
    yield mutant
    assert mutant.envoy.restarts == 0  # a fault is an error, never a panic


@pytest.fixture
def caller(site):
    with contextlib.closing(Caller(site)) as caller:
        yield caller


def strike(site, faults, ask):
    """What `ask(caller, number)` returns for each of these faults, whose places are the values. Many at a time."""

    def some(numbers):
        with contextlib.closing(Caller(site)) as caller:
            return [(number, ask(caller, number)) for number in numbers]

    with ThreadPoolExecutor(AT_ONCE) as threads:
        parts = threads.map(some, [[*faults][first::AT_ONCE] for first in range(AT_ONCE)])
        return dict(pair for part in parts for pair in part)


def good(answer):
    return answer is not None and answer.status == 200 and answer.headers.get("grpc-status", "0") == "0"


def permits(seen):
    return ADMIT if seen.one("host") == WEB else PERMIT


def test_there_are_faults_in_every_part(places):
    found = [place.room for place in places.values()]
    least = {"gate": 100, "report": 45, "check": 40, "rules": 35, "question": 20, "lease": 20, "web": 14}
    for room, count in least.items():
        assert found.count(room) >= count, room


@pytest.mark.parametrize("name", ANSWERS)
def test_no_fault_lets_through_what_is_not_permitted(site, places, name):
    site.arbiter.answer = lambda _: ANSWERS[name]
    token = site.issuer.token()

    def ask(caller, number):
        what, pages = requests(token, number), visits(token, number)
        caller.send(GOOGLE, what["read"], x_fault=number)
        caller.send(GOOGLE, what["call"], x_fault=number)
        caller.send(WEB, pages["session"], x_fault=number)
        caller.send(WEB, pages["nobody"], x_fault=number)

    strike(site, places, ask)
    assert site.upstream.seen == []
    assert site.arbiter.seen


def test_no_fault_lets_anybody_through_who_is_not_known(site, places):
    site.arbiter.answer = permits

    def ask(caller, number):
        caller.send(GOOGLE, ("GET", "/v1/y", "Authorization: Bearer garbage\r\n", b""), x_fault=number)
        caller.send(GOOGLE, ("GET", "/v1/y", "", b""), x_fault=number)
        caller.send(WEB, ("GET", "/v1/y%2f", SESSION, b""), x_fault=number)
        caller.send(WEB, visits("", number)["nobody"], x_fault=number)

    strike(site, places, ask)
    assert site.upstream.seen == []


@pytest.mark.parametrize("permit", [PERMIT, INSTEAD], ids=["as it came", "another body"])
def test_what_passes_a_fault_is_wholly_permitted(site, places, permit):
    site.arbiter.answer = lambda _: permit
    token, body = site.issuer.token(), permit.body or b"{}"
    names = ("create",) if permit is INSTEAD else ("read", "read", "predict", "raw", "create", "call")

    def ask(caller, number):
        what = requests(token, number)
        return [good(caller.send(GOOGLE, what[name], x_fault=number)) for name in names]

    passed = strike(site, places, ask)
    for seen in site.upstream.seen:
        assert seen.all("authorization") == ["Bearer upstream"]
        assert seen.all("x-goog-request-reason") == ["decision/d-1"]
        assert {key for key, _ in seen.headers if key.startswith("x-")} <= OURS
        assert seen.body == body or seen.target != "/v1/x"
    struck = {places[number].function for number, each in passed.items() if not all(each)}
    steps = {"begin", "read", "look", "leased", "ask", "weigh", "permitted", "conclude", "route"}
    assert struck >= (steps if permit is PERMIT else {"instead", "replace"})
    assert sum(map(all, passed.values())) > len(places) / 4  # in what these requests do not come by


def test_a_service_learns_one_identity_past_any_fault(site, places):
    site.arbiter.answer = lambda _: ADMIT
    token = site.issuer.token()

    def ask(caller, number):
        what = visits(token, number)
        return [good(caller.send(WEB, what[name], x_fault=number)) for name in ("bearer", "session", "session")]

    passed = strike(site, places, ask)
    for seen in site.upstream.seen:
        assert seen.all("x-remit-assertion") == ["a.b.c"]
        assert seen.all("authorization") == []
        assert seen.all("cookie") in ([], ["a=b; c=d"])
    struck = {places[number].function for number, each in passed.items() if not all(each)}
    assert struck >= {"introduce", "visited", "visit", "cookies", "copied"}


@pytest.mark.parametrize("permitted", [False, True], ids=["refused", "permitted"])
def test_trailers_take_no_fault_through(site, places, permitted):
    """Of the caller, which end its body, and of the upstream, which end an answer that the arbiter wants to know."""
    site.arbiter.answer = lambda _: TOLD if permitted else ANSWERS["refused"]
    identity, functions = (
        f"Bearer {site.issuer.token()}",
        {"ended", "whole", "body", "seen", "trailers", "clean", "tell"},
    )
    faults = {number: place for number, place in places.items() if place.function in functions}

    def ask(_, number):
        fields = [(":method", "POST"), (":scheme", "https"), (":path", "/a.B/C"), (":authority", GOOGLE)]
        fields += [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", identity)]
        head = b"".join(literal(*field) for field in [*fields, ("x-fault", str(number))])
        late = literal("authorization", "Bearer smuggled")
        with site.tunnel(GOOGLE, alpn="h2") as inner:
            inner.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 4, 1, head))
            inner.sendall(frame(0, 0, 1, b"\0\0\0\0\x03\x0a\x01x") + frame(1, 5, 1, late))
            return ended(inner)

    kinds = strike(site, faults, ask)
    for seen in site.upstream.seen:
        assert permitted
        assert seen.all("authorization") == ["Bearer upstream"]
    struck = {faults[number].function for number, kind in kinds.items() if kind == RESET}
    assert struck == ({"trailers", "clean"} if permitted else set())


def test_a_stream_that_cannot_begin_is_refused(site, caller, places):
    site.arbiter.answer = permits
    read = requests(site.issuer.token(), 0)["read"]
    for number in [number for number, place in places.items() if (place.room, place.function) == ("gate", "new")]:
        assert good(caller.send(GOOGLE, read, x_next_fault=number))
        site.upstream.seen.clear()
        assert not good(caller.send(GOOGLE, read))
        assert site.upstream.seen == []


@pytest.mark.parametrize("name", MARKS)
def test_only_a_permit_is_the_proof(site, caller, name):
    answer = caller.send(MARKED, ("GET", "/v1/x", "", b""), x_mark=name)
    permitted = MARKS[name][1]
    assert answer.status == (200 if permitted else 403)
    assert len(site.upstream.seen) == permitted


@pytest.fixture
def refusing(site):
    """The arbiter permits, and the upstream refuses with a stolen cookie."""
    lines = "connection: close\r\nset-cookie: a=b\r\nset-cookie: __Host-remit=evil\r\n"  # raw answers end there
    raw = f"HTTP/1.1 403 X\r\n{lines}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}".encode()
    site.upstream.answer = lambda _: Reply(200, raw=raw)
    told = Reply(200, x_remit_upstream="iam")
    site.arbiter.answer = lambda seen: told if seen.target.startswith("/answered/") else permits(seen)
    return site


def test_an_answer_survives_every_fault_of_the_report(refusing, places):
    """But for those in looking at what it must not hold: they cut it."""
    request = requests(refusing.issuer.token(), 0)["read"]
    faults = {number: place for number, place in places.items() if place.room == "report"}
    answers = strike(refusing, faults, lambda caller, number: caller.send(GOOGLE, request, x_fault=number))
    assert {places[number].function for number, answer in answers.items() if answer is None} == {"headers", "clean"}
    named = 0
    for answer in filter(None, answers.values()):
        assert (answer.status, answer.body) == (403, b"{}")
        assert answer.headers.get("x-remit-upstream", "iam") == "iam"
        assert not answer.reason
        named += "x-remit-upstream" in answer.headers
    assert 0 < named < len(faults) / 2


@pytest.mark.parametrize("host", [GOOGLE, WEB])
def test_no_fault_lets_a_stolen_cookie_out(refusing, places, host):
    token = refusing.issuer.token()
    request = requests(token, 0)["read"] if host == GOOGLE else visits(token, 0)["bearer"]
    answers = strike(refusing, places, lambda caller, number: caller.send(host, request, x_fault=number))
    cookies = {answer.headers.get("set-cookie") for answer in filter(None, answers.values())}
    assert cookies == ({None} if host == GOOGLE else {None, "a=b"})
