"""Azure's two forms of managed identity, asked by hand and by azure-identity and msal themselves."""

import asyncio
import json
import time

import azure.identity
import azure.identity.aio
import httpx
import msal
import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from tests.unit.sdk.standing import Exchange, standing

from remit.model.errors import RemitError
from remit.model.reasons import Reason
from remit.sdk.api import Told
from remit.sdk.resources import AZURE_SQL, BLOB, OWN, POSTGRESQL

PROJECT = "contoso-fraud-test"
STORAGE = "https://storage.azure.com/.default"
APP_SERVICE = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER")
REFUSAL = Told(
    Reason.NO_POLICY_PERMITS, "remit: no policy permits this (decision d-17); ask Pat", hint="", decision="d-17"
)


@pytest.fixture
def exchange():
    return Exchange()


@pytest.fixture
def given(exchange, tmp_path):
    with standing(exchange, tmp_path) as environment:
        yield environment


@pytest.fixture(params=["IMDS", "App Service"])
def surroundings(request, given, monkeypatch):
    """The environment of a command, in which one of the two forms is found."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    if request.param == "IMDS":
        for name in APP_SERVICE:
            monkeypatch.delenv(name)
    return request.param


def asked(given, form, query, **headers):
    if form == "IMDS":
        url = given["AZURE_POD_IDENTITY_AUTHORITY_HOST"] + "/metadata/identity/oauth2/token?api-version=2018-02-01&"
        headers = {"metadata": "true", **headers}
    else:
        url = given["IDENTITY_ENDPOINT"] + "?api-version=2019-08-01&"
        headers = {"x-identity-header": given["IDENTITY_HEADER"], **headers}
    return httpx.get(url + query, headers=headers, trust_env=False)


@pytest.mark.parametrize("form", ["IMDS", "App Service"])
@pytest.mark.parametrize(
    ("resource", "audience"),
    [
        ("https://storage.azure.com", BLOB + PROJECT),
        ("https://storage.azure.com/", BLOB + PROJECT),
        ("https://contosofraud.blob.core.windows.net", BLOB + PROJECT),
        ("https://ossrdbms-aad.database.windows.net", POSTGRESQL + PROJECT),
        ("https://database.windows.net/", AZURE_SQL + PROJECT),
        ("remit", OWN),
        ("api://remit", OWN),
        ("http://127.0.0.1:1", OWN),
    ],
)
def test_a_resource_is_one_of_the_broker_s_audiences(given, exchange, form, resource, audience):
    answer = asked(given, form, f"resource={resource}")
    found = answer.json()
    assert (answer.status_code, exchange.asked) == (200, [audience])
    assert found["access_token"] == f"token-1 {audience}"
    assert found["resource"] == resource
    assert all(isinstance(value, str) for value in found.values())
    assert 890 <= int(found["expires_in"]) <= 900
    assert abs(int(found["expires_on"]) - time.time() - 900) < 20


@pytest.mark.parametrize("form", ["IMDS", "App Service"])
@pytest.mark.parametrize(
    "query",
    [
        "",
        "resource=",
        "resource=https://management.azure.com",
        "resource=https://graph.microsoft.com",
        "resource=https://storage.azure.com.evil.example",
        "resource=https://evil.example/.blob.core.windows.net",
        "resource=remit/x",
        "resource=https://storage.azure.com&client_id=3c000000-0000-4000-8000-000000000002",
        "resource=https://storage.azure.com&object_id=x",
        "resource=https://storage.azure.com&mi_res_id=x",
        "resource=https://storage.azure.com&msi_res_id=x",
        "resource=https://storage.azure.com&client_id=&client_id=x",
    ],
)
def test_what_a_run_has_not(given, exchange, form, query):
    answer = asked(given, form, query)
    if query.endswith("client_id=&client_id=x"):  # the first counts, and names nothing
        assert answer.status_code == 200
        return
    assert answer.status_code == 400
    found = answer.json()
    assert ("error" in found) == (form == "IMDS")
    if form == "App Service":
        assert found["statusCode"] == 400
    assert exchange.asked == []


@pytest.mark.promise("V22")
@pytest.mark.parametrize(
    ("form", "headers", "status"),
    [
        ("IMDS", {"metadata": "false"}, 400),
        ("IMDS", {"metadata": ""}, 400),
        ("IMDS", {"x-forwarded-for": "1.2.3.4"}, 403),
        ("IMDS", {"host": "attacker.example"}, 403),
        ("App Service", {"x-identity-header": ""}, 403),
        ("App Service", {"x-identity-header": "x"}, 403),
        ("App Service", {"x-forwarded-for": "1.2.3.4"}, 403),
        ("App Service", {"origin": "http://attacker.example"}, 403),
    ],
)
def test_who_is_not_let_in(given, exchange, form, headers, status):
    assert asked(given, form, "resource=https://storage.azure.com", **headers).status_code == status
    assert exchange.asked == []


def test_without_the_secret_in_the_path_there_is_nothing(given, exchange):
    place = given["AZURE_POD_IDENTITY_AUTHORITY_HOST"].rpartition("/")[0]
    for path in ("/metadata/identity/oauth2/token", "/msi/token", "/x/msi/token"):
        headers = {"metadata": "true", "x-identity-header": given["IDENTITY_HEADER"]}
        answer = httpx.get(f"{place}{path}?resource=https://storage.azure.com", headers=headers, trust_env=False)
        assert answer.status_code == 403
    assert exchange.asked == []


TROUBLES = [
    (REFUSAL, 403, "no policy permits this (decision d-17); ask Pat", "no_policy_permits"),
    (Told(Reason.STEP_UP_REQUIRED, "stronger", hint="sign in", decision="d-1"), 403, "stronger (decision d-1); sign in", "step_up_required"),
    (Told(Reason.REVOKED, "", hint="", decision=""), 403, "access has been revoked", "revoked"),
    (Told(Reason.REQUEST_MALFORMED, "no such audience", hint="", decision=""), 400, "no such audience", "request_malformed"),
    (Told(Reason.PLANE_UNAVAILABLE, "not now", hint="", decision="d-2"), 503, "not now (decision d-2)", "plane_unavailable"),
    (RemitError("remit does not answer"), 503, "remit does not answer", None),
]  # fmt: skip


@pytest.mark.parametrize("form", ["IMDS", "App Service"])
@pytest.mark.parametrize("case", TROUBLES)
def test_a_refusal_in_azure_s_form(given, exchange, form, case):
    trouble, status, text, reason = case
    exchange.trouble = trouble
    answer = asked(given, form, "resource=https://storage.azure.com")
    assert answer.status_code == status
    said = answer.json()
    assert said["error_description" if form == "IMDS" else "message"] == f"remit: {text}"
    assert answer.headers.get("x-remit-reason") == reason
    assert answer.headers.get("x-remit-decision", "") == getattr(trouble, "decision", "")
    assert (answer.headers.get("retry-after") == "2") == (status == 503)


# The libraries themselves


async def _async(credential):
    async with credential:
        return await credential.get_token(STORAGE)


CREDENTIALS = {
    "ManagedIdentityCredential": lambda: azure.identity.ManagedIdentityCredential().get_token(STORAGE),
    "DefaultAzureCredential": lambda: azure.identity.DefaultAzureCredential().get_token(STORAGE),
    "aio.ManagedIdentityCredential": lambda: asyncio.run(_async(azure.identity.aio.ManagedIdentityCredential())),
    "aio.DefaultAzureCredential": lambda: asyncio.run(_async(azure.identity.aio.DefaultAzureCredential())),
}


@pytest.mark.promise("V8")
@pytest.mark.parametrize("name", CREDENTIALS)
def test_azure_identity_gets_its_token(surroundings, exchange, name):
    found = CREDENTIALS[name]()
    assert found.token == f"token-1 {BLOB}{PROJECT}"
    assert abs(found.expires_on - time.time() - 900) < 30
    assert exchange.asked == [BLOB + PROJECT]


@pytest.mark.promise("V8")
def test_msal_gets_its_token(surroundings, exchange):
    client = msal.ManagedIdentityClient(msal.SystemAssignedManagedIdentity(), http_client=requests.Session())
    found = client.acquire_token_for_client(resource="https://storage.azure.com")
    assert found["access_token"] == f"token-1 {BLOB}{PROJECT}"
    assert client.acquire_token_for_client(resource="https://storage.azure.com")["token_source"] == "cache"


@pytest.mark.parametrize("name", CREDENTIALS)
def test_azure_identity_is_refused_at_once_and_says_why(surroundings, exchange, name):
    exchange.trouble = REFUSAL
    began = time.monotonic()
    with pytest.raises(ClientAuthenticationError) as caught:
        CREDENTIALS[name]()
    assert time.monotonic() - began < 20  # its retries take longer
    assert "no policy permits this (decision d-17); ask Pat" in str(caught.value)
    assert len(exchange.asked) == 1


@pytest.mark.promise("T5")
def test_six_minute_tokens_are_asked_for_once_a_minute_not_with_every_call(surroundings, exchange):
    exchange.life = 360
    credential = azure.identity.ManagedIdentityCredential()
    found = {credential.get_token(STORAGE).token for _ in range(50)}
    assert (len(found), len(exchange.asked)) == (1, 1)


@pytest.mark.promise("T5")
def test_an_outage_that_passes_is_waited_for_by_azure_identity(surroundings, exchange, capsys):
    exchange.trouble = RemitError("remit does not answer")
    first = exchange.__class__.__call__

    def recovers(self, audience):
        try:
            return first(self, audience)
        finally:
            self.trouble = None

    exchange.__class__ = type("Recovers", (exchange.__class__,), {"__call__": recovers})
    assert azure.identity.ManagedIdentityCredential().get_token(STORAGE).token.startswith("token-2 ")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "remit: waiting for a token for Azure Blob Storage: remit does not answer"
    assert said[1].startswith("remit: tokens for Azure Blob Storage can be had again, after ")


def test_numbers_are_strings_and_nothing_else_is_there(given):
    found = json.loads(asked(given, "IMDS", "resource=remit").text)
    assert set(found) == {
        "access_token",
        "client_id",
        "expires_in",
        "expires_on",
        "ext_expires_in",
        "not_before",
        "resource",
        "token_type",
    }
