"""Vertex AI: who may call what, then what it does. One path for gRPC and REST.

Every call: bearer token, the resource that it names, IAM, `actAs` on the account it would run as, one line in the audit
log, the method. Left out: version v1beta1, quotas, conditions on locations. Methods that the lab does not play answer
`UNIMPLEMENTED`, after the same checks.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from pathlib import Path

from grpc import StatusCode

from remit.lab.api_surface import Call, Surface
from remit.lab.api_table import Proto, table
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.errors import CloudError
from remit.lab.http import Request, Response
from remit.lab.iam import Iam
from remit.lab.logging_api import Logging
from remit.lab.metadata import Metadata
from remit.lab.storage import Storage
from remit.lab.vertex.endpoints import Endpoints
from remit.lab.vertex.jobs import Jobs
from remit.lab.vertex.models import Models
from remit.lab.vertex.operations import Operations
from remit.lab.vertex.permissions import permissions
from remit.lab.vertex.resources import Resources, Scope, canonical

_MIXINS = ("google.longrunning.Operations", "google.cloud.location.Locations", "google.iam.v1.IAMPolicy")
_READS = ("Get", "List", "Search", "Query", "Predict", "RawPredict", "StreamRawPredict", "Wait", "Count", "Compute")
_ACCOUNTS = ("custom_job.job_spec.service_account", "deployed_model.service_account", "pipeline_job.service_account")
_ACT_AS = "iam.serviceAccounts.actAs"

Play = Callable[[Scope], Proto | Awaitable[Proto]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What Vertex AI needs of the rest of the lab. `given`: environment variables for every job."""

    iam: Iam
    audit: CloudAuditLog
    storage: Storage
    logs: Logging
    metadata: Metadata
    given: Mapping[str, str]


class Vertex:
    """The service. `surface.grpc`: the gRPC handler. `folder`: absolute, for jobs and models; the lab's alone."""

    def __init__(self, surroundings: Surroundings, folder: Path) -> None:
        self._iam = surroundings.iam
        self._audit = surroundings.audit
        self._resources = Resources()
        self._operations = Operations()
        self._models = Models(self._resources, self._operations, surroundings.storage, folder / "models")
        self._endpoints = Endpoints(self._resources, self._operations, self._models)
        self._jobs = Jobs(
            resources=self._resources,
            iam=surroundings.iam,
            storage=surroundings.storage,
            logs=surroundings.logs,
            metadata=surroundings.metadata,
            folder=folder / "jobs",
            given=surroundings.given,
        )
        self._plays: dict[str, Play] = {
            "CreateCustomJob": self._jobs.create,
            "CancelCustomJob": self._jobs.cancel,
            "UploadModel": self._models.upload,
            "ListModelVersions": self._models.list_versions,
            "DeleteModel": self._models.delete,
            "DeployModel": self._endpoints.deploy,
            "UndeployModel": self._endpoints.undeploy,
            "Predict": self._endpoints.predict,
            "RawPredict": self._endpoints.raw_predict,
            "StreamRawPredict": self._endpoints.raw_predict,
            "GetOperation": self._operations.serve,
            "WaitOperation": self._operations.serve,
            "ListOperations": self._operations.serve,
        }
        methods = table().of("google.cloud.aiplatform.v1.", *_MIXINS)
        self.surface = Surface(table(), methods, self._answer)

    async def handle(self, request: Request) -> Response:
        """The REST face, hosts `LOCATION-aiplatform.googleapis.com`."""
        return await self.surface.handle(request)

    async def close(self) -> None:
        """Ends every job and every model server."""
        await self._jobs.close()
        await self._operations.close()
        await self._endpoints.close()

    async def _answer(self, call: Call) -> Sequence[Proto]:
        caller = self._iam.caller(call.authorization)
        found = call.method.target(call.request)
        if found is None:
            raise CloudError(StatusCode.INVALID_ARGUMENT, "Invalid resource field value in the request.")
        scope = Scope(call, found[0], canonical(found[1]), caller)
        asked = ""
        try:
            for asked, resource in _needs(scope, found[1]):
                self._require(scope, asked, resource)
        except CloudError as refusal:
            self._enter(scope, found[1], asked, granted=False, status=refusal)
            raise
        permission = permissions(scope.binding)[0]
        try:
            answer = await self._play(scope)
        except CloudError as error:
            self._enter(scope, found[1], permission, granted=True, status=error)
            raise
        self._enter(scope, found[1], permission, granted=True)
        return [answer]

    def _require(self, scope: Scope, permission: str, resource: str) -> None:
        try:
            self._iam.require(scope.caller, permission, resource)
        except CloudError as error:
            if permission != _ACT_AS:
                raise
            account = resource.rpartition("/")[2]
            text = f"You do not have permission to act as service_account: {account}. (or it may not exist)."
            raise CloudError(StatusCode.PERMISSION_DENIED, text) from error

    async def _play(self, scope: Scope) -> Proto:
        play = self._plays.get(scope.call.method.name)
        if play is None:
            return self._common(scope)
        answer = play(scope)
        return await answer if isawaitable(answer) else answer

    def _common(self, scope: Scope) -> Proto:
        """What every collection can do, in the form that the method answers in."""
        method = scope.call.method
        if method.name == "DeleteCustomJob":
            self._jobs.check_deletable(scope.name)
        if method.name == "DeleteEndpoint":
            self._endpoints.check_deletable(scope.name)
        thing = self._resources.serve(scope)
        if method.response.DESCRIPTOR.full_name != "google.longrunning.Operation":
            return method.response() if thing is None else thing
        result = table().message(method.result)
        owner = thing.name if thing is not None else "/".join(scope.name.split("/")[:4])
        same = thing is not None and thing.DESCRIPTOR.full_name == method.result
        return self._operations.done(owner, method, thing if same else result())

    def _enter(
        self, scope: Scope, resource: str, permission: str, *, granted: bool, status: CloudError | None = None
    ) -> None:
        method = scope.call.method
        self._audit.write(
            service="aiplatform.googleapis.com",
            method=f"{method.service}.{method.name}",
            resource=resource,
            caller=scope.caller,
            permission=permission,
            granted=granted,
            reason=scope.call.reason,
            status=status,
            activity=not method.name.startswith(_READS),
        )


def _needs(scope: Scope, name: str) -> Iterator[tuple[str, str]]:
    """Every permission that a call needs, with the resource it needs it on."""
    for permission in permissions(scope.binding):
        yield permission, name
    model = _text(scope.request, "deployed_model.model")
    if model:
        yield "aiplatform.models.get", model
    for account in filter(None, (_text(scope.request, path) for path in _ACCOUNTS)):
        yield _ACT_AS, f"projects/-/serviceAccounts/{account}"


def _text(message: Proto, path: str) -> str:
    """A text field by its path, empty where a message has no such field."""
    for part in path.split("."):
        if part not in message.DESCRIPTOR.fields_by_name:
            return ""
        message = getattr(message, part)
    return str(message)
