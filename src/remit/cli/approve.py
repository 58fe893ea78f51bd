"""`remit approve`: let somebody have what they asked for."""

import click

from remit.cli.output import json_option
from remit.cli.requested import say_to


@click.command()
@click.argument("grant")
@click.option("--because", default="", metavar="TEXT", help="Why, for the record.")
@json_option
def command(grant: str, because: str, *, as_json: bool) -> None:
    """Let somebody have what they asked for: GRANT is as `remit list` names it.

    Never one's own. Where policy wants two people, the grant begins with the second one's word.
    """
    say_to(grant, "approve", because, as_json=as_json)
