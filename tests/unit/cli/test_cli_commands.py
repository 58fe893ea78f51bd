"""The command line: exit codes, where data and words go, and that every command can be asked for help."""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import remit.cli
from remit import __version__
from remit.assembly import evidence
from remit.audit.recorder import LedgerRecorder
from remit.cli import audit, catalogue, output
from remit.cli.audit import moment
from remit.model.errors import Refused, RemitError
from remit.model.reasons import Reason
from remit.settings.read import read

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso" / "remit.yaml"
GROUPS = {
    "lab": ("up", "env", "down"),
    "trust": ("apply", "drift", "init", "plan", "rotate", "schema", "verify"),
    "audit": ("query", "verify"),
    "policy": ("check", "diff", "init", "schema", "test"),
    "doctor": ("lifetime",),
}
EVERY = [(name,) for name in remit.cli._COMMANDS] + [(name, sub) for name, subs in GROUPS.items() for sub in subs]


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """A command line in this process: exit code, stdout, stderr. Nobody is signed in."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("REMIT_URL", "REMIT_CONFIG", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            remit.cli.main(arguments)
        found = capsys.readouterr()
        return ended.value.code, found.out, found.err

    return call


@pytest.mark.parametrize("words", [(), *EVERY], ids=" ".join)
def test_every_command_explains_itself_on_one_screen(run, words):
    code, out, err = run(*words, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: remit {' '.join(words)}".rstrip())
    assert len(out.splitlines()) < 40
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("words", [(), *EVERY], ids=" ".join)
def test_no_word_of_a_usage_is_cut_where_the_line_ends(run, words):
    command = remit.cli.remit
    for word in words:
        command = command.get_command(click.Context(command), word)
    usage = run(*words, "--help")[1].partition("\n\n")[0].split()
    assert usage == ["Usage:", "remit", *words, *" ".join(command.collect_usage_pieces(click.Context(command))).split()]


def test_the_groups_hold_what_the_tests_know():
    for name, subs in GROUPS.items():
        found = remit.cli.remit.get_command(click.Context(remit.cli.remit), name)
        assert set(found.list_commands(click.Context(found))) == set(subs)
        assert name in remit.cli._COMMANDS


def test_every_command_has_json(run):
    for words in EVERY:
        if words not in {("lab",), ("trust",), ("audit",), ("policy",), ("doctor",), ("serve",), ("run",)}:
            assert "--json" in run(*words, "--help")[1], words


def test_the_commands_are_all_listed(run):
    out = run("-h")[1]
    assert [name for name in remit.cli._COMMANDS if f"  {name} " not in out] == []


def test_the_version(run):
    assert run("--version") == (0, f"remit, version {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (("frobnicate",), "no such command 'frobnicate'", "run `remit --help`"),
        (("--frob",), "no such option", "run `remit --help`"),
        (("token",), "missing argument 'RESOURCE'", "run `remit token --help`"),
        (("run", "--", "true"), "missing option '--project'", "run `remit run --help`"),
        (("audit", "query", "--limit", "0"), "invalid value for '--limit'", "run `remit audit query --help`"),
        (("audit", "query", "--outcome", "x"), "invalid value for '--outcome'", "run `remit audit query --help`"),
        (
            ("token", "s3://x"),
            "`s3://x` is not a resource that a token can be had for",
            "name a project: gs://PROJECT, az://PROJECT",
        ),
        (("token", "gs://"), "`gs://` is not a resource", "name a project: gs://PROJECT, az://PROJECT"),
        (("whoami",), "nobody is signed in on this machine", "run `remit login --url URL`"),
        (("token", "gs://p"), "nobody is signed in on this machine", "run `remit login --url URL`"),
        (("run", "--project", "p", "--", "true"), "nobody is signed in", "run `remit login --url URL`"),
        (("login",), "nobody is signed in", "run `remit login --url URL`"),
        (
            ("login", "--url", "http://127.0.0.1:1"),
            "no installation of remit answers",
            "is `remit serve` running there",
        ),
        (("login", "--url", "http://[bad"), "no installation of remit answers", "is `remit serve` running there"),
        (("login", "--url", "http://remit.example"), "would show your sign-in to the network", "https address"),
        (("serve", "--config", "/none.yaml"), "/none.yaml: cannot be read", "name it with `--config`"),
        (("audit", "query", "--config", str(EXAMPLE), "--since", "soon"), "`soon` is no time", "15m"),
        (("lab", "env", "--folder", "/none"), "no lab is running in `/none`", "run `remit lab up`"),
    ],
)
def test_errors_have_one_form_and_are_2(run, words, error, hint):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    first, *_, last = err.splitlines()
    assert first.startswith("error: ")
    assert error in first
    assert last.startswith("hint: ")
    assert hint in last


def test_a_group_alone_shows_its_help(run):
    for words in ((), ("audit",), ("lab",)):
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        assert err.startswith("Usage: remit")


def test_logout_without_a_sign_in_is_no_error(run):
    assert run("logout", "--json") == (0, '{"signed_in": false}\n', "signed out\n")


def test_down_without_a_lab_is_no_error(run, tmp_path):
    assert run("lab", "down", "--json", "--folder", str(tmp_path)) == (0, '{"ended": false}\n', "no lab was running\n")


def test_the_catalogue_is_data_on_stdout(run):
    code, out, err = run("catalogue", "customJobs.create", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert rows[0]["id"] == "aiplatform.projects.locations.customJobs.create"
    assert rows[0]["group"] == "launch"
    code, out, err = run("catalogue", "customJobs.create")
    assert out.splitlines()[0].split() == ["action", "group", "permission", "versions", "served", "http", "grpc"]
    assert err.startswith("1 method; Vertex AI's of revision ")
    assert run("catalogue", "no-such-method")[0] == 1
    assert len(run("catalogue", "--served")[1]) < len(run("catalogue")[1])


def test_envoy_s_configuration_can_be_looked_at(run):
    code, out, _ = run("serve", "--config", str(EXAMPLE), "--print-config")
    assert code == 0
    assert "static_resources" in json.loads(out)


def test_evidence_that_is_not_there_yet(run, tmp_path):
    (tmp_path / "remit.yaml").write_text(EXAMPLE.read_text())
    code, _, err = run("audit", "verify", "--config", str(tmp_path / "remit.yaml"))
    assert code == 2
    assert err == "error: there is no evidence here yet\nhint: `remit serve` makes it\n"
    code, _, err = run("audit", "query", "--config", str(tmp_path / "remit.yaml"))
    assert code == 2
    assert "there is no database" in err


def test_a_ledger_whose_public_key_is_missing_says_so(run, tmp_path):
    shutil.copytree(EXAMPLE.parent, tmp_path, dirs_exist_ok=True)
    settings = read(tmp_path / "remit.yaml")
    evidence.install(settings)
    with evidence.writing(settings) as engine, LedgerRecorder(evidence.ledger(settings, engine)) as recorder:
        recorder.record_now({"type": "decision", "schema": "decision/1", "at": 1})
    public = evidence.public_key(settings)
    key = public.read_text().strip()
    public.unlink()
    code, _, err = run("audit", "verify", "--config", str(tmp_path / "remit.yaml"))
    assert code == 2
    assert err.startswith(f"error: there is a ledger, but its public key `{public}` is missing\nhint: pass")
    assert "`--key NAME+ID+BASE64`" in err
    assert run("audit", "verify", "--config", str(tmp_path / "remit.yaml"), "--key", key)[0] == 0


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Refused(Reason.NO_POLICY_PERMITS, "no", hint="ask"), 1, "error: no\nhint: ask\n"),
        (Refused(Reason.TOKEN_EXPIRED, "late"), 2, "error: late\n"),
        (Refused(Reason.PLANE_UNAVAILABLE, "down"), 2, "error: down\n"),
        (RemitError("two\nlines"), 2, "error: two\nlines\n"),
        (
            RemitError("a \x1b[31mred\x07 name"),
            2,
            "error: a \N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER} name\n",
        ),
        (FileNotFoundError(2, "No such file", "x"), 2, "error: No such file: 'x'\n"),
        (click.ClickException("Odd."), 2, "error: odd\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (SystemExit(1), 1, ""),
    ],
)
def test_whatever_a_command_raises_has_its_exit_code(run, monkeypatch, error, code, said):
    def fails():
        raise error

    monkeypatch.setattr(catalogue, "command", click.Command("catalogue", callback=fails))
    assert run("catalogue") == (code, "", said)


def test_a_crash_is_not_a_no(run, monkeypatch):
    monkeypatch.setattr(catalogue, "command", click.Command("catalogue", callback=lambda: 1 / 0))
    code, _, err = run("catalogue")
    assert code == 2
    assert err.endswith("ZeroDivisionError: division by zero\n")


def test_a_module_without_a_command_is_no_command(run, monkeypatch):
    monkeypatch.setattr(catalogue, "command", None)
    assert run("catalogue")[0] == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_works(shell):
    environment = {**os.environ, "_REMIT_COMPLETE": f"{shell}_source"}
    command = [sys.executable, "-m", "remit.cli"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "_REMIT_COMPLETE" in found.stdout
    words = {**os.environ, "_REMIT_COMPLETE": "bash_complete", "COMP_WORDS": "remit cat", "COMP_CWORD": "1"}
    found = subprocess.run(command, env=words, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "plain,catalogue\n"


def test_moments():
    assert moment("") == 0
    assert moment("2026-11-22T10:00+00:00") == int(dt.datetime(2026, 11, 22, 10, tzinfo=dt.UTC).timestamp()) * 1_000_000
    assert moment("2026-11-22T11:00+01:00") == moment("2026-11-22T10:00Z")
    assert moment("2026-11-22") == int(dt.datetime(2026, 11, 22).astimezone().timestamp()) * 1_000_000
    now = dt.datetime.now(dt.UTC).timestamp() * 1_000_000
    for text, seconds in (("15s", 15), ("15m", 900), ("2h", 7200), ("7d", 604_800)):
        assert moment(text) == pytest.approx(now - seconds * 1_000_000, abs=5_000_000)
    assert moment("99999999999d") == 1  # before all times is not: no bound
    assert moment("1960-01-01") == 1


@pytest.mark.parametrize("text", ["soon", "m", "-5m", "5 m", "5w", "²m", "2026-13-01", "0001-01-01T00:00+14:00"])
def test_what_is_no_time(text):
    with pytest.raises(RemitError, match="is no time"):
        moment(text)


def test_a_table_cannot_be_broken_by_what_stands_in_it(capsys):
    output.table([])
    output.table([{"who": "a\nb\x1b", "what": "x"}, {"who": "c", "what": "longer"}])
    assert capsys.readouterr().out == "who   what\na b\N{REPLACEMENT CHARACTER}  x\nc     longer\n"


def test_the_module_is_the_command():
    found = subprocess.run([sys.executable, "-m", "remit.cli", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("remit, version")
    assert audit.command.help.startswith("Ask the record")
