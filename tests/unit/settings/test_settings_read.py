"""remit.yaml: the example reads, and everything that is wrong is said at once, with its place."""

from pathlib import Path

import pytest

from remit.model.errors import SettingsInvalid
from remit.settings import document
from remit.settings.read import read, terminated_hosts

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso" / "remit.yaml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
TRAINER = "trainer@contoso-fraud-test.iam.gserviceaccount.com"


def problems(tmp_path, text):
    """What is said of a text: `line:column message`."""
    file = tmp_path / "remit.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsInvalid) as caught:
        read(file)
    assert all(problem.file == str(file) for problem in caught.value.problems)
    return [(problem.line, problem.column, problem.message) for problem in caught.value.problems]


def place(text, needle, nth=0):
    """Line and column of a needle."""
    at = -1
    for _ in range(nth + 1):
        at = text.index(needle, at + 1)
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def changed(old, new, nth=0):
    assert old in TEXT
    parts = TEXT.split(old)
    return old.join(parts[: nth + 1]) + new + old.join(parts[nth + 1 :])


def test_the_example_reads():
    settings = read(EXAMPLE)
    root = EXAMPLE.parent
    assert settings.file == EXAMPLE
    assert [(project.id, project.environment) for project in settings.estate.projects] == [
        ("contoso-fraud-test", "test"),
        ("contoso-fraud-prod", "prod"),
        ("contoso-churn-prod", "prod"),
    ]
    assert (
        settings.identity.entra.issuer == "https://login.microsoftonline.com/6f1c2a34-8b5d-4e6f-9a01-c0de00000001/v2.0"
    )
    assert settings.gateway.hosts == (
        "us-central1-aiplatform.googleapis.com",
        "logging.googleapis.com",
        "cloudresourcemanager.googleapis.com",
    )
    assert (settings.gateway.listen_host, settings.gateway.listen_port) == ("127.0.0.1", 8443)
    assert settings.state.url == f"sqlite:///{root}/.remit/remit.db"
    assert settings.audit.folder == root / ".remit" / "audit"
    assert settings.policy.folder == root / "policies"
    assert settings.trust.reviewer == "auditor@contoso-fraud-test.iam.gserviceaccount.com"
    assert settings.credentials.mappings[0].role == "MLEngineer"
    assert not (root / ".remit").exists() or (root / ".remit").is_dir()  # reading makes nothing


def test_reading_touches_nothing(tmp_path):
    (tmp_path / "remit.yaml").write_text(TEXT)
    read(tmp_path / "remit.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["remit.yaml"]


def test_a_global_location_has_its_own_host(tmp_path):
    (tmp_path / "remit.yaml").write_text(changed("[us-central1]", "[us-central1, global]"))
    hosts = terminated_hosts(read(tmp_path / "remit.yaml").estate)
    assert hosts[0] == "aiplatform.googleapis.com"
    assert len(hosts) == 4


def test_everything_wrong_is_said_at_once_with_its_place(tmp_path):
    text = changed("version: 1", "version: 2\nsurprise: true").replace("seal_every", "x")
    text = text.replace('number: "100000000001"', "number: 100000000001").replace(
        "  origin: contoso.example/remit\n", "  node: n\n"
    )
    text = text.replace("- role: Security\n", "- role: 7\n").replace("scope: api://remit/.default", 'scope: ""')
    found = problems(tmp_path, text)
    by_message = {message: (line, column) for line, column, message in found}
    assert by_message == {
        "`version`: input should be less than or equal to 1": place(text, "version: 2"),
        "`surprise`: is not a key that remit knows": place(text, "surprise"),
        "`sign_in.scope`: string should have at least 1 character": place(text, 'scope: ""'),
        "`environments.test.contoso-fraud-test.number`: input should be a valid string": place(text, "number: 1000"),
        "`credentials.accounts.3.role`: input should be a valid string": place(text, "role: 7"),
        "`audit.origin`: is missing": place(text, "audit:"),
    }


@pytest.mark.parametrize(
    ("old", "new", "needle", "message"),
    [
        ("contoso-fraud-test:", "Contoso_Test:", "Contoso_Test:", "does not have the form"),
        ("locations: [us-central1]", "locations: []", "locations: []", "at least 1 item"),
        ("locations: [us-central1]", "locations: [us]", "us]", "`us` does not have the form"),
        ("listen: 127.0.0.1:8443", "listen: localhost", "listen: localhost", "does not have the form"),
        ("version: 1", "version: true", "version: true", "input should be a valid integer"),
        ("version: 1", "version: 1.0", "version: 1.0", "input should be a valid integer"),
        ("listen: 127.0.0.1:8443", "workers: 65", "workers: 65", "less than or equal to 64"),
        ("listen: 127.0.0.1:8443", "storage: never", "storage: never", "'tunnel' or 'terminate'"),
        ("policy:\n  folder: policies", "policy: policies", "policy: policies", "valid dictionary"),
    ],
)
def test_wrong_values(tmp_path, old, new, needle, message):
    text = changed(old, new)
    found = problems(tmp_path, text)
    line, column = place(text, needle)
    assert any((one[0], one[1]) == (line, column) and message in one[2] for one in found), found


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("    contoso-churn-prod:\n", "    contoso-fraud-test:\n", "project"),
        ('number: "100000000003"', 'number: "100000000001"', "project number"),
        ("contoso-churn-prod-data", "contoso-fraud-test-data", "bucket"),
        ("churn-trainer@contoso-churn-prod.iam.gserviceaccount.com", TRAINER, "account"),
    ],
)
def test_nothing_belongs_to_two(tmp_path, old, new, kind):
    text = changed(old, new)
    [(line, column, message)] = problems(tmp_path, text)
    assert message.startswith(f"the {kind} `")
    assert (line, column) == place(text, new.strip(), 1)


def test_a_bucket_that_stands_twice_in_one_project(tmp_path):
    text = changed("[contoso-churn-prod-data]", "[contoso-churn-prod-data, contoso-churn-prod-data]")
    assert [message for *_, message in problems(tmp_path, text)] == [
        "the bucket `contoso-churn-prod-data` stands twice"
    ]


def test_mappings_name_what_there_is(tmp_path):
    text = changed("project: contoso-fraud-prod", "project: contoso-other")
    text = text.replace("account: data-scientist@contoso-fraud-test", "account: nobody@contoso-fraud-test")
    assert problems(tmp_path, text) == [
        (*place(text, "project: contoso-other"), "`contoso-other` is no project under `environments`"),
        (
            *place(text, "account: nobody"),
            "`nobody@contoso-fraud-test.iam.gserviceaccount.com` is not among the accounts of `contoso-fraud-test`",
        ),
    ]


def test_the_sign_in_s_client_must_be_one_that_is_believed(tmp_path):
    text = changed("client: a0000000-0000-4000-8000-000000000002", "client: a0000000-0000-4000-8000-000000000009")
    assert problems(tmp_path, text) == [
        (*place(text, "client: a"), "`sign_in.client` is not among the issuer's `clients`")
    ]


def test_plaintext_off_loopback_is_refused_with_what_else_is_wrong(tmp_path):
    text = changed("listen: 127.0.0.1:8443", "listen: 0.0.0.0:8443").replace(
        "project: contoso-fraud-prod", "project: contoso-other"
    )
    found = problems(tmp_path, text)
    assert len(found) == 4  # a line for Google, one for Azure and a database name the project
    assert found[3][:2] == place(text, "listen:")
    assert "plaintext on `0.0.0.0`" in found[3][2]


def test_tls_lets_it_listen_anywhere(tmp_path):
    text = changed("listen: 127.0.0.1:8443", 'listen: "[::]:8443"\n  tls: {certificate: door.pem, key: door.key}')
    (tmp_path / "remit.yaml").write_text(text)
    gateway = read(tmp_path / "remit.yaml").gateway
    assert (gateway.listen_host, gateway.listen_port) == ("::", 8443)
    assert gateway.tls_key == tmp_path / "door.key"


@pytest.mark.parametrize(
    ("old", "new", "needle", "said"),
    [
        ("listen: 127.0.0.1:8443", "listen: 127.0.0.1:70000", "listen:", "is not a port"),
        ("listen: 127.0.0.1:8443", "listen: a:b:8443", "listen:", "is not an IP address"),
        ("listen: 127.0.0.1:8443", 'upstream: {address: "10.0.0.1:99999"}', "upstream:", "is not `host:port`"),
        ("  folder: .remit", f"  folder: /{'x' * 110}", "folder: /x", "at most 104 bytes"),
    ],
)
def test_what_the_gateway_says_has_a_place_too(tmp_path, old, new, needle, said):
    text = changed(old, new)
    found = problems(tmp_path, text)
    assert {one[:2] for one in found} == {place(text, needle)}
    assert all(said in one[2] for one in found)


def test_an_upstream_with_roots_of_its_own(tmp_path):
    text = changed("listen: 127.0.0.1:8443", "upstream: {address: 10.0.0.1:443, ca_file: ca.pem}")
    (tmp_path / "remit.yaml").write_text(text)
    gateway = read(tmp_path / "remit.yaml").gateway
    assert (gateway.upstream_address, gateway.upstream_ca) == ("10.0.0.1:443", tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        (b"a: 1\nb: !!python/object/apply:os.system [id]\n", 2, 4, "tags are not allowed"),
        (b"a: !!python/name:os.system x\n", 1, 4, "tags are not allowed"),
        (b"a: !!int '1'\n", 1, 4, "tags are not allowed"),
        (b"a: &x 1\nb: 2\n", 1, 4, "anchors and aliases are not allowed"),
        (b"a: *x\n", 1, 4, "anchors and aliases are not allowed"),
        (b"a: 1\nb: 2\na: 3\n", 3, 1, "`a` stands twice"),
        (b"a: 1\nb: x\x00y\n", 2, 5, "a character is not allowed"),
        (b"a: 1\nb: \xff\n", 2, 4, "this is not UTF-8"),
        (b"\xff\xfea\x00", 1, 1, "this is not UTF-8"),
        (b"a: [1\n", 2, 1, "not valid YAML"),
        (b"a: 1\n---\nb: 2\n", 2, 1, "not valid YAML"),
        (b"a: 2001-99-99\n", 1, 4, "this value is not allowed here"),
        (b"a: " + b"9" * 5000 + b"\n", 1, 4, "this value is not allowed here"),
        (b"a: =\n", 1, 4, "this value is not allowed here"),
        (b"[" * 5000 + b"]" * 5000, 1, 33, "nested too deeply"),
    ],
)
def test_attacks_on_the_reader(tmp_path, text, line, column, said):
    found = problems(tmp_path, text)
    assert found[0][:2] == (line, column)
    assert said in found[0][2]


@pytest.mark.parametrize("text", [b"", b"# nothing\n", b"- a\n", b"7\n", b"{}\n"])
def test_a_file_that_holds_nothing_is_missing_everything(tmp_path, text):
    assert problems(tmp_path, text)


def test_odd_keys_are_unknown_keys(tmp_path):
    found = problems(tmp_path, b"? [a, b]\n: 1\n<<: {version: 1}\n1: 2\n")
    assert sum("is not a key that remit knows" in message for *_, message in found) == 3


def test_a_huge_file_is_refused_unread(tmp_path):
    assert problems(tmp_path, b"#" * (1 << 20) + b"##") == [(0, 0, "is larger than one megabyte")]


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read(tmp_path, name):
    with pytest.raises(SettingsInvalid, match="cannot be read") as caught:
        document.load(tmp_path / name)
    assert "--config" in caught.value.hint


def test_a_problem_of_a_path_that_nothing_holds():
    assert document.Document("f", {}, {}).problem(("a",), "m").line == 0
