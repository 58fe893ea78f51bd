"""How a run ends: revoked half-way, by itself, by a signal, before it began; and two users of one host, side by side."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from tests.e2e.jobs_world import DANA, HERE, MACHINE, PIPELINE, PROD, PROJECT, Ended, Jobs, ended, shared, since, soon

pytestmark = pytest.mark.e2e

_CUT = 5.0  # seconds: the issue's own bound
STRANGERS = (61_001, 61_002)  # user ids that nobody has


class Held:
    """A run of that job, and what it has said until now."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []
        self.err = ""
        self._threads = [threading.Thread(target=each) for each in (self._read, self._errors)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def _errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.err += line

    def event(self, name: str, **more: Any) -> dict[str, Any]:
        """Waits for it."""

        def found() -> list[dict[str, Any]]:
            wanted = {"event": name, **more}
            return [one for one in self.said if wanted.items() <= one.items()]

        soon(lambda: bool(found()), lambda: f"no {name} {more}\n{self.said}\n{self.err}")
        return found()[-1]

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def end(self) -> Ended:
        code = self.process.wait(60)
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        return Ended(code, "", self.err)

    @property
    def job(self) -> str:
        return Ended(0, "", self.err).job


@pytest.fixture(scope="module")
def jobs(pytestconfig: pytest.Config, postgres: str) -> Jobs:
    return shared(pytestconfig, postgres)


@pytest.fixture
def held(jobs: Jobs) -> Iterator[Callable[[], Held]]:
    """Begins a run of Dana's that holds everything; what is left of it ends with the test."""
    begun: list[Held] = []

    def begin() -> Held:
        run = Held(jobs.begin(jobs.signed_in("dana"), [sys.executable, str(HERE / "jobs_held.py"), jobs.dsn]))
        begun.append(run)
        for what in ("vertex", "straight", "database"):
            run.event("opened", what=what)
        run.event("token")
        return run

    yield begin
    for run in begun:
        if run.process.poll() is None:
            run.process.terminate()
        run.end()


def asked_for(jobs: Jobs, job: str, audience: str = f"//storage.googleapis.com/projects/{PROJECT}") -> httpx.Response:
    """The broker's answer to a request with Dana's own token and a run's id."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": jobs.entra.token("dana"),
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "audience": audience,
        "job": job,
    }
    return httpx.post(f"{jobs.url}/v1/token", data=form, trust_env=False, timeout=60)


@pytest.mark.promise("T5")
def test_a_revoked_run_stops_and_another_of_the_same_person_goes_on(jobs: Jobs, held: Callable[[], Held]) -> None:
    revoked, other, began = held(), held(), since()
    done = jobs.remit("revoke", revoked.job, "--because", "it reads too much", "--config", str(jobs.config))
    assert done.returncode == 0, done.stderr
    [order] = [row for row in jobs.records(since=began) if row.kind == "revocation"]
    assert (order.resource, order.outcome) == (revoked.job, "revoke")
    for what in ("vertex", "database"):
        took = revoked.event(what)["at"] - order.time / 1_000_000
        print(f"{what} ended {took:.2f} s after the revocation")
        assert took < _CUT
    assert "has been revoked" in revoked.event("vertex", status=403)["text"]
    assert "the permit of this connection is over" in revoked.event("database")["text"]
    revoked.tell("renew")
    said = revoked.event("renewal")
    assert "revoked" in said["text"]
    assert (said["cause"], "revoked" in said["message"]) == ("refused", True), said
    revoked.event("straight")  # what went past the gateway, now that the run's own proxy knows
    soon(lambda: f"{revoked.job} has no credentials and no connections any more" in revoked.err)
    other.tell("renew")
    other.event("renewed")
    other.tell("ask")
    assert other.event("asked")["status"] == 200
    other.tell("query")
    assert other.event("queried")["row"] == [1]
    assert not [one for one in other.said if one["event"] in {"vertex", "database", "straight"}]
    rows = [row for row in jobs.records(since=began, who=DANA) if row.kind == "decision"]
    theirs = [row for row in rows if row.job == revoked.job and row.time >= order.time]
    assert {row.reasons for row in theirs if row.outcome == "deny"} == {("revoked",)}
    permitted = [row.time for row in theirs if row.outcome == "permit"]
    assert max(permitted, default=0) < order.time + _CUT * 1_000_000
    assert {row.outcome for row in rows if row.job == other.job} == {"permit"}
    revoked.tell("end")
    assert revoked.end().code == 7


@pytest.mark.promise("T5")
@pytest.mark.parametrize("how", ["by itself", "by a signal"])
def test_what_was_issued_for_a_run_ends_with_it(jobs: Jobs, held: Callable[[], Held], how: str) -> None:
    run = held()
    assert asked_for(jobs, run.job).is_success
    if how == "by itself":
        run.tell("end")
    else:
        run.process.terminate()
    assert run.end().code == (7 if how == "by itself" else 143)
    began = since()
    for audience in (f"//storage.googleapis.com/projects/{PROJECT}", f"//blob.core.windows.net/projects/{PROJECT}"):
        answer = asked_for(jobs, run.job, audience)
        assert answer.status_code in {400, 401, 403}
        assert "access_token" not in answer.json()
        assert answer.headers["x-remit-reason"] == "revoked"
    with pytest.raises(psycopg.OperationalError, match="revoked"):
        psycopg.connect(jobs.dsn, password=jobs.entra.token("dana"), application_name=run.job)
    rows = [row for row in jobs.records(since=began, who=DANA) if row.kind == "decision" and row.job == run.job]
    assert [(row.outcome, row.reasons) for row in rows] == [("deny", ("revoked",))] * 3
    assert [row.outcome for row in jobs.records(who=DANA) if row.kind == "run" and row.job == run.job] == [
        "start",
        "end",
    ]


@pytest.mark.promise("V13")
def test_a_run_longer_than_its_sign_in_is_told_in_test_and_refused_in_production(jobs: Jobs) -> None:
    machine, began = jobs.signed_in("dana"), since()
    warned = jobs.run(machine, [sys.executable, "-c", "print('{}')"], "--for", "30h")
    assert (warned.code, warned.lines) == (0, [{}])
    assert re.search(r"this run outlives its sign-in \(23 h [0-9]+ min\): the tenant's sign-in", warned.err), warned.err
    assert "hint: sign in again just before (`remit login`)" in warned.err
    refused = jobs.run(machine, [sys.executable, "-c", "print('{}')"], "--for", "30h", project=PROD)
    assert refused.code != 0
    assert refused.lines == []
    assert "in production no work begins that outlives what it depends on" in refused.err
    assert "Traceback" not in refused.err
    rows = [row for row in jobs.records(since=began, who=DANA) if row.action == "remit.runs.start"]
    told = {(row.project, row.outcome, "production-not-outlived" in row.policies) for row in rows}
    assert {(project, outcome) for project, outcome, _ in told} >= {(PROJECT, "permit"), (PROD, "deny")}
    assert (PROD, "deny", True) in told


@pytest.mark.promise("V13")
def test_the_doctor_names_the_hop(jobs: Jobs) -> None:
    jobs.signed_in("dana")
    for lasting, code, hops in (("30h", 1, ["sign-in"]), ("2h", 0, [])):
        ran = jobs.people["dana"].remit("doctor", "lifetime", "--project", PROJECT, "--for", lasting, "--json")
        assert ran.code == code, ran.err
        found = json.loads(ran.out)
        assert [one["hop"] for one in found["outlived"]] == hops
        assert all(one["change"] for one in found["outlived"])


@pytest.mark.promise("T10")
def test_one_user_runs_in_one_project_at_a_time(jobs: Jobs, held: Callable[[], Held]) -> None:
    run = held()
    second = jobs.run(jobs.signed_in("dana"), [sys.executable, "-c", "print('{}')"], project=PROD)
    assert (second.code != 0, second.lines) == (True, [])
    assert f"a run of yours in another project, `{PROJECT}`, lasts: {run.job}" in second.err
    assert f"end it with `remit revoke {run.job}`" in second.err


def become(user: int) -> list[str]:
    """Words before a command that make it another user's: root may, and whoever `sudo` lets (a runner's own user).

    The interpreter may lie where only its owner can go, hence one capability: it opens files of others for reading,
    which only makes the stranger stronger.
    """
    more = [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    more += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [*([] if os.getuid() == 0 else ["sudo", "-n", "-E"]), "setpriv", *more]


def as_user(jobs: Jobs, user: int, project: str, **variables: str) -> "subprocess.Popen[str]":
    """A run of another user's, with a machine's folders of their own."""
    environment = jobs.machine(f"user-{user}", **variables)
    home = Path(environment["HOME"]).parent
    chown = ["chown", "-R", f"{user}:{user}", str(home)]
    subprocess.run([*([] if os.getuid() == 0 else ["sudo", "-n"]), *chown], check=True)
    words = [*become(user), sys.executable, "-m", "remit.cli", "run", "--project", project, "--"]
    pipes: Mapping[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(
        [*words, sys.executable, str(HERE / "jobs_stranger.py")], env=environment, text=True, cwd="/", **pipes
    )


@pytest.mark.promise("T10")
def test_two_users_of_one_host_never_see_each_other_s_tokens(jobs: Jobs) -> None:
    """Each of them knows every secret of the other's run, and is turned away by the kernel's word alone."""
    token = jobs.folder / "token"
    token.write_text(jobs.entra.token("dana"), "utf-8")
    users = {
        STRANGERS[0]: as_user(jobs, STRANGERS[0], PROJECT, REMIT_WORKLOAD="managed-identity", AZURE_CLIENT_ID=PIPELINE),
        STRANGERS[1]: as_user(jobs, STRANGERS[1], PROD, REMIT_TOKEN_FILE=str(token)),
    }
    begun = {user: _line(process) for user, process in users.items()}
    assert {user: found["uid"] for user, found in begun.items()} == {user: user for user in STRANGERS}
    first, second = (begun[user] for user in STRANGERS)
    assert first["mine"] != second["mine"]
    assert second["mine"] == hashlib.sha256(token.read_bytes()).hexdigest()
    for user, other in zip(STRANGERS, reversed(STRANGERS), strict=True):
        _tell(users[user], begun[other])
        told = _line(users[user])
        assert [status for status, _ in told["other"]] == [403] * 4, told
        assert {text.strip() for _, text in told["other"]} == {"this door belongs to another user"}
        assert told["environ"] == "PermissionError"
        assert begun[user]["own"][1:] == [200, 200, 200]
    for process in users.values():
        done = ended(process)
        assert done.code == 0, done.err
    trails = {
        user: {(row.principal, row.project) for row in jobs.records() if row.job == found["job"] and row.project}
        for user, found in begun.items()
    }
    assert trails == {STRANGERS[0]: {(MACHINE, PROJECT)}, STRANGERS[1]: {(DANA, PROD)}}


def _tell(process: "subprocess.Popen[str]", what: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def _line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(ended(process).err)
    return dict(json.loads(line))
