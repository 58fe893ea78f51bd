"""`remit who`: everyone who may."""

import datetime as dt
from typing import Any

import click

from remit.cli.output import emit, json_option, say, table
from remit.cli.place import parts, place
from remit.cli.understood import understood
from remit.sdk.sign_in import signed_in

_PROJECTS = "//cloudresourcemanager.googleapis.com/projects/"


@click.command()
@click.argument("action")
@click.argument("resource")
@json_option
def command(action: str, resource: str, *, as_json: bool) -> None:
    """Everyone who may do ACTION to RESOURCE, and what leads there. Exit 0 somebody, 1 nobody.

    Those who first have to prove more (`step up`) or to be granted it (`needs approval`) are in the list, as such.
    ACTION and RESOURCE are as in `remit can`. For each group that leads there, the way to it is shown.
    """
    found = signed_in().get("/v1/who", action=action, resource=resource)
    with understood():
        people = list(found["people"])
    if as_json:
        emit(found)
        raise SystemExit(0 if people else 1)
    with understood():
        table([_row(person) for person in people])
        at = dt.datetime.fromtimestamp(found["as_of"], dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
        say(f"{len(people)} may do `{found['action']}` to {place(found)}, as of the directory at {at} UTC")
        if not people and str(found["resource"]).startswith(_PROJECTS):
            say("hint: what policies permit on something in it is not in this: name it, as `projects/P/locations/L/…`")
        if address := parts(found):
            say(f"hint: whoever may only below a prefix is not in this: name it, as `{address}`")
    raise SystemExit(0 if people else 1)


def _row(person: Any) -> dict[str, str]:
    return {
        "who": person["name"] or person["principal"],
        "kind": "guest" if person.get("guest") and person["kind"] == "person" else person["kind"],
        "may": _outcome(person),
        "by": ", ".join(person["policies"]) or "-",
        "through": "; ".join(" → ".join(way) for way in person["ways"]) or "-",
        "principal": person["principal"],
    }


def _outcome(person: Any) -> str:
    if person["outcome"] == "step_up":
        return f"after a step-up to {person['challenge']}" if person["challenge"] else "after a step-up"
    return {"permit": "yes", "needs_approval": "when granted"}.get(person["outcome"], str(person["outcome"]))
