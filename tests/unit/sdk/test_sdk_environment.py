"""What a command finds in its environment, what it does not find any more, and which roots it trusts."""

from pathlib import Path

import pytest
from tests.unit.sdk.conftest import CERTIFICATE, configuration

from remit.sdk import environment as surroundings
from remit.sdk import pip_trust
from remit.sdk.environment import CA_VARIABLES, Run, bundles, environment_of, foreign

ADDRESSES = {"metadata": "127.0.0.1:7/s", "header": "h", "proxy": "http://remit:p@127.0.0.1:8"}
ROOT = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
GIVEN = {
    "HTTPS_PROXY": "http://remit:p@127.0.0.1:8",
    "https_proxy": "http://remit:p@127.0.0.1:8",
    "NO_PROXY": "localhost,127.0.0.1,::1",
    "no_proxy": "localhost,127.0.0.1,::1",
    "CLOUDSDK_CONFIG": "/empty",
    "GCE_METADATA_HOST": "127.0.0.1:7/s",
    "GCE_METADATA_IP": "127.0.0.1:7/s",
    "GOOGLE_CLOUD_PROJECT": "p",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:7/s",
    "IDENTITY_ENDPOINT": "http://127.0.0.1:7/s/msi/token",
    "IDENTITY_HEADER": "h",
    "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
    "PGAPPNAME": "j-1",
    "REMIT_JOB": "j-1",
    "REMIT_URL": "https://remit.example",
}


def made(environment, files=()):
    found = configuration("https://remit.example")
    return environment_of(Run("j-1", "p", found, ADDRESSES, dict(files), "/empty"), environment)


def test_everything_and_nothing_else():
    assert made({}) == GIVEN
    assert made({"PATH": "/bin", "IDENTITY_HEADER": "theirs"}) == {**GIVEN, "PATH": "/bin"}


@pytest.mark.promise("T3")
def test_a_connection_to_a_database_names_the_run_beside_the_program():
    assert made({"PGAPPNAME": "train.py"})["PGAPPNAME"] == "train.py j-1"
    assert made({"PGAPPNAME": "n" * 63})["PGAPPNAME"] == "n" * 32 + " j-1"


FOREIGN = [
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_PASSWORD",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_ACCESS_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CLIENT_ID",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TENANT_ID",
    "AZURE_STORAGE_TOKEN",
    "AZURE_USERNAME",
    "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "FSSPEC_ABFS",
    "FSSPEC_AZ_CLIENT_SECRET",
    "FSSPEC_abfs_account_key",
    "FSSPEC_gcs_token",
    "GCLOUD_KEYFILE_JSON",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_AUTH_TOKEN_FOR_TESTING",
    "GOOGLE_CLOUD_KEYFILE_JSON",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "IDENTITY_SERVER_THUMBPRINT",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "REMIT_TOKEN_COMMAND",
    "REMIT_TOKEN_FILE",
    "REMIT_WORKLOAD",
    "TF_AZURE_STORAGE_KEY",
    "TF_AZURE_STORAGE_SAS",
]


@pytest.mark.promise("V22")
def test_credentials_of_others_are_taken_out_and_named():
    environment = dict.fromkeys(FOREIGN, "secret")
    assert foreign(environment) == FOREIGN
    assert made(environment) == GIVEN
    assert foreign({"AZURE_STORAGE_KEY": "", "PGPASSWORD": "x", "AZURE_TENANT_ID": "t", "REMIT_STORE": "keeper"}) == []
    for name in ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME", "FSSPEC_ABFS_ACCOUNT_NAME", "FSSPEC_S3_KEY"):
        assert foreign({name: "contosofraud"}) == []


def test_what_would_lead_past_the_sidecar_is_taken_out():
    ways = {"NO_GCE_CHECK": "true", "GCE_METADATA_ROOT": "x", "grpc_proxy": "http://p", "no_grpc_proxy": "*"}
    assert made({**ways, "GCE_METADATA_MTLS_MODE": "strict"}) == GIVEN


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", ""),
        ("corp.example", "corp.example"),
        (" .corp.example , 10.0.0.0/8,localhost", ".corp.example,10.0.0.0/8"),
        ("googleapis.com,corp.example", "corp.example"),
        (".googleapis.com", ""),
        ("*.googleapis.com", ""),
        ("com", ""),
        ("logging.googleapis.com", ""),
        ("LOGGING.googleapis.com", ""),
        ("sts.googleapis.com", ""),
        ("storage.googleapis.com", "storage.googleapis.com"),
        ("*", ""),
    ],
)
def test_no_proxy_keeps_what_does_not_lead_past_the_gateway(given, kept):
    expected = ",".join(filter(None, ("localhost,127.0.0.1,::1", kept)))
    found = made({"no_proxy": given, "HTTP_PROXY": "http://corp:3128"})
    assert found["NO_PROXY"] == found["no_proxy"] == expected
    assert found.get("HTTP_PROXY") == (None if given == "*" else "http://corp:3128")  # plain http goes where it went


def roots(tmp_path, name):
    file = tmp_path / f"{name}.pem"
    file.write_text(ROOT.format(name))
    return str(file)


def read(found):
    return {name: Path(file).read_text() for name, file in found.items()}


@pytest.fixture
def system(monkeypatch, tmp_path):
    monkeypatch.setattr(surroundings, "_ROOTS", (roots(tmp_path, "system"),))
    paths = type("Paths", (), {"openssl_cafile": "/none.pem"})
    monkeypatch.setattr(surroundings.ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setattr(pip_trust, "_SYSTEM", tmp_path / "etc")
    return ROOT.format("system")


def test_one_file_of_the_system_s_roots_and_ours(system, tmp_path):
    found = bundles({}, CERTIFICATE, tmp_path)
    assert set(found) == set(CA_VARIABLES) - {"PIP_CERT"}
    assert set(found.values()) == {str(tmp_path / "roots.pem")}
    assert set(read(found).values()) == {f"{system}\n{CERTIFICATE}"}


def test_each_library_trusts_whom_it_trusted(system, tmp_path):
    own = {name: roots(tmp_path, name) for name in CA_VARIABLES}
    found = read(bundles(own, CERTIFICATE, tmp_path))
    assert found == {name: f"{ROOT.format(name)}\n{CERTIFICATE}" for name in CA_VARIABLES}


def test_nobody_trusts_more_than_before_because_another_library_did(system, tmp_path):
    found = read(bundles({"REQUESTS_CA_BUNDLE": roots(tmp_path, "corp")}, CERTIFICATE, tmp_path))
    assert found.pop("REQUESTS_CA_BUNDLE") == f"{ROOT.format('corp')}\n{CERTIFICATE}"
    assert set(found.values()) == {f"{system}\n{CERTIFICATE}"}


@pytest.mark.parametrize(
    ("file", "named"),
    [
        (None, {"PIP_CERT": "corp.pem"}),
        ("etc/pip.conf", {}),
        ("etc/xdg/pip/pip.conf", {}),
        ("corp/pip/pip.conf", {"XDG_CONFIG_DIRS": "corp"}),
        ("home/.config/pip/pip.conf", {"HOME": "home"}),
        ("own/pip/pip.conf", {"HOME": "home", "XDG_CONFIG_HOME": "own"}),
        ("home/.pip/pip.conf", {"HOME": "home"}),
        ("env/pip.conf", {"VIRTUAL_ENV": "env"}),
        ("named.conf", {"PIP_CONFIG_FILE": "named.conf"}),
    ],
)
def test_pip_asks_requests_first_so_its_own_roots_lie_there_too(system, tmp_path, file, named):
    corp = roots(tmp_path, "corp")
    if file:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(f"[global]\ncert = {corp}\n")
    environment = {name: str(tmp_path / place) for name, place in named.items()}
    found = read(bundles(environment, CERTIFICATE, tmp_path))
    assert found.pop("REQUESTS_CA_BUNDLE") == f"{system}{ROOT.format('corp')}\n{CERTIFICATE}"
    found.pop("PIP_CERT", None)
    assert set(found.values()) == {f"{system}\n{CERTIFICATE}"}  # nobody else's
    own = {**environment, "CURL_CA_BUNDLE": roots(tmp_path, "curl")}  # which pip took before, and still does
    assert read(bundles(own, CERTIFICATE, tmp_path))["REQUESTS_CA_BUNDLE"] == f"{ROOT.format('curl')}\n{CERTIFICATE}"


@pytest.mark.parametrize("text", ["no section", "[global]\nindex-url = x", "\x00\xff", "[global]\ncert = /no/such"])
def test_pip_files_that_say_nothing_of_use_change_nothing(system, tmp_path, text):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "pip.conf").write_bytes(text.encode("latin-1"))
    assert set(read(bundles({}, CERTIFICATE, tmp_path)).values()) == {f"{system}\n{CERTIFICATE}"}


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("pip/pip.conf", {"XDG_CONFIG_DIRS": "/no/such:"}),
        ("pip/pip.conf", {"XDG_CONFIG_DIRS": "."}),
        ("here/pip/pip.conf", {"HOME": "/no/such", "XDG_CONFIG_HOME": "here"}),
        (".pip/pip.conf", {"HOME": "."}),
        (".venv/pip.conf", {"VIRTUAL_ENV": ".venv"}),
    ],
)
def test_the_folder_that_a_run_begins_in_names_nobody_whom_requests_trusts(system, tmp_path, monkeypatch, file, named):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(f"[global]\ncert = {roots(tmp_path, 'mallory')}\n")
    monkeypatch.chdir(tmp_path)
    assert set(read(bundles(named, CERTIFICATE, tmp_path)).values()) == {f"{system}\n{CERTIFICATE}"}


def test_a_certificate_in_the_folder_that_a_run_begins_in_is_not_one_of_pip_s_files(system, tmp_path, monkeypatch):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "pip.conf").write_text(f"[global]\ncert = {Path(roots(tmp_path, 'mallory')).name}\n")
    monkeypatch.chdir(tmp_path)
    assert set(read(bundles({}, CERTIFICATE, tmp_path)).values()) == {f"{system}\n{CERTIFICATE}"}


def test_pip_s_own_word_for_home_is_understood(system, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "pip.conf").write_text(f"[global]\ncert = ~/{Path(roots(tmp_path, 'corp')).name}\n")
    assert "corp" in read(bundles({"HOME": str(tmp_path)}, CERTIFICATE, tmp_path))["REQUESTS_CA_BUNDLE"]


def test_pip_can_be_told_that_it_has_no_files(system, tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "pip.conf").write_text(f"[install]\ncert = {roots(tmp_path, 'corp')}\n")
    assert "corp" not in read(bundles({"PIP_CONFIG_FILE": "/dev/null"}, CERTIFICATE, tmp_path))["REQUESTS_CA_BUNDLE"]
    assert "corp" in read(bundles({}, CERTIFICATE, tmp_path))["REQUESTS_CA_BUNDLE"]


def test_requests_looks_at_curl_s_too_and_ssl_at_a_folder(system, tmp_path):
    folder = tmp_path / "certs"
    folder.mkdir()
    for name in ("a", "b"):
        roots(folder, name)
    (folder / "a.0").symlink_to("a.pem")
    (folder / "all.crt").write_text(ROOT.format("system") + ROOT.format("b"))
    (folder / "README").write_text("no certificate")
    environment = {"CURL_CA_BUNDLE": roots(tmp_path, "curl"), "SSL_CERT_DIR": str(folder), "PIP_CERT": str(folder)}
    found = read(bundles(environment, CERTIFICATE, tmp_path))
    assert found["REQUESTS_CA_BUNDLE"] == found["CURL_CA_BUNDLE"] == f"{ROOT.format('curl')}\n{CERTIFICATE}"
    folded = f"{ROOT.format('a')}\n{system}{ROOT.format('b')}\n{ROOT.format('b')}\n"
    assert found["SSL_CERT_FILE"] == f"{system}{ROOT.format('a')}{ROOT.format('b')}\n{CERTIFICATE}"
    assert found["PIP_CERT"] == f"{folded}\n{CERTIFICATE}"


def test_what_cannot_be_read_is_not_set(system, tmp_path):
    found = read(bundles({"SSL_CERT_FILE": "/no/such.pem", "PIP_CERT": str(tmp_path / "no")}, CERTIFICATE, tmp_path))
    assert set(found.values()) == {f"{system}\n{CERTIFICATE}"}
