"""`remit revoke`: the end of what somebody, a session or a job was permitted."""

import asyncio
import datetime as dt
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click

from remit.cli.duration import duration
from remit.cli.output import emit, json_option, say, table
from remit.model.counts import counted
from remit.model.errors import RemitError
from remit.model.revocation import Scope
from remit.sdk.api import Api, NotFound
from remit.sdk.sign_in import signed_in


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for, for each of its subjects. `lasting`: seconds, 0 for until it is lifted."""

    scope: Scope | None
    sign_in_again: bool
    lasting: int
    because: str
    lift: bool


class Place(Protocol):
    """Where it is asked for: at an installation's API, or in its database on the same machine."""

    def ask(self, word: str, order: Order) -> Mapping[str, Any] | None:
        """What became of it, as the API says it; `None` when there was nothing to lift."""

    def standing(self) -> Sequence[Mapping[str, Any]]:
        """What stands, as the API says it."""


@click.command()
@click.argument("subjects", metavar="SUBJECT...", nargs=-1)
@click.option("--session", is_flag=True, help="SUBJECT is a session; `s-...` always is.")
@click.option("--job", is_flag=True, help="SUBJECT is a job; `j-...` always is.")
@click.option("--sign-in-again", is_flag=True, help="End what was issued until now; a newer sign-in counts.")
@click.option("--for", "lasting", metavar="DURATION", help="For so long: 15m, 2h, 7d. Else until it is lifted.")
@click.option("--because", default="", metavar="TEXT", help="Why, for the record.")
@click.option("--lift", is_flag=True, help="End what an operator has locked.")
@click.option("--list", "listing", is_flag=True, help="Show what stands.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="On the installation's own machine.")
@json_option
def command(
    subjects: tuple[str, ...], lasting: str | None, because: str, config: Path | None, *, as_json: bool, **flags: bool
) -> None:
    """Lock SUBJECT out of everything, within a second, until it is lifted.

    SUBJECT is a principal (`tenant/subject`, an object id, or a name that was seen in the last 30 days), a session or a
    job. The installation that you are signed in at is asked, and its policies say whether you may; with --config, its
    database on this machine is written to directly, recorded in your name here.

    When the command returns, every arbiter refuses, or has been cut off.
    """
    order = _order(lasting=lasting, because=because, **flags)
    if bool(subjects) == flags["listing"]:
        raise click.UsageError("name who is to be revoked, or ask for the list")
    with _place(config) as place:
        if flags["listing"]:
            _show(place.standing(), as_json=as_json)
            return
        found = [(word, place.ask(word, order)) for word in subjects]
    for word, done in found:
        _tell(word, done, order, as_json=as_json)
    if any(done is None for _, done in found):
        raise SystemExit(1)


def _order(
    *, lasting: str | None, because: str, session: bool, job: bool, sign_in_again: bool, lift: bool, listing: bool
) -> Order:
    if (session and job) or (lasting is not None) + sign_in_again + lift + listing > 1:
        raise click.UsageError("these options exclude each other")
    scope = Scope.SESSION if session else Scope.JOB if job else None
    return Order(scope, sign_in_again, duration(lasting) if lasting is not None else 0, because, lift)


def _show(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            emit(row)
        return
    table(
        [
            {
                "epoch": str(row["epoch"]),
                "since": _time(row["at"] // 1_000_000),
                "scope": row["scope"],
                "subject": row["subject"],
                "what": _what(row),
                "by": row["actor"],
                "because": row["because"] or "-",
            }
            for row in rows
        ]
    )
    say(counted(len(rows), "revocation stands", "revocations stand"))


def _what(row: Mapping[str, Any]) -> str:
    if row["locked"]:
        return f"locked until {_time(row['until'])}" if row["until"] else "locked"
    return f"nothing from before {_time(row['before'])}"


def _time(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _tell(word: str, done: Mapping[str, Any] | None, order: Order, *, as_json: bool) -> None:
    if done is None:
        say(f"{word}: nothing that an operator locked is to be lifted there")
        return
    if as_json:
        emit(done)
        return
    verb = "lifted" if order.lift else "ended what was issued until now of" if order.sign_in_again else "locked"
    held = ", ".join(done["arbiters"]) or "no arbiter, since none is running"
    click.echo(f"{verb} {done['scope']} {done['subject']}: epoch {done['epoch']}, {done['took_ms']} ms, held by {held}")
    if done["fenced"]:
        say(f"cut off, because they did not answer: {', '.join(done['fenced'])}")
    if done["warning"]:
        say(f"warning: {done['warning']}")


@contextmanager
def _place(config: Path | None) -> Iterator[Place]:
    if config is None:
        yield Remote(signed_in())
        return
    with ExitStack() as opened:
        yield _local(config, opened)


class Remote:
    """The API of an installation."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def ask(self, word: str, order: Order) -> Mapping[str, Any] | None:
        """Asks for one; raises `Refused`, `RemitError` when nobody answers."""
        wanted = {
            "subject": word,
            "scope": str(order.scope or ""),
            "sign_in_again": order.sign_in_again,
            "for": order.lasting,
            "because": order.because,
            "lift": order.lift,
        }
        try:
            return self._api.post("/v1/revocations", wanted)
        except NotFound:
            return None

    def standing(self) -> Sequence[Mapping[str, Any]]:
        """What stands."""
        rows = self._api.get("/v1/revocations").get("revocations")
        return rows if isinstance(rows, list) else []


class Local:
    """The database of an installation on this machine, in the name of the user of the operating system."""

    def __init__(self, revoker: Any, known: Any, now: Any) -> None:
        self._revoker = revoker
        self._known = known
        self._now = now
        self._actor = f"os/{pwd.getpwuid(os.getuid()).pw_name}"

    def ask(self, word: str, order: Order) -> Mapping[str, Any] | None:
        """Does one; raises `RemitError`."""
        from remit.access.revoke import Wish
        from remit.arbiter.revoke import shown

        scope, subject = self._known.subject(word, order.scope)
        if order.lift:
            asked = self._revoker.lift(scope, subject, because=order.because, actor=self._actor)
        else:
            wish = Wish(word, scope, order.sign_in_again, order.lasting, order.because)
            asked = self._revoker.revoke(wish.revocation(scope, subject, self._seconds()), actor=self._actor)
        done = asyncio.run(asked)
        return None if done is None else {"scope": str(scope), "subject": subject, **shown(done), "warning": ""}

    def standing(self) -> Sequence[Mapping[str, Any]]:
        """What stands."""
        from remit.arbiter.revoke import listed

        return [listed(found) for found in self._revoker.standing(self._seconds())]

    def _seconds(self) -> int:
        return int(self._now()) // 1_000_000


def _local(config: Path, opened: ExitStack) -> Local:
    from remit.access.revoke import Known
    from remit.assembly import evidence, rooms
    from remit.audit.recorder import LedgerRecorder
    from remit.identity.revocation.revoker import Revoker
    from remit.settings.read import read
    from remit.state.database import database_path

    settings = read(config)
    file = database_path(settings.state.url)
    if (file is not None and not file.is_file()) or not settings.audit.key.is_file():
        raise RemitError("there is no installation here yet", hint="`remit serve` makes it")
    writer = opened.enter_context(evidence.writing(settings))
    evidence.migrate_all(writer)
    reader = opened.enter_context(evidence.reading(settings))
    recorder = opened.enter_context(LedgerRecorder(evidence.ledger(settings, writer)))

    known = Known(settings.identity.tenants, evidence.seen(settings, rooms.now))
    return Local(Revoker(recorder, reader, writer, rooms.now), known, rooms.now)
