"""Why a change is not made unless it is named. Pure; a change may be unsafe for several reasons.

1  widens              somebody may do more on what is in use, or holds what gives him the rest
2  unconditioned       a provider that admits others than Remit
3  wide-scope          a role on more than the resource that it is for
4  not-ours            what is removed is no account, application or pool of this file
5  destroys            what is removed cannot be made again as it was
6  last-administrator  nobody would be left who can repair this (`administrators`)

A first making is no widening: nobody uses it yet, and the file that names it was reviewed. What gives its holder the
rest (owner, everybody, a whole pool) is unsafe always.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from remit.trust.planning import dangerous as d
from remit.trust.planning.administrators import last_administrator
from remit.trust.planning.conditions import admits_only_remit
from remit.trust.planning.matching import Matched, differing
from remit.trust.planning.ours import ours
from remit.trust.planning.plan import Act, Change, Risk, Unsafe
from remit.trust.planning.words import everybody, listed, member, place, whom
from remit.trust.prefixes import below
from remit.trust.settings import TrustSettings
from remit.trust.things import Address, Fields, Value

_DESTROYED: Mapping[str, str] = {
    "entra.application": "its app id is gone with it, and everything that names it stops",
    "entra.principal": "its object id is gone with it, and every assignment and consent of it",
    "entra.credential": "whoever signs in with it no longer can, and nobody can make it again",
    "google.account": "its unique id is gone with it, and every binding that names it",
    "google.pool": "its id cannot be used again for 30 days, and nobody of it reaches Google meanwhile",
    "google.provider": "its id cannot be used again for 30 days",
    "google.role": "its id cannot be used again for 37 days, and every binding to it ends",
}
_GAINS: Mapping[str, Mapping[str, str]] = {
    "entra.application": {
        "preauthorized": "may obtain tokens for it without asking anybody",
        "webRedirects": "would receive the codes of people who sign in",
        "publicRedirects": "would receive the codes of people who sign in",
    },
    "google.provider": {"audiences": "is an audience whose tokens would open the pool"},
}
_ON: Mapping[str, tuple[str, Value, str]] = {
    "google.pool": ("disabled", True, "somebody disabled it, and everybody of it would be let in again"),
    "google.provider": ("disabled", True, "somebody disabled it, and its tokens would open the pool again"),
    "google.account": ("disabled", True, "somebody disabled it, and whoever may become it could work as it again"),
    "entra.principal": ("enabled", False, "somebody disabled it, and people could sign in to it again"),
}
_WHO = ("issuer", "subject", "mapping", "audience", "public")


@dataclass(frozen=True, slots=True)
class _Case:
    """A change that makes or changes, and what it is judged by.

    `fresh`: e-mails of accounts that the plan makes; `known`: custom roles whose contents the file says; `given`:
    Remit's app id, when Entra has it and the file has not.
    """

    kind: str
    before: Fields
    after: Fields
    settings: TrustSettings
    fresh: frozenset[str]
    known: frozenset[str]
    given: str


def judged(
    changes: Sequence[Change], match: Matched, settings: TrustSettings, applier: Collection[str] = ()
) -> tuple[Change, ...]:
    """The changes, each with why it is unsafe."""
    made = (change.address for change in changes if change.act is Act.MAKE)
    fresh = frozenset(address.name for address in made if address.kind == "google.account")
    known = frozenset(thing.address.name for thing, _ in match.pairs if thing.address.kind == "google.role")
    given = _given(match) if settings.application in settings.pending else ""
    last = last_administrator(changes, match, settings, applier)
    judged_: list[Change] = []
    for number, change in enumerate(changes):
        if change.after is None:
            risks = _of_removal(change, match, settings)
        else:
            risks = _risks(_Case(change.address.kind, change.before or {}, change.after, settings, fresh, known, given))
        judged_.append(replace(change, unsafe=tuple(dict.fromkeys([*risks, *last.get(number, ())]))))
    return tuple(judged_)


def _given(match: Matched) -> str:
    remit = Address("entra.application", "remit")
    return next((one.ids.get("appId", "") for thing, one in match.pairs if one and thing.address == remit), "")


def _risks(case: _Case) -> Iterator[Unsafe]:
    if case.before:
        yield from _of_change(case.kind, case.before, case.after)
    if judge := _JUDGES.get(case.kind):
        yield from judge(case)


def _of_removal(change: Change, match: Matched, settings: TrustSettings) -> Iterator[Unsafe]:
    if not ours(change, settings, match):
        yield Unsafe(Risk.NOT_OURS, "somebody else made it, and remit.yaml names nothing of it")
    if said := _DESTROYED.get(change.address.kind):
        yield Unsafe(Risk.DESTROYS, said)


def _of_change(kind: str, before: Fields, after: Fields) -> Iterator[Unsafe]:
    changed = differing(kind, before, after)
    for name, said in _GAINS.get(kind, {}).items():
        for value in _added(before.get(name), after.get(name)):
            yield Unsafe(Risk.WIDENS, f"{value} {said}")
    name, was, said = _ON.get(kind, ("", None, ""))
    if name in changed and before.get(name) is was:
        yield Unsafe(Risk.WIDENS, said)
    for name in changed:
        if name in _WHO:
            yield Unsafe(Risk.WIDENS, f"its {name} decides who is let in, and would be `{_short(after.get(name))}`")
    if kind == "entra.application" and "audience" not in changed and "tokenVersion" in changed:
        yield Unsafe(Risk.WIDENS, "tokens of another version would be issued to whoever uses it")
    if "assignmentRequired" in changed and not after.get("assignmentRequired"):
        yield Unsafe(Risk.WIDENS, "everybody of the tenant could sign in, and not only those with a role")
    if kind == "google.audit":
        yield from _unrecorded(before, after)


def _unrecorded(before: Fields, after: Fields) -> Iterator[Unsafe]:
    for value in _added(after.get("logTypes"), before.get("logTypes")):
        yield Unsafe(Risk.NOT_OURS, f"somebody else asked for {value} entries, which would end")


def _of_role(case: _Case) -> Iterator[Unsafe]:
    added = _added(case.before.get("permissions"), case.after.get("permissions"))
    for permission in filter(d.seizing, added):
        yield Unsafe(Risk.WIDENS, f"`{permission}` lets its holder take what others hold")
    if any(permission.startswith("storage.") for permission in added):
        yield Unsafe(Risk.WIDE_SCOPE, "it opens every bucket of the project, where a binding on a bucket would do")


def _of_binding(case: _Case) -> Iterator[Unsafe]:
    role, resource, who = (str(case.after.get(name)) for name in ("role", "resource", "member"))
    on_project = not resource.startswith(("buckets/", "accounts/"))
    if _everybody(who):
        yield Unsafe(Risk.WIDENS, f"{member(who)} would hold it")
    if d.powerful(role):
        yield Unsafe(Risk.WIDENS, f"`{role}` gives {member(who)} the means to take the rest of {place(resource)}")
    if not role.startswith("roles/") and role not in case.known:
        yield Unsafe(Risk.WIDENS, f"what `{role}` holds neither the file nor Google says, but whoever may edit it")
    if role == d.POOL_ADMINISTRATOR and who.removeprefix("serviceAccount:") not in case.fresh:
        yield Unsafe(Risk.WIDENS, f"{member(who)} could make the pool believe another issuer")
    if on_project and role == "roles/iam.serviceAccountTokenCreator":
        yield Unsafe(Risk.WIDENS, f"{member(who)} could become every account of {place(resource)}")
    if on_project and d.wider_than_needed(role):
        yield Unsafe(Risk.WIDE_SCOPE, f"it holds on all of {place(resource)}, where a bucket or an account would do")
    if case.before.get("condition"):
        yield Unsafe(Risk.WIDENS, f"the condition under which {member(who)} holds it would be another or none")


def _of_provider(case: _Case) -> Iterator[Unsafe]:
    if not admits_only_remit(case.after, case.settings, case.given):
        yield Unsafe(Risk.UNCONDITIONED, "its condition admits tokens that Remit did not ask for")


def _of_federation(case: _Case) -> Iterator[Unsafe]:
    if case.after.get("issuer") not in {case.settings.issuer, case.settings.own_issuer} or not case.after.get("issuer"):
        said = f"`{case.after.get('issuer')}`, which is not the tenant's issuer and not Remit's, could vouch for it"
        yield Unsafe(Risk.WIDENS, said)


def _of_delegation(case: _Case) -> Iterator[Unsafe]:
    said = f"the application {case.after.get('application')} may act as {whom(case.after)} at {case.after.get('api')}: "
    yield Unsafe(Risk.WIDENS, said + listed(case.after.get("scopes")))


def _of_credential(case: _Case) -> Iterator[Unsafe]:
    yield Unsafe(Risk.WIDENS, f"whoever has it is {case.after.get('application')}")


def _of_identity(case: _Case) -> Iterator[Unsafe]:
    said = f"whoever controls `{case.after.get('subject')}` at `{case.after.get('issuer')}` is Remit, from anywhere"
    yield Unsafe(Risk.WIDENS, said)


def _of_consent(case: _Case) -> Iterator[Unsafe]:
    permission = str(case.after.get("permission"))
    if d.writing(permission):
        yield Unsafe(Risk.WIDENS, f"Remit could change the directory by `{permission}`")


def _of_application(case: _Case) -> Iterator[Unsafe]:
    if case.after.get("audience") not in {None, "AzureADMyOrg"}:
        yield Unsafe(Risk.WIDENS, "people of other tenants could sign in")


def _of_assignment(case: _Case) -> Iterator[Unsafe]:
    role, scope = str(case.after.get("role")), str(case.after.get("scope"))
    if d.powerful_at_azure(role):
        yield Unsafe(Risk.WIDENS, f"`{role}` is more than reading and writing blobs")
    if case.before.get("condition") and case.before.get("condition") != case.after.get("condition"):
        yield Unsafe(Risk.WIDENS, "the condition under which it holds would be another or none")
    if below(case.after) and not case.before and role not in d.READING_AT_AZURE:
        said = f"`{role}` may also delete {place(scope)} itself, with all that lies there: no condition reaches that"
        yield Unsafe(Risk.WIDE_SCOPE, said)
    if "/blobServices/default/containers/" not in scope:
        yield Unsafe(Risk.WIDE_SCOPE, f"it holds on all of {place(scope)}, where a container would do")


def _of_database_role(case: _Case) -> Iterator[Unsafe]:
    for name in sorted(case.after):
        if case.after[name] is True and not case.before.get(name) and (said := d.unbound(name)):
            yield Unsafe(Risk.WIDENS, f"{name}: {said}")
    for group in _added(case.before.get("memberships"), case.after.get("memberships")):
        wide = group.startswith("pg_")
        said = "on the whole server" if wide else "and whatever it is given later"
        yield Unsafe(Risk.WIDE_SCOPE if wide else Risk.WIDENS, f"it would have all that `{group}` may do, {said}")
    if case.before and "principal" in differing(case.kind, case.before, case.after):
        yield Unsafe(Risk.WIDENS, "tokens of another application would log in as it")
    if case.after.get("password") and not case.before.get("password"):
        yield Unsafe(Risk.WIDENS, "whoever knows its password could log in past Remit, where `pg_hba.conf` lets them")


def _of_grant(case: _Case) -> Iterator[Unsafe]:
    on, privilege = str(case.after.get("object")), str(case.after.get("privilege"))
    who = everybody(case.after.get("role"))
    if who == "everybody":
        yield Unsafe(Risk.WIDENS, "everybody at the database would hold it, also who is still to come")
    if said := d.taking(privilege):
        yield Unsafe(Risk.WIDENS, f"`{privilege}`: {who} {said}")
    if on.startswith("defaults/"):
        yield Unsafe(Risk.WIDE_SCOPE, f"{who} would hold it on whatever is made from then on")
    if case.after.get("grantable"):
        yield Unsafe(Risk.WIDENS, f"{who} could give it to anybody")


_JUDGES: Mapping[str, Callable[[_Case], Iterator[Unsafe]]] = {
    "sql.role": _of_database_role,
    "sql.grant": _of_grant,
    "entra.application": _of_application,
    "entra.federation": _of_federation,
    "entra.consent": _of_consent,
    "entra.delegation": _of_delegation,
    "entra.credential": _of_credential,
    "google.provider": _of_provider,
    "google.role": _of_role,
    "google.binding": _of_binding,
    "azure.assignment": _of_assignment,
    "azure.federation": _of_identity,
}


def _everybody(who: str) -> bool:
    """Whether a member is more than a person, a group, an account or a subject."""
    if "/workloadIdentityPools/" in who:
        inside = who.partition("/workloadIdentityPools/")[2].partition("/")[2]
        return not inside.startswith(("group/", "subject/")) or inside.endswith("/*")
    return who.partition(":")[0] not in {"user", "group", "serviceAccount", "deleted"}


def _added(before: Value, after: Value) -> tuple[str, ...]:
    had = frozenset(map(str, before)) if isinstance(before, tuple) else frozenset[str]()
    return tuple(str(each) for each in after if str(each) not in had) if isinstance(after, tuple) else ()


def _short(value: Value) -> str:
    text = ", ".join(f"{name}={value[name]}" for name in value) if isinstance(value, Mapping) else str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."  # noqa: PLR2004 - characters: the fields show the whole
