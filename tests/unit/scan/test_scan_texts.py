"""Texts: what is no secret, the allowlist comment, fingerprints, binary and huge files, places that are no files."""

import base64
import datetime as dt
import json
import os
import random
import string

import pytest
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

from remit.model.errors import RemitError
from remit.scan import baseline, look, text
from remit.scan.plugins import google
from remit.scan.search import Asked, Search

RUN = look.Run(b"k" * 32, dt.date(2026, 11, 22))
AZURITE = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def seen(content, file="a.txt"):
    """What is found in a text: kind, line and why it does not count."""
    data = content if isinstance(content, bytes) else content.encode()
    pieces = (
        [data[at : at + (4 << 20)] for at in range(0, len(data), 4 << 20)] if not file.endswith(".ipynb") else [data]
    )
    looked = look.through(lambda _: pieces.pop(0) if pieces else b"", look.Target(file, file, len(data)), RUN)
    return [(each.kind, each.line, each.dismissed) for each in looked.found]


def letters(count, alphabet=string.ascii_letters + string.digits):
    return "".join(random.Random(count).choices(alphabet, k=count))


@pytest.mark.promise("V16")
@pytest.mark.parametrize(
    ("content", "kind", "why"),
    [
        (f"AccountKey={AZURITE}", "azure-storage-key", "Azurite's own key"),
        ("key = 'AKIAIOSFODNN7EXAMPLE'", "aws-access-key", "an example of AWS's manual"),
        ("postgresql://ml:secret@db.contoso.net/m", "postgresql-password", "a placeholder"),
        ("postgresql://ml:${DB_PASSWORD}@db.contoso.net/m", "postgresql-password", "a placeholder"),
        (
            "postgresql://ml:w9X-k2p@db.example.com/m",
            "postgresql-password",
            "for this machine, or a host of documentation",
        ),
        ("https://ml:w9X-k2p@localhost/m", "url-password", "for this machine, or a host of documentation"),
        (
            "https://x.blob.core.windows.net/c?sv=2020-01-01&se=2021-01-01T00:00Z&sig=" + letters(43),
            "azure-sas",
            "a signature that has expired",
        ),
        ("hf_" + "x" * 34, "huggingface-token", "a placeholder"),
        ("token = 'ghp_" + letters(36) + "'  # pragma: allowlist secret", "github-token", look.PRAGMA),
        ("# pragma: allowlist nextline secret\nghp_" + letters(36), "github-token", look.PRAGMA),
    ],
)
def test_what_has_the_form_and_does_not_count(content, kind, why):
    [(found, _, because)] = seen(content)
    assert (found, because) == (kind, why)


@pytest.mark.promise("V16")
@pytest.mark.parametrize(
    "content",
    [
        "if 'BEGIN PRIVATE KEY' in text:",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        '"integrity": "sha512-' + letters(86) + '=="',
        f"digest = '{letters(86)}=='",
        "client_secret=os.environ['AZURE_CLIENT_SECRET']",
        "client_secret = settings.client_secret",
        "sig=" + letters(43),
        "wandb.init(project='a', id='" + letters(40, "0123456789abcdef") + "')",
        letters(500) + "AKIA" + letters(16, string.ascii_uppercase) + letters(500),
        "git@github.com:a/b.git ssh://git@host/a http://host:80/a@b",
        "eyJhbGciOiJSUzI1NiJ9."
        + base64.urlsafe_b64encode(b'{"iss":"x","sub":"y","iat":1,"exp":3601}').decode().rstrip("=")
        + "."
        + "a" * 86,
    ],
)
def test_what_is_no_key(content):
    assert seen(content) == []


@pytest.mark.promise("V16")
def test_a_comment_for_one_line_excuses_no_other():
    token = letters(36)
    assert seen(f"a = 1  # pragma: allowlist secret\nb = 'ghp_{token}'") == [("github-token", 2, "")]
    assert seen(f"b = 'ghp_{token}'\n# pragma: allowlist nextline secret") == [("github-token", 1, "")]


@pytest.mark.promise("V16")
def test_environment_files_by_their_names():
    value = f"DB_PASSWORD={letters(12)}\nDEBUG=true\nTOKEN_FILE=/run/token\nAPI_TOKEN=/run/token\n"
    for file in (".env", "prod.env", "a/.env.local", ".envrc"):
        assert seen(value, file) == [("environment-secret", 1, "")], file
    assert seen(value, "a.py") == []


@pytest.mark.promise("V16")
def test_utf_16_and_huge_files_are_read_and_binary_ones_are_not():
    token = "ghp_" + letters(36)
    assert seen(f"a\nt={token}".encode("utf-16")) == [("github-token", 2, "")]
    assert seen(b"\0\1" + token.encode()) == []
    line = "x" * 99 + "\n"
    assert seen(line * 120_000 + token + "\n" + line * 10) == [("github-token", 120_001, "")]
    for shift in (-50, -10, 20):  # over the edge of a window
        assert len(seen("\n" * ((4 << 20) + shift) + token)) == 1


@pytest.mark.promise("V16")
def test_a_broken_notebook_is_a_text_and_metadata_count():
    token = "ghp_" + letters(36)
    assert seen('{"cells": [{"source": "' + token, "a.ipynb") == [("github-token", 1, "")]
    assert seen(json.dumps({"cells": [], "metadata": {"t": token}}, indent=1), "a.ipynb") == [("github-token", 4, "")]
    assert seen("[" * 100_000 + token, "a.ipynb") == [("github-token", 1, "")]


@pytest.mark.promise("V16")
def test_a_hostile_text_costs_no_more_than_a_long_one():
    for rule in text.RULES:
        for mark in rule.marks:
            for content in (mark * (60_000 // len(mark)), f"{mark}\n" * (60_000 // len(mark))):
                shown = sum(last - first for first, last in text._places(rule, content))
                assert shown < 6 * len(content) * len(rule.marks), (rule.kind, mark)


@pytest.mark.promise("V16")
def test_fingerprints_are_stable_and_confirm_no_guess(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def prints(content):
        (tmp_path / "a.txt").write_text(content)
        return [one.found.fingerprint for one in Search(Asked((tmp_path,))).report().findings]

    url = "postgresql://ml:{}@db.contoso.net/m"
    assert prints(url.format("w9X-k2p")) == prints("\n\n" + url.format("another-1"))
    one, other = "ghp_" + letters(36), "ghp_" + letters(36)[::-1]
    assert prints(one) == prints(f"\n{one} ") != prints(other)
    wandb = f"WANDB_API_KEY={'ab12' * 10}"  # by its form a key, and guessable: its place again
    assert prints(wandb) == prints(wandb.replace("ab12", "cd34"))


@pytest.mark.promise("V16")
def test_places_that_are_no_files_are_passed_and_told(tmp_path):
    token = "ghp_" + letters(36)
    outside = tmp_path / "outside"
    outside.write_text(token)
    tree = tmp_path / "tree"
    for folder in ("node_modules/a", ".venv/lib"):
        (tree / folder).mkdir(parents=True)
        (tree / folder / "b.js").write_text(token)
    (tree / ".venv" / "pyvenv.cfg").touch()
    os.mkfifo(tree / "pipe")
    (tree / "link").symlink_to(outside)
    (tree / "round").symlink_to(tree)
    report = Search(Asked((tree,))).report()
    assert report.findings == []
    assert report.notes == [
        "folders left out: .venv, node_modules; `--all` includes them",
        "2 symbolic links not followed",
    ]
    assert len(Search(Asked((tree,), everything=True)).report().findings) == 2
    assert len(Search(Asked((tree / "link",))).report().findings) == 1  # whoever names it means it
    assert Search(Asked((tree / "pipe",))).report().unread == [f"{tree / 'pipe'}: not a regular file"]
    with pytest.raises(RemitError, match="is not there"):
        Search(Asked((tree / "absent",))).report()


@pytest.mark.promise("V16")
@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"form": "remit-scan/1"}',
        '{"form": "remit-scan/1", "findings": [{"fingerprint": ""}]}',
        "[" * 99_999,
    ],
)
def test_a_baseline_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "known").write_text(content)
    with pytest.raises(RemitError, match="is no baseline"):
        baseline.known(tmp_path / "known")
    with pytest.raises(RemitError, match="cannot be read"):
        baseline.known(tmp_path / "absent")


@pytest.mark.promise("V16")
def test_our_plug_ins_work_in_detect_secrets_itself(tmp_path):
    key = f"GOCSPX-{letters(28)}"
    (tmp_path / "a.py").write_text(f"secret = '{key}'\n")
    mine = [{"name": "GoogleClientSecretDetector", "path": f"file://{google.__file__}"}]
    with transient_settings({"plugins_used": mine}):
        assert [each.secret_value for each in scan_file(str(tmp_path / "a.py"))] == [key]


@pytest.mark.promise("V16")
def test_names_never_hold_the_secret():
    for hit in text.hits(f"client_id='{'a' * 8}-1111-1111-1111-{'b' * 12}' secret='abc8Q~{letters(34)}'", "a"):
        assert hit.names == {"client": f"{'a' * 8}-1111-1111-1111-{'b' * 12}"}
