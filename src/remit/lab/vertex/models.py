"""Models: uploading copies the artifact out of Cloud Storage, as Vertex AI does, so that a version never changes.

Artifacts are read as the project's service agent: only buckets of the same project. Every version is kept under
`NAME@VERSION`, the default one under the plain name besides. Left out: export, copying, slices of evaluations.
Source: google/cloud/aiplatform/v1/model_service.proto, model.proto.
"""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.api_table import Proto, table
from remit.lab.errors import CloudError
from remit.lab.storage import Storage
from remit.lab.vertex.accounts import service_agent
from remit.lab.vertex.operations import Operations
from remit.lab.vertex.resources import Resources, Scope, canonical, new_id, project_of, stamp

_DEDICATED = 1  # Model.DeploymentResourcesType.DEDICATED_RESOURCES
_DEFAULT = "default"
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")


class Models:
    """All models and their versions. `folder`: where the copies of their artifacts go."""

    def __init__(self, resources: Resources, operations: Operations, storage: Storage, folder: Path) -> None:
        self._resources = resources
        self._operations = operations
        self._storage = storage
        self._folder = folder
        self._evaluated: dict[str, str] = {}  # evaluation → the version that it is of

    def upload(self, scope: Scope) -> Proto:
        """`UploadModel`: takes a model, or a version of `parent_model`, as a long-running operation."""
        request = scope.request
        name = self.check(scope.name, request.model, request.model_id, request.parent_model)

        async def work() -> Proto:
            model = self.take(name, request.model)
            return table().message(scope.call.method.result)(model=name, model_version_id=model.version_id)

        return self._operations.start(name, scope.call.method, work)

    def check(self, location: str, model: Proto, model_id: str = "", parent_model: str = "") -> str:
        """The name that a model will have; raises when Vertex AI would not take it."""
        if not model.display_name:
            text = "Field: model.display_name; Message: Required field is not set."
            raise CloudError(StatusCode.INVALID_ARGUMENT, text)
        for alias in model.version_aliases:
            if alias != _DEFAULT and not _ALIAS.fullmatch(alias):
                raise CloudError(StatusCode.INVALID_ARGUMENT, f"Invalid version alias: {alias}")
        if parent_model:
            if not canonical(parent_model).startswith(f"{location}/models/"):
                text = f"Field: parent_model; Message: {parent_model} is not a model of {location}."
                raise CloudError(StatusCode.INVALID_ARGUMENT, text)
            return str(self._resources.get(parent_model.partition("@")[0], "Model").name)
        name = f"{location}/models/{model_id or new_id()}"
        if self._resources.find(name):
            raise CloudError(StatusCode.ALREADY_EXISTS, f"Requested entity already exists: {name}")
        return name

    def take(self, name: str, given: Proto) -> Proto:
        """Copies a model's artifact and keeps it as the next version of this name."""
        before = self.versions(name)
        version = str(1 + max((int(each.version_id) for each in before), default=0))
        self._copy(given.artifact_uri, name, version)
        model = type(given)()
        model.CopyFrom(given)
        model.version_id = version
        if not before and _DEFAULT not in model.version_aliases:
            model.version_aliases.append(_DEFAULT)
        model.supported_deployment_resources_types.append(_DEDICATED)
        stamp(model, "create_time", "update_time", "version_create_time", "version_update_time")
        for other in before:
            _without(other, model.version_aliases)
        self._resources.put(f"{name}@{version}", model)
        self._point(name, model)
        return model

    def get(self, name: str) -> Proto:
        """A model's version by `NAME`, `NAME@VERSION` or `NAME@ALIAS`; raises `NOT_FOUND`."""
        plain, _, wanted = canonical(name).partition("@")
        found = self._resources.get(plain, "Model")
        if not wanted:
            return found
        for version in self.versions(plain):
            if wanted == version.version_id or wanted in version.version_aliases:
                return version
        raise CloudError(StatusCode.NOT_FOUND, f'The Model "{name}" does not exist.')

    def serve(self, scope: Scope) -> Proto:
        """`GetModel`."""
        return self.get(scope.name)

    def versions(self, name: str) -> list[Proto]:
        """All versions of a model, the oldest first."""
        named = (thing for thing in self._resources.every("Model") if thing.name == name)
        return sorted(named, key=lambda model: int(model.version_id))

    def list_versions(self, scope: Scope) -> Proto:
        """`ListModelVersions`."""
        model = self._resources.get(scope.name.partition("@")[0], "Model")
        return scope.answer(models=self.versions(model.name))

    def merge_aliases(self, scope: Scope) -> Proto:
        """`MergeVersionAliases`: adds aliases to a version, takes off those with a `-` before them."""
        model = self.get(scope.name)
        gone = {alias[1:] for alias in scope.request.version_aliases if alias.startswith("-")}
        new = [alias for alias in scope.request.version_aliases if not alias.startswith("-")]
        if _DEFAULT in gone & set(model.version_aliases):
            raise CloudError(StatusCode.INVALID_ARGUMENT, "The default alias can be moved, but not removed.")
        for version in self.versions(model.name):
            _without(version, new)
        _without(model, gone)
        model.version_aliases.extend(new)
        stamp(model, "update_time", "version_update_time")
        self._point(model.name, model)
        return model

    def folder(self, name: str) -> Path:
        """Where the artifact of a model's version was copied to."""
        model = self.get(name)
        return self._folder / str(model.name).rpartition("/")[2] / str(model.version_id)

    def delete(self, scope: Scope) -> Proto:
        """`DeleteModel`: all versions at once, unless one is deployed."""
        model = self._resources.get(scope.name, "Model")
        self._check_undeployed(model.name)
        for name in (*(f"{model.name}@{each.version_id}" for each in self.versions(model.name)), model.name):
            self._resources.remove(name)
        shutil.rmtree(self._folder / model.name.rpartition("/")[2], ignore_errors=True)
        return self._deleted(scope, model.name)

    def delete_version(self, scope: Scope) -> Proto:
        """`DeleteModelVersion`: one that is neither the default nor deployed."""
        if "@" not in scope.name:
            raise CloudError(StatusCode.INVALID_ARGUMENT, "A model version must be specified.")
        model = self.get(scope.name)
        if _DEFAULT in model.version_aliases:
            text = f'Cannot delete the default version of Model "{model.name}".'
            raise CloudError(StatusCode.FAILED_PRECONDITION, text)
        self._check_undeployed(model.name, model.version_id)
        self._resources.remove(f"{model.name}@{model.version_id}")
        shutil.rmtree(self.folder_of(model), ignore_errors=True)
        return self._deleted(scope, model.name)

    def folder_of(self, model: Proto) -> Path:
        """Where a version's artifact lies."""
        return self._folder / str(model.name).rpartition("/")[2] / str(model.version_id)

    # Evaluations

    def import_evaluation(self, scope: Scope) -> Proto:
        """`ImportModelEvaluation`: keeps what somebody measured of a version."""
        model = self.get(scope.name)
        evaluation = type(scope.request.model_evaluation)()
        evaluation.CopyFrom(scope.request.model_evaluation)
        if not evaluation.metrics_schema_uri:
            text = "Field: model_evaluation.metrics_schema_uri; Message: Required field is not set."
            raise CloudError(StatusCode.INVALID_ARGUMENT, text)
        stamp(evaluation, "create_time")
        self._resources.put(f"{model.name}/evaluations/{new_id()}", evaluation)
        self._evaluated[evaluation.name] = model.version_id
        return evaluation

    def list_evaluations(self, scope: Scope) -> Proto:
        """`ListModelEvaluations`: those of one version."""
        model = self.get(scope.name)
        found = self._resources.of("ModelEvaluation", model.name)
        return scope.answer(model_evaluations=[e for e in found if self._evaluated.get(e.name) == model.version_id])

    def _check_undeployed(self, name: str, version: str = "") -> None:
        for endpoint in self._resources.every("Endpoint"):
            for each in endpoint.deployed_models:
                if each.model == name and version in {"", each.model_version_id}:
                    text = f"The Model {name} is deployed to the Endpoint {endpoint.name}, undeploy it first."
                    raise CloudError(StatusCode.FAILED_PRECONDITION, text)

    def _deleted(self, scope: Scope, name: str) -> Proto:
        location = name.partition("/models/")[0]
        return self._operations.done(location, scope.call.method, table().message(scope.call.method.result)())

    def _point(self, name: str, model: Proto) -> None:
        """The plain name stands for the default version; every version carries the plain name."""
        model.name = name
        if _DEFAULT in model.version_aliases:
            self._resources.put(name, model)

    def _copy(self, uri: str, name: str, version: str) -> None:
        """Copies every object below the artifact's URI."""
        target = self._folder / name.rpartition("/")[2] / version
        target.mkdir(parents=True, exist_ok=True)
        if not uri:
            return
        bucket, _, prefix = uri.removeprefix("gs://").partition("/")
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        project = project_of(name)
        if contoso.owner(f"projects/_/buckets/{bucket}") != project:
            agent = service_agent(project)
            text = f"{agent} does not have storage.objects.list access to the Google Cloud Storage bucket {bucket}."
            raise CloudError(StatusCode.PERMISSION_DENIED, text)
        found = [each for each in self._storage.objects.named(bucket, prefix) if not each["name"].endswith("/")]
        if not found:
            raise CloudError(StatusCode.FAILED_PRECONDITION, f'There are no files under "{uri}" to copy.')
        for each in found:
            path = target.joinpath(*_inside(PurePosixPath(each["name"][len(prefix) :]).parts))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._storage.objects.read(each))


def _without(model: Proto, aliases: Iterable[str]) -> None:
    """Takes aliases off a version."""
    kept = [alias for alias in model.version_aliases if alias not in set(aliases)]
    del model.version_aliases[:]
    model.version_aliases.extend(kept)


def _inside(parts: Iterable[str]) -> list[str]:
    """The parts of an object's name that may be parts of a path: an object may be called `../x`."""
    return [part for part in parts if part not in {"..", "/"}]
