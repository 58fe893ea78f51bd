"""`remit catalogue [TEXT]`: what Remit knows of an API."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from remit.cli.output import emit, json_option, say, table
from remit.model.counts import counted

if TYPE_CHECKING:
    from remit.catalogue import Row


@click.command()
@click.argument("text", default="", metavar="[TEXT]")
@click.option("--served", is_flag=True, help="Only what passes the gateway.")
@json_option
def command(text: str, *, served: bool, as_json: bool) -> None:
    """List the methods that Remit knows, or those whose id, group, permission, path or procedure holds TEXT.

    A method that is not listed is refused by name; one that is known but not served is refused as well.
    """
    from remit.catalogue import methods, revision, search

    found = [row for row in (search(text) if text else methods()) if row.served or not served]
    if as_json:
        for row in found:
            emit(asdict(row))
    else:
        table([_columns(row, ways=bool(text)) for row in found])
        say(f"{counted(len(found), 'method')}; Vertex AI's of revision {revision()}")
    if not found:
        raise SystemExit(1)


def _columns(row: "Row", *, ways: bool) -> dict[str, str]:
    """What a line tells. `ways`: also how the method is asked, which makes it a long one."""
    told = {
        "action": row.id,
        "group": row.group,
        "permission": row.permission or "-",
        "versions": " ".join(row.versions) or "-",
        "served": "yes" if row.served else "no",
    }
    return {**told, "http": row.http or "-", "grpc": row.grpc or "-"} if ways else told
