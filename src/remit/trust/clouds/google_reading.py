"""What there is at Google of what the trust is about, wanted or not.

The scope: the pool, the estate's projects and buckets, the accounts that remit.yaml names, custom roles of Remit's, and
any other account of these projects that somebody of the pool may become. Left out: what Google itself put there
(`googles_own`), and members whom remit.yaml sets `apart`; neither when they are wanted.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from remit.trust.clouds import google_bindings
from remit.trust.clouds.google_accounts import Accounts
from remit.trust.clouds.google_names import estate_accounts, googles_own, project_of
from remit.trust.clouds.google_policies import Policies
from remit.trust.clouds.google_pools import Pools
from remit.trust.clouds.google_roles import Roles
from remit.trust.settings import TrustSettings
from remit.trust.things import Address, Fields, Found, Thing

_AT_ONCE = 8  # requests
_DELETED = "deleted:serviceAccount:"
_PLAIN = 3  # resource, role and member: what a key has without a condition
_Policies = Mapping[str, Mapping[str, Any]]
_Key = tuple[str, ...]
_Given = TypeVar("_Given")
_Answer = TypeVar("_Answer")


class Reading:
    """One reader, over the four parts that `Google` changes through."""

    def __init__(
        self, settings: TrustSettings, *, pools: Pools, accounts: Accounts, roles: Roles, policies: Policies
    ) -> None:
        self._settings = settings
        self._pools = pools
        self._accounts = accounts
        self._roles = roles
        self._policies = policies

    async def __call__(self, wanted: Sequence[Thing]) -> tuple[Found, ...]:
        """Everything in scope; raises `TrustBroken` when any of it cannot be read."""
        pools = sorted(
            {self._settings.pool} | {each.address.name for each in wanted if each.address.kind == "google.pool"}
        )
        accounts, policies = await self._accounts_and_policies(wanted, pools)
        self._accounts.deleted.update(_deleted(policies.values()))
        return (
            *[found for pool in pools if pool async for found in self._pools.read(pool)],
            *accounts,
            *await self._custom_roles(wanted),
            *_bindings(self._settings, wanted, policies),
            *_audits(wanted, policies),
        )

    async def _accounts_and_policies(
        self, wanted: Sequence[Thing], pools: Sequence[str]
    ) -> tuple[list[Found], _Policies]:
        projects = self._settings.estate.projects
        bound = {str(each.fields["resource"]) for each in wanted if each.address.kind == "google.binding"}
        named = {*estate_accounts(self._settings), *(each.address.name for each in wanted if _is_account(each))}
        accounts = [one for one in await _together(self._accounts.read, sorted(named)) if one]
        resources = {f"projects/{project.id}" for project in projects}
        resources |= {f"buckets/{bucket}" for project in projects for bucket in project.buckets}
        resources |= {name for name in bound if not name.startswith("accounts/")}
        for account in accounts:
            ours = self._settings.estate.project(project_of(account.address.name)) is not None
            resource = f"accounts/{account.address.name}"
            resources |= {resource} if ours or resource in bound else set()
        policies = await self._read(sorted(resources))
        strays, of_strays = await self._strays(named, pools)
        return [*accounts, *strays], {**policies, **of_strays}

    async def _strays(self, named: set[str], pools: Sequence[str]) -> tuple[list[Found], dict[str, Mapping[str, Any]]]:
        """Accounts that nobody named, and somebody of the pool may become."""
        others = {
            f"accounts/{account.address.name}": account
            for project in self._settings.estate.projects
            async for account in self._accounts.of_project(project.id)
            if account.address.name not in named
        }
        policies = await self._read(sorted(others))
        reached = {place: policy for place, policy in policies.items() if _reached(policy, pools)}
        return [others[place] for place in reached], reached

    async def _read(self, resources: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        return dict(zip(resources, await _together(self._policies.read, resources), strict=True))

    async def _custom_roles(self, wanted: Sequence[Thing]) -> list[Found]:
        names = frozenset(each.address.name for each in wanted if each.address.kind == "google.role")
        projects = {project.id for project in self._settings.estate.projects} | {name.split("/")[1] for name in names}

        async def roles(project: str) -> list[Found]:
            return await _all(self._roles.of_project(project, names))

        return [one for found in await _together(roles, sorted(projects)) for one in found]


def _is_account(thing: Thing) -> bool:
    return thing.address.kind == "google.account"


def _reached(policy: Mapping[str, Any], pools: Sequence[str]) -> bool:
    members = (member for line in policy.get("bindings", ()) for member in line.get("members", ()))
    return any(f"//iam.googleapis.com/{pool}/" in member for member in members for pool in pools if pool)


def _bindings(settings: TrustSettings, wanted: Sequence[Thing], policies: _Policies) -> Iterator[Found]:
    known = {_key(each.fields): each.address for each in wanted if each.address.kind == "google.binding"}
    for resource, policy in policies.items():
        lines = {_key(fields): fields for fields in google_bindings.lines(policy, resource)}
        otherwise = _otherwise(known, lines)
        for key, fields in lines.items():
            address = known.get(key) or otherwise.get(key)
            role, member = str(fields["role"]), str(fields["member"])
            if address is None and (member in settings.apart or googles_own(settings, resource, role, member)):
                continue
            yield Found(address or Address("google.binding", _name(fields)), fields)


def _otherwise(known: Mapping[_Key, Address], lines: Iterable[_Key]) -> dict[_Key, Address]:
    """Lines that are there in the place of one that is wanted under a condition: without it, or under another.

    So that it is seen as one that was altered, and not as one that went and a stranger that came.
    """
    there = set(lines)
    lacking: dict[_Key, list[Address]] = {}
    for key, address in known.items():
        if len(key) > _PLAIN and key not in there:
            lacking.setdefault(key[:_PLAIN], []).append(address)
    others = sorted(key for key in there - known.keys() if lacking.get(key[:_PLAIN]))
    return {key: lacking[key[:_PLAIN]].pop(0) for key in others if lacking[key[:_PLAIN]]}


def _name(fields: Fields) -> str:
    condition = fields["condition"]
    only = f" if {condition['expression']}" if isinstance(condition, Mapping) else ""
    name = f"{fields['resource']} {fields['role']} {fields['member']}{only}"
    return "".join(letter if letter.isprintable() else " " for letter in name)  # it stands on one line, and is typed


def _key(fields: Fields) -> _Key:
    condition = fields["condition"]
    when = (str(condition["title"]), str(condition["expression"])) if isinstance(condition, Mapping) else ()
    return (str(fields["resource"]), str(fields["role"]), str(fields["member"]), *when)


def _audits(wanted: Sequence[Thing], policies: _Policies) -> Iterator[Found]:
    services = frozenset(str(each.fields["service"]) for each in wanted if each.address.kind == "google.audit")
    for resource, policy in policies.items():
        project = resource.removeprefix("projects/")
        for fields in google_bindings.audits(policy, project, services) if project != resource else ():
            yield Found(Address("google.audit", f"{project} {fields['service']}"), fields)


def _deleted(policies: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """E-mail → unique id of deleted accounts that policies still name."""
    members = (
        member for policy in policies for line in policy.get("bindings", ()) for member in line.get("members", ())
    )
    pairs = (str(member).removeprefix(_DELETED).partition("?uid=") for member in members if member.startswith(_DELETED))
    return {email: uid for email, _, uid in pairs}


async def _all(entries: AsyncIterator[_Answer]) -> list[_Answer]:
    return [each async for each in entries]


async def _together(read: Callable[[_Given], Awaitable[_Answer]], names: Sequence[_Given]) -> list[_Answer]:
    """One answer for each name, a few at a time; the first failure is raised when all have ended."""
    few = asyncio.Semaphore(_AT_ONCE)

    async def one(name: _Given) -> _Answer:
        async with few:
            return await read(name)

    answers = await asyncio.gather(*map(one, names), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]
