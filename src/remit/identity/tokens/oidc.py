"""Tokens of any OpenID Connect issuer: RFC 9068 access tokens, and the ID tokens of clouds, clusters and pipelines.

The issuers of pipelines sign for anybody in the world, so a good signature admits nobody: a subject must be listed,
or its verified claims must fit a rule that gives it a role. Sources: RFC 9068 section 4, RFC 8725 sections 3.8 to
3.12, OpenID Connect Core section 2. Leaves out: what each kind of token holds (`oidc_kinds`), Entra (`entra`),
sign-in in a browser.
"""

from collections.abc import Mapping

from remit.identity.settings import OidcIssuer, OidcKind
from remit.identity.tokens import jose
from remit.identity.tokens.claims import (
    Unknown,
    check,
    check_times,
    contexts_of,
    is_texts,
    printable,
    seconds,
    text,
    texts,
)
from remit.identity.tokens.keys import KeySource, check_signature
from remit.identity.tokens.oidc_kinds import RULES, Claims
from remit.identity.tokens.role_rules import facts_of, roles_of
from remit.model.errors import Refused
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken


class OidcAuthenticator:
    """One issuer's tokens. `keys` answers with its current public keys."""

    def __init__(self, settings: OidcIssuer, keys: KeySource) -> None:
        self._settings = settings
        self._keys = keys
        self._rules = RULES[settings.kind]
        self._unknown = Unknown(f"issuer {settings.name}")

    async def authenticate(self, token: UnverifiedToken, now: int) -> Identity:
        """The identity that the token proves at `now`, in seconds; raises `Refused`."""
        form = jose.parse_compact(token)
        identity = await self.attempt(form, jose.read_claims(form), now)
        if identity is None:
            raise Refused(Reason.TOKEN_ISSUER)
        return identity

    async def attempt(self, form: jose.Jws, claims: Claims, now: int) -> Identity | None:
        """`None` when the token names another issuer; else as `authenticate`, on a token of strict form."""
        # 1. exactly this issuer
        if claims.get("iss") != self._settings.issuer:
            return None
        # 2. a token of this kind, signed with one of the issuer's algorithms by one of its current keys
        if form.typ not in self._rules.types:
            raise Refused(Reason.TOKEN_MALFORMED, "the token's `typ` is not that of the tokens accepted here")
        await check_signature(form, self._keys, *self._settings.algorithms)
        # 3. every claim there and of its shape
        self._unknown.report(check(claims, self._rules.table))
        # 4. for us, from a known client, now
        self._check_audience(claims.get("aud"))
        kind = self._rules.kind(claims)
        self._check_client(claims, kind)
        check_times(claims, now)
        # 5. where anybody could get such a token: somebody who was listed, or whom a rule fits
        attributes = self._rules.attributes(claims)
        roles = self._roles(claims, attributes)
        self._check_accepted(text(claims, "sub"), roles)
        # 6. who that is
        return self._identity(claims, kind, attributes, roles)

    def _check_audience(self, audience: object) -> None:
        named = audience if isinstance(audience, list) else [audience]
        if not is_texts(named) or len(named) > self._rules.audiences or self._settings.audience not in named:
            raise Refused(Reason.TOKEN_AUDIENCE, hint=f"ask its issuer for a token for `{self._settings.audience}`")

    def _check_client(self, claims: Claims, kind: Kind) -> None:
        if self._settings.kind is OidcKind.GOOGLE and kind is Kind.WORKLOAD:
            return  # a service account is its own party
        if self._rules.client and claims[self._rules.client] not in self._settings.clients:
            raise Refused(Reason.TOKEN_CLIENT)

    def _check_accepted(self, subject: str, roles: frozenset[str]) -> None:
        listed = self._settings.subjects
        if not listed and self._settings.kind is OidcKind.ACCESS_TOKEN:
            return  # issued for us, to a client that was listed: what its owner may do is for policy to say
        if (subject not in listed) if listed else not roles:
            raise Refused(
                Reason.TOKEN_CLAIMS,
                "the token's owner is neither listed nor fitted by a rule for its issuer",
                hint=f"ask an administrator to list the subject or to write a rule for `{self._settings.name}`",
            )

    def _roles(self, claims: Claims, attributes: Mapping[str, str]) -> frozenset[str]:
        facts = facts_of(claims) | {name: frozenset({value}) for name, value in attributes.items()}
        return roles_of(self._settings.roles, facts)

    def _groups(self, claims: Claims) -> frozenset[str]:
        """The issuer's groups under its name: no issuer may speak of another's, or of the directory's."""
        name = self._settings.groups_claim
        if not name or name not in claims:
            return frozenset()
        if not is_texts(claims[name]):
            raise Refused(Reason.IDENTITY_INCOMPLETE, f"the token's claim `{name}` is not a list of groups")
        return frozenset(f"{self._settings.name}/{group}" for group in texts(claims, name))

    def _display(self, claims: Claims) -> str:
        unproved = {"email"} if claims.get("email_verified") is not True else set()
        names = (text(claims, name) for name in self._rules.names if name not in unproved)
        return printable(next(filter(None, names)))

    def _identity(self, claims: Claims, kind: Kind, attributes: Mapping[str, str], roles: frozenset[str]) -> Identity:
        return Identity(
            principal=Principal(self._settings.issuer, self._settings.name, text(claims, "sub"), kind),
            display=self._display(claims),
            groups=self._groups(claims),
            groups_at=seconds(claims, "iat"),
            roles=roles,
            scopes=frozenset(text(claims, "scope").split()),
            client=text(claims, self._rules.client) if self._rules.client else "",
            authentication=_authentication(claims),
            guest=False,
            issued_at=seconds(claims, "iat"),
            expires_at=seconds(claims, "exp"),
            token_id=text(claims, "jti"),
            session=text(claims, "sid"),
            attributes=tuple(sorted(attributes.items())),
        )


def _authentication(claims: Claims) -> Authentication:
    return Authentication(
        methods=texts(claims, "amr"),
        contexts=contexts_of(claims.get("acr")),
        at=seconds(claims, "auth_time"),
    )
