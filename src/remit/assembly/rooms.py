"""Who, what, may, write, with: the rooms of one installation, fitted to the stories' ports."""

import contextlib
import os
import time
from collections.abc import AsyncIterator
from functools import cached_property

import httpx

from remit.catalogue import Catalogue, actions
from remit.credentials.assertion import Assertions
from remit.credentials.azure_federation import EntraFederation
from remit.credentials.azure_imds import HOST, ManagedIdentity
from remit.credentials.entra_obo import EntraOnBehalfOf
from remit.credentials.google_iam import GoogleIam
from remit.credentials.google_sts import GoogleSts
from remit.credentials.hop import cloud_client, metadata_client
from remit.credentials.obtainer import Obtainer, OwnWay
from remit.credentials.own_issuer import OwnIssuer
from remit.credentials.own_keys import OwnKeys
from remit.policy.judge import CedarJudge
from remit.settings.read import Settings

_MARGIN = 0.2  # seconds for the rest of a check: the token, the policy, the record and the outcome
_SOONER = 0.2  # seconds before the hops' patience ends: nothing is given up before, and a loop that is busy is in time
_IMDS_VARIABLE = "AZURE_POD_IDENTITY_AUTHORITY_HOST"  # as azure-identity and msal read it


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def judge(settings: Settings) -> CedarJudge:
    """The policies; raises `SettingsInvalid` when they are not good."""
    return CedarJudge(settings.policy, settings.estate, actions())


def classifier(settings: Settings) -> Catalogue:
    """The catalogue, with its tables read."""
    catalogue = Catalogue(settings.estate)
    catalogue.prepare()
    return catalogue


class Hops:
    """The hops to a credential of Google's or Azure's; `local` is the client for the metadata server.

    What signs by itself is put together when it is first asked for: an issuer makes its first key then, and whoever
    only looks at the clouds is none.
    """

    def __init__(self, settings: Settings, client: httpx.AsyncClient, local: httpx.AsyncClient) -> None:
        found = settings.credentials
        host = os.environ.get(_IMDS_VARIABLE, HOST)
        timeout = found.hop_timeout
        self.identity = ManagedIdentity(local, found.managed_identity, timeout=timeout, host=host)
        self.entra = EntraOnBehalfOf(client, found, timeout=timeout)
        self.sts = GoogleSts(client, found.provider, timeout=timeout)
        self.iam = GoogleIam(client, timeout=timeout)
        self._settings = settings
        self._client = client

    @cached_property
    def assertions(self) -> Assertions:
        """Who asks, as services are told."""
        settings = self._settings
        return Assertions(settings.identity.sessions.origin, OwnKeys(settings.own_keys, time.time))

    @cached_property
    def own(self) -> OwnWay | None:
        """Remit's own issuer, and the provider that trusts it."""
        found = self._settings.credentials
        if not found.own_issuer:
            return None
        issuer = OwnIssuer(found.own_issuer, self._settings.own_keys, groups=found.own_groups)
        return OwnWay(issuer, GoogleSts(self._client, found.own_provider, timeout=found.hop_timeout))

    @cached_property
    def azure(self) -> EntraFederation | None:
        """The applications at Azure, which trust that issuer."""
        found = self._settings.credentials
        return (
            EntraFederation(self._client, found.tenant, self.own.issuer, timeout=found.hop_timeout)
            if self.own
            else None
        )


@contextlib.asynccontextmanager
async def open_hops(settings: Settings) -> AsyncIterator[Hops]:
    """The hops with clients of their own, which are closed with the block."""
    async with cloud_client() as client, metadata_client() as local:
        yield Hops(settings, client, local)


def obtainer(settings: Settings, hops: Hops) -> Obtainer:
    """The credentials."""
    return Obtainer(
        settings.credentials,
        identity=hops.identity,
        entra=hops.entra,
        sts=hops.sts,
        iam=hops.iam,
        own=hops.own,
        azure=hops.azure,
        assertions=hops.assertions,
        services=settings.estate.services,
        patience=patience(settings),
    )


def patience(settings: Settings) -> float:
    """Seconds that a check waits for hops: less than the gateway does, so that its caller hears which hop is slow."""
    return _within(settings, _MARGIN)


def again(settings: Settings) -> float:
    """Seconds after which the gateway is told to ask again."""
    return _within(settings, _MARGIN + _SOONER)


def _within(settings: Settings, margin: float) -> float:
    limit = settings.gateway.check_timeout_ms / 1000
    return max(limit - margin, limit / 2)
