"""May they, and who else could: questions about the policy, put beforehand.

    a  who     whoever asks about others needs `remit.access.query` on the resource; about oneself anybody may ask
    b  what    words become an action and a resource
    c0         of another person: what the directory knows, and what their latest sign-in on record said; the rest is
               assumed, and told as such
    c  may     the same judge that decides requests, with the grants that are in force

Nothing comes of it but the answer: no credential, no lease. Leaves out why (`explain`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from remit.access.asking import Caller, asked, drafted, known
from remit.access.assumed import PLAIN, RUN, Assumed, overruling, supposing, unsaid
from remit.access.decide import Rooms, refusal, surroundings, unanswered
from remit.access.people import LIFE, find, of
from remit.access.ports import Directory, Waiting, Words
from remit.model.decision import Circumstances, Decision, Verdict, relied_on
from remit.model.errors import Refused
from remit.model.grant import Grant
from remit.model.identity import Identity, Kind
from remit.model.inventory import Account, Inventory
from remit.model.job import ASKED_OUTSIDE, job, parted
from remit.model.operation import (
    ACCESS_QUERY,
    GRANTS_APPROVE,
    INSTALLATION,
    Action,
    Asked,
    Operation,
    Request,
    Resource,
)
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.snapshot import Past

_ACT_AS = "iam.serviceAccounts.actAs"
_CHUNK = 10  # people decided about before others get their turn: 5 ms
_WIRE = {"can": ("POST", "/v1/can"), "who": ("GET", "/v1/who")}
_OVER = frozenset({Reason.REVOKED, Reason.SIGN_IN_AGAIN})


class Policies(Protocol):
    """policy: what the policies that decide now name."""

    def groups(self, policies: frozenset[str]) -> frozenset[str]:
        """Ids of the groups that the policies with these ids name."""

    def jobs(self, policies: frozenset[str] | None = None) -> frozenset[str]:
        """The jobs (`model.job.job`) that the policies with these ids name, or all policies."""


Lately = Callable[[], Mapping[str, Identity]]
"""What the latest decisions on record knew of principals, by `Principal.key`, groups and roles included; blocks."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A question as it is put. `who`: a principal's key, an object id or a name, empty for oneself."""

    action: str
    resource: str
    who: str = ""
    assumed: Assumed = PLAIN


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody who was asked about, and what the policies say.

    `ways`: names of the groups, or the run, on each way; `grants`: that a permit rests on, as of the run that is
    supposed where they wait for one of its name.
    """

    identity: Identity
    verdict: Verdict
    ways: tuple[tuple[str, ...], ...] = ()
    grants: tuple[Grant, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a question. Nothing was told unless the decision is a permit.

    `full`: whether policies may be named; `as_of`: when the directory was read, epoch seconds, 0 when it was not asked;
    `told`: what was assumed, by name; `within`: the prefix in the resource below which was asked, empty for all of it.
    """

    decision: Decision
    action: Action | None = None
    resource: Resource | None = None
    subjects: tuple[Subject, ...] = ()
    full: bool = False
    as_of: int = 0
    told: tuple[tuple[str, Any], ...] = ()
    within: str = ""


class Who:
    """Both questions; neither raises, since whatever goes wrong is a refusal with a reason."""

    def __init__(  # noqa: PLR0917 - one for each part of the house
        self, rooms: Rooms, words: Words, directory: Directory, policies: Policies, lately: Lately, waiting: Waiting
    ) -> None:
        self._rooms = rooms
        self._words = words
        self._directory = directory
        self._policies = policies
        self._lately = lately
        self._waiting = waiting

    async def can(self, caller: Caller, asking: Asking) -> Answer:
        """Whether somebody may do something."""
        return await self._tell(caller, asking, "can")

    async def who(self, caller: Caller, action: str, resource: str) -> Answer:
        """Everybody who may do something, at once or after a step-up or a grant."""
        return await self._tell(caller, Asking(action, resource), "who")

    async def approvers(self, past: Past) -> tuple[str, ...]:
        """Names of those who may approve a grant of what a past decision refused; never whoever asked for it."""
        taken = past.taken_on()
        first, now = taken.request.first, self._rooms.clock() // 1_000_000
        wanted = Asked(first.action.id, LIFE, past.principal)
        request = Request((Operation(GRANTS_APPROVE, (first.resources[0],), asked=wanted),))
        inventory = await asyncio.to_thread(self._directory.inventory)
        people = self._each(request, inventory, Circumstances(now=now), granted=False)
        found = [(account, verdict) async for account, _, verdict, _ in people]
        return tuple(
            sorted(
                account.name
                for account, verdict in found
                if account.principal.kind is Kind.PERSON
                and account.principal.key != past.principal
                and verdict.outcome in {Outcome.PERMIT, Outcome.STEP_UP}
            )
        )

    async def _tell(self, caller: Caller, asking: Asking, question: str) -> Answer:
        placeholder = Request((Operation(ACCESS_QUERY, (INSTALLATION,)),))
        method, path = _WIRE[question]
        decision = draft = drafted(self._rooms, caller, placeholder, method=method, path=path)
        try:
            identity = await known(self._rooms, caller)  # whoever is nobody learns nothing of which names are known
            decision = replace(draft, id="")  # what is refused from here on is on no record, until it is put to policy
            asking.assumed.check()
            if question == "can" and not asking.who:
                return await self._myself(identity, asking, decision)
            decision = await asked(self._rooms, caller, self._touched(asking), method=method, path=path)
            if not decision.permitted:
                return Answer(decision)
            return await (self._other if question == "can" else self._everybody)(asking, decision)
        except Refused as refused:
            return Answer(replace(decision, verdict=refusal(refused)))
        except Exception as error:  # noqa: BLE001 - fail closed: what no step foresaw is a refusal
            return Answer(unanswered(decision if decision.id else draft, error))

    async def _myself(self, identity: Identity, asking: Asking, draft: Decision) -> Answer:
        """About oneself, as the token and the address say: the caller's own view, and nothing is recorded of it.

        What may be supposed is what the caller could do something about, as in `explain`: never a lesser risk.
        """
        if asking.assumed.risk:
            hint = "who may ask about others can name you, and suppose it"
            raise Refused(Reason.REQUEST_MALFORMED, "how risky your own sign-in is cannot be supposed", hint=hint)
        action, resource, request = self._request(asking)
        seen = replace(draft.circumstances, job=asking.assumed.job)
        identity, circumstances = self._supposed(identity, seen, asking.assumed)
        circumstances = await self._beginning(identity, circumstances)
        verdict = self._rooms.judge.decide(identity, request, circumstances)
        decision = replace(draft, identity=identity, verdict=_ANSWERED)
        subject = Subject(identity, verdict, grants=relied_on(verdict, circumstances))
        told = tuple(asking.assumed.told)
        return Answer(decision, action, resource, (subject,), told=told, within=request.first.within)

    async def _other(self, asking: Asking, decision: Decision) -> Answer:
        action, resource, request = self._request(asking)
        inventory = await asyncio.to_thread(self._directory.inventory)
        lately = await asyncio.to_thread(self._lately)
        account, identity = find(asking.who, inventory, lately, decision.circumstances.now)
        plain = _plain(decision.circumstances, asking.assumed.job)
        identity, circumstances = self._supposed(identity, plain, asking.assumed)
        circumstances = await self._beginning(identity, circumstances)
        verdict = self._judged(account, identity, request, circumstances)
        ways = self._ways(account, verdict, inventory) + self._way_in(identity, verdict, circumstances.job_name)
        subject = Subject(identity, verdict, ways, relied_on(verdict, circumstances))
        told = tuple({**dict(asking.assumed.told), **dict(unsaid(identity, circumstances))}.items())
        within = request.first.within
        return Answer(decision, action, resource, (subject,), full=True, as_of=inventory.at, told=told, within=within)

    async def _everybody(self, asking: Asking, decision: Decision) -> Answer:
        action, resource, request = self._request(asking)
        inventory = await asyncio.to_thread(self._directory.inventory)
        plain = _plain(decision.circumstances)
        subjects = [
            Subject(identity, verdict, self._ways(account, verdict, inventory) + self._way_in(identity, verdict, run))
            async for account, identity, verdict, run in self._each(request, inventory, plain)
            if verdict.outcome is not Outcome.DENY
        ]
        subjects.sort(key=lambda one: (_ORDER.index(one.verdict.outcome), one.identity.display))
        within = request.first.within
        return Answer(decision, action, resource, tuple(subjects), full=True, as_of=inventory.at, within=within)

    async def _each(
        self, request: Request, inventory: Inventory, plain: Circumstances, *, granted: bool = True
    ) -> AsyncIterator[tuple[Account, Identity, Verdict, str]]:
        """Every account with its verdict, and the run of theirs that they need for it, by its name: empty for none.

        `granted`: whether what was granted just in time counts.
        """
        lately = await asyncio.to_thread(self._lately)
        runs = self._runs(request)
        for number, account in enumerate(inventory.accounts):
            identity, circumstances = self._supposed(of(account, lately, plain.now), plain, PLAIN)
            circumstances = circumstances if granted else replace(circumstances, grants=())
            found = self._judged(account, identity, request, circumstances), ""
            for name in runs.get(account.principal.key, ()):
                within = overruling(circumstances, Assumed(job_name=name))
                found = min(found, (self._judged(account, identity, request, within), name), key=_nearness)
            yield account, identity, *found
            if number % _CHUNK == 0:
                await asyncio.sleep(0)

    def _supposed(
        self, identity: Identity, circumstances: Circumstances, assumed: Assumed
    ) -> tuple[Identity, Circumstances]:
        """Step c0: the surroundings of the address that is supposed, then what is supposed in their place."""
        circumstances = replace(circumstances, peer=assumed.peer or circumstances.peer)
        return supposing(identity, assumed), overruling(surroundings(self._rooms, identity, circumstances), assumed)

    async def _beginning(self, identity: Identity, circumstances: Circumstances) -> Circumstances:
        """Step c0, of a run that would begin now: what waits for one of its name would be its own."""
        if circumstances.job != RUN or not circumstances.job_name:
            return circumstances
        now = circumstances.now
        kept = await self._waiting.waiting(identity.principal.key, circumstances.job_name, now)
        begun = (replace(one.grant, since=now, until=now + one.wanted.lasting, job=RUN) for one in kept)
        return replace(circumstances, grants=(*circumstances.grants, *begun))

    def _judged(
        self, account: Account | None, identity: Identity, request: Request, circumstances: Circumstances
    ) -> Verdict:
        """Step c for somebody else, who may be gone; raises `Refused` when that cannot be told."""
        try:
            if account is not None and not account.enabled:
                raise Refused(Reason.REVOKED, "the account is disabled in the directory")  # noqa: TRY301 - one end
            self._rooms.revocations.check(identity, circumstances.job, circumstances.now)
        except Refused as refused:
            if refused.reason in _OVER:
                return refusal(refused)
            raise
        return self._rooms.judge.decide(identity, request, circumstances)

    def _runs(self, request: Request) -> Mapping[str, Sequence[str]]:
        """By principal, the names of runs of theirs that policies know: whoever begins one so is in it.

        None for what is asked of Remit itself, where nobody asks from within a run.
        """
        found: dict[str, list[str]] = {}
        if request.first.action.id not in ASKED_OUTSIDE:
            for each in sorted(self._policies.jobs()):
                owner, name = parted(each)
                found.setdefault(owner, []).append(name)
        return found

    def _way_in(self, identity: Identity, verdict: Verdict, run: str) -> tuple[tuple[str, ...], ...]:
        """The run by which somebody comes under the policies that decided."""
        named = self._policies.jobs(frozenset(policy.id for policy in verdict.policies))
        return ((f"run {run}",),) if job(identity.principal.key, run) in named else ()

    def _touched(self, asking: Asking) -> Request:
        """About all that an answer tells something of: the resource, and the account that the work would run as."""
        resource, within = self._words.part(asking.resource)
        about = [Operation(ACCESS_QUERY, (resource,), within=within)]
        if asking.assumed.acts_as:
            about.append(Operation(ACCESS_QUERY, (self._words.resource(asking.assumed.acts_as),)))
        return Request(tuple(dict.fromkeys(about)))

    def _request(self, asking: Asking) -> tuple[Action, Resource, Request]:
        """The operation, and beside it the account that it would run as.

        A whole action group stands for those of its members that no policy names: of the others each has its answer.
        """
        action, (resource, within) = self._words.action(asking.action), self._words.part(asking.resource)
        email = asking.assumed.acts_as
        operations: tuple[Operation, ...] = (Operation(action, (resource,), acts_as=email, within=within),)
        if email:
            operations += (Operation(self._words.action(_ACT_AS), (self._words.resource(email),)),)
        return action, resource, Request(operations)

    def _ways(self, account: Account | None, verdict: Verdict, inventory: Inventory) -> tuple[tuple[str, ...], ...]:
        """By which groups somebody comes under the policies that decided, each with the way to it."""
        if account is None:
            return ()
        groups = self._policies.groups(frozenset(policy.id for policy in verdict.policies)) & account.groups
        ways = (way for group in sorted(groups) for way in inventory.ways(account, group))
        return tuple(tuple(inventory.name(group) for group in way) for way in ways)


def _nearness(found: tuple[Verdict, str]) -> int:
    return _ORDER.index(found[0].outcome)


_ORDER = (Outcome.PERMIT, Outcome.STEP_UP, Outcome.NEEDS_APPROVAL, Outcome.DENY)
_ANSWERED = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,))


def _plain(circumstances: Circumstances, job: str = "") -> Circumstances:
    """Of somebody who is not asking: nothing speaks for or against the place."""
    return Circumstances(now=circumstances.now, epoch=circumstances.epoch, locations_known=True, job=job)
