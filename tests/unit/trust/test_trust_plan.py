"""The difference between what is wanted and what is there: matching, order, problems."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from planned_contoso import (
    ADMINISTRATOR,
    FOUND,
    PROJECT,
    SETTINGS,
    TENANT,
    WANTED,
    as_found,
    without,
)

from remit.model.errors import TrustBroken
from remit.trust.planning.diff import plan
from remit.trust.planning.matching import matched
from remit.trust.planning.plan import Act, Plan
from remit.trust.planning.reading import read
from remit.trust.things import Address, Found, Ref, Text, Thing

A, B, C = (Address("google.account", f"{name}@p.iam.gserviceaccount.com") for name in "abc")


def thing(address, fields=None, needs=(), **more):
    return Thing(address, fields or {"disabled": False}, needs, **more)


def acts(of: Plan):
    return [(change.act, change.name) for change in of.changes]


def test_nothing_differs_nothing_is_to_be_done():
    assert plan(WANTED, FOUND, SETTINGS).empty
    assert plan(tuple(reversed(WANTED)), tuple(reversed(FOUND)), SETTINGS).empty


def test_a_first_plan_makes_everything_behind_what_it_needs():
    first = plan(WANTED, as_found([thing for thing in WANTED if thing.given]), SETTINGS)
    assert len(first.changes) == len([thing for thing in WANTED if not thing.given])
    places = {change.address: number for number, change in enumerate(first.changes)}
    for change in first.changes:
        assert change.thing
        for other in (*change.thing.needs, *(ref.of for ref in _refs(change.thing))):
            assert places.get(other, -1) < places[change.address], f"{change.name} before {other}"


def _refs(of: Thing):
    for value in of.fields.values():
        for part in value if isinstance(value, tuple) else value.parts if isinstance(value, Text) else (value,):
            if isinstance(part, Ref):
                yield part


def test_removals_come_last_and_what_others_are_built_on_last_of_all():
    emptied = plan((), without(FOUND, "managed-identity", "microsoft-graph"), replace(SETTINGS, administrators=()))
    kinds = [change.address.kind for change in emptied.changes]
    assert {change.act for change in emptied.changes} == {Act.REMOVE}
    assert kinds.index("google.provider") < kinds.index("google.pool")
    assert kinds.index("google.binding") < kinds.index("google.account")
    assert kinds.index("entra.principal") < kinds.index("entra.application")
    mixed = plan((thing(A),), (Found(B, {"disabled": False}),), SETTINGS)
    assert acts(mixed) == [(Act.MAKE, str(A)), (Act.REMOVE, str(B))]


def test_one_is_known_by_its_identity_and_not_by_its_name():
    fields = {"application": "remit", "issuer": "https://i", "subject": "s", "audience": "a"}
    wanted = thing(Address("entra.federation", "remit/new-name"), fields)
    assert plan((wanted,), (Found(Address("entra.federation", "remit/old-name"), fields),), SETTINGS).empty


def test_the_identity_of_a_credential_or_binding_is_changed_in_place():
    """Entra refuses a second credential of one name, and a binding's condition goes with one write of the policy."""
    address = Address("entra.federation", "remit/one")
    fields = {"application": "remit", "issuer": "https://i", "subject": "s", "audience": "a"}
    changed = plan((thing(address, fields),), (Found(address, {**fields, "subject": "other"}),), SETTINGS)
    assert acts(changed) == [(Act.CHANGE, str(address))]
    address = Address("google.binding", "projects/p roles/viewer user:a")
    fields = {"resource": "projects/p", "role": "roles/viewer", "member": "user:a", "condition": None}
    conditioned = Found(address, {**fields, "condition": {"title": "t", "expression": "false"}})
    assert acts(plan((thing(address, fields),), (conditioned,), SETTINGS)) == [(Act.CHANGE, str(address))]


def test_references_are_known_by_what_was_found():
    app, principal = Address("entra.application", "x"), Address("entra.principal", "x")
    wanted = (thing(app, {"displayName": "x"}), thing(principal, {"application": Ref(app, "appId"), "enabled": True}))
    found = (
        Found(app, {"displayName": "x"}, {"appId": "1"}),
        Found(principal, {"application": "2", "enabled": True}, {"id": "3"}),
    )
    (change,) = plan(wanted, found, SETTINGS).changes
    assert change.after == {"application": "1", "enabled": True}
    assert change.before == {"application": "2", "enabled": True}
    assert change.ids == {"id": "3"}


def test_lists_are_the_same_in_any_order_and_what_is_known_only_to_the_cloud_counts():
    address = Address("google.audit", "p s")
    fields = {"project": "p", "service": "s", "logTypes": ("A", "B")}
    same = Found(address, {**fields, "logTypes": ("B", "A"), "exemptedMembers": ()})
    assert plan((thing(address, fields),), (same,), SETTINGS).empty
    exempted = Found(address, {**fields, "exemptedMembers": ("user:eve",)})
    assert acts(plan((thing(address, fields),), (exempted,), SETTINGS)) == [(Act.CHANGE, str(address))]


def test_ids_that_entra_gives_and_keys_that_the_arbiter_renews_are_not_compared():
    application = next(one for one in FOUND if one.address == Address("entra.application", "remit-google"))
    there = replace(application, fields={**application.fields, "appId": "anything"})
    provider = next(one for one in FOUND if one.address.name.endswith("/providers/remit"))
    renewed = replace(provider, fields={**provider.fields, "jwksJson": '{"keys": [1]}'})
    found = (*without(FOUND, "remit-google", provider.address.name), there, renewed)
    principals = next(one for one in FOUND if one.address == Address("entra.principal", "remit-google"))
    assert plan(WANTED, (*found, principals), SETTINGS).empty


def test_bindings_of_administrators_and_of_those_apart_stay():
    role = {"resource": f"projects/{PROJECT}", "role": "roles/owner", "condition": None}
    found = [
        Found(Address("google.binding", f"x {who}"), {**role, "member": who})
        for who in (ADMINISTRATOR, "group:sre@contoso.example", "user:eve@contoso.example")
    ]
    settings = replace(SETTINGS, apart=("group:sre@contoso.example",))
    (change,) = plan(WANTED, (*FOUND, *found), settings).changes
    assert change.address.name == "x user:eve@contoso.example"


@pytest.mark.parametrize(
    ("wanted", "found", "settings", "said"),
    [
        ((thing(A, given=True),), (), SETTINGS, f"`{A}` is not there, and is not Remit's to make"),
        ((thing(A), thing(A)), (), SETTINGS, f"`{A}` is wanted twice"),
        ((thing(A, needs=(B,)),), (), SETTINGS, f"`{A}` needs `{B}`, which nobody makes"),
        ((thing(A, {"x": Ref(B, "id")}),), (), SETTINGS, f"`{A}` needs `{B}`, which nobody makes"),
        ((thing(A, needs=(B,)), thing(B, needs=(A,))), (), SETTINGS, f"these wait for each other: `{A}`, `{B}`"),
        ((), (), replace(SETTINGS, roles=()), "no role stands under `trust.roles`"),
        (
            tuple(
                thing(
                    Address("google.binding", name),
                    {"resource": "projects/p", "role": "r", "member": "user:a", "condition": None},
                )
                for name in ("one", "two")
            ),
            (),
            SETTINGS,
            "`google.binding one` and `google.binding two` are the same",
        ),
    ],
)
def test_problems_are_told_and_nothing_can_be_applied(wanted, found, settings, said):
    told = plan(wanted, found, settings)
    assert any(problem.startswith(said) for problem in told.problems), told.problems
    assert not told.empty


def test_what_is_known_to_be_wrong_already_is_a_problem_of_the_plan():
    assert plan(WANTED, FOUND, SETTINGS, problems=("too long",)).problems == ("too long",)


def test_what_is_given_is_never_changed_or_removed():
    found = (Found(A, {"disabled": True}, {"email": A.name}),)
    assert plan((thing(A, given=True),), found, SETTINGS).empty


def test_a_given_account_that_is_there_serves_as_what_others_need():
    wanted = (thing(A, given=True), thing(B, needs=(A,)))
    assert acts(plan(wanted, (Found(A, {}),), SETTINGS)) == [(Act.MAKE, str(B))]


def test_matching_says_what_is_there_for_each():
    match = matched((thing(A), thing(B)), (Found(B, {}), Found(C, {})))
    assert [(one.address, found and found.address) for one, found in match.pairs] == [(A, None), (B, B)]
    assert [one.address for one in match.rest] == [C]


class Holding:
    """A cloud that answers what it was given, and remembers what it was asked."""

    def __init__(self, name, found=(), error=None):
        self.name = name
        self.found = tuple(found)
        self.error = error
        self.asked = ()

    async def read(self, wanted):
        self.asked = tuple(wanted)
        if self.error:
            raise self.error
        return self.found


def by_cloud(**errors):
    return [
        Holding(name, (one for one in FOUND if one.address.cloud == name), errors.get(name))
        for name in ("azure", "google", "entra")
    ]


def test_clouds_are_read_one_after_the_other_with_the_ids_of_those_before():
    azure, google, entra = clouds = by_cloud()
    found = asyncio.run(read(clouds, WANTED))
    assert {one.address for one in found} == {one.address for one in FOUND}
    assert [one.address.cloud for one in found] == sorted(
        (one.address.cloud for one in found), key=["entra", "google", "azure"].index
    )
    asked = [thing for thing in azure.asked if not thing.given]
    assert all(isinstance(thing.fields["principal"], str) for thing in asked)
    member = next(thing for thing in google.asked if thing.address.name.endswith(" remit"))
    assert str(member.fields["member"]).startswith("principal://iam.googleapis.com/")
    assert f"/subject/{TENANT}/" in str(member.fields["member"])
    assert "<" not in str(member.fields["member"])
    assert any(list(_refs(thing)) for thing in entra.asked)


@pytest.mark.parametrize("name", ["entra", "google", "azure"])
def test_one_cloud_that_fails_fails_the_reading_and_is_named(name):
    error = TrustBroken("`GET x` answered 403", hint="sign in")
    with pytest.raises(TrustBroken, match=f"^{name} could not be read: `GET x` answered 403") as caught:
        asyncio.run(read(by_cloud(**{name: error}), WANTED))
    assert caught.value.hint == "sign in"


def test_a_cloud_that_nobody_reads_is_no_empty_cloud():
    with pytest.raises(TrustBroken, match="nobody reads `azure`"):
        asyncio.run(read(by_cloud()[1:], WANTED))


def test_a_cloud_cannot_answer_for_another():
    liar = Holding("azure", (Found(A, {}),))
    with pytest.raises(TrustBroken, match="azure answered with"):
        asyncio.run(read([liar, *by_cloud()[1:]], WANTED))


def test_an_application_that_was_there_first_is_nobodys_but_its_makers():
    """Whoever registers `remit-remit` before the first apply stays its owner, and could give it a secret."""
    address = Address("entra.application", "remit")
    fields = {"appId": None, "displayName": "Remit", "public": False}
    wanted = [Thing(address, fields)]
    squatted = [Found(address, {"displayName": "Remit", "public": False}, {"id": "o", "appId": "a-1"})]
    first = plan(wanted, squatted, SETTINGS)
    assert any("there already where `app:remit` would be made" in said for said in first.problems)
    assert not first.empty
    for ours in ({"a-1"}, {str(address)}):
        assert plan(wanted, squatted, SETTINGS, ours=ours).empty, "made here, by an apply that a journal tells of"
    pinned = [Thing(address, {**fields, "appId": "a-1"})]
    assert plan(pinned, squatted, SETTINGS).empty
