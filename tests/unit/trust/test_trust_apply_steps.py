"""What a journal keeps of a step, and how a step is known again."""

import json
import random

import pytest

from remit.model.errors import TrustBroken
from remit.trust.applying.steps import (
    between,
    change_of,
    decoded,
    encoded,
    restored,
    same,
    same_thing,
    thing_of,
    written,
)
from remit.trust.planning.plan import Act, Change
from remit.trust.things import Address, Ref, Text, Thing

APP = Address("entra.application", "remit")
BINDING = Address("google.binding", "b")
REF = Ref(APP, "id")


def value(draw, depth=0):
    """A value of every kind."""
    kinds = [None, True, 7, "text", "$ref", '{"$map": 1}', "ü\n\x00", REF, Text(("a", REF, "b"))]
    if depth < 3 and draw.random() < 0.5:
        parts = [value(draw, depth + 1) for _ in range(draw.randrange(4))]
        return tuple(parts) if draw.random() < 0.5 else {f"${n}": part for n, part in enumerate(parts)}
    return draw.choice(kinds)


def test_every_value_survives_the_journal():
    seed = random.randrange(1 << 30)
    print("seed", seed)
    draw = random.Random(seed)
    for _ in range(500):
        one = value(draw)
        assert decoded(json.loads(json.dumps(encoded(one)))) == one


def test_a_change_survives_the_journal():
    thing = Thing(APP, {"roles": ("A",), "subject": REF, "appId": None}, says="words")
    change = Change(Act.CHANGE, APP, {"roles": ()}, dict(thing.fields), "words", thing, {"id": "1"})
    again = change_of(json.loads(json.dumps(written(change))))
    assert (again.act, again.address, again.before, again.after) == (
        change.act,
        change.address,
        change.before,
        change.after,
    )
    assert again.thing.fields == thing.fields
    gone = Change(Act.REMOVE, APP, {"roles": ()}, None, "", None, {"id": "1"})
    assert change_of(json.loads(json.dumps(written(gone)))) == gone


@pytest.mark.parametrize(
    "text", ['{"$ref": ["a"]}', '{"$odd": 1}', '{"$map": 1, "$ref": 2}', "{}", '{"$text": 3}', '{"$map": [1]}']
)
def test_what_is_no_value_is_refused(text):
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        decoded(json.loads(text))


@pytest.mark.parametrize("value", [REF, Text(("a", REF)), ("a", REF), {"a": (REF,)}])
def test_a_thing_waits_for_its_ids(value):
    change = Change(Act.MAKE, APP, None, {"f": value}, "")
    with pytest.raises(TrustBroken, match=r"`f` of `entra\.application remit` waits for the id of"):
        thing_of(change, {})
    assert "known" in str(thing_of(change, {REF: "known"}).fields)


BEFORE = {"scalar": "old", "list": ("a", "b"), "on": False}
AFTER = {"scalar": "new", "list": ("b", "c"), "on": True}


@pytest.mark.parametrize(
    ("now", "lies"),
    [
        (BEFORE, True),
        (AFTER, True),
        ({**BEFORE, "scalar": "new"}, True),
        ({**BEFORE, "list": ("a", "b", "c")}, True),
        ({**BEFORE, "list": ("b",)}, True),
        ({**AFTER, "list": ("c", "b")}, True),
        ({**BEFORE, "scalar": "theirs"}, False),
        ({**BEFORE, "list": ("a", "c")}, False),
        ({**BEFORE, "list": ("b", "theirs")}, False),
        ({**BEFORE, "list": ()}, False),
        ({**BEFORE, "scalar": None}, False),
        ({**BEFORE, "appId": "x"}, True),
    ],
)
def test_what_lies_between(now, lies):
    assert between(now, BEFORE, AFTER) is lies


def test_order_means_nothing_and_the_rest_everything():
    assert same({"a": ("x", "y")}, {"a": ("y", "x"), "appId": "z"})
    assert not same({"a": ("x", "x")}, {"a": ("x",)})
    assert not same({"a": "1"}, {"a": 1})
    assert not same({}, None)


def test_one_thing_is_known_by_its_address_or_by_its_own_fields():
    fields = {"resource": "r", "role": "x", "member": "m", "condition": None}
    assert same_thing(BINDING, {}, BINDING, fields)
    assert same_thing(BINDING, fields, Address("google.binding", "other"), dict(fields))
    assert not same_thing(BINDING, fields, Address("google.binding", "other"), {**fields, "member": "n"})
    assert not same_thing(BINDING, fields, Address("google.audit", "b"), fields)
    assert not same_thing(APP, {}, Address("entra.application", "other"), {})


def test_what_is_made_again_names_what_was_made_again_before_it():
    old, new = "11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000"
    before = {"member": f"principal://p/{old}", "list": (old,), "map": {"a": old}, "other": "1"}
    change = Change(Act.REMOVE, BINDING, before, None, "")
    assert restored(change, {old: new, "1": "9"}).fields == {
        "member": f"principal://p/{new}",
        "list": (new,),
        "map": {"a": new},
        "other": "9",
    }
    assert restored(change, {"p": "q"}).fields["member"] == before["member"]  # too short to be an id in a text


def test_an_application_is_restored_by_its_app_id():
    change = Change(Act.REMOVE, APP, {"roles": ()}, None, "", None, {"id": "1", "appId": "2"})
    assert restored(change, {}).fields["appId"] == "2"
