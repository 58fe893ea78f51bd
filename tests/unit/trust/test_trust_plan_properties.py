"""Whatever a file says: a plan leads there, once, in an order that can be walked. Generated; seeds are printed."""

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from planned_contoso import AUDITOR, ENGINEER, PROJECT, SCIENTIST, SETTINGS, TRAINER, as_found, without

from remit.trust.desired import wanted
from remit.trust.planning import diff
from remit.trust.planning.plan import Act, Plan, Risk, Unsafe
from remit.trust.planning.render import as_json, page
from remit.trust.planning.terraform import terraform
from remit.trust.settings import Account, AzureClient, Role
from remit.trust.things import Address, Found, ids_of, refs, settled


def some(kind):
    """Object ids of one kind: nobody is a group and a person."""
    oids = st.integers(1, 9).map(lambda number: f"{kind}a000000-0000-4000-8000-{number:012}")
    return st.lists(oids, max_size=2, unique=True).map(tuple)


ABOUT = st.text(max_size=12)
GRANTS = st.dictionaries(
    st.sampled_from([f"projects/{PROJECT}", f"buckets/{PROJECT}-data", f"accounts/{TRAINER}"]),
    st.lists(
        st.sampled_from(["roles/aiplatform.user", "roles/logging.viewer", "roles/owner", "roles/storage.objectViewer"]),
        max_size=3,
        unique=True,
    ).map(tuple),
    max_size=3,
)
MEMBERS = st.lists(
    st.sampled_from(["group/okta/engineers", "subject/github/repo:a/b:ref:refs/heads/main", "remit"]),
    max_size=2,
    unique=True,
).map(tuple)
NAMES = ("MLEngineer", "DataScientist", "Security", "Pipeline")


@st.composite
def files(draw):
    """Settings as a file might hold them."""
    roles = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    emails = draw(st.lists(st.sampled_from([ENGINEER, SCIENTIST, AUDITOR, TRAINER]), max_size=4, unique=True))
    clients = draw(st.integers(0, 2))
    return replace(
        SETTINGS,
        roles=tuple(Role(name, draw(some(9)), draw(some(8)), draw(some(7)), draw(ABOUT)) for name in roles),
        accounts=tuple(
            Account(email, _with_policy(draw(GRANTS), policy=draw(st.booleans())), draw(MEMBERS)) for email in emails
        ),
        azure=tuple(
            AzureClient(
                f"{PROJECT}/{NAMES[number]}",
                f"a0000000-0000-4000-8000-0000000000{number:02}",
                tuple(f"remit/{PROJECT}/{name}" for name in draw(st.sets(st.sampled_from(NAMES), max_size=3))),
                ("contosofraudtest/features",),
                write=draw(st.booleans()),
            )
            for number in range(clients)
        ),
        pending={SETTINGS.application: "remit"} if draw(st.booleans()) else {},
    )


def _with_policy(grants, *, policy):
    name = f"projects/{PROJECT}"
    return {**grants, name: (*grants.get(name, ()), "policy")} if policy else grants


def things(of):
    return wanted(of, lambda email, _project: ("aiplatform.models.get", f"aiplatform.{email[0]}.use"))


def carried_out(of: Plan, found, things_):
    """The clouds after a plan, made in its order with only the ids that are known by then."""
    world = {one.address: one for one in found}
    for change in of.changes:
        if change.act is Act.REMOVE:
            del world[change.address]
            continue
        made = settled(change.thing.fields, ids_of(tuple(world.values())))
        assert not [ref for value in made.values() for ref in refs(value)], f"{change.name} waits for an id"
        assert all(need in world for need in change.thing.needs), f"{change.name} needs what is not there"
        own = next(one for one in as_found(things_) if one.address == change.address).ids
        world[change.address] = Found(change.address, made, own)
    return tuple(world.values())


def drifted(found, seed):
    """The clouds after somebody was at them: things gone, changed and put there."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    given_ = {f"entra.principal {name}" for name in ("managed-identity", "microsoft-graph")} | {"azure.identity remit"}
    kept = [one for one in found if str(one.address) in given_ or rng.random() < 0.7]
    changed = [
        replace(one, fields={**one.fields, "disabled": True})
        if "disabled" in one.fields and rng.random() < 0.3
        else one
        for one in kept
    ]
    extra = [
        Found(
            Address("google.binding", f"projects/p roles/viewer user:{number}@x"),
            {"resource": "projects/p", "role": "roles/viewer", "member": f"user:{number}@x", "condition": None},
        )
        for number in range(rng.randrange(4))
    ]
    rng.shuffle(changed)
    return (*changed, *extra)


SLOW = [HealthCheck.too_slow]  # so may a machine be
SETTLED = settings(max_examples=25, deadline=None, print_blob=True, suppress_health_check=SLOW)


def plan(wanted_, found, of, problems=()):
    """As Remit plans where it made whatever is there itself."""
    ours = {given for one in found for given in one.ids.values()}
    return diff.plan(wanted_, found, of, problems=problems, ours=ours)


@pytest.mark.promise("V22")
@SETTLED
@given(files())
def test_a_plan_of_what_is_there_is_empty(of):
    told = plan(things(of), as_found(things(of)), of)
    assert told.empty, (told.problems, [change.name for change in told.changes])


@pytest.mark.promise("V22")
@SETTLED
@given(files(), st.integers(0, 2**32))
def test_what_a_plan_leads_to_has_an_empty_plan(of, seed):
    wanted_ = things(of)
    before = drifted(as_found(wanted_), seed)
    told = plan(wanted_, before, of)
    assert not told.problems
    after = carried_out(told, before, wanted_)
    assert plan(wanted_, after, of).empty
    assert plan(wanted_, tuple(reversed(before)), of) == told, "the order of reading is none of the plan's"


@SETTLED
@given(files(), files(), st.integers(0, 2**32))
def test_from_one_file_to_another(first, second, seed):
    there = as_found(things(first))
    told = plan(things(second), there, second)
    assert plan(things(second), carried_out(told, there, things(second)), second).empty, seed


@SETTLED
@given(files(), st.integers(0, 2**32))
def test_the_order_is_one_that_can_be_walked_and_removals_come_last(of, seed):
    told = plan(things(of), drifted(as_found(things(of)), seed), of)
    acts = [change.act is Act.REMOVE for change in told.changes]
    assert acts == sorted(acts)
    places = {change.address: number for number, change in enumerate(told.changes)}
    for change in told.changes:
        for need in change.thing.needs if change.thing else ():
            assert places.get(need, -1) < places[change.address]


@SETTLED
@given(files(), st.integers(0, 2**32), st.data())
def test_whatever_a_reader_sees_is_in_the_checksum(of, seed, data):
    told = plan(things(of), drifted(as_found(things(of)), seed), of, problems=("a problem",))
    others = [replace(told, problems=()), replace(told, problems=("another",))]
    if told.changes:
        place = data.draw(st.integers(0, len(told.changes) - 1))
        change = told.changes[place]
        unsafe = (*change.unsafe, Unsafe(Risk.WIDENS, "so it is"))
        fields = {**(change.after or change.before or {}), "disabled": "differently"}
        differing = (
            replace(change, says=f"{change.says}."),
            replace(change, unsafe=unsafe),
            replace(change, after=fields),
            replace(change, before=fields),
            replace(change, address=replace(change.address, name=f"{change.address.name} ")),
            replace(change, act=next(act for act in Act if act is not change.act)),
        )
        rest = (told.changes[:place], told.changes[place + 1 :])
        others += [replace(told, changes=(*rest[0], other, *rest[1])) for other in differing]
        others.append(replace(told, changes=told.changes[1:]))
        if len(told.changes) > 1:
            others.append(replace(told, changes=(*told.changes[1:], told.changes[0])))
    sums = [told.checksum, *(other.checksum for other in others)]
    assert len(set(sums)) == len(sums)
    assert told.checksum == plan(things(of), drifted(as_found(things(of)), seed), of, problems=("a problem",)).checksum


@SETTLED
@given(files(), st.integers(0, 2**32), st.text(max_size=30))
def test_every_plan_renders_without_what_a_terminal_obeys(of, seed, text):
    found = drifted(as_found(things(of)), seed)
    member = f"user:{text}"
    fields = {
        "resource": f"projects/{text}",
        "role": text,
        "member": member,
        "condition": {"title": text, "expression": text},
    }
    strange = Found(Address("google.binding", f"projects/{text} {text} {member}"), fields)
    told = plan(things(of), (*found, strange), of, problems=(text,))
    for line in page(told, [change.name for change in told.changes[:1]]):
        assert line.text.isprintable()
    assert as_json(told)["checksum"] == told.checksum


@SETTLED
@given(files())
def test_terraform_is_told_of_every_file(of):
    hcl = terraform(things(of), as_found(things(of)))
    made = sum(not thing.given for thing in things(of))
    assert hcl.count('\nresource "') == made + 2


def test_what_is_gone_is_made_again_and_nothing_else():
    of = SETTINGS
    there = as_found(things(of))
    gone = f"accounts/{AUDITOR} roles/iam.workloadIdentityUser remit"
    told = plan(things(of), without(there, gone), of)
    assert [(change.act, change.address.name) for change in told.changes] == [(Act.MAKE, gone)]
    assert not [ref for value in told.changes[0].after.values() for ref in refs(value)]
