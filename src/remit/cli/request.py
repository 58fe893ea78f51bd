"""`remit request`: to be granted something for a while."""

import click

from remit.cli.duration import duration
from remit.cli.output import json_option, say
from remit.cli.requested import show
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
    `remit can`. A refusal that a grant would cure names this command. With --job the grant begins with the run and ends
    with it.
    """
    asked = {"action": action, "resource": resource, "for": duration(lasting), "because": because}
    asked |= {"job": job} if job else {}
    asked |= {"break_glass": True} if break_glass else {}
    done = signed_in().post("/v1/grants", {"ask": asked})
    show(done, as_json=as_json)
    if done["grant"]["state"] == "asked" and not as_json:
        say(f"hint: whoever may approve runs `remit approve {done['grant']['id']}`")
