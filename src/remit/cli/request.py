"""`remit request`: to be granted something for a while."""

from collections.abc import Mapping
from typing import Any

import click

from remit.cli.duration import duration
from remit.cli.output import json_option, printable, say
from remit.cli.requested import held, show
from remit.cli.understood import understood
from remit.sdk.sign_in import signed_in


@click.command()
@click.argument("action")
@click.argument("resource")
@click.option("--for", "lasting", metavar="DURATION", required=True, help="For so long: 30m, 2h, 7d.")
@click.option("--because", metavar="TEXT", required=True, help="Why, for whoever approves and for the record.")
@click.option("--job", metavar="NAME", default="", help="Only for the next run of this name (`remit run --name NAME`).")
@click.option("--break-glass", is_flag=True, help="At once, without waiting; it is looked at afterwards.")
@json_option
def command(
    action: str, resource: str, lasting: str, because: str, job: str, *, break_glass: bool, as_json: bool
) -> None:
    """Ask to be permitted ACTION on RESOURCE, and on what lies below it, for a while.

    Policy says what may be asked for and who approves; nobody approves their own. ACTION and RESOURCE are as in
    `remit can`, but no prefix: a grant is of a whole bucket or container. A refusal that a grant would cure names this
    command. With --job the grant begins with the run and ends with it. What you may do already is not asked for: you
    are told by what, exit 0.
    """
    asked = {"action": action, "resource": resource, "for": duration(lasting), "because": because}
    asked |= {"job": job} if job else {}
    asked |= {"break_glass": True} if break_glass else {}
    done = signed_in().post("/v1/grants", {"ask": asked})
    if "permitted" in done and not as_json:
        _tell_permitted(done)
        return
    show(done, as_json=as_json)
    if not as_json and done["grant"]["state"] == "asked":
        say(f"hint: whoever may approve runs `remit approve {done['grant']['id']}`")


def _tell_permitted(done: Mapping[str, Any]) -> None:
    """Nothing is asked for that nobody has to grant."""
    with understood():
        found = done["permitted"]
        name = found["name"] or found["principal"]
        click.echo(printable(f"permitted already: {name}, `{found['action']}` on `{found['resource']}`"))
        for grant in found["grants"]:
            say(f"by: {held(grant)}")
        if not found["grants"]:
            say("by: the policies, without a grant")
        say("nothing was asked for: just do it")
