"""Signing in, and having a token for Remit at hand ever after, through msal.

The identity provider's tokens live in the keeper. msal does not validate ID tokens (since 1.38), and nothing here
believes them: who somebody is, the arbiter says, from the access token that it verified.
"""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from remit.model.errors import NotSignedIn, RemitError
from remit.model.secret import AccessToken, Secret
from remit.sdk.configuration import Configuration, fetch
from remit.sdk.keeper import Keeper

_HINT = "run `remit login --url URL`"
_CONTEXT = re.compile(r"c[0-9]{1,2}")

Announce = Callable[[Mapping[str, str]], None]


class SignIn:
    """This user's sign-in at one installation."""

    def __init__(self, keeper: Keeper, configuration: Configuration, cache: str = "") -> None:
        import msal  # noqa: PLC0415 - a third of a second, and not every command signs in

        self._keeper = keeper
        self.configuration = configuration
        self._cache = msal.SerializableTokenCache()
        self._cache.deserialize(cache or "{}")
        with _asking(configuration):
            self._application = msal.PublicClientApplication(
                configuration.client,
                authority=f"{configuration.authority}/{configuration.tenant}",
                token_cache=self._cache,
            )
        self._lock = threading.Lock()

    @classmethod
    def at(cls, url: str, keeper: Keeper | None = None) -> "SignIn":
        """A new sign-in at the installation with this URL; nobody is signed in yet."""
        return cls(keeper or Keeper(), fetch(url))

    @classmethod
    def kept(cls, keeper: Keeper | None = None) -> "SignIn":
        """The sign-in that the keeper holds; raises `NotSignedIn`."""
        keeper = keeper or Keeper()
        entry = keeper.get()
        if entry is None:
            raise NotSignedIn("nobody is signed in on this machine", hint=_HINT)
        document = json.loads(entry.reveal())
        return cls(keeper, fetch(document["url"]), document["cache"])

    def by_device(self, announce: Announce, claims: str | None = None) -> None:
        """Signs in by device code (RFC 8628): announces `user_code` and `verification_uri`, then waits for the person.

        `claims`: a claims request as JSON text, for a stronger sign-in; raises `NotSignedIn` when it does not succeed.
        """
        self._cache.deserialize("{}")  # whoever signs in takes the place of whoever was signed in
        with _asking(self.configuration):
            flow = self._application.initiate_device_flow([self.configuration.scope], claims_challenge=claims)
        if "user_code" not in flow:
            raise NotSignedIn(f"the identity provider refused to start a sign-in: {_said(flow)}")
        announce(
            {"user_code": flow["user_code"], "verification_uri": flow["verification_uri"], "message": flow["message"]}
        )
        with _asking(self.configuration):
            result = self._application.acquire_token_by_device_flow(flow, claims_challenge=claims)
        if "access_token" not in result:
            raise NotSignedIn(f"the sign-in did not succeed: {_said(result)}")
        self._keep()

    def token(self) -> AccessToken:
        """An access token for Remit, renewed when needed; raises `NotSignedIn`.

        The keeper is asked every time (a millisecond), so that a stronger sign-in, or a sign-out, counts at once.
        """
        with self._lock:
            self._reload()
            accounts = self._application.get_accounts()
            if not accounts:
                raise NotSignedIn("nobody is signed in on this machine", hint=_HINT)
            with _asking(self.configuration):
                result = self._application.acquire_token_silent_with_error([self.configuration.scope], accounts[0])
            if not result or "access_token" not in result:
                raise NotSignedIn(f"the sign-in could not be renewed: {_said(result or {})}", hint=_HINT)
            self._keep()
            return AccessToken(result["access_token"])

    def _reload(self) -> None:
        """Takes over what another process of this user has signed in or renewed meanwhile."""
        entry = self._keeper.get()
        self._cache.deserialize(json.loads(entry.reveal())["cache"] if entry else "{}")

    def _keep(self) -> None:
        if self._cache.has_state_changed:
            entry = {"url": self.configuration.url, "cache": self._cache.serialize()}
            self._keeper.put(Secret(json.dumps(entry)))


@contextlib.contextmanager
def _asking(configuration: Configuration) -> Iterator[None]:
    """An identity provider that cannot be reached, in one sentence: msal lets the errors of requests pass."""
    try:
        yield
    except (OSError, ValueError) as error:
        message = f"the identity provider at `{configuration.authority}` does not answer: {type(error).__name__}"
        raise RemitError(message, hint="is there a network, and is a proxy needed?") from None


def _said(result: Mapping[str, Any]) -> str:
    """What the provider said, first line only, which holds the AADSTS code and never a token."""
    return str(result.get("error_description") or result.get("error") or "no answer").splitlines()[0]


def sign_out(keeper: Keeper | None = None) -> None:
    """Forgets the sign-in on this machine."""
    (keeper or Keeper()).end()


def claims_for(context: str) -> str:
    """The claims request for an authentication context such as `c1` (Entra, claims challenge)."""
    if not _CONTEXT.fullmatch(context):
        raise RemitError(f"`{context}` is not an authentication context")
    return json.dumps({"access_token": {"acrs": {"essential": True, "value": context}}})
