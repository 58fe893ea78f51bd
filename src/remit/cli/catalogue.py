"""`remit catalogue [METHOD]`: what Remit knows of an API."""

from dataclasses import asdict

import click

from remit.cli.output import emit, json_option, say, table


@click.command()
@click.argument("text", default="", metavar="[METHOD]")
@click.option("--served", is_flag=True, help="Only what passes the gateway.")
@json_option
def command(text: str, *, served: bool, as_json: bool) -> None:
    """List the methods that Remit knows, or those whose id, permission or path holds METHOD.

    A method that is not listed is refused by name; one that is known but not served is refused as well.
    """
    from remit.catalogue import methods, revision, search

    found = [row for row in (search(text) if text else methods()) if row.served or not served]
    if as_json:
        for row in found:
            emit(asdict(row))
    else:
        table([{"action": row.id, "group": row.group, "permission": row.permission or "-"} for row in found])
        say(f"{len(found)} methods; Vertex AI's of revision {revision()}")
    if not found:
        raise SystemExit(1)
