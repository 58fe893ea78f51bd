"""`remit demo`: the whole story on the lab, start to finish."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from remit.cli.output import emit, json_option, say


@click.command()
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep everything in this folder.")
@json_option
def command(keep: Path | None, *, as_json: bool) -> None:
    """Tell the whole story on this machine: sign in once, train, serve, be refused, step up, and prove it all.

    The lab plays Entra, Google Cloud and Vertex AI; everything else is real: Google's SDKs, TensorFlow, Envoy, the
    policy, the record. Nothing leaves this machine. With `--json`, one object a step.
    """
    from remit.cli.story.stage import stage
    from remit.cli.story.steps import Steps
    from remit.lab.lifecycle import variables

    began = time.monotonic()
    with _folder(keep) as folder, contextlib.ExitStack() as held:
        with _waiting("starting the lab and remit", quiet=as_json):
            scene = held.enter_context(stage(folder))
        os.environ.update(variables(scene.lab))  # this process is a machine of Contoso's from here on
        for waits, step in Steps(scene):
            with _waiting(waits, quiet=as_json):
                told = step()
            if as_json:
                emit(asdict(told))
                continue
            click.secho(f"{told.step}. {told.title}", bold=True)
            for line in told.lines:
                click.echo(f"   {line}")
    if not as_json:
        say(f"told in {time.monotonic() - began:.0f} s, without a key file or a cloud account")


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="remit-demo-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _waiting(what: str, *, quiet: bool) -> Iterator[None]:
    """A progress bar on stderr while something takes its time; it goes when that is over."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(what, total=None)
        yield
