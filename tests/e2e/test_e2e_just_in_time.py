"""Just in time, and why: refused, asked for, approved, used, explained, ended; and what edited policies would change.

People sit at the real command line, each signed in; what they launch goes through the door to the lab's Vertex.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.e2e

TEST, PROD = "contoso-fraud-test", "contoso-fraud-prod"
JOBS = f"/v1/projects/{TEST}/locations/us-central1/customJobs"
CREATE = "customJobs.create"
ML_ENGINEERS = "9a000000-0000-4000-8000-000000000002"
SOON = 60.0  # seconds on a machine that has other things to do
TRAINER = f"trainer@{TEST}.iam.gserviceaccount.com"
ADA = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001/0d000000-0000-4000-8000-000000000002"


def job() -> dict[str, Any]:
    container = {"imageUri": "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest", "command": ["true"]}
    pool = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1", "containerSpec": container}
    return {"displayName": "try", "jobSpec": {"serviceAccount": TRAINER, "workerPoolSpecs": [pool]}}


def until(done: Callable[[], bool], said: Callable[[], str]) -> None:
    end = time.monotonic() + SOON
    while not done():
        assert time.monotonic() < end, said()
        time.sleep(0.2)


class People:
    """Each at a command line of their own, signed in once."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._signed_in: set[str] = set()

    def at(self, name: str) -> Any:
        person = self._world.person(name)
        if name not in self._signed_in:
            person.sign_in()
            self._signed_in.add(name)
        return person

    def says(self, name: str, *arguments: str, code: int = 0) -> Any:
        """What a command answers as `--json`, when it exits so."""
        ran = self.at(name).remit(*arguments, "--json")
        assert ran.code == code, f"{arguments} exited {ran.code}\n{ran.out}\n{ran.err}\n{self._world.tail()}"
        lines = [json.loads(line) for line in ran.out.splitlines()]
        return lines[0] if len(lines) == 1 else lines


@pytest.fixture
def people(world: Any) -> Iterator[People]:
    found = People(world)
    yield found
    for grant in json_lines(found.at("ada").remit("list", "--json").out):
        if grant["mine"] and grant["state"] in {"asked", "granted"}:
            found.at("ada").remit("withdraw", grant["id"])


def _listed(people: People, name: str, *options: str) -> list[Any]:
    found = people.at(name).remit("list", "--json", *options)
    assert found.code == 0, found.err
    return json_lines(found.out)


def json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def asked(people: People, *options: str) -> str:
    done = people.says("ada", "request", CREATE, TEST, "--for", "10m", "--because", "to try a model", *options)
    assert done["grant"]["state"] == "asked"
    return str(done["grant"]["id"])


def launched(world: Any) -> Any:
    return world.ask("ada", "POST", JOBS, job())


@pytest.mark.promise("V20")
def test_refused_asked_approved_used_explained_and_ended(world: Any, people: People) -> None:
    # 1. an SDK's refusal names the decision, what would do, and the command
    refused = launched(world)
    assert (refused.status, refused.reason) == (403, "approval_required")
    assert f"remit request aiplatform.projects.locations.{CREATE} {TEST} --for 1h" in refused.message
    assert refused.decision in refused.message
    # 2. her own view says what she can do, and names no policy
    mine = people.says("ada", "explain", refused.decision)
    assert [change["means"] for change in mine["repairs"][0]] == ["grant"]
    assert not mine["questions"]
    assert "policies" not in mine
    # 3. security sees which policies, what they saw, by which way she came, and who could approve
    full = people.says("sam", "explain", refused.decision, "--full")
    seen = [policy["id"] for question in full["questions"] for policy in question["policies"]]
    assert "data-scientists-granted-launch-test" in seen
    (granting,) = [repair for repair in full["repairs"] if [one["means"] for one in repair] == ["grant"]][:1]
    assert "Sam" in granting[0]["who"]
    # 4. nobody else's business: somebody else's decision and no decision look the same
    hers = world.ask("dana", "GET", f"{JOBS}/{time.time_ns()}").decision
    for unknown in (hers, "d-" + "0" * 26):
        ran = people.at("ada").remit("explain", unknown)
        assert ran.code == 1, ran.err
        assert "Dana" not in ran.err + ran.out
    # 5. asked for; not one's own to approve; a colleague does
    grant = asked(people)
    assert people.at("ada").remit("approve", grant).code == 1
    assert launched(world).status == 403
    waiting = [one for one in _listed(people, "dana") if one["may_approve"] and one["state"] == "asked"]
    assert [one["id"] for one in waiting] == [grant]
    assert people.says("dana", "approve", grant, "--because", "go ahead")["grant"]["state"] == "granted"
    until(lambda: launched(world).status == 200, world.tail)
    # 6. it is hers, and for this alone
    other = world.ask("ada", "POST", JOBS.replace(TEST, PROD), job())
    assert other.status == 403
    able = people.says("sam", "who", CREATE, TEST)["people"]
    assert {one["name"]: one["outcome"] for one in able}["Ada"] == "permit"
    # 7. every step is a record, and what was decided with it names it
    permits = [row for row in world.records(who=ADA, action=CREATE) if row.outcome == "permit"]
    assert permits
    told = people.says("sam", "explain", permits[-1].decision, "--full")
    assert told["grants"] == [grant]
    assert told["same"]
    # 8. given back, it ends at once
    people.says("ada", "withdraw", grant)
    until(lambda: launched(world).status == 403, world.tail)


@pytest.mark.promise("N1")
def test_a_grant_is_born_with_a_run_and_dies_with_it(world: Any, people: People, tmp_path: Path) -> None:
    grant = asked(people, "--job", "nightly")
    people.says("dana", "approve", grant)
    assert launched(world).status == 403  # it waits for its run
    beforehand = people.says("ada", "can", "me", CREATE, TEST, "--job", "nightly")
    assert beforehand["grants"] == [{"id": grant, "job": "nightly", "until": 0}]
    people.says("ada", "can", "me", CREATE, TEST, code=1)
    go, script = tmp_path / "go", tmp_path / "run.py"
    script.write_text(
        "import json, pathlib, sys, time, requests\n"
        "url, body, go = sys.argv[1], json.loads(sys.argv[2]), pathlib.Path(sys.argv[3])\n"
        "print(requests.post(url, json=body).status_code, flush=True)\n"
        "while not go.exists(): time.sleep(0.05)\n"
    )
    url = f"https://us-central1-aiplatform.googleapis.com{JOBS}"
    arguments = [str(script), url, json.dumps(job()), str(go)]
    run = people.at("ada").start(TEST, arguments, "nightly")
    try:
        assert run.stdout is not None
        assert run.stdout.readline().strip() == "200", world.tail()
        assert launched(world).status == 403  # outside of the run it is nobody's
    finally:
        go.touch()
        said = run.communicate(timeout=SOON)[1]
    assert run.returncode == 0, said
    assert "1 grant begins with `nightly`" in said
    (found,) = [one for one in _listed(people, "ada", "--all") if one["id"] == grant]
    assert found["state"] == "ended"
    again = people.at("ada").run(TEST, arguments)
    assert again.out.strip() == "403", again.err


NIGHTLY = f"""
@id("ada-nightly-launches")
@purpose("what runs each night under this name needs nobody's word")
permit (principal in Job::"{ADA}/nightly", action == Action::"aiplatform.projects.locations.{CREATE}", resource);
@id("ada-nightly-acts-as-trainer")
@purpose("likewise")
permit (
    principal in Job::"{ADA}/nightly",
    action == Action::"iam.serviceAccounts.actAs",
    resource == ServiceAccount::"{TRAINER}"
);
"""


@pytest.mark.promise("V20")
def test_what_a_policy_permits_within_a_job_is_permitted_there_alone(
    world: Any, people: People, tmp_path: Path
) -> None:
    script, rules = tmp_path / "run.py", world.settings.policy.folder / "nightly.cedar"
    script.write_text(
        "import json, sys, requests\nprint(requests.post(sys.argv[1], json=json.loads(sys.argv[2])).status_code)\n"
    )
    arguments = [str(script), f"https://us-central1-aiplatform.googleapis.com{JOBS}", json.dumps(job())]

    def within(name: str) -> str:
        said, beside = people.at("ada").start(TEST, arguments, name).communicate(timeout=SOON)
        return said.strip() or beside

    (tmp_path / "nightly").write_text(NIGHTLY)
    shutil.copy(tmp_path / "nightly", rules.with_suffix(".txt"))
    rules.with_suffix(".txt").rename(rules)
    try:
        question = ("can", "me", CREATE, TEST, "--job", "nightly")
        until(lambda: people.at("ada").remit(*question).code == 0, world.tail)
        # within the run alone, whatever it is called outside and whoever calls theirs so
        assert within("nightly") == "200", world.tail()
        assert within("weekly") == "403", world.tail()
        refused = launched(world)
        assert refused.status == 403
        # whoever is in the job can be told so, and security sees who can get in
        commands = [change["command"] for repair in people.says("ada", "explain", refused.decision)["repairs"]
                    for change in repair]  # fmt: skip
        assert "remit run --name nightly -- …" in commands
        able = {one["name"]: one for one in people.says("sam", "who", CREATE, TEST)["people"]}
        assert (able["Ada"]["outcome"], able["Ada"]["ways"]) == ("permit", [["run nightly"]])
        permits = [row for row in world.records(who=ADA, action=CREATE) if row.outcome == "permit"]
        told = people.says("sam", "explain", permits[-1].decision, "--full")
        assert told["same"], "decided again, it is in the job still"
        assert told["ways"][-1] == {"group": f"{ADA}/nightly", "way": ["run nightly"]}
    finally:
        rules.unlink(missing_ok=True)
        until(lambda: people.at("ada").remit(*question).code == 1, world.tail)


def test_taken_without_waiting_and_looked_at_afterwards(world: Any, people: People) -> None:
    """Ada is an ml engineer tonight, from outside the fraud team."""
    world.control(join={"group": ML_ENGINEERS, "member": ADA.partition("/")[2]})
    try:
        weak = world.entra.sign_in("ada")["access_token"]
        wish = {"action": "endpoints.deployModel", "resource": PROD, "for": 3600, "because": "it burns"}
        refused = grants(world, weak, {"ask": {**wish, "break_glass": True}})
        assert refused.status_code == 401 or refused.headers["x-remit-reason"] == "step_up_required", refused.text
        claims = {"access_token": {"acrs": {"essential": True, "value": "c1"}}}
        strong = world.entra.sign_in("ada", second_factor=True, claims=claims)["access_token"]
        done = grants(world, strong, {"ask": {**wish, "break_glass": True}})
        assert done.status_code == 200, done.text
        grant = done.json()["grant"]
        assert (grant["state"], grant["review_due"], grant["needed"]) == ("granted", True, 0)
        assert "takes a grant without waiting" in world.tail() or "break" in world.tail()
        own = grants(world, strong, {"grant": grant["id"], "say": "review", "because": "fine"})
        assert own.status_code in {401, 403}, own.text
        sam = world.entra.sign_in("sam", second_factor=True, claims=claims)["access_token"]
        review = {"grant": grant["id"], "say": "review", "because": "looked at"}
        assert grants(world, sam, review).status_code == 400  # it is in force still: there may be more to look at
        assert grants(world, strong, {"grant": grant["id"], "say": "withdraw"}).status_code == 200
        seen = grants(world, sam, review)
        assert seen.status_code == 200, seen.text
        assert not seen.json()["grant"]["review_due"]
    finally:
        world.control(leave={"group": ML_ENGINEERS, "member": ADA.partition("/")[2]})


def grants(world: Any, token: str, document: dict[str, Any]) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.post(f"{world.url}/v1/grants", json=document, headers=headers, trust_env=False, timeout=30)


@pytest.mark.promise("N5")
def test_unchanged_policies_change_nothing_and_an_edit_shows_who_gains(
    world: Any, people: People, tmp_path: Path
) -> None:
    launched(world)
    config = str(world.config)
    folder = world.settings.policy.folder
    same, edited = tmp_path / "same", tmp_path / "edited"
    shutil.copytree(folder, same)
    ran = world.remit("policy", "diff", "--config", config, "--against", str(same), "--since", "1d", "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    counts = json.loads(ran.stdout)
    assert counts["replayed"] > 0
    assert (counts["gains"], counts["losses"], counts["unlike"]) == ([], [], 0)
    shutil.copytree(folder, edited)
    (edited / "just-in-time.cedar").unlink()
    ran = world.remit("policy", "diff", "--config", config, "--against", str(edited), "--since", "1d", "--json")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    for command in (["test"], ["check", "--json"]):
        ran = world.remit("policy", *command, "--config", config)
        assert ran.returncode in {0, 1}, ran.stdout + ran.stderr
