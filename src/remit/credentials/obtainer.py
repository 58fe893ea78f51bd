"""From a permitted request to the token that it runs with: purpose, then hop by hop, each kept for its life.

Implements `access.ports.Obtainer` (DESIGN section 7). Two ways lead to Google: people of the Entra tenant go by their
token, on their behalf; workloads, people of other providers, and sessions that hold no token go by Remit's own issuer.
To Azure leads one, by the application that is meant (`azure_federation`), whose tokens are kept for each caller apart;
to a service of the estate one: Remit's assertion (`assertion`). Leaves out: whether anything is permitted.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from remit.credentials import assertion, azure_federation
from remit.credentials.assertion import Assertions
from remit.credentials.azure_federation import EntraFederation
from remit.credentials.azure_imds import ManagedIdentity
from remit.credentials.cache import Part, TokenCache, cache_key
from remit.credentials.entra_obo import EntraOnBehalfOf
from remit.credentials.google_iam import GoogleIam
from remit.credentials.google_sts import GoogleSts
from remit.credentials.hop import HopDenied, Token
from remit.credentials.own_issuer import HOP, MAX_GROUPS, OwnIssuer
from remit.credentials.purpose import purpose_of
from remit.credentials.settings import CredentialSettings
from remit.model.credential import Cloud, Credential, Purpose
from remit.model.errors import HopFailed
from remit.model.estate import Service
from remit.model.identity import Identity, Kind
from remit.model.operation import Request
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

FLOOR = 300.0  # seconds; google-auth asks again on every call when a token has fewer than 225 left
MIDDLE_FLOOR = 60.0  # seconds; enough to finish the hops that follow
MAX_TOKEN_GROUPS = 200  # Entra leaves the groups out of a token when there are more, and Google asks nobody for them
DROP_PAUSE = 60.0  # seconds between two assertions that are given up: Azure's metadata server takes few calls a second

_ON_BEHALF, _OWN, _AZURE = "on-behalf", "own", "azure"

Who = tuple[Part, ...]
Fetch = Callable[[], Awaitable[Token]]


@dataclass(frozen=True, slots=True)
class OwnWay:
    """Remit's own issuer, and the exchange at the provider that trusts it."""

    issuer: OwnIssuer
    sts: GoogleSts

    @property
    def audience(self) -> str:
        """Whom its tokens are for: the provider alone."""
        return f"https:{self.sts.provider}"


class Obtainer:
    """The ways to Google, to Azure, and to services. `clock`: monotonic seconds, `wall`: seconds since the epoch.

    `own`: the way of those whom Entra exchanges nothing for, `None` where nobody of them may come; `patience`: seconds
    that a call through the gateway waits for its token, `None` for as long as the hops take; `services`: those of the
    estate, and `assertions`: what they are told who asks with, `None` where there are none; `azure`: where tokens of
    applications come from, `None` without an issuer that they could trust.
    """

    def __init__(
        self,
        settings: CredentialSettings,
        *,
        identity: ManagedIdentity,
        entra: EntraOnBehalfOf,
        sts: GoogleSts,
        iam: GoogleIam,
        own: OwnWay | None = None,
        azure: EntraFederation | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        patience: float | None = None,
        assertions: Assertions | None = None,
        services: Sequence[Service] = (),
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._entra = entra
        self._sts = sts
        self._iam = iam
        self._own = own
        self._azure = azure
        self._clock = clock
        self._wall = wall
        self._dropped_at = -DROP_PAUSE
        self._patience = patience
        self._assert = assertions
        self._services = tuple(services)
        self._applications = TokenCache(azure_federation.HOP, floor=FLOOR, clock=clock)
        self._leaves = TokenCache("google-iam", floor=FLOOR, clock=clock)
        self._federated = TokenCache("google-sts", floor=MIDDLE_FLOOR, clock=clock)
        self._on_behalf = TokenCache("entra-obo", floor=MIDDLE_FLOOR, clock=clock)
        self._assertions = TokenCache("azure-imds", floor=MIDDLE_FLOOR, clock=clock)

    def purpose(self, identity: Identity, request: Request) -> Purpose:
        """The account and scopes that a permitted request runs with, or the audience of the service that it is for.

        Raises `Refused` when no account is mapped, or when the request is for several parties.
        """
        return purpose_of(identity, request, self._settings.mappings, self._settings.lifetime, self._services)

    async def obtain(self, identity: Identity, token: UnverifiedToken | None, purpose: Purpose) -> Credential:
        """A credential with at least five minutes left, or an assertion with less than one; raises `HopFailed`.

        `token`: the one that proved the identity, `None` for a session that holds none.
        """
        if purpose.audience:
            if self._assert is None:
                message = "no assertions are configured, and a service is told in no other way who asks"
                raise HopFailed(assertion.HOP, Reason.EXCHANGE_REFUSED, message)
            return await self._assert.obtain(identity, purpose.audience)
        if purpose.cloud is Cloud.AZURE:
            return await self._at_azure(identity, token, purpose)
        who, federate = self._way(identity, token)
        what = (purpose.account, purpose.scopes, purpose.buckets, str(purpose.lifetime))
        # buckets are asked for at the broker, whose callers wait
        patience = None if purpose.buckets else self._patience
        try:
            async with asyncio.timeout(patience):
                leaf = await self._leaves.get(cache_key(*who, *what), lambda: self._impersonate(who, federate, purpose))
        except TimeoutError:
            # the flight goes on, so that whoever tries again soon finds its token
            hop = self._awaited(who)
            message = f"`{hop}` did not answer within {patience:g} s"
            raise HopFailed(hop, Reason.EXCHANGE_UNAVAILABLE, message, hint="try again soon") from None
        return Credential(leaf.value, int(self._wall() + leaf.life), purpose.account, purpose.scopes)

    async def _at_azure(self, identity: Identity, token: UnverifiedToken | None, purpose: Purpose) -> Credential:
        """An application's token, of this caller's own: with its proof, roles and all that the application is."""
        azure = self._azure
        if azure is None:
            hop, message = azure_federation.HOP, "no own issuer is configured, which applications at Azure could trust"
            raise HopFailed(hop, Reason.EXCHANGE_REFUSED, message, hint="set `credentials.own_issuer` in remit.yaml")
        line, scope = azure_federation.line_for(identity, purpose, self._settings.azure)
        principal = identity.principal
        known = (principal.issuer, principal.tenant, principal.subject, principal.kind.value)
        proof = (identity.session, identity.token_id, token.digest() if token else "", tuple(sorted(identity.roles)))
        key = cache_key(_AZURE, *known, *proof, line.client, line.subject, scope)
        found = await self._applications.get(key, lambda: azure.token(line, scope))
        return Credential(found.value, int(self._wall() + found.life), purpose.account, purpose.scopes)

    def hops(self, identity: Identity, token: UnverifiedToken | None) -> tuple[str, ...]:
        """The names of the hops that a token of Google's comes by for this caller, in order; raises `HopFailed`."""
        who, _ = self._way(identity, token)
        first = (self._assertions.hop, self._on_behalf.hop) if who[0] == _ON_BEHALF else (HOP,)
        return (*first, self._federated.hop, self._leaves.hop)

    async def close(self) -> None:
        """Ends renewals that are under way; for a process that stops."""
        for cache in (self._applications, self._leaves, self._federated, self._on_behalf, self._assertions):
            await cache.close()

    def _awaited(self, who: Who) -> str:
        """The hop that a flight for this caller waits for: the first on the way that is under way."""
        key, own = cache_key(*who), cache_key("assertion")
        first = ((self._assertions, own),) if who[0] == _ON_BEHALF else ()
        on_the_way = (*first, (self._on_behalf, key), (self._federated, key))
        return next((cache.hop for cache, where in on_the_way if cache.fetching(where)), self._leaves.hop)

    def _way(self, identity: Identity, token: UnverifiedToken | None) -> tuple[Who, Fetch]:
        """Which way somebody goes: everything that tells one caller from another, and how a federated token is had."""
        own, principal = self._own, identity.principal
        known = (principal.issuer, principal.tenant, principal.subject)
        # 1. people of the tenant, on their behalf: the very token is part of who they are
        if token is not None and self._exchangeable(identity):
            who: Who = (_ON_BEHALF, *known, self._settings.provider, token.digest())
            return who, lambda: self._federate(who, token)
        # 2. everybody else, by Remit's own word, which is never wider than the identity that it was given for
        if own is None:
            message = "no own issuer is configured, and entra exchanges tokens of people of its tenant only"
            raise HopFailed(HOP, Reason.EXCHANGE_REFUSED, message, hint="set `credentials.own_issuer` in remit.yaml")
        proof = (identity.session, identity.token_id, token.digest() if token else "")
        may = (principal.kind.value, own.issuer.vouched(identity), tuple(sorted(identity.roles)))
        return (_OWN, *known, own.sts.provider, *proof, *may), lambda: self._vouch(own, identity)

    def _exchangeable(self, identity: Identity) -> bool:
        """Whether Entra exchanges this identity's token, and Google then knows the groups."""
        principal = identity.principal
        if principal.kind is not Kind.PERSON or principal.tenant != self._settings.tenant:
            return False
        own = self._own
        return own is None or len(identity.groups) <= MAX_TOKEN_GROUPS or len(own.issuer.vouched(identity)) > MAX_GROUPS

    async def _impersonate(self, who: Who, federate: Fetch, purpose: Purpose) -> Token:
        # 1. Google's token for the caller
        federated = await self._federated.get(cache_key(*who), federate)
        # 2. the service account's token
        leaf = await self._iam.impersonate(federated.value, purpose.account, purpose.scopes, purpose.lifetime)
        # 3. no wider than its purpose
        return await self._sts.downscope(leaf, purpose.buckets) if purpose.buckets else leaf

    async def _federate(self, who: Who, token: UnverifiedToken) -> Token:
        """By the person's token for the second audience."""
        on_behalf = await self._on_behalf.get(cache_key(*who), lambda: self._exchange(token))
        return await self._sts.exchange(on_behalf.value)

    async def _vouch(self, own: OwnWay, identity: Identity) -> Token:
        """By Remit's own word."""
        return await own.sts.exchange(own.issuer.sign(identity, own.audience))

    async def _exchange(self, token: UnverifiedToken) -> Token:
        assertion = await self._assertion()
        try:
            return await self._entra.exchange(token, assertion.value)
        except HopDenied as denied:
            # the application was not believed: keys may have changed since its assertion was made, a day ago at most
            if denied.word != "invalid_client":
                raise
            self._drop(assertion)
            newer = await self._assertion()
            if newer.value == assertion.value:
                raise
        return await self._entra.exchange(token, newer.value)

    async def _assertion(self) -> Token:
        return await self._assertions.get(cache_key("assertion"), self._identity.assertion)

    def _drop(self, assertion: Token) -> None:
        now = self._clock()
        if now - self._dropped_at >= DROP_PAUSE:
            self._dropped_at = now
            self._assertions.drop(cache_key("assertion"), assertion.value)
