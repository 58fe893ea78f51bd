"""`remit trust verify`: do Entra, Google, Azure and the policy agree."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remit.cli.output import emit, json_option, printable
from remit.cli.serve import config_option

if TYPE_CHECKING:  # what this needs is imported when the command runs
    from remit.model.secret import UnverifiedToken

_STYLES: Mapping[str, Mapping[str, Any]] = {
    "ok": {"fg": "green"},
    "unwalked": {"dim": True},
    "broken": {"fg": "red", "bold": True},
    "missing": {"fg": "yellow"},
    "excess": {"fg": "yellow"},
    "clash": {"fg": "red"},
    "title": {"bold": True},
    "cure": {"dim": True},
}


@click.command()
@config_option
@click.option("--role", default="", metavar="ROLE", help="Only what concerns this role.")
@click.option(
    "--as", "who", type=click.Choice(["remit", "self"]), default="remit", show_default=True, help="Who reads."
)
@click.option("--as-me", is_flag=True, help="Walk your own ways as yourself too: Google's log and the ledger name you.")
@click.option("--verbose", is_flag=True, help="Tell every permission and every method, however many there are.")
@json_option
def command(config: Path, role: str, who: str, *, as_me: bool, verbose: bool, as_json: bool) -> None:
    """Walk every hop as Remit and as each role, and compare what Entra grants, the policy permits and IAM allows.

    A probe that is nobody walks each role's way; nothing is changed. With `--as-me` whoever is signed in with
    `remit login`, or the workload that this is, walks their own by their own token, through sign-in and on-behalf-of.
    Exit 0: all agree; 1: a hop does not hold, or a permission is missing, too much, or defeated on another side, each
    with its cure.
    """
    from remit.assembly import trust_verifying
    from remit.assembly.trust_plan import Who
    from remit.settings.read import read
    from remit.trust.verifying.page import page

    settings = read(config)
    if role and role not in (known := sorted({one.role for one in settings.trust.mappings})):
        raise click.UsageError(f"no account is mapped to `{role}`: one of {', '.join(known)}")
    report = asyncio.run(trust_verifying.verified(settings, Who(who), own_token() if as_me else None))
    if role:
        report = report.about(role)
    if as_json:
        emit(report.data())
    else:
        for line in page(report, verbose=verbose):
            click.echo(click.style(printable(line.text), **_STYLES.get(line.mark, {})))
    if not report.clean:
        raise SystemExit(1)


def own_token() -> "UnverifiedToken":
    """The token for Remit of whoever is signed in, or of this workload; raises `NotSignedIn`."""
    from remit.model.secret import UnverifiedToken
    from remit.sdk.sign_in import current

    return UnverifiedToken(current().token().reveal())
