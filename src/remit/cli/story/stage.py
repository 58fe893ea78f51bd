"""The stage: a lab, an installation of Remit in front of it, and a clean end of both."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from remit.cli.story import digits
from remit.cli.story.installation import example, publish_keys, write_contoso
from remit.cli.story.people import Person
from remit.lab import lifecycle
from remit.lab.lifecycle import Lab
from remit.model.errors import RemitError
from remit.settings.read import Settings, read

_READY = 90.0  # seconds; it takes about three on an idle machine
_END = 10.0  # seconds
_PROJECTS = ("contoso-fraud-test", "contoso-fraud-prod")
_GOOGLE = "  google:\n"  # the section of remit.yaml


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that a step may use. `environment`: a shell's on a machine of Contoso's; `url`: the door."""

    folder: Path
    lab: Lab
    settings: Settings
    environment: dict[str, str]
    url: str

    def person(self, name: str) -> Person:
        """Somebody of Contoso at their machine."""
        return Person(name, self.folder / "people", self.environment, self.lab.bundle)

    def script(self, name: str) -> str:
        """One of the example's scripts."""
        return str(example("digits") / name)


@contextlib.contextmanager
def stage(folder: Path, *, lifetime: int = 0) -> Iterator[Stage]:
    """Puts everything up in a folder, and ends it by its process ids whatever happens.

    `lifetime`: seconds that Google's tokens are asked for (`credentials.google.lifetime`), 0 for as long as usual.
    """
    lab = lifecycle.up(folder / "lab")
    try:
        config = write_contoso(folder / "contoso", lab)
        if lifetime:
            text = config.read_text(encoding="utf-8")
            config.write_text(text.replace(_GOOGLE, f"{_GOOGLE}    lifetime: {lifetime}\n"), encoding="utf-8")
        publish_keys(config, lab)
        settings = read(config)
        environment = {**os.environ, **lifecycle.variables(lab)}
        digits.seed(lab.control, _PROJECTS, example("digits"))
        url = f"http://{settings.gateway.listen_host}:{settings.gateway.listen_port}"
        with _serving(config, environment, folder / "serve.log", url):
            yield Stage(folder, lab, settings, environment, url)
    finally:
        lifecycle.down(folder / "lab")


@contextlib.contextmanager
def _serving(config: Path, environment: dict[str, str], log: Path, url: str) -> Iterator[None]:
    command = [sys.executable, "-m", "remit.cli", "serve", "--config", str(config)]
    with log.open("w", encoding="utf-8") as words:
        process = subprocess.Popen(command, env=environment, stdout=words, stderr=words)  # noqa: S603 - our own command line
    try:
        _until_ready(process, log, url)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_ready(process: "subprocess.Popen[bytes]", log: Path, url: str) -> None:
    deadline = time.monotonic() + _READY
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", trust_env=False).is_success:
                return
        time.sleep(0.05)
    raise RemitError(
        f"`remit serve` did not become ready\n{log.read_text(encoding='utf-8')}", hint=f"its log is `{log}`"
    )
