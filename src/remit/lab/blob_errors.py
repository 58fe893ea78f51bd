"""How the lab's Blob Storage says no: an error code, a sentence and, for tokens, a detail, in XML and in a header.

Sources: learn.microsoft.com/rest/api/storageservices/ status-and-error-codes2, blob-service-error-codes and
authorize-with-azure-active-directory (the bearer challenge). Sentences that Microsoft does not document are ours.
"""

import secrets
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from xml.sax.saxutils import escape

from remit.lab import contoso_azure
from remit.lab.contoso_shapes import TENANT
from remit.lab.http import Response

CHALLENGE = (
    f"Bearer authorization_uri=https://login.microsoftonline.com/{TENANT}/oauth2/authorize "
    f"resource_id={contoso_azure.STORAGE.uri}"
)
_SEE_CHALLENGE = (
    "Server failed to authenticate the request. Please refer to the information in the www-authenticate header."
)
_SIGNATURE = (
    "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly "
    "including the signature."
)
_FORBIDDEN = "This request is not authorized to perform this operation using this permission."
SENTENCES: dict[str, tuple[HTTPStatus, str]] = {
    "NoAuthenticationInformation": (HTTPStatus.UNAUTHORIZED, _SEE_CHALLENGE),
    "InvalidAuthenticationInfo": (HTTPStatus.UNAUTHORIZED, _SEE_CHALLENGE),
    "AuthenticationFailed": (HTTPStatus.FORBIDDEN, _SIGNATURE),
    "AuthorizationPermissionMismatch": (HTTPStatus.FORBIDDEN, _FORBIDDEN),
    "AuthorizationFailure": (HTTPStatus.FORBIDDEN, "This request is not authorized to perform this operation."),
    "KeyBasedAuthenticationNotPermitted": (
        HTTPStatus.FORBIDDEN,
        "Key based authentication is not permitted on this storage account.",
    ),
    "ResourceNotFound": (HTTPStatus.NOT_FOUND, "The specified resource does not exist."),
    "InvalidUri": (HTTPStatus.BAD_REQUEST, "The requested URI does not represent any resource on the server."),
    "UnsupportedQueryParameter": (
        HTTPStatus.BAD_REQUEST,
        "One of the query parameters specified in the request URI is not supported.",
    ),
    "UnsupportedHeader": (HTTPStatus.BAD_REQUEST, "One of the headers specified in the request is not supported."),
    "UnsupportedHttpVerb": (HTTPStatus.METHOD_NOT_ALLOWED, "The resource doesn't support the specified HTTP verb."),
    "ServerBusy": (HTTPStatus.SERVICE_UNAVAILABLE, "The server is busy."),
    "InternalError": (
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The server encountered an internal error. Please retry the request.",
    ),
}


@dataclass(eq=False)
class BlobError(Exception):
    """A refusal or failure of Blob Storage. `code`: of `SENTENCES`; `detail`: of a token; `more`: one more sentence."""

    code: str
    detail: str = ""
    more: str = ""
    request: str = field(default_factory=lambda: str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)))

    @property
    def status(self) -> int:
        """The HTTP status of this code."""
        return SENTENCES[self.code][0]

    def response(self) -> Response:
        """The error as it goes back; a HEAD gets its headers only."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        sentence = " ".join(filter(None, (SENTENCES[self.code][1], self.more)))
        told = f"{sentence}\nRequestId:{self.request}\nTime:{now}"
        detail = f"<AuthenticationErrorDetail>{escape(self.detail)}</AuthenticationErrorDetail>" if self.detail else ""
        body = (
            '<?xml version="1.0" encoding="utf-8"?>'
            f"<Error><Code>{self.code}</Code><Message>{escape(told)}</Message>{detail}</Error>"
        )
        headers = {
            "content-type": "application/xml",
            "x-ms-error-code": self.code,
            "x-ms-request-id": self.request,
            "server": "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0",
        }
        headers |= {"www-authenticate": CHALLENGE} if self.status == HTTPStatus.UNAUTHORIZED else {}
        return Response(self.status, body.encode(), headers)
