"""`remit policy diff`: an edited folder against a revision and against a folder, over a real ledger and a real git."""

import asyncio
import json
import shutil
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import remit.cli
from remit.assembly import evidence, rooms
from remit.assembly.replay import version_of
from remit.audit.memberships import Memberships
from remit.audit.policy_sets import PolicySets
from remit.audit.recorder import LedgerRecorder
from remit.cli.policy import command
from remit.model.decision import Circumstances, Decision
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.names import decision_id
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.record import decision_record
from remit.policy.source import read_folder
from remit.settings.read import Settings, read

EXAMPLE = Path(__file__).parents[3] / "examples" / "contoso"
TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
ENGINEERS = "9a000000-0000-4000-8000-000000000002"
PREDICT = "aiplatform.projects.locations.endpoints.predict"
POLICIES = f"""
@id("engineers-use-test")
@purpose("engineers call models")
permit (principal in Group::"{ENGINEERS}", action in Action::"use", resource in Project::"contoso-fraud-test");
"""
EDITED = """
@id("guests-use-test")
@purpose("guests call models")
permit (principal, action in Action::"use", resource in Project::"contoso-fraud-test") when { context.guest };

@id("engineers-use-test")
@purpose("engineers call models with a second factor")
permit (principal, action in Action::"use", resource in Project::"contoso-fraud-test")
when { context.authentication.methods.contains("mfa") };
"""


@dataclass
class Place:
    """An installation whose policies lie in git, with decisions in its ledger."""

    folder: Path
    settings: Settings

    @property
    def policies(self) -> Path:
        return self.settings.policy.folder

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=Pat", "-c", "user.email=pat@contoso.example", "-c", "commit.gpgsign=false")
        subprocess.run(("git", "-C", str(self.folder), *who, *words), check=True, capture_output=True)

    def edit(self, text: str = EDITED) -> None:
        (self.policies / "all.cedar").write_text(text, encoding="utf-8")

    def decide(self, *who: Identity, days: int = 1, keep: bool = True) -> list[Decision]:
        """Each calls a model, by the policies as they lie there; recorded as the arbiter does it."""
        judge = rooms.judge(self.settings)
        endpoint = "//aiplatform.googleapis.com/projects/contoso-fraud-test/locations/us-central1/endpoints/7"
        request = Request(
            (Operation(Action(PREDICT, Group.USE), (Resource("Endpoint", endpoint, "contoso-fraud-test"),)),)
        )
        made = []
        for number, identity in enumerate(who):
            at = int(time.time()) - days * 86_400 + number
            around = Circumstances(at, "10.0.0.1", locations_known=True)
            verdict = judge.decide(identity, request, around)
            at *= 1_000_000
            made.append(Decision(decision_id(at), at, verdict, around, identity, request))
        asyncio.run(self.record(made, keep=keep))
        return made

    async def record(self, decisions: list[Decision], *, keep: bool) -> None:
        with evidence.writing(self.settings) as engine:
            ledger = evidence.ledger(self.settings, engine)
            with LedgerRecorder(ledger, patience=20) as recorder:
                memberships = Memberships(recorder, rooms.now)
                if keep:
                    found = read_folder(self.policies)
                    await PolicySets(recorder, version_of, rooms.now).keep(found.version, found.texts)
                for each in decisions:
                    assert each.identity is not None
                    await memberships.keep(each.identity)
                    await recorder.record(decision_record(each))


@pytest.fixture
def place(tmp_path) -> Place:
    folder = tmp_path / "contoso"
    (folder / "policies").mkdir(parents=True)
    shutil.copy(EXAMPLE / "remit.yaml", folder)
    settings = read(folder / "remit.yaml")
    evidence.install(settings)
    found = Place(folder, settings)
    found.edit(POLICIES)
    found.git("init", "--quiet", "--initial-branch=main")
    found.git("add", "policies")
    found.git("commit", "--quiet", "--message", "policies")
    return found


@pytest.fixture
def run(capsys, place, monkeypatch):
    """The command line in this process: exit code, stdout, stderr."""
    monkeypatch.setitem(remit.cli._COMMANDS, "policy", "policies")

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            remit.cli.main(["policy", "diff", "--config", str(place.settings.file), *words])
        found = capsys.readouterr()
        return ended.value.code, found.out, found.err

    return call


def somebody(name, *, groups=(ENGINEERS,), methods=("pwd",), guest=False):
    return Identity(
        principal=Principal("https://login", TENANT, f"oid-{name}", Kind.PERSON),
        display=f"{name}@contoso.example",
        groups=frozenset(groups),
        groups_at=1,
        roles=frozenset(),
        scopes=frozenset(),
        client="",
        authentication=Authentication(frozenset(methods)),
        guest=guest,
        issued_at=1,
        expires_at=2,
        token_id="t",
    )


DANA, MIA = somebody("dana"), somebody("mia", methods=("pwd", "mfa"))
GIL = somebody("gil", groups=(), guest=True)


@pytest.mark.promise("V20")
def test_who_gains_and_who_loses_is_told_with_the_policies(run, place):
    decisions = place.decide(DANA, DANA, MIA, GIL)
    place.edit()
    code, out, err = run("--against", "HEAD")
    assert code == 1
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[:2] == ["+ guests-use-test", "~ engineers-use-test"]
    assert lines.index("gains") < lines.index("losses")
    gain, loss = lines[lines.index("gains") + 2], lines[lines.index("losses") + 2]
    assert gain.split("  ")[0] == "gil@contoso.example"
    assert "deny → permit" in gain
    assert "no policy → guests-use-test" in gain
    assert loss.startswith("dana@contoso.example")
    assert "permit → deny" in loss
    assert "engineers-use-test → no policy" in loss
    assert loss.endswith(f"2      {decisions[1].id}")
    assert "4 of 4 recorded decisions taken again: 1 unchanged" in err
    assert "otherwise than recorded" not in err


def test_the_same_as_data(run, place):
    decisions = place.decide(DANA, DANA, MIA, GIL)
    place.edit()
    code, out, err = run("--against", "HEAD", "--json")
    assert (code, err) == (1, "")
    found = json.loads(out)
    assert found["policies"] == {"added": ["guests-use-test"], "removed": [], "edited": ["engineers-use-test"]}
    assert (found["decisions"], found["replayed"], found["unchanged"], found["unlike"], found["left"]) == (
        4,
        4,
        1,
        0,
        {},
    )
    [gain], [loss] = found["gains"], found["losses"]
    assert (gain["name"], gain["before"], gain["after"]) == (GIL.display, "deny", "permit")
    assert (loss["principal"], loss["times"], loss["decision"]) == (DANA.principal.key, 2, decisions[1].id)
    assert loss["policies_before"] == ["engineers-use-test"]
    assert found["before"] != found["after"]


@pytest.mark.promise("V20")
def test_an_unchanged_policy_affects_nobody(run, place):
    place.decide(DANA, MIA, GIL)
    code, out, err = run("--against", "HEAD")
    assert (code, out) == (0, "")
    assert "no policy differs" in err
    assert "3 of 3 recorded decisions taken again: 3 unchanged" in err


def test_an_edit_that_affects_nobody_is_shown_and_is_0(run, place):
    place.decide(MIA)
    place.edit()
    code, out, _ = run("--against", "main")
    assert (code, out.splitlines()) == (0, ["+ guests-use-test", "~ engineers-use-test"])


def test_a_folder_is_compared_with_as_a_revision_is(run, place, tmp_path):
    place.decide(DANA)
    shutil.copytree(place.policies, tmp_path / "before")
    place.edit()
    revision, folder = run("--against", "HEAD", "--json"), run("--against", str(tmp_path / "before"), "--json")
    assert revision == folder
    assert folder[0] == 1


def test_only_the_time_asked_for_is_replayed(run, place):
    place.decide(DANA, days=40)
    place.decide(DANA, days=3)
    place.edit()
    for since, times in (("2d", 0), ("7d", 1), ("30d", 1), ("90d", 2)):
        code, out, _ = run("--against", "HEAD", "--json", "--since", since)
        assert (code, json.loads(out)["decisions"]) == (1 if times else 0, times)


def test_decisions_of_an_older_set_are_held_against_it(run, place):
    place.decide(GIL)
    place.edit()
    place.decide(GIL, DANA)  # by what was edited, and is committed; then edited back
    place.git("commit", "--quiet", "--all", "--message", "edited")
    place.edit(POLICIES + "// again\n")
    place.decide(GIL, keep=False)
    place.edit(POLICIES)
    code, out, _ = run("--against", "HEAD", "--json")
    found = json.loads(out)
    assert (code, found["unlike"], found["checked"], found["unkept"]) == (1, 0, 3, 1)


def test_a_record_that_replay_contradicts_is_said(run, place):
    [decision] = place.decide(GIL)
    lied = replace(decision, id=decision_id(decision.at), verdict=replace(decision.verdict, outcome=Outcome.PERMIT))
    asyncio.run(place.record([lied], keep=False))
    code, _, err = run("--against", "HEAD")
    assert code == 0
    assert f"1 of 2 come out otherwise than recorded under the very policies that decided them ({lied.id})" in err


def test_texts_that_were_changed_beside_the_ledger_are_an_error(run, place):
    place.edit(POLICIES + "// older\n")
    place.decide(GIL)
    place.edit(POLICIES)
    with evidence.writing(place.settings) as engine, engine.begin() as connection:
        forged = json.dumps({"../../escaped.cedar": "x"})
        connection.exec_driver_sql("UPDATE ledger_policies SET files = ?", (forged,))
    code, out, err = run("--against", "HEAD")
    assert (code, out) == (2, "")
    assert "were changed" in err
    assert not list(place.folder.parent.rglob("escaped.cedar"))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--against", "nowhere"), "`nowhere` is neither a folder nor a revision of"),
        (("--against=--help",), "`--help` is neither a folder nor a revision of"),
        (("--against", "HEAD", "--since", "soon"), "`soon` is no time"),
        ((), "missing option '--against'"),
    ],
)
def test_what_cannot_be_told_is_2(run, place, words, error):
    place.decide(DANA)
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert error in err


def test_an_edit_that_is_not_good_is_2_and_names_its_place(run, place):
    place.decide(DANA)
    place.edit("permit (principal, action, resource")
    code, out, err = run("--against", "HEAD", "--json")
    assert (code, out) == (2, "")
    assert "all.cedar:1:" in err


def test_before_there_is_a_git_it_says_so(run, place, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run("--against", "HEAD")
    assert code == 2
    assert "`git` is not installed" in err


def test_a_terminal_sees_how_far_it_is_and_nobody_else(run, place, monkeypatch):
    place.decide(DANA, GIL)
    assert "deciding again" not in run("--against", "HEAD")[2]
    monkeypatch.setenv("FORCE_COLOR", "1")  # what makes rich take anything for a terminal
    code, out, err = run("--against", "HEAD")
    assert (code, out) == (0, "")
    assert "deciding again" in err
    assert "2/2" in err
    assert "deciding again" not in run("--against", "HEAD", "--json")[2]


def test_what_the_group_holds_is_listed():
    assert command.list_commands(None) == ["init", "check", "test", "diff", "schema"]
    assert command.get_command(None, "frobnicate") is None
    assert command.get_command(None, "diff").name == "command"
