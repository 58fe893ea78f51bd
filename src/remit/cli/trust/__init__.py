"""`remit trust`: what the clouds must hold; one file per command, imported when it is asked for."""

import click

from remit.cli.files import Files

_COMMANDS = {
    "init": "a first remit.yaml",
    "plan": "what the clouds lack of what remit.yaml says",
    "apply": "carry out the plan that was reviewed",
    "verify": "walk every hop, and compare policy and IAM",
    "drift": "what was changed behind remit.yaml's back",
    "rotate": "keys, secrets and assignments that have an end",
    "schema": "remit.yaml for editors",
}


@click.group(cls=Files, package=__name__, files=_COMMANDS)
def command() -> None:
    """The agreement between Entra, Google, Azure and the policy, as code."""
