"""What Azure must hold: role assignments of the applications whose tokens open containers, on containers alone.

What holds below prefixes of a container is one assignment with one condition: Azure keeps a role of a principal at a
scope once. Pure. Leaves out the storage accounts and containers themselves, and whatever administrators hold. Source:
learn.microsoft.com/azure/storage/blobs/assign-azure-role-data-access.
"""

from collections.abc import Iterator

from remit.model.errors import TrustBroken
from remit.trust.prefixes import READER, VERSION, WRITER, azure_condition, parted
from remit.trust.settings import AzureClient, StorageAccount, TrustSettings
from remit.trust.things import Address, Ref, Thing, Value


def azure(settings: TrustSettings) -> tuple[Thing, ...]:
    """Every role assignment, once each.

    Raises `TrustBroken` for a container whose storage account lies nobody knows where.
    """
    places = {account.name: account for account in settings.storage}
    things = (thing for client in settings.azure for thing in _assignments(client, places))
    return tuple({thing.address: thing for thing in things}.values())


def container_scope(container: str, place: StorageAccount) -> str:
    """The Resource Manager id of a container, `ACCOUNT/CONTAINER`."""
    return f"{place.resource}/blobServices/default/containers/{container.partition('/')[2]}"


def _assignments(client: AzureClient, places: dict[str, StorageAccount]) -> Iterator[Thing]:
    principal = Address("entra.principal", client.name)
    role, verb = (WRITER, "read and write") if client.write else (READER, "read")
    for container, prefixes in _opened(client).items():
        account = container.partition("/")[0]
        if account not in places:
            raise TrustBroken(
                f"where storage account `{account}` lies in Azure is not known",
                hint="name its subscription and resource group under `trust.storage`",
            )
        scope = container_scope(container, places[account])
        fields: dict[str, Value] = {"scope": scope, "role": role, "principal": Ref(principal, "id")}
        says = f"lets {_who(client)} {verb} the blobs of `{container}`, and of no other container by this line"
        if prefixes:
            condition = azure_condition(prefixes, write=client.write)
            fields |= {"condition": condition, "conditionVersion": VERSION}
            part = f"below {' and '.join(prefixes)} of `{container}`"
            says = f"lets {_who(client)} {verb} the blobs {part}, and no others by this line"
        yield Thing(Address("azure.assignment", f"{scope} {role} {client.name}"), fields, (principal,), says)


def _opened(client: AzureClient) -> dict[str, tuple[str, ...]]:
    """Container → the prefixes below which it is opened, none for all of it."""
    found: dict[str, set[str]] = {}
    for name in client.containers:
        container, prefix = parted(name)
        found.setdefault(container, set()).add(prefix)
    return {container: () if "" in those else tuple(sorted(those)) for container, those in found.items()}


def _who(client: AzureClient) -> str:
    """`MLEngineer and Pipeline in contoso-fraud-test`: whom the application trusts Remit to have vouched for."""
    project = client.name.partition("/")[0]
    roles: dict[str, list[str]] = {}
    for subject in client.subjects or (f"remit/{client.name}",):
        place, _, role = subject.removeprefix("remit/").partition("/")
        roles.setdefault(place or project, []).append(role or subject)
    return ", ".join(f"{' and '.join(sorted(set(names)))} in {place}" for place, names in roles.items())
