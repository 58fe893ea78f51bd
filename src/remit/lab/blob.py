"""Azure Blob Storage: a door that checks tokens and roles as Azure does, before an Azurite that keeps the blobs.

Any account of `ACCOUNT.blob.core.windows.net` that Contoso has. Keys of accounts are refused, as Contoso set them up,
until the control door allows them. Signatures (SAS), anonymous reading and Data Lake's own API (`dfs`) are left out.
Roles are those of `arm_assignments`, as they are seen there. What it writes down has the form of Azure Monitor's
StorageBlobLogs, with the token's `uti` besides: Azure keeps only a digest of the token. Sources:
learn.microsoft.com/azure/storage/blobs/ authorize-access-azure-active-directory and monitor-blob-storage-reference;
`blob_operations` and `blob_errors` name theirs.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from remit.lab import contoso, contoso_azure
from remit.lab.arm_assignments import Assignments
from remit.lab.blob_azurite import Azurite, signature
from remit.lab.blob_errors import BlobError
from remit.lab.blob_faults import BlobFaults, broken
from remit.lab.blob_operations import HOST, Operation, understand
from remit.lab.entra_keys import Keys
from remit.lab.http import Request, Response
from remit.lab.jwt import BrokenTokenError

ENDING = ".blob.core.windows.net"
_KEY_HOLDER: dict[str, Any] = {"key": True}
"""Who comes with an account's key: nobody in particular, who may do everything."""


class Blob:
    """Every account's Blob service. `clock`: seconds since the epoch; `log`: a path for the log's lines."""

    def __init__(
        self,
        keys: Keys,
        clock: Callable[[], float],
        log: Path | None = None,
        assignments: Assignments | None = None,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._log = log
        self.azurite = Azurite()
        self.faults = BlobFaults()
        self._assignments = assignments or Assignments()
        self.accounts = {container.partition("/")[0] for container in contoso_azure.CONTAINERS}
        self.keys_allowed = False

    def commands(self) -> dict[str, Callable[[Any], object]]:
        """What the control door can do here."""
        return {
            "azurite": self.azurite.place,
            "blob_fault": self.faults.add,
            "blob_keys": lambda allowed: setattr(self, "keys_allowed", bool(allowed)),
            **self._assignments.commands(),
        }

    async def __call__(self, request: Request) -> Response:
        """Answer one request, and write it down."""
        operation: Operation | None = None
        caller: dict[str, Any] = {}
        try:
            account = self._account(request.host)
            caller = self._caller(request, account)  # 1 who
            operation = understand(request, account)  # 2 what
            self._may(caller, operation)  # 3 may they
            fault = self.faults.due(operation.name)
            response = await self.azurite.forward(request, account)
        except BlobError as error:
            self._write(request, operation, caller, error.status, error.code)
            return error.response()
        self._write(request, operation, caller, response.status, response.headers.get("x-ms-error-code", "Success"))
        response = replace(response, headers={**response.headers, "server": "Windows-Azure-Blob/1.0"})
        return broken(response, fault) if fault else response

    def _account(self, host: str) -> str:
        found = HOST.fullmatch(host)
        if found is None or found[1] not in self.accounts:
            raise BlobError("ResourceNotFound", more="Contoso has no such account.")
        return found[1]

    def _caller(self, request: Request, account: str) -> dict[str, Any]:
        """The claims of whoever asks; raises `BlobError`."""
        if any(name.lower() == "sig" for name, _ in request.query):
            raise BlobError("KeyBasedAuthenticationNotPermitted")
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if not scheme:
            raise BlobError("NoAuthenticationInformation")
        if scheme.lower() == "bearer":
            return self._token(value.strip(), account)
        if not self.keys_allowed or scheme != "SharedKey":
            raise BlobError("KeyBasedAuthenticationNotPermitted")
        key = self.azurite.keys.get(account, "")
        wanted = signature(request, request.headers, account, key) if key else ""
        if not key or not hmac.compare_digest(wanted.encode(), f"SharedKey {value}".encode()):
            raise BlobError("AuthenticationFailed")
        return _KEY_HOLDER

    def _token(self, token: str, account: str) -> dict[str, Any]:
        try:
            claims = self._keys.verify(token)
        except BrokenTokenError as cause:
            detail = "Signature validation failed. The token's signature or form is not valid."
            raise BlobError("InvalidAuthenticationInfo", detail) from cause
        audiences = {contoso_azure.STORAGE.uri, contoso_azure.STORAGE.id, f"https://{account}{ENDING}"}
        now, audience = self._clock(), claims.get("aud")
        issuers = {contoso.issuer(contoso.TENANT, version) for version in ("1.0", "2.0")}
        if claims.get("iss") not in issuers or claims.get("tid") != contoso.TENANT or not claims.get("oid"):
            raise BlobError("InvalidAuthenticationInfo", "Issuer validation failed. Issuer did not match.")
        if not isinstance(audience, str) or audience.rstrip("/") not in audiences:
            raise BlobError("InvalidAuthenticationInfo", "Audience validation failed. Audience did not match.")
        if not float(claims.get("exp", 0)) > now:
            raise BlobError("InvalidAuthenticationInfo", "Lifetime validation failed. The token is expired.")
        if not float(claims.get("nbf", "inf")) <= now:
            raise BlobError("InvalidAuthenticationInfo", "Lifetime validation failed. The token is not yet valid.")
        return {**claims, "hash": hashlib.sha256(token.encode()).hexdigest()}

    def _may(self, caller: Mapping[str, Any], operation: Operation) -> None:
        if caller is _KEY_HOLDER:
            return
        scope = contoso_azure.container_scope(operation.container)
        what, roles = (caller["oid"], operation.permission, scope), self._assignments
        if not roles.permits(*what, data=operation.data, asked=operation.asked):
            raise BlobError("AuthorizationPermissionMismatch", more=roles.unread(*what, data=operation.data))

    def _write(
        self, request: Request, operation: Operation | None, caller: Mapping[str, Any], status: int, text: str
    ) -> None:
        """One line of the log, as a resource log of the categories StorageRead, StorageWrite and StorageDelete."""
        if self._log is None:
            return
        requester = {
            "objectId": caller.get("oid"),
            "tenantId": caller.get("tid"),
            "appId": caller.get("appid", caller.get("azp")),
            "audience": caller.get("aud"),
            "tokenIssuer": caller.get("iss"),
            "uti": caller.get("uti"),
        }
        kind = "OAuth" if caller.get("oid") else "AccountKey" if caller is _KEY_HOLDER else "Anonymous"
        line = {
            "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "category": operation.category if operation else "StorageRead",
            "operationName": operation.name if operation else "Unknown",
            "container": operation.container if operation else "",
            "blob": operation.blob if operation else "",
            "statusCode": int(status),
            "statusText": text,
            "identity": {"type": kind, "tokenHash": caller.get("hash"), "requester": requester},
            "permission": operation.permission if operation else "",
            "range": request.headers.get("x-ms-range", request.headers.get("range", "")),
            "uri": f"https://{request.host}{request.path}",
        }
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
