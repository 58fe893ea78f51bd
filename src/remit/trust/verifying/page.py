"""A verification as a page for whoever answers for it: hops by role, then what two sides disagree about, with cures."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from remit.trust.verifying.findings import Finding, Hop, Report

_MANY = 4  # permissions of one account and resource that are told one by one


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the page. `mark`: how it may be coloured."""

    text: str
    mark: Literal["ok", "unwalked", "broken", "missing", "excess", "clash", "title", "cure", ""] = ""


def page(report: Report) -> Iterator[Line]:
    """Every line, in order."""
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
        yield from _findings(list(findings))
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


def _findings(alike: list[Finding]) -> Iterator[Line]:
    first = alike[0]
    names = [each.permission for each in alike]
    shown = names if len(names) <= _MANY else [*names[: _MANY - 1], f"and {len(names) - _MANY + 1} more"]
    who = " ".join(filter(None, (first.role, f"({first.account})" if first.account else "", f"on {first.resource}")))
    yield Line(f"  {first.kind:7} {who}: {', '.join(shown)}", first.kind)
    yield Line(f"          {first.said} [{first.hop}]")
    yield Line(f"          cure: {first.cure}", "cure")


def _sum(report: Report) -> Line:
    broken = sum(not hop.holds for hop in report.hops)
    counts = [(kind, sum(each.kind == kind for each in report.findings)) for kind in ("missing", "excess", "clash")]
    if report.clean:
        return Line(f"{len(report.hops)} hops hold, and all sides agree", "ok")
    told = ", ".join(f"{count} {'clashing' if kind == 'clash' else kind}" for kind, count in counts if count)
    hops = f"{broken} of {len(report.hops)} hops broken" if broken else f"{len(report.hops)} hops hold"
    return Line(f"{hops}; permissions: {told or 'nothing to tell'}", "broken")
