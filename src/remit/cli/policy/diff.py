"""`remit policy diff`: who would gain or lose by an edit, over what was really asked."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remit.cli.audit import moment
from remit.cli.output import emit, json_option, say, table
from remit.cli.serve import config_option
from remit.model.counts import counted

if TYPE_CHECKING:  # what these need is imported when the command runs
    from remit.assembly.replay import Comparison
    from remit.policy.edits.gains import Change, Replay
    from remit.policy.edits.history import Differences

_PREFIXES = ("aiplatform.projects.locations.", "storage.")


@click.command()
@config_option
@click.option("--against", required=True, metavar="REF|FOLDER", help="A folder, else a revision of the policies' git.")
@click.option("--since", default="30d", show_default=True, help="A time (2026-11-22T10:00) or an age (12h, 7d).")
@json_option
def command(config: Path, against: str, since: str, *, as_json: bool) -> None:
    """Decide the recorded decisions again, with the edited policies and with those of REF or FOLDER.

    Shows which policies differ, then who gains, who loses, on what, and by which policy. Nothing is checked out and
    nothing is written. Exit 0: nobody is affected; 1: somebody gains or loses; 2: it cannot be told.
    """
    from remit.assembly import replay
    from remit.settings.read import read

    settings = read(config)
    asked = replay.Asked(replay.against(settings, against), moment(since))
    with _progress(quiet=as_json) as (began, advanced):

        def begin(recorded: int, found: "Differences") -> None:
            if not as_json:
                _tell_differences(found)
            began(recorded)

        compared = replay.compare(settings, asked, begin, advanced)
    if as_json:
        emit(_data(compared))
    else:
        _tell(compared.replay)
        _tell_counts(compared)
    if compared.replay.changes:
        raise SystemExit(1)


def _tell_differences(found: "Differences") -> None:
    for sign, names in (("+", found.added), ("-", found.removed), ("~", found.edited)):
        for name in names:
            click.echo(f"{sign} {name}")
    if found == type(found)((), (), ()):
        say("no policy differs")


def _tell(found: "Replay") -> None:
    for title, gains in (("gains", True), ("losses", False)):
        changes = [change for change in found.changes if change.gains is gains]
        if changes:
            click.echo(f"\n{title}")
            table([_row(change) for change in changes])


def _row(change: "Change") -> dict[str, str]:
    return {
        "who": change.name or change.principal,
        "action": _short(change.action),
        "resource": change.resource.rpartition("/projects/")[2] or change.resource,
        "outcome": f"{change.before} → {change.after}",
        "by": f"{_listed(change.policies_before)} → {_listed(change.policies_after)}",
        "times": str(change.times),
        "decision": change.decision,
    }


def _short(action: str) -> str:
    return next((action.removeprefix(each) for each in _PREFIXES if action.startswith(each)), action)


def _listed(policies: Sequence[str]) -> str:
    return ", ".join(policies) or "no policy"


def _tell_counts(compared: "Comparison") -> None:
    found = compared.replay
    every = counted(compared.decisions, "recorded decision")
    say(
        f"{found.replayed} of {every} taken again: {found.unchanged} unchanged, "
        f"{found.outside} of them beyond what the edit is about"
    )
    for why, times in sorted(found.left.items()):
        say(f"{times} not taken again: {why}")
    if found.unkept:
        say(f"{found.unkept} not held against the record: the policies that decided them are not kept, or fit no more")
    if found.unlike:
        say(
            f"{found.unlike} of {found.checked} come out otherwise than recorded under the very policies that decided "
            f"them ({', '.join(found.unlike_decisions)}): `remit.yaml` or the program changed since"
        )


def _data(compared: "Comparison") -> dict[str, Any]:
    counts = asdict(compared.replay)
    del counts["changes"]
    return {
        "before": compared.before,
        "after": compared.after,
        "policies": asdict(compared.differences),
        "decisions": compared.decisions,
        **counts,
        "gains": [asdict(change) for change in compared.replay.changes if change.gains],
        "losses": [asdict(change) for change in compared.replay.changes if not change.gains],
    }


_Told = Callable[[int], None]


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[tuple[_Told, _Told]]:
    """A bar on stderr, where that is a terminal; told how much there is, and then how much was done at a time."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield (lambda _: None, lambda _: None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # drawn when there is news, not by a thread: processes are forked meanwhile
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("deciding again", total=None)
        yield (
            lambda total: bar.update(task, total=total, refresh=True),
            lambda done: bar.update(task, advance=done, refresh=True),
        )
