"""The API of an installation: a question in somebody's name, one JSON object, or the refusal that came."""

from collections.abc import Callable, Mapping
from typing import Any

import httpx

from remit.model.errors import Refused, RemitError, SignInAgain
from remit.model.reasons import Reason
from remit.model.secret import AccessToken
from remit.sdk.configuration import loopback

_TIMEOUT = 15.0  # seconds: three hops of five at most


class NotFound(RemitError):
    """What was asked about is not there."""


class Told(Refused):
    """A refusal as the installation told it. `decision`: its id, may be empty."""

    def __init__(self, reason: Reason, message: str, *, hint: str, decision: str) -> None:
        super().__init__(reason, message, hint=hint)
        self.decision = decision


class Api:
    """The API of the installation at `url`; `token` gives the caller's, `None` where it asks for nobody.

    Every method raises `Refused`, `NotFound`, and `RemitError` when nobody answers.
    """

    def __init__(self, url: str, token: Callable[[], AccessToken] | None = None) -> None:
        self._url = url
        self._token = token
        self._proxied = not loopback(url)  # a proxy that the environment names would read what goes to loopback

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Asks."""
        return self._answer(self._send("GET", path, params=query or None))

    def post(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Asks for something to be done."""
        return self._answer(self._send("POST", path, json=dict(document)))

    def form(self, path: str, fields: Mapping[str, str]) -> dict[str, Any]:
        """The same, as OAuth's endpoints want it."""
        return self._answer(self._send("POST", path, data=dict(fields)))

    def delete(self, path: str, **query: str) -> dict[str, Any]:
        """Asks for something to be ended."""
        return self._answer(self._send("DELETE", path, params=query or None))

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self._token().reveal()}"} if self._token else {}
        try:
            return httpx.request(
                method, self._url + path, timeout=_TIMEOUT, trust_env=self._proxied, headers=headers, **arguments
            )
        except (httpx.HTTPError, httpx.InvalidURL):
            pass  # outside the handler: a library's error holds the request, and with it the token
        except UnicodeError:
            raise RemitError("what is asked for is not text") from None
        raise RemitError(f"remit does not answer at `{self._url}`", hint="is `remit serve` running there?")

    @staticmethod
    def _answer(response: httpx.Response) -> dict[str, Any]:
        try:
            document = response.json()
        except (ValueError, RecursionError):
            document = None  # no answer of ours, whatever its status
        said = document if isinstance(document, dict) else {}
        if response.is_success and isinstance(document, dict):
            return said
        message, hint = said.get("error_description"), said.get("hint")
        hint = hint if isinstance(hint, str) else ""
        reason = response.headers.get("x-remit-reason", "")
        if said.get("error") == "not_found":
            raise NotFound(str(message or "there is no such thing"), hint=hint)
        if reason not in set(Reason) and response.is_client_error and isinstance(message, str) and message:
            if said.get("error") == "invalid_target":  # RFC 8693, section 2.2.2: it would be none a second time either
                raise Refused(Reason.REQUEST_MALFORMED, message, hint=hint)
            raise RemitError(message, hint=hint)
        known = Reason(reason) if reason in set(Reason) else Reason.PLANE_UNAVAILABLE
        if known is Reason.SIGN_IN_AGAIN:
            since = said.get("not_before")
            raise SignInAgain(since if isinstance(since, int) else 0)
        decision = response.headers.get("x-remit-decision", "")
        raise Told(known, str(message or known.sentence), hint=hint, decision=decision)
