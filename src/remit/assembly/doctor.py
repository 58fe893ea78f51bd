"""`remit doctor --live`: one installation against its own tenant and projects, part by part, changing nothing.

1 this machine  2 who asks, and may they  3 the file  4 the hops and the agreement  5 the plan  6 a scratch cycle, when
it is allowed. A part that fails never hides the next; what it keeps from being looked at is told as skipped. Nothing
here knows of a lab: it is the clouds that are asked, wherever they are.
"""

import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from remit.assembly import doctor_machine as machine
from remit.assembly import rooms, trust_plan, trust_verifying
from remit.assembly.doctor_access import Access
from remit.assembly.doctor_checks import Check, State
from remit.assembly.doctor_scratch import Scratch
from remit.credentials.hop import cloud_client
from remit.model.counts import counted
from remit.model.errors import HopFailed, RemitError, SettingsInvalid, TrustBroken
from remit.model.secret import UnverifiedToken
from remit.settings.read import Settings, read
from remit.trust.applying.patience import Tell
from remit.trust.clouds.administrator import Administrator
from remit.trust.verifying.findings import Report

_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_PARTS = ("access", "hops", "agreement", "plan")
_APPLY = "`remit trust plan` shows what is to be made, `remit trust apply` makes it"
_ABOVE = "mend what failed above, then look again"  # for what a cloud refuses without a hint


@dataclass(frozen=True, slots=True)
class Timed:
    """A check, and how long it took. `took`: seconds since the one before."""

    check: Check
    took: float


async def examined(
    config: Path, *, changes: bool, tell: Tell, me: UnverifiedToken | None = None
) -> AsyncIterator[Timed]:
    """Every check as it is made.

    `changes`: whether something may be made and removed again; `me`: as in `trust_verifying.verified`.
    """
    last = time.monotonic()
    async for check in _all(config, changes=changes, tell=tell, me=me):
        now = time.monotonic()
        yield Timed(check if check.well or check.cure else replace(check, cure=_ABOVE), now - last)
        last = now


async def _all(config: Path, *, changes: bool, tell: Tell, me: UnverifiedToken | None) -> AsyncIterator[Check]:
    settings: Settings | None = None
    yield machine.python()
    yield machine.proxy(os.environ)
    yield machine.roots(os.environ)
    try:
        settings = read(config, pending=True)
    except RemitError as error:
        unread = _invalid(config, error)
    async for check in _outside(settings):
        yield check
    if settings is None:
        yield unread
        for part in _PARTS:
            yield Check(part, "all", State.SKIPPED, "remit.yaml is not good", "mend the file")
        return
    yield machine.disk(settings.audit.folder.parent)
    for check in _file(settings):
        yield check
    tokens = Administrator(settings.trust.tenant)
    async with cloud_client() as client:
        async for check in Access(client, tokens, settings.trust)():
            yield check
        async for check in _hops(settings, me):
            yield check
        yield await _plan(settings)
        if changes:
            async for check in Scratch(client, tokens, settings.trust, settings.file, tell)():
                yield check
        else:
            said = "nothing was changed; `--allow-changes` makes a scratch application and a role, and removes them"
            yield Check("changes", "scratch", State.APART, said)


async def _outside(settings: Settings | None) -> AsyncIterator[Check]:
    locations = [each for one in settings.estate.projects for each in one.locations] if settings else []
    names = machine.hosts(locations, azure=bool(settings and settings.trust.storage))
    async with cloud_client() as client:
        found = await machine.met(client, names, proxied=any(os.environ.get(name) for name in _PROXIES))
    for check in machine.servers(found):
        yield check
    yield machine.clock(found)


def _invalid(config: Path, error: RemitError) -> Check:
    more = error.message.count("\n")
    first = error.message.partition("\n")[0]
    said = f"{first}{f', and {more} more' if more else ''}"
    return Check("file", config.name, State.FAIL, said, error.hint or "docs/configuration.md explains every key")


def _file(settings: Settings) -> Iterator[Check]:
    pending = sorted(f"`app:{name}`" for name in settings.trust.pending.values())
    if pending:
        yield Check("file", settings.file.name, State.FAIL, f"{', '.join(pending)}: not registered yet", _APPLY)
    else:
        said = f"{counted(len(settings.estate.projects), 'project')}, all ids known"
        yield Check("file", settings.file.name, State.PASS, said)
    try:
        rooms.judge(settings)
    except SettingsInvalid as error:
        yield Check("file", "policies", State.FAIL, error.message.partition("\n")[0], "`remit policy check` tells all")
    else:
        yield Check("file", "policies", State.PASS, "they fit the schema")


async def _hops(settings: Settings, me: UnverifiedToken | None) -> AsyncIterator[Check]:
    """As `remit trust verify`, from the machine that runs Remit: the hops begin with its managed identity."""
    if settings.trust.pending:
        yield Check("hops", "all", State.SKIPPED, "applications are yet to be registered", _APPLY)
        return
    try:
        async with rooms.open_hops(settings) as hops:
            await hops.identity.assertion()
    except HopFailed as failed:
        cure = "run this where Remit runs, on a machine at Azure that has this managed identity"
        said = f"no proof of managed identity `{settings.credentials.managed_identity}`: {failed.message}"
        yield Check("hops", "managed identity", State.SKIPPED, said, cure)
        return
    try:
        report = await trust_verifying.verified(settings, me=me)
    except RemitError as error:
        yield Check("hops", "all", State.FAIL, error.message, error.hint or "`remit trust verify` tells more")
        return
    for check in _verified(report):
        yield check


def _verified(report: Report) -> Iterator[Check]:
    """A line for each hop that does not hold, one for the others, and one for the agreement."""
    broken = [hop for hop in report.hops if not hop.holds]
    for hop in broken:
        name = " ".join(filter(None, (hop.role, hop.project, hop.name)))
        yield Check("hops", name, State.FAIL, hop.said, hop.cure)
    if len(broken) < len(report.hops):
        walked = sum(hop.walked and hop.holds for hop in report.hops)
        said = f"{walked} of {counted(len(report.hops), 'hop')} walked and found to hold"
        yield Check("hops", "walked", State.PASS, said)
    if report.findings:
        kinds = {kind: sum(each.kind == kind for each in report.findings) for kind in ("missing", "excess", "clash")}
        said = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        yield Check("agreement", "permissions", State.FAIL, said, "`remit trust verify` tells each with its cure")
    elif broken:
        said = "no disagreement was seen, and what the broken hops lead to was not"
        yield Check("agreement", "permissions", State.SKIPPED, said, "mend the hops")
    else:
        yield Check("agreement", "permissions", State.PASS, "Entra, the policy and IAM agree")
    yield from (Check("agreement", "not looked at", State.APART, said) for said in report.unseen)


async def _plan(settings: Settings) -> Check:
    try:
        plan = (await trust_plan.planned(settings)).plan
    except TrustBroken as broken:
        return Check("plan", "changes", State.FAIL, broken.message, broken.hint)
    if plan.problems:
        more = f", and {len(plan.problems) - 1} more" if len(plan.problems) > 1 else ""
        return Check("plan", "problems", State.FAIL, f"{plan.problems[0]}{more}", "`remit trust plan` tells all")
    if plan.changes:
        return Check("plan", "changes", State.FAIL, f"{len(plan.changes)} to make before the clouds agree", _APPLY)
    return Check("plan", "changes", State.PASS, "the clouds hold what remit.yaml says")
