"""What policies and obligations say of one request together, as things stand or as they might.

Obligations are asked only of what the policies permit. What they demand and the request does not meet is said in
sentences that name the demand and no rule. Leaves out what is offered to the caller then (`judge`, `approval`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from remit.model.grant import Grant
from remit.model.identity import Kind
from remit.model.obligation import NONE, Obligations
from remit.model.reasons import Reason
from remit.policy.book import Book
from remit.policy.engine import Answer, EvaluationFailed, Hearing
from remit.policy.facts import Facts, Question
from remit.policy.refusals import Refusal, describe, refusals

_TENANT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # of Entra; no other issuer's name looks like it
_ASKS_FOR = {"accelerator_count": "accelerators", "duration": "seconds of running time", "replicas": "replicas"}


@dataclass(frozen=True, slots=True)
class Unmet:
    """One demand that is not met. `challenges`: contexts that are missing; `not_before`: as in `Verdict`."""

    question: Question
    reason: Reason
    said: str
    hint: str = ""
    challenges: tuple[str, ...] = ()
    not_before: int = 0

    @property
    def detail(self) -> str:
        """What is not met, in words for the caller."""
        return f"`{self.question.operation.action.id}` on {describe(self.question.resource)}: {self.said}"


Trouble = Refusal | Unmet


@dataclass(frozen=True, slots=True)
class Weighed:
    """A request under policies and obligations; these are `NONE` when the policies refuse."""

    answers: tuple[Answer, ...]
    obligations: Obligations = NONE
    unmet: tuple[Unmet, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the policies permit every question."""
        return all(answer.allowed for answer in self.answers)

    @property
    def clean(self) -> bool:
        """Whether nothing stands against a permit."""
        return self.allowed and not self.unmet

    @property
    def policies(self) -> frozenset[str]:
        """The engine's ids of all policies that decided."""
        return frozenset[str]().union(*(answer.policies for answer in self.answers))


def weigh(
    book: Book, hearing: Hearing, completed: frozenset[str] = frozenset(), granted: Grant | None = None
) -> Weighed:
    """The request as if contexts were completed and a grant were in force; raises `EvaluationFailed`."""
    answers, applied = book.together.ask(hearing, completed, granted)
    if not applied:
        return Weighed(answers)
    try:
        obligations = book.obliged(applied)
    except ValueError as error:
        raise EvaluationFailed(str(error)) from error
    return Weighed(answers, obligations, _unmet(obligations, hearing.facts, completed, granted))


def troubles(book: Book, hearing: Hearing, weighed: Weighed) -> tuple[Trouble, ...]:
    """What stands against a permit: refused questions in the order of the request, else demands that are not met."""
    return weighed.unmet or refusals(book, hearing, weighed.answers)


def challenges(facts: Facts, found: Iterable[Trouble]) -> tuple[str, ...]:
    """The contexts that would help and this caller has not completed: a workload cannot sign in again."""
    if facts.identity.principal.kind is not Kind.PERSON:
        return ()
    asked = dict.fromkeys(challenge for trouble in found for challenge in trouble.challenges)
    return tuple(challenge for challenge in asked if challenge not in facts.identity.authentication.contexts)


def completable(facts: Facts) -> bool:
    """Whether the caller can be asked for a context: they are Entra's, and nobody else's people can complete one."""
    return _TENANT.fullmatch(facts.identity.principal.tenant) is not None


def too_old(found: Iterable[Trouble]) -> int:
    """The time that a sign-in has to be younger than, seconds since the epoch; 0 when its age is no trouble."""
    return max((trouble.not_before for trouble in found if isinstance(trouble, Unmet)), default=0)


def signed_in_again(hearing: Hearing) -> Hearing:
    """The same request, as if the caller had just proved who they are."""
    facts = hearing.facts
    authentication = replace(facts.identity.authentication, at=facts.circumstances.now)
    return replace(hearing, facts=replace(facts, identity=replace(facts.identity, authentication=authentication)))


def relied_on(facts: Facts, obligations: Obligations) -> tuple[str, ...]:
    """The ids of the grants that were told to policies, or counted as an approval."""
    found: dict[str, None] = {}
    for question in facts.questions:
        grants = facts.grants(question)
        told = grants[:1]
        if obligations.approvals:
            told += tuple(grant for grant in grants if _approved(grant, obligations.approvals))[:1]
        found.update(dict.fromkeys(grant.id for grant in told))
    return tuple(found)


def _unmet(
    obligations: Obligations, facts: Facts, completed: frozenset[str], granted: Grant | None
) -> tuple[Unmet, ...]:
    """What nothing but another request cures first, then what the caller can cure, then what others can."""
    found = (
        _too_much(obligations, facts),
        _contexts(obligations, facts, completed),
        _session(obligations, facts),
        _approvals(obligations, facts, granted),
    )
    return tuple(each for each in found if each)


def _too_much(obligations: Obligations, facts: Facts) -> Unmet | None:
    for question in facts.questions:
        for name, bound in obligations.ceilings if question.operation.work else ():
            asked = getattr(question.operation.work, name)
            if name == "duration" and asked == 0:
                said = f"it sets no end to its running time, and {bound} seconds are the most"
            elif asked > bound:
                said = f"it asks for {asked} {_ASKS_FOR[name]}, and {bound} are the most"
            else:
                continue
            return Unmet(question, Reason.CEILING_EXCEEDED, said, "ask for no more than that")
    return None


def _contexts(obligations: Obligations, facts: Facts, completed: frozenset[str]) -> Unmet | None:
    missing = sorted(obligations.contexts - facts.identity.authentication.contexts - completed)
    if not missing:
        return None
    named = " and ".join(f"`{each}`" for each in missing)
    said = f"this needs a sign-in that satisfies the authentication context {named}"
    return Unmet(facts.questions[0], Reason.OBLIGATION_UNMET, said, challenges=tuple(missing))


def _session(obligations: Obligations, facts: Facts) -> Unmet | None:
    """Of people only: a workload signs in whenever it asks, and no provider says when."""
    if not obligations.session or facts.identity.principal.kind is not Kind.PERSON:
        return None
    at, now = facts.identity.authentication.at, facts.circumstances.now
    if at and now - at < obligations.session:
        return None
    said = f"this needs a sign-in that is younger than {obligations.session} seconds"
    hint = "sign in again: `remit login`"
    not_before = now - obligations.session
    return Unmet(facts.questions[0], Reason.OBLIGATION_UNMET, said, hint, not_before=not_before)


def _approvals(obligations: Obligations, facts: Facts, granted: Grant | None) -> Unmet | None:
    needed = obligations.approvals
    for question in facts.questions if needed else ():
        if not any(_approved(grant, needed) for grant in facts.grants(question, granted)):
            people = "somebody" if needed == 1 else f"{needed} people"
            said = f"this needs a grant that {people} approved"
            return Unmet(question, Reason.OBLIGATION_UNMET, said)
    return None


def _approved(grant: Grant, needed: int) -> bool:
    """Break-glass waits for nobody: it is looked at afterwards."""
    return grant.approvals >= needed or grant.wanted.break_glass
