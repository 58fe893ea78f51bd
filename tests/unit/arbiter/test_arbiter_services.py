"""Who asks at a service: a session or a token, never both, and never a session that another site makes use of.

The real `/check` over ASGI, with the real story behind it and fakes for its rooms.
"""

import asyncio
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from tests.unit.access.nothing import Endless, NoRuns

from remit.access.decide import Decide, Rooms
from remit.arbiter.application import API_PATHS, API_PREFIXES
from remit.arbiter.check import Check
from remit.identity.browser.return_address import return_address
from remit.model.credential import Credential, Purpose
from remit.model.decision import Verdict
from remit.model.errors import Refused, SignInAgain
from remit.model.estate import Service, ServiceKind
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.secret import AccessToken

NOW = 1_800_000_000
ORIGIN = "https://remit.contoso.example"
BOARD = Service("board", "p", ServiceKind.WEB, f"{ORIGIN}/apps/board/", "/apps/board/", websockets=True)
LAB = Service("lab", "p", ServiceKind.WEB, "lab", host="lab.contoso.example")
VERTEX = "us-central1-aiplatform.googleapis.com"
TARGET = "/apps/board/runs?a=1&b=%2F"
DANA = Identity(
    principal=Principal("https://login.microsoftonline.com/tid/v2.0", "tid", "dana", Kind.PERSON),
    display="Dana",
    groups=frozenset(),
    groups_at=NOW,
    roles=frozenset(),
    scopes=frozenset(),
    client="cli",
    authentication=Authentication(),
    guest=False,
    issued_at=NOW,
    expires_at=NOW + 3600,
    token_id="uti",
)
COOKIE = ("cookie", "theme=dark; __Host-remit=secret; other=1")
BROWSER = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
OURS = ("origin", ORIGIN)


@dataclass
class House:
    """Every room, told how to answer."""

    session: Exception | None = None
    body: bytes = b""
    starts: bool = False
    credential: Credential | None = None
    verdict: Verdict = field(default_factory=lambda: Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,)))
    epoch: int = 7
    wires: list = field(default_factory=list)
    entries: list = field(default_factory=list)

    async def authenticate(self, secret, now):
        assert secret.reveal() == "secret"
        if self.session:
            raise self.session
        return DANA, None

    def check(self, identity, job, now):
        return None

    def observe(self, identity, circumstances):
        return circumstances

    def classify(self, wire):
        self.wires.append(wire)
        resource = Resource("Service", "//remit/projects/p/services/board", "p")
        operation = Operation(Action("web.get", Group.USE), (resource,))
        return Request((operation,), leasable=True, starts=self.starts, stampable=bool(self.body))

    def stamp(self, wire, labels):
        return self.body

    def in_force(self, principal, job, now):
        return ()

    async def keep(self, identity):
        return None

    def decide(self, identity, request, circumstances):
        return self.verdict

    async def record(self, entry):
        self.entries.append(dict(entry))

    def purpose(self, identity, request):
        return Purpose("", (), audience="a")

    async def obtain(self, identity, token, purpose):
        if self.credential is not None:
            return self.credential
        google = self.wires[-1].host == VERTEX
        account = "sa@p" if google else ""
        return Credential(AccessToken("ya29.good" if google else "e30.e30.c2ln"), NOW + 60, account, ())


class Tokens:
    """Any token is Dana's."""

    async def authenticate(self, token, now):
        return DANA


def ask(house, *headers, method="GET", host="board.service", path=f"/check{TARGET}", content=b""):
    rooms = Rooms(
        authenticator=Tokens(),
        sessions=house,
        revocations=house,
        observer=house,
        classifier=house,
        judge=house,
        recorder=house,
        obtainer=house,
        works=house,
        grants=house,
        memberships=house,
        runs=NoRuns(),
        lifetimes=Endless(),
        clock=lambda: NOW * 1_000_000,
        labels=True,
    )

    async def go():
        check = Check(Decide(rooms), origin=ORIGIN, services=(BOARD, LAB))
        methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
        routes = [
            Route("/check/{path:path}", check.__call__, methods=methods),
            Route("/forwarded-check", check.forwarded, methods=["GET"]),
        ]
        transport = httpx.ASGITransport(Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            client.headers.clear()
            return await client.request(method, path, headers=[("host", host), *headers], content=content)

    return asyncio.run(go())


def reason(answer):
    assert "x-remit-upstream" not in answer.headers
    assert "x-remit-assertion" not in answer.headers
    assert "authorization" not in answer.headers
    return answer.headers["x-remit-reason"]


@pytest.mark.promise("V24")
@pytest.mark.parametrize("proof", [COOKIE, ("authorization", "Bearer token")])
@pytest.mark.parametrize("host", ["board.service", "BOARD.service:443", "lab.service", "lab.contoso.example"])
def test_a_service_gets_remits_word_and_no_clouds_token(proof, host):
    house = House()
    answer = ask(house, proof, host=host)
    assert answer.status_code == 200
    assert answer.headers["x-remit-assertion"] == "e30.e30.c2ln"
    assert "authorization" not in answer.headers
    assert (answer.headers["x-remit-lease-ms"], answer.headers["x-remit-epoch"]) == ("500", "7")
    assert not {"x-remit-tell", "x-remit-body"} & set(answer.headers)
    taken = "authorization,cookie" if proof is COOKIE else "authorization"
    assert answer.headers["x-envoy-auth-headers-to-remove"] == taken
    [wire] = house.wires
    assert wire.host in {"board.service", "lab.service"}
    assert wire.target == TARGET
    assert not {"cookie", "authorization", "host"} & {name for name, _ in wire.headers}


def test_google_gets_its_token_and_never_our_word():
    answer = ask(House(), ("authorization", "Bearer token"), host=VERTEX)
    assert answer.headers["authorization"] == "Bearer ya29.good"
    assert "x-remit-assertion" not in answer.headers


@pytest.mark.parametrize(
    ("host", "account"), [("board.service", "sa@p"), ("lab.contoso.example", "sa@p"), (VERTEX, "")]
)
def test_a_credential_for_one_party_never_goes_to_another(host, account):
    house = House(credential=Credential(AccessToken("crossed"), NOW + 60, account, ()))
    answer = ask(house, ("authorization", "Bearer token"), host=host)
    assert answer.status_code == 503
    assert "crossed" not in str(answer.headers) + answer.text
    reason(answer)


# sessions and other sites


@pytest.mark.parametrize(
    ("method", "more", "passes"),
    [
        ("GET", [], True),
        ("HEAD", [], True),
        ("GET", [OURS], True),
        ("GET", [("origin", "https://evil.example")], False),
        ("POST", [OURS], True),
        ("POST", [], False),
        ("PUT", [], False),
        ("DELETE", [], False),
        ("OPTIONS", [], False),
        ("POST", [("origin", "https://evil.example")], False),
        ("POST", [("origin", "null")], False),
        ("POST", [("origin", "")], False),
        ("POST", [("origin", ORIGIN.upper())], False),
        ("POST", [("origin", f"{ORIGIN}.evil.example")], False),
        ("POST", [("origin", f"{ORIGIN}:8443")], False),
        ("POST", [("origin", ORIGIN.replace("https", "http"))], False),
        ("POST", [OURS, OURS], False),
        ("POST", [OURS, ("origin", "https://evil.example")], False),
        ("POST", [("referer", f"{ORIGIN}/account"), ("sec-fetch-site", "same-origin")], False),
        ("GET", [("x-remit-upgrade", "websocket"), OURS], True),
        ("GET", [("x-remit-upgrade", "websocket")], False),
        ("GET", [("x-remit-upgrade", "websocket"), ("origin", "https://evil.example")], False),
    ],
)
def test_a_session_changes_things_from_our_own_pages_only(method, more, passes):
    house = House()
    answer = ask(house, COOKIE, *more, method=method)
    assert (answer.status_code == 200) == passes
    if not passes:
        assert answer.status_code == 400
        assert reason(answer) == "request_malformed"
        assert house.wires == []
        [entry] = house.entries
        assert (entry["outcome"], entry["detail"]) == ("deny", "the request comes from another site")
        assert entry["decision"] == answer.headers["x-remit-decision"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_token_needs_no_origin(method):
    for more in ([], [("origin", "https://app.example")]):
        assert ask(House(), ("authorization", "Bearer token"), *more, method=method).status_code == 200


@pytest.mark.parametrize("value", ["Bearer token", "Basic eDp5", "token x", ""])
def test_a_session_and_another_identity_are_two(value):
    house = House()
    answer = ask(house, COOKIE, ("authorization", value))
    assert (answer.status_code, reason(answer)) == (401, "token_malformed")
    assert "two identities" in answer.json()["error"]["message"]
    assert house.entries[0]["outcome"] == "deny"


def test_two_sessions_are_none():
    house = House()
    for cookie in ("__Host-remit=secret; __Host-remit=other", "__Host-remit=secret; __Host-remit=secret"):
        answer = ask(house, ("cookie", cookie))
        assert (answer.status_code, reason(answer)) == (400, "request_ambiguous")
    assert ask(house, COOKIE, COOKIE).status_code == 400
    assert house.wires == []
    assert len(house.entries) == 3


def test_a_session_at_a_host_of_googles_is_taken_from_proxies_that_ask_with_it():
    assert ask(House(), COOKIE, host=VERTEX, method="POST").headers["authorization"] == "Bearer ya29.good"
    assert ask(House(), COOKIE, ("authorization", "Bearer token"), host=VERTEX).status_code == 200
    answer = ask(House(), COOKIE, ("origin", "https://evil.example"), host=VERTEX, method="POST")
    assert reason(answer) == "request_malformed"


# browsers without a session


def signs_in(answer):
    """Where a browser would come back to after signing in."""
    parts = urlsplit(answer.headers["location"])
    assert (parts.scheme, parts.netloc, parts.path) == ("", "", "/sign-in")
    [to] = parse_qs(parts.query, strict_parsing=True)["to"]
    return return_address(to)


@pytest.mark.parametrize(
    ("cookie", "session", "said"),
    [
        ([], None, "token_missing"),
        ([("cookie", "theme=dark")], None, "token_missing"),
        ([COOKIE], Refused(Reason.SESSION_ENDED), "session_ended"),
        ([COOKIE], SignInAgain(NOW), "sign_in_again"),
    ],
)
def test_a_browser_is_sent_to_sign_in_and_back(cookie, session, said):
    answer = ask(House(session=session), BROWSER, *cookie)
    assert (answer.status_code, reason(answer)) == (401, said)
    assert signs_in(answer) == TARGET


@pytest.mark.parametrize(
    "target",
    [
        "/apps/board//evil.example",
        "/apps/board/%0dset-cookie:x=1",
        "/apps/board/%C3%A9%20?%0d%0a",
        "/apps/board/?to=https://evil.example/&x=%26",
        "/apps/board/" + "x" * 2000,
        "/apps/board/a;b=c:@!$'()*,~",
    ],
)
def test_the_way_back_is_a_path_of_ours_whatever_was_asked(target):
    answer = ask(House(), BROWSER, path=f"/check{target}")
    location = answer.headers["location"]
    assert location.isascii()
    assert not set(location) & set(" \r\n\t#;")
    assert signs_in(answer) in {target, "/account", "/apps/board/"}


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ([], {}),
        ([("accept", "application/json")], {}),
        ([("accept", "*/*")], {}),
        ([BROWSER], {"method": "HEAD"}),
        ([BROWSER], {"method": "POST"}),
        ([BROWSER, ("x-remit-upgrade", "websocket")], {}),
        ([BROWSER], {"host": "lab.service", "path": "/check/"}),
        ([BROWSER], {"host": VERTEX}),
        ([BROWSER], {"path": "/check/apps/boardevil/x"}),
        ([BROWSER], {"path": "/check/x"}),
        ([BROWSER, ("authorization", "Basic x")], {"method": "POST"}),
    ],
)
def test_nobody_else_is_sent_anywhere(headers, more):
    answer = ask(House(), *headers, **more)
    assert "location" not in answer.headers
    assert reason(answer) == "token_missing"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("why", [Reason.NO_POLICY_PERMITS, Reason.STEP_UP_REQUIRED, Reason.POLICY_FORBIDS])
def test_who_may_not_is_not_sent_to_sign_in(why):
    answer = ask(House(verdict=Verdict(why.outcome, (why,))), BROWSER, COOKIE)
    assert "location" not in answer.headers
    assert reason(answer) == str(why)


# what goes upstream instead, and what is told of it


def test_a_body_is_replaced_and_the_answer_is_told():
    house = House(body=b"\0\0\0\0\2ab", starts=True)
    headers = [("authorization", "Bearer token"), ("x-remit-body", "whole")]
    answer = ask(house, *headers, host=VERTEX, method="POST", content=b"{}")
    assert (answer.headers["x-remit-body"], answer.headers["x-remit-tell"]) == ("replace", "1")
    assert answer.content == b"\0\0\0\0\2ab"
    assert answer.headers["x-remit-lease-ms"] == "0"


def test_a_refusal_has_neither():
    house = House(body=b"secret body", starts=True, verdict=Verdict(Outcome.DENY, (Reason.POLICY_FORBIDS,)))
    answer = ask(house, ("authorization", "Bearer token"), host=VERTEX, method="POST")
    assert not {"x-remit-body", "x-remit-tell"} & set(answer.headers)
    assert "secret body" not in answer.text


# proxies that say in headers what they were asked


FORWARDED = {
    "x-forwarded-method": "POST",
    "x-forwarded-host": "lab.contoso.example",
    "x-forwarded-uri": "/a%2Fb?c=1",
    "x-forwarded-for": "6.6.6.6, 10.1.2.3",
    "x-forwarded-proto": "https",
}


def forward(house, *more, **changes):
    given = {**FORWARDED, **changes}.items()
    return ask(house, *given, ("authorization", "Bearer token"), *more, host="127.0.0.1", path="/forwarded-check")


def test_nginx_and_traefik_ask_in_headers():
    house = House()
    answer = forward(house, ("accept", "*/*"))
    assert answer.headers["x-remit-assertion"] == "e30.e30.c2ln"
    [wire] = house.wires
    assert (wire.method, wire.host, wire.target, wire.peer) == ("POST", "lab.service", "/a%2Fb?c=1", "10.1.2.3")
    assert ("accept", "*/*") in wire.headers
    assert not [name for name, _ in wire.headers if name.startswith("x-")]


def test_there_a_caller_speaks_for_no_gateway():
    house = House()
    forward(
        house,
        ("x-remit-body", "whole"),
        ("x-remit-peer", "10.0.0.1"),
        ("x-remit-job", "j-0123456789abcdefghijklmnop"),
        ("x-remit-upgrade", "websocket"),
    )
    [wire] = house.wires
    assert (wire.body_sent, wire.peer, wire.job) == (False, "10.1.2.3", "")
    assert "upgrade" not in {name for name, _ in wire.headers}


@pytest.mark.parametrize("name", ["x-forwarded-method", "x-forwarded-host", "x-forwarded-uri"])
def test_what_is_said_twice_names_nothing(name):
    house = House()
    forward(house, (name, FORWARDED[name]))
    [wire] = house.wires
    assert "" in {wire.method, wire.host, wire.target}


def test_the_door_passes_none_of_it_on():
    for path in ("/check", "/check/x", "/forwarded-check", "/answered", "/answered/d-1"):
        assert path not in API_PATHS
        assert not path.startswith(API_PREFIXES)
