"""What would have to be otherwise so that one condition comes out as it should: the vocabulary of changes.

Each attribute that policies can see has its ways of being changed, or none: nobody becomes another principal, and
another action or resource is another request. What comes out is a proposal, and only the engine says whether it helps
(`repairs`). Here are the changes of who asks; `surroundings`, `guardrails` and `granted` hold the others. Leaves out
patterns, arithmetic, and everything that `demands` cannot read.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from cedarpy import pst

from remit.model.decision import Circumstances
from remit.model.estate import Estate
from remit.model.explanation import Means
from remit.model.identity import Authentication, Device, Identity, Kind
from remit.model.job import ASKED_OUTSIDE, job, parted
from remit.policy.facts import ACT_AS, Question
from remit.policy.why.demands import Ask, Demand, demand_of, texts
from remit.policy.why.fixes import Situation, Ways, both, either, one
from remit.policy.why.granted import granted
from remit.policy.why.guardrails import act_as, of_work
from remit.policy.why.surroundings import at_moments, placed, risked
from remit.policy.why.trees import named, path

_LOGIN = "remit login"
_NOW = ("context", "now")
_RUN = "j-00000000000000000000000000"
_DEVICE = {
    "managed": "a device that the company manages",
    "compliant": "a device that keeps the company's rules",
    "known_network": "a sign-in from a network that the directory trusts",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """One question in one situation.

    `completable`: whether the caller can be asked for an authentication context; `moments`: the next times, soonest
    first, at which a condition holds.
    """

    situation: Situation
    question: Question
    estate: Estate
    completable: bool
    moments: Callable[[pst.Expr], Iterable[int]]

    @property
    def person(self) -> bool:
        """Whether a person asks: a workload cannot sign in more strongly, nor from another device."""
        return self.situation.identity.principal.kind is Kind.PERSON


def ways(scene: Scene, condition: pst.Expr, *, wanted: bool) -> Ways:
    """The alternatives that would make a condition what is wanted; none when there is no way that is known of."""
    if isinstance(condition, pst.UnaryOp) and condition.op == "not":
        return ways(scene, condition.arg, wanted=not wanted)
    demand = demand_of(condition, wanted=wanted)
    if demand:
        return _met(scene, demand)
    found = _someone(scene, condition, wanted=wanted)
    if not found and any(path(each) == _NOW for each in named(condition)):
        return at_moments(scene.moments(condition if wanted else pst.UnaryOp("not", condition)))
    return found


def step_up(context: str) -> Ways:
    """A sign-in that satisfies one more authentication context."""
    what = f"a sign-in that satisfies the authentication context `{context}`"
    edit = partial(_signing, lambda found, _: replace(found, contexts=found.contexts | {context}))
    return one(Means.STEP_UP, what, f"context {context}", edit, value=context, command=_LOGIN)


def sign_in() -> Ways:
    """A sign-in just now."""
    edit = partial(_signing, lambda found, now: replace(found, at=now))
    return one(Means.SIGN_IN, "a sign-in just before", "sign-in", edit, command=_LOGIN)


def _someone(scene: Scene, condition: pst.Expr, *, wanted: bool) -> Ways:
    """What can be changed of who asks, and of the account that work runs as."""
    match condition:
        case pst.BinaryOp("in", pst.Var("principal"), groups):
            return _membership(scene, groups, wanted=wanted)
        case pst.Is(pst.Var("principal"), kind, groups) if groups is not None:
            mine = str(kind) == ("Person" if scene.person else "Workload")
            return _membership(scene, groups, wanted=wanted) if mine else ()
        case pst.BinaryOp("eq" | "in", pst.Var("resource"), names) if scene.question.operation.action.id == ACT_AS:
            return act_as(scene.situation, scene.question, scene.estate, texts(names) or (), wanted=wanted)
        case pst.BinaryOp("eq", pst.BinaryOp("get_tag", _, pst.StringLit(tag)), pst.StringLit(value)) if wanted:
            return _tag(tag, value, f"an identity whose `{tag}` is `{value}`")
        case pst.BinaryOp("has_tag", _, pst.StringLit(tag)) if wanted:
            return _tag(tag, "", f"an identity that has a `{tag}`", weak=True)
    return ()


def _met(scene: Scene, demand: Demand) -> Ways:
    """The ways to meet a demand on an attribute of the context, by the attribute."""
    rest = demand.path[1:]
    match demand.path[0]:
        case "authentication" | "device" if scene.person:
            return _signed_in(scene, demand)
        case "work" if rest:
            return of_work(scene.question, rest[0], demand)
        case "grant":
            return granted(scene.situation, "".join(rest), demand)
        case "acts_as" | "guest" | "home":
            return _other(scene, demand)
        case "risk":
            return risked(demand)
    return placed(demand)


def _other(scene: Scene, demand: Demand) -> Ways:
    match demand.path[0], demand.ask:
        case "acts_as", Ask.ONE_OF | Ask.BELOW | Ask.NONE_OF as ask:
            wanted = ask is not Ask.NONE_OF
            return act_as(scene.situation, scene.question, scene.estate, demand.values, wanted=wanted)
        case "guest", Ask.FALSE:
            edit = partial(_being, lambda found: replace(found, guest=False, home=""))
            return one(Means.OTHER, "a member of the tenant and not a guest", "guest", edit)
        case "home", Ask.ONE_OF:
            return either(map(_home, demand.values))
    return ()


def _signed_in(scene: Scene, demand: Demand) -> Ways:
    """A person's sign-in: its contexts, its methods, its age, its device."""
    steps = {"contexts": step_up if scene.completable else _nothing, "methods": _method}
    name = demand.path[-1]
    match demand.ask:
        case Ask.HOLDS if name in steps:
            return both(map(steps[name], demand.values))
        case Ask.HOLDS_ANY if name in steps:
            return either(map(steps[name], demand.values))
        case Ask.AT_MOST | Ask.THERE if name == "age":
            return sign_in()
        case Ask.TRUE if name in _DEVICE:
            edit = partial(_being, lambda found: replace(found, device=_better(found.device, name)))
            return one(Means.DEVICE, _DEVICE[name], f"device {name}", edit, value=name)
    return ()


def _nothing(_: str) -> Ways:
    return ()


def _better(device: Device, name: str) -> Device:
    return Device(
        id=device.id,
        managed=device.managed or name == "managed",
        compliant=device.compliant or name == "compliant",
        known_network=device.known_network or name == "known_network",
    )


def _method(method: str) -> Ways:
    edit = partial(_signing, lambda found, _: replace(found, methods=found.methods | {method}))
    return one(Means.SIGN_IN, f"a sign-in with `{method}`", f"method {method}", edit, value=method, command=_LOGIN)


def _membership(scene: Scene, groups: pst.Expr, *, wanted: bool) -> Ways:
    literals = groups.elements if isinstance(groups, pst.Set) else (groups,)
    names = [each.value for each in literals if isinstance(each, pst.EntityLit)]
    if len(names) != len(literals):
        return ()
    if wanted:
        return either(
            _running(scene, name.id) if str(name.type) == "Job" else _member(name, wanted=True) for name in names
        )
    identity, inside = scene.situation.identity, scene.situation.circumstances.job_name
    held = identity.groups | identity.roles | {job(identity.principal.key, inside)}
    return both(
        _outside(inside) if str(name.type) == "Job" else _member(name, wanted=False)
        for name in names
        if name.id in held
    )


def _member(name: pst.EntityUid, *, wanted: bool) -> Ways:
    def edited(held: frozenset[str]) -> frozenset[str]:
        return held | {name.id} if wanted else held - {name.id}

    if str(name.type) == "Group":
        what = f"{'a' if wanted else 'no'} member of group `{name.id}`"
        edit = partial(_being, lambda found: replace(found, groups=edited(found.groups)))
        return one(Means.GROUP, what, f"group {name.id}", edit, value=name.id)
    if str(name.type) == "Role":
        what = f"{'with' if wanted else 'without'} the app role `{name.id}`"
        edit = partial(_being, lambda found: replace(found, roles=edited(found.roles)))
        return one(Means.ROLE, what, f"role {name.id}", edit, value=name.id)
    return ()


def _running(scene: Scene, wanted: str) -> Ways:
    """From within a run of the caller's own: nobody gets into another's, and Remit itself is asked from within none."""
    owner, name = parted(wanted)
    if owner != scene.situation.identity.principal.key or scene.question.operation.action.id in ASKED_OUTSIDE:
        return ()
    what, command = f"from within the run `{name}`", f"remit run --name {name} -- …"
    edit = partial(_around, lambda found: replace(found, job=_RUN, job_name=name))
    return one(Means.RUN, what, "job", edit, value=wanted, command=command)


def _outside(name: str) -> Ways:
    """No means of the caller's own: whoever forbids a run something says in its `@refusal` what is to be done."""
    edit = partial(_around, lambda found: replace(found, job="", job_name=""))
    return one(Means.OTHER, f"from outside of the run `{name}`", "job", edit)


def _tag(tag: str, value: str, what: str, *, weak: bool = False) -> Ways:
    def edited(found: Identity) -> Identity:
        return replace(found, attributes=tuple(sorted({**dict(found.attributes), tag: value}.items())))

    return one(Means.OTHER, what, f"tag {tag}", partial(_being, edited), value=value, weak=weak)


def _home(value: str) -> Ways:
    edit = partial(_being, lambda found: replace(found, guest=True, home=value))
    return one(Means.OTHER, f"a guest from `{value}`", "guest", edit, value=value)


def _around(change: Callable[[Circumstances], Circumstances], situation: Situation) -> Situation:
    return replace(situation, circumstances=change(situation.circumstances))


def _being(change: Callable[[Identity], Identity], situation: Situation) -> Situation:
    return replace(situation, identity=change(situation.identity))


def _signing(change: Callable[[Authentication, int], Authentication], situation: Situation) -> Situation:
    found, now = situation.identity.authentication, situation.circumstances.now
    return replace(situation, identity=replace(situation.identity, authentication=change(found, now)))
