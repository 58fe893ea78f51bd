"""Whom Entra can present, through the real plane: people, machines, those in too many groups, guests of two tenants.

Each is held against both sides' word: the ledger's record, and whom Google's own log names as delegating.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from remit.assembly.evidence import reading
from remit.audit.lookup import find_decision
from remit.cli.story import digits
from remit.cli.story.installation import example
from remit.cli.story.people import ended

pytestmark = pytest.mark.e2e

TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
FABRIKAM = "6f1c2a34-8b5d-4e6f-9a01-c0de00000002"
REMIT = "a0000000-0000-4000-8000-000000000001"
PIPELINE = "3c000000-0000-4000-8000-000000000002"
ML_ENGINEERS = "9a000000-0000-4000-8000-000000000002"
TEAM = "9a000000-0000-4000-8000-000000000001"  # inside of `ml-engineers`
DANA = "0d000000-0000-4000-8000-000000000001"
ADA = "0d000000-0000-4000-8000-000000000002"
GIL, ZOE, UNA = "gil@fabrikam.example", "zoe@adatum.example", "una@fabrikam.example"
TEST, PROD = "contoso-fraud-test", "contoso-fraud-prod"
GRAPH = "graph.microsoft.com"


def jobs(project: str = TEST) -> str:
    return f"/v1/projects/{project}/locations/us-central1/customJobs"


@dataclass(frozen=True)
class Launched:
    """What the door answered, and the calls that Google wrote down of it."""

    reply: Any
    entries: list[dict[str, Any]]

    @property
    def decision(self) -> str:
        """The one that let the call pass."""
        [entry] = self.entries
        reason = entry["protoPayload"]["requestMetadata"]["requestAttributes"]["reason"]
        return str(reason.removeprefix("decision/"))

    @property
    def delegating(self) -> tuple[str, str]:
        """As which account the call was made, and on whose behalf."""
        [entry] = self.entries
        who = entry["protoPayload"]["authenticationInfo"]
        subject = who["serviceAccountDelegationInfo"][0]["principalSubject"]
        return who["principalEmail"].partition("@")[0], subject.rpartition("/subject/")[2]


def launch(world: Any, token: str, project: str = TEST, account: str = "trainer") -> Launched:
    container = {"imageUri": "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest", "command": ["true"]}
    pool = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1", "containerSpec": container}
    runs_as = {"serviceAccount": f"{account}@{project}.iam.gserviceaccount.com"} if account else {}
    job = {"displayName": "job", "jobSpec": {**runs_as, "workerPoolSpecs": [pool]}}
    before = len(world.cloud("CreateCustomJob"))
    with world.tunnel(identity=token) as tunnel:
        reply = tunnel.ask("POST", jobs(project), job)
    return Launched(reply, world.cloud("CreateCustomJob")[before:])


def permitted(world: Any, token: str, **more: Any) -> Launched:
    launched = launch(world, token, **more)
    assert launched.reply.status == 200, launched.reply.body
    return launched


def refused(world: Any, token: str, **more: Any) -> Any:
    launched = launch(world, token, **more)
    assert launched.reply.status != 200
    assert launched.entries == []
    return launched.reply


def fresh(world: Any, name: str, **more: Any) -> str:
    return str(world.entra.sign_in(name, **more)["access_token"])


def record_of(world: Any, decision: str) -> dict[str, Any]:
    """The whole entry in the ledger."""
    with reading(world.settings) as engine:
        return dict(find_decision(engine, decision) or {})


# Members and machines.


@pytest.fixture(params=["1.0", "2.0"])
def version(request: pytest.FixtureRequest, world: Any) -> Iterator[str]:
    """Of the tokens that Remit's registration takes."""
    world.control(token_version={"app": REMIT, "version": request.param})
    yield request.param
    world.control(token_version={"app": REMIT, "version": "2.0"})


@pytest.mark.usefixtures("version")
def test_a_person_and_a_machine_launch_with_tokens_of_either_version(world: Any) -> None:
    asked = {
        DANA: (fresh(world, "dana"), "person", "ml-engineers-launch-fraud-test"),
        "3d000000-0000-4000-8000-000000000002": (world.entra.machine(PIPELINE), "workload", "pipeline-launches-test"),
    }
    for oid, (token, kind, policy) in asked.items():
        launched = permitted(world, token)
        decision = record_of(world, launched.decision)
        assert (decision["principal"], decision["kind"]) == (f"{TENANT}/{oid}", kind)
        assert policy in decision["policies"]
        assert launched.delegating == ("ml-engineer", f"{TENANT}/{oid}")


# Groups that the token does not hold.


@pytest.fixture
def forgetful(world: Any) -> Iterator[None]:
    """An arbiter that has read nobody's groups yet: the old one is killed, the next one comes by itself."""
    old = world.arbiter
    os.kill(old, signal.SIGKILL)
    end = time.monotonic() + 60
    while world.arbiter in {0, old} or not ((found := world.readiness()) and found.is_success):
        assert time.monotonic() < end, world.tail()
        time.sleep(0.1)
    yield
    world.control(clear=True)


@pytest.mark.usefixtures("forgetful")
def test_somebody_in_too_many_groups_needs_the_directory(world: Any) -> None:
    token = fresh(world, "olga")
    # 1. it fails: nobody is taken for somebody in fewer groups
    for fault in ({"status": 500}, {"status": 403}):
        world.control(fault={"host": GRAPH, **fault})
        reply = refused(world, token)
        assert (reply.status, reply.reason) == (503, "identity_incomplete")
        assert "groups of this identity could not be determined" in reply.message
        assert record_of(world, reply.decision)["outcome"] == "deny"
    # 2. it wants to be asked later, and is
    world.control(clear=True, graph_throttle={"times": 2, "retry_after": 1})
    before, launched = int(time.time()), launch(world, token)
    while launched.reply.status != 200:
        assert (launched.reply.status, launched.entries) == (503, [])
        assert time.time() < before + 15
        time.sleep(0.2)
        launched = launch(world, token)
    # 3. it has answered: all groups, and since when they are known
    assert len(groups_of(world, token)) > 250
    found = record_of(world, launched.decision)
    assert before <= found["groups_at"] <= int(time.time())
    assert launched.delegating == ("ml-engineer", f"{TENANT}/0d000000-0000-4000-8000-000000000007")


@pytest.fixture(params=[True, "hasgroups"], ids=["names of claims", "hasgroups"])
def overage(request: pytest.FixtureRequest, world: Any) -> Iterator[None]:
    world.control(overage=request.param)
    yield
    world.control(overage=False)


@pytest.mark.usefixtures("overage")
def test_groups_are_asked_for_however_the_token_says_so(world: Any) -> None:
    for token in (fresh(world, "olga"), world.entra.machine(PIPELINE)):
        assert record_of(world, permitted(world, token).decision)["groups_at"] <= int(time.time())
    assert groups_of(world, world.entra.machine(PIPELINE)) == []
    assert ML_ENGINEERS in groups_of(world, fresh(world, "dana"))


def groups_of(world: Any, token: str) -> list[str]:
    """As the door tells somebody."""
    headers = {"authorization": f"Bearer {token}"}
    answer = httpx.get(f"{world.url}/v1/identity", headers=headers, trust_env=False, timeout=15)
    return list(answer.raise_for_status().json()["groups"])


# New people, and people who leave.


def test_whoever_joins_a_group_works_at_once_with_a_new_token_and_whoever_leaves_does_not(world: Any) -> None:
    """Dana has her role, and is new in the team."""
    member = {"group": TEAM, "member": DANA}
    world.control(leave=member)
    try:
        reply = refused(world, fresh(world, "dana"))
        assert (reply.status, reply.reason) == (403, "no_policy_permits")
        assert "the group `ml-engineers` is missing" in reply.message
    finally:
        world.control(join=member)
    began = time.monotonic()
    launched = permitted(world, fresh(world, "dana"))
    took = time.monotonic() - began
    print(f"{took:.2f} s from the group to the job")
    assert took < 60
    assert launched.delegating == ("ml-engineer", f"{TENANT}/{DANA}")


def test_a_group_opens_what_its_policies_say_and_the_role_still_names_the_account(world: Any, nonce: str) -> None:
    """Ada, with the role of a data scientist: what she launches is launched by her role's account."""
    member, target = {"group": ML_ENGINEERS, "member": ADA}, jobs().replace("customJobs", "endpoints")
    with world.tunnel(identity=fresh(world, "ada")) as tunnel:
        assert tunnel.ask("POST", target, {"displayName": nonce}).status == 403
    world.control(join=member)
    try:
        token = fresh(world, "ada")
        with world.tunnel(identity=token) as tunnel:
            reply = tunnel.ask("POST", target, {"displayName": nonce})
        assert reply.status == 200, reply.body
        launched = launch(world, token)
        assert launched.reply.status == 200, launched.reply.body
        assert record_of(world, launched.decision)["outcome"] == "permit"
        assert launched.delegating == ("data-scientist", f"{TENANT}/{ADA}")
    finally:
        world.control(leave=member)
    with world.tunnel(identity=fresh(world, "ada")) as tunnel:
        reply = tunnel.ask("POST", target, {"displayName": nonce})
    assert (reply.status, reply.reason) == (403, "no_policy_permits")


# Guests.


@pytest.fixture(scope="module")
def gil(world: Any) -> Any:
    """A guest at his own machine, with the story's data in the buckets."""
    digits.seed(world.lab.control, (TEST,), example("digits"))
    found = world.person("gil")
    found.account = GIL
    found.sign_in("--url", world.url)
    return found


@pytest.mark.promise("V9")
def test_a_guest_of_a_mapped_tenant_completes_the_main_story(world: Any, gil: Any) -> None:
    """With Google's own SDK: one sign-in trains, reads the log, deploys and predicts."""
    who = json.loads(gil.remit("whoami", "--json").out)
    assert (who["guest"], who["home"]) == (True, FABRIKAM)
    trained = ended(gil.start(TEST, [str(example("digits") / "launch.py")]))
    assert trained.code == 0, trained.err
    job = next(line for line in trained.out.splitlines() if "/customJobs/" in line and line.startswith("projects/"))
    served = ended(gil.start(TEST, [str(example("digits") / "serve.py"), job]))
    assert served.code == 0, served.err
    assert "log: held-out accuracy" in served.out
    answer = json.loads(next(line for line in served.out.splitlines() if line.startswith("answer: "))[8:])
    assert answer["over_grpc"] == answer["over_rest"]
    assert sum(a == b for a, b in zip(answer["asked"], answer["over_grpc"], strict=True)) >= len(answer["asked"]) - 1
    permits = [row for row in world.records(who=who["principal"]) if row.outcome == "permit"]
    assert {row.project for row in permits} == {TEST}
    used = [entry for row in permits for entry in world.cloud(row.decision)]
    assert used
    delegated = {
        entry["protoPayload"]["authenticationInfo"]["serviceAccountDelegationInfo"][0]["principalSubject"]
        for entry in used
    }
    assert {subject.rpartition("/subject/")[2] for subject in delegated} == {who["principal"]}


@pytest.mark.promise("V9")
def test_production_is_closed_to_guests(world: Any) -> None:
    for second_factor in (False, True):
        claims = {"access_token": {"acrs": {"essential": True, "value": "c1"}}} if second_factor else None
        reply = refused(world, fresh(world, GIL, second_factor=second_factor, claims=claims), project=PROD)
        assert (reply.status, reply.reason) == (403, "policy_forbids")
        assert "guest accounts of this tenant work in test only" in reply.message


@pytest.mark.promise("V9")
@pytest.mark.parametrize(
    ("account", "tenant", "reason"),
    [(ZOE, TENANT, "token_tenant"), (UNA, FABRIKAM, "token_issuer")],
    ids=["a guest of an unmapped tenant", "a token of the guest's own tenant"],
)
def test_others_get_nowhere(world: Any, nonce: str, account: str, tenant: str, reason: str) -> None:
    token = fresh(world, account, authority=f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0")
    with world.tunnel(identity=token) as tunnel:
        for project in (TEST, PROD):
            replies = [refused(world, token, project=project), tunnel.ask("GET", f"{jobs(project)}/{nonce}")]
            assert {(reply.status, reply.reason) for reply in replies} == {(401, reason)}
    assert not world.cloud(nonce)
    sign_ins = Path(world.lab.folder, "sign_ins.jsonl").read_text("utf-8").splitlines()
    assert sum(account in line for line in sign_ins) == 1  # her own: nothing was exchanged
