"""The HTTP face: what becomes of a question, what a refusal looks like, and who may see which decision."""

import asyncio
import base64
import json
import time
from dataclasses import replace
from urllib.parse import unquote

import httpx
import pytest

from remit.access.exchange import Audience, Target
from remit.arbiter import refusal
from remit.arbiter.account import Account
from remit.arbiter.answered import Answered
from remit.arbiter.application import Endpoints, application, serve
from remit.arbiter.check import Check
from remit.arbiter.database import Database
from remit.arbiter.events import Events
from remit.arbiter.explain import Why
from remit.arbiter.grants import Grants
from remit.arbiter.health import Health
from remit.arbiter.jobs import Jobs
from remit.arbiter.person import Person
from remit.arbiter.revoke import Revocations
from remit.arbiter.sign_in import SignInPages
from remit.arbiter.token import Token
from remit.arbiter.who import WhoMay
from remit.model.credential import Credential
from remit.model.decision import Answer, Circumstances, Decision, Verdict
from remit.model.errors import Refused
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.names import decision_id
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.secret import AccessToken

NOW = 1_800_000_000
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
DANA = Identity(
    principal=Principal("https://login.microsoftonline.com/tid/v2.0", "tid", "dana", Kind.PERSON),
    display="Dana Örn",
    groups=frozenset({"g"}),
    groups_at=NOW,
    roles=frozenset({"MLEngineer"}),
    scopes=frozenset(),
    client="cli",
    authentication=Authentication(frozenset({"pwd"}), frozenset(), frozenset({"cp1"})),
    guest=False,
    issued_at=NOW,
    expires_at=NOW + 3600,
    token_id="uti",
)
PERMIT = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,))
CREDENTIAL = Credential(AccessToken("ya29.good"), NOW + 900, "sa@p", ("s1", "s2"))
REFUSALS = [reason for reason in Reason if reason is not Reason.POLICY_PERMITS]


def decision(verdict, identity=DANA):
    return Decision(
        decision_id(NOW * 1_000_000), NOW * 1_000_000, verdict, Circumstances(now=NOW), identity, wire_path="/v1/x"
    )


def denied(reason, **more):
    return decision(Verdict(reason.outcome, (reason,), **more))


class House:
    """What stands behind the endpoints, told how to answer; keeps what it was asked."""

    def __init__(self):
        self.answer = Answer(decision(PERMIT), CREDENTIAL, 500)
        self.asked = []
        self.exchanged = []
        self.decisions = {}
        self.wrong = {"ledger": "", "identities": ""}
        self.noted = ""

    async def decide(self, wire, refused):
        self.asked.append(wire)
        return Answer(denied(refused.reason)) if refused else self.answer

    async def learn(self, decision, host, answer):
        return None

    async def exchange(self, token, audience, peer, job):
        self.exchanged.append((token.reveal(), audience, peer, job))
        return self.answer

    async def authenticate(self, token, now):
        assert now == NOW
        if token.reveal() != "dana":
            raise Refused(Reason.TOKEN_EXPIRED)
        return DANA

    async def receive(self, token, now):
        return None

    def probe(self, name):
        async def said():
            return self.wrong[name]

        return said

    def app(self):
        def clock():
            return NOW * 1_000_000

        return application(
            Endpoints(
                check=Check(self.decide),
                answered=Answered(self.learn),
                token=Token(self.exchange, clock, "tid"),
                person=Person(self.authenticate, self.decisions.get, clock),
                health=Health({name: self.probe(name) for name in self.wrong}, {"people": lambda: self.noted}),
                configuration={"tenant": "tid"},
                revocations=Revocations(self),
                questions=WhoMay(self),
                why=Why(self),
                grants=Grants(self),
                jobs=Jobs(self),
                database=Database(self, self, self.decisions.get, lambda *_: False),
                events=Events(self.receive, clock),
                sign_in=SignInPages(self, clock),
                account=Account(self, "https://host.example", clock),
                documents={"/saml/adfs": lambda: "<m/>", "/.well-known/jwks.json": lambda: {"keys": []}},
            )
        )


@pytest.fixture
def house():
    return House()


class Client:
    """Asks the application, each time over a transport of its own."""

    def __init__(self, app):
        self._app = app

    def request(self, method, path, **arguments):
        async def ask():
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://host.example") as client:
                return await client.request(method, path, **arguments)

        return asyncio.run(ask())

    def get(self, path, **arguments):
        return self.request("GET", path, **arguments)

    def post(self, path, **arguments):
        return self.request("POST", path, **arguments)


@pytest.fixture
def client(house):
    return Client(house.app())


# the check


def test_a_permit_carries_the_credential_and_the_lease(house, client):
    answer = client.post("/check/v1/x:predict?alt=json&b=%2F", headers={"authorization": "Bearer t"}, content=b"{}")
    assert answer.status_code == 200
    assert answer.headers["authorization"] == "Bearer ya29.good"
    assert answer.headers["x-remit-lease-ms"] == "500"
    assert answer.headers["x-remit-decision"] == house.answer.decision.id
    assert answer.content == b""
    [wire] = house.asked
    assert (wire.method, wire.target, wire.host) == ("POST", "/v1/x:predict?alt=json&b=%2F", "host.example")


def test_the_target_stands_undecoded(house, client):
    client.get("/check/v1/a%2Fb%20c/%C3%A4?q=%25")
    assert house.asked[0].target == "/v1/a%2Fb%20c/%C3%A4?q=%25"


@pytest.mark.parametrize(
    ("values", "token"),
    [
        ([], None),
        (["Bearer one", "Bearer two"], None),
        (["Bearer one", "Basic dTpw"], None),
        (["Basic dTpw"], None),
        (["Bearer"], None),
        (["Bearer "], None),
        (["one"], None),
        (["bearer one"], "one"),
        (["BEARER one"], "one"),
        (["Bearer one"], "one"),
    ],
)
def test_exactly_one_bearer_is_an_identity(house, client, values, token):
    client.get("/check/v1/x", headers=[("authorization", value) for value in values])
    found = house.asked[0].token
    assert (found.reveal() if found else None) == token


def test_our_own_headers_are_no_part_of_the_caller_s_request(house, client):
    headers = [
        ("host", "US-Central1-aiplatform.googleapis.com:443"),
        ("authorization", "Bearer t"),
        ("x-remit-peer", "10.1.2.3"),
        ("x-remit-body", "whole"),
        ("x-remit-anything", "1"),
        ("content-type", "application/json"),
        ("x-goog-user-project", "a"),
        ("x-goog-user-project", "b"),
        ("hosting", "kept: only the exact name is ours"),
    ]
    client.post("/check/v1/x", headers=headers, content=b"{}")
    [wire] = house.asked
    names = [name for name, _ in wire.headers]
    assert not [name for name in names if name.startswith("x-remit-") or name in {"host", "authorization"}]
    assert names.count("x-goog-user-project") == 2
    assert "hosting" in names
    assert (wire.host, wire.peer, wire.body, wire.body_sent) == (
        "us-central1-aiplatform.googleapis.com",
        "10.1.2.3",
        b"{}",
        True,
    )


@pytest.mark.parametrize("name", ["x-remit-peer", "x-remit-body"])
def test_a_repeated_word_of_the_gateway_counts_for_nothing(house, client, name):
    client.post("/check/v1/x", headers=[(name, "whole"), (name, "whole")], content=b"{}")
    [wire] = house.asked
    assert (wire.peer, wire.body_sent, wire.body) == ("", False, b"")


def test_a_body_that_the_gateway_did_not_vouch_for_is_none(house, client):
    client.post("/check/v1/x", headers={"x-remit-body": "none"}, content=b"{}")
    assert (house.asked[0].body_sent, house.asked[0].body) == (False, b"")


def test_the_length_of_the_question_is_not_the_length_of_what_is_asked_about(house, client):
    """Else a body that was not sent along would look like none at all."""
    client.post("/check/v1/x", headers={"x-remit-body": "none", "content-length": "0"})
    client.post("/check/v1/x", headers={"x-remit-body": "none", "transfer-encoding": "chunked"})
    for wire in house.asked:
        assert not {"content-length", "transfer-encoding"} & {name for name, _ in wire.headers}


@pytest.mark.parametrize(("size", "sent"), [(16 << 20, True), ((16 << 20) + 1, False)])
def test_a_body_has_a_bound(house, client, size, sent):
    client.post("/check/v1/x", headers={"x-remit-body": "whole"}, content=bytes(size))
    [wire] = house.asked
    assert (wire.body_sent, len(wire.body)) == (sent, size if sent else 0)


def test_a_permit_without_its_credential_is_a_refusal(house, client):
    house.answer = Answer(decision(PERMIT), None)
    answer = client.get("/check/v1/x")
    assert answer.status_code == 503
    assert "authorization" not in answer.headers
    assert answer.json()["error"]["status"] == "UNAVAILABLE"


def test_a_credential_without_a_permit_stays_here(house, client):
    house.answer = Answer(denied(Reason.NO_POLICY_PERMITS), CREDENTIAL)
    answer = client.get("/check/v1/x")
    assert answer.status_code == 403
    assert "ya29" not in str(answer.headers) + answer.text


def test_methods_that_nobody_knows_are_refused(house, client):
    assert client.request("PROPFIND", "/check/v1/x").status_code == 405
    assert client.get("/other").status_code == 404
    assert not house.asked


# what a refusal looks like


@pytest.mark.parametrize("reason", REFUSALS)
def test_every_reason_on_both_transports(house, client, reason):
    house.answer = Answer(denied(reason, detail="the détail", hint="do this"))
    answer = client.get("/check/v1/x")
    grpc = {
        400: ("3", "INVALID_ARGUMENT"),
        401: ("16", "UNAUTHENTICATED"),
        403: ("7", "PERMISSION_DENIED"),
        503: ("14", "UNAVAILABLE"),
    }
    number, word = grpc[reason.http_status]
    error = answer.json()["error"]
    name = house.answer.decision.id
    assert answer.status_code == error["code"] == reason.http_status
    assert error["status"] == word
    assert error["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason.value.upper(),
            "domain": "remit",
            "metadata": {"decision": name},
        }
    ]
    assert reason.sentence in error["message"]
    assert "the détail" in error["message"]
    assert name in error["message"]
    assert answer.headers["x-remit-reason"] == reason.value
    assert answer.headers["x-remit-decision"] == name
    assert answer.headers["x-remit-grpc-status"] == number
    assert unquote(answer.headers["x-remit-grpc-message"]) == error["message"]
    assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)


def test_a_grpc_message_is_plain_ascii():
    found = refusal.headers(denied(Reason.NO_POLICY_PERMITS, detail="100 % é\r\nx-evil: 1", hint=""))
    message = found["x-remit-grpc-message"]
    assert message.isascii()
    assert message.isprintable()
    assert "100 %25 %C3%A9%0D%0Ax-evil: 1" in message


def step_up(capabilities, context="c1"):
    identity = replace(DANA, authentication=Authentication(capabilities=frozenset(capabilities)))
    verdict = Verdict(Outcome.STEP_UP, (Reason.STEP_UP_REQUIRED,), challenge=context)
    return decision(verdict, identity)


def test_a_claims_challenge_is_for_clients_that_understand_it():
    found = step_up({"cp1"})
    challenge = refusal.headers(found)["www-authenticate"]
    claims = challenge.partition('claims="')[2].rstrip('"')
    assert json.loads(base64.b64decode(claims)) == {"access_token": {"acrs": {"essential": True, "value": "c1"}}}
    assert 'error="insufficient_claims"' in challenge
    assert "login.microsoftonline.com/tid/" in challenge
    assert refusal.status(found) == 401


@pytest.mark.parametrize("found", [step_up(set()), step_up({"cp1"}, ""), replace(step_up({"cp1"}), identity=None)])
def test_no_challenge_for_anybody_else(found):
    assert refusal.challenge(found) == ""
    assert refusal.status(found) == 403
    assert "www-authenticate" not in refusal.headers(found)


def test_a_sign_in_older_than_a_revocation_is_asked_to_be_newer():
    verdict = Verdict(Outcome.DENY, (Reason.SIGN_IN_AGAIN,), not_before=NOW - 5, hint="sign in again")
    found = decision(verdict)
    assert refusal.status(found) == 401
    claims = refusal.headers(found)["www-authenticate"].partition('claims="')[2].rstrip('"')
    assert json.loads(base64.b64decode(claims)) == {"access_token": {"nbf": {"essential": True, "value": str(NOW - 5)}}}
    plain = decision(verdict, replace(DANA, authentication=Authentication()))
    assert refusal.headers(plain)["www-authenticate"] == "Bearer"
    assert refusal.message(plain).endswith("; sign in again")


def test_no_challenge_where_a_new_sign_in_would_not_help():
    locked = denied(Reason.REVOKED)
    assert refusal.status(locked) == 403
    assert refusal.challenge(locked) == ""
    assert "www-authenticate" not in refusal.headers(locked)


def test_the_hint_of_a_step_up_names_the_decision():
    found = step_up(set())
    assert f"`remit login --for {found.id}`" in refusal.message(found)


# the broker


def form(**changes):
    values = {
        "grant_type": GRANT,
        "subject_token": "dana",
        "subject_token_type": ACCESS_TOKEN,
        "audience": "//storage.googleapis.com/projects/contoso-fraud-test",
        **changes,
    }
    return {name: value for name, value in values.items() if value is not None}


def test_an_exchange_answers_as_rfc_8693_says(house, client):
    answer = client.post("/v1/token", data=form(), headers={"x-remit-peer": "10.0.0.9"})
    assert answer.status_code == 200
    assert answer.json() == {
        "access_token": "ya29.good",
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": 900,
        "scope": "s1 s2",
        "decision": house.answer.decision.id,
    }
    assert answer.headers["cache-control"] == "no-store"
    assert house.exchanged == [("dana", Audience(Target.STORAGE, "contoso-fraud-test"), "10.0.0.9", "")]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": None}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"subject_token": None}, "invalid_request"),
        ({"subject_token": ""}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"audience": None}, "invalid_target"),
        ({"audience": "//storage.googleapis.com/projects/"}, "invalid_target"),
        ({"audience": "//storage.googleapis.com/projects/a/b"}, "invalid_target"),
        ({"audience": "//storage.googleapis.com/projects/" + "a" * 64}, "invalid_target"),
        ({"audience": "https://vertex"}, "invalid_target"),
    ],
)
def test_what_is_wrong_with_an_exchange(house, client, changes, error):
    answer = client.post("/v1/token", data=form(**changes))
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.headers["cache-control"] == "no-store"
    assert not house.exchanged


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("", b"a=b"),
        ("application/x-www-form-urlencoded", b"grant_type=a&grant_type=b"),
        ("application/x-www-form-urlencoded", b"a=\xff"),
        ("application/x-www-form-urlencoded", b"not a form"),
        ("application/x-www-form-urlencoded", b"a=" + b"b" * (64 << 10)),
    ],
)
def test_what_is_no_form(house, client, kind, body):
    answer = client.post("/v1/token", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert not house.exchanged


@pytest.mark.parametrize(
    ("reason", "status", "error"),
    [
        (Reason.TOKEN_EXPIRED, 401, "invalid_grant"),
        (Reason.NO_POLICY_PERMITS, 403, "access_denied"),
        (Reason.REQUEST_MALFORMED, 400, "invalid_request"),
        (Reason.EXCHANGE_UNAVAILABLE, 503, "temporarily_unavailable"),
    ],
)
def test_a_refused_exchange(house, client, reason, status, error):
    house.answer = Answer(denied(reason))
    answer = client.post("/v1/token", data=form())
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["x-remit-reason"] == reason.value
    assert answer.headers["x-remit-decision"] == house.answer.decision.id
    assert reason.sentence in answer.json()["error_description"]


def test_an_exchange_without_its_credential(house, client):
    house.answer = Answer(decision(PERMIT), None)
    assert client.post("/v1/token", data=form()).status_code == 503


def test_two_addresses_of_a_caller_are_none(house, client):
    client.post("/v1/token", data=form(), headers=[("x-remit-peer", "1.1.1.1"), ("x-remit-peer", "2.2.2.2")])
    assert house.exchanged[0][2] == ""


# people


def bearer(token="dana"):
    return {"authorization": f"Bearer {token}"}


def test_who_one_is(client):
    found = client.get("/v1/identity", headers=bearer()).json()
    assert found["principal"] == "tid/dana"
    assert found["name"] == "Dana Örn"
    assert found["methods"] == ["pwd"]
    assert found["expires_at"] == NOW + 3600


@pytest.mark.parametrize("path", ["/v1/identity", "/v1/decision?id=d-1"])
def test_nobody_is_shown_nothing(house, client, path):
    house.decisions["d-1"] = {"principal": ""}
    for headers, reason in (
        ({}, "token_missing"),
        (bearer("x"), "token_expired"),
        ({"authorization": "Basic x"}, "token_missing"),
    ):
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, reason)
        assert answer.headers["x-remit-reason"] == reason
        assert answer.headers["www-authenticate"] == "Bearer"


def test_one_s_own_decision(house, client):
    later = {"upstream": "quota", "upstream_detail": "CustomJobs", "started": ["//j/1"]}
    house.decisions["d-1"] = {"principal": "tid/dana", "decision": "d-1", "peer": "10.0.0.1", **later}
    answer = client.get("/v1/decision", params={"id": "d-1"}, headers=bearer())
    assert answer.json() == {"decision": "d-1", **later}


def test_somebody_else_s_decision_looks_like_none(house, client):
    house.decisions["d-1"] = {"principal": "tid/ada", "decision": "d-1"}
    house.decisions["d-2"] = {"principal": "", "decision": "d-2"}
    answers = [
        client.get("/v1/decision", params=given, headers=bearer())
        for given in ({"id": "d-1"}, {"id": "d-2"}, {"id": "d-9"}, {})
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(404, answers[0].text)}


# health and life


def test_health(house, client):
    assert client.get("/healthz").text == "ok\n"
    assert client.get("/readyz").json() == {"ready": True, "wrong": {}, "noted": {}}
    house.wrong["ledger"] = "the disk is full"
    assert client.get("/readyz").status_code == 200  # a flood of questions is one look
    time.sleep(0.3)
    answer = client.get("/readyz")
    house.noted = "the directory does not answer"
    wrong = {"ledger": "the disk is full"}
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "wrong": wrong, "noted": {}})
    assert client.get("/readyz").json()["noted"] == {"people": "the directory does not answer"}
    assert client.get("/healthz").status_code == 200
    assert client.get("/v1/configuration").json() == {"tenant": "tid"}


def test_it_is_served_on_a_socket_of_this_user_s_alone(house, runtime_folder):
    socket = runtime_folder / "arbiter.sock"
    socket.write_text("left by an earlier one")

    async def story():
        stop = asyncio.Event()
        task = asyncio.create_task(serve(house.app(), socket, stop))
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket)), base_url="http://h"
        ) as client:
            answer = await _first_answer(client, "/check/v1/a%2Fb?x=1")
        mode = socket.stat().st_mode & 0o777
        stop.set()
        await asyncio.wait_for(task, 10)
        return answer, mode

    answer, mode = asyncio.run(story())
    assert answer.status_code == 200
    assert mode == 0o600
    assert house.asked[0].target == "/v1/a%2Fb?x=1"  # as the real server hands it on


async def _first_answer(client, path):
    for _ in range(500):
        try:
            return await client.get(path)
        except httpx.TransportError:
            await asyncio.sleep(0.01)
    raise AssertionError("nobody listens")


def test_what_anybody_may_read(client):
    assert client.get("/.well-known/jwks.json").json() == {"keys": []}
    found = client.get("/saml/adfs")
    assert (found.text, found.headers["content-type"]) == ("<m/>", "application/xml")


def test_a_browsers_session_is_an_identity_when_there_is_no_other(house, client):
    client.get("/check/v1/x", headers={"cookie": "a=b; __Host-remit=secret"})
    assert house.asked[-1].session.reveal() == "secret"
    assert "secret" not in str(house.asked[-1].headers)
    client.get("/check/v1/x", headers={"cookie": "__Host-remit=secret", "authorization": "Bearer dana"})
    assert house.asked[-1].session is None
    client.get("/check/v1/x", headers={"cookie": "__Host-remit=secret", "authorization": "nonsense"})
    assert (house.asked[-1].session, house.asked[-1].token) == (None, None)
    answer = client.get("/check/v1/x", headers={"cookie": "__Host-remit=a; __Host-remit=b"})
    assert (answer.status_code, answer.headers["x-remit-reason"]) == (400, "request_ambiguous")
    assert house.asked[-1].session is None


def test_a_program_behind_the_sidecar_is_not_challenged():
    found = step_up({"cp1"})
    assert refusal.challenge(found)
    behind = replace(found, circumstances=replace(found.circumstances, job="j-1"))
    assert refusal.challenge(behind) == ""
    assert refusal.status(behind) == 403
