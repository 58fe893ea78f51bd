"""Who did what, on both sides: the ledger and the lab's Cloud Audit Log agree, and a changed past is found."""

import gzip
import json
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.e2e

TEST = "projects/contoso-fraud-test/locations/us-central1"
GET_MODEL = "/google.cloud.aiplatform.v1.ModelService/GetModel"
SUBJECT = {
    "dana": "6f1c2a34-8b5d-4e6f-9a01-c0de00000001/0d000000-0000-4000-8000-000000000001",
    "ada": "6f1c2a34-8b5d-4e6f-9a01-c0de00000001/0d000000-0000-4000-8000-000000000002",
}
ACCOUNT = {
    "dana": "ml-engineer@contoso-fraud-test.iam.gserviceaccount.com",
    "ada": "data-scientist@contoso-fraud-test.iam.gserviceaccount.com",
}
EACH = 200  # requests
WORKERS = 4  # a person's connections


def over_rest(world: Any, name: str, jobs: list[str]) -> dict[str, str]:
    """What was answered for each job."""
    with world.tunnel(name) as tunnel:
        return {job: tunnel.ask("GET", f"/v1/{TEST}/models/{job}").message for job in jobs}


def over_grpc(world: Any, name: str, jobs: list[str]) -> dict[str, str]:
    token, found = world.entra.token(name), {}
    with world.channel() as channel:
        call = channel.unary_unary(GET_MODEL, request_serializer=bytes, response_deserializer=bytes)
        for job in jobs:
            resource = f"{TEST}/models/{job}".encode()
            with pytest.raises(grpc.RpcError) as answer:
                call(b"\x0a" + bytes([len(resource)]) + resource, metadata=[("authorization", f"Bearer {token}")])
            found[job] = answer.value.details()
    return found


@pytest.mark.promise("V5")
def test_two_people_at_once_never_cross(world: Any) -> None:
    """Each asks for models that nobody else asks for, several of them again at once, so that leases answer as well."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    base = {"dana": chance.randrange(10**9) * 1000, "ada": chance.randrange(10**9, 2 * 10**9) * 1000}
    work = []
    for name in SUBJECT:
        asked = [str(base[name] + chance.randrange(EACH // 2)) for _ in range(EACH)]
        for worker in range(WORKERS):
            transport = over_rest if worker % 2 else over_grpc
            work.append((transport, name, asked[worker::WORKERS]))
    chance.shuffle(work)
    gate = threading.Barrier(len(work))

    def run(transport: Callable[..., dict[str, str]], name: str, jobs: list[str]) -> tuple[str, dict[str, str]]:
        gate.wait()
        return name, transport(world, name, jobs)

    with ThreadPoolExecutor(len(work)) as pool:
        answers = list(pool.map(lambda one: run(*one), work))
    owner = {job: name for name, found in answers for job in found}
    for _, found in answers:
        for job, message in found.items():
            assert message.endswith(f'/models/{job}" does not exist.'), message
    known = {record.decision: record for record in world.records()}
    calls = 0
    for entry in (one["protoPayload"] for one in world.cloud("GetModel")):
        job = entry["resourceName"].rpartition("/")[2]
        if job not in owner:
            continue
        calls += 1
        name, who = owner[job], entry["authenticationInfo"]
        assert who["principalEmail"] == ACCOUNT[name]
        assert who["serviceAccountDelegationInfo"][0]["principalSubject"].endswith(f"/subject/{SUBJECT[name]}")
        reason = entry["requestMetadata"]["requestAttributes"]["reason"]
        decision = known[reason.removeprefix("decision/")]
        assert (decision.principal, decision.outcome) == (SUBJECT[name], "permit")
        assert decision.resource == f"//aiplatform.googleapis.com/{TEST}/models/{job}"
    assert calls == 2 * EACH


def test_the_timeline_tells_who_did_what_and_why(world: Any, nonce: str) -> None:
    job = str(int(nonce[1:], 16) % 10**15)  # a model, by name
    world.ask("dana", "GET", f"/v1/{TEST}/models/{job}")
    refused = world.ask("ada", "DELETE", f"/v1/{TEST}/models/{job}")
    assert len(world.access(job, 2)) == 2
    asked = world.remit("audit", "query", "--config", str(world.config), "--resource", job, "--json")
    rows = [json.loads(line) for line in asked.stdout.splitlines()]
    told = [(row["kind"], row["name"], row["action"].rpartition(".")[2], row["outcome"]) for row in rows]
    dana, ada = ("dana@contoso.example", "get", "permit"), ("ada@contoso.example", "delete", "deny")
    assert sorted(told) == sorted((kind, *who) for kind in ("decision", "access") for who in (dana, ada))
    assert {row["status"] for row in rows if row["kind"] == "access"} == {404, 403}
    assert next(row for row in rows if row["outcome"] == "permit")["policies"] == ["ml-engineers-work-fraud-test"]
    assert {row["decision"] for row in rows if row["outcome"] == "deny"} == {refused.decision}


# A past that was changed.


@pytest.fixture
def copy(world: Any, tmp_path: Path) -> Path:
    """The installation's file beside a copy of its whole state, taken while it runs."""
    world.ask("dana", "GET", f"/v1/{TEST}/models/1")
    source, folder = world.config.parent, tmp_path / "copy"
    # not in the middle of sealing, nor of a commit
    with world.sealing_waits():
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("run", "remit.db*"))
        with (
            sqlite3.connect(source / ".remit" / "remit.db") as live,
            sqlite3.connect(folder / ".remit" / "remit.db") as to,
        ):
            live.backup(to)
        live.close()
        to.close()
    return folder / world.config.name


def verdict(world: Any, config: Path) -> tuple[int, str]:
    done = world.remit("audit", "verify", "--config", str(config))
    return done.returncode, done.stderr


def change(config: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(config.parent / ".remit" / "remit.db") as database:
        assert database.execute(statement, values).rowcount == 1
    database.close()


def record(config: Path) -> tuple[int, bytes]:
    """A permit of Dana's, in the middle."""
    with sqlite3.connect(config.parent / ".remit" / "remit.db") as database:
        rows = database.execute("SELECT position, entry FROM ledger_entries WHERE type = 'decision'").fetchall()
    database.close()
    found = [(position, entry) for position, entry in rows if b'"permit"' in entry and b"dana@" in entry]
    return found[len(found) // 2]


@pytest.mark.promise("N7")
def test_genuine_evidence_verifies(world: Any, copy: Path) -> None:
    for config in (world.config, copy):
        code, said = verdict(world, config)
        assert (code, "the evidence holds" in said) == (0, True), said


@pytest.mark.promise("N7")
def test_one_changed_byte_of_a_record_is_found(world: Any, copy: Path) -> None:
    position, entry = record(copy)
    changed = entry.replace(b"dana@", b"dane@", 1)
    change(copy, "UPDATE ledger_entries SET entry = ? WHERE position = ?", changed, position)
    code, said = verdict(world, copy)
    assert (code, f"broken: entry {position}: " in said) == (1, True), said


@pytest.mark.promise("N7")
def test_a_removed_record_is_found(world: Any, copy: Path) -> None:
    position, _ = record(copy)
    change(copy, "DELETE FROM ledger_entries WHERE position = ?", position)
    code, said = verdict(world, copy)
    assert (code, f"broken: entry {position}: it is missing" in said) == (1, True), said


@pytest.mark.promise("N7")
def test_a_changed_segment_is_found(world: Any, copy: Path) -> None:
    kept = sorted((copy.parent / ".remit" / "audit" / "segments").glob("*.jsonl.gz"))
    full = max(kept, key=lambda path: path.stat().st_size)
    rows = gzip.decompress(full.read_bytes())
    assert b"127.0.0.1" in rows
    full.write_bytes(gzip.compress(rows.replace(b"127.0.0.1", b"127.0.0.2", 1)))
    code, said = verdict(world, copy)
    number = int(full.name.partition(".")[0])
    assert (code, f"broken: segment {number} of node-1: " in said) == (1, True), said


@pytest.mark.promise("V22")
def test_no_credential_lies_anywhere(world: Any) -> None:
    """Neither the tokens that people showed nor those that Remit obtained: in no file, nor in what it prints."""
    world.ask("dana", "GET", f"/v1/{TEST}/models/2")
    shown = [token.encode() for token in world.entra.held.values()]
    clouds = Path(world.lab.folder)  # they may know what they gave
    for path in world.folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.is_relative_to(clouds):
            content = path.read_bytes()
            assert b"ya29." not in content, path
            assert not any(token in content for token in shown), path
