"""What belongs to this file: its accounts, its pool, its applications. Pure."""

from collections.abc import Callable, Iterator, Mapping

from remit.trust.planning.matching import Matched
from remit.trust.planning.plan import Change
from remit.trust.settings import TrustSettings

_OWN = frozenset({"remit", "remit-cli", "remit-google"})


def ours(change: Change, settings: TrustSettings, match: Matched) -> bool:
    """Whether what is removed concerns only what this file names.

    Other people's audit of a service never does; assignments, consents, delegations, secrets and whom the managed
    identity trusts are read of Remit's own only.
    """
    kind, name, fields = change.address.kind, change.address.name, change.before or {}
    if kind == "azure.assignment":
        return fields.get("principal") in _principals(match)
    if kind == "google.binding":
        return _binding(str(fields.get("resource")), str(fields.get("member")), settings)
    if kind == "sql.grant":
        return any(one.name == fields.get("database") and fields.get("role") in one.roles for one in settings.databases)
    known = _KNOWN.get(kind)
    return known is not None and known(str(fields.get("application")) if kind == "entra.federation" else name, settings)


def _application(name: str, settings: TrustSettings) -> bool:
    project, slash, role = name.partition("/")
    return name in _OWN or bool(slash and role and settings.estate.project(project))


def _accounts(settings: TrustSettings) -> frozenset[str]:
    named = (account.email for account in settings.accounts)
    mapped = (mapping.account for mapping in settings.mappings)
    listed = (email for project in settings.estate.projects for email in project.accounts)
    return frozenset({*named, *mapped, *listed} - {""})


def _pools(settings: TrustSettings) -> frozenset[str]:
    own = settings.own_provider.removeprefix("//iam.googleapis.com/").partition("/providers/")[0]
    return frozenset({settings.pool, own} - {""})


def _binding(resource: str, who: str, settings: TrustSettings) -> bool:
    accounts = _accounts(settings)
    if resource.removeprefix("accounts/") in accounts:
        return True
    if any(f"//iam.googleapis.com/{pool}/" in who for pool in _pools(settings)):
        return True
    email = who.removeprefix("deleted:").removeprefix("serviceAccount:").partition("?")[0]
    return email != who and email in accounts


def _principals(found: Matched) -> frozenset[str]:
    return frozenset(_ids(found))


def _ids(found: Matched) -> Iterator[str]:
    for thing, one in found.pairs:
        if thing.address.kind == "entra.principal" and one and "id" in one.ids and not thing.given:
            yield one.ids["id"]
    for one in found.rest:
        if one.address.kind == "entra.principal" and "id" in one.ids:
            yield one.ids["id"]


def _role(name: str, settings: TrustSettings) -> bool:
    return any(name.startswith(f"projects/{each.id}/roles/remit_") for each in settings.estate.projects)


_KNOWN: Mapping[str, Callable[[str, TrustSettings], bool]] = {
    "entra.application": _application,
    "entra.principal": _application,
    "entra.federation": _application,
    "entra.assignment": lambda _name, _settings: True,
    "entra.consent": lambda _name, _settings: True,
    "entra.delegation": lambda _name, _settings: True,
    "entra.credential": lambda _name, _settings: True,
    "azure.federation": lambda _name, _settings: True,
    "google.pool": lambda name, settings: name in _pools(settings),
    "google.provider": lambda name, settings: name.partition("/providers/")[0] in _pools(settings),
    "google.account": lambda name, settings: name in _accounts(settings),
    "google.role": _role,
}
