"""Why, and what would change it: `access.ports.Explainer`, filled by Cedar.

A past decision is taken again by the set that took it, and every policy that decided, or that was within reach, is told
with all its parts and what each of them saw. Leaves out how policy sets are kept (`book_of`), what of this a caller may
read, and the ways that lead to a group (the stories).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from remit.model.decision import Circumstances
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.explanation import Explanation, PolicyTold, QuestionTold
from remit.model.identity import Identity
from remit.model.operation import Group, Request
from remit.model.outcome import Outcome
from remit.policy.book import Book
from remit.policy.engine import Answer, EvaluationFailed, Hearing
from remit.policy.facts import Question
from remit.policy.judge import decide_by
from remit.policy.why.fixes import Situation
from remit.policy.why.openings import Court, lacking, matches
from remit.policy.why.probes import Probed, Probes
from remit.policy.why.repairs import repairs

_NEAR = 10  # policies that came near, of each question: those with the fewest failing parts
_QUESTIONS = 50  # that are told: a request can touch a thousand resources
_KEPT = 4  # versions whose probes are kept: an installation explains the newest of its decisions


class Explainer:
    """Explains decisions by the policies of their own version. Safe to share between threads.

    `book_of`: the checked policy set of a version, `None` when it is not kept; `actions`: every action id of the
    catalogue with its group.
    """

    def __init__(self, book_of: Callable[[str], Book | None], estate: Estate, actions: Mapping[str, Group]) -> None:
        self._book_of = book_of
        self._estate = estate
        self._actions = dict(actions)
        self._courts: OrderedDict[str, Court] = OrderedDict()
        self._lock = threading.Lock()

    def explain(
        self, identity: Identity, request: Request, circumstances: Circumstances, version: str
    ) -> Explanation | None:
        """What the policies of a version say; `None` when that version is not kept. Blocks."""
        court = self._court(version)
        if court is None:
            return None
        verdict = decide_by(court.book, self._estate, self._actions, identity, request, circumstances)
        situation = Situation(identity, request, circumstances)
        permitted = verdict.outcome is Outcome.PERMIT
        return Explanation(verdict, _questions(court, situation), () if permitted else repairs(court, situation))

    def _court(self, version: str) -> Court | None:
        with self._lock:
            if version in self._courts:
                self._courts.move_to_end(version)
                return self._courts[version]
        book = self._book_of(version)
        if book is None:
            return None
        court = Court(book, Probes(book.engine_set.whole), self._estate, self._actions)
        with self._lock:
            self._courts[version] = court
            while len(self._courts) > _KEPT:
                self._courts.popitem(last=False)
        return court


def _questions(court: Court, situation: Situation) -> tuple[QuestionTold, ...]:
    """The questions with their policies, the refused before the others if they are many; none when none was asked."""
    try:
        hearing = court.hear(situation)
    except (Refused, EvaluationFailed):
        return ()
    answered = [(question, _ask(court, hearing, question)) for question in hearing.facts.questions]
    refused = [pair for pair in answered if pair[1] is None or not pair[1].allowed][:_QUESTIONS]
    others = [pair for pair in answered if pair not in refused][: _QUESTIONS - len(refused)]
    return tuple(_told(court, hearing, *pair) for pair in answered if pair in refused or pair in others)


def _ask(court: Court, hearing: Hearing, question: Question) -> Answer | None:
    """What decided a question, `None` where policies could not be evaluated."""
    try:
        (answer,) = hearing.ask(court.book.engine_set, (question,))
    except EvaluationFailed:
        return None
    return answer


def _told(court: Court, hearing: Hearing, question: Question, answer: Answer | None) -> QuestionTold:
    operation, resource, book = question.operation, question.resource, court.book
    try:
        probed = court.probes.probe(hearing, question)
        near = () if answer and answer.allowed else _near(court, hearing, question, probed)
    except EvaluationFailed:
        return QuestionTold(operation, resource, allowed=False, policies=())
    decided = answer.policies if answer else _failing(court, probed)
    order = dict.fromkeys((*(name for name in book.policies if name in decided), *near))
    parts = court.probes.words(probed, hearing, question, order)
    policies = tuple(PolicyTold(book.policies[name], name in decided, parts[name]) for name in order)
    return QuestionTold(operation, resource, answer is not None and answer.allowed, policies)


def _failing(court: Court, probed: Probed) -> frozenset[str]:
    """The policies that could not be evaluated: it is they that the outcome rests on."""
    return frozenset(name for name, tree in court.probes.trees.items() if matches(tree, probed) is None)


def _near(court: Court, hearing: Hearing, question: Question, probed: Probed) -> Iterable[str]:
    """The permits within reach, those first that lack the least."""
    if court.book.reachable is None:
        return ()
    reached = hearing.concerning(court.book.reachable, question)
    found = (name for name in court.book.policies if name in reached)
    return sorted(found, key=lambda name: lacking(court.probes.trees[name], probed))[:_NEAR]
