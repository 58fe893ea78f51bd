"""`remit login`: sign in once, or more strongly for one refused decision; as a person, or as the workload one is."""

from typing import TYPE_CHECKING

import click

from remit.cli.output import emit, json_option, say
from remit.model.errors import RemitError, SignInAgain

if TYPE_CHECKING:
    from remit.sdk.broker import Broker
    from remit.sdk.sign_in import SignIn, Wanted
    from remit.sdk.workload import Source

_STORES = ("keyring", "keeper", "file")


@click.command()
@click.option("--url", envvar="REMIT_URL", help="The installation's address; kept with the sign-in.")
@click.option("--device", is_flag=True, help="Sign in with a code, in a browser anywhere.")
@click.option("--no-open", is_flag=True, help="Print the address instead of opening a browser.")
@click.option("--for", "decision", metavar="DECISION", help="Sign in as this refused decision needs it.")
@click.option("--workload", is_flag=True, help="Sign in as the machine or the job that this is.")
@click.option("--token-file", metavar="PATH", help="The same, with the token that a file holds.")
@click.option("--token-command", metavar="COMMAND", help="The same, with the token that a command prints.")
@click.option("--store", type=click.Choice(_STORES), default=None, help="Where the sign-in is kept.")
@json_option
def command(
    url: str | None,
    *,
    device: bool,
    no_open: bool,
    decision: str | None,
    workload: bool,
    token_file: str | None,
    token_command: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Sign in with your company's account.

    A browser opens; where there is none, a code is shown that you enter in a browser elsewhere. The sign-in is kept by
    the keyring of your desktop, else in the memory of a process of yours; in a file only with `--store file`.
    """
    from remit.sdk import store as stores
    from remit.sdk.broker import Broker
    from remit.sdk.sign_in import SignIn, nobody, workload_at

    if workload or token_file or token_command:
        if not url:
            raise nobody()
        signed_in, place = workload_at(url, _source(token_file, token_command), place=store or "")
        stores.forget(but=place)
        _greet(Broker(signed_in.configuration.url).identity(signed_in.token()), url, as_json=as_json)
        return
    kept = None if url and not decision else SignIn.kept()
    sign_in = kept or SignIn.at(url or "", place=store or "")
    broker = Broker(sign_in.configuration.url)
    wanted = _wanted(sign_in, broker, decision)
    if kept and store:
        sign_in.store = stores.chosen(store)
    _ask(sign_in, wanted, device=device, no_open=no_open, as_json=as_json)
    stores.forget(but=sign_in.store)
    _greet(broker.identity(sign_in.token()), sign_in.configuration.url, as_json=as_json)


def _source(token_file: str | None, token_command: str | None) -> "Source":
    import os
    from pathlib import Path

    from remit.sdk.workload import Kind, Source, ambient

    if token_file:
        return Source(Kind.TOKEN_FILE, "it was signed in with it", str(Path(token_file).absolute()))
    if token_command:
        return Source(Kind.TOKEN_COMMAND, "it was signed in with it", token_command)
    return ambient(os.environ) or Source(Kind.MANAGED, "nothing else was there at the sign-in")


def _wanted(sign_in: "SignIn", broker: "Broker", decision: str | None) -> "Wanted":
    """What the sign-in has to be, so that a decision would come out otherwise."""
    from remit.sdk.sign_in import Wanted

    if not decision:
        return Wanted()
    try:
        found = broker.decision(sign_in.token(), decision)
    except SignInAgain as refused:  # the token itself no longer counts: a newer one may
        return Wanted(not_before=refused.not_before)
    wanted = Wanted(str(found.get("challenge", "")), int(found.get("not_before", 0)))
    if wanted == Wanted():
        raise RemitError(f"decision `{decision}` does not ask for a stronger sign-in")
    return wanted


def _ask(sign_in: "SignIn", wanted: "Wanted", *, device: bool, no_open: bool, as_json: bool) -> None:
    from remit.sdk import browser

    def announce(flow: object) -> None:
        shown = dict(flow) if isinstance(flow, dict) else {}
        if as_json:
            emit({"event": "code", **shown})
        say(f"open {shown['verification_uri']} and enter the code {shown['user_code']}")

    def show(address: str) -> None:
        if as_json:
            emit({"event": "browser", "url": address})
        if no_open or not browser.show(address):
            say(f"sign in in a browser on this machine: {address}")
        else:
            say("sign in in the browser that has opened; this waits for it")

    if not device and not no_open and not browser.available():
        say("no browser can be opened here, so sign in with a code")
        device = True
    if device:
        sign_in.by_device(announce, wanted)
    else:
        sign_in.by_browser(show, wanted)


def _greet(identity: dict[str, object], url: str, *, as_json: bool) -> None:
    if as_json:
        emit({"event": "signed_in", **identity})
    say(f"signed in as {identity['name']} at {url}")
