"""Contoso's people at their machines: each with a runtime folder of their own, so that one sign-in is not another's."""

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from remit.model.errors import RemitError

_REMIT = (sys.executable, "-m", "remit.cli")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


class Person:
    """Somebody of Contoso. `environment`: their shell's."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str], bundle: str) -> None:
        self.account = f"{name}@contoso.example"
        self._bundle = bundle
        runtime = folder / name
        runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._environment = {**environment, "XDG_RUNTIME_DIR": str(runtime), "REMIT_STORE": "keeper"}

    def sign_in(self, *arguments: str, second_factor: bool = False) -> None:
        """`remit login --device …`, approved in a browser as this person would."""
        command = [*_REMIT, "login", "--device", "--json", *arguments]
        with subprocess.Popen(  # noqa: S603 - our own command line
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            for event in _events(process.stdout):
                if event["event"] == "code":
                    self.approve(event, second_factor=second_factor)
            words = process.stderr.read() if process.stderr else ""
        if process.returncode != 0:
            raise RemitError(f"{self.account} could not sign in: {words.strip()}")

    def approve(self, event: Mapping[str, str], *, second_factor: bool = False) -> None:
        """Approves a device code in a browser, with the second factor if need be."""
        form = {"user_code": event["user_code"], "account": self.account}
        if second_factor:
            form["second_factor"] = "approve"
        proxy = self._environment["HTTPS_PROXY"]
        with httpx.Client(proxy=proxy, verify=_trusting(self._bundle), trust_env=False) as browser:
            browser.post(event["verification_uri"], data=form).raise_for_status()

    def remit(self, *arguments: str) -> Ran:
        """A command of Remit's."""
        return self._run([*_REMIT, *arguments])

    def start(self, project: str, script: Sequence[str], name: str = "") -> "subprocess.Popen[str]":
        """`remit run --project PROJECT -- python SCRIPT …`, under way; `name`: of the run."""
        named = ["--name", name] if name else []
        command = [*_REMIT, "run", "--project", project, *named, "--", sys.executable, *script]
        return subprocess.Popen(  # noqa: S603 - our own command line
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, project: str, script: Sequence[str]) -> Ran:
        """The same, to its end."""
        return ended(self.start(project, script))

    def _run(self, command: Sequence[str]) -> Ran:
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own command line
        return Ran(done.returncode, done.stdout, done.stderr)


def ended(process: "subprocess.Popen[str]") -> Ran:
    """Waits for a command."""
    out, err = process.communicate()
    return Ran(process.returncode, out, err)


def _events(stream: IO[str] | None) -> Iterator[dict[str, str]]:
    for line in stream or ():
        yield json.loads(line)


def _trusting(bundle: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=bundle)
