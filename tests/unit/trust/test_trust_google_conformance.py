"""What is sent to Google keeps to Google's own discovery documents, in a whole life of every kind of thing."""

import asyncio
import json

import httpx
import pytest
from tests.unit.trust.google_contoso import POOL, SCIENTIST, SETTINGS, TEST
from tests.unit.trust.google_described import held
from tests.unit.trust.google_in_memory import MemoryGoogle
from tests.unit.trust.test_trust_google_cloud import ADMIN, WANTED, Someone, binding

from remit.trust.clouds.asking import Asking
from remit.trust.clouds.google import SCOPE, Google
from remit.trust.things import Thing

OTHERWISE = {
    "google.pool": {"disabled": True},
    "google.provider": {
        "issuer": "https://login.example",
        "audiences": ("b", "c"),
        "mapping": {"google.subject": "assertion.oid"},
        "condition": "false",
        "disabled": True,
    },
    "google.account": {"disabled": True},
    "google.role": {"title": "Narrower", "permissions": ("aiplatform.models.list",), "stage": "BETA"},
    "google.audit": {"logTypes": ("DATA_READ",)},
}
CONDITION = {"title": "to July", "expression": 'request.time < timestamp("2027-07-01T00:00:00Z")'}


async def life(cloud):
    """Made, changed, read, set back, removed, made again and removed."""
    conditional = binding(f"projects/{TEST}", "roles/aiplatform.viewer", f"serviceAccount:{SCIENTIST}", CONDITION)
    for each in (*WANTED, conditional):
        await cloud.make(each)
    before = {one.address: one for one in await cloud.read(WANTED)}
    for each in WANTED:
        fields = {**each.fields, **OTHERWISE.get(each.address.kind, {})}
        await cloud.change(Thing(each.address, fields), before[each.address])
    for each in WANTED:
        await cloud.change(each, before[each.address])
    everything = await cloud.read(WANTED)
    for one in reversed(everything):
        if ADMIN not in one.address.name:  # whoever removes themselves removes nothing more
            await cloud.remove(one)
    for each in WANTED:
        if each.address.kind in {"google.pool", "google.role"}:
            await cloud.make(each)
    return everything


def test_a_whole_life_is_as_google_describes_it():
    memory, ids = MemoryGoogle(), []
    memory.polls = 1
    memory.bind(f"projects/{TEST}", "roles/owner", ADMIN)

    async def story():
        async def sleep(seconds):
            pass

        async with memory.client(also=lambda request: ids.append(held(request))) as client:
            await life(Google(Asking(client, Someone(), SCOPE, sleep=sleep), SETTINGS, sleep=sleep))

    asyncio.run(story())
    pools, accounts, roles = (
        "iam.projects.locations.workloadIdentityPools",
        "iam.projects.serviceAccounts",
        "iam.projects.roles",
    )
    assert set(ids) == {
        *(f"{pools}.{verb}" for verb in ("create", "get", "patch", "delete", "undelete", "operations.get")),
        *(f"{pools}.providers.{verb}" for verb in ("create", "get", "list", "patch", "delete", "operations.get")),
        *(f"{accounts}.{verb}" for verb in ("create", "get", "list", "enable", "disable", "delete")),
        *(f"{accounts}.{verb}" for verb in ("getIamPolicy", "setIamPolicy")),
        *(f"{roles}.{verb}" for verb in ("create", "get", "list", "patch", "delete", "undelete")),
        "cloudresourcemanager.projects.getIamPolicy",
        "cloudresourcemanager.projects.setIamPolicy",
        "storage.buckets.getIamPolicy",
        "storage.buckets.setIamPolicy",
    }


IAM = "https://iam.googleapis.com/v1"


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("POST", f"{IAM}/{POOL}/providers?workloadIdentityPoolId=x", {}),
        ("POST", f"{IAM}/{POOL}/providers?workloadIdentityPoolProviderId=x", {"issuerUri": "x"}),
        ("POST", f"{IAM}/{POOL}/providers?workloadIdentityPoolProviderId=x", {"disabled": "yes"}),
        ("POST", f"{IAM}/{POOL}/providers?workloadIdentityPoolProviderId=x", {"oidc": {"allowedAudiences": "x"}}),
        ("GET", f"{IAM}/{POOL}/provider/x", None),
        ("PUT", f"{IAM}/{POOL}", {}),
        ("POST", f"{IAM}/projects/p/serviceAccounts/a@b:getIamPolicy", {"options": {}}),
        ("POST", "https://cloudresourcemanager.googleapis.com/v1/projects/p:setIamPolicy", {"policy": {"role": "x"}}),
        ("GET", "https://storage.googleapis.com/storage/v1/b/x/iam?optionsRequestedPolicyVersion=three", None),
    ],
)
def test_what_google_does_not_describe_is_noticed(method, url, body):
    content = b"" if body is None else json.dumps(body).encode()
    with pytest.raises(AssertionError):
        held(httpx.Request(method, url, content=content))
