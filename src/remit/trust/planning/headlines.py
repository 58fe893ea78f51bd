"""How a change is called on one line, and whom it concerns. Pure; leaves out the page (`render`)."""

from collections.abc import Callable, Mapping

from remit.trust.planning.plan import Change
from remit.trust.planning.words import everybody, listed, member, part, place, whom
from remit.trust.things import Fields

_OTHERS = "others"


def concerns(change: Change) -> str:
    """Whom a change is about: the heading that it stands under."""
    fields = change.after or change.before or {}
    words = _CONCERNS.get(change.address.kind)
    return words(change.address.name, fields) if words else _OTHERS


def headline(change: Change) -> str:
    """What a change is about, without what its heading says."""
    fields = change.after or change.before or {}
    words = _HEADLINES.get(change.address.kind)
    return words(change.address.name, fields) if words else change.address.name


SAID: Mapping[str, frozenset[str]] = {
    "sql.grant": frozenset({"database", "object", "role", "privilege"}),
    "entra.principal": frozenset({"application"}),
    "entra.federation": frozenset({"application"}),
    "entra.assignment": frozenset({"role", "principal", "principalType"}),
    "entra.consent": frozenset({"permission", "principal"}),
    "entra.delegation": frozenset({"application", "principal", "api", "resource", "whom", "scopes"}),
    "entra.credential": frozenset({"application", "of", "credential", "called"}),
    "google.binding": frozenset({"resource", "role", "member"}),
    "google.audit": frozenset({"project", "service"}),
    "azure.assignment": frozenset({"scope", "role"}),
    "azure.federation": frozenset({"name", "identity"}),
}
"""Kind → the fields that heading and headline tell."""


def _account_of_role(name: str, _fields: Fields) -> str:
    """A custom role of Remit's is named by its account: `-` is `_` there, and no account's name holds a `_`."""
    _, project, _, role = name.split("/") if name.count("/") == 3 else ("", "", "", name)  # noqa: PLR2004 - projects/P/roles/R
    local = role.removeprefix("remit_").replace("_", "-")
    return f"{local}@{project}.iam.gserviceaccount.com" if project and local != role else name


def _held_by(fields: Fields) -> str:
    """The account that holds a role; of a role that others hold on an account, that account."""
    who, resource = str(fields.get("member")), str(fields.get("resource"))
    if resource.startswith("accounts/") and not who.startswith("serviceAccount:"):
        return resource.removeprefix("accounts/")
    return member(who)


def _binding(_name: str, fields: Fields) -> str:
    role, resource, who = (str(fields.get(name)) for name in ("role", "resource", "member"))
    short = role.rpartition("/")[2] if role.startswith(f"{resource}/roles/") else role
    return f"{short} on {resource}{part(fields)}" if _held_by(fields) == member(who) else f"{short} to {member(who)}"


def _pool(name: str, _fields: Fields) -> str:
    return f"pool {name.partition('/providers/')[0].rpartition('/')[2]}"


def _principal(name: str, _fields: Fields) -> str:
    return f"application {name.rpartition(' ')[2]}"


_CONCERNS: Mapping[str, Callable[[str, Fields], str]] = {
    "sql.role": lambda name, _: f"database {name.partition('/')[0]}: {name.partition('/')[2]}",
    "sql.grant": lambda _, fields: f"database {fields.get('database')}: {everybody(fields.get('role'))}",
    "entra.application": lambda name, _: f"application {name}",
    "entra.principal": lambda name, _: f"application {name}",
    "entra.federation": lambda _, fields: f"application {fields.get('application')}",
    "entra.assignment": lambda _, fields: f"role {fields.get('role')}",
    "entra.consent": lambda _, __: "application remit",
    "entra.delegation": lambda _, fields: f"application {fields.get('application')}",
    "entra.credential": lambda _, fields: f"application {fields.get('application')}",
    "google.pool": _pool,
    "google.provider": _pool,
    "google.account": lambda name, _: name,
    "google.role": _account_of_role,
    "google.binding": lambda _, fields: _held_by(fields),
    "google.audit": lambda _, fields: f"project {fields.get('project')}",
    "azure.assignment": _principal,
    "azure.federation": lambda name, _: f"managed identity {name.partition('/')[0]}",
}
_HEADLINES: Mapping[str, Callable[[str, Fields], str]] = {
    "sql.role": lambda name, _: name.partition("/")[2],
    "sql.grant": lambda _, fields: f"{fields.get('privilege')} on {fields.get('object')}",
    "entra.federation": lambda name, _: name.rpartition("/")[2],
    "entra.assignment": lambda _, fields: f"{fields.get('principalType') or 'principal'} {fields.get('principal')}",
    "entra.consent": lambda _, fields: f"{fields.get('permission')} of Microsoft Graph",
    "entra.delegation": lambda _, fields: f"as {whom(fields)} at {fields.get('api')}: {listed(fields.get('scopes'))}",
    "entra.credential": lambda _, fields: (
        f"{fields.get('credential')} `{fields.get('called') or fields.get('key')}` of its "
        f"{'application' if fields.get('of') == 'application' else 'service principal'}"
    ),
    "google.pool": lambda name, _: name.rpartition("/")[2],
    "google.provider": lambda name, _: name.rpartition("/")[2],
    "google.role": lambda name, _: name.rpartition("/")[2],
    "google.binding": _binding,
    "google.audit": lambda _, fields: str(fields.get("service")),
    "azure.assignment": lambda _, fields: f"{fields.get('role')} on {place(fields.get('scope'))}{part(fields)}",
    "azure.federation": lambda name, _: name.partition("/")[2],
}
