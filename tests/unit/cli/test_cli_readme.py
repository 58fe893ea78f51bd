"""README's terminal block is what the commands print: the policy, the messages and the ledger here are the real ones.

`tests/e2e/test_e2e_readme.py` runs the same block against the lab.
"""

import datetime as dt
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from remit.arbiter import refusal
from remit.assembly import evidence, rooms
from remit.audit.recorder import LedgerRecorder
from remit.cli import remit
from remit.model.decision import Circumstances, Decision
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.record import decision_record
from remit.settings.read import Settings, read
from remit.state.database import open_database

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
ML_ENGINEERS = "9a000000-0000-4000-8000-000000000002"
LAUNCH = "aiplatform.projects.locations.customJobs.create"


def block() -> list[tuple[str, list[str]]]:
    """Each command of the first terminal block, with the lines that it prints."""
    found: list[tuple[str, list[str]]] = []
    for line in README.partition("```console\n")[2].partition("```")[0].splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def printed(start: str) -> list[str]:
    """What the one command that starts so prints."""
    [lines] = [lines for command, lines in block() if command.startswith(start)]
    return lines


def squeezed(line: str) -> str:
    """Columns are as wide as the widest row, and there are more rows in an installation than here."""
    return re.sub(r" {2,}", "  ", line)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Contoso's installation, as the example has it."""
    (tmp_path / "policies").symlink_to(ROOT / "examples" / "contoso" / "policies")
    (tmp_path / "remit.yaml").write_bytes((ROOT / "examples" / "contoso" / "remit.yaml").read_bytes())
    found = read(tmp_path / "remit.yaml")
    evidence.install(found)
    return found


def dana(at: int) -> Identity:
    return Identity(
        principal=Principal("https://login", TENANT, "0d000000-0000-4000-8000-000000000001", Kind.PERSON),
        display="dana@contoso.example",
        groups=frozenset({ML_ENGINEERS}),
        groups_at=at,
        roles=frozenset({"MLEngineer"}),
        scopes=frozenset(),
        client="",
        authentication=Authentication(methods=frozenset({"pwd"}), at=at),
        guest=False,
        issued_at=at,
        expires_at=at + 4000,
        token_id="t",
    )


def launch(project: str) -> Request:
    """The job of `launch.py`: in a project, with a bucket of its own, as its trainer."""
    trainer = f"trainer@{project}.iam.gserviceaccount.com"
    here = Resource("Project", f"//cloudresourcemanager.googleapis.com/projects/{project}", project)
    bucket = Resource("Bucket", f"//storage.googleapis.com/projects/_/buckets/{project}-staging", project)
    account = Resource("ServiceAccount", f"//iam.googleapis.com/projects/-/serviceAccounts/{trainer}", project)
    create = Action(LAUNCH, Group.LAUNCH, "aiplatform.customJobs.create")
    act_as = Action("iam.serviceAccounts.actAs", Group.LAUNCH, "iam.serviceAccounts.actAs")
    return Request((Operation(create, (here, bucket), acts_as=trainer), Operation(act_as, (account,))))


def decided(settings: Settings, row: str) -> Decision:
    """The decision that a row of README's timeline speaks of, decided by the policies of today."""
    columns = re.split(r" {2,}", row)
    at = int(dt.datetime.fromisoformat(f"{columns[0]}+00:00").timestamp())
    identity, request, circumstances = (
        dana(at),
        launch(columns[4]),
        Circumstances(now=at, peer="127.0.0.1", locations_known=True),
    )
    verdict = rooms.judge(settings).decide(identity, request, circumstances)
    return Decision(columns[-1], at * 1_000_000, verdict, circumstances, identity, request)


def test_the_first_screen_has_a_block_of_at_most_fifteen_lines_and_two_commands() -> None:
    title, _, rest = README.partition("\n\n")
    sentence, _, rest = rest.partition("\n\n")
    assert title == "# Remit"
    assert sentence.count(".") == 1
    assert rest.startswith("```console\n")
    assert sum(1 + len(lines) for _, lines in block()) <= 15
    assert "make demo " in rest
    assert "make test " in rest


def test_the_permit_and_the_refusal_are_what_the_policies_say(settings: Settings) -> None:
    permitted, refused = (decided(settings, row) for row in printed("remit audit query"))
    assert permitted.verdict.outcome is Outcome.PERMIT
    assert refused.verdict.outcome is Outcome.STEP_UP
    _, line = printed("remit run --project contoso-fraud-prod")
    assert line == f"PermissionDenied: {refusal.message(refused)}"


def test_the_two_records_and_the_verification_are_what_the_commands_print(settings: Settings) -> None:
    rows = printed("remit audit query")
    engine = open_database(settings.state)
    with LedgerRecorder(evidence.ledger(settings, engine)) as recorder:
        for row in rows:
            recorder.record_now(decision_record(decided(settings, row)))
    engine.dispose()
    config = ["--config", str(settings.file)]
    asked = CliRunner().invoke(remit, ["audit", "query", "--action", "customJobs.create", *config])
    assert asked.exit_code == 0, asked.output
    found = [squeezed(line) for line in asked.stdout.splitlines() if " decision " in line]
    assert found == [squeezed(row) for row in rows]
    checked = CliRunner().invoke(remit, ["audit", "verify", *config])
    assert checked.exit_code == 0, checked.output
    assert shape("\n".join(printed("remit audit verify"))) == shape(checked.stderr.strip())


def shape(text: str) -> str:
    """A text without its numbers."""
    return re.sub(r"\d+", "N", text)


def test_what_sign_in_prints_has_the_form_that_the_commands_give_it() -> None:
    source = {
        name: (ROOT / "src/remit" / f"{name}.py").read_text(encoding="utf-8") for name in ("cli/login", "sdk/run")
    }
    code, signed_in = printed("remit login")
    runs = [printed(f"remit run --project {project}")[0] for project in ("contoso-fraud-test", "contoso-fraud-prod")]
    assert pattern(source["cli/login"], "open ").fullmatch(code)
    assert pattern(source["cli/login"], "signed in as ").fullmatch(signed_in)
    assert all(pattern(source["sdk/run"], "remit: this run is ").fullmatch(f"{line}\\n") for line in runs)
    assert all(re.fullmatch("remit: this run is j-[0-9a-z]{26}", line) for line in runs)


def pattern(source: str, start: str) -> re.Pattern[str]:
    """The one f-string of a module that starts so, as a pattern of what it prints."""
    [text] = re.findall(rf'f"({re.escape(start)}[^"]*)"', source)
    parts = re.split(r"\{[^}]*\}", text)
    return re.compile(r"\S+".join(map(re.escape, parts)))
