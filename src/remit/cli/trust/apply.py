"""`remit trust apply`: carry out the plan that was reviewed, and no other."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from remit.cli.output import emit, json_option, say
from remit.cli.serve import config_option
from remit.cli.trust.plan import allow_option, show
from remit.model.errors import RemitError

if TYPE_CHECKING:  # what these need is imported when the command runs
    from remit.settings.read import Settings
    from remit.trust.applying.apply import Outcome


@click.command()
@click.argument("checksum", default="", metavar="[CHECKSUM]")
@config_option
@allow_option
@click.option("--resume", is_flag=True, help="Go on with an apply that was interrupted.")
@click.option("--rollback", is_flag=True, help="Undo what an interrupted apply did.")
@json_option
def command(
    checksum: str, config: Path, allowed: tuple[str, ...], *, resume: bool, rollback: bool, as_json: bool
) -> None:
    """Carry out the plan with this CHECKSUM; without one, show the plan and ask.

    The clouds are read again first: another plan than the reviewed one is refused, and what changed is told. Each
    step is written into a journal before it is done, so that one that was interrupted is resumed or undone. Exit 0:
    the clouds hold what remit.yaml says; 1: something is left, or nothing was done; 2: a step failed.
    """
    from remit.settings.read import read

    if bool(checksum) + resume + rollback > 1:
        raise click.UsageError("one of CHECKSUM, `--resume` and `--rollback`")
    settings = read(config, pending=True)
    if rollback:
        _undo(settings, as_json=as_json)
        return
    if not checksum and not resume:
        checksum = _asked(settings, allowed)
    outcome = _apply(settings, checksum, allowed, resume=resume)
    if as_json:
        _tell_json(outcome)
    elif outcome.left.empty:
        click.echo("the clouds hold what remit.yaml says")
    else:
        say("the clouds do not show this yet:")
        show(outcome.left, allowed, err=False)
    if not outcome.left.empty:
        raise SystemExit(1)


def _asked(settings: "Settings", allowed: tuple[str, ...]) -> str:
    """The checksum of a plan to which somebody at a terminal said yes."""
    from remit.assembly.trust_plan import planned

    if not sys.stdin.isatty():
        hint = "`remit trust plan` ends with it"
        raise RemitError("nothing is applied without the checksum of a plan that was reviewed", hint=hint)
    plan = asyncio.run(planned(settings)).plan
    show(plan, allowed, err=True)
    if plan.changes and not plan.problems and not plan.refused(allowed):
        answer = click.prompt("type yes to apply exactly this", default="", show_default=False, err=True)
        if answer != "yes":
            say("nothing was changed")
            raise SystemExit(1)
    return plan.checksum


def _apply(settings: "Settings", checksum: str, allowed: tuple[str, ...], *, resume: bool) -> "Outcome":
    from remit.assembly import trust_plan
    from remit.trust.applying.apply import Changed

    try:
        if resume:
            return asyncio.run(trust_plan.resumed(settings, allowed, say))
        return asyncio.run(trust_plan.applied(settings, checksum, allowed, say))
    except Changed as changed:
        for line in changed.since:
            say(line)
        raise


def _undo(settings: "Settings", *, as_json: bool) -> None:
    from remit.assembly.trust_plan import rolled_back

    undone = asyncio.run(rolled_back(settings, say))
    if as_json:
        told = {"undone": undone.steps, "left": list(undone.left), "same": undone.same, "journal": str(undone.journal)}
        emit(told)
    else:
        for said in undone.left:
            click.echo(said)
        click.echo(
            "the clouds hold what they held before"
            if undone.same
            else "the clouds do not hold all that they held before: `remit trust plan`"
        )
    if undone.left or not undone.same:
        raise SystemExit(1)


def _tell_json(outcome: "Outcome") -> None:
    from remit.trust.planning.render import as_json as data

    emit(
        {
            "steps": outcome.steps,
            "holds": outcome.left.empty,
            "left": data(outcome.left),
            "journal": str(outcome.journal) if outcome.journal else None,
        }
    )
