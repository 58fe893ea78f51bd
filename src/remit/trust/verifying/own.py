"""Remit's own way, and what stands before anybody's: the issuer's keys, guests' tenants, each hop to the reviewer."""

import asyncio
from collections.abc import Iterable

import httpx

from remit.model.counts import counted
from remit.model.errors import HopFailed
from remit.trust.settings import TrustSettings
from remit.trust.verifying.findings import Hop
from remit.trust.verifying.ports import Walker

_TIMEOUT = 10.0  # seconds
_LOGIN = "https://login.microsoftonline.com"
_STEPS = {
    "azure-imds": "Azure gives Remit a token of its managed identity",
    "entra-obo": "Entra takes it for Remit's application, and gives a token for the second audience",
    "google-sts": "Google's provider takes that token, from Remit",
    "google-iam": "Remit becomes the reviewing account",
}
_CURES = {
    "azure-imds": "give this machine the managed identity of `credentials.on_behalf_of`",
    "entra-obo": "look at the application, its principal and its credential for the managed identity below",
    "google-sts": (
        "the pool or its provider is disabled, deleted, or takes another audience, issuer, tenant or condition: "
        "see the hops of the pool"
    ),
    "google-iam": "grant `roles/iam.workloadIdentityUser` on the reviewer to Remit's own application, and enable it",
}


async def own_way(walker: Walker) -> tuple[Hop, ...]:
    """Remit's own hops: those before the broken one hold, those behind it are not tried."""
    names = list(_STEPS)
    try:
        await walker.itself()
    except HopFailed as failed:
        done = names[: names.index(failed.hop)] if failed.hop in names else []
        cure = _CURES.get(failed.hop) or failed.hint or "is it reachable from here?"
        broken = Hop(failed.hop, holds=False, said=failed.message, cure=cure)
        return (*(Hop(name, holds=True, said=_STEPS[name]) for name in done), broken)
    return tuple(Hop(name, holds=True, said=said) for name, said in _STEPS.items())


async def applications(walker: Walker, settings: TrustSettings) -> tuple[Hop, ...]:
    """A token of every application that opens containers, as Remit's own issuer vouches for it."""

    async def one(client: str, name: str) -> Hop:
        try:
            await walker.application(client)
        except HopFailed as failed:
            cure = failed.hint or f"look at the federated credentials of `{name}`, and at its principal"
            return Hop(f"{failed.hop} {name}", holds=False, said=failed.message, cure=cure)
        return Hop(f"entra-federation {name}", holds=True, said="takes what Remit's own issuer signs, for storage")

    return tuple(await asyncio.gather(*(one(each.client, each.name) for each in settings.azure)))


async def issuer_hop(client: httpx.AsyncClient, settings: TrustSettings) -> Hop:
    """The tenant's own keys, of the issuer that tokens will name."""
    return await _published(client, "entra-keys", settings.issuer, settings.issuer)


async def guest_hops(client: httpx.AsyncClient, guests: Iterable[str]) -> tuple[Hop, ...]:
    """Every second tenant that remit.yaml lets guests come from: is there such a tenant?"""
    issuers = {guest: f"{_LOGIN}/{guest}/v2.0" for guest in sorted(guests)}
    asked = (_published(client, f"entra-guests {guest}", url, url) for guest, url in issuers.items())
    return tuple(await asyncio.gather(*asked))


async def _published(client: httpx.AsyncClient, name: str, url: str, issuer: str) -> Hop:
    place = f"{url}/.well-known/openid-configuration"
    try:
        discovery = (await client.get(place, timeout=_TIMEOUT)).json()
        keys = (await client.get(discovery["jwks_uri"], timeout=_TIMEOUT)).json()["keys"]
        found, count = discovery.get("issuer"), len(keys)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError):
        return Hop(name, holds=False, said=f"`{place}` does not answer", cure="is the tenant id right?")
    same = found == issuer and count > 0
    said = f"{counted(count, 'key')} published by `{found}`"
    return Hop(name, holds=same, said=said, cure="" if same else f"expected keys of `{issuer}`")
