"""How Terraform calls what the trust is about: the type and the name of each resource, and the ids that refer to it.

Source: registry.terraform.io/providers/hashicorp/{azuread,azurerm,google}.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from remit.model.errors import TrustBroken
from remit.trust.planning.hcl import Expression, Literal, Template
from remit.trust.things import Address, Ref, Text, Thing, Value

_TYPES: Mapping[str, str] = {
    "entra.application": "azuread_application",
    "entra.principal": "azuread_service_principal",
    "entra.federation": "azuread_application_federated_identity_credential",
    "entra.assignment": "azuread_app_role_assignment",
    "entra.consent": "azuread_app_role_assignment",
    "google.pool": "google_iam_workload_identity_pool",
    "google.provider": "google_iam_workload_identity_pool_provider",
    "google.account": "google_service_account",
    "google.role": "google_project_iam_custom_role",
    "google.audit": "google_project_iam_audit_config",
    "azure.assignment": "azurerm_role_assignment",
}
_BINDINGS: Mapping[str, str] = {
    "projects": "google_project_iam_member",
    "buckets": "google_storage_bucket_iam_member",
    "accounts": "google_service_account_iam_member",
}
_IDS: Mapping[tuple[str, str], str] = {
    ("entra.application", "appId"): "client_id",
    ("entra.application", "id"): "object_id",
    ("entra.principal", "id"): "object_id",
    ("entra.principal", "appId"): "client_id",
}
"""Kind and id → the attribute that holds it."""


def kind_of(thing: Thing) -> str:
    """The type of the resource that a thing is."""
    if thing.address.kind == "google.binding":
        return _BINDINGS[str(thing.fields["resource"]).partition("/")[0]]
    return _TYPES[thing.address.kind]


@dataclass(frozen=True, slots=True)
class Names:
    """Every wanted thing's place in the file: `TYPE.NAME`, with `data.` before it where it is somebody else's."""

    places: Mapping[Address, str]

    @classmethod
    def of(cls, wanted: Sequence[Thing]) -> "Names":
        """Names of letters, digits and `_`, each once for its type."""
        places: dict[Address, str] = {}
        for thing in wanted:
            base = f"{'data.' if thing.given else ''}{kind_of(thing)}.{_label(thing.address)}"
            clash = base in places.values()
            places[thing.address] = f"{base}_{_short(thing.address)}" if clash else base
        return cls(places)

    def place(self, address: Address) -> str:
        """Raises `TrustBroken` when nothing of this address is wanted."""
        try:
            return self.places[address]
        except KeyError:
            raise TrustBroken(f"`{address}` is referred to, and nothing describes it") from None

    def expression(self, ref: Ref) -> Expression:
        """The reference to an id."""
        attribute = _IDS.get((ref.of.kind, ref.name))
        if attribute is None:
            raise TrustBroken(f"Terraform knows no `{ref.name}` of `{ref.of}`")
        return Expression(f"{self.place(ref.of)}.{attribute}")

    def literal(self, value: Value) -> Literal:
        """Any value, with references for the ids that are not known."""
        if isinstance(value, Ref):
            return self.expression(value)
        if isinstance(value, Text):
            return Template(tuple(self.expression(one) if isinstance(one, Ref) else one for one in value.parts))
        if isinstance(value, tuple):
            return [self.literal(each) for each in value]
        if isinstance(value, Mapping):
            return {name: self.literal(each) for name, each in value.items()}
        return "" if value is None else value


def _label(address: Address) -> str:
    """What the file calls it. Of resource names the last part says enough, as long as it is the only one."""
    name = address.name
    if address.kind in {"google.pool", "google.provider", "google.role"}:
        name = name.rpartition("/")[2]
    elif address.kind == "google.account":
        name = name.removesuffix(".iam.gserviceaccount.com")
    elif address.kind == "entra.consent":
        name = f"graph_{name}"
    elif address.kind in {"google.binding", "azure.assignment"}:
        name = (
            name.replace(".iam.gserviceaccount.com", "")
            .replace("serviceAccount:", "")
            .rpartition("storageAccounts/")[2]
        )
    label = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:80]
    return label if label[:1].isalpha() else f"_{label}"


def _short(address: Address) -> str:
    return hashlib.sha256(str(address).encode()).hexdigest()[:8]
