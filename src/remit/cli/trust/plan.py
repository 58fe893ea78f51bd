"""`remit trust plan`: what is to be done so that the clouds hold what remit.yaml says."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remit.cli.output import emit, json_option, say, table
from remit.cli.serve import config_option

if TYPE_CHECKING:  # what these need is imported when the command runs
    from remit.assembly.trust_plan import Planned
    from remit.trust.planning.plan import Plan
    from remit.trust.settings import DatabaseRoles

_STYLES: Mapping[str, Mapping[str, Any]] = {
    "make": {"fg": "green"},
    "change": {"fg": "yellow"},
    "remove": {"fg": "red"},
    "unsafe": {"fg": "red", "bold": True},
    "title": {"bold": True},
    "faint": {"dim": True},
}

allow_option = click.option("--allow", "allowed", multiple=True, metavar="NAME", help="An unsafe change that is meant.")


@click.command()
@config_option
@allow_option
@click.option("--as", "who", type=click.Choice(["self", "remit"]), default="self", show_default=True, help="Who asks.")
@click.option("--out", type=click.Choice(["terraform", "gcloud", "sql"]), help="Print it for other means instead.")
@click.option("--needs", is_flag=True, help="Print what whoever plans and applies must be allowed.")
@click.option("--verbose", is_flag=True, help="Tell every permission of a custom role, however many there are.")
@json_option
def command(
    config: Path, allowed: tuple[str, ...], who: str, out: str | None, *, needs: bool, verbose: bool, as_json: bool
) -> None:
    """Show what the clouds lack of what remit.yaml says, and hold beside it.

    Each line tells what it allows and to whom. Nothing is changed; `remit trust apply` takes the checksum at the end.
    It asks as whoever is signed in with `az` and `gcloud`, or as Remit itself. Exit 0: nothing to do; 1: changes;
    2: it cannot be planned, or not be carried out.
    """
    from remit.assembly import trust_plan
    from remit.settings.read import read
    from remit.trust.desired.sql import unseen

    if needs:
        _tell_needs(as_json=as_json)
        return
    settings = read(config, pending=True)
    found = asyncio.run(trust_plan.planned(settings, trust_plan.Who(who)))
    if out and not found.plan.problems:
        click.echo(_other(found, out, settings.trust.databases), nl=False)
    elif as_json:
        from remit.trust.planning.render import as_json as data

        emit({**data(found.plan, allowed), "unseen": list(unseen(settings.trust))})
    else:
        show(found.plan, allowed, err=bool(out), verbose=verbose)
        for line in unseen(settings.trust):
            say(f"not looked at: {line}")
    if found.plan.problems:
        raise SystemExit(2)
    if found.plan.changes:
        raise SystemExit(1)


def show(plan: "Plan", allowed: tuple[str, ...], *, err: bool, verbose: bool = False, whole: bool = True) -> None:
    """The plan for people, in colours where it goes to a terminal; to stderr with `err`; `whole`: as of `page`."""
    from remit.trust.planning.render import page

    for line in page(plan, allowed, verbose=verbose, whole=whole):
        click.echo(click.style(line.text, **_STYLES.get(line.mark, {})), err=err)


def _other(found: "Planned", out: str, databases: Sequence["DatabaseRoles"]) -> str:
    if out == "sql":
        from remit.trust.planning.sql import sql
        from remit.trust.things import ids_of

        return sql(databases, ids_of(found.found))
    if out == "terraform":
        from remit.trust.planning.terraform import terraform

        return terraform(found.wanted, found.found)
    from remit.trust.planning.gcloud import gcloud

    return gcloud(found.plan, found.found)


def _tell_needs(*, as_json: bool) -> None:
    from remit.assembly.trust_plan import NEEDS, READS

    commands = {"plan": READS, "apply": NEEDS}
    if as_json:
        emit(commands)
        return
    for name, clouds in commands.items():
        say(f"`remit trust {name}` needs")
        rows = ((cloud, what, why) for cloud, needs in clouds.items() for what, why in needs.items())
        table([{"at": cloud, "what": what, "why": why} for cloud, what, why in rows])
