"""For whom an assertion is, for which request, and when: the checks of SAML's web browser profile.

SAML 2.0 core 2.4.1, 2.5.1; profiles 4.1.4.2 and 4.1.4.3. Narrower where that costs no real provider: one audience, one
bearer confirmation, one authentication statement, an end for everything, never unsolicited. Leaves out: who it is
about (`saml`), whether it was seen before (`replay`).
"""

import ipaddress
from dataclasses import dataclass

from remit.identity.saml import xml
from remit.identity.saml.xml import Element, Malformed
from remit.identity.settings import SamlIssuer
from remit.model.errors import Refused
from remit.model.reasons import Reason

SKEW = 60  # seconds that two well-kept clocks may differ
MAX_SESSION = 12 * 3600  # seconds that a sign-in counts when the provider names only the assertion's own end

BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_CONDITIONS = frozenset(
    xml.name(xml.ASSERTION, one) for one in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction")
)


@dataclass(frozen=True, slots=True)
class Facts:
    """When and how. Epoch seconds; `usable_until`: when the assertion itself is refused, skew included."""

    issued_at: int
    usable_until: int
    expires_at: int
    authenticated_at: int
    session: str
    context: str
    address: str


def check_response(response: Element, settings: SamlIssuer, in_response_to: str) -> None:
    """What stands around the assertion, signed or not: it can only refuse."""
    issuer = xml.at_most_one(response, xml.ASSERTION, "Issuer")
    if issuer is not None:
        _check_issuer(issuer, settings)
    # a signed message must say where it goes (bindings 3.5.5.2), and every provider that we know says it anyway
    if response.get("Destination") != settings.recipient:
        raise Refused(Reason.TOKEN_AUDIENCE, "the SAML response was sent to another address")
    if response.get("InResponseTo") != in_response_to:
        raise _not_asked()


def check_assertion(assertion: Element, settings: SamlIssuer, in_response_to: str, now: int) -> Facts:
    """Holds a signed assertion against what we asked for; raises `Refused`, or `Malformed` for what cannot be read."""
    # 1. the provider's own, for us
    if xml.attribute(assertion, "Version") != "2.0":
        raise Malformed("is not SAML 2.0")
    _check_issuer(xml.one(assertion, xml.ASSERTION, "Issuer"), settings)
    conditions = xml.one(assertion, xml.ASSERTION, "Conditions")
    _check_audience(conditions, settings)
    # 2. confirmed by whoever brings it here, in answer to us
    confirmation = _confirmation(xml.one(assertion, xml.ASSERTION, "Subject"))
    _check_confirmation(confirmation, settings, in_response_to)
    # 3. now
    statement = xml.one(assertion, xml.ASSERTION, "AuthnStatement")
    issued_at = xml.instant(assertion, "IssueInstant")
    authenticated_at = xml.instant(statement, "AuthnInstant")
    starts = max(issued_at, authenticated_at, xml.maybe_instant(conditions, "NotBefore") or 0)
    ends = xml.instant(conditions, "NotOnOrAfter")
    usable_until = min(ends, xml.instant(confirmation, "NotOnOrAfter")) + SKEW
    session_ends = xml.maybe_instant(statement, "SessionNotOnOrAfter")
    if now >= usable_until or (session_ends is not None and now >= session_ends):
        raise Refused(Reason.TOKEN_EXPIRED, "the SAML assertion has expired", hint="sign in again")
    if now < starts - SKEW:
        raise Refused(Reason.TOKEN_NOT_YET_VALID, hint="compare this machine's clock with the time")
    return Facts(
        issued_at=issued_at,
        usable_until=usable_until,
        expires_at=session_ends or min(ends, now + MAX_SESSION),
        authenticated_at=authenticated_at,
        session=_unless_absent(statement, "SessionIndex"),
        context=_context(statement),
        address=_address(confirmation, statement),
    )


def _check_issuer(issuer: Element, settings: SamlIssuer) -> None:
    if xml.text(issuer) != settings.entity_id:
        raise Refused(Reason.TOKEN_ISSUER)


def _check_audience(conditions: Element, settings: SamlIssuer) -> None:
    # a condition that is not understood makes the assertion invalid (core 2.5.1.1)
    if any(child.tag not in _CONDITIONS for child in conditions):
        raise Malformed("has a condition that is not known here")
    restriction = xml.at_most_one(conditions, xml.ASSERTION, "AudienceRestriction")
    if restriction is None or xml.text(xml.one(restriction, xml.ASSERTION, "Audience")) != settings.audience:
        raise Refused(Reason.TOKEN_AUDIENCE)


def _confirmation(subject: Element) -> Element:
    confirmation = xml.one(subject, xml.ASSERTION, "SubjectConfirmation")
    if xml.attribute(confirmation, "Method") != BEARER:
        raise Refused(Reason.TOKEN_CLAIMS, "the SAML assertion is not for whoever brings it")
    return xml.one(confirmation, xml.ASSERTION, "SubjectConfirmationData")


def _check_confirmation(confirmation: Element, settings: SamlIssuer, in_response_to: str) -> None:
    if confirmation.get("Recipient") != settings.recipient:
        raise Refused(Reason.TOKEN_AUDIENCE, "the SAML assertion is for another address")
    if confirmation.get("InResponseTo") != in_response_to:
        raise _not_asked()
    if confirmation.get("NotBefore") is not None:
        raise Malformed("has a bearer confirmation with `NotBefore`")  # profiles 4.1.4.2


def _context(statement: Element) -> str:
    context = xml.one(statement, xml.ASSERTION, "AuthnContext")
    reference = xml.at_most_one(context, xml.ASSERTION, "AuthnContextClassRef")
    return "" if reference is None else xml.text(reference)


def _address(confirmation: Element, statement: Element) -> str:
    """Where the person signed in from, when it is an address and not a name."""
    locality = xml.at_most_one(statement, xml.ASSERTION, "SubjectLocality")
    for element in (confirmation, locality):
        said = "" if element is None else str(element.get("Address") or "")
        try:
            return str(ipaddress.ip_address(said))
        except ValueError:
            continue
    return ""


def _unless_absent(element: Element, key: str) -> str:
    return "" if element.get(key) is None else xml.attribute(element, key)


def _not_asked() -> Refused:
    return Refused(
        Reason.TOKEN_CLAIMS, "the SAML response answers no sign-in of ours", hint="start at the sign-in page"
    )
