"""The canary: proof, at every load, that a `forbid` on an action group or an environment fires.

When action groups or the project hierarchy are missing from the engine's entities, such a policy is not an error:
it just never applies (trap 3 of `engine`). So a guard is put up for every group and environment, and a request must
run into exactly the one that concerns it. The guards are evaluated on the very ground that decisions will use.
"""

import json

from cedarpy import PolicySet

from remit.model.estate import Estate
from remit.model.operation import Group
from remit.policy.engine import EvaluationFailed, Ground
from remit.policy.facts import entity, uid

_PERSON = uid("Person", "canary")
_CONTEXT = json.dumps(
    {
        "authentication": {"methods": [], "contexts": [], "capabilities": []},
        "device": {"managed": False, "compliant": False, "known_network": False},
        "guest": False,
        "locations": [],
        "locations_known": False,
        "now": "2026-01-01T00:00:00Z",
    }
)


def prove(ground: Ground, estate: Estate) -> None:
    """Raises `EvaluationFailed` unless every guard stops what it should, and lets the rest pass."""
    _prove_groups(ground, estate)
    _prove_environments(ground, estate)


def _prove_groups(ground: Ground, estate: Estate) -> None:
    declared = sorted(ground.declared.items())
    project = estate.projects[0].id
    requests = [_request(action, project) for action, _ in declared]
    entities = ground.admit(_delta(estate))
    for guarded in Group:
        answers = ground.ask(_guard(f'action in Action::"{guarded}", resource'), requests, entities)
        for (action, group), answer in zip(declared, answers, strict=True):
            if answer.allowed is (group is guarded):
                raise EvaluationFailed(f"a forbid on the group `{guarded}` does not hold for `{action}`")


def _prove_environments(ground: Ground, estate: Estate) -> None:
    action = min(ground.declared)
    requests = [_request(action, project.id) for project in estate.projects]
    entities = ground.admit(_delta(estate))
    for guarded in sorted({project.environment for project in estate.projects}):
        guard = _guard(f"action, resource in Environment::{json.dumps(guarded, ensure_ascii=False)}")
        for project, answer in zip(estate.projects, ground.ask(guard, requests, entities), strict=True):
            if answer.allowed is (project.environment == guarded):
                raise EvaluationFailed(f"a forbid on the environment `{guarded}` does not hold in `{project.id}`")


def _guard(scope: str) -> PolicySet:
    return PolicySet.from_str(f"permit(principal, action, resource); forbid(principal, {scope});")


def _request(action: str, project: str) -> dict[str, object]:
    return {
        "principal": _PERSON,
        "action": uid("Action", action),
        "resource": uid("Model", project),
        "context": _CONTEXT,
    }


def _delta(estate: Estate) -> str:
    models = [entity(uid("Model", project.id), uid("Project", project.id)) for project in estate.projects]
    return json.dumps([entity(_PERSON), *models])
