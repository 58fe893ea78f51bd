"""The ways in which the bare engine permits, each shown permitting, and what the wrapper makes of it."""

import json
import re

import cedarpy
import pytest

from remit.model.decision import Circumstances
from remit.model.errors import SettingsInvalid
from remit.model.operation import Group
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.policy import book, engine
from remit.policy.canary import prove
from remit.policy.engine import EvaluationFailed, Ground
from remit.policy.facts import base_entities, gather, uid
from remit.policy.schema import schema_text, shipped_text

PERMIT_ALL = '@id("all") permit(principal, action, resource);'
OVERFLOW = (
    '@id("broken") @refusal("no") forbid(principal, action, resource)'
    ' when { context.now.offset(duration("9223372036854775807ms")) > context.now };'
)
NO_LAUNCH = '@id("no-launch") @refusal("no") forbid(principal, action in Action::"launch", resource);'
OBLIGE_LAUNCH = (
    '@id("oblige-launch") @purpose("x") @step_up("c1") permit(principal, action in Action::"launch", resource);'
)


@pytest.fixture
def ground(world):
    return Ground(world.actions, (), base_entities(world.estate))


def bare(world, policies, *, schema=True, entities_schema=True, context=None, resource=None, action=Group.LAUNCH):
    """The same request, asked of cedarpy without the wrapper."""
    text = cedarpy.Schema.from_str(schema_text(world.actions, ()))
    facts = gather(
        world.dana(),
        world.request("launch", world.project("contoso-fraud-test")),
        Circumstances(world.now),
        world.estate,
        world.actions,
    )
    base = cedarpy.Entities.from_json_str(base_entities(world.estate), text if entities_schema else None)
    delta = json.dumps(facts.entities(facts.identity.groups, facts.identity.roles, frozenset({facts.job})))
    request = {
        "principal": facts.principal,
        "action": uid("Action", f"any other {action}"),
        "resource": resource or facts.questions[0].target,
        "context": context or facts.context(facts.questions[0]),
    }
    policies = cedarpy.PolicySet.from_str(policies)
    return cedarpy.is_authorized(request, policies, base.with_added_json_str(delta), text if schema else None)


def test_trap_1_a_forbid_that_cannot_be_evaluated_refuses(judge_of, world, caplog):
    result = bare(world, PERMIT_ALL + OVERFLOW)
    assert result.allowed
    assert result.diagnostics.errors
    judge = judge_of(PERMIT_ALL + OVERFLOW)
    verdict = world.decide(judge, world.dana(), world.request("launch", world.project("contoso-fraud-test")))
    assert verdict.outcome is Outcome.DENY
    assert verdict.reasons == (Reason.POLICY_ERROR,)
    assert verdict.detail == Reason.POLICY_ERROR.sentence
    assert verdict.policy_version == judge.policy_version
    assert "overflow" in caplog.text


def test_trap_1_an_obligation_that_cannot_be_evaluated_refuses(judge_of, world, caplog):
    rule = OVERFLOW.replace('@refusal("no") forbid', '@purpose("x") @step_up("c1") permit')
    result = bare(world, rule)
    assert not result.diagnostics.reasons  # bare, the rule does not apply: nothing is demanded
    assert result.diagnostics.errors
    judge = judge_of(PERMIT_ALL, obligations=rule)
    request = world.request("launch", world.project("contoso-fraud-test"))
    verdict = world.decide(judge, world.dana(contexts=("c1",)), request)
    assert verdict.outcome is Outcome.DENY
    assert verdict.reasons == (Reason.POLICY_ERROR,)
    assert "overflow" in caplog.text


def test_trap_2_a_context_that_the_schema_does_not_know_is_no_permit(world, ground):
    context = '{"gest": true}'
    assert bare(world, PERMIT_ALL, schema=False, context=context).allowed
    request = {
        "principal": uid("Person", "x"),
        "action": uid("Action", "any other use"),
        "resource": uid("Project", "contoso-fraud-test"),
        "context": context,
    }
    with pytest.raises(EvaluationFailed, match="context"):
        ground.ask(cedarpy.PolicySet.from_str(PERMIT_ALL), [request], ground.admit("[]"))


def test_trap_3_a_forbid_on_an_action_group_holds(judge_of, world):
    policies = PERMIT_ALL + NO_LAUNCH
    assert bare(world, policies, entities_schema=False).allowed
    verdict = world.decide(
        judge_of(policies), world.dana(), world.request("launch", world.project("contoso-fraud-test"))
    )
    assert verdict.reasons == (Reason.POLICY_FORBIDS,)


@pytest.fixture
def without_schema(monkeypatch):
    monkeypatch.setattr(
        engine.Entities,
        "from_json_str",
        staticmethod(lambda text, _schema, make=cedarpy.Entities.from_json_str: make(text)),
    )


def test_trap_3_the_canary_lets_pass_what_holds(world, ground):
    prove(ground, world.estate)


def test_trap_3_the_canary_sees_entities_that_were_built_without_the_schema(world, without_schema):
    ground = Ground(world.actions, (), base_entities(world.estate))
    with pytest.raises(EvaluationFailed, match="a forbid on the group `use` does not hold"):
        prove(ground, world.estate)


def test_trap_3_a_part_of_the_entities_that_was_built_without_the_schema_decides_nothing(world, ground, without_schema):
    with pytest.raises(EvaluationFailed, match="does not hang together as the whole does"):
        prove(ground, world.estate)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ('forbid(principal in Group::"g", action, resource);', "Group `g`"),
        ('permit(principal is Person in Role::"R", action, resource);', "Role `R`"),
        ('forbid(principal, action, resource) unless { [principal].contains(principal) && principal in Group::"é\\n" };',
         "Group `é\n`"),
        ('permit(principal in Job::"tid/dana/nightly", action, resource);', "Job `tid/dana/nightly`"),
        ('forbid(principal, action, resource) unless { principal in [Job::"okta/a/b é/n"] };',
         "Job `okta/a/b é/n`"),
    ],
)  # fmt: skip
def test_trap_3_the_canary_sees_a_group_that_the_entities_would_leave_out(world, rule, told):
    whole = cedarpy.PolicySet.from_str(PERMIT_ALL + rule)
    ground = Ground(world.actions, (), base_entities(world.estate))
    with pytest.raises(EvaluationFailed, match=f"a rule on the {told} does not hold for its members"):
        prove(ground, world.estate, whole)
    trees = whole.to_pst().static_policies.values()
    prove(Ground(world.actions, trees, base_entities(world.estate)), world.estate, whole)


def test_trap_3_the_canary_asks_for_the_groups_of_policies_and_of_obligations(world, judge_of, monkeypatch):
    asked = []
    monkeypatch.setattr(book, "prove", lambda *told: asked.append(told[2:]))
    judge = judge_of(PERMIT_ALL, obligations=OBLIGE_LAUNCH)
    assert asked == [(judge.book.engine_set.whole, judge.book.obligations.whole)]


def test_no_value_but_a_name_in_a_policy_is_a_group_a_role_or_a_job():
    """Else a policy could come upon one that it does not name, and that entities leave out."""
    text = re.sub(r"//[^\n]*", "", shipped_text())
    assert len(re.findall(r"\b(?:Group|Role|Job)\b", text)) == len(
        re.findall(r"^entity (?:Group|Role|Job);", text, re.MULTILINE)
    ) + 3 * len(re.findall(r"^entity (?:Person|Workload) in \[Group, Role, Job\] tags String;", text, re.MULTILINE))


def test_trap_3_the_canary_sees_projects_without_their_environment(world):
    orphans = json.dumps(
        [{"uid": uid("Project", each.id), "attrs": {}, "parents": []} for each in world.estate.projects]
    )
    with pytest.raises(EvaluationFailed, match="a forbid on the environment `prod` does not hold"):
        prove(Ground(world.actions, (), orphans), world.estate)


def test_trap_3_the_canary_is_asked_at_every_load(judge_of, tmp_path, request):
    judge = judge_of(PERMIT_ALL)
    (tmp_path / "p0.cedar").write_text(PERMIT_ALL + " // edited")
    request.getfixturevalue("without_schema")
    with pytest.raises(SettingsInvalid, match="cannot be trusted to hold: a forbid on the group"):
        judge.take(judge.read())


def test_trap_4_no_decision_is_no_permit(world, ground):
    result = bare(world, PERMIT_ALL, resource=uid("Group", "g"))
    assert result.decision is not cedarpy.Decision.Deny
    assert not result.allowed
    answer = {"decision": "NoDecision", "diagnostics": {}}
    with pytest.raises(EvaluationFailed, match="took no decision"):
        engine._answer(cedarpy.AuthzResult(answer))


def test_trap_3_an_obligation_on_an_action_group_is_demanded(judge_of, world):
    assert bare(world, OBLIGE_LAUNCH).diagnostics.reasons
    assert not bare(world, OBLIGE_LAUNCH, entities_schema=False).diagnostics.reasons  # nothing is demanded
    judge = judge_of(PERMIT_ALL, obligations=OBLIGE_LAUNCH)
    request = world.request("launch", world.project("contoso-fraud-test"))
    assert world.decide(judge, world.dana(), request).outcome is Outcome.STEP_UP


@pytest.mark.parametrize("kind", ["group `use`", "environment `prod`"])
def test_trap_3_the_canary_sees_obligations_that_are_not_demanded(world, ground, monkeypatch, kind):
    place = 'Action::"use"' if kind.startswith("group") else "Environment"
    ask = Ground.ask

    def deaf(self, policies, requests, entities):
        text = str(policies)
        if "forbid" not in text and place in text:
            policies = cedarpy.PolicySet.from_str("")
        return ask(self, policies, requests, entities)

    monkeypatch.setattr(Ground, "ask", deaf)
    with pytest.raises(EvaluationFailed, match=f"an obligation on the {kind} does not hold"):
        prove(ground, world.estate)


@pytest.mark.parametrize("also_alone", [False, True])
def test_trap_4_no_decision_on_either_set_permits_nothing(judge_of, world, monkeypatch, also_alone):
    judge = judge_of(PERMIT_ALL, obligations=OBLIGE_LAUNCH)
    dana, request = world.dana(contexts=("c1",)), world.request("launch", world.project("contoso-fraud-test"))
    assert world.decide(judge, dana, request).outcome is Outcome.PERMIT
    asked = []

    def undecided(requests, policies, *rest):
        asked.append("step_up" in str(policies))
        if asked[-1] or also_alone:
            return [cedarpy.AuthzResult({"decision": "NoDecision", "diagnostics": {"reason": ["policy0"]}})]
        return cedarpy.is_authorized_batch(requests, policies, *rest)

    monkeypatch.setattr(engine, "is_authorized_batch", undecided)
    assert world.decide(judge, dana, request).reasons == (Reason.POLICY_ERROR,)
    assert asked == [True, False]  # both sets at once, then whether the policies by themselves would refuse


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Project", "//cloudresourcemanager.googleapis.com/projects/contoso-fraud-tset"),
        ("Model", "//aiplatform.googleapis.com/projects/contoso-fraud-tset/locations/us-central1/models/1"),
    ],
)
def test_trap_5_a_resource_that_nobody_knows_is_refused_before_the_engine(judge_of, world, kind, name):
    assert bare(world, PERMIT_ALL, resource=uid(kind, name)).allowed
    resource = type(world.project("x"))(kind, name, "contoso-fraud-tset")
    verdict = world.decide(judge_of(PERMIT_ALL), world.dana(), world.request("use", resource))
    assert verdict.outcome is Outcome.DENY
    assert verdict.reasons == (Reason.RESOURCE_UNKNOWN,)


def test_a_permit_without_a_policy_is_none():
    with pytest.raises(EvaluationFailed, match="named no policy"):
        engine._answer(cedarpy.AuthzResult({"decision": "Allow", "diagnostics": {"reason": []}}))


def test_an_engine_that_answers_too_little_permits_nothing(ground, monkeypatch):
    monkeypatch.setattr(engine, "is_authorized_batch", lambda *_: [])
    with pytest.raises(EvaluationFailed, match="1 questions got 0 answers"):
        ground.ask(cedarpy.PolicySet.from_str(PERMIT_ALL), [{}], ground.admit("[]"))


def test_an_engine_that_breaks_permits_nothing(ground):
    with pytest.raises(EvaluationFailed):
        ground.ask(cedarpy.PolicySet.from_str(PERMIT_ALL), [{"principal": 7}], ground.admit("[]"))
    with pytest.raises(EvaluationFailed):
        ground.admit("no json")
