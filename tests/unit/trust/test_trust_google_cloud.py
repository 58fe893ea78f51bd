"""Google as the trust reads and changes it, on a small Google in memory; other writers, waits and deletions included."""

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest
from tests.unit.trust.google_contoso import (
    AUDITOR,
    ENGINEER,
    KEEPER,
    POOL,
    PROD,
    SCIENTIST,
    SETTINGS,
    TEST,
    permitted,
)
from tests.unit.trust.google_in_memory import MemoryGoogle, Refusal

from remit.model.errors import TrustBroken
from remit.model.secret import AccessToken
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.google import SCOPE, Google
from remit.trust.clouds.port import Conflict, Denied, Missing
from remit.trust.desired.google import google
from remit.trust.things import Address, Found, Ref, Thing, settled

IDS = {
    Ref(Address("entra.application", "remit-google"), "appId"): "a3",
    Ref(Address("entra.principal", "remit"), "id"): "5e000000-0000-4000-8000-000000000001",
}
WANTED = tuple(
    Thing(each.address, settled(each.fields, IDS), each.needs, each.says) for each in google(SETTINGS, permitted)
)
ADMIN = "user:admin@contoso.example"
EXEMPT = [{"logType": "DATA_READ", "exemptedMembers": ["user:eve@contoso.example"]}]
IN_TIME = {"title": "office hours", "expression": "request.time.getHours() < 18", "description": "of Olga"}


class Someone:
    async def token(self, scope):
        assert scope == SCOPE
        return AccessToken("administrator")


@asynccontextmanager
async def opened(memory, slept=None):
    async def sleep(seconds):
        if slept is not None:
            slept.append(seconds)

    async with memory.client() as client:
        yield Google(Asking(client, Someone(), SCOPE, sleep=sleep), SETTINGS, sleep=sleep)


def run(memory, story, slept=None):
    async def told():
        async with opened(memory, slept) as cloud:
            return await story(cloud)

    return asyncio.run(told())


async def make_all(cloud):
    return [await cloud.make(thing) for thing in WANTED]


def thing(kind, name):
    return next(each for each in WANTED if (each.address.kind, each.address.name.rpartition("/")[2]) == (kind, name))


def binding(resource, role, member, condition=None):
    fields = {"resource": resource, "role": role, "member": member, "condition": condition}
    return Thing(Address("google.binding", f"{resource} {role} {member}"), fields)


def found(thing):
    return Found(thing.address, thing.fields)


def full():
    memory = MemoryGoogle()
    run(memory, make_all)
    return memory


def test_from_nothing_to_everything_and_nothing_else():
    memory = MemoryGoogle()
    memory.polls = 3
    memory.bind(f"projects/{TEST}", "roles/owner", ADMIN)
    made = run(memory, make_all)
    assert [one.address for one in made] == [each.address for each in WANTED]
    there = run(memory, lambda cloud: cloud.read(WANTED))
    by_address = {one.address: one.fields for one in there}
    owner = Address("google.binding", f"projects/{TEST} roles/owner {ADMIN}")
    assert by_address.pop(owner)["condition"] is None
    assert by_address == {each.address: each.fields for each in WANTED}
    assert len(by_address) + 1 == len(there)
    assert memory.pools[f"{POOL}/providers/remit"]["oidc"]["jwksJson"] == '{"keys": []}'
    assert "jwksJson" not in memory.pools[f"{POOL}/providers/entra"]["oidc"]


def test_made_twice_is_made_once():
    memory = full()
    before = len(memory.accounts), memory.policies, memory.pools, memory.roles
    first = run(memory, make_all)
    second = run(memory, make_all)
    assert first == second
    assert (len(memory.accounts), memory.policies, memory.pools, memory.roles) == before


def test_an_empty_google_is_read_as_nothing():
    assert run(MemoryGoogle(), lambda cloud: cloud.read(WANTED)) == ()


def test_everything_is_removed_and_removing_again_does_nothing():
    memory = full()

    async def remove_all(cloud):
        for one in reversed(await cloud.read(WANTED)):
            await cloud.remove(one)
            await cloud.remove(one)
        return await cloud.read(WANTED)

    assert run(memory, remove_all) == ()


def test_what_lies_there_unwanted_is_told():
    memory = full()
    stray = f"stray@{PROD}.iam.gserviceaccount.com"
    for email in (stray, f"harmless@{PROD}.iam.gserviceaccount.com"):
        memory.accounts[email] = {"email": email, "uniqueId": "7"}
    memory.bind(
        f"accounts/{stray}", "roles/iam.serviceAccountTokenCreator", f"principalSet://iam.googleapis.com/{POOL}/*"
    )
    gone = f"deleted:serviceAccount:old@{PROD}.iam.gserviceaccount.com?uid=77"
    memory.policy(f"projects/{PROD}")["bindings"].append({"role": "roles/editor", "members": [gone]})
    memory.bind(f"buckets/{TEST}-data", "roles/storage.objectViewer", "allUsers", condition=IN_TIME)
    memory.bind(f"projects/{TEST}", "roles/viewer", "group:billing@contoso.example")
    memory.pools[f"{POOL}/providers/aws"] = {
        "name": f"{POOL}/providers/aws",
        "state": "ACTIVE",
        "aws": {"accountId": "1"},
    }
    memory.pools[f"{POOL}/providers/gone"] = {"name": f"{POOL}/providers/gone", "state": "DELETED"}
    memory.roles[f"projects/{TEST}/roles/remit_old"] = {"name": f"projects/{TEST}/roles/remit_old", "stage": "GA"}
    memory.roles[f"projects/{TEST}/roles/theirs"] = {"name": f"projects/{TEST}/roles/theirs", "stage": "GA"}
    memory.policy(f"projects/{PROD}")["auditConfigs"].append({"service": "allServices", "auditLogConfigs": EXEMPT})
    memory.policy(f"projects/{PROD}")["auditConfigs"].append({"service": "x.googleapis.com", "auditLogConfigs": EXEMPT})
    wanted = {each.address for each in WANTED}
    more = {str(one.address): one for one in run(memory, lambda cloud: cloud.read(WANTED)) if one.address not in wanted}
    conditional = f"google.binding buckets/{TEST}-data roles/storage.objectViewer allUsers if {IN_TIME['expression']}"
    assert set(more) == {
        f"google.account {stray}",
        f"google.binding accounts/{stray} roles/iam.serviceAccountTokenCreator principalSet://iam.googleapis.com/{POOL}/*",
        f"google.binding projects/{PROD} roles/editor {gone}",
        conditional,
        f"google.provider {POOL}/providers/aws",
        f"google.role projects/{TEST}/roles/remit_old",
        f"google.audit {PROD} allServices",
    }
    assert more[conditional].fields["condition"] == {key: IN_TIME[key] for key in ("title", "expression")}


def test_an_exempted_member_is_a_difference_that_a_change_cures():
    memory = full()
    audit = thing("google.audit", f"{PROD} sts.googleapis.com")
    config = next(e for e in memory.policy(f"projects/{PROD}")["auditConfigs"] if e["service"] == "sts.googleapis.com")
    config["auditLogConfigs"][1]["exemptedMembers"] = ["user:eve@contoso.example"]

    async def story(cloud):
        now = next(one for one in await cloud.read(WANTED) if one.address == audit.address)
        await cloud.change(audit, now)
        return now, next(one for one in await cloud.read(WANTED) if one.address == audit.address)

    before, after = run(memory, story)
    assert before.fields["logTypes"] == ("ADMIN_READ", "DATA_READ but not of user:eve@contoso.example")
    assert after.fields == audit.fields


def test_exemptions_of_all_services_go_and_their_log_stays():
    memory = full()
    memory.policy(f"projects/{PROD}")["auditConfigs"].append({"service": "allServices", "auditLogConfigs": EXEMPT})
    unwanted = Found(Address("google.audit", f"{PROD} allServices"), {"project": PROD, "service": "allServices"})
    run(memory, lambda cloud: cloud.remove(unwanted))
    [config] = [e for e in memory.policy(f"projects/{PROD}")["auditConfigs"] if e["service"] == "allServices"]
    assert config["auditLogConfigs"] == [{"logType": "DATA_READ"}]


def test_what_is_not_being_changed_stays_as_it_is():
    memory = MemoryGoogle()
    place = f"projects/{TEST}"
    memory.accounts[ENGINEER] = {"email": ENGINEER, "uniqueId": "1"}
    line = {"role": "roles/viewer", "members": ["user:olga@contoso.example"], "condition": IN_TIME}
    audits = [{"service": "allServices", "auditLogConfigs": EXEMPT}]
    memory.policies[place] = {"version": 3, "etag": "e1", "bindings": [line], "auditConfigs": audits}
    ours = binding(place, "roles/viewer", f"serviceAccount:{ENGINEER}")
    audit = thing("google.audit", f"{TEST} sts.googleapis.com")

    async def story(cloud):
        await cloud.make(ours)
        await cloud.make(audit)
        await cloud.remove(found(ours))
        await cloud.remove(found(audit))

    run(memory, story)
    assert memory.policy(place)["bindings"] == [line]
    assert memory.policy(place)["auditConfigs"] == audits
    assert memory.policy(place)["version"] == 3


def test_one_condition_is_not_another():
    memory = MemoryGoogle()
    place = f"projects/{TEST}"
    narrow = {key: IN_TIME[key] for key in ("title", "expression")}
    memory.bind(place, "roles/viewer", "user:olga@contoso.example", condition=IN_TIME)
    plain = binding(place, "roles/viewer", "user:olga@contoso.example")
    same = binding(place, "roles/viewer", "user:dana@contoso.example", narrow)

    async def story(cloud):
        await cloud.make(plain)
        await cloud.make(same)
        await cloud.remove(found(plain))

    run(memory, story)
    assert memory.policy(place)["bindings"] == [
        {
            "role": "roles/viewer",
            "members": ["user:olga@contoso.example", "user:dana@contoso.example"],
            "condition": IN_TIME,
        }
    ]


def test_two_writers_lose_nothing():
    memory = MemoryGoogle()
    place = f"projects/{TEST}"
    others = [f"user:writer-{number}@contoso.example" for number in range(3)]

    def another(resource):
        if others:
            memory.bind(resource, "roles/viewer", others.pop())

    memory.before_write = another
    slept = []
    run(memory, lambda cloud: cloud.make(binding(place, "roles/viewer", "user:olga@contoso.example")), slept)
    assert [member.partition("@")[0] for _, member in memory.bound(place)] == [
        "user:olga",
        "user:writer-0",
        "user:writer-1",
        "user:writer-2",
    ]
    assert len(slept) == 3


def test_two_of_us_at_once_lose_nothing():
    memory = MemoryGoogle()
    place = f"projects/{TEST}"

    async def story(cloud):
        people = [binding(place, "roles/viewer", f"user:p{number}@contoso.example") for number in range(6)]
        await asyncio.gather(*map(cloud.make, people))

    run(memory, story)
    assert len(memory.bound(place)) == 6


def test_who_is_always_faster_is_told_as_a_conflict():
    memory = MemoryGoogle()
    memory.before_write = lambda resource: memory.bind(resource, "roles/viewer", ADMIN)
    with pytest.raises(Conflict):
        run(memory, lambda cloud: cloud.make(binding(f"projects/{TEST}", "roles/viewer", "user:olga@contoso.example")))


def test_a_policy_without_an_etag_is_not_written():
    memory = MemoryGoogle()
    memory.policies[f"projects/{TEST}"] = {"version": 1}
    with pytest.raises(TrustBroken, match="no etag"):
        run(memory, lambda cloud: cloud.make(binding(f"projects/{TEST}", "roles/viewer", ADMIN)))
    assert not [url for _, url in memory.asked if "setIamPolicy" in url]


def test_an_account_that_policies_do_not_know_yet_is_waited_for():
    memory = full()
    memory.unseen = {KEEPER}
    with pytest.raises(Missing) as told:
        run(memory, lambda cloud: cloud.make(binding(f"projects/{TEST}", "roles/viewer", f"serviceAccount:{KEEPER}")))
    assert "minutes" in told.value.hint


def delete(memory, thing):
    async def story(cloud):
        await cloud.remove(found(thing))

    run(memory, story)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("google.pool", "contoso"),
        ("google.provider", "entra"),
        ("google.provider", "remit"),
        ("google.role", "remit_data_scientist"),
    ],
)
def test_what_was_deleted_is_undeleted_and_set_as_wanted(kind, name):
    memory = full()
    wanted = thing(kind, name)
    held = (memory.pools | memory.roles)[wanted.address.name]
    delete(memory, wanted)
    assert wanted.address not in {one.address for one in run(memory, lambda cloud: cloud.read(WANTED))}
    held |= {"disabled": True, "attributeCondition": "true", "includedPermissions": ["x.y.z"]}
    if name == "remit":
        held["oidc"]["jwksJson"] = '{"keys": [{"kid": "1"}]}'
    assert run(memory, lambda cloud: cloud.make(wanted)).fields == wanted.fields
    now = {one.address: one.fields for one in run(memory, lambda cloud: cloud.read(WANTED))}
    assert now[wanted.address] == wanted.fields
    if name == "remit":  # its keys are the arbiter's
        assert held["oidc"]["jwksJson"] == '{"keys": [{"kid": "1"}]}'


def test_providers_that_come_back_with_their_pool_are_set_as_wanted():
    memory = full()
    pool, entra = thing("google.pool", "contoso"), thing("google.provider", "entra")
    delete(memory, pool)
    memory.pools[entra.address.name]["attributeCondition"] = "true"

    async def story(cloud):
        await cloud.make(pool)
        await cloud.make(entra)

    run(memory, story)
    assert memory.pools[entra.address.name]["attributeCondition"] == entra.fields["condition"]


def test_a_deleted_account_whose_name_is_kept_is_undeleted_by_its_unique_id():
    memory = full()
    uid = memory.accounts[SCIENTIST]["uniqueId"]
    scientist = next(each for each in WANTED if each.address == Address("google.account", SCIENTIST))
    delete(memory, scientist)
    with pytest.raises(Missing):  # nobody said which it was
        run(memory, lambda cloud: cloud.make(scientist))
    memory.policy(f"projects/{PROD}")["bindings"].append(
        {"role": "roles/viewer", "members": [f"deleted:serviceAccount:{SCIENTIST}?uid={uid}"]}
    )

    async def story(cloud):
        await cloud.read(WANTED)
        return await cloud.make(scientist)

    assert run(memory, story).ids["uniqueId"] == uid


@pytest.mark.parametrize(("kind", "name"), [("google.provider", "entra"), ("google.role", "remit_data_scientist")])
def test_somebody_elses_of_the_same_name_is_not_taken_over(kind, name):
    memory = full()
    wanted = thing(kind, name)
    held = (memory.pools | memory.roles)[wanted.address.name]
    held |= {"attributeCondition": "true", "title": "Somebody's"}
    with pytest.raises(TrustBroken, match="not as it was to be made"):
        run(memory, lambda cloud: cloud.make(wanted))


def test_only_the_fields_that_differ_are_sent():
    memory = full()
    entra, role = thing("google.provider", "entra"), thing("google.role", "remit_data_scientist")
    memory.pools[entra.address.name]["attributeCondition"] = "true"
    memory.pools[entra.address.name]["oidc"]["allowedAudiences"] = ["a3", "evil"]
    memory.roles[role.address.name]["includedPermissions"] = ["aiplatform.models.list"]
    account = next(each for each in WANTED if each.address == Address("google.account", AUDITOR))
    memory.accounts[AUDITOR]["disabled"] = True
    memory.asked.clear()

    async def story(cloud):
        now = {one.address: one for one in await cloud.read(WANTED)}
        for each in (entra, role, account):
            assert now[each.address].fields != each.fields
            await cloud.change(each, now[each.address])
        await cloud.change(entra, now[entra.address])
        return {one.address: one.fields for one in await cloud.read(WANTED)}

    now = run(memory, story)
    assert all(now[each.address] == each.fields for each in (entra, role, account))
    patches = [httpx.URL(url).params["updateMask"] for method, url in memory.asked if method == "PATCH"]
    assert patches == ["oidc.allowedAudiences,attributeCondition", "includedPermissions"]


def test_what_custom_roles_cannot_hold_has_a_hint():
    role = thing("google.role", "remit_data_scientist")
    wild = Thing(role.address, {**role.fields, "permissions": ("*",)})
    with pytest.raises(TrustBroken) as told:
        run(MemoryGoogle(), lambda cloud: cloud.make(wild))
    assert "list-testable-permissions" in told.value.hint


def test_an_account_of_googles_own_is_not_made():
    agent = Thing(Address("google.account", "1-compute@developer.gserviceaccount.com"), {"disabled": False})
    with pytest.raises(TrustBroken, match="Google makes it itself"):
        run(MemoryGoogle(), lambda cloud: cloud.make(agent))


@pytest.mark.parametrize("act", ["make", "remove"])
def test_another_clouds_thing_is_refused(act):
    other = Thing(Address("azure.assignment", "x"), {"resource": f"projects/{TEST}"})
    with pytest.raises(TrustBroken, match="nothing of Google's"):
        run(MemoryGoogle(), lambda cloud: getattr(cloud, act)(other if act == "make" else found(other)))


def test_an_operation_that_fails_or_never_ends():
    pool = thing("google.pool", "contoso")
    memory = MemoryGoogle()
    memory.polls = 1000
    slept = []
    with pytest.raises(TrustBroken, match="does not end"):
        run(memory, lambda cloud: cloud.make(pool), slept)
    assert 60 < sum(slept) < 400
    memory = MemoryGoogle()
    memory.start = lambda name: {"name": f"{name}/operations/o", "done": True, "error": {"code": 7, "message": "no"}}
    with pytest.raises(TrustBroken, match="failed: no"):
        run(memory, lambda cloud: cloud.make(pool))


def test_a_list_that_goes_in_circles_is_refused():
    memory = full()
    memory.pool = lambda *_: {"name": POOL, "state": "ACTIVE", "nextPageToken": "again"}
    with pytest.raises(TrustBroken, match="same page"):
        run(memory, lambda cloud: cloud.read(WANTED))


def test_one_thing_that_cannot_be_read_fails_the_reading():
    memory = full()

    def denied(method, name, body):
        raise Refusal(403, "PERMISSION_DENIED", "storage.buckets.getIamPolicy denied")

    memory.bucket = denied
    with pytest.raises(Denied, match=r"storage\.buckets\.getIamPolicy"):
        run(memory, lambda cloud: cloud.read(WANTED))
