"""A policy set that has been checked and proved: made whole, or not at all.

Loading is one function from a folder to an immutable `Book`: read, parse, lint, validate, prove. Whoever holds a book
decides with it; a newer one replaces it in one assignment (`judge`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from cedarpy import PolicySet, pst

from remit.model.decision import DeterminingPolicy
from remit.model.errors import Problem, SettingsInvalid
from remit.model.estate import Estate
from remit.model.obligation import Obligations, merge
from remit.model.operation import Group
from remit.policy.canary import prove
from remit.policy.engine import EvaluationFailed, Ground
from remit.policy.facts import base_entities
from remit.policy.lint import Policy, lint
from remit.policy.obligations import demanded
from remit.policy.settings import PolicySettings
from remit.policy.slices import Slices
from remit.policy.source import Folder, PolicyFile, read_folder
from remit.policy.together import Together
from remit.policy.validity import faults

_ID = "policy"
_NO_POLICY = "the file holds no policy: was it cut off? a file that is not needed is deleted"
_HINT = "correct the policies and load them again; until then the last good set decides, if there is one"


@dataclass(frozen=True, slots=True)
class Book:
    """A checked policy set with the ground it is evaluated on.

    `policies`: by the engine's own ids, in the order of the files. `reachable`: the same ids, each as a permit that
    keeps a permit's action, resource and kind of principal and drops the rest (see `explain`); `None` without permits.
    `obligations`: the rules that say what permits demand besides, `None` without any; `obliging`: what each demands, by
    the engine's own ids in their set; `together`: both, as decisions ask them. `texts`: what it all was made of, by
    path inside the folder.
    """

    version: str
    ground: Ground
    engine_set: Slices
    reachable: Slices | None
    policies: Mapping[str, DeterminingPolicy]
    obligations: Slices | None
    obliging: Mapping[str, Obligations]
    together: Together
    texts: Mapping[str, str]

    def named(self, ids: frozenset[str]) -> tuple[DeterminingPolicy, ...]:
        """The policies with these engine ids, in the order of the files; raises `KeyError` for an id of no policy."""
        return tuple(self.policies[each] for each in _in_order(ids))

    def obliged(self, ids: frozenset[str]) -> Obligations:
        """What the rules with these engine ids demand together; raises `ValueError` when they contradict each other.

        And `KeyError` for an id of no rule.
        """
        return merge(self.obliging[each] for each in _in_order(ids))


def load(settings: PolicySettings, estate: Estate, actions: Mapping[str, Group]) -> Book:
    """The policy set of a folder; raises `SettingsInvalid` with every problem that was found."""
    if not estate.projects:
        _refuse(Problem(str(settings.folder), 0, 0, "there is no project that policies could be about"))
    return made(read_folder(settings.folder), settings, estate, actions)


def made(folder: Folder, settings: PolicySettings, estate: Estate, actions: Mapping[str, Group]) -> Book:
    """The policy set of what was read of a folder, or was kept of an older one; raises `SettingsInvalid`."""
    # 1 read
    _refuse(*folder.problems)
    # 2 parse
    files = (*folder.policies, *folder.obligations)
    _refuse(*(found for file in files if (found := file.syntax_problem())))
    _refuse(*(Problem(file.name, 0, 0, _NO_POLICY) for file in files if not file.statements()))
    policies = tuple(policy for file in folder.policies for policy in _policies(file))
    rules = tuple(rule for file in folder.obligations for rule in _policies(file))
    # 3 lint
    problems = lint(policies, rules, estate, settings)
    # 4 validate
    both = (*policies, *rules)
    ground = Ground(actions, (policy.tree for policy in both), base_entities(estate))
    _refuse(*problems, *(_misfit(policy, message) for policy, message in faults(both, actions)))
    # 5 prove
    engine_set = Slices(PolicySet.from_str(_text(policies)))
    obligations = Slices(PolicySet.from_str(_text(rules))) if rules else None
    try:
        prove(ground, estate, *(each.whole for each in (engine_set, obligations) if each))
    except EvaluationFailed as failure:
        _refuse(Problem(str(settings.folder), 0, 0, f"the policies cannot be trusted to hold: {failure}"))
    return Book(
        version=folder.version,
        ground=ground,
        engine_set=engine_set,
        reachable=_reachable(policies),
        policies={_engine_id(index): _determining(policy) for index, policy in enumerate(policies)},
        obligations=obligations,
        obliging={_engine_id(at): demanded(rule.id, rule.tree.annotations) for at, rule in enumerate(rules)},
        together=Together(engine_set, obligations),
        texts=dict(folder.texts),
    )


def _text(policies: tuple[Policy, ...]) -> str:
    return "\n".join(policy.statement.text for policy in policies)


def _refuse(*problems: Problem) -> None:
    if problems:
        raise SettingsInvalid(problems, hint=_HINT)


def _policies(file: PolicyFile) -> Iterator[Policy]:
    """Each statement with the engine's reading of it."""
    for statement in file.statements():
        try:
            trees = PolicySet.from_str(statement.text).to_pst()
        except ValueError as error:  # conditions nested more than 100 deep
            raise SettingsInvalid((statement.problem(str(error)),), hint=_HINT) from error
        if trees.templates:
            _refuse(statement.problem("a template permits nothing by itself: write the policy without `?`"))
        (tree,) = trees.static_policies.values()
        yield Policy(statement, tree)


def _misfit(policy: Policy, message: str) -> Problem:
    """Placed at the first literal of the message that stands in the policy."""
    text = policy.statement.text
    return policy.statement.problem(message, at=next((part for part in message.split("`")[1::2] if part in text), ""))


def _reachable(policies: tuple[Policy, ...]) -> Slices | None:
    permits = {
        _engine_id(index): replace(
            policy.tree,
            id=_engine_id(index),
            principal=_kind_only(policy.tree.principal),
            clauses=(),
            annotations=pst.FrozenMap(),
        )
        for index, policy in enumerate(policies)
        if policy.tree.effect == "permit"
    }
    if not permits:
        return None
    return Slices(PolicySet.from_pst(pst.PolicySet(pst.FrozenMap(), pst.FrozenMap(permits), ())))


def _kind_only(scope: pst.PrincipalOrResourceConstraint) -> pst.PrincipalOrResourceConstraint:
    if isinstance(scope, pst.ScopeIs | pst.ScopeIsIn):
        return pst.ScopeIs(scope.entity_type)
    return pst.ScopeAny()


def _determining(policy: Policy) -> DeterminingPolicy:
    annotations = tuple(sorted((name, text) for name, text in policy.tree.annotations.items() if name != "id"))
    return DeterminingPolicy(policy.id, policy.tree.effect, annotations)


def _engine_id(index: int) -> str:
    """The id that the engine gives to the policy at this place of a text."""
    return f"{_ID}{index}"


def _in_order(ids: frozenset[str]) -> list[str]:
    """Such ids in the order of the text; raises `KeyError` for what is none."""
    try:
        return sorted(ids, key=lambda each: int(each.removeprefix(_ID)))
    except ValueError as error:
        raise KeyError(str(error)) from error
