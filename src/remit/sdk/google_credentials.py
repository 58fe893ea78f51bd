"""`remit.google.Credentials`: google-auth's credentials, with tokens that Remit decides on.

With the scopes of Cloud Storage, or none, it has the token for the project's buckets that policy permits. With any
other scope it has the caller's own token for Remit, for an `api_endpoint` at the second door. Google does not know that
token, and is not sent it: its hosts take a run, whose tunnels prove who this is, and see a word that opens nothing.
google-auth asks again 3 min 45 s before the end; what it is handed here is renewed at five minutes.
Sources: google-auth, `credentials.py`, `_helpers.py` (`REFRESH_THRESHOLD`).
"""

import datetime as dt
import os
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import urlsplit

from google.auth import credentials, exceptions

from remit.model.errors import NotSignedIn, Refused, RemitError
from remit.model.reasons import Reason
from remit.sdk.ambient import Ambient
from remit.sdk.resources import NOTHING, OWN
from remit.sdk.tokens import Tokens

_STORAGE = frozenset(
    f"https://www.googleapis.com/auth/{name}"
    for name in ("devstorage.read_only", "devstorage.read_write", "devstorage.full_control")
)
_GOOGLE = (".googleapis.com", ".google.com")
_NOT_NOW = 503  # HTTP


class Credentials(credentials.Scoped, credentials.CredentialsWithQuotaProject):
    """Tokens for Cloud Storage and for what stands behind Remit.

    `project`: whose buckets; else the run's, or what `GOOGLE_CLOUD_PROJECT` names. `scopes`: see above.
    """

    def __init__(
        self,
        project: str | None = None,
        scopes: Sequence[str] | None = None,
        *,
        default_scopes: Sequence[str] | None = None,
        quota_project_id: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # google-auth has few types
        self._project = project
        self._scopes = scopes
        self._default_scopes = default_scopes
        self._quota_project_id = quota_project_id
        self._ambient = Ambient(project)
        self._tokens = Tokens(self._ambient.ask)

    @property
    def requires_scopes(self) -> bool:
        """Without scopes it is for Storage."""
        return False

    def refresh(self, request: object) -> None:
        """Takes a new token; raises google-auth's `RefreshError`, `retryable` when it may be had in a moment."""
        del request  # Remit is asked, and not over Google's transport
        try:
            issued = self._tokens.get(self._ambient.named(self._scheme()))
        except RemitError as error:
            raise _refresh_error(error) from error
        ends = dt.datetime.fromtimestamp(int(issued.expires_on), dt.UTC)
        self.token, self.expiry = issued.token.reveal(), ends.replace(tzinfo=None)  # google-auth counts in naive UTC

    def before_request(self, request: object, method: str, url: str, headers: dict[str, str]) -> None:
        """Refreshes when needed and puts the token into the headers; raises `RefreshError` for a place not its own."""
        host = (urlsplit(url).hostname or "").rstrip(".")
        google_s = self._scheme() == OWN and f".{host}".endswith(_GOOGLE)
        if google_s and not os.environ.get("REMIT_JOB"):
            message = f"`{host}` is Google's, and the token for Remit is not for Google"
            raise _refresh_error(Refused(Reason.HOST_UNKNOWN, message, hint="use `remit run -- …`"))
        super().before_request(request, method, url, headers)  # type: ignore[no-untyped-call]  # google-auth has few types
        if google_s:  # the run's tunnel says who this is, and not every host of Google's has one
            self.apply(headers, NOTHING)  # type: ignore[no-untyped-call]  # the same

    def with_scopes(self, scopes: Sequence[str] | None, default_scopes: Sequence[str] | None = None) -> Self:
        """The same for other scopes."""
        return self._like(scopes=scopes, default_scopes=default_scopes)

    def with_quota_project(self, quota_project_id: str | None) -> Self:
        """The same, with whose quota is used (`x-goog-user-project`)."""
        return self._like(quota_project_id=quota_project_id)

    def __repr__(self) -> str:
        return f"<remit Credentials for {self._project or 'this project'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what it was made of: no token travels to a worker."""
        return _made, (type(self), self._project, self._made_of())

    def _like(self, **changes: Any) -> Self:
        return type(self)(self._project, **{**self._made_of(), **changes})

    def _made_of(self) -> dict[str, Any]:
        return {
            "scopes": self._scopes,
            "default_scopes": self._default_scopes,
            "quota_project_id": self._quota_project_id,
        }

    def _scheme(self) -> str:
        wanted = self._scopes if self._scopes is not None else self._default_scopes
        return "gs" if _STORAGE.issuperset(wanted or ()) else OWN


def _made(kind: type[Credentials], project: str | None, made_of: dict[str, Any]) -> Credentials:
    return kind(project, **made_of)


def _refresh_error(error: RemitError) -> exceptions.RefreshError:
    text = f"{error.message}; {error.hint}" if error.hint else error.message
    return exceptions.RefreshError(text, retryable=_again(error))  # type: ignore[no-untyped-call]  # the same


def _again(error: RemitError) -> bool:
    if isinstance(error, Refused):
        return error.reason.http_status == _NOT_NOW
    return not isinstance(error, NotSignedIn)
