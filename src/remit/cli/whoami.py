"""`remit whoami`: who the installation says you are, how strongly, by which groups, and what ends when."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from remit.cli.output import emit, json_option, printable
from remit.model.counts import counted

_MOST = 10  # groups on the line: more are a wall of ids
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400  # seconds


@click.command()
@click.option("--groups", is_flag=True, help="By name, and by which path you are in each.")
@json_option
def command(*, groups: bool, as_json: bool) -> None:
    """Who you are, as the installation verified it: never what this machine believes.

    Where nobody is signed in, a pipeline's or a job's own identity is taken, at the address in REMIT_URL.
    """
    from remit.sdk.broker import Broker
    from remit.sdk.sign_in import current

    signed_in = current()
    found = signed_in.configuration
    identity = Broker(found.url).identity(signed_in.token(), groups=groups)
    own = {"installation": found.url, "door": found.door, "provider": found.provider, "origin": signed_in.origin()}
    if as_json:
        emit({**identity, **own})
        return
    click.echo(printable(f"{identity['name']} ({identity['kind']}{', guest' if identity.get('guest') else ''})"))
    for name, text in _lines({**identity, **own}, time.time()):
        click.echo(f"  {name:10} {printable(text)}")
    for path in identity.get("paths") or ():
        click.echo(f"  in         {printable(_path(path))}")
    left = max(0, int(identity["expires_at"] - time.time()) // _MINUTE)
    click.echo(f"  token      renewed by itself, {counted(left, 'minute')} left")


def _lines(identity: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
    yield "principal", identity["principal"]
    yield "issuer", identity.get("issuer") or "unknown"
    if identity.get("guest"):
        yield "home", identity.get("home") or "unknown"
    yield "at", identity["installation"]
    yield "roles", ", ".join(identity["roles"]) or "none"
    yield "groups", _groups(identity["groups"])
    yield "signed in", _strength(identity, now)
    if device := _device(identity.get("device") or {}):
        yield "device", device
    if identity.get("session"):
        yield "session", identity["session"]
    yield "from", identity["origin"]


def _groups(found: Sequence[str]) -> str:
    if len(found) > _MOST:
        return f"{len(found)}: `remit whoami --groups` names them"
    return ", ".join(found) or "none"


def _strength(identity: Mapping[str, Any], now: float) -> str:
    means = ", ".join((*identity["methods"], *identity["contexts"]))
    strength = f"by {means or ('its own credential' if identity['kind'] == 'workload' else 'unknown')}"
    at = identity.get("authenticated_at")
    return f"{strength}, {_age(now - at)} ago" if at else strength


def _age(seconds: float) -> str:
    """A time that has passed, as people say it."""
    for size, name in ((_DAY, "days"), (_HOUR, "hours"), (_MINUTE, "minutes")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {name}"
    return "a minute or so"


def _device(device: Mapping[str, Any]) -> str:
    said = [name.replace("_", " ") for name in ("managed", "compliant", "known_network") if device.get(name)]
    return (
        f"{device['id']} ({', '.join(said) or 'neither managed nor compliant'})"
        if device.get("id")
        else ", ".join(said)
    )


def _path(path: Mapping[str, Any]) -> str:
    """`ml-engineers-fraud > ml-engineers > ml-all`: from the group that one was put into, upwards."""
    steps: Sequence[Mapping[str, str]] = path.get("path") or [{"id": path["group"], "name": path.get("name", "")}]
    return f"{' > '.join(step.get('name') or step['id'] for step in steps)}  ({path['group']})"
