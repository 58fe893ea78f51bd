"""`remit trust rotate`: what has an end, and how it is renewed before."""

import asyncio
import datetime as dt
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from remit.cli.duration import duration
from remit.cli.output import emit, json_option, say, table
from remit.cli.serve import config_option
from remit.model.errors import RemitError

if TYPE_CHECKING:  # what these need is imported when the command runs
    from remit.trust.rotating.assignments import Assignment
    from remit.trust.rotating.keys import Turned


@click.group(invoke_without_command=True)
@config_option
@click.option("--within", default="30d", show_default=True, help="How long before its end something is due.")
@json_option
@click.pass_context
def command(ctx: click.Context, config: Path, within: str, *, as_json: bool) -> None:
    """List every key, secret and certificate, and what renews it; or renew one.

    Exit 0: nothing has to be done; 1: something is expired, due, cannot be read or should not be.
    """
    if ctx.invoked_subcommand:  # what was said before its name holds for it as well
        ctx.default_map = {ctx.invoked_subcommand: {"config": config, "as_json": as_json}}
        return
    from remit.assembly.trust_rotate import everything
    from remit.settings.read import read

    found = asyncio.run(everything(read(config), duration(within), time.time()))
    if as_json:
        emit([asdict(one) for one in found])
    elif not found:
        say("there is no key, secret or certificate that has to be renewed")
    else:
        table(
            [
                {
                    "state": one.state.value,
                    "what": one.kind,
                    "of": one.of,
                    "id": one.id or "-",
                    "age": _age(one.made),
                    "ends": _day(one.expires),
                    "do": one.do if one.state.calls else "-",
                }
                for one in found
            ]
        )
    if any(one.state.calls for one in found):
        raise SystemExit(1)


@command.command()
@click.argument("app")
@config_option
@click.option("--into", type=click.Path(path_type=Path), help="The file, where remit.yaml names none.")
@click.option("--certificate", is_flag=True, help="A certificate instead of a secret.")
@click.option("--old", default="", metavar="KEYID", help="The one that ends, where the file does not say it.")
@click.option("--days", default=180, show_default=True, type=click.IntRange(1, 730), help="How long the new one lives.")
@click.option("--settle", default="30s", show_default=True, help="How long the old one stays after the switch.")
@click.option("--keep-secret", is_flag=True, help="Even though the application could do without one.")
@click.option("--resume", is_flag=True, help="Go on with one that was interrupted.")
@click.option("--rollback", is_flag=True, help="Leave the old one as it was.")
@json_option
def secret(
    app: str,
    config: Path,
    *,
    into: Path | None,
    old: str,
    days: int,
    settle: str,
    certificate: bool,
    keep_secret: bool,
    resume: bool,
    rollback: bool,
    as_json: bool,
) -> None:
    """Replace a secret of APP at Entra: add, prove by a sign-in, switch, settle, remove.

    APP is `remit`, `PROJECT/ROLE` or an app id. The file is replaced in one step, and Remit reads it at every sign-in.
    Exit 1: nothing was done, since no secret is needed at all.
    """
    from remit.assembly.trust_rotate import Order, federated, resume_secret, rotate_secret
    from remit.settings.read import read

    if resume and rollback:
        raise click.UsageError("one of `--resume` and `--rollback`")
    settings = read(config)
    order = Order(app, certificate, into, old, days, duration(settle))
    if resume or rollback:
        done = asyncio.run(resume_secret(settings, order, say, back=rollback))
    else:
        if not keep_secret:
            instead = federated(settings, app)
            if as_json:
                emit({"done": False, "instead": instead})
            say(f"`{app}` should have no secret: {instead}")
            say("hint: `--keep-secret` where it has to keep one")
            raise SystemExit(1)
        done = asyncio.run(rotate_secret(settings, order, say))
    if as_json:
        emit({"done": True, **asdict(done)})
    else:
        say(f"`{done.file}` holds {'the old one' if rollback else f'`{done.new}`'}")


@command.command()
@config_option
@click.option("--rollback", is_flag=True, help="The key that signed before signs on.")
@click.option("--wait", is_flag=True, help="Stay until the old key is retired, about half an hour.")
@json_option
def keys(config: Path, *, rollback: bool, wait: bool, as_json: bool) -> None:
    """Turn the signing keys of Remit's own issuer: publish, prove at Google, sign, retire.

    Each run does what can be done now, and says when the next one can go on. Exit 0: the rotation is over; 1: another
    run must follow.
    """
    from remit.assembly.trust_rotate import turn_keys
    from remit.settings.read import read

    settings = read(config)
    turned = asyncio.run(turn_keys(settings, say, back=rollback))
    while wait and turned.open and not rollback:
        time.sleep(max(1.0, turned.after - time.time()))
        turned = asyncio.run(turn_keys(settings, say))
    if as_json:
        emit(asdict(turned))
    else:
        _tell(turned)
    if turned.open:
        raise SystemExit(1)


def _tell(turned: "Turned") -> None:
    click.echo(f"{turned.signs} signs")
    if turned.newest != turned.signs:
        click.echo(f"{turned.newest} is published, and will sign")
    if turned.open:
        at = dt.datetime.fromtimestamp(max(turned.after, time.time()), dt.UTC)
        say(f"run it again after {at:%Y-%m-%d %H:%M} UTC, to retire what has ended by then")


@command.command()
@config_option
@click.option("--unused-for", default="90d", show_default=True, help="Without a use for so long, it is unused.")
@click.option("--sign-ins", is_flag=True, help="Ask Entra's sign-in log besides.")
@click.option("--renew", metavar="NAME", help="A role or an account, whose assignments live until `--until`.")
@click.option("--until", metavar="DATE", help="A day, 2027-06-30.")
@click.option("--remove", metavar="NAME", help="An assignment, as it is listed.")
@json_option
def assignments(
    config: Path,
    unused_for: str,
    renew: str | None,
    until: str | None,
    remove: str | None,
    *,
    sign_ins: bool,
    as_json: bool,
) -> None:
    """List who is assigned to what, with owner, expiry and last use; renew or remove one in remit.yaml.

    What is changed is the file: `remit trust plan` and `remit trust apply` make it so in the clouds. Exit 1: some are
    expired, unused or nobody's.
    """
    from remit.assembly import trust_rotate
    from remit.settings.read import read

    settings = read(config, pending=True)
    if bool(renew) != bool(until) or (renew and remove):
        raise click.UsageError("`--renew NAME --until DATE`, or `--remove NAME`")
    if renew and until:
        trust_rotate.renew(settings, renew, _future(until))
    elif remove:
        trust_rotate.remove(settings, remove)
    if renew or remove:
        if as_json:
            emit({"file": str(settings.file), "renewed": renew, "removed": remove})
        say(f"`{settings.file}` is changed; `remit trust plan` shows what follows")
        return
    asked = trust_rotate.assigned(settings, duration(unused_for), time.time(), sign_ins=sign_ins)
    found = asyncio.run(asked)
    if as_json:
        emit([asdict(one) for one in found])
    else:
        table([_row(one) for one in found])
    if any(one.state.due for one in found):
        raise SystemExit(1)


def _row(one: "Assignment") -> dict[str, str]:
    return {
        "state": one.state.value,
        "what": one.kind,
        "name": one.name,
        "owner": one.owner or "-",
        "expires": one.expires or "-",
        "last use": _day(one.used),
    }


def _future(day: str) -> str:
    try:
        found = dt.date.fromisoformat(day)
    except ValueError:
        found = None
    if found is None or found <= dt.datetime.now(dt.UTC).date():
        raise RemitError(f"`{day}` is no day to come", hint="write 2027-06-30")
    return found.isoformat()


def _day(seconds: float) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d}" if seconds else "-"


def _age(made: float) -> str:
    return f"{max(0, int((time.time() - made) // 86_400))}d" if made else "-"
