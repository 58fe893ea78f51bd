"""Objects of Cloud Storage, read and written as the account that a piece of work runs as.

A token of the account goes with every request, so that Storage checks and records it like any other caller. Google's
own agents hold `storage.objects.*` on their project by roles that Contoso's bindings do not spell out
(cloud.google.com/iam/docs/service-agents): for them the bucket must be of the same project.
"""

import json
import re
from urllib.parse import quote

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.errors import CloudError
from remit.lab.http import Request
from remit.lab.iam import CLOUD_PLATFORM, Caller, Iam
from remit.lab.storage import Storage

_AGENT = re.compile(r"service-(\d+)@gcp-sa-aiplatform(?:-cc)?\.iam\.gserviceaccount\.com")
_OK = 200


class Buckets:
    """All buckets, through the eyes of an account."""

    def __init__(self, storage: Storage, iam: Iam, audit: CloudAuditLog) -> None:
        self._storage = storage
        self._iam = iam
        self._audit = audit

    async def read(self, uri: str, account: str) -> bytes:
        """An object's content; raises `CloudError` when it is not there or not the account's to read."""
        bucket, name = _parts(uri)
        if self._agent(account, bucket, name, "storage.objects.get"):
            found = self._storage.objects.find(bucket, name)
            if found is None:
                raise CloudError(StatusCode.NOT_FOUND, f"No such object: {bucket}/{name}")
            return self._storage.objects.read(found)
        query = (("alt", "media"),)
        return await self._ask("GET", f"/storage/v1/b/{quote(bucket)}/o/{quote(name, safe='')}", query, account)

    async def write(self, uri: str, content: bytes, account: str) -> None:
        """Makes an object; raises `CloudError` when the account may not."""
        bucket, name = _parts(uri)
        if self._agent(account, bucket, name, "storage.objects.create"):
            self._storage.objects.write(bucket, name, content, {})
            return
        query = (("uploadType", "media"), ("name", name))
        await self._ask("POST", f"/upload/storage/v1/b/{quote(bucket)}/o", query, account, content)

    async def names(self, uri: str, account: str) -> list[str]:
        """The objects at an address or below it as a folder, as addresses of their own."""
        bucket, name = _parts(uri)
        if self._agent(account, bucket, name, "storage.objects.list"):
            found = [each["name"] for each in self._storage.objects.named(bucket, name)]
        else:
            answer = await self._ask("GET", f"/storage/v1/b/{quote(bucket)}/o", (("prefix", name),), account)
            found = [each["name"] for each in json.loads(answer).get("items", ())]
        return [f"gs://{bucket}/{each}" for each in found if each == name or each.startswith(f"{name.rstrip('/')}/")]

    async def _ask(
        self, method: str, path: str, query: tuple[tuple[str, str], ...], account: str, content: bytes = b""
    ) -> bytes:
        token, _ = self._iam.mint(email=account, scopes=(CLOUD_PLATFORM,), lifetime=300)
        headers = {"authorization": f"Bearer {token}", "content-type": "application/octet-stream"}
        answer = await self._storage.handle(Request(method, "storage.googleapis.com", path, query, headers, content))
        if answer.status == _OK:
            return answer.body
        code = {403: StatusCode.PERMISSION_DENIED, 404: StatusCode.NOT_FOUND}.get(
            answer.status, StatusCode.INVALID_ARGUMENT
        )
        raise CloudError(code, answer.body.decode("utf-8", "replace"))

    def _agent(self, account: str, bucket: str, name: str, permission: str) -> bool:
        """Whether the account is an agent of Google's; raises when the bucket is not of its project."""
        agent = _AGENT.fullmatch(account)
        if agent is None:
            return False
        owner = contoso.owner(f"projects/_/buckets/{bucket}")
        refusal = None
        if owner is None or owner.number != agent[1]:
            text = f"{account} does not have {permission} access to the Google Cloud Storage object {bucket}/{name}."
            refusal = CloudError(StatusCode.PERMISSION_DENIED, text)
        self._audit.write(
            service="storage.googleapis.com",
            method=permission,
            resource=f"projects/_/buckets/{bucket}/objects/{name}",
            caller=Caller(account, "", (), frozenset({CLOUD_PLATFORM}), None),
            permission=permission,
            granted=refusal is None,
            status=refusal,
        )
        if refusal:
            raise refusal
        return True


def _parts(uri: str) -> tuple[str, str]:
    """Bucket and name of a `gs://` address; raises `INVALID_ARGUMENT`."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket or not name:
        raise CloudError(StatusCode.INVALID_ARGUMENT, f"Invalid Cloud Storage URI: {uri}")
    return bucket, name
