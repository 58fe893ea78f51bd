"""What a permitted request needs a credential for: an account, scopes, buckets.

The token goes with the wire request, so it is the first operation that says which service it is for; the others
(acting as an account, the buckets of a job) are decided, not called. Leaves out: whether any of it is permitted.
"""

from remit.credentials.settings import AccountMapping
from remit.model.credential import Purpose
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.operation import Request, Resource
from remit.model.reasons import Reason

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
STORAGE = "https://www.googleapis.com/auth/devstorage.read_write"

_SCOPES = {
    "aiplatform": (CLOUD_PLATFORM,),
    "cloudresourcemanager": (CLOUD_PLATFORM,),
    "logging": (CLOUD_PLATFORM,),
    "storage": (STORAGE,),
}
_BUCKETS = "//storage.googleapis.com/projects/_/buckets/"


def purpose_of(identity: Identity, request: Request, mappings: tuple[AccountMapping, ...], lifetime: int) -> Purpose:
    """The purpose of a request; raises `Refused` when no account is mapped or the service is not known."""
    service = request.first.action.id.partition(".")[0]
    scopes = _SCOPES.get(service)
    if scopes is None:
        raise Refused(Reason.METHOD_UNKNOWN, f"no scope is known for the service `{service}`")
    account = _account(identity, request.first.resources[0].project, mappings)
    buckets = _buckets(request) if service == "storage" else ()
    return Purpose(account, scopes, buckets, lifetime)


def _account(identity: Identity, project: str, mappings: tuple[AccountMapping, ...]) -> str:
    for mapping in mappings:
        if mapping.project == project and mapping.role in identity.roles:
            return mapping.account
    raise Refused(
        Reason.NO_ACCOUNT,
        f"no service account is mapped for the roles of this identity in `{project}`",
        hint="ask for an app role that is mapped there",
    )


def _buckets(request: Request) -> tuple[str, ...]:
    """Every bucket that a storage request touches: its token is good for these and for nothing else."""
    resources = [resource for operation in request.operations for resource in operation.resources]
    buckets = {bucket for resource in resources if (bucket := _bucket(resource))}
    if not buckets:
        raise Refused(Reason.RESOURCE_UNKNOWN, "the request names no bucket that a token could be narrowed to")
    return tuple(sorted(buckets))


def _bucket(resource: Resource) -> str:
    return resource.name.removeprefix(_BUCKETS).partition("/")[0] if resource.name.startswith(_BUCKETS) else ""
