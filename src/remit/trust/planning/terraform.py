"""What the clouds must hold, in Terraform's language: for teams that apply by other means. Pure.

Whatever is there already has an `import` block (Terraform 1.5 and newer), so that the first `terraform plan` shows the
same difference as Remit's. Leaves out what is to be removed, which Terraform does not know, and the keys of Remit's own
provider, which the arbiter keeps.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence

from remit.trust.planning.conditions import OWN
from remit.trust.planning.hcl import Block, Expression, Literal, text, written
from remit.trust.planning.matching import matched
from remit.trust.planning.terraform_imports import imported
from remit.trust.planning.terraform_names import Names, kind_of
from remit.trust.things import Address, Fields, Found, Ref, Thing, ids_of, resolved

_VERSIONS: Mapping[str, tuple[str, str]] = {
    "entra": ("azuread", "~> 3.0"),
    "azure": ("azurerm", "~> 4.0"),
    "google": ("google", ">= 6.0"),
}
_ELSEWHERE = "sql"  # `planning/sql.py`
_PREAUTHORIZED = "azuread_application_pre_authorized"
_IDENTITY = "azure.identity"
_REMIT = Address("entra.principal", "remit")
_GRAPH = Address("entra.principal", "microsoft-graph")
_CONDITION = (("condition", "condition"), ("condition_version", "conditionVersion"))
"""Terraform's attributes of a role assignment, and the fields that they show."""


def terraform(wanted: Sequence[Thing], found: Sequence[Found] = ()) -> str:
    """One file with everything that is wanted; raises `TrustBroken` when it refers to what nothing describes."""
    wanted = [thing for thing in wanted if thing.address.kind != _IDENTITY]  # of which nothing is wanted
    databases = any(thing.address.cloud == _ELSEWHERE for thing in wanted)
    wanted = tuple(thing for thing in wanted if thing.address.cloud != _ELSEWHERE)
    names = Names.of(wanted)
    there = {thing.address: one for thing, one in matched(wanted, found).pairs if one}
    ids = ids_of(tuple(there.values()))
    blocks = [*_providers(wanted, databases=databases)]
    for thing in wanted:
        blocks.extend(_of(thing, names, there.get(thing.address)))
        if thing.address.kind == "entra.application":
            blocks.extend(_clients(thing, names, there.get(thing.address), ids))
    return written(blocks)


def _providers(wanted: Sequence[Thing], *, databases: bool) -> Iterator[Block]:
    clouds = [cloud for cloud in _VERSIONS if any(thing.address.cloud == cloud for thing in wanted)]
    required: dict[str, Literal] = {
        name: Expression(f"{{ source = {text(f'hashicorp/{name}')}, version = {text(version)} }}")
        for name, version in map(_VERSIONS.__getitem__, clouds)
    }
    about = "What remit.yaml asks of the clouds: `remit trust plan --out terraform`."
    about += " Of its databases: `remit trust plan --out sql`." if databases else ""
    yield Block("terraform", (), {"required_version": ">= 1.5"}, (Block("required_providers", (), required),), about)
    scopes = sorted(str(thing.fields.get("scope")) for thing in wanted if thing.address.kind == "azure.assignment")
    if scopes:
        yield Block("provider", ("azurerm",), {"subscription_id": scopes[0].split("/")[2]}, (Block("features"),))


def _of(thing: Thing, names: Names, there: Found | None) -> Iterator[Block]:
    if thing.given:
        yield from _given(thing, names)
        return
    attributes, inner = _BODIES[thing.address.kind](thing, names, there)
    if others := sorted({names.place(address) for address in thing.needs if not _elsewhere(names, address)}):
        attributes = {**attributes, "depends_on": [Expression(place) for place in others]}
    place = names.place(thing.address)
    yield Block("resource", (kind_of(thing), place.rpartition(".")[2]), attributes, inner, thing.says)
    if there and (known := imported(thing, there)):
        yield _import(place, known)


def _elsewhere(names: Names, address: Address) -> bool:
    return names.place(address).startswith("data.")


def _import(place: str, known: str) -> Block:
    return Block("import", (), {"to": Expression(place), "id": known})


def _given(thing: Thing, names: Names) -> Iterator[Block]:
    kind, _, label = names.place(thing.address).removeprefix("data.").partition(".")
    if thing.address.kind == "google.account":
        yield Block("data", (kind, label), {"account_id": thing.address.name}, about=thing.says)
    else:
        yield Block("data", (kind, label), {"client_id": names.literal(thing.fields.get("appId"))}, about=thing.says)


_Body = tuple[Mapping[str, Literal], tuple[Block, ...]]


def _application(thing: Thing, names: Names, there: Found | None) -> _Body:
    fields = {name: names.literal(value) for name, value in thing.fields.items()}
    attributes: dict[str, Literal] = {
        "display_name": fields.get("displayName", thing.address.name),
        "sign_in_audience": fields.get("audience", "AzureADMyOrg"),
        "fallback_public_client_enabled": fields.get("public", False),
    }
    if fields.get("uris"):
        attributes["identifier_uris"] = fields["uris"]
    if fields.get("groupClaims"):
        attributes["group_membership_claims"] = [fields["groupClaims"]]
    scopes = tuple(_scope(thing, value, names, there) for value in _texts(thing.fields, "scopes"))
    api = Block("api", (), {"requested_access_token_version": fields.get("tokenVersion", 2)}, scopes)
    roles = tuple(_role(thing, value, names, there) for value in _texts(thing.fields, "roles"))
    redirects = tuple(
        Block(head, (), {"redirect_uris": fields[name]})
        for head, name in (("web", "webRedirects"), ("public_client", "publicRedirects"))
        if fields.get(name)
    )
    claims = tuple(Block("access_token", (), {"name": name}) for name in _texts(thing.fields, "optionalClaims"))
    optional = (Block("optional_claims", (), {}, claims),) if claims else ()
    lifecycle = Block("lifecycle", (), {"ignore_changes": [Expression("display_name")]})
    return attributes, (api, *roles, *redirects, *optional, lifecycle)


def _texts(fields: Fields, name: str) -> tuple[str, ...]:
    value = fields.get(name)
    return tuple(map(str, value)) if isinstance(value, tuple) else ()


def _role(thing: Thing, value: str, names: Names, there: Found | None) -> Block:
    return Block(
        "app_role",
        (),
        {
            "id": _id(thing, "role", value, names, there),
            "value": value,
            "display_name": value,
            "description": f"Holds the role {value}: what it may do is in the policies of Remit.",
            "allowed_member_types": ["Application", "User"],
        },
    )


def _scope(thing: Thing, value: str, names: Names, there: Found | None) -> Block:
    return Block(
        "oauth2_permission_scope",
        (),
        {
            "id": _id(thing, "scope", value, names, there),
            "value": value,
            "type": "User" if thing.fields.get("webRedirects") else "Admin",
            "admin_consent_display_name": f"Act as whoever signed in ({value})",
            "admin_consent_description": ("Lets a client obtain tokens for this application in the name of its users."),
        },
    )


def _id(thing: Thing, noun: str, value: str, names: Names, there: Found | None) -> Literal:
    """The id of a role or scope: the one that is there, else the one that Remit would give."""
    unique = f"remit-{thing.address.name.replace('/', '-').lower()}"
    new = str(uuid.uuid5(uuid.NAMESPACE_URL, f"remit:{unique}/{noun}/{value}"))
    if there is None:
        return new
    known = "app_role_ids" if noun == "role" else "oauth2_permission_scope_ids"
    return Expression(f"lookup(data.{names.place(thing.address)}.{known}, {text(value)}, {text(new)})")


def _clients(thing: Thing, names: Names, there: Found | None, ids: Mapping[Ref, str]) -> Iterator[Block]:
    """What holds the ids of an application that is there, and the clients that need no consent for it."""
    place = names.place(thing.address)
    kind, _, label = place.partition(".")
    if there:
        yield Block("data", (kind, label), {"client_id": there.ids["appId"]})
    clients = thing.fields.get("preauthorized")
    scopes = [
        Expression(f"{place}.oauth2_permission_scope_ids[{text(value)}]") for value in _texts(thing.fields, "scopes")
    ]
    for number, client in enumerate(clients if isinstance(clients, tuple) else ()):
        attributes: dict[str, Literal] = {
            "application_id": Expression(f"{place}.id"),
            "authorized_client_id": names.literal(client),
            "permission_ids": scopes,
        }
        yield Block("resource", (_PREAUTHORIZED, f"{label}_{number}"), attributes)
        known = resolved(client, ids)
        if there and isinstance(known, str) and known in _texts(there.fields, "preauthorized"):
            yield _import(f"{_PREAUTHORIZED}.{label}_{number}", f"{there.ids['id']}/preAuthorizedApplication/{known}")


def _principal(thing: Thing, names: Names, _there: Found | None) -> _Body:
    application = Address("entra.application", thing.address.name)
    known = application in names.places
    client = names.expression(Ref(application, "appId")) if known else names.literal(thing.fields.get("application"))
    return {
        "client_id": client,
        "account_enabled": bool(thing.fields.get("enabled", True)),
        "app_role_assignment_required": bool(thing.fields.get("assignmentRequired")),
    }, ()


def _federation(thing: Thing, names: Names, _there: Found | None) -> _Body:
    application = names.place(Address("entra.application", str(thing.fields["application"])))
    return {
        "application_id": Expression(f"{application}.id"),
        "display_name": thing.address.name.rpartition("/")[2],
        "issuer": names.literal(thing.fields["issuer"]),
        "subject": names.literal(thing.fields["subject"]),
        "audiences": [names.literal(thing.fields["audience"])],
    }, ()


def _assignment(thing: Thing, names: Names, _there: Found | None) -> _Body:
    application = names.place(Address("entra.application", "remit"))
    return {
        "app_role_id": Expression(f"{application}.app_role_ids[{text(str(thing.fields['role']))}]"),
        "principal_object_id": names.literal(thing.fields["principal"]),
        "resource_object_id": names.expression(Ref(_REMIT, "id")),
    }, ()


def _consent(thing: Thing, names: Names, _there: Found | None) -> _Body:
    graph = names.place(_GRAPH)
    return {
        "app_role_id": Expression(f"{graph}.app_role_ids[{text(str(thing.fields['permission']))}]"),
        "principal_object_id": names.literal(thing.fields["principal"]),
        "resource_object_id": Expression(f"{graph}.object_id"),
    }, ()


def _pool(thing: Thing, _names: Names, _there: Found | None) -> _Body:
    parts = thing.address.name.split("/")
    return {
        "project": parts[1],
        "workload_identity_pool_id": parts[-1],
        "disabled": bool(thing.fields.get("disabled")),
    }, ()


def _provider(thing: Thing, names: Names, _there: Found | None) -> _Body:
    parts, fields = thing.address.name.split("/"), thing.fields
    oidc: dict[str, Literal] = {"issuer_uri": names.literal(fields["issuer"])}
    if fields.get("audiences"):
        oidc["allowed_audiences"] = names.literal(fields["audiences"])
    kept: tuple[Block, ...] = ()
    if fields.get("condition") == OWN:
        oidc["jwks_json"] = '{"keys": []}'
        kept = (Block("lifecycle", (), {"ignore_changes": [Expression("oidc[0].jwks_json")]}),)
    return {
        "project": parts[1],
        "workload_identity_pool_id": parts[5],
        "workload_identity_pool_provider_id": parts[-1],
        "disabled": bool(fields.get("disabled")),
        "attribute_condition": names.literal(fields.get("condition")),
        "attribute_mapping": names.literal(fields["mapping"]),
    }, (Block("oidc", (), oidc), *kept)


def _account(thing: Thing, _names: Names, _there: Found | None) -> _Body:
    local, _, domain = thing.address.name.partition("@")
    return {
        "project": domain.partition(".")[0],
        "account_id": local,
        "disabled": bool(thing.fields.get("disabled")),
    }, ()


def _custom_role(thing: Thing, names: Names, _there: Found | None) -> _Body:
    parts = thing.address.name.split("/")
    return {
        "project": parts[1],
        "role_id": parts[-1],
        "title": names.literal(thing.fields["title"]),
        "stage": names.literal(thing.fields.get("stage", "GA")),
        "permissions": names.literal(thing.fields["permissions"]),
    }, ()


def _binding(thing: Thing, names: Names, _there: Found | None) -> _Body:
    noun, _, name = str(thing.fields["resource"]).partition("/")
    project = name.partition("@")[2].partition(".")[0] or "-"
    where = {
        "projects": {"project": name},
        "buckets": {"bucket": name},
        "accounts": {"service_account_id": f"projects/{project}/serviceAccounts/{name}"},
    }[noun]
    condition = thing.fields.get("condition")
    told = {each: names.literal(condition[each]) for each in condition} if isinstance(condition, Mapping) else {}
    return {
        **where,
        "role": names.literal(thing.fields["role"]),
        "member": names.literal(thing.fields["member"]),
    }, (Block("condition", (), told),) if told else ()


def _audit(thing: Thing, _names: Names, _there: Found | None) -> _Body:
    types = (Block("audit_log_config", (), {"log_type": each}) for each in _texts(thing.fields, "logTypes"))
    return {"project": str(thing.fields["project"]), "service": str(thing.fields["service"])}, tuple(types)


def _at_azure(thing: Thing, names: Names, _there: Found | None) -> _Body:
    return {
        "scope": names.literal(thing.fields["scope"]),
        "role_definition_name": names.literal(thing.fields["role"]),
        "principal_id": names.literal(thing.fields["principal"]),
        "principal_type": "ServicePrincipal",
        **{name: names.literal(thing.fields[field]) for name, field in _CONDITION if thing.fields.get(field)},
    }, ()


_BODIES: Mapping[str, Callable[[Thing, Names, Found | None], _Body]] = {
    "entra.application": _application,
    "entra.principal": _principal,
    "entra.federation": _federation,
    "entra.assignment": _assignment,
    "entra.consent": _consent,
    "google.pool": _pool,
    "google.provider": _provider,
    "google.account": _account,
    "google.role": _custom_role,
    "google.binding": _binding,
    "google.audit": _audit,
    "azure.assignment": _at_azure,
}
