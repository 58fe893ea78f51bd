"""An application as Graph writes it, and as a plan's fields; and the steps from one to the other.

Pure. Whatever an application has beside these fields stays as it is: Graph replaces a list that it is sent, and may
replace an object, so that what is sent holds what was there. What is never wanted is told only where it is there, and
goes: properties of claims (`emit_as_roles` makes a role of a group, by whatever name its owner gives it), the implicit
grant. Left out: `requiredResourceAccess`, which only fills a consent page that nobody sees, and secrets and
certificates (`rotating`). Sources: learn.microsoft.com/graph/api/resources/application, /apirole, /permissionscope,
/preauthorizedapplication, /optionalclaims, and learn.microsoft.com/entra/identity-platform/optional-claims-reference.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from remit.trust.things import Fields, Value

SELECT = (
    "id,appId,uniqueName,displayName,signInAudience,isFallbackPublicClient,identifierUris,web,publicClient,spa,api,"
    "appRoles,optionalClaims,groupMembershipClaims,passwordCredentials,keyCredentials"
)
_ANYBODY = ("Application", "User")
_SPA = "spa:"
"""Before a redirect URI of a page that holds no secret: none is ever wanted, and one that is there is told."""

_IMPLICIT: Mapping[str, str] = {"enableAccessTokenIssuance": "access tokens", "enableIdTokenIssuance": "ID tokens"}

Document = Mapping[str, Any]
Texts = tuple[str, ...]


def new_id(unique_name: str, noun: str, value: str) -> str:
    """The id of a new role or scope: the same for the same one, however often it is made."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"remit:{unique_name}/{noun}/{value}"))


def fields_of(document: Document, wanted: Fields) -> Fields:
    """What is compared. The display name is whoever's made the application, and its app id is Entra's."""
    api = _object(document, "api")
    scopes = tuple(one for one in _list(api, "oauth2PermissionScopes") if one.get("isEnabled"))
    return {
        "appId": wanted.get("appId"),
        "displayName": wanted.get("displayName", str(document.get("displayName") or "")),
        "audience": str(document.get("signInAudience") or ""),
        "public": bool(document.get("isFallbackPublicClient")),
        "uris": _sorted(document.get("identifierUris")),
        "webRedirects": _web_redirects(document),
        "publicRedirects": _redirects(document, "publicClient"),
        "scopes": _sorted(one.get("value") for one in scopes),
        "roles": _sorted(map(_role_told, _list(document, "appRoles"))),
        "preauthorized": _preauthorized(api, {str(one.get("id")) for one in scopes}),
        "optionalClaims": _claims_told(document),
        "groupClaims": _group_claims(document),
        "tokenVersion": _version(api) if scopes else 2,  # without a scope nobody has a token for it
        **({"implicitGrant": granted} if (granted := _implicit(document)) else {}),
    }


def patches(document: Document, wanted: Fields, unique_name: str) -> Iterator[dict[str, Any]]:
    """Bodies that make one application as it is wanted, in this order; each is to be sent when it is not empty.

    What is enabled can neither be removed nor changed (`CannotDeleteOrUpdateEnabledEntitlement`), and a client can be
    pre-authorized only for a scope that is there: what goes is disabled, then all is set, then clients are let in.
    """
    roles = _roles(document, _texts(wanted, "roles"), unique_name)
    scopes = _scopes(document, wanted, unique_name)
    clients = _let_in(sorted(_texts(wanted, "preauthorized")), {str(one["id"]) for one in scopes})
    steps: tuple[tuple[Document, Document], ...] = (
        ({"appRoles": _disabled(_list(document, "appRoles"), roles)}, _closing(document, scopes, clients)),
        (_rest(document, wanted) | {"appRoles": roles}, _versioned({"oauth2PermissionScopes": scopes}, wanted)),
        ({}, {"preAuthorizedApplications": clients}),
    )
    for whole, api in steps:
        body = _differing(document, whole)
        if _differing(_api(document), api):
            body["api"] = _filled({**_object(document, "api"), **api})
        if body:
            yield body
            document = merged(document, body)


def merged(document: Document, body: Document) -> dict[str, Any]:
    """The application after a change."""
    return {**document, **body}


def _closing(document: Document, scopes: Sequence[Document], clients: Sequence[Document]) -> dict[str, Any]:
    """The scopes that go, disabled, and every client let in to no more than is wanted; who stays is never shut out."""
    before = _list(_object(document, "api"), "oauth2PermissionScopes")
    wanted = {one["appId"]: set(one["delegatedPermissionIds"]) for one in clients}
    kept = [
        each
        for one in _clients(document)
        for each in _let_in([one["appId"]], wanted.get(one["appId"], set()) & set(one["delegatedPermissionIds"]))
    ]
    return {"oauth2PermissionScopes": _disabled(before, scopes), "preAuthorizedApplications": kept}


def _let_in(clients: Iterable[str], scopes: Iterable[str]) -> list[Document]:
    ids = sorted(scopes)
    return [{"appId": one, "delegatedPermissionIds": ids} for one in clients] if ids else []


def _rest(document: Document, wanted: Fields) -> dict[str, Any]:
    """What is set in one step, for every field that differs."""
    ways: Mapping[str, Callable[[], dict[str, Any]]] = {
        "audience": lambda: {"signInAudience": wanted["audience"]},
        "public": lambda: {"isFallbackPublicClient": wanted["public"]},
        "uris": lambda: {"identifierUris": list(_texts(wanted, "uris"))},
        "webRedirects": lambda: _web(document, _texts(wanted, "webRedirects")),
        "publicRedirects": lambda: {"publicClient": {"redirectUris": list(_texts(wanted, "publicRedirects"))}},
        "optionalClaims": lambda: {"optionalClaims": _optional(document, _texts(wanted, "optionalClaims"))},
        "groupClaims": lambda: {"groupMembershipClaims": wanted["groupClaims"] or None},
    }
    there = fields_of(document, wanted)
    differing = [name for name in ways if name in wanted and wanted[name] != there[name]]
    if "implicitGrant" in there and "webRedirects" in wanted:
        differing.append("webRedirects")
    return {key: value for name in differing for key, value in ways[name]().items()}


def _web(document: Document, uris: Texts) -> dict[str, Any]:
    # `redirectUriSettings` holds the same URIs once more: both together would contradict each other
    there = {key: value for key, value in _object(document, "web").items() if key != "redirectUriSettings"}
    if _implicit(document):
        there["implicitGrantSettings"] = dict.fromkeys(_IMPLICIT, False)
    web: dict[str, Any] = {"web": _filled({**there, "redirectUris": list(uris)})}
    return web | {"spa": {"redirectUris": []}} if _redirects(document, "spa") else web


def _optional(document: Document, names: Texts) -> dict[str, Any]:
    there = {str(one.get("name")): one for one in _claims(document) if not _shaped(one)}
    plain = dict.fromkeys(name.partition(" ")[0] for name in names)  # on the way back the shape of one does not return
    claims = [there.get(name, {"name": name, "essential": False}) for name in plain]
    told = {**_object(document, "optionalClaims"), "accessToken": claims}
    if any(map(_shaped, _claims(document, "idToken"))):
        told["idToken"] = [one for one in _claims(document, "idToken") if not _shaped(one)]
    return _filled(told)


def _roles(document: Document, values: Texts, unique_name: str) -> list[Document]:
    there = {str(one.get("value")): one for one in _list(document, "appRoles")}
    return [_role(there.get(value), value, unique_name) for value in _in_order(there, values)]


def _role(there: Document | None, value: str, unique_name: str) -> Document:
    if there is None:
        return {
            "id": new_id(unique_name, "role", value),
            "value": value,
            "displayName": value,
            "description": f"Holds the role {value}: what it may do is in the policies of Remit.",
            "allowedMemberTypes": list(_ANYBODY),
            "isEnabled": True,
        }
    return there if _for_anybody(there) else {**there, "allowedMemberTypes": list(_ANYBODY), "isEnabled": True}


def _scopes(document: Document, wanted: Fields, unique_name: str) -> list[Document]:
    there = {str(one.get("value")): one for one in _list(_object(document, "api"), "oauth2PermissionScopes")}
    # where nobody signs in with a browser, nobody but an administrator can consent to another client either
    kind = "User" if _texts(wanted, "webRedirects") else "Admin"
    values = _in_order(there, _texts(wanted, "scopes"))
    return [_scope(there.get(value), value, unique_name, kind) for value in values]


def _scope(there: Document | None, value: str, unique_name: str, kind: str) -> Document:
    if there is None:
        title, about = f"Act as you ({value})", "Lets a client obtain tokens for this application in your name."
        mine = {"userConsentDisplayName": title, "userConsentDescription": about} if kind == "User" else {}
        return {
            "id": new_id(unique_name, "scope", value),
            "value": value,
            "type": kind,
            "adminConsentDisplayName": f"Act as whoever signed in ({value})",
            "adminConsentDescription": "Lets a client obtain tokens for this application in the name of its users.",
            **mine,
            "isEnabled": True,
        }
    return there if there.get("isEnabled") else {**there, "isEnabled": True}


def _in_order(there: Mapping[str, Document], values: Texts) -> list[str]:
    """The values that are there as they lie, so that nothing is sent when nothing differs; then the new ones."""
    return [value for value in there if value in values] + [value for value in values if value not in there]


def _disabled(before: Sequence[Document], after: Sequence[Document]) -> list[Document]:
    """What is there, with everything disabled that is to go or to be another."""
    return [{**one, "isEnabled": False} if one.get("isEnabled") and one not in after else one for one in before]


def _versioned(api: dict[str, Any], wanted: Fields) -> dict[str, Any]:
    version = wanted.get("tokenVersion")
    return {**api, "requestedAccessTokenVersion": version} if api["oauth2PermissionScopes"] and version else api


def _api(document: Document) -> dict[str, Any]:
    there = _object(document, "api")
    lists = ("oauth2PermissionScopes", "preAuthorizedApplications")
    return {
        **there,
        **{name: list(_list(there, name)) for name in lists},
        "preAuthorizedApplications": _clients(document),
    }


def _clients(document: Document) -> list[Document]:
    """Who is pre-authorized, each with its scopes in one order."""
    there = _list(_object(document, "api"), "preAuthorizedApplications")
    rows = ((str(one.get("appId")), sorted(map(str, one.get("delegatedPermissionIds") or ()))) for one in there)
    return [{"appId": client, "delegatedPermissionIds": ids} for client, ids in sorted(rows)]


def _preauthorized(api: Document, enabled: set[str]) -> Texts:
    there = _list(api, "preAuthorizedApplications")
    return _sorted(one.get("appId") for one in there if enabled & set(one.get("delegatedPermissionIds") or ()))


def _differing(document: Document, body: Document) -> dict[str, Any]:
    return {key: value for key, value in body.items() if (document.get(key) or None) != (value or None)}


def _filled(value: Document) -> dict[str, Any]:
    return {key: each for key, each in value.items() if each is not None and not key.startswith("@")}


def _for_anybody(role: Document) -> bool:
    return bool(role.get("isEnabled")) and set(_ANYBODY) <= set(role.get("allowedMemberTypes") or ())


def _role_told(role: Document) -> str:
    """The value of a role, and who alone may hold it; nothing of one that is disabled."""
    value = str(role.get("value") or "") if role.get("isEnabled") else ""
    if not value or _for_anybody(role):
        return value
    return f"{value} ({', '.join(sorted(map(str, role.get('allowedMemberTypes') or ()))) or 'nobody'} only)"


def _web_redirects(document: Document) -> Texts:
    pages = (_SPA + uri for uri in _redirects(document, "spa"))
    return _sorted([*_redirects(document, "web"), *pages])


def _redirects(document: Document, platform: str) -> Texts:
    return _sorted(_object(document, platform).get("redirectUris"))


def _claims(document: Document, token: str = "accessToken") -> tuple[Document, ...]:
    return _list(_object(document, "optionalClaims"), token)


def _claims_told(document: Document) -> Texts:
    of_people = (f"{_claim_told(one)} of ID tokens" for one in _claims(document, "idToken") if _shaped(one))
    return _sorted([*map(_claim_told, _claims(document)), *of_people])


def _claim_told(claim: Document) -> str:
    shape = [*(claim.get("additionalProperties") or ()), *filter(None, [claim.get("source")])]
    return f"{claim.get('name')} ({', '.join(map(str, shape))})" if shape else str(claim.get("name") or "")


def _shaped(claim: Document) -> bool:
    """Whether a claim says something else than its name: another's value, or its own in another form or place."""
    return bool(claim.get("additionalProperties") or claim.get("source"))


def _implicit(document: Document) -> Texts:
    """The tokens that a browser's address bar may be given, without a code and without a secret."""
    settings = _object(_object(document, "web"), "implicitGrantSettings")
    return tuple(said for name, said in _IMPLICIT.items() if settings.get(name))


def _group_claims(document: Document) -> str:
    told = str(document.get("groupMembershipClaims") or "")
    return "" if told == "None" else told


def _version(api: Document) -> int:
    return int(api.get("requestedAccessTokenVersion") or 1)


def _object(document: Document, key: str) -> Document:
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def _list(document: Document, key: str) -> tuple[Document, ...]:
    value = document.get(key)
    return tuple(one for one in value if isinstance(one, Mapping)) if isinstance(value, list) else ()


def _sorted(values: Iterable[object] | None) -> Texts:
    return tuple(sorted(str(one) for one in values or () if one))


def _texts(fields: Fields, name: str) -> Texts:
    value: Value = fields.get(name, ())
    return tuple(map(str, value)) if isinstance(value, tuple) else ()
