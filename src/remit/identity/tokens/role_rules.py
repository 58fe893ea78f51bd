"""Roles for people and workloads of issuers that have no app roles: whoever's verified claims hold all of a rule's.

One matching for every kind of proof (access tokens, ID tokens, SAML assertions), so that no door is wider than another.
Leaves out what a claim is in each of them, but for JSON claims, which two of them have.
"""

from collections.abc import Collection, Mapping, Sequence

from remit.identity.settings import RoleRule
from remit.identity.tokens.claims import is_texts

# what the caller chooses, what is the same for everybody, and names that people give away and others take up
SAYS_NOTHING = frozenset(
    {
        *("iss", "aud", "exp", "iat", "nbf", "jti", "sid", "auth_time", "nonce", "at_hash", "c_hash"),
        *("email", "email_verified", "name", "preferred_username", "nickname", "given_name", "family_name", "upn"),
        *("unique_name", "picture", "phone_number", "profile", "website", "actor", "user_login", "user_email"),
    }
)


def roles_of(rules: Sequence[RoleRule], facts: Mapping[str, Collection[str]]) -> frozenset[str]:
    """The roles whose rules fit; a rule that asks for nothing fits nobody. `facts`: the values of each claim."""
    return frozenset(
        rule.role for rule in rules if rule.when and all(value in facts.get(name, ()) for name, value in rule.when)
    )


def facts_of(claims: Mapping[str, object]) -> dict[str, frozenset[str]]:
    """What a rule may compare of JSON claims: a scalar's text, or each of a list of strings."""
    return {name: _values(value) for name, value in claims.items() if name not in SAYS_NOTHING}


def plain(value: object) -> str:
    """A scalar as the text that a rule compares; empty for anything else."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else ""


def _values(value: object) -> frozenset[str]:
    if is_texts(value) and isinstance(value, list):
        return frozenset(value)
    return frozenset({plain(value)} - {""})
