"""What Cloud Storage's answers look like: resources, listings, refusals in JSON and XML, multipart bodies.

Sources: cloud.google.com/storage/docs/json_api/v1/status-codes, cloud.google.com/storage/docs/xml-api/reference-status.
"""

import json
import re
from dataclasses import replace
from typing import Any
from xml.sax.saxutils import escape

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.errors import CloudError
from remit.lab.http import Response
from remit.lab.storage_objects import Resource

_REASONS = {400: "invalid", 401: "required", 403: "forbidden", 404: "notFound", 409: "conflict", 412: "conditionNotMet"}
_XML_CODES = {401: "AuthenticationRequired", 403: "AccessDenied", 404: "NoSuchKey", 416: "InvalidRange"}
_XML = {"content-type": "application/xml; charset=UTF-8"}
_JSON = {"content-type": "application/json; charset=UTF-8"}


class StorageError(Exception):
    """A refusal in Cloud Storage's own shape. `challenge`: `www-authenticate` of a 401."""

    def __init__(self, status: int, message: str, challenge: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.challenge = challenge


def denial(who: str, permission: str) -> str:
    """The sentence of a 403, and of a 401 for nobody."""
    what = "object" if permission.startswith("storage.objects.") else "bucket"
    return (
        f"{who} does not have {permission} access to the Google Cloud Storage {what}. "
        f"Permission '{permission}' denied on resource (or it may not exist)."
    )


def refusal(error: StorageError) -> Response:
    """A refusal of the JSON API."""
    reason = _REASONS.get(error.status, "invalid")
    details = {"message": error.message, "domain": "global", "reason": reason}
    if error.challenge:
        reason = "authError" if "error=" in error.challenge else "required"
        details |= {"reason": reason, "locationType": "header", "location": "Authorization"}
    found = ok({"error": {"code": error.status, "message": error.message, "errors": [details]}}, error.status)
    return _challenged(found, error)


def ok(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(status, json.dumps(value).encode(), _JSON)


def bucket_resource(bucket: str) -> Resource:
    """A bucket's own resource."""
    owner = contoso.owner(f"projects/_/buckets/{bucket}")
    return {
        "kind": "storage#bucket",
        "id": bucket,
        "name": bucket,
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{bucket}",
        "projectNumber": owner.number if owner else "0",
        "location": contoso.LOCATION.upper(),
        "locationType": "region",
        "storageClass": "STANDARD",
        "metageneration": "1",
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}, "publicAccessPrevention": "enforced"},
    }


def policy(bucket: str, shown: dict[str, Any]) -> dict[str, Any]:
    """A bucket's IAM policy, of one that IAM shows."""
    return {"kind": "storage#policy", "resourceId": f"projects/_/buckets/{bucket}", **shown}


def policy_refusal(error: CloudError, denied: str = "") -> StorageError:
    """IAM's refusal of a policy in Storage's words: a stale etag is a precondition that does not hold."""
    if error.code is StatusCode.ABORTED:
        return StorageError(412, "At least one of the pre-conditions you specified did not hold.")
    return StorageError(error.http_status, denied if error.code is StatusCode.PERMISSION_DENIED else error.message)


def listing(items: list[Resource], prefixes: list[str], token: str = "") -> Response:
    """One page of objects."""
    found: Resource = {"kind": "storage#objects"}
    found |= {"items": items} if items else {}
    found |= {"prefixes": prefixes} if prefixes else {}
    return ok(found | ({"nextPageToken": token} if token else {}))


def parse(body: bytes) -> dict[str, Any]:
    """A JSON object; raises `StorageError` for anything else."""
    try:
        value = json.loads(body)
    except ValueError as error:
        raise StorageError(400, "Parse Error") from error
    if not isinstance(value, dict):
        raise StorageError(400, "Parse Error")
    return value


def multipart(body: bytes, content_type: str) -> tuple[dict[str, Any], bytes]:
    """The resource and the content of a `multipart/related` body (RFC 2387), binary content untouched."""
    found = re.search(r"boundary=(?:\"([^\"]+)\"|'([^']+)'|([^;\s]+))", content_type)
    if not found:
        raise StorageError(400, "Missing boundary in multipart body.")
    mark = b"--" + next(filter(None, found.groups())).encode()
    parts = [part.removeprefix(b"\r\n") for part in body.split(mark)[1:3]]
    if len(parts) != 2 or any(b"\r\n\r\n" not in part for part in parts):  # noqa: PLR2004  # resource, content
        raise StorageError(400, "Missing end boundary in multipart body.")
    (_, resource), (head, content) = (part.split(b"\r\n\r\n", 1) for part in parts)
    kind = re.search(rb"(?im)^content-type:\s*([^\r\n]+)", head)
    settings = parse(resource)
    settings.setdefault("contentType", kind[1].decode("latin-1").strip() if kind else "")
    return settings, content.removesuffix(b"\r\n")


def xml_refusal(error: StorageError) -> Response:
    """A refusal of the XML API."""
    code = _XML_CODES.get(error.status, "InvalidArgument")
    inner = f"<Code>{code}</Code><Message>{escape(error.message)}</Message>"
    found = Response(error.status, f"<?xml version='1.0' encoding='UTF-8'?><Error>{inner}</Error>".encode(), _XML)
    return _challenged(found, error)


def _challenged(response: Response, error: StorageError) -> Response:
    challenge = {"www-authenticate": error.challenge} if error.challenge else {}
    return replace(response, headers={**response.headers, **challenge})
