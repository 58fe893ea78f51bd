"""Why not: the sentences that a refusal carries to its caller.

They are never made from policy text. A `forbid` that fired says its own `@refusal`. Where nothing permits, every
permit that was within reach says its `@otherwise`: within reach means that its action, its resource and its kind of
principal match. What no policy says stays unsaid.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from remit.model.decision import DeterminingPolicy
from remit.model.operation import INSTALLATION, Resource
from remit.model.reasons import Reason
from remit.policy.book import Book
from remit.policy.engine import Answer, Hearing
from remit.policy.facts import Question

_MOST_SENTENCES = 3  # a refusal is read by people, and travels in the header `grpc-message`


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused question. `forbids`: those that fired; `near`: the permits within reach when none fired."""

    question: Question
    forbids: tuple[DeterminingPolicy, ...]
    near: tuple[DeterminingPolicy, ...]

    @property
    def reason(self) -> Reason:
        """Whether a policy forbids, or merely none permits."""
        return Reason.POLICY_FORBIDS if self.forbids else Reason.NO_POLICY_PERMITS

    @property
    def challenges(self) -> tuple[str, ...]:
        """The authentication contexts that the policies at hand ask for."""
        return _distinct(policy.annotation("step_up") for policy in self.forbids + self.near)

    @property
    def detail(self) -> str:
        """What was refused and which condition failed, in words written for callers."""
        sentences = _distinct(policy.annotation("refusal") for policy in self.forbids)
        sentences += _distinct(policy.annotation("otherwise") for policy in self.near)
        said = "; ".join(sentences[:_MOST_SENTENCES]) or "nothing here permits it to this identity"
        return f"`{self.question.operation.action.id}` on {describe(self.question.resource)}: {said}"

    @property
    def hint(self) -> str:
        """What the caller can do about it, as the policies advise."""
        advice = _distinct(policy.annotation("advice") for policy in self.forbids + self.near)
        return "; ".join(advice[:_MOST_SENTENCES])


def refusals(book: Book, hearing: Hearing, answers: tuple[Answer, ...]) -> tuple[Refusal, ...]:
    """The refused questions, in the order of the request; raises `EvaluationFailed`."""
    refused = [pair for pair in zip(hearing.facts.questions, answers, strict=True) if not pair[1].allowed]
    return tuple(
        Refusal(
            question, book.named(answer.policies), () if answer.policies else _within_reach(book, hearing, question)
        )
        for question, answer in refused
    )


def _within_reach(book: Book, hearing: Hearing, question: Question) -> tuple[DeterminingPolicy, ...]:
    return () if book.reachable is None else book.named(hearing.concerning(book.reachable, question))


def describe(resource: Resource) -> str:
    """A resource as its caller knows it: its kind and the last part of its name."""
    if resource == INSTALLATION:
        return "this installation"
    return f"{_words(resource.type)} `{resource.name.rpartition('/')[2]}`"


@cache  # of the schema's types alone: what belongs to none is refused before
def _words(kind: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind).strip()


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))
