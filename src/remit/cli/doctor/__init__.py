"""`remit doctor`: looks before the work begins; one file per question."""

from pathlib import Path

import click

from remit.cli.files import Files
from remit.cli.output import json_option
from remit.cli.serve import config_option

_QUESTIONS = {"lifetime": "will this work outlive a credential?"}


@click.group(cls=Files, package=__name__, files=_QUESTIONS, invoke_without_command=True, no_args_is_help=True)
@click.option("--live", is_flag=True, help="Ask the clouds: does this installation work with its tenant and projects?")
@config_option
@click.option("--allow-changes", is_flag=True, help="Make a scratch application and a scratch role, and remove them.")
@click.option("--as-me", is_flag=True, help="Walk your own ways as yourself too, as `remit trust verify --as-me`.")
@json_option
@click.pass_context
def command(
    context: click.Context, config: Path, *, live: bool, allow_changes: bool, as_me: bool, as_json: bool
) -> None:
    """Look before the work begins: what would break, and what to change.

    With `--live`: this machine, who asks and what they may, remit.yaml, every hop, what a plan would change. It reads
    as whoever is signed in with `az` and `gcloud`. Exit 0: all is well; 1: something failed or could not be looked at.
    """
    if context.invoked_subcommand is not None:
        if live or allow_changes or as_me or as_json:
            raise click.UsageError(
                "`--live`, `--allow-changes`, `--as-me` and `--json` do not stand before "
                f"`{context.invoked_subcommand}`"
            )
        return
    if not live:
        raise click.UsageError("`--live`, or one of the commands")
    from remit.cli.doctor.live import live as look

    raise SystemExit(look(config, changes=allow_changes, as_me=as_me, as_json=as_json))
