"""What a token request is answered with, one function a grant type.

Device code, refresh, client credentials and on-behalf-of. No authorization code, no passwords, no token exchange.
Source: learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow and its neighbours.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from remit.lab import contoso, entra_challenge, entra_scopes
from remit.lab.contoso import App
from remit.lab.entra_clients import Clients, find
from remit.lab.entra_device import DeviceFlows
from remit.lab.entra_errors import EntraError, missing, uncredentialed
from remit.lab.entra_keys import Keys
from remit.lab.entra_scopes import DEFAULT, Asked
from remit.lab.entra_tokens import Issued, Session, Tokens
from remit.lab.jwt import BrokenTokenError, encode
from remit.lab.sign_in_log import Event, SignInLog

Fields = Mapping[str, str]
_REFRESH_LIFE = 90 * 24 * 3600  # seconds
_OBO = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True, slots=True)
class _Refresh:
    session: Session
    client: App
    expires_at: float


class Grants:
    """Answers token requests. `log`: where each is written down."""

    def __init__(
        self, keys: Keys, tokens: Tokens, flows: DeviceFlows, log: SignInLog, clock: Callable[[], float]
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._flows = flows
        self._clients = Clients(keys, clock)
        self._clock = clock
        self._log = log
        self._refresh: dict[str, _Refresh] = {}
        self._grants: dict[str, Callable[[Fields, str], dict[str, Any]]] = {
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
                self._log.write(_failure(fields, kind, error, correlation))
            raise

    def expire(self) -> None:
        """End every refresh token (a fault)."""
        self._refresh.clear()

    def _device(self, fields: Fields, correlation: str) -> dict[str, Any]:
        client = self._clients.authenticate(fields)
        pending = self._flows.redeem(fields.get("device_code") or fields.get("code", ""), client)
        session = pending.session
        if session is None:
            raise missing("device_code")
        event = Event("interactiveUser", "deviceCode", client, correlation=correlation)
        # What the client says of itself comes with every call; the challenge was satisfied on the page.
        capabilities = entra_challenge.understand(fields.get("claims", "")).capabilities
        return self._user(session, client, pending.asked, capabilities or pending.challenge.capabilities, event)

    def _refreshed(self, fields: Fields, correlation: str) -> dict[str, Any]:
        client = self._clients.authenticate(fields)
        held = self._refresh.get(fields.get("refresh_token", ""))
        if held is None or held.client is not client or held.expires_at <= self._clock():
            raise EntraError(
                "invalid_grant",
                700082,
                "The refresh token has expired due to inactivity or was never issued to this client.",
                suberror="bad_token",
            )
        challenge = entra_challenge.understand(fields.get("claims", ""))
        asked = entra_scopes.understand(fields.get("scope", ""))
        entra_challenge.require(challenge, held.session.methods)
        event = Event("nonInteractiveUser", "oAuth2", client, correlation=correlation)
        return self._user(held.session, client, asked, challenge.capabilities, event)

    def _own(self, fields: Fields, correlation: str) -> dict[str, Any]:
        client = self._clients.authenticate(fields)
        if client.public:
            raise uncredentialed()
        asked = entra_scopes.understand(fields.get("scope", ""))
        if not asked.default or fields["scope"].split() != [f"{asked.prefix}/{DEFAULT}"]:
            raise EntraError(
                "invalid_scope",
                1002012,
                f"The provided value for scope {fields['scope']} is not valid. Client credential flows must have a "
                "scope value with /.default suffixed to the resource identifier (application ID URI).",
            )
        issued = self._tokens.for_app(client, asked.resource)
        self._log.write(
            Event(
                "servicePrincipal",
                "oAuth2",
                client,
                asked.resource,
                principal=client.principal,
                principal_name=client.name,
                credential="federatedIdentityCredential",
                uti=issued.uti,
                correlation=correlation,
            )
        )
        return _bearer(issued)

    def _on_behalf_of(self, fields: Fields, correlation: str) -> dict[str, Any]:
        if fields.get("requested_token_use") != "on_behalf_of":
            raise missing("requested_token_use")
        client = self._clients.authenticate(fields)
        if client.public:
            raise uncredentialed()
        session = self._asserted(fields.get("assertion", ""), client)
        challenge = entra_challenge.understand(fields.get("claims", ""))
        asked = entra_scopes.understand(fields.get("scope", ""))
        try:
            entra_challenge.require(challenge, session.methods)
        except EntraError as error:
            error.error = "interaction_required"
            raise
        event = Event(
            "nonInteractiveUser", "oAuth2", client, credential="federatedIdentityCredential", correlation=correlation
        )
        return self._user(session, client, asked, challenge.capabilities, event)

    def _asserted(self, assertion: str, client: App) -> Session:
        """The sign-in behind a person's token that `client` received."""
        try:
            claims = self._keys.verify(assertion)
        except BrokenTokenError as cause:
            raise EntraError(
                "invalid_grant", 50013, f"Assertion failed signature validation. [Reason - {cause}]"
            ) from cause
        if claims.get("aud") != client.id:
            raise EntraError(
                "invalid_grant",
                500131,
                f"Assertion audience does not match the Client app presenting the assertion. The audience in the "
                f"assertion was '{claims.get('aud')}' and the expected audience is '{client.id}' or one of the "
                f"Application Uris of this application with App ID '{client.id}'({client.name}).",
            )
        if not claims["nbf"] <= self._clock() < claims["exp"]:
            raise EntraError(
                "invalid_grant",
                500133,
                "Assertion is not within its valid time range. Ensure that the access token is not expired before "
                "using it for user assertion, or request a new token.",
            )
        user = next((each for each in contoso.USERS if each.oid == claims["oid"]), None)
        if user is None or "scp" not in claims:
            raise EntraError(
                "invalid_grant",
                7000114,
                f"Application '{claims.get('azp')}' is not allowed to make application on-behalf-of calls.",
            )
        return Session(user, claims["sid"], frozenset(claims["amr"]))

    def _user(
        self, session: Session, client: App, asked: Asked, capabilities: tuple[str, ...], event: Event
    ) -> dict[str, Any]:
        issued = self._tokens.for_user(
            session, resource=asked.resource, client=client, scopes=asked.permissions, capabilities=capabilities
        )
        self._log.write(
            replace(
                event,
                resource=asked.resource,
                user=session.user,
                uti=issued.uti,
                session=session.id,
                methods=session.methods,
            )
        )
        answer = _bearer(issued) | {"scope": asked.granted}
        info = {"uid": session.user.oid, "utid": contoso.TENANT}
        answer["client_info"] = encode(json.dumps(info, separators=(",", ":")).encode())
        if "offline_access" in asked.protocol:
            token = f"1.{secrets.token_urlsafe(96)}"
            self._refresh[token] = _Refresh(session, client, self._clock() + _REFRESH_LIFE)
            answer["refresh_token"] = token
        if "openid" in asked.protocol:
            answer["id_token"] = self._tokens.identity(session, client)
        return answer


def _bearer(issued: Issued) -> dict[str, Any]:
    return {
        "token_type": "Bearer",
        "expires_in": issued.lifetime,
        "ext_expires_in": issued.lifetime,
        "access_token": issued.token,
    }


def _failure(fields: Fields, kind: str, error: EntraError, correlation: str) -> Event:
    try:
        client: App | None = find(fields)
    except EntraError:
        client = None
    own = kind == "client_credentials"
    return Event(
        "servicePrincipal" if own else "nonInteractiveUser",
        "deviceCode" if "device_code" in kind else "oAuth2",
        client,
        number=error.number,
        failure=error.message,
        correlation=correlation,
    )
