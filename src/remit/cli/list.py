"""`remit list`: what was asked for, and what is granted."""

from typing import Any

import click

from remit.cli.duration import in_words
from remit.cli.output import emit, json_option, say, table
from remit.cli.requested import state, time
from remit.cli.understood import understood
from remit.model.counts import counted
from remit.sdk.sign_in import signed_in


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also what is over.")
@json_option
def command(*, everything: bool, as_json: bool) -> None:
    """What you have asked for and been granted, and what waits for your word."""
    found = signed_in().get("/v1/grants", **({"all": "1"} if everything else {}))
    with understood():
        grants = list(found["grants"])
    if as_json:
        for grant in grants:
            emit(grant)
        return
    with understood():
        table([_row(grant) for grant in grants])
        waiting = sum(grant["may_approve"] and grant["state"] == "asked" for grant in grants)
        due = sum(grant["may_approve"] and grant["review_due"] for grant in grants)
    say(counted(waiting, "waits", "wait") + " for your approval" + (f", {due} for your review" if due else ""))


def _row(grant: Any) -> dict[str, str]:
    return {
        "grant": grant["id"],
        "who": "you" if grant["mine"] else grant["name"] or grant["principal"],
        "what": f"{grant['action']} on {grant['resource']}",
        "for": in_words(grant["for"]) + (f" of {grant['job']}" if grant["job"] else ""),
        "asked": time(grant["asked_at"]),
        "state": state(grant),
        "because": grant["because"],
    }
