"""A plan as people read it and as JSON: by cloud and by whom it concerns, with what each line allows. Pure.

Every field of every change is told, long lists by what they share, since the checksum is of what was read. Permissions
of a custom role are counted where they are more than a dozen (`folding`), and told one by one when asked for.
Names come from directories that others write: nothing that a terminal would obey is let through.
"""

import re
import shlex
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from remit.model.counts import counted
from remit.trust.planning.folding import FEW, folded
from remit.trust.planning.headlines import SAID, concerns, headline
from remit.trust.planning.matching import differing
from remit.trust.planning.plan import Act, Change, Plan, plain
from remit.trust.things import Value

WIDTH = 100
Mark = Literal["make", "change", "remove", "unsafe", "title", "plain", "faint"]
_MARKS: Mapping[Act, Mark] = {Act.MAKE: "make", Act.CHANGE: "change", Act.REMOVE: "remove"}
_TITLES: Mapping[str, str] = {"entra": "Entra", "google": "Google", "azure": "Azure", "sql": "PostgreSQL"}
_FOLDED = ("google.role", "permissions")
_NOUN = 11  # columns of the longest noun, `application`
_INDENT = " " * (4 + _NOUN + 2)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the page. `mark`: what a terminal may colour it by."""

    text: str
    mark: Mark = "plain"


def render(plan: Plan, allowed: Collection[str] = (), *, verbose: bool = False) -> str:
    """The page as plain text, of at most 100 columns but for what is to be typed, without a newline at its end."""
    return "\n".join(line.text for line in page(plan, allowed, verbose=verbose))


def page(plan: Plan, allowed: Collection[str] = (), *, verbose: bool = False, whole: bool = True) -> tuple[Line, ...]:
    """The page, line by line.

    `allowed`: names of unsafe changes that are to be made all the same; `verbose`: with every permission of a role;
    `whole`: whether these are all changes, else there is no checksum, since none can be applied by that of a part.
    """
    lines = (*_page(plan, allowed, verbose=verbose), *([] if plan.empty else _end(plan, allowed, whole=whole)))
    return tuple(Line(_printable(line.text).rstrip(), line.mark) for line in lines)


def as_json(plan: Plan, allowed: Collection[str] = ()) -> dict[str, Any]:
    """The plan for programs: changes in the order in which they are made."""
    refused = plan.refused(allowed)
    return {
        "checksum": plan.checksum,
        "problems": list(plan.problems),
        "summary": {**{_MARKS[act]: _count(plan, act) for act in Act}, "refused": len(refused)},
        "changes": [
            {
                "act": _MARKS[change.act],
                "name": change.name,
                "kind": change.address.kind,
                "concerns": concerns(change),
                "says": change.says,
                "before": plain(change.before),
                "after": plain(change.after),
                "unsafe": [{"risk": one.risk.value, "said": one.said} for one in change.unsafe],
                "refused": change in refused,
            }
            for change in plan.changes
        ],
    }


def _page(plan: Plan, allowed: Collection[str], *, verbose: bool) -> Iterator[Line]:
    if plan.empty:
        yield Line("the clouds hold what remit.yaml says: nothing to do")
        return
    for problem in plan.problems:
        yield from (Line(text, "unsafe") for text in _wrapped(problem, "problem: ", " " * len("problem: ")))
    grouped = _grouped(plan.changes)
    for number, (cloud, groups) in enumerate(grouped.items()):
        if number or plan.problems:
            yield Line("")
        yield Line(_TITLES.get(cloud, cloud), "title")
        for place, (who, changes) in enumerate(groups.items()):
            if place:
                yield Line("")
            yield Line(f"  {who}", "title")
            for change in changes:
                yield from _change(change, allowed, verbose=verbose)
    yield Line("")


def _grouped(changes: Sequence[Change]) -> dict[str, dict[str, list[Change]]]:
    """Cloud → whom it concerns → changes, each in the order of the first that is made."""
    grouped: dict[str, dict[str, list[Change]]] = {}
    for cloud in dict.fromkeys([*_TITLES, *(change.address.cloud for change in changes)]):
        for change in changes:
            if change.address.cloud == cloud:
                grouped.setdefault(cloud, {}).setdefault(concerns(change), []).append(change)
    return grouped


def _change(change: Change, allowed: Collection[str], *, verbose: bool) -> Iterator[Line]:
    noun = change.address.kind.partition(".")[2]
    start = f"  {change.act} {noun:{_NOUN}}  "
    for text in _wrapped(headline(change), start, _INDENT):
        yield Line(text, _MARKS[change.act])
    for text in _wrapped(_under(concerns(change), change.says), _INDENT, _INDENT):
        yield Line(text)
    for text in _fields(change, verbose=verbose):
        yield Line(text, "faint")
    for one in change.unsafe:
        for text in _wrapped(f"{one.risk.value}: {one.said}", f"  ! {'':{_NOUN}}  ", _INDENT):
            yield Line(text, "unsafe")
    if change.unsafe:
        yield Line(f"{_INDENT}{_typed(change, allowed)}", "unsafe")


def _under(who: str, says: str) -> str:
    """What is said below an account's name, without the name."""
    if not who.endswith(".gserviceaccount.com"):
        return says
    return re.sub(rf"(?<![\w.@:/-]){re.escape(who)}(?![\w@/-]|\.\w)", "it", says)


def _typed(change: Change, allowed: Collection[str]) -> str:
    said = "named, and so made all the same" if change.name in allowed else "refused, unless you type"
    return f"{said}: --allow {shlex.quote(change.name)}"


def _fields(change: Change, *, verbose: bool) -> Iterator[str]:
    before, after = change.before or {}, change.after or {}
    if change.act is Act.CHANGE:
        names: Sequence[str] = differing(change.address.kind, before, after)
    else:
        fields = after or before
        names = [name for name in sorted(fields.keys() - SAID.get(change.address.kind, frozenset())) if fields[name]]
    width = max(map(len, names), default=0)
    for name in names:
        first = f"{_INDENT}{name:{width}}  "
        for text in _paragraphs(change, name, verbose=verbose):
            yield from _wrapped(text, first, f"{_INDENT}{'':{width}}  ")
            first = f"{_INDENT}{'':{width}}  "


def _paragraphs(change: Change, name: str, *, verbose: bool) -> tuple[str, ...]:
    """What is told of one field: one text, or several of many permissions."""
    before, after = ((fields or {}).get(name) for fields in (change.before, change.after))
    if (change.address.kind, name) == _FOLDED and not verbose:
        gone, come = _lists(before, after)
        if max(len(gone), len(come)) > FEW:
            signed = (("-", gone), ("+", come)) if change.act is Act.CHANGE else (("", gone or come),)
            return tuple(text for sign, some in signed if some for text in _counted(sign, some))
    if change.act is Act.CHANGE:
        return (_difference(before, after),)
    return (shown(after if change.after else before),)


def _counted(sign: str, permissions: list[str]) -> tuple[str, ...]:
    if len(permissions) <= FEW:
        return (f"{sign} {compact(permissions)}".strip(),)
    first, *rest = folded(permissions)
    return (f"{sign} {first}".strip(), *rest)


def _lists(before: Value, after: Value) -> tuple[list[str], list[str]]:
    """What goes, and what comes."""
    had, has = _texts(before), _texts(after)
    return [each for each in had if each not in has], [each for each in has if each not in had]


def _difference(before: Value, after: Value) -> str:
    """Of lists what comes and what goes, of everything else both."""
    if isinstance(before, tuple) or isinstance(after, tuple):
        gone, come = _lists(before, after)
        return "; ".join(f"{sign} {compact(some)}" for sign, some in (("-", gone), ("+", come)) if some) or "reordered"
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
        return "; ".join(f"{name}: {shown(before.get(name))} -> {shown(after.get(name))}" for name in names)
    return f"{shown(before)} -> {shown(after)}"


def _texts(value: Value) -> list[str]:
    return [shown(each) for each in value] if isinstance(value, tuple) else [shown(value)] if value else []


def shown(value: Value) -> str:
    """A field's value in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return compact([shown(each) for each in value]) or "nothing"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {shown(value[name])}" for name in sorted(value)) or "nothing"
    return str(value) if value not in {None, ""} else "nothing"


def compact(texts: Sequence[str]) -> str:
    """Texts joined by commas, and dotted names (permissions) by what they share: `aiplatform.models.{get,list}`."""
    heads: dict[str, list[str]] = {}
    for text in texts:
        head, dot, tail = text.rpartition(".")
        known = bool(dot) and text.count(".") > 1 and text.replace(".", "").isalnum()
        heads.setdefault(f"{head}." if known else text, []).append(tail if known else "")
    joined = [
        head if tails == [""] else f"{head}{tails[0]}" if len(tails) == 1 else f"{head}{{{','.join(tails)}}}"
        for head, tails in heads.items()
    ]
    return ", ".join(joined)


def _end(plan: Plan, allowed: Collection[str], *, whole: bool) -> Iterator[Line]:
    counts = ", ".join(f"{_count(plan, act)} to {_MARKS[act]}" for act in Act)
    refused = plan.refused(allowed)
    yield Line(f"{counts}; {len(refused)} refused unless named" if refused else counts, "title")
    if plan.problems:
        yield Line(f"cannot be applied: {counted(len(plan.problems), 'problem')} first", "unsafe")
    elif not whole:
        return
    elif not refused:
        named = "".join(f" --allow {shlex.quote(change.name)}" for change in plan.changes if change.unsafe)
        yield Line(f"apply exactly this with: remit trust apply {plan.checksum}{named}", "title")
    else:
        yield Line(f"apply exactly this with: remit trust apply {plan.checksum} --allow ...", "title")


def _count(plan: Plan, act: Act) -> int:
    return sum(change.act is act for change in plan.changes)


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    """Whole words only: a name that is longer than a line is left whole."""
    wrapper = textwrap.TextWrapper(
        width=WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.wrap(_printable(text)) if text else []


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
