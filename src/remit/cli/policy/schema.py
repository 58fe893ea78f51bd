"""`remit policy schema`: every word that a policy may use."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from remit.cli.output import emit, json_option
from remit.cli.serve import config_option

if TYPE_CHECKING:
    from collections.abc import Collection


@click.command()
@config_option
@click.option(
    "--all-actions", is_flag=True, help="With every action that the catalogue knows; no installation is read."
)
@json_option
def command(config: Path, *, all_actions: bool, as_json: bool) -> None:
    """Print the Cedar schema, for editors and other tools: with the actions that the present policies name.

    docs/policy-schema.md is the same to read. With `--json`, one object with the schema's text and its parts.
    """
    from remit.catalogue import actions
    from remit.policy.reference import parts
    from remit.policy.schema import schema_text

    known = actions()
    named = frozenset(known) if all_actions else _named(config)
    text = schema_text(known, named)
    if as_json:
        emit({"schema": text, **parts(), "actions": {name: known[name] for name in sorted(named & known.keys())}})
    else:
        click.echo(text, nl=False)


def _named(config: Path) -> "Collection[str] | frozenset[str]":
    from remit.assembly.policy_check import named_actions
    from remit.settings.read import read

    return named_actions(read(config, pending=True))
