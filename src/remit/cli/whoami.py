"""`remit whoami`: who the installation says you are."""

import time

import click

from remit.cli.output import emit, json_option


@click.command()
@json_option
def command(*, as_json: bool) -> None:
    """Who you are, as the installation verified it: never what this machine believes."""
    from remit.sdk.broker import Broker
    from remit.sdk.sign_in import SignIn

    sign_in = SignIn.kept()
    identity = Broker(sign_in.configuration.url).identity(sign_in.token())
    if as_json:
        emit(identity)
        return
    strength = ", ".join(identity["methods"] + identity["contexts"]) or "unknown"
    left = max(0, int(identity["expires_at"] - time.time()) // 60)
    click.echo(f"{identity['name']} ({identity['kind']}{', guest' if identity['guest'] else ''})")
    click.echo(f"  principal  {identity['principal']}")
    click.echo(f"  at         {sign_in.configuration.url}")
    click.echo(f"  roles      {', '.join(identity['roles']) or 'none'}")
    click.echo(f"  groups     {', '.join(identity['groups']) or 'none'}")
    click.echo(f"  signed in  by {strength}")
    click.echo(f"  token      renewed by itself, {left} minutes left")
