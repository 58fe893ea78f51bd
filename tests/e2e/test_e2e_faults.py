"""What happens when a part breaks: refusals that say what, no permit without its record, and everything well again.

Bounds are those that the product owes: no permit within a second of a fault, and all well two seconds after its end.
"""

import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

import pytest

pytestmark = pytest.mark.e2e

TEST = "projects/contoso-fraud-test/locations/us-central1"
STS = "sts.googleapis.com"
SOON = 1.0  # seconds until a fault is answered by refusals
ASKED = 4.0  # seconds until the last refusal of one request comes: the arbiter may ask to be asked again, three times
STARTING = 10.0  # seconds for a Python process to start on a machine that has other things to do
WELL = 2.0  # seconds from the end of a fault until permits are given again


class Caller:
    """Dana in a loop, each call for another job, so that no lease ever answers."""

    def __init__(self, world: Any) -> None:
        self.seen: list[tuple[float, int, str, str]] = []  # when it was asked, status, reason, job
        self.slowest = 0.0
        self._world = world
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        self.until(lambda: any(status == 404 for _, status, _, _ in self.seen), 15)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = time.time_ns()
        while not self._stop.is_set():
            with self._world.tunnel("dana") as tunnel:
                try:
                    while not self._stop.wait(0.01):
                        number += 1
                        self._ask(tunnel, str(number))
                except (OSError, HTTPException) as error:  # the door itself is away
                    self.seen.append((time.monotonic(), 0, type(error).__name__, str(number)))

    def _ask(self, tunnel: Any, job: str) -> None:
        began = time.monotonic()
        reply = tunnel.ask("GET", f"/v1/{TEST}/customJobs/{job}")
        self.seen.append((began, reply.status, reply.reason, job))
        self.slowest = max(self.slowest, reply.took)

    def after(self, moment: float) -> list[tuple[float, int, str, str]]:
        return [row for row in self.seen if row[0] > moment]

    def permitted(self, moment: float) -> bool:
        """Whether anything was permitted since: the lab has no such job, and says so itself."""
        return any(status == 404 for _, status, _, _ in self.after(moment))

    def until(self, done: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"not within {seconds} s: {self.seen[-5:]}\n{self._world.tail()}"
            time.sleep(0.01)


@pytest.fixture(autouse=True)
def well(world: Any) -> Iterator[None]:
    """Every fault is over when its test is."""
    world.until_ready()
    yield
    world.control(clear=True)
    world.until_ready()


def every_permit_has_its_record(world: Any, caller: Caller) -> None:
    """What reached the lab was permitted by a decision that is in the ledger, and the evidence holds."""
    jobs = {row[3] for row in caller.seen}
    reached = {
        entry["protoPayload"]["resourceName"].rpartition("/")[2]: entry["protoPayload"]["requestMetadata"]
        for entry in world.cloud("GetCustomJob")
    }
    known = {record.decision: record for record in world.records()}
    for name in jobs & set(reached):
        decision = reached[name]["requestAttributes"]["reason"].removeprefix("decision/")
        assert known[decision].outcome == "permit"
        assert known[decision].resource.endswith(f"/customJobs/{name}")
    assert {row[3] for row in caller.seen if row[1] == 404} <= set(reached)
    verified = world.remit("audit", "verify", "--config", str(world.config))
    assert verified.returncode == 0, verified.stderr


@contextmanager
def no_file_grows(world: Any) -> Iterator[None]:
    """The arbiter's writes fail as on a full disk (EFBIG); the limit holds for root as well."""
    pid = world.arbiter
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def database_is_moved_away(world: Any) -> Iterator[None]:
    """What a restored backup or a lost mount looks like: the open file is not the one with the name any more."""
    database = world.config.parent / ".remit" / "remit.db"
    aside = database.rename(database.with_name("aside.db"))
    try:
        yield
    finally:
        aside.rename(database)


@pytest.mark.parametrize("fault", [no_file_grows, database_is_moved_away])
def test_without_a_ledger_nothing_is_permitted(world: Any, fault: Callable[..., Any]) -> None:
    with Caller(world) as caller:
        with fault(world):
            began = time.monotonic()
            time.sleep(SOON)
            readiness = world.readiness()
            time.sleep(0.5)
        ended = time.monotonic()
        caller.until(lambda: caller.permitted(ended), WELL)
    refused = [row for row in caller.after(began + SOON) if row[0] < ended - 0.05]
    assert refused
    assert {(status, reason) for _, status, reason, _ in refused} == {(503, "record_unavailable")}
    assert (readiness.status_code, list(readiness.json()["wrong"])) == (503, ["ledger"])
    every_permit_has_its_record(world, caller)


@contextmanager
def access_log_is_full(world: Any) -> Iterator[None]:
    """Envoy's log leads to a device without space, whose writes fail with ENOSPC for everybody.

    Sealing waits meanwhile: it would read that device for ever.
    """
    log = world.settings.audit.access_log
    with world.sealing_waits():
        (aside := log.with_name("aside")).hardlink_to(log)
        (full := log.with_name("full")).symlink_to("/dev/full")
        full.rename(log)  # at once: Envoy makes a log where there is none
        try:
            yield
        finally:
            aside.rename(log)


def test_without_access_events_nothing_is_permitted(world: Any) -> None:
    with Caller(world) as caller:
        with access_log_is_full(world):
            began = time.monotonic()
            time.sleep(SOON)
            readiness = world.readiness()
            time.sleep(0.5)
            ended = time.monotonic()
        # one failed write counts for five seconds
        caller.until(lambda: caller.permitted(ended), 5 + WELL)
    refused = [row for row in caller.after(began + SOON) if row[0] < ended]
    assert refused
    assert {(status, reason) for _, status, reason, _ in refused} == {(503, "record_unavailable")}
    assert (readiness.status_code, list(readiness.json()["wrong"])) == (503, ["access events"])
    every_permit_has_its_record(world, caller)


def test_a_killed_arbiter_permits_nothing_and_comes_back(world: Any) -> None:
    """Also when Envoy failed to write once, as in the test above: what is over must not count anew."""
    old = world.arbiter
    with Caller(world) as caller:
        killed = time.monotonic()
        os.kill(old, signal.SIGKILL)
        caller.until(lambda: any(status == 503 for _, status, _, _ in caller.after(killed)), SOON)
        caller.until(lambda: world.arbiter not in {0, old}, WELL)
        caller.until(lambda: answered(caller, killed), STARTING)
        back = time.monotonic()
        caller.until(lambda: caller.permitted(killed), WELL)
    refused = {(status, reason) for _, status, reason, _ in caller.after(killed) if status != 404}
    assert refused == {(503, "plane_unavailable")}
    assert caller.slowest < ASKED
    print(f"the arbiter answered {back - killed:.2f} s after it was killed")
    every_permit_has_its_record(world, caller)


def answered(caller: Caller, moment: float) -> bool:
    """Whether the arbiter answered a call that was made since."""
    return any(status and reason != "plane_unavailable" for _, status, reason, _ in caller.after(moment))


def test_envoy_comes_back_by_itself(world: Any) -> None:
    old = world.envoy
    with Caller(world) as caller:
        killed = time.monotonic()
        os.kill(old, signal.SIGKILL)
        caller.until(lambda: caller.permitted(killed + 0.05), WELL)
        assert world.envoy not in {0, old}
    every_permit_has_its_record(world, caller)


# Policies.

_BROKEN = "\npermit (principal, action resource);\n"


def test_a_broken_policy_changes_nothing_and_is_named(world: Any) -> None:
    file = world.config.parent / "policies" / "fraud.cedar"
    good = file.read_text("utf-8")
    line = (good + _BROKEN).splitlines().index(_BROKEN.strip()) + 1
    told = world.log.stat().st_size
    said = lambda: world.log.read_text("utf-8")[told:]  # noqa: E731 - a reading, made anew each time
    file.write_text(good + _BROKEN, "utf-8")
    try:
        wait(lambda: f"{file}:{line}:" in said(), 3)
        assert "the last good set stays" in said()
        jobs = (f"/v1/{TEST}/models/{time.time_ns()}{number}" for number in range(2))
        assert world.ask("dana", "GET", next(jobs)).status == 404
        before = policy_version(world)
        assert world.ask("dana", "GET", next(jobs)).status == 404
        assert policy_version(world) == before
        assert world.readiness().is_success
    finally:
        file.write_text(good, "utf-8")
    wait(lambda: "decide from now on" in said(), 3)


def policy_version(world: Any) -> str:
    """The policies by which the last decision was taken."""
    from remit.assembly.evidence import reading
    from remit.audit.lookup import find_decision

    last = world.records()[-1].decision
    with reading(world.settings) as engine:
        return str((find_decision(engine, last) or {})["policy_version"])


def test_a_broken_policy_at_first_start_is_refused(world: Any, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    shutil.copytree(world.config.parent, folder, ignore=shutil.ignore_patterns(".remit"))
    file = folder / "policies" / "fraud.cedar"
    good = file.read_text("utf-8")
    file.write_text(good + _BROKEN, "utf-8")
    line = file.read_text("utf-8").splitlines().index(_BROKEN.strip()) + 1
    refused = world.remit("serve", "--config", str(folder / "remit.yaml"))
    assert refused.returncode == 2
    assert f"{file}:{line}:" in refused.stderr
    assert not (folder / ".remit").exists()


# Google's token service.


def fresh(world: Any, *names: str) -> list[str]:
    """Tokens of new sign-ins: nothing is cached for them."""
    return [str(world.entra.sign_in(name)["access_token"]) for name in names]


@pytest.mark.parametrize("fault", [{"status": 500}, {"hang": 20.0}], ids=["answers 500", "hangs"])
def test_a_broken_token_service_is_named(world: Any, fault: dict[str, Any]) -> None:
    [token] = fresh(world, "dana")
    world.control(fault={"host": STS, **fault})
    cloud = len(world.cloud("JobService"))
    with world.tunnel(identity=token) as tunnel:
        reply = tunnel.ask("GET", f"/v1/{TEST}/customJobs")
        assert (reply.status, reply.reason) == (503, "exchange_unavailable")
        assert "`google-sts`" in reply.message
        assert reply.took < ASKED
        outcomes = [row.outcome for row in world.records(decision=reply.decision)]
        assert outcomes == ["permit", "failed"]
        assert len(world.cloud("JobService")) == cloud
        # whoever has a token already does not notice
        assert world.ask("dana", "GET", f"/v1/{TEST}/customJobs/{time.time_ns()}").status == 404
        world.control(clear=True)
        wait(lambda: tunnel.ask("GET", f"/v1/{TEST}/customJobs").status == 200, 8)


def test_no_token_crosses_while_the_token_service_comes_and_goes(world: Any) -> None:
    names = ["dana", "ada"] * 6
    tokens = fresh(world, *names)
    faults: list[dict[str, Any]] = [{"status": 500}, {"hang": 0.3, "status": 503}, {"hang": 0.3}]
    world.control(fault={"host": STS, **faults[0]})
    over = threading.Event()

    def breaking() -> None:
        for fault in faults * 2:
            world.control(fault={"host": STS, **fault})
            time.sleep(0.4)
            world.control(clear=True)
            time.sleep(0.1)
        over.set()

    def calling(index: int) -> list[tuple[str, str, int]]:
        found: list[tuple[str, str, int]] = []
        with world.tunnel(identity=tokens[index]) as tunnel:
            while not over.is_set() or not found or found[-1][2] != 404:
                job = f"{time.time_ns()}{index:02}"
                reply = tunnel.ask("GET", f"/v1/{TEST}/models/{job}")
                found.append((names[index], job, reply.status))
                assert reply.status in {404, 503}
                time.sleep(0.02)
        return found

    with ThreadPoolExecutor(len(names) + 1) as pool:
        breaker = pool.submit(breaking)
        asked = [row for rows in pool.map(calling, range(len(names))) for row in rows]
        breaker.result()
    accounts = {"dana": "ml-engineer@", "ada": "data-scientist@"}
    upstream = {
        entry["protoPayload"]["resourceName"].rpartition("/")[2]: entry["protoPayload"]["authenticationInfo"]
        for entry in world.cloud("GetModel")
    }
    statuses = {status for _, _, status in asked}
    assert statuses == {404, 503}
    for name, job, status in asked:
        assert (job in upstream) == (status == 404)
        if status == 404:
            assert upstream[job]["principalEmail"].startswith(accounts[name])
            delegated = upstream[job]["serviceAccountDelegationInfo"][0]["principalSubject"]
            assert delegated.endswith({"dana": "000000000001", "ada": "000000000002"}[name])


def wait(done: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)
