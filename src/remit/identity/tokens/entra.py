"""Entra access tokens, v1 and v2, of people, applications and managed identities, for one tenant.

Sources: learn.microsoft.com "Access token claims reference", "Optional claims reference", "Secure applications
and APIs by validating claims". Entra signs for all tenants and both versions with shared keys, so a signature
proves nothing about the tenant. The app registration must emit the optional claims `acct`, `idtyp` and `groups`
(object ids); Entra leaves `groups` out for somebody who is in none, and names another source for somebody who is
in too many. Leaves out: the tables (`entra_claims`), how the directory is asked (`ports.GroupSource`), tokens that
need a proof of possession.
"""

from collections.abc import Mapping

from remit.identity.ports import GroupSource, Membership
from remit.identity.settings import EntraIssuer
from remit.identity.tokens import entra_claims, jose
from remit.identity.tokens.claims import Unknown, check, check_times, seconds, text, texts
from remit.identity.tokens.entra_claims import V1, V2, Version
from remit.identity.tokens.keys import KeySource, check_signature
from remit.model.errors import Refused
from remit.model.identity import Identity, Principal
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken


class EntraAuthenticator:
    """One tenant's tokens.

    `keys` answers with the tenant's current public keys; `groups`: the directory, for whoever is in too many groups for
    a token, `None` to refuse them.
    """

    def __init__(self, settings: EntraIssuer, keys: KeySource, groups: GroupSource | None = None) -> None:
        self._settings = settings
        self._keys = keys
        self._groups = groups
        self._own = frozenset({settings.issuer, settings.issuer_v1})
        self._audiences = {V2: frozenset({settings.audience}), V1: settings.uris | {settings.audience}}
        self._unknown = Unknown(f"tenant {settings.tenant}")

    async def authenticate(self, token: UnverifiedToken, now: int) -> Identity:
        """The identity that the token proves at `now`, in seconds; raises `Refused`."""
        form = jose.parse_compact(token)
        identity = await self.attempt(form, jose.read_claims(form), now)
        if identity is None:
            raise Refused(Reason.TOKEN_ISSUER)
        return identity

    async def attempt(self, form: jose.Jws, claims: Mapping[str, object], now: int) -> Identity | None:
        """`None` when the token names another issuer; else as `authenticate`, on a token of strict form."""
        # 1. exactly this issuer, as one of the two versions writes it: no prefix, no template, no list
        version = self._version(claims.get("iss"))
        if version is None:
            return None
        # 2. signed with the issuer's algorithm by one of its current keys
        if form.typ != "JWT":
            raise Refused(Reason.TOKEN_MALFORMED, "the token's `typ` is not `JWT`")
        await check_signature(form, self._keys, *self._settings.algorithms)
        # 3. every claim there, of its shape and of its version
        self._unknown.report(check(claims, version.table))
        # 4. this tenant, this audience, a known client, now
        self._check_party(claims, version)
        check_times(claims, now)
        # 5. who that is: a member, or a guest from a home that somebody listed
        principal = Principal(
            self._settings.issuer, text(claims, "tid"), text(claims, "oid"), entra_claims.kind(claims)
        )
        home = entra_claims.home(claims, self._settings.tenant, self._own)
        entra_claims.check_guest(home, self._settings.guests)
        # 6. the groups, complete or nothing
        membership = await self._membership(claims, principal, now)
        return _identity(claims, version, principal, home, membership)

    def _version(self, issuer: object) -> Version | None:
        if issuer == self._settings.issuer:
            return V2
        return V1 if issuer == self._settings.issuer_v1 else None

    def _check_party(self, claims: Mapping[str, object], version: Version) -> None:
        if claims["tid"] != self._settings.tenant:
            raise Refused(Reason.TOKEN_TENANT)
        if claims["aud"] not in self._audiences[version]:
            raise Refused(Reason.TOKEN_AUDIENCE, hint="sign in with `remit login`, which asks for the right audience")
        if claims[version.client] not in self._settings.clients:
            raise Refused(Reason.TOKEN_CLIENT)

    async def _membership(self, claims: Mapping[str, object], principal: Principal, now: int) -> Membership:
        if not entra_claims.overage(claims):
            return Membership(texts(claims, "groups"), seconds(claims, "iat"))
        if self._groups is None:
            raise Refused(Reason.IDENTITY_INCOMPLETE, hint="ask an administrator to emit only assigned groups")
        return await self._groups.of(principal, now)


def _identity(
    claims: Mapping[str, object], version: Version, principal: Principal, home: str, membership: Membership
) -> Identity:
    return Identity(
        principal=principal,  # the same for either version
        display=entra_claims.display(claims, version),
        groups=membership.groups,
        groups_at=membership.at,
        roles=texts(claims, "roles"),
        scopes=frozenset(text(claims, "scp").split()),
        client=text(claims, version.client),
        authentication=entra_claims.authentication(claims),
        guest=bool(home),
        issued_at=seconds(claims, "iat"),
        expires_at=seconds(claims, "exp"),
        token_id=text(claims, "uti"),
        session=text(claims, "sid"),
        home=home,
        device=entra_claims.device(claims),
        address=entra_claims.address(claims),
        attributes=entra_claims.attributes(claims, principal.kind),
    )
