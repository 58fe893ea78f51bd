"""Contoso's plane with everything that a job of issue 6 meets: Blob Storage that is Azurite, PostgreSQL, Google's accounts.

Whoever runs a job here has a machine of their own: a runtime folder, a home, and what stands in its environment. Jobs
are started with Remit's own command line and nothing else. One such world is made for all tests that ask for it.
"""

import base64
import contextlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import google_crc32c
import pytest
import sqlalchemy
from tests.e2e.conftest import TENANT, World, until
from tests.providers.azurite import azurite
from tests.unit.sql.conftest import READER, WRITER, Front, Loop, free_port, prepared

from remit.lab.contoso import subject_member
from remit.lab.google_accounts import unique_id
from remit.lab.kubernetes import ACCOUNT as ACCOUNT_OF_PODS
from remit.lab.kubernetes import ISSUER, NAMESPACE, SUBJECT
from remit.settings.read import read

PROJECT, PROD = "contoso-fraud-test", "contoso-fraud-prod"
ACCOUNT = "contosofraudtest"
TRAINER = f"trainer@{PROJECT}.iam.gserviceaccount.com"
ENGINEER = f"ml-engineer@{PROJECT}.iam.gserviceaccount.com"
DANA = f"{TENANT}/0d000000-0000-4000-8000-000000000001"
MACHINE = f"{TENANT}/3d000000-0000-4000-8000-000000000002"
VERTEX_JOB = f"google/{unique_id(TRAINER)}"
POD = f"cluster/{SUBJECT}"
PIPELINE = "3c000000-0000-4000-8000-000000000002"
APPLICATION = "a0000000-0000-4000-8000-000000000011"
FIREWALLED, BUSY = "fraud_firewalled", "fraud_busy"
HERE = Path(__file__).resolve().parent
SOON = 120.0  # seconds on a machine that has other things to do

_GOOGLE = f"""  - oidc:
      name: google
      issuer: https://accounts.google.com
      audience: api://remit
      kind: google
      subjects: ["{unique_id(TRAINER)}"]
      roles:
        - role: Pipeline
          when: {{sub: "{unique_id(TRAINER)}"}}
"""
_CLUSTER = f"""  - oidc:
      name: cluster
      issuer: {ISSUER}
      audience: api://remit
      kind: kubernetes
      roles:
        - role: Pipeline
          when: {{namespace: {NAMESPACE}, serviceaccount: {ACCOUNT_OF_PODS}}}
"""
_DATABASES = """
  - name: fraud
    project: contoso-fraud-test
    address: 127.0.0.1:{port}
    database: {database}
    roles: [{roles}]
    ca_file: database.pem
"""
_PERMIT = """
@id("engineers-log-in-as-{name}")
permit (
    principal in Group::"9a000000-0000-4000-8000-000000000002", // ml-engineers
    action == Action::"postgresql.databases.connect",
    resource == DatabaseRole::"//remit/projects/{project}/databases/fraud/roles/{role}"
);
"""
_POLICY = f"""
@id("pipelines-read-the-fraud-database")
permit (
    principal is Workload in Role::"Pipeline",
    action == Action::"postgresql.databases.connect",
    resource == DatabaseRole::"//remit/projects/{PROJECT}/databases/fraud/roles/{READER}"
);
@id("nobody-writes-the-fraud-database")
@refusal("the fraud database is not written to")
@advice("ask the owner of the fraud database to let you write")
forbid (
    principal,
    action == Action::"postgresql.databases.connect",
    resource == DatabaseRole::"//remit/projects/{PROJECT}/databases/fraud/roles/{WRITER}"
);
@id("pipelines-read-fraud-test-data")
permit (
    principal is Workload in Role::"Pipeline",
    action in [Action::"storage.buckets.get", Action::"storage.objects.get", Action::"storage.objects.list"],
    resource == Bucket::"{PROJECT}-data"
);
@id("pipelines-look-at-models")
permit (
    principal is Workload in Role::"Pipeline",
    action == Action::"aiplatform.projects.locations.models.list",
    resource in Project::"{PROJECT}"
);
"""


@dataclass(frozen=True)
class Ended:
    """What a run did. `job`: its id, as `remit run` says it."""

    code: int
    out: str
    err: str

    @property
    def job(self) -> str:
        return self.err.partition("this run is ")[2].split()[0]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]


class Jobs(World):
    """The plane, and who runs what on it."""

    def __init__(self, folder: Path, database: str) -> None:
        super().__init__(folder)
        self.door, self.database = free_port(), free_port()
        text = self.config.read_text("utf-8")
        roles = f"{READER}, {WRITER}, {FIREWALLED}, {BUSY}"
        for place, added in (
            (f"  listen: 127.0.0.1:{self.port}\n", f"  databases: 127.0.0.1:{self.door}\n"),
            ("issuers:\n", _GOOGLE + _CLUSTER),
            ("\ncredentials:\n", "  lifetimes: {sign_in: 24h}\n"),
        ):
            assert text.count(place) == 1, place
            text = text.replace(place, place + added)
        text += _DATABASES.format(port=self.database, database=database, roles=roles)
        self.config.write_text(text, "utf-8")
        permits = [
            _PERMIT.format(name=role.replace("_", "-"), role=role, project=PROJECT)
            for role in (READER, FIREWALLED, BUSY)
        ]
        (self.config.parent / "policies" / "jobs.cedar").write_text(_POLICY + "".join(permits), "utf-8")
        self.settings = read(self.config)
        self.store: Callable[[str, bytes], None] = lambda _name, _content: None

    # who runs

    @property
    def dsn(self) -> str:
        """Remit's door for the database."""
        return f"host=127.0.0.1 port={self.door} dbname=fraud user={READER}"

    def machine(self, name: str, **variables: str) -> dict[str, str]:
        """The environment of a machine of its own in Contoso, where nobody has signed in."""
        home = self.folder / "machines" / name
        for part in ("home", "run", "tmp"):
            (home / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        own = {"HOME": home / "home", "XDG_RUNTIME_DIR": home / "run", "TMPDIR": home / "tmp"}
        kept = {key: value for key, value in self.environment.items() if not key.startswith(("XDG_", "REMIT_"))}
        return {
            **kept,
            **{key: str(value) for key, value in own.items()},
            "REMIT_URL": self.url,
            "REMIT_STORE": "keeper",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONDONTWRITEBYTECODE": "1",
            **variables,
        }

    def pod(self, name: str) -> dict[str, str]:
        """A pod of the cluster's, with the token that its kubelet projects into a volume."""
        token = self.folder / "volumes" / name / "token"
        token.parent.mkdir(parents=True)
        environment = self.machine(name, REMIT_TOKEN_FILE=str(token))
        token.write_text(self.control(pod_token="api://remit")["pod_token"], "utf-8")
        return environment

    def admit(self, account: str, subject: str) -> None:
        """Lets a subject of the pool become a service account, as an administrator does with `gcloud`."""
        place = f"https://iam.googleapis.com/v1/projects/-/serviceAccounts/{account}"
        bearer = {"authorization": "Bearer " + self.control(google_administrator=True)["google_administrator"]}
        with self.entra.browser() as browser:
            policy = browser.post(f"{place}:getIamPolicy", headers=bearer).raise_for_status().json()
            added = {"role": "roles/iam.workloadIdentityUser", "members": [subject_member(subject)]}
            policy["bindings"] = [*policy["bindings"], added]
            browser.post(f"{place}:setIamPolicy", headers=bearer, json={"policy": policy}).raise_for_status()

    def signed_in(self, name: str) -> dict[str, str]:
        """The machine of a person of Contoso's who has signed in on it."""
        environment = self.machine(name)
        if name not in self.people:
            person = self.person(name)
            person._environment = environment
            person.sign_in("--url", self.url)
        return environment

    # what they run

    def begin(
        self, environment: Mapping[str, str], command: Sequence[str], *more: str, project: str = PROJECT
    ) -> "subprocess.Popen[str]":
        """`remit run … -- COMMAND`, under way."""
        words = [sys.executable, "-m", "remit.cli", "run", "--project", project, *more, "--", *command]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(words, env=dict(environment), text=True, cwd=self.folder, **pipes)

    def run(self, environment: Mapping[str, str], command: Sequence[str], *more: str, project: str = PROJECT) -> Ended:
        """The same, to its end."""
        return ended(self.begin(environment, command, *more, project=project))

    # what was written down

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """The ledger's entries of a kind."""
        engine = sqlalchemy.create_engine(self.settings.state.url)
        with engine.connect() as connection:
            query = "SELECT entry FROM ledger_entries WHERE type = ? ORDER BY position"
            found = [json.loads(row[0]) for row in connection.exec_driver_sql(query, (kind,))]
        engine.dispose()
        return found

    def blob_log(self) -> list[dict[str, Any]]:
        """The lab's Blob Storage, on what reached it."""
        path = Path(self.lab.folder, "storage_blob.jsonl")
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]


def ended(process: "subprocess.Popen[str]", seconds: float = 2 * SOON) -> Ended:
    """Waits for a run."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"the run did not end\n{out}\n{err}") from None
    return Ended(process.returncode, out, err)


def tfrecords(records: Sequence[bytes]) -> bytes:
    """A TFRecord file (tensorflow/core/lib/io/record_writer.h)."""

    def check(data: bytes) -> bytes:
        found = google_crc32c.value(data)
        return struct.pack("<I", ((found >> 15 | found << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    heads = ((struct.pack("<Q", len(record)), record) for record in records)
    return b"".join(head + check(head) + record + check(record) for head, record in heads)


@contextlib.contextmanager
def made(postgres: str) -> Iterator[Jobs]:
    """Everything, running, with data in each place."""
    folder, name = Path(tempfile.mkdtemp(prefix="remit-e2e-")), f"jobs_{os.getpid()}"
    unix = parse_qs(urlsplit(postgres).query)["host"][0]
    prepared({"host": unix, "user": "remit", "dbname": "postgres"}, name)
    loop, found, front = Loop(), None, None
    with azurite(ACCOUNT, "contosofraudprod") as store:
        try:
            found = Jobs(folder, name)
            found.control(azurite={"address": store.address, "keys": store.keys})
            found.store = partial(_stored, store.address, store.keys[ACCOUNT])
            _filled(found, store.address, store.keys[ACCOUNT])
            found.admit(ENGINEER, POD)
            home = found.config.parent
            front = Front(f"{unix}/.s.PGSQL.5432", home / ".remit" / "databases" / "ca.pem", folder)
            front.port = found.database
            front.answers = {FIREWALLED: _error("28000", _FIREWALL), BUSY: _error("53300", _TOO_MANY)}
            loop.run(front.start())
            shutil.copy(front.certificate, home / "database.pem")
            found.start()
            yield found
        finally:
            if found:
                found.end()
            if front:
                loop.run(front.stop())
            loop.close()
            shutil.rmtree(folder, ignore_errors=True)


_FIREWALL = f'no pg_hba.conf entry for host "203.0.113.9", user "{FIREWALLED}", database "fraud", no encryption'
_TOO_MANY = "sorry, too many clients already"


def _error(state: str, message: str) -> bytes:
    """PostgreSQL's own refusal of a login (protocol-message-formats, ErrorResponse)."""
    said = {"S": "FATAL", "V": "FATAL", "C": state, "M": message}
    fields = b"".join(f"{kind}{text}\0".encode() for kind, text in said.items())
    return b"E" + struct.pack("!I", len(fields) + 5) + fields + b"\0"


def _filled(world: Jobs, address: str, key: str) -> None:
    """What the platform team put into the stores: payments of a day in each."""
    from azure.storage.blob import BlobServiceClient

    service = BlobServiceClient(f"{address}/{ACCOUNT}", {"account_name": ACCOUNT, "account_key": key})
    for container in ("features", "staging"):
        service.create_container(container)
    for day in (1, 2):
        content = tfrecords([f"blob {day} {number}".encode() for number in range(100)])
        world.store(f"payments/{day}.tfrecord", content)
        content = tfrecords([f"bucket {day} {number}".encode() for number in range(100)])
        told = {"bucket": f"{PROJECT}-data", "name": f"payments/{day}.tfrecord"}
        world.control(put_object={**told, "base64": base64.b64encode(content).decode()})
    service.close()


def _stored(address: str, key: str, name: str, content: bytes) -> None:
    """A blob among the features that was there before anybody came."""
    from azure.storage.blob import BlobClient

    place = f"{address}/{ACCOUNT}/features/{name}"
    with BlobClient.from_blob_url(place, {"account_name": ACCOUNT, "account_key": key}) as blob:
        blob.upload_blob(content)


@cache
def _made(config: pytest.Config, postgres: str) -> Jobs:
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    return stack.enter_context(made(postgres))


def shared(config: pytest.Config, postgres: str) -> Jobs:
    """The one of this session."""
    return _made(config, postgres)


def soon(done: Any, said: Any = str) -> float:
    """Waits for a condition; how long it took, in seconds."""
    return until(done, SOON, said)


def since() -> int:
    """Now, as records count it."""
    return time.time_ns() // 1000
