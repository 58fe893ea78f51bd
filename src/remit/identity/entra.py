"""Entra v2 access tokens, of people and of apps, for one tenant.

Sources: learn.microsoft.com "Access token claims reference", "Optional claims reference", "Secure applications
and APIs by validating claims". Entra signs for all tenants with shared keys, so a signature proves nothing about
the tenant. The app registration must emit the optional claims `acct`, `idtyp` and `groups` (object ids); Entra
leaves `groups` out for somebody who is in none. Leaves out: v1 tokens, overage at Graph (refused as incomplete),
continuous access evaluation events.
"""

import logging
from collections.abc import Mapping

from remit.identity import jose
from remit.identity.claims import Claim, Need, check, is_guid, is_guids, is_seconds, is_text, is_texts
from remit.identity.keys import KeySource
from remit.identity.settings import EntraIssuer
from remit.model.errors import Refused
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

ALGORITHM = "RS256"  # the only one that Entra signs with: `id_token_signing_alg_values_supported`
SKEW = 60  # seconds that two well-kept clocks may differ
MAX_DISPLAY = 256  # Entra's bound for display names
MAX_REPORTS = 32  # log lines about unknown claims, one a combination: a log is no function of traffic

_GUID = "a lower-case GUID"
_TEXT = "a string"
_TEXTS = "a list of strings"
_SECONDS = "a whole number of seconds"
_ELSEWHERE = Claim(Need.ELSEWHERE)
_FOREIGN = Claim(Need.FOREIGN)

CLAIMS: Mapping[str, Claim] = {
    # whose it is, and for whom
    "tid": Claim(Need.REQUIRED, is_guid, _GUID, Reason.TOKEN_TENANT),
    "aud": Claim(Need.REQUIRED, is_text, _TEXT, Reason.TOKEN_AUDIENCE),
    "azp": Claim(Need.REQUIRED, is_guid, _GUID, Reason.TOKEN_CLIENT),
    "ver": Claim(Need.REQUIRED, lambda value: value == "2.0", "`2.0`"),
    "exp": Claim(Need.REQUIRED, is_seconds, _SECONDS),
    "nbf": Claim(Need.REQUIRED, is_seconds, _SECONDS),
    "iat": Claim(Need.REQUIRED, is_seconds, _SECONDS),
    "oid": Claim(Need.REQUIRED, is_guid, _GUID),
    "sub": Claim(Need.REQUIRED, is_text, _TEXT),  # pairwise for people, the object id for apps
    "uti": Claim(Need.REQUIRED, is_text, _TEXT),
    # what it says of them
    "idtyp": Claim(Need.OPTIONAL, lambda value: value in ("app", "user"), "`app` or `user`"),
    "scp": Claim(Need.OPTIONAL, is_text, _TEXT),
    "roles": Claim(Need.OPTIONAL, is_texts, _TEXTS),
    "groups": Claim(Need.OPTIONAL, is_guids, "a list of GUIDs", Reason.IDENTITY_INCOMPLETE),
    "acrs": Claim(Need.OPTIONAL, is_texts, _TEXTS),
    "amr": Claim(Need.OPTIONAL, is_texts, _TEXTS),
    "xms_cc": Claim(Need.OPTIONAL, is_texts, _TEXTS),
    "idp": Claim(Need.OPTIONAL, is_text, _TEXT),
    "sid": Claim(Need.OPTIONAL, is_text, _TEXT),
    "name": Claim(Need.OPTIONAL, is_text, _TEXT),
    "preferred_username": Claim(Need.OPTIONAL, is_text, _TEXT),
    "app_displayname": Claim(Need.OPTIONAL, is_text, _TEXT),
    # rules of their own below, or of no consequence
    **dict.fromkeys(("iss", "acct", "hasgroups", "_claim_names", "_claim_sources"), _ELSEWHERE),
    **dict.fromkeys(
        ("acr", "aio", "azpacr", "auth_time", "email", "ipaddr", "rh", "wids", "xms_ftd", "xms_mirid"), _ELSEWHERE
    ),
    # an ID token
    **dict.fromkeys(("at_hash", "c_hash", "nonce"), _FOREIGN),
}

log = logging.getLogger(__name__)


class EntraAuthenticator:
    """One tenant's tokens. `keys` answers with the tenant's current public keys."""

    def __init__(self, settings: EntraIssuer, keys: KeySource) -> None:
        self._settings = settings
        self._keys = keys
        self._reported: set[tuple[str, ...]] = set()

    async def authenticate(self, token: UnverifiedToken, now: int) -> Identity:
        """The identity that the token proves at `now`, in seconds; raises `Refused`."""
        form = jose.parse_compact(token)
        identity = await self.attempt(form, jose.read_claims(form), now)
        if identity is None:
            raise Refused(Reason.TOKEN_ISSUER)
        return identity

    async def attempt(self, form: jose.Jws, claims: Mapping[str, object], now: int) -> Identity | None:
        """`None` when the token names another issuer; else as `authenticate`, on a token of strict form."""
        # 1. exactly this issuer: no prefix, no template, no list
        if claims.get("iss") != self._settings.issuer:
            return None
        # 2. signed with the issuer's algorithm by one of its current keys
        if form.typ != "JWT":
            raise Refused(Reason.TOKEN_MALFORMED, "the token's `typ` is not `JWT`")
        key = await self._keys.key(form.kid)
        if key is None:
            raise Refused(Reason.TOKEN_SIGNATURE, "the token is signed with a key that its issuer does not publish")
        jose.verify(form, key, ALGORITHM)
        # 3. groups complete, or nothing
        if "_claim_names" in claims or "hasgroups" in claims:
            raise Refused(Reason.IDENTITY_INCOMPLETE, hint="ask an administrator to emit only assigned groups")
        # 4. every claim there and of its shape
        self._report(check(claims, CLAIMS))
        # 5. this tenant, this audience, a known client, now
        self._check_party(claims)
        _check_times(claims, now)
        # 6. who that is
        return self._identity(claims)

    def _check_party(self, claims: Mapping[str, object]) -> None:
        if claims["tid"] != self._settings.tenant:
            raise Refused(Reason.TOKEN_TENANT)
        if claims["aud"] != self._settings.audience:
            raise Refused(Reason.TOKEN_AUDIENCE, hint="sign in with `remit login`, which asks for the right audience")
        if claims["azp"] not in self._settings.clients:
            raise Refused(Reason.TOKEN_CLIENT)

    def _identity(self, claims: Mapping[str, object]) -> Identity:
        kind = _kind(claims)
        tenant, subject = _text(claims, "tid"), _text(claims, "oid")
        return Identity(
            principal=Principal(self._settings.issuer, tenant, subject, kind),
            display=_display(claims),
            groups=_texts(claims, "groups"),
            groups_at=_seconds(claims, "iat"),
            roles=_texts(claims, "roles"),
            scopes=frozenset(_text(claims, "scp").split()),
            client=_text(claims, "azp"),
            authentication=Authentication(
                methods=_texts(claims, "amr"),
                contexts=_texts(claims, "acrs"),
                capabilities=frozenset(capability.lower() for capability in _texts(claims, "xms_cc")),
            ),
            guest=self._guest(claims, kind),
            issued_at=_seconds(claims, "iat"),
            expires_at=_seconds(claims, "exp"),
            token_id=_text(claims, "uti"),
            session=_text(claims, "sid"),
        )

    def _guest(self, claims: Mapping[str, object], kind: Kind) -> bool:
        """Whoever is not shown to be a member is a guest."""
        home = {"", self._settings.issuer, f"https://sts.windows.net/{self._settings.tenant}/"}
        if _text(claims, "idp") not in home:
            return True
        member = type(claims.get("acct")) is int and claims["acct"] == 0
        return kind is Kind.PERSON and not member

    def _report(self, unknown: tuple[str, ...]) -> None:
        if unknown and unknown not in self._reported and len(self._reported) < MAX_REPORTS:
            self._reported.add(unknown)
            log.info("tokens of tenant %s carry claims that decide nothing: %s", self._settings.tenant, unknown)


def _kind(claims: Mapping[str, object]) -> Kind:
    """App-only tokens say `idtyp` app, have no scopes and are their own subject; people's have scopes."""
    scopes = _text(claims, "scp").split()
    if claims.get("idtyp") == "app":
        if "scp" in claims or claims["sub"] != claims["oid"]:
            raise Refused(Reason.TOKEN_CLAIMS, "the token says `idtyp` app, yet has a person's `scp` or `sub`")
        return Kind.WORKLOAD
    if not scopes:
        raise Refused(
            Reason.TOKEN_CLAIMS,
            "the token has neither `scp` nor `idtyp` app",
            hint="add the optional claim `idtyp` to the app registration",
        )
    return Kind.PERSON


def _check_times(claims: Mapping[str, object], now: int) -> None:
    issued, starts, ends = (_seconds(claims, name) for name in ("iat", "nbf", "exp"))
    if ends <= issued:
        raise Refused(Reason.TOKEN_CLAIMS, "the token's claim `exp` is not after `iat`")
    if now >= ends + SKEW:
        raise Refused(Reason.TOKEN_EXPIRED, hint="get a new token: `remit login`")
    if now < max(issued, starts) - SKEW:
        raise Refused(Reason.TOKEN_NOT_YET_VALID, hint="compare this machine's clock with the time")


def _display(claims: Mapping[str, object]) -> str:
    """A name for people's eyes, without anything that a terminal or a log line would act on."""
    names = (_text(claims, name) for name in ("preferred_username", "name", "app_displayname", "azp"))
    name = next(filter(None, names))
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name[:MAX_DISPLAY])


def _text(claims: Mapping[str, object], name: str) -> str:
    return str(claims.get(name, ""))


def _texts(claims: Mapping[str, object], name: str) -> frozenset[str]:
    value = claims.get(name, ())
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset()


def _seconds(claims: Mapping[str, object], name: str) -> int:
    return int(str(claims[name]))
