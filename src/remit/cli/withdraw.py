"""`remit withdraw`: take back what one asked for."""

import click

from remit.cli.output import json_option
from remit.cli.requested import say_to


@click.command()
@click.argument("grant")
@click.option("--because", default="", metavar="TEXT", help="Why, for the record.")
@json_option
def command(grant: str, because: str, *, as_json: bool) -> None:
    """Take back what you asked for, or end what you were granted.

    Whoever may approve it may end it too, at once.
    """
    say_to(grant, "withdraw", because, as_json=as_json)
