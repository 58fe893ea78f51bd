"""How long `remit policy diff` takes for 10,000 recorded decisions: Contoso's policies, edited, over its own ledger.

Decisions are taken by the product's own judge and recorded in its own ledger; then the command itself is timed, from
its start to its answer: it reads them back and takes again what the edit concerns. Run: `make bench`.
"""

import asyncio
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from figures import keep, machine, versions

from remit import catalogue
from remit.assembly import evidence, rooms
from remit.audit.ledger import Entry
from remit.audit.memberships import Memberships
from remit.audit.recorder import LedgerRecorder
from remit.model.decision import Circumstances, Decision
from remit.model.identity import Authentication, Device, Identity, Kind, Principal
from remit.model.names import decision_id
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.record import decision_record
from remit.settings.read import Settings, read

DECISIONS, PEOPLE, RUNS, SEED = 10_000, 60, 5, 20261122
TARGET_S = 5.0
PACKAGES = ("cedarpy", "sqlalchemy")
EXAMPLE = Path(__file__).parents[1] / "examples" / "contoso"
TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
ROLES = {"MLEngineer": (1, 2, 3), "DataScientist": (4, 3), "Security": (5,), "Pipeline": ()}
PROJECTS = ("contoso-fraud-test", "contoso-fraud-prod", "contoso-churn-prod")
EDIT = """
@id("use-needs-a-second-factor")
@purpose("the edit of this benchmark")
@refusal("calling models in test needs a second factor")
forbid (principal is Person, action in Action::"use", resource in Environment::"test")
unless { context.authentication.methods.contains("mfa") };
"""


def person(number: int, chance: random.Random, at: int) -> Identity:
    """Somebody of Contoso, signed in somehow."""
    role = list(ROLES)[number % len(ROLES)]
    return Identity(
        principal=Principal(
            f"https://login.microsoftonline.com/{TENANT}/v2.0",
            TENANT,
            f"0d000000-0000-4000-8000-{number:012d}",
            Kind.WORKLOAD if role == "Pipeline" else Kind.PERSON,
        ),
        display=f"person-{number}@contoso.example",
        groups=frozenset(f"9a000000-0000-4000-8000-{group:012d}" for group in ROLES[role]),
        groups_at=at,
        roles=frozenset({role}),
        scopes=frozenset({"user_impersonation"}),
        client="a0000000-0000-4000-8000-000000000002",
        authentication=Authentication(
            frozenset(chance.choice([{"pwd"}, {"pwd", "mfa"}])),
            frozenset(chance.choice([set(), {"c1"}])),
            frozenset({"cp1"}),
            at - chance.randrange(40_000),
        ),
        guest=False,
        issued_at=at,
        expires_at=at + 3600,
        token_id=f"uti-{chance.randrange(1 << 48):x}",
        session=f"sid-{number}",
        device=Device("0e000000-0000-4000-8000-000000000007", managed=True, compliant=bool(chance.randrange(5))),
    )


def asked(chance: random.Random, actions: dict[str, Group]) -> Request:
    """What people of Contoso do all day: mostly calling and looking, at times launching and changing."""
    vertex, project = "aiplatform.projects.locations", chance.choice(PROJECTS)
    place = f"//aiplatform.googleapis.com/projects/{project}/locations/us-central1"
    whole = Resource("Project", f"//cloudresourcemanager.googleapis.com/projects/{project}", project)
    endpoint = Resource("Endpoint", f"{place}/endpoints/{chance.randrange(5)}", project)
    job = Resource("CustomJob", f"{place}/customJobs/{chance.randrange(50)}", project)
    name, resource = chance.choice(
        [
            *[(f"{vertex}.endpoints.predict", endpoint)] * 4,
            *[(f"{vertex}.customJobs.get", job)] * 3,
            (f"{vertex}.customJobs.create", whole),
            (f"{vertex}.endpoints.deployModel", endpoint),
        ]
    )
    operations = [Operation(Action(name, actions[name], name), (resource,))]
    if name.endswith("customJobs.create"):
        trainer = f"trainer@{project}.iam.gserviceaccount.com"
        account = Resource("ServiceAccount", f"//iam.googleapis.com/projects/-/serviceAccounts/{trainer}", project)
        act_as = "iam.serviceAccounts.actAs"
        operations = [
            Operation(Action(name, actions[name], name), (whole,), trainer),
            Operation(Action(act_as, actions[act_as], act_as), (account,)),
        ]
    return Request(tuple(operations))


def decided(settings: Settings) -> Iterator[Decision]:
    """Decisions of the last days, each as the policies decide it."""
    chance = random.Random(SEED)  # noqa: S311 - the same decisions in every run
    judge, now, actions = rooms.judge(settings), int(time.time()), dict(catalogue.actions())
    for number in range(DECISIONS):
        at = now - DECISIONS + number
        circumstances = Circumstances(at, f"10.0.{number % 250}.7", "DE", frozenset(), locations_known=True, epoch=7)
        identity, request = person(chance.randrange(PEOPLE), chance, at), asked(chance, actions)
        verdict = judge.decide(identity, request, circumstances)
        at *= 1_000_000
        yield Decision(decision_id(at), at, verdict, circumstances, identity, request, "POST", "host", "/v1/path")


async def kept(memberships: Memberships, decisions: list[Decision]) -> None:
    """Keeps everybody's groups and roles."""
    for decision in decisions:
        if decision.identity is not None:
            await memberships.keep(decision.identity)


def recorded(settings: Settings) -> float:
    """Fills the ledger; seconds that it took."""
    began = time.perf_counter()
    with ExitStack() as opened:
        engine = opened.enter_context(evidence.writing(settings))
        ledger = evidence.ledger(settings, engine)
        decisions = list(decided(settings))
        with LedgerRecorder(ledger, patience=60) as recorder:
            asyncio.run(kept(Memberships(recorder, rooms.now), decisions))
        entries = [Entry.of(decision_record(decision)) for decision in decisions]
        for start in range(0, DECISIONS, 500):
            ledger.append(entries[start : start + 500])
    return time.perf_counter() - began


def _cpu() -> float:
    """Seconds of processor time that ended children used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Measures, prints, writes it as JSON; 1 when the target is not reached."""
    with tempfile.TemporaryDirectory(prefix="remit-b-") as name:
        folder = Path(name)
        for place in ("policies", "before"):
            shutil.copytree(EXAMPLE / "policies", folder / place)
        shutil.copy(EXAMPLE / "remit.yaml", folder)
        settings = read(folder / "remit.yaml")
        evidence.install(settings)
        filled = recorded(settings)
        (folder / "policies" / "edited.cedar").write_text(EDIT, encoding="utf-8")
        command = ["policy", "diff", "--config", str(settings.file), "--against", str(folder / "before"), "--json"]
        runs, cpu, found = [], [], {}
        for _ in range(RUNS):
            began, used = time.perf_counter(), _cpu()
            done = subprocess.run([sys.executable, "-m", "remit.cli", *command], capture_output=True, check=False)
            runs.append(time.perf_counter() - began)
            cpu.append(_cpu() - used)
            found = json.loads(done.stdout)
    assert (found["decisions"], found["unlike"], found["unkept"]) == (DECISIONS, 0, 0)  # noqa: S101 - or it means nothing
    median = statistics.median(runs)
    concerned, affected = (found["replayed"] - found[which] for which in ("outside", "unchanged"))
    print(f"{DECISIONS} recorded decisions under two sets of policies: median of {RUNS} runs, seconds")
    print(f"  cpu    {statistics.median(cpu):6.2f}   (of all its processes)")
    print(f"  replay {median:6.2f}   ({concerned} concerned, {affected} of them come out otherwise)")
    keep(
        "replay",
        {
            "what": f"remit policy diff over {DECISIONS} recorded decisions, seconds",
            "machine": machine(),
            "versions": versions(*PACKAGES),
            "workers": os.cpu_count(),
            "replayed": found["replayed"],
            "concerned": concerned,
            "affected": affected,
            "held against the record": found["checked"],
            "recording": filled,
            "runs": runs,
            "processor": cpu,
            "median": median,
        },
    )
    return 0 if median <= TARGET_S else 1


if __name__ == "__main__":
    sys.exit(main())
