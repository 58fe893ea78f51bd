"""Whom a security event is about: a subject identifier becomes a principal, a session, or nobody.

RFC 9493 (`iss_sub`, `opaque`, `aliases`) and the complex subjects of the OpenID Shared Signals Framework 1.0, section
3. An e-mail address or a telephone number is refused: it is not who somebody is (DESIGN section 6). A transmitter may
only speak of the issuers that it is configured for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from remit.identity.settings import EventTransmitter
from remit.identity.tokens.claims import is_guid, is_text
from remit.model.revocation import Scope

_OURS = re.compile(r"s-[0-9a-f]{26}")
_MOST = 10  # aliases that are looked at


class SubjectRefused(ValueError):
    """The subject cannot be understood, or is not this transmitter's to speak of. The message is ours."""


@dataclass(frozen=True, slots=True)
class EventSubject:
    """Whom or what an event is about, as `Revocation.subject`. A person's event also covers a session of theirs."""

    scope: Scope
    subject: str


def subject_of(document: object, event: str, transmitter: EventTransmitter) -> EventSubject:
    """The subject of an event; raises `SubjectRefused`. `event`: the last part of its type.

    A complex subject that names a user is about the user, whatever device or session it names besides: those have no
    name here that could be believed, and what a user obtained before the event is renewed in one step. A simple opaque
    subject is a session when the event is about sessions, else a user.
    """
    found = _object(document)
    if found.get("format", "complex") != "complex":
        return _simple(found, transmitter, session=event == "session-revoked")
    if "user" in found:
        return _simple(_object(found["user"]), transmitter, session=False)
    if "session" in found:
        return _simple(_object(found["session"]), transmitter, session=True)
    raise SubjectRefused("the subject names neither a user nor a session")


def _simple(found: Mapping[str, object], transmitter: EventTransmitter, *, session: bool) -> EventSubject:
    kind = found.get("format")
    if kind == "iss_sub":
        return EventSubject(Scope.PRINCIPAL, _principal(found, transmitter))
    if kind == "opaque":
        return _opaque(_text(found, "id"), transmitter, session=session)
    if kind == "aliases":
        return _alias(found.get("identifiers"), transmitter, session=session)
    raise SubjectRefused("the subject's format is not one that names a principal or a session here")


def _principal(found: Mapping[str, object], transmitter: EventTransmitter) -> str:
    tenant = dict(transmitter.subjects).get(_text(found, "iss"))
    if tenant is None:
        raise SubjectRefused("the subject belongs to an issuer that this transmitter may not speak of")
    subject = _text(found, "sub")
    return f"{tenant}/{subject.lower() if is_guid(tenant) else subject}"  # an object id is one in any case of letters


def _opaque(name: str, transmitter: EventTransmitter, *, session: bool) -> EventSubject:
    if session:
        if _OURS.fullmatch(name):
            raise SubjectRefused("the session is one of ours, of which no transmitter knows")
        return EventSubject(Scope.SESSION, name)
    if not transmitter.opaque:
        raise SubjectRefused("this transmitter may not name users by an opaque id")
    return EventSubject(Scope.PRINCIPAL, f"{transmitter.opaque}/{name}")


def _alias(identifiers: object, transmitter: EventTransmitter, *, session: bool) -> EventSubject:
    """The first identifier that names somebody (RFC 9493 section 3.2.8: all are the same subject, none is nested)."""
    for identifier in identifiers[:_MOST] if isinstance(identifiers, list) else ():
        if isinstance(identifier, dict) and identifier.get("format") in {"iss_sub", "opaque"}:
            return _simple(identifier, transmitter, session=session)
    raise SubjectRefused("none of the subject's aliases names a principal or a session here")


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise SubjectRefused("the subject is not an object")
    return value


def _text(found: Mapping[str, object], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not is_text(value) or not value.isprintable():
        raise SubjectRefused(f"the subject's `{name}` is missing or no text")
    return value
