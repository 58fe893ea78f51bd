"""`remit scan`: static keys in repositories, notebooks and environment files, and what replaces each."""

import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remit.cli.audit import moment
from remit.cli.output import emit, json_option, printable, say
from remit.model.counts import counted
from remit.model.errors import RemitError

if TYPE_CHECKING:  # what these need is imported when the command runs
    from remit.scan.finding import Finding
    from remit.scan.search import Report

_MICROSECONDS = 1_000_000
_ABBREVIATED = 12  # digits of a commit, as git itself shows those of a large repository


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--no-history", is_flag=True, help="The files as they are now, and no commits.")
@click.option("--since", default="", metavar="COMMIT|TIME", help="Of the history only what is newer.")
@click.option("--baseline", type=click.Path(path_type=Path, dir_okay=False), help="Findings that are known.")
@click.option("--write-baseline", is_flag=True, help="Make that file of what is found now.")
@click.option("--all", "everything", is_flag=True, help="Also node_modules, environments of Python, and caches.")
@click.option("--ci", is_flag=True, help="A line for each, as pipelines show them (GitHub: annotations).")
@json_option
def command(
    paths: tuple[Path, ...],
    since: str,
    baseline: Path | None,
    *,
    no_history: bool,
    write_baseline: bool,
    everything: bool,
    ci: bool,
    as_json: bool,
) -> None:
    """Find static keys, say what replaces each, and how to end it.

    Looks through files (those that git ignores too), notebooks with their outputs, and every commit of the
    repositories. Shows no secret. Exit 0: none; 1: found; 2: something could not be read.
    """
    from remit.scan import baseline as baselines
    from remit.scan.search import Asked, Search

    if write_baseline and baseline is None:
        raise click.UsageError("`--write-baseline` wants `--baseline FILE`.")
    known = frozenset() if baseline is None or write_baseline else baselines.known(baseline)
    asked = Asked(paths, not no_history, everything, since, _moment(since))
    with _progress(quiet=as_json or ci) as told:
        report = Search(asked, told).report()
    if write_baseline and baseline is not None:
        _written(baselines.write(baseline, report.findings), baseline, report, as_json=as_json)
        return
    new = [one for one in report.findings if one.found.fingerprint not in known]
    if as_json:
        emit(_data(new, report, len(report.findings) - len(new)))
    else:
        (_annotate if ci else _tell)(new)
        _sum(new, report, len(report.findings) - len(new))
    raise SystemExit(1 if new else 2 if report.unread else 0)


def _moment(since: str) -> int | None:
    """What was typed as a time in seconds; `None` when it can only be a commit."""
    try:
        return moment(since) // _MICROSECONDS if since else None
    except RemitError:
        return None


def _written(rows: int, file: Path, report: "Report", *, as_json: bool) -> None:
    for each in report.unread:
        say(f"not read: {each}")
    if as_json:
        emit({"written": rows, "unread": report.unread})
    else:
        findings = counted(rows, "finding")
        say(f"{findings} written to `{file}`: look at each, end the keys, then let the file get shorter")
    if report.unread:
        raise SystemExit(2)


def _tell(findings: Sequence["Finding"]) -> None:
    """By kind: the places, then what to do."""
    for _, alike in itertools.groupby(sorted(findings, key=lambda one: one.kind.name), key=lambda one: one.kind.name):
        group = list(alike)
        kind = group[0].kind
        click.echo(f"{kind.title} ({kind.name})")
        for one in group:
            click.echo(
                printable("  " + "  ".join(each for each in (_place(one), _names(one), one.found.fingerprint) if each))
            )
        click.echo(f"  instead: {kind.instead}")
        if kind.docs:
            click.echo(f"           {kind.docs}")
        for number, end in enumerate(dict.fromkeys(_end(one) for one in group)):
            click.echo(printable(f"  {'end it:' if not number else '':8} {end}"))
        click.echo("")


def _annotate(findings: Sequence["Finding"]) -> None:
    """A line each; as workflow commands where GitHub reads them (docs.github.com, workflow commands)."""
    github = os.environ.get("GITHUB_ACTIONS") == "true"
    for one in findings:
        names = _names(one)
        what = f"{one.kind.title}{f' ({names})' if names else ''}, {one.found.fingerprint}"
        said = f"{what}; instead: {one.kind.instead}; end it: {_end(one)}"
        if not github:
            click.echo(printable(f"{_place(one)}: {said}").replace("\n", " "))
            continue
        if not one.present:
            said = f"{_place(one)}: {said}"
        file, title = _property(one.found.file), _property(f"remit scan: {one.kind.name}")
        click.echo(f"::error file={file},line={one.found.line},title={title}::{_escaped(said)}")


def _escaped(text: str) -> str:
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _place(one: "Finding") -> str:
    found = one.found
    cell = f" cell {found.cell} ({found.where})" if found.cell else ""
    history = "" if one.present else f" in the history, commit {one.commit[:_ABBREVIATED] or 'unknown'}"
    return f"{found.file}:{found.line}{cell}{history}"


def _names(one: "Finding") -> str:
    return ", ".join(f"{name.replace('_', ' ')} {each}" for name, each in one.found.names.items())


def _end(one: "Finding") -> str:
    from remit.scan.kinds import filled

    return filled(one.kind.end, one.found.names)


def _sum(new: Sequence["Finding"], report: "Report", known: int) -> None:
    counts = report.counts
    say(
        f"scanned {counted(counts['tree texts'], 'file')} ({_megabytes(counts['tree bytes'])}) and "
        f"{counted(counts['history texts'], 'object')} ({_megabytes(counts['history bytes'])}) in the history of "
        f"{counted(counts['repositories'], 'repository', 'repositories')}; "
        f"{counts['tree binary'] + counts['history binary']} are binary"
    )
    for note in report.notes:
        say(f"note: {note}")
    for why, times in sorted(Counter(one.found.dismissed for one in report.dismissed).items()):
        say(f"{times} not counted: {why}")
    if known:
        say(f"{known} not counted: in the baseline")
    for each in report.unread:
        say(f"not read: {each}")
    past = sum(not one.present for one in new)
    files = len({one.found.file for one in new})
    say(
        f"{counted(len(new), 'key')} found in {counted(files, 'file')}{f', {past} in the history only' if past else ''}"
        if new
        else "no key found"
    )
    if new:
        say("a key that was committed stays in the history of every clone: end it, do not only delete it")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _data(new: Sequence["Finding"], report: "Report", known: int) -> dict[str, Any]:
    return {
        "findings": [_row(one) for one in new],
        "dismissed": [{**_row(one), "because": one.found.dismissed} for one in report.dismissed],
        "known": known,
        "notes": report.notes,
        "unread": report.unread,
        "scanned": dict(report.counts),
    }


def _row(one: "Finding") -> dict[str, Any]:
    found = one.found
    return {
        "kind": found.kind,
        "file": found.file,
        "line": found.line,
        "cell": found.cell or None,
        "where": found.where or None,
        "commit": one.commit or None,
        "present": one.present,
        "names": found.names,
        "fingerprint": found.fingerprint,
        "instead": one.kind.instead,
        "docs": one.kind.docs or None,
        "end": _end(one),
    }


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where that is a terminal: nobody knows how much a history holds before it is read."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _files, _bytes: None
        return
    columns = (
        TextColumn("{task.fields[files]} files and objects"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    # drawn when there is news, not by a thread: processes are forked meanwhile
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=None, files=0)

        done = Counter[str]()

        def told(files: int, size: int) -> None:
            done["files"] += files
            bar.update(task, advance=size, files=done["files"], refresh=True)

        yield told
