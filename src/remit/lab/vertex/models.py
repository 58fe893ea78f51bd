"""Models: uploading copies the artifact out of Cloud Storage, as Vertex AI does, so that a version never changes.

Artifacts are read as the project's service agent: only buckets of the same project. Left out: evaluations, export,
aliases other than `default`.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.api_table import Proto, table
from remit.lab.errors import CloudError
from remit.lab.storage import Storage
from remit.lab.vertex.operations import Operations
from remit.lab.vertex.resources import Resources, Scope, new_id, project_of, stamp

_DEDICATED = 1  # Model.DeploymentResourcesType.DEDICATED_RESOURCES


class Models:
    """All models and their versions. `folder`: where the copies of their artifacts go."""

    def __init__(self, resources: Resources, operations: Operations, storage: Storage, folder: Path) -> None:
        self._resources = resources
        self._operations = operations
        self._storage = storage
        self._folder = folder

    def upload(self, scope: Scope) -> Proto:
        """Takes a model, or a version of `parent_model`, as a long-running operation."""
        request = scope.request
        if not request.model.display_name:
            raise CloudError(
                StatusCode.INVALID_ARGUMENT, "Field: model.display_name; Message: Required field is not set."
            )
        if request.parent_model:
            name = self._resources.get(request.parent_model.partition("@")[0], "Model").name
        else:
            name = f"{scope.name}/models/{request.model_id or new_id()}"
        version = str(1 + len(self.versions(name)))

        async def work() -> Proto:
            self._copy(request.model.artifact_uri, name, version)
            model = type(request.model)()
            model.CopyFrom(request.model)
            model.version_id = version
            model.version_aliases.append("default")
            model.supported_deployment_resources_types.append(_DEDICATED)
            stamp(model, "create_time", "update_time", "version_create_time", "version_update_time")
            self._keep(name, version, model)
            return table().message(scope.call.method.result)(model=name, model_version_id=version)

        return self._operations.start(name, scope.call.method, work)

    def versions(self, name: str) -> list[Proto]:
        """All versions of a model, the oldest first."""
        named = (thing for thing in self._resources.every("Model") if thing.name == name)
        return sorted(named, key=lambda model: int(model.version_id))

    def list_versions(self, scope: Scope) -> Proto:
        """`ListModelVersions`."""
        model = self._resources.get(scope.name.partition("@")[0], "Model")
        return scope.answer(models=self.versions(model.name))

    def folder(self, name: str) -> Path:
        """Where the artifact of a model's version was copied to."""
        model = self._resources.get(name, "Model")
        return self._folder / str(model.name).rpartition("/")[2] / str(model.version_id)

    def delete(self, scope: Scope) -> Proto:
        """Deletes a model with all its versions; refused while it is deployed."""
        model = self._resources.get(scope.name, "Model")
        for endpoint in self._resources.of("Endpoint"):
            if any(each.model.partition("@")[0] == model.name for each in endpoint.deployed_models):
                text = f"The Model {model.name} is deployed to the Endpoint {endpoint.name}, undeploy it first."
                raise CloudError(StatusCode.FAILED_PRECONDITION, text)
        versions = len(self.versions(model.name))
        for name in (model.name, *(f"{model.name}@{number}" for number in range(1, versions + 1))):
            self._resources.remove(name)
        shutil.rmtree(self._folder / model.name.rpartition("/")[2], ignore_errors=True)
        location = model.name.partition("/models/")[0]
        return self._operations.done(location, scope.call.method, table().message(scope.call.method.result)())

    def _keep(self, name: str, version: str, model: Proto) -> None:
        for before in self.versions(name):
            del before.version_aliases[:]
        self._resources.put(f"{name}@{version}", model)
        self._resources.put(name, model)  # the newest is the default; every version carries the plain name

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
            agent = f"service-{project.number}@gcp-sa-aiplatform.iam.gserviceaccount.com"
            text = f"{agent} does not have storage.objects.list access to the Google Cloud Storage bucket {bucket}."
            raise CloudError(StatusCode.PERMISSION_DENIED, text)
        found = [each for each in self._storage.objects.named(bucket, prefix) if not each["name"].endswith("/")]
        if not found:
            raise CloudError(StatusCode.FAILED_PRECONDITION, f'There are no files under "{uri}" to copy.')
        for each in found:
            path = target.joinpath(*_inside(PurePosixPath(each["name"][len(prefix) :]).parts))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._storage.objects.read(each))


def _inside(parts: Iterable[str]) -> list[str]:
    """The parts of an object's name that may be parts of a path: an object may be called `../x`."""
    return [part for part in parts if part not in {"..", "/"}]
