"""Workload identity pools and their providers over REST: made, changed, deleted, had back, and the operations of it.

A change answers with an operation; making, deleting and undeleting are done when it is asked after, a change of a
provider at once. Names never change, and the name of a deleted one is free after 30 days. Left out: managed workload
identities (namespaces, attestation), policies on pools. Source: cloud.google.com/iam/docs/reference/rest/v1/
projects.locations.workloadIdentityPools.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from remit.lab import contoso
from remit.lab.contoso import Provider
from remit.lab.google_estate import KEPT, Estate, Pool
from remit.lab.google_pools import MEMBERS, Pools, describe, made
from remit.lab.google_wire import body, flag, invalid, mask, missing, page, taken, text, timestamp, yes
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.iam import Caller, Iam
from remit.lab.iam_activity import Act, Activity

PATH = re.compile(
    r"/v1/projects/(?P<project>[a-z0-9-]+)/locations/global/workloadIdentityPools"
    r"(?:/(?P<pool>[a-z0-9-]+)(?P<providers>/providers(?:/(?P<provider>[a-z0-9-]+))?)?)?"
    r"(?:/operations/(?P<operation>[a-z0-9-]+)|:(?P<verb>undelete))?"
)
_ID = re.compile(r"[a-z0-9-]{4,32}")
_POOL = ("name", "displayName", "description", "state", "disabled", "expireTime", "mode")
_PAGE = 100  # of one page of pools or providers
_POOL_DEPTH = "projects/N/locations/global/workloadIdentityPools/P".count("/")


class IamPools:
    """Answers what is of pools."""

    def __init__(self, iam: Iam, pools: Pools, activity: Activity) -> None:
        self._iam = iam
        self._estate: Estate = iam.estate
        self._pools = pools
        self._activity = activity
        self._operations: dict[str, dict[str, Any]] = {}

    def handle(self, request: Request, caller: Caller, match: Mapping[str, str]) -> Response:
        """Answer one request whose path is one of pools; raises `CloudError`."""
        project = contoso.project(match["project"])
        number = project.number if project else match["project"]
        parent = f"projects/{number}/locations/global/workloadIdentityPools"
        name = f"{parent}/{match['pool']}" if match["pool"] else parent
        name += match["providers"] or ""
        if match["operation"] and request.method == "GET":
            return self._operation(caller, name, match)
        one = bool(match["provider"] if match["providers"] else match["pool"])
        kind = "Providers" if match["providers"] else ""
        verb = {
            ("GET", True): "get",
            ("GET", False): "list",
            ("POST", False): "create",
            ("PATCH", True): "update",
            ("DELETE", True): "delete",
        }.get((request.method, one))
        verb = match["verb"] if match["verb"] and (request.method, one) == ("POST", True) else verb
        if verb is None or (match["verb"] and verb != "undelete") or match["operation"]:
            raise missing(f"Method not found: {request.method} {request.path}")
        permission = f"iam.workloadIdentityPool{kind or 's'}.{verb}"
        if verb in {"get", "list"}:
            self._iam.require(caller, permission, f"projects/{match['project']}")
            return self._shown(name) if verb == "get" else self._listed(request, name)
        return self._changed(request, Act(caller, permission, name, on=f"projects/{match['project']}"), verb, name)

    # Reading

    def _shown(self, name: str) -> Response:
        found = self._estate.provider(name) if _of_providers(name) else self._estate.pool(name)
        if found is None:
            raise missing()
        return reply(_describe(found))

    def _listed(self, request: Request, name: str) -> Response:
        seen: dict[str, Any] = {}
        if _of_providers(name):
            seen = {key: self._estate.provider(key) for key in self._estate.providers.all_seen()}
        else:
            seen = {key: self._estate.pool(key) for key in self._estate.pools.all_seen()}
        every = [
            _describe(found)
            for key, found in seen.items()
            if found and key.startswith(f"{name}/") and (not found.deleted or yes(request, "showDeleted"))
        ]
        found, more = page(request, every, _PAGE)
        member = "workloadIdentityPoolProviders" if _of_providers(name) else "workloadIdentityPools"
        return reply(({member: found} if found else {}) | more)

    def _operation(self, caller: Caller, name: str, match: Mapping[str, str]) -> Response:
        self._iam.require(caller, "iam.workloadIdentityPools.get", f"projects/{match['project']}")
        found = self._operations.get(f"{name}/operations/{match['operation']}")
        if found is None:
            raise missing()
        return reply(found)

    # Changing

    def _changed(self, request: Request, act: Act, verb: str, name: str) -> Response:
        """Do what a verb says to a pool or a provider, or make one below `name`; `act` lacks its names yet."""
        of_provider = _of_providers(name)
        given = body(request, () if verb in {"delete", "undelete"} else MEMBERS if of_provider else _POOL)
        kind = f"WorkloadIdentityPool{'Provider' if of_provider else ''}"
        identifier = request.parameter(f"{kind[0].lower()}{kind[1:]}Id")
        act.resource = f"{name}/{identifier}" if verb == "create" else name
        act.method = f"google.iam.v1.WorkloadIdentityPools.{verb.capitalize()}{kind}"
        act.request = {"name": act.resource, **given}
        with self._activity.of(act):
            if verb == "create":
                found = self._make(name, identifier, given)
            elif verb == "update":
                found = self._update(name, given, request.parameter("updateMask"))
            else:
                found = self._delete(name) if verb == "delete" else self._undelete(name)
            act.response = _describe(found)
        at_once = verb == "update"
        return reply(self._begun(act.resource, f"type.googleapis.com/google.iam.v1.{kind}", found, done=at_once))

    def _begun(self, resource: str, kind: str, found: Pool | Provider, *, done: bool) -> dict[str, Any]:
        """An operation as it is answered; whoever asks after it is told that it is done."""
        name = f"{resource}/operations/{secrets.token_hex(12)}"
        self._operations[name] = {"name": name, "done": True, "response": {"@type": kind, **_describe(found)}}
        return self._operations[name] if done else {"name": name}

    def _make(self, parent: str, identifier: str, given: Mapping[str, Any]) -> Pool | Provider:
        if not _ID.fullmatch(identifier) or identifier.startswith("gcp-"):
            raise invalid("An identifier has 4 to 32 characters of [a-z0-9-] and does not begin with `gcp-`.")
        name = f"{parent}/{identifier}"
        if _of_providers(name):
            pool = self._estate.pools.written(parent.removesuffix("/providers"))
            if pool is None or pool.deleted:
                raise missing()
            old = self._estate.providers.written(name)
            if old and self._estate.kept(old.deleted):
                raise taken()
            provider = made(pool.resource, identifier, given)
            self._estate.providers.put(name, provider)
            return provider
        before = self._estate.pools.written(name)
        if before and self._estate.kept(before.deleted):
            raise taken()
        for key in self._estate.providers.all_written():
            if key.startswith(f"{name}/"):
                self._estate.providers.drop(key)  # they went with the pool that had this name
        fresh = _pool(Pool(name), given, ("displayName", "description", "disabled"))
        self._estate.pools.put(name, fresh)
        return fresh

    def _update(self, name: str, given: Mapping[str, Any], masked: str) -> Pool | Provider:
        found = self._alive(name)
        if isinstance(found, Provider):
            return self._pools.update(name, given, masked)
        changed = _pool(found, given, mask(masked, ("displayName", "description", "disabled")))
        self._estate.pools.put(name, changed)
        return changed

    def _delete(self, name: str) -> Pool | Provider:
        return self._put(replace(self._alive(name), deleted=self._estate.clock()))

    def _undelete(self, name: str) -> Pool | Provider:
        found = self._written(name)
        if found is None or not found.deleted or not self._estate.kept(found.deleted):
            raise missing()
        return self._put(replace(found, deleted=0.0))

    def _alive(self, name: str) -> Pool | Provider:
        found = self._written(name)
        if found is None or found.deleted:
            raise missing()
        return found

    def _written(self, name: str) -> Pool | Provider | None:
        pools = self._estate.pools
        if not _of_providers(name):
            return pools.written(name)
        pool = pools.written(name.rpartition("/providers/")[0])
        return self._estate.providers.written(name) if pool and not pool.deleted else None

    def _put(self, found: Pool | Provider) -> Pool | Provider:
        if isinstance(found, Provider):
            self._estate.providers.put(found.resource, found)
        else:
            self._estate.pools.put(found.resource, found)
        return found


def _of_providers(name: str) -> bool:
    """Whether a name is that of a provider or of a pool's providers, whatever the pool is called."""
    return name.count("/") > _POOL_DEPTH


def _pool(pool: Pool, given: Mapping[str, Any], names: list[str] | tuple[str, ...]) -> Pool:
    changes: dict[str, Any] = {
        "displayName": ("title", lambda: text(given, "displayName", 32)),
        "description": ("about", lambda: text(given, "description", 256)),
        "disabled": ("disabled", lambda: flag(given, "disabled")),
    }
    return replace(pool, **{changes[name][0]: changes[name][1]() for name in names})


def _describe(found: Pool | Provider) -> dict[str, Any]:
    if isinstance(found, Provider):
        return describe(found)
    shown: dict[str, Any] = {"name": found.resource, "state": "DELETED" if found.deleted else "ACTIVE"}
    shown |= {"displayName": found.title} if found.title else {}
    shown |= {"description": found.about} if found.about else {}
    shown |= {"disabled": True} if found.disabled else {}
    return shown | ({"expireTime": timestamp(found.deleted + KEPT)} if found.deleted else {})
