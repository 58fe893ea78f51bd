"""`remit revoke`: in the database of an installation on this machine, and at an installation's API."""

import json
import os
import pwd
import shutil
from pathlib import Path

import click
import pytest

import remit.cli
from remit.assembly import evidence
from remit.audit.recorder import LedgerRecorder
from remit.cli import revoke
from remit.cli.duration import duration
from remit.cli.revoke import Order, Remote
from remit.identity.revocation.view import RevocationView
from remit.model.errors import Refused, RemitError
from remit.model.reasons import Reason
from remit.model.revocation import Scope
from remit.model.secret import AccessToken
from remit.sdk.api import Api
from remit.settings.read import read

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso"
TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
OID = "0d000000-0000-4000-8000-000000000001"
DANA = f"{TID}/{OID}"
LOCK = Order(None, False, 0, "", False)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """A command line in this process: exit code, stdout, stderr. Nobody is signed in."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("REMIT_URL", "REMIT_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(remit.cli._COMMANDS, "revoke", "the end of what somebody was permitted")

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            remit.cli.main(("revoke", *arguments))
        found = capsys.readouterr()
        return ended.value.code, found.out, found.err

    return call


@pytest.fixture
def installation(tmp_path):
    """An installation that has begun: its file, with one decision of Dana's in its ledger."""
    folder = tmp_path / "contoso"
    shutil.copytree(EXAMPLE, folder)
    settings = read(folder / "remit.yaml")
    evidence.install(settings)
    with evidence.writing(settings) as engine, LedgerRecorder(evidence.ledger(settings, engine)) as recorder:
        from remit.assembly.rooms import now

        for name, key in (("Dana", DANA), ("Alex", f"{TID}/a"), ("Alex", f"{TID}/b")):
            entry = {
                "type": "decision",
                "schema": "decision/1",
                "decision": f"d-{key}",
                "at": now(),
                "outcome": "permit",
            }
            recorder.record_now({**entry, "name": name, "principal": key})
    return folder / "remit.yaml"


def entries(installation):
    settings = read(installation)
    with evidence.reading(settings) as engine, engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT entry FROM ledger_entries WHERE type = 'revocation' ORDER BY position"
        )
        return [json.loads(row[0]) for row in rows]


def test_the_help_is_one_screen(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) < 40
    assert max(map(len, out.splitlines())) <= 80


def test_on_the_machine_itself_it_is_recorded_in_the_user_s_name(run, installation):
    code, out, err = run(OID, "--because", "gone", "--config", str(installation))
    assert (code, err) == (0, "")
    assert out.startswith(f"locked principal {DANA}: epoch 1, ")
    assert out.endswith(" ms, held by no arbiter, since none is running\n")
    [entry] = entries(installation)
    assert entry["actor"] == f"os/{pwd.getpwuid(os.getuid()).pw_name}"
    assert (entry["effect"], entry["subject"], entry["because"], entry["epoch"]) == ("revoke", DANA, "gone", 1)
    key = evidence.public_key(read(installation)).read_text().strip()
    assert evidence.verified(read(installation), (key,)).passed


def test_several_at_once_as_data_and_held_by_an_arbiter(run, installation):
    run(DANA, "--config", str(installation))
    settings = read(installation)
    with (
        evidence.reading(settings) as reader,
        evidence.writing(settings) as writer,
        RevocationView(reader, writer, "arbiter-1"),
    ):
        code, out, err = run("Dana", "s-1", "j-1", "--json", "--config", str(installation))
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["scope"], row["subject"], row["epoch"]) for row in rows] == [
        ("principal", DANA, 1),
        ("session", "s-1", 2),
        ("job", "j-1", 3),
    ]
    assert all(row["arbiters"] == ["arbiter-1"] and row["fenced"] == [] for row in rows)


def test_the_list_and_a_lift(run, installation):
    config = ("--config", str(installation))
    run(DANA, "--for", "2h", "--because", "holiday", *config)
    run("s-1", "--sign-in-again", *config)
    run("some-sid", "--session", *config)
    code, out, err = run("--list", *config)
    assert (code, err) == (0, "3 revocations stand\n")
    lines = out.splitlines()
    assert lines[0].split() == ["epoch", "since", "scope", "subject", "what", "by", "because"]
    assert "locked until 20" in lines[1]
    assert lines[1].endswith("holiday")
    assert "nothing from before 20" in lines[2]
    assert " locked " in lines[3]
    code, out, err = run(DANA, "--lift", *config)
    assert (code, err) == (0, "")
    assert out.startswith(f"lifted principal {DANA}: epoch 4, ")
    code, out, err = run(DANA, "some-sid", "--session", "--lift", *config)
    assert code == 1  # a session of Dana's name was never locked, the other one was
    assert err == f"{DANA}: nothing that an operator locked is to be lifted there\n"
    assert out.startswith("lifted session some-sid")
    code, out, _ = run("--list", "--json", *config)
    assert [json.loads(line)["subject"] for line in out.splitlines()] == ["s-1"]


def test_sign_in_again_ends_what_was_issued(run, installation):
    assert run("x", "--job", "--sign-in-again", "--config", str(installation))[1].startswith("ended what was issued")
    assert entries(installation)[0]["before"] > 0
    assert entries(installation)[0]["locked"] == 0


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "name who is to be revoked, or ask for the list"),
        (("x", "--list"), "name who is to be revoked, or ask for the list"),
        (("x", "--session", "--job"), "these options exclude each other"),
        (("x", "--lift", "--sign-in-again"), "these options exclude each other"),
        (("x", "--for", "2h", "--sign-in-again"), "these options exclude each other"),
        (("x", "--for", "soon"), "`soon` is no duration"),
        (("x",), "nobody is signed in on this machine"),
        (("x", "--config", "/none.yaml"), "cannot be read"),
    ],
)
def test_errors_are_2(run, words, error):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert error in err


@pytest.mark.parametrize(
    ("word", "said"), [("Alex", "can mean"), ("Nobody", "nobody named"), ("elsewhere/x", "names nobody")]
)
def test_words_that_are_not_one_thing_revoke_nothing(run, installation, word, said):
    code, out, err = run(word, "--config", str(installation))
    assert (code, out) == (2, "")
    assert said in err
    assert entries(installation) == []


def test_where_nothing_is_installed(run, tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "contoso", ignore=shutil.ignore_patterns(".remit"))
    code, _, err = run("x", "--config", str(tmp_path / "contoso" / "remit.yaml"))
    assert code == 2
    assert err == "error: there is no installation here yet\nhint: `remit serve` makes it\n"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800)])
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "0h", "-5m", "5w", "²m", "1.5h", "5 m"])
def test_what_is_no_duration(text):
    with pytest.raises(RemitError, match="is no duration"):
        duration(text)


@pytest.fixture
def remote(api):
    return Remote(Api(api.url, lambda: AccessToken("secret")))


def test_an_installation_is_asked_in_the_caller_s_name(api, remote):
    api.answer = (200, {}, b'{"epoch": 7}')
    assert remote.ask("dana", Order(Scope.SESSION, True, 0, "gone", False)) == {"epoch": 7}
    wanted = {"subject": "dana", "scope": "session", "sign_in_again": True, "for": 0, "because": "gone", "lift": False}
    assert api.asked == [("POST", "/v1/revocations", "Bearer secret", wanted)]
    api.answer = (200, {}, b'{"revocations": [{"epoch": 7}]}')
    assert remote.standing() == [{"epoch": 7}]
    assert api.asked[1] == ("GET", "/v1/revocations", "Bearer secret", None)
    api.answer = (200, {}, b"{}")
    assert remote.standing() == []


def test_nothing_to_lift_is_no_error(api, remote):
    api.answer = (404, {}, b'{"error": "not_found"}')
    assert remote.ask("dana", LOCK) is None


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        (
            (403, {"x-remit-reason": "no_policy_permits"}, b'{"error_description": "no"}'),
            Reason.NO_POLICY_PERMITS,
            "no",
        ),
        ((502, {}, b"<html>"), Reason.PLANE_UNAVAILABLE, Reason.PLANE_UNAVAILABLE.sentence),
        ((500, {"x-remit-reason": "odd"}, b"[]"), Reason.PLANE_UNAVAILABLE, Reason.PLANE_UNAVAILABLE.sentence),
    ],
)
def test_refusals_keep_their_reason(api, remote, answer, reason, said):
    api.answer = answer
    with pytest.raises(Refused) as refused:
        remote.ask("dana", LOCK)
    assert (refused.value.reason, refused.value.message) == (reason, said)


def test_nobody_answers():
    with pytest.raises(RemitError, match="does not answer") as error:
        Remote(Api("http://127.0.0.1:1", lambda: AccessToken("secret"))).ask("dana", LOCK)
    assert "secret" not in repr(error.value.__context__)


def test_who_is_signed_in_asks_the_installation(run, api, monkeypatch):
    from remit.model.secret import AccessToken
    from remit.sdk import sign_in

    class Kept:
        class configuration:  # noqa: N801 - an attribute of the real one
            url = api.url

        def token(self):
            return AccessToken("secret")

    monkeypatch.setattr(sign_in.SignIn, "kept", classmethod(lambda _: Kept()))
    done = {"scope": "principal", "subject": DANA, "epoch": 7, "took_ms": 80, "arbiters": ["a"], "fenced": ["b"]}
    api.answer = (200, {}, json.dumps({**done, "warning": "this is your own access"}).encode())
    code, out, err = run("Dana")
    assert (code, out) == (0, f"locked principal {DANA}: epoch 7, 80 ms, held by a\n")
    assert err == "cut off, because they did not answer: b\nwarning: this is your own access\n"
    api.answer = (403, {"x-remit-reason": "no_policy_permits"}, b'{"error_description": "no policy permits this"}')
    assert run("Dana") == (1, "", "error: no policy permits this\n")


def test_it_is_a_command():
    assert isinstance(revoke.command, click.Command)
