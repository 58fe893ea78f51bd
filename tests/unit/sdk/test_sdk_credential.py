"""`remit.Credential` and its kin, in the hands of the libraries that they are for."""

import asyncio
import base64
import copy
import datetime as dt
import json
import pickle
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core.credentials import SupportsTokenInfo, TokenCredential
from azure.core.credentials_async import AsyncSupportsTokenInfo, AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.core.pipeline import Pipeline
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy
from azure.core.pipeline.transport import HttpRequest, RequestsTransport
from azure.identity import ChainedTokenCredential, CredentialUnavailableError
from google.auth import exceptions
from google.auth.credentials import TokenState

import remit
import remit.aio
import remit.database
import remit.google
from remit.model.causes import Cause
from remit.model.errors import NotSignedIn, Refused, RemitError
from remit.sdk import sign_in
from remit.sdk.ambient import Ambient
from remit.sdk.beside import beside
from remit.sdk.resources import Resource, parse

BLOB = "https://storage.azure.com/.default"
DECISION = "d-01m80qgcfx5fbkpsfm97w2aqr1"
REFUSED = f"remit: no policy permits this: x (decision {DECISION}); ask the owner of `readers` to be added to it"


@pytest.fixture
def outside(installation, signed_in, monkeypatch):
    """Somebody is signed in, and a project is set."""
    monkeypatch.setattr(sign_in, "current", lambda *_: signed_in)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    installation.say("/v1/token", {"access_token": "blob-token", "expires_in": 900})
    return installation


@pytest.fixture
def inside(installation, monkeypatch):
    """A run, whose sidecar is the installation's stand-in: it answers in App Service's form and in Google's."""
    place = installation.url.removeprefix("http://")
    for name, value in {
        "REMIT_JOB": "j-01m814yq8ktrvf3bdbs2bq4xs1",
        "GOOGLE_CLOUD_PROJECT": "p",
        "IDENTITY_ENDPOINT": f"{installation.url}/secret/msi/token",
        "IDENTITY_HEADER": "the header's secret",
        "GCE_METADATA_HOST": f"{place}/secret",
        "http_proxy": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    ends = str(int(time.time()) + 900)
    installation.say("/secret/msi/token", {"access_token": "blob-token", "expires_on": ends, "token_type": "Bearer"})
    metadata = {"access_token": "gs-token", "expires_in": 900, "token_type": "Bearer"}
    installation.say("/secret/computeMetadata/v1/instance/service-accounts/default/token", metadata)
    return installation


def forms(installation):
    return [{name: one[0] for name, one in parse_qs(body.decode()).items()} for *_, body in installation.asked]


# what it costs


def test_importing_costs_nothing():
    text = (
        "import sys; before = set(sys.modules); import remit; new = set(sys.modules) - before;"
        "print(sorted(name for name in new if name.partition('.')[0] not in sys.stdlib_module_names))"
    )
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert found.stdout == "['remit']\n"


@pytest.mark.parametrize(
    "text",
    [
        "import remit; remit.Credential",
        "import remit.aio",
        "import remit.google",
        "import remit.database",
        "import remit; remit.failures",
    ],
)
def test_a_part_brings_no_more_than_it_needs(text):
    heavy = "{'tensorflow', 'msal', 'httpx', 'sqlalchemy', 'psycopg', 'fsspec', 'pyodbc', 'grpc', 'requests'}"
    text += f"; import sys; print({heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    brought = found.stdout.strip()
    assert brought in ("set()", "{'requests'}"), brought  # azure-core's and google-auth's own


def test_what_is_not_there():
    with pytest.raises(AttributeError, match="`remit` has no attribute `Credentials`"):
        remit.Credentials  # noqa: B018 - it is the attribute that is asked for
    with pytest.raises(AttributeError, match="no attribute `Pool`"):
        remit.database.Pool  # noqa: B018 - the same


# azure-core


@pytest.mark.promise("T7")
def test_it_is_what_azure_core_wants():
    credential = remit.Credential()
    assert isinstance(credential, TokenCredential)
    assert isinstance(credential, SupportsTokenInfo)
    assert isinstance(remit.aio.Credential(), AsyncTokenCredential)
    assert isinstance(remit.aio.Credential(), AsyncSupportsTokenInfo)


@pytest.mark.promise("T7")
def test_outside_of_a_run_the_broker_decides(outside):
    with remit.Credential() as credential:
        found = credential.get_token(BLOB, tenant_id="any", enable_cae=True)
        info = credential.get_token_info(BLOB, options={"enable_cae": True})
    assert found.token == info.token == "blob-token"
    assert 895 <= found.expires_on - time.time() <= 901
    assert (info.token_type, info.expires_on - info.refresh_on) == ("Bearer", 300)
    [form] = forms(outside)
    assert form["audience"] == "//blob.core.windows.net/projects/p"
    assert form["subject_token"] == "identity-of-dana"
    remit.Credential("q").get_token("https://database.windows.net/.default")
    assert forms(outside)[1]["audience"] == "//database.windows.net/projects/q"
    remit.Credential().get_token("remit")
    assert forms(outside)[2]["audience"] == "remit"


@pytest.mark.promise("T7")
def test_inside_a_run_its_sidecar_is_asked(inside):
    assert remit.Credential().get_token(BLOB).token == "blob-token"
    remit.Credential("p").get_token("remit")
    one, other = inside.asked
    assert parse_qs(urlsplit(one[1]).query) == {
        "api-version": ["2019-08-01"],
        "resource": ["https://storage.azure.com"],
    }
    assert (one[2]["x-identity-header"], one[2]["metadata"]) == ("the header's secret", "true")
    assert parse_qs(urlsplit(other[1]).query)["resource"] == ["remit"]
    with pytest.raises(ClientAuthenticationError, match="has no tokens for `q`"):
        remit.Credential("q").get_token(BLOB)


def test_the_asynchronous_one(outside):
    async def story():
        async with remit.aio.Credential() as credential:
            found = await asyncio.gather(*(credential.get_token(BLOB) for _ in range(10)))
            info = await credential.get_token_info(BLOB, options={})
            await credential.get_token(BLOB)
        return found, info

    found, info = asyncio.run(story())
    assert {one.token for one in found} == {info.token} == {"blob-token"}
    assert len(outside.asked) == 1


def test_nothing_prints_a_token(outside):
    credential = remit.Credential("p")
    shown = [credential.get_token(BLOB), credential.get_token_info(BLOB), credential, remit.aio.Credential()]
    google = remit.google.Credentials("p")
    google.refresh(None)
    assert (
        "blob-token"
        not in f"{shown} {google} {[str(one) for one in shown]} {vars(credential)} {credential._tokens._held}"
    )


def test_it_travels_to_a_worker_without_its_tokens(outside):
    for credential in (remit.Credential("q"), remit.aio.Credential("q"), remit.google.Credentials("q", ["x"])):
        there = pickle.loads(pickle.dumps(credential))  # noqa: S301 - a test's own
        assert there._project == "q"
        assert not there._tokens._held
        assert copy.copy(credential) is not credential


@pytest.mark.parametrize("scopes", [(), (BLOB, BLOB)])
def test_one_scope_at_a_time(scopes):
    with pytest.raises(ValueError, match="one scope"):
        remit.Credential("p").get_token(*scopes)


@pytest.mark.promise("T8")
def test_a_refusal_is_told_and_not_tried_again(outside):
    outside.say(
        "/v1/token", {"error_description": REFUSED}, 403, x_remit_reason="no_policy_permits", x_remit_decision=DECISION
    )
    for ask in (
        lambda: remit.Credential().get_token(BLOB),
        lambda: asyncio.run(remit.aio.Credential().get_token(BLOB)),
    ):
        with pytest.raises(ClientAuthenticationError, match=DECISION) as caught:
            ask()
        found = remit.failures.diagnose(caught.value)
        assert (found.cause, found.decision, found.who) == (Cause.REFUSED, DECISION, "owner of `readers`")
        assert "identity-of-dana" not in repr(caught.value)


def test_a_refusal_inside_a_run(inside):
    said = {"statusCode": 403, "message": REFUSED}
    inside.say("/secret/msi/token", said, 403, x_remit_reason="no_policy_permits", x_remit_decision=DECISION)
    with pytest.raises(ClientAuthenticationError, match=DECISION):
        remit.Credential().get_token(BLOB)


@pytest.mark.parametrize("status", [500, 503, 302, 200])
def test_what_may_pass_in_a_moment_is_tried_again(inside, status):
    inside.say(
        "/secret/msi/token",
        {} if status == 200 else {"message": "a cloud is slow"},
        status,
        location="http://127.0.0.1:1/",
    )
    with pytest.raises(ServiceRequestError):
        remit.Credential().get_token(BLOB)
    assert len(inside.asked) == 1  # a redirect is not followed


def test_nobody_signed_in_lets_a_chain_go_on(outside, signed_in):
    signed_in.trouble = NotSignedIn("nobody is signed in on this machine", hint="run `remit login --url URL`")
    with pytest.raises(CredentialUnavailableError, match="remit login"):
        remit.Credential().get_token(BLOB)

    class Next:
        def get_token(self, *scopes, **_):
            return "the next one"

    assert ChainedTokenCredential(remit.Credential(), Next()).get_token(BLOB) == "the next one"


def test_an_unknown_scope_and_a_project_that_nobody_named(outside, monkeypatch):
    with pytest.raises(ClientAuthenticationError, match="no token can be had for the scope"):
        remit.Credential().get_token("https://management.azure.com/.default")
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    with pytest.raises(ClientAuthenticationError, match="GOOGLE_CLOUD_PROJECT"):
        remit.Credential().get_token(BLOB)
    assert outside.asked == []


class Service(ThreadingHTTPServer):
    """Takes `good`, and challenges everything else as Microsoft's services do."""

    def __init__(self, good):
        super().__init__(("127.0.0.1", 0), Challenges)
        self.good, self.seen = good, []


class Challenges(BaseHTTPRequestHandler):
    def do_GET(self):
        token = self.headers["authorization"].removeprefix("Bearer ")
        self.server.seen.append(token)
        self.send_response(200 if token == self.server.good else 401)
        claims = base64.b64encode(b'{"access_token":{"nbf":{"essential":true,"value":"1"}}}').decode()
        self.send_header("www-authenticate", f'Bearer realm="", error="insufficient_claims", claims="{claims}"')
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Nobody reads it."""


def through_azure_core(credential, good):
    with Service(good) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        policy = BearerTokenCredentialPolicy(credential, BLOB, enable_cae=True)
        policies = [RetryPolicy(retry_total=2, retry_backoff_factor=0), policy]
        try:
            with Pipeline(RequestsTransport(), policies) as pipeline:
                url = f"http://127.0.0.1:{service.server_address[1]}/"
                answer = pipeline.run(HttpRequest("GET", url), enforce_https=False)
            return answer.http_response.status_code, service.seen
        finally:
            service.shutdown()
            thread.join()


def test_a_claims_challenge_is_answered_with_a_newer_token(outside):
    credential = remit.Credential()
    credential.get_token(BLOB)
    outside.say("/v1/token", {"access_token": "newer", "expires_in": 900})
    assert through_azure_core(credential, "newer") == (200, ["blob-token", "newer"])


def test_a_challenge_that_cannot_be_met_says_what_to_do(outside):
    with pytest.raises(ClientAuthenticationError, match=r"newer or stronger sign-in.*remit login"):
        through_azure_core(remit.Credential(), "newer")


def test_the_retry_policy_outlasts_an_outage_and_not_a_refusal(outside):
    outside.say("/v1/token", {}, 503, x_remit_reason="exchange_unavailable")
    with pytest.raises(ServiceRequestError):
        through_azure_core(remit.Credential(), "blob-token")
    assert len(outside.asked) == 3
    outside.asked.clear()
    outside.say("/v1/token", {"error_description": REFUSED}, 403, x_remit_reason="no_policy_permits")
    with pytest.raises(ClientAuthenticationError):
        through_azure_core(remit.Credential(), "blob-token")
    assert len(outside.asked) == 1


# what stands beside a run


@pytest.mark.parametrize(
    "change",
    [
        {"IDENTITY_ENDPOINT": "http://169.254.169.254/msi/token"},
        {"IDENTITY_ENDPOINT": "https://127.0.0.1:1/msi/token"},
        {"IDENTITY_ENDPOINT": "http://127.0.0.1:1@evil.example/msi"},
        {"IDENTITY_ENDPOINT": "http://[bad"},
        {"IDENTITY_ENDPOINT": ""},
        {"IDENTITY_HEADER": ""},
        {"GCE_METADATA_HOST": ""},
        {"GCE_METADATA_HOST": "metadata.google.internal"},
        {"GCE_METADATA_HOST": "127.0.0.1:1@evil.example/x"},
    ],
)
def test_a_run_s_secrets_stay_on_this_machine(inside, monkeypatch, change):
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RemitError, match="beside"):
        Ambient().ask(parse("az://p"))
    assert inside.asked == []


def test_an_app_service_is_no_run(installation):
    named = {"IDENTITY_ENDPOINT": installation.url, "IDENTITY_HEADER": "x"}
    assert beside(named) is None


def test_a_sidecar_that_is_gone_shows_no_secret(inside, monkeypatch):
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:1/secret-path/msi/token")
    with pytest.raises(RemitError, match="does not answer") as caught:
        Ambient().ask(parse("az://p"))
    assert caught.value.__context__ is None
    assert "secret" not in str(caught.value)


# google-auth


def google(*arguments, **named):
    credentials = remit.google.Credentials(*arguments, **named)
    credentials.refresh(None)
    return credentials


@pytest.mark.promise("V8")
def test_google_s_credentials_inside_a_run(inside):
    credentials = google()
    assert credentials.token == "gs-token"
    assert credentials.expiry.tzinfo is None
    left = credentials.expiry - dt.datetime.now(dt.UTC).replace(tzinfo=None)
    assert 890 <= left.total_seconds() <= 900
    assert credentials.token_state is TokenState.FRESH
    assert google(scopes=["https://www.googleapis.com/auth/cloud-platform"]).token == "blob-token"  # the stand-in's
    assert [parse_qs(urlsplit(path).query).get("resource") for _, path, *_ in inside.asked] == [None, ["remit"]]


def test_google_s_credentials_outside_of_one(outside):
    google("q", ["https://www.googleapis.com/auth/devstorage.read_only"])
    google("q", default_scopes=["https://www.googleapis.com/auth/cloud-platform"])
    assert [form["audience"] for form in forms(outside)] == ["//storage.googleapis.com/projects/q", "remit"]


@pytest.mark.parametrize(
    "url",
    [
        "https://us-central1-aiplatform.googleapis.com/v1/projects/p",
        "https://sts.googleapis.com/v1/token",
        "https://aiplatform.googleapis.com/google.cloud",
        "https://bigquery.googleapis.com./",
    ],
)
def test_google_is_never_shown_the_token_for_remit(outside, url, monkeypatch):
    credentials = remit.google.Credentials("p").with_scopes(["https://www.googleapis.com/auth/cloud-platform"])
    headers = {}
    with pytest.raises(exceptions.RefreshError, match="is not for Google") as caught:
        credentials.before_request(None, "GET", url, headers)
    assert (headers, caught.value.retryable, outside.asked) == ({}, False, [])
    credentials.before_request(None, "GET", "https://remit.example:8444/v1/projects/p", headers)
    assert headers["authorization"] == "Bearer blob-token"
    storage = {}
    remit.google.Credentials("p").before_request(None, "GET", "https://storage.googleapis.com/", storage)
    assert storage["authorization"] == "Bearer blob-token"


def test_google_is_not_shown_it_in_a_run_either(inside):
    """The tunnel proves who this is where the gateway is, and a host that has no door of the gateway's is Google."""
    credentials = remit.google.Credentials().with_scopes(["https://www.googleapis.com/auth/cloud-platform"])
    for url in ("https://bigquery.googleapis.com/bigquery/v2", "https://aiplatform.googleapis.com./v1/projects/p"):
        headers = {}
        credentials.before_request(None, "GET", url, headers)
        assert headers["authorization"] == "Bearer remit-reads-nothing-here"
    credentials.before_request(None, "GET", "https://remit.example:8444/v1/projects/p", headers)
    assert headers["authorization"] == "Bearer blob-token"


def test_scopes_and_quota(outside):
    credentials = remit.google.Credentials("p", quota_project_id="mine").with_scopes(["a"]).with_quota_project("theirs")
    assert (credentials.scopes, credentials.quota_project_id, credentials.requires_scopes) == (["a"], "theirs", False)
    headers = {}
    credentials.before_request(None, "GET", "https://remit.example/", headers)
    assert headers["x-goog-user-project"] == "theirs"


@pytest.mark.parametrize(
    ("reason", "status", "again"),
    [
        ("no_policy_permits", 403, False),
        ("revoked", 403, False),
        ("sign_in_again", 401, False),
        ("exchange_unavailable", 503, True),
    ],
)
def test_google_is_told_whether_to_try_again(outside, reason, status, again):
    outside.say("/v1/token", {"error_description": REFUSED}, status, x_remit_reason=reason)
    with pytest.raises(exceptions.RefreshError) as caught:
        google()
    assert caught.value.retryable is again


def test_where_policy_permits_no_bucket_google_s_credentials_say_so(inside):
    word = {"access_token": "remit-reads-nothing-here", "expires_in": 600, "token_type": "Bearer"}
    inside.say("/secret/computeMetadata/v1/instance/service-accounts/default/token", word)
    with pytest.raises(exceptions.RefreshError, match="no token can be had for `gs://p`") as caught:
        google()
    assert isinstance(caught.value.__cause__, Refused)
    inside.say(
        "/secret/computeMetadata/v1/instance/service-accounts/default/token",
        b"access has been revoked\n",
        403,
        x_remit_reason="revoked",
    )
    with pytest.raises(exceptions.RefreshError, match="access has been revoked") as caught:
        google()
    assert not caught.value.retryable


def test_a_resource_is_named_in_full():
    assert json.dumps(str(Resource("gs", "p"))) == '"gs://p"'
