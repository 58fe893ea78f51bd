"""`remit trust schema`: remit.yaml for editors."""

import click

from remit.cli.output import json_option


@click.command()
@json_option
def command(*, as_json: bool) -> None:
    """Print the JSON Schema of remit.yaml, by which editors complete, explain and check its keys.

    It is JSON with and without `--json`. docs/configuration.md says how an editor is told of it.
    """
    from remit.settings.json_schema import shipped

    del as_json
    click.echo(shipped(), nl=False)
