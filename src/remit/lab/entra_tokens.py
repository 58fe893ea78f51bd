"""The tokens that Entra issues, with every claim that the real ones carry.

Access tokens of the version that their resource takes, its optional claims included, and ID tokens of version 2.0.
Groups beyond 200 are left to Graph, as in JWTs; a fault forces that, or the mark of the implicit flow. Source:
learn.microsoft.com/entra/identity-platform/access-token-claims-reference and optional-claims-reference.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from remit.lab import contoso
from remit.lab.contoso import App, User
from remit.lab.entra_errors import EntraError
from remit.lab.entra_keys import Keys
from remit.lab.entra_sessions import Session, Sessions
from remit.lab.jwt import encode

_LIFE = (3600, 5400)  # seconds: 60 to 90 minutes
_LONG_LIFE = (24 * 3600, 28 * 3600)  # seconds: with a client that handles claims challenges
_MACHINE_LIFE = 24 * 3600  # seconds: managed identities
_MOST_GROUPS = 200  # in a JWT
_AHEAD = 5  # seconds: how far a token's time may be put off to be later than a challenge asks
_CAPABLE = "cp1"
# Directory role templates that each principal of a tenant has: "User", and a service principal's default access.
_PERSON_ROLE = "b79fbf4d-3ef9-4689-8143-76b194e85509"
_APP_ROLE = "0997a1d0-0d1d-4acb-b408-d5ca73121e90"


@dataclass(frozen=True, slots=True)
class Issued:
    """A token, its identifier (`uti`) and its lifetime in seconds."""

    token: str
    uti: str
    lifetime: int


class Tokens:
    """Issues tokens. `overage`: people's groups are left to Graph whatever their number (a fault).

    `versions`: app id of a resource → the version of its tokens, where that is not what `contoso` says.
    """

    def __init__(self, keys: Keys, sessions: Sessions, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._sessions = sessions
        self.registry = sessions.directory.registry
        self._clock = clock
        self.overage: bool | str = False
        self.versions: dict[str, str] = {}

    def for_user(
        self,
        session: Session,
        *,
        resource: App,
        client: App,
        scopes: tuple[str, ...],
        capabilities: tuple[str, ...] = (),
        strength: str = "0",
        not_before: int = 0,
    ) -> Issued:
        """A person's access token.

        `capabilities`: what the client said of itself, shown when the resource asks; `strength`: how the client proved
        itself (`azpacr`); `not_before`: a time that the token is to be later than.
        """
        user = session.user
        self._admit(client.principal, client.id)
        self._serves(resource)
        roles = self._roles_of(user, resource)
        shown = capabilities if "xms_cc" in resource.optional else ()
        low, high = _LONG_LIFE if _CAPABLE in {each.lower() for each in shown} else _LIFE
        claims: dict[str, Any] = {
            "amr": [method for method in ("pwd", "mfa") if method in session.methods],
            "name": user.name,
            "oid": user.oid,
            "scp": " ".join(scopes),
            "sub": _pairwise(user.oid, resource.id),
        }
        if self._version(resource) == "1.0":
            claims |= {"acr": "1", "ipaddr": self._sessions.place(user).address}
            claims |= {"unique_name": user.upn, "upn": user.upn}
        else:
            claims["preferred_username"] = user.upn
        claims |= {"idp": contoso.issuer(user.home, "1.0")} if user.guest else {}
        claims |= {"roles": roles} if roles else {}
        claims |= {"xms_cc": list(shown)} if shown else {}
        claims |= {name: value for name, value in self._optional(session).items() if name in resource.optional}
        claims |= self._groups(user, resource) if "groups" in resource.optional else {}
        lifetime = low + secrets.randbelow(high - low)
        return self._access(claims, resource, client.id, lifetime, strength, tenant=user.tenant, not_before=not_before)

    def for_app(self, app: App, resource: App, *, strength: str = "2", capabilities: tuple[str, ...] = ()) -> Issued:
        """An application's own access token; raises `EntraError` when it is disabled."""
        claims = self._machine(app.principal, app, resource)
        claims |= {"xms_cc": list(capabilities)} if capabilities and "xms_cc" in resource.optional else {}
        return self._access(claims, resource, app.id, _LIFE[0], strength)

    def for_machine(self, identity: contoso.ManagedIdentity, resource: App) -> Issued:
        """A managed identity's access token; raises `EntraError` when it is disabled."""
        client = App(identity.client_id, identity.name, identity.oid)
        claims = self._machine(identity.oid, client, resource)
        claims["xms_mirid"] = identity.arm_id
        return self._access(claims, resource, identity.client_id, _MACHINE_LIFE, "2")

    def identity(self, session: Session, client: App, *, nonce: str = "", email: bool = False) -> str:
        """A person's ID token for a client. Those of the code flow have no `at_hash`, as Entra's."""
        user, now = session.user, int(self._clock())
        claims: dict[str, Any] = {
            "aud": client.id,
            "iss": contoso.issuer(user.tenant),
            "iat": now,
            "nbf": now,
            "exp": now + _LIFE[0],
            "auth_time": session.at,
            "name": user.name,
            "oid": user.oid,
            "preferred_username": user.upn,
            "rh": _opaque(24),
            "sid": session.id,
            "sub": _pairwise(user.oid, client.id),
            "tid": user.tenant,
            "uti": encode(secrets.token_bytes(16)),
            "ver": "2.0",
        }
        claims |= {"nonce": nonce} if nonce else {}
        claims |= {"email": user.upn} if email else {}
        claims |= {"idp": contoso.issuer(user.home, "1.0")} if user.guest else {}
        roles = self._roles_of(user, client)
        claims |= {"roles": roles} if roles else {}
        claims |= self._groups(user, client) if "groups" in client.optional else {}
        return self._keys.signing.sign(claims)

    def _version(self, resource: App) -> str:
        return self.versions.get(resource.id, resource.version)

    def _admit(self, principal: str, client: str) -> None:
        if not self._sessions.directory.enabled(principal):
            raise EntraError("unauthorized_client", 7000112, f"Application '{client}' is disabled.")

    def _serves(self, resource: App) -> None:
        if not self._sessions.directory.enabled(resource.principal):
            raise EntraError(
                "invalid_resource",
                500014,
                f"The service principal for resource '{resource.uri or resource.id}' is disabled. This indicate that a "
                "subscription within the tenant has lapsed, or that the administrator for this tenant has disabled the "
                "application, preventing tokens from being issued for it.",
            )

    def _roles_of(self, user: User, resource: App) -> list[str]:
        """A person's roles at a resource; raises `EntraError` where nobody gets in without being assigned."""
        if user.tenant != contoso.TENANT:
            # another tenant's administrator gives whichever of the application's roles she likes
            defined = {each["value"] for each in (self.registry.backing(resource.id) or {}).get("appRoles", ())}
            return [role for role in user.roles if role in defined]
        holders = self._holders(user.oid)
        if self.registry.required(resource) and not self.registry.assigned(holders, resource):
            raise EntraError(
                "invalid_grant",
                50105,
                f"Your administrator has configured the application {resource.name} ('{resource.id}') to block users "
                f"unless they are specifically granted ('assigned') access to the application. The signed-in user "
                f"'{user.upn}' is blocked because they are not a direct member of a group with access, nor had access "
                "directly assigned by an administrator. Please contact your administrator to assign access to this "
                "application.",
            )
        return list(self.registry.roles(holders, resource))

    def _holders(self, oid: str) -> frozenset[str]:
        """Whose assignments count for an account: its own, and those of groups that it is a direct member of."""
        return frozenset({oid, *(group.id for group in self._sessions.directory.direct_groups_of(oid))})

    def _machine(self, oid: str, client: App, resource: App) -> dict[str, Any]:
        """What all tokens of something that is no person say; raises `EntraError` when it gets none."""
        self._admit(oid, client.id)
        self._serves(resource)
        holders = self._holders(oid)
        if self.registry.required(resource) and not self.registry.assigned(holders, resource):
            raise EntraError(
                "invalid_grant",
                501051,
                f"Application '{client.id}'({client.name}) is not assigned to a role for the application "
                f"'{resource.id}'({resource.name}).",
            )
        # of a group's roles a service principal has none: only people do (howto-add-app-roles-in-apps)
        roles = self.registry.roles(frozenset({oid}), resource)
        claims: dict[str, Any] = {"oid": oid, "sub": oid}
        claims |= {"idtyp": "app"} if "idtyp" in resource.optional or self.registry.microsofts(resource) else {}
        claims |= {"roles": list(roles)} if roles else {}
        if self._version(resource) == "1.0":
            claims["idp"] = contoso.issuer(contoso.TENANT, "1.0")
        return claims | (self._groups(oid, resource) if "groups" in resource.optional else {})

    def _optional(self, session: Session) -> dict[str, Any]:
        """The optional claims that there are for a sign-in, whoever wants them."""
        user, place = session.user, self._sessions.place(session.user)
        found: dict[str, Any] = {
            "acct": 1 if user.guest else 0,
            "auth_time": session.at,
            "ipaddr": place.address,
            "sid": session.id,
        }
        found |= {"acrs": sorted(session.contexts)} if session.contexts else {}
        found |= {"deviceid": place.device} if place.device else {}
        return found | ({"signin_state": list(place.states)} if place.states else {})

    def _access(
        self,
        claims: dict[str, Any],
        resource: App,
        client: str,
        lifetime: int,
        strength: str,
        *,
        tenant: str = contoso.TENANT,
        not_before: int = 0,
    ) -> Issued:
        now, uti = int(self._clock()), encode(secrets.token_bytes(16))
        issued = not_before + 1 if now <= not_before < now + _AHEAD else now
        version = self._version(resource)
        first = version == "1.0"
        common: dict[str, Any] = {
            "aud": resource.uri if first else resource.id,
            "iss": contoso.issuer(tenant, version),
            "iat": issued,
            "nbf": issued,
            "exp": issued + lifetime,
            "aio": _opaque(48),
            **({"appid": client, "appidacr": strength} if first else {"azp": client, "azpacr": strength}),
            "rh": _opaque(24),
            "tid": tenant,
            "uti": uti,
            "ver": version,
        }
        return Issued(self._keys.signing.sign(common | claims), uti, lifetime)

    def _groups(self, who: User | str, resource: App) -> dict[str, Any]:
        """`groups`, or the mark that there are too many, and `wids`: a registration that emits memberships.

        `who`: a person, or the object id of something else.
        """
        person, oid, tenant = isinstance(who, User), *_whose(who)
        groups = [group.id for group in self._sessions.groups(oid)] if tenant == contoso.TENANT else []
        roles = {"wids": [_PERSON_ROLE if person else _APP_ROLE]}
        if self.overage == "hasgroups":
            return roles | {"hasgroups": True}
        if self.registry.emits(resource) == "ApplicationGroup":
            groups = [group for group in groups if self.registry.assigned({group}, resource)]
        if (self.overage and person) or len(groups) > _MOST_GROUPS:
            kind = "users" if person else "servicePrincipals"
            # The retired host that real tokens still name: nobody should call it.
            endpoint = f"https://graph.windows.net/{tenant}/{kind}/{oid}/getMemberObjects"
            return roles | {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": endpoint}}}
        return roles | ({"groups": groups} if groups else {})


def _whose(who: User | str) -> tuple[str, str]:
    return (who.oid, who.tenant) if isinstance(who, User) else (who, contoso.TENANT)


def _pairwise(oid: str, app: str) -> str:
    """A person's subject, another one for each application."""
    return encode(hashlib.sha256(f"{oid}/{app}".encode()).digest())


def _opaque(size: int) -> str:
    return f"1.{encode(secrets.token_bytes(size))}"
