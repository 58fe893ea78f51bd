"""A grant that nobody has given yet: what `remit request` would ask for, taken as in force to see what it would do.

It covers what the request is named by, and nothing else, for an hour unless a policy wants it otherwise. It exists in
questions to the engine only. Source of what policies see of it: `facts`, and `remit.cedarschema`.
"""

import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from remit.model.explanation import Change, Means
from remit.model.grant import Grant, Wanted
from remit.policy.approval import short
from remit.policy.why.demands import Ask, Demand
from remit.policy.why.fixes import Situation, Ways, one

SLOT = "grant"
_ID = "g-00000000000000000000000000"
_LASTING = 3600


def granted(situation: Situation, name: str, demand: Demand) -> Ways:
    """The ways to meet a demand on the grant, or on one of its fields."""
    match name, demand.ask:
        case ("", Ask.THERE) | ("break_glass" | "job", Ask.FALSE):
            found = _way("", _unchanged, weak=True)
        case "approvals", Ask.AT_LEAST:
            found = approved(demand.number)
        case "lasting", Ask.AT_MOST if demand.number > 0:
            found = _way("lasting", partial(_lasting, min(demand.number, _LASTING)), value=str(demand.number))
        case "break_glass", Ask.TRUE:
            found = _way("break glass", _broken)
        case "job", Ask.TRUE if situation.circumstances.job:
            found = _way("job", partial(_bound, situation.circumstances.job))
        case _:
            found = ()
    return found


def approved(people: int) -> Ways:
    """The way to have a grant that so many people have approved."""
    return _way("approvals", partial(_approved, people), value=str(people))


def told(situation: Situation) -> Change | None:
    """The grant of a situation in which one was taken as given, as one change; `None` where there is none."""
    grant = next((each for each in situation.circumstances.grants if each.id == _ID), None)
    if grant is None:
        return None
    wanted = grant.wanted
    words = f"a grant of `{wanted.action}`"
    if wanted.break_glass:
        words += " that is taken without waiting"
    elif grant.approvals > 1:
        words += f" that {grant.approvals} people have approved"
    return Change(Means.GRANT, words, wanted.action, command=_command(wanted))


def _command(wanted: Wanted) -> str:
    hours, rest = divmod(wanted.lasting, _LASTING)
    lasting = f"{wanted.lasting}s" if rest else f"{hours}h"
    words = ["remit", "request", wanted.action, shlex.quote(short(wanted.resource)), "--for", lasting]
    words += ["--job", "NAME"] if wanted.job else []
    words += ["--break-glass"] if wanted.break_glass else []
    return " ".join([*words, '--because "…"'])


def _way(name: str, change: Callable[[Grant], Grant], *, value: str = "", weak: bool = False) -> Ways:
    slot = f"{SLOT} {name}".strip()
    return one(Means.GRANT, slot, slot, partial(_granted, change), value=value, weak=weak)


def _granted(change: Callable[[Grant], Grant], situation: Situation) -> Situation:
    others = tuple(each for each in situation.circumstances.grants if each.id != _ID)
    before = next((each for each in situation.circumstances.grants if each.id == _ID), None) or _new(situation)
    return replace(situation, circumstances=replace(situation.circumstances, grants=(*others, change(before))))


def _new(situation: Situation) -> Grant:
    first, now = situation.request.first, situation.circumstances.now
    wanted = Wanted(situation.identity.principal.key, first.action.id, first.resources[0], _LASTING, "")
    return Grant(_ID, wanted, now, now + _LASTING, approvals=1)


def _unchanged(grant: Grant) -> Grant:
    return grant


def _approved(people: int, grant: Grant) -> Grant:
    return replace(grant, approvals=max(people, grant.approvals))


def _lasting(seconds: int, grant: Grant) -> Grant:
    return replace(grant, wanted=replace(grant.wanted, lasting=seconds), until=grant.since + seconds)


def _broken(grant: Grant) -> Grant:
    return replace(grant, wanted=replace(grant.wanted, break_glass=True), approvals=0)


def _bound(job: str, grant: Grant) -> Grant:
    return replace(grant, wanted=replace(grant.wanted, job=job), job=job)
