"""The blast radius of a drift: who gains or loses which actions, and whether policy refuses them all the same. Pure.

A permission at Google that the policy does not permit is refused at the gateway; what it makes worse is a leaked token,
which is then worth more. Leaves out: organisations' and deny policies,
and who connects to a database as a role, which policy says.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from remit.model.operation import Action
from remit.trust.clouds.sql_names import PUBLIC
from remit.trust.desired.sql import may
from remit.trust.drifting.drift import Drift, Side
from remit.trust.drifting.people import People, Who, holder, member, working
from remit.trust.planning.matching import differing
from remit.trust.planning.words import listed, part, place, whom
from remit.trust.settings import TrustSettings
from remit.trust.things import Fields, Value

_BECOME = frozenset(
    {"roles/iam.workloadIdentityUser", "roles/iam.serviceAccountTokenCreator", "roles/iam.serviceAccountUser"}
)
_ACCOUNT = "serviceAccount:"
_GROUPS = ("use", "observe", "launch", "change", "administer")


@dataclass(frozen=True, slots=True)
class Known:
    """What the reckoning needs to know.

    `included`: role of Google's → permissions; `actions`: permission → actions of the catalogue; `permitted`: account
    and project → permissions that the policy lets those use who work as it; `permits`: app role → the same by project;
    `held`: account → resources and roles that it holds now.
    """

    settings: TrustSettings
    included: Mapping[str, frozenset[str]] = field(default_factory=dict)
    actions: Mapping[str, tuple[Action, ...]] = field(default_factory=dict)
    permitted: Callable[[str, str], tuple[str, ...]] = lambda _email, _project: ()
    permits: Callable[[str], Mapping[str, frozenset[str]]] = lambda _role: {}
    held: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    people: People = field(default_factory=People)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a drift does to somebody.

    `gains`: whether they gain, else they lose; `what`: in words; `actions`: group of actions → ids; `beyond`:
    permissions that policy refuses at the gateway; `unknown`: the role's permissions could not be read.
    """

    who: tuple[Who, ...]
    gains: bool
    what: str
    permissions: tuple[str, ...] = ()
    actions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beyond: tuple[str, ...] = ()


def blast(drift: Drift, known: Known) -> tuple[Reach, ...]:
    """Everyone whom it concerns."""
    return tuple(_KINDS[drift.change.address.kind](drift, known))


def _sides(drift: Drift) -> Iterator[tuple[Fields, bool]]:
    """What is there and gained by it, what is not there and lost by it; of a condition that is another, both."""
    if drift.now is not None:
        yield drift.now, True
    if drift.was is not None:
        yield drift.was, False


def _binding(drift: Drift, known: Known) -> Iterator[Reach]:
    for fields, gains in _sides(drift):
        resource, role, who = (str(fields.get(name)) for name in ("resource", "role", "member"))
        condition = fields.get("condition")
        when = f", when `{condition.get('expression')}`" if isinstance(condition, Mapping) else ""
        when = part(fields) or when
        account = who.removeprefix(_ACCOUNT)
        holders = working(known.settings, known.people, account) if account != who else (member(known.people, who),)
        if resource.startswith("accounts/") and role in _BECOME:
            email = resource.removeprefix("accounts/")
            said = (
                f"may work as {email}{when}" if role != "roles/iam.serviceAccountUser" else f"may run jobs as {email}"
            )
            yield _as_account(known, holders, email, said, gains=gains)
        else:
            said = f"{role} on {place(resource)}{when}" + (f", through {account}" if account != who else "")
            yield _reach(known, holders, said, known.included.get(role), _wanted(known, account, resource), gains=gains)


def _as_account(known: Known, holders: tuple[Who, ...], email: str, said: str, *, gains: bool) -> Reach:
    """All that an account may do."""
    held = known.held.get(email, ())
    permissions = frozenset[str]().union(*(known.included.get(role, frozenset()) for _, role in held))
    projects = {name.removeprefix("projects/") for name, _ in held if name.startswith("projects/")}
    wanted = frozenset[str]().union(*(known.permitted(email, project) for project in projects))
    return _reach(known, holders, said, permissions, wanted, gains=gains)


def _wanted(known: Known, account: str, resource: str) -> frozenset[str] | None:
    """What policy permits those who work as an account there; `None` where it says nothing of the place."""
    kind, _, name = resource.partition("/")
    return frozenset(known.permitted(account, name)) if kind == "projects" else None


def _reach(
    known: Known,
    who: tuple[Who, ...],
    what: str,
    permissions: frozenset[str] | None,
    wanted: frozenset[str] | None = None,
    *,
    gains: bool,
) -> Reach:
    if permissions is None:
        return Reach(who, gains, f"{what}, of which the permissions could not be read")
    actions: dict[str, list[str]] = {}
    for permission in sorted(permissions):
        for action in known.actions.get(permission, ()):
            actions.setdefault(action.group.value, []).append(action.id)
    beyond = sorted(one for one in permissions - wanted if one in known.actions) if wanted is not None and gains else ()
    told = {group: tuple(sorted(set(actions[group]))) for group in _GROUPS if group in actions}
    return Reach(who, gains, what, tuple(sorted(permissions)), told, tuple(beyond))


def _assignment(drift: Drift, known: Known) -> Iterator[Reach]:
    for fields, gains in _sides(drift):
        role = str(fields.get("role"))
        who = holder(known.people, str(fields.get("principal")), str(fields.get("principalType")))
        permits = known.permits(role)
        where = ", ".join(sorted(project for project, some in permits.items() if some)) or "no project"
        every = frozenset[str]().union(*permits.values())
        yield _reach(
            known, (who,), f"works as {role}, whom the policy permits something in {where}", every, every, gains=gains
        )


def _federation(drift: Drift, known: Known) -> Iterator[Reach]:
    for fields, gains in _sides(drift):
        name = str(fields.get("application"))
        client = next((one for one in known.settings.azure if one.name == name), None)
        opens = f", which opens {', '.join(client.containers) or 'no container'}" if client else ""
        who = Who(f"{fields.get('subject')} of {fields.get('issuer')}")
        yield Reach((who,), gains, f"may act as application {name}{opens}")


def _application(drift: Drift, known: Known) -> Iterator[Reach]:
    name, now, was = drift.change.address.name, drift.now, drift.was
    if now is None or was is None:
        yield Reach((_everybody(known),), now is not None, f"sign-in through application {name}")
        return
    for field_ in differing("entra.application", now, was):
        yield from _field(known, name, field_, now.get(field_), was.get(field_))


def _field(known: Known, name: str, field_: str, now: Value, was: Value) -> Iterator[Reach]:
    after, before = (frozenset(map(str, one)) if isinstance(one, tuple) else frozenset() for one in (now, was))
    if field_ == "preauthorized":
        said = f"a token for {name} without anybody's consent: whoever holds it could exchange it without Remit"
        yield from (Reach((Who(f"application {one}"),), gains=True, what=said) for one in sorted(after - before))
        yield from (Reach((Who(f"application {one}"),), gains=False, what=said) for one in sorted(before - after))
    elif field_ == "roles":
        for one in sorted(after ^ before):
            holders = [role for role in known.settings.roles if role.name == one]
            who = tuple(Who(f"everybody with the role {each.name}") for each in holders) or (_everybody(known),)
            yield Reach(who, one in after, f"the role {one} of {name} {'can' if one in after else 'cannot'} be held")
    elif after or before:
        words = "codes of people who sign in go to" if field_.endswith("Redirects") else f"{field_} of {name}:"
        for one in sorted(after ^ before):
            yield Reach((_everybody(known),), one in after, f"{words} {one}")
    else:
        yield Reach(
            (_everybody(known),),
            gains=bool(now),
            what=f"{field_} of {name} is `{_short(now)}`, and was `{_short(was)}`",
        )


def _everybody(known: Known) -> Who:
    return Who(f"everybody of tenant {known.settings.tenant}")


def _principal(drift: Drift, known: Known) -> Iterator[Reach]:
    name, now, was = drift.change.address.name, drift.now or {}, drift.was or {}
    if drift.side is not Side.ALTERED:
        yield Reach((_everybody(known),), drift.now is not None, f"sign-in to {name}")
    elif now.get("enabled") != was.get("enabled"):
        yield Reach((_everybody(known),), bool(now.get("enabled")), f"sign-in to {name}")
    else:
        said = f"sign-in to {name} with no role given to them"
        yield Reach((_everybody(known),), not now.get("assignmentRequired"), said)


def _consent(drift: Drift, _: Known) -> Iterator[Reach]:
    said = f"{drift.change.address.name} at Microsoft Graph"
    yield Reach((Who("Remit itself, and whoever is it"),), drift.now is not None, said)


def _delegation(drift: Drift, _: Known) -> Iterator[Reach]:
    fields = drift.now or drift.was or {}
    said = f"act as {whom(fields)} at {fields.get('api')}: {listed(fields.get('scopes'))}"
    who = Who(f"application {fields.get('application')}, and whoever is it")
    yield Reach((who,), drift.now is not None, said)


def _credential(drift: Drift, known: Known) -> Iterator[Reach]:
    fields = drift.now or drift.was or {}
    name = str(fields.get("application"))
    client = next((one for one in known.settings.azure if one.name == name), None)
    opens = f", which opens {', '.join(client.containers) or 'no container'}" if client else ""
    who = Who(f"whoever has the {fields.get('credential')} `{fields.get('called') or fields.get('key')}`")
    yield Reach((who,), drift.now is not None, f"may act as application {name}{opens}")


def _identity(drift: Drift, _: Known) -> Iterator[Reach]:
    fields = drift.now or drift.was or {}
    who = Who(f"{fields.get('subject')} of {fields.get('issuer')}")
    yield Reach((who,), drift.now is not None, "is Remit itself, from anywhere, and may do all that Remit may")


def _provider(drift: Drift, known: Known) -> Iterator[Reach]:
    name, now, was = drift.change.address.name.rpartition("/")[2], drift.now, drift.was
    everyone = tuple(
        who for each in known.settings.accounts for who in working(known.settings, known.people, each.email)
    )
    if now is None or now.get("disabled"):
        yield Reach(tuple(dict.fromkeys(everyone)) or (Who("everybody"),), gains=False, what=f"Google, through {name}")
        return
    if drift.change.address.kind == "google.pool":
        yield Reach((Who(f"everybody of pool {name}"),), gains=True, what="Google, where an account admits them")
        return
    changed = differing("google.provider", now, was) if was is not None else ("condition",)
    for field_ in changed:
        anybody = Who(f"anybody whose token of {now.get('issuer')} fits")
        said = f"could exchange it at {name} without Remit: its {field_} is `{_short(now.get(field_))}`"
        yield Reach((anybody,), gains=True, what=said)
        if was is not None:
            yield Reach(
                everyone[:1] or (anybody,), gains=False, what=f"tokens that fitted its {field_} as the file has it"
            )


def _account(drift: Drift, known: Known) -> Iterator[Reach]:
    email = drift.change.address.name
    gains = drift.now is not None and not drift.now.get("disabled")
    yield _as_account(known, working(known.settings, known.people, email), email, f"work as {email}", gains=gains)


def _role(drift: Drift, known: Known) -> Iterator[Reach]:
    name = drift.change.address.name
    accounts = sorted(email for email, held in known.held.items() if any(role == name for _, role in held))
    who = tuple(one for email in accounts for one in working(known.settings, known.people, email))
    after, before = (
        frozenset(map(str, one)) if isinstance(one := (fields or {}).get("permissions"), tuple) else frozenset[str]()
        for fields in (drift.now, drift.was)
    )
    project = name.split("/")[1] if name.startswith("projects/") else ""
    wanted = frozenset[str]().union(*(known.permitted(email, project) for email in accounts))
    for some, gains in ((after - before, True), (before - after, False)):
        if some or (after == before and gains):
            what = f"what {name.rpartition('/')[2]} holds in {project}"
            yield _reach(known, who or (Who(f"whoever holds {name}"),), what, some, wanted, gains=gains)


def _audit(drift: Drift, _: Known) -> Iterator[Reach]:
    fields = drift.now or drift.was or {}
    now, was = ((one or {}).get("logTypes") or () for one in (drift.now, drift.was))
    more = isinstance(now, tuple) and isinstance(was, tuple) and not set(was) - set(now)
    said = f"what anybody does at {fields.get('service')} in {fields.get('project')} is written down"
    yield Reach((Who("whoever reviews"),), more, f"{said}: {_short(now)}, where the file says {_short(was)}")


def _azure(drift: Drift, known: Known) -> Iterator[Reach]:
    for fields, gains in _sides(drift):
        name = drift.change.address.name.rpartition(" ")[2]
        client = next((one for one in known.settings.azure if one.name == name), None)
        roles = {one.rpartition("/")[2] for one in client.subjects} if client else set[str]()
        held = [role for role in known.settings.roles if role.name in roles]
        who = tuple(holder(known.people, one, "User") for role in held for one in (*role.people, *role.workloads))
        groups = tuple(holder(known.people, one, "Group") for role in held for one in role.groups)
        principal = str(fields.get("principal"))
        stranger = (Who(known.people.name(principal)),) if not client else (Who(f"application {name}"),)
        where = f"{place(fields.get('scope'))}{part(fields)}"
        what = f"{fields.get('role')} on {where}" + (f", through {name}" if client else "")
        yield Reach(who + groups or stranger, gains, what)


def _database_role(drift: Drift, _: Known) -> Iterator[Reach]:
    database, role = drift.change.address.name.split("/", 1)
    who = (Who(f"whoever connects to {database} as {role}"),)
    if drift.now is None or drift.was is None:
        yield Reach(who, drift.now is not None, f"the database {database}")
        return
    for name in differing("sql.role", drift.now, drift.was):
        now, was = (side.get(name) for side in (drift.now, drift.was))
        if name == "memberships" and isinstance(now, tuple) and isinstance(was, tuple):
            yield from (Reach(who, gains=True, what=f"all that {one} may do") for one in now if one not in was)
            yield from (Reach(who, gains=False, what=f"all that {one} may do") for one in was if one not in now)
        else:
            yield Reach(who, bool(now), f"{name} is `{_short(now)}`, and was `{_short(was)}`")


def _database_grant(drift: Drift, _: Known) -> Iterator[Reach]:
    for fields, gains in _sides(drift):
        database, role = fields.get("database"), fields.get("role")
        who = "everybody at" if role == PUBLIC else "whoever connects to"
        label = f"{who} {database}" + ("" if role == PUBLIC else f" as {role}")
        further = ", and to give it on" if fields.get("grantable") else ""
        said = may(str(fields.get("object")), str(fields.get("privilege")), str(database))
        yield Reach((Who(label),), gains, f"to {said}{further}")


def _short(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "nothing"
    return ", ".join(f"{key}={value[key]}" for key in value) if isinstance(value, Mapping) else str(value or "nothing")


_KINDS: Mapping[str, Callable[[Drift, Known], Iterator[Reach]]] = {
    "sql.role": _database_role,
    "sql.grant": _database_grant,
    "entra.application": _application,
    "entra.principal": _principal,
    "entra.federation": _federation,
    "entra.assignment": _assignment,
    "entra.consent": _consent,
    "entra.delegation": _delegation,
    "entra.credential": _credential,
    "google.pool": _provider,
    "google.provider": _provider,
    "google.account": _account,
    "google.role": _role,
    "google.binding": _binding,
    "google.audit": _audit,
    "azure.assignment": _azure,
    "azure.federation": _identity,
}
