"""What a permit demands besides: how it is written, how several are merged, and what follows when it is not met."""

from dataclasses import replace

import pytest

from remit.model.decision import Circumstances
from remit.model.errors import SettingsInvalid
from remit.model.grant import Grant, Wanted
from remit.model.identity import Authentication, Kind
from remit.model.obligation import NONE, Obligations
from remit.model.operation import Group, Request, Work
from remit.model.outcome import Outcome
from remit.model.reasons import Reason

TEST, PROD, CHURN = "contoso-fraud-test", "contoso-fraud-prod", "contoso-churn-prod"
ALL = '@id("all") permit(principal, action, resource);\n'
TEN = 10 * 3600


def rule(name, annotations, scope="principal, action, resource", condition=""):
    return f'@id("{name}") @purpose("x") {annotations} permit({scope}){condition};\n'


def signed_in(world, ago=60, **changes):
    dana = world.dana(**changes)
    return replace(dana, authentication=replace(dana.authentication, at=world.now - ago if ago is not None else 0))


def ask(world, judge, who=None, request=None, **circumstances):
    asked = request or world.request("launch", world.project(TEST))
    return judge.decide(who or signed_in(world), asked, Circumstances(world.now, "10.1.2.3", **circumstances))


def working(world, **work):
    operation = replace(world.operation("launch", world.project(TEST)), work=Work(**work))
    return Request((operation,))


def approved(world, approvals=1, *, break_glass=False, project=TEST, identifier="g-1"):
    wanted = Wanted(world.dana().principal.key, "launch", world.project(project), 3600, "x", break_glass=break_glass)
    return Grant(identifier, wanted, world.now - 10, world.now + 3590, approvals)


# how it is written


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ('@id("o") @purpose("x") forbid(principal, action, resource);', 1, "an obligation is a `permit`"),
        ('@id("o") @purpose("x") permit(principal, action, resource);', 1, "the obligation demands nothing"),
        ('@id("o") @session("1h") permit(principal, action, resource);', 1, 'no `@purpose("…")`'),
        ('@purpose("x") @session("1h") permit(principal, action, resource);', 1, 'no `@id("…")`'),
        (rule("o", '@advice("x") @session("1h")'), 25, "`@advice` means nothing on an obligation"),
        (rule("o", '@stepup("c1")'), 25, "`@stepup` means nothing on an obligation"),
        (rule("o", '@step_up("mfa")'), 25, "`mfa` is not an authentication context"),
        (rule("o", '@step_up("c1, c2")'), 25, "is not an authentication context"),
        (rule("o", '@approvals("0")'), 25, "`0` is not a number of people"),
        (rule("o", '@approvals("two")'), 25, "`two` is not a number of people"),
        (rule("o", '@approvals("\u0661")'), 25, "is not a number of people"),
        (rule("o", '@session("8")'), 25, "`8` is not a length of time"),
        (rule("o", '@session("0h")'), 25, "is not a length of time"),
        (rule("o", '@session("-1h")'), 25, "is not a length of time"),
        (rule("o", '@redact("principal")'), 25, "`principal` cannot be left out of a record"),
        (rule("o", '@redact("peer, peer")'), 25, "`peer` stands there twice"),
        (rule("o", '@redact("peer,")'), 25, "`` cannot be left out"),
        (rule("o", '@labels("team")'), 25, "`team` has no `=`"),
        (rule("o", '@labels("Team=a")'), 25, "`Team=a` is not a label"),
        (rule("o", '@labels("team=")'), 25, "`team=` is not a label"),
        (rule("o", '@labels("remit-decision=mine")'), 25, "is not a label"),
        (rule("o", '@labels("a=1, a=2")'), 25, "`a` stands there twice"),
        (rule("o", '@ceilings("machines=2")'), 25, "`machines` has no ceiling"),
        (rule("o", '@ceilings("replicas=many")'), 25, "`many` is not a number"),
        (rule("o", '@ceilings("replicas=-1")'), 25, "`-1` is not a number"),
        (rule("o", '@ceilings("duration=0")'), 25, "`0` is not a length of time"),
        (rule("o", '@ceilings("replicas=1, replicas=2")'), 25, "`replicas` stands there twice"),
        (rule("o", '@session("1h")', 'principal, action, resource in Project::"x"'), 77, "does not exist"),
        (rule("o", '@session("1h")', condition=" when { context.gest }"), 90, "attribute `gest`"),
        (rule("all", '@session("1h")'), 6, '`@id("all")` is taken by a policy in'),
        (rule("o", '@session("1h")', "principal == ?principal, action, resource"), 1, "a template permits nothing"),
        ("// nothing", 0, "the file holds no policy"),
    ],
)
def test_what_is_wrong_with_an_obligation_is_placed(judge_of, text, column, message):
    with pytest.raises(SettingsInvalid) as caught:
        judge_of(ALL, obligations=text)
    problem = caught.value.problems[0]
    assert message in problem.message
    assert problem.file.endswith("obligations/o.cedar")
    assert (problem.line, problem.column) in {(1, column), (0, 0)}


def test_groups_of_an_obligation_must_be_in_the_directory(judge_of):
    text = rule("o", '@session("1h")', 'principal in Group::"g", action, resource')
    judge_of(ALL, obligations=text, groups=frozenset({"g"}))
    with pytest.raises(SettingsInvalid, match="does not exist in the directory"):
        judge_of(ALL, obligations=text, groups=frozenset())


# how several are merged

MET = {"contexts": ("c1", "c2")}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ('@step_up("c1")', '@step_up("c2")', Obligations(contexts=frozenset({"c1", "c2"}))),
        ('@approvals("1")', '@approvals("2")', Obligations(approvals=2)),
        ('@session("8h")', '@session("30m")', Obligations(session=1800)),
        ('@session("2d")', '@session("90s")', Obligations(session=90)),
        ('@redact("peer, name")', '@redact("name,device")', Obligations(redact=frozenset({"peer", "name", "device"}))),
        (
            '@labels("team=fraud, cost=ml")',
            '@labels("cost=ml, tier=a")',
            Obligations(labels=(("cost", "ml"), ("team", "fraud"), ("tier", "a"))),
        ),
        (
            '@ceilings("replicas=4, duration=24h")',
            '@ceilings("replicas=8, accelerator_count=0, duration=12h")',
            Obligations(ceilings=(("accelerator_count", 0), ("duration", 43200), ("replicas", 4))),
        ),
        ('@step_up("c1") @session("8h")', '@redact("path")', Obligations(frozenset(), frozenset({"c1"}), 0, 28800)),
    ],
)
def test_the_strictest_of_all_rules_wins(world, judge_of, first, second, expected):
    for one, other in ((first, second), (second, first)):
        judge = judge_of(ALL, obligations=rule("a", one) + rule("b", other))
        verdict = ask(world, judge, signed_in(world, **MET), grants=(approved(world, 2),))
        assert verdict.outcome is Outcome.PERMIT
        assert verdict.obligations.rules == ("a", "b")
        if expected.rules == ():
            assert replace(verdict.obligations, rules=()) == expected
        else:
            assert verdict.obligations.contexts == expected.contexts
            assert verdict.obligations.session == expected.session
            assert verdict.obligations.redact == frozenset({"path"})


def test_two_labels_of_one_key_are_a_contradiction(world, judge_of, caplog):
    text = rule("a", '@labels("team=fraud")') + rule(
        "b", '@labels("team=churn")', 'principal, action in Action::"launch", resource'
    )
    judge = judge_of(ALL, obligations=text)
    verdict = ask(world, judge)
    assert (verdict.outcome, verdict.reasons) == (Outcome.DENY, (Reason.POLICY_ERROR,))
    assert verdict.detail == Reason.POLICY_ERROR.sentence
    assert "two obligations want the label `team`" in caplog.text
    used = ask(world, judge, request=world.request("use", world.project(TEST)))
    assert used.obligations.labels == (("team", "fraud"),)


# which rules apply


def test_a_rule_applies_where_its_scope_and_conditions_say(world, judge_of):
    text = (
        rule("prod", '@redact("peer")', 'principal, action, resource in Environment::"prod"')
        + rule("launch", '@redact("name")', 'principal, action in Action::"launch", resource')
        + rule("one", '@redact("path")', 'principal, action == Action::"storage.objects.get", resource')
        + rule(
            "far", '@redact("country")', condition=' when { context has country && context.country != Country::"DE" }'
        )
    )
    judge = judge_of(ALL, obligations=text)

    def rules(*requests, **circumstances):
        asked = Request(tuple(operation for request in requests for operation in request.operations))
        return set(ask(world, judge, request=asked, **circumstances).obligations.rules)

    launch, use = world.request("launch", world.project(TEST)), world.request("use", world.project(PROD))
    read = world.request("storage.objects.get", world.bucket(f"{TEST}-data", TEST))
    assert rules(launch) == {"launch"}
    assert rules(use) == {"prod"}
    assert rules(launch, use, read) == {"launch", "prod", "one"}
    assert rules(read, country="KP") == {"one", "far"}
    assert rules(read, country="DE") == {"one"}
    assert ask(world, judge, request=world.request("use", world.project(TEST))).obligations == NONE


def test_an_obligation_grants_nothing(world, judge_of):
    judge = judge_of(
        '@id("x") permit(principal in Role::"Nobody", action, resource);', obligations=rule("o", '@redact("peer")')
    )
    verdict = ask(world, judge)
    assert (verdict.outcome, verdict.reasons) == (Outcome.DENY, (Reason.NO_POLICY_PERMITS,))
    assert verdict.obligations == NONE
    assert verdict.policies == ()


# a stronger sign-in


@pytest.mark.promise("V23")
def test_a_context_that_alone_is_missing_is_asked_for(world, judge_of):
    judge = judge_of(ALL, obligations=rule("o", '@step_up("c1")'))
    verdict = ask(world, judge)
    assert (verdict.outcome, verdict.challenge) == (Outcome.STEP_UP, "c1")
    assert verdict.reasons == (Reason.STEP_UP_REQUIRED,)
    assert verdict.detail.endswith(
        "on project `contoso-fraud-test`: this needs a sign-in that satisfies the authentication context `c1`"
    )
    assert verdict.obligations.rules == ("o",)
    permitted = ask(world, judge, signed_in(world, contexts=("c1",)))
    assert (permitted.outcome, permitted.obligations.contexts) == (Outcome.PERMIT, {"c1"})


def test_a_context_is_asked_for_only_where_it_alone_would_do(world, judge_of):
    c1 = rule("o", '@step_up("c1")')
    two = judge_of(ALL, obligations=c1 + rule("p", '@step_up("c2")'))
    verdict = ask(world, two)
    assert (verdict.outcome, verdict.challenge) == (Outcome.DENY, "")
    assert verdict.reasons == (Reason.OBLIGATION_UNMET,)
    assert verdict.detail.endswith("`c1` and `c2`")
    assert ask(world, two, signed_in(world, contexts=("c2",))).challenge == "c1"

    ceiling = judge_of(ALL, obligations=c1 + rule("p", '@ceilings("replicas=4")'))
    verdict = ask(world, ceiling, request=working(world, replicas=5))
    assert (verdict.outcome, verdict.reasons) == (Outcome.DENY, (Reason.CEILING_EXCEEDED,))
    assert ask(world, ceiling, request=working(world, replicas=4)).outcome is Outcome.STEP_UP

    session = judge_of(ALL, obligations=c1 + rule("p", '@session("8h")'))
    verdict = ask(world, session, signed_in(world, TEN))
    assert (verdict.outcome, verdict.challenge, verdict.not_before) == (Outcome.DENY, "", 0)
    assert verdict.reasons == (Reason.OBLIGATION_UNMET,)
    assert verdict.hint == "sign in again: `remit login`"
    assert ask(world, session, signed_in(world)).outcome is Outcome.STEP_UP

    undone = judge_of(
        ALL + '@id("never") @refusal("not so") forbid(principal, action, resource)'
        ' when { context.authentication.contexts.contains("c1") };',
        obligations=c1,
    )
    assert ask(world, undone).outcome is Outcome.DENY


def test_a_step_up_of_a_policy_waits_for_the_obligations_too(world, judge_of):
    guard = (
        '@id("g") @refusal("no") @step_up("c1") forbid(principal, action, resource)'
        ' unless { context.authentication.contexts.contains("c1") };'
    )
    judge = judge_of(ALL + guard, obligations=rule("o", '@ceilings("replicas=1")'))
    assert ask(world, judge, request=working(world, replicas=1)).outcome is Outcome.STEP_UP
    verdict = ask(world, judge, request=working(world, replicas=2))
    assert (verdict.outcome, verdict.challenge) == (Outcome.DENY, "")
    assert verdict.reasons == (Reason.CEILING_EXCEEDED, Reason.POLICY_FORBIDS)


def test_a_context_that_nobody_could_complete_denies(world, judge_of):
    judge = judge_of(ALL, obligations=rule("o", '@step_up("c1")'))
    okta = replace(signed_in(world), principal=replace(world.dana().principal, tenant="okta"))
    for who in (okta, world.person(9, kind=Kind.WORKLOAD)):
        verdict = ask(world, judge, who)
        assert (verdict.outcome, verdict.reasons) == (Outcome.DENY, (Reason.OBLIGATION_UNMET,))
        assert verdict.challenge == ""


# the longest session


@pytest.mark.parametrize(
    ("ago", "permitted"), [(0, True), (-30, True), (28799, True), (28800, False), (TEN, False), (None, False)]
)
def test_a_session_ends_and_one_of_unknown_age_is_over(world, judge_of, ago, permitted):
    judge = judge_of(ALL, obligations=rule("o", '@session("8h")'))
    verdict = ask(world, judge, signed_in(world, ago))
    if permitted:
        assert verdict.outcome is Outcome.PERMIT
        return
    assert (verdict.outcome, verdict.reasons) == (Outcome.DENY, (Reason.SIGN_IN_AGAIN,))
    assert verdict.not_before == world.now - 28800
    assert verdict.reasons[0].http_status == 401
    assert verdict.hint == "sign in again: `remit login`"
    assert ask(world, judge, signed_in(world, world.now - verdict.not_before - 1)).outcome is Outcome.PERMIT


def test_a_session_is_no_matter_of_workloads(world, judge_of):
    judge = judge_of(ALL, obligations=rule("o", '@session("1s")'))
    assert ask(world, judge, world.person(9, kind=Kind.WORKLOAD)).outcome is Outcome.PERMIT


def test_a_newer_sign_in_is_asked_for_only_where_it_alone_would_do(world, judge_of):
    both = judge_of(ALL, obligations=rule("o", '@session("8h") @ceilings("replicas=1")'))
    verdict = ask(world, both, signed_in(world, TEN), working(world, replicas=2))
    assert (verdict.reasons, verdict.not_before) == ((Reason.CEILING_EXCEEDED,), 0)
    aged = judge_of(
        ALL + '@id("young") @refusal("too young") forbid(principal, action, resource)'
        " when { context.authentication has age && context.authentication.age < 60 };",
        obligations=rule("o", '@session("8h")'),
    )
    verdict = ask(world, aged, signed_in(world, TEN))
    assert (verdict.reasons, verdict.not_before) == ((Reason.OBLIGATION_UNMET,), 0)


# ceilings


@pytest.mark.promise("N8")
@pytest.mark.parametrize(
    ("work", "said"),
    [
        ({"replicas": 4, "accelerator_count": 8, "duration": 86400}, ""),
        ({"replicas": 5, "duration": 60}, "it asks for 5 replicas, and 4 are the most"),
        ({"accelerator_count": 9, "duration": 60}, "it asks for 9 accelerators, and 8 are the most"),
        ({"duration": 86401}, "it asks for 86401 seconds of running time, and 86400 are the most"),
        ({"duration": 0}, "it sets no end to its running time, and 86400 seconds are the most"),
    ],
)
def test_work_stays_below_its_ceilings(world, judge_of, work, said):
    judge = judge_of(ALL, obligations=rule("o", '@ceilings("duration=24h, replicas=4, accelerator_count=8")'))
    verdict = ask(world, judge, request=working(world, **work))
    if not said:
        assert verdict.outcome is Outcome.PERMIT
        return
    assert (verdict.outcome, verdict.reasons) == (Outcome.DENY, (Reason.CEILING_EXCEEDED,))
    assert verdict.detail.endswith(said)
    assert verdict.obligations.rules == ("o",)


def test_what_asks_for_no_work_has_no_ceiling(world, judge_of):
    judge = judge_of(ALL, obligations=rule("o", '@ceilings("duration=1s, replicas=0")'))
    assert ask(world, judge).outcome is Outcome.PERMIT


def test_the_ceiling_holds_for_every_operation(world, judge_of):
    text = rule("o", '@ceilings("replicas=1")', 'principal, action in Action::"launch", resource')
    change = replace(world.operation("change", world.project(TEST)), work=Work(replicas=2))
    verdict = ask(
        world,
        judge_of(ALL, obligations=text),
        request=Request((world.operation("launch", world.project(TEST)), change)),
    )
    assert verdict.reasons == (Reason.CEILING_EXCEEDED,)


# approvals


@pytest.mark.parametrize(
    ("needed", "grants", "permitted"),
    [
        (1, [], False),
        (1, [{"approvals": 1}], True),
        (2, [{"approvals": 1}], False),
        (2, [{"approvals": 2}], True),
        (2, [{"approvals": 1}, {"approvals": 1, "identifier": "g-2"}], False),
        (2, [{"approvals": 0, "break_glass": True}], True),
        (2, [{"approvals": 1}, {"approvals": 0, "break_glass": True, "identifier": "g-2"}], True),
        (1, [{"approvals": 0}], False),
        (1, [{"approvals": 9, "project": PROD}], False),
    ],
)
def test_as_many_people_as_are_demanded_have_approved_of_one_grant(world, judge_of, needed, grants, permitted):
    judge = judge_of(ALL, obligations=rule("o", f'@approvals("{needed}")'))
    held = tuple(approved(world, **grant) for grant in grants)
    verdict = ask(world, judge, grants=held)
    assert (verdict.outcome is Outcome.PERMIT) is permitted
    if permitted:
        assert verdict.grants == tuple(grant.id for grant in held)
        return
    assert (verdict.outcome, verdict.reasons) == (Outcome.NEEDS_APPROVAL, (Reason.APPROVAL_REQUIRED,))
    people = "somebody" if needed == 1 else "2 people"
    assert verdict.detail.endswith(f"this needs a grant that {people} approved")
    assert verdict.obligations.approvals == needed


def test_an_approval_is_for_every_question_of_the_request(world, judge_of):
    judge = judge_of(ALL, obligations=rule("o", '@approvals("1")', 'principal, action in Action::"launch", resource'))
    home = world.training(TEST, f"trainer@{TEST}.iam.gserviceaccount.com", TEST)
    assert ask(world, judge, request=home, grants=(approved(world),)).outcome is Outcome.PERMIT
    abroad = world.training(TEST, f"trainer@{PROD}.iam.gserviceaccount.com", PROD)
    verdict = ask(world, judge, request=abroad, grants=(approved(world),))
    # no grant on what it is named by would help, so none is proposed
    assert (verdict.outcome, verdict.reasons) == (Outcome.DENY, (Reason.OBLIGATION_UNMET,))


def test_an_approval_is_asked_for_before_a_sign_in_that_is_missing_too(world, judge_of):
    judge = judge_of(ALL, obligations=rule("o", '@approvals("2") @step_up("c1") @session("8h")'))
    verdict = ask(world, judge)
    assert (verdict.outcome, verdict.obligations.approvals) == (Outcome.NEEDS_APPROVAL, 2)
    assert ask(world, judge, signed_in(world, TEN)).outcome is Outcome.NEEDS_APPROVAL
    held = (approved(world, 2),)
    assert ask(world, judge, grants=held).outcome is Outcome.STEP_UP
    strong = signed_in(world, TEN, contexts=("c1",))
    assert ask(world, judge, strong, grants=held).reasons == (Reason.SIGN_IN_AGAIN,)
    assert ask(world, judge, signed_in(world, contexts=("c1",)), grants=held).outcome is Outcome.PERMIT


def test_a_workload_needs_approvals_and_no_sign_in(world, judge_of):
    robot = replace(
        world.dana(), principal=replace(world.dana().principal, kind=Kind.WORKLOAD), authentication=Authentication()
    )
    judge = judge_of(ALL, obligations=rule("o", '@approvals("1") @session("8h")'))
    assert ask(world, judge, robot).outcome is Outcome.NEEDS_APPROVAL
    assert ask(world, judge, robot, grants=(approved(world),)).outcome is Outcome.PERMIT


def test_every_group_of_actions_can_be_obliged(world, judge_of):
    for group in Group:
        judge = judge_of(
            ALL, obligations=rule("o", '@redact("peer")', f'principal, action in Action::"{group}", resource')
        )
        for other in Group:
            asked = ask(world, judge, request=world.request(str(other), world.project(TEST)))
            assert (asked.obligations.rules == ("o",)) is (other is group)


def test_a_grant_is_sought_behind_a_sign_in_though_no_policy_looks_at_one(world, judge_of):
    """The sign-in permits it, and what an obligation then demands is a grant: both together are what helps."""
    policy = """
        @id("strong")
        permit(principal, action, resource) when { context.authentication.contexts.contains("c1") };
        @id("weak") @refusal("sign in with c1") @step_up("c1")
        forbid(principal, action, resource) unless { context.authentication.contexts.contains("c1") };
    """
    judge = judge_of(policy, obligations=rule("o", '@approvals("1")'))
    request = world.request("use", world.project("contoso-fraud-test"))
    verdict = world.decide(judge, world.dana(), request)
    assert verdict.outcome is Outcome.NEEDS_APPROVAL
    assert verdict.wanted is not None
