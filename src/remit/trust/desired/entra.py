"""What Entra must hold: Remit's three applications, those that open containers, whom they trust, and who has a role.

Pure. The second audience, `remit-google`, is the point of it: Google accepts tokens for that one alone, and the one
client that Entra gives them to is Remit. Left out: `requiredResourceAccess`, secrets and certificates. Sources:
learn.microsoft.com/entra/identity-platform, v2-oauth2-on-behalf-of-flow, optional-claims-reference; /entra/
workload-id/workload-identity-federation.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from remit.trust.clouds.entra_applications import unique_name
from remit.trust.settings import Applications, AzureClient, Role, TrustSettings
from remit.trust.things import Address, Fields, Ref, Thing, Value

EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"
MICROSOFT_GRAPH = "00000003-0000-0000-c000-000000000000"
CONSENTS = {
    "Application.Read.All": "read which roles people and workloads hold, and what the trust has become",
    "AuditLog.Read.All": "read the sign-in log and who changed what in the directory",
    "DelegatedPermissionGrant.Read.All": "read whether its applications may act as people anywhere",
    "GroupMember.Read.All": "read who is in which group, also for those in more groups than a token holds",
    "Policy.Read.All": "read which networks are trusted, and under which conditions people sign in",
    "User.Read.All": "see when a person's account is disabled or deleted",
}
"""Remit's own permissions at Microsoft Graph, and what it does with each."""

_CLAIMS = ("acct", "acrs", "auth_time", "deviceid", "groups", "idtyp", "ipaddr", "sid", "signin_state", "xms_cc")
_SECOND_CLAIMS = ("acct", "acrs", "groups", "sid")
_REMIT, _CLI, _SECOND = (Address("entra.application", name) for name in ("remit", "remit-cli", "remit-google"))


def entra(settings: TrustSettings) -> tuple[Thing, ...]:
    """Everything that the tenant must hold; nothing when the file does not say which applications are Remit's."""
    if settings.applications is None:
        return ()
    own, clients = _own(settings, settings.applications), (_client(settings, one) for one in settings.azure)
    applications = tuple(_named(settings, one) for one in (*own, *clients))
    return (
        *applications,
        *map(_principal, applications),
        *_given(settings.applications),
        *_federations(settings),
        *(thing for role in settings.roles for thing in _assignments(role)),
        *map(_consent, CONSENTS),
    )


def _own(settings: TrustSettings, applications: Applications) -> Iterator[Thing]:
    yield _application(
        _REMIT,
        "lets people and workloads sign in to Remit with one of the roles of this file",
        appId=_known(settings, applications.remit),
        displayName="Remit",
        uris=tuple(sorted(applications.uris)),
        webRedirects=tuple(sorted(applications.redirects)),
        scopes=("access",),
        roles=tuple(sorted({role.name for role in settings.roles})),
        preauthorized=(Ref(_CLI, "appId"),),
        optionalClaims=_CLAIMS,
        groupClaims="SecurityGroup",
    )
    yield _application(
        _CLI,
        "lets people sign in from a terminal: it holds no secret, and its tokens are for Remit",
        appId=_known(settings, applications.cli),
        displayName="Remit command line",
        public=True,
        publicRedirects=("http://localhost",),
    )
    yield _application(
        _SECOND,
        "lets only Remit obtain tokens that Google accepts, on behalf of who signed in to it",
        displayName="Remit at Google",
        uris=(applications.second,),
        scopes=("exchange",),
        preauthorized=(Ref(_REMIT, "appId"),),
        optionalClaims=_SECOND_CLAIMS,
        groupClaims="SecurityGroup",
    )


def _named(settings: TrustSettings, application: Thing) -> Thing:
    name = unique_name(application.address.name, settings.installation)
    return replace(application, fields={**application.fields, "uniqueName": name})


def _client(settings: TrustSettings, client: AzureClient) -> Thing:
    what = _listed(client.containers) or "no container"
    return _application(
        Address("entra.application", client.name),
        f"is who Remit is to Azure where it {'reads and writes' if client.write else 'reads'} {what}",
        appId=_known(settings, client.client),
        displayName=f"Remit: {client.name}",
    )


def _application(address: Address, says: str, **fields: Value) -> Thing:
    """What a kind of application does not have is wanted to be empty: a redirect URI at a client would be a way in."""
    nothing: Fields = {
        "appId": None,
        "audience": "AzureADMyOrg",
        "public": False,
        "uris": (),
        "webRedirects": (),
        "publicRedirects": (),
        "scopes": (),
        "roles": (),
        "preauthorized": (),
        "optionalClaims": (),
        "groupClaims": "",
        "tokenVersion": 2,
    }
    return Thing(address, {**nothing, **fields}, says=says)


def _principal(application: Thing) -> Thing:
    address = application.address
    closed = address == _REMIT
    open_ = f"lets {application.fields['displayName']} take part in this tenant's sign-ins"
    says = "keeps out of Remit everybody to whom no role is given" if closed else open_
    fields: Fields = {"application": Ref(address, "appId"), "enabled": True, "assignmentRequired": closed}
    return Thing(_of(address), fields, says=says)


def _given(applications: Applications) -> Iterator[Thing]:
    says = "what Remit proves itself with: Azure's, and nobody has a secret of it"
    yield _looked_up("managed-identity", applications.managed_identity, says)
    yield _looked_up("microsoft-graph", MICROSOFT_GRAPH, "Microsoft's directory")


def _looked_up(name: str, client: str, says: str) -> Thing:
    return Thing(Address("entra.principal", name), {"appId": client}, says=says, given=True)


def _federations(settings: TrustSettings) -> Iterator[Thing]:
    identity = Address("entra.principal", "managed-identity")
    yield _federation(
        _REMIT,
        "managed-identity",
        settings.issuer,
        Ref(identity, "id"),
        "lets Remit prove itself with its managed identity, instead of a secret",
    )
    for client in settings.azure:
        address = Address("entra.application", client.name)
        for subject in client.subjects:
            _, project, role = subject.split("/", 2) if subject.count("/") > 1 else ("", "", subject)
            says = f"lets Remit become {client.name} for those who work as {role}{f' in {project}' if project else ''}"
            yield _federation(address, _credential(subject), settings.own_issuer, subject, says)


def _credential(subject: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", subject.lower())


def _federation(application: Address, name: str, issuer: str, subject: Value, says: str) -> Thing:
    fields: Fields = {
        "application": application.name,
        "issuer": issuer,
        "subject": subject,
        "audience": EXCHANGE_AUDIENCE,
    }
    return Thing(Address("entra.federation", f"{application.name}/{name}"), fields, (application,), says)


def _assignments(role: Role) -> Iterator[Thing]:
    about = f": {role.about}" if role.about else ""
    for kind, who, holders in (
        ("Group", "the direct members of group", role.groups),
        ("User", "the person", role.people),
        ("ServicePrincipal", "the workload", role.workloads),
    ):
        for oid in holders:
            fields: Fields = {"role": role.name, "principal": oid, "principalType": kind}
            says = f"lets {who} {oid} work as {role.name}{about}"
            yield Thing(Address("entra.assignment", f"{role.name}/{oid}"), fields, (_REMIT, _of(_REMIT)), says)


def _consent(permission: str) -> Thing:
    fields: Fields = {"permission": permission, "principal": Ref(_of(_REMIT), "id")}
    needs = (Address("entra.principal", "microsoft-graph"),)
    return Thing(Address("entra.consent", permission), fields, needs, f"lets Remit {CONSENTS[permission]}")


def _known(settings: TrustSettings, client: str) -> str | None:
    """An app id, `None` for one that Entra has yet to give."""
    return None if not client or client in settings.pending else client


def _of(application: Address) -> Address:
    return Address("entra.principal", application.name)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + (" and " if names[:-1] else "") + "".join(names[-1:])
