"""`remit trust drift`: what was changed behind remit.yaml's back, and the two ways out of it."""

import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from remit.cli.output import emit, fail, json_option, printable, say
from remit.cli.serve import config_option
from remit.cli.trust.plan import allow_option, show
from remit.model.errors import RemitError

if TYPE_CHECKING:  # what these need is imported when the command runs
    from remit.assembly.trust_drift import Adopted
    from remit.settings.read import Settings
    from remit.trust.applying.apply import Outcome
    from remit.trust.drifting.metrics import Metrics
    from remit.trust.drifting.report import Explained

_EVERY = 300.0  # seconds between two readings of a watch

who_option = click.option(
    "--as", "who", type=click.Choice(["self", "remit"]), default="self", show_default=True, help="Who asks."
)


@click.group(invoke_without_command=True)
@config_option
@who_option
@click.option(
    "--watch",
    type=click.FloatRange(min=1),
    is_flag=False,
    flag_value=_EVERY,
    metavar="[SECONDS]",
    help="Look every so often (300), and tell only what is new or gone.",
)
@click.option(
    "--metrics", "metrics_", type=click.Path(path_type=Path, dir_okay=False), help="A Prometheus textfile to keep."
)
@json_option
@click.pass_context
def command(
    ctx: click.Context, config: Path, who: str, *, watch: float | None, metrics_: Path | None, as_json: bool
) -> None:
    """Show changes made at the clouds behind the file's back: who, when, and who gains or loses what by it.

    Exit 0: none; 1: drift; 2: it could not be told. `revert` and `adopt` are the two ways out. A watch ends with
    SIGINT or SIGTERM, with the exit code of its last reading.
    """
    ctx.obj = config
    if ctx.invoked_subcommand:
        return
    from remit.settings.read import read

    settings = read(config, pending=True)
    if watch is not None:
        raise SystemExit(asyncio.run(_watch(settings, who, watch, metrics_, as_json=as_json)))
    found = asyncio.run(_once(settings, who, metrics_))
    _show(found, as_json=as_json)
    if found:
        raise SystemExit(1)


@command.command()
@click.argument("names", nargs=-1, metavar="KEY...")
@allow_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--resume", is_flag=True, help="Go on with a revert that was interrupted.")
@json_option
@click.pass_obj
def revert(
    config: Path, names: tuple[str, ...], allowed: tuple[str, ...], *, yes: bool, resume: bool, as_json: bool
) -> None:
    """Make the clouds hold again what remit.yaml says, for these drifts and no others.

    It is an apply of just these changes: shown, asked for, journalled; `remit trust apply --rollback` undoes one that
    was interrupted.
    """
    from remit.settings.read import read

    if bool(names) == resume:
        raise click.UsageError("name the drifts to revert, or `--resume`")
    outcome = asyncio.run(_revert(read(config, pending=True), names, allowed, yes=yes, resume=resume))
    if as_json:
        from remit.trust.planning.render import as_json as data

        emit({"steps": outcome.steps, "left": data(outcome.left), "journal": str(outcome.journal or "") or None})
    else:
        click.echo(f"{outcome.steps} reverted" if outcome.left.empty else "the clouds do not show all of it yet")
    if not outcome.left.empty:
        raise SystemExit(1)


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="KEY...")
@allow_option
@json_option
@click.pass_obj
def adopt(config: Path, names: tuple[str, ...], allowed: tuple[str, ...], *, as_json: bool) -> None:
    """Edit remit.yaml so that it says what is there, for those of these drifts that it has words for.

    The edited file is planned first: these drifts must be gone and nothing else may have come.
    """
    from remit.settings.read import read

    found = asyncio.run(_adopt(read(config, pending=True), names, allowed))
    if as_json:
        edits = [{"path": list(one.path), "value": one.value, "added": one.comes} for one in found.edits]
        emit({"edits": edits, "also": list(found.also)})
        return
    for edit in found.edits:
        click.echo(printable(str(edit)))
    for name in found.also:
        say(f"says this as well: {name}")


async def _once(settings: "Settings", who: str, path: Path | None) -> "tuple[Explained, ...]":
    from remit.assembly import trust_drift
    from remit.assembly.trust_plan import Who
    from remit.trust.drifting.metrics import Metrics

    metrics = Metrics()
    try:
        async with trust_drift.open_scene(settings, Who(who)) as view:
            metrics.found = await trust_drift.explained(view)
            metrics.success = time.time()
    except RemitError:
        metrics.errors = 1
        raise
    finally:
        _keep(metrics, path)
    return tuple(metrics.found)


def _keep(metrics: "Metrics", path: Path | None) -> None:
    if path is None:
        return
    try:
        metrics.write(path)
    except OSError as cause:
        raise RemitError(f"the metrics cannot be written to `{path}`: {cause.strerror}") from cause


def _show(found: "Sequence[Explained]", *, as_json: bool) -> None:
    from remit.trust.drifting import report

    if as_json:
        emit(report.as_json(found))
    else:
        click.echo(report.render(found))


async def _watch(settings: "Settings", who: str, every: float, path: Path | None, *, as_json: bool) -> int:
    from remit.assembly import trust_drift
    from remit.assembly.trust_plan import Who
    from remit.trust.drifting import report
    from remit.trust.drifting.watch import Stopped, Watch

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def look() -> "tuple[Explained, ...]":
        async with trust_drift.open_scene(settings, Who(who)) as view:
            looking = asyncio.ensure_future(trust_drift.explained(view))
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not looking.done():
                looking.cancel()
                await asyncio.wait({looking})
                raise Stopped
            return looking.result()

    def told(one: "Explained", word: str) -> None:
        if as_json:
            emit({word: report.as_json([one])["drifts"][0]})
        else:
            click.echo(f"{word}:\n{report.render_one(one)}")
        sys.stdout.flush()

    async def pause() -> bool:
        try:
            await asyncio.wait_for(stop.wait(), every)
        except TimeoutError:
            return True
        return False

    watch = Watch(
        look=look,
        pause=pause,
        new=lambda one: told(one, "new"),
        gone=lambda one: told(one, "gone"),
        failed=fail,
        noted=lambda metrics: _keep(metrics, path),
        clock=time.time,
    )
    return {True: 0, False: 1, None: 2}[await watch()]


async def _revert(
    settings: "Settings", names: Sequence[str], allowed: Sequence[str], *, yes: bool, resume: bool
) -> "Outcome":
    from remit.assembly import trust_drift
    from remit.assembly.trust_plan import Who
    from remit.trust.applying.apply import Changed

    async with trust_drift.open_scene(settings, Who.SELF) as view:
        if resume:
            return await trust_drift.resumed(view, allowed, say)
        plan = await trust_drift.to_revert(view, names)
        allowed = trust_drift.spelled(plan, allowed)
        show(plan, tuple(allowed), err=True, whole=False)
        if not yes and not plan.problems and not plan.refused(allowed):
            _confirm()
        try:
            return await trust_drift.reverted(view, plan, allowed, say)
        except Changed as changed:
            for line in changed.since:
                say(line)
            said = "since these drifts were shown, the clouds, the policy or remit.yaml changed"
            raise RemitError(said, hint="look again: `remit trust drift`") from changed


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise RemitError("nothing is reverted without a yes", hint="`--yes`, once `remit trust drift` was read")
    if click.prompt("type yes to revert exactly this", default="", show_default=False, err=True) != "yes":
        say("nothing was changed")
        raise SystemExit(1)


async def _adopt(settings: "Settings", names: Sequence[str], allowed: Sequence[str]) -> "Adopted":
    from remit.assembly import trust_drift
    from remit.assembly.trust_plan import Who

    async with trust_drift.open_scene(settings, Who.SELF) as view:
        return await trust_drift.adopted(view, names, allowed)
