"""Verifying the trust of one installation: the clouds as Remit sees them, and the hops that a probe walks."""

import contextlib
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from remit.assembly import rooms
from remit.assembly.trust import PROBE, REVIEW_LIFETIME, ApplicationReviewer, PolicyWants, somebody
from remit.assembly.trust_databases import entered
from remit.assembly.trust_oneself import oneself
from remit.assembly.trust_plan import Who, databases, open_tokens, permitted
from remit.credentials.cache import TokenCache, cache_key
from remit.credentials.hop import Token, cloud_client
from remit.credentials.own_keys import has_keys
from remit.credentials.settings import AzureLine
from remit.model.errors import HopFailed, TrustBroken
from remit.model.identity import Identity, Kind, Principal
from remit.model.reasons import Reason
from remit.model.secret import AccessToken, UnverifiedToken
from remit.settings.read import Settings
from remit.trust.clouds import azure, entra, google
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.entra_graph import SCOPE as GRAPH
from remit.trust.clouds.entra_graph import Graph, keyed
from remit.trust.clouds.port import Tokens
from remit.trust.desired import wanted
from remit.trust.settings import TrustSettings
from remit.trust.verifying.findings import Report
from remit.trust.verifying.ports import Oneself
from remit.trust.verifying.verify import Sight, Verify

_SCOPE = (google.SCOPE,)
_NO_SUCH = "invalid_target"
_FLOOR = 60.0  # seconds that a token must still live: longer than any question takes


async def verified(settings: Settings, who: Who = Who.REMIT, me: UnverifiedToken | None = None) -> Report:
    """Probes the trust and compares; asks the clouds, changes nothing. Raises `TrustBroken` where it cannot begin.

    `me`: the token of somebody whose own ways are walked besides, which is recorded as what they asked for.
    """
    if settings.credentials.own_issuer and not has_keys(settings.own_keys):  # another machine's are not made here
        raise TrustBroken(
            "the keys of Remit's own issuer are not on this machine",
            hint="verify where `remit serve` runs; where it never ran, `remit trust rotate keys` makes the first",
        )
    async with (
        open_tokens(settings, who) as tokens,
        cloud_client() as client,
        rooms.open_hops(settings) as hops,
        contextlib.AsyncExitStack() as stack,
    ):
        seen: Tokens = tokens
        if who is Who.REMIT:
            seen = Reviewing(tokens, Walk(settings, hops), client, settings.trust)
        known = await stack.enter_async_context(oneself(settings, hops, client, me)) if me else None
        return await verification(settings, seen, client, hops, known)()


def verification(
    settings: Settings, tokens: Tokens, client: httpx.AsyncClient, hops: rooms.Hops, me: Oneself | None = None
) -> Verify:
    """The verification, asking as `tokens` says; `me`: whose own ways are walked besides."""
    ask = Asking(client, tokens, google.SCOPE)
    at_google = google.Google(ask, settings.trust)
    clouds = (entra.Entra(client, tokens), at_google, azure.Azure(Asking(client, tokens, azure.SCOPE), settings.trust))
    sight = Sight(
        clouds={cloud.name: cloud for cloud in clouds},
        google=at_google,
        ask=ask,
        graph=Graph(Asking(client, tokens, GRAPH)),
        client=client,
        guests=settings.identity.entra.guests,
        others=_given_elsewhere(settings),
        today=dt.datetime.now(dt.UTC).date().isoformat(),
        secrets=frozenset(one.client for one in settings.identity.providers if one.secret_file),
        databases=databases(settings, tokens),
    )
    wants = PolicyWants(rooms.judge(settings), settings.estate, settings.credentials.tenant)
    return Verify(settings.trust, wanted(settings.trust, permitted(settings)), sight, Walk(settings, hops), wants, me)


def _given_elsewhere(settings: Settings) -> frozenset[str]:
    """Roles that other issuers' rules give."""
    who = settings.identity
    rules = (*(one.roles for one in who.oidc), *(one.roles for one in who.saml), *(one.roles for one in who.providers))
    return frozenset(rule.role for each in rules for rule in each)


class Walk:
    """The hops of one installation, as `Walker`."""

    def __init__(self, settings: Settings, hops: rooms.Hops) -> None:
        self._settings = settings
        self._hops = hops

    async def itself(self) -> None:
        """Remit's own way, to the reviewing account."""
        await ApplicationReviewer(self._hops, self._settings.trust.reviewer).token()

    async def become(self, account: str, groups: frozenset[str]) -> AccessToken:
        """A token of an account, as the probe."""
        return (await self._become(account, PROBE, groups)).value

    async def become_reviewer(self, principal: str) -> Token:
        """The reviewing account's, for Remit's own principal as its own issuer vouches for it."""
        return await self._become(self._settings.trust.reviewer, principal, frozenset())

    async def _become(self, account: str, subject: str, groups: frozenset[str]) -> Token:
        own = self._hops.own
        if own is None:
            raise HopFailed("own-issuer", Reason.EXCHANGE_UNAVAILABLE, "remit is no issuer here")
        identity = _somebody(self._settings.credentials.tenant, subject, groups)
        federated = await own.sts.exchange(own.issuer.sign(identity, own.audience))
        return await self._hops.iam.impersonate(federated.value, account, _SCOPE, REVIEW_LIFETIME)

    async def application(self, client: str) -> None:
        """A token for storage, as the first line of the application's."""
        if self._hops.azure is None:
            raise HopFailed("own-issuer", Reason.EXCHANGE_UNAVAILABLE, "remit is no issuer here")
        await self._hops.azure.token(self._line(client), "https://storage.azure.com/.default")

    def _line(self, client: str) -> AzureLine:
        return next(line for line in self._settings.credentials.azure if line.client == client)

    async def enter(self, database: str, role: str) -> bool:
        """A login to a database as a role."""
        return await entered(self._settings, self._hops, database, role)

    def vouched(self, groups: frozenset[str]) -> frozenset[str]:
        """Those that the issuer tells Google."""
        own = self._hops.own
        return frozenset(own.issuer.vouched(_somebody("", PROBE, groups))) if own else frozenset()

    def keys(self) -> Sequence[Mapping[str, Any]]:
        """The keys of Remit's own issuer."""
        found = self._hops.own.issuer.jwks()["keys"] if self._hops.own else ()
        return [dict(each) for each in found] if isinstance(found, list) else ()


class Reviewing:
    """The reviewer's tokens by another way where the first is broken: so that what broke it can be read, and named.

    Google says `invalid_target` of a provider that is disabled or deleted, itself or with its pool.
    """

    def __init__(self, tokens: Tokens, walk: Walk, client: httpx.AsyncClient, settings: TrustSettings) -> None:
        self._tokens = tokens
        self._walk = walk
        self._graph = Graph(Asking(client, tokens, GRAPH))
        self._application = settings.application
        self._pool = settings.pool
        self._kept = TokenCache("trust-verify", floor=_FLOOR)
        self._broken: TrustBroken | None = None

    async def token(self, scope: str) -> AccessToken:
        """As `Tokens`; at Google, when Entra's provider does not take Remit's token, through Remit's own issuer."""
        if scope != google.SCOPE:
            return await self._tokens.token(scope)
        if self._broken is None:
            try:
                return await self._tokens.token(scope)
            except TrustBroken as broken:
                self._broken = broken
        try:
            return (await self._kept.get(cache_key("google"), self._otherwise)).value
        except (HopFailed, TrustBroken) as second:
            raise self._named(self._broken, second) from None

    def _named(self, first: TrustBroken, second: HopFailed | TrustBroken) -> TrustBroken:
        """What both together mean."""
        if _NO_SUCH not in first.message or _NO_SUCH not in second.message:
            return first
        pool = self._pool.rpartition("/")[2]
        message = f"neither provider is known to Google: the pool `{pool}` is disabled or deleted"
        return TrustBroken(message, hint=f"enable `{self._pool}`; `remit trust verify --as self` reads without it")

    async def _otherwise(self) -> Token:
        path = f"{keyed('servicePrincipals', 'appId', self._application)}?$select=id"
        return await self._walk.become_reviewer(str((await self._graph.get(path)).get("id")))


def _somebody(tenant: str, subject: str, groups: frozenset[str]) -> Identity:
    return somebody(Principal("", tenant, subject, Kind.WORKLOAD), groups)
