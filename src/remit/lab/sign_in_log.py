"""Entra's sign-in log: what it writes down of each token that it issued or refused.

The members of Graph's `signIn` that a sign-in in the lab has a value for. Source: learn.microsoft.com/graph/api/
resources/signin.
"""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from remit.lab import contoso
from remit.lab.contoso import App, User


@dataclass(frozen=True, slots=True)
class Event:
    """One request for a token. `kind`: `interactiveUser`, `nonInteractiveUser`, `servicePrincipal`, `managedIdentity`.

    `protocol`: Graph's `authenticationProtocol`; `credential`, `credential_id`: what the client proved itself with, its
    kind and which one; `uti` of the token, empty when none was issued; `number`: of the AADSTS error, 0 for success;
    `address` and `device`: where the person sat.
    """

    kind: str
    protocol: str
    client: App | None
    resource: App | None = None
    user: User | None = None
    principal: str = ""
    principal_name: str = ""
    credential: str = "none"
    credential_id: str = ""
    uti: str = ""
    session: str = ""
    methods: frozenset[str] = frozenset()
    address: str = "127.0.0.1"
    device: str = ""
    number: int = 0
    failure: str = ""
    correlation: str = ""


class SignInLog:
    """All sign-ins: in memory, and one JSON line each in `path` when there is one."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.entries: list[dict[str, Any]] = []

    def write(self, event: Event) -> None:
        """Enter one event."""
        entry = _entry(event)
        self.entries.append(entry)
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, separators=(",", ":")) + "\n")


def _entry(event: Event) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "createdDateTime": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "correlationId": event.correlation,
        "isInteractive": event.kind == "interactiveUser",
        "signInEventTypes": [event.kind],
        "authenticationProtocol": event.protocol,
        "clientCredentialType": event.credential,
        "uniqueTokenIdentifier": event.uti,
        "resourceTenantId": event.user.tenant if event.user else contoso.TENANT,
        "homeTenantId": (event.user.home or event.user.tenant) if event.user else contoso.TENANT,
        "ipAddress": event.address,
        "status": {"errorCode": event.number, "failureReason": event.failure, "additionalDetails": None},
    }
    if event.credential_id:
        federated = event.credential == "federatedIdentityCredential"
        entry["federatedCredentialId" if federated else "servicePrincipalCredentialKeyId"] = event.credential_id
    if event.client:
        entry |= {"appId": event.client.id, "appDisplayName": event.client.name}
    if event.resource:
        entry |= {"resourceId": event.resource.id, "resourceDisplayName": event.resource.name}
    if event.principal:
        entry |= {"servicePrincipalId": event.principal, "servicePrincipalName": event.principal_name}
    if event.user:
        entry |= {
            "userId": event.user.oid,
            "userPrincipalName": event.user.upn,
            "userDisplayName": event.user.name,
            "userType": "guest" if event.user.guest else "member",
            "sessionId": event.session,
            "deviceDetail": {"deviceId": event.device},
            "authenticationRequirement": "multiFactorAuthentication"
            if "mfa" in event.methods
            else "singleFactorAuthentication",
            "conditionalAccessStatus": "success" if not event.number else "failure",
        }
    return entry
