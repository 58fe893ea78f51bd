"""What is true around a request: sign-in, device, place, risk, and what else was verified of a workload."""

from dataclasses import replace

import pytest

from remit.model.decision import Circumstances
from remit.model.identity import Authentication, Device
from remit.model.operation import INSTALLATION, OWN_ACTIONS, Group, Operation, Request
from remit.model.outcome import Outcome

PERMIT_ALL = '@id("all") permit(principal, action, resource);\n'


def forbid(condition):
    return (
        PERMIT_ALL + f'@id("no") @refusal("not like this") forbid(principal, action, resource) when {{ {condition} }};'
    )


def outcome(world, judge, identity, **circumstances):
    request = world.request("use", world.project("contoso-fraud-test"))
    return judge.decide(identity, request, Circumstances(now=world.now, **circumstances)).outcome


@pytest.mark.parametrize(
    ("condition", "held", "free"),
    [
        ('context has country && context.country == Country::"KP"', {"country": "KP"}, {"country": "DE"}),
        ('!(context has country && context.country == Country::"DE")', {}, {"country": "DE"}),
        ('context.locations.contains("Head office")', {"locations": frozenset({"Head office"})}, {}),
        ('context has risk && context.risk == Risk::"high"', {"risk": "high"}, {"risk": "low"}),
    ],
)
def test_places_and_risk_decide(world, judge_of, condition, held, free):
    judge = judge_of(forbid(condition))
    assert outcome(world, judge, world.dana(), **held) is Outcome.DENY
    assert outcome(world, judge, world.dana(), **free) is Outcome.PERMIT


@pytest.mark.promise("V23")
def test_a_device_must_be_what_the_directory_says_it_is(world, judge_of):
    judge = judge_of(forbid("!context.device.compliant"))
    assert outcome(world, judge, world.dana()) is Outcome.DENY
    own = replace(world.dana(), device=Device("d1", managed=True, compliant=True))
    assert outcome(world, judge, own) is Outcome.PERMIT
    named = judge_of(forbid('context.device has id && context.device.id == "d1"'))
    assert outcome(world, named, own) is Outcome.DENY
    assert outcome(world, named, world.dana()) is Outcome.PERMIT
    office = judge_of(forbid("!context.device.known_network"))
    assert outcome(world, office, own) is Outcome.DENY
    assert outcome(world, office, replace(own, device=Device(known_network=True))) is Outcome.PERMIT


def signed_in(world, at):
    return replace(world.dana(), authentication=Authentication(frozenset({"pwd"}), at=at))


def test_a_sign_in_can_be_too_old_and_an_unknown_age_is_no_young_one(world, judge_of):
    judge = judge_of(forbid("!(context.authentication has age && context.authentication.age < 3600)"))
    assert outcome(world, judge, signed_in(world, world.now - 3599)) is Outcome.PERMIT
    assert outcome(world, judge, signed_in(world, world.now - 3600)) is Outcome.DENY
    assert outcome(world, judge, signed_in(world, world.now + 30)) is Outcome.PERMIT  # a clock that runs ahead
    assert outcome(world, judge, signed_in(world, 0)) is Outcome.DENY


def test_no_challenge_for_an_age_that_completing_it_would_not_change(world, judge_of):
    judge = judge_of(
        PERMIT_ALL + '@id("old") @refusal("too old") @step_up("c1") forbid(principal, action, resource)'
        " unless { context.authentication has age && context.authentication.age < 60 };"
    )
    assert outcome(world, judge, signed_in(world, world.now - 61)) is Outcome.DENY


def test_guests_are_told_apart_by_their_home(world, judge_of):
    judge = judge_of(forbid('context.guest && !(context has home && context.home == "fabrikam")'))
    assert outcome(world, judge, replace(world.gil(), home="fabrikam")) is Outcome.PERMIT
    assert outcome(world, judge, replace(world.gil(), home="adatum")) is Outcome.DENY
    assert outcome(world, judge, world.gil()) is Outcome.DENY


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ((("ref", "refs/heads/main"), ("repository", "contoso/fraud")), Outcome.PERMIT),
        ((("ref", "refs/heads/mine"), ("repository", "contoso/fraud")), Outcome.DENY),
        ((("repository", "contoso/fraud"),), Outcome.DENY),
        ((), Outcome.PERMIT),
    ],
)
def test_contosos_pipelines_launch_from_the_main_branch_only(world, judge, attributes, expected):
    run = replace(world.pipeline(), attributes=attributes)
    verdict = world.decide(judge, run, world.request("launch", world.project("contoso-fraud-test")))
    assert verdict.outcome is expected


def test_what_a_token_says_stays_a_string(world, judge_of):
    judge = judge_of(forbid('principal.hasTag("__entity") && principal.getTag("__entity") == "x"'))
    odd = replace(world.pipeline(), attributes=(("__entity", "x"), ("__extn", "y")))
    assert outcome(world, judge, odd) is Outcome.DENY


@pytest.mark.parametrize("action", OWN_ACTIONS, ids=lambda action: action.id)
def test_security_revokes_and_nobody_else(world, judge, action):
    request = Request((Operation(action, (INSTALLATION,)),))
    decided = {
        name: judge.decide(getattr(world, name)(), request, Circumstances(now=world.now)).outcome
        for name in ("sam", "dana", "ada", "gil", "pipeline")
    }
    assert decided.pop("sam") is Outcome.PERMIT
    assert set(decided.values()) == {Outcome.DENY}
    assert action.group in {Group.ADMINISTER, Group.OBSERVE}


@pytest.mark.parametrize(
    ("circumstances", "sentence"),
    [
        ({"risk": "high"}, "this sign-in is held for risky"),
        ({"locations": frozenset({"Sanctioned countries"})}, "there is no access from this place"),
    ],
)
@pytest.mark.promise("V23")
def test_contosos_conditions_take_away(world, judge, circumstances, sentence):
    request = world.request("launch", world.project("contoso-fraud-test"))
    verdict = judge.decide(world.dana(), request, Circumstances(now=world.now, **circumstances))
    assert verdict.outcome is Outcome.DENY
    assert verdict.detail.endswith(sentence)
    assert verdict.challenge == ""


@pytest.mark.parametrize("action", ["launch", "change"])
def test_contosos_production_rests_on_no_place_that_is_not_known(world, judge, action):
    strong = world.dana(contexts=("c1",), methods=("pwd", "mfa"))
    request = world.request(action, world.project("contoso-fraud-prod"))
    verdict = judge.decide(strong, request, Circumstances(now=world.now))
    assert verdict.outcome is Outcome.DENY
    assert [policy.id for policy in verdict.policies] == ["production-from-known-places"]
    assert judge.decide(strong, request, Circumstances(now=world.now, locations_known=True)).outcome is Outcome.PERMIT
    # it is no second factor that is missing, so none is asked for
    assert judge.decide(world.dana(), request, Circumstances(now=world.now)).challenge == ""
