"""What the policy wants, what bindings say and what Google answers: where these disagree. Pure functions over values.

Leaves out: policies of folders and organisations. What they allow shows in Google's answer, and what they deny as well.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from remit.model.counts import counted
from remit.trust.planning.words import place
from remit.trust.things import Fields, Found
from remit.trust.verifying.findings import ALL, Finding, Hop
from remit.trust.verifying.wants import Wants

IMPERSONATE = frozenset({"roles/iam.workloadIdentityUser", "roles/iam.serviceAccountTokenCreator"})
EVERYBODY = frozenset({"allUsers", "allAuthenticatedUsers"})
_OR = "; `policy` under `trust.accounts` grants just what the policy permits"
BASIC = frozenset({"roles/owner", "roles/editor", "roles/viewer"})
"""Google's roles over everything: told by their name, since their permissions go into the thousands."""


@dataclass(frozen=True, slots=True)
class Line:
    """A role that an account holds on a resource, and what it includes.

    `condition`: title and expression, or none; `below`: the prefix that such a condition means, empty for any other.
    """

    role: str
    permissions: frozenset[str]
    condition: tuple[str, str] | None = None
    below: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """One account on one resource.

    `wants`: what the policy wants; `tested`: Google's own answer, if any; `parts`: prefixes below which it is compared
    by itself; `above`: permissions that are wanted or held on more than this, and told there.
    """

    account: str
    resource: str
    wants: Wants
    lines: tuple[Line, ...]
    tested: frozenset[str] | None = None
    parts: frozenset[str] = frozenset()
    above: frozenset[str] = frozenset()


def below(whole: Side, prefix: str, wants: Wants) -> Side:
    """What of a bucket lies below a prefix, as a side of its own. `whole`: of all of the bucket."""
    here = tuple(replace(line, condition=None) for line in whole.lines if line.below == prefix)
    over = [line for line in whole.lines if line.below and line.below != prefix and prefix.startswith(line.below)]
    held = whole.tested if whole.tested is not None else _union(line for line in whole.lines if not line.condition)
    above = _union(over) | held | frozenset[str]().union(*whole.wants.roles.values())
    resource = f"{whole.resource}/{prefix}"
    return Side(whole.account, resource, wants, here, above=above)


def _union(lines: Iterable[Line]) -> frozenset[str]:
    return frozenset[str]().union(*(line.permissions for line in lines))


def disagreements(side: Side) -> Iterator[Finding]:
    """Missing, clashing and excess permissions of one account on one resource."""
    bound, sure = _union(side.lines), _union(line for line in side.lines if line.condition is None)
    wanted = frozenset[str]().union(*side.wants.roles.values())
    have = sure if side.tested is None else side.tested
    for permission in sorted(wanted - have - side.above):
        role = ALL.join(sorted(role for role, wants in side.wants.roles.items() if permission in wants))
        told = _defeated(side, role, permission) if permission in bound else _missing(side, role, permission)
        yield replace(told, methods=side.wants.methods.get(permission, ()))
    reaching = tuple(line for line in side.lines if line.below not in side.parts)
    allowed = ((_union(reaching) | have) & side.wants.governed) - side.above
    yield from _excess(replace(side, lines=reaching), wanted, allowed)


def _missing(side: Side, role: str, permission: str) -> Finding:
    cure = f"grant `{side.account}` a role with `{permission}` on `{side.resource}`{_OR if _whole(side) else ''}"
    said = "the policy permits it, and no role grants it"
    if permission in side.wants.granted:
        said = "the policy permits it with a grant, and no role has it: what people grant would be refused by Google"
    return Finding("missing", role, side.account, side.resource, permission, "google-permissions", said, cure)


def _whole(side: Side) -> bool:
    """Whether it is about a project, the one place where a role of the policy's own can be granted."""
    return side.resource.startswith("projects/")


def _defeated(side: Side, role: str, permission: str) -> Finding:
    line = next(line for line in side.lines if permission in line.permissions)
    if line.below and line.condition:
        said = f"`{line.role}` grants it below `{line.below}` alone"
        cure = f"give it on all of `{side.resource}`, or have the policy ask for `context.within` below `{line.below}`"
    elif line.condition:
        title, expression = line.condition
        said = f"`{line.role}` grants it under the condition `{title}`: {expression}"
        cure = f"take the condition `{title}` from `{line.role}` on `{side.resource}`, or have the policy say the same"
    else:
        said = f"`{line.role}` grants it, and Google denies it all the same"
        cure = f"look for a deny policy, or an access boundary, over `{side.resource}`"
    return Finding("clash", role, side.account, side.resource, permission, "google-permissions", said, cure)


def _excess(side: Side, wanted: frozenset[str], allowed: frozenset[str]) -> Iterator[Finding]:
    role = ALL.join(sorted(side.wants.roles))
    basic = [line for line in side.lines if line.role in BASIC]
    for line in basic:
        held = counted(len(line.permissions), "permission")
        said = f"it holds {held}, and the policy uses {len(line.permissions & wanted)}"
        cure = f"take `{line.role}` on `{side.resource}` from `{side.account}`, and grant what the policy uses"
        yield Finding("excess", role, side.account, side.resource, line.role, "google-permissions", said, cure)
    told = frozenset[str]().union(*(line.permissions for line in basic))
    rest = [line for line in side.lines if line.role not in BASIC]
    for permission in sorted(allowed - wanted):
        by = sorted({line.role for line in rest if permission in line.permissions})
        if not by and permission in told:
            continue
        said = f"granted by {', '.join(f'`{each}`' for each in by)}" if by else "granted above, or to everybody"
        other = _OR if _whole(side) else ""
        cure = f"use a narrower role than one with `{permission}`, or let the policy permit it{other}"
        yield Finding("excess", role, side.account, side.resource, permission, "google-permissions", said, cure)


def impersonation(account: str, pool: str, bindings: Sequence[Found], roles: Sequence[str]) -> Iterator[Hop]:
    """May somebody of the pool, and not everybody, become the account that roles are mapped to?"""
    ours = members(account, pool, bindings)
    name = f"google-impersonation {account}"
    if not ours:
        cure = f"grant `roles/iam.workloadIdentityUser` on `{account}` to the group of {_named(roles)}"
        yield Hop(name, holds=False, said="nobody of the pool may become this account", cure=cure)
    elif wide := [member for member in ours if "/group/" not in member and "/subject/" not in member]:
        everybody = "everybody" if EVERYBODY.intersection(wide) else f"everybody of the pool{_with(wide[0])}"
        cure = f"bind a group of the pool instead of `{wide[0].rpartition('/')[2]}`"
        yield Hop(name, holds=False, said=f"{everybody} may become this account", cure=cure)
    else:
        said = f"{counted(len(ours), 'member')} of the pool may become it, and nobody else of it"
        yield Hop(name, holds=True, said=said)


def _with(member: str) -> str:
    """That it is those with an attribute, which anybody of the pool may have."""
    _, mark, attribute = member.partition("/attribute.")
    return f" with the attribute `{attribute}`" if mark else ""


def members(account: str, pool: str, bindings: Sequence[Found]) -> list[str]:
    """Members of the pool, and whoever stands for everybody, who may become an account."""
    found = {
        str(one.fields["member"])
        for one in bindings
        if one.fields.get("resource") == f"accounts/{account}" and one.fields.get("role") in IMPERSONATE
    }
    return sorted(member for member in found if f"//iam.googleapis.com/{pool}/" in member or member in EVERYBODY)


def groups_of(account: str, pool: str, bindings: Sequence[Found]) -> frozenset[str]:
    """The groups of the pool whose members may become an account."""
    every = members(account, pool, bindings)
    return frozenset(member.partition("/group/")[2] for member in every if "/group/" in member)


def strangers(account: str, roles: Sequence[str], unwanted: Sequence[Found]) -> Iterator[Finding]:
    """Whoever may become or use an account behind the file's back."""
    for one in unwanted:
        fields = one.fields
        if one.address.kind == "google.binding" and fields.get("resource") == f"accounts/{account}":
            yield _stranger(account, ALL.join(roles), fields)


def _stranger(account: str, roles: str, fields: Fields) -> Finding:
    member, role = str(fields["member"]), str(fields["role"])
    cure = f"take `{role}` on `{account}` from `{member}`, or write it to remit.yaml"
    said = f"`{member}` holds it, and remit.yaml does not say so"
    resource = place(fields["resource"])
    return Finding("excess", roles, account, resource, role, f"google-impersonation {account}", said, cure)


def _named(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
