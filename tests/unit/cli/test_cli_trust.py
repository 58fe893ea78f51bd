"""`remit trust plan|apply`: from clouds that hold nothing to clouds that hold what remit.yaml says."""

import contextlib
import functools
import importlib.util
import json
import os
import pty
import shutil
import sys
from pathlib import Path

import pytest
import yaml

import remit.cli
from remit.assembly import trust_plan
from remit.model.errors import SettingsInvalid
from remit.model.secret import AccessToken
from remit.settings.read import read
from remit.trust.clouds.port import Missing
from remit.trust.things import Address, Found

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso"
APPS = {
    "a0000000-0000-4000-8000-000000000001": "app:remit",
    "a0000000-0000-4000-8000-000000000002": "app:remit-cli",
    "a0000000-0000-4000-8000-000000000011": "app:contoso-fraud-test/MLEngineer",
    "a0000000-0000-4000-8000-000000000012": "app:contoso-fraud-test/DataScientist",
    "a0000000-0000-4000-8000-000000000013": "app:contoso-fraud-prod/MLEngineer",
}
ACCOUNT = Address("google.account", "trainer@contoso-fraud-prod.iam.gserviceaccount.com")


def _memory():
    if "clouds_in_memory" not in sys.modules:
        file = Path(__file__).parents[1] / "trust" / "clouds_in_memory.py"
        spec = importlib.util.spec_from_file_location("clouds_in_memory", file)
        module = sys.modules["clouds_in_memory"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules["clouds_in_memory"]


class Tokens:
    async def token(self, scope):
        return AccessToken("none")


@pytest.fixture(scope="module")
def permitted():
    """What the policy permits, worked out once: it takes a second or two."""
    return functools.cache(trust_plan.permitted(read(EXAMPLE / "remit.yaml")))


@pytest.fixture
def world(monkeypatch, permitted):
    """Clouds in memory that hold what is nobody's to make, and are asked in place of the real ones."""
    found = _memory().World()
    found.put(Found(Address("azure.identity", "remit"), {}))
    for name, number in (("managed-identity", 1), ("microsoft-graph", 2)):
        fields = {"appId": f"3c000000-0000-4000-8000-00000000000{number}"}
        found.put(Found(Address("entra.principal", name), fields, {"id": f"given-{number}", **fields}))
    found.settle()

    @contextlib.asynccontextmanager
    async def tokens(settings, who):
        yield Tokens()

    @contextlib.asynccontextmanager
    async def clouds(settings, tokens):
        yield found.clouds()

    monkeypatch.setattr(trust_plan, "open_tokens", tokens)
    monkeypatch.setattr(trust_plan, "open_clouds", clouds)
    monkeypatch.setattr(trust_plan, "permitted", lambda _: permitted)
    monkeypatch.setattr(trust_plan, "Applying", functools.partial(trust_plan.Applying, sleep=found.sleep))
    return found


@pytest.fixture
def house(tmp_path):
    """Contoso's installation, before Entra gave any id."""
    shutil.copytree(EXAMPLE, tmp_path / "contoso", ignore=shutil.ignore_patterns(".remit"))
    file = tmp_path / "contoso" / "remit.yaml"
    text = file.read_text()
    for id_, name in APPS.items():
        text = text.replace(id_, name)
    file.write_text(text)
    return file


@pytest.fixture
def run(capsys, house, world):
    """A command line in this process: exit code, stdout, stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            remit.cli.main(["trust", *arguments, "--config", str(house)])
        found = capsys.readouterr()
        return ended.value.code, found.out, found.err

    return call


def planned(run):
    code, out, err = run("plan", "--json")
    assert err == ""
    return code, json.loads(out)


def allowing(plan):
    return [word for change in plan["changes"] if change["unsafe"] for word in ("--allow", change["name"])]


@pytest.mark.promise("T6")
def test_from_nothing_to_what_the_file_says(run, house, world):
    with pytest.raises(SettingsInvalid):
        read(house)
    code, plan = planned(run)
    assert (code, plan["problems"]) == (1, [])
    assert {change["act"] for change in plan["changes"]} == {"make"}
    code, out, err = run("apply", plan["checksum"], *allowing(plan))
    assert (code, out) == (0, "the clouds hold what remit.yaml says\n"), err
    steps = [line for line in err.splitlines() if line.startswith("[")]
    assert len(steps) == len(plan["changes"])
    assert planned(run)[0] == 0
    settled = read(house)  # Entra's ids stand in their places
    made = world.things[Address("entra.application", "remit")].ids["appId"]
    assert settled.credentials.application == made
    assert "app:" not in house.read_text().replace("app: ", "")
    code, out, err = run("apply", "0" * 32)
    assert (code, out, err) == (0, "the clouds hold what remit.yaml says\n", "")


def test_the_plan_reads_as_a_page_that_ends_with_what_to_type(run):
    code, out, err = run("plan")
    unseen = "the databases `features`, `features-prod`: `trust.databases` does not name them"
    assert (code, err) == (1, f"not looked at: {unseen}\n")
    plan = planned(run)[1]
    assert plan["unseen"] == [unseen]
    assert f"remit trust apply {plan['checksum']}" in out.splitlines()[-1]
    assert "\x1b" not in out


def test_another_checksum_is_refused_with_what_changed(run, house, world):
    plan = planned(run)[1]
    world.put(Found(ACCOUNT, {"disabled": True}, {}))
    code, out, err = run("apply", plan["checksum"], *allowing(plan))
    assert (code, out) == (2, "")
    assert f"other than reviewed: ~ {ACCOUNT}" in err
    assert f"error: since the plan `{plan['checksum']}` was reviewed" in err
    assert world.calls == []


def test_an_apply_that_fails_is_resumed(run, world):
    plan = planned(run)[1]
    world.refusing = {ACCOUNT: _memory().CloudRefused("the quota is reached", status=400)}
    code, _, err = run("apply", plan["checksum"], *allowing(plan))
    assert code == 2
    assert "the quota is reached" in err
    assert "--resume" in err
    code, _, err = run("apply", plan["checksum"], *allowing(plan))
    assert code == 2
    assert "was interrupted" in err
    world.refusing = {}
    code, out, err = run("apply", "--resume", "--json")
    assert code == 0, err
    assert json.loads(out)["holds"] is True


def test_an_apply_that_fails_is_undone(run, world):
    plan = planned(run)[1]
    before = world.holds()
    world.refusing = {ACCOUNT: _memory().CloudRefused("the quota is reached", status=400)}
    assert run("apply", plan["checksum"], *allowing(plan))[0] == 2
    assert world.holds() != before
    world.refusing = {}
    code, out, err = run("apply", "--rollback")
    assert (code, out) == (0, "the clouds hold what they held before\n"), err
    assert world.holds() == before
    assert planned(run)[1]["checksum"] == plan["checksum"]
    code, _, err = run("apply", "--rollback", "--json")
    assert code == 2
    assert "no apply was interrupted here" in err


def test_nothing_is_applied_without_a_checksum_or_a_terminal(run, world, monkeypatch):
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        code, out, err = run("apply")
    assert (code, out) == (2, "")
    assert "without the checksum" in err
    assert world.calls == []


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("y", 1), ("", 1), ("YES", 1)])
def test_at_a_terminal_one_is_asked(run, world, monkeypatch, answer, code):
    plan = planned(run)[1]
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    try:
        with os.fdopen(theirs, "r") as terminal:
            monkeypatch.setattr(sys, "stdin", terminal)
            found, _, err = run("apply", *allowing(plan))
    finally:
        os.close(ours)
    assert found == code, err
    assert "type yes to apply exactly this" in err
    assert bool(world.calls) is (answer == "yes")


@pytest.mark.parametrize("words", [("0" * 32, "--resume"), ("--resume", "--rollback"), ("0" * 32, "--rollback")])
def test_one_thing_at_a_time(run, words):
    code, _, err = run("apply", *words)
    assert code == 2
    assert "one of CHECKSUM" in err


def test_what_is_needed_is_listed(run):
    code, out, _ = run("plan", "--needs")
    assert code == 0
    assert "roles/resourcemanager.projectIamAdmin" in out
    code, out, _ = run("plan", "--needs", "--json")
    told = json.loads(out)
    assert set(told) == {"plan", "apply"}
    assert all(set(clouds) == {"entra", "google", "azure", "sql"} for clouds in told.values())
    assert all(why for clouds in told.values() for needs in clouds.values() for why in needs.values())


def test_a_problem_is_an_error_and_nothing_is_applied(run, world):
    world.drop(Address("entra.principal", "microsoft-graph"))
    code, plan = planned(run)
    assert code == 2
    assert any("microsoft-graph" in problem for problem in plan["problems"])
    for out in ("terraform", "gcloud"):
        code, printed, err = run("plan", "--out", out)
        assert (code, printed) == (2, "")
        assert "microsoft-graph" in err
    assert run("apply", plan["checksum"])[0] == 2
    assert world.calls == []


def test_the_plan_for_other_means(run):
    code, out, err = run("plan", "--out", "terraform")
    assert (code, err) == (1, "")
    assert 'resource "google_service_account"' in out
    code, out, err = run("plan", "--out", "gcloud")
    assert (code, err) == (1, "")
    assert out.startswith("#!")


def test_an_unanswered_question_is_an_error(run, house, world):
    async def read_(self, wanted):
        raise Missing("`GET x` answered 404", status=404)

    plain = world.clouds()
    type(plain["azure"]).read, kept = read_, type(plain["azure"]).read
    try:
        code, out, err = run("plan")
    finally:
        type(plain["azure"]).read = kept
    assert (code, out) == (2, "")
    assert "could not be read" in err


def test_what_the_policy_permits_is_what_custom_roles_hold(permitted):
    engineer = permitted("ml-engineer@contoso-fraud-test.iam.gserviceaccount.com", "contoso-fraud-test")
    scientist = permitted("data-scientist@contoso-fraud-test.iam.gserviceaccount.com", "contoso-fraud-test")
    assert "aiplatform.endpoints.predict" in engineer
    assert set(scientist) < set(engineer)
    assert permitted("ml-engineer@contoso-fraud-test.iam.gserviceaccount.com", "contoso-churn-prod") == ()
    assert permitted("nobody@contoso-fraud-test.iam.gserviceaccount.com", "contoso-fraud-test") == ()


def test_the_folder_is_the_states(house):
    settings = read(house, pending=True)
    assert trust_plan.folder(settings) == house.parent / yaml.safe_load(house.read_text())["state"]["folder"] / "trust"
