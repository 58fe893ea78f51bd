"""How the lab's Google says no: one exception, rendered as JSON, as a gRPC status, or as Storage's XML.

Which refusal has which details is in `refusals`. Sources: google/rpc/status.proto, google/rpc/error_details.proto,
cloud.google.com/storage/docs/xml-api/reference-status.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from xml.sax.saxutils import escape

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

Detail = Mapping[str, Any]

_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    grpc.StatusCode.ABORTED: HTTPStatus.CONFLICT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}


@dataclass(eq=False)
class CloudError(Exception):
    """A refusal or failure of a Google API (google.rpc.Code, as both transports show it).

    `details`: messages of google.rpc in their JSON form with `@type`; `errors`: the older list that Storage still
    answers, over REST alone; `http`: the HTTP status where it is not the code's own; `in_xml`: code and message where
    Storage's XML API has others.
    """

    code: grpc.StatusCode
    message: str
    details: tuple[Detail, ...] = ()
    errors: tuple[Detail, ...] = ()
    http: int = 0
    in_xml: tuple[str, str] = ("", "")

    @property
    def http_status(self) -> int:
        """The HTTP status of this code (google/rpc/code.proto)."""
        return self.http or int(_HTTP[self.code])

    @property
    def challenge(self) -> dict[str, str]:
        """The header that goes with a 401 (RFC 6750 section 3)."""
        if self.code is not grpc.StatusCode.UNAUTHENTICATED:
            return {}
        wrong = any(each.get("reason") != "CREDENTIALS_MISSING" for each in self.details)
        realm = 'Bearer realm="https://accounts.google.com/"'
        return {"www-authenticate": f'{realm}, error="invalid_token"' if wrong else realm}

    def json(self) -> bytes:
        """Google's error object: `{"error": {"code", "message", "status", "details"}}`."""
        error: dict[str, Any] = {"code": self.http_status, "message": self.message}
        error |= {"errors": list(self.errors)} if self.errors else {}
        error |= {"status": self.code.name} if self.details or not self.errors else {}
        error |= {"details": list(self.details)} if self.details else {}
        return json.dumps({"error": error}).encode()

    def xml(self) -> bytes:
        """The error document of Storage's XML API."""
        code, message = self.in_xml
        code = code or ("AuthenticationRequired" if self.code is grpc.StatusCode.UNAUTHENTICATED else "AccessDenied")
        inner = f"<Code>{code}</Code><Message>{escape(message or self.message)}</Message>"
        return f"<?xml version='1.0' encoding='UTF-8'?><Error>{inner}</Error>".encode()

    def status(self) -> status_pb2.Status:
        """The status as gRPC carries it in `grpc-status-details-bin`."""
        found = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            json_format.ParseDict(dict(detail), found.details.add())
        return found


ERROR_INFO = f"type.googleapis.com/{error_details_pb2.ErrorInfo.DESCRIPTOR.full_name}"


def error_info(reason: str, domain: str, **metadata: str) -> Detail:
    """A `google.rpc.ErrorInfo`."""
    return {"@type": ERROR_INFO, "reason": reason, "domain": domain, "metadata": metadata}
