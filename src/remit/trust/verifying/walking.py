"""Walking to an account as a role would: vouched for, exchanged, impersonated, asked what it may, one dry call.

The probe is nobody: a workload called `trust-verify`, in just the groups that the account admits. What it asks changes
nothing. Sources: cloud.google.com/iam/docs/testing-permissions, cloud.google.com/vertex-ai/docs/reference/rest.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx

from remit.model.errors import HopFailed, TrustBroken
from remit.model.estate import Project
from remit.model.secret import AccessToken
from remit.trust.clouds.asking import Asking, Sleep
from remit.trust.clouds.google_names import IAM, SCOPE, account_path, safe
from remit.trust.desired.google import holdable
from remit.trust.verifying.findings import Hop
from remit.trust.verifying.ports import Walker

_BATCH = 100  # permissions of one question: cloud.google.com/resource-manager/reference/rest/v1/projects
_PROJECTS = "https://cloudresourcemanager.googleapis.com/v1/projects"
_BUCKETS = "https://storage.googleapis.com/storage/v1/b"
_ORDER = ("own-issuer", "google-sts", "google-iam")
_DRY = "aiplatform.models.list"


class Held:
    """A token that is there already, as `Tokens`."""

    def __init__(self, token: AccessToken) -> None:
        self._token = token

    async def token(self, scope: str) -> AccessToken:
        """The token, whatever it is for."""
        del scope
        return self._token


@dataclass(frozen=True, slots=True)
class Way:
    """Who is to be walked as. `asked`: resource → permissions to test; `call`: whether the dry call is permitted."""

    role: str
    project: Project
    account: str
    groups: frozenset[str]
    asked: Mapping[str, frozenset[str]]
    call: bool


@dataclass(frozen=True, slots=True)
class Walked:
    """What came of it. `tested`: resource → what Google said is allowed, only of those that answered."""

    hops: tuple[Hop, ...]
    tested: Mapping[str, frozenset[str]] = field(default_factory=dict)


async def walk(way: Way, walker: Walker, client: httpx.AsyncClient, sleep: Sleep) -> Walked:
    """One way, to its end or to the hop that breaks; never raises what a cloud says."""
    groups = walker.vouched(way.groups)
    if not groups:
        said = f"not walked to `{way.account}`: it admits no group that Remit itself vouches for; its policy was read"
        return Walked((_hop(way, "google-iam", said, walked=False),))
    try:
        token = await walker.become(way.account, groups)
    except HopFailed as failed:
        done = _ORDER[: _ORDER.index(failed.hop)] if failed.hop in _ORDER else ()
        broken = _hop(way, failed.hop, failed.message, holds=False, cure=_cure(way, failed))
        return Walked((*(_hop(way, name, "takes the probe") for name in done), broken))
    ask = Asking(client, Held(token), SCOPE, sleep=sleep)
    resources = sorted(way.asked)
    answers = await asyncio.gather(*(_tested(ask, each, way.asked[each]) for each in resources), return_exceptions=True)
    hops = [_hop(way, name, "takes the probe") for name in _ORDER[:-1]]
    hops.append(_hop(way, _ORDER[-1], f"the probe becomes `{way.account}`"))
    tested: dict[str, frozenset[str]] = {}
    for resource, answer in zip(resources, answers, strict=True):
        if isinstance(answer, frozenset):
            tested[resource] = answer
        elif isinstance(answer, TrustBroken):
            cure = answer.hint or "is the resource there, and the API enabled?"
            hops.append(_hop(way, f"google-test {resource}", answer.message, holds=False, cure=cure))
        else:
            raise answer
    said = f"asked what it may on {len(tested)} of {len(resources)} resources"
    hops += [_hop(way, "google-test", said)] if tested else []
    hops += [await _called(ask, way)] if way.call else []
    return Walked(tuple(hops), tested)


async def _tested(ask: Asking, resource: str, permissions: Collection[str]) -> frozenset[str]:
    every = holdable(tuple(permissions))[0] if resource.startswith("projects/") else tuple(sorted(permissions))
    found: set[str] = set()
    for start in range(0, len(every), _BATCH):
        found.update(await _batch(ask, resource, every[start : start + _BATCH]))
    return frozenset(found)


async def _batch(ask: Asking, resource: str, permissions: Sequence[str]) -> Collection[str]:
    kind, _, name = resource.partition("/")
    if kind == "buckets":
        query = "&".join(f"permissions={quote(each, safe='')}" for each in permissions)
        answer = await ask("GET", f"{_BUCKETS}/{quote(name, safe='')}/iam/testPermissions?{query}")
    else:
        base = f"{IAM}/{account_path(name)}" if kind == "accounts" else f"{_PROJECTS}/{safe(name)}"
        answer = await ask("POST", f"{base}:testIamPermissions", {"permissions": list(permissions)})
    return [str(each) for each in answer.get("permissions", ())]


async def _called(ask: Asking, way: Way) -> Hop:
    """A list of models of one page with one row."""
    location = way.project.locations[0]
    parent = f"projects/{way.project.id}/locations/{location}"
    try:
        await ask("GET", f"https://{location}-aiplatform.googleapis.com/v1/{parent}/models?pageSize=1")
    except TrustBroken as refused:
        cure = refused.hint or f"grant `{way.account}` a role with `{_DRY}` in `{way.project.id}`, or enable Vertex AI"
        return _hop(way, "vertex-call", refused.message, holds=False, cure=cure)
    return _hop(way, "vertex-call", f"lists models in {location}")


def _cure(way: Way, failed: HopFailed) -> str:
    cures = {
        "own-issuer": "look at the folder of Remit's own keys, and at `credentials.own_issuer`",
        "google-sts": "look at the hops of the pool and of Remit's own provider above: disabled, stale keys, condition",
        "google-iam": f"grant `roles/iam.workloadIdentityUser` on `{way.account}`, and see that it is not disabled",
    }
    return cures.get(failed.hop, failed.hint or "is it reachable from here?")


def _hop(way: Way, name: str, said: str, *, holds: bool = True, cure: str = "", walked: bool = True) -> Hop:
    return Hop(name, holds, said, cure, way.role, way.project.id, walked)
