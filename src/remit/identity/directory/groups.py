"""The groups of somebody whose token does not hold them: asked of the directory by `(tid, oid)`.

Never at the address that the token's `_claim_sources` names: that host is retired, and a token's word about where to
ask is a stranger's. People: `getMemberObjects` with `securityEnabledOnly`, which Graph takes for people only;
workloads: `getMemberGroups` without it, so that roles stay out of the groups. Both are transitive, and give at most
11,000 ids. Source: learn.microsoft.com/graph/api/directoryobject-getmemberobjects, .../directoryobject-getmembergroups.

A membership is fresh for `FRESH` seconds. When the directory then fails to answer, the last one serves until it is
`STALE` seconds old; `Membership.at`, and with it the decision, says how old it is. Older, or never read: incomplete.
An answer that says no (the account is gone, there are too many groups) ends the old membership at once.
"""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass

from remit.identity.directory.graph import Failing, Graph, GraphFailed
from remit.identity.ports import Membership
from remit.identity.tokens.claims import is_guid
from remit.model.errors import Refused
from remit.model.identity import Kind, Principal
from remit.model.reasons import Reason

FRESH = 300  # seconds: a new membership works after this at the latest
STALE = 900  # seconds: how long Remit goes on with groups while the directory is away
PATIENCE = 0.3  # seconds that a caller waits when the last membership may serve: what follows has to be in time too
FIRST = 0.6  # seconds, when none may: the gateway gives a decision less than one, and is told before to ask again
RETRY = 5  # seconds between two questions about one principal while the directory fails
SIZE = 10_000  # principals
LIMIT = 20_000  # groups of one principal; Graph itself gives at most 11,000 at once

_DEFINITE = frozenset({Failing.NOT_FOUND, Failing.TOO_MUCH})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """The last membership, and when the directory last failed to give a newer one; epoch seconds."""

    membership: Membership
    failed_at: int = 0


class DirectoryGroups:
    """Implements `ports.GroupSource` for the tenant that `graph` is for."""

    def __init__(
        self,
        graph: Graph,
        *,
        fresh: int = FRESH,
        stale: int = STALE,
        size: int = SIZE,
        limit: int = LIMIT,
        patience: float = PATIENCE,
        first: float = FIRST,
    ) -> None:
        self._graph = graph
        self._patience = patience
        self._first = first
        self._fresh = fresh
        self._stale = stale
        self._size = size
        self._limit = limit
        self._known: OrderedDict[Principal, _Known] = OrderedDict()
        self._asking: dict[Principal, asyncio.Task[Membership]] = {}

    async def of(self, principal: Principal, now: int) -> Membership:
        """As `GroupSource.of`. Many who ask about one principal at once cost one question."""
        # 1. this tenant's, by an object id: nothing else ever stands in the address that is asked
        if principal.tenant != self._graph.tenant or not is_guid(principal.subject):
            raise _incomplete("the directory of this tenant cannot be asked")
        # 2. read a moment ago
        known = self._known.get(principal)
        if known and 0 <= now - known.membership.at < self._fresh:
            return known.membership
        # 3. the directory did not answer a moment ago
        if known and 0 <= now - known.failed_at < RETRY:
            return self._last(principal, now)
        # 4. ask, or wait for whoever asks already
        try:
            async with asyncio.timeout(self._patience if self._may_serve(known, now) else self._first):
                return await self._ask(principal, now)
        except TimeoutError:  # the question goes on, so that whoever tries again soon finds its answer
            return self._last(principal, now)
        except GraphFailed as failed:
            if failed.failing in _DEFINITE:
                self._known.pop(principal, None)
                raise _incomplete(failed.message) from failed
            log.warning("groups of %s not read: %s", principal.key, failed.message)
            return self._last(principal, now, failed)

    async def _ask(self, principal: Principal, now: int) -> Membership:
        task = self._asking.get(principal)
        if task is None:
            task = asyncio.create_task(self._read(principal, now))
            self._asking[principal] = task
            task.add_done_callback(lambda done: self._done(principal, done))
        # one who gives up must not end it for the others
        return await asyncio.shield(task)

    def _done(self, principal: Principal, task: asyncio.Task[Membership]) -> None:
        del self._asking[principal]
        if not task.cancelled():
            task.exception()  # seen, even when everybody who waited has gone

    async def _read(self, principal: Principal, now: int) -> Membership:
        if principal.kind is Kind.PERSON:
            path, body = f"/v1.0/users/{principal.subject}/getMemberObjects", {"securityEnabledOnly": True}
        else:
            path, body = f"/v1.0/servicePrincipals/{principal.subject}/getMemberGroups", {"securityEnabledOnly": False}
        groups = (await self._graph.collect(path, body=body, limit=self._limit)).items
        if not all(map(is_guid, groups)):
            raise GraphFailed(Failing.UNREADABLE, "gave groups that are no object ids")
        membership = Membership(frozenset(map(str, groups)), now)
        self._keep(principal, _Known(membership))
        return membership

    def _keep(self, principal: Principal, known: _Known) -> None:
        self._known[principal] = known
        self._known.move_to_end(principal)
        if len(self._known) > self._size:
            self._known.popitem(last=False)

    def _may_serve(self, known: _Known | None, now: int) -> bool:
        return known is not None and 0 <= now - known.membership.at <= self._stale

    def _last(self, principal: Principal, now: int, failed: GraphFailed | None = None) -> Membership:
        """The membership that was read last, while it may serve; raises `Refused`."""
        known = self._known.get(principal)
        if known is None or not self._may_serve(known, now):
            words = failed.message if failed else "Microsoft Graph did not answer in time"
            raise _incomplete(words, failed.hint if failed else "try again soon") from failed
        if failed:
            self._keep(principal, _Known(known.membership, now))
        return known.membership


def _incomplete(words: str, hint: str = "") -> Refused:
    return Refused(Reason.IDENTITY_INCOMPLETE, f"{Reason.IDENTITY_INCOMPLETE.sentence}: {words}", hint=hint)
