"""Asking the broker: RFC 8693 token exchange at an installation, and who it says this is."""

from dataclasses import dataclass
from typing import Any

import httpx

from remit.model.errors import Refused, RemitError
from remit.model.reasons import Reason
from remit.model.secret import AccessToken

_TIMEOUT = 15.0  # seconds: three hops of five at most
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

    def storage_token(self, identity: AccessToken, project: str) -> Exchanged:
        """A token for the project's buckets that policy permits; raises `Refused`, `RemitError` when nobody answers."""
        form = {
            "grant_type": _GRANT,
            "subject_token": identity.reveal(),
            "subject_token_type": _ACCESS_TOKEN,
            "audience": STORAGE + project,
        }
        document = self._answer(self._send("POST", "/v1/token", data=form))
        try:
            return Exchanged(AccessToken(str(document["access_token"])), int(document["expires_in"]))
        except (KeyError, TypeError, ValueError):
            raise RemitError(f"`{self._url}` answered without a token") from None

    def identity(self, identity: AccessToken) -> dict[str, Any]:
        """Who the installation says this is."""
        return self._answer(self._send("GET", "/v1/identity", headers=_bearer(identity)))

    def decision(self, identity: AccessToken, decision: str) -> dict[str, Any]:
        """One's own decision: outcome, reasons, what is missing."""
        request = self._send("GET", "/v1/decision", params={"id": decision}, headers=_bearer(identity))
        return self._answer(request)

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return httpx.request(method, self._url + path, timeout=_TIMEOUT, **arguments)
        except (httpx.HTTPError, httpx.InvalidURL):
            pass  # outside the handler: a library's error holds the request, and with it the token
        raise RemitError(f"remit does not answer at `{self._url}`", hint="is `remit serve` running there?")

    @staticmethod
    def _answer(response: httpx.Response) -> dict[str, Any]:
        try:
            document = response.json()
        except ValueError:
            document = {}
        if response.is_success and isinstance(document, dict):
            return document
        reason = response.headers.get("x-remit-reason", "")
        known = Reason(reason) if reason in set(Reason) else Reason.PLANE_UNAVAILABLE
        said = document.get("error_description") if isinstance(document, dict) else None
        raise Refused(known, str(said or known.sentence))


def _bearer(token: AccessToken) -> dict[str, str]:
    return {"authorization": f"Bearer {token.reveal()}"}
