"""What an uncached decision of the policy costs, request building and obligations included, and the bare engine beside.

The set is made like Contoso's: rules for everybody, and the same dozen rules for each team's two projects, as many as
make 15, 100 and 1,000 policies; an obligation for every ten policies. Whoever asks, for what and of which team is drawn
anew for each decision, so that parts of the set are met as they would be. `bare` is one call of the engine over the
whole set with everything at hand, in the same run and on the same question, and `ratio` compares processor times
(`cpu`), which other work on the machine moves less than the clock: below 1 is what slicing by scope
(`policy.slices`) saves net of everything else. A refusal costs more: it looks for what would have been within reach.
Run: `make bench`.
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from cedarpy import is_authorized
from figures import keep, machine, versions

from remit.model.decision import Circumstances
from remit.model.estate import Estate, Project
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.operation import EXPLICIT_ACTIONS, OWN_ACTIONS, Action, Group, Operation, Request, Resource, Work
from remit.model.outcome import Outcome
from remit.policy.book import Book, load
from remit.policy.facts import ACCOUNT_PREFIX, BUCKET_PREFIX, gather
from remit.policy.judge import CedarJudge
from remit.policy.settings import PolicySettings

SEED = 20261122
ROUNDS, RUNS = 200, 5
TARGETS_MS = {15: 0.5, 100: 0.5, 1000: 1.0}
NOW = 1_795_305_600
TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
PREDICT = "aiplatform.projects.locations.endpoints.predict"
LAUNCH = "aiplatform.projects.locations.customJobs.create"
ACT_AS = "iam.serviceAccounts.actAs"
READ = "storage.objects.get"
ACTIONS = {
    PREDICT: Group.USE,
    LAUNCH: Group.LAUNCH,
    ACT_AS: Group.LAUNCH,
    READ: Group.USE,
    "storage.objects.list": Group.OBSERVE,
    "storage.objects.insert": Group.CHANGE,
    **{action.id: action.group for action in (*OWN_ACTIONS, *EXPLICIT_ACTIONS)},
}

EVERYBODY = (
    'forbid(principal, action, resource) when { context.locations.contains("Sanctioned countries") };',
    'forbid(principal, action, resource in Environment::"prod") when { context.guest };',
    """forbid(principal, action in [Action::"launch", Action::"change"], resource in Environment::"prod")
       unless { context.authentication.contexts.contains("c1") };""",
    """forbid(principal, action in [Action::"launch", Action::"change"], resource) when { context has work }
       unless { ["n1-standard-4", "n1-standard-8"].containsAll(context.work.machines) };""",
    """forbid(principal, action in [Action::"launch", Action::"change"], resource)
       when { context has work && !context.work.networks.isEmpty() };""",
)
TEAM = (
    'permit(principal in Group::"engineers-{t}", action in Action::"launch", resource in Project::"team-{t}-test");',
    """permit(principal in Group::"engineers-{t}", action in [Action::"use", Action::"observe", Action::"change"],
       resource in Project::"team-{t}-test") unless {{ resource is Bucket || resource is ServiceAccount }};""",
    """permit(principal in Group::"engineers-{t}", action == Action::"iam.serviceAccounts.actAs",
       resource == ServiceAccount::"trainer@team-{t}-prod.iam.gserviceaccount.com");""",
    """permit(principal in Group::"engineers-{t}", action in Action::"launch", resource in Project::"team-{t}-prod")
       unless {{ resource is ServiceAccount }};""",
    """permit(principal in Group::"engineers-{t}", action in [Action::"use", Action::"observe"],
       resource in Project::"team-{t}-prod") unless {{ resource is Bucket || resource is ServiceAccount }};""",
    """permit(principal in Group::"engineers-{t}",
       action in [Action::"storage.objects.get", Action::"storage.objects.list", Action::"storage.objects.insert"],
       resource is Bucket in Project::"team-{t}-prod");""",
    """permit(principal in Group::"scientists-{t}", action in Action::"use",
       resource is Endpoint in Project::"team-{t}-test");""",
    """permit(principal in Group::"scientists-{t}", action in [Action::"storage.objects.get"],
       resource == Bucket::"team-{t}-data");""",
    """permit(principal is Workload in Role::"pipeline-{t}", action in Action::"launch",
       resource in Project::"team-{t}-prod");""",
    """forbid(principal in Group::"scientists-{t}", action in Action::"launch", resource in Environment::"prod");""",
    """forbid(principal, action in Action::"change", resource in Project::"team-{t}-prod")
       unless {{ principal in Group::"leads-{t}" }};""",
    """forbid(principal, action in Action::"use", resource in Project::"team-{t}-prod")
       when {{ context.guest && !context.device.compliant }};""",
)
OBLIGATIONS = (
    '@session("12h") permit(principal is Person, action in Action::"launch", resource in Environment::"prod");',
    """@redact("peer") permit(principal, action in Action::"use", resource in Environment::"prod")
       when {{ context.guest }};""",
    '@labels("team=t{t}") permit(principal, action in Action::"launch", resource in Project::"team-{t}-prod");',
    """@ceilings("replicas=8, duration=24h") permit(principal, action in Action::"launch",
       resource in Project::"team-{t}-test");""",
    '@step_up("c1") permit(principal, action in Action::"use", resource in Project::"team-{t}-prod");',
)


def statements(size: int) -> list[str]:
    """Everybody's policies and as many teams' as make up the size; the last team's may be cut off."""
    teams = (rule.format(t=team) for team in count() for rule in TEAM)
    rules = [*EVERYBODY, *(next(teams) for _ in range(size - len(EVERYBODY)))]
    refusals = ('@refusal("no") ' if rule.startswith("forbid") else "" for rule in rules)
    return [f'@id("p-{at}") {refusal}{rule}\n' for at, (refusal, rule) in enumerate(zip(refusals, rules, strict=True))]


def obligations(size: int) -> list[str]:
    """One for every ten policies, and the two that are everybody's."""
    common, teams = OBLIGATIONS[:2], (rule.format(t=team) for team in count() for rule in OBLIGATIONS[2:])
    rules = [*(rule.format() for rule in common), *(next(teams) for _ in range(max(3, size // 10)))]
    return [f'@id("o-{at}") @purpose("measured") {rule}\n' for at, rule in enumerate(rules)]


def estate(teams: int) -> Estate:
    """Two projects for each team."""
    numbers = count(100_000_000_000)
    return Estate(
        tuple(
            Project(
                f"team-{team}-{name}",
                str(next(numbers)),
                name,
                ("us-central1",),
                (f"team-{team}-data",) if name == "prod" else (),
                (f"trainer@team-{team}-{name}.iam.gserviceaccount.com",),
            )
            for team in range(teams)
            for name in ("test", "prod")
        )
    )


def judge(size: int, folder: Path) -> tuple[CedarJudge, Book, Estate]:
    """A judge over that many policies, and the set that it decides with."""
    (folder / "obligations").mkdir(parents=True)
    (folder / "all.cedar").write_text("".join(statements(size)), encoding="utf-8")
    (folder / "obligations" / "all.cedar").write_text("".join(obligations(size)), encoding="utf-8")
    known = estate(teams_of(size) + 1)
    settings = PolicySettings(folder)
    return CedarJudge(settings, known, ACTIONS), load(settings, known, ACTIONS), known


def teams_of(size: int) -> int:
    """The teams whose rules are all there, one at the least."""
    return max(1, (size - len(EVERYBODY)) // len(TEAM))


def person(chance: random.Random, team: int) -> Identity:
    """An engineer of a team with thirty other groups, signed in with a second factor and the context `c1`."""
    others = (f"other-{chance.randrange(1000)}" for _ in range(30))
    return Identity(
        principal=Principal("https://issuer.example/v2.0", TENANT, f"o-{chance.randrange(10**6)}", Kind.PERSON),
        display="an engineer",
        groups=frozenset({f"engineers-{team}", *others}),
        groups_at=NOW,
        roles=frozenset({"User"}),
        scopes=frozenset(),
        client="a client",
        authentication=Authentication(frozenset({"pwd", "mfa"}), frozenset({"c1"}), frozenset({"cp1"}), NOW - 600),
        guest=False,
        issued_at=NOW,
        expires_at=NOW + 3600,
        token_id="uti",
    )


def asked(shape: str, project: str, number: int) -> Request:
    """One call; a launch also asks for its account and its bucket."""
    if shape == "launch":
        account = f"trainer@{project}.iam.gserviceaccount.com"
        work = Work(region="us-central1", machines=frozenset({"n1-standard-4"}), replicas=1, duration=3600)
        whole = Resource("Project", f"//cloudresourcemanager.googleapis.com/projects/{project}", project)
        data = Resource("Bucket", BUCKET_PREFIX + project.replace("prod", "data"), project)
        return Request(
            (
                Operation(Action(LAUNCH, Group.LAUNCH), (whole,), account, work),
                Operation(
                    Action(ACT_AS, Group.LAUNCH), (Resource("ServiceAccount", ACCOUNT_PREFIX + account, project),)
                ),
                Operation(Action(READ, Group.USE), (data,)),
            )
        )
    path = f"//aiplatform.googleapis.com/projects/{project}/locations/us-central1/endpoints/{number}"
    return Request((Operation(Action(PREDICT, Group.USE), (Resource("Endpoint", path, project),)),))


def drawn(shape: str, size: int) -> Iterator[tuple[Identity, Request, Circumstances]]:
    """Without end: a call of somebody of any team, to production in half of the predictions, each of its own kind."""
    chance = random.Random(SEED)  # noqa: S311 - the same draw in every run is the point
    while True:
        team = chance.randrange(teams_of(size))
        there = (team + 1) % (teams_of(size) + 1) if shape == "refused" else team
        where = "test" if shape == "test" else "prod"
        around = Circumstances(NOW, f"10.1.{team % 250}.7", locations=frozenset({"Office"}), locations_known=True)
        yield person(chance, team), asked(shape, f"team-{there}-{where}", chance.randrange(10**6)), around


WHOLE = {
    "test": "a prediction in test: by their scope, no obligations are about it",
    "prod": "a prediction in prod: obligations apply",
    "launch": "a launch in prod: three questions, obligations apply",
    "refused": "a prediction in another team's prod",
}


def measure(size: int, decide: CedarJudge, book: Book, known: Estate) -> dict[str, dict[str, float]]:
    """Milliseconds of one run: each shape's median and p99, and its processor time beside the bare engine's."""
    found = {}
    for shape in WHOLE:
        source = drawn(shape, size)
        spent: dict[str, list[float]] = {"decision": [], "cpu": [], "bare": []}
        for _ in range(ROUNDS):
            identity, request, around = next(source)
            began, used = time.perf_counter(), time.thread_time()
            verdict = decide.decide(identity, request, around)
            spent["cpu"].append(time.thread_time() - used)
            spent["decision"].append(time.perf_counter() - began)
            right = verdict.outcome is (Outcome.DENY if shape == "refused" else Outcome.PERMIT)
            assert right, (shape, verdict)  # noqa: S101 - figures of other verdicts would lie
            spent["bare"].append(bare(book, identity, request, around, known))
        ordered = sorted(spent["decision"])
        found[shape] = {
            "median": statistics.median(ordered) * 1000,
            "p99": ordered[int(ROUNDS * 0.99)] * 1000,
            "cpu": statistics.median(spent["cpu"]) * 1000,
            "bare": statistics.median(spent["bare"]) * 1000,
        }
        found[shape]["ratio"] = found[shape]["cpu"] / found[shape]["bare"]
    return found


def bare(book: Book, identity: Identity, request: Request, around: Circumstances, known: Estate) -> float:
    """Seconds of one call over the whole set for the first question, with everything else done before."""
    facts = gather(identity, request, around, known, ACTIONS)
    hearing, question = book.ground.hear(facts), facts.questions[0]
    action = question.operation.action
    told: dict[str, Any] = {
        "principal": facts.principal,
        "action": book.ground.action(action.id, action.group),
        "resource": question.target,
        "context": facts.context(question),
    }
    began = time.thread_time()
    is_authorized(told, book.engine_set.whole, hearing.entities, book.ground.schema)
    return time.thread_time() - began


def show(medians: dict[int, dict[str, dict[str, float]]]) -> None:
    """The table."""
    print(f"one uncached decision of the policy: medians of {RUNS} runs of {ROUNDS}, milliseconds")
    for size, shapes in medians.items():
        for shape, figures in shapes.items():
            row = "  ".join(f"{key} {value:6.3f}" for key, value in figures.items())
            print(f"  {size:5} policies  {shape:8} {row}")


def main() -> int:
    """Measures, prints a table, writes it as JSON; 1 when a target is not reached."""
    runs: dict[int, list[dict[str, dict[str, float]]]] = {size: [] for size in TARGETS_MS}
    with tempfile.TemporaryDirectory(prefix="remit-b-") as name:
        fitted = {size: judge(size, Path(name) / str(size)) for size in TARGETS_MS}
        for size, (decide, book, known) in fitted.items():
            for shape in WHOLE:  # parts of the set are made when they are first met
                source = drawn(shape, size)
                for _ in range(ROUNDS):
                    decide.decide(*next(source))
            for _ in range(RUNS):
                runs[size].append(measure(size, decide, book, known))
    medians = {
        size: {
            shape: {key: statistics.median(run[shape][key] for run in runs[size]) for key in runs[size][0][shape]}
            for shape in WHOLE
        }
        for size in runs
    }
    show(medians)
    keep(
        "policy",
        {
            "what": "one uncached decision of the policy, milliseconds",
            "shapes": WHOLE,
            "machine": machine(),
            "versions": versions("cedarpy"),
            "seed": SEED,
            "rounds": ROUNDS,
            "targets": TARGETS_MS,
            "runs": runs,
            "medians": medians,
        },
    )
    reached = (
        medians[size][shape]["median"] <= target for size, target in TARGETS_MS.items() for shape in ("test", "prod")
    )
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
