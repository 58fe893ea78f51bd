"""Security Event Tokens: what a provider says about somebody, put into effect before it is told that it was heard.

    1 form      a strict signed token of type `secevent+jwt` (RFC 8417 section 2.3), whose `iss` chooses the transmitter
    2 proof     its audience, its signature, its time; without `exp` and `sub`, so that no other token passes for one
                (OpenID Shared Signals Framework 1.0 section 4.1), and no event for another token
    3 subject   a principal or a session (`event_subjects`)
    4 effect    a revocation, a lift, or a level of risk; a revocation holds at every arbiter before this returns

Events: OpenID CAEP 1.0 and OpenID RISC 1.0. One that is not in the table below changes nothing here and is accepted: a
transmitter that hears an error stops sending. An event takes effect once, however often it is delivered, and no
restart makes it forgotten. Leaves out the HTTP of it (RFC 8935, `arbiter/events`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from remit.identity.revocation.event_subjects import EventSubject, SubjectRefused, subject_of
from remit.identity.revocation.store import Once
from remit.identity.settings import EventTransmitter
from remit.identity.tokens import jose, strict_json
from remit.identity.tokens.claims import is_seconds, is_text
from remit.identity.tokens.keys import KeySource, check_signature
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.revocation import Revocation, Scope
from remit.model.secret import UnverifiedToken

SKEW = 60  # seconds, as for tokens
MAX_AGE = 7 * 86400  # seconds: how long a transmitter may go on trying to deliver
_TYPES = frozenset({"secevent+jwt", "application/secevent+jwt"})
_BASE = "https://schemas.openid.net/secevent/"
_MOST = 8  # events in one token: the framework wants one

log = logging.getLogger(__name__)


class Does(Enum):
    """What an event does here."""

    END = auto()  # what was issued until then no longer counts
    LOCK = auto()  # and nothing counts until it is lifted
    LIFT = auto()
    RISK = auto()
    NOTHING = auto()


_EVENTS = {
    _BASE + "caep/event-type/session-revoked": Does.END,
    _BASE + "caep/event-type/credential-change": Does.END,
    _BASE + "caep/event-type/token-claims-change": Does.END,
    _BASE + "caep/event-type/device-compliance-change": Does.END,
    _BASE + "caep/event-type/risk-level-change": Does.RISK,
    _BASE + "risc/event-type/sessions-revoked": Does.END,
    _BASE + "risc/event-type/account-credential-change-required": Does.END,
    _BASE + "risc/event-type/credential-compromise": Does.END,
    _BASE + "risc/event-type/account-disabled": Does.LOCK,
    _BASE + "risc/event-type/account-purged": Does.LOCK,
    _BASE + "risc/event-type/account-enabled": Does.LIFT,
}
_LEVELS = {"LOW": "low", "MEDIUM": "medium", "HIGH": "high"}


class EventRefused(Exception):
    """The token is not accepted. `code`: from RFC 8935 section 2.4; the message holds nothing that was sent."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Revoker(Protocol):
    """Makes it so everywhere (`revocations.Revoker`)."""

    async def revoke(self, revocation: Revocation, *, once: Once) -> object:
        """Raises `Refused`, `NotRecorded`."""

    async def lift(self, scope: Scope, subject: str, source: str, *, before: int, because: str, once: Once) -> object:
        """Raises `NotRecorded`."""


Risk = Callable[[str, str, int], None]
"""Takes note of a principal's level of risk (`low`, `medium`, `high`) since a time in epoch seconds; may block."""


@dataclass(frozen=True, slots=True)
class _Event:
    """One verified event. `at`: when it happened, epoch seconds; `name`: unique to it; `until`: when it is too old."""

    transmitter: EventTransmitter
    type: str
    values: Mapping[str, object]
    subject: object
    at: int
    once: Once

    @property
    def short(self) -> str:
        return self.type.rpartition("/")[2]


class SecurityEvents:
    """The receiver, for all transmitters that are believed."""

    def __init__(
        self, transmitters: Sequence[tuple[EventTransmitter, KeySource]], revoker: Revoker, risk: Risk
    ) -> None:
        self._transmitters = {transmitter.issuer: (transmitter, keys) for transmitter, keys in transmitters}
        self._revoker = revoker
        self._risk = risk

    async def receive(self, token: UnverifiedToken, now: int) -> tuple[str, str] | None:
        """Puts the token's events into effect: when it returns `None`, they are. `now`: seconds since the epoch.

        Returns RFC 8935's error code and a description when the token is not accepted; raises `Refused` or
        `NotRecorded` when it could not be judged or put into effect now: delivering it again is right.
        """
        try:
            form, claims = _read(token)
            transmitter = await self._verified(form, claims, now)
            for event in _events(claims, transmitter):
                await self._effect(event)
        except EventRefused as refused:
            return refused.code, str(refused)
        return None

    async def _verified(self, form: jose.Jws, claims: Mapping[str, object], now: int) -> EventTransmitter:
        """Step 2."""
        issuer = claims.get("iss")
        if not isinstance(issuer, str) or issuer not in self._transmitters:
            raise EventRefused("invalid_issuer", "the token's issuer is not a transmitter that is believed here")
        transmitter, keys = self._transmitters[issuer]
        audience = claims.get("aud")
        if transmitter.audience not in (audience if isinstance(audience, list) else [audience]):
            raise EventRefused("invalid_audience", "the token is meant for somebody else")
        try:
            await check_signature(form, keys, *transmitter.algorithms)
        except Refused as refused:
            if refused.reason is not Reason.TOKEN_SIGNATURE:  # the keys are not known now: deliver it again
                raise
            raise EventRefused("invalid_key", refused.message) from None
        _check_time(claims, now)
        return transmitter

    async def _effect(self, event: _Event) -> None:
        """Steps 3 and 4."""
        does = _does(event)
        if does is Does.NOTHING:
            log.info("an event of %s changes nothing here: %r", event.transmitter.issuer, event.short)
            return
        try:
            found = subject_of(event.subject, event.short, event.transmitter)
        except SubjectRefused as error:
            raise EventRefused("invalid_request", str(error)) from None
        if does is not Does.END and found.scope is not Scope.PRINCIPAL:
            raise EventRefused("invalid_request", "the event is about accounts, and its subject names none")
        log.warning("%s says %s of %s %s", event.transmitter.issuer, event.short, found.scope, found.subject)
        if does is Does.RISK:
            await asyncio.to_thread(self._risk, found.subject, _LEVELS[str(event.values["current_level"])], event.at)
        elif does is Does.LIFT:
            await self._lift(event, found)
        else:
            await self._revoke(event, found, locked=does is Does.LOCK)

    async def _lift(self, event: _Event, found: EventSubject) -> None:
        source = event.transmitter.issuer
        await self._revoker.lift(
            found.scope, found.subject, source, before=event.at, because=event.short, once=event.once
        )

    async def _revoke(self, event: _Event, found: EventSubject, *, locked: bool) -> None:
        source = event.transmitter.issuer
        asked = Revocation(found.scope, found.subject, event.at, locked, source=source, because=event.short)
        await self._revoker.revoke(asked, once=event.once)


def _read(token: UnverifiedToken) -> tuple[jose.Jws, Mapping[str, object]]:
    """Step 1."""
    try:
        form = jose.parse_compact(token)
        claims = strict_json.parse(form.payload)
    except Refused as refused:
        raise EventRefused("invalid_request", refused.message) from None
    except ValueError:
        claims = None
    if not isinstance(claims, dict):
        raise EventRefused("invalid_request", "the token's payload is not one strict JSON object")
    if form.typ.lower() not in _TYPES:
        raise EventRefused("invalid_request", "the token is not of the type `secevent+jwt`")
    for name in ("exp", "sub"):
        if name in claims:
            raise EventRefused("invalid_request", f"the token has the claim `{name}`: it is not a security event")
    return form, claims


def _check_time(claims: Mapping[str, object], now: int) -> None:
    issued = claims.get("iat")
    if not isinstance(issued, int) or not is_seconds(issued) or not now - MAX_AGE <= issued <= now + SKEW:
        raise EventRefused("invalid_request", "the token's `iat` is no time of the last seven days")


def _events(claims: Mapping[str, object], transmitter: EventTransmitter) -> list[_Event]:
    """All events of a verified token; raises `EventRefused` before any of them has an effect."""
    events, name, issued = claims.get("events"), claims.get("jti"), claims["iat"]
    if not isinstance(events, dict) or not 0 < len(events) <= _MOST:
        raise EventRefused("invalid_request", "the token's `events` is not an object of one to eight events")
    if not isinstance(name, str) or not is_text(name) or not isinstance(issued, int):
        raise EventRefused("invalid_request", "the token's `jti` is missing or no text")
    found = []
    for kind, values in events.items():
        if not isinstance(values, dict):
            raise EventRefused("invalid_request", "an event is not an object")
        once = Once(f"{len(transmitter.issuer)} {transmitter.issuer} {kind} {name}", issued + MAX_AGE + SKEW)
        # `subject` within the event: RISC before the framework's final version
        subject = claims.get("sub_id", values.get("subject"))
        found.append(_Event(transmitter, kind, values, subject, _happened(values, issued), once))
    return found


def _happened(values: Mapping[str, object], issued: int) -> int:
    """When it happened: as the event says, unless that is no time before the token's own (drafts had milliseconds)."""
    said = values.get("event_timestamp")
    return said if isinstance(said, int) and is_seconds(said) and said <= issued else issued


def _does(event: _Event) -> Does:
    """What an event does, by its type and its own claims; raises `EventRefused` for claims that say nothing clear."""
    does = _EVENTS.get(event.type, Does.NOTHING)
    if event.short == "device-compliance-change":
        status = event.values.get("current_status")
        if status not in {"compliant", "not-compliant"}:
            raise EventRefused("invalid_request", "`current_status` is neither `compliant` nor `not-compliant`")
        return does if status == "not-compliant" else Does.NOTHING
    if does is Does.RISK:
        if event.values.get("current_level") not in _LEVELS:
            raise EventRefused("invalid_request", "`current_level` is none of `LOW`, `MEDIUM`, `HIGH`")
        return does if event.values.get("principal") == "USER" else Does.NOTHING
    return does
