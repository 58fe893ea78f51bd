"""Would a grant permit it? Asked of the engine with a grant that does not exist, before anybody is sent to ask for it.

The grant is the one that the request itself is named by: its action, and the first resource of that. One for more, or
for a companion of the request, is never proposed.
"""

import shlex
from dataclasses import dataclass, replace

from remit.model.grant import Grant, Wanted
from remit.model.obligation import Obligations
from remit.model.operation import Resource
from remit.policy.book import Book
from remit.policy.engine import Hearing
from remit.policy.facts import ACCOUNT_PREFIX, BUCKET_PREFIX
from remit.policy.weigh import Weighed, challenges, completable, signed_in_again, too_old, troubles, weigh

_LASTING = 3600  # seconds that the grant is tried with, as the hint says
_VERTEX = "//aiplatform.googleapis.com/"


@dataclass(frozen=True, slots=True)
class Sought:
    """What would flip the decision if it were granted. `obligations`: what would be demanded then."""

    wanted: Wanted
    obligations: Obligations

    @property
    def hint(self) -> str:
        """The command that asks for it."""
        resource = shlex.quote(short(self.wanted.resource))  # names come from the caller's request, and are pasted
        return f'remit request {self.wanted.action} {resource} --for 1h --because "…"'


def sought(book: Book, hearing: Hearing, before: Weighed, helpful: tuple[str, ...]) -> Sought | None:
    """The grant that would permit the request, alone or before a sign-in that can be had; raises `EvaluationFailed`.

    `before`: the request as things stand; `helpful`: the contexts that would help, of which none alone permits it.
    """
    if not before.allowed and not helpful and not book.together.looked_at(hearing, "grant"):
        return None  # what decides would say the same
    facts = hearing.facts
    first = facts.questions[0].operation
    wanted = Wanted(facts.identity.principal.key, first.action.id, first.resources[0], 0, "")
    # 1 the grant alone, or where the sign-in is too old with a newer one
    found = _supposed(book, hearing, wanted)
    if too_old(found.unmet):
        hearing = signed_in_again(hearing)
        found = _supposed(book, hearing, wanted)
    if found.clean:
        return _sought(book, hearing, wanted, found)
    # 2 the grant, and then a stronger sign-in
    asked = challenges(facts, troubles(book, hearing, found)) if completable(facts) else ()
    for challenge in asked:
        completed = frozenset({challenge})
        after = _supposed(book, hearing, wanted, completed)
        if after.clean:
            return _sought(book, hearing, wanted, after, completed)
    return None


def _sought(
    book: Book, hearing: Hearing, wanted: Wanted, found: Weighed, completed: frozenset[str] = frozenset()
) -> Sought | None:
    """The grant, unless the sign-in that goes with it would do without."""
    if weigh(book, hearing, completed).clean:
        return None
    return Sought(wanted, found.obligations)


def _supposed(book: Book, hearing: Hearing, wanted: Wanted, completed: frozenset[str] = frozenset()) -> Weighed:
    """The request with that granted, by as many people as are demanded then: each round demands more than the last."""
    approvals, now = 1, hearing.facts.circumstances.now
    while True:
        granted = Grant("supposed", replace(wanted, lasting=_LASTING), now, now + _LASTING, approvals)
        found = weigh(book, hearing, completed, granted)
        if found.obligations.approvals <= approvals:
            return found
        approvals = found.obligations.approvals


def short(resource: Resource) -> str:
    """A resource as its caller would write it on a command line."""
    if resource.type == "Project":
        return resource.project
    if resource.type == "Bucket":
        return f"gs://{resource.name.removeprefix(BUCKET_PREFIX)}"
    if resource.type == "ServiceAccount":
        return resource.name.removeprefix(ACCOUNT_PREFIX)
    if resource.type == "Service":
        return resource.name.rpartition("/")[2]
    return resource.name.removeprefix(_VERTEX)
