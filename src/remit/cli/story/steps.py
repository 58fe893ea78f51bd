"""The seven steps, each a function that does something for real and says what it saw.

A step that did not come out as the story tells raises `RemitError`: a demo that lies is worse than none.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx

from remit.cli.story import evidence
from remit.cli.story.people import Ran, ended
from remit.cli.story.stage import Stage
from remit.model.errors import RemitError
from remit.sdk.configuration import fetch
from remit.sdk.keeper import Keeper
from remit.sdk.sign_in import SignIn

TEST, PROD = "contoso-fraud-test", "contoso-fraud-prod"
_FOREIGN = "churn-trainer@contoso-churn-prod.iam.gserviceaccount.com"
_ACCURATE = 0.9
_JOB = re.compile(r"^projects/\S+/customJobs/\d+$", re.MULTILINE)
_DECISION = re.compile(r"decision (d-[0-9a-z]{26})")
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@dataclass(frozen=True, slots=True)
class Told:
    """What a step did: its number, a title, and lines for people; `facts` for programs."""

    step: int
    title: str
    lines: tuple[str, ...]
    facts: dict[str, object]


class Steps:
    """The story on one stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._dana = stage.person("dana")
        self._ada = stage.person("ada")
        self._job = ""
        self._aside: dict[str, subprocess.Popen[str]] = {}

    def __iter__(self) -> Iterator[tuple[str, Callable[[], Told]]]:
        """The steps in order, each with what it waits for."""
        yield "probing the trust, signing Dana in", self.trust
        yield "training on Vertex AI", self.train
        yield "deploying and predicting", self.serve
        yield "Ada tries to train", self.refused
        yield "production, without and with a second factor", self.step_up
        yield "borrowing another team's service account", self.act_as
        yield "reading the evidence", self.audit

    def trust(self) -> Told:
        """1: the trust is probed; Dana signs in once."""
        verified = self._pat("trust", "verify", "--json", codes=(0, 1))
        report = json.loads(verified.out)
        _demand(report["holds"], f"the trust does not hold: {verified.out}")
        hold = sum(hop["walked"] for hop in report["hops"])
        missing = [finding for finding in report["findings"] if finding["kind"] == "missing"]
        excess = [finding for finding in report["findings"] if finding["kind"] == "excess"]
        self._dana.sign_in("--url", self._stage.url)
        who = json.loads(self._dana.remit("whoami", "--json").out)
        worst = next(one for one in excess if one["permission"] == "aiplatform.models.export")
        lacking = next(one for one in missing if one["permission"] == "logging.logEntries.list")
        place = lacking["resource"].rpartition("/")[2]
        return Told(
            1,
            "Do Entra and Google agree? Dana signs in, once.",
            (
                f"{hold} hops hold; {len(missing)} permissions missing, {len(excess)} too many, such as",
                f"  missing: {lacking['role']} cannot {lacking['permission']} in {place}",
                f"  excess:  {worst['role']} could {worst['permission']}, which no policy permits",
                f"signed in as {who['name']}, {', '.join(who['roles'])}, by {', '.join(who['methods'])}",
            ),
            {"hops": len(report["hops"]), "findings": report["findings"], "identity": who},
        )

    def train(self) -> Told:
        """2: the stock SDK trains; meanwhile two others try what they may not."""
        launch = self._stage.script("launch.py")
        job = self._dana.start(TEST, [launch])
        self._ada.sign_in("--url", self._stage.url)
        self._aside["ada"] = self._ada.start(TEST, [launch])
        self._aside["foreign"] = self._dana.start(TEST, [launch, "--service-account", _FOREIGN])
        ran = _succeeded(ended(job), "Dana's job")
        self._job = _found(_JOB, ran.out)
        return Told(
            2,
            "Dana trains on Vertex AI with Google's own SDK: no key file, no code change.",
            (f"{self._job} succeeded",),
            {"job": self._job},
        )

    def serve(self) -> Told:
        """3: log, model, endpoint, real predictions over both transports."""
        ran = _succeeded(self._dana.run(TEST, [self._stage.script("serve.py"), self._job]), "serving")
        log = [line.removeprefix("log: ") for line in ran.out.splitlines() if line.startswith("log: ")]
        accuracy = float(next(line for line in log if line.startswith("held-out accuracy")).rpartition(" ")[2])
        answer = json.loads(
            next(line for line in ran.out.splitlines() if line.startswith("answer: "))[len("answer: ") :]
        )
        _demand(accuracy > _ACCURATE, f"held-out accuracy is {accuracy}")
        _demand(answer["over_grpc"] == answer["over_rest"], "gRPC and REST disagree")
        right = sum(one == other for one, other in zip(answer["asked"], answer["over_grpc"], strict=True))
        _demand(right >= len(answer["asked"]) - 1, f"the model got {right} digits right")
        return Told(
            3,
            "She reads the log, deploys the model, and asks it about real digits.",
            (
                f"from the log: held-out accuracy {accuracy:.3f}",
                f"asked about the digits {answer['asked']}",
                f"gRPC and REST answer   {answer['over_grpc']}",
            ),
            {"accuracy": accuracy, **answer},
        )

    def refused(self) -> Told:
        """4: Ada may not launch."""
        message = self._refusal("ada", "PermissionDenied")
        return Told(4, "Ada, a data scientist, launches the same script.", _wrapped(message), {"message": message})

    def step_up(self) -> Told:
        """5: production asks for a second factor, once; the unchanged script then runs."""
        launch = [self._stage.script("launch.py")]
        refused = self._dana.run(PROD, launch)
        _demand(refused.code != 0, "Dana launched in production without a second factor")
        message = refused.err.strip().splitlines()[-1]
        decision = _found(_DECISION, message)
        _demand(f"remit login --for {decision}" in message, f"the refusal does not say what to do: {message}")
        self._dana.sign_in("--for", decision, second_factor=True)
        job = _found(_JOB, _succeeded(self._dana.run(PROD, launch), "the job in production").out)
        return Told(
            5,
            "Dana launches in production, without and then with a second factor.",
            (*_wrapped(message), f"$ remit login --for {decision}", f"the same script: {job} succeeded"),
            {"message": message, "decision": decision, "job": job},
        )

    def act_as(self) -> Told:
        """6: a service account of another team."""
        message = self._refusal("foreign", "PermissionDenied")
        heard = [
            entry
            for entry in evidence.google_log(Path(self._stage.lab.folder))
            if entry.method == "CreateCustomJob" and _FOREIGN in json.dumps(entry.request)
        ]
        _demand(not heard, "Vertex heard of the foreign account")
        lines = (*_wrapped(message), "Vertex AI's own log holds no such request")
        return Told(6, "A job asks to run as another team's service account.", lines, {"message": message})

    def audit(self) -> Told:
        """7: who did what, in both logs; nobody can go around; nobody can change the record."""
        settings = self._stage.settings
        rows = evidence.decisions(settings)
        known = {row.decision for row in rows}
        used = [entry for entry in evidence.google_log(Path(self._stage.lab.folder)) if entry.decision]
        _demand(
            used and all(entry.decision in known for entry in used), "Google's log names a decision that is unknown"
        )
        ours = [entry for entry in used if entry.account.startswith("ml-engineer@")]
        delegating = {entry.delegating.rpartition("/subject/")[2] for entry in ours}
        dana = next(row.principal for row in rows if row.name.startswith("dana@"))
        _demand(delegating == {dana}, f"Google's log names {delegating} instead of Dana")
        alone = self._exchange_alone()
        _demand(evidence.holds(settings), "the evidence does not verify")
        scratch = self._stage.folder / "tampered"
        _demand(not evidence.holds_when_changed(settings, scratch), "a changed record was not found")
        _demand(not evidence.holds_when_removed(settings, scratch), "a removed record was not found")
        refused = [row for row in rows if row.outcome != "permit"]
        launched = [row for row in rows if row.outcome == "permit" and "create" in row.action]
        shown = [*refused[:3], *launched[:2]]
        return Told(
            7,
            "Who did what?",
            (
                *(_line(row.name, row.action, row.project, row.outcome, row.reasons[0]) for row in shown),
                f"{len(rows)} decisions; {len(used)} calls in Google's log carry their ids and name Dana as delegating",
                f"Dana's own exchange at Google, without Remit: {alone}",
                "audit verify: the evidence holds; a changed byte and a removed record are both found",
            ),
            {"decisions": [asdict(row) for row in rows], "google": len(used), "alone": alone, "verified": True},
        )

    def _exchange_alone(self) -> str:
        """What Google says when Dana exchanges a token of hers for the second audience, without Remit."""
        own = replace(fetch(self._stage.url), scope=self._stage.settings.credentials.scope)
        keeper = Keeper(self._stage.folder / "own.sock")
        sign_in = SignIn(keeper, own)
        try:
            sign_in.by_device(self._dana.approve)
            form = {
                "grant_type": _EXCHANGE,
                "audience": self._stage.settings.credentials.provider,
                "scope": "https://www.googleapis.com/auth/cloud-platform",
                "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "subject_token": sign_in.token().reveal(),
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            }
            answer = httpx.post("https://sts.googleapis.com/v1/token", data=form)
        finally:
            keeper.end()
        _demand(answer.status_code == httpx.codes.BAD_REQUEST, "Google took a token that Remit did not obtain")
        document = answer.json()
        _demand(document["error"] == "unauthorized_client", f"Google refused for another reason: {document}")
        return str(document["error_description"])

    def _pat(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> Ran:
        """A command of the platform engineer's, on the installation's own machine."""
        pat = self._stage.person("pat")
        ran = pat.remit(*arguments, "--config", str(self._stage.settings.file))
        _demand(ran.code in codes, f"`remit {' '.join(arguments)}` failed: {ran.err}")
        return ran

    def _refusal(self, name: str, kind: str) -> str:
        ran = ended(self._aside[name])
        message = ran.err.strip().splitlines()[-1] if ran.err.strip() else ""
        _demand(ran.code != 0 and message.startswith(kind), f"expected a refusal, got {ran.code}: {ran.out}{ran.err}")
        return message


def _line(*words: str) -> str:
    name, action, project, outcome, reason = words
    return f"{name.partition('@')[0]:5} {action.rpartition('locations.')[2]:24} {project:19} {outcome:14} {reason}"


def _wrapped(message: str, width: int = 116) -> tuple[str, ...]:
    """A long message in lines for a terminal."""
    import textwrap

    return tuple(textwrap.wrap(message, width, break_long_words=False, break_on_hyphens=False))


def _succeeded(ran: Ran, what: str) -> Ran:
    _demand(ran.code == 0, f"{what} failed with {ran.code}\n{ran.out}\n{ran.err}")
    return ran


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    if match is None:
        raise RemitError(f"expected `{pattern.pattern}` in: {text}")
    return match[match.lastindex or 0]


def _demand(holds: object, message: str) -> None:
    if not holds:
        raise RemitError(message)
