"""`remit review`: look at what was taken without waiting."""

import click

from remit.cli.output import json_option
from remit.cli.requested import say_to


@click.command()
@click.argument("grant")
@click.option("--because", default="", metavar="TEXT", help="Why, for the record.")
@json_option
def command(grant: str, because: str, *, as_json: bool) -> None:
    """Say that you have looked at what somebody took without waiting.

    Whoever may approve may review, and never their own.
    """
    say_to(grant, "review", because, as_json=as_json)
