"""Microsoft's part of a plan's script: role assignments by `az role assignment`, Entra by `az rest`.

Pure. What an application holds beside what is wanted stays as it is: each change is a filter of `jq` over the
application as it stands. Source: learn.microsoft.com/cli/azure/reference-index#az-rest, /cli/azure/role/assignment,
and the pages of Graph that `clouds/entra_*.py` name.
"""

from collections.abc import Iterator, Mapping

from remit.model.errors import TrustBroken
from remit.trust.clouds.entra_applications import unique_name
from remit.trust.clouds.entra_manifest import patches
from remit.trust.planning.plan import Act, Change
from remit.trust.planning.shell import Words
from remit.trust.things import Address, Fields, Ref

_GRAPH = "https://graph.microsoft.com/v1.0"
_GRAPH_APP = "00000003-0000-0000-c000-000000000000"
_GRAPH_ITSELF = Address("entra.principal", "microsoft-graph")
FUNCTIONS = """
patched() { # URL of an application, a filter over it, what is wanted as JSON
  az rest --method GET --url "$1" | jq --argjson want "$3" "$2" > "$work/body.json"
  az rest --method PATCH --url "$1" --body "@$work/body.json"
}
"""
_WEB = (
    "{web: ((.web // {}) + {redirectUris: $want, implicitGrantSettings: {enableAccessTokenIssuance: false,"
    " enableIdTokenIssuance: false}} | del(.redirectUriSettings)), spa: {redirectUris: []}}"
)
_CLAIMS = (
    "def plain: .source == null and (.additionalProperties // [] | length) == 0; (.optionalClaims // {}) as $now |"
    " {optionalClaims: ($now + {idToken: [($now.idToken // [])[] | select(plain)], accessToken: [$want[] as $name |"
    " (first(($now.accessToken // [])[] | select(.name == $name and plain)) // {name: $name, essential: false})]})}"
)
_CLIENTS = (
    "[.api.oauth2PermissionScopes[]? | select(.isEnabled) | .id] as $ids |"
    " {api: (.api + {preAuthorizedApplications: [$want[] | {appId: ., delegatedPermissionIds: $ids}]})}"
)
_FILTERS: Mapping[str, str] = {
    "audience": "{signInAudience: $want}",
    "public": "{isFallbackPublicClient: $want}",
    "uris": "{identifierUris: $want}",
    "webRedirects": _WEB,
    "publicRedirects": "{publicClient: {redirectUris: $want}}",
    "optionalClaims": _CLAIMS,
    "groupClaims": 'if $want == "" then {groupMembershipClaims: null} else {groupMembershipClaims: $want} end',
    "tokenVersion": "{api: (.api + {requestedAccessTokenVersion: $want})}",
    "preauthorized": _CLIENTS,
}
"""Field → the filter that sets it. Clients come last: they are let in to scopes that are there."""
_CLOSED = "map(if IN(.value; $want[].value) then . else .isEnabled = false end)"
_OPENED = (
    "map(select(IN(.value; $want[].value)) | .isEnabled = true)"
    " | [.[].value] as $there | . + [$want[] | select(IN(.value; $there[]) | not)]"
)
_LISTS: Mapping[str, tuple[str, str]] = {
    "roles": ("{{appRoles: ((.appRoles // []) | {})}}", "appRoles"),
    "scopes": (
        "{{api: ((.api // {{}}) + {{oauth2PermissionScopes: ((.api.oauth2PermissionScopes // []) | {})}})}}",
        "oauth2PermissionScopes",
    ),
}
"""What has ids of its own: what goes is disabled before it can go, what stays keeps its id."""


def az(words: Words, change: Change) -> Iterator[str]:
    """The commands of one change."""
    ways = {
        "entra.application": _application,
        "entra.principal": _principal,
        "entra.federation": _federation,
        "entra.assignment": _assignment,
        "entra.consent": _assignment,
        "entra.delegation": _delegation,
        "entra.credential": _credential,
        "azure.assignment": _azure,
        "azure.federation": _identity,
    }
    yield from ways[change.address.kind](words, change)


def looked_up(words: Words, ref: Ref) -> Iterator[str]:
    """Takes an id from what is there, since no other line gives it."""
    if ref.of.kind == "entra.application":
        raise TrustBroken(f"nothing tells the id of `{ref.of}`", hint="apply it with `remit trust apply`")
    client = _GRAPH_APP
    if ref.of != _GRAPH_ITSELF:
        before, application = words.waited_for, Ref(Address("entra.application", ref.of.name), "appId")
        client = words.text(application)
        if words.waited_for != before:
            yield from looked_up(words, application)
    yield _taken(words, ref, f"{_GRAPH}/servicePrincipals(appId='{client}')")


def _taken(words: Words, ref: Ref, url: str) -> str:
    return f"{words.variable(ref)}=$({_rest(words, 'GET', url)} --query {words.word(ref.name)} -o tsv)"


def _rest(words: Words, method: str, url: str, body: object = None, *more: str) -> str:
    sent = ["--body", body] if body is not None else []
    return words.line("az", "rest", "--method", method, "--url", url, *sent, *more)


def _id(words: Words, change: Change) -> str:
    return (change.ids or {}).get("id") or words.text(Ref(change.address, "id"))


def _application(words: Words, change: Change) -> Iterator[str]:
    url = f"{_GRAPH}/applications/{_id(words, change)}"
    if change.act is Act.REMOVE:
        yield _rest(words, "DELETE", url)
        return
    after, before = change.after or {}, change.before or {}
    if change.act is Act.MAKE:
        name = f"{_GRAPH}/applications(uniqueName='{_unique(change)}')"
        body = {"displayName": after.get("displayName", change.address.name), "signInAudience": after.get("audience")}
        yield _rest(words, "PATCH", name, body, "--headers", "Prefer=create-if-missing")
        for each in ("id", "appId"):
            yield _taken(words, Ref(change.address, each), name)
    for field, (shape, noun) in _LISTS.items():
        if after.get(field, ()) != before.get(field, ()):
            held = _held(change, noun)
            yield words.line("patched", url, shape.format(_CLOSED), held)
            yield words.line("patched", url, shape.format(_OPENED), held)
    for field, text in _FILTERS.items():
        implicit = field == "webRedirects" and before.get("implicitGrant")
        if field in after and (implicit or (after[field] or None) != (before.get(field) or None)):
            yield words.line("patched", url, text, words.json(after[field]))


def _unique(change: Change) -> str:
    return str((change.after or {}).get("uniqueName") or unique_name(change.address.name))


def _held(change: Change, noun: str) -> object:
    """The roles or scopes that are wanted, as a new application would have them."""
    wanted: Fields = {
        key: value for key, value in (change.after or {}).items() if key in {"roles", "scopes", "webRedirects"}
    }
    for body in patches({}, wanted, _unique(change)):
        whole = {**body, **body.get("api", {})}
        if noun in whole:
            return whole[noun]
    return []


def _principal(words: Words, change: Change) -> Iterator[str]:
    if change.act is Act.REMOVE:
        yield _rest(words, "DELETE", f"{_GRAPH}/servicePrincipals/{_id(words, change)}")
        return
    fields = change.after or {}
    body = {"accountEnabled": fields["enabled"], "appRoleAssignmentRequired": fields["assignmentRequired"]}
    if change.act is Act.CHANGE:
        yield _rest(words, "PATCH", f"{_GRAPH}/servicePrincipals/{_id(words, change)}", body)
        return
    whole = {"appId": words.text(fields["application"]), **body}
    made = _rest(words, "POST", f"{_GRAPH}/servicePrincipals", whole)
    yield f"{words.variable(Ref(change.address, 'id'))}=$({made} --query id -o tsv)"


def _federation(words: Words, change: Change) -> Iterator[str]:
    fields = (change.before if change.act is Act.REMOVE else change.after) or {}
    holder = (change.ids or {}).get("application") or words.text(
        Ref(Address("entra.application", str(fields["application"])), "id")
    )
    url = f"{_GRAPH}/applications/{holder}/federatedIdentityCredentials"
    there = f"{url}/{(change.ids or {}).get('id', '')}"
    if change.act is Act.REMOVE:
        yield _rest(words, "DELETE", there)
        return
    body = {
        "issuer": words.text(fields["issuer"]),
        "subject": words.text(fields["subject"]),
        "audiences": [words.text(fields["audience"])],
    }
    if change.act is Act.CHANGE:
        yield _rest(words, "PATCH", there, body)
    else:
        yield _rest(words, "POST", url, {"name": change.address.name.rpartition("/")[2], **body})


def _assignment(words: Words, change: Change) -> Iterator[str]:
    """A role at Remit, or a permission of Remit's at Graph; neither can be changed."""
    consent = change.address.kind == "entra.consent"
    api = _GRAPH_ITSELF if consent else Address("entra.principal", "remit")
    ids = change.ids or {}
    if change.act is not Act.MAKE:
        holder = ids.get("resource") or words.text(Ref(api, "id"))
        yield _rest(words, "DELETE", f"{_GRAPH}/servicePrincipals/{holder}/appRoleAssignedTo/{ids.get('id', '')}")
    if change.act is Act.REMOVE:
        return
    fields, resource = change.after or {}, words.text(Ref(api, "id"))
    value = str(fields["permission" if consent else "role"])
    roles = _rest(words, "GET", f"{_GRAPH}/servicePrincipals/{resource}?$select=appRoles")
    chosen = words.line("jq", "-re", "--arg", "value", value, ".appRoles[] | select(.value == $value) | .id")
    role = Ref(change.address, "appRoleId")
    yield f"{words.variable(role)}=$({roles} | {chosen})"
    body = {"principalId": words.text(fields["principal"]), "resourceId": resource, "appRoleId": words.text(role)}
    yield _rest(words, "POST", f"{_GRAPH}/servicePrincipals/{resource}/appRoleAssignedTo", body)


def _delegation(words: Words, change: Change) -> Iterator[str]:
    """None is ever wanted: what was consented to for signing in stays."""
    ids = change.ids or {}
    url = f"{_GRAPH}/oauth2PermissionGrants/{ids.get('id', '')}"
    yield _rest(words, "PATCH", url, {"scope": ids["left"]}) if ids.get("left") else _rest(words, "DELETE", url)


def _credential(words: Words, change: Change) -> Iterator[str]:
    fields, ids = change.before or {}, change.ids or {}
    place = "applications" if fields.get("of") == "application" else "servicePrincipals"
    url = f"{_GRAPH}/{place}/{ids.get('holder', '')}"
    if fields.get("credential") == "secret":
        yield _rest(words, "POST", f"{url}/removePassword", {"keyId": ids.get("id", "")})
        return
    left = "{keyCredentials: [.keyCredentials[] | select(.keyId != $want)]}"
    yield words.line("patched", f"{url}?$select=id,keyCredentials", left, words.json(ids.get("id", "")))


def _identity(words: Words, change: Change) -> Iterator[str]:
    """Whom the managed identity trusts: none is ever wanted."""
    resource = (change.ids or {}).get("id", "")
    url = f"https://management.azure.com{resource}?api-version=2023-01-31"
    yield _rest(words, "DELETE", url)


def _azure(words: Words, change: Change) -> Iterator[str]:
    roles = ("az", "role", "assignment")
    if change.act is not Act.MAKE:
        yield words.line(*roles, "delete", "--ids", (change.ids or {}).get("id", ""))
    if change.act is not Act.REMOVE:
        fields = change.after or {}
        principal = ("--assignee-object-id", words.text(fields["principal"]))
        kind = ("--assignee-principal-type", "ServicePrincipal")
        when = [
            word
            for flag, name in (("--condition", "condition"), ("--condition-version", "conditionVersion"))
            if fields.get(name)
            for word in (flag, str(fields[name]))
        ]
        what = ("--role", fields["role"], "--scope", fields["scope"])
        yield words.line(*roles, "create", *what, *principal, *kind, *when)
