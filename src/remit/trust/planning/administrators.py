"""Who could still repair the trust after a plan. Nobody can lock themselves out without saying so. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from remit.trust.planning import dangerous as d
from remit.trust.planning.matching import Matched
from remit.trust.planning.plan import Act, Change, Risk, Unsafe
from remit.trust.planning.words import place
from remit.trust.settings import TrustSettings
from remit.trust.things import Fields

_Grant = tuple[str, str, str]
"""Kind, where, and who holds it."""


def last_administrator(
    changes: Sequence[Change], match: Matched, settings: TrustSettings, applier: Collection[str]
) -> Mapping[int, tuple[Unsafe, ...]]:
    """Number of a change → why it may not be made: after all of them nobody could repair what it is about.

    At Google somebody of `administrators` must be left; elsewhere the applier, and anybody while it is not known who
    that is. A role under a condition is not counted, since the condition may not hold.
    """
    left = {*_standing(changes, match)}
    told: dict[int, tuple[Unsafe, ...]] = {}
    for number, change in enumerate(changes):
        lost = _grant(change.address.kind, change.before or {})
        if change.act is Act.MAKE or lost is None or lost in left:
            continue
        if not any(_covers(one, lost) and _counts(one, settings, applier) for one in left):
            told[number] = (Unsafe(Risk.LAST_ADMINISTRATOR, f"nobody would be left who can repair {_where(lost)}"),)
    return told


def _standing(changes: Sequence[Change], match: Matched) -> Iterator[_Grant]:
    """Every administrator's grant after the plan; of two that are the same none, when one goes."""
    going = {_grant(change.address.kind, change.before or {}) for change in changes}
    there = [one for _, one in match.pairs if one] + list(match.rest)
    for one in there:
        if (grant := _grant(one.address.kind, one.fields)) and grant not in going:
            yield grant
    for change in changes:
        if change.after is not None and (grant := _grant(change.address.kind, change.after)):
            yield grant


def _grant(kind: str, fields: Fields) -> _Grant | None:
    if fields.get("condition"):
        return None
    if kind == "google.binding" and fields.get("role") in d.ADMINISTRATORS:
        return kind, str(fields.get("resource")), str(fields.get("member"))
    if kind == "azure.assignment" and fields.get("role") in d.AZURE_ADMINISTRATORS:
        return kind, str(fields.get("scope")).casefold(), str(fields.get("principal"))
    if kind == "entra.consent" and fields.get("permission") in d.GRAPH_ADMINISTRATORS:
        return kind, str(fields.get("permission")), str(fields.get("principal"))
    return None


def _covers(one: _Grant, lost: _Grant) -> bool:
    if one[0] != lost[0]:
        return False
    return one[1] == lost[1] or (one[0] == "azure.assignment" and lost[1].startswith(f"{one[1].rstrip('/')}/"))


def _counts(one: _Grant, settings: TrustSettings, applier: Collection[str]) -> bool:
    if one[0] == "google.binding":
        return one[2] in settings.administrators
    return not applier or one[2] in applier


def _where(lost: _Grant) -> str:
    return f"the consent to {lost[1]}" if lost[0] == "entra.consent" else f"the roles of {place(lost[1])}"
