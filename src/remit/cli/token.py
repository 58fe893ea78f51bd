"""`remit token RESOURCE`: one short-lived token, for helpers that ask for one."""

import click

from remit.cli.output import emit, json_option
from remit.model.errors import RemitError

_SCHEME = "gs://"
_OWN = "remit"


@click.command()
@click.argument("resource", metavar="gs://PROJECT|remit")
@json_option
def command(resource: str, *, as_json: bool) -> None:
    """Print one token: for Cloud Storage, or for Remit itself.

    With gs://PROJECT it is narrowed to the buckets of PROJECT that policy permits you, and good for fifteen minutes at
    most and for nothing else; the decision is recorded. With `remit` it is your own token for Remit, which the second
    door and services take as `Authorization: Bearer`, and which means nothing anywhere else.
    """
    from remit.sdk.broker import Broker
    from remit.sdk.sign_in import current

    if resource == _OWN:
        token = current().token().reveal()
        if as_json:
            emit({"access_token": token, "token_type": "Bearer"})
        else:
            click.echo(token)
        return
    project = resource.removeprefix(_SCHEME)
    if project == resource or not project:
        raise RemitError(
            f"`{resource}` is not a resource that a token can be had for",
            hint="name a project: gs://PROJECT, or `remit`",
        )
    sign_in = current()
    exchanged = Broker(sign_in.configuration.url).storage_token(sign_in.token(), project)
    if as_json:
        emit({"access_token": exchanged.token.reveal(), "expires_in": exchanged.expires_in, "token_type": "Bearer"})
    else:
        click.echo(exchanged.token.reveal())
