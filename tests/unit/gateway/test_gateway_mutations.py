"""An error on any line of the Lua never lets a request through that the arbiter did not permit (fault F20, NT1).

Each mutant is the whole program with `error()` put before one statement. All of them are routes of one Envoy, chosen
by a header; each is asked for what would be permitted and for what would be refused.
"""

import copy
import re

import pytest

from remit.gateway import envoy as envoy_module
from remit.gateway.bootstrap import bootstrap
from remit.gateway.program import source

STATEMENT = re.compile(
    r"^\s+(local (?!function)|return\b(?! function)|if |for |while |[a-z_.:]+(\(| = |, )|metadata|headers|handle)"
)
CONTINUED = re.compile(r"^\s+(or|and|\.\.)\b")


def places():
    """The lines before which a statement can stand: inside functions, not inside a table or an expression."""
    lines = source().split("\n")
    depth, inside, found = 0, False, []
    for number, line in enumerate(lines):
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


def mutants():
    lines = source().split("\n")
    return {
        f"line-{number}": "\n".join([*lines[:number], 'if true then error("mutant") end', *lines[number:]])
        for number in places()
    }


def with_mutants(settings):
    document = copy.deepcopy(bootstrap(settings))
    for listener in document["static_resources"]["listeners"]:
        if not listener["name"].startswith("door:"):
            continue
        host = listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]
        [lua] = host["typed_per_filter_config"].values()
        for name, code in mutants().items():
            route = copy.deepcopy(host["routes"][-1])
            route["match"]["headers"] = [{"name": "x-mutant", "string_match": {"exact": name}}]
            mutated = lua | {"source_code": {"inline_string": code}}
            route["typed_per_filter_config"] = {"envoy.filters.http.lua": mutated}
            host["routes"].insert(0, route)
    return document


@pytest.fixture(scope="module")
def mutated(another_world):
    patch = pytest.MonkeyPatch()
    patch.setattr(envoy_module, "bootstrap", with_mutants)
    yield another_world(hosts=("us-central1-aiplatform.googleapis.com",))
    patch.undo()


class Reply:
    delay, raw, hold, body = 0, None, None, b""

    def __init__(self, status, **headers):
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


PERMIT = Reply(200, x_remit_decision="d-1", authorization="Bearer upstream", x_remit_lease_ms="500", x_remit_epoch="0")
ANSWERS = {
    "refused": Reply(403, x_remit_decision="d-1", x_remit_reason="no_policy_permits"),
    "broken": Reply(200),
    "unavailable": Reply(503),
}
JSON = "Content-Type: application/json\r\n"


def requests(token):
    """What is asked of each mutant, by name: method, path, headers, body."""
    inside = f"Authorization: Bearer {token}\r\n"
    return {
        "read": ("GET", "/v1/x", inside, b""),
        "predict": ("POST", "/v1/x:predict", inside + JSON, b'{"instances":[]}'),
        "raw": ("POST", "/v1/x:rawPredict", inside, b"x"),
        "create": ("POST", "/v1/x", inside + JSON, b"{}"),
        "call": (
            "POST",
            "/a.B/C",
            inside + "Content-Type: application/grpc\r\nx-goog-request-params: a=x\r\n",
            b"\0\0\0\0\x03\x0a\x01x",
        ),
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
    assert len(places()) > 120


def test_no_mutant_lets_through_what_is_not_permitted(mutated, caller):
    what = requests(mutated.issuer.token())
    for answer in ANSWERS.values():
        mutated.arbiter.answer = lambda _, answer=answer: answer
        for name in mutants():
            caller.send(name, what["read"])
            caller.send(name, what["call"])
    mutated.arbiter.answer = lambda _: PERMIT
    for name in mutants():
        caller.send(name, ("GET", "/v1/y", "Authorization: Bearer garbage\r\n", b""))
        caller.send(name, ("GET", "/v1/y", "", b""))
    assert mutated.upstream.seen == []
    assert mutated.envoy.restarts == 0


def test_what_a_mutant_lets_through_is_wholly_permitted(mutated, caller):
    mutated.arbiter.answer = lambda _: PERMIT
    what = requests(mutated.issuer.token())
    refused = set()
    for name in mutants():
        for request in (*what.values(), what["read"]):
            answer = caller.send(name, request)
            if answer.status != 200 or "grpc-status" in answer.headers:
                refused.add(name)
    for seen in mutated.upstream.seen:
        assert seen.all("authorization") == ["Bearer upstream"]
        assert seen.all("x-goog-request-reason") == ["decision/d-1"]
        assert not [key for key, _ in seen.headers if key.startswith("x-remit-")]
    assert len(mutated.upstream.seen) > 100  # by mutants of lines that these requests do not reach
    assert len(refused) > len(mutants()) / 2  # and the others refused: the mutations do something
    assert mutated.envoy.restarts == 0
