"""`remit deny`: refuse what somebody asked for."""

import click

from remit.cli.output import json_option
from remit.cli.requested import say_to


@click.command()
@click.argument("grant")
@click.option("--because", default="", metavar="TEXT", help="Why, for the record.")
@json_option
def command(grant: str, because: str, *, as_json: bool) -> None:
    """Refuse what somebody asked for, or end what was granted."""
    say_to(grant, "deny", because, as_json=as_json)
