"""Asking the broker: RFC 8693 token exchange at an installation, and who it says this is."""

from dataclasses import dataclass
from typing import Any

from remit.model.errors import RemitError
from remit.model.secret import AccessToken
from remit.sdk.api import Api

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A token and how long it lives (seconds, from when it was asked for)."""

    token: AccessToken
    expires_in: int


class Broker:
    """The broker of the installation at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def exchange(self, identity: AccessToken, audience: str, job: str = "") -> Exchanged:
        """A token that policy permits, for one of the audiences of `resources`, and for the run `job`.

        Raises `Refused`, and `RemitError` when nobody answers.
        """
        form = {
            "grant_type": _GRANT,
            "subject_token": identity.reveal(),
            "subject_token_type": _ACCESS_TOKEN,
            "audience": audience,
            **({"job": job} if job else {}),
        }
        document = Api(self._url).form("/v1/token", form)
        try:
            token, expires_in = document["access_token"], int(document["expires_in"])
            if isinstance(token, str) and token and expires_in > 0:
                return Exchanged(AccessToken(token), expires_in)
        except (KeyError, TypeError, ValueError):
            pass  # outside the handler: what was said may hold a token
        raise RemitError(f"`{self._url}` answered without a token")

    def identity(self, identity: AccessToken, *, groups: bool = False) -> dict[str, Any]:
        """Who the installation says this is; with `groups`, also by which path each group came about."""
        return self._api(identity).get("/v1/identity", **({"groups": "paths"} if groups else {}))

    def decision(self, identity: AccessToken, decision: str) -> dict[str, Any]:
        """One's own decision: outcome, reasons, what is missing."""
        return self._api(identity).get("/v1/decision", id=decision)

    def _api(self, identity: AccessToken) -> Api:
        return Api(self._url, lambda: identity)
