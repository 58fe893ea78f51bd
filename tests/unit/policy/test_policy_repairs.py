"""Repairs: the smallest changes that would have permitted. Every one of them is put to the judge itself."""

import secrets
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from remit.model.decision import Circumstances
from remit.model.errors import SettingsInvalid
from remit.model.explanation import Means
from remit.model.grant import Grant, Wanted
from remit.model.identity import Authentication
from remit.model.operation import Request, Work
from remit.model.outcome import Outcome
from remit.policy.book import load
from remit.policy.judge import decide_by
from remit.policy.settings import PolicySettings
from remit.policy.why.fixes import Situation, applied
from remit.policy.why.openings import Court
from remit.policy.why.probes import Probes
from remit.policy.why.repairs import repairs, search

SEED = secrets.randbits(32)
DANA = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001/0d000000-0000-4000-8000-000000000001"
ML, SCIENTISTS = "9a000000-0000-4000-8000-000000000002", "9a000000-0000-4000-8000-000000000004"
GRANT = "grant aiplatform.projects.locations.customJobs.create"
TEST, PROD, CHURN = "contoso-fraud-test", "contoso-fraud-prod", "contoso-churn-prod"
HOUR = 3600
PERMIT = '@id("p{0}") @purpose("p") permit (principal, action, resource) {1};'
FORBID = '@id("f{0}") @purpose("p") @refusal("no") forbid (principal, action, resource) {1};'
OBLIGE = '@id("o{0}") @purpose("p") {1} permit (principal, action, resource) {2};'


def court_of(folder, world):
    settings = PolicySettings(folder)
    book = load(settings, world.estate, world.actions)
    probes = Probes(book.engine_set.whole)
    return Court(book, probes, world.estate, world.actions)


@pytest.fixture(scope="module")
def contoso(world):
    return court_of(world.folder, world)


class Told:
    """What was found, as short lines: the means and the value of each change."""

    def __init__(self, court, situation):
        self.repairs = repairs(court, situation)
        self.lines = [[f"{change.means} {change.value}".strip() for change in each.changes] for each in self.repairs]
        assert_sound(court, situation)

    def changes(self, at=0):
        return self.repairs[at].changes


def permitted(court, situation):
    """What the judge says."""
    asked = (situation.identity, situation.request, situation.circumstances)
    return decide_by(court.book, court.estate, court.actions, *asked).outcome is Outcome.PERMIT


def assert_sound(court, situation):
    found = search(court, situation)
    for fixes in found:
        after = applied(situation, fixes)
        assert permitted(court, after)
        assert after.identity.principal == situation.identity.principal
        for dropped in fixes:  # the smallest: without any of its changes it is refused
            assert not permitted(court, applied(situation, fixes - {dropped}))
    assert not any(one < other for one in found for other in found)
    return found


@pytest.fixture
def mended(world, tmp_path):
    """The repairs of a launch in test by Dana, under permits, forbids and obligations given as conditions."""

    def mend(*rules, identity=None, work=None, request=None, **around):
        lines = [rule.format(number, *rest) for number, (rule, *rest) in enumerate(rules) if rule is not OBLIGE]
        obliging = [rule.format(number, *rest) for number, (rule, *rest) in enumerate(rules) if rule is OBLIGE]
        (tmp_path / "p.cedar").write_text("\n".join(lines))
        if obliging:
            (tmp_path / "obligations").mkdir()
            (tmp_path / "obligations" / "o.cedar").write_text("\n".join(obliging))
        operation = replace(world.operation("launch", world.project(TEST)), work=work)
        around = {"now": world.now, "peer": "10.1.2.3", **around}
        situation = Situation(identity or world.dana(), request or Request((operation,)), Circumstances(**around))
        return Told(court_of(tmp_path, world), situation)

    return mend


CONTOSO = (
    # who, what, in which project, as the account of which project, and what would have permitted
    ("dana", PROD, PROD, [["step_up c1"]]),
    ("ada", TEST, TEST, [[GRANT], [f"group {ML}"]]),
    ("ada", PROD, PROD, [["step_up c1", f"group {ML}"]]),
    ("gil", TEST, TEST, [[f"group {ML}"], [GRANT, f"group {SCIENTISTS}"]]),
    ("gil", PROD, PROD, [["step_up c1", f"group {ML}", "other"]]),
    ("dana", TEST, PROD, [[f"work trainer@{TEST}.iam.gserviceaccount.com"]]),
    ("pipeline", TEST, PROD, [[f"work trainer@{TEST}.iam.gserviceaccount.com"]]),
    ("pipeline", PROD, PROD, []),
    ("pipeline", CHURN, CHURN, []),
    ("dana", CHURN, CHURN, []),
    ("dana", TEST, TEST, []),
)


@pytest.mark.parametrize("case", CONTOSO, ids=lambda case: " ".join(case[:3]))
def test_contoso(world, contoso, case):
    who, project, home, expected = case
    account = "churn-trainer" if home == CHURN else "trainer"
    request = world.training(project, f"{account}@{home}.iam.gserviceaccount.com", home)
    around = Circumstances(world.now, "10.1.2.3", locations_known=True)
    assert Told(contoso, Situation(getattr(world, who)(), request, around)).lines == expected


def test_all_guardrails_at_once(world, contoso):
    """Every field that a guardrail refuses is named, with a value that fits."""
    work = Work(
        region="us-central1",
        machines=frozenset({"a2-highgpu-8g", "n1-standard-4"}),
        accelerator_count=16,
        registries=frozenset({"docker.io/evil"}),
        networks=frozenset({"//compute.googleapis.com/projects/x/global/networks/y"}),
        duration=10**6,
        environment=frozenset({"GOOGLE_APPLICATION_CREDENTIALS", "EPOCHS"}),
    )
    request = world.training(TEST, f"trainer@{TEST}.iam.gserviceaccount.com", TEST)
    first = replace(request.first, work=work)
    request = replace(request, operations=(first, *request.operations[1:]))
    around = Circumstances(world.now, "10.1.2.3", locations_known=True)
    (found,) = assert_sound(contoso, Situation(world.dana(), request, around))
    after = applied(Situation(world.dana(), request, around), found).request.first.work
    assert after == replace(
        work,
        machines=frozenset({"n1-standard-4"}),
        accelerator_count=4,
        registries=frozenset({"us-docker.pkg.dev/vertex-ai/training"}),
        networks=frozenset(),
        duration=604800,
        environment=frozenset({"EPOCHS"}),
    )


HARD = "a" * 8
SINGLE = (
    # a forbid-carrying step-up, and the other things that sign-ins say
    ('unless { context.authentication.contexts.contains("c1") }', ["step_up c1"]),
    ('unless { context.authentication.contexts.containsAll(["c1", "c2"]) }', ["step_up c1", "step_up c2"]),
    ('unless { context.authentication.methods.contains("mfa") }', ["sign_in mfa"]),
    ("unless { context.authentication has age && context.authentication.age < 900 }", ["sign_in"]),
    # a device, a place
    ("unless { context.device.managed && context.device.compliant }", ["device compliant", "device managed"]),
    ("unless { context.device.known_network }", ["device known_network"]),
    ('unless { context has country && context.country == Country::"DE" }', ["place DE"]),
    (
        'unless { context has country && [Country::"FR", Country::"DE"].contains(context.country) }',
        ["place FR"],
    ),
    ('when { context.locations.contains("Abroad") }', ["place"]),
    ('unless { context.locations.containsAny(["Office", "Factory"]) }', ["place Factory"]),
    ("unless { context.locations_known }", ["place"]),
    ('unless { context has peer && context.peer.isInRange(ip("192.168.0.0/16")) }', ["place 192.168.0.0/16"]),
    ('when { context has peer && context.peer.isInRange(ip("10.0.0.0/8")) }', ["place 10.0.0.0/8"]),
    # risk
    ('when { context has risk && context.risk == Risk::"high" }', ["risk none"]),
    ('unless { context has risk && [Risk::"low", Risk::"none"].contains(context.risk) }', ["risk none"]),
    # time: the test's clock is at midnight
    ('unless { context.now.toTime() >= duration("8h") }', ["time 2026-11-22T08:00:00Z"]),
    (
        'unless { context.now.toTime() > duration("8h30m") && context.now.toTime() < duration("18h") }',
        ["time 2026-11-22T08:30:01Z"],
    ),
    (
        'unless { context.now.offset(duration("1h")).toTime() >= duration("8h") }',
        ["time 2026-11-22T07:00:00Z"],
    ),
    ('unless { context.now >= datetime("2026-12-24") }', ["time 2026-12-24T00:00:00Z"]),
    ('when { context.now < datetime("2026-11-22T10:00:00Z") }', ["time 2026-11-22T10:00:00Z"]),
    # groups, roles, tags
    (f'unless {{ principal in Group::"{HARD}" }}', [f"group {HARD}"]),
    (f'unless {{ principal in Role::"{HARD}" || principal in Group::"{ML}x" }}', [f"group {ML}x"]),
    (f'when {{ principal in Group::"{ML}" }}', [f"group {ML}"]),
    ('when { principal in [Role::"MLEngineer", Role::"Other"] }', ["role MLEngineer"]),
    # the run that asks
    (f'unless {{ principal in Job::"{DANA}/nightly" }}', [f"run {DANA}/nightly"]),
    (f'unless {{ principal in [Job::"{DANA}x/nightly", Job::"{DANA}/weekly"] }}', [f"run {DANA}/weekly"]),
    (f'when {{ principal in Job::"{DANA}/hourly" }}', ["other"]),
    ('unless { principal.hasTag("ref") && principal.getTag("ref") == "main" }', ["other main"]),
    # a grant
    ("unless { context has grant }", ["grant aiplatform.projects.locations.customJobs.create"]),
    (
        "unless { context has grant && context.grant.approvals >= 2 && context.grant.lasting <= 1800 }",
        ["grant aiplatform.projects.locations.customJobs.create"],
    ),
    (
        "unless { context has grant && context.grant.break_glass }",
        ["grant aiplatform.projects.locations.customJobs.create"],
    ),
    # the work
    ("when { context.work.accelerator_count > 4 }", ["work 4"]),
    ("unless { 4 > context.work.replicas }", ["work 3"]),
    ("when { context.work.duration > 7200 || context has work && context.work.duration == 0 }", ["work 7200"]),
    ('unless { ["n1-standard-4"].containsAll(context.work.machines) }', ["work n1-standard-4"]),
    ("unless { context.work.networks.isEmpty() }", ["work"]),
    ('when { context.work.environment.contains("SECRET") }', ["work OK"]),
    ('unless { context.work.labels.containsAll(["team=fraud", "cost=ml"]) }', ["work cost=ml, team=fraud"]),
    ('unless { ["europe-west1", "europe-west4"].contains(context.work.region) }', ["work europe-west1"]),
    ("when { context.work.interactive }", ["work"]),
)
BIG = Work(
    region="us-central1",
    machines=frozenset({"a2"}),
    accelerator_count=9,
    replicas=9,
    networks=frozenset({"n"}),
    duration=9000,
    environment=frozenset({"SECRET", "OK"}),
    interactive=True,
)


@pytest.mark.parametrize(("clause", "expected"), SINGLE)
def test_one_forbid(mended, world, clause, expected):
    """The same condition in a forbid: the change that makes it fall silent, and no other before it."""
    clause = clause.replace("{ context.work", "{ context has work && context.work") if "when" in clause else clause
    clause = clause.replace("unless { context has work &&", "unless { ")
    if "context.work" in clause and "unless" in clause:
        clause = f"when {{ context has work }} {clause}"
    identity = replace(world.dana(), authentication=Authentication(frozenset({"pwd"}), at=world.now - 5000))
    told = mended(
        (PERMIT, ""),
        (FORBID, clause),
        identity=identity,
        work=BIG,
        risk="high",
        locations=frozenset({"Abroad"}),
        job="j-1",
        job_name="hourly",
    )
    assert sorted(told.lines[0]) == sorted(expected)


def test_the_cheapest_comes_first(mended):
    told = mended((PERMIT, f'when {{ principal in Group::"{HARD}" || context.device.managed || context has grant }}'))
    assert told.lines == [
        ["grant aiplatform.projects.locations.customJobs.create"],
        ["device managed"],
        [f"group {HARD}"],
    ]


@pytest.mark.promise("N2")
@pytest.mark.parametrize(
    ("clause", "lines"),
    [
        ("unless { context.outlived.isEmpty() }", [["work"]]),
        ('when { context.outlived.contains("grant") }', [["work"]]),
        ('when { context.outlived.containsAny(["grant", "sign-in"]) }', [["work"]]),
        ('unless { ["sign-in"].containsAll(context.outlived) }', [["work"]]),
        ('unless { context.outlived.contains("workflow") }', []),
    ],
)
def test_work_that_outlives_something_is_made_shorter(mended, clause, lines):
    told = mended((PERMIT, ""), (FORBID, clause), outlived=frozenset({"sign-in", "grant"}))
    assert told.lines == lines
    assert [change.command for each in told.repairs for change in each.changes] == ["remit doctor lifetime"] * len(
        lines
    )


def test_a_permit_and_a_forbid_together(mended):
    told = mended(
        (PERMIT, f'when {{ principal in Group::"{HARD}" && context.device.managed }}'),
        (FORBID, 'unless { context.authentication.contexts.contains("c1") }'),
        (FORBID, "when { context.guest }"),
    )
    assert told.lines == [["step_up c1", "device managed", f"group {HARD}"]]


def test_what_one_change_brings_about_is_cured_by_the_next(mended, world):
    """The group that permits is forbidden without a second factor, and the grant that cures that asks for time."""
    told = mended(
        (PERMIT, f'when {{ principal in Group::"{HARD}" }}'),
        (FORBID, f'when {{ principal in Group::"{HARD}" }} unless {{ context.device.managed }}'),
        (FORBID, 'when { context.device.managed } unless { context.now.toTime() >= duration("9h") }'),
    )
    assert told.lines == [["time 2026-11-22T09:00:00Z", "device managed", f"group {HARD}"]]


def test_a_grant_is_asked_for_by_command(mended):
    told = mended(
        (PERMIT, "when { context has grant && context.grant.approvals >= 2 && context.grant.lasting <= 7200 }")
    )
    (change,) = told.changes()
    assert change.means is Means.GRANT
    assert change.what == "a grant of `aiplatform.projects.locations.customJobs.create` that 2 people have approved"
    assert change.command == (
        f'remit request aiplatform.projects.locations.customJobs.create {TEST} --for 1h --because "…"'
    )


def test_a_run_is_begun_by_command(mended, world):
    told = mended((PERMIT, f'when {{ principal in Job::"{DANA}/nightly" }}'))
    (change,) = told.changes()
    assert (change.means, change.what) == (Means.RUN, "from within the run `nightly`")
    assert change.command == "remit run --name nightly -- …"
    # where nobody asks from within a run there is no such change; beginning one is asked as from within it
    for action, lines in (("remit.decisions.explain", []), ("remit.runs.start", [[f"run {DANA}/nightly"]])):
        request = world.request(action, world.project(TEST))
        found = mended((PERMIT, f'when {{ principal in Job::"{DANA}/nightly" }}'), request=request)
        assert found.lines == lines


def test_a_grant_that_is_too_weak_is_no_grant(mended, world):
    wanted = Wanted(world.dana().principal.key, "launch", world.project(TEST), 600, "because", job="")
    held = Grant("g-held", wanted, world.now, world.now + 600, approvals=1)
    told = mended((PERMIT, "when { context has grant && context.grant.approvals >= 2 }"), grants=(held,))
    assert told.lines == [["grant aiplatform.projects.locations.customJobs.create"]]


def test_later_is_no_cure_when_the_grant_is_over_by_then(mended, world):
    wanted = Wanted(world.dana().principal.key, "launch", world.project(TEST), HOUR, "because")
    held = Grant("g-held", wanted, world.now, world.now + HOUR, approvals=1)
    told = mended(
        (PERMIT, "when { context has grant }"),
        (FORBID, 'unless { context.now.toTime() >= duration("9h") }'),
        grants=(held,),
    )
    assert told.lines == [
        ["time 2026-11-22T09:00:00Z", "grant aiplatform.projects.locations.customJobs.create"],
    ]


@pytest.mark.parametrize(
    ("annotation", "clause", "expected"),
    [
        ('@step_up("c2")', "", ["step_up c2"]),
        ('@step_up("c2") @session("1h")', "", ["sign_in", "step_up c2"]),
        ('@approvals("2")', "", ["grant aiplatform.projects.locations.customJobs.create"]),
        ('@ceilings("replicas=4, duration=2h")', "", ["work 4", "work 7200"]),
        ('@step_up("c2")', "when { context.device.managed }", ["device managed"]),
    ],
)
def test_obligations_are_repaired_as_well(mended, world, annotation, clause, expected):
    permit = (PERMIT, "when { context.device.managed }" if clause else "")
    expected = [*expected, "step_up c2"] if clause else expected
    identity = replace(world.dana(), authentication=Authentication(at=world.now - 5000))
    told = mended(permit, (OBLIGE, annotation, clause), identity=identity, work=replace(BIG, duration=0))
    assert sorted(told.lines[0]) == sorted(expected)


@pytest.mark.parametrize(
    "clause",
    [
        'when { resource == Project::"contoso-fraud-prod" }',
        'when { action == Action::"storage.objects.get" }',
        'when { principal == Person::"somebody/else" }',
        'when { principal in Job::"somebody/else/nightly" }',
        "when { principal is Workload }",
        f'when {{ principal is Workload in Group::"{HARD}" }}',
        'when { context has within && context.within like "*.get" }',
        'when { context.now < datetime("2020-01-01") }',
        "when { false }",
        'when { context has work && context.work.region == "x" }',
    ],
)
def test_no_repair_for_what_cannot_be(mended, clause):
    assert mended((PERMIT, clause)).lines == []


@pytest.mark.parametrize(
    "clause",
    [
        'when { context.authentication.contexts.contains("c1") }',
        'when { context.authentication.methods.contains("mfa") }',
        "when { context.device.managed }",
        "when { context.authentication has age && context.authentication.age < 60 }",
    ],
)
def test_a_workload_does_not_sign_in_again(mended, world, clause):
    assert mended((PERMIT, clause), identity=world.pipeline()).lines == []


def test_nobody_but_entras_people_complete_a_context(mended, world):
    principal = replace(world.dana().principal, tenant="partner")
    clause = 'when { context.authentication.contexts.contains("c1") }'
    assert mended((PERMIT, clause), identity=replace(world.dana(), principal=principal)).lines == []


def test_a_policy_that_fails_is_not_repaired(mended):
    broken = 'when { context.now.offset(duration("9223372036854775807ms")) > context.now }'
    assert mended((PERMIT, "when { context.device.managed }"), (FORBID, broken)).lines == []


def test_the_search_ends(mended, world, contoso):
    """Each permit needs three changes of thirty: neither all of them nor the time for them."""
    needs = " && ".join(f'principal in Group::"g{{{at}}}"' for at in range(3))
    clauses = [needs.format(*(30 * n + at for at in range(3))) for n in range(30)]
    told = mended(*((PERMIT, f"when {{ {clause} }}") for clause in clauses))
    assert 1 <= len(told.lines) <= 8
    ticks = iter(range(0, 100_000, 100))
    request = world.training(PROD, f"trainer@{PROD}.iam.gserviceaccount.com", PROD)
    situation = Situation(world.dana(), request, Circumstances(world.now, locations_known=True))
    assert search(contoso, situation, clock=lambda: next(ticks)) == ()


ATOMS = (
    'context.authentication.contexts.contains("c1")',
    'context.authentication.methods.contains("mfa")',
    "(context.authentication has age && context.authentication.age < 600)",
    "context.device.managed",
    f'principal in Group::"{HARD}"',
    f'principal in Group::"{ML}"',
    'principal in Role::"MLEngineer"',
    f'principal in Job::"{DANA}/nightly"',
    f'principal in [Job::"{DANA}/daily", Job::"{DANA}/weekly"]',
    "context has job",
    "context has grant",
    "(context has grant && context.grant.approvals >= 2)",
    "(context has grant && context.grant.lasting <= 600)",
    '(context has country && context.country == Country::"DE")',
    '(context has country && [Country::"FR", Country::"US"].contains(context.country))',
    '(context has risk && context.risk == Risk::"high")',
    'context.locations.contains("Office")',
    "context.locations_known",
    'context.now.toTime() >= duration("8h")',
    'context.now.toTime() < duration("18h")',
    'context.peer.isInRange(ip("10.0.0.0/8"))',
    "(context has work && context.work.accelerator_count <= 4)",
    '(context has work && ["n1"].containsAll(context.work.machines))',
    "(context has work && context.work.duration > 0 && context.work.duration <= 7200)",
    "context.guest",
    'resource in Environment::"prod"',
    "principal is Workload",
    'context.country == Country::"DE"',  # fails where no country is known
)


def conditions():
    """Conditions joined in every way that Cedar has."""
    return st.recursive(
        st.sampled_from(ATOMS),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(("&&", "||")), inner).map(lambda each: f"({' '.join(each)})"),
            inner.map(lambda each: f"!({each})"),
            st.tuples(inner, inner, inner).map(lambda each: "(if {} then {} else {})".format(*each)),
        ),
        max_leaves=4,
    )


def rules():
    clause = st.tuples(st.sampled_from(("when", "unless")), conditions())
    body = st.lists(clause, max_size=2).map(lambda found: " ".join(f"{word} {{ {text} }}" for word, text in found))
    return st.lists(st.tuples(st.sampled_from((PERMIT, PERMIT, FORBID)), body), min_size=1, max_size=4)


AROUND = st.builds(
    Circumstances,
    now=st.integers(1_795_305_600, 1_795_305_600 + 86400),
    peer=st.sampled_from(("", "10.1.2.3", "192.0.2.7")),
    country=st.sampled_from(("", "DE", "US")),
    locations=st.sampled_from((frozenset(), frozenset({"Office"}))),
    locations_known=st.booleans(),
    risk=st.sampled_from(("", "high")),
    job=st.just("j-1"),
    job_name=st.sampled_from(("", "nightly", "another")),
)
WORKS = st.sampled_from((None, BIG, Work()))
DEMANDS = st.sampled_from(("", '@step_up("c2")', '@approvals("2")', '@session("5m")', '@ceilings("replicas=1")'))


@pytest.mark.promise("V20")
def test_repairs_are_sound(world, tmp_path_factory):
    """Whatever the policies: each repair, applied, is permitted by the judge, and none of its changes is idle."""
    print("seed", SEED)
    counted = {"refused": 0, "repaired": 0}

    @seed(SEED)
    @hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(rules(), DEMANDS, st.sampled_from(("dana", "ada", "gil", "pipeline")), AROUND, WORKS)
    def hold(found, demand, who, around, work):
        folder = tmp_path_factory.mktemp("policies")
        (folder / "p.cedar").write_text("\n".join(rule.format(at, body) for at, (rule, body) in enumerate(found)))
        if demand:
            (folder / "obligations").mkdir()
            (folder / "obligations" / "o.cedar").write_text(OBLIGE.format(0, demand, ""))
        try:
            court = court_of(folder, world)
        except SettingsInvalid:  # what the validator refuses never decides
            return
        request = world.training(TEST, f"trainer@{TEST}.iam.gserviceaccount.com", TEST)
        request = replace(request, operations=(replace(request.first, work=work), *request.operations[1:]))
        situation = Situation(getattr(world, who)(), request, around)
        fine = permitted(court, situation)
        repaired = assert_sound(court, situation)
        assert not (fine and repaired)
        counted["refused"] += not fine
        counted["repaired"] += bool(repaired)

    hold()
    assert counted["refused"] > 20
    assert counted["repaired"] > 0, counted
