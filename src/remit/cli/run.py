"""`remit run -- COMMAND`: a command with ambient, renewing credentials."""

import os
import sys

import click

from remit.cli.duration import duration


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--project",
    envvar="GOOGLE_CLOUD_PROJECT",
    required=True,
    help="The Google Cloud project to work in; else what `GOOGLE_CLOUD_PROJECT` says.",
)
@click.option("--name", default="", help="Of this run: what was granted for it begins now, and ends with it.")
@click.option("--for", "lasting", default="", help="How long it means to last: 90s, 15m, 2h, 7d.")
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND [ARGUMENT]...")
def command(project: str, name: str, lasting: str, arguments: tuple[str, ...]) -> None:
    """Run a command with your identity at hand: no key file, no token in its environment, no change to its code.

    Metadata servers and a proxy stand beside the command while it runs; Google's, Azure's and TensorFlow's own
    libraries find them by themselves and renew what they need. With --for you are told before it starts whether it
    would outlive one of its credentials. When it ends, what was issued for it is revoked. The command's exit code is
    this command's exit code.
    """
    from remit.sdk.run import run
    from remit.sdk.sign_in import current

    seconds = duration(lasting) if lasting else 0
    sys.exit(run(arguments, project, current(), os.environ, name=name, lasting=seconds))
