"""How commands speak: data on stdout, words on stderr, errors in one form with their hint on a line of its own."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from remit.model.errors import Refused, RemitError

json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Data instead of prose.")


def emit(value: Any) -> None:
    """One JSON value on a line of stdout."""
    text = json.dumps(value, ensure_ascii=False)
    click.echo("".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text))


def printable(text: str) -> str:
    """A text without what a terminal would obey: names come from directories, which others write."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)


def say(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(printable(text), err=True)


def fail(error: RemitError) -> int:
    """Prints an error and its hint; returns the exit code: 1 when the answer is no, 2 when there is none."""
    say(f"error: {error.message}")
    if error.hint:
        say(f"hint: {error.hint}")
    return 1 if isinstance(error, Refused) and error.reason.http_status == 403 else 2  # noqa: PLR2004 - HTTP 403


def misused(error: click.ClickException) -> RemitError:
    """A wrong command line in the form of every other error."""
    said = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"run `{context.command_path} --help`" if context else ""
    return RemitError(said[:1].lower() + said[1:], hint=hint)


def table(rows: Sequence[Mapping[str, str]]) -> None:
    """Rows under the first row's keys, aligned, on stdout."""
    if not rows:
        return
    rows = [{name: printable(text).replace("\n", " ") for name, text in row.items()} for row in rows]
    names = list(rows[0])
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    for row in [{name: name for name in names}, *rows]:
        sys.stdout.write("  ".join(row[name].ljust(widths[name]) for name in names).rstrip() + "\n")
