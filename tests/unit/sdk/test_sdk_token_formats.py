"""Tokens in the forms of other programs: golden texts with their sources, and the programs' own libraries."""

import json
import os
import stat
import subprocess
import sys
import time

import pytest
from azure.identity import AzureCliCredential
from google.auth import exceptions, pluggable

from remit.model.errors import RemitError
from remit.model.secret import AccessToken
from remit.sdk.token_formats import Asked, NotForHelper, answer, silent
from remit.sdk.tokens import Issued

ENDS = 1_795_000_000  # 2026-11-18T11:06:40Z
ISSUED = Issued(AccessToken("eyJ.a.b"), ENDS + 0.9)
HOSTS = frozenset({"registry.example", "git.example", "git.example:8443", "127.0.0.1"})


def said(form, asked=None, issued=ISSUED):
    asked = asked or Asked()
    return silent(form, asked) if silent(form, asked) is not None else answer(form, issued, asked, ENDS - 900)


def test_text_and_json():
    assert said("text") == "eyJ.a.b"
    assert json.loads(said("json")) == {"access_token": "eyJ.a.b", "expires_in": 900, "token_type": "Bearer"}


def test_azure_cli(monkeypatch):
    # learn.microsoft.com/cli/azure/account, `get-access-token`: `expiresOn` is local time, `expires_on` the epoch's
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert json.loads(said("azure-cli")) == {
            "accessToken": "eyJ.a.b",
            "expiresOn": "2026-11-18 20:06:40.000000",
            "expires_on": ENDS,
            "tokenType": "Bearer",
        }
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.promise("V16")
@pytest.mark.parametrize(
    "server",
    [
        "registry.example",
        "https://registry.example",
        "https://REGISTRY.example/v1/\n",
        "127.0.0.1",
        "http://127.0.0.1:5000",
    ],
)
def test_docker(server):
    # github.com/docker/docker-credential-helpers: `get` takes the server on stdin and answers with these three
    found = json.loads(said("docker", Asked("get", server, HOSTS)))
    assert found == {"ServerURL": server.strip(), "Username": "oauth2accesstoken", "Secret": "eyJ.a.b"}


HOSTILE = [
    "evil.example",
    "https://evil.example/registry.example",
    "https://registry.example.evil.example",
    "https://registry.example@evil.example",
    "https://evil.example\\@registry.example",
    "https://registry.example\\.evil.example",
    "http://registry.example",
    "ftp://registry.example",
    "https://",
    "https://[bad",
    "https://registry.example:70000",
    "",
    "https://evil.example?https://registry.example",
    "https://evil.example#registry.example",
]


@pytest.mark.promise("V16")
@pytest.mark.parametrize("server", HOSTILE)
def test_docker_gets_nothing_for_a_place_that_was_not_named(server):
    with pytest.raises(NotForHelper, match=r"^credentials not found in native keychain$"):  # what Docker takes for none
        said("docker", Asked("get", server, HOSTS))


def test_docker_s_other_actions_keep_nothing():
    assert said("docker", Asked("list")) == "{}"
    assert said("docker", Asked("store", '{"ServerURL":"x","Username":"u","Secret":"s"}', HOSTS)) == ""
    assert said("docker", Asked("erase", "registry.example", HOSTS)) == ""


@pytest.mark.promise("V16")
def test_git():
    # git-credential(1), INPUT/OUTPUT FORMAT
    asked = Asked("get", "protocol=https\nhost=git.example\npath=models.git\n\n", HOSTS)
    assert said("git", asked) == f"username=oauth2accesstoken\npassword=eyJ.a.b\npassword_expiry_utc={ENDS}\n"
    asked = Asked("get", "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=git.example:8443\n", HOSTS)
    assert said("git", asked) == "capability[]=authtype\nauthtype=Bearer\ncredential=eyJ.a.b\nephemeral=1\n"
    assert said("git", Asked("store", asked.said, HOSTS)) == said("git", Asked("erase", asked.said, HOSTS)) == ""


@pytest.mark.promise("V16")
@pytest.mark.parametrize(
    "lines",
    [
        "protocol=https\nhost=evil.example",
        "protocol=http\nhost=git.example",
        "protocol=ssh\nhost=git.example",
        "protocol=https\nhost=git.example:444\nusername=x@git.example",
        "protocol=https\nhost=git.example@evil.example",
        "protocol=https\nhost=evil.example/git.example",
        "host=git.example",
        "",
        "url=https://git.example",
    ],
)
def test_git_gets_nothing_for_a_place_that_was_not_named(lines):
    if "git.example:444" in lines:
        lines = lines.replace("git.example:444", "other.example:444")
    assert said("git", Asked("get", f"{lines}\n\n", HOSTS)) == ""


def test_git_that_names_two_places():
    with pytest.raises(NotForHelper, match="two places"):
        said("git", Asked("get", "protocol=https\nhost=evil.example\nhost=git.example\n", HOSTS))


@pytest.mark.promise("V16")
@pytest.mark.parametrize("version", ["", "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"])
def test_kubectl(version):
    # kubernetes.io/docs/reference/config-api/client-authentication.v1
    info = json.dumps({"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}})
    found = json.loads(said("kubectl", Asked(environment={"KUBERNETES_EXEC_INFO": info} if version else {})))
    assert found == {
        "apiVersion": version or "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "eyJ.a.b", "expirationTimestamp": "2026-11-18T11:06:40Z"},
    }


@pytest.mark.parametrize(
    "info", ["{", "[]", "{}", '{"apiVersion":"client.authentication.k8s.io/v1alpha1"}', '{"apiVersion":[]}']
)
def test_kubectl_in_a_version_that_is_not_known(info):
    with pytest.raises(NotForHelper, match="version"):
        said("kubectl", Asked(environment={"KUBERNETES_EXEC_INFO": info}))


@pytest.mark.parametrize("token", ["a\nhost=evil", "a b", "é", "a\0b", "a\x1b[0m"])
@pytest.mark.parametrize("form", ["text", "json", "azure-cli", "docker", "git", "kubectl", "google"])
def test_a_token_that_would_leave_its_line(token, form):
    asked = Asked(
        "get", {"docker": "registry.example", "git": "protocol=https\nhost=git.example\n"}.get(form, ""), HOSTS
    )
    with pytest.raises(RemitError, match="one printable word"):
        said(form, asked, Issued(AccessToken(token), ENDS))


# the programs' own libraries


@pytest.fixture
def helper(installation, tmp_path, monkeypatch):
    """The real command, in a run whose sidecar is the installation's stand-in."""
    ends = str(int(time.time()) + 900)
    installation.say("/secret/msi/token", {"access_token": "eyJ.a.b", "expires_on": ends, "token_type": "Bearer"})
    for name, value in {
        "REMIT_JOB": "j-01m814yq8ktrvf3bdbs2bq4xs1",
        "GOOGLE_CLOUD_PROJECT": "p",
        "IDENTITY_ENDPOINT": f"{installation.url}/secret/msi/token",
        "IDENTITY_HEADER": "secret",
        "GCE_METADATA_HOST": f"{installation.url.removeprefix('http://')}/secret",
    }.items():
        monkeypatch.setenv(name, value)

    def write(name, *words):
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\nexec {sys.executable} -m remit.cli token {' '.join(words)}\n", encoding="utf-8")
        file.chmod(stat.S_IRWXU)
        return file

    return write


def from_google(helper, monkeypatch, audience, kind="urn:ietf:params:oauth:token-type:jwt"):
    monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
    source = {"executable": {"command": str(helper("google", "remit", "--format", "google")), "timeout_millis": 120000}}
    url = "https://remit.example/v1/token"
    return pluggable.Credentials(audience, kind, url, credential_source=source).retrieve_subject_token(None)


@pytest.mark.promise("V16")
def test_google_auth_takes_it_from_the_executable(helper, monkeypatch, installation):
    audience = "//storage.googleapis.com/projects/p"
    assert from_google(helper, monkeypatch, audience) == "eyJ.a.b"
    assert "resource=remit" in installation.asked[0][1]


@pytest.mark.promise("V16")
def test_google_auth_is_told_why_there_is_none(helper, monkeypatch, installation):
    own = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/x/providers/y"
    with pytest.raises(exceptions.RefreshError, match=r"does not take remit.{1,3}s tokens"):
        from_google(helper, monkeypatch, own)
    with pytest.raises(exceptions.RefreshError, match="no token of the type"):
        from_google(helper, monkeypatch, "//x", "urn:ietf:params:oauth:token-type:saml2")
    assert installation.asked == []
    refused = {"statusCode": 403, "message": "remit: no policy permits this (decision d-01m80qgcfx5fbkpsfm97w2aqr1)"}
    installation.say("/secret/msi/token", refused, 403, x_remit_reason="no_policy_permits")
    with pytest.raises(exceptions.RefreshError, match="d-01m80qgcfx5fbkpsfm97w2aqr1"):
        from_google(helper, monkeypatch, "//storage.googleapis.com/projects/p")


def test_google_s_revocation_has_nothing_to_do():
    asked = Asked(environment={"GOOGLE_EXTERNAL_ACCOUNT_REVOKE": "1"})
    assert json.loads(said("google", asked)) == {"version": 1, "success": True}


@pytest.mark.promise("V16")
def test_azure_identity_takes_it_from_the_command_line(helper, tmp_path, monkeypatch):
    file = helper("az", "az://p", "--format", "azure-cli")
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")
    found = AzureCliCredential(process_timeout=120).get_token("https://storage.azure.com/.default")
    assert found.token == "eyJ.a.b"
    assert 800 < found.expires_on - time.time() <= 900


@pytest.mark.promise("V16")
def test_git_itself_takes_it(helper, tmp_path, monkeypatch, installation):
    file = helper("git-helper", "remit", "--format", "git", "--host", "git.example", '"$@"')
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")

    def fill(host):
        return subprocess.run(
            ["git", "-c", f"credential.helper={file}", "credential", "fill"],
            input=f"protocol=https\nhost={host}\n\n", capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip

    assert "password=eyJ.a.b\n" in fill("git.example").stdout
    asked = len(installation.asked)
    assert "eyJ" not in fill("evil.example").stdout
    assert len(installation.asked) == asked  # and nothing was decided for it


@pytest.mark.parametrize(
    ("words", "stdin", "code", "out", "err"),
    [
        (("--format", "docker"), "registry.example", 2, "", "it is not said whom docker may show the token"),
        (
            ("--format", "docker", "--host", "r.example"),
            "evil.example",
            1,
            "credentials not found in native keychain\n",
            "",
        ),
        (("--format", "git", "--host", "r.example"), "protocol=https\nhost=evil.example\n\n", 0, "", ""),
        (("store", "--format", "docker", "--host", "r.example"), "{}", 0, "", ""),
        (("list", "--format", "docker", "--host", "r.example"), "", 0, "{}\n", ""),
        (("get", "--format", "docker", "--host", "R.example"), "https://r.example", 0, '"Secret": "eyJ.a.b"}\n', ""),
    ],
)
def test_the_command(helper, words, stdin, code, out, err):  # noqa: PLR0917 - a table's columns
    file = helper("helper", "remit", '"$@"')
    found = subprocess.run([file, *words], input=stdin, capture_output=True, text=True, check=False)
    assert found.returncode == code
    assert found.stdout.endswith(out)
    assert bool(found.stdout) is bool(out)
    assert err in found.stderr
    assert bool(found.stderr) is bool(err)
