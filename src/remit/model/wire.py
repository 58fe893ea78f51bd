"""A request as it stood on the wire, before anything about it is believed."""

from dataclasses import dataclass

from remit.model.causes import Cause
from remit.model.secret import SessionSecret, UnverifiedToken


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One HTTP or gRPC request that somebody wants to make.

    `host`: lower case, no port; `target`: the raw request target (path and query, undecoded);
    `headers`: lower-case names, in order, repeated ones kept; `body`: whole, or empty when the gateway
    did not send it (`body_sent` tells the two apart); `peer`: the caller's address as the gateway saw it; `job`: the
    run that the sidecar says it speaks for. A caller has a token or a browser's session, never both.
    """

    token: UnverifiedToken | None
    method: str
    host: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    body_sent: bool = False
    peer: str = ""
    job: str = ""
    session: SessionSecret | None = None

    def header(self, name: str) -> str:
        """The single value of a header, empty when absent; a repeated header raises `ValueError`."""
        values = [value for key, value in self.headers if key == name]
        if len(values) > 1:
            message = f"header `{name}` is repeated"
            raise ValueError(message)
        return values[0] if values else ""

    @property
    def grpc(self) -> bool:
        """Whether the request calls itself gRPC, by its content type."""
        return any(key == "content-type" and value.startswith("application/grpc") for key, value in self.headers)


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """What an upstream answered to a permitted request, as far as the gateway reports it.

    `status`: HTTP; `grpc_status`: of a gRPC answer that failed, -1 for none; `message`: its `grpc-message`, decoded;
    `body`: the whole body, or empty when it was larger than is reported; `location`: the header, of an answer that
    begins an upload.
    """

    status: int
    content_type: str = ""
    grpc_status: int = -1
    message: str = ""
    body: bytes = b""
    location: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """What that means. `started`: canonical name of what came into being, empty for none; `cause`: why it was refused.

    `detail`: the permission, API or quota that the cloud named, at most 200 printable characters.
    """

    started: str = ""
    cause: Cause | None = None
    detail: str = ""
