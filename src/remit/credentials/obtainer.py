"""From a permitted request to the token that it runs with: purpose, then hop by hop, each kept for its life.

Implements `access.ports.Obtainer` (DESIGN section 7). Leaves out: whether anything is permitted, and workloads,
whose subject token Remit will sign itself.
"""

import asyncio
import time
from collections.abc import Callable

from remit.credentials.azure_imds import ManagedIdentity
from remit.credentials.cache import TokenCache, cache_key
from remit.credentials.entra_obo import EntraOnBehalfOf
from remit.credentials.google_iam import GoogleIam
from remit.credentials.google_sts import GoogleSts
from remit.credentials.hop import HopDenied, Token
from remit.credentials.purpose import purpose_of
from remit.credentials.settings import CredentialSettings
from remit.model.credential import Credential, Purpose
from remit.model.errors import HopFailed
from remit.model.identity import Identity, Kind
from remit.model.operation import Request
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

FLOOR = 300.0  # seconds; google-auth asks again on every call when a token has fewer than 225 left
MIDDLE_FLOOR = 60.0  # seconds; enough to finish the hops that follow
DROP_PAUSE = 60.0  # seconds between two assertions that are given up: Azure's metadata server takes few calls a second


class Obtainer:
    """The way from Entra to Google. `clock`: monotonic seconds, `wall`: seconds since the epoch.

    `patience`: seconds that a call through the gateway waits for its token, `None` for as long as the hops take.
    """

    def __init__(
        self,
        settings: CredentialSettings,
        *,
        identity: ManagedIdentity,
        entra: EntraOnBehalfOf,
        sts: GoogleSts,
        iam: GoogleIam,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        patience: float | None = None,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._entra = entra
        self._sts = sts
        self._iam = iam
        self._clock = clock
        self._wall = wall
        self._dropped_at = -DROP_PAUSE
        self._patience = patience
        self._leaves = TokenCache("google-iam", floor=FLOOR, clock=clock)
        self._federated = TokenCache("google-sts", floor=MIDDLE_FLOOR, clock=clock)
        self._on_behalf = TokenCache("entra-obo", floor=MIDDLE_FLOOR, clock=clock)
        self._assertions = TokenCache("azure-imds", floor=MIDDLE_FLOOR, clock=clock)

    def purpose(self, identity: Identity, request: Request) -> Purpose:
        """The account and scopes that a permitted request runs with; raises `Refused` when none is mapped."""
        return purpose_of(identity, request, self._settings.mappings, self._settings.lifetime)

    async def obtain(self, identity: Identity, token: UnverifiedToken, purpose: Purpose) -> Credential:
        """A credential with at least five minutes left; raises `HopFailed`."""
        if identity.principal.kind is not Kind.PERSON:
            message = "entra exchanges tokens of people on their behalf, not an application's own"
            raise HopFailed("entra-obo", Reason.EXCHANGE_REFUSED, message)
        who = self._who(identity, token)
        what = (purpose.account, purpose.scopes, purpose.buckets, str(purpose.lifetime))
        # buckets are asked for at the broker, whose callers wait
        patience = None if purpose.buckets else self._patience
        try:
            async with asyncio.timeout(patience):
                leaf = await self._leaves.get(cache_key(*who, *what), lambda: self._impersonate(who, token, purpose))
        except TimeoutError:
            # the flight goes on, so that whoever tries again soon finds its token
            hop = self._awaited(who)
            message = f"`{hop}` did not answer within {patience:g} s"
            raise HopFailed(hop, Reason.EXCHANGE_UNAVAILABLE, message, hint="try again soon") from None
        return Credential(leaf.value, int(self._wall() + leaf.life), purpose.account, purpose.scopes)

    async def close(self) -> None:
        """Ends renewals that are under way; for a process that stops."""
        for cache in (self._leaves, self._federated, self._on_behalf, self._assertions):
            await cache.close()

    def _awaited(self, who: tuple[str, ...]) -> str:
        """The hop that a flight for this caller waits for: the first on the way that is under way."""
        key, own = cache_key(*who), cache_key("assertion")
        on_the_way = ((self._assertions, own), (self._on_behalf, key), (self._federated, key))
        return next((cache.hop for cache, where in on_the_way if cache.fetching(where)), self._leaves.hop)

    def _who(self, identity: Identity, token: UnverifiedToken) -> tuple[str, ...]:
        """Everything that tells one caller from another, the very token included."""
        principal = identity.principal
        return (principal.issuer, principal.tenant, principal.subject, self._settings.provider, token.digest())

    async def _impersonate(self, who: tuple[str, ...], token: UnverifiedToken, purpose: Purpose) -> Token:
        # 1. the person's token for the second audience, 2. Google's token for that person
        federated = await self._federated.get(cache_key(*who), lambda: self._federate(who, token))
        # 3. the service account's token
        leaf = await self._iam.impersonate(federated.value, purpose.account, purpose.scopes, purpose.lifetime)
        # 4. no wider than its purpose
        return await self._sts.downscope(leaf, purpose.buckets) if purpose.buckets else leaf

    async def _federate(self, who: tuple[str, ...], token: UnverifiedToken) -> Token:
        on_behalf = await self._on_behalf.get(cache_key(*who), lambda: self._exchange(token))
        return await self._sts.exchange(on_behalf.value)

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
