"""What an assertion says of a person: attributes, and what becomes of them.

SAML 2.0 core 2.7.3; learn.microsoft.com "SAML token claims reference" and "Group overages" (a link instead of groups
beyond 150); RFC 8176 for the names of methods. A value that is no plain text is left out, and so can make nobody
anything; groups are complete or nothing. Leaves out: whether it is true (`signature`).
"""

from collections.abc import Mapping

from remit.identity.saml import xml
from remit.identity.saml.xml import Element, Malformed
from remit.identity.settings import RoleRule, SamlIssuer
from remit.identity.tokens.role_rules import roles_of
from remit.model.errors import Refused
from remit.model.reasons import Reason

MAX_DISPLAY = 256  # Entra's bound for display names
NAME_ID = "NameID"  # the subject's name among the claims of a role rule

OVERAGE = frozenset(
    {
        "http://schemas.microsoft.com/claims/groups.link",
        "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups.link",
    }
)
METHODS_ATTRIBUTE = "http://schemas.microsoft.com/claims/authnmethodsreferences"
DISPLAY = (
    "displayName",
    "urn:oid:2.16.840.1.113730.3.1.241",  # the same in LDAP's numbers
    "http://schemas.microsoft.com/identity/claims/displayname",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
)
# what people choose, change and give away is shown, and decides nothing: no rule may build on it
SAYS_NOTHING = frozenset(
    {
        *DISPLAY,
        *(
            "mail",
            "email",
            "urn:oid:0.9.2342.19200300.100.1.3",
            "givenName",
            "urn:oid:2.5.4.42",
            "sn",
            "urn:oid:2.5.4.4",
        ),
        *(
            f"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/{name}"
            for name in ("emailaddress", "upn", "givenname", "surname")
        ),
    }
)

_CLASSES = "urn:oasis:names:tc:SAML:2.0:ac:classes:"
_MICROSOFT = "http://schemas.microsoft.com/ws/2008/06/identity/authenticationmethod/"
METHODS = {
    f"{_CLASSES}Password": "pwd",
    f"{_CLASSES}PasswordProtectedTransport": "pwd",
    f"{_CLASSES}TimeSyncToken": "otp",
    f"{_CLASSES}Kerberos": "wia",
    f"{_CLASSES}Smartcard": "sc",
    f"{_CLASSES}SmartcardPKI": "sc",
    f"{_CLASSES}SoftwarePKI": "swk",
    f"{_CLASSES}MobileTwoFactorContract": "mfa",
    f"{_CLASSES}MobileTwoFactorUnregistered": "mfa",
    f"{_MICROSOFT}password": "pwd",
    f"{_MICROSOFT}windows": "wia",
    f"{_MICROSOFT}smartcard": "sc",
    "http://schemas.microsoft.com/claims/multipleauthn": "mfa",
    "https://refeds.org/profile/mfa": "mfa",
}
"""Authentication contexts as `amr` names them; a context that is not here proves nothing."""

Said = Mapping[str, tuple[str, ...] | None]
"""Values by attribute name, in order; `None` where a value was no plain text."""


def read(assertion: Element) -> Said:
    """All attributes; raises `Malformed` when one stands there twice, `Refused` when groups were left out."""
    said: dict[str, tuple[str, ...] | None] = {}
    for statement in assertion.findall(xml.name(xml.ASSERTION, "AttributeStatement")):
        for attribute in statement.findall(xml.name(xml.ASSERTION, "Attribute")):
            key = xml.attribute(attribute, "Name")
            if key in said:
                raise Malformed("has an attribute twice")
            said[key] = _values(attribute)
    if OVERAGE & said.keys():
        raise Refused(Reason.IDENTITY_INCOMPLETE, hint="ask an administrator to emit only assigned groups")
    return said


def groups(said: Said, settings: SamlIssuer) -> frozenset[str]:
    """The provider's groups under its name: no provider may speak of another's, or of the directory's.

    Providers leave the attribute out for somebody who is in none.
    """
    values = said.get(settings.groups_attribute, ()) if settings.groups_attribute else ()
    if values is None:
        raise Refused(Reason.IDENTITY_INCOMPLETE, hint="let the provider send group ids as text")
    return frozenset(f"{settings.name}/{group}" for group in values)


def roles(said: Said, subject: str, rules: tuple[RoleRule, ...]) -> frozenset[str]:
    """The roles whose rules fit; the subject is the claim `NameID`, whatever an attribute of that name says."""
    claims = {name: values or () for name, values in said.items() if name not in SAYS_NOTHING} | {NAME_ID: (subject,)}
    return roles_of(rules, claims)


def named(said: Said, rules: tuple[RoleRule, ...]) -> tuple[tuple[str, str], ...]:
    """The attributes that role rules name and that have one value: what policies may read, and no more of a person."""
    wanted = {key for rule in rules for key, _ in rule.when} - SAYS_NOTHING
    return tuple((key, values[0]) for key in sorted(wanted) if (values := said.get(key)) and len(values) == 1)


def methods(said: Said, context: str) -> frozenset[str]:
    """How the person signed in, by the context and by what Entra lists beside it."""
    return frozenset(METHODS[one] for one in (context, *(said.get(METHODS_ATTRIBUTE) or ())) if one in METHODS)


def display(said: Said) -> str:
    """A name for people's eyes; text in here is printable already."""
    return next((values[0][:MAX_DISPLAY] for key in DISPLAY if (values := said.get(key))), "")


def _values(attribute: Element) -> tuple[str, ...] | None:
    try:
        return tuple(xml.text(value) for value in attribute.findall(xml.name(xml.ASSERTION, "AttributeValue")))
    except Malformed:
        return None
