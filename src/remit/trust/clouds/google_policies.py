"""IAM policies of projects, buckets and service accounts: read, and written over what was read and nothing else.

A policy is one document that everybody writes whole. It is written with the etag that it was read with; when somebody
else was faster, it is read and edited again. Sources: cloud.google.com/iam/docs/policies#etag, and setIamPolicy of
cloud.google.com/resource-manager/reference/rest, /iam/docs/reference/rest and /storage/docs/json_api.
"""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from remit.model.errors import TrustBroken
from remit.trust.clouds.asking import Asking, Sleep
from remit.trust.clouds.google_bindings import Edit
from remit.trust.clouds.google_names import IAM, account_path, safe
from remit.trust.clouds.port import CloudRefused, Conflict, Missing

_PROJECTS = "https://cloudresourcemanager.googleapis.com/v1"
_STORAGE = "https://storage.googleapis.com/storage/v1/b"
_VERSION = 3  # the one with conditions; asked for less, Google leaves them out and a write would lose them
_TRIES = 10
_LONGEST = 4.0  # seconds
_INVALID = 400
_AUDITS = "auditConfigs,etag"


class Policies:
    """Policies by resource: `projects/ID`, `buckets/NAME`, `accounts/EMAIL`."""

    def __init__(self, ask: Asking, *, sleep: Sleep = asyncio.sleep) -> None:
        self._ask = ask
        self._sleep = sleep

    async def read(self, resource: str) -> dict[str, Any]:
        """The policy that is set on exactly this resource."""
        kind = resource.partition("/")[0]
        if kind == "buckets":
            answer = await self._ask("GET", f"{_url(resource)}?optionsRequestedPolicyVersion={_VERSION}")
        elif kind == "accounts":
            answer = await self._ask("POST", f"{_url(resource)}:getIamPolicy?options.requestedPolicyVersion={_VERSION}")
        else:
            body = {"options": {"requestedPolicyVersion": _VERSION}}
            answer = await self._ask("POST", f"{_url(resource)}:getIamPolicy", body)
        if not _is_policy(answer):
            raise TrustBroken(f"Google describes the policy of `{resource}` in no known form")
        return answer

    async def edit(self, resource: str, edit: Edit, *, audits: bool = False) -> None:
        """Read, edit and write, until nobody was faster; raises `Missing` where a member is not known yet.

        `audits`: whether it is what is logged that is edited, which Google writes only when it is named.
        """
        for attempt in range(_TRIES):
            policy = await self.read(resource)
            if not edit(policy):
                return
            if not policy.get("etag"):
                raise TrustBroken(f"the policy of `{resource}` has no etag: writing it could undo what others write")
            try:
                await self._write(resource, policy, audits=audits)
            except Conflict:
                if attempt == _TRIES - 1:
                    raise
            else:
                return
            # Two writers that wait alike would meet again; this is no secret.
            await self._sleep(min(0.1 * 2**attempt, _LONGEST) * random.uniform(0.5, 1.5))  # noqa: S311 - as said

    async def _write(self, resource: str, policy: dict[str, Any], *, audits: bool) -> None:
        policy = {**policy, "version": _VERSION}
        try:
            if resource.startswith("buckets/"):
                await self._ask("PUT", _url(resource), policy)
            else:
                body: Mapping[str, Any] = {"policy": policy} | ({"updateMask": _AUDITS} if audits else {})
                await self._ask("POST", f"{_url(resource)}:setIamPolicy", body)
        except CloudRefused as refused:
            if _not_yet(refused):
                hint = (
                    "who or what was just made is known everywhere within minutes; if it never was, the name is wrong"
                )
                raise Missing(refused.message, status=refused.status, code=refused.code, hint=hint) from refused
            raise


def _is_policy(answer: Mapping[str, Any]) -> bool:
    """Whether it can be read, and written back, as the lines of members that it should be."""
    lines = answer.get("bindings", [])
    return isinstance(lines, list) and all(
        isinstance(line, dict)
        and isinstance(line.get("condition", {}), dict)
        and isinstance(members := line.get("members", []), list)
        and all(isinstance(member, str) for member in members)
        for line in lines
    )


def _url(resource: str) -> str:
    kind, _, name = resource.partition("/")
    if kind == "buckets":
        return f"{_STORAGE}/{safe(name).replace('/', '%2F')}/iam"
    return f"{IAM}/{account_path(name)}" if kind == "accounts" else f"{_PROJECTS}/{safe(resource)}"


def _not_yet(refused: CloudRefused) -> bool:
    """Whether a member or a custom role is not known: Google says so as of any wrong argument."""
    said = refused.message
    return refused.status == _INVALID and ("does not exist" in said or "is not supported for this resource" in said)
