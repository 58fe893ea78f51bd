"""`remit lab`: the local clouds, up, down, and the environment that leads there."""

import shlex
from pathlib import Path

import click

from remit.cli.output import emit, json_option, say

_FOLDER = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".remit/lab"),
    show_default=True,
    help="Where the lab keeps its state.",
)


@click.group()
def command() -> None:
    """Entra, Google Cloud and Vertex AI on this machine, for real client libraries, without a network.

    The lab plays a company, Contoso: people, groups, service accounts, buckets, and a trust between its clouds.
    """


@command.command()
@_FOLDER
@click.option(
    "--models",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Also serve the SavedModels of a folder (`NAME/VERSION/`) as TensorFlow Serving does.",
)
@click.option("--empty", is_flag=True, help="The same company before anybody set up the trust: nothing to run on yet.")
@json_option
def up(folder: Path, models: Path | None, *, empty: bool, as_json: bool) -> None:
    """Start the lab, and write a `remit.yaml` that an installation of Remit can be run on it with."""
    from remit.cli.story.installation import publish_keys, write_contoso
    from remit.lab import lifecycle

    lab = lifecycle.up(folder, models=models, empty=empty)
    found: dict[str, object] = {"folder": lab.folder, "pid": lab.pid, "proxy": lab.proxy}
    enter = f"remit lab env --folder {shlex.quote(str(folder))}"
    if empty:
        hint = f'eval "$({enter} --administrator)" && remit trust init'
    else:
        installation = write_contoso(folder / "contoso", lab)
        publish_keys(installation, lab)
        found["remit_yaml"] = str(installation)
        hint = f'eval "$({enter})" && remit serve --config {installation}'
    if as_json:
        emit({**found, "services": lifecycle.services(lab)})
        return
    say(f"the lab is up in {lab.folder}")
    say(f"hint: {hint}")


@command.command()
@_FOLDER
@click.option(
    "--administrator", is_flag=True, help="As whoever sets up the trust, signed in at every cloud for an hour."
)
@json_option
def env(folder: Path, *, administrator: bool, as_json: bool) -> None:
    """Print the variables with which any program meets the lab instead of the clouds, for `eval`."""
    from remit.lab import lifecycle

    variables = lifecycle.environment(folder) | (lifecycle.administrator(folder) if administrator else {})
    if as_json:
        emit(variables)
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@command.command()
@_FOLDER
@json_option
def down(folder: Path, *, as_json: bool) -> None:
    """End the lab and every job that it runs."""
    from remit.lab import lifecycle

    ended = lifecycle.down(folder)
    if as_json:
        emit({"ended": ended})
    say("the lab is down" if ended else "no lab was running")
