"""If somebody had a grant, what would the policy say? The engine is asked as if they did.

Only what a grant would permit may be asked for, and only what nothing else permits: who may do it already is told so,
and who lacks a stronger sign-in alone is asked for that. Else one stands in the way of nothing here: it is asked for
when the grant is used. A whole action group may be asked for when the grant would permit every action in it: whoever
approves reads one word, and must not grant less or more than it says.
Leaves out what the request would carry besides (labels, machines): that is judged when it comes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from remit.access.assumed import RUN
from remit.access.ports import Judge
from remit.model.decision import Circumstances, Verdict
from remit.model.errors import Refused
from remit.model.grant import Grant, Wanted
from remit.model.identity import Identity
from remit.model.operation import ACCESS_ACTIONS, OWN_ACTIONS, Action, Group, Operation, Request
from remit.model.outcome import Outcome
from remit.model.reasons import Reason

NAME = "g-hypothetical"
_EVERYBODY = 99  # approvals: more than any policy wants, so that it tells how many it does want
_MOST = 9  # people that one grant can be asked to wait for
_STEPS = 9  # contexts that are taken as completed, one after the other
_CHUNK = 50  # actions in one question: the engine holds the interpreter for about 10 ms
_OUR_OWN = frozenset(action.id for action in (*OWN_ACTIONS, *ACCESS_ACTIONS))


def members(action: Action, actions: Mapping[str, Group], named: Collection[str]) -> tuple[Action, ...]:
    """The action itself, or all of the group that it stands for, without those of Remit's own API.

    `named`: ids of the actions that some policy names: all others of a group are alike, and one answers for them.
    """
    if action.id != str(action.group):
        return (action,)
    names = sorted(name for name, group in actions.items() if group is action.group and name not in _OUR_OWN)
    alike = [name for name in names if name not in named]
    return tuple(Action(name, action.group) for name in (*alike[:1], *(name for name in names if name in named)))


@dataclass(frozen=True, slots=True)
class Askable:
    """Whether something may be asked for: only where the verdict is a permit, and not of what is permitted `already`.

    `needed`: how many people have to say yes, 0 where nobody is waited for.
    """

    verdict: Verdict
    needed: int = 0
    already: bool = False


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What somebody wants, and all that it would be used for. `actions`: as in `members`; never empty."""

    judge: Judge
    identity: Identity
    circumstances: Circumstances
    wanted: Wanted
    actions: Sequence[Action]

    def askable(self) -> Askable:
        """What the policy says with the grant, or without one where that is enough; blocks.

        Raises `Refused` when a grant of this kind would not do, and when no number of people is enough.
        """
        verdict, identity = self._ask(self.identity, 0 if self.wanted.break_glass else _EVERYBODY)
        if verdict.outcome is Outcome.NEEDS_APPROVAL:  # of another kind than this one
            hint = "ask for it without `--break-glass`" if self.wanted.break_glass else ""
            raise Refused(Reason.NO_POLICY_PERMITS, "a grant like this would not permit it", hint=hint)
        if verdict.outcome is not Outcome.PERMIT:
            return Askable(verdict)
        without, _ = self._ask(self.identity, None, steps=0)
        if without.outcome is Outcome.PERMIT:
            return Askable(without, already=True)
        if self._ask(identity, None)[0].outcome is Outcome.PERMIT:
            return Askable(self._stronger(without, identity))
        return Askable(verdict, 0 if self.wanted.break_glass else self._needed(identity, verdict))

    def _stronger(self, verdict: Verdict, identity: Identity) -> Verdict:
        """The step-up by which somebody with this identity needs no grant, also where policy asks for a grant first."""
        if verdict.outcome is Outcome.STEP_UP:
            return verdict
        missing = identity.authentication.contexts - self.identity.authentication.contexts
        reasons = (Reason.STEP_UP_REQUIRED,)
        return replace(verdict, outcome=Outcome.STEP_UP, reasons=reasons, challenge=min(missing), hint="", wanted=None)

    def _needed(self, identity: Identity, verdict: Verdict) -> int:
        """The obligations say how many; a policy's own condition on the grant may want more."""
        for people in range(max(1, verdict.obligations.approvals), _MOST + 1):
            if self._ask(identity, people)[0].outcome is Outcome.PERMIT:
                return people
        raise Refused(Reason.OBLIGATION_UNMET, f"this wants more approvals than {_MOST} people can give")

    def _ask(self, identity: Identity, approvals: int | None, steps: int = _STEPS) -> tuple[Verdict, Identity]:
        """The verdict on everything, strictest first, with a grant of so many approvals or none; and who it took.

        The identity has every context completed that was asked for on the way, `steps` of them at the most for each.
        """
        circumstances = self._with(approvals)
        strictest: Verdict | None = None
        for start in range(0, len(self.actions), _CHUNK):
            chunk = self.actions[start : start + _CHUNK]
            request = Request(tuple(Operation(action, (self.wanted.resource,)) for action in chunk))
            verdict, identity = self._stepping_up(identity, request, circumstances, steps)
            if verdict.outcome is not Outcome.PERMIT:
                return verdict, identity
            if strictest is None or verdict.obligations.approvals > strictest.obligations.approvals:
                strictest = verdict
        if strictest is None:
            raise Refused(Reason.METHOD_UNKNOWN, f"the group `{self.wanted.action}` has no actions")
        return strictest if approvals is None else replace(strictest, grants=()), identity

    def _stepping_up(
        self, identity: Identity, request: Request, circumstances: Circumstances, steps: int
    ) -> tuple[Verdict, Identity]:
        verdict = self.judge.decide(identity, request, circumstances)
        for _ in range(steps):
            if verdict.outcome is not Outcome.STEP_UP or not verdict.challenge:
                break
            proof = identity.authentication
            proof = replace(proof, contexts=proof.contexts | {verdict.challenge})
            identity = replace(identity, authentication=proof)
            verdict = self.judge.decide(identity, request, circumstances)
        return verdict, identity

    def _with(self, approvals: int | None) -> Circumstances:
        found, wanted = self.circumstances, self.wanted
        if wanted.job:  # it is used within a run of this name, and perhaps that is enough
            found = replace(found, job=RUN, job_name=wanted.job)
        if approvals is None:
            return found
        grant = Grant(NAME, wanted, found.now, found.now + wanted.lasting, approvals, RUN if wanted.job else "")
        return replace(found, grants=(*found.grants, grant))
