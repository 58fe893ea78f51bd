"""From an empty estate to Contoso's whole trust, at a lab that takes its time and is asked too often."""

import asyncio
from dataclasses import replace
from functools import partial

import httpx
import pytest
from tests.unit.trust import verified_contoso
from tests.unit.trust.drifting_lab import EXAMPLE, Administrator, Lab

from remit.assembly import rooms
from remit.assembly.trust import somebody
from remit.assembly.trust_plan import _View, permitted
from remit.assembly.trust_verifying import Walk
from remit.catalogue import actions
from remit.lab import contoso
from remit.lab.faults import Fault
from remit.lab.service import Clouds
from remit.model.decision import Circumstances
from remit.model.grant import Grant, Wanted
from remit.model.identity import Kind, Principal
from remit.model.operation import Action, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.settings.read import read
from remit.trust.applying.apply import Interrupted, apply
from remit.trust.clouds import azure, entra, google
from remit.trust.clouds.asking import Asking
from remit.trust.desired import wanted

NOBODY = "0d000000-0000-4000-8000-00000000dead"
LAG = 0.1  # seconds until a change is seen
STORES = (contoso.azure.FRAUD_TEST_STORAGE, contoso.azure.FRAUD_TEST_READER, contoso.azure.FRAUD_PROD_READER)
LINES = ("contoso-fraud-test/MLEngineer", "contoso-fraud-test/DataScientist", "contoso-fraud-prod/MLEngineer")
NAMES = {contoso.REMIT: "remit", contoso.CLI: "remit-cli", **dict(zip(STORES, LINES, strict=True))}


async def shorter(seconds):
    """A second of the cloud's is as long as the lab's lag, and a little."""
    await asyncio.sleep(seconds * 1.5 * LAG)


@pytest.fixture
def file(tmp_path):
    """Contoso's file as it was before Entra gave any id."""
    text = (EXAMPLE / "remit.yaml").read_text("utf-8")
    for app, name in NAMES.items():
        text = text.replace(app.id, f"app:{name}")
    (tmp_path / "remit.yaml").write_text(text, "utf-8")
    (tmp_path / "policies").symlink_to(EXAMPLE / "policies")
    return tmp_path / "remit.yaml"


def viewed(settings, clouds, client):
    """The installation at the lab, asked as the administrator."""
    tokens, trust = Administrator(clouds), settings.trust
    three = (
        entra.Entra(client, tokens, sleep=shorter),
        google.Google(Asking(client, tokens, google.SCOPE, sleep=shorter), trust, sleep=shorter),
        azure.Azure(Asking(client, tokens, azure.SCOPE, sleep=shorter), trust),
    )
    things = wanted(trust, permitted(settings))
    return _View(settings, {one.name: one for one in three}, things, frozenset())


@pytest.mark.promise("V3")
@pytest.mark.promise("V22")
def test_everything_is_made_once_however_slow_and_busy_the_clouds_are(file, tmp_path):
    (tmp_path / "lab").mkdir()
    clouds = Clouds(tmp_path / "lab", world=contoso.EMPTY)
    clouds.commands()["lag"](dict.fromkeys(("entra", "google", "azure"), LAG))
    told: list[str] = []

    async def story():
        async with httpx.AsyncClient(transport=Lab(clouds)) as client:
            view = viewed(read(file, pending=True), clouds, client)
            seen = await view.look()
            assert not seen.plan.problems
            assert not seen.plan.refused(())
            clouds.graph.throttle(4, 1)
            for host in ("iam.googleapis.com", "cloudresourcemanager.googleapis.com", "storage.googleapis.com"):
                clouds.faults.hosts[host] = Fault(429, retry_after=1, times=3)
            done = await apply(replace(view.applying(told.append), sleep=shorter), seen.plan.checksum)
            again = await viewed(read(file), clouds, client).look()  # the ids stand in the file now
            return done, again

    done, again = asyncio.run(story())
    assert done.left.empty, [change.name for change in done.left.changes]
    assert again.plan.empty, [change.name for change in again.plan.changes]
    assert any("waiting for" in line for line in told)
    made = [line for line in told if line.startswith("[")]
    assert len(made) == done.steps > 100, "each step once"
    names = [each["displayName"] for each in clouds.directory.registry.applications.all_seen().values()]
    assert len(names) == len(set(names)), "no application twice"


def test_nobodys_id_is_told_and_not_waited_for(file, tmp_path):
    (tmp_path / "lab").mkdir()
    clouds = Clouds(tmp_path / "lab", world=contoso.EMPTY)
    text = file.read_text("utf-8")
    assert text.count(NOBODY) == 0
    file.write_text(text.replace(f"people: [{contoso.ADA.oid}]", f"people: [{NOBODY}]"), "utf-8")
    told: list[str] = []

    async def story():
        async with httpx.AsyncClient(transport=Lab(clouds)) as client:
            view = viewed(read(file, pending=True), clouds, client)
            seen = await view.look()
            await apply(replace(view.applying(told.append), sleep=shorter), seen.plan.checksum)

    with pytest.raises(Interrupted, match=f"`{NOBODY}` is nobody's id at Entra"):
        asyncio.run(story())
    assert not [line for line in told if "waiting" in line]


PROJECT = "contoso-fraud-test"
PROJECT_ITSELF = Resource("Project", f"//cloudresourcemanager.googleapis.com/projects/{PROJECT}", PROJECT)
LAUNCH = "aiplatform.projects.locations.customJobs.create"
VERTEX = f"https://us-central1-aiplatform.googleapis.com/v1/projects/{PROJECT}/locations/us-central1"
SCIENTISTS = "9a000000-0000-4000-8000-000000000004"
SCIENTIST, TRAINER = (f"{name}@{PROJECT}.iam.gserviceaccount.com" for name in ("data-scientist", "trainer"))
JOB = {
    "displayName": "granted",
    "jobSpec": {
        "serviceAccount": TRAINER,
        "workerPoolSpecs": [
            {
                "machineSpec": {"machineType": "n1-standard-4"},
                "replicaCount": "1",
                "containerSpec": {"imageUri": "us-docker.pkg.dev/vertex-ai/training/tf-cpu:1", "command": ["true"]},
            }
        ],
    },
}


def launching(settings, *grants):
    """What the policy says to Ada's launch."""
    operation = Operation(Action(LAUNCH, actions()[LAUNCH], "aiplatform.customJobs.create"), (PROJECT_ITSELF,))
    now = Circumstances(now=1000, locations_known=True, grants=grants)
    return rooms.judge(settings).decide(ada(settings), Request((operation,)), now).outcome


def ada(settings):
    known = somebody(Principal("entra", contoso.TENANT, contoso.ADA.oid, Kind.PERSON), frozenset({SCIENTISTS}))
    return replace(known, roles=frozenset({"DataScientist"}))


@pytest.mark.promise("V22")
def test_what_somebody_is_granted_just_in_time_google_takes_as_well(file, tmp_path):
    """From an empty estate: the account's own role holds what a grant could permit, and nothing beyond."""
    (tmp_path / "lab").mkdir()
    clouds = Clouds(tmp_path / "lab", world=contoso.EMPTY)

    async def applied():
        async with httpx.AsyncClient(transport=Lab(clouds)) as client:
            view = viewed(read(file, pending=True), clouds, client)
            seen = await view.look()
            return await apply(replace(view.applying(lambda _: None), sleep=shorter), seen.plan.checksum)

    assert asyncio.run(applied()).left.empty
    settings = read(file)
    wanted_ = Wanted(ada(settings).principal.key, LAUNCH, PROJECT_ITSELF, 3600, "to try something")
    assert launching(settings) is Outcome.NEEDS_APPROVAL
    assert launching(settings, Grant("g-1", wanted_, 900, 4500, 1)) is Outcome.PERMIT

    async def answers():
        async with httpx.AsyncClient(transport=verified_contoso.Lab(clouds)) as client:
            walk = Walk(settings, rooms.Hops(settings, client, client))
            clouds.commands()["provider_keys"]({"name": "remit", "jwks": {"keys": list(walk.keys())}})
            token = await walk.become(SCIENTIST, frozenset({SCIENTISTS}))
            asked = partial(client.request, headers={"authorization": f"Bearer {token.reveal()}"})
            made = await asked("POST", f"{VERTEX}/customJobs", json=JOB)
            return made, await asked("DELETE", f"{VERTEX}/endpoints/1")

    launched, deleted = asyncio.run(answers())
    assert launched.status_code == 200, launched.text
    assert deleted.status_code == 403, deleted.text
