"""`remit scan`: exit codes, what each mode prints, and the baseline."""

import json
import random
import string

import pytest

import remit.cli

TOKEN = "ghp_" + "".join(random.Random(1).choices(string.ascii_letters, k=36))


@pytest.fixture
def scan(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            remit.cli.main(["scan", *words])
        found = capsys.readouterr()
        return ended.value.code, found.out, found.err

    return call


@pytest.mark.promise("V16")
def test_a_finding_names_its_place_its_replacement_and_its_end(scan, tmp_path):
    (tmp_path / "a.env").write_text(f"\nX={TOKEN}\n")
    code, out, err = scan(".")
    assert code == 1
    assert "  a.env:2  " in out
    assert "  instead: " in out
    assert "  end it:  github.com/settings/tokens" in out
    assert "1 key found in 1 file" in err


@pytest.mark.promise("V16")
def test_a_pipeline_sees_a_line_or_an_annotation(scan, monkeypatch, tmp_path):
    (tmp_path / "a,b:100%.py").write_text(f"\n\nX='{TOKEN}'\n")
    code, out, _ = scan(".", "--ci")
    assert code == 1
    assert out.startswith("a,b:100%.py:3: GitHub token, ")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    _, out, _ = scan(".", "--ci")
    assert out.startswith("::error file=a%2Cb%3A100%25.py,line=3,title=remit scan%3A github-token::GitHub token, ")
    assert len(out.splitlines()) == 1


@pytest.mark.promise("V16")
def test_nothing_found_and_something_unread(scan, tmp_path):
    assert scan(".")[0] == 0
    assert scan("absent") == (2, "", "error: `absent` is not there\n")
    (tmp_path / "link").symlink_to("/dev/null")
    code, out, err = scan("link", "--json")
    assert (code, err) == (2, "")
    assert json.loads(out)["unread"] == ["link: not a regular file"]
    assert scan(".", "--write-baseline")[0] == 2
    assert scan(".", "--baseline", "absent")[0] == 2


@pytest.mark.promise("V16")
def test_what_is_in_the_baseline_is_known(scan, tmp_path):
    (tmp_path / "a.py").write_text(f"X='{TOKEN}'\n")
    assert scan(".", "--baseline", "known.json", "--write-baseline")[0] == 0
    code, _, err = scan(".", "--baseline", "known.json")
    assert code == 0
    assert "1 not counted: in the baseline" in err
    (tmp_path / "b.py").write_text(f"X='{TOKEN[::-1][:36][::-1]}'\nY='{TOKEN[:-1]}x'")
    code, out, _ = scan(".", "--baseline", "known.json", "--json")
    document = json.loads(out)
    assert (code, document["known"], len(document["findings"])) == (1, 1, 1)
