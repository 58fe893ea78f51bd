"""How a connection that was permitted logs in: with a certificate of Remit's, or with a token of Entra's for the role.

Implements `access.ports.Obtainer` for databases. Either is for the door alone, which uses it for this role and gives it
to nobody; a token stands for all that its application may, and the door asks the database for this role alone.
Source: learn.microsoft.com/azure/postgresql, "Microsoft Entra authentication".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from remit.credentials.azure_federation import purpose_at_azure
from remit.credentials.database_certificate import DatabaseCertificates
from remit.credentials.settings import AzureLine
from remit.model.credential import Cloud, Credential, Purpose
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.operation import Request
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

_SERVICE = "postgresql"


class LoginKind(StrEnum):
    """How a database is logged in to."""

    CERTIFICATE = "certificate"
    ENTRA = "entra"


@dataclass(frozen=True, slots=True)
class DatabaseLogin:
    """One database, by its name in `remit.yaml` and its project's id."""

    name: str
    project: str
    kind: LoginKind


class Azure(Protocol):
    """The way to Azure's tokens: the `Obtainer` of the gateway and the broker."""

    async def obtain(self, identity: Identity, token: UnverifiedToken | None, purpose: Purpose) -> Credential:
        """A token; raises `HopFailed`."""


class DatabaseLogins:
    """The logins of one installation. `lines`: of applications at Azure; the first that fits counts."""

    def __init__(
        self,
        logins: Sequence[DatabaseLogin],
        lines: Sequence[AzureLine],
        certificates: DatabaseCertificates,
        azure: Azure,
    ) -> None:
        self._logins = {one.name: one for one in logins}
        self._lines = tuple(lines)
        self._certificates = certificates
        self._azure = azure

    def purpose(self, identity: Identity, request: Request) -> Purpose:
        """The role that a certificate is for, or the application that a token is of; raises `Refused`."""
        database, role = _place(request)
        login = self._logins.get(database)
        if login is None or login.project != request.first.resources[0].project:
            raise Refused(Reason.NO_ACCOUNT, f"no login is configured for the database `{database}`")
        if login.kind is LoginKind.CERTIFICATE:
            return Purpose(account=role, scopes=(), audience=request.first.resources[0].name)
        for line in self._lines:
            listed = line.project == login.project and database in line.databases
            if listed and line.role in identity.roles and _SERVICE in line.services:
                return purpose_at_azure(line, _SERVICE)
        hint = "a line of `credentials.azure.accounts` with `services: [postgresql]` says which application logs in"
        message = f"no application of Entra's is mapped for the database `{database}`"
        raise Refused(Reason.NO_ACCOUNT, message, hint=hint)

    async def obtain(self, identity: Identity, token: UnverifiedToken | None, purpose: Purpose) -> Credential:
        """What the door logs in with; raises `HopFailed`."""
        if purpose.cloud is Cloud.AZURE:
            return await self._azure.obtain(identity, token, purpose)
        secret, ends = self._certificates.make(purpose.account, identity.principal.key)
        return Credential(secret, ends, purpose.account, ())


def _place(request: Request) -> tuple[str, str]:
    """Database and role of the one operation that a connection is; raises `Refused`."""
    resource = request.first.resources[0]
    parts = resource.name.split("/")
    alone = len(request.operations) == 1 and len(request.first.resources) == 1
    if not alone or resource.type != "DatabaseRole" or parts[5:8:2] != ["databases", "roles"] or len(parts) != 9:  # noqa: PLR2004 - `//remit/projects/P/databases/NAME/roles/ROLE`
        raise Refused(Reason.REQUEST_AMBIGUOUS, "a connection is to one database, as one role")
    return parts[6], parts[8]
