"""A verification as a page for whoever answers for it: hops by role, then what two sides disagree about, with cures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from remit.model.counts import counted
from remit.trust.planning.folding import FEW, by_service
from remit.trust.planning.render import compact
from remit.trust.verifying.findings import Finding, Hop, Report

_MANY = 4  # permissions of one account and resource that are told one by one
_WITHIN = ".projects.locations."  # what the names of most methods share, and none of their permissions has


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the page. `mark`: how it may be coloured."""

    text: str
    mark: Literal["ok", "unwalked", "broken", "missing", "excess", "clash", "title", "cure", ""] = ""


def page(report: Report, *, verbose: bool = False) -> Iterator[Line]:
    """Every line, in order. `verbose`: with every permission and every method of what the sides disagree about."""
    for place, hops in groupby(sorted(report.hops, key=_place), key=_place):
        yield Line(
            " ".join(filter(None, (place[0], "in" if place[1] else "", place[1]))) or "what everybody's way takes",
            "title",
        )
        for hop in hops:
            yield from _hop(hop)
    if report.findings:
        yield Line("")
        yield Line("where Entra, the policy and IAM disagree", "title")
    for _, findings in groupby(report.findings, key=_alike):
        yield from _findings(list(findings), verbose=verbose)
    for each in report.unseen:
        yield Line(f"not looked at: {each}")
    yield Line("")
    yield _sum(report)


def _place(hop: Hop) -> tuple[str, str]:
    return hop.role, hop.project


def _hop(hop: Hop) -> Iterator[Line]:
    mark: Literal["ok", "unwalked", "broken"] = ("ok" if hop.walked else "unwalked") if hop.holds else "broken"
    yield Line(f"  {mark if mark != 'unwalked' else 'read':7} {hop.name}: {hop.said}", mark)
    if hop.cure:
        yield Line(f"          cure: {hop.cure}", "cure")


def _alike(finding: Finding) -> tuple[str, ...]:
    return finding.kind, finding.role, finding.account, finding.resource, finding.said


def _findings(alike: list[Finding], *, verbose: bool) -> Iterator[Line]:
    first = alike[0]
    names = [each.permission for each in alike]
    shown = names if verbose or len(names) <= _MANY else [*names[: _MANY - 1], f"and {len(names) - _MANY + 1} more"]
    who = " ".join(filter(None, (first.role, f"({first.account})" if first.account else "", f"on {first.resource}")))
    yield Line(f"  {first.kind:7} {who}: {', '.join(shown)}", first.kind)
    yield Line(f"          {first.said} [{first.hop}]")
    methods = sorted({method for each in alike for method in each.methods})
    yield from (Line(f"          {text}") for text in _failing(methods, verbose=verbose))
    yield Line(f"          cure: {first.cure}", "cure")


def _failing(methods: Sequence[str], *, verbose: bool) -> Iterator[str]:
    """What people will not get to do."""
    if not methods:
        return
    told = f"fails for {counted(len(methods), 'method')}"
    if verbose or len(methods) <= FEW:
        yield f"{told}: {compact(methods)}"
        return
    yield f"{told}, each told by `remit trust verify --verbose`"
    yield from (f"  {text}" for text in by_service([each.replace(_WITHIN, ".", 1) for each in methods]))


def _sum(report: Report) -> Line:
    counts = [(kind, sum(each.kind == kind for each in report.findings)) for kind in ("missing", "excess", "clash")]
    if report.clean:
        return Line(f"{_held(report)}, and all sides agree", "ok")
    told = ", ".join(f"{count} {'clashing' if kind == 'clash' else kind}" for kind, count in counts if count)
    return Line(f"{_held(report)}; permissions: {told or 'nothing to tell'}", "broken")


def _held(report: Report) -> str:
    """How many hops hold or are broken, and how many were read about alone, of which nothing proves that they hold."""
    broken = sum(not hop.holds for hop in report.hops)
    read = sum(hop.holds and not hop.walked for hop in report.hops)
    every = len(report.hops)
    first = f"{broken} of {every} hops broken" if broken else counted(every - read, "hop holds", "hops hold")
    return f"{first}, {counted(read, 'was', 'were')} read and not walked" if read else first
