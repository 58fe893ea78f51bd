"""Asking the broker: RFC 8693 token exchange at an installation, and who it says this is."""

from dataclasses import dataclass
from typing import Any

import httpx

from remit.model.errors import Refused, RemitError, SignInAgain
from remit.model.reasons import Reason
from remit.model.secret import AccessToken
from remit.sdk.configuration import loopback

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
        self._proxied = not loopback(url)  # a proxy that the environment names would read what goes to loopback

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
        document = self._answer(self._send("POST", "/v1/token", data=form))
        try:
            return Exchanged(AccessToken(str(document["access_token"])), int(document["expires_in"]))
        except (KeyError, TypeError, ValueError):
            raise RemitError(f"`{self._url}` answered without a token") from None

    def identity(self, identity: AccessToken, *, groups: bool = False) -> dict[str, Any]:
        """Who the installation says this is; with `groups`, also by which path each group came about."""
        asked = {"groups": "paths"} if groups else {}
        return self._answer(self._send("GET", "/v1/identity", params=asked, headers=_bearer(identity)))

    def decision(self, identity: AccessToken, decision: str) -> dict[str, Any]:
        """One's own decision: outcome, reasons, what is missing."""
        request = self._send("GET", "/v1/decision", params={"id": decision}, headers=_bearer(identity))
        return self._answer(request)

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return httpx.request(method, self._url + path, timeout=_TIMEOUT, trust_env=self._proxied, **arguments)
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
        refusal = document if isinstance(document, dict) else {}
        if known is Reason.SIGN_IN_AGAIN:
            since = refusal.get("not_before")
            raise SignInAgain(since if isinstance(since, int) else 0)
        said, hint = refusal.get("error_description"), refusal.get("hint")
        raise Refused(known, str(said or known.sentence), hint=hint if isinstance(hint, str) else "")


def _bearer(token: AccessToken) -> dict[str, str]:
    return {"authorization": f"Bearer {token.reveal()}"}
