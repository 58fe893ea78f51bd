"""A real training job on tokens of six minutes, for twenty minutes, which loses Google's token service for two of them.

TensorFlow trains on handwritten digits under `remit run`, and reads its TFRecords anew for every epoch: `gs://` by
TensorFlow itself, `az://` from an Azurite behind the lab's door, and one object by google-auth. The lab's Google gives
tokens for six minutes, the shortest that Remit asks for; the lab's STS answers 503 in the middle. Said at the end: how
often what was read, how many tokens the run asked for, and what the ledger holds of it. Exits with 1 when one read
failed, nothing was renewed, the loss went unnoticed, or the evidence does not verify. Not part of `make bench`:

    python benchmarks/soak.py [--minutes 20] [--lost 120]

`tests/e2e/test_e2e_soak.py` does the same in little.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
from blob import ACCOUNT, CONTAINER, azurite
from figures import RESULTS, keep, machine, versions

from remit.assembly.evidence import asked, verified
from remit.audit.query import Query, TimelineRow
from remit.cli.story import digits
from remit.cli.story.people import Person
from remit.cli.story.stage import Stage, stage

JOB = Path(__file__).with_name("soak_job.py")
PROJECT = "contoso-fraud-test"
LIFETIME = 360  # seconds
STS = "sts.googleapis.com"
NOTICED = 120.0  # seconds: for most of them the arbiter's token and the run's own are good enough
RUN_STARTS = "remit.runs.start"
WAITS, OVER = "waiting for a token for Storage", "tokens for Storage can be had again"
"""What a run says when its tokens are not renewed, and when they are again."""


@dataclass
class Soak:
    """A job under `remit run`, and what is around it."""

    scene: Stage
    process: "subprocess.Popen[str]"
    stop: Path
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._readers = [
            threading.Thread(target=_read, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def job(self) -> str:
        """The run's id, empty while nobody has said it."""
        found = re.search(r"this run is (j-[0-9a-z]+)", "".join(self.err))
        return found[1] if found else ""

    def says(self, text: str) -> bool:
        """Whether the run has said something."""
        return text in "".join(self.err)

    def tokens(self) -> tuple[list[TimelineRow], list[TimelineRow]]:
        """The decisions that gave this run a token, and those that could not: permitted, and then nothing was had."""
        rows = asked(self.scene.settings, Query(limit=100_000, everything=False))
        mine = [row for row in rows if row.job == self.job and row.action != RUN_STARTS]
        failed = {row.decision for row in mine if row.outcome == "failed"}
        permits = [row for row in mine if row.kind == "decision" and row.outcome == "permit"]
        return [each for each in permits if each.decision not in failed], [
            each for each in permits if each.decision in failed
        ]

    def tell(self, **commands: Any) -> None:
        """The lab breaks, or is well again."""
        tell(self.scene, **commands)

    def until(self, done: Callable[[], bool], seconds: float) -> None:
        """Waits for something to come about; raises when it does not, or when the job has ended."""
        end = time.monotonic() + seconds
        while not done():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the job {self.process.poll()}:\n{''.join(self.out[-20:] + self.err[-40:])}")
            time.sleep(0.1)

    def finish(self, seconds: float = 120.0) -> dict[str, Any]:
        """Tells the job to stop, and returns what it says of itself and what the ledger holds."""
        self.stop.touch()
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(10)
        if not self.out or not self.out[-1].startswith("{"):
            raise RuntimeError(f"the job ended with {code}:\n{''.join(self.err[-40:])}")
        given, without = self.tokens()
        return {
            **json.loads(self.out[-1]),
            "code": code,
            "tokens": dict(Counter(row.action for row in given)),
            "without_a_token": len(without),
            "waited": self.says(WAITS),
            "had_again": self.says(OVER),
            "said": [line.strip() for line in self.err if line.startswith("remit:")],
        }

    def holds(self) -> bool:
        """Whether the evidence is whole."""
        vkey = (self.scene.settings.audit.folder / "ledger.vkey").read_text(encoding="utf-8").strip()
        return verified(self.scene.settings, (vkey,)).passed


def tell(scene: Stage, **commands: Any) -> None:
    """Tells the lab."""
    httpx.post(scene.lab.control, json=commands, trust_env=False, timeout=20).raise_for_status()


def begun(stack: ExitStack, folder: Path, *, skew: float = 0.0, pause: float = 0.2) -> Soak:
    """Puts everything up, and starts the job as Dana. `skew`: seconds that the clouds' clocks are wrong."""
    scene = stack.enter_context(stage(folder, lifetime=LIFETIME))
    # Entra is a little behind Google, which takes no token of the future.
    tell(scene, skew_google=skew, skew_entra=skew - 5 if skew else 0)
    fill(scene, stack)
    person = Person(
        "dana", folder / "people", scene.environment | {"REMIT_URL": scene.url, **_quiet()}, scene.lab.bundle
    )
    person.sign_in()
    stack.callback(person.remit, "logout")
    stop = folder / "stop"
    places = ["--gs", f"gs://{PROJECT}-data/digits", "--az", f"az://{ACCOUNT}/{CONTAINER}/digits"]
    process = person.start(PROJECT, [str(JOB), *places, "--stop", str(stop), "--pause", str(pause)])
    stack.callback(_end, process)
    return Soak(scene, process, stop)


def fill(scene: Stage, stack: ExitStack) -> None:
    """Puts the digits into Blob Storage as well, behind the lab's door."""
    from azure.storage.blob import ContainerClient  # noqa: PLC0415 - half a second

    store = stack.enter_context(azurite().azurite(ACCOUNT))
    tell(scene, azurite={"address": store.address, "keys": store.keys})
    url = f"{store.address}/{ACCOUNT}"  # straight: what was there before
    with ContainerClient(
        url, CONTAINER, credential={"account_name": ACCOUNT, "account_key": store.keys[ACCOUNT]}
    ) as to:
        to.create_container()
        for name, content in digits.records().items():
            to.upload_blob(name, content)


def _quiet() -> dict[str, str]:
    return {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONUNBUFFERED": "1"}


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _read(stream: IO[str] | None, lines: list[str]) -> None:
    if stream:
        with stream:
            while line := stream.readline():
                lines.append(line)


def wrong(found: dict[str, Any], *, noticed: bool = True) -> list[str]:
    """What the promise does not allow, in words. `noticed`: the loss lasted too long for a run not to notice."""
    renewed = sum(found["tokens"].values())
    checks = {
        f"{len(found['failed'])} reads failed: {found['failed'][:3]}": found["failed"],
        f"the job ended with {found['code']}": found["code"],
        f"{renewed} tokens were given": renewed < 3,  # noqa: PLR2004 - one a cloud, and one more at least
        "the loss of the token service was not noticed": noticed and not found["waited"],
        "its end was not": found["waited"] and not found["had_again"],
        "the evidence does not hold": not found["evidence"],
    }
    return [words for words, bad in checks.items() if bad]


def main() -> int:
    """Runs, and writes `results/soak.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--lost", type=float, default=120.0, help="seconds without Google's token service")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    before = (options.minutes * 60 - options.lost) / 2
    with ExitStack() as stack:
        soak = begun(stack, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench"))))
        soak.until(lambda: bool(soak.out), 120)
        began = time.monotonic()
        soak.until(lambda: time.monotonic() - began > before, before + 1)
        soak.tell(fault={"host": STS, "status": 503})
        soak.until(lambda: time.monotonic() - began > before + options.lost, options.lost + 1)
        soak.tell(clear=True)
        soak.until(lambda: time.monotonic() - began > options.minutes * 60, options.minutes * 60)
        found = {**soak.finish(), "evidence": soak.holds(), "seconds": round(time.monotonic() - began)}
    given = {"minutes": options.minutes, "lost": options.lost, "lifetime": LIFETIME}
    packages = versions("tensorflow-cpu", "google-auth", "azure-identity", "azure-storage-blob")
    keep("soak", {"machine": machine(), "versions": packages, **given, **found}, options.results)
    bad = wrong(found, noticed=options.lost >= NOTICED)
    sys.stdout.write(json.dumps({**given, **found, "wrong": bad}) + "\n")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
