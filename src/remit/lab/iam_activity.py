"""Admin Activity logs: who changed what of Google's access, asked for and entered in one go.

A change that is refused is entered too. Source: cloud.google.com/iam/docs/audit-logging, with the methods' names.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.errors import CloudError
from remit.lab.google_estate import Policy
from remit.lab.google_policies import delta, describe
from remit.lab.iam import Caller, Iam

IAM = "iam.googleapis.com"
RESOURCES = "cloudresourcemanager.googleapis.com"


@dataclass(slots=True)
class Act:
    """One call that changes something.

    `method`: as the log names it; `resource`: what the entry is of; `on`: what the permission is asked on, the resource
    itself when empty; `monitored`: the monitored resource's type and labels; `response`, `service_data`: to be filled
    in.
    """

    caller: Caller
    permission: str
    resource: str
    method: str = ""
    request: Mapping[str, Any] = field(default_factory=dict)
    service: str = IAM
    on: str = ""
    monitored: Mapping[str, Any] | None = None
    response: Mapping[str, Any] = field(default_factory=dict)
    service_data: Mapping[str, Any] = field(default_factory=dict)

    def policy(self, before: Policy, after: Policy) -> None:
        """Fill in the change of a policy."""
        self.response = describe(after, 3)
        self.service_data = delta(before, after)


class Activity:
    """Asks for permission and writes the entry."""

    def __init__(self, iam: Iam, audit: CloudAuditLog) -> None:
        self._iam = iam
        self._audit = audit

    @contextmanager
    def of(self, act: Act) -> Iterator[Act]:
        """Whatever is done inside is permitted, and entered when it is done or refused; raises `CloudError`."""
        granted = False
        try:
            self._iam.require(act.caller, act.permission, act.on or act.resource)
            granted = True
            yield act
        except CloudError as error:
            self._enter(act, error, granted=granted)
            raise
        self._enter(act, None, granted=granted)

    def _enter(self, act: Act, error: CloudError | None, *, granted: bool) -> None:
        self._audit.write(
            service=act.service,
            method=act.method,
            resource=act.resource,
            caller=act.caller,
            permission=act.permission,
            granted=granted,
            request=act.request,
            response=act.response,
            service_data=act.service_data,
            status=error,
            activity=True,
            monitored=act.monitored,
            owned=act.on,
        )
