"""The broker's story: a token for an identity (RFC 8693), decided and recorded like any request.

What it hands out here are `direct` tokens, good at a cloud and nobody's to take back:

- Google's Storage: narrowed to the buckets of one project that the policy permits this identity, at most 15 minutes
  long (DESIGN section 3) and never longer than what it rests on: a grant, the fresh sign-in that policy demands. Write
  access is tried first; who may only read gets a token that can only read.
- Azure's: of an application that stands for a role in a project. Nobody narrows it, so that the first application of
  which all is permitted counts; its life is Entra's to say (`Purpose.lifetime` is the longest), so that nothing that
  ends sooner opens one.

And `remit`: the caller's own token, given back with the life that it has left. It opens nothing that its holder has not
got, so that no policy is asked, and nothing is recorded: each use of it is a request of its own, decided and recorded.
Whoever is nobody, or was revoked, or asks for a run that was, does not get even that, and such a refusal of somebody is
recorded like the others. Leaves out: the protocol's forms (`arbiter`), what there is to be had (`assembly`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from remit.access.belonging import check_run
from remit.access.decide import (
    Rooms,
    begun,
    mapped,
    obtain,
    refusal,
    refused_after,
    surroundings,
    unanswered,
    write,
)
from remit.model.credential import Cloud, Credential, Purpose
from remit.model.decision import Answer, Circumstances, Decision, Verdict
from remit.model.errors import Refused
from remit.model.identity import Identity, Kind
from remit.model.operation import Request
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.secret import AccessToken, UnverifiedToken

_MINUTE = 60  # seconds
_SHORTEST = 6 * _MINUTE  # a token has five minutes left when it is handed out (`Obtainer.obtain`)
_GIVEN_BACK = Verdict(Outcome.PERMIT, ())  # nothing was decided: no policy, and no reason of the list


class Target(StrEnum):
    """Where a token is to be good."""

    STORAGE = "storage.googleapis.com"
    BLOB = "blob.core.windows.net"
    POSTGRESQL = "ossrdbms-aad.database.windows.net"
    SQL = "database.windows.net"
    REMIT = "remit"


@dataclass(frozen=True, slots=True)
class Audience:
    """What a token is asked for.

    `project`: id or number; empty for Remit itself, and where `client` says it: the app id of the one application at
    Azure that is meant, empty for whichever counts. `reading`: no more than reading is wanted.
    """

    target: Target
    project: str = ""
    client: str = ""
    reading: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """A token that there is. `names`: all that it can be good for; `request`: the operations that it allows on some.

    `scopes`: of a token of the mapped account, which is narrowed to those names that are permitted (buckets, or
    `BUCKET/PREFIX/` for what lies below). `purpose`: of any
    other token, which is given for all names or not at all; `None` for the former.
    """

    names: tuple[str, ...]
    request: Callable[[Sequence[str]], Request]
    scopes: tuple[str, ...] = ()
    purpose: Purpose | None = None


class Offers(Protocol):
    """What tokens there are."""

    def offers(self, identity: Identity, audience: Audience) -> Sequence[Offer]:
        """Those for this identity, the widest first, at least one; raises `Refused` when there is none."""


class Exchange:
    """Exchanges a caller's token for one of another audience."""

    def __init__(self, rooms: Rooms, offers: Offers) -> None:
        self._rooms = rooms
        self._offers = offers

    async def __call__(self, token: UnverifiedToken, audience: Audience, peer: str, job: str = "") -> Answer:
        """Decides, records and obtains; never raises, since whatever goes wrong is a refusal with a reason."""
        draft = begun(self._rooms, "POST", "/v1/token", peer=peer, job=job)
        try:
            return await self._tell(token, audience, draft)
        except Exception as error:  # noqa: BLE001 - fail closed: what no step foresaw is a refusal
            return Answer(unanswered(draft, error))

    async def _tell(self, token: UnverifiedToken, audience: Audience, draft: Decision) -> Answer:
        rooms, decision, purpose = self._rooms, draft, None
        try:
            identity = await rooms.authenticator.authenticate(token, draft.circumstances.now)  # a who
            decision = replace(decision, identity=identity)
            rooms.revocations.check(identity, draft.circumstances.job, draft.circumstances.now)
            check_run(rooms.runs, identity, draft.circumstances.job)
            if audience.target is Target.REMIT:
                return _given_back(decision, token, identity)
            decision = replace(decision, circumstances=surroundings(rooms, identity, draft.circumstances))  # c0
            offer, names = self._widest(identity, audience, decision.circumstances)  # b what
            request = offer.request(names)
            check_run(rooms.runs, identity, draft.circumstances.job, request.first.resources[0].project)
            verdict = rooms.judge.decide(identity, request, decision.circumstances)  # c may
            decision = replace(decision, request=request, verdict=verdict)
            decision, purpose = _purpose(rooms, decision, identity, request, offer)
            if purpose is not None:
                purpose = _ending(_narrowed(purpose, offer, names, verdict), decision, identity)
        except Refused as refused:
            decision = refused_after(decision, refused)
            if decision.identity is None:
                return Answer(
                    decision
                )  # nobody asked: the door's access event is the evidence, and floods cost no record
        await write(rooms, decision)  # d write
        if not decision.permitted or purpose is None or decision.identity is None:
            return Answer(decision)
        credential = await obtain(rooms, decision, decision.identity, token, purpose)  # e with
        if isinstance(credential, Refused):
            return Answer(replace(decision, verdict=refusal(credential)))
        return Answer(decision, credential)

    def _widest(
        self, identity: Identity, audience: Audience, circumstances: Circumstances
    ) -> tuple[Offer, Sequence[str]]:
        """The first offer of which the policy permits something, with what that is, else the last (to be refused)."""
        offers = self._offers.offers(identity, audience)
        for offer in offers:
            names = self._permitted(identity, offer, circumstances)
            if names:
                return offer, names
        return offers[-1], offers[-1].names

    def _permitted(self, identity: Identity, offer: Offer, circumstances: Circumstances) -> Sequence[str]:
        """The names of an offer that the policy permits: each for itself, or of what nobody narrows all or none."""
        apart = [(name,) for name in offer.names] if offer.purpose is None else [offer.names]
        permitted = [names for names in apart if self._permits(identity, offer.request(names), circumstances)]
        every = [name for names in permitted for name in names]
        return [name for name in every if offer.purpose is not None or not _inside(name, every)]

    def _permits(self, identity: Identity, request: Request, circumstances: Circumstances) -> bool:
        return self._rooms.judge.decide(identity, request, circumstances).outcome is Outcome.PERMIT


def _inside(name: str, others: Sequence[str]) -> bool:
    """Whether a part of a bucket, `BUCKET/PREFIX/`, lies in another of these: then it adds nothing."""
    return any(name != other and name.startswith(f"{other.rstrip('/')}/") for other in others)


def _given_back(decision: Decision, token: UnverifiedToken, identity: Identity) -> Answer:
    """The caller's own token, once it is known to be good."""
    return Answer(
        replace(decision, verdict=_GIVEN_BACK), Credential(AccessToken(token.reveal()), identity.expires_at, "", ())
    )


def _purpose(
    rooms: Rooms, decision: Decision, identity: Identity, request: Request, offer: Offer
) -> tuple[Decision, Purpose | None]:
    """Step c, for a permit: what the token is for, and the account that the record names; raises `Refused`."""
    if offer.purpose is None:
        return mapped(rooms, decision, identity, request)
    if not decision.permitted:
        return decision, None
    return replace(decision, account=offer.purpose.account), offer.purpose


def _narrowed(purpose: Purpose, offer: Offer, names: Sequence[str], verdict: Verdict) -> Purpose:
    """The purpose for these names alone; raises `Refused` for an obligation that no token can meet."""
    if verdict.obligations.labels:
        raise Refused(Reason.OBLIGATION_UNMET, "a token has no room for the labels that are demanded")
    return replace(purpose, scopes=offer.scopes, buckets=tuple(sorted(names))) if offer.purpose is None else purpose


def _ending(purpose: Purpose, decision: Decision, identity: Identity) -> Purpose:
    """The purpose for a token that is over when what it rests on is: nobody can take it back.

    Whole minutes, so that one token serves several askers of a minute; raises `Refused` for less than Google gives, and
    for less than Azure may give.
    """
    end, what, hint = min(_ends(decision, identity), default=(0, "", ""))
    left = end - decision.circumstances.now if what else purpose.lifetime
    if left < (purpose.lifetime if purpose.cloud is Cloud.AZURE else _SHORTEST):
        raise Refused(Reason.OBLIGATION_UNMET, f"{what} ends before a token would", hint=hint)
    return replace(purpose, lifetime=min(purpose.lifetime, left // _MINUTE * _MINUTE))


def _ends(decision: Decision, identity: Identity) -> Iterator[tuple[int, str, str]]:
    """When what a permit rests on is over (seconds since the epoch), what that is, and what would make it last."""
    for grant in decision.circumstances.grants:
        if grant.id in decision.verdict.grants:
            yield grant.until, "the grant", "ask for a longer grant"
    session = decision.verdict.obligations.session
    if session and identity.principal.kind is Kind.PERSON:  # of nobody else is one demanded
        yield identity.authentication.at + session, "the sign-in that has to be fresh", "sign in again: `remit login`"
