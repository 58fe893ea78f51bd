"""Prefixes: a role below one in a bucket or a container, from the file to the clouds and back, and what defeats it."""

import random
from dataclasses import replace

import pytest
from tests.unit.trust.drifting_lab import Hands, World
from tests.unit.trust.planned_contoso import ENGINEER, PROJECT, SCIENTIST, SETTINGS, as_found, permitted
from tests.unit.trust.verified_contoso import House

from remit.assembly import trust_drift
from remit.lab import contoso_azure
from remit.model.errors import TrustBroken
from remit.model.prefixes import LONGEST
from remit.trust.beginning.complete import completed
from remit.trust.desired import wanted
from remit.trust.drifting.adoption import adoption
from remit.trust.drifting.drift import Side as Happened
from remit.trust.drifting.drift import drifts
from remit.trust.planning.diff import plan
from remit.trust.planning.gcloud import gcloud
from remit.trust.planning.matching import matched
from remit.trust.planning.plan import Act, Risk
from remit.trust.planning.render import render
from remit.trust.planning.terraform import terraform
from remit.trust.prefixes import (
    READER,
    WRITER,
    azure_condition,
    azure_prefixes,
    below,
    google_condition,
    google_prefix,
    wider_than,
)
from remit.trust.settings import Account
from remit.trust.things import Address, Found
from remit.trust.verifying.bindings import absent
from remit.trust.verifying.compare import Line, Side, disagreements
from remit.trust.verifying.compare import below as part_of
from remit.trust.verifying.containers import container_findings
from remit.trust.verifying.wants import Wants

BUCKET, VIEWER, ADMIN = f"{PROJECT}-data", "roles/storage.objectViewer", "roles/storage.objectAdmin"
SCOPE = (
    "/subscriptions/5b000000-0000-4000-8000-000000000001/resourceGroups/contoso-ml/providers/Microsoft.Storage"
    "/storageAccounts/contosofraudtest/blobServices/default/containers/features"
)
BOUND = Address("google.binding", f"buckets/{BUCKET}/features/ {VIEWER} serviceAccount:{SCIENTIST}")
ASSIGNED = Address("azure.assignment", f"{SCOPE} {READER} {PROJECT}/MLEngineer")


def narrowed(grants=("features/",), containers=("features/",), *, write=False):
    """Contoso, whose data scientists read below prefixes alone."""
    accounts = tuple(
        replace(one, grants={f"buckets/{BUCKET}/{each}": (VIEWER,) for each in grants})
        if one.email == SCIENTIST
        else one
        for one in SETTINGS.accounts
    )
    [client] = SETTINGS.azure
    opened = tuple(f"contosofraudtest/features/{each}" for each in containers)
    return replace(SETTINGS, accounts=accounts, azure=(replace(client, containers=opened, write=write),))


NARROW = narrowed()
THINGS = wanted(NARROW, permitted)
FOUND = as_found(THINGS)


def altered(address, **fields):
    """What is there, with one thing otherwise."""
    return tuple(
        Found(one.address, {**one.fields, **fields}, one.ids) if one.address == address else one for one in FOUND
    )


@pytest.mark.parametrize(
    "prefix",
    [
        "", "/", "features", "/features/", "features//", "../", "./", "a/../", ".hidden/", "a./", "a b/", 'a"/', "a'/",
        "a\\/", "a`/", "a$/", "a*/", "a%2f/", "a\n/", "ä/", "features/\n", "a{}/", "a)/", "x" * LONGEST + "/",
    ],
)  # fmt: skip
def test_what_could_mean_anything_else_is_no_prefix(prefix):
    with pytest.raises(TrustBroken, match="is no prefix"):
        google_condition(BUCKET, prefix)
    with pytest.raises(TrustBroken, match="is no prefix"):
        azure_condition([prefix], write=True)


@pytest.mark.parametrize("bucket", ["", "a", "*", 'b")||true||("', "UPPER", "a/b"])
def test_a_bucket_is_a_bucket(bucket):
    with pytest.raises(TrustBroken, match="is no bucket"):
        google_condition(bucket, "features/")


def test_conditions_are_known_again_whatever_the_prefix():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(300):
        those = {
            "".join(rng.choice("aZ0_") + "".join(rng.choices("aZ9_=-", k=rng.randrange(9))) + "/" for _ in range(3))
            for _ in range(rng.randrange(1, 4))
        }
        first = min(those)
        assert google_prefix(f"buckets/{BUCKET}", google_condition(BUCKET, first)) == first
        for role, write in ((READER, False), (WRITER, True)):
            assert set(azure_prefixes(azure_condition(sorted(those), write=write), role)) == those


def test_a_condition_that_is_not_letter_by_letter_ours_is_somebody_elses():
    ours = google_condition(BUCKET, "features/")["expression"]
    for other in (
        f"{ours} || true", f"true || {ours}", ours.replace("||", "&&"), ours.replace('"features/"', '"f/"'),
        ours.replace("features/", "features"), ours.replace(BUCKET, f"{BUCKET}2"), "", "true", f" {ours}",
    ):  # fmt: skip
        assert google_prefix(f"buckets/{BUCKET}", {"title": "below features/", "expression": other}) == ""
    assert google_prefix(f"projects/{PROJECT}", google_condition(BUCKET, "features/")) == ""
    assert google_prefix("buckets/another-bucket", google_condition(BUCKET, "features/")) == ""
    reading, writing = (azure_condition(["features/"], write=write) for write in (False, True))
    for other in (
        f"{reading} OR 1",
        reading.replace(" AND ((", " OR (("),
        reading.replace("features/", "", 1),
        "",
        None,
    ):
        assert azure_prefixes(other, READER) == ()
    assert azure_prefixes(reading, WRITER) == (), "what it writes would be anywhere"
    assert azure_prefixes(writing, "Storage Blob Data Owner") == (), "what an owner does besides would be anywhere"
    assert azure_prefixes(writing, WRITER) == ("features/",)
    fields = {"scope": SCOPE, "role": WRITER, "condition": writing}
    assert below({**fields, "conditionVersion": "2.0"}) == ("features/",)
    assert below({**fields, "conditionVersion": "1.0"}) == below(fields) == ()


def test_more_prefixes_than_a_condition_holds_are_refused():
    with pytest.raises(TrustBroken, match="more than a condition"):
        azure_condition([f"{'x' * 80}{number:02}/" for number in range(40)], write=False)
    with pytest.raises(TrustBroken, match="without a prefix"):
        azure_condition([], write=False)


def test_what_lies_in_what():
    assert wider_than("a/c/features/x/", ["a/c/features/"]) == "a/c/features/"
    assert wider_than("a/c/features/", ["a/c"]) == "a/c"
    assert not wider_than("a/c/features2/", ["a/c/features/", "a/c/features2/", "a/c2"])


def test_the_file_wants_one_condition_for_each_prefix_at_google_and_one_for_all_at_azure():
    things = {
        thing.address: thing for thing in wanted(narrowed(("features/", "raw/"), ("features/", "raw/")), permitted)
    }
    bound = things[BOUND]
    assert bound.fields["condition"] == {
        "title": "below features/",
        "expression": f'resource.name.startsWith("projects/_/buckets/{BUCKET}/objects/features/") || '
        'api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("features/")',
    }
    assert (bound.fields["resource"], bound.fields["role"]) == (f"buckets/{BUCKET}", VIEWER)
    assert (
        bound.says == f"lets {SCIENTIST} read and list objects below features/ of {BUCKET}, and no others by this line"
    )
    assert sum("below" in thing.says for thing in things.values()) == 3
    assigned = things[ASSIGNED]
    assert assigned.fields["condition"] == azure_condition(["features/", "raw/"], write=False)
    assert assigned.fields["conditionVersion"] == "2.0"
    assert "below features/ and raw/ of `contosofraudtest/features`, and no others" in assigned.says


@pytest.mark.parametrize(
    ("resource", "role"),
    [(f"projects/{PROJECT}/a/", VIEWER), (f"buckets/{BUCKET}/a/", "policy"), ("accounts/x/a/", VIEWER)],
)
def test_only_roles_on_buckets_have_prefixes(resource, role):
    with pytest.raises(TrustBroken):
        wanted(replace(SETTINGS, accounts=(Account(ENGINEER, {resource: (role,)}),)), permitted)


def test_what_is_there_is_no_difference():
    assert plan(THINGS, FOUND, NARROW).empty


def test_a_plan_says_what_is_opened():
    page = render(plan(THINGS, (), NARROW))
    assert f"{VIEWER} on buckets/{BUCKET} below features/" in page
    assert f"lets it read and list objects below features/ of {BUCKET}" in " ".join(page.split())
    assert f"{READER} on container contosofraudtest/features below features/" in page
    gone = render(plan(wanted(SETTINGS, permitted), FOUND, SETTINGS))
    assert f"takes {VIEWER} on buckets/{BUCKET} below features/ from" in " ".join(gone.split())


def test_whoever_writes_below_a_prefix_may_delete_the_container_and_a_plan_says_so():
    made = plan(wanted(narrowed(write=True), permitted), (), narrowed(write=True))
    [change] = [each for each in made.changes if each.address.kind == "azure.assignment"]
    assert [(one.risk, "may also delete container" in one.said) for one in change.unsafe] == [(Risk.WIDE_SCOPE, True)]
    assert not any(change.unsafe for change in plan(THINGS, (), NARROW).changes if change.address == ASSIGNED)


def test_scripts_carry_the_conditions():
    lacking = tuple(one for one in FOUND if one.address not in {BOUND, ASSIGNED})
    script, file = gcloud(plan(THINGS, lacking, NARROW), lacking), terraform(THINGS, FOUND)
    expression = google_condition(BUCKET, "features/")["expression"]
    assert f"--condition='^;^expression={expression};title=below features/'" in script
    quoted = azure_condition(["features/"], write=False).replace("'", "'\"'\"'")
    assert f"--condition '{quoted}' --condition-version 2.0" in script
    assert 'title      = "below features/"' in file
    assert expression.replace('"', '\\"') in file
    assert f'condition            = "{azure_condition(["features/"], write=False)}"' in file
    assert 'condition_version    = "2.0"' in file
    assert f"b/{BUCKET} {VIEWER} serviceAccount:{SCIENTIST} below features/" in file


@pytest.mark.parametrize(
    ("address", "fields"),
    [(BOUND, {"condition": None}), (ASSIGNED, {"condition": None, "conditionVersion": None})],
)
def test_a_condition_that_is_gone_is_a_drift_that_widens_and_its_return_is_none(address, fields):
    now = plan(THINGS, altered(address, **fields), NARROW)
    [change], [drift] = now.changes, drifts(now, NARROW)
    assert (change.address, change.act, change.unsafe) == (address, Act.CHANGE, ())
    assert (drift.side, [one.risk for one in drift.unsafe]) == (Happened.ALTERED, [Risk.WIDENS])


def test_a_prefix_that_appears_can_be_adopted_and_no_other_condition():
    more = google_condition(BUCKET, "raw/")
    fields = {"resource": f"buckets/{BUCKET}", "role": VIEWER, "member": f"serviceAccount:{SCIENTIST}"}
    for condition, adopted in ((more, True), ({**more, "expression": "true"}, False)):
        there = (*FOUND, Found(Address("google.binding", "another"), {**fields, "condition": condition}))
        [drift] = drifts(plan(THINGS, there, NARROW), NARROW)
        assert drift.side is Happened.APPEARED
        if adopted:
            [edit] = adoption(drift, NARROW)
            assert edit.path == ("trust", "accounts", SCIENTIST, "grants", f"buckets/{BUCKET}/raw/")
        else:
            with pytest.raises(TrustBroken, match="a prefix alone"):
                adoption(drift, NARROW)


def test_an_estate_that_has_prefixes_is_described_with_them():
    [client] = NARROW.azure
    told = completed(replace(NARROW, accounts=(), azure=(replace(client, containers=()),)), FOUND)
    [scientist] = [one for one in told.settings.accounts if one.email == SCIENTIST]
    assert scientist.grants == {f"buckets/{BUCKET}/features/": (VIEWER,)}
    assert told.settings.azure[0].containers == ("contosofraudtest/features/features/",)
    assert not [each for each in told.left if "condition" in each]
    other = completed(NARROW, altered(ASSIGNED, condition="@Resource[x] StringLike 'y'"))
    assert any("would open all of its container without it" in each for each in other.left)


def findings(address, **fields):
    match = matched(THINGS, altered(address, **fields))
    found = (*absent(match, lambda _: "DataScientist"), *container_findings(match, NARROW))
    return [(one.kind, one.account, one.said) for one in found]


def test_what_holds_is_no_finding():
    assert findings(BOUND) == []


@pytest.mark.parametrize(
    ("prefixes", "said"),
    [
        (["raw/"], [("clash", "remit.yaml opens what lies below features/"), ("excess", "below raw/, and remit.yaml")]),
        (["features/", "raw/"], [("excess", "its condition opens what lies below raw/")]),
        (["features/x/"], [("clash", "its condition is another")]),
        ([], [("excess", "it is assigned on the whole container, where remit.yaml opens features/ alone")]),
    ],
)
def test_an_assignment_that_opens_otherwise_is_told(prefixes, said):
    condition = azure_condition(prefixes, write=False) if prefixes else None
    found = findings(ASSIGNED, condition=condition, conditionVersion="2.0" if condition else None)
    assert [(kind, any(text in words for _, text in said)) for kind, _, words in found] == [
        (kind, True) for kind, _ in said
    ]


def test_an_assignment_under_a_condition_where_none_is_wanted_clashes():
    match = matched(wanted(SETTINGS, permitted), as_found(wanted(SETTINGS, permitted)))
    there = tuple(
        (
            thing,
            replace(one, fields={**one.fields, "condition": "x"}) if thing.address.kind == "azure.assignment" else one,
        )
        for thing, one in match.pairs
    )
    [finding] = container_findings(replace(match, pairs=there), SETTINGS)
    assert (finding.kind, finding.said) == ("clash", "it is assigned under a condition: x")


def test_a_binding_without_its_condition_is_told():
    assert findings(BOUND, condition=None) == [
        ("excess", SCIENTIST, "remit.yaml gives it below features/ alone, and it is bound on all of it")
    ]
    [(kind, _, said)] = findings(BOUND, condition={"title": "t", "expression": "true"})
    assert (kind, said.endswith("under another condition: true")) == ("clash", True)


GET, LIST, CREATE = "storage.objects.get", "storage.objects.list", "storage.objects.create"
GOVERNED = frozenset({GET, LIST, CREATE})
CONDITION = tuple(google_condition(BUCKET, "features/").values())


def compared(whole, part, *lines, tested=frozenset()):
    """What is found of a bucket and of what lies below `features/` of it, where the policy wants this."""
    wants = Wants({"R": frozenset(whole)}, GOVERNED)
    side = Side("a@b", f"buckets/{BUCKET}", wants, lines, tested, parts=frozenset({"features/"}))
    sides = (side, part_of(side, "features/", Wants({"R": frozenset(part)}, GOVERNED)))
    return [
        (one.kind, one.resource.removeprefix(f"buckets/{BUCKET}"), one.permission)
        for each in sides
        for one in disagreements(each)
    ]


def line(*permissions, prefix="features/"):
    return Line(VIEWER, frozenset(permissions), CONDITION if prefix else None, prefix)


def test_a_prefix_is_never_taken_for_the_whole_bucket():
    assert compared([], [GET, LIST], line(GET, LIST)) == [], "the policy permits what lies below, and that is given"
    assert compared([GET], [GET], line(GET)) == [("clash", "", GET)], "the policy permits more than the prefix opens"
    assert compared([], [GET], line(GET, CREATE)) == [("excess", "/features/", CREATE)]
    assert compared([], [GET, LIST], line(GET)) == [("missing", "/features/", LIST)]
    assert compared([], []) == []
    assert compared([GET], [GET], line(GET, prefix=""), tested=frozenset({GET})) == [], "held on more is held below"
    assert compared([], [GET], line(GET, prefix=""), tested=frozenset({GET})) == [("excess", "", GET)]
    assert compared([], [GET], line(GET), line(GET, prefix="raw/")) == [("excess", "", GET)], "of nobody's file"
    assert compared([], [GET], line(GET, prefix="fea/"), line(GET)) == [("excess", "", GET)]


FILE = (
    (f"buckets/{BUCKET}: [{VIEWER}]", f"buckets/{BUCKET}/features/: [{VIEWER}]"),
    (
        "containers: [contosofraudtest/features]",
        "containers: [contosofraudtest/features/a/, contosofraudtest/features/b/]",
    ),
)


def test_narrowing_an_estate_and_whoever_widens_it_again(tmp_path):
    """At the lab: planned in place, applied, empty; a condition taken away behind the file's back, told, put back."""
    world = World(tmp_path)
    assert world.clean().empty
    text = world.file.read_text()
    for before, after in FILE:
        assert text.count(f" {before}") == 1, before
        text = text.replace(before, after)
    world.file.write_text(text)

    def names(planned):
        return sorted((change.act, change.address.kind, bool(change.unsafe)) for change in planned.changes)

    assert names(world.reread()) == [(Act.CHANGE, "azure.assignment", False), (Act.CHANGE, "google.binding", False)]

    async def put_right(view):
        those = [change.name for change in (await view.look()).plan.changes]
        planned = await trust_drift.to_revert(view, those)
        await trust_drift.reverted(view, planned, (), lambda _: None)
        return (await view.look()).plan

    assert world.run(put_right).empty

    async def widened(view):
        found = (await view.look()).plan
        assert found.empty

        def bare(policy):
            for one in policy["bindings"]:
                one.pop("condition", None)

        await Hands(view).policy(f"buckets/{BUCKET}", bare)
        application = contoso_azure.FRAUD_TEST_READER.principal
        held = {"principal": application, "role": READER, "container": contoso_azure.TEST_FEATURES}
        world.clouds.commands()["assign"](held)
        return await view.look()

    seen = world.run(widened)
    told = drifts(seen.plan, world.settings.trust)
    assert {(one.change.address.kind, one.side, one.unsafe[0].risk) for one in told} == {
        ("google.binding", Happened.ALTERED, Risk.WIDENS),
        ("azure.assignment", Happened.ALTERED, Risk.WIDENS),
    }
    assert world.run(put_right).empty


def test_verify_tells_what_the_policy_permits_and_a_prefix_defeats(tmp_path):
    house = House(tmp_path)
    house.rewrite(*FILE[0])
    url = f"https://storage.googleapis.com/storage/v1/b/{BUCKET}/iam"
    policy = house.change("GET", f"{url}?optionsRequestedPolicyVersion=3")
    member = f"serviceAccount:{SCIENTIST}"
    for one in policy["bindings"]:
        one["members"] = [each for each in one["members"] if (one["role"], each) != (VIEWER, member)]
    line_ = {"role": VIEWER, "members": [member], "condition": dict(google_condition(BUCKET, "features/"))}
    house.change("PUT", url, {**policy, "version": 3, "bindings": [*policy["bindings"], line_]})

    def found():
        return sorted(
            (one.kind, one.resource, one.permission)
            for one in house.verify().findings
            if one.account == SCIENTIST and "buckets" in one.resource
        )

    assert found() == [("clash", f"buckets/{BUCKET}", GET), ("clash", f"buckets/{BUCKET}", LIST)]
    cedar = house.file.parent / "policies" / "buckets.cedar"
    before = f'resource == Bucket::"{BUCKET}"\n);\n'
    assert cedar.read_text().count(before) == 1
    within = before.replace(";", '\nwhen { context has within && context.within like "features/*" };')
    cedar.write_text(cedar.read_text().replace(before, within))
    assert found() == [], "what lies below is all that the policy permits, and all that the account holds"
