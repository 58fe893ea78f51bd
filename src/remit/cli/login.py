"""`remit login`: sign in once, or more strongly for one refused decision."""

import click

from remit.cli.output import emit, json_option, say
from remit.model.errors import RemitError


@click.command()
@click.option("--url", envvar="REMIT_URL", help="The installation's address; kept with the sign-in.")
@click.option("--device", is_flag=True, help="Sign in with a code, in a browser anywhere. The one way so far.")
@click.option("--for", "decision", metavar="DECISION", help="Sign in as strongly as this refused decision needs.")
@json_option
def command(url: str | None, *, device: bool, decision: str | None, as_json: bool) -> None:
    """Sign in with your company's account.

    A code is shown; enter it in a browser, on this machine or another. The sign-in is held in the memory of a
    process of yours, never on disk, until `remit logout` or a day has passed.
    """
    from remit.sdk.broker import Broker
    from remit.sdk.sign_in import SignIn, claims_for

    del device
    kept = None if url and not decision else SignIn.kept()
    sign_in = kept or SignIn.at(url or "")
    broker = Broker(sign_in.configuration.url)
    claims = None
    if decision:
        needed = broker.decision(sign_in.token(), decision).get("challenge", "")
        if not needed:
            raise RemitError(f"decision `{decision}` does not ask for a stronger sign-in")
        claims = claims_for(str(needed))

    def announce(flow: object) -> None:
        shown = dict(flow) if isinstance(flow, dict) else {}
        if as_json:
            emit({"event": "code", **shown})
        say(f"open {shown['verification_uri']} and enter the code {shown['user_code']}")

    sign_in.by_device(announce, claims)
    identity = broker.identity(sign_in.token())
    if as_json:
        emit({"event": "signed_in", **identity})
    say(f"signed in as {identity['name']} at {sign_in.configuration.url}")
