"""May they: `access.ports.Judge`, filled by Cedar.

Every operation of a request is asked of every resource that it touches, and all must be permitted. A challenge is
offered only when completing it alone would permit the whole request, which the engine itself confirms: otherwise a
caller would sign in again and be refused for what was wrong all along.
"""

import logging
import re
from collections.abc import Mapping

from remit.model.decision import Circumstances, DeterminingPolicy, Verdict
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.identity import Identity, Kind
from remit.model.operation import Group, Request
from remit.model.reasons import Reason
from remit.policy.book import Book, load
from remit.policy.engine import EvaluationFailed, Hearing
from remit.policy.explain import Refusal, refusals
from remit.policy.facts import Facts, gather
from remit.policy.settings import PolicySettings

_log = logging.getLogger(__name__)
_TENANT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # of Entra; no other issuer's name looks like it


class CedarJudge:
    """Decides requests with the policies of a folder.

    `actions`: every action id of the catalogue with its group. The constructor raises `SettingsInvalid` when the
    policies are not good: without policies there is no judge.
    """

    def __init__(self, settings: PolicySettings, estate: Estate, actions: Mapping[str, Group]) -> None:
        self._settings = settings
        self._estate = estate
        self._actions = dict(actions)
        self._book = load(settings, estate, self._actions)

    @property
    def policy_version(self) -> str:
        """The version of the set that decides now: 16 hex digits over file names and contents."""
        return self._book.version

    def reload(self) -> str:
        """Takes the folder's present content, and returns its version.

        Raises `SettingsInvalid` with every problem, and then goes on with the set that it had.
        """
        self._book = load(self._settings, self._estate, self._actions)
        return self._book.version

    def decide(self, identity: Identity, request: Request, circumstances: Circumstances) -> Verdict:
        """The verdict on all operations together; a failure of policy or engine is a deny."""
        book = self._book  # read once: a reload meanwhile does not mix two sets
        try:
            facts = gather(identity, request, circumstances, self._estate, self._actions)
            return _verdict(book, book.ground.hear(facts))
        except Refused as refusal:
            return _refused(book, refusal.reason, refusal.message)
        except EvaluationFailed as failure:
            # the engine's words may tell of policies: they are for the operator, not for the caller
            _log.error("policy set %s failed to evaluate %s: %s", book.version, request.first.action.id, failure)
            return _refused(book, Reason.POLICY_ERROR, Reason.POLICY_ERROR.sentence)


def _verdict(book: Book, hearing: Hearing) -> Verdict:
    # 1 ask the engine every question as things stand
    answers = hearing.ask(book.engine_set, hearing.facts.questions)
    refused = refusals(book, hearing, answers)
    # 2 all are permitted
    if not refused:
        return Verdict(
            outcome=Reason.POLICY_PERMITS.outcome,
            reasons=(Reason.POLICY_PERMITS,),
            policies=book.named(frozenset[str]().union(*(answer.policies for answer in answers))),
            policy_version=book.version,
        )
    # 3 would one challenge alone permit everything
    challenges = _challenges(hearing.facts, refused)
    left: tuple[Refusal, ...] = ()
    for challenge in challenges:
        left = _with(book, hearing, challenge)
        if not left and _completable(hearing.facts):
            return _stepped_up(book, refused, challenge)
    # 4 refuse for what would be left when every challenge were completed, if anything is
    if len(challenges) > 1:
        left = _with(book, hearing, *challenges)
    return _denied(book, refused, (left or refused)[0])


def _with(book: Book, hearing: Hearing, *completed: str) -> tuple[Refusal, ...]:
    """What is refused when these authentication contexts are completed, decided by the engine."""
    answers = hearing.ask(book.engine_set, hearing.facts.questions, frozenset(completed))
    return refusals(book, hearing, answers)


def _challenges(facts: Facts, refused: tuple[Refusal, ...]) -> tuple[str, ...]:
    """The challenges that policies ask for and this caller has not completed: a workload cannot sign in again."""
    if facts.identity.principal.kind is not Kind.PERSON:
        return ()
    asked = dict.fromkeys(challenge for refusal in refused for challenge in refusal.challenges)
    return tuple(challenge for challenge in asked if challenge not in facts.identity.authentication.contexts)


def _completable(facts: Facts) -> bool:
    """Whether the caller can be asked for a context: they are Entra's, and nobody else's people can complete one."""
    return _TENANT.fullmatch(facts.identity.principal.tenant) is not None


def _stepped_up(book: Book, refused: tuple[Refusal, ...], challenge: str) -> Verdict:
    first = refused[0]
    return Verdict(
        outcome=Reason.STEP_UP_REQUIRED.outcome,
        reasons=(Reason.STEP_UP_REQUIRED, first.reason),
        policies=_forbids(refused),
        policy_version=book.version,
        challenge=challenge,
        detail=first.detail,
    )


def _denied(book: Book, refused: tuple[Refusal, ...], told: Refusal) -> Verdict:
    reasons = dict.fromkeys((told.reason, refused[0].reason))
    return Verdict(
        outcome=told.reason.outcome,
        reasons=tuple(reasons),
        policies=_forbids(refused),
        policy_version=book.version,
        detail=told.detail,
        hint=told.hint,
    )


def _refused(book: Book, reason: Reason, detail: str) -> Verdict:
    return Verdict(outcome=reason.outcome, reasons=(reason,), policy_version=book.version, detail=detail)


def _forbids(refused: tuple[Refusal, ...]) -> tuple[DeterminingPolicy, ...]:
    return tuple(dict.fromkeys(policy for refusal in refused for policy in refusal.forbids))
