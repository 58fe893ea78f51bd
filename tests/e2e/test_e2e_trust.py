"""From an empty estate to a working main story: `trust init`, `plan`, `apply`, `verify`, and a call through the door.

Every command is a process, as an administrator runs it. The apply is killed four times on its way; killing it at every
single step is for the unit tests (`test_trust_apply.py`). Guests of a mapped tenant, and everybody of an unmapped one,
are in `test_e2e_identities.py`.
"""

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.conftest import TENANT, until

from remit.cli.story.installation import free_port
from remit.cli.story.people import Person, Ran
from remit.lab import lifecycle
from remit.settings.read import read

PROJECT = "contoso-fraud-test"
ACCOUNTS = f"{PROJECT}.iam.gserviceaccount.com"
GROUPS = {"MLEngineer": "9a000000-0000-4000-8000-000000000001", "DataScientist": "9a000000-0000-4000-8000-000000000004"}
SAM = "0d000000-0000-4000-8000-000000000003"  # in neither of those groups
SHARED = (
    *("--tenant", TENANT, "--managed-identity", "3c000000-0000-4000-8000-000000000001"),
    *("--administrator", "user:admin@contoso.example"),
)
ANSWERS = (
    *("--own-issuer", "https://remit.contoso.example"),
    *("--project", PROJECT, "--number", "100000000001", "--bucket", f"{PROJECT}-data"),
    *("--role", f"MLEngineer={GROUPS['MLEngineer']}:launch", "--role", f"DataScientist={GROUPS['DataScientist']}:use"),
)
KILLED_AFTER = (1, 7, 9, 11)  # steps that were told since the last time: early, among Entra's, among Google's, late
JOBS = f"https://us-central1-aiplatform.googleapis.com/v1/projects/{PROJECT}/locations/us-central1/customJobs"
JOB = {
    "displayName": "a first one",
    "jobSpec": {
        "serviceAccount": f"remit-trainer@{ACCOUNTS}",
        "workerPoolSpecs": [
            {
                "machineSpec": {"machineType": "n1-standard-4"},
                "replicaCount": "1",
                "containerSpec": {"imageUri": "us-docker.pkg.dev/vertex-ai/training/tf-cpu:1", "command": ["true"]},
            }
        ],
    },
}
_READY = 90.0  # seconds
_COMMAND = 180.0  # the same, for a machine four times slower


class Estate:
    """Contoso before anybody set up the trust, and somebody who does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lab = lifecycle.up(folder / "lab", empty=True)
        away = ("REMIT_", "AZURE_", "GOOGLE_", "CLOUDSDK_")
        plain = {name: value for name, value in os.environ.items() if not name.startswith(away)}
        self.machine = {**plain, **lifecycle.variables(self.lab), "HOME": str(folder)}
        self.administrator = {**self.machine, **lifecycle.administrator(Path(self.lab.folder))}
        self.config = folder / "remit" / "remit.yaml"
        self.config.parent.mkdir()
        self.url = ""

    def remit(self, *arguments: str, config: Path | None = None, person: Person | None = None) -> Ran:
        """A command as the administrator. `person`: whose sign-in at Remit there is."""
        hers = {name: person._environment[name] for name in ("XDG_RUNTIME_DIR", "REMIT_STORE")} if person else {}
        done = subprocess.run(
            self._command(arguments, config),
            env={**self.administrator, **hers},
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def killed(self, steps: int, *arguments: str) -> str:
        """Runs a command that tells its steps, and kills it after as many; what it told."""
        told = []
        with subprocess.Popen(
            self._command(arguments, None), env=self.administrator, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                told.append(line)
                if sum(one.startswith("[") for one in told) == steps:
                    process.send_signal(signal.SIGKILL)
                    break
            process.stderr.read()
        assert process.returncode == -signal.SIGKILL, "".join(told)
        return "".join(told)

    def on_the_lab(self) -> None:
        """Where the gateway listens, and the lab in the place of Google's addresses: all that differs from a tenant."""
        self.url = f"http://127.0.0.1:{free_port()}"
        gateway = f"  listen: {self.url[7:]}\n  upstream: {{address: '127.0.0.1:{self.lab.front}', ca_file: {self.lab.bundle}}}\n"
        text, count = re.subn(r"  listen: 127\.0\.0\.1:8443.*\n", gateway, self.config.read_text("utf-8"))
        assert count == 1
        self.config.write_text(text, "utf-8")

    def graph(self, path: str) -> list[dict[str, Any]]:
        """What the tenant holds, past Remit."""
        answer = httpx.get(
            f"http://127.0.0.1:{self.lab.imds}/metadata/identity/oauth2/token",
            params={
                "api-version": "2018-02-01",
                "resource": "https://graph.microsoft.com",
                "client_id": self.administrator["AZURE_CLIENT_ID"],
            },
            headers={"metadata": "true"},
            trust_env=False,
        )
        token = str(answer.raise_for_status().json()["access_token"])
        with self._client() as client:
            listed = client.get(
                f"https://graph.microsoft.com/v1.0/{path}", headers={"Authorization": f"Bearer {token}"}
            )
            return list(listed.raise_for_status().json()["value"])

    def person(self, name: str) -> Person:
        return Person(name, self.folder / "people", {**self.machine, "REMIT_URL": self.url}, self.lab.bundle)

    def _client(self) -> httpx.Client:
        roots = ssl.create_default_context(cafile=self.lab.bundle)
        return httpx.Client(proxy=f"http://127.0.0.1:{self.lab.proxy}", verify=roots, trust_env=False)

    def _command(self, arguments: tuple[str, ...], config: Path | None) -> list[str]:
        return [sys.executable, "-m", "remit.cli", *arguments, "--config", str(config or self.config)]


@pytest.fixture(scope="module")
def estate() -> Iterator[Estate]:
    folder = Path(tempfile.mkdtemp(prefix="remit-e2e-trust-"))
    try:
        yield Estate(folder)
    finally:
        lifecycle.down(folder / "lab")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def begun(estate: Estate) -> dict[str, Ran]:
    """`init`, `plan`, `apply` killed four times and resumed, `plan`: what each said."""
    said = {"init": estate.remit("trust", "init", *SHARED, *ANSWERS)}
    assert said["init"].code == 0, said["init"].err
    estate.on_the_lab()
    said["plan"] = estate.remit("trust", "plan")
    said["another"] = estate.remit("trust", "apply", "0123456789abcdef")
    checksum = said["plan"].out.split()[-1]
    order: tuple[str, ...] = (checksum,)
    for steps in KILLED_AFTER:
        estate.killed(steps, "trust", "apply", *order)
        order = ("--resume",)
    said["open"] = estate.remit("trust", "apply", checksum)
    said["resume"] = estate.remit("trust", "apply", *order)
    said["after"] = estate.remit("trust", "plan")
    said["keys"] = estate.remit("trust", "rotate", "keys")  # those of Remit's own issuer, for the first time
    return said


@pytest.fixture(scope="module")
def served(estate: Estate, begun: dict[str, Ran]) -> Iterator[Estate]:
    """The plane on what was applied, running with nothing of the administrator's."""
    assert begun["after"].code == 0, begun["after"].out + begun["after"].err
    log = estate.folder / "serve.log"
    command = [sys.executable, "-m", "remit.cli", "serve", "--config", str(estate.config)]
    with log.open("ab") as output, subprocess.Popen(command, env=estate.machine, stdout=output, stderr=output) as serve:

        def ready() -> bool:
            assert serve.poll() is None, log.read_text("utf-8")
            try:
                return httpx.get(f"{estate.url}/readyz", trust_env=False, timeout=2).is_success
            except httpx.HTTPError:
                return False

        try:
            until(ready, _READY, lambda: log.read_text("utf-8"))
            yield estate
        finally:
            for name in ("dana", "ada", "sam"):
                estate.person(name).remit("logout")
            serve.terminate()
            serve.wait(30)


def asked(person: Person, method: str, body: Any = None) -> tuple[Any, Ran]:
    """A call with `curl`, which knows nothing of Remit; its answer."""
    data = ["-H", "content-type: application/json", "-d", json.dumps(body)] if body else []
    ran = person.remit("run", "--project", PROJECT, "--", "curl", "-sS", "-X", method, *data, JOBS)
    return (json.loads(ran.out) if ran.out else None), ran


def test_a_first_plan_is_a_page_that_tells_what_each_thing_is_for(begun: dict[str, Ran]) -> None:
    plan = begun["plan"]
    assert plan.code == 1, plan.err
    assert "keeps out of Remit everybody to whom no role is given" in plan.out
    assert "obtained\n" in plan.out
    assert "by Remit and nobody else" in plan.out
    assert re.search(r"\n\d+ to make, 0 to change, 0 to remove\n", plan.out)
    assert re.search(r"apply exactly this with: remit trust apply [0-9a-f]{32}\n\Z", plan.out)


def test_another_plan_than_the_reviewed_one_is_not_applied(begun: dict[str, Ran]) -> None:
    assert begun["another"].code == 2
    assert "remit trust apply" in begun["another"].err


@pytest.mark.promise("V9")
def test_an_apply_that_was_killed_four_times_ends_with_nothing_left_and_nothing_twice(
    estate: Estate, begun: dict[str, Ran]
) -> None:
    assert begun["open"].code == 2
    assert "--rollback" in begun["open"].err  # the way back is told, too
    assert begun["resume"].code == 0, begun["resume"].err
    assert begun["after"].code == 0, begun["after"].out
    assert "nothing to do" in begun["after"].out
    names = [one["displayName"] for one in estate.graph("applications")]
    assert sorted(name for name in names if name.startswith("Remit")) == [
        *("Remit", "Remit at Google", "Remit command line")
    ]
    text = estate.config.read_text("utf-8")
    assert not re.search(r"app:[a-z]", text)  # Entra's ids stand in the file now
    assert read(estate.config).trust.pending == {}


@pytest.mark.promise("V3")
@pytest.mark.promise("V9")
def test_what_was_applied_is_verified(served: Estate, begun: dict[str, Ran]) -> None:
    assert "google takes the new key" in begun["keys"].err
    found = served.remit("trust", "verify")
    assert found.code == 0, found.out + found.err


@pytest.mark.promise("V5")
@pytest.mark.promise("V22")
def test_somebody_signs_in_and_launches_and_somebody_else_does_not(served: Estate) -> None:
    dana, ada = served.person("dana"), served.person("ada")
    for person in (dana, ada):
        person.sign_in("--url", served.url)
    made, ran = asked(dana, "POST", JOB)
    assert "name" in made, (made, ran.err)
    refused, ran = asked(ada, "POST", JOB)
    assert refused["error"]["details"][0]["reason"] == "NO_POLICY_PERMITS", ran.err
    listed, ran = asked(ada, "GET")
    assert made["name"] in {one["name"] for one in listed["customJobs"]}, ran.err
    entries = Path(served.lab.folder, "cloud_audit.jsonl").read_text("utf-8").splitlines()
    used = [json.loads(line)["protoPayload"] for line in entries if "CreateCustomJob" in line]
    assert [one["authenticationInfo"]["principalEmail"] for one in used] == [f"remit-ml-engineer@{ACCOUNTS}"]
    assert "0d000000-0000-4000-8000-000000000001" in json.dumps(used)  # Dana, by Google's own word
    # and no file of hers, or of the installation's, holds a key of Google's or a secret of Entra's
    files = [
        path for path in served.folder.rglob("*") if path.is_file() and Path(served.lab.folder) not in path.parents
    ]
    assert not [path for path in files if re.search(rb"private_key_id|client_secret", path.read_bytes())]


@pytest.mark.promise("V3")
@pytest.mark.promise("V4")
def test_somebody_who_is_signed_in_verifies_as_themselves(served: Estate) -> None:
    nobody = served.remit("trust", "verify", "--as-me")
    assert nobody.code == 2
    assert "hint: run `remit login --url URL`" in nobody.err
    dana = served.person("dana")
    dana.sign_in("--url", served.url)
    found = dana.remit("trust", "verify", "--as-me", "--role", "MLEngineer", "--json", "--config", str(served.config))
    assert found.code == 0, found.out + found.err
    walked = [hop for hop in json.loads(found.out)["hops"] if hop["role"] and "dana@contoso.example" in hop["said"]]
    assert [hop["name"] for hop in walked] == ["sign-in", "policy", "entra-obo", "google-sts", "google-iam"]
    decision = re.search(r"recorded as `(d-[0-9a-z]{26})`", walked[1]["said"])
    assert decision is not None
    told = dana.remit("explain", decision[1], "--json")  # by the installation that serves
    assert json.loads(told.out)["decision"] == decision[1], told.err
    entries = Path(served.lab.folder, "cloud_audit.jsonl").read_text("utf-8").splitlines()
    used = [json.loads(line)["protoPayload"] for line in entries if "ListModels" in line]
    assert any("0d000000-0000-4000-8000-000000000001" in json.dumps(each) for each in used)  # and the probe beside her
    assert any("trust-verify" in json.dumps(each) for each in used)


@pytest.mark.promise("V19")
def test_somebody_new_stands_in_the_file_and_works_once_it_is_applied(served: Estate) -> None:
    sam = served.person("sam")
    with pytest.raises(Exception, match="could not sign in"):
        sam.sign_in("--url", served.url)
    first = served.config.read_text("utf-8")
    line = f"      groups: [{GROUPS['DataScientist']}]\n"
    served.config.write_text(first.replace(line, f"{line}      people: [{SAM}]\n"), "utf-8")
    try:
        plan = served.remit("trust", "plan")
        assert plan.code == 1, plan.err
        assert "DataScientist" in plan.out
        assert SAM in plan.out
        applied = served.remit("trust", "apply", plan.out.split()[-1])
        assert applied.code == 0, applied.out + applied.err
        sam.sign_in("--url", served.url)
        _, ran = asked(sam, "GET")
        assert ran.code == 0, ran.err
    finally:
        served.config.write_text(first, "utf-8")
        back = json.loads(served.remit("trust", "plan", "--json").out)
        served.remit("trust", "apply", back["checksum"])
    assert served.remit("trust", "plan").code == 0


@pytest.mark.promise("V9")
def test_the_estate_is_read_into_a_file_with_which_nothing_is_to_do(served: Estate, tmp_path: Path) -> None:
    pool = "projects/100000000001/locations/global/workloadIdentityPools/remit"
    config = tmp_path / "remit.yaml"
    done = served.remit(
        *("trust", "init", "--from-clouds", f"{pool}/providers/entra", "--in", f"test={PROJECT}", *SHARED),
        *("--works", f"MLEngineer=remit-ml-engineer@{ACCOUNTS}"),
        *("--works", f"DataScientist=remit-data-scientist@{ACCOUNTS}", "--reviewer", f"remit-reviewer@{ACCOUNTS}"),
        config=config,
    )
    assert done.code == 0, done.err
    shutil.copytree(served.config.parent / "policies", tmp_path / "policies")
    plan = served.remit("trust", "plan", config=config)
    assert plan.code == 0, plan.out + plan.err


# the same against whatever clouds there are


def test_the_doctor_finds_an_estate_well_and_leaves_it_as_it_was(served: Estate) -> None:
    before = [one["id"] for one in served.graph("applications")]
    dana = served.person("dana")
    dana.sign_in("--url", served.url)
    found = served.remit("doctor", "--live", "--as-me", "--allow-changes", "--json", person=dana)
    told = json.loads(found.out)
    assert [check for check in told["checks"] if check["state"] not in {"pass", "not asked"}] == [], found.err
    assert (found.code, told["well"]) == (0, True)
    assert {check["part"] for check in told["checks"]} == {
        *("machine", "file", "access", "hops", "agreement", "plan", "changes")
    }
    assert [one["id"] for one in served.graph("applications")] == before
    assert served.graph("directory/deletedItems/microsoft.graph.application") == []
    assert served.remit("trust", "plan").code == 0
    assert "ya29." not in found.out + found.err


def test_the_doctor_reads_only_unless_it_is_allowed_more(served: Estate) -> None:
    log = Path(served.lab.folder, "cloud_audit.jsonl")
    before = log.read_text("utf-8")
    found = served.remit("doctor", "--live")
    assert found.code == 0, found.out
    assert "not asked scratch" in found.out
    made = [json.loads(line) for line in log.read_text("utf-8")[len(before) :].splitlines()]
    changes = ("Create", "Delete", "Update", "Patch", "SetIamPolicy")
    assert not [one for one in made if any(word in one["protoPayload"]["methodName"] for word in changes)]


def test_the_doctor_tells_what_is_wrong_and_goes_on(served: Estate, tmp_path: Path) -> None:
    """Somebody who is signed in nowhere at Google, with another estate's first file."""
    config = tmp_path / "remit.yaml"
    done = served.remit("trust", "init", *SHARED, *ANSWERS, config=config)
    assert done.code == 0, done.err
    nobody = {name: value for name, value in served.administrator.items() if not name.startswith("CLOUDSDK")}
    nobody |= {"https_proxy": "http://dana:hunter2@127.0.0.1:9"}
    command = [sys.executable, "-m", "remit.cli", "doctor", "--live", "--json", "--config", str(config)]
    ran = subprocess.run(command, env=nobody, capture_output=True, text=True, check=False, timeout=_COMMAND)
    assert ran.returncode == 1, ran.stderr
    found = {(one["part"], one["name"]): one for one in json.loads(ran.stdout)["checks"]}
    assert found["machine", "proxy"]["state"] == "fail"
    assert "not registered yet" in found["file", "remit.yaml"]["said"]
    assert found["access", "at Google"]["state"] == "fail"
    assert found["access", PROJECT]["state"] == "skipped"
    assert found["hops", "all"]["state"] == "skipped"
    assert all(one["cure"] for one in found.values() if one["state"] in {"fail", "skipped"})
    assert "hunter2" not in ran.stdout + ran.stderr
