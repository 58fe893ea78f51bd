"""The claims of Entra access tokens, one table for each of the two versions, and what they say together.

Sources: learn.microsoft.com/entra/identity-platform, "Access token claims reference" and "Optional claims
reference". The registration's `requestedAccessTokenVersion` chooses the version, whichever endpoint was asked;
what managed identities get follows the same rule. `wids` are the directory's own roles: they say what somebody
may do to the directory, so their shape is checked and nothing in Remit reads them. Leaves out: whose token it is
(`entra`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from remit.identity.tokens.claims import (
    Claim,
    Need,
    is_guid,
    is_guids,
    is_seconds,
    is_text,
    is_texts,
    printable,
    seconds,
    text,
    texts,
)
from remit.model.errors import Refused
from remit.model.identity import Authentication, Device, Kind
from remit.model.reasons import Reason

_STS = re.compile(r"https://sts\.windows\.net/([0-9a-f-]{36})/")


def is_address(value: object) -> bool:
    """An IPv4 or IPv6 address without a zone."""
    try:
        return isinstance(value, str) and "%" not in value and bool(ip_address(value))
    except ValueError:
        return False


def is_arm_id(value: object) -> bool:
    """A resource of Azure Resource Manager, in any case of letters."""
    return is_text(value) and str(value).lower().startswith("/subscriptions/") and str(value).isprintable()


_TEXT = Claim(Need.OPTIONAL, is_text, "a string")
_TEXTS = Claim(Need.OPTIONAL, is_texts, "a list of strings")
_GUID = "a lower-case GUID"
_SECONDS = Claim(Need.REQUIRED, is_seconds, "a whole number of seconds")
_STRENGTH = Claim(Need.OPTIONAL, lambda value: value in ("0", "1", "2"), "`0`, `1` or `2`", Reason.TOKEN_CLIENT)
_ELSEWHERE = Claim(Need.ELSEWHERE)
_FOREIGN = Claim(Need.FOREIGN)

_COMMON: Mapping[str, Claim] = {
    "exp": _SECONDS,
    "nbf": _SECONDS,
    "iat": _SECONDS,
    "oid": Claim(Need.REQUIRED, is_guid, _GUID),
    "sub": Claim(Need.REQUIRED, is_text, "a string"),  # pairwise for people, the object id for apps
    "uti": Claim(Need.REQUIRED, is_text, "a string"),
    # what it says of them
    "idtyp": Claim(Need.OPTIONAL, lambda value: value in ("app", "user"), "`app` or `user`"),
    "groups": Claim(Need.OPTIONAL, is_guids, "a list of GUIDs", Reason.IDENTITY_INCOMPLETE),
    "wids": Claim(Need.OPTIONAL, is_guids, "a list of GUIDs"),
    "acct": Claim(Need.OPTIONAL, lambda value: type(value) is int and value in (0, 1), "0 or 1"),
    "auth_time": Claim(Need.OPTIONAL, is_seconds, "a whole number of seconds"),
    "deviceid": Claim(Need.OPTIONAL, is_guid, _GUID),
    "ipaddr": Claim(Need.OPTIONAL, is_address, "an IP address"),
    "xms_mirid": Claim(Need.OPTIONAL, is_arm_id, "the id of an Azure resource"),
    **dict.fromkeys(("roles", "acrs", "amr", "xms_cc", "signin_state"), _TEXTS),
    **dict.fromkeys(
        ("scp", "idp", "sid", "name", "preferred_username", "unique_name", "upn", "app_displayname"), _TEXT
    ),
    # rules of their own, or of no consequence
    **dict.fromkeys(("iss", "hasgroups", "_claim_names", "_claim_sources"), _ELSEWHERE),
    **dict.fromkeys(("acr", "aio", "ctry", "email", "family_name", "given_name", "rh", "xms_ftd"), _ELSEWHERE),
    # an ID token, a logout token, a token that is good only with the proof of a key
    **dict.fromkeys(("at_hash", "c_hash", "nonce", "events", "cnf"), _FOREIGN),
}


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """One version's table; `client`: the claim that names the application."""

    client: str
    table: Mapping[str, Claim]


def _version(number: str, client: str, strength: str, others: tuple[str, str]) -> Version:
    party = {
        "tid": Claim(Need.REQUIRED, is_guid, _GUID, Reason.TOKEN_TENANT),
        "aud": Claim(Need.REQUIRED, is_text, "a string", Reason.TOKEN_AUDIENCE),
        client: Claim(Need.REQUIRED, is_guid, _GUID, Reason.TOKEN_CLIENT),
        "ver": Claim(Need.REQUIRED, lambda value: value == number, f"`{number}`"),
        strength: _STRENGTH,
    }
    return Version(client, {**party, **dict.fromkeys(others, _FOREIGN), **_COMMON})


V1 = _version("1.0", "appid", "appidacr", ("azp", "azpacr"))
V2 = _version("2.0", "azp", "azpacr", ("appid", "appidacr"))


def kind(claims: Mapping[str, object]) -> Kind:
    """App-only tokens say `idtyp` app, have no scopes and are their own subject; people's have scopes."""
    if claims.get("idtyp") == "app":
        if "scp" in claims or claims["sub"] != claims["oid"]:
            raise Refused(Reason.TOKEN_CLAIMS, "the token says `idtyp` app, yet has a person's `scp` or `sub`")
        return Kind.WORKLOAD
    if not text(claims, "scp").split():
        raise Refused(
            Reason.TOKEN_CLAIMS,
            "the token has neither `scp` nor `idtyp` app",
            hint="add the optional claim `idtyp` to the app registration",
        )
    return Kind.PERSON


def home(claims: Mapping[str, object], tenant: str, own: frozenset[str]) -> str:
    """Where a guest comes from: a tenant's id or a provider's name; empty for whoever is shown to be a member.

    `own`: the values of `idp` that name the tenant itself. Raises `Refused` for a person without `acct`.
    """
    provider = text(claims, "idp")
    if provider and provider not in own:
        tenants = _STS.fullmatch(provider)
        return tenants[1] if tenants else provider
    if claims.get("idtyp") == "app" or claims.get("acct") == 0:
        return ""
    if "acct" in claims:
        return tenant  # a guest whose account the tenant itself keeps
    raise Refused(
        Reason.TOKEN_CLAIMS,
        "the token does not say whether its owner is a member or a guest",
        hint="add the optional claim `acct` to the app registration",
    )


def check_guest(origin: str, guests: frozenset[str]) -> None:
    """Raises `Refused` for a guest whose home nobody listed."""
    if origin and origin not in guests:
        raise Refused(
            Reason.TOKEN_TENANT,
            f"the token is a guest's, and guests from `{printable(origin)}` are not trusted here",
            hint="ask an administrator to list that tenant under `guests`",
        )


def overage(claims: Mapping[str, object]) -> bool:
    """Whether Entra left the groups out; raises `Refused` with `IDENTITY_INCOMPLETE` when it cannot be told.

    The address in `_claim_sources` is never read: it is the token's word, and names a host that was switched off.
    """
    if "hasgroups" not in claims and "_claim_names" not in claims:
        return False
    names = claims.get("_claim_names", {"groups": "src1"})
    known = isinstance(names, dict) and names.keys() == {"groups"} and is_text(names["groups"])
    if not known or claims.get("hasgroups", True) is not True or "groups" in claims:
        raise Refused(Reason.IDENTITY_INCOMPLETE, "the token leaves claims to other sources in a way not known here")
    return True


def authentication(claims: Mapping[str, object]) -> Authentication:
    """How and when somebody signed in."""
    return Authentication(
        methods=texts(claims, "amr"),
        contexts=texts(claims, "acrs"),
        capabilities=frozenset(capability.lower() for capability in texts(claims, "xms_cc")),
        at=seconds(claims, "auth_time"),
    )


def device(claims: Mapping[str, object]) -> Device:
    """The device that the sign-in came from."""
    state = texts(claims, "signin_state")
    return Device(
        id=text(claims, "deviceid"),
        managed="dvc_mngd" in state,
        compliant="dvc_cmp" in state,
        known_network="inknownntwk" in state,
    )


def display(claims: Mapping[str, object], version: Version) -> str:
    """A name for people's eyes; the application's id when there is no other."""
    names = ("preferred_username", "upn", "unique_name", "name", "app_displayname", version.client)
    return printable(next(filter(None, (text(claims, name) for name in names))))


def address(claims: Mapping[str, object]) -> str:
    """Where the token was obtained from, in one spelling; empty when unsaid."""
    return str(ip_address(text(claims, "ipaddr"))) if "ipaddr" in claims else ""


def attributes(claims: Mapping[str, object], who: Kind) -> tuple[tuple[str, str], ...]:
    """A managed identity's own resource; ids of Azure resources are the same in any case of letters."""
    found = text(claims, "xms_mirid").lower() if who is Kind.WORKLOAD else ""
    return (("xms_mirid", found),) if found else ()
