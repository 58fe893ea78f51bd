"""`remit run -- COMMAND`: a command with ambient, renewing credentials."""

import os
import sys

import click


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--project", envvar="GOOGLE_CLOUD_PROJECT", required=True, help="The Google Cloud project to work in.")
@click.option("--name", default="", help="Of this run: what was granted for it begins now, and ends with it.")
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND [ARGUMENT]...")
def command(project: str, name: str, arguments: tuple[str, ...]) -> None:
    """Run a command with your identity at hand: no key file, no token in its environment, no change to its code.

    A metadata server and a proxy stand beside the command while it runs; Google's and TensorFlow's own libraries find
    them by themselves and renew what they need. The command's exit code is this command's exit code.
    """
    from remit.sdk.run import run
    from remit.sdk.sign_in import current

    sys.exit(run(arguments, project, current(), os.environ, name))
