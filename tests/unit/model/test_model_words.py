"""The words: secrets that cannot print, names that sort, reasons that are complete, records that are flat."""

import copy
import itertools
import json
import pickle
import random
import re
import secrets
import traceback
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.model.credential import Credential
from remit.model.decision import Circumstances, Decision, DeterminingPolicy, Verdict
from remit.model.errors import (
    EvidenceBroken,
    HopFailed,
    NotRecorded,
    NotSignedIn,
    Problem,
    Refused,
    RemitError,
    SettingsInvalid,
    TrustBroken,
)
from remit.model.estate import Database, Estate, Project, Service, ServiceKind
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.names import decided_at, decision_id
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.record import decision_record, outcome_record
from remit.model.secret import AccessToken, Secret, UnverifiedToken
from remit.model.wire import WireRequest

HIDDEN = "ya29.hidden-value"
RESOURCE = Resource("Project", "//cloudresourcemanager.googleapis.com/projects/p", "p")
SEED = secrets.randbits(32)
REQUEST = Request((Operation(Action("launch", Group.LAUNCH), (RESOURCE,), "trainer@p"),))
IDENTITY = Identity(
    principal=Principal("https://issuer", "tenant", "dana", Kind.PERSON),
    display="Dana",
    groups=frozenset({"g2", "g1"}),
    groups_at=1,
    roles=frozenset({"MLEngineer"}),
    scopes=frozenset(),
    client="cli",
    authentication=Authentication(frozenset({"pwd", "mfa"}), frozenset({"c1"})),
    guest=False,
    issued_at=1,
    expires_at=2,
    token_id="uti",
)
DECISION = Decision(
    id=decision_id(1_700_000_000_000_000),
    at=1_700_000_000_000_000,
    verdict=Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,), (DeterminingPolicy("p1", "permit", (("advice", "a"),)),)),
    circumstances=Circumstances(now=1_700_000_000, peer="10.0.0.1"),
    identity=IDENTITY,
    request=REQUEST,
    wire_method="POST",
    wire_host="h",
    wire_path="/v1/x",
    account="sa@p",
)


@pytest.mark.parametrize("kind", [Secret, AccessToken, UnverifiedToken])
def test_a_secret_shows_in_no_form_of_text(kind):
    secret = kind(HIDDEN)
    held = Credential(AccessToken(HIDDEN), 1, "a", ())
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>40}",
        "{} {!r}".format(secret, secret),  # noqa: UP032 - this form too
        repr(held),
        str([held]),
    ]
    assert not any(HIDDEN in text for text in shown)
    assert secret.reveal() == HIDDEN
    assert HIDDEN not in secret.digest()
    assert len(secret.digest()) == 64


def test_a_secret_is_never_copied_out():
    secret = AccessToken(HIDDEN)
    for copier in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps, asdict_of):
        with pytest.raises(TypeError) as caught:
            copier(secret)
        assert HIDDEN not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(AttributeError):
        secret.other = 1  # no dictionary to look into
    assert not hasattr(secret, "__dict__")


def asdict_of(secret):
    return asdict(Credential(secret, 1, "a", ()))


def test_secrets_are_equal_by_kind_and_value():
    assert AccessToken("a") == AccessToken("a")
    assert AccessToken("a") != AccessToken("b")
    assert AccessToken("a") != UnverifiedToken("a")
    assert AccessToken("a") != "a"
    assert len({AccessToken("a"), AccessToken("a"), UnverifiedToken("a")}) == 2
    assert Secret("\ud800").digest()  # what no encoding knows is hashed all the same


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_a_status_and_an_outcome(reason):
    sentence = reason.sentence
    assert sentence[0].islower()
    assert not sentence.endswith(".")
    assert "\n" not in sentence
    assert reason.http_status in ({200} if reason is Reason.POLICY_PERMITS else {400, 401, 403, 503})
    assert (reason.outcome is Outcome.PERMIT) == (reason is Reason.POLICY_PERMITS)
    assert re.fullmatch(r"[a-z_]+", reason.value)


def test_tokens_are_401_and_what_is_down_is_503():
    assert {reason for reason in Reason if reason.http_status == 401} == {
        reason for reason in Reason if reason.name.startswith("TOKEN_")
    } | {Reason.SESSION_ENDED, Reason.SIGN_IN_AGAIN}
    assert {reason for reason in Reason if reason.name.endswith("UNAVAILABLE")} < {
        reason for reason in Reason if reason.http_status == 503
    }
    assert Reason.STEP_UP_REQUIRED.outcome is Outcome.STEP_UP
    assert Reason.APPROVAL_REQUIRED.outcome is Outcome.NEEDS_APPROVAL


@pytest.mark.parametrize("kind", [NotRecorded, NotSignedIn, TrustBroken, EvidenceBroken])
def test_errors_are_one_tree(kind):
    error = kind("what happened", hint="what to do")
    assert isinstance(error, RemitError)
    assert (error.message, error.hint, str(error)) == ("what happened", "what to do", "what happened")


def test_a_refusal_says_its_reason_s_sentence_unless_it_knows_better():
    assert Refused(Reason.TOKEN_EXPIRED).message == Reason.TOKEN_EXPIRED.sentence
    failed = HopFailed("azure-imds", Reason.EXCHANGE_UNAVAILABLE, "did not answer", hint="wait")
    assert (failed.hop, failed.reason, failed.message, failed.hint) == (
        "azure-imds",
        Reason.EXCHANGE_UNAVAILABLE,
        "did not answer",
        "wait",
    )
    assert isinstance(failed, Refused)


def test_problems_are_all_told_with_their_places():
    error = SettingsInvalid((Problem("a.yaml", 3, 5, "x"), Problem("a.yaml", 0, 0, "y")), hint="h")
    assert error.message == "a.yaml:3:5: x\na.yaml: y"
    assert len(error.problems) == 2


def test_what_is_wrong_alike_in_many_places_is_told_once():
    alike = tuple(Problem("a.yaml", line, 1, "x") for line in range(1, 5))
    other = Problem("b.yaml", 9, 1, "y")
    error = SettingsInvalid((alike[0], other, *alike[1:]))
    assert error.message == "a.yaml:1:1: x; the same at 3 more places\nb.yaml:9:1: y"
    assert len(error.problems) == 5
    assert SettingsInvalid(alike[:3]).message == "a.yaml:1:1: x\na.yaml:2:1: x\na.yaml:3:1: x"


@given(st.integers(min_value=0, max_value=(1 << 48) * 1000 - 1))
def test_a_decision_s_name_holds_its_millisecond(at):
    name = decision_id(at)
    assert re.fullmatch(r"d-[0-9a-hjkmnp-tv-z]{26}", name)
    assert decided_at(name) == at // 1000


def test_names_sort_by_time_and_are_unique():
    first, second = decision_id(1_000_000), decision_id(2_000_000)
    assert first < second
    assert len({decision_id(1) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "garbage", ["", "d-", "x-" + "0" * 26, "d-" + "0" * 25, "d-" + "0" * 27, "d-" + "u" * 26, "0" * 26]
)
def test_what_is_no_name_has_no_time(garbage):
    assert decided_at(garbage) is None


@given(st.text(max_size=40))
def test_no_text_at_all_breaks_the_reading_of_a_name(text):
    assert decided_at("d-" + text) is None or len(text) == 26


def test_a_record_is_flat_and_holds_no_token():
    for decision in (DECISION, replace(DECISION, identity=None, request=None)):
        entry = decision_record(decision)
        for value in entry.values():
            assert isinstance(value, str | int) or all(isinstance(item, str) for item in value)
        assert json.loads(json.dumps(entry)) == entry
    entry = decision_record(DECISION)
    assert entry["principal"] == "tenant/dana"
    assert entry["amr"] == ["mfa", "pwd"]
    assert entry["acts_as"] == ["trainer@p"]
    assert entry["policies"] == ["p1"]
    assert "token" not in json.dumps(entry).replace("token_id", "")
    assert decision_record(replace(DECISION, identity=None))["principal"] == ""


def test_an_outcome_names_its_decision_and_hop():
    entry = outcome_record(DECISION, 5, "google-sts", Reason.EXCHANGE_REFUSED, "said no")
    assert (entry["decision"], entry["hop"], entry["reason"], entry["at"]) == (
        DECISION.id,
        "google-sts",
        "exchange_refused",
        5,
    )


def test_only_a_permit_is_permitted():
    for outcome in Outcome:
        decision = replace(DECISION, verdict=replace(DECISION.verdict, outcome=outcome))
        assert decision.permitted == (outcome is Outcome.PERMIT)
    assert DECISION.verdict.policies[0].annotation("advice") == "a"
    assert DECISION.verdict.policies[0].annotation("none") == ""


def test_empty_is_never_valid():
    with pytest.raises(ValueError, match="at least one resource"):
        Operation(Action("a", Group.USE), ())
    with pytest.raises(ValueError, match="at least one operation"):
        Request(())
    assert REQUEST.first.resources == (RESOURCE,)


def test_the_estate_knows_what_belongs_where_and_nothing_else():
    project = Project("p", "123456", "test", ("us-central1",), ("b",), ("sa@p",))
    estate = Estate((project,))
    assert estate.project("p") is estate.project("123456") is project
    assert estate.owner_of_bucket("b") is estate.owner_of_account("sa@p") is project
    assert estate.project("q") is estate.owner_of_bucket("p") is estate.owner_of_account("b") is None


def test_a_repeated_header_has_no_single_value():
    wire = WireRequest(
        None, "GET", "h", "/", (("a", "1"), ("b", "1"), ("b", "2"), ("content-type", "application/grpc+proto"))
    )
    assert (wire.header("a"), wire.header("none")) == ("1", "")
    with pytest.raises(ValueError, match="`b` is repeated"):
        wire.header("b")
    assert wire.grpc
    assert not replace(wire, headers=()).grpc


def test_the_estate_looks_up_as_if_it_read_on_from_the_first():
    chance, number = random.Random(SEED), itertools.count()
    print(f"seed {SEED}")
    words = [f"w{each}" for each in range(12)]

    def some():
        return tuple(chance.sample(words, chance.randrange(4)))

    for _ in range(200):
        estate = Estate(
            tuple(
                Project(chance.choice(words), chance.choice(words), "test", (), some(), some(), some())
                for _ in range(chance.randrange(6))
            ),
            tuple(Service(chance.choice(words), "p", ServiceKind.WEB, f"{next(number)}") for _ in range(4)),
            databases=tuple(Database(chance.choice(words), "p", some()) for _ in range(4)),
        )
        assert estate == pickle.loads(pickle.dumps(estate))  # noqa: S301 - worker processes get it so
        agents = [each for project in estate.projects for each in project.agents]
        for name in (*words, *agents, *(f"{word}.service" for word in words), ""):
            projects = estate.projects
            found = (
                (estate.project(name), [each for each in projects if name in {each.id, each.number}]),
                (estate.owner_of_bucket(name), [each for each in projects if name in each.buckets]),
                (estate.owner_of_container(name), [each for each in projects if name in each.containers]),
                (estate.owner_of_account(name), [each for each in projects if name in (*each.accounts, *each.agents)]),
                (estate.service(name), [each for each in estate.services if name == each.known_as]),
                (estate.database(name), [each for each in estate.databases if name == each.name]),
            )
            for known, all_ in found:
                assert known is (all_[0] if all_ else None)
