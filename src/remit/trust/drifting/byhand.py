"""What somebody edits by hand where `adoption` writes nothing, or that no key of remit.yaml says it. Pure.

Keys are named as they stand in the file. What has no entry here no key says: it follows from the design.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from remit.trust.clouds.google_names import estate_accounts
from remit.trust.clouds.sql_names import PRIVILEGES, place
from remit.trust.desired.google import IMPERSONATE
from remit.trust.desired.sql import CONNECT
from remit.trust.drifting.drift import Drift, Side
from remit.trust.planning.matching import differing
from remit.trust.prefixes import READER, WRITER, below
from remit.trust.settings import TrustSettings

_BY_HAND = "that takes an edit by hand"
_ROLE = re.compile(r"(?![0-9a-f]{8}-)\S+")  # no id of one that is gone, nor the words for none at all
_LINE = "`credentials.azure.accounts`"
_CONTAINERS = f"write what of the container is opened under `containers` of {_LINE}: all, or below which prefixes"
_PROVIDERS = "`credentials.google.provider` and `credentials.own_issuer.provider`"

_ALTERED: Mapping[tuple[str, str], str] = {
    ("entra.application remit", "roles"): "write the names of its app roles under `trust.roles`",
    ("entra.application remit", "webRedirects"): "write its redirect URIs under `trust.redirects`",
    ("entra.application remit", "uris"): "write its identifier URIs under `uris` of the tenant in `issuers`",
    ("entra.application remit-google", "uris"): "write its identifier URI into `credentials.on_behalf_of.scope`",
    ("entra.assignment", "principalType"): "list it under `groups`, `people` or `workloads` of `trust.roles`",
    ("azure.assignment", "condition"): _CONTAINERS,
    ("azure.assignment", "conditionVersion"): _CONTAINERS,
    ("google.binding", "condition"): "write on what of the bucket it holds, under `grants` in `trust.accounts`",
    ("google.role", "permissions"): "change the policies in `policy.folder`: the role holds what they permit",
    ("sql.role", "principal"): f"write the application whose tokens log in as it under `client` of {_LINE}",
}
"""Kind or address, and field → what to edit."""
_GONE: Mapping[str, str] = {
    "azure.assignment": f"take the container out of `containers` of {_LINE}",
    "google.pool": f"name another pool in {_PROVIDERS}",
    "google.provider": f"name another provider in {_PROVIDERS}",
    "google.account": "name another in its place under `environments`, `credentials.accounts` and `trust`",
    "google.role": "write a role of Google's in the place of `policy`, in the `grants` under `trust.accounts`",
    "google.binding": "take who becomes it out of `trust.roles`, or list others as `members` in `trust.accounts`",
    "sql.role": "take it out of `roles` of its database under `databases`",
}
"""Kind → what to edit, so that the file does not want it either."""
_FIXED: Mapping[str, str] = {
    "entra.application": "Remit needs its applications, and as they are wanted",
    "entra.assignment": "a group, a person or a workload holds a role, and who holds none is not let in",
    "entra.principal": "each application has one, enabled, and Remit's admits only who holds a role",
    "entra.federation": "applications trust the managed identity and Remit's own issuer, and nobody else",
    "entra.consent": "what Remit may do at Microsoft Graph is fixed",
    "entra.delegation": "no application of Remit's acts as anybody elsewhere",
    "entra.credential": "no application of Remit's has secrets or certificates but those that `secret_file` names",
    "azure.federation": "the managed identity trusts nobody",
    "azure.assignment": f"applications are `{READER}` or `{WRITER}` of containers, or below prefixes of them",
    "google.pool": "it is enabled",
    "google.provider": (
        "all of it follows from `issuers`, `credentials.on_behalf_of` and `credentials.own_issuer`, and there is no "
        "other in the pool"
    ),
    "google.account": "it is enabled",
    "google.binding": "of conditions it says a prefix alone, and whoever comes by the pool is given accounts alone",
    "google.role": "custom roles are those that `policy` under `trust.accounts` makes",
    "google.audit": "logs say who did what, so that drift can be explained",
    "sql.role": "a role logs in and does nothing else: it is a member of none, and has no password",
    "sql.grant": (
        "`trust.databases` gives each role of its own privileges on the database, schemas, tables and sequences, "
        "and none to give on"
    ),
}
"""Kind → why no key says it."""


def by_hand(drift: Drift, settings: TrustSettings) -> tuple[str, str]:
    """Why it is not adopted, and what to edit by hand, empty where no key says it."""
    kind = drift.change.address.kind
    if drift.side is Side.ALTERED:
        edits = {name: _altered(drift, name) for name in differing(kind, drift.now or {}, drift.was or {})}
        if all(edits.values()):
            return _BY_HAND, "; ".join(dict.fromkeys(edits.values()))
        said = ", ".join(f"`{name}`" for name, edit in edits.items() if not edit)
        return f"no key of remit.yaml says its {said}: {_FIXED[kind]}", ""
    edit = next(_SAID[kind](drift, settings), "") if kind in _SAID else ""
    if drift.side is Side.GONE:
        edit = edit or _GONE.get(kind, "")
    return (_BY_HAND, edit) if edit else (f"no key of remit.yaml says it: {_FIXED[kind]}", "")


def _altered(drift: Drift, field: str) -> str:
    """What to edit for one field, empty where no key says it; of conditions the file says a prefix alone."""
    address, now = drift.change.address, drift.now or {}
    if field == "condition" and now.get(field) and not below(now):
        return ""
    return _ALTERED.get((str(address), field)) or _ALTERED.get((address.kind, field), "")


def _application(drift: Drift, settings: TrustSettings) -> Iterator[str]:
    fields = drift.now or drift.was or {}
    name = str(fields.get("application", drift.change.address.name)).partition(" ")[0]
    if drift.side is Side.GONE and name in {one.name for one in settings.azure}:
        yield f"take the line of `{name}` out of {_LINE}"
    elif drift.side is Side.APPEARED and settings.own_issuer and fields.get("issuer") == settings.own_issuer:
        yield f"write a line with `subject: {fields.get('subject')}` and that application as `client` under {_LINE}"


def _assignment(drift: Drift, settings: TrustSettings) -> Iterator[str]:
    fields = drift.now or drift.was or {}
    role = str(fields.get("role"))
    if drift.side is Side.APPEARED and role not in {one.name for one in settings.roles} and _ROLE.fullmatch(role):
        yield f"write `{role}` with who holds it under `trust.roles`"


def _opened(drift: Drift, _: TrustSettings) -> Iterator[str]:
    role = (drift.now or {}).get("role")
    if drift.side is Side.APPEARED and role in {READER, WRITER}:
        access = "write" if role == WRITER else "read"
        yield f"write the container under `containers`, with `access: {access}`, of the application's line in {_LINE}"


def _binding(drift: Drift, settings: TrustSettings) -> Iterator[str]:
    fields = drift.now or drift.was or {}
    member, role, resource = (str(fields.get(name)) for name in ("member", "role", "resource"))
    pooled = f"/{settings.pool}/" in member
    ours = pooled or member.removeprefix("serviceAccount:") in estate_accounts(settings)
    if drift.side is Side.GONE and resource == f"accounts/{settings.reviewer}":
        yield "name another account as `trust.reviewer`: Remit itself becomes whichever it is"
    elif drift.side is Side.APPEARED and pooled and role != IMPERSONATE:
        yield "give the role to an account under `trust.accounts`, in `grants`, and say who becomes it in `members`"
    elif drift.side is Side.APPEARED and not ours:
        yield f"keep `{member}` under `trust.apart`: then every binding of it is somebody else's business"


def _grant(drift: Drift, settings: TrustSettings) -> Iterator[str]:
    fields = drift.now or drift.was or {}
    database, on, role, privilege = (str(fields.get(name)) for name in ("database", "object", "role", "privilege"))
    roles = next((one.roles for one in settings.databases if one.name == database), ())
    if drift.side is Side.GONE and (on, privilege) == ("database", CONNECT):
        yield f"take `{role}` out of `roles` of `{database}` under `databases`: each of these connects"
    elif drift.side is Side.APPEARED and role not in roles and privilege in PRIVILEGES.get(place(on).kind, ()):
        yield f"give it to each role by itself under `trust.databases.{database}.roles`: then everybody may have it"


_SAID: Mapping[str, Callable[[Drift, TrustSettings], Iterator[str]]] = {
    "entra.application": _application,
    "entra.principal": _application,
    "entra.federation": _application,
    "entra.assignment": _assignment,
    "azure.assignment": _opened,
    "google.binding": _binding,
    "sql.grant": _grant,
}
"""Kind → what to edit for one that came or went, where that depends on which."""
