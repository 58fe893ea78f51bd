"""`remit doctor --live`: this installation against its own tenant and projects."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remit.cli.output import emit, printable, say

if TYPE_CHECKING:  # what this needs is imported when the command runs
    from remit.assembly.doctor import Timed
    from remit.model.secret import UnverifiedToken

_COLOURS = {"pass": "green", "fail": "red", "skipped": "yellow", "not asked": None}


def live(config: Path, *, changes: bool, as_me: bool, as_json: bool) -> int:
    """Looks at everything, telling each check as it is made; the exit code. Raises `NotSignedIn`."""
    from remit.cli.trust.verify import own_token

    began = time.monotonic()
    me = own_token() if as_me else None
    found = asyncio.run(_told(config, me, changes=changes, as_json=as_json))
    took = time.monotonic() - began
    well = all(one.check.well for one in found)
    if as_json:
        emit({"well": well, "seconds": round(took, 1), "checks": [_data(one) for one in found]})
    else:
        counts = {state: sum(one.check.state == state for one in found) for state in _COLOURS}
        told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        click.echo(f"\n{told}, in {took:.0f} s{'' if well else ': mend the first failure first'}")
    return 0 if well else 1


async def _told(config: Path, me: "UnverifiedToken | None", *, changes: bool, as_json: bool) -> "list[Timed]":
    from remit.assembly.doctor import examined

    found: list[Timed] = []
    part = ""
    async for one in examined(config, changes=changes, tell=say, me=me):
        found.append(one)
        if as_json:
            continue
        if one.check.part != part:
            part = one.check.part
            click.echo(part)
        _tell(one)
    return found


def _tell(one: "Timed") -> None:
    check = one.check
    word = click.style(f"{check.state:9}", fg=_COLOURS[check.state])
    slow = f" ({one.took:.1f} s)" if one.took >= 1 else ""
    click.echo(f"  {word} {printable(check.name)}: {printable(check.said)}{slow}")
    if not check.well and check.cure:
        click.echo(f"            do: {printable(check.cure)}")


def _data(one: "Timed") -> dict[str, Any]:
    check = one.check
    return {
        "part": check.part,
        "name": check.name,
        "state": str(check.state),
        "said": check.said,
        "cure": "" if check.well else check.cure,
        "seconds": round(one.took, 1),
    }
