"""`remit explain`: why, and what would change it."""

from collections.abc import Iterator
from typing import Any

import click

from remit.cli.output import emit, json_option, printable
from remit.cli.requested import time
from remit.cli.understood import understood
from remit.sdk.sign_in import signed_in

_MARKS = {True: "✓", False: "✗", None: "?"}


@click.command()
@click.argument("decision")
@click.option("--full", is_flag=True, help="With all policies, for those who may see them.")
@json_option
def command(decision: str, *, full: bool, as_json: bool) -> None:
    """Why DECISION came out as it did, the smallest change that would have permitted it, and how to ask for that.

    A refusal names its decision (`d-...`). Of your own you see what you can do about it. Whoever may administer or
    approve sees which policies decided, what each condition saw, by which groups somebody came there, and everything
    that would have permitted: each change was put to the policies again before it is shown.
    """
    found = signed_in().get("/v1/explain", id=decision, **({"full": "1"} if full else {}))
    if as_json:
        emit(found)
        return
    with understood():
        for line in lines(found):
            click.echo(printable(line))


def lines(found: Any) -> Iterator[str]:
    """An explanation for people."""
    yield f"{found['decision']}: {str(found['outcome']).replace('_', ' ')}, {time(found['at'] // 1_000_000)} UTC"
    if found.get("principal"):
        yield f"  who       {found.get('name') or found['principal']} ({found['principal']})"
    if found.get("action"):
        yield f"  what      {found['action']} on {found.get('resource') or 'nothing that is known'}"
    yield f"  reason    {', '.join(found['reasons'])}"
    if found.get("detail"):
        yield f"  because   {found['detail']}"
    for name, label in (("failed", "failed"), ("upstream", "upstream")):
        if found.get(name):
            yield f"  {label:9} {found[name]}"
    if found["left"]:
        yield f"  It cannot be decided again: {found['left']}."
    elif not found["same"]:
        yield "  Decided again by the same policies, it comes out otherwise: report this."
    for question in found["questions"]:
        yield from _question(question)
    for way in found["ways"]:
        yield f"  in {way['group']} through {' → '.join(way['way'])}"
    yield from _repairs(found)


def _question(question: Any) -> Iterator[str]:
    yield ""
    verb = "permitted" if question["allowed"] else "refused"
    within = f", `within` {question['within']}" if question.get("within") else ""
    yield f"{question['action']} on {question['resource'].rpartition('/')[2]}{within}: {verb}"
    for policy in question["policies"]:
        decided = ", which decided" if policy["decided"] else ""
        yield f"  {policy['effect']} {policy['id']}{decided}: {policy['purpose']}"
        for condition in policy["conditions"]:
            saw = f"   ({condition['saw']})" if condition["saw"] else ""
            yield f"    {_MARKS[condition['holds']]} {condition['text']}{saw}"


def _repairs(found: Any) -> Iterator[str]:
    if found["outcome"] == "permit":
        return
    yield ""
    if not found["repairs"]:
        yield (
            "No change that you can bring about is known to permit it." if not found["full"] else "No change is known."
        )
        if found.get("hint"):
            yield f"hint: {found['hint']}"
        return
    yield "It would have been permitted with"
    for number, repair in enumerate(found["repairs"], 1):
        for index, change in enumerate(repair):
            who = f", by {change['who']}" if change["who"] else ""
            yield f"  {number if not index else ' '}{'.' if not index else ' '} {change['what']}{who}"
            if change["command"]:
                yield f"       {change['command']}"
