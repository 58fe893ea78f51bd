"""Who is asking, and who no longer counts: the identity of one installation, fitted together."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import httpx
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from remit.assembly.graph import DirectoryView, directory
from remit.assembly.keys import KeyRing
from remit.assembly.rooms import Hops, now
from remit.audit.recorder import LedgerRecorder
from remit.identity.browser.cipher import Cipher, read_cipher
from remit.identity.browser.logout_token import LogoutTokens
from remit.identity.browser.provider_metadata import Discovery
from remit.identity.browser.relying_party import RelyingParty
from remit.identity.browser.sessions import SessionLine, Sessions
from remit.identity.browser.sign_in import Door, OidcDoor, SamlDoor, SignIn
from remit.identity.browser.store import SessionStore
from remit.identity.browser.token_endpoint import ClientAssertion, ClientCredentials, ClientSecret, TokenEndpoint
from remit.identity.replay import Replay
from remit.identity.revocation.revoker import Revoker
from remit.identity.revocation.security_events import SecurityEvents
from remit.identity.revocation.view import RevocationView
from remit.identity.saml.authenticator import SamlAuthenticator
from remit.identity.saml.metadata import FileMetadata, UrlMetadata
from remit.identity.settings import SamlIssuer, SignInProvider
from remit.identity.surroundings.country import Countries
from remit.identity.surroundings.network import Network
from remit.identity.surroundings.risk import Risk
from remit.identity.tokens.authenticators import Authenticators
from remit.identity.tokens.entra import EntraAuthenticator
from remit.identity.tokens.oidc import OidcAuthenticator
from remit.model.errors import Refused, RemitError
from remit.model.identity import Identity
from remit.model.names import arbiter_id
from remit.model.reasons import Reason
from remit.model.revocation import Revocation, Scope
from remit.model.secret import Secret, UnverifiedToken
from remit.settings.identity import IdentitySettings
from remit.settings.read import Settings

_log = logging.getLogger(__name__)
_SWEEP = 300.0  # seconds between two looks for sessions that are over


@dataclass(frozen=True, slots=True)
class Who:
    """Everything that `identity` does for one arbiter."""

    keys: KeyRing
    authenticator: Authenticators
    sessions: Sessions
    sign_in: SignIn
    saml: Mapping[str, SamlAuthenticator]
    view: RevocationView
    revoker: Revoker
    network: Network
    events: SecurityEvents
    directory: DirectoryView | None
    risk: Risk

    def works(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """What has to go on beside the stories, each for ever."""
        found: dict[str, Coroutine[Any, Any, None]] = {
            "keys": self.keys.keep_fresh(),
            "countries": self.network.keep_fresh(),
            "risk": self.risk.keep_fresh(),
            "sessions": _sweep(self.sessions),
        }
        if self.directory:
            found |= {
                "named locations": self.directory.locations.keep_fresh(),
                "directory": self.directory.poll.run(),
                "inventory": self.directory.inventory.keep_fresh(),
            }
        return found

    @property
    def trouble(self) -> str:
        """What is not known of people that should be; nothing is permitted that needs it."""
        return "; ".join(filter(None, (self.network.trouble, self.directory.poll.trouble if self.directory else "")))


@contextlib.asynccontextmanager
async def who(  # noqa: PLR0917 - one for each part of the house
    settings: Settings,
    engines: tuple[Engine, Engine],
    recorder: LedgerRecorder,
    hops: Hops,
    client: httpx.AsyncClient,
    named: Callable[[], frozenset[str]],
) -> AsyncIterator[Who]:
    """Fits it together.

    `engines`: one that reads, one that writes; `client`: of `identity.tokens.keys`; `named`: the groups that policies
    name.
    """
    found, (reader, writer) = settings.identity, engines
    keys = KeyRing(found, client)
    view = RevocationView(reader, writer, arbiter_id(now()))
    revoker = Revoker(recorder, reader, writer, now, wake=view.wake)
    graph = directory(found, hops, client, revoker, engines, named) if found.graph else None
    authenticator = Authenticators(
        (
            EntraAuthenticator(found.entra, keys.entra, graph.groups if graph else None),
            *(OidcAuthenticator(one, keys.oidc[one.issuer]) for one in found.oidc),
        )
    )
    risk = Risk(reader, writer)
    network = Network(Countries(found.countries), graph.locations if graph else None, risk)
    parts = _Parts(found, keys, hops, client, Replay(writer), authenticator, view)
    cipher = read_cipher(found.sessions.key_file)
    saml = {one.name: parts.saml(one) for one in found.saml}
    sessions, sign_in = _browsers(parts, cipher, SessionStore(writer, reader), revoker, saml)
    transmitters = [(one, keys.of(one, "ssf-configuration")) for one in found.transmitters]
    events = SecurityEvents(transmitters, revoker, _risk_setter(risk))
    with view:
        yield Who(keys, authenticator, sessions, sign_in, saml, view, revoker, network, events, graph, risk)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a provider of browsers' sign-ins needs."""

    settings: IdentitySettings
    keys: KeyRing
    hops: Hops
    client: httpx.AsyncClient
    replay: Replay
    authenticator: Authenticators
    view: RevocationView

    async def judge(self, token: UnverifiedToken, at: int) -> Identity:
        """Whom a session's token proves, unless the provider's own session was revoked."""
        identity = await self.authenticator.authenticate(token, at)
        self.check(identity, at)
        return identity

    def check(self, identity: Identity, at: int) -> None:
        """Raises `Refused` for whoever was revoked, by the provider's name of the session too."""
        self.view.check(identity, "", at)

    async def assertion(self) -> Secret:
        """Remit's own proof at Entra: a managed identity's token."""
        return (await self.hops.identity.assertion()).value

    def oidc(self, provider: SignInProvider) -> OidcDoor:
        """An OpenID provider."""
        credentials: ClientCredentials = ClientAssertion(provider.client, self.assertion)
        if provider.secret_file:
            credentials = ClientSecret(provider.client, provider.secret_file)
        keys = self.keys.of(provider)
        discovery = Discovery(provider.issuer, self.client)
        party = RelyingParty(provider, discovery, TokenEndpoint(self.client, credentials), keys, self.judge)
        return OidcDoor(party, LogoutTokens(provider, keys, self.replay.first))

    def saml(self, issuer: SamlIssuer) -> SamlAuthenticator:
        """A SAML provider."""
        metadata = FileMetadata(issuer) if issuer.metadata else UrlMetadata(issuer, self.client)
        return SamlAuthenticator(issuer, metadata, self.replay)


def _browsers(
    parts: _Parts, cipher: Cipher, store: SessionStore, revoker: Revoker, saml: Mapping[str, SamlAuthenticator]
) -> tuple[Sessions, SignIn]:
    doors: dict[str, Door] = {one.name: parts.oidc(one) for one in parts.settings.providers}
    renewers = {name: door.party for name, door in doors.items() if isinstance(door, OidcDoor)}
    titles = dict(parts.settings.titles)
    doors |= {name: SamlDoor(titles[name], one) for name, one in saml.items()}

    async def ended(lines: Sequence[SessionLine]) -> None:
        """What a session was permitted ends with it: leases, open streams."""
        at = now() // 1_000_000
        for line in lines:
            if line.expires_at > at:
                await _end(revoker, line)

    sessions = Sessions(
        store,
        cipher,
        parts.settings.sessions,
        authenticate=parts.judge,
        renewers=renewers,
        ended=ended,
        check=parts.check,
        issuers=parts.settings.sign_in_issuers,
    )
    return sessions, SignIn(doors, sessions, cipher, parts.replay.first)


async def _end(revoker: Revoker, line: SessionLine) -> None:
    ended = Revocation(Scope.SESSION, line.id, locked=True, until=line.expires_at, source="session")
    try:
        await revoker.revoke(ended, actor=line.principal)
    except RemitError as error:  # the session itself is gone, so no new answer rests on it
        _log.warning("what session %s was permitted ends by itself, since it could not be ended: %s", line.id, error)


def _risk_setter(risk: Risk) -> Callable[[str, str, int], None]:
    def put(subject: str, level: str, at: int) -> None:
        """From a thread of the receiver."""
        try:
            risk.put(subject, level, at)
        except SQLAlchemyError:
            raise Refused(Reason.PLANE_UNAVAILABLE) from None

    return put


async def _sweep(sessions: Sessions) -> NoReturn:
    while True:
        await asyncio.sleep(_SWEEP)
        with contextlib.suppress(RemitError):
            await sessions.sweep(now() // 1_000_000)
