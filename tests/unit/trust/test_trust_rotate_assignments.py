"""Assignments: their states, and the two changes to the file that follow of them."""

import datetime as dt
import random
from pathlib import Path

import pytest
import yaml

from remit.model.errors import TrustBroken
from remit.model.estate import Estate
from remit.trust.rotating.assignments import Record, State, Use, assignments
from remit.trust.rotating.edits import removed, renewed
from remit.trust.settings import Account, AzureClient, Mapping, Role, TrustSettings

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso" / "remit.yaml"
DAY = 86_400.0
NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC).timestamp()
ACCOUNT = "a@p.iam.gserviceaccount.com"
NONE = frozenset[str]()


def trust(**changes: str) -> TrustSettings:
    role = Role("ML", ("group",), ("dana",), ("pipe",), **{"owner": "o@c", "expires": "2027-01-01", **changes})
    account = Account(ACCOUNT, {}, ("group/group", "subject/t/pipe", "remit"), owner="o@c")
    return TrustSettings(
        issuer="i",
        tenant="t",
        application="app",
        provider="//iam.googleapis.com/p/providers/x",
        reviewer="",
        mappings=(Mapping("ML", "p", ACCOUNT),),
        estate=Estate(()),
        roles=(role,),
        accounts=(account,),
        azure=(AzureClient("p/ML", "c", (), ("s/c",), write=False),),
    )


def states(settings: TrustSettings, record: Record) -> dict[str, State]:
    return {one.name: one.state for one in assignments(settings, record, NOW, 90 * DAY)}


DANA = Use("t/dana", frozenset({"group"}), frozenset({"ML"}), {"": NOW - DAY, "p": NOW - DAY})
LONG = NOW - 400 * DAY


@pytest.mark.promise("T9")
def test_the_last_use_is_everybodys_who_is_meant() -> None:
    assert states(trust(), Record((DANA,), LONG)) == {
        "ML/group": State.USED,
        "ML/dana": State.USED,
        "ML/pipe": State.UNUSED,
        f"{ACCOUNT}/group/group": State.USED,
        f"{ACCOUNT}/subject/t/pipe": State.UNUSED,
        f"{ACCOUNT}/remit": State.UNKNOWN,
        "p/ML/s/c": State.USED,
    }


@pytest.mark.promise("T9")
def test_nothing_is_called_unused_without_a_record_that_would_know() -> None:
    assert set(states(trust(), Record()).values()) == {State.UNKNOWN}
    assert set(states(trust(), Record((), NOW - 89 * DAY)).values()) == {State.UNKNOWN}
    young = states(trust(), Record((), NOW - 91 * DAY))
    assert set(young.values()) == {State.UNUSED, State.UNKNOWN}
    stranger = Use("t/who", NONE, NONE, {"": NOW - DAY, "p": NOW - DAY})
    partly = states(trust(), Record((stranger,), LONG, whole=False))
    assert (partly["ML/group"], partly["ML/dana"]) == (State.UNKNOWN, State.UNUSED)


def test_another_project_is_no_use_of_an_account() -> None:
    elsewhere = Use("t/dana", frozenset({"group"}), frozenset({"ML"}), {"": NOW, "q": NOW})
    found = states(trust(), Record((elsewhere,), LONG))
    assert (found["ML/group"], found[f"{ACCOUNT}/group/group"]) == (State.USED, State.UNUSED)


@pytest.mark.promise("T9")
@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, State.USED),
        ({"expires": "2026-11-22"}, State.USED),
        ({"expires": "2026-11-21"}, State.EXPIRED),
        ({"expires": "", "owner": ""}, State.UNOWNED),
        ({"expires": "2026-01-01", "owner": ""}, State.EXPIRED),
    ],
)
def test_owner_and_expiry(changes: dict[str, str], state: State) -> None:
    assert states(trust(**changes), Record((DANA,), LONG))["ML/dana"] is state


def test_every_holder_of_the_example_can_be_removed_and_nothing_else_changes() -> None:
    text = EXAMPLE.read_text()
    value = yaml.safe_load(text)
    before = text.splitlines()
    count = 0
    for section, keys in (("roles", ("groups", "people", "workloads")), ("accounts", ("members",))):
        for under, found in value["trust"][section].items():
            for key in keys:
                for holder in found.get(key, ()):
                    if key == "members" and len(found[key]) == 1:
                        with pytest.raises(TrustBroken, match="could become"):
                            removed(text, f"{under}/{holder}")
                        continue
                    after = removed(text, f"{under}/{holder}").splitlines()
                    assert len(before) - len(after) in {0, 1}
                    count += 1
    assert count > 20


def test_every_role_and_account_of_the_example_can_be_renewed() -> None:
    text = EXAMPLE.read_text()
    value = yaml.safe_load(text)["trust"]
    for under in (*value["roles"], *value["accounts"]):
        after = renewed(text, under, "2030-01-31")
        section = "accounts" if "@" in under else "roles"
        assert yaml.safe_load(after)["trust"][section][under]["expires"] == dt.date(2030, 1, 31)
        assert len(after.splitlines()) - len(text.splitlines()) == (0 if "expires" in value[section][under] else 1)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("[a, b, c]", "[a, c]"),
        ("[b]  # only", "[]  # only"),
        ("[ 'b', c ]", "[ c ]"),
        ("\n      - a # one\n      - b # two\n      - c", "\n      - a # one\n      - c"),
        ("\n      - b # two", " []"),
        ("\n        - b\n        - c", "\n        - c"),
    ],
)
def test_a_holder_less(text: str, after: str) -> None:
    file = "trust:\n  roles:\n    R: # role\n      owner: x\n      groups: [b2]\n      people:%s\n      about: z\n"
    spaced = [f" {each}" if each[0] not in "\n " else each for each in (text, after)]
    assert removed(file % spaced[0], "R/b") == file % spaced[1]


@pytest.mark.parametrize("name", ["R", "R/", "R/zz", "S/a", "a@b/c", "/", ""])
def test_what_is_not_there_is_not_removed(name: str) -> None:
    with pytest.raises(TrustBroken, match="no assignment"):
        removed("trust:\n  roles:\n    R: {people: [a]}\n", name)


def test_a_flow_mapping_is_renewed() -> None:
    assert renewed("trust: {roles: {R: {people: [a]}}}", "R", "2030-01-01") == (
        "trust: {roles: {R: {expires: 2030-01-01, people: [a]}}}"
    )
    assert renewed('trust: {roles: {R: {expires: "2029-01-01"}}}', "R", "2030-01-01") == (
        "trust: {roles: {R: {expires: 2030-01-01}}}"
    )
    with pytest.raises(TrustBroken, match="no role"):
        renewed("trust: {roles: {R: {}}}", "S", "2030-01-01")


def test_random_files_change_in_one_place_or_not_at_all() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    for _ in range(100):
        people = dice.sample("abcdefgh", dice.randint(1, 6))
        flow = dice.choice([True, False])
        made = {"trust": {"roles": {"R": {"people": people, "about": "x"}, "S": {"people": [*people]}}}}
        text = yaml.safe_dump(made, default_flow_style=flow, sort_keys=dice.choice([True, False]))
        gone = dice.choice(people)
        found = yaml.safe_load(removed(text, f"R/{gone}"))
        assert found["trust"]["roles"]["S"]["people"] == people
        assert found["trust"]["roles"]["R"]["people"] == [one for one in people if one != gone]
