"""What a world's applications look like as Graph's documents, on the day that the lab begins.

An application of Contoso's own has an application object and a service principal; one of Microsoft's has its object
elsewhere, and only the service principal is here. Object ids are made from what they stand for, so that they are the
same in every lab. Sources: learn.microsoft.com/graph/api/resources/application, .../serviceprincipal.
"""

import base64
import hashlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from remit.lab import contoso
from remit.lab.contoso import App, Federation, ManagedIdentity, World
from remit.lab.graph_permissions import PERMISSIONS, SCOPES

Document = dict[str, Any]

BORN = "2025-01-06T08:00:00Z"
_ROLES = uuid.UUID("a09e0000-0000-4000-8000-000000000000")
_OBJECTS = uuid.UUID("0b1ec700-0000-4000-8000-000000000000")
_OWN, _MICROSOFT = contoso.TENANT, "f8cdef31-a31e-4b4a-93e4-5f571e91255a"


def role_id(role: str) -> str:
    """The id of an app role of Remit's."""
    return str(uuid.uuid5(_ROLES, role))


def object_id(kind: str, name: str) -> str:
    """The id of an object that was there from the first day."""
    return str(uuid.uuid5(_OBJECTS, f"{kind}/{name}"))


def blank(oid: str, app: str, name: str, created: str) -> Document:
    """An application object of which nothing was said but its name. `oid`: its own id, which is no principal's."""
    return {
        "id": oid,
        "deletedDateTime": None,
        "appId": app,
        "uniqueName": None,
        "createdDateTime": created,
        "displayName": name,
        "description": None,
        "notes": None,
        "identifierUris": [],
        "publisherDomain": contoso.DOMAIN,
        "signInAudience": "AzureADMyOrg",
        "isFallbackPublicClient": None,
        "isDeviceOnlyAuthSupported": None,
        "groupMembershipClaims": None,
        "optionalClaims": None,
        "tags": [],
        "serviceManagementReference": None,
        "info": dict.fromkeys(("marketingUrl", "privacyStatementUrl", "supportUrl", "termsOfServiceUrl")),
        "requiredResourceAccess": [],
        "appRoles": [],
        "api": {
            "acceptMappedClaims": None,
            "knownClientApplications": [],
            "requestedAccessTokenVersion": None,
            "oauth2PermissionScopes": [],
            "preAuthorizedApplications": [],
        },
        "web": {
            "homePageUrl": None,
            "logoutUrl": None,
            "redirectUris": [],
            "implicitGrantSettings": {"enableAccessTokenIssuance": False, "enableIdTokenIssuance": False},
        },
        "spa": {"redirectUris": []},
        "publicClient": {"redirectUris": []},
        "keyCredentials": [],
        "passwordCredentials": [],
    }


def application(app: App, world: World) -> Document:
    """The application object of an app."""
    empty = blank(object_id("application", app.id), app.id, app.name, BORN)
    roles = PERMISSIONS if app.id == contoso.GRAPH.id else _roles(app, world)
    redirects = list(app.redirects)
    return {
        **empty,
        "identifierUris": [app.uri] if app.uri else [],
        "isFallbackPublicClient": app.public,
        "groupMembershipClaims": "SecurityGroup" if "groups" in app.optional else None,
        "optionalClaims": _claims(app),
        "appRoles": [role(name, number) for name, number in roles.items()],
        "api": {
            **empty["api"],
            "requestedAccessTokenVersion": int(float(app.version)),
            "oauth2PermissionScopes": [scope(name, _scope_id(app, name)) for name in app.scopes],
            "preAuthorizedApplications": list(_preauthorized(app, world)),
        },
        "web": {**empty["web"], "redirectUris": [] if app.public else redirects},
        "publicClient": {"redirectUris": redirects if app.public else []},
    }


def role(name: str, number: str) -> Document:
    """An app role that people, groups and applications may hold."""
    return {
        "allowedMemberTypes": ["User", "Application"],
        "description": name,
        "displayName": name,
        "id": number,
        "isEnabled": True,
        "origin": "Application",
        "value": name,
    }


def scope(name: str, number: str) -> Document:
    """A delegated permission."""
    return {
        "adminConsentDescription": name,
        "adminConsentDisplayName": name,
        "id": number,
        "isEnabled": True,
        "type": "User",
        "userConsentDescription": None,
        "userConsentDisplayName": None,
        "value": name,
    }


def principal(app: App) -> Document:
    """The service principal of an app."""
    return principal_of(app.principal, app.id, app.name) | {
        "appOwnerOrganizationId": _MICROSOFT if app in contoso.MICROSOFTS else _OWN,
        # whoever holds no role gets no token for Remit
        "appRoleAssignmentRequired": app == contoso.REMIT,
    }


def principal_of(oid: str, app: str, name: str, created: str = BORN) -> Document:
    """The service principal of an application of Contoso's own."""
    return {
        "id": oid,
        "deletedDateTime": None,
        "accountEnabled": True,
        "alternativeNames": [],
        "appDisplayName": name,
        "appId": app,
        "appOwnerOrganizationId": _OWN,
        "appRoleAssignmentRequired": False,
        "createdDateTime": created,
        "description": None,
        "displayName": name,
        "notes": None,
        "servicePrincipalType": "Application",
        "tags": [],
        "keyCredentials": [],
        "passwordCredentials": [],
    }


def machine(identity: ManagedIdentity) -> Document:
    """The service principal of a managed identity."""
    return principal_of(identity.oid, identity.client_id, identity.name) | {
        "alternativeNames": ["isExplicit=True", identity.arm_id],
        "appDisplayName": None,
        "appOwnerOrganizationId": None,
        "servicePrincipalType": "ManagedIdentity",
    }


def federation(given: Federation) -> Document:
    """A federated identity credential, with the app that it is of."""
    own = given.issuer == contoso.REMIT_ISSUER
    name = given.subject.replace("/", "-").lower() if own else "managed-identity"
    return {
        "id": object_id("federation", f"{given.app}/{name}"),
        "name": name,
        "issuer": given.issuer,
        "subject": given.subject,
        "description": None,
        "audiences": [given.audience],
        "application": object_id("application", given.app),
    }


def assignments(world: World) -> Iterator[Document]:
    """Who holds which app role: of Remit's where there is Remit, and the permissions at Graph."""
    if contoso.REMIT in world.apps:
        here = tuple(user for user in world.users if user.tenant == contoso.TENANT)
        yield from (_to_remit(user.oid, user.name, name, "User") for user in here for name in user.roles)
        programs = [(each.oid, each.name, each.roles) for each in world.identities]
        programs += [(app.principal, app.name, app.roles) for app in world.apps]
        for oid, known, roles in programs:
            yield from (_to_remit(oid, known, name, "ServicePrincipal") for name in roles)
    principals = {app.id: (app.principal, app.name) for app in world.apps}
    principals |= {each.client_id: (each.oid, each.name) for each in world.identities}
    for client, permissions in world.graph_roles.items():
        for name in permissions:
            yield assignment((*principals[client], "ServicePrincipal"), contoso.GRAPH, PERMISSIONS[name])


def assignment(holder: tuple[str, str, str], resource: App, number: str, created: str = BORN) -> Document:
    """An app role assignment.

    `holder`: object id, name, and `User`, `Group` or `ServicePrincipal`; `number`: id of the role.
    """
    oid, name, kind = holder
    whole = hashlib.sha256(f"{oid}/{resource.principal}/{number}".encode()).digest()
    return {
        "id": base64.urlsafe_b64encode(whole).rstrip(b"=").decode(),
        "deletedDateTime": None,
        "appRoleId": number,
        "createdDateTime": created,
        "principalDisplayName": name,
        "principalId": oid,
        "principalType": kind,
        "resourceDisplayName": resource.name,
        "resourceId": resource.principal,
    }


def _to_remit(oid: str, known: str, name: str, kind: str) -> Document:
    return assignment((oid, known, kind), contoso.REMIT, role_id(name))


def _roles(app: App, world: World) -> dict[str, str]:
    """The app roles of Remit: every one that anybody holds."""
    if app != contoso.REMIT:
        return {}
    holders: Sequence[Any] = (*world.users, *world.identities, *world.apps)
    return {name: role_id(name) for name in sorted({name for holder in holders for name in holder.roles})}


def _claims(app: App) -> Document | None:
    if not app.optional:
        return None
    claims: list[Document] = [
        {"name": name, "source": None, "essential": False, "additionalProperties": []} for name in sorted(app.optional)
    ]
    return {"idToken": [], "accessToken": claims, "saml2Token": []}


def _preauthorized(app: App, world: World) -> Iterator[Document]:
    """Whom an administrator let ask in a person's name: the command line at Remit, and Remit alone at the second."""
    client = {contoso.REMIT: contoso.CLI, contoso.GOOGLE: contoso.REMIT}.get(app)
    if client is not None and client in world.apps:
        yield {"appId": client.id, "delegatedPermissionIds": [_scope_id(app, name) for name in app.scopes]}


def _scope_id(app: App, name: str) -> str:
    return SCOPES.get(name, "") if app.id == contoso.GRAPH.id else object_id("scope", f"{app.id}/{name}")
