"""Plain words for what the clouds call by ids: whom a member stands for, where a role holds, what a removal takes."""

from collections.abc import Callable, Mapping

from remit.trust.things import Found, Value

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


def taken(one: Found) -> str:
    """What a removal takes away, and from whom."""
    words = _TAKEN.get(one.address.kind)
    return words(one) if words else "is not in remit.yaml"


def _binding(one: Found) -> str:
    when = " under its condition" if one.fields.get("condition") else ""
    where, who = place(one.fields.get("resource")), member(one.fields.get("member"))
    return f"takes {one.fields.get('role')} on {where} from {who}{when}"


_TAKEN: Mapping[str, Callable[[Found], str]] = {
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
    "google.pool": lambda one: f"ends pool {one.address.name.rpartition('/')[2]}: nobody of it reaches Google",
    "google.provider": lambda one: f"tokens of {one.fields.get('issuer')} no longer open the pool",
    "google.account": lambda one: f"ends {one.address.name}: nobody works as it any more",
    "google.role": lambda one: f"ends the role {one.address.name.rpartition('/')[2]} for everybody who holds it",
    "google.binding": _binding,
    "google.audit": lambda one: (
        f"what is done at {one.fields.get('service')} in {one.fields.get('project')} is written down no longer"
    ),
    "azure.assignment": lambda one: (
        f"takes {one.fields.get('role')} on {place(one.fields.get('scope'))} from {one.address.name.rpartition(' ')[2]}"
    ),
}
