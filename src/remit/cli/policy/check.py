"""`remit policy check`: what is to be looked at in the policies."""

import datetime as dt
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remit.cli.audit import moment
from remit.cli.output import emit, json_option, printable, say
from remit.cli.serve import config_option
from remit.model.counts import counted
from remit.model.errors import folded

if TYPE_CHECKING:
    from remit.policy.use.findings import Finding


@click.command()
@config_option
@click.option(
    "--since", default="90d", show_default=True, help="Of recorded decisions: a time, or an age (15m, 2h, 7d)."
)
@click.option("--offline", is_flag=True, help="Look at the files alone: no records, no directory.")
@json_option
def command(config: Path, since: str, *, offline: bool, as_json: bool) -> None:
    """Look for what is wrong, what does nothing, and what reaches further than anybody needed.

    The recorded decisions are taken again under the policies as they are now. Groups and roles are held against what
    the directory last told. Exit 0: nothing but notes; 1: errors or warnings.
    """
    from remit.assembly.policy_check import checked
    from remit.policy.use.findings import Severity
    from remit.settings.read import read

    report = checked(read(config, pending=True), moment(since), offline=offline)
    if as_json:
        emit(
            {
                "passed": report.passed,
                "decisions": report.decisions,
                "failed": report.failed,
                "since": _day(report.since),
                "tests": report.tests,
                "directory": _day(report.directory),
                "findings": [_data(each) for each in report.findings],
            }
        )
    else:
        for line in _told(report.findings):
            click.echo(printable(line))
        counts = [(sum(each.severity is one for each in report.findings), str(one)) for one in Severity]
        say(", ".join(counted(count, word) for count, word in counts))
        say(
            f"from {counted(report.tests, 'test')}, {counted(report.decisions, 'recorded decision')}"
            + (f" since {_day(report.since)}" if report.since else "")
            + (
                f", and the directory of {_day(report.directory)}"
                if report.directory
                else "; no directory was looked at"
            )
        )
        if report.failed:
            left = counted(report.failed, "recorded decision")
            say(f"not taken again: {left}, such as those of projects that are gone")
    if not report.passed:
        raise SystemExit(1)


def _told(findings: "Sequence[Finding]") -> Iterator[str]:
    """A line for each, and one for what to do about several that want the same."""
    for (severity, hint), alike in groupby(findings, key=lambda each: (each.severity, each.hint)):
        yield from (f"{severity:7} {line}" for line in folded([each.problem for each in alike]))
        if hint:
            yield f"        {hint}"


def _data(finding: "Finding") -> dict[str, Any]:
    place = finding.problem
    return {
        "severity": finding.severity,
        "kind": finding.kind,
        "policy": finding.policy,
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "message": place.message,
        "hint": finding.hint,
    }


def _day(seconds: int) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d}" if seconds else ""
