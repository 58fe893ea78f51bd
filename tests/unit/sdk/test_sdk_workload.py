"""A sign-in without a person, with azure-identity itself at the lab, and with the tokens of pipelines."""

import base64
import datetime as dt
import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from tests.unit.sdk.conftest import TENANT, configuration

from remit.model.errors import NotSignedIn, RemitError
from remit.sdk import workload
from remit.sdk.keeper import Keeper
from remit.sdk.pin import seen
from remit.sdk.sign_in import SignIn, current, workload_at
from remit.sdk.workload import Kind, Source, Workload, ambient

ARBITER, PIPELINE = "3c000000-0000-4000-8000-000000000001", "3c000000-0000-4000-8000-000000000002"
PIPELINE_OID = "3d000000-0000-4000-8000-000000000002"
REMIT = "a0000000-0000-4000-8000-000000000001"
NIGHTLY, NIGHTLY_PRINCIPAL = "a0000000-0000-4000-8000-000000000004", "5e000000-0000-4000-8000-000000000004"


def claims(token):
    body = token.reveal().split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def made(seconds=3600, **more):
    """A token whose signature nobody here looks at."""
    body = base64.urlsafe_b64encode(json.dumps({"exp": int(time.time()) + seconds, **more}).encode())
    return f"e30.{body.rstrip(b'=').decode()}.c2ln"


def workload_of(url, kind, environment, value="", why="a test said so"):
    found = configuration(url)
    return Workload(found, Source(kind, why, value), seen(found), environment)


# Azure


@pytest.mark.promise("T4")
def test_a_managed_identity(installed, lab_environment, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_ID", PIPELINE)
    source = ambient({"REMIT_WORKLOAD": "managed-identity"})
    assert source == Source(Kind.MANAGED, "`REMIT_WORKLOAD` names it")
    found = configuration(installed.url)
    signed_in = Workload(found, source, seen(found))
    told = claims(signed_in.token())
    assert (told["oid"], told["tid"], told["idtyp"]) == (PIPELINE_OID, TENANT, "app")
    assert signed_in.origin() == "managed-identity, since `REMIT_WORKLOAD` names it"
    assert signed_in.token() == signed_in.token()


def test_a_managed_identity_that_is_not_there(installed, lab_environment):
    with pytest.raises(NotSignedIn, match="azure gave no token: ") as caught:
        workload_of(installed.url, Kind.MANAGED, {"AZURE_CLIENT_ID": REMIT}).token()
    assert caught.value.__context__ is None


@pytest.mark.promise("T4")
def test_a_federated_token(installed, lab_environment, tmp_path):
    answer = httpx.get(
        f"http://127.0.0.1:{lab_environment.imds}/metadata/identity/oauth2/token",
        params={"api-version": "2018-02-01", "resource": "api://AzureADTokenExchange", "client_id": PIPELINE},
        headers={"metadata": "true"},
        trust_env=False,
    )
    file = tmp_path / "token"
    file.write_text(answer.json()["access_token"])
    given = {"AZURE_FEDERATED_TOKEN_FILE": str(file), "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": NIGHTLY}
    source = ambient(given)
    assert (source.kind, source.why) == (Kind.FEDERATED, "`AZURE_FEDERATED_TOKEN_FILE` is set")
    found = configuration(installed.url)
    assert claims(Workload(found, source, seen(found), given).token())["oid"] == NIGHTLY_PRINCIPAL
    file.write_text(made())
    with pytest.raises(NotSignedIn, match="azure gave no token: "):
        Workload(found, source, seen(found), given).token()
    file.unlink()
    with pytest.raises(NotSignedIn, match="azure gave no token: "):
        Workload(found, source, seen(found), given).token()


def certificate(name):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    return (
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode(),
        signed.public_bytes(serialization.Encoding.PEM).decode(),
    )


@pytest.mark.promise("T4")
def test_a_certificate(installed, lab_environment, tmp_path):
    key, pem = certificate("pipeline")
    file = tmp_path / "pipeline.pem"
    file.write_text(key + pem)
    given = {"AZURE_CLIENT_CERTIFICATE_PATH": str(file), "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": NIGHTLY}
    source = ambient(given)
    found = configuration(installed.url)
    with pytest.raises(NotSignedIn, match=r"azure gave no token: .*AADSTS700027"):
        Workload(found, source, seen(found), given).token()
    command = {"certificate": {"app": NIGHTLY, "pem": pem}}
    httpx.post(lab_environment.control, json=command, trust_env=False).raise_for_status()
    assert claims(Workload(found, source, seen(found), given).token())["oid"] == NIGHTLY_PRINCIPAL
    named = given | {"AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com"}
    assert claims(Workload(found, source, seen(found), named).token())["oid"] == NIGHTLY_PRINCIPAL


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_certificate_that_is_none(tmp_path, text):
    file = tmp_path / "pipeline.pem"
    if text:
        file.write_text(text)
    given = {"AZURE_CLIENT_CERTIFICATE_PATH": str(file), "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": REMIT}
    with pytest.raises(NotSignedIn, match="cannot be used"):
        workload_of("http://127.0.0.1:1", Kind.CERTIFICATE, given, str(file))


@pytest.mark.parametrize("kind", [Kind.FEDERATED, Kind.CERTIFICATE])
@pytest.mark.parametrize("missing", ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "its file"])
def test_what_azure_needs_besides(kind, missing):
    given = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": REMIT}
    given.pop(missing, None)
    with pytest.raises(NotSignedIn, match=f"the identity `{kind}` needs `AZURE_.*`, which is not set"):
        workload_of("http://127.0.0.1:1", kind, given, "" if missing == "its file" else "/file")


# pipelines


def test_a_token_file_is_read_anew(installed, tmp_path):
    file = tmp_path / "token"
    first, second = made(jti="1"), made(jti="2")
    file.write_text(f"{first}\n")
    signed_in = workload_of(installed.url, Kind.TOKEN_FILE, {}, str(file))
    assert signed_in.token().reveal() == first
    file.write_text(second)
    assert signed_in.token().reveal() == second


@pytest.mark.parametrize("text", ["", "a.b.c", "not a token", "x" * (70 << 10), "e30.e30.x", "e30.W10.x"])
def test_a_token_file_without_a_token(installed, tmp_path, text):
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(NotSignedIn, match="holds no signed token"):
        workload_of(installed.url, Kind.TOKEN_FILE, {}, str(file)).token()
    file.unlink()
    with pytest.raises(NotSignedIn, match="cannot be read: No such file"):
        workload_of(installed.url, Kind.TOKEN_FILE, {}, str(file)).token()


COUNTING = """
import pathlib, sys
file = pathlib.Path(sys.argv[1]); file.write_text(file.read_text() + "x")
print(sys.argv[2])
"""


def test_a_token_command_is_asked_again_before_the_token_ends(installed, tmp_path):
    file, script = tmp_path / "calls", tmp_path / "command.py"
    script.write_text(COUNTING)
    for seconds, calls in ((3600, 1), (30, 2)):
        file.write_text("")
        command = f"{sys.executable} {script} {file} {made(seconds)}"
        signed_in = workload_of(installed.url, Kind.TOKEN_COMMAND, {}, command)
        assert signed_in.token() == signed_in.token()
        assert len(file.read_text()) == calls


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/no/such", "cannot be run: FileNotFoundError"),
        ("", "cannot be run: IndexError"),
        (f"{sys.executable} -c 'raise SystemExit(3)'", "ended with 3"),
        ("echo nothing", "holds no signed token"),
        ("sleep 5", "cannot be run: TimeoutExpired"),
    ],
)
def test_a_token_command_that_fails(installed, monkeypatch, command, said):
    monkeypatch.setattr(workload, "_TIMEOUT", 0.5)
    with pytest.raises(NotSignedIn, match=said):
        workload_of(installed.url, Kind.TOKEN_COMMAND, {}, command).token()


@pytest.mark.promise("V16")
def test_github(installed):
    installed.say("/oidc", {"value": made()})
    url = f"{installed.url}/oidc?api-version=2.0"
    given = {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner's"}
    assert ambient(given).kind is Kind.GITHUB
    found = configuration(installed.url, audience="remit")
    signed_in = Workload(found, ambient(given), seen(found), given)
    assert signed_in.token() == signed_in.token()
    [(_, path, headers, _)] = [asked for asked in installed.asked if asked[1].startswith("/oidc")]
    assert path == "/oidc?api-version=2.0&audience=remit"
    assert headers["authorization"] == "Bearer runner's"
    for document, status in (({}, 200), ({"value": "x"}, 200), ([], 200), ({}, 403)):
        installed.say("/oidc", document, status)
        with pytest.raises(NotSignedIn, match="GitHub") as caught:
            Workload(found, ambient(given), seen(found), given).token()
        assert caught.value.__context__ is None


def test_github_without_permission_or_audience():
    secret = {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner's"}
    for given in ({}, secret, secret | {"ACTIONS_ID_TOKEN_REQUEST_URL": "http://runner.example/"}):
        with pytest.raises(NotSignedIn, match="not GitHub Actions'") as caught:
            workload_of("http://127.0.0.1:1", Kind.GITHUB, given)
        assert "id-token: write" in caught.value.hint
    with pytest.raises(NotSignedIn, match="does not say whom a pipeline's token"):
        workload_of("http://127.0.0.1:1", Kind.GITHUB, secret | {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://runner/"})


# which, and when


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, None),
        ({"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://169.254.169.254"}, None),  # a machine's is taken only by name
        ({"AZURE_CLIENT_ID": "x"}, None),
        ({"IDENTITY_ENDPOINT": "http://x"}, Kind.MANAGED),
        ({"IDENTITY_ENDPOINT": "http://x", "AZURE_FEDERATED_TOKEN_FILE": "/f"}, Kind.FEDERATED),
        ({"AZURE_FEDERATED_TOKEN_FILE": "/f", "ACTIONS_ID_TOKEN_REQUEST_URL": "https://x"}, Kind.GITHUB),
        ({"REMIT_TOKEN_FILE": "/f", "ACTIONS_ID_TOKEN_REQUEST_URL": "https://x"}, Kind.TOKEN_FILE),
        ({"REMIT_TOKEN_COMMAND": "c", "REMIT_WORKLOAD": "managed-identity"}, Kind.MANAGED),
        ({"REMIT_WORKLOAD": "certificate", "AZURE_CLIENT_CERTIFICATE_PATH": "/f"}, Kind.CERTIFICATE),
    ],
)
def test_which_identity_the_surroundings_give(given, kind):
    found = ambient(given)
    assert (found.kind if found else None) == kind
    if found and found.kind is not Kind.MANAGED:
        assert found.value == given[workload._SIGNS[found.kind]]


def test_an_identity_that_is_none():
    with pytest.raises(RemitError, match="`REMIT_WORKLOAD` names `root`") as caught:
        ambient({"REMIT_WORKLOAD": "root"})
    assert "token-file, token-command, github" in caught.value.hint


def test_the_surroundings_count_where_nobody_is_signed_in(
    installed, tmp_path, runtime_folder, monkeypatch, lab_environment
):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime_folder))
    file = tmp_path / "token"
    file.write_text(made())
    given = {"REMIT_URL": installed.url, "REMIT_TOKEN_FILE": str(file)}
    found = current(given)
    assert found.token().reveal() == file.read_text()
    assert found.origin() == "token-file, since `REMIT_TOKEN_FILE` is set"
    for name in given:
        with pytest.raises(NotSignedIn, match="nobody is signed in"):
            current({other: value for other, value in given.items() if other != name})
    kept = Keeper()
    try:
        SignIn.at(installed.url, kept)._finish({"access_token": "x"})  # nothing to keep: nobody yet
        assert isinstance(current(given), Workload)
        signed_in, where = workload_at(installed.url, Source(Kind.TOKEN_FILE, "w", str(file)))
        assert where.name == "keeper"
        assert signed_in.token().reveal() == file.read_text()
        again = current({})
        assert again.origin() == "token-file, since w"
        assert again.token().reveal() == file.read_text()
        with pytest.raises(NotSignedIn, match="nobody is signed in"):
            SignIn.kept()  # no person is
    finally:
        kept.end()


def test_a_workload_that_has_no_token_is_not_signed_in(installed, runtime_folder):
    kept = Keeper(runtime_folder / "keeper.sock")
    with pytest.raises(NotSignedIn):
        workload_at(installed.url, Source(Kind.TOKEN_FILE, "w", "/none"), kept)
    assert kept.get() is None


def test_a_door_of_another_user_gets_no_workload_s_token(installed, tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text(made())
    found = current({"REMIT_URL": installed.url, "REMIT_TOKEN_FILE": str(file)})
    monkeypatch.setattr("remit.sdk.pin.owners", lambda url, tables: (4242,))
    with pytest.raises(RemitError, match="another user"):
        found.token()


def test_azure_is_loaded_when_it_is_asked_for():
    script = (
        "import sys, remit.sdk.sign_in; print([name for name in ('azure', 'msal', 'keyring') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Google's and Kubernetes's


class GoogleMetadata:
    """What a Vertex job or Cloud Run has beside it: answers from a table, and keeps what was asked."""

    def __init__(self, installation):
        self.installation = installation
        self.host = installation.url.removeprefix("http://")

    def say(self, body, status=200, **headers):
        self.installation.say(IDENTITY, body, status, **({"metadata_flavor": "Google"} | headers))

    @property
    def asked(self):
        return [(path, headers) for _, path, headers, _ in self.installation.asked if path.startswith(IDENTITY)]


IDENTITY = "/computeMetadata/v1/instance/service-accounts/default/identity"
NOWHERE = Path("/no/such/token")


@pytest.fixture
def google(installed):
    return GoogleMetadata(installed)


@pytest.mark.promise("V8")
@pytest.mark.parametrize(
    ("sign", "place"),
    [("CLOUD_ML_JOB_ID", "a Vertex AI job"), ("CLOUD_RUN_JOB", "a Cloud Run job"), ("K_SERVICE", "Cloud Run")],
)
def test_a_google_service_account(installed, google, sign, place):
    google.say(made(email="train@contoso.iam.gserviceaccount.com").encode())
    given = {sign: "4700", "GCE_METADATA_HOST": google.host}
    source = ambient(given, NOWHERE)
    assert source == Source(Kind.GOOGLE, f"`{sign}` is set: {place}")
    found = configuration(installed.url, audience="api://remit")
    signed_in = Workload(found, source, seen(found), given)
    assert claims(signed_in.token())["email"] == "train@contoso.iam.gserviceaccount.com"
    assert signed_in.token() == signed_in.token()
    [(path, headers)] = google.asked
    assert path == f"{IDENTITY}?audience=api%3A%2F%2Fremit&format=full"
    assert headers["metadata-flavor"] == "Google"
    assert signed_in.origin() == f"google-metadata, since `{sign}` is set: {place}"


def test_a_google_machine_s_identity_only_by_name():
    assert ambient({"GCE_METADATA_HOST": "127.0.0.1:1"}, NOWHERE) is None
    assert ambient({"REMIT_WORKLOAD": "google-metadata"}, NOWHERE).kind is Kind.GOOGLE


@pytest.mark.parametrize(
    "case",
    [
        (b"not found", 404, {}, "gave no token: HTTPStatusError"),
        (made().encode(), 200, {"metadata_flavor": "x"}, "gave no token: it is none"),
        (b"<html>a portal</html>", 200, {}, "holds no signed token"),
        (b"", 302, {"location": "http://attacker.example"}, "gave no token: HTTPStatusError"),
    ],
)
def test_what_is_no_token_of_google_s(installed, google, case):
    body, status, headers, said = case
    google.say(body, status, **headers)
    found = configuration(installed.url, audience="api://remit")
    given = {"GCE_METADATA_HOST": google.host}
    with pytest.raises(NotSignedIn, match=said):
        Workload(found, Source(Kind.GOOGLE, "a test"), seen(found), given).token()


def test_a_google_token_is_for_somebody(installed):
    found = configuration(installed.url, audience="")
    with pytest.raises(NotSignedIn, match="does not say whom a machine's token is to be issued for"):
        Workload(found, Source(Kind.GOOGLE, "a test"), seen(found), {})


@pytest.mark.promise("V8")
def test_a_pod_s_projected_token_is_read_anew(installed, tmp_path):
    file = tmp_path / "token"
    assert ambient({}, file) is None
    file.write_text(made(sub="system:serviceaccount:fraud:train") + "\n")
    source = ambient({"K_SERVICE": "x"}, file)
    assert source == Source(Kind.KUBERNETES, f"`{file}` is there", str(file))
    assert ambient({"REMIT_WORKLOAD": "kubernetes"}, file).value == str(file)
    found = configuration(installed.url)
    signed_in = Workload(found, source, seen(found), {})
    assert claims(signed_in.token())["sub"] == "system:serviceaccount:fraud:train"
    file.write_text(made(sub="system:serviceaccount:fraud:other"))
    assert claims(signed_in.token())["sub"] == "system:serviceaccount:fraud:other"
    assert ambient({"REMIT_TOKEN_FILE": "/mine"}, file).kind is Kind.TOKEN_FILE


def test_inside_a_run_the_identity_is_the_run_s():
    given = {"IDENTITY_ENDPOINT": "http://127.0.0.1:1/s/msi/token", "REMIT_JOB": "j-1", "CLOUD_ML_JOB_ID": "4700"}
    assert ambient(given, NOWHERE).why == "this is inside `remit run`, j-1"
    assert ambient(given, NOWHERE).kind is Kind.MANAGED


def test_a_token_that_is_a_day_old_is_fetched_anew(installed, google):
    old = made(seconds=5 * 3600, iat=int(time.time()) - 23 * 3600 - 60)
    google.say(old.encode())
    found = configuration(installed.url, audience="api://remit")
    signed_in = Workload(found, Source(Kind.GOOGLE, "a test"), seen(found), {"GCE_METADATA_HOST": google.host})
    signed_in.token()
    fresh = made(iat=int(time.time()))
    google.say(fresh.encode())
    assert signed_in.token().reveal() == fresh
    assert signed_in.token().reveal() == fresh
    assert len(google.asked) == 2
