"""Walking to an account as a role would: vouched for, exchanged, impersonated, asked what it may, one dry call.

The probe is nobody: a workload called `trust-verify`, in just the groups that the account admits. What it asks changes
nothing. Somebody's own way is `oneself`. Sources: cloud.google.com/iam/docs/testing-permissions,
cloud.google.com/vertex-ai/docs/reference/rest.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx

from remit.model.counts import counted
from remit.model.errors import HopFailed, TrustBroken
from remit.model.estate import Project
from remit.model.secret import AccessToken
from remit.trust.clouds.asking import Asking, Sleep
from remit.trust.clouds.google_names import IAM, SCOPE, account_path, safe
from remit.trust.desired.google import holdable
from remit.trust.verifying.findings import Hop
from remit.trust.verifying.ports import Call, Walker

_BATCH = 100  # permissions of one question: cloud.google.com/resource-manager/reference/rest/v1/projects
_PROJECTS = "https://cloudresourcemanager.googleapis.com/v1/projects"
_BUCKETS = "https://storage.googleapis.com/storage/v1/b"
_ORDER = ("own-issuer", "google-sts", "google-iam")
_LISTS = ("models", "endpoints", "customJobs", "pipelineJobs", "trainingPipelines", "batchPredictionJobs", "datasets")


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
    """Who is to be walked as. `asked`: resource → permissions to test; `call`: the permitted dry call, if any."""

    role: str
    project: Project
    account: str
    groups: frozenset[str]
    asked: Mapping[str, frozenset[str]]
    call: Call | None


@dataclass(frozen=True, slots=True)
class Walked:
    """What came of it. `tested`: resource → what Google said is allowed, only of those that answered."""

    hops: tuple[Hop, ...]
    tested: Mapping[str, frozenset[str]] = field(default_factory=dict)


def dry_calls(project: Project) -> tuple[Call, ...]:
    """What can be asked in a project without changing anything: one row of each list in its first location, itself."""
    found = [Call("resourcemanager.projects.get", "cloudresourcemanager.googleapis.com", f"/v3/projects/{project.id}")]
    if project.locations:
        location = project.locations[0]
        base = f"/v1/projects/{project.id}/locations/{location}"
        host = f"{location}-aiplatform.googleapis.com"
        found[:0] = [Call(f"aiplatform.{each}.list", host, f"{base}/{each}?pageSize=1") for each in _LISTS]
    return tuple(found)


async def walk(way: Way, walker: Walker, client: httpx.AsyncClient, sleep: Sleep) -> Walked:
    """One way, to its end or to the hop that breaks; never raises what a cloud says."""
    groups = walker.vouched(way.groups)
    if not groups:
        said = f"not walked to `{way.account}`: it admits no group that Remit itself vouches for; its policy was read"
        return Walked((hop_of(way, "google-iam", said, walked=False),))
    try:
        token = await walker.become(way.account, groups)
    except HopFailed as failed:
        done = _ORDER[: _ORDER.index(failed.hop)] if failed.hop in _ORDER else ()
        broken = hop_of(way, failed.hop, failed.message, holds=False, cure=_cure(way, failed))
        return Walked((*(hop_of(way, name, "takes the probe") for name in done), broken))
    hops = [hop_of(way, name, "takes the probe") for name in _ORDER[:-1]]
    hops.append(hop_of(way, _ORDER[-1], f"the probe becomes `{way.account}`"))
    there, tested = await asked_there(way, Asking(client, Held(token), SCOPE, sleep=sleep))
    return Walked((*hops, *there), tested)


async def asked_there(way: Way, ask: Asking) -> tuple[tuple[Hop, ...], Mapping[str, frozenset[str]]]:
    """At the end of a way: what Google says that its account may, and the dry call."""
    resources = sorted(way.asked)
    answers = await asyncio.gather(*(_tested(ask, each, way.asked[each]) for each in resources), return_exceptions=True)
    hops: list[Hop] = []
    tested: dict[str, frozenset[str]] = {}
    for resource, answer in zip(resources, answers, strict=True):
        if isinstance(answer, frozenset):
            tested[resource] = answer
        elif isinstance(answer, TrustBroken):
            cure = answer.hint or "is the resource there, and the API enabled?"
            hops.append(hop_of(way, f"google-test {resource}", answer.message, holds=False, cure=cure))
        else:
            raise answer
    said = f"asked what it may on {len(tested)} of {counted(len(resources), 'resource')}"
    hops += [hop_of(way, "google-test", said)] if tested else []
    hops += [await _called(ask, way, way.call)] if way.call else []
    return tuple(hops), tested


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


async def _called(ask: Asking, way: Way, call: Call) -> Hop:
    service, noun, _ = call.permission.split(".")
    name = "vertex-call" if service == "aiplatform" else "google-call"
    try:
        await ask("GET", call.url)
    except TrustBroken as refused:
        cure = refused.hint or (
            f"grant `{way.account}` a role with `{call.permission}` in `{way.project.id}`, or enable the API there"
        )
        return hop_of(way, name, refused.message, holds=False, cure=cure)
    said = f"lists {noun} in {way.project.locations[0]}" if service == "aiplatform" else "reads the project"
    return hop_of(way, name, said)


def _cure(way: Way, failed: HopFailed) -> str:
    cures = {
        "own-issuer": "look at the folder of Remit's own keys, and at `credentials.own_issuer`",
        "google-sts": "look at the hops of the pool and of Remit's own provider above: disabled, stale keys, condition",
        "google-iam": f"grant `roles/iam.workloadIdentityUser` on `{way.account}`, and see that it is not disabled",
    }
    return cures.get(failed.hop, failed.hint or "is it reachable from here?")


def hop_of(way: Way, name: str, said: str, *, holds: bool = True, cure: str = "", walked: bool = True) -> Hop:
    """A hop on a way."""
    return Hop(name, holds, said, cure, way.role, way.project.id, walked)
