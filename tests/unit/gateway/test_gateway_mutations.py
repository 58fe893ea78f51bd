"""An error on any line of the Lua never lets a request through that the arbiter did not permit (fault F20, NT1).

Each mutant is a whole program with `error()` put before one statement. All of them are routes of one Envoy, chosen by a
header, those of the gate once for Google and once for a web service; each is asked for what would be permitted and for
what would be refused. An error in what looks at answers leaves them as they came, and a stolen cookie out.
"""

import copy
import re
import time

import pytest

from remit.gateway import answers
from remit.gateway import envoy as envoy_module
from remit.gateway.bootstrap import bootstrap
from remit.gateway.filters import LUA
from remit.gateway.headers import PASSED, anything_but
from remit.gateway.program import source

STATEMENT = re.compile(
    r"^\s+(local (?!function)|return\b(?! function)|if |for |while |[a-z_.:]+(\(| = |, )|metadata|headers|handle)"
)
CONTINUED = re.compile(r"^\s+(or|and|\.\.)\b")


def places(text):
    """The lines before which a statement can stand: inside functions, not inside a table or an expression."""
    depth, inside, found = 0, False, []
    for number, line in enumerate(text.split("\n")):
        code = line.split("--")[0]
        if code[:1].strip():
            inside = code.startswith(("function", "local function"))
        if (
            depth == 0
            and inside
            and STATEMENT.match(code)
            and not CONTINUED.match(code)
            and not re.match(r"^\s+\[?\"?[\w:-]+\"?\]? = .*,$", code)
        ):
            found.append(number)
        depth += sum(code.count(sign) for sign in "{(") - sum(code.count(sign) for sign in "})")
    return found


def mutants(text):
    lines = text.split("\n")
    return {
        f"line-{number}": "\n".join([*lines[:number], 'if true then error("mutant") end', *lines[number:]])
        for number in places(text)
    }


def program(filter_):
    """The Lua behind a matcher."""
    return filter_["typed_config"]["extension_config"]["typed_config"]["default_source_code"]["inline_string"]


GATE = mutants(source())
SET = 'handle:streamInfo():dynamicMetadata():set("remit", %s)'
MARKS = {  # what a program that fails outright may have set before, and whether that is a permit
    "nothing": ((), False),
    "of no decision": (('"decision", "x-1"',), False),
    "no text": (('"decision", true',), False),
    "another name": (('"permit", "d-1"',), False),
    "a refusal": (('"reason", "no_policy_permits"', '"decision", "d-1"'), False),
    "a refusal the other way round": (('"decision", "d-1"', '"reason", "no_policy_permits"'), False),
    "an empty reason": (('"reason", ""', '"decision", "d-1"'), False),
    "a permit": (('"decision", "d-1"',), True),
}
REPORT, COOKIES = mutants(program(answers.reporting())), mutants(program(answers.cookies()))


def with_mutants(settings):
    document = copy.deepcopy(bootstrap(settings))
    for listener in document["static_resources"]["listeners"]:
        if listener["name"].startswith("door:"):
            manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
            manager["http_filters"] = [*unmatched(manager["http_filters"])]
            mutate(manager["route_config"]["virtual_hosts"][0])
    return document


def unmatched(chain):
    """The same filters, with cookies let in, and the Lua that looks at answers without its matcher."""
    for filter_ in chain:
        if filter_["typed_config"]["@type"].endswith("HeaderMutation"):
            pattern = {"safe_regex": {"regex": anything_but((*PASSED, "cookie", "origin"))}}
            filter_["typed_config"]["mutations"]["request_mutations"][0] = {"remove_on_match": {"key_matcher": pattern}}
        if filter_["name"] == answers.REPORT:
            yield bare(answers.reporting())
            yield bare(answers.cookies())
        else:
            yield filter_


def bare(filter_):
    return {"name": filter_["name"], "typed_config": filter_["typed_config"]["extension_config"]["typed_config"]}


def mutate(host):
    host["response_headers_to_remove"].remove("set-cookie")
    lua = host["typed_per_filter_config"][LUA]
    web = lua | {"filter_context": lua["filter_context"] | {"mode": "web", "assertion": True}}
    for name, code in GATE.items():
        add(host, f"google-{name}", LUA, lua | inline(code))
        add(host, f"web-{name}", LUA, web | inline(code))
    empty = {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute"}
    for name, (marks, _) in MARKS.items():
        lines = "\n".join(SET % mark for mark in marks)
        code = f'function envoy_on_request(handle)\n{lines}\nerror("mutant")\nend'
        add(host, f"marks-{name}".replace(" ", "-"), LUA, lua | inline(code))
    for name, code in REPORT.items():
        add(host, f"report-{name}", answers.REPORT, empty | inline(code))
    for name, code in COOKIES.items():
        add(host, f"cookies-{name}", answers.COOKIES, empty | inline(code))


def inline(code):
    return {"source_code": {"inline_string": code}}


def add(host, name, filter_, per_route):
    route = copy.deepcopy(host["routes"][-1])
    route["match"]["headers"] = [{"name": "x-mutant", "string_match": {"exact": name}}]
    route["typed_per_filter_config"] = {filter_: per_route}
    host["routes"].insert(0, route)


@pytest.fixture(scope="module")
def mutated(another_world):
    patch = pytest.MonkeyPatch()
    patch.setattr(envoy_module, "bootstrap", with_mutants)
    yield another_world(hosts=("us-central1-aiplatform.googleapis.com",))
    patch.undo()


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
ANSWERS = {
    "refused": Reply(403, x_remit_decision="d-1", x_remit_reason="no_policy_permits", location="/sign-in"),
    "broken": Reply(200),
    "doubled": Reply(200, x_remit_decision="d-1\r\nx-remit-decision: d-2"),
    "unavailable": Reply(503),
    "unfinished": Reply(503, x_remit_again="1"),
}
JSON = "Content-Type: application/json\r\n"
SESSION = "Cookie: a=b; __Host-remit=s; c=d\r\nAccept: text/html\r\n"
ENDPOINT = "/v1/projects/p/locations/l/endpoints/1"


def requests(token):
    """What is asked of each mutant, by name: method, path, headers, body."""
    inside = f"Authorization: Bearer {token}\r\n"
    return {
        "read": ("GET", "/v1/x", inside, b""),
        "predict": ("POST", ENDPOINT + ":predict", inside + JSON, b'{"instances":[]}'),
        "raw": ("POST", "/v1/x:rawPredict", inside, b"x"),
        "create": ("POST", "/v1/x", inside + JSON, b"{}"),
        "call": (
            "POST",
            "/a.B/C",
            inside + "Content-Type: application/grpc\r\nx-goog-request-params: a=x\r\n",
            b"\0\0\0\0\x03\x0a\x01x",
        ),
    }


def visits(token):
    """What is asked of each mutant as a web service."""
    return {
        "bearer": ("GET", "/a%20b?c=%2F", f"Authorization: Bearer {token}\r\n", b""),
        "session": ("POST", "/a", SESSION, b"x"),
        "nobody": ("GET", "/a", "Accept: text/html\r\n", b""),
    }


class Caller:
    """One connection for many requests, opened anew when an early refusal has closed it."""

    def __init__(self, world):
        self.world, self.connection = world, None

    def send(self, name, what):
        method, path, headers, body = what
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: us-central1-aiplatform.googleapis.com\r\nx-mutant: {name}\r\n{headers}"
        )
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.connection = self.connection or self.world.tunnel()
        answer = self.world.send(f"{head}{length}\r\n".encode() + body, connection=self.connection)
        if answer.headers.get("connection") == "close":
            self.close()
        return answer

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


@pytest.fixture
def caller(mutated):
    mutated.reset()
    caller = Caller(mutated)
    yield caller
    caller.close()


def test_there_are_mutants_of_every_part():
    assert len(GATE) > 180
    assert len(REPORT) > 12
    assert len(COOKIES) > 8


def test_no_mutant_lets_through_what_is_not_permitted(mutated, caller):
    what, pages = requests(mutated.issuer.token()), visits(mutated.issuer.token())
    for answer in ANSWERS.values():
        mutated.arbiter.answer = lambda _, answer=answer: answer
        for name in GATE:
            caller.send(f"google-{name}", what["read"])
            caller.send(f"google-{name}", what["call"])
            caller.send(f"web-{name}", pages["session"])
            caller.send(f"web-{name}", pages["nobody"])
    mutated.arbiter.answer = lambda _: PERMIT
    for name in GATE:
        caller.send(f"google-{name}", ("GET", "/v1/y", "Authorization: Bearer garbage\r\n", b""))
        caller.send(f"google-{name}", ("GET", "/v1/y", "", b""))
        caller.send(f"web-{name}", ("GET", "/v1/y%2f", SESSION, b""))
        caller.send(f"web-{name}", pages["nobody"])
    assert mutated.upstream.seen == []
    assert mutated.envoy.restarts == 0


def test_what_a_mutant_lets_through_is_wholly_permitted(mutated, caller):
    what = requests(mutated.issuer.token())
    refused = set()
    for permit in (PERMIT, INSTEAD):
        mutated.arbiter.answer = lambda _, permit=permit: permit
        for name in GATE:
            for request in (*what.values(), what["read"]) if permit is PERMIT else (what["create"], what["read"]):
                answer = caller.send(f"google-{name}", request)
                if answer.status != 200 or "grpc-status" in answer.headers:
                    refused.add(name)
        assert {seen.body for seen in mutated.upstream.seen if seen.target == "/v1/x" and seen.method == "POST"} <= (
            {b"{}"} if permit is PERMIT else {b"{1}"}
        )
        for seen in mutated.upstream.seen:
            assert seen.all("authorization") == ["Bearer upstream"]
            assert seen.all("x-goog-request-reason") == ["decision/d-1"]
            assert not [key for key, _ in seen.headers if key.startswith("x-remit-")]
        assert len(mutated.upstream.seen) > 40  # by mutants of lines that these requests do not reach
        mutated.upstream.seen.clear()
        time.sleep(0.6)  # the leases
    assert len(refused) > len(GATE) / 3  # and the others refused: the mutations do something
    assert mutated.envoy.restarts == 0


def test_a_service_learns_one_identity_from_any_mutant(mutated, caller):
    mutated.arbiter.answer = lambda _: ADMIT
    what = visits(mutated.issuer.token())
    for name in GATE:
        for request in (what["bearer"], what["session"], what["session"]):
            caller.send(f"web-{name}", request)
    for seen in mutated.upstream.seen:
        assert seen.all("x-remit-assertion") == ["a.b.c"]
        assert seen.all("authorization") == []
        assert seen.all("cookie") in ([], ["a=b; c=d"])
    assert len(mutated.upstream.seen) > 100


@pytest.mark.parametrize("name", MARKS)
def test_only_a_decision_without_a_reason_is_the_proof(mutated, caller, name):
    answer = caller.send(f"marks-{name}".replace(" ", "-"), requests(mutated.issuer.token())["read"])
    permitted = MARKS[name][1]
    assert answer.status == (200 if permitted else 403)
    assert len(mutated.upstream.seen) == permitted


@pytest.fixture
def refusing(mutated, caller):
    """The arbiter permits, and the upstream refuses with a stolen cookie."""
    usual = mutated.upstream.answer
    lines = "connection: close\r\nset-cookie: a=b\r\nset-cookie: __Host-remit=evil\r\n"  # raw answers end there
    raw = f"HTTP/1.1 403 X\r\n{lines}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}".encode()
    mutated.upstream.answer = lambda _: Reply(200, raw=raw)
    told = Reply(200, x_remit_upstream="iam")
    mutated.arbiter.answer = lambda seen: told if seen.target.startswith("/answered/") else PERMIT
    yield mutated
    mutated.upstream.answer = usual


def test_an_answer_survives_every_mutant_of_the_report(refusing, caller):
    request, named = requests(refusing.issuer.token())["read"], 0
    for name in REPORT:
        answer = caller.send(f"report-{name}", request)
        assert (answer.status, answer.body) == (403, b"{}")
        assert answer.headers.get("x-remit-upstream", "iam") == "iam"
        assert not answer.reason
        named += "x-remit-upstream" in answer.headers
    assert named < len(REPORT) / 2


def test_no_mutant_lets_a_stolen_cookie_out(refusing, caller):
    """Of the lines that work under `pcall`; before it there is nothing but the call."""
    request = requests(refusing.issuer.token())["read"]
    for name in [*COOKIES][:-3]:
        answer = caller.send(f"cookies-{name}", request)
        assert (answer.status, answer.body) == (403, b"{}")
        assert "__Host-remit" not in answer.headers.get("set-cookie", "")
