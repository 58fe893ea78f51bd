"""`remit policy init|check|test|schema`: exit codes, data and words, and that one leads to the next."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import remit.cli
from remit.assembly import evidence, rooms
from remit.audit.memberships import Memberships
from remit.audit.recorder import LedgerRecorder
from remit.identity.directory.inventory import KeptInventory
from remit.model.decision import Circumstances, Decision
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.inventory import Account, GroupKnown, Inventory
from remit.model.names import decision_id
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.record import decision_record, policies_record
from remit.settings.read import read

ROOT = Path(__file__).resolve().parents[3]
CONTOSO = ROOT / "examples" / "contoso"
POLICIES = """\
@id("engineers-work")
@purpose("engineers work")
@otherwise("this is for engineers")
permit (
    principal in Group::"9a000000-0000-4000-8000-000000000002", // ml-engineers
    action in [Action::"launch", Action::"aiplatform.projects.locations.endpoints.predict"],
    resource in Environment::"test"
)
unless { context.guest };
"""
TESTS = """\
given:
  groups: {ml-engineers: 9a000000-0000-4000-8000-000000000002}
  people:
    dana: {groups: [ml-engineers]}
    gil: {groups: [ml-engineers], guest: true}
tests:
  - {name: engineers launch, who: dana, does: launch, on: contoso-fraud-test, expect: permit, because: [engineers-work]}
  - {name: guests do not, who: gil, does: launch, on: contoso-fraud-test, expect: deny}
"""


@pytest.fixture
def run(capsys):
    """A command line in this process: exit code, stdout, stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            remit.cli.main(["policy", *map(str, arguments)])
        found = capsys.readouterr()
        return ended.value.code, found.out, found.err

    return call


@pytest.fixture
def house(tmp_path):
    """An installation of Contoso's with one policy and its tests: its `remit.yaml`."""
    shutil.copy(CONTOSO / "remit.yaml", tmp_path)
    (tmp_path / "policies" / "tests").mkdir(parents=True)
    (tmp_path / "policies" / "work.cedar").write_text(POLICIES)
    (tmp_path / "policies" / "tests" / "work.yaml").write_text(TESTS)
    return tmp_path / "remit.yaml"


def edit(house, name, old, new):
    file = house.parent / "policies" / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


# test


def test_tests_that_pass_say_how_much_they_tried(run, house):
    code, out, err = run("test", "--config", house)
    assert (code, out) == (0, "")
    assert "2 passed, 0 failed; 100% of the rules decided a test, 100% of the sides" in err


def test_a_failure_is_one_line_with_everything(run, house):
    edit(house, "tests/work.yaml", "on: contoso-fraud-test, expect: deny", "on: contoso-fraud-test, expect: permit")
    code, out, err = run("test", "--config", house)
    assert code == 1
    (line,) = [one for one in out.splitlines() if "untried" not in one]
    assert line.startswith(f"{house.parent}/policies/tests/work.yaml:8:5: guests do not: expected permit, got deny; ")
    assert "decided by no_policy_permits" in line
    assert line.endswith(": this is for engineers")
    assert "1 passed, 1 failed" in err


def test_what_is_untried_is_named_and_can_fail(run, house):
    edit(house, "tests/work.yaml", TESTS.splitlines()[-1] + "\n", "")
    code, out, _ = run("test", "--config", house)
    assert (code, out) == (0, "untried: `engineers-work`: never true: unless { context.guest }\n")
    assert run("test", "--config", house, "--coverage", "50")[0] == 0
    code, _, err = run("test", "--config", house, "--coverage", "51")
    assert code == 1
    assert "less than the 51% of `--coverage`" in err


def test_tests_as_data(run, house):
    code, out, _ = run("test", "--config", house, "--json")
    told = json.loads(out)
    assert (code, told["passed"], told["coverage"]["conditions"]) == (0, True, 100.0)
    assert [(one["name"], one["got"], one["policies"]) for one in told["tests"]] == [
        ("engineers launch", "permit", ["engineers-work"]),
        ("guests do not", "deny", []),
    ]


@pytest.mark.parametrize(
    ("name", "edited", "said"),
    [
        ("tests/work.yaml", ("who: dana", "who: dina"), "work.yaml:7:30: `who` must name somebody"),
        ("tests/work.yaml", ("tests:", "tests: ["), "not valid YAML"),
        ("work.cedar", ("context.guest", "context.gust"), "work.cedar:9:"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_place(run, house, name, edited, said):
    edit(house, name, *edited)
    code, out, err = run("test", "--config", house)
    assert (code, out) == (2, "")
    assert said in err


def flood(house):
    """A word that is misspelt in a hundred tests."""
    test = "  - {nam: engineers launch, who: dana, does: launch, on: contoso-fraud-test, expect: permit}\n"
    edit(house, "tests/work.yaml", TESTS[TESTS.index("tests:") :], "tests:\n" + test * 100)
    return f"{house.parent}/policies/tests/work.yaml:7:6: `nam` is not known here"


def test_what_is_wrong_a_hundred_times_is_told_once_with_its_place(run, house):
    said = flood(house)
    code, out, err = run("test", "--config", house)
    first, hint = err.splitlines()
    assert (code, out) == (2, "")
    assert first.startswith(f"error: {said}")
    assert first.endswith("; the same at 99 more places")
    assert hint == "hint: docs/policy-schema.md explains every word of a policy test"


@pytest.mark.parametrize("broken", ["tests: [", "a: &b", "\0"])
def test_a_test_file_that_is_no_yaml_leads_on(run, house, broken):
    (house.parent / "policies" / "tests" / "work.yaml").write_text(broken)
    code, _, err = run("test", "--config", house)
    first, hint = err.splitlines()
    assert code == 2
    assert re.match(rf"error: {re.escape(str(house.parent))}/policies/tests/work.yaml:1:\d+: ", first)
    assert hint.startswith("hint: docs/policy-schema.md")


def test_a_test_file_that_cannot_be_read_is_named(run, house):
    (house.parent / "policies" / "tests" / "more.yaml").mkdir()
    code, _, err = run("test", "--config", house)
    assert code == 2
    assert err.startswith(f"error: {house.parent}/policies/tests/more.yaml: cannot be read: ")


def test_no_tests_is_an_error(run, house):
    (house.parent / "policies" / "tests" / "work.yaml").unlink()
    code, _, err = run("test", "--config", house)
    assert code == 2
    assert "there are no tests" in err


def test_watching_runs_again_when_a_file_changes(house):
    command = [sys.executable, "-m", "remit.cli", "policy", "test", "--watch", "--config", str(house)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    log = house.parent / "log"
    with log.open("w") as words:
        watching = subprocess.Popen(command, stdout=words, stderr=words, env=environment)
    try:
        wait_for(log, "2 passed, 0 failed")
        edit(house, "tests/work.yaml", "expect: deny", "expect: permit")
        wait_for(log, "1 passed, 1 failed")
        edit(house, "work.cedar", "context.guest", "context.gust")
        wait_for(log, "error: ")
        assert watching.poll() is None
    finally:
        watching.kill()
        watching.wait()


def wait_for(log, words):
    end = time.monotonic() + 120
    while words not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


# check


def test_a_set_that_its_tests_need_has_no_findings(run, house):
    code, out, err = run("check", "--config", house)
    assert (code, out) == (0, "")
    assert "0 errors, 0 warnings, 0 notes" in err
    assert "from 2 tests, 0 recorded decisions" in err


def test_what_is_wrong_is_found_with_its_place(run, house):
    edit(house, "work.cedar", 'Environment::"test"', 'Environment::"tset"')
    code, out, _ = run("check", "--config", house)
    assert code == 1
    assert re.match(rf"error +{re.escape(str(house.parent))}/policies/work.cedar:7:17: ", out)


def test_a_test_that_cannot_be_read_is_a_finding(run, house):
    edit(house, "tests/work.yaml", "who: dana", "who: dina")
    code, out, _ = run("check", "--config", house, "--json")
    told = json.loads(out)
    assert (code, told["passed"]) == (1, False)
    assert [(one["severity"], one["kind"], one["line"]) for one in told["findings"]] == [("error", "invalid", 7)]


def test_a_test_file_that_is_wrong_all_over_is_a_line_and_what_to_do(run, house):
    said = flood(house)
    code, out, _ = run("check", "--config", house)
    first, hint = out.splitlines()
    assert code == 1
    assert re.match(rf"error +{re.escape(said)}", first)
    assert first.endswith("; the same at 99 more places")
    assert hint.strip() == "docs/policy-schema.md explains every word of a policy test"
    assert len(json.loads(run("check", "--config", house, "--json")[1])["findings"]) == 100


def test_a_rule_that_nothing_needs_is_a_warning(run, house):
    (house.parent / "policies" / "more.cedar").write_text(
        '@id("more") @purpose("p") permit (principal in Role::"X", action in Action::"use", resource);\n'
    )
    code, out, _ = run("check", "--config", house, "--offline")
    assert code == 1
    assert "permit `more` never matched anything in 2 tests" in out


def test_no_records_yet_is_no_error(run, house):
    evidence.install(read(house))
    code, _, err = run("check", "--config", house, "--since", "7d")
    assert (code, "0 recorded decisions" in err) == (0, True)
    code, _, err = run("check", "--config", house, "--since", "long ago")
    assert (code, "is no time" in err) == (2, True)


def test_what_is_no_installation_is_an_error(run, house):
    for command in ("test", "check", "schema"):
        assert run(command, "--config", house.parent / "absent.yaml")[0] == 2


def test_recorded_decisions_show_what_nobody_used(run, house):
    settings = read(house)
    evidence.install(settings)
    at = time.time_ns() // 1000
    launch = Request((Operation(Action("launch", Group.LAUNCH), (project("contoso-fraud-test"),)),))
    gone = Request((Operation(Action("launch", Group.LAUNCH), (project("a-project-that-is-gone"),)),))
    old = at - 100 * 86_400_000_000
    record(
        settings, *(decision(settings, when, request) for when, request in ((at, launch), (at, gone), (old, launch)))
    )
    code, out, _ = run("check", "--config", house, "--json")
    told = json.loads(out)
    assert (code, told["passed"], told["decisions"], told["failed"]) == (1, False, 2, 1)
    assert {one["kind"] for one in told["findings"]} == {"wider_than_used"}
    (warning,) = [one["message"] for one in told["findings"] if one["severity"] == "warning"]
    assert "endpoints.predict`, which nobody needed since" in warning
    assert json.loads(run("check", "--config", house, "--since", "200d", "--json")[1])["decisions"] == 3
    assert json.loads(run("check", "--config", house, "--offline", "--json")[1])["findings"] == []


def test_the_directory_as_last_read_is_held_against_the_policies(run, house):
    settings = read(house)
    evidence.install(settings)
    record(settings)
    tenant, inside = settings.identity.entra.tenant, "9a000000-0000-4000-8000-000000000001"
    principal = Principal("", tenant, "0d000000-0000-4000-8000-000000000001", Kind.PERSON)
    engineers = "9a000000-0000-4000-8000-000000000002"
    dana = Account(principal, "Dana", True, False, frozenset({inside}), frozenset({inside, engineers}), frozenset())
    groups = {
        engineers: GroupKnown(engineers, "ml-engineers"),
        inside: GroupKnown(inside, "ml-engineers-fraud", frozenset({engineers})),
    }
    known = Inventory(1_795_305_600, (dana,), groups)
    (house.parent / "policies" / "more.cedar").write_text(
        '@id("more") @purpose("p") permit (principal in Role::"Nobody", action in Action::"use", resource);\n'
    )
    with evidence.writing(settings) as engine:
        KeptInventory(tenant, engine, engine).keep(tenant, known)
    code, out, err = run("check", "--config", house)
    assert code == 1
    assert re.search(r"error   .*more.cedar:1:\d+: the directory has no role `Nobody`", out)
    assert re.search(
        r"note    .*`ml-engineers` lets in 1 account by way of `ml-engineers-fraud` in `ml-engineers`", out
    )
    assert "and the directory of 2026-11-22" in err
    assert "directory has no" not in run("check", "--config", house, "--offline")[1]


def project(name):
    return Resource("Project", f"//cloudresourcemanager.googleapis.com/projects/{name}", name)


def decision(settings, at, request):
    """A decision of Dana's, as the judge takes it."""
    tid = settings.identity.entra.tenant
    identity = Identity(
        principal=Principal(settings.identity.entra.issuer, tid, "0d000000-0000-4000-8000-000000000001", Kind.PERSON),
        display="Dana",
        groups=frozenset({"9a000000-0000-4000-8000-000000000002"}),
        groups_at=at // 1_000_000,
        roles=frozenset(),
        scopes=frozenset(),
        client="",
        authentication=Authentication(),
        guest=False,
        issued_at=at // 1_000_000,
        expires_at=at // 1_000_000 + 3600,
        token_id="",
    )
    around = Circumstances(at // 1_000_000)
    verdict = rooms.judge(settings).decide(identity, request, around)
    return Decision(decision_id(at), at, verdict, around, identity, request)


def record(settings, *decisions):
    """Writes decisions as the arbiter does."""

    async def write(recorder):
        await recorder.record(policies_record("0", 1, "", []))
        for each in decisions:
            await Memberships(recorder, lambda: 1).keep(each.identity)
            await recorder.record(decision_record(each))

    with evidence.writing(settings) as engine, LedgerRecorder(evidence.ledger(settings, engine)) as recorder:
        asyncio.run(write(recorder))


# init


def test_a_set_to_start_from_loads(run, house):
    shutil.rmtree(house.parent / "policies")
    code, out, err = run("init", "--config", house)
    assert code == 0
    assert "9a000000-0000-4000-8000-000000000002" in out
    assert "`remit policy check`" in err
    written = sorted(file.name for file in (house.parent / "policies").rglob("*") if file.is_file())
    assert written == sorted(file.name for file in (CONTOSO / "policies").rglob("*") if file.is_file())
    assert run("schema", "--config", house)[0] == 0
    assert run("test", "--config", house)[0] == 0


def test_a_set_in_another_folder_says_how_it_becomes_the_one_that_is_checked(run, house):
    target = house.parent / "new"
    _, _, err = run("init", "--config", house, target)
    assert f"hint: it looks at the folder that `{house}` names under `policy`: `folder: {target}`" in err
    house.write_text(house.read_text().replace("  folder: policies\n", f"  folder: {target}\n"))
    assert run("test", "--config", house)[0] == 0
    shutil.rmtree(target)
    assert "hint:" not in run("init", "--config", house)[2]


def test_what_is_there_is_never_written_over(run, house):
    before = (house.parent / "policies" / "work.cedar").read_text()
    code, _, err = run("init", "--config", house)
    assert (code, "holds something already" in err) == (2, True)
    assert (house.parent / "policies" / "work.cedar").read_text() == before


def test_projects_of_the_same_environment_take_contosos_place(run, house):
    text = house.read_text()
    for old, new in (("contoso-fraud-test", "acme-lab"), ("100000000001", "200000000001")):
        text = text.replace(old, new)
    house.write_text(text)
    target = house.parent / "new"
    code, out, _ = run("init", "--config", house, target, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["replaced"] == {"contoso-fraud-test": "acme-lab", "100000000001": "200000000001"}
    policies = "".join(file.read_text() for file in target.rglob("*.cedar"))
    assert 'Project::"acme-lab"' in policies
    assert "trainer@acme-lab.iam.gserviceaccount.com" in policies
    assert 'Project::"contoso-fraud-test"' not in policies
    assert 'Project::"contoso-fraud-prod"' in policies
    assert {one["kind"] for one in told["ids"]} == {"group", "role", "job"}
    # Contoso's buckets have names of their own, which are told instead of guessed
    assert any("contoso-fraud-test-data" in one["message"] for one in told["problems"])


def test_without_an_installation_contosos_set_is_written_as_it_is(run, tmp_path):
    code, _, err = run("init", "--config", tmp_path / "absent.yaml", tmp_path / "new")
    assert code == 0
    assert "there is no `" in err
    for file in (CONTOSO / "policies").rglob("*.cedar"):
        assert (tmp_path / "new" / file.relative_to(CONTOSO / "policies")).read_text() == file.read_text()


# schema


def test_the_schema_holds_the_actions_that_policies_name(run, house):
    code, out, err = run("schema", "--config", house)
    assert (code, err) == (0, "")
    assert "type Circumstances = {" in out
    assert 'action "aiplatform.projects.locations.endpoints.predict" in [Action::"use"]' in out
    assert "deployModel" not in out
    told = json.loads(run("schema", "--config", house, "--json")[1])
    assert told["actions"] == {"aiplatform.projects.locations.endpoints.predict": "use"}
    assert told["schema"] == out
    assert {"Person", "Country"} <= {one["name"] for one in told["entities"]}


def test_the_whole_schema_needs_no_installation(run, tmp_path):
    code, out, _ = run("schema", "--config", tmp_path / "absent.yaml", "--all-actions", "--json")
    assert code == 0
    assert len(json.loads(out)["actions"]) > 1000


def test_the_reference_page_is_fresh():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "policy_reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
