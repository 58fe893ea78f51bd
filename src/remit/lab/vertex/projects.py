"""Resource Manager's `Projects/GetProject`: the Vertex AI client asks it for a number before it submits a pipeline."""

from collections.abc import Sequence

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.api_surface import Call, Surface
from remit.lab.api_table import Proto, table
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.errors import CloudError
from remit.lab.iam import Iam

_SERVICE = "google.cloud.resourcemanager.v3.Projects"
_PERMISSION = "resourcemanager.projects.get"


class Projects:
    """The lab's projects. `surface`: gRPC and REST, host `cloudresourcemanager.googleapis.com`."""

    def __init__(self, iam: Iam, audit: CloudAuditLog) -> None:
        self._iam = iam
        self._audit = audit
        path = f"/{_SERVICE}/GetProject"
        self.surface = Surface(table(), {path: table().methods[path]}, self._answer)

    async def _answer(self, call: Call) -> Sequence[Proto]:
        caller = self._iam.caller(call.authorization, f"{_SERVICE}.{call.method.name}")
        refusal = None
        try:
            self._iam.require(caller, _PERMISSION, call.request.name)
        except CloudError as error:
            refusal = error
        self._audit.write(
            service="cloudresourcemanager.googleapis.com",
            method="GetProject",
            resource=call.request.name,
            caller=caller,
            permission=_PERMISSION,
            granted=refusal is None,
            reason=call.reason,
            status=refusal,
        )
        if refusal:
            raise refusal
        project = contoso.owner(call.request.name)
        if project is None:
            raise CloudError(StatusCode.NOT_FOUND, f"Project {call.request.name} not found")
        found = call.method.response(name=f"projects/{project.number}", project_id=project.id, display_name=project.id)
        found.state = found.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_name["ACTIVE"].number
        return [found]
