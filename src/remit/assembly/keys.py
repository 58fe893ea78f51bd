"""The public keys of all issuers: for the arbiter, which judges tokens, and for the gateway, which looks first."""

import asyncio
import json
from collections.abc import Mapping
from typing import NoReturn

import httpx

from remit.identity.tokens.keys import DISCOVERY, REFRESH, Issuer, ProviderKeys
from remit.settings.identity import IdentitySettings

_SOON = 1.0  # seconds


class KeyRing:
    """One `ProviderKeys` for each issuer. `client`: as `http_client` makes it."""

    def __init__(self, who: IdentitySettings, client: httpx.AsyncClient) -> None:
        self._client = client
        self._others: dict[tuple[str, tuple[str, ...], str], ProviderKeys] = {}
        self.entra = ProviderKeys(who.entra, client)
        self.oidc = {one.issuer: ProviderKeys(one, client, jwks_host=one.jwks_host) for one in who.oidc}
        # Entra signs tokens of both versions with the same keys
        self._algorithms = {who.entra.issuer: who.entra.algorithms}
        self._algorithms |= {one.issuer: one.algorithms for one in who.oidc}
        self._by_issuer = {who.entra.issuer: self.entra, who.entra.issuer_v1: self.entra, **self.oidc}

    def of(self, issuer: Issuer, document: str = DISCOVERY) -> ProviderKeys:
        """The keys of one that gives no tokens for the gateway, or of one that is known already.

        Known by the same document and for the same algorithms: a key is bound to one of those that it is read for.
        """
        if document == DISCOVERY and self._algorithms.get(issuer.issuer) == issuer.algorithms:
            return self._by_issuer[issuer.issuer]
        place = (issuer.issuer, issuer.algorithms, document)
        return self._others.setdefault(place, ProviderKeys(issuer, self._client, document=document))

    async def refresh(self) -> Mapping[str, str]:
        """Fetches all of them now, side by side; the JWK sets by exact `iss`, as text, of those who answered."""
        fetched = await asyncio.gather(*(keys.refresh() for keys in self._all))
        fresh = [keys for keys, came in zip(self._all, fetched, strict=True) if came]
        return {
            issuer: json.dumps(keys.jwks(), sort_keys=True) for issuer, keys in self._by_issuer.items() if keys in fresh
        }

    async def pause(self) -> None:
        """Waits until it is time again; a tenant that has never answered is asked again soon."""
        await asyncio.sleep(_SOON if self.trouble else REFRESH)

    async def keep_fresh(self) -> NoReturn:
        """Fetches all of them for ever."""
        while True:
            await self.pause()
            await self.refresh()

    @property
    def trouble(self) -> str:
        """Why nobody can be believed, empty while the tenant's own keys are known."""
        return "" if self.entra.jwks()["keys"] else "the identity provider's keys are not known"

    @property
    def _all(self) -> tuple[ProviderKeys, ...]:
        return (self.entra, *self.oidc.values(), *self._others.values())
