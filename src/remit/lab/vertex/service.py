"""Vertex AI: who may call what, then what it does. One path for gRPC and REST.

Every call: bearer token, the resource that it names, IAM, `actAs` on the account it would run as, one line in the audit
log, the method. Both versions are one (`versions`). Left out: quotas, conditions on locations. Methods that the lab
does not play answer `UNIMPLEMENTED`, after the same checks.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from pathlib import Path

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.api_surface import Call, Messages, Surface
from remit.lab.api_table import Proto, table
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.errors import CloudError
from remit.lab.http import Request, Response
from remit.lab.iam import Iam
from remit.lab.logging_api import Logging
from remit.lab.metadata import Metadata
from remit.lab.storage import Storage
from remit.lab.vertex.accounts import acted_as, text
from remit.lab.vertex.chat import Chat
from remit.lab.vertex.embeddings import Embeddings
from remit.lab.vertex.endpoints import Endpoints
from remit.lab.vertex.generative import Generative, accounts
from remit.lab.vertex.nouns import Nouns
from remit.lab.vertex.operations import Operations
from remit.lab.vertex.permissions import permissions
from remit.lab.vertex.predictions import Predictions
from remit.lab.vertex.reasoning import Reasoning
from remit.lab.vertex.resources import Resources, Scope, canonical
from remit.lab.vertex.versions import Versions

_MIXINS = ("google.longrunning.Operations", "google.cloud.location.Locations", "google.iam.v1.IAMPolicy")
_ASKS = ("Get", "List", "Search", "Query", "Predict", "RawPredict", "StreamRawPredict", "Wait", "Count", "Compute")
_READS = (*_ASKS, "Read", "BatchRead", "Write", "ExportTensorboard")  # writing points is data access too
_ACT_AS = "iam.serviceAccounts.actAs"

Played = Proto | AsyncGenerator[Proto, None]
Play = Callable[[Scope], Played | Awaitable[Played]]


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
        self._nouns = Nouns(
            self._resources,
            self._operations,
            iam=surroundings.iam,
            audit=surroundings.audit,
            storage=surroundings.storage,
            logs=surroundings.logs,
            metadata=surroundings.metadata,
            folder=folder,
            given=surroundings.given,
        )
        self._endpoints = Endpoints(self._resources, self._operations, self._nouns.models)
        generative, reasoning = Generative(self._resources), Reasoning(self._resources)
        embeddings, chat, predictions = Embeddings(generative), Chat(generative), Predictions(self._endpoints)
        self._plays: dict[str, Play] = {
            **self._nouns.plays(),
            "UpdateEndpoint": self._endpoints.update,
            "DeployModel": self._endpoints.deploy,
            "UndeployModel": self._endpoints.undeploy,
            "Predict": _either(embeddings.predict, self._endpoints.predict),
            "RawPredict": _either(chat.messages, self._endpoints.raw_predict),
            "StreamRawPredict": _either(chat.message_stream, predictions.stream_raw),
            "ServerStreamingPredict": predictions.stream_tensors,
            "DirectPredict": predictions.direct,
            "GenerateContent": generative.generate,
            "StreamGenerateContent": generative.stream,
            "CountTokens": generative.count_tokens,
            "ComputeTokens": generative.compute_tokens,
            "EmbedContent": embeddings.embed_content,
            "ChatCompletions": chat.completions,
            "QueryReasoningEngine": reasoning.query,
            "StreamQueryReasoningEngine": reasoning.stream,
            "GetOperation": self._operations.serve,
            "WaitOperation": self._operations.serve,
            "ListOperations": self._operations.serve,
        }
        self._before_deletion = {"DeleteEndpoint": self._endpoints.check_deletable, **self._nouns.before_deletion()}
        methods = table().of("google.cloud.aiplatform.v1.", "google.cloud.aiplatform.v1beta1.", *_MIXINS)
        self.surface = Surface(table(), methods, Versions(self._answer))

    async def handle(self, request: Request) -> Response:
        """The REST face, hosts `LOCATION-aiplatform.googleapis.com`."""
        return await self.surface.handle(request)

    def permission(self, call: Call) -> str:
        """What a call needs first, empty where it names nothing."""
        found = call.method.target(call.request)
        return permissions(found[0])[0] if found else ""

    async def close(self) -> None:
        """Ends every job and every model server."""
        await self._nouns.close()
        await self._operations.close()
        await self._endpoints.close()

    async def _answer(self, call: Call) -> Messages:
        caller = self._iam.caller(call.authorization, call.full_name)
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
        return answer if isinstance(answer, AsyncGenerator) else [answer]

    def _require(self, scope: Scope, permission: str, resource: str) -> None:
        try:
            self._iam.require(scope.caller, permission, resource)
        except CloudError as error:
            if permission != _ACT_AS:
                raise
            account = resource.rpartition("/")[2]
            text = f"You do not have permission to act as service_account: {account}. (or it may not exist)."
            raise CloudError(StatusCode.PERMISSION_DENIED, text) from error

    async def _play(self, scope: Scope) -> Played:
        play = self._plays.get(scope.call.method.name)
        if play is None:
            return self._common(scope)
        answer = play(scope)
        return await answer if isawaitable(answer) else answer

    def _common(self, scope: Scope) -> Proto:
        """What every collection can do, in the form that the method answers in."""
        method = scope.call.method
        if method.name in self._before_deletion:
            self._before_deletion[method.name](scope.name)
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
            method=scope.call.full_name,
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
    for path in ("deployed_model.model", "batch_prediction_job.model"):
        model = text(scope.request, path)
        if model:
            yield "aiplatform.models.get", model
    for account in acted_as(scope.request, contoso.project(name.split("/")[1])):
        yield _ACT_AS, f"projects/-/serviceAccounts/{account}"
    for account in accounts(scope.request):
        yield _ACT_AS, f"projects/-/serviceAccounts/{account}"


def _either(publisher: Play, endpoint: Play) -> Play:
    """One method of two kinds of things: models of publishers and endpoints."""
    return lambda scope: (publisher if "/publishers/" in scope.name else endpoint)(scope)
