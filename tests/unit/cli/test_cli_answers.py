"""What commands print when they are answered: data on stdout, words on stderr, 0 for yes and 1 for no."""

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import remit.cli
from remit.assembly import evidence, rooms
from remit.assembly import trust_verifying as trusting
from remit.audit.recorder import LedgerRecorder
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import AccessToken, UnverifiedToken
from remit.sdk import broker, sign_in
from remit.sdk.broker import Exchanged
from remit.settings.read import read
from remit.trust.verifying.findings import Finding, Hop, Report

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso"
URL = "http://127.0.0.1:8443"
IDENTITY = {
    "name": "Dana",
    "kind": "person",
    "guest": True,
    "principal": "tid/dana",
    "roles": ["MLEngineer"],
    "groups": [],
    "methods": ["pwd", "mfa"],
    "contexts": ["c1"],
    "expires_at": 0,
}


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            remit.cli.main(arguments)
        found = capsys.readouterr()
        return ended.value.code, found.out, found.err

    return call


class SignIn:
    """A sign-in that always works."""

    configuration = SimpleNamespace(url=URL)

    def token(self):
        return AccessToken("identity")


class Broker:
    """An installation that hands out tokens."""

    trouble = None

    def __init__(self, url):
        assert url == URL

    def exchange(self, token, audience):
        if self.trouble:
            raise self.trouble
        return Exchanged(AccessToken(f"for.{audience.rpartition('/')[2]}"), 900)


@pytest.fixture
def installation(monkeypatch):
    monkeypatch.setattr(sign_in, "current", lambda *_: SignIn())
    monkeypatch.setattr(broker, "Broker", Broker)
    return monkeypatch


@pytest.mark.parametrize("resource", ["gs://p", "az://p", "postgresql://p", "sql://p", "remit"])
def test_token(run, installation, resource):
    shown = f"for.{resource.rpartition('/')[2]}"
    assert run("token", resource) == (0, f"{shown}\n", "")
    for words in (("--json",), ("--format", "json")):
        found = json.loads(run("token", resource, *words)[1])
        assert found.pop("expires_in") in (899, 900)
        assert found == {"access_token": shown, "token_type": "Bearer"}
    installation.setattr(Broker, "trouble", Refused(Reason.NO_POLICY_PERMITS, "no bucket"))
    assert run("token", resource) == (1, "", "error: no bucket\n")


@pytest.fixture
def recorded(runtime_folder):
    """An installation with one recorded decision."""
    shutil.copytree(EXAMPLE / "policies", runtime_folder / "policies")
    file = Path(shutil.copy(EXAMPLE / "remit.yaml", runtime_folder))
    settings = read(file)
    evidence.install(settings)
    entry = {
        "type": "decision",
        "schema": "decision/1",
        "decision": "d-1",
        "at": rooms.now(),
        "outcome": "deny",
        "reasons": ["no_policy_permits"],
        "name": "Dana",
        "principal": "tid/dana",
        "action": "aiplatform.projects.locations.customJobs.create",
        "resource": "//cloudresourcemanager.googleapis.com/projects/p",
    }
    with evidence.writing(settings) as engine, LedgerRecorder(evidence.ledger(settings, engine)) as recorder:
        recorder.record_now(entry)
    return file


def test_the_timeline(run, recorded):
    code, out, err = run("audit", "query", "--config", str(recorded), "--since", "1h", "--who", "dana")
    assert (code, err) == (0, "1 row\n")
    assert out.splitlines()[0].split() == ["time", "what", "who", "action", "resource", "outcome", "why", "decision"]
    assert "customJobs.create" in out
    assert "no_policy_permits" in out
    code, out, err = run("audit", "query", "--config", str(recorded), "--json")
    [row] = [json.loads(line) for line in out.splitlines()]
    assert (row["decision"], row["outcome"], row["reasons"]) == ("d-1", "deny", ["no_policy_permits"])
    assert run("audit", "query", "--config", str(recorded), "--who", "ada") == (0, "", "0 rows\n")


def test_whom_nobody_gave_a_name_is_shown_by_the_key(run, recorded):
    settings = read(recorded)
    entry = {"type": "revocation", "schema": "revocation/1", "at": rooms.now(), "effect": "revoke", "actor": "os/sam"}
    with evidence.writing(settings) as engine, LedgerRecorder(evidence.ledger(settings, engine)) as recorder:
        recorder.record_now(entry | {"subject": "tid/dana", "decision": ""})
    assert " os/sam " in run("audit", "query", "--config", str(recorded))[1].splitlines()[-1]


@pytest.mark.promise("N7")
def test_evidence_that_holds_and_evidence_that_does_not(run, recorded, tmp_path):
    code, checkpoint, err = run("audit", "verify", "--config", str(recorded))
    assert code == 0
    assert err.endswith("the evidence holds\n")
    assert checkpoint.startswith("contoso.example/remit\n1\n")
    earlier = tmp_path / "checkpoint"
    earlier.write_text(checkpoint)
    code, out, _ = run("audit", "verify", "--config", str(recorded), "--earlier", str(earlier), "--json")
    assert (code, json.loads(out)["passed"]) == (0, True)
    with sqlite3.connect(recorded.parent / ".remit" / "remit.db") as database:
        database.execute("DELETE FROM ledger_entries")
    database.close()
    code, _, err = run("audit", "verify", "--config", str(recorded))
    assert code == 1
    assert "broken: ledger: " in err
    assert err.endswith("the evidence does not hold\n")


def test_a_lost_public_key_is_not_made_up_for(run, recorded):
    evidence.public_key(read(recorded)).unlink()
    code, _, err = run("audit", "verify", "--config", str(recorded))
    assert code == 2
    assert "is missing" in err
    assert "--key" in err


GOOD, BAD = Hop("a", holds=True, said="fine"), Hop("b", holds=False, said="wrong", cure="mend it")
WALKED = Hop("google-iam", holds=True, said="becomes it", role="MLEngineer", project="p")
MISSING = Finding("missing", "MLEngineer", "sa@p", "projects/p", "x.y.z", "google-permissions", "no", "grant it")
OTHER = Finding("clash", "Security", "", "entra", "Security", "entra-roles", "nobody holds it", "assign it")


@pytest.mark.parametrize(
    ("report", "code", "said"),
    [
        (Report((GOOD,), ()), 0, ["  ok      a: fine", "1 hop holds, and all sides agree"]),
        (Report((GOOD, BAD), ()), 1, ["  broken  b: wrong", "          cure: mend it", "1 of 2 hops broken"]),
        (
            Report((GOOD, WALKED), (MISSING,)),
            1,
            ["MLEngineer in p", "  missing MLEngineer (sa@p) on projects/p: x.y.z", "          cure: grant it"],
        ),
    ],
)
def test_the_trust(run, recorded, monkeypatch, report, code, said):  # noqa: PLR0917 - fixtures and a table's columns
    async def verified(settings, who, me):
        return report

    monkeypatch.setattr(trusting, "verified", verified)
    found = run("trust", "verify", "--config", str(recorded))
    assert (found[0], found[2]) == (code, "")
    assert [line for line in said if not any(each.startswith(line) for each in found[1].splitlines())] == []
    found = run("trust", "verify", "--config", str(recorded), "--json")
    assert found[0] == code
    assert json.loads(found[1])["clean"] == report.clean
    assert len(json.loads(found[1])["hops"]) == len(report.hops)


def test_the_trust_names_every_method_when_asked_to(run, recorded, monkeypatch):
    methods = tuple(f"aiplatform.projects.locations.models.m{each:02}" for each in range(20))

    async def verified(settings, who, me):
        return Report((GOOD,), (replace(MISSING, methods=methods),))

    monkeypatch.setattr(trusting, "verified", verified)
    out = run("trust", "verify", "--config", str(recorded))[1]
    assert "fails for 20 methods, each told by `remit trust verify --verbose`" in out
    out = run("trust", "verify", "--verbose", "--config", str(recorded))[1]
    assert all(f"m{each:02}" in out for each in range(20))
    [found] = json.loads(run("trust", "verify", "--json", "--config", str(recorded))[1])["findings"]
    assert tuple(found["methods"]) == methods


def test_the_trust_of_one_role(run, recorded, monkeypatch):
    async def verified(settings, who, me):
        return Report((GOOD, WALKED), (MISSING, OTHER))

    monkeypatch.setattr(trusting, "verified", verified)
    code, out, _ = run("trust", "verify", "--role", "Security", "--json", "--config", str(recorded))
    told = json.loads(out)
    assert (code, [hop["name"] for hop in told["hops"]]) == (1, ["a"])
    assert [each["role"] for each in told["findings"]] == ["Security"]
    code, out, err = run("trust", "verify", "--role", "Nobody", "--config", str(recorded))
    assert (code, out) == (2, "")
    assert "no account is mapped to `Nobody`" in err


def test_the_trust_as_oneself_is_walked_for_whoever_asks_for_it_and_is_signed_in(run, recorded, monkeypatch):
    walked = []

    async def verified(settings, who, me):
        walked.append(me)
        return Report((GOOD,), ())

    def nobody(*_):
        raise sign_in.nobody()

    command = ("trust", "verify", "--config", str(recorded))
    monkeypatch.setattr(trusting, "verified", verified)
    monkeypatch.setattr(sign_in, "current", nobody)
    assert run(*command)[0] == 0
    code, out, err = run(*command, "--as-me")
    assert (code, out) == (2, "")
    assert "hint: run `remit login --url URL`" in err
    code, _, err = run("doctor", "--live", "--as-me", "--config", str(recorded))
    assert (code, "remit login" in err) == (2, True)
    monkeypatch.setattr(sign_in, "current", lambda *_: SignIn())
    assert run(*command, "--as-me")[0] == 0
    assert walked == [None, UnverifiedToken("identity")]
