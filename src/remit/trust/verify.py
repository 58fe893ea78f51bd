"""Probes the trust hop by hop, as Remit itself would walk it, and compares policy with IAM.

1  entra-keys           the issuer publishes keys
2  entra-application    Remit proves itself with its managed identity, and Google takes the token
3  google-…             the provider is active, trusts this issuer, maps the subject, admits Remit alone
4  google-impersonation somebody of the pool, and not everybody, may become each mapped account
5  permissions          of each mapped account: what the policy permits against what IAM allows
"""

from collections.abc import Iterable

import httpx

from remit.model.errors import HopFailed, TrustBroken
from remit.trust.compare import groups_of, impersonation_hop, permission_findings, provider_hops
from remit.trust.findings import Finding, Hop, Report
from remit.trust.google import Google
from remit.trust.ports import Reviewer, Wanted
from remit.trust.settings import Mapping, TrustSettings

_TIMEOUT = 10.0  # seconds


class Verify:
    """One verification of the story's trust."""

    def __init__(self, settings: TrustSettings, reviewer: Reviewer, wanted: Wanted, client: httpx.AsyncClient) -> None:
        self._settings = settings
        self._reviewer = reviewer
        self._wanted = wanted
        self._client = client

    async def __call__(self) -> Report:
        """Walks all hops; one that does not hold is reported, and those behind it are not tried."""
        keys = await self._keys()
        if not keys.holds:
            return Report((keys,), ())
        try:
            token = await self._reviewer.token()
        except HopFailed as failed:
            broken = Hop(failed.hop, holds=False, said=failed.message, cure=failed.hint)
            return Report((keys, broken), ())
        walked = Hop("entra-application", holds=True, said="the managed identity signs in and Google takes the token")
        try:
            hops, findings = await self._google(Google(self._client, token))
        except TrustBroken as error:
            broken = Hop(
                "google-review", holds=False, said=error.message, cure="grant the reviewer `roles/iam.securityReviewer`"
            )
            return Report((keys, walked, broken), ())
        return Report((keys, walked, *hops), tuple(findings))

    async def _keys(self) -> Hop:
        url = f"{self._settings.issuer}/.well-known/openid-configuration"
        try:
            discovery = (await self._client.get(url, timeout=_TIMEOUT)).json()
            keys = (await self._client.get(discovery["jwks_uri"], timeout=_TIMEOUT)).json()["keys"]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
            return Hop("entra-keys", holds=False, said=f"`{url}` does not answer", cure="is the tenant id right?")
        same = discovery.get("issuer") == self._settings.issuer and bool(keys)
        said = f"{len(keys)} keys published by `{discovery.get('issuer')}`"
        return Hop("entra-keys", holds=same, said=said, cure="" if same else f"expected `{self._settings.issuer}`")

    async def _google(self, google: Google) -> tuple[list[Hop], list[Finding]]:
        hops = list(provider_hops(self._settings, await google.provider(self._settings.provider)))
        findings: list[Finding] = []
        for mapping in self._settings.mappings:
            bindings = await google.account_bindings(mapping.account)
            hops.append(impersonation_hop(self._settings, mapping, bindings))
            findings.extend(await self._compared(google, mapping, groups_of(self._settings, bindings)))
        return hops, findings

    async def _compared(self, google: Google, mapping: Mapping, groups: frozenset[str]) -> Iterable[Finding]:
        member = f"serviceAccount:{mapping.account}"
        allowed: frozenset[str] = frozenset()
        for line in await google.project_bindings(mapping.project):
            if member in line.members:
                allowed |= await google.permissions(line.role)
        wanted = self._wanted.permissions(mapping.role, groups, mapping.project)
        return permission_findings(mapping, wanted, allowed, self._wanted.governed())
