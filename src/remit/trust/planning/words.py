"""Plain words for what the clouds call by ids: whom a member stands for, where a role holds, what a removal takes."""

from collections.abc import Callable, Mapping

from remit.trust.clouds.sql_names import PUBLIC
from remit.trust.desired.sql import may
from remit.trust.prefixes import below
from remit.trust.things import Fields, Found, Value

_PUBLIC: Mapping[str, str] = {
    "allUsers": "everybody on the internet",
    "allAuthenticatedUsers": "everybody with a Google account",
}
_PARTS = 2


def member(value: Value) -> str:
    """Whom an IAM member stands for."""
    text = str(value)
    if text in _PUBLIC:
        return _PUBLIC[text]
    pool, inside, rest = text.partition("/workloadIdentityPools/")
    if inside and pool.startswith(("principal://", "principalSet://")):
        return _of_pool(rest)
    kind, _, name = text.partition(":")
    return name if kind in {"user", "serviceAccount", "group"} and name else text


def _of_pool(rest: str) -> str:
    pool, _, inside = rest.partition("/")
    kind, _, name = inside.partition("/")
    if kind == "group" and name:
        return f"everyone of group {name}"
    if kind == "subject" and name:
        return f"subject {name}"
    return f"everybody of pool {pool}" if kind == "*" else f"everybody of pool {pool} with {inside}"


def place(value: Value) -> str:
    """Where a role holds: `projects/P`, `buckets/B`, `accounts/E`, or the end of an Azure scope."""
    text = str(value)
    if not text.startswith("/subscriptions/"):
        return text
    parts = text.strip("/").split("/")
    if "containers" in parts and "storageAccounts" in parts:
        return f"container {parts[parts.index('storageAccounts') + 1 :][0]}/{parts[-1]}"
    return f"{_SCOPES.get(parts[-2], parts[-2])} {parts[-1]}" if len(parts) >= _PARTS else text


_SCOPES: Mapping[str, str] = {
    "subscriptions": "subscription",
    "resourceGroups": "resource group",
    "storageAccounts": "storage account",
}


def part(fields: Fields) -> str:
    """` below PREFIX` where a role holds on no more of a bucket or a container, else nothing."""
    prefixes = below(fields)
    return f" below {' and '.join(prefixes)}" if prefixes else ""


def whom(fields: Fields) -> str:
    """As whom a delegation lets an application act."""
    person = str(fields.get("whom"))
    return "every person" if person == "everybody" else f"the person {person}"


def listed(value: Value) -> str:
    """A list of texts on one line."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def everybody(role: Value) -> str:
    """A role of a database, or everybody there."""
    return "everybody" if role == PUBLIC else str(role)


def taken(one: Found) -> str:
    """What a removal takes away, and from whom."""
    words = _TAKEN.get(one.address.kind)
    return words(one) if words else "is not in remit.yaml"


def _binding(one: Found) -> str:
    where, who = f"{place(one.fields.get('resource'))}{part(one.fields)}", member(one.fields.get("member"))
    when = " under its condition" if one.fields.get("condition") and not part(one.fields) else ""
    return f"takes {one.fields.get('role')} on {where} from {who}{when}"


_TAKEN: Mapping[str, Callable[[Found], str]] = {
    "sql.grant": lambda one: (
        f"{everybody(one.fields.get('role'))} may no longer "
        f"{may(str(one.fields['object']), str(one.fields['privilege']), str(one.fields['database']))}"
    ),
    "entra.application": lambda one: f"ends application {one.address.name}: no token for it or by it any more",
    "entra.principal": lambda one: f"ends what {one.address.name} holds in this tenant, with every assignment",
    "entra.federation": lambda one: (
        f"{one.fields.get('subject')} of {one.fields.get('issuer')} no longer acts as {one.fields.get('application')}"
    ),
    "entra.assignment": lambda one: (
        f"takes the role {one.fields.get('role')} from {one.fields.get('principalType') or 'principal'} "
        f"{one.fields.get('principal')}"
    ),
    "entra.consent": lambda one: f"Remit may no longer use {one.fields.get('permission')} of Microsoft Graph",
    "entra.delegation": lambda one: (
        f"the application {one.fields.get('application')} may no longer act as {whom(one.fields)} at "
        f"{one.fields.get('api')}: {listed(one.fields.get('scopes'))}"
    ),
    "entra.credential": lambda one: (
        f"whoever has this {one.fields.get('credential')} is {one.fields.get('application')} no longer: "
        "remit.yaml names none"
    ),
    "google.pool": lambda one: f"ends pool {one.address.name.rpartition('/')[2]}: nobody of it reaches Google",
    "google.provider": lambda one: f"tokens of {one.fields.get('issuer')} no longer open the pool",
    "google.account": lambda one: f"ends {one.address.name}: nobody works as it any more",
    "google.role": lambda one: f"ends the role {one.address.name.rpartition('/')[2]} for everybody who holds it",
    "google.binding": _binding,
    "google.audit": lambda one: (
        f"what is done at {one.fields.get('service')} in {one.fields.get('project')} is written down no longer"
    ),
    "azure.assignment": lambda one: (
        f"takes {one.fields.get('role')} on {place(one.fields.get('scope'))}{part(one.fields)} "
        f"from {one.address.name.rpartition(' ')[2]}"
    ),
    "azure.federation": lambda one: (
        f"{one.fields.get('subject')} of {one.fields.get('issuer')} is no longer Remit's managed identity"
    ),
}
