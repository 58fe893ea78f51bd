"""`remit logout`: forget the sign-in on this machine."""

import click

from remit.cli.output import emit, json_option, say


@click.command()
@json_option
def command(*, as_json: bool) -> None:
    """Forget the sign-in on this machine, wherever it is kept.

    With REMIT_STORE set, only there.
    """
    from remit.sdk.sign_in import sign_out

    sign_out()
    if as_json:
        emit({"signed_in": False})
    say("signed out")
