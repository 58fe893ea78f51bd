"""What may be written into an application or a service principal.

Types are checked as the service's own schema has them; complex properties are merged on a change, collections replaced.
Then come the directory's own rules: what is unique, what has to be disabled before it may go. Source:
learn.microsoft.com/graph/api/resources/application, .../api/application-update, .../resources/passwordcredential.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from remit.lab.entra_registry import Document
from remit.lab.graph_errors import GraphError, bad_request

Schema = Any
"""`str`, `bool`, `int`; a list of one schema; a mapping of names to schemas; `object` for what nobody looks at."""

_CLAIM = {"name": str, "source": str, "essential": bool, "additionalProperties": [str], "@odata.type": str}
_KEY = {
    "customKeyIdentifier": str,
    "displayName": str,
    "endDateTime": str,
    "key": str,
    "keyId": str,
    "startDateTime": str,
    "type": str,
    "usage": str,
}
_REDIRECTS = {"redirectUris": [str]}
APPLICATION: Mapping[str, Schema] = {
    "displayName": str,
    "description": str,
    "notes": str,
    "uniqueName": str,
    "identifierUris": [str],
    "signInAudience": str,
    "isFallbackPublicClient": bool,
    "isDeviceOnlyAuthSupported": bool,
    "groupMembershipClaims": str,
    "optionalClaims": {"idToken": [_CLAIM], "accessToken": [_CLAIM], "saml2Token": [_CLAIM]},
    "tags": [str],
    "serviceManagementReference": str,
    "info": dict.fromkeys(("marketingUrl", "privacyStatementUrl", "supportUrl", "termsOfServiceUrl"), str),
    "requiredResourceAccess": [{"resourceAppId": str, "resourceAccess": [{"id": str, "type": str}]}],
    "appRoles": [
        {
            "allowedMemberTypes": [str],
            "description": str,
            "displayName": str,
            "id": str,
            "isEnabled": bool,
            "origin": str,
            "value": str,
        }
    ],
    "api": {
        "acceptMappedClaims": bool,
        "knownClientApplications": [str],
        "requestedAccessTokenVersion": int,
        "oauth2PermissionScopes": [
            {
                "adminConsentDescription": str,
                "adminConsentDisplayName": str,
                "id": str,
                "isEnabled": bool,
                "origin": str,
                "type": str,
                "userConsentDescription": str,
                "userConsentDisplayName": str,
                "value": str,
            }
        ],
        "preAuthorizedApplications": [{"appId": str, "delegatedPermissionIds": [str]}],
    },
    "web": {
        **_REDIRECTS,
        "homePageUrl": str,
        "logoutUrl": str,
        "implicitGrantSettings": {"enableAccessTokenIssuance": bool, "enableIdTokenIssuance": bool},
    },
    "spa": _REDIRECTS,
    "publicClient": _REDIRECTS,
    "keyCredentials": [_KEY],
    "passwordCredentials": [object],
}
PRINCIPAL: Mapping[str, Schema] = {
    "accountEnabled": bool,
    "appRoleAssignmentRequired": bool,
    "description": str,
    "notes": str,
    "tags": [str],
    "keyCredentials": [_KEY],
}
_READ_ONLY = frozenset(
    {"id", "appId", "createdDateTime", "deletedDateTime", "publisherDomain", "applicationTemplateId", "certification"}
)
_NAME = 256  # characters of a display name
_AUDIENCES = ("AzureADMyOrg", "AzureADMultipleOrgs", "AzureADandPersonalMicrosoftAccount", "PersonalMicrosoftAccount")
_GROUPS = frozenset({"None", "SecurityGroup", "DirectoryRole", "ApplicationGroup", "All"})
_VALUE = re.compile(r"[\w!#$%&'()*+,\-./:;=?@\[\]^`{|}~<>]{1,250}")
_URI = re.compile(r"[a-z][a-z0-9+.\-]*:[^\s*]{1,250}")
_SECRETS = "Updates to passwordCredentials are not supported here: use addPassword and removePassword."


def checked(given: Mapping[str, Any], schema: Mapping[str, Schema], what: str) -> None:
    """Raise `GraphError` for a property that there is not, or that is not of its type."""
    for name, value in given.items():
        if name.startswith("@odata."):
            continue
        if name in _READ_ONLY:
            raise bad_request(f"Property '{name}' is read-only and cannot be set.")
        if name not in schema:
            raise bad_request(f"Invalid property '{name}'.")
        if not _is(value, schema[name]):
            raise bad_request(f"Invalid value specified for property '{name}' of resource '{what}'.")


def _is(value: Any, schema: Schema) -> bool:
    if value is None or schema is object:
        return True
    if isinstance(schema, list):
        return isinstance(value, list) and all(each is not None and _is(each, schema[0]) for each in value)
    if isinstance(schema, Mapping):
        known = isinstance(value, dict) and set(value) <= set(schema)
        return known and all(_is(each, schema[name]) for name, each in value.items())
    return type(value) is schema


def merged(before: Document, given: Mapping[str, Any]) -> dict[str, Any]:
    """A document with what is given in its place; complex properties keep the members that are not given."""
    after = dict(before)
    for name, value in given.items():
        old = before.get(name)
        after[name] = merged(old, value) if isinstance(value, dict) and isinstance(old, Mapping) else value
    return after


def application(before: Document, given: Mapping[str, Any]) -> dict[str, Any]:
    """An application once the change is made; raises `GraphError` for what the directory does not take."""
    checked(given, APPLICATION, "Application")
    if "passwordCredentials" in given and given["passwordCredentials"] != before["passwordCredentials"]:
        raise bad_request(_SECRETS)
    if "uniqueName" in given and given["uniqueName"] != before["uniqueName"]:
        raise bad_request("Property 'uniqueName' is read-only and cannot be set.")
    after = merged(before, {name: _whole(name, value) for name, value in given.items() if name[0] != "@"})
    _plain(after)
    _entitlements(before["appRoles"], after["appRoles"], "appRoles")
    scopes = "oauth2PermissionScopes"
    _entitlements(before["api"][scopes], after["api"][scopes], f"api.{scopes}")
    _preauthorized(after)
    return after


def _whole(name: str, value: Any) -> Any:
    """Members of collections with the defaults that the directory gives them."""
    if name == "appRoles":
        return [{"isEnabled": True, "origin": "Application", **each} for each in value or ()]
    if name == "api" and value and "oauth2PermissionScopes" in value:
        filled = [{"isEnabled": True, "type": "User", **each} for each in value["oauth2PermissionScopes"] or ()]
        return {**value, "oauth2PermissionScopes": filled}
    return value if value is not None or name not in {"identifierUris", "tags", "keyCredentials"} else []


def _plain(after: Mapping[str, Any]) -> None:
    """The rules of properties that stand for themselves."""
    wrong = next((name for name in ("api", "web", "spa", "publicClient") if after[name] is None), "")
    if not after["displayName"] or len(after["displayName"]) > _NAME:
        wrong = "displayName"
    if after["signInAudience"] not in _AUDIENCES:
        wrong = "signInAudience"
    if set((after["groupMembershipClaims"] or "None").replace(" ", "").split(",")) - _GROUPS:
        wrong = "groupMembershipClaims"
    if not wrong and after["api"]["requestedAccessTokenVersion"] not in {None, 1, 2}:
        wrong = "api.requestedAccessTokenVersion"
    uris = after["identifierUris"]
    if len(set(uris)) < len(uris) or not all(_URI.fullmatch(uri) and not uri.endswith("/") for uri in uris):
        wrong = "identifierUris"
    if not wrong:
        places = [uri for kind in ("web", "spa", "publicClient") for uri in after[kind]["redirectUris"] or ()]
        wrong = "redirectUris" if not all(_URI.fullmatch(uri) and "#" not in uri for uri in places) else ""
    if wrong:
        raise bad_request(f"Invalid value specified for property '{wrong}' of resource 'Application'.")


def _entitlements(before: Sequence[Document], after: Sequence[Document], what: str) -> None:
    """App roles or scopes: known by an id, one of a value, and disabled before they go."""
    for each in after:
        value = each.get("value")
        if not guid(each.get("id")) or (value is not None and not _VALUE.fullmatch(value)):
            raise bad_request(f"Invalid value specified for property '{what}' of resource 'Application'.")
        if what == "appRoles" and not (each.get("displayName") and each.get("allowedMemberTypes")):
            raise bad_request(f"Invalid value specified for property '{what}' of resource 'Application'.")
    values = [each["value"] for each in after if each.get("value")]
    if len(set(values)) < len(values) or len({each["id"] for each in after}) < len(after):
        raise bad_request("Request contains a property with duplicate values.")
    kept = {each["id"] for each in after}
    if any(each["isEnabled"] and each["id"] not in kept for each in before):
        raise GraphError(
            400,
            "CannotDeleteOrUpdateEnabledEntitlement",
            "Permission (scope or role) cannot be deleted or updated unless disabled first.",
        )


def _preauthorized(after: Mapping[str, Any]) -> None:
    known = {each["id"] for each in after["api"]["oauth2PermissionScopes"]}
    clients = after["api"]["preAuthorizedApplications"] or ()
    for each in clients:
        if not guid(each.get("appId")) or set(each.get("delegatedPermissionIds") or ()) - known:
            raise bad_request(
                "Property 'api.preAuthorizedApplications' names an application or a permission that is not there."
            )
    if len({each["appId"] for each in clients}) < len(clients):
        raise bad_request("Request contains a property with duplicate values.")


def guid(value: object) -> bool:
    """Whether a value is the text of a GUID."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False
