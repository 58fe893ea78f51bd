"""The tokens that Entra issues, with every claim that the real ones carry.

Version 2.0 access tokens, version 1.0 for resources that take those (Graph), and ID tokens. Group overage begins at
200 as in JWTs; Contoso is far below, so a fault forces it. Source: learn.microsoft.com/entra/identity-platform/
access-token-claims-reference and optional-claims-reference.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from remit.lab import contoso
from remit.lab.contoso import App, User
from remit.lab.entra_challenge import CONTEXTS
from remit.lab.entra_keys import Keys
from remit.lab.jwt import encode

_LIFE = (3600, 5400)  # seconds: 60 to 90 minutes
_LONG_LIFE = (20 * 3600, 28 * 3600)  # seconds: with a client that handles claims challenges
_MACHINE_LIFE = 24 * 3600  # seconds: managed identities
_CAPABLE = "cp1"


@dataclass(frozen=True, slots=True)
class Session:
    """A person's sign-in: how it was done, and when it ends for good."""

    user: User
    id: str
    methods: frozenset[str]

    @property
    def contexts(self) -> frozenset[str]:
        """The authentication contexts that this sign-in satisfies."""
        return frozenset(context for context, method in CONTEXTS.items() if method in self.methods)


@dataclass(frozen=True, slots=True)
class Issued:
    """A token, its identifier (`uti`) and its lifetime in seconds."""

    token: str
    uti: str
    lifetime: int


class Tokens:
    """Issues the tenant's tokens. `overage`: people's groups are left to Graph (a fault)."""

    def __init__(self, keys: Keys, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._clock = clock
        self.overage = False

    def for_user(
        self, session: Session, *, resource: App, client: App, scopes: tuple[str, ...], capabilities: tuple[str, ...]
    ) -> Issued:
        """A person's access token. `capabilities`: what the client said of itself, shown when the API asks."""
        user = session.user
        capable = _CAPABLE in {each.lower() for each in capabilities}
        low, high = _LONG_LIFE if capable else _LIFE
        claims: dict[str, Any] = {
            "acct": 1 if user.guest else 0,
            "amr": [method for method in ("pwd", "mfa") if method in session.methods],
            "name": user.name,
            "oid": user.oid,
            "preferred_username": user.upn,
            "scp": " ".join(scopes),
            "sid": session.id,
            "sub": _pairwise(user.oid, resource.id),
        }
        claims |= {"acrs": sorted(session.contexts)} if session.contexts else {}
        claims |= {"roles": list(user.roles)} if user.roles and resource is contoso.REMIT else {}
        claims |= {"idp": "https://sts.windows.net/9c000000-0000-4000-8000-000000000001/"} if user.guest else {}
        claims |= {"xms_cc": list(capabilities)} if capabilities and resource is contoso.REMIT else {}
        claims |= self._groups(user)
        return self._access(claims, resource, client.id, low + secrets.randbelow(high - low), public=client.public)

    def for_app(self, app: App, resource: App) -> Issued:
        """An application's own access token."""
        roles = contoso.GRAPH_ROLES.get(app.id, ()) if resource is contoso.GRAPH else ()
        claims: dict[str, Any] = {"idtyp": "app", "oid": app.principal, "sub": app.principal}
        claims |= {"roles": list(roles)} if roles else {}
        return self._access(claims, resource, app.id, _LIFE[0], public=False)

    def for_machine(self, identity: contoso.ManagedIdentity, resource: App) -> Issued:
        """A managed identity's access token."""
        claims: dict[str, Any] = {
            "idtyp": "app",
            "oid": identity.oid,
            "sub": identity.oid,
            "xms_mirid": identity.arm_id,
        }
        claims |= {"roles": list(identity.roles)} if identity.roles and resource is contoso.REMIT else {}
        return self._access(claims, resource, identity.client_id, _MACHINE_LIFE, public=False)

    def identity(self, session: Session, client: App) -> str:
        """A person's ID token for a client."""
        now = int(self._clock())
        return self._keys.signing.sign(
            {
                "aud": client.id,
                "iss": contoso.ISSUER,
                "iat": now,
                "nbf": now,
                "exp": now + _LIFE[0],
                "name": session.user.name,
                "oid": session.user.oid,
                "preferred_username": session.user.upn,
                "rh": _opaque(24),
                "sid": session.id,
                "sub": _pairwise(session.user.oid, client.id),
                "tid": contoso.TENANT,
                "uti": encode(secrets.token_bytes(16)),
                "ver": "2.0",
            }
        )

    def _access(self, claims: dict[str, Any], resource: App, client: str, lifetime: int, *, public: bool) -> Issued:
        now, uti = int(self._clock()), encode(secrets.token_bytes(16))
        strength = "0" if public else "2"
        first = resource.version == "1.0"
        common: dict[str, Any] = {
            "aud": resource.uri if first else resource.id,
            "iss": f"https://sts.windows.net/{contoso.TENANT}/" if first else contoso.ISSUER,
            "iat": now,
            "nbf": now,
            "exp": now + lifetime,
            "aio": _opaque(48),
            **({"appid": client, "appidacr": strength} if first else {"azp": client, "azpacr": strength}),
            "rh": _opaque(24),
            "tid": contoso.TENANT,
            "uti": uti,
            "ver": resource.version,
        }
        return Issued(self._keys.signing.sign(common | claims), uti, lifetime)

    def _groups(self, user: User) -> dict[str, Any]:
        groups = [group.id for group in contoso.groups_of(user.oid)]
        if self.overage:
            # The retired host that real tokens still name: nobody should call it.
            endpoint = f"https://graph.windows.net/{contoso.TENANT}/users/{user.oid}/getMemberObjects"
            return {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": endpoint}}}
        return {"groups": groups} if groups else {}


def _pairwise(oid: str, app: str) -> str:
    """A person's subject, another one for each application."""
    return encode(hashlib.sha256(f"{oid}/{app}".encode()).digest())


def _opaque(size: int) -> str:
    return f"1.{encode(secrets.token_bytes(size))}"
