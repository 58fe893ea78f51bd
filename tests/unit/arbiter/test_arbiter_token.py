"""The broker's two forms: what each is understood to ask for, what is refused, and that stock clients speak them."""

import asyncio
import importlib.util
import json
import sys
import threading
from pathlib import Path
from urllib.parse import urlencode

import google.auth.transport.requests
import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import WorkloadIdentityCredential
from google.auth import identity_pool
from google.auth.exceptions import OAuthError
from starlette.applications import Starlette
from starlette.routing import Route

from remit.access.exchange import Audience, Target
from remit.arbiter.token import ENTRA_PATH, Token
from remit.model.credential import Credential
from remit.model.decision import Answer, Circumstances, Decision, Verdict
from remit.model.names import decision_id
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.secret import AccessToken

NOW = 1_800_000_000
TENANT, PROJECT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001", "contoso-fraud-test"
CLIENT = "a0000000-0000-4000-8000-000000000011"
TYPE = "urn:ietf:params:oauth:token-type:"
GOOGLE, SCOPE = "https://www.googleapis.com/auth", "https://storage.azure.com/.default"
STORAGE = f"//storage.googleapis.com/projects/{PROJECT}"
BLOB = f"//blob.core.windows.net/projects/{PROJECT}"
ENTRA = f"/{TENANT}/oauth2/v2.0/token"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PERMIT = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,))


def decision(verdict):
    return Decision(decision_id(NOW * 1_000_000), NOW * 1_000_000, verdict, Circumstances(now=NOW))


class Broker:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self):
        self.answer = Answer(decision(PERMIT), Credential(AccessToken("token"), NOW + 4000, CLIENT, ("s",)))
        self.asked = []

    async def exchange(self, token, audience, peer, job):
        self.asked.append((token.reveal(), audience, peer, job))
        return self.answer

    def refuse(self, reason):
        self.answer = Answer(decision(Verdict(reason.outcome, (reason,), hint="ask for a role")))

    def app(self):
        token = Token(self.exchange, lambda: NOW * 1_000_000, TENANT)
        return Starlette(
            routes=[
                Route("/v1/token", token.__call__, methods=["POST"]),
                Route(ENTRA_PATH, token.entra, methods=["POST"]),
                Route(f"/azure{ENTRA_PATH}", token.entra, methods=["POST"]),
            ]
        )

    def post(self, path, content, headers=None):
        async def ask():
            transport = httpx.ASGITransport(self.app())
            async with httpx.AsyncClient(transport=transport, base_url="http://host.example") as client:
                kind = {"content-type": "application/x-www-form-urlencoded"}
                return await client.post(path, content=content, headers={**kind, **(headers or {})})

        return asyncio.run(ask())

    def exchanged(self, **changes):
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": "dana",
            "subject_token_type": f"{TYPE}access_token",
            "audience": STORAGE,
        }
        return self.post("/v1/token", _form(form, changes))

    def at_entra(self, path=ENTRA, **changes):
        form = {
            "grant_type": "client_credentials",
            "client_id": CLIENT,
            "client_assertion_type": ASSERTION,
            "client_assertion": "dana",
            "scope": SCOPE,
        }
        return self.post(path, _form(form, changes))


def _form(form, changes):
    return urlencode({name: value for name, value in {**form, **changes}.items() if value is not None})


@pytest.fixture
def broker():
    return Broker()


# RFC 8693


@pytest.mark.parametrize(
    ("changes", "audience"),
    [
        ({}, Audience(Target.STORAGE, PROJECT)),
        ({"subject_token_type": f"{TYPE}jwt"}, Audience(Target.STORAGE, PROJECT)),
        ({"subject_token_type": f"{TYPE}id_token"}, Audience(Target.STORAGE, PROJECT)),
        ({"requested_token_type": f"{TYPE}access_token"}, Audience(Target.STORAGE, PROJECT)),
        ({"scope": f"{GOOGLE}/cloud-platform"}, Audience(Target.STORAGE, PROJECT)),
        ({"scope": f"{GOOGLE}/devstorage.read_only"}, Audience(Target.STORAGE, PROJECT, reading=True)),
        (
            {"scope": f"{GOOGLE}/devstorage.read_only {GOOGLE}/userinfo.email"},
            Audience(Target.STORAGE, PROJECT, reading=True),
        ),
        (
            {"scope": f"{GOOGLE}/devstorage.read_only {GOOGLE}/devstorage.read_write"},
            Audience(Target.STORAGE, PROJECT),
        ),
        ({"audience": BLOB}, Audience(Target.BLOB, PROJECT)),
        ({"audience": BLOB, "scope": SCOPE}, Audience(Target.BLOB, PROJECT)),
        (
            {"audience": f"//ossrdbms-aad.database.windows.net/projects/{PROJECT}"},
            Audience(Target.POSTGRESQL, PROJECT),
        ),
        ({"audience": "//database.windows.net/projects/100000000001"}, Audience(Target.SQL, "100000000001")),
        ({"audience": "remit"}, Audience(Target.REMIT)),
        ({"unknown": "ignored"}, Audience(Target.STORAGE, PROJECT)),
    ],
)
def test_what_an_exchange_is_for(broker, changes, audience):
    answer = broker.exchanged(**changes)
    assert answer.status_code == 200
    assert broker.asked == [("dana", audience, "", "")]
    assert (answer.json()["issued_token_type"], answer.json()["expires_in"]) == (f"{TYPE}access_token", 4000)
    assert ("decision" in answer.json()) is (audience.target is not Target.REMIT)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"audience": f"//other.windows.net/projects/{PROJECT}"}, "invalid_target"),
        ({"audience": f"//BLOB.core.windows.net/projects/{PROJECT}"}, "invalid_target"),
        ({"audience": f"//remit/projects/{PROJECT}"}, "invalid_target"),
        ({"audience": f"{BLOB}/accounts/a"}, "invalid_target"),
        ({"audience": f"{BLOB}\n"}, "invalid_target"),
        ({"audience": f"https:{BLOB}"}, "invalid_target"),
        ({"audience": "Remit"}, "invalid_target"),
        ({"audience": "remit", "scope": SCOPE}, "invalid_scope"),
        ({"audience": BLOB, "scope": f"{SCOPE} {SCOPE}"}, "invalid_scope"),
        ({"audience": BLOB, "scope": "https://database.windows.net/.default"}, "invalid_scope"),
        ({"audience": BLOB, "scope": "https://storage.azure.com/user_impersonation"}, "invalid_scope"),
        ({"scope": f"{GOOGLE}/bigquery"}, "invalid_scope"),
        ({"scope": "https://www.googleapis.com.evil/auth/cloud-platform"}, "invalid_scope"),
        ({"requested_token_type": f"{TYPE}id_token"}, "invalid_request"),
        ({"resource": "https://storage.googleapis.com"}, "invalid_request"),
        ({"actor_token": "ada", "actor_token_type": f"{TYPE}jwt"}, "invalid_request"),
        ({"options": json.dumps({"accessBoundary": {}})}, "invalid_request"),
        ({"job": "j-1"}, "invalid_request"),
    ],
)
def test_what_would_ask_for_less_or_for_else_is_never_ignored(broker, changes, error):
    answer = broker.exchanged(**changes)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert broker.asked == []


# Entra's form


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({}, Target.BLOB),
        ({"scope": "https://storage.azure.com//.default"}, Target.BLOB),
        ({"scope": "https://ossrdbms-aad.database.windows.net/.default"}, Target.POSTGRESQL),
        ({"scope": "https://database.windows.net/.default"}, Target.SQL),
        ({"scope": "https://database.windows.net//.default"}, Target.SQL),
        ({"claims": '{"access_token": {"xms_cc": {"values": ["CP1"]}}}'}, Target.BLOB),
    ],
)
def test_what_entras_form_is_for(broker, changes, target):
    answer = broker.at_entra(**changes)
    assert answer.status_code == 200
    assert broker.asked == [("dana", Audience(target, client=CLIENT), "", "")]
    assert {"access_token": "token", "token_type": "Bearer", "expires_in": 4000}.items() <= answer.json().items()
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}, "unsupported_grant_type"),
        ({"client_assertion": None, "client_secret": "s"}, "invalid_request"),
        ({"client_assertion": ""}, "invalid_request"),
        ({"client_assertion_type": f"{TYPE}jwt"}, "invalid_request"),
        ({"client_id": None}, "invalid_request"),
        ({"client_id": f"{CLIENT}\n"}, "invalid_request"),
        ({"client_id": f"{CLIENT} {CLIENT}"}, "invalid_request"),
        ({"client_id": CLIENT.upper()}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": ".default"}, "invalid_scope"),
        ({"scope": "https://storage.azure.com"}, "invalid_scope"),
        ({"scope": f"{SCOPE} https://database.windows.net/.default"}, "invalid_scope"),
        ({"scope": f"https://database.windows.net/.default {SCOPE}"}, "invalid_scope"),
        ({"scope": f"{SCOPE} openid"}, "invalid_scope"),
        ({"scope": "https://graph.microsoft.com/.default"}, "invalid_scope"),
        ({"scope": "https://vault.azure.net/.default"}, "invalid_scope"),
        ({"claims": '{"access_token": {"nbf": {"essential": true, "value": "1"}}}'}, "interaction_required"),
        ({"claims": '{"access_token": {"xms_cc": {}}, "id_token": {}}'}, "interaction_required"),
        ({"claims": "{"}, "interaction_required"),
        ({"claims": "[" * 5000}, "interaction_required"),
        ({"claims": "[]"}, "interaction_required"),
    ],
)
def test_what_is_wrong_with_entras_form(broker, changes, error):
    answer = broker.at_entra(**changes)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert broker.asked == []


@pytest.mark.parametrize(
    "tenant",
    ["common", "organizations", TENANT.upper(), TENANT.replace("1", "2"), f"{TENANT}%20", "..", "contoso.example"],
)
def test_another_tenants_path_is_nobodys(broker, tenant):
    for below in ("", "/azure"):
        answer = broker.at_entra(f"{below}/{tenant}/oauth2/v2.0/token")
        assert answer.status_code in {400, 404}
    assert broker.asked == []


@pytest.mark.parametrize("name", ["client_id", "client_assertion", "scope", "grant_type"])
def test_a_field_that_stands_twice_is_refused(broker, name):
    content = _form(
        {"grant_type": "client_credentials", "client_id": CLIENT, "client_assertion_type": ASSERTION},
        {"client_assertion": "dana", "scope": SCOPE},
    )
    answer = broker.post(ENTRA, f"{content}&{name}=other")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert broker.asked == []


@pytest.mark.parametrize(
    ("reason", "status", "error"),
    [
        (Reason.TOKEN_AUDIENCE, 401, "invalid_client"),
        (Reason.NO_ACCOUNT, 403, "access_denied"),
        (Reason.EXCHANGE_UNAVAILABLE, 503, "temporarily_unavailable"),
    ],
)
def test_a_refusal_in_entras_form(broker, reason, status, error):
    broker.refuse(reason)
    answer = broker.at_entra()
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["x-remit-reason"] == reason.value
    assert answer.headers["x-remit-decision"] in answer.json()["error_description"]
    assert answer.json()["error_description"].endswith("ask for a role")


# stock clients


@pytest.fixture
def door(broker, tmp_path, monkeypatch):
    """The broker over TLS, for clients that are not told of anything but its address."""
    path = Path(__file__).parents[1] / "identity" / "fake_https.py"
    spec = importlib.util.spec_from_file_location("arbiter_fake_https", path)
    fake = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, fake)
    spec.loader.exec_module(fake)
    certificate = fake.Certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.path))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    started, told = threading.Event(), {}

    async def answered(asked):
        transport = httpx.ASGITransport(broker.app())
        async with httpx.AsyncClient(transport=transport, base_url="https://host.example") as client:
            kind = {"content-type": asked.headers["content-type"]}
            answer = await client.request(asked.method, asked.path, content=asked.body, headers=kind)
        shown = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return fake.Answer(answer.content, answer.status_code, shown)

    async def serve():
        told["stop"], told["loop"] = asyncio.Event(), asyncio.get_running_loop()
        async with fake.FakeServer(answered, certificate) as server:
            told["url"] = server.url
            started.set()
            await told["stop"].wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(60)
    yield told["url"]
    told["loop"].call_soon_threadsafe(told["stop"].set)
    thread.join(60)


@pytest.fixture(params=["", "/azure"])
def below(request):
    return request.param


@pytest.fixture
def workload(door, below, tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("dana")
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", f"{door}{below}")
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(token))
    with WorkloadIdentityCredential() as credential:
        yield credential


@pytest.mark.promise("T6")
def test_an_unmodified_workload_identity_credential(broker, below, workload):
    assert workload.get_token(SCOPE).token == "token"
    assert workload.get_token_info(SCOPE).token == "token"
    assert workload.get_token(SCOPE, enable_cae=True).token == "token"
    asked = ("dana", Audience(Target.BLOB, client=CLIENT), "", "")
    assert broker.asked == [asked] * (3 if below else 2)  # at the root the second comes from its own cache


def test_an_unmodified_workload_identity_credential_reads_why_not(broker, workload):
    broker.refuse(Reason.NO_POLICY_PERMITS)
    with pytest.raises(ClientAuthenticationError, match=r"no policy permits this \(decision d-.*ask for a role"):
        workload.get_token(SCOPE)


@pytest.fixture
def external(broker, door, tmp_path):
    def credentials(kind, audience=STORAGE, scopes=None):
        token = tmp_path / "token"
        token.write_text("dana")
        return broker, identity_pool.Credentials.from_info(
            {
                "type": "external_account",
                "audience": audience,
                "subject_token_type": f"{TYPE}{kind}",
                "token_url": f"{door}/v1/token",
                "credential_source": {"file": str(token)},
            },
            scopes=scopes,
        )

    return credentials


@pytest.mark.promise("T6")
@pytest.mark.parametrize("kind", ["jwt", "id_token", "access_token"])
@pytest.mark.parametrize(
    ("audience", "scopes", "reading"),
    [
        (STORAGE, [f"{GOOGLE}/cloud-platform"], False),
        (STORAGE, [f"{GOOGLE}/devstorage.read_only"], True),
        (STORAGE, None, False),
        ("remit", None, False),
    ],
)
def test_an_unmodified_external_account(external, kind, audience, scopes, reading):
    broker, credentials = external(kind, audience, scopes)
    credentials.refresh(google.auth.transport.requests.Request())
    assert credentials.token == "token"
    understood = Audience(Target.STORAGE, PROJECT, reading=reading) if audience == STORAGE else Audience(Target.REMIT)
    assert broker.asked == [("dana", understood, "", "")]


def test_an_unmodified_external_account_reads_why_not(external):
    broker, credentials = external("jwt")
    broker.refuse(Reason.NO_POLICY_PERMITS)
    with pytest.raises(OAuthError, match=r"no policy permits this \(decision d-"):
        credentials.refresh(google.auth.transport.requests.Request())
