"""A provider's token endpoint, asked with our own credentials: a code for tokens, a refresh token for newer ones.

RFC 6749 sections 2.3.1, 3.2, 4.1.3, 5 and 6; RFC 7636 section 4.5; RFC 7523 section 2.2 for the client assertion.
What is refused for good (`invalid_grant` and its kin) is told apart from what may work later, since the one ends a
session and the other does not. Leaves out: what the tokens say.
"""

import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote_plus

import httpx

from remit.identity.browser.provider_http import TIMEOUT, ask, unavailable
from remit.identity.browser.provider_metadata import ProviderMetadata
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import AccessToken, Secret, UnverifiedToken

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_OK = 200
_REFUSALS = frozenset({400, 401, 403})
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ENTRA = re.compile(r"AADSTS[0-9]{4,8}")
# RFC 6749 section 5.2, OpenID Connect Core section 3.1.2.6: the person would have to do something, or may not come in
_FINAL = frozenset({"invalid_grant", "interaction_required", "login_required", "consent_required", "access_denied"})

Assertion = Callable[[], Awaitable[Secret]]
"""Our client assertion, a JWT for this provider."""


class ProviderSaysNo(Refused):
    """The provider refused. `code`: its error code; `final`: whether asking again could never help."""

    def __init__(self, code: str, *, final: bool) -> None:
        super().__init__(
            Reason.EXCHANGE_REFUSED,
            f"the identity provider says `{code}`",
            hint="start again; if it stays, show this page to your administrators",
        )
        self.code = code
        self.final = final


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the endpoint gave. `refresh`: as given, `None` for "keep the one you have"."""

    access: AccessToken
    id_token: UnverifiedToken | None
    refresh: Secret | None


class ClientCredentials(Protocol):
    """How we prove who we are at a token endpoint."""

    async def present(self, metadata: ProviderMetadata) -> "Presented":
        """Headers and form members, made anew for each request."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What goes into one request."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] = field(default_factory=dict, repr=False)


class ClientSecret:
    """`client_secret_basic`, or `client_secret_post` where the provider takes no other; the file is read each time."""

    def __init__(self, client: str, file: Path) -> None:
        self._client = client
        self._file = file

    async def present(self, metadata: ProviderMetadata) -> Presented:
        """As `ClientCredentials.present`."""
        secret = self._read()
        if "client_secret_basic" in metadata.methods:
            # RFC 6749 section 2.3.1: each half is form-encoded before it is joined
            pair = f"{quote_plus(self._client)}:{quote_plus(secret.reveal())}"
            return Presented(headers={"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"})
        if "client_secret_post" in metadata.methods:
            return Presented(form={"client_id": self._client, "client_secret": secret.reveal()})
        raise unavailable("takes neither `client_secret_basic` nor `client_secret_post`")

    def _read(self) -> Secret:
        try:
            text = self._file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            text = ""
        if not text:
            raise Refused(
                Reason.EXCHANGE_UNAVAILABLE,
                "the client secret for the identity provider cannot be read",
                hint="ask an administrator to look at `secret_file` in remit.yaml",
            )
        return Secret(text)


class ClientAssertion:
    """`private_key_jwt`, or Entra's federated credential: a JWT that somebody else signs for us."""

    def __init__(self, client: str, assertion: Assertion) -> None:
        self._client = client
        self._assertion = assertion

    async def present(self, metadata: ProviderMetadata) -> Presented:  # noqa: ARG002 - the port's; an assertion fits all
        """As `ClientCredentials.present`."""
        signed = await self._assertion()
        form = {"client_id": self._client, "client_assertion_type": _ASSERTION, "client_assertion": signed.reveal()}
        return Presented(form=form)


class TokenEndpoint:
    """One provider's. `client` must not follow redirects; `timeout`: seconds for one answer."""

    def __init__(self, client: httpx.AsyncClient, credentials: ClientCredentials, *, timeout: float = TIMEOUT) -> None:
        self._client = client
        self._timeout = timeout
        self._credentials = credentials

    async def redeem(self, metadata: ProviderMetadata, code: str, verifier: str, redirect: str) -> Tokens:
        """Tokens for a code; raises `ProviderSaysNo` or `Refused`."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier}
        return await self._ask(metadata, form)

    async def refresh(self, metadata: ProviderMetadata, token: Secret, scopes: tuple[str, ...]) -> Tokens:
        """Newer tokens, for the same scopes when none are named; raises `ProviderSaysNo` or `Refused`."""
        form = {"grant_type": "refresh_token", "refresh_token": token.reveal()}
        form |= {"scope": " ".join(scopes)} if scopes else {}
        return await self._ask(metadata, form)

    async def _ask(self, metadata: ProviderMetadata, form: Mapping[str, str]) -> Tokens:
        presented = await self._credentials.present(metadata)
        answered = await ask(
            self._client,
            "POST",
            metadata.token_endpoint,
            form={**form, **presented.form},
            headers=presented.headers,
            timeout=self._timeout,
        )
        if answered.status in _REFUSALS and "error" in answered.members:
            raise says_no(answered.members["error"], answered.members.get("error_description"))
        if answered.status != _OK:
            raise unavailable(f"answered {answered.status}")
        return read_tokens(answered.members)


def says_no(error: object, description: object = None) -> ProviderSaysNo:
    """A provider's error, in no more of its words than a code: the rest may be anybody's."""
    code = error if isinstance(error, str) and _CODE.fullmatch(error) else "unknown_error"
    entra = _ENTRA.match(description) if isinstance(description, str) else None
    return ProviderSaysNo(f"{code} {entra[0]}" if entra else code, final=code in _FINAL)


def read_tokens(members: Mapping[str, object]) -> Tokens:
    """The tokens of a good answer (section 5.1); raises `Refused`."""
    access, kind = members.get("access_token"), members.get("token_type")
    if not isinstance(access, str) or not access or not isinstance(kind, str) or kind.lower() != "bearer":
        raise unavailable("answered without a bearer token")
    id_token, refresh = members.get("id_token"), members.get("refresh_token")
    return Tokens(
        access=AccessToken(access),
        id_token=UnverifiedToken(id_token) if isinstance(id_token, str) and id_token else None,
        refresh=Secret(refresh) if isinstance(refresh, str) and refresh else None,
    )
