"""What a token request is answered with, one function a grant type.

Authorization code, device code, refresh, client credentials and on-behalf-of. No passwords, no token exchange.
Source: learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow and its neighbours.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from remit.lab import entra_challenge, entra_scopes
from remit.lab.contoso import App
from remit.lab.entra_authorize import Authorize
from remit.lab.entra_challenge import Challenge
from remit.lab.entra_clients import Clients, strength
from remit.lab.entra_device import DeviceFlows
from remit.lab.entra_errors import EntraError, missing, uncredentialed
from remit.lab.entra_keys import Keys
from remit.lab.entra_scopes import DEFAULT, Asked
from remit.lab.entra_sessions import Session, Sessions
from remit.lab.entra_tokens import Issued, Tokens
from remit.lab.jwt import BrokenTokenError, encode
from remit.lab.sign_in_log import Event, SignInLog

Fields = Mapping[str, str]
_REFRESH_LIFE = 90 * 24 * 3600  # seconds
_OBO = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
_SKEW = 300  # seconds that Entra lets a token's start lie ahead


@dataclass(frozen=True, slots=True)
class _Refresh:
    session: Session
    client: App
    expires_at: float


@dataclass(frozen=True, slots=True)
class Desk:
    """Whom the token endpoint asks: one for each kind of question."""

    keys: Keys
    sessions: Sessions
    tokens: Tokens
    clients: Clients
    flows: DeviceFlows
    authorize: Authorize


class Grants:
    """Answers token requests. `log`: where each is written down."""

    def __init__(self, desk: Desk, log: SignInLog, clock: Callable[[], float]) -> None:
        self._keys = desk.keys
        self._sessions = desk.sessions
        self._tokens = desk.tokens
        self._clients = desk.clients
        self._flows = desk.flows
        self._authorize = desk.authorize
        self._registry = desk.clients.registry
        self._clock = clock
        self._log = log
        self._refresh: dict[str, _Refresh] = {}
        self._grants: dict[str, Callable[[Fields, str], dict[str, Any]]] = {
            "authorization_code": self._code,
            _DEVICE: self._device,
            "device_code": self._device,
            "refresh_token": self._refreshed,
            "client_credentials": self._own,
            _OBO: self._on_behalf_of,
        }

    def redeem(self, fields: Fields, correlation: str) -> dict[str, Any]:
        """The token endpoint's answer; raises `EntraError`, which is logged unless it only says "not yet"."""
        kind = fields.get("grant_type", "")
        if not kind:
            raise missing("grant_type")
        grant = self._grants.get(kind)
        if grant is None:
            raise EntraError("unsupported_grant_type", 70003, f"The app requested an unsupported grant type '{kind}'.")
        try:
            return grant(fields, correlation)
        except EntraError as error:
            if error.error != "authorization_pending":
                client = self._registry.client(fields.get("client_id", ""))
                self._log.write(_failure(client, kind, error, correlation))
            raise

    def expire(self) -> None:
        """End every refresh token (a fault)."""
        self._refresh.clear()

    def _code(self, fields: Fields, correlation: str) -> dict[str, Any]:
        client = self._clients.authenticate(fields).app
        code = self._authorize.redeem(fields, client)
        asked = entra_scopes.understand(self._registry, fields["scope"]) if fields.get("scope") else code.asked
        # as with a device: what the client says of itself may come with either call
        said = entra_challenge.understand(fields.get("claims", "")).capabilities
        challenge = replace(code.challenge, capabilities=said or code.challenge.capabilities)
        event = Event("interactiveUser", "oAuth2", client, correlation=correlation)
        return self._user(code.session, fields, asked, challenge, event, nonce=code.nonce)

    def _device(self, fields: Fields, correlation: str) -> dict[str, Any]:
        client = self._clients.authenticate(fields).app
        pending = self._flows.redeem(fields.get("device_code") or fields.get("code", ""), client)
        session = pending.session
        if session is None:
            raise missing("device_code")
        event = Event("interactiveUser", "deviceCode", client, correlation=correlation)
        # What the client says of itself comes with every call; the challenge was satisfied on the page.
        said = entra_challenge.understand(fields.get("claims", "")).capabilities
        challenge = replace(pending.challenge, capabilities=said or pending.challenge.capabilities)
        return self._user(session, fields, pending.asked, challenge, event)

    def _refreshed(self, fields: Fields, correlation: str) -> dict[str, Any]:
        client = self._clients.authenticate(fields).app
        held = self._refresh.get(fields.get("refresh_token", ""))
        if held is None or held.client.id != client.id or held.expires_at <= self._clock():
            raise EntraError(
                "invalid_grant",
                700082,
                "The refresh token has expired due to inactivity or was never issued to this client.",
                suberror="bad_token",
            )
        challenge = entra_challenge.understand(fields.get("claims", ""))
        asked = entra_scopes.understand(self._registry, fields.get("scope", ""))
        self._sessions.require(held.session, challenge.not_before)
        entra_challenge.require(challenge, held.session.methods)
        event = Event("nonInteractiveUser", "oAuth2", client, correlation=correlation)
        return self._user(held.session, fields, asked, challenge, event)

    def _own(self, fields: Fields, correlation: str) -> dict[str, Any]:
        proved = self._clients.authenticate(fields)
        client = proved.app
        if client.public:
            raise uncredentialed()
        asked = entra_scopes.understand(self._registry, fields.get("scope", ""))
        if not asked.default or fields["scope"].split() != [f"{asked.prefix}/{DEFAULT}"]:
            raise EntraError(
                "invalid_scope",
                1002012,
                f"The provided value for scope {fields['scope']} is not valid. Client credential flows must have a "
                "scope value with /.default suffixed to the resource identifier (application ID URI).",
            )
        said = entra_challenge.understand(fields.get("claims", "")).capabilities
        how = strength(fields, client)
        issued = self._tokens.for_app(client, asked.resource, strength=how, capabilities=said)
        self._log.write(
            Event(
                "servicePrincipal",
                "oAuth2",
                client,
                asked.resource,
                principal=client.principal,
                principal_name=client.name,
                credential=proved.credential,
                credential_id=proved.id,
                uti=issued.uti,
                correlation=correlation,
            )
        )
        return _bearer(issued)

    def _on_behalf_of(self, fields: Fields, correlation: str) -> dict[str, Any]:
        if fields.get("requested_token_use") != "on_behalf_of":
            raise missing("requested_token_use")
        proved = self._clients.authenticate(fields)
        client = proved.app
        if client.public:
            raise uncredentialed()
        session = self._asserted(fields.get("assertion", ""), client)
        challenge = entra_challenge.understand(fields.get("claims", ""))
        asked = entra_scopes.understand(self._registry, fields.get("scope", ""))
        self._sessions.require(session)
        entra_challenge.require(challenge, session.methods, error="interaction_required")
        asked = self._consented(client, asked, session)
        event = Event(
            "nonInteractiveUser",
            "oAuth2",
            client,
            credential=proved.credential,
            credential_id=proved.id,
            correlation=correlation,
        )
        return self._user(session, fields, asked, challenge, event)

    def _consented(self, client: App, asked: Asked, session: Session) -> Asked:
        """What is asked in a person's name, whom nobody can ask now: only what was consented to before."""
        known = asked.permissions if client.id == asked.resource.id else ()
        allowed = known or self._registry.consented(client, asked.resource, session.user.oid)
        if not allowed or not (asked.default or set(asked.permissions) <= set(allowed)):
            raise EntraError(
                "invalid_grant",
                65001,
                f"The user or administrator has not consented to use the application with ID '{client.id}' named "
                f"'{client.name}'. Send an interactive authorization request for this user and resource.",
                suberror="consent_required",
            )
        return replace(asked, permissions=allowed) if asked.default else asked

    def _asserted(self, assertion: str, client: App) -> Session:
        """The sign-in behind a person's token that `client` received."""
        try:
            claims = self._keys.verify(assertion)
        except BrokenTokenError as cause:
            raise EntraError(
                "invalid_grant", 50013, f"Assertion failed signature validation. [Reason - {cause}]"
            ) from cause
        if claims.get("aud") not in self._registry.names(client):
            raise EntraError(
                "invalid_grant",
                500131,
                f"Assertion audience does not match the Client app presenting the assertion. The audience in the "
                f"assertion was '{claims.get('aud')}' and the expected audience is '{client.id}' or one of the "
                f"Application Uris of this application with App ID '{client.id}'({client.name}).",
            )
        if not claims["nbf"] - _SKEW <= self._clock() < claims["exp"]:
            raise EntraError(
                "invalid_grant",
                500133,
                "Assertion is not within its valid time range. Ensure that the access token is not expired before "
                "using it for user assertion, or request a new token.",
            )
        session = self._sessions.find(claims.get("sid", ""))
        if session is None or "scp" not in claims:
            raise EntraError(
                "invalid_grant",
                7000114,
                f"Application '{claims.get('azp')}' is not allowed to make application on-behalf-of calls.",
            )
        # as strong as the token says, whatever the session has become since
        return replace(session, methods=frozenset(claims["amr"]))

    def _user(
        self, session: Session, fields: Fields, asked: Asked, challenge: Challenge, event: Event, *, nonce: str = ""
    ) -> dict[str, Any]:
        """The answer with a person's tokens; raises `EntraError` when the sign-in counts no more."""
        self._sessions.require(session)
        client, user = self._clients.find(fields), session.user
        issued = self._tokens.for_user(
            session,
            resource=asked.resource,
            client=client,
            scopes=asked.permissions,
            capabilities=challenge.capabilities,
            strength=strength(fields, client),
            not_before=challenge.not_before,
        )
        place = self._sessions.place(user)
        self._log.write(
            replace(
                event,
                resource=asked.resource,
                user=user,
                uti=issued.uti,
                session=session.id,
                methods=session.methods,
                address=place.address,
                device=place.device,
            )
        )
        answer = _bearer(issued) | {"scope": asked.granted}
        info = {"uid": user.oid, "utid": user.tenant}
        answer["client_info"] = encode(json.dumps(info, separators=(",", ":")).encode())
        if "offline_access" in asked.protocol:
            token = f"1.{secrets.token_urlsafe(96)}"
            self._refresh[token] = _Refresh(session, client, self._clock() + _REFRESH_LIFE)
            answer["refresh_token"] = token
        if "openid" in asked.protocol:
            email = "email" in asked.protocol
            answer["id_token"] = self._tokens.identity(session, client, nonce=nonce, email=email)
        return answer


def _bearer(issued: Issued) -> dict[str, Any]:
    return {
        "token_type": "Bearer",
        "expires_in": issued.lifetime,
        "ext_expires_in": issued.lifetime,
        "access_token": issued.token,
    }


def _failure(client: App | None, kind: str, error: EntraError, correlation: str) -> Event:
    own = kind == "client_credentials"
    return Event(
        "servicePrincipal" if own else "nonInteractiveUser",
        "deviceCode" if "device_code" in kind else "oAuth2",
        client,
        number=error.number,
        failure=error.message,
        correlation=correlation,
    )
