"""Which words of remit.yaml would say what is there, for the drifts that the file can say. Pure.

What follows from the file by itself (conditions, audiences, custom roles, audit logs, Remit's own switches) it cannot
say otherwise: such a drift is reverted, or the rule behind it is changed. Leaves out: the text (`edit`), and what
somebody edits by hand (`byhand`).
"""

from collections.abc import Callable, Iterator, Mapping

from remit.model.errors import TrustBroken
from remit.trust.clouds.google_names import estate_accounts, role_name
from remit.trust.clouds.sql_names import PRIVILEGES, place
from remit.trust.desired.google import IMPERSONATE
from remit.trust.desired.sql import CONNECT
from remit.trust.drifting.byhand import by_hand
from remit.trust.drifting.drift import Drift, Side
from remit.trust.drifting.edit import Edit
from remit.trust.planning.matching import differing
from remit.trust.prefixes import below
from remit.trust.settings import POLICY, Account, TrustSettings
from remit.trust.things import Fields

_ACCOUNT = "serviceAccount:"
_HOLDERS: Mapping[str, str] = {"Group": "groups", "User": "people", "ServicePrincipal": "workloads"}


def adoption(drift: Drift, settings: TrustSettings) -> tuple[Edit, ...]:
    """The edits; raises `TrustBroken` that says why there are none, and what to write instead."""
    words = _KINDS.get(drift.change.address.kind)
    edits = tuple(words(drift, settings)) if words else ()
    if not edits:
        why, edit = by_hand(drift, settings)
        revert = f"`remit trust drift revert {drift.key}`"
        hint = f"{edit}; or undo it: {revert}" if edit else f"undo it: {revert}"
        raise TrustBroken(f"`{drift.name}` cannot be adopted: {why}", hint=hint)
    return edits


def _binding(drift: Drift, settings: TrustSettings) -> Iterator[Edit]:
    fields = drift.now or drift.was or {}
    prefixes = below(fields)
    if drift.side is Side.ALTERED or (fields.get("condition") and not prefixes):
        return
    comes = drift.side is Side.APPEARED
    resource, role, who = (str(fields.get(name)) for name in ("resource", "role", "member"))
    email = who.removeprefix(_ACCOUNT)
    if resource.startswith("accounts/") and role == IMPERSONATE and f"/{settings.pool}/" in who:
        yield from _member(settings, resource.removeprefix("accounts/"), who.partition(f"/{settings.pool}/")[2], comes)
    elif email != who and email in estate_accounts(settings):
        place = resource.removeprefix("projects/") if resource.startswith("projects/") else ""
        said = POLICY if place and role == role_name(email, place) else role
        where = "/".join((resource, *prefixes))
        yield Edit(("trust", "accounts", email, "grants", where), said, comes)
    elif comes and f"/{settings.pool}/" not in who:
        yield Edit(("trust", "apart"), who, comes=True)


def _member(settings: TrustSettings, email: str, name: str, comes: bool) -> Iterator[Edit]:  # noqa: FBT001 - the edit's own
    """Members are all written once one of them is: before, they follow from the roles."""
    path = ("trust", "accounts", email, "members")
    account = next((one for one in settings.accounts if one.email == email), Account(email))
    if account.members:
        yield Edit(path, name, comes)
        return
    following = list(dict.fromkeys(_following(settings, email)))
    for each in following:
        if comes or each != name:
            yield Edit(path, each, comes=True)
    if comes:
        yield Edit(path, name, comes=True)


def _following(settings: TrustSettings, email: str) -> Iterator[str]:
    working = {one.role for one in settings.mappings if one.account == email}
    for role in settings.roles:
        if role.name in working:
            yield from (f"group/{each}" for each in role.groups)
            yield from (f"subject/{settings.tenant}/{each}" for each in (*role.people, *role.workloads))


def _assignment(drift: Drift, settings: TrustSettings) -> Iterator[Edit]:
    fields: Fields = drift.now or drift.was or {}
    known = {role.name for role in settings.roles}
    kind = _HOLDERS.get(str(fields.get("principalType")))
    if drift.side is not Side.ALTERED and fields.get("role") in known and kind:
        path = ("trust", "roles", str(fields["role"]), kind)
        yield Edit(path, str(fields["principal"]), drift.side is Side.APPEARED)


def _application(drift: Drift, _: TrustSettings) -> Iterator[Edit]:
    now, was = drift.now, drift.was
    if drift.name != "entra.application remit" or now is None or was is None:
        return
    if differing("entra.application", now, was) != ("webRedirects",):
        return
    after, before = (one if isinstance(one := side.get("webRedirects"), tuple) else () for side in (now, was))
    yield from (Edit(("trust", "redirects"), str(one), comes=True) for one in after if one not in before)
    yield from (Edit(("trust", "redirects"), str(one), comes=False) for one in before if one not in after)


def _azure(drift: Drift, settings: TrustSettings) -> Iterator[Edit]:
    name = drift.change.address.name.rpartition(" ")[2]
    if drift.side is Side.APPEARED and name not in {one.name for one in settings.azure}:
        yield Edit(("trust", "apart"), f"azure:{(drift.now or {}).get('principal')}", comes=True)


def _grant(drift: Drift, settings: TrustSettings) -> Iterator[Edit]:
    fields = drift.now or drift.was or {}
    database, on, role, privilege = (str(fields.get(name)) for name in ("database", "object", "role", "privilege"))
    known = any(one.name == database and role in one.roles for one in settings.databases)
    if drift.side is Side.ALTERED or fields.get("grantable") or (on, privilege) == ("database", CONNECT) or not known:
        return
    if privilege in PRIVILEGES.get(place(on).kind, ()) and not place(on).system:
        path = ("trust", "databases", database, "roles", role, on)
        yield Edit(path, privilege, drift.side is Side.APPEARED)


_KINDS: Mapping[str, Callable[[Drift, TrustSettings], Iterator[Edit]]] = {
    "sql.grant": _grant,
    "google.binding": _binding,
    "entra.assignment": _assignment,
    "entra.application": _application,
    "azure.assignment": _azure,
}
