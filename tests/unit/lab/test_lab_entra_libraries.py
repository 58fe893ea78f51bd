"""msal, azure-identity (sync and aio) and azure-core against the lab's Entra, with its environment and nothing else."""

import asyncio
import base64
import datetime as dt
import json
import re
import ssl
import threading
import time
import webbrowser
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from remit.lab import contoso
from remit.lab.jwt import peek

SCOPE = "api://remit/.default"
LOGIN = "https://login.microsoftonline.com"


def claims_of(token):
    return peek(token)[1]


def control(lab, **commands):
    answer = requests.post(lab.control, json=commands, timeout=5)
    assert answer.status_code == 200, answer.text


@pytest.fixture
def browser(lab_environment, monkeypatch):
    """A browser that does what a person's would: it follows, and posts forms, to the loopback."""

    def go(url):
        page = requests.get(url, timeout=10)
        form = re.search(r'<form method="post" action="([^"]+)"', page.text)
        if form:
            fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page.text))
            requests.post(unescape(form[1]), data={name: unescape(text) for name, text in fields.items()}, timeout=10)

    def opened(url, *_, **__):
        threading.Thread(target=go, args=(url,), daemon=True).start()
        return True

    class Browser(webbrowser.BaseBrowser):
        def open(self, url, new=0, autoraise=True):
            return opened(url)

    monkeypatch.setattr(webbrowser, "open", opened)
    monkeypatch.setattr(webbrowser, "get", lambda using=None: Browser("lab"))
    control(lab_environment, browser={"account": contoso.DANA.upn})
    yield
    control(lab_environment, browser={})


@pytest.fixture
def certificate(lab_environment, tmp_path):
    """A certificate of the nightly job, registered; the path of its PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nightly")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "nightly.pem"
    path.write_bytes(private + pem)
    control(lab_environment, certificate={"app": contoso.NIGHTLY.id, "pem": pem.decode()})
    return str(path)


@pytest.fixture
def federated(lab_environment, monkeypatch, tmp_path):
    """The variables of a workload whose token another party wrote into a file."""
    answer = requests.get(
        f"http://127.0.0.1:{lab_environment.imds}/metadata/identity/oauth2/token",
        params={
            "api-version": "2018-02-01",
            "resource": contoso.EXCHANGE_AUDIENCE,
            "client_id": contoso.FRAUD_PIPELINE.client_id,
        },
        headers={"Metadata": "true"},
        timeout=5,
    )
    path = tmp_path / "token"
    path.write_text(answer.json()["access_token"])
    monkeypatch.setenv("AZURE_TENANT_ID", contoso.TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", contoso.NIGHTLY.id)
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(path))
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", LOGIN)
    return str(path)


def test_msal_signs_in_with_a_browser_and_steps_up(browser):
    import msal

    app = msal.PublicClientApplication(contoso.CLI.id, authority=f"{LOGIN}/{contoso.TENANT}", http_cache={})
    answer = app.acquire_token_interactive([SCOPE], timeout=20)
    assert "access_token" in answer, answer
    assert claims_of(answer["access_token"])["oid"] == contoso.DANA.oid
    challenge = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
    stronger = app.acquire_token_interactive(
        [SCOPE], timeout=20, claims_challenge=challenge, login_hint=contoso.DANA.upn
    )
    assert claims_of(stronger["access_token"])["acrs"] == ["c1"]
    account = app.get_accounts()[0]
    assert "access_token" in app.acquire_token_silent([SCOPE], account, claims_challenge=challenge)


def test_msal_as_a_web_application(lab_environment):
    import msal

    control(lab_environment, secret={"app": contoso.REMIT.id, "secret": "for msal"})
    app = msal.ConfidentialClientApplication(
        contoso.REMIT.id, authority=f"{LOGIN}/{contoso.TENANT}", client_credential="for msal", http_cache={}
    )
    back = "http://127.0.0.1:8443/sign-in/entra/callback"
    flow = app.initiate_auth_code_flow(
        [SCOPE], redirect_uri=back, login_hint=contoso.SAM.upn, response_mode="form_post"
    )
    page = requests.get(flow["auth_uri"], allow_redirects=False, timeout=5)
    pairs = re.findall(r'name="([^"]+)" value="([^"]*)"', page.text)
    told = {name: unescape(text) for name, text in pairs}
    answer = app.acquire_token_by_auth_code_flow(flow, told)
    assert answer["id_token_claims"]["nonce"]
    assert claims_of(answer["access_token"])["roles"] == ["Security"]


def test_msal_hears_of_a_revocation(lab_environment):
    import msal

    app = msal.PublicClientApplication(
        contoso.CLI.id, authority=f"{LOGIN}/{contoso.TENANT}", http_cache={}, client_capabilities=["CP1"]
    )
    flow = app.initiate_device_flow(scopes=[SCOPE])
    _approve(flow["verification_uri"], flow["user_code"], contoso.ADA)
    first = claims_of(app.acquire_token_by_device_flow(flow)["access_token"])
    assert first["xms_cc"] == ["CP1"]
    assert first["exp"] - first["iat"] >= 24 * 3600
    account = app.get_accounts()[0]
    newer = json.dumps({"access_token": {"nbf": {"essential": True, "value": str(first["iat"])}}})
    again = app.acquire_token_silent_with_error([SCOPE], account, claims_challenge=newer)
    assert claims_of(again["access_token"])["iat"] > first["iat"]
    control(lab_environment, revoke_sessions=contoso.ADA.oid)
    late = json.dumps({"access_token": {"nbf": {"essential": True, "value": str(int(time.time()) + 1)}}})
    refused = app.acquire_token_silent_with_error([SCOPE], account, claims_challenge=late)
    assert refused["error_codes"] == [50173]
    assert refused["error"] == "interaction_required"


def _approve(uri, code, user, **more):
    answer = requests.post(uri, data={"user_code": code, "account": user.upn, **more}, timeout=5)
    assert "You have signed in" in answer.text


def test_azure_identity_opens_a_browser(browser):
    from azure.identity import InteractiveBrowserCredential

    credential = InteractiveBrowserCredential(tenant_id=contoso.TENANT, client_id=contoso.CLI.id, timeout=20)
    token = credential.get_token(SCOPE)
    assert claims_of(token.token)["preferred_username"] == contoso.DANA.upn


@pytest.mark.parametrize("chain", [False, True])
def test_a_certificate(certificate, chain):
    from azure.identity import CertificateCredential

    credential = CertificateCredential(contoso.TENANT, contoso.NIGHTLY.id, certificate, send_certificate_chain=chain)
    claims = claims_of(credential.get_token(SCOPE).token)
    assert (claims["oid"], claims["roles"], claims["idtyp"]) == (contoso.NIGHTLY.principal, ["Pipeline"], "app")
    assert claims["azpacr"] == "2"


def test_a_workload_shows_anothers_token(federated):
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential, WorkloadIdentityCredential

    for credential in (WorkloadIdentityCredential(), ManagedIdentityCredential(), DefaultAzureCredential()):
        claims = claims_of(credential.get_token(SCOPE, enable_cae=True).token)
        assert claims["azp"] == contoso.NIGHTLY.id


def test_managed_identities(lab_environment):
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

    pipeline = contoso.FRAUD_PIPELINE
    for credential in (
        ManagedIdentityCredential(client_id=pipeline.client_id),
        ManagedIdentityCredential(identity_config={"resource_id": pipeline.arm_id}),
        DefaultAzureCredential(managed_identity_client_id=pipeline.client_id),
    ):
        claims = claims_of(credential.get_token(SCOPE).token)
        assert (claims["oid"], claims["roles"]) == (pipeline.oid, ["Pipeline"])
    control(lab_environment, token_version={"app": contoso.REMIT.id, "version": "1.0"})
    try:
        claims = claims_of(ManagedIdentityCredential(client_id=pipeline.client_id).get_token(SCOPE).token)
        assert (claims["ver"], claims["appid"]) == ("1.0", pipeline.client_id)
    finally:
        control(lab_environment, token_version={"app": contoso.REMIT.id, "version": "2.0"})


def test_an_environment_with_a_secret(lab_environment, monkeypatch):
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import DefaultAzureCredential

    control(lab_environment, secret={"app": contoso.NIGHTLY.id, "secret": "for a test"})
    monkeypatch.setenv("AZURE_TENANT_ID", contoso.TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", contoso.NIGHTLY.id)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "for a test")
    assert claims_of(DefaultAzureCredential().get_token(SCOPE).token)["azpacr"] == "1"
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "another")
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        DefaultAzureCredential().get_token(SCOPE)


def test_the_asynchronous_family(federated, certificate, monkeypatch):
    from azure.identity import aio

    # aiohttp looks for roots once, when whoever is the first imports it
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ssl.create_default_context())

    async def ask(credential):
        async with credential:
            return claims_of((await credential.get_token(SCOPE)).token)

    nightly = (contoso.TENANT, contoso.NIGHTLY.id)
    for credential in (
        aio.WorkloadIdentityCredential(),
        aio.DefaultAzureCredential(),
        aio.CertificateCredential(*nightly, certificate),
    ):
        assert asyncio.run(ask(credential))["azp"] == contoso.NIGHTLY.id
    monkeypatch.delenv("AZURE_FEDERATED_TOKEN_FILE")
    machine = aio.ManagedIdentityCredential(client_id=contoso.FRAUD_PIPELINE.client_id)
    assert asyncio.run(ask(machine))["oid"] == contoso.FRAUD_PIPELINE.oid


class Resource(BaseHTTPRequestHandler):
    """An API that wants a second factor, and then a token newer than the first strong one that it saw."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list] = []

    def log_message(self, *_):
        pass

    def do_GET(self):
        claims = claims_of(self.headers["Authorization"].removeprefix("Bearer "))
        self.seen.append(claims)
        wanted = None
        if "acrs" not in claims:
            wanted = {"acrs": {"essential": True, "value": "c1"}}
        elif self.path == "/newer" and claims["iat"] <= self.seen[0]["iat"]:
            wanted = {"nbf": {"essential": True, "value": str(self.seen[0]["iat"])}}
        self.send_response(401 if wanted else 200)
        if wanted:
            text = base64.b64encode(json.dumps({"access_token": wanted}).encode()).decode()
            uri = f"{LOGIN}/common/oauth2/authorize"
            self.send_header(
                "WWW-Authenticate",
                f'Bearer realm="", authorization_uri="{uri}", error="insufficient_claims", claims="{text}"',
            )
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def resource():
    Resource.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Resource)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("cae", [False, True])
def test_azure_core_answers_challenges_by_itself(lab_environment, resource, cae):
    from azure.core import PipelineClient
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy
    from azure.core.rest import HttpRequest
    from azure.identity import DeviceCodeCredential

    def prompt(uri, code, _):
        _approve(uri, code, contoso.DANA, **({"second_factor": "approve"} if Resource.seen else {}))

    credential = DeviceCodeCredential(contoso.CLI.id, tenant_id=contoso.TENANT, prompt_callback=prompt)
    policy = BearerTokenCredentialPolicy(credential, SCOPE, enable_cae=cae)
    client = PipelineClient(resource, policies=[policy])
    assert client.send_request(HttpRequest("GET", f"{resource}/strong"), enforce_https=False).status_code == 200
    weak, strong = Resource.seen
    assert ("acrs" in weak, strong["acrs"]) == (False, ["c1"])
    assert strong.get("xms_cc") == (["CP1"] if cae else None)
    del Resource.seen[0]
    assert client.send_request(HttpRequest("GET", f"{resource}/newer"), enforce_https=False).status_code == 200
    assert Resource.seen[-1]["iat"] > strong["iat"]
    assert Resource.seen[-1]["acrs"] == ["c1"]
