"""Facts: what a decision was taken on comes back exactly as it was, and nothing that is off is believed."""

import json
import os
import random
from dataclasses import fields, is_dataclass, replace
from typing import get_type_hints

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from remit.model.decision import Circumstances, Decision, Verdict
from remit.model.errors import Refused
from remit.model.grant import Grant, Wanted
from remit.model.identity import Authentication, Device, Identity, Kind, Principal
from remit.model.names import decision_id
from remit.model.obligation import REDACTABLE, Obligations
from remit.model.operation import Action, Asked, Group, Operation, Request, Resource, Work
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.record import FACTS_LIMIT, decision_record, digest_of, membership_digest
from remit.model.snapshot import SCHEMA, FactsUnreadable, read_facts, write_facts

SEED = int(os.environ.get("REMIT_SEED", random.randrange(2**32)))
print(f"REMIT_SEED={SEED}")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.integers(min_value=0, max_value=2**62)
PLAIN = {
    str: TEXT,
    int: NUMBER,
    bool: st.booleans(),
    frozenset[str]: st.frozensets(TEXT, max_size=2),
    tuple[str, ...]: st.lists(TEXT, max_size=2).map(tuple),
    tuple[tuple[str, str], ...]: st.dictionaries(TEXT, TEXT, max_size=2).map(
        lambda found: tuple(sorted(found.items()))
    ),
}


def built(kind, **known):
    """Any value of a frozen type, with a strategy for every field: one that is new is tried as well."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{each.name: known.get(each.name, of(hints[each.name])) for each in fields(kind)})


def of(hint):
    several = {tuple[Resource, ...]: 1, tuple[Operation, ...]: 1, tuple[Grant, ...]: 0}  # at least so many
    if hint in several:
        return st.lists(of(hint.__args__[0]), min_size=several[hint], max_size=2).map(tuple)
    if hint in {Work | None, Asked | None}:
        return st.none() | of(hint.__args__[0])
    if is_dataclass(hint):
        return built(hint)
    return PLAIN[hint] if hint in PLAIN else st.sampled_from(list(hint))  # an enumeration


DANA = Identity(
    principal=Principal("https://issuer", "tenant", "dana", Kind.PERSON),
    display="Dana",
    groups=frozenset({"g1", "g2"}),
    groups_at=1,
    roles=frozenset({"MLEngineer"}),
    scopes=frozenset({"s"}),
    client="cli",
    authentication=Authentication(frozenset({"pwd"}), frozenset({"c1"}), frozenset({"cp1"}), 5),
    guest=False,
    issued_at=1,
    expires_at=2,
    token_id="uti",
    device=Device("device-7", managed=True),
    address="198.51.100.7",
    attributes=(("repository", "contoso/fraud"),),
)
PROJECT = Resource("Project", "//cloudresourcemanager.googleapis.com/projects/p", "p")
BUCKET = Resource("Bucket", "//storage.googleapis.com/projects/_/buckets/b", "p")
REQUEST = Request(
    (
        Operation(Action("jobs.create", Group.LAUNCH, "jobs.create"), (PROJECT,), "sa@p", Work(replicas=4)),
        Operation(Action("objects.get", Group.USE), (BUCKET,), within="secret/plan.csv"),
        Operation(Action("remit.grants.approve", Group.ADMINISTER), (PROJECT,), asked=Asked("launch", 3600, "t/ada")),
    ),
    lease_key_fields=("name",),
    starts=True,
)
GRANT = Grant("g-1", Wanted("tenant/dana", "launch", PROJECT, 3600, "the incident"), 1, 3601, 2)
AROUND = Circumstances(
    now=1_700_000_000,
    peer="203.0.113.9",
    country="DE",
    locations=frozenset({"hq"}),
    locations_known=True,
    risk="low",
    job="j-1",
    epoch=3,
    grants=(GRANT,),
)
GOLDEN = (
    '{"circumstances":{"country":"DE","epoch":3,"grants":[{"approvals":2,"id":"g-1","since":1,"until":3601,'
    '"wanted":{"action":"launch","because":"the incident","lasting":3600,"principal":"tenant/dana",'
    '"resource":{"name":"//cloudresourcemanager.googleapis.com/projects/p","project":"p","type":"Project"}}}],'
    '"job":"j-1","locations":["hq"],"locations_known":true,"now":1700000000,"peer":"203.0.113.9","risk":"low"},'
    '"identity":{"address":"198.51.100.7","attributes":[["repository","contoso/fraud"]],'
    '"authentication":{"at":5,"capabilities":["cp1"],"contexts":["c1"],"methods":["pwd"]},"client":"cli",'
    '"device":{"id":"device-7","managed":true},"display":"Dana","expires_at":2,"groups_at":1,"issued_at":1,'
    '"principal":{"issuer":"https://issuer","kind":"person","subject":"dana","tenant":"tenant"},"scopes":["s"],'
    '"token_id":"uti"},'
    '"request":{"lease_key_fields":["name"],"operations":['
    '{"action":{"group":"launch","id":"jobs.create","permission":"jobs.create"},"acts_as":"sa@p",'
    '"resources":[{"name":"//cloudresourcemanager.googleapis.com/projects/p","project":"p","type":"Project"}],'
    '"work":{"replicas":4}},'
    '{"action":{"group":"use","id":"objects.get"},'
    '"resources":[{"name":"//storage.googleapis.com/projects/_/buckets/b","project":"p","type":"Bucket"}],'
    '"within":"secret/plan.csv"},'
    '{"action":{"group":"administer","id":"remit.grants.approve"},'
    '"asked":{"action":"launch","by":"t/ada","lasting":3600},'
    '"resources":[{"name":"//cloudresourcemanager.googleapis.com/projects/p","project":"p","type":"Project"}]}],'
    '"starts":true},"schema":"facts/1"}'
)


def read(text, identity=DANA):
    return read_facts(text, identity.groups, identity.roles)


def test_facts_have_one_form():
    """What stands in ledgers: a change of it needs a new schema name, and a reader for this one."""
    assert write_facts(DANA, REQUEST, AROUND) == GOLDEN
    taken = read(GOLDEN)
    assert (taken.identity, taken.request, taken.circumstances) == (DANA, REQUEST, AROUND)


@seed(SEED)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(built(Identity), built(Request), built(Circumstances))
def test_everything_comes_back_as_it_was(identity, request, circumstances):
    text = write_facts(identity, request, circumstances)
    taken = read_facts(text, identity.groups, identity.roles)
    assert (taken.identity, taken.request, taken.circumstances) == (identity, request, circumstances)
    assert write_facts(taken.identity, taken.request, taken.circumstances) == text
    assert json.loads(text)["schema"] == SCHEMA
    assert not {"groups", "roles"} & set(json.loads(text)["identity"])


def test_a_work_that_asks_for_nothing_is_not_no_work():
    for work in (None, Work()):
        request = Request((replace(REQUEST.first, work=work),))
        assert read(write_facts(DANA, request, AROUND)).request == request


def changed(*path, to):
    found = json.loads(GOLDEN)
    place = found
    for step in path[:-1]:
        place = place[step]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


OFF = {
    "empty": "",
    "no JSON": "{",
    "no object": "[]",
    "nested": "[" * 100_000,
    "another schema": changed("schema", to="facts/2"),
    "no schema": changed("schema", to=None),
    "spaces": GOLDEN.replace('":', '": ', 1),
    "a name twice": GOLDEN.replace('"country":"DE"', '"country":"NL","country":"DE"'),
    "an unknown field": changed("circumstances", "trusted", to=True),
    "an unknown part": changed("more", to=1),
    "groups": changed("identity", "groups", to=["g1"]),
    "an empty field": changed("identity", "home", to=""),
    "a list for a set, out of order": changed("circumstances", "locations", to=["z", "a"]),
    "a set with one twice": changed("circumstances", "locations", to=["a", "a"]),
    "a number for a text": changed("circumstances", "country", to=1),
    "a text for a number": changed("circumstances", "now", to="1700000000"),
    "true for a number": changed("circumstances", "now", to=True),
    "one for true": changed("circumstances", "locations_known", to=1),
    "a fraction": changed("circumstances", "now", to=1.5),
    "not a number": GOLDEN.replace("1700000000", "NaN"),
    "null": GOLDEN.replace('"DE"', "null"),
    "a text for a list": changed("circumstances", "locations", to="hq"),
    "a kind that there is not": changed("identity", "principal", "kind", to="robot"),
    "a group that there is not": changed("request", "operations", 0, "action", "group", to="all"),
    "no kind": changed("identity", "principal", "kind", to=None),
    "no operations": changed("request", "operations", to=None),
    "an operation on nothing": changed("request", "operations", 0, "resources", to=None),
    "three parts of a pair": changed("identity", "attributes", to=[["a", "b", "c"]]),
    "an object for a list": changed("request", "operations", to={}),
    "a long number": GOLDEN.replace("1700000000", "9" * 5_000),
    "more after it": GOLDEN + " ",
}


@pytest.mark.parametrize("text", OFF.values(), ids=OFF)
def test_what_is_off_is_not_believed(text):
    with pytest.raises(FactsUnreadable):
        read(text)


@seed(SEED)
@settings(max_examples=200, deadline=None)
@given(st.integers(min_value=0, max_value=len(GOLDEN) - 1), st.characters(exclude_categories=["Cs"]))
def test_a_changed_letter_is_refused_or_means_what_it_says(place, letter):
    text = GOLDEN[:place] + letter + GOLDEN[place + 1 :]
    try:
        taken = read(text)
    except FactsUnreadable:
        return
    assert write_facts(taken.identity, taken.request, taken.circumstances) == text


# the record


def decision(**changes):
    verdict = Verdict(
        Outcome.PERMIT,
        (Reason.POLICY_PERMITS,),
        obligations=Obligations(rules=("two-people",)),
        grants=("g-1",),
        hint="a hint",
    )
    whole = Decision(
        decision_id(1_700_000_000_000_000), 1_700_000_000_000_000, verdict, AROUND, DANA, REQUEST, "GET", "h", "/v1/o"
    )
    return replace(whole, **changes)


def redacting(*names):
    return decision(verdict=replace(decision().verdict, obligations=Obligations(redact=frozenset(names))))


def test_a_record_holds_what_it_takes_to_decide_again():
    entry = decision_record(decision())
    assert entry["facts"] == GOLDEN
    assert entry["membership"] == membership_digest(DANA)
    assert (entry["grants"], entry["obligations"], entry["hint"]) == (["g-1"], ["two-people"], "a hint")
    assert entry["redacted"] == []


def test_a_decision_about_nobody_or_nothing_has_no_facts():
    for less in ({"identity": None}, {"request": None}):
        assert decision_record(decision(**less))["facts"] == ""
    assert decision_record(decision(identity=None))["membership"] == ""


def test_more_facts_than_a_record_has_room_for_are_left_out():
    many = tuple(Resource("Model", f"//aiplatform.googleapis.com/projects/p/models/{n:060}", "p") for n in range(200))
    entry = decision_record(decision(request=Request((Operation(Action("a", Group.USE), many),))))
    assert entry["facts"] == ""
    assert len(entry["resources"]) == 200
    few = decision_record(decision(request=Request((Operation(Action("a", Group.USE), many[:90]),))))
    assert 0 < len(json.dumps(few["facts"])) <= FACTS_LIMIT


def test_a_text_that_no_entry_can_hold_costs_the_facts_and_not_the_record():
    torn = Request((replace(REQUEST.first, within="\ud800"),))
    entry = decision_record(decision(request=torn))
    assert entry["facts"] == ""
    json.dumps(entry, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("peer", ["203.0.113.9", "198.51.100.7"]),
        ("country", ['"DE"', '\\"DE\\"']),
        ("locations", ["hq"]),
        ("name", ["Dana"]),
        ("device", ["device-7", "managed"]),
        ("path", ["/v1/o", "secret/plan.csv"]),
    ],
)
def test_what_is_redacted_stands_nowhere_in_the_record(name, hidden):
    assert name in REDACTABLE
    whole, less = (json.dumps(decision_record(found)) for found in (decision(), redacting(name)))
    assert any(word in whole for word in hidden)
    assert not [word for word in hidden if word in less]
    entry = decision_record(redacting(name))
    assert entry["redacted"] == [name]
    assert (entry["principal"], entry["resource"]) == ("tenant/dana", PROJECT.name)
    read(str(entry["facts"]))  # what is left is well formed


def test_each_field_that_may_be_redacted_is_tried():
    everything = decision_record(redacting(*REDACTABLE))
    assert everything["redacted"] == sorted(REDACTABLE)
    assert [everything[each] for each in ("peer", "country", "locations", "name", "device", "path")] == [
        "",
        "",
        [],
        "",
        "",
        "",
    ]


def test_what_cannot_be_redacted_is_an_error_and_not_a_no_op():
    with pytest.raises(ValueError, match="`principal` cannot be redacted"):
        decision_record(redacting("principal", "peer"))


def test_a_membership_has_one_digest_and_no_other_has_it():
    assert digest_of(["b", "a"], ["r"]) == digest_of(["a", "b"], ["r"])
    assert membership_digest(DANA) == digest_of(DANA.groups, DANA.roles)
    others = [
        ([], []),
        (["a"], []),
        ([], ["a"]),
        (["a", "b"], []),
        (["ab"], []),
        (["a"], ["b"]),
        ([""], []),
        ([], [""]),
    ]
    assert len({digest_of(*each) for each in others}) == len(others)
    assert digest_of(["\ud800"], []) != digest_of(["\ud801"], [])


def test_reading_never_raises_a_refusal():
    assert not issubclass(FactsUnreadable, Refused)
