"""`remit audit`: what happened, and is it proved."""

import datetime as dt
from dataclasses import asdict
from pathlib import Path

import click

from remit.cli.output import emit, json_option, say, table
from remit.cli.serve import config_option
from remit.model.counts import counted
from remit.model.errors import RemitError

_MICROSECONDS = 1_000_000
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


_OUTCOMES = ["", "permit", "deny", "step_up", "needs_approval", "failed", "started", "refused"]


@click.group()
def command() -> None:
    """Ask the record who did what, and check that nobody changed it."""


@command.command()
@config_option
@click.option("--who", default="", help="A principal (`tenant/subject`) or a display name.")
@click.option("--resource", default="", help="Part of a resource's canonical name.")
@click.option("--action", default="", help="A method id, or its end, such as `predict`.")
@click.option("--project", default="", help="A project id.")
@click.option(
    "--outcome",
    default="",
    metavar="[permit|deny|step_up|needs_approval|failed|started|refused]",
    help="What came of it.",
    type=click.Choice(["", "permit", "deny", "step_up", "needs_approval", "failed", "started", "refused"]),
)
@click.option("--decision", default="", help="A decision id.")
@click.option("--since", default="", help="A time (2026-11-22T10:00) or an age (15m, 2h, 7d).")
@click.option("--until", default="", help="The same; not included.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="The newest so many.")
@click.option("--all", "everything", is_flag=True, help="Also tunnels that opened, health checks and the like.")
@json_option
def query(config: Path, since: str, until: str, limit: int, *, everything: bool, as_json: bool, **words: str) -> None:
    """Show the timeline: decisions, and what then passed, newest last."""
    from remit.assembly import evidence
    from remit.audit.query import Query
    from remit.settings.read import read

    question = Query(**words, since=moment(since), until=moment(until), limit=limit, everything=everything)
    rows = evidence.asked(read(config), question)
    if as_json:
        for row in rows:
            emit(asdict(row))
        return
    table(
        [
            {
                "time": dt.datetime.fromtimestamp(row.time / _MICROSECONDS, dt.UTC).strftime("%Y-%m-%d %H:%M:%S"),
                "what": row.kind if row.kind != "access" else f"access {row.status}",
                "who": row.name or row.principal or "-",
                "action": row.action.removeprefix("aiplatform.projects.locations.") or "-",
                "resource": row.resource.rpartition("/projects/")[2] or row.resource or "-",
                "outcome": row.outcome or "-",
                "why": ", ".join((*row.reasons, *row.policies)) or (row.detail if row.kind == "statements" else "-"),
                "decision": row.decision or "-",
            }
            for row in rows
        ]
    )
    say(counted(len(rows), "row"))


@command.command()
@config_option
@click.option(
    "--key", "keys", multiple=True, help="A public key to trust, NAME+ID+BASE64; else the installation's own."
)
@click.option("--earlier", type=click.Path(path_type=Path, exists=True), help="A checkpoint that was kept elsewhere.")
@click.option(
    "--node",
    "nodes",
    metavar="NAME=FOLDER",
    multiple=True,
    help="The `audit` folder of another gateway on this ledger, mounted or copied here.",
)
@json_option
def verify(config: Path, keys: tuple[str, ...], earlier: Path | None, nodes: tuple[str, ...], *, as_json: bool) -> None:
    """Recompute the whole tree from the records and hold it against its signatures; exit 1 when anything is off.

    Whoever runs the box could sign anew: to guard against that, keep the printed checkpoint elsewhere and give it to a
    later verification, together with a public key that was handed out before.
    """
    from remit.assembly.evidence import begun, public_key, verified
    from remit.settings.read import read

    settings = read(config)
    if not keys and not public_key(settings).exists():
        if begun(settings):
            hint = (
                "pass the public key that was handed out: `--key NAME+ID+BASE64`; `remit serve` writes the file again"
            )
            raise RemitError(f"there is a ledger, but its public key `{public_key(settings)}` is missing", hint=hint)
        raise RemitError("there is no evidence here yet", hint="`remit serve` makes it")
    trusted = keys or (public_key(settings).read_text(encoding="utf-8").strip(),)
    kept = earlier.read_text(encoding="utf-8") if earlier else ""
    report = verified(settings, trusted, kept, dict(map(_node, nodes)))
    if as_json:
        emit({"passed": report.passed, **asdict(report)})
    else:
        records, segments = counted(report.entries, "record"), counted(report.segments, "segment")
        say(f"{records}, {segments} with {counted(report.rows, 'access event')}")
        for finding in report.findings:
            say(f"broken: {finding}")
        say("the evidence holds" if report.passed else "the evidence does not hold")
        click.echo(report.checkpoint, nl=False)
    if not report.passed:
        raise SystemExit(1)


def _node(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    if not separator or not Path(folder).is_dir():
        raise RemitError(f"`{text}` is no node with its folder", hint="write `--node node-2=/mnt/node-2/audit`")
    return name, Path(folder)


def moment(text: str) -> int:
    """Microseconds since the epoch of a time (local where it names no zone) or an age; 0 for an empty one."""
    if not text:
        return 0
    now = dt.datetime.now(dt.UTC)
    if text[:-1].isdecimal() and text[-1] in _UNITS:
        return max(1, int((now.timestamp() - int(text[:-1]) * _UNITS[text[-1]]) * _MICROSECONDS))
    try:
        found = dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        hint = "write 2026-11-22T10:00, or an age such as 15m, 2h, 7d"
        raise RemitError(f"`{text}` is no time", hint=hint) from error
    return max(1, int(found.timestamp() * _MICROSECONDS))
