"""`remit doctor lifetime`: will this work outlive a credential?"""

from typing import Any

import click

from remit.cli.duration import duration, in_words
from remit.cli.output import emit, json_option, say, table
from remit.cli.understood import understood
from remit.sdk.sign_in import signed_in


@click.command()
@click.option("--project", default="", envvar="GOOGLE_CLOUD_PROJECT", help="The Google Cloud project to work in.")
@click.option("--for", "lasting", metavar="DURATION", help="How long the work takes: 90m, 6h, 2d.")
@click.option("--name", default="", help="Of the run: what was granted for it counts, and how long it took before.")
@json_option
def command(project: str, lasting: str | None, name: str, *, as_json: bool) -> None:
    """Every hop between your sign-in and the data: how long it lasts, and whether it renews by itself.

    Exit 0 when work of this duration would outlive none of them and the policy permits to start it, else 1; 2 when
    nobody knows how long it takes. Without --for it is as long as 95 of 100 earlier runs of its name took.
    """
    asked = {"project": project, "name": name, "lasting": str(duration(lasting)) if lasting else ""}
    found = signed_in().get("/v1/lifetime", **{key: value for key, value in asked.items() if value})
    with understood():
        fits = not found["outlived"] and found["outcome"] in {"", "permit"}
        code = (0 if found["lasting"] else 2) if fits else 1
        if as_json:
            emit(found)
        else:
            _tell(found, project)
    raise SystemExit(code)


def _tell(found: Any, project: str) -> None:
    ending = {hop["hop"] for hop in found["outlived"]}
    table([_row(hop, ending) for hop in found["hops"]])
    if found["lasting"]:
        known = "declared" if found["declared"] else "as earlier runs of its name took"
        say(f"the work: {in_words(found['lasting'])}, {known}")
    else:
        say("nobody knows how long the work takes: say `--for 6h`")
    for hop in found["outlived"]:
        say(f"too short: `{hop['hop']}` lasts {in_words(hop['lasts'])}: {hop['why']}")
        if hop["change"]:
            say(f"hint: {hop['change']}")
    if found["outcome"] not in {"", "permit"}:
        word = found["outcome"].replace("_", " ")
        say(f"policy: {word}: {found['detail'] or f'a run in `{project}` would not be permitted'}")
        if found["hint"]:
            say(f"hint: {found['hint']}")


def _row(hop: Any, ending: set[str]) -> dict[str, str]:
    lasts = "unknown" if hop["lasts"] is None else in_words(hop["lasts"])
    after = "renews" if hop["renews"] else "too short" if hop["hop"] in ending else "ends"
    return {"hop": hop["hop"], "lasts": lasts, "then": after, "why": hop["why"]}
