"""Cloud Storage: the JSON API and the XML API's reads, on the hosts `storage.googleapis.com` and `www.googleapis.com`.

Enough for google-cloud-storage and for TensorFlow's `gs://`: buckets read, objects written (media, multipart,
resumable), read (ranges), listed, copied, composed, changed, deleted. Left out: making buckets, versions, ACLs, holds,
signed URLs, batches, gzip transcoding. Source: cloud.google.com/storage/docs/json_api/v1.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from remit.lab import contoso
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.errors import CloudError
from remit.lab.google_policies import Policies, describe
from remit.lab.http import Request, Response
from remit.lab.iam import Caller, Iam
from remit.lab.iam_activity import Act, Activity
from remit.lab.storage_objects import Objects, Resource
from remit.lab.storage_wire import (
    StorageError,
    bucket_resource,
    denial,
    listing,
    multipart,
    ok,
    parse,
    policy,
    policy_refusal,
    refusal,
    xml_refusal,
)

_PAGE_MAXIMUM = 1000  # objects.list, `maxResults`


@dataclass(slots=True)
class _Upload:
    """A resumable upload under way."""

    bucket: str
    name: str
    settings: Mapping[str, Any]
    content: bytearray = field(default_factory=bytearray)


class Storage:
    """All buckets of the lab's projects, under one folder of this machine."""

    def __init__(self, folder: Path, iam: Iam, audit: CloudAuditLog) -> None:
        self._iam = iam
        self._audit = audit
        self._policies = Policies(iam.estate)
        self._activity = Activity(iam, audit)
        self._uploads: dict[str, _Upload] = {}
        self.objects = Objects(folder, tuple(bucket for project in contoso.PROJECTS for bucket in project.buckets))
        bucket, name = "/b/(?P<bucket>[^/]+)", "/o/(?P<name>[^/]+)"
        self._routes: tuple[tuple[str, re.Pattern[str], Callable[..., Response]], ...] = tuple(
            (verb, re.compile(pattern), handler)
            for verb, pattern, handler in (
                ("GET", "/storage/v1/b", self._list_buckets),
                ("GET", f"/storage/v1{bucket}", self._get_bucket),
                ("GET", f"/storage/v1{bucket}/iam", self._get_policy),
                ("PUT", f"/storage/v1{bucket}/iam", self._set_policy),
                ("GET", f"/storage/v1{bucket}/iam/testPermissions", self._test_permissions),
                ("GET", f"/storage/v1{bucket}/o", self._list),
                ("POST", f"/storage/v1{bucket}/o/(?P<name>[^/]+)/compose", self._compose),
                (
                    "POST",
                    f"/storage/v1{bucket}{name}/(?P<how>rewriteTo|copyTo)/b/(?P<to>[^/]+)/o/(?P<new>[^/]+)",
                    self._copy,
                ),
                ("GET", f"(?:/download)?/storage/v1{bucket}{name}", self._get),
                ("PATCH", f"/storage/v1{bucket}{name}", self._patch),
                ("DELETE", f"/storage/v1{bucket}{name}", self._delete),
                ("POST", f"/upload/storage/v1{bucket}/o", self._upload),
                ("PUT", f"/upload/storage/v1{bucket}/o", self._resume),
            )
        )

    async def handle(self, request: Request) -> Response:
        """Answers one request of either API."""
        for verb, pattern, handler in self._routes:
            found = pattern.fullmatch(request.path)
            if found and verb == request.method:
                names = {key: unquote(value) for key, value in found.groupdict().items()}
                try:
                    return handler(request, **names)
                except StorageError as error:
                    return refusal(error)
        if request.host == "storage.googleapis.com" and request.method in {"GET", "HEAD"}:
            return self._xml(request)
        return refusal(StorageError(404, "Not Found"))

    # Permissions

    def _caller(self, request: Request, permission: str) -> Caller:
        try:
            return self._iam.caller(request.headers.get("authorization", ""))
        except CloudError as error:  # Storage does not say whether a token was expired, of another kind, or nobody's
            message = (
                "Invalid Credentials" if "authorization" in request.headers else denial("Anonymous caller", permission)
            )
            raise StorageError(401, message, error.challenge.get("www-authenticate", "")) from error

    def _require(
        self, request: Request, permission: str, bucket: str, name: str = "", listed: str | None = None
    ) -> Caller:
        """Bearer token, then permission, then one line in the audit log; raises `StorageError`."""
        caller = self._caller(request, permission)
        resource = _resource(bucket) + (f"/objects/{name}" if name else "")
        denied = None
        try:
            self._iam.require(caller, permission, resource, listed)
        except CloudError as error:
            denied = error
        self._audit.write(
            service="storage.googleapis.com",
            method=permission,
            resource=resource,
            caller=caller,
            permission=permission,
            granted=denied is None,
            reason=request.headers.get("x-goog-request-reason", ""),
            status=denied,
        )
        if denied:
            raise StorageError(403, denial(caller.email or caller.principal_subject, permission))
        if bucket not in self.objects:
            raise StorageError(404, "The specified bucket does not exist.")
        return caller

    def _object(self, request: Request, permission: str, bucket: str, name: str) -> Resource:
        """An object that must be there, once the caller may have it."""
        self._require(request, permission, bucket, name)
        resource = self.objects.find(bucket, name)
        wanted = request.parameter("generation") or request.parameter("sourceGeneration")
        if resource is None or (wanted and wanted != resource["generation"]):
            raise StorageError(404, f"No such object: {bucket}/{name}")
        return resource

    def _may_write(self, request: Request, bucket: str, name: str) -> None:
        """Whether an object may be made: to overwrite one is also to delete it."""
        self._require(request, "storage.objects.create", bucket, name)
        before = self.objects.find(bucket, name)
        expected = request.parameter("ifGenerationMatch")
        if expected and expected != (before["generation"] if before else "0"):
            raise StorageError(412, "At least one of the pre-conditions you specified did not hold.")
        if before:
            self._require(request, "storage.objects.delete", bucket, name)

    # Buckets

    def _list_buckets(self, request: Request) -> Response:
        project = contoso.project(request.parameter("project"))
        caller = self._caller(request, "storage.buckets.list")
        try:
            self._iam.require(caller, "storage.buckets.list", f"projects/{project.id if project else '-'}")
        except CloudError as error:
            raise StorageError(error.http_status, error.message) from error
        items = [bucket_resource(bucket) for bucket in (project.buckets if project else ())]
        return ok({"kind": "storage#buckets", "items": items})

    def _get_bucket(self, request: Request, bucket: str) -> Response:
        self._require(request, "storage.buckets.get", bucket)
        return ok(bucket_resource(bucket))

    def _get_policy(self, request: Request, bucket: str) -> Response:
        self._require(request, "storage.buckets.getIamPolicy", bucket)
        wanted = request.parameter("optionsRequestedPolicyVersion")
        try:
            return ok(policy(bucket, self._policies.show(_resource(bucket), int(wanted) if wanted.isdigit() else 1)))
        except CloudError as error:
            raise policy_refusal(error) from error

    def _set_policy(self, request: Request, bucket: str) -> Response:
        given = parse(request.body)
        caller = self._caller(request, "storage.buckets.setIamPolicy")
        act = Act(
            caller,
            "storage.buckets.setIamPolicy",
            _resource(bucket),
            "storage.setIamPermissions",
            service="storage.googleapis.com",
            monitored={"type": "gcs_bucket", "labels": {"bucket_name": bucket}},
        )
        try:
            with self._activity.of(act):
                bare = {name: value for name, value in given.items() if name not in {"kind", "resourceId"}}
                before, after = self._policies.put(_resource(bucket), bare)
                act.policy(before, after)
        except CloudError as error:
            raise policy_refusal(error, denial(caller.email or caller.principal_subject, act.permission)) from error
        return ok(policy(bucket, describe(after, 3)))

    def _test_permissions(self, request: Request, bucket: str) -> Response:
        caller = self._caller(request, "storage.buckets.getIamPolicy")
        asked = [value for name, value in request.query if name == "permissions"]
        held = self._iam.effective(caller, asked, _resource(bucket))
        return ok({"kind": "storage#testIamPermissionsResponse"} | ({"permissions": held} if held else {}))

    # Objects

    def _list(self, request: Request, bucket: str) -> Response:
        prefix, delimiter = request.parameter("prefix"), request.parameter("delimiter")
        self._require(request, "storage.objects.list", bucket, listed=prefix or None)
        wanted = request.parameter("maxResults")
        size = min(int(wanted), _PAGE_MAXIMUM) if wanted.isdigit() and wanted != "0" else _PAGE_MAXIMUM
        items: list[Resource] = []
        prefixes: list[str] = []
        last = ""
        for resource in self.objects.named(bucket, prefix):
            head, mark, _ = resource["name"][len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            place = f"{prefix}{head}{mark}" if mark else resource["name"]
            if place <= request.parameter("pageToken") or (mark and place in prefixes):
                continue
            if len(items) + len(prefixes) == size:
                return listing(items, prefixes, token=last)
            last = place
            if mark:
                prefixes.append(place)
            else:
                items.append(resource)
        return listing(items, prefixes)

    def _get(self, request: Request, bucket: str, name: str) -> Response:
        resource = self._object(request, "storage.objects.get", bucket, name)
        return self._media(request, resource) if request.parameter("alt") == "media" else ok(resource)

    def _patch(self, request: Request, bucket: str, name: str) -> Response:
        resource = self._object(request, "storage.objects.update", bucket, name)
        return ok(self.objects.update(resource, parse(request.body)))

    def _delete(self, request: Request, bucket: str, name: str) -> Response:
        self.objects.delete(self._object(request, "storage.objects.delete", bucket, name))
        return Response(204)

    def _compose(self, request: Request, bucket: str, name: str) -> Response:
        body = parse(request.body)
        sources = [
            self._object(request, "storage.objects.get", bucket, each["name"]) for each in body.get("sourceObjects", ())
        ]
        self._may_write(request, bucket, name)
        content = b"".join(self.objects.read(source) for source in sources)
        return ok(self.objects.write(bucket, name, content, body.get("destination", {})))

    def _copy(self, request: Request, *, bucket: str, name: str, how: str, to: str, new: str) -> Response:
        source = self._object(request, "storage.objects.get", bucket, name)
        self._may_write(request, to, new)
        settings = parse(request.body) if request.body else source
        made = self.objects.write(to, new, self.objects.read(source), {**source, **settings})
        if how == "copyTo":
            return ok(made)
        size = made["size"]
        done = {"kind": "storage#rewriteResponse", "totalBytesRewritten": size, "objectSize": size, "done": True}
        return ok({**done, "resource": made})

    # Uploads

    def _upload(self, request: Request, bucket: str) -> Response:
        how = request.parameter("uploadType")
        content_type = request.headers.get("content-type", "")
        if how == "multipart":
            settings, content = multipart(request.body, content_type)
        elif how == "resumable":
            settings, content = (parse(request.body) if request.body else {}), b""
            settings = {"contentType": request.headers.get("x-upload-content-type", ""), **settings}
        else:
            settings, content = {"contentType": content_type}, request.body
        name = request.parameter("name") or settings.get("name", "")
        if not name:
            raise StorageError(400, "Required object name")
        self._may_write(request, bucket, name)
        if how != "resumable":
            return ok(self.objects.write(bucket, name, content, settings))
        upload = secrets.token_urlsafe(32)
        self._uploads[upload] = _Upload(bucket, name, settings)
        place = f"https://{request.host}/upload/storage/v1/b/{quote(bucket)}/o?uploadType=resumable&upload_id={upload}"
        # TensorFlow looks these two names up as they are written, as Google writes them over HTTP/1.1.
        return Response(200, b"", {"Location": place, "X-GUploader-UploadID": upload})

    def _resume(self, request: Request, bucket: str) -> Response:
        """Takes a part of a resumable upload. Its address is the capability, as at Google: no permission is asked."""
        key = request.parameter("upload_id")
        upload = self._uploads.get(key)
        if upload is None or upload.bucket != bucket:
            raise StorageError(404, "No such upload")
        said = re.fullmatch(r"bytes (?:\*|(\d+)-(\d+))/(\*|\d+)", request.headers.get("content-range", ""))
        if said and said[1]:
            if int(said[1]) > len(upload.content):
                raise StorageError(400, "Invalid request. The range leaves a gap.")
            del upload.content[int(said[1]) :]
        if not said or said[1]:
            upload.content += request.body
        if said and (said[3] == "*" or int(said[3]) > len(upload.content)):
            have = {"Range": f"bytes=0-{len(upload.content) - 1}"} if upload.content else {}
            return Response(308, b"", have)
        del self._uploads[key]
        return ok(self.objects.write(bucket, upload.name, bytes(upload.content), upload.settings))

    # Reads

    def _xml(self, request: Request) -> Response:
        """`GET /BUCKET/NAME`, the XML API's read: what TensorFlow uses."""
        bucket, _, name = (unquote(part) for part in request.path[1:].partition("/"))
        try:
            return self._media(request, self._object(request, "storage.objects.get", bucket, name))
        except StorageError as error:
            return xml_refusal(error)

    def _media(self, request: Request, resource: Resource) -> Response:
        content = self.objects.read(resource)
        headers = {
            "content-type": resource["contentType"],
            "etag": resource["etag"],
            "accept-ranges": "bytes",
            "x-goog-generation": resource["generation"],
            "x-goog-metageneration": resource["metageneration"],
            "x-goog-stored-content-length": resource["size"],
            "x-goog-hash": f"crc32c={resource['crc32c']},md5={resource['md5Hash']}",
        }
        said = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
        if not said or not (said[1] or said[2]):
            return Response(200, content, headers)
        start = int(said[1]) if said[1] else max(len(content) - int(said[2]), 0)
        end = min(int(said[2]), len(content) - 1) if said[1] and said[2] else len(content) - 1
        if start >= len(content) or end < start:
            raise StorageError(416, "The requested range cannot be satisfied.")
        headers["content-range"] = f"bytes {start}-{end}/{len(content)}"
        return Response(206, content[start : end + 1], headers)


def _resource(bucket: str) -> str:
    return f"projects/_/buckets/{bucket}"
