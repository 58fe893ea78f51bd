"""May they: `access.ports.Judge`, filled by Cedar.

Every operation of a request is asked of every resource that it touches, and all must be permitted; what obligations
demand of a permit must be met. A challenge, a newer sign-in or a grant is proposed only when it would permit the whole
request, which the engine itself confirms: nobody fetches one to be refused then for what was wrong all along.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

from remit.model.decision import Circumstances, Verdict
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.identity import Identity
from remit.model.operation import Group, Request
from remit.model.reasons import Reason
from remit.policy.approval import sought
from remit.policy.book import Book, load, made
from remit.policy.engine import EvaluationFailed, Hearing
from remit.policy.facts import gather
from remit.policy.refusals import Refusal
from remit.policy.settings import PolicySettings
from remit.policy.source import read_folder
from remit.policy.weigh import (
    Trouble,
    Weighed,
    challenges,
    completable,
    relied_on,
    signed_in_again,
    too_old,
    troubles,
    weigh,
)

_log = logging.getLogger(__name__)


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

    @property
    def book(self) -> Book:
        """The set that decides now."""
        return self._book

    def read(self) -> Book:
        """The folder's present content, which decides nothing yet; raises `SettingsInvalid` with every problem."""
        folder = read_folder(self._settings.folder)
        if not folder.problems and folder.version == self._book.version:
            return self._book
        return made(folder, self._settings, self._estate, self._actions)

    def take(self, book: Book) -> str:
        """Decides with this set from now on, and returns its version."""
        self._book = book
        return book.version

    def decide(self, identity: Identity, request: Request, circumstances: Circumstances) -> Verdict:
        """The verdict on all operations together; a failure of policy or engine is a deny."""
        book = self._book  # read once: a reload meanwhile does not mix two sets
        return decide_by(book, self._estate, self._actions, identity, request, circumstances)


def decide_by(  # noqa: PLR0917 - what a judge holds, then what it is asked, in its own order
    book: Book,
    estate: Estate,
    actions: Mapping[str, Group],
    identity: Identity,
    request: Request,
    circumstances: Circumstances,
) -> Verdict:
    """The verdict by one policy set, whichever decides now; a failure of policy or engine is a deny."""
    try:
        facts = gather(identity, request, circumstances, estate, actions)
        return _verdict(book, book.ground.hear(facts))
    except Refused as refusal:
        return _refused(book, refusal.reason, refusal.message)
    except EvaluationFailed as failure:
        # the engine's words may tell of policies: they are for the operator, not for the caller
        _log.error("policy set %s failed to evaluate %s: %s", book.version, request.first.action.id, failure)
        return _refused(book, Reason.POLICY_ERROR, Reason.POLICY_ERROR.sentence)


def _verdict(book: Book, hearing: Hearing) -> Verdict:
    # 1 policies, and what they permit under the obligations, as things stand
    found = weigh(book, hearing)
    if found.clean:
        return _permitted(book, hearing, found)
    against = troubles(book, hearing, found)
    # 2 would one challenge alone permit everything
    asked = challenges(hearing.facts, against)
    left: tuple[Trouble, ...] = ()
    for challenge in asked:
        after = weigh(book, hearing, frozenset({challenge}))
        if after.clean and completable(hearing.facts):
            first = replace(_denied(book, found, against, against[0]), hint="", challenge=challenge)
            return _offered(first, Reason.STEP_UP_REQUIRED, against)
        left = () if after.clean else troubles(book, hearing, after)
    # 3 would a newer sign-in alone
    not_before = too_old(against)
    if not_before and weigh(book, signed_in_again(hearing)).clean:
        first = replace(_denied(book, found, against, against[0]), not_before=not_before)
        return _offered(first, Reason.SIGN_IN_AGAIN, against)
    # 4 what would be left when every challenge were completed, if anything is
    if len(asked) > 1:
        after = weigh(book, hearing, frozenset(asked))
        left = () if after.clean else troubles(book, hearing, after)
    denied = _denied(book, found, against, (left or against)[0])
    # 5 would a grant permit it, alone or followed by a sign-in that can be had
    grant = sought(book, hearing, found, asked)
    if grant is None:
        return denied
    first = replace(denied, hint=grant.hint, wanted=grant.wanted, obligations=grant.obligations)
    return _offered(first, Reason.APPROVAL_REQUIRED, against)


def _permitted(book: Book, hearing: Hearing, found: Weighed) -> Verdict:
    return Verdict(
        outcome=Reason.POLICY_PERMITS.outcome,
        reasons=(Reason.POLICY_PERMITS,),
        policies=book.named(found.policies),
        policy_version=book.version,
        obligations=found.obligations,
        grants=_rests_on(book, hearing, found),
    )


def _rests_on(book: Book, hearing: Hearing, found: Weighed) -> tuple[str, ...]:
    """The grants without which it would not be permitted: all that were told, when it is not without any."""
    told = relied_on(hearing.facts, found.obligations)
    if not told:
        return ()
    bare = replace(hearing.facts, circumstances=replace(hearing.facts.circumstances, grants=()))
    return () if weigh(book, replace(hearing, facts=bare)).clean else told


def _offered(verdict: Verdict, reason: Reason, against: tuple[Trouble, ...]) -> Verdict:
    """A refusal that the caller can do something about: what it takes comes first, then what the policies said."""
    said = [trouble.reason for trouble in against[:1] if isinstance(trouble, Refusal)]
    return replace(verdict, outcome=reason.outcome, reasons=(reason, *said))


def _denied(book: Book, found: Weighed, against: tuple[Trouble, ...], told: Trouble) -> Verdict:
    reasons = dict.fromkeys((told.reason, against[0].reason))
    forbids = (policy for trouble in against if isinstance(trouble, Refusal) for policy in trouble.forbids)
    return Verdict(
        outcome=told.reason.outcome,
        reasons=tuple(reasons),
        policies=tuple(dict.fromkeys(forbids)),
        policy_version=book.version,
        detail=told.detail,
        hint=told.hint,
        obligations=found.obligations,
    )


def _refused(book: Book, reason: Reason, detail: str) -> Verdict:
    return Verdict(outcome=reason.outcome, reasons=(reason,), policy_version=book.version, detail=detail)
