"""Changes of the work itself: what a launch or a change may ask of the cloud, and the account that it runs as.

A guardrail that names what is allowed is met by keeping of the work what is allowed; where nothing is left, by the
first that is. What the launcher has to write instead is told by the names of `model.operation.Work`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from remit.model.estate import Estate, Project
from remit.model.explanation import Means
from remit.model.operation import Operation, Request, Resource, Work
from remit.policy.facts import ACCOUNT_PREFIX, ACT_AS, Question
from remit.policy.why.demands import Ask, Demand
from remit.policy.why.fixes import Situation, Ways, either, listed, one

_WORDS = {
    "accelerators": "accelerators",
    "buckets": "buckets",
    "environment": "environment variables",
    "images": "container images",
    "labels": "labels",
    "machines": "machine types",
    "networks": "networks",
    "registries": "registries of container images",
    "urls": "web addresses",
}
_NUMBERS = {"accelerator_count": "accelerators", "duration": "seconds to run", "replicas": "replicas"}
_HOUR = 3600
_ACCOUNTS = 4  # that are tried for one condition: more would crowd out other changes


@dataclass(frozen=True, slots=True)
class _Setting:
    """One field of the work, set to what a demand wants of it."""

    field: str
    what: str
    change: Callable[[Work], Work]
    value: str = ""

    @property
    def ways(self) -> Ways:
        return one(Means.WORK, self.what, f"work {self.field}", partial(_worked, self.change), value=self.value)


def of_work(question: Question, name: str, demand: Demand) -> Ways:
    """The ways to meet a demand on a field of the work that a question is about; none where it asks for no work."""
    work = question.operation.work
    if work is None:
        return ()
    if name in _WORDS:
        return _collection(work, name, demand)
    if name in _NUMBERS and demand.ask in {Ask.AT_MOST, Ask.AT_LEAST}:
        return _number(name, demand)
    match name, demand.ask:
        case "interactive", Ask.TRUE | Ask.FALSE:
            on = demand.ask is Ask.TRUE
            what = "somebody can log in to it while it runs" if on else "nobody can log in to it while it runs"
            return _Setting(name, what, lambda found: replace(found, interactive=on)).ways
        case "region", Ask.ONE_OF:
            value = demand.values[0]
            told = listed(demand.values, "or")
            return _Setting(name, f"in the region {told}", lambda found: replace(found, region=value), value).ways
    return ()


def at_most(name: str, bound: int) -> Ways:
    """The way to keep a number of the work below a ceiling."""
    return _number(name, Demand(("work", name), Ask.AT_MOST, number=bound))


def act_as(situation: Situation, question: Question, estate: Estate, values: tuple[str, ...], *, wanted: bool) -> Ways:
    """The ways to run as another account: one that is named, or one of the projects and environments that are.

    Not `wanted`: any but those.
    """
    before = question.operation.acts_as or question.target["id"]
    if not any(operation.acts_as == before for operation in situation.request.operations):
        return ()  # somebody asks for the account itself
    found = either(
        _as(before, name, project)
        for project in estate.projects
        for name in (*project.accounts, *project.agents)
        if name != before and (not {name, project.id, project.environment}.isdisjoint(values)) is wanted
    )
    return found[:_ACCOUNTS]


def _as(before: str, name: str, project: Project) -> Ways:
    edit = partial(_run_as, before, name, project.id)
    late = int(name in project.agents)  # what somebody made for work comes before what Google falls back to
    return one(Means.WORK, f"running as `{name}`", "acts as", edit, value=name, late=late)


def _number(name: str, demand: Demand) -> Ways:
    bound, most = demand.number, demand.ask is Ask.AT_MOST
    # a limit of one second is a limit that nobody means
    value = bound if most or name != "duration" else max(bound, _HOUR)
    if value < 0:
        return ()
    what = f"{_NUMBERS[name]}: {'at most' if most else 'at least'} {bound}"
    return _Setting(name, what, lambda found: _with_number(found, name, value), str(value)).ways


def _with_number(work: Work, name: str, value: int) -> Work:
    match name:
        case "duration":
            return replace(work, duration=value)
        case "replicas":
            return replace(work, replicas=value)
    return replace(work, accelerator_count=value)


def _collection(work: Work, name: str, demand: Demand) -> Ways:
    held: frozenset[str] = getattr(work, name)
    values, words = frozenset(demand.values), _WORDS[name]
    told = listed(demand.values, "and")
    match demand.ask:
        case Ask.WITHIN if not values:
            return _filled(name, frozenset(), f"no {words}")
        case Ask.WITHIN:
            return _filled(name, held & values or frozenset(demand.values[:1]), f"{words}: none but {told}")
        case Ask.HOLDS:
            return _filled(name, held | values, f"{words}: {told}")
        case Ask.HOLDS_ANY:
            told = listed(demand.values, "or")
            return _filled(name, held | frozenset(demand.values[:1]), f"{words}: one of {told}")
        case Ask.LACKS:
            return _filled(name, held - values, f"{words}: none of {told}")
    return ()


def _filled(name: str, values: frozenset[str], what: str) -> Ways:
    return _Setting(name, what, partial(_with_values, name, values), ", ".join(sorted(values))).ways


def _with_values(name: str, values: frozenset[str], work: Work) -> Work:
    changed: Work = replace(work, **{name: values})  # type: ignore[arg-type]  # `name` is that of a set
    return changed


def _worked(change: Callable[[Work], Work], situation: Situation) -> Situation:
    operations = (replace(each, work=change(each.work)) if each.work else each for each in situation.request.operations)
    return _with_operations(situation, tuple(operations))


def _run_as(before: str, name: str, project: str, situation: Situation) -> Situation:
    """All that runs as an account runs as another one, and the right to act as that one is asked for instead."""

    def moved(operation: Operation) -> Operation:
        if operation.acts_as == before:
            return replace(operation, acts_as=name)
        if operation.action.id == ACT_AS and operation.resources[0].name == ACCOUNT_PREFIX + before:
            return replace(operation, resources=(Resource("ServiceAccount", ACCOUNT_PREFIX + name, project),))
        return operation

    return _with_operations(situation, tuple(map(moved, situation.request.operations)))


def _with_operations(situation: Situation, operations: tuple[Operation, ...]) -> Situation:
    request: Request = replace(situation.request, operations=operations)
    return replace(situation, request=request)
