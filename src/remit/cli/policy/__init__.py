"""`remit policy`: the policies of an installation; one file per command, imported when it is asked for."""

import click

from remit.cli.files import Files

_COMMANDS = {
    "init": "a policy folder to start from",
    "check": "are they good, and is each of them needed",
    "test": "do they decide as their tests say",
    "diff": "who would gain or lose by an edit",
    "schema": "what policies can speak of",
}


@click.group(cls=Files, package=__name__, files=_COMMANDS)
def command() -> None:
    """The policies: start with them, check them, test them, and see what an edit would change."""
