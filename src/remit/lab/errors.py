"""How the lab's Google says no: one exception, rendered as JSON or as a gRPC status."""

import json
from dataclasses import dataclass
from http import HTTPStatus

import grpc

_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}


@dataclass(eq=False)
class CloudError(Exception):
    """A refusal or failure of a Google API (google.rpc.Code, as both transports show it)."""

    code: grpc.StatusCode
    message: str

    @property
    def http_status(self) -> int:
        """The HTTP status of this code (google/rpc/code.proto)."""
        return int(_HTTP[self.code])

    def json(self) -> bytes:
        """Google's error object: `{"error": {"code", "message", "status"}}`."""
        return json.dumps(
            {"error": {"code": self.http_status, "message": self.message, "status": self.code.name}}
        ).encode()
