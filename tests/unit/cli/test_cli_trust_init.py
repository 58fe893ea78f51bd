"""`remit trust init` and `schema`: a first file from answers, and one that describes what the lab's clouds hold."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from remit.cli import main
from remit.lab import lifecycle
from remit.settings.read import read

ROOT = Path(__file__).parents[3]
TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
GROUP = "9a000000-0000-4000-8000-00000000000"
TEST, PROD, CHURN = "contoso-fraud-test", "contoso-fraud-prod", "contoso-churn-prod"
ANSWERS = {
    "tenant": [TENANT],
    "project": [TEST],
    "number": ["100000000001"],
    "environment": ["test"],
    "location": ["us-central1"],
    "bucket": [f"{TEST}-data"],
    "role": [f"MLEngineer={GROUP}2:launch", f"Security={GROUP}5"],
    "managed-identity": ["3c000000-0000-4000-8000-000000000001"],
    "administrator": ["user:admin@contoso.example"],
    "own-issuer": ["https://remit.contoso.example"],
}
STORAGE = "5b000000-0000-4000-8000-000000000001/contoso-ml"
ESTATE = {
    "from-clouds": ["projects/100000000002/locations/global/workloadIdentityPools/contoso/providers/entra"],
    "tenant": [TENANT],
    "in": [f"test={TEST}", f"prod={PROD}", f"prod={CHURN}"],
    "works": [
        *(f"{role}=ml-engineer@{TEST}.iam.gserviceaccount.com" for role in ("MLEngineer", "Pipeline")),
        f"DataScientist=data-scientist@{TEST}.iam.gserviceaccount.com",
        f"Security=auditor@{TEST}.iam.gserviceaccount.com",
        f"MLEngineer=ml-engineer@{PROD}.iam.gserviceaccount.com",
    ],
    "reviewer": [f"auditor@{TEST}.iam.gserviceaccount.com"],
    "opens": [
        f"{TEST}/MLEngineer=a0000000-0000-4000-8000-000000000011",
        f"{TEST}/DataScientist=a0000000-0000-4000-8000-000000000012",
        f"{PROD}/MLEngineer=a0000000-0000-4000-8000-000000000013",
    ],
    "container": [
        f"{TEST}=contosofraudtest/features",
        f"{TEST}=contosofraudtest/staging",
        f"{PROD}=contosofraudprod/features",
    ],
    "storage": [f"contosofraudtest={STORAGE}", f"contosofraudprod={STORAGE}"],
    "managed-identity": ["3c000000-0000-4000-8000-000000000001"],
    "administrator": ["user:admin@contoso.example"],
}


def options(answers):
    return [word for name, given in answers.items() for one in given for word in (f"--{name}", one)]


def run(capsys, *arguments):
    """Exit code, stdout and stderr of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        main(["trust", *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err


def remit(lab, folder, *arguments):
    """The same as the lab's administrator, in a process of its own."""
    lab = Path(lab.folder)
    environment = os.environ | lifecycle.environment(lab) | lifecycle.administrator(lab)
    return subprocess.run(
        [sys.executable, "-m", "remit.cli", "trust", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def contoso(tmp_path):
    found = lifecycle.up(tmp_path / "lab")
    yield found
    lifecycle.down(tmp_path / "lab")


@pytest.fixture
def empty(tmp_path):
    found = lifecycle.up(tmp_path / "lab", empty=True)
    yield found
    lifecycle.down(tmp_path / "lab")


def test_options_answer_everything(tmp_path, capsys):
    file = tmp_path / "remit.yaml"
    code, out, err = run(capsys, "init", "--config", file, *options(ANSWERS), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "file": str(file),
        "files": [str(file), str(tmp_path / "policies/roles.cedar")],
        "left": [],
    }
    assert read(file, pending=True).trust.roles[0].groups == (f"{GROUP}2",)


def test_nothing_is_written_over(tmp_path, capsys):
    file, policy = tmp_path / "remit.yaml", tmp_path / "policies" / "mine.cedar"
    policy.parent.mkdir()
    policy.write_text("// mine")
    assert run(capsys, "init", "--config", file, *options(ANSWERS))[0] == 0
    assert [one.name for one in policy.parent.iterdir()] == ["mine.cedar"]
    before = file.read_text()
    code, _, err = run(capsys, "init", "--config", file, *options(ANSWERS))
    assert (code, file.read_text()) == (2, before)
    assert "is there already" in err


def test_what_is_missing_and_what_is_none_is_told_at_once(tmp_path, capsys):
    file = tmp_path / "remit.yaml"
    code, out, err = run(capsys, "init", "--config", file, "--tenant", "contoso", "--json")
    assert (code, out) == (2, "")
    assert "`--tenant` is a GUID" in err
    assert "`--role` is missing" in err
    mixed = ANSWERS | {"from-clouds": ESTATE["from-clouds"]}
    assert "`--role` does not go with `--from-clouds`" in run(capsys, "init", "--config", file, *options(mixed))[2]
    mixed = ANSWERS | {"works": ESTATE["works"]}
    assert "`--works` goes with `--from-clouds`" in run(capsys, "init", "--config", file, *options(mixed))[2]
    assert list(tmp_path.iterdir()) == []


def test_on_a_terminal_a_person_is_asked(tmp_path):
    answers = ["contoso", TENANT, TEST, "100000000001", "", "", "", f"MLEngineer={GROUP}2:use", ""]
    answers += [*ANSWERS["managed-identity"], *ANSWERS["administrator"], ""]
    ours, theirs = pty.openpty()
    os.write(ours, "".join(f"{one}\n" for one in answers).encode())
    done = subprocess.run(
        [sys.executable, "-m", "remit.cli", "trust", "init"],
        cwd=tmp_path,
        stdin=theirs,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "it must be a GUID" in done.stderr
    found = read(tmp_path / "remit.yaml", pending=True)
    assert (found.trust.roles[0].name, found.trust.own_issuer) == ("MLEngineer", "")
    assert (found.estate.projects[0].environment, found.estate.projects[0].locations) == ("test", ("us-central1",))


def test_the_schema_is_printed():
    from remit.cli.trust.schema import command

    printed = CliRunner().invoke(command, ["--json"]).stdout
    assert printed == (ROOT / "docs" / "remit.schema.json").read_text(encoding="utf-8")


def test_an_estate_is_imported_and_nothing_is_left_to_do(contoso, tmp_path):
    folder = tmp_path / "here"
    shutil.copytree(ROOT / "examples" / "contoso" / "policies", folder / "policies")
    done = remit(contoso, folder, "init", *options(ESTATE), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["left"] == []
    planned = remit(contoso, folder, "plan", "--json")
    assert (planned.returncode, json.loads(planned.stdout)["changes"]) == (0, []), planned.stdout


def test_the_example_differs_from_the_lab_in_what_is_wrong_there(contoso, tmp_path):
    shutil.copytree(ROOT / "examples" / "contoso", tmp_path / "here")
    planned = remit(contoso, tmp_path / "here", "plan", "--json")
    assert planned.returncode == 1, planned.stderr
    found = [(one["act"], one["name"].split(" serviceAccount:")[0]) for one in json.loads(planned.stdout)["changes"]]
    role = f"projects/{TEST}/roles/remit_data_scientist"
    assert sorted(found) == [
        ("make", f"google.binding projects/{TEST} {role}"),
        ("make", f"google.binding projects/{TEST} roles/logging.viewer"),
        ("make", f"google.role {role}"),
        ("remove", f"google.binding projects/{TEST} roles/aiplatform.user"),
    ]


def test_another_tenants_provider_is_not_described(contoso, tmp_path):
    other = ESTATE | {"tenant": [f"{TENANT[:-1]}2"]}
    done = remit(contoso, tmp_path, "init", *options(other))
    assert done.returncode == 2
    assert "not the tenant" in done.stderr
    assert not (tmp_path / "remit.yaml").exists()


def test_from_nothing_to_a_plan_that_can_be_applied(empty, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    assert remit(empty, folder, "init", *options(ANSWERS)).returncode == 0
    planned = remit(empty, folder, "plan", "--json")
    assert planned.returncode == 1, planned.stdout + planned.stderr
    kinds = {one["name"].split()[0] for one in json.loads(planned.stdout)["changes"]}
    assert kinds >= {"entra.application", "google.provider", "google.role", "google.binding", "google.audit"}
