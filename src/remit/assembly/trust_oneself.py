"""Whoever runs `remit trust verify --as-me`: their own token through the story that the gateway's requests go through.

The token is judged as at the door, the policies in force decide a call that changes nothing, the ledger holds the
decision before a credential is asked for, and what became of it when a hop fails (`access.decide`). Policies see no
address, as of a caller whose place is unknown. Leaves out: where the token comes from (`cli`, by `sdk.sign_in`).
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import httpx
from sqlalchemy.exc import SQLAlchemyError

from remit.access.decide import Decide, Rooms, begun, classify, identify, surroundings
from remit.assembly import evidence, rooms
from remit.assembly.identity import who
from remit.assembly.replay import version_of
from remit.audit.memberships import Memberships
from remit.audit.policy_sets import PolicySets
from remit.audit.recorder import LedgerRecorder
from remit.audit.works import Works
from remit.credentials.lifetimes import Lifetimes
from remit.credentials.obtainer import Obtainer
from remit.grants.runs import RunView
from remit.grants.view import GrantView
from remit.model.credential import Credential, Purpose
from remit.model.errors import HopFailed, NotRecorded, Refused, RemitError
from remit.model.identity import Identity
from remit.model.operation import Request
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken
from remit.model.wire import WireRequest
from remit.policy.named import NamedGroups
from remit.settings.read import Settings
from remit.trust.verifying.ports import Call, Gained, Known, Oneself

_PATIENCE = 10.0  # seconds for the ledger's disk: nobody waits in a door here
_HERE = "run it where `remit serve` runs, as the same user: what is obtained in somebody's name is recorded first"


@contextlib.asynccontextmanager
async def oneself(
    settings: Settings, hops: rooms.Hops, client: httpx.AsyncClient, token: UnverifiedToken
) -> AsyncIterator[Oneself]:
    """Whoever the token names; where the ledger cannot be written, somebody who is refused for that."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            found: Oneself = await _asker(settings, hops, client, token, stack)
        except (RemitError, SQLAlchemyError, OSError) as error:
            found = _Unrecorded(error)
        yield found


class Asker:
    """Implements `trust.verifying.ports.Oneself`."""

    def __init__(self, fitted: Rooms, obtainer: Obtainer, token: UnverifiedToken) -> None:
        self._rooms = fitted
        self._obtainer = obtainer
        self._token = token

    async def known(self) -> Known:
        """As `Oneself.known`: step a."""
        now = self._rooms.clock() // 1_000_000
        identity, _ = await identify(self._rooms, self._token, None, now)
        self._rooms.revocations.check(identity, "", now)
        return Known(identity.display or identity.principal.key, identity.roles)

    async def ask(self, calls: Sequence[Call]) -> Gained:
        """As `Oneself.ask`."""
        call = await self._first(calls)
        heard = _Heard(self._obtainer)
        answer = await Decide(replace(self._rooms, obtainer=heard))(self._wire(call))
        decision, verdict = answer.decision, answer.decision.verdict
        return Gained(
            call,
            decision.id,
            verdict.reasons[0],
            said=verdict.detail or verdict.reasons[0].sentence,
            hint=verdict.hint,
            hops=heard.hops,
            failed=heard.failed,
            account=decision.account,
            token=answer.credential.token if answer.credential else None,
        )

    async def _first(self, calls: Sequence[Call]) -> Call:
        """The call to decide, found as the broker finds the widest token: by asking the policy beforehand."""
        for call in calls:
            with contextlib.suppress(RemitError):  # the decision itself says what is wrong
                if await self._permitted(self._wire(call)):
                    return call
        return calls[0]

    async def _permitted(self, wire: WireRequest) -> bool:
        draft = begun(self._rooms, wire.method, wire.target, host=wire.host)
        identity, _ = await identify(self._rooms, wire.token, None, draft.circumstances.now)
        request = await classify(self._rooms, wire)
        around = surroundings(self._rooms, identity, draft.circumstances)
        return self._rooms.judge.decide(identity, request, around).outcome is Outcome.PERMIT

    def _wire(self, call: Call) -> WireRequest:
        return WireRequest(self._token, "GET", call.host, call.target, body_sent=True)


class _Heard:
    """The obtainer for one decision, and by which hops its credential came, or at which it ended."""

    def __init__(self, obtainer: Obtainer) -> None:
        self._obtainer = obtainer
        self.hops: tuple[str, ...] = ()
        self.failed = ""

    def purpose(self, identity: Identity, request: Request) -> Purpose:
        return self._obtainer.purpose(identity, request)

    async def obtain(self, identity: Identity, token: UnverifiedToken | None, purpose: Purpose) -> Credential:
        try:
            self.hops = self._obtainer.hops(identity, token)
            return await self._obtainer.obtain(identity, token, purpose)
        except HopFailed as failed:
            self.failed = failed.hop
            self.hops = self.hops or (failed.hop,)
            raise


class _Unrecorded:
    """Somebody of whom nothing can be recorded, and so nothing is asked."""

    def __init__(self, error: RemitError | SQLAlchemyError | OSError) -> None:
        known = error.message if isinstance(error, RemitError) else str(getattr(error, "orig", None) or error)
        self._said = f"nothing is walked in anybody's name, since it could not be recorded: {known}"

    async def known(self) -> Known:
        raise Refused(Reason.RECORD_UNAVAILABLE, self._said, hint=_HERE)

    async def ask(self, calls: Sequence[Call]) -> Gained:
        return Gained(calls[0], "", Reason.RECORD_UNAVAILABLE, said=self._said, hint=_HERE)


async def _asker(
    settings: Settings,
    hops: rooms.Hops,
    client: httpx.AsyncClient,
    token: UnverifiedToken,
    stack: contextlib.AsyncExitStack,
) -> Asker:
    if not evidence.begun(settings):
        raise NotRecorded("there is no ledger of this installation here")
    judge = rooms.judge(settings)
    writer = stack.enter_context(evidence.writing(settings))
    reader = stack.enter_context(evidence.reading(settings))
    recorder = stack.enter_context(LedgerRecorder(evidence.ledger(settings, writer), patience=_PATIENCE))
    await PolicySets(recorder, version_of, rooms.now).keep(judge.book.version, judge.book.texts)
    named = NamedGroups(lambda: judge.book)
    found = await stack.enter_async_context(who(settings, (reader, writer), recorder, hops, client, named.all))
    await found.network.prepare()
    await found.keys.refresh()
    obtainer = Obtainer(
        settings.credentials, identity=hops.identity, entra=hops.entra, sts=hops.sts, iam=hops.iam, own=hops.own
    )
    stack.push_async_callback(obtainer.close)
    fitted = Rooms(
        authenticator=found.authenticator,
        sessions=found.sessions,
        revocations=found.view,
        observer=found.network,
        classifier=rooms.classifier(settings),
        judge=judge,
        recorder=recorder,
        obtainer=obtainer,
        works=Works(reader, recorder),
        grants=stack.enter_context(GrantView(reader)),
        memberships=Memberships(recorder, rooms.now),
        clock=rooms.now,
        labels=settings.labels,
        runs=stack.enter_context(RunView(reader)),
        lifetimes=Lifetimes(settings.lifetimes),
    )
    return Asker(fitted, obtainer, token)
