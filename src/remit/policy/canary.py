"""The canary: proof, at every load, that a rule on an action group or an environment fires.

When action groups or the project hierarchy are missing from the engine's entities, such a rule is not an error: it
just never applies (trap 3 of `engine`). A `forbid` then forbids nothing, and an obligation demands nothing. So a guard
of either kind is put up for every group and environment, and a request must run into exactly the one that concerns
it. It is put to the engine in the very way in which decisions will be: same ground, same slices.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

from cedarpy import PolicySet, pst

from remit.model.decision import Circumstances
from remit.model.estate import Estate, Project
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.job import parted
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.policy.engine import EvaluationFailed, Ground, Hearing
from remit.policy.facts import Question, gather
from remit.policy.schema import stand_in
from remit.policy.slices import Slices

_CANARY = Identity(
    principal=Principal("", "canary", "canary", Kind.PERSON),
    display="",
    groups=frozenset(),
    groups_at=0,
    roles=frozenset(),
    scopes=frozenset(),
    client="",
    authentication=Authentication(),
    guest=False,
    issued_at=0,
    expires_at=0,
    token_id="",
)


def prove(ground: Ground, estate: Estate, *sets: PolicySet) -> None:
    """Raises `EvaluationFailed` unless every guard meets what it should, and lets the rest pass.

    `sets`: those that will be asked on this ground: whoever is in all groups and roles that they name is in each, and
    whoever asks from within a job that they name is in that.
    """
    # 1 every action that policies can tell apart, against each group
    hearing = _hearing(ground, estate, _actions(ground), estate.projects[:1])
    for group in Group:
        _prove(hearing, "group", group, f'action in Action::"{group}", resource', _group)
    # 2 every project, against each environment
    hearing = _hearing(ground, estate, _actions(ground)[:1], estate.projects)
    environments = {project.id: project.environment for project in estate.projects}
    for name in sorted(set(environments.values())):
        scope = f"action, resource in Environment::{json.dumps(name, ensure_ascii=False)}"
        _prove(hearing, "environment", name, scope, lambda question: environments[question.resource.project])
    # 3 every group, role and job that policies name
    every = {name for each in sets for name in pst.entity_uids(each.to_pst())}
    groups, roles, jobs = (
        {name.id: name for name in every if str(name.type) == kind} for kind in ("Group", "Role", "Job")
    )
    member = replace(_CANARY, groups=frozenset(groups), roles=frozenset(roles))
    _prove_members(ground, estate, (*groups.values(), *roles.values()), member)
    for job in jobs.values():
        owner, run = parted(job.id)
        tenant, _, subject = owner.partition("/")
        principal = replace(_CANARY.principal, tenant=tenant, subject=subject)
        _prove_members(ground, estate, (job,), replace(_CANARY, principal=principal), run)


def _prove_members(
    ground: Ground, estate: Estate, named: Iterable[pst.EntityUid], member: Identity, run: str = ""
) -> None:
    """Entities leave out the groups, roles and jobs that no policy names: that must be none of these."""
    within = {f"{name.type} `{name.id}`": name for name in named}
    hearing = _hearing(ground, estate, _actions(ground)[:1], estate.projects[:1], caller=member, run=run)
    anything = pst.ScopeAny()
    guards = {
        told: pst.Template(told, "permit", pst.ScopeIn(name), anything, anything, (), pst.FrozenMap())
        for told, name in within.items()
    }
    (answer,) = hearing.ask(
        PolicySet.from_pst(pst.PolicySet(pst.FrozenMap(), pst.FrozenMap(guards), ())), hearing.facts.questions
    )
    missed = sorted(guards.keys() - answer.policies)
    if missed:
        raise EvaluationFailed(f"a rule on the {missed[0]} does not hold for its members")


def _prove(hearing: Hearing, kind: str, name: str, scope: str, of: Callable[[Question], str]) -> None:
    """`of`: what of this kind a question concerns; `scope`: of the rules that are about `name`."""
    questions = hearing.facts.questions
    forbid = f"permit(principal, action, resource); forbid(principal, {scope});"
    for rule, text, met in (("a forbid", forbid, False), ("an obligation", f"permit(principal, {scope});", True)):
        answers = hearing.ask(Slices(PolicySet.from_str(text)), questions)
        for question, answer in zip(questions, answers, strict=True):
            if answer.allowed is not ((of(question) == name) is met):
                asked = f"`{question.operation.action.id}` in `{question.resource.project}`"
                raise EvaluationFailed(f"{rule} on the {kind} `{name}` does not hold for {asked}")


def _group(question: Question) -> str:
    return question.operation.action.group


def _actions(ground: Ground) -> tuple[Action, ...]:
    """Every declared action; a stand-in is asked for by the name of its group."""
    names = {stand_in(group): str(group) for group in Group}
    return tuple(Action(names.get(name, name), group) for name, group in sorted(ground.declared.items()))


def _hearing(
    ground: Ground,
    estate: Estate,
    actions: tuple[Action, ...],
    projects: tuple[Project, ...],
    *,
    caller: Identity = _CANARY,
    run: str = "",
) -> Hearing:
    operations = tuple(Operation(action, (_model(project),)) for action in actions for project in projects)
    known = {action.id: action.group for action in actions}
    return ground.hear(gather(caller, Request(operations), Circumstances(now=0, job_name=run), estate, known))


def _model(project: Project) -> Resource:
    return Resource("Model", f"//aiplatform.googleapis.com/projects/{project.id}/models/canary", project.id)
