"""`remit trust`: do Entra, Google and the policy agree."""

import asyncio
from dataclasses import asdict
from pathlib import Path

import click

from remit.cli.output import emit, json_option, say
from remit.cli.serve import config_option


@click.group()
def command() -> None:
    """The agreement between Entra, Google and the policy."""


@command.command()
@config_option
@json_option
def verify(config: Path, *, as_json: bool) -> None:
    """Probe every hop between Entra and Google, and compare what the policy permits with what IAM allows.

    Exit 0: all agree; 1: a hop does not hold, or a permission is missing or too much, each with its cure.
    """
    from remit.assembly.trust import verified
    from remit.settings.read import read

    report = asyncio.run(verified(read(config)))
    if as_json:
        emit({"holds": report.holds, "clean": report.clean, **asdict(report)})
    else:
        for hop in report.hops:
            click.echo(f"{'ok     ' if hop.holds else 'broken '} {hop.name}: {hop.said}")
            if hop.cure:
                say(f"hint: {hop.cure}")
        for finding in report.findings:
            click.echo(f"{finding.kind:7} {finding.role} in {finding.project}: {finding.permission}")
            say(f"hint: {finding.cure}")
    if not report.clean:
        raise SystemExit(1)
