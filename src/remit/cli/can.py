"""`remit can`: may they, and why."""

from typing import Any

import click

from remit.cli.output import emit, json_option, printable, say
from remit.cli.place import parts, place
from remit.cli.requested import held
from remit.cli.understood import understood
from remit.model.lifetime import ENDING
from remit.sdk.sign_in import signed_in

_YES = "permit"


@click.command()
@click.argument("who")
@click.argument("action")
@click.argument("resource")
@click.option("--context", "contexts", metavar="C1", multiple=True, help="As if this step-up were completed.")
@click.option("--method", "methods", metavar="METHOD", multiple=True, help="As if signed in so (`mfa`).")
@click.option("--country", metavar="CODE", help="As if from this country, `DE`.")
@click.option("--peer", metavar="ADDRESS", help="As if from this address.")
@click.option("--risk", type=click.Choice(["none", "low", "medium", "high"]), help="As if the sign-in were so risky.")
@click.option("--compliant/--not-compliant", default=None, help="As if from such a device.")
@click.option("--managed/--not-managed", default=None, help="As if from such a device.")
@click.option("--job", "job_name", metavar="NAME", help="As if a run of this name began now, with what waits for it.")
@click.option("--acts-as", metavar="ACCOUNT", help="As if the work ran as this service account.")
@click.option("--outlived", type=click.Choice(ENDING), multiple=True, help="As if it ended before the work.")
@json_option
def command(who: str, action: str, resource: str, *, as_json: bool, **assumed: Any) -> None:
    """Whether WHO may do ACTION to RESOURCE, and why. Exit 0 yes, 1 no.

    WHO is `me`, a principal (`tenant/subject`, an object id) or a name. ACTION is a method or an end of it that only
    one has (`endpoints.predict`), or a group: use, observe, launch, change, administer, which stands for those of
    its methods that no policy names. RESOURCE is a project, a bucket (`gs://BUCKET`), a container
    (`az://ACCOUNT/CONTAINER`), what lies in one of these below a prefix (`gs://BUCKET/PREFIX/`), an account, or
    Google's name of a thing (`projects/P/locations/L/endpoints/E`).

    What is not said of the circumstances is as in the latest sign-in that is on record, else as in a plain one.
    """
    with_ = {name: list(value) if isinstance(value, tuple) else value for name, value in assumed.items()}
    asked: dict[str, Any] = {"action": action, "resource": resource}
    asked |= (
        {"with": told} if (told := {name: value for name, value in with_.items() if value not in (None, [])}) else {}
    )
    asked |= {} if who == "me" else {"who": who}
    found = signed_in().post("/v1/can", asked)
    if as_json:
        emit(found)
    else:
        with understood():
            _tell(found)
    raise SystemExit(0 if found.get("outcome") == _YES else 1)


def _tell(found: Any) -> None:
    outcome = str(found["outcome"]).replace("_", " ")
    name = found["who"]["name"] or found["who"]["principal"]
    click.echo(printable(f"{outcome}: {name}, `{found['action']}` on {place(found)}"))
    if found["detail"]:
        say(f"because: {found['detail']}")
    if found.get("policies"):
        say(f"policies: {', '.join(found['policies'])}")
    for way in found.get("ways", []):
        say(f"through: {' → '.join(way)}")
    for grant in found.get("grants", []):
        say(f"by: {held(grant)}")
    if found["hint"]:
        say(f"hint: {found['hint']}")
    if outcome == "deny" and (address := parts(found)):
        say(f"hint: what policies permit only below a prefix is not in this: name it, as `{address}`")
    if found.get("assumed"):
        say(
            "assumed: "
            + ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in sorted(found["assumed"].items()))
        )


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value) or "unknown"
