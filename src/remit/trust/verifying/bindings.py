"""Lines of Google's policies against those that remit.yaml wants: one that is not there is somebody's 403 to come.

And whoever comes to an account, or past every account, on another way than remit.yaml's. Left out: what strangers hold
that makes them no account of a project (`remit trust plan` shows it).
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Literal

from remit.model.errors import TrustBroken
from remit.trust.planning.dangerous import seizing
from remit.trust.planning.matching import Matched
from remit.trust.planning.words import member as called
from remit.trust.planning.words import part
from remit.trust.prefixes import below
from remit.trust.things import Fields, Found, Value, refs
from remit.trust.verifying.compare import BASIC, EVERYBODY, IMPERSONATE
from remit.trust.verifying.findings import Finding

_KIND = "google.binding"
_OVER_ACCOUNTS = ("iam.", "resourcemanager.projects.")
"""What somebody takes a project's accounts, its pool or its policy with begins so."""

Roles = Callable[[str], str]
"""E-mail of an account → the roles that work as it, as a finding names them."""


def absent(match: Matched, roles: Roles) -> Iterator[Finding]:
    """Wanted lines that are not there, or only under a condition, or not under the one that they should be under."""
    conditional = {_line(one.fields): one.fields["condition"] for one in match.rest if one.fields.get("condition")}
    for thing, one in match.pairs:
        if thing.address.kind == _KIND and one is None and not any(refs(thing.fields["member"])):
            yield _absent(thing.fields, conditional.get(_line(thing.fields)), roles)
        elif thing.address.kind == _KIND and one is not None and below(one.fields) != below(thing.fields):
            yield _altered(thing.fields, one.fields, roles)


def _absent(fields: Fields, condition: Value, roles: Roles) -> Finding:
    resource, role, who = _line(fields)
    become = role in IMPERSONATE
    account = resource.removeprefix("accounts/") if become else who.removeprefix("serviceAccount:")
    hop = f"google-impersonation {account}" if become else "google-permissions"
    if isinstance(condition, Mapping) and not fields.get("condition"):
        said = f"`{called(who)}` holds it under the condition `{condition['title']}`: {condition['expression']}"
        cure = f"take the condition `{condition['title']}` from `{role}` on `{resource}`: `remit trust apply`"
        return Finding("clash", roles(account), account, resource, role, hop, said, cure)
    said = f"remit.yaml gives it{part(fields)} to `{called(who)}`, and no binding does"
    return Finding("missing", roles(account), account, resource, role, hop, said, "bind it: `remit trust apply`")


def _altered(fields: Fields, there: Fields, roles: Roles) -> Finding:
    """A line that should hold below a prefix, and holds on all of the bucket or somewhere else."""
    resource, role, who = _line(fields)
    account, condition = who.removeprefix("serviceAccount:"), there.get("condition")
    said = f"remit.yaml gives it{part(fields)} alone, and it is bound "
    said += f"under another condition: {condition['expression']}" if isinstance(condition, Mapping) else "on all of it"
    cure = f"give the condition back to `{role}` on `{resource}`: `remit trust apply`"
    kind: Literal["excess", "clash"] = "clash" if condition else "excess"
    return Finding(kind, roles(account), account, resource, role, "google-permissions", said, cure)


async def past_accounts(
    unwanted: Sequence[Found],
    pool: str,
    compared: Collection[tuple[str, str]],
    included: Callable[[str], Awaitable[frozenset[str]]],
) -> tuple[Finding, ...]:
    """Whoever may take a project's accounts, pool or policy, and who of the pool holds anything without an account.

    `compared`: accounts and projects of which basic roles are told already; `included`: what a role includes.
    """
    lines = [_line(one.fields) for one in unwanted if one.address.kind == _KIND]
    found: list[Finding] = []
    for resource, role, who in lines:
        here = who.removeprefix("serviceAccount:"), resource.removeprefix("projects/")
        said = ""
        if f"//iam.googleapis.com/{pool}/" in who or who in EVERYBODY:
            said = "" if resource.startswith("accounts/") else "holds it without any account"
        elif resource.startswith("projects/") and not (role in BASIC and here in compared):
            said = await _seized(role, included)
        if said:
            cure = (
                f"take `{role}` on `{resource}` from `{who}`, or list it under `trust.administrators` or `trust.apart`"
            )
            told = f"`{called(who)}` {said}, and remit.yaml does not say so"
            found.append(Finding("excess", "", "", resource, role, "google-impersonation", told, cure))
    return tuple(found)


async def _seized(role: str, included: Callable[[str], Awaitable[frozenset[str]]]) -> str:
    """What a role lets its holder take, empty for nothing."""
    try:
        permissions = await included(role)
    except TrustBroken:  # as bad as can be, for all that is known
        return "holds it, whose permissions the reviewer may not read"
    taking = sorted(each for each in permissions if seizing(each) and each.startswith(_OVER_ACCOUNTS))
    return f"may take accounts or policies by it (`{taking[0]}`)" if taking else ""


def _line(fields: Fields) -> tuple[str, str, str]:
    return str(fields.get("resource")), str(fields.get("role")), str(fields.get("member"))
