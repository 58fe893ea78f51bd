"""`remit serve`: the gateway and the arbiter."""

import json
import logging
from pathlib import Path

import click


def config_option(function: click.decorators.FC) -> click.decorators.FC:
    """`--config`, wherever an installation is spoken of."""
    option = click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path("remit.yaml"),
        show_default=True,
        envvar="REMIT_CONFIG",
        help="The installation's file.",
    )
    return option(function)


@click.command()
@config_option
@click.option("--print-config", is_flag=True, help="Print Envoy's configuration and exit.")
@click.option("--only", type=click.Choice(["arbiter", "databases"]), help="Run this part alone.")
@click.option("--stand-by", is_flag=True, hidden=True, help="Wait for a line on standard input first.")
def command(config: Path, *, print_config: bool, only: str | None, stand_by: bool) -> None:
    """Run an installation: Envoy in front, the arbiter behind it, the access log sealed into the ledger.

    It runs until SIGTERM or Ctrl-C, restarts what dies, and takes over edited policies without a restart. `/readyz`
    at its address says whether it may permit anything at this moment, and if not, why.
    """
    from remit.assembly.serve import gateway_settings, serve, serve_arbiter, serve_databases
    from remit.gateway.bootstrap import bootstrap
    from remit.settings.read import read

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    settings = read(config)
    if print_config:
        click.echo(json.dumps(bootstrap(gateway_settings(settings)), indent=2, sort_keys=True))
        return
    if only == "arbiter":
        serve_arbiter(settings, stand_by=stand_by)
    elif only == "databases":
        serve_databases(settings)
    else:
        serve(settings)
