"""Grants as people read them: what the commands for just-in-time access share."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import click

from remit.cli.duration import in_words
from remit.cli.output import emit, printable, say
from remit.cli.understood import understood
from remit.sdk.sign_in import signed_in


def say_to(grant: str, word: str, because: str, *, as_json: bool, digest: str = "") -> None:
    """Says one word to one grant, and shows what became of it."""
    document = {"grant": grant, "say": word, "because": because}
    done = signed_in().post("/v1/grants", document | ({"digest": digest} if digest else {}))
    show(done, as_json=as_json)


def show(done: Mapping[str, Any], *, as_json: bool) -> None:
    """A grant after a step."""
    if as_json:
        emit(done)
        return
    with understood():
        grant = done["grant"]
        click.echo(printable(f"{grant['id']} {state(grant)}"))
        say(f"{grant['name'] or grant['principal']}: {sentence(grant)}")


def sentence(grant: Mapping[str, Any]) -> str:
    """What was asked for, and why."""
    job = f", for the run `{grant['job']}`" if grant["job"] else ""
    return f"`{grant['action']}` on `{grant['resource']}` for {in_words(grant['for'])}{job}: {grant['because']}"


def state(grant: Mapping[str, Any]) -> str:
    """How far it has come, in words."""
    match grant["state"]:
        case "asked":
            said = sum(vote["said"] == "approve" for vote in grant["votes"])
            return f"waits for approval, {said} of {grant['needed']}"
        case "granted" if grant["job"] and not grant["since"]:
            return f"granted: it begins with the run `{grant['job']}`"
        case "granted":
            review = ", to be reviewed" if grant["review_due"] else ""
            return f"granted until {time(grant['until'])} UTC{review}"
        case other:
            return f"{other}, to be reviewed" if grant["review_due"] else str(other)


def held(grant: Mapping[str, Any]) -> str:
    """A grant that something is permitted by, and until when."""
    if not grant["until"]:
        return f"the grant `{grant['id']}`, which begins with the run `{grant['job']}`"
    run = f" of the run `{grant['job']}`" if grant["job"] else ""
    return f"the grant `{grant['id']}`{run} until {time(grant['until'])} UTC"


def time(seconds: int) -> str:
    """A time of day, UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
