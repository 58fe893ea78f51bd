"""`remit token RESOURCE`: one short-lived token, for helpers that ask for one."""

import click

from remit.cli.output import emit, json_option
from remit.model.errors import RemitError

_SCHEME = "gs://"


@click.command()
@click.argument("resource", metavar="gs://PROJECT")
@json_option
def command(resource: str, *, as_json: bool) -> None:
    """Print one token for Cloud Storage, narrowed to the buckets of PROJECT that policy permits you.

    The token is good for fifteen minutes at most and for nothing else; the decision is recorded.
    """
    from remit.sdk.broker import Broker
    from remit.sdk.sign_in import current

    project = resource.removeprefix(_SCHEME)
    if project == resource or not project:
        raise RemitError(
            f"`{resource}` is not a resource that a token can be had for", hint="name a project: gs://PROJECT"
        )
    sign_in = current()
    exchanged = Broker(sign_in.configuration.url).storage_token(sign_in.token(), project)
    if as_json:
        emit({"access_token": exchanged.token.reveal(), "expires_in": exchanged.expires_in, "token_type": "Bearer"})
    else:
        click.echo(exchanged.token.reveal())
