"""`remit policy test`: the policies do what their tests say."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from remit.cli.output import emit, fail, json_option, printable, say
from remit.cli.serve import config_option
from remit.model.errors import RemitError

if TYPE_CHECKING:
    from remit.assembly.policy_check import Trial
    from remit.policy.trials.coverage import Covered
    from remit.policy.trials.trial import Result

_EVERY = 0.5  # seconds between looks at the files
_LONGEST = 120  # characters of a condition that are shown

Stamps = tuple[tuple[str, int, int], ...]


@click.command()
@config_option
@click.option(
    "--coverage",
    "minimum",
    type=click.FloatRange(0, 100),
    help="Fail below this percentage, of policies that decide and of conditions that go both ways.",
)
@click.option("--watch", is_flag=True, help="Run again whenever a file changes, until Ctrl-C.")
@json_option
def command(config: Path, minimum: float | None, *, watch: bool, as_json: bool) -> None:
    """Run the tests beside the policies, and tell what they leave untried.

    Tests are files in the folder `tests` of the policies (docs/policy-schema.md). Exit 0: all passed; 1: one
    failed, or too little is tried; 2: the policies or the tests cannot be read.
    """
    if watch:
        _watch(config, minimum, as_json=as_json)
    if not _passed(config, minimum, as_json=as_json):
        raise SystemExit(1)


def _passed(config: Path, minimum: float | None, *, as_json: bool) -> bool:
    from remit.assembly.policy_check import tested
    from remit.settings.read import read

    trial = tested(read(config, pending=True))
    failed = [result for result in trial.results if not result.passed]
    enough = minimum is None or min(trial.coverage.policies, trial.coverage.conditions) >= minimum
    if as_json:
        emit(_data(trial, passed=enough and not failed))
        return enough and not failed
    for result in failed:
        click.echo(printable(_failure(result)))
    for rule in trial.coverage.rules:
        for gap in _gaps(rule):
            click.echo(printable(gap))
    say(
        f"{len(trial.results) - len(failed)} passed, {len(failed)} failed; {trial.coverage.policies:.0f}% of the rules "
        f"decided a test, {trial.coverage.conditions:.0f}% of the sides of their conditions were seen"
    )
    if not enough:
        say(f"that is less than the {minimum:g}% of `--coverage`")
    return enough and not failed


def _failure(result: "Result") -> str:
    """One line: where, what, expected, got, by what, and the sentence that the caller would read."""
    place = str(result.case.place).removesuffix(": ")
    told = [f"expected {result.case.expected}, got {result.got}"]
    told.append(f"decided by {', '.join(result.decided)}")
    if result.missing:
        told.append(f"not by {', '.join(result.missing)}")
    detail = result.verdict.detail
    return f"{place}: {result.case.name}: {'; '.join(told)}" + (f": {detail}" if detail else "")


def _gaps(rule: "Covered") -> Iterator[str]:
    """What no test tried of a rule; of one that none came near, that is all there is to say."""
    if not rule.decided:
        yield f"untried: `{rule.id}` decided no test"
    if not rule.decided and not any(one.true or one.false for one in rule.conditions):
        return
    for one in rule.conditions:
        sides = [side for side, seen in (("true", one.true), ("false", one.false)) if not seen]
        if sides:
            text = one.text if len(one.text) <= _LONGEST else f"{one.text[:_LONGEST]}…"
            yield f"untried: `{rule.id}`: never {' or '.join(sides)}: {text}"


def _data(trial: "Trial", *, passed: bool) -> dict[str, Any]:
    coverage = trial.coverage
    return {
        "passed": passed,
        "tests": [_result(each) for each in trial.results],
        "coverage": {
            "policies": round(coverage.policies, 1),
            "conditions": round(coverage.conditions, 1),
            "rules": [
                {
                    "id": rule.id,
                    "decided": rule.decided,
                    "conditions": [{"text": one.text, "true": one.true, "false": one.false} for one in rule.conditions],
                }
                for rule in coverage.rules
            ],
        },
    }


def _result(result: "Result") -> dict[str, Any]:
    case, verdict = result.case, result.verdict
    return {
        "name": case.name,
        "file": case.place.file,
        "line": case.place.line,
        "passed": result.passed,
        "expected": case.expected,
        "got": result.got,
        "because": list(case.because),
        "missing": list(result.missing),
        "reasons": list(verdict.reasons),
        "policies": [policy.id for policy in verdict.policies],
        "obligations": list(verdict.obligations.rules),
        "detail": verdict.detail,
        "hint": verdict.hint,
    }


def _watch(config: Path, minimum: float | None, *, as_json: bool) -> NoReturn:
    """Runs when the files have changed and been still for one look: what is half written is not judged."""
    from remit.settings.read import read

    folder: Path | None = None
    last: Stamps | None = None
    taken: Stamps | None = None
    while True:
        with contextlib.suppress(RemitError):  # said below, by the run; the folder stays the one that it was
            folder = read(config, pending=True).policy.folder
        now = tuple(_stamps(config, *(sorted(folder.rglob("*")) if folder else ())))
        if now == last and now != taken:
            taken = now
            try:
                _passed(config, minimum, as_json=as_json)
            except RemitError as error:
                fail(error)
        last = now
        time.sleep(_EVERY)


def _stamps(*files: Path) -> Iterator[tuple[str, int, int]]:
    for file in files:
        try:
            status = file.stat()
        except FileNotFoundError:  # not there yet, or gone since the folder was listed
            continue
        yield str(file), status.st_mtime_ns, status.st_size
