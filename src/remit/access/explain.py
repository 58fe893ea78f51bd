"""Why a decision came out as it did, what would change it, who can change that, and how it is asked for.

    a  who     anybody may read of their own decisions what their caller was told, with what they can do themselves
    c  may     everything, and of others' decisions anything, needs `remit.decisions.explain` on what was asked for
    d  write   that question is a record like every other
    e  effect  the decision is taken again by the policies that took it, and its repairs by the engine before they are
               told; people are found who can bring each change about

What callers read discloses no policy. An unknown decision and somebody else's look the same to whoever may not ask:
both are then a question about the installation, in the answer and in the record that the answer names. Anybody may have
repairs looked for, which costs as much as hundreds of decisions: it is done one at a time, requests are decided beside.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from remit.access.asking import Caller, asked, drafted, known
from remit.access.decide import Rooms, refusal, unanswered
from remit.access.ports import Directory, Explainer
from remit.model.decision import Decision, Verdict
from remit.model.errors import Refused
from remit.model.explanation import Change, Explanation, Means, Repair
from remit.model.inventory import Inventory
from remit.model.job import job, parted
from remit.model.operation import DECISIONS_EXPLAIN, INSTALLATION, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.snapshot import FactsUnreadable, Past

OWN = frozenset({Means.STEP_UP, Means.GRANT, Means.SIGN_IN, Means.RUN})
"""What a caller can do something about, or could have seen beforehand: no policy is disclosed by naming it."""

_PATH = "/v1/explain"
_LOGIN = "remit login"
_GROUP = re.compile(r'\bGroup::"([^"]+)"')
_GONE = frozenset({Reason.RESOURCE_UNKNOWN, Reason.METHOD_UNKNOWN})
_NEARLY = frozenset({Outcome.PERMIT, Outcome.STEP_UP})
_FEW = 5  # people who are named for one change
_FOUND = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,))


@dataclass(frozen=True, slots=True)
class Remembered:
    """A decision of the record. `entry`: as it stands there, with what became known of it later.

    `past`: what it was taken on; `None` when it cannot be taken again, and `left` says why.
    """

    entry: Mapping[str, Any]
    past: Past | None
    left: str = ""


class Approvers(Protocol):
    """Who may approve a grant, by name; a story of its own."""

    async def __call__(self, past: Past) -> tuple[str, ...]:
        """The names, none when nobody may or that cannot be told."""


@dataclass(frozen=True, slots=True)
class Way:
    """How whoever asked came to be in a group that a policy names: names of the groups on the way, it itself last.

    Or in a job: `group` is the job then, and the way the run's name.
    """

    group: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explained:
    """What became of a question. `entry` is empty unless it is a permit.

    `full`: whether policies are in it; `left`: why it could not be taken again; `same`: whether that led to the
    recorded outcome.
    """

    decision: Decision
    entry: Mapping[str, Any]
    explanation: Explanation | None = None
    full: bool = False
    ways: tuple[Way, ...] = ()
    left: str = ""
    same: bool = True


class Explain:
    """The story; it never raises, since whatever goes wrong is a refusal with a reason.

    `find`: a decision by its id, `None` for an unknown one; blocks.
    """

    def __init__(
        self,
        rooms: Rooms,
        find: Callable[[str], Remembered | None],
        explainer: Explainer,
        directory: Directory,
        approvers: Approvers,
    ) -> None:
        self._rooms = rooms
        self._find = find
        self._explainer = explainer
        self._directory = directory
        self._approvers = approvers
        self._turn = asyncio.Semaphore(1)

    async def __call__(self, caller: Caller, decision: str, *, full: bool = False) -> Explained:
        """Explains one decision. `full`: with all policies, also of one's own."""
        placeholder = Request((Operation(DECISIONS_EXPLAIN, (INSTALLATION,)),))
        draft = drafted(self._rooms, caller, placeholder, method="GET", path=_PATH)
        try:
            identity = await known(self._rooms, caller)
            found = await asyncio.to_thread(self._find, decision)
            own = found is not None and found.entry.get("principal") == identity.principal.key
            if found is not None and own and not full:
                answered = replace(draft, identity=identity, verdict=_FOUND)
                return await self._told(answered, found, full=False)
            draft = ruling = await self._ruling(caller, found)
            if not ruling.permitted:
                return Explained(ruling, {})
            if found is None:
                return Explained(ruling, {}, left="no decision has this id")
            return await self._told(ruling, found, full=True)
        except Refused as refused:
            return Explained(replace(draft, verdict=refusal(refused)), {})
        except Exception as error:  # noqa: BLE001 - fail closed: what no step foresaw is a refusal
            return Explained(unanswered(draft, error), {})

    async def _ruling(self, caller: Caller, found: Remembered | None) -> Decision:
        """Whether everything may be told: asked of the resource, then of the installation.

        Whoever only lacks a stronger sign-in is told so. To all others a refusal says nothing of the resource, nor does
        the record that it names; and what has left `remit.yaml` is the installation's.
        """
        resource = _resource(found)
        if resource != INSTALLATION:
            ruling = await asked(self._rooms, caller, _question(resource), method="GET", path=_PATH)
            if ruling.verdict.outcome in _NEARLY or ruling.verdict.reasons[0] is Reason.SIGN_IN_AGAIN:
                return ruling
        return await asked(self._rooms, caller, _question(INSTALLATION), method="GET", path=_PATH)

    async def _told(self, ruling: Decision, found: Remembered, *, full: bool) -> Explained:
        past = found.past
        if past is None:
            return Explained(ruling, found.entry, full=full, left=found.left)
        try:
            taken = past.taken_on()
        except FactsUnreadable as error:
            return Explained(ruling, found.entry, full=full, left=str(error))
        facts = taken.identity, taken.request, taken.circumstances, past.version
        async with self._turn:  # two searches would take the interpreter's lock from everybody else, and the threads
            explanation = await asyncio.to_thread(self._explainer.explain, *facts)
        if explanation is None:
            return Explained(ruling, found.entry, full=full, left=f"policies {past.version} are not kept any more")
        verdict = explanation.verdict
        if verdict.reasons[0] in _GONE and str(verdict.reasons[0]) not in found.entry.get("reasons", ()):
            return Explained(ruling, found.entry, full=full, left="what was asked for is not in `remit.yaml` any more")
        same = verdict.outcome is past.outcome
        explanation = _with_sign_in(explanation, past.decision)
        if full:
            inventory = await self._inventory()
            explanation = await self._with_people(explanation, past, inventory)
            within = job(past.principal, taken.circumstances.job_name)
            ways = (*_ways(explanation, past, inventory), *_way_in(explanation, within))
            return Explained(ruling, found.entry, explanation, full, ways, same=same)
        repairs = tuple(one for one in explanation.repairs if all(change.means in OWN for change in one.changes))
        return Explained(ruling, found.entry, replace(explanation, questions=(), repairs=repairs), same=same)

    async def _inventory(self) -> Inventory:
        try:
            return await asyncio.to_thread(self._directory.inventory)
        except Refused:  # nothing is known of the directory: ids stand for names
            return Inventory(0, ())

    async def _with_people(self, explanation: Explanation, past: Past, inventory: Inventory) -> Explanation:
        """The same, with who can bring each change about."""
        grants = any(change.means is Means.GRANT for repair in explanation.repairs for change in repair.changes)
        try:
            approvers = await self._approvers(past) if grants else ()
        except Refused:  # the directory is not known: nobody is named
            approvers = ()

        def with_who(change: Change) -> Change:
            group = inventory.groups.get(change.value) if change.means is Means.GROUP else None
            if group is not None:
                owners = _names(group.owners) or "whoever manages groups in the directory"
                return replace(change, what=change.what.replace(change.value, group.name), who=owners)
            return replace(
                change, who=_WHO.get(change.means, "") if change.means is not Means.GRANT else _names(approvers)
            )

        repairs = tuple(Repair(tuple(map(with_who, repair.changes))) for repair in explanation.repairs)
        return replace(explanation, repairs=repairs)


_WHO = {
    Means.STEP_UP: "whoever asked, by signing in again",
    Means.SIGN_IN: "whoever asked, by signing in again",
    Means.GROUP: "whoever manages groups in the directory",
    Means.ROLE: "whoever assigns the application's roles in Entra",
    Means.DEVICE: "whoever manages devices",
    Means.RISK: "security, who can dismiss the risk",
    Means.WORK: "whoever asked, by asking for something else",
    Means.RUN: "whoever asked, by where they ask from",
}


def _resource(found: Remembered | None) -> Resource:
    """What the decision was about: whoever may explain there may explain it."""
    if found is None or found.past is None:
        return INSTALLATION
    try:
        return found.past.taken_on().request.first.resources[0]
    except FactsUnreadable:
        return INSTALLATION


def _question(resource: Resource) -> Request:
    return Request((Operation(DECISIONS_EXPLAIN, (resource,)),))


def _with_sign_in(explanation: Explanation, decision: str) -> Explanation:
    """The same, with commands to sign in that ask for what this very decision lacked."""

    def told(change: Change) -> Change:
        return replace(change, command=f"{_LOGIN} --for {decision}") if change.command == _LOGIN else change

    return replace(explanation, repairs=tuple(Repair(tuple(map(told, one.changes))) for one in explanation.repairs))


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more


def _decisive(explanation: Explanation) -> Iterator[str]:
    """What held of the policies that decided."""
    told = (policy for question in explanation.questions for policy in question.policies if policy.decided)
    return (condition.text for policy in told for condition in policy.conditions if condition.holds)


def _way_in(explanation: Explanation, within: str) -> tuple[Way, ...]:
    """The job that the request came from within (empty for none), where the policies which decided name it."""
    if not within or not any(f'Job::"{within}"' in text for text in _decisive(explanation)):
        return ()
    return (Way(within, (f"run {parted(within)[1]}",)),)


def _ways(explanation: Explanation, past: Past, inventory: Inventory) -> tuple[Way, ...]:
    """How whoever asked came to be in the groups that the policies which decided name."""
    account = inventory.account(past.principal)
    if account is None:
        return ()
    named = (group for text in _decisive(explanation) for group in _GROUP.findall(text))
    groups = dict.fromkeys(group for group in named if group in account.groups)
    return tuple(
        Way(inventory.name(group), tuple(map(inventory.name, way)))
        for group in groups
        for way in inventory.ways(account, group)
    )
