"""What Terraform calls a thing that is there already, for its `import` blocks; empty where a cloud gave no id.

Source: the "Import" section of each resource's page at registry.terraform.io.
"""

from collections.abc import Callable, Mapping

from remit.trust.things import Found, Thing


def imported(thing: Thing, found: Found) -> str:
    """The id by which Terraform takes over what is there."""
    words = _IDS[thing.address.kind]
    return words(found, thing.address.name)


def _assigned(found: Found, _name: str) -> str:
    if not {"id", "resource"} <= found.ids.keys():
        return ""
    return f"/servicePrincipals/{found.ids['resource']}/appRoleAssignedTo/{found.ids['id']}"


def _federation(found: Found, _name: str) -> str:
    if not {"id", "application"} <= found.ids.keys():
        return ""
    return f"{found.ids['application']}/federatedIdentityCredential/{found.ids['id']}"


def _account(_found: Found, name: str) -> str:
    return f"projects/{_project(name)}/serviceAccounts/{name}"


def _binding(found: Found, _name: str) -> str:
    noun, _, name = str(found.fields["resource"]).partition("/")
    where = {"projects": name, "buckets": f"b/{name}", "accounts": _account(found, name)}[noun]
    condition = found.fields.get("condition")
    title = f" {condition['title']}" if isinstance(condition, Mapping) else ""
    return f"{where} {found.fields['role']} {found.fields['member']}{title}"


def _project(email: str) -> str:
    return email.partition("@")[2].partition(".")[0] or "-"


_IDS: Mapping[str, Callable[[Found, str], str]] = {
    "entra.application": lambda found, _: f"/applications/{found.ids['id']}" if "id" in found.ids else "",
    "entra.principal": lambda found, _: f"/servicePrincipals/{found.ids['id']}" if "id" in found.ids else "",
    "entra.federation": _federation,
    "entra.assignment": _assigned,
    "entra.consent": _assigned,
    "google.pool": lambda _, name: name,
    "google.provider": lambda _, name: name,
    "google.account": _account,
    "google.role": lambda _, name: name,
    "google.binding": _binding,
    "google.audit": lambda found, _: f"{found.fields['project']} {found.fields['service']}",
    "azure.assignment": lambda found, _: found.ids.get("id", ""),
}
