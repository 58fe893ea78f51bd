"""`remit token RESOURCE`: one short-lived token, for people and for helpers that ask for one."""

import os
import sys
import time

import click

from remit.model.errors import Refused, RemitError
from remit.sdk.resources import parse
from remit.sdk.token_formats import FORMATS, USER, Asked, NotForHelper, answer, google_failure, silent

_SHOWN_TO = ("docker", "git")
_MAXIMUM = 64 << 10  # characters on stdin: a few lines


@click.command()
@click.argument("resource")
@click.argument("action", default="get", metavar="[get|store|erase|list]")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", help="In which program's form.")
@click.option("--host", "hosts", multiple=True, help="Whom Docker or git may show it; as often as needed.")
@click.option("--user", default=USER, show_default=True, help="The name beside the token, for Docker and git.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(resource: str, action: str, form: str, hosts: tuple[str, ...], user: str, *, as_json: bool) -> int:
    """Print one token, and nothing else.

    RESOURCE is `gs://PROJECT`, for the buckets of PROJECT that policy permits you, `az://PROJECT`, for its containers,
    `postgresql://PROJECT` or `sql://PROJECT`, for logging in at Azure's databases, and the token is good for nothing
    else. Or it is `remit`: your own token for Remit, which its doors take, and which means nothing anywhere else. Each
    is decided and recorded.

    Helpers: Docker and git append ACTION by themselves, and say on stdin whom the token is for. It is printed for the
    hosts that --host names, and for no other.
    """
    form = "json" if as_json else form
    try:
        said = _get(resource, form, _asked(action, form, hosts, user))
    except RemitError as error:
        if form == "google":  # the program reads stderr as part of the answer
            click.echo(google_failure(str(getattr(error, "reason", "unavailable")), error))
            return 1 if isinstance(error, Refused) and error.reason.http_status == 403 else 2  # noqa: PLR2004 - HTTP 403
        if form == "docker" and isinstance(error, NotForHelper):
            click.echo(error.message)  # where Docker looks for it
            return 1
        raise
    if said:
        click.echo(said)
    return 0


def _get(resource: str, form: str, asked: Asked) -> str:
    from remit.sdk.ambient import Ambient

    wanted = parse(resource)
    said = silent(form, asked)
    if said is not None:
        return said
    ambient = Ambient(wanted.project or None)
    return answer(form, ambient.ask(ambient.named(wanted.scheme)), asked, time.time())


def _asked(action: str, form: str, hosts: tuple[str, ...], user: str) -> Asked:
    if form not in _SHOWN_TO:
        return Asked(environment=os.environ)
    if not hosts:
        hint = "name each: `--host HOST`; whoever writes an image's or a repository's name chooses whom it is shown"
        raise RemitError(f"it is not said whom {form} may show the token", hint=hint)
    said = "" if action == "list" else sys.stdin.read(_MAXIMUM)
    return Asked(action, said, frozenset(host.lower() for host in hosts), user)
