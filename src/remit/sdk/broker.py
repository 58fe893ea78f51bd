"""Asking the broker: RFC 8693 token exchange at an installation, and who it says this is."""

from dataclasses import dataclass
from typing import Any

from remit.model.errors import RemitError
from remit.model.secret import AccessToken
from remit.sdk.api import Api

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
STORAGE = "//storage.googleapis.com/projects/"
"""The audience of a `direct` Storage token is this and a project's id."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A token and how long it lives (seconds, from when it was asked for)."""

    token: AccessToken
    expires_in: int


class Broker:
    """The broker of the installation at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def storage_token(self, identity: AccessToken, project: str, job: str = "") -> Exchanged:
        """A token for the project's buckets that policy permits, for the run `job`.

        Raises `Refused`, and `RemitError` when nobody answers.
        """
        form = {
            "grant_type": _GRANT,
            "subject_token": identity.reveal(),
            "subject_token_type": _ACCESS_TOKEN,
            "audience": STORAGE + project,
            **({"job": job} if job else {}),
        }
        document = Api(self._url).form("/v1/token", form)
        try:
            return Exchanged(AccessToken(str(document["access_token"])), int(document["expires_in"]))
        except (KeyError, TypeError, ValueError):
            raise RemitError(f"`{self._url}` answered without a token") from None

    def identity(self, identity: AccessToken, *, groups: bool = False) -> dict[str, Any]:
        """Who the installation says this is; with `groups`, also by which path each group came about."""
        return self._api(identity).get("/v1/identity", **({"groups": "paths"} if groups else {}))

    def decision(self, identity: AccessToken, decision: str) -> dict[str, Any]:
        """One's own decision: outcome, reasons, what is missing."""
        return self._api(identity).get("/v1/decision", id=decision)

    def _api(self, identity: AccessToken) -> Api:
        return Api(self._url, lambda: identity)
