"""Signing in, and having a token for Remit at hand ever after, through msal.

The identity provider's tokens live in a store (store.py). msal does not validate ID tokens (since 1.38), and nothing
here believes them: who somebody is, the arbiter says, from the access token that it verified. At Entra this client says
that it understands claims challenges (`CP1`); other providers take `claims` for a mistake, so they are not sent any.
"""

import contextlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from remit.model.errors import NotSignedIn, RemitError
from remit.model.secret import AccessToken, Secret
from remit.sdk.api import Api
from remit.sdk.browser import Receiver
from remit.sdk.configuration import Configuration, fetch
from remit.sdk.pin import Pin, seen
from remit.sdk.store import Entry, Store, chosen, forget, held
from remit.sdk.workload import Kind, Source, Workload, aged, ambient

_HINT = "run `remit login --url URL`"
_CONTEXT = re.compile(r"c[0-9]{1,2}")
_BROWSER = 300.0  # seconds for a person to sign in in the browser
_RESERVED = frozenset({"openid", "profile", "offline_access"})  # msal adds these, and refuses to be told

Announce = Callable[[Mapping[str, str]], None]


class SignedIn(Protocol):
    """Whoever is signed in: a person, or a workload by an identity of its own."""

    @property
    def configuration(self) -> Configuration:
        """The installation."""

    def token(self) -> AccessToken:
        """A token for Remit, renewed when needed; raises `NotSignedIn`, `RemitError` when the door is another."""

    def origin(self) -> str:
        """Where the identity comes from, for people: the store of a person's sign-in, or what a workload has."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sign-in has to be. `context`: an authentication context such as `c1`; `not_before`: epoch seconds."""

    context: str = ""
    not_before: int = 0

    @property
    def claims(self) -> str | None:
        """Entra's claims request for it (learn.microsoft.com/entra/identity-platform/claims-challenge)."""
        claims: dict[str, Any] = {}
        if self.context:
            if not _CONTEXT.fullmatch(self.context):
                raise RemitError(f"`{self.context}` is not an authentication context")
            claims["acrs"] = {"essential": True, "value": self.context}
        if self.not_before:
            claims["nbf"] = {"essential": True, "value": str(self.not_before)}
        return json.dumps({"access_token": claims}) if claims else None


ANY = Wanted()


class SignIn:
    """This person's sign-in at one installation."""

    def __init__(self, store: Store, configuration: Configuration, cache: str = "", pin: Pin | None = None) -> None:
        import msal  # noqa: PLC0415 - a third of a second, and not every command signs in

        self.configuration = configuration
        self.store = store
        self._pin = pin or seen(configuration)
        self._cache = msal.SerializableTokenCache()
        self._cache.deserialize(cache or "{}")
        self._scopes = [scope for scope in configuration.scope.split() if scope not in _RESERVED]
        with _asking(configuration):
            self._application = msal.PublicClientApplication(
                configuration.client, token_cache=self._cache, **_authority(configuration)
            )
        self._lock = threading.Lock()

    @classmethod
    def at(cls, url: str, store: Store | None = None, *, place: str = "") -> "SignIn":
        """A new sign-in at the installation with this URL; nobody is signed in yet.

        It will be kept in `store`, else in the one that is named `place`, else in the best there is.
        Raises `RemitError` when there is a sign-in at this URL and its door was another: to be told so once is the use
        of having remembered it.
        """
        configuration = fetch(url)
        _recognise(configuration, store)
        return cls(store or chosen(place), configuration)

    @classmethod
    def kept(cls, store: Store | None = None) -> "SignIn":
        """The person's sign-in that is kept on this machine; raises `NotSignedIn`."""
        found = _found(store)
        if found is None or found[1].workload:
            raise nobody()
        return cls.of(*found)

    @classmethod
    def of(cls, store: Store, entry: Entry) -> "SignIn":
        """The sign-in that a store's entry holds."""
        return cls(store, fetch(entry.url), entry.cache.reveal(), entry.pin)

    def origin(self) -> str:
        """Where the sign-in is kept."""
        return self.store.place()

    def by_device(self, announce: Announce, wanted: Wanted = ANY) -> None:
        """Signs in by device code (RFC 8628): announces `user_code` and `verification_uri`, then waits for the person.

        Raises `NotSignedIn` when it does not succeed.
        """
        self._begin()
        claims = self._claims(wanted)
        with _asking(self.configuration):
            flow = self._application.initiate_device_flow(self._scopes, claims_challenge=claims)
        if "user_code" not in flow:
            raise NotSignedIn(f"the identity provider refused to start a sign-in: {_said(flow)}")
        shown = {name: str(flow.get(name, "")) for name in ("user_code", "verification_uri", "message")}
        announce(shown)
        with _asking(self.configuration):
            self._finish(self._application.acquire_token_by_device_flow(flow, claims_challenge=claims))

    def by_browser(self, show: Callable[[str], None], wanted: Wanted = ANY, patience: float = _BROWSER) -> None:
        """Signs in by authorization code with PKCE (RFC 7636) on loopback: `show` gets the address to open.

        `patience`: seconds for the person; raises `NotSignedIn` when it does not succeed.
        """
        self._begin()
        prompt = None
        if self.configuration.issuer:  # OpenID Connect Core, section 11: a refresh token wants consent
            prompt = "login consent" if wanted.not_before else "consent"
        with Receiver() as receiver, _asking(self.configuration):
            flow = self._application.initiate_auth_code_flow(
                self._scopes,
                redirect_uri=receiver.url,
                response_mode="form_post",
                claims_challenge=self._claims(wanted),
                prompt=prompt,
            )
            show(flow["auth_uri"])
            answer = receiver.answer(flow["state"], patience)
            if self.configuration.issuer and answer.get("iss", self.configuration.issuer) != self.configuration.issuer:
                raise NotSignedIn("the answer came from another identity provider")  # RFC 9207
            self._finish(self._application.acquire_token_by_auth_code_flow(flow, answer))

    def token(self) -> AccessToken:
        """An access token for Remit, renewed when needed; raises `NotSignedIn`.

        The store is asked every time (the keeper answers in a millisecond), so that a stronger sign-in, or a sign-out,
        counts at once; and the door is looked at before there is anything to send to it.
        """
        self._pin.check(self.configuration)
        with self._lock:
            self._reload()
            accounts = self._application.get_accounts()
            if not accounts:
                raise nobody()
            with _asking(self.configuration):
                result = self._application.acquire_token_silent_with_error(self._scopes, accounts[0])
                if result and aged(str(result.get("access_token"))):  # Entra's may live for 28 h, Google's door is 24 h
                    result = self._application.acquire_token_silent_with_error(
                        self._scopes, accounts[0], force_refresh=True
                    )
            if not result or "access_token" not in result:
                raise NotSignedIn(f"the sign-in could not be renewed: {_said(result or {})}", hint=_HINT)
            self._keep()
            return AccessToken(result["access_token"])

    def _claims(self, wanted: Wanted) -> str | None:
        if not self.configuration.issuer:
            return wanted.claims
        if wanted.context:
            message = f"`{self.configuration.issuer}` cannot be asked for the authentication context `{wanted.context}`"
            raise NotSignedIn(message, hint="sign in there more strongly, then `remit login`")
        return None

    def _begin(self) -> None:
        """Whoever signs in takes the place of whoever was signed in."""
        self._cache.deserialize("{}")

    def _finish(self, result: Mapping[str, Any]) -> None:
        if "access_token" not in result:
            raise NotSignedIn(f"the sign-in did not succeed: {_said(result)}")
        self._keep()

    def _reload(self) -> None:
        """Takes over what another process of this user has signed in or renewed meanwhile."""
        sealed = self.store.get()
        entry = Entry.opened(sealed) if sealed else None
        here = entry is not None and entry.url == self.configuration.url
        self._cache.deserialize((entry.cache.reveal() if entry and here else "") or "{}")

    def _keep(self) -> None:
        if self._cache.has_state_changed:
            cache = Secret(self._cache.serialize())
            self.store.put(Entry(self.configuration.url, self._pin, cache).sealed())


def current(environment: Mapping[str, str] = os.environ) -> SignedIn:
    """Whoever is signed in on this machine, else the workload that these surroundings are, at `REMIT_URL`.

    Raises `NotSignedIn` when there is neither.
    """
    if found := _found(None):
        store, entry = found
        return workload_of(entry, environment) if entry.workload else SignIn.of(store, entry)
    url, source = environment.get("REMIT_URL"), ambient(environment)
    if not url or source is None:
        raise nobody()
    configuration = fetch(url)
    # Nothing is remembered of this door: on loopback it has to be this user's or root's.
    return Workload(configuration, source, Pin(configuration.door), environment)


def workload_of(entry: Entry, environment: Mapping[str, str] = os.environ) -> Workload:
    """The workload that an entry names."""
    source = Source(Kind(entry.workload["kind"]), entry.workload["why"], entry.workload["value"])
    return Workload(fetch(entry.url), source, entry.pin, environment)


def workload_at(url: str, source: Source, store: Store | None = None, *, place: str = "") -> tuple[Workload, Store]:
    """Signs a workload in, and keeps by which identity it did so; that the identity is there is shown by its token.

    `store` and `place` as in `SignIn.at`; the store is returned.
    """
    configuration = fetch(url)
    _recognise(configuration, store)
    pin = seen(configuration)
    signed_in = Workload(configuration, source, pin)
    signed_in.token()
    named = {"kind": str(source.kind), "why": source.why, "value": source.value}
    store = store or chosen(place)
    store.put(Entry(configuration.url, pin, workload=named).sealed())
    return signed_in, store


def sign_out(store: Store | None = None) -> None:
    """Forgets the sign-in on this machine."""
    store.end() if store else forget()


def nobody() -> NotSignedIn:
    """Nobody is signed in."""
    return NotSignedIn("nobody is signed in on this machine", hint=_HINT)


def _found(store: Store | None) -> tuple[Store, Entry] | None:
    found = held() if store is None else (store, store.get())
    return None if found is None or found[1] is None else (found[0], Entry.opened(found[1]))


def _recognise(configuration: Configuration, store: Store | None) -> None:
    """Raises `RemitError` when there is a sign-in at this URL, and its door was another."""
    found = None
    with contextlib.suppress(NotSignedIn):  # what cannot be read is replaced
        found = _found(store)
    if found and found[1].url == configuration.url:
        found[1].pin.check(configuration)


def _authority(configuration: Configuration) -> dict[str, Any]:
    """Which provider, in msal's words. Entra's name is looked up at Microsoft by msal when it is not a known one."""
    if configuration.issuer:
        issuer = configuration.issuer.rstrip("/")
        # msal wants a path, and many issuers have none; `/.` is one, and on the wire is none again (RFC 3986, 5.2.4)
        return {"oidc_authority": issuer if urlsplit(issuer).path else f"{issuer}/."}
    return {"authority": f"{configuration.authority}/{configuration.tenant}", "client_capabilities": ["CP1"]}


@contextlib.contextmanager
def _asking(configuration: Configuration) -> Iterator[None]:
    """An identity provider that cannot be reached, in one sentence: msal lets the errors of requests pass."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        message = f"the identity provider at `{configuration.provider}` does not answer: {type(error).__name__}"
        raise RemitError(message, hint="is there a network, and is a proxy needed?") from None


def _said(result: Mapping[str, Any]) -> str:
    """What the provider said, first line only, which holds the AADSTS code and never a token."""
    return str(result.get("error_description") or result.get("error") or "no answer").splitlines()[0]


def signed_in() -> Api:
    """The API of the installation that somebody is signed in at on this machine; raises `RemitError` without one."""
    found = SignIn.kept()
    return Api(found.configuration.url, found.token)
