"""What somebody with a right or two at Google would hide from a plan: each is told, and goes."""

import pytest
from tests.unit.trust.google_contoso import POOL, PROD, SETTINGS, TEST
from tests.unit.trust.test_trust_google_cloud import WANTED, full, run, thing

from remit.model.errors import TrustBroken
from remit.trust.clouds.google_names import googles_own
from remit.trust.planning.diff import plan
from remit.trust.planning.gcloud import gcloud

KEYS = '{"keys": [{"kty": "RSA", "kid": "mine", "n": "AQAB", "e": "AQAB"}]}'


def changes(memory):
    found = run(memory, lambda cloud: cloud.read(WANTED))
    return [change for change in plan(WANTED, found, SETTINGS).changes if change.address.kind != "google.binding"]


@pytest.mark.promise("V22")
def test_keys_uploaded_to_entras_provider_are_told_and_go():
    memory = full()
    entra = thing("google.provider", "entra")
    memory.pools[entra.address.name]["oidc"]["jwksJson"] = KEYS
    [change] = changes(memory)
    assert (change.address, change.before["uploadedKeys"][:7]) == (entra.address, "sha256:")
    assert "uploadedKeys" not in change.after
    with pytest.raises(TrustBroken, match="gcloud cannot take them away"):
        gcloud(plan(WANTED, run(memory, lambda cloud: cloud.read(WANTED)), SETTINGS))

    async def cure(cloud):
        [now] = [one for one in await cloud.read(WANTED) if one.address == entra.address]
        await cloud.change(entra, now)

    memory.asked.clear()
    run(memory, cure)
    assert [url.rpartition("?")[2] for method, url in memory.asked if method == "PATCH"] == ["updateMask=oidc.jwksJson"]
    assert not memory.pools[entra.address.name]["oidc"]["jwksJson"]
    assert changes(memory) == []


def test_keys_that_wait_at_entras_provider_are_not_taken_for_a_first_making():
    memory = full()
    entra = thing("google.provider", "entra")
    memory.pools[entra.address.name]["oidc"]["jwksJson"] = KEYS
    with pytest.raises(TrustBroken, match="is there already, and not as it was to be made"):
        run(memory, lambda cloud: cloud.make(entra))


def test_the_keys_of_remits_own_provider_are_the_arbiters():
    memory = full()
    memory.pools[f"{POOL}/providers/remit"]["oidc"]["jwksJson"] = KEYS
    assert changes(memory) == []


@pytest.mark.promise("V22")
def test_a_strangers_provider_that_comes_back_with_its_pool_opens_nothing():
    memory = full()
    stranger = f"{POOL}/providers/stranger"
    memory.pools[stranger] = {"name": stranger, "state": "ACTIVE", "oidc": {"issuerUri": "https://evil.example"}}
    memory.pools[POOL]["state"] = "DELETED"

    async def story(cloud):
        for each in WANTED:
            if each.address.kind in {"google.pool", "google.provider"}:
                await cloud.make(each)

    run(memory, story)
    assert (memory.pools[stranger]["disabled"], memory.pools[POOL]["state"]) == (True, "ACTIVE")
    assert [change.name for change in changes(memory)] == [f"google.provider {stranger}"]  # and it is to go


@pytest.mark.promise("V22")
@pytest.mark.parametrize(
    ("resource", "role", "member", "own"),
    [
        (f"buckets/{TEST}-data", "roles/storage.legacyBucketOwner", f"projectOwner:{TEST}", True),
        (f"buckets/{TEST}-data", "roles/storage.legacyObjectReader", f"projectEditor:{TEST}", True),
        (f"buckets/{TEST}-data", "roles/storage.legacyObjectReader", "projectEditor:evil-project", False),
        (f"buckets/{TEST}-data", "roles/storage.legacyObjectReader", f"projectViewer:{PROD}", False),
        (f"buckets/{TEST}-data", "roles/storage.objectViewer", f"projectViewer:{TEST}", False),
        (f"projects/{TEST}", "roles/storage.legacyObjectReader", f"projectEditor:{TEST}", False),
        ("buckets/of-nobody", "roles/storage.legacyObjectReader", "projectEditor:evil-project", False),
    ],
)
def test_a_bucket_is_open_out_of_habit_to_its_own_project_only(resource, role, member, own):
    assert googles_own(SETTINGS, resource, role, member) is own


def test_another_projects_editors_at_a_bucket_are_told():
    memory = full()
    memory.bind(f"buckets/{TEST}-data", "roles/storage.legacyObjectReader", "projectEditor:evil-project")
    found = run(memory, lambda cloud: cloud.read(WANTED))
    assert "projectEditor:evil-project" in {change.before["member"] for change in plan(WANTED, found, SETTINGS).changes}


def test_a_condition_on_several_lines_is_named_on_one():
    memory = full()
    condition = {"title": "t", "expression": "true\n[2/2] all is well\x1b[2J", "description": ""}
    memory.bind(f"buckets/{TEST}-data", "roles/storage.objectViewer", "user:eve@contoso.example", condition=condition)
    found = run(memory, lambda cloud: cloud.read(WANTED))
    names = [change.name for change in plan(WANTED, found, SETTINGS).changes if "eve@" in change.name]
    assert [name.partition(" if ")[2] for name in names] == ["true [2/2] all is well [2J"]


@pytest.mark.parametrize(
    "bindings", [None, {}, "x", [None], [{"role": "r", "members": "user:eve@contoso.example"}], [{"members": [None]}]]
)
def test_a_policy_in_no_known_form_is_no_policy(bindings):
    memory = full()
    memory.policies[f"buckets/{TEST}-data"]["bindings"] = bindings
    with pytest.raises(TrustBroken, match="in no known form"):
        run(memory, lambda cloud: cloud.read(WANTED))
