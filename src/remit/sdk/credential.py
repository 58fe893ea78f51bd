"""`remit.Credential`: azure-core's `TokenCredential` and `SupportsTokenInfo`, with tokens that Remit decides on.

Inside a run the sidecar is asked, outside of one the broker, by whoever is signed in. A challenge (`claims`, continuous
access evaluation) is answered by asking anew; when that brings nothing better, the error says what would. `tenant_id`
and `enable_cae` are taken and change nothing: an installation has one tenant, and its tokens are as CAE wants them.

What goes wrong is told in the words that azure-core's policies act on:

    nobody is signed in         CredentialUnavailableError   a chain of credentials asks its next
    the answer is no            ClientAuthenticationError    not tried again
    nobody answers right now    ServiceRequestError          tried again, as the client's retry policy says

Source: azure-core, `credentials.py`, `pipeline/policies/_retry.py`.
"""

import asyncio
from types import TracebackType
from typing import Any, Self

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError, ClientAuthenticationError, ServiceRequestError

from remit.model.errors import NotSignedIn, Refused, RemitError
from remit.sdk.ambient import Ambient
from remit.sdk.resources import Resource
from remit.sdk.tokens import RENEW, ClaimsUnmet, Issued, Tokens

_NOT_NOW = 503  # HTTP


class _Shown(AccessToken):
    """azure-core's token, without its habit of printing itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"AccessToken(token=<hidden>, expires_on={self.expires_on})"


class _ShownInfo(AccessTokenInfo):
    """The same."""

    def __repr__(self) -> str:
        return f"AccessTokenInfo(token=<hidden>, expires_on={self.expires_on})"


class _Asked:
    """What both forms share. It is pickled as its project: no token travels to a worker."""

    def __init__(self, project: str | None = None) -> None:
        self._project = project
        self._ambient = Ambient(project)
        self._tokens = Tokens(self._ambient.ask)

    def __repr__(self) -> str:
        return f"<remit {type(self).__name__} for {self._project or 'this project'}>"

    def __reduce__(self) -> tuple[type[Self], tuple[str | None]]:
        return type(self), (self._project,)

    def _resource(self, scopes: tuple[str, ...]) -> Resource:
        if len(scopes) != 1:
            raise ValueError("a token is asked for with one scope")
        try:
            return self._ambient.scoped(scopes[0])
        except RemitError as error:
            raise _told(error, final=True) from error

    def _issued(self, resource: Resource, claims: str | None) -> Issued:
        try:
            return self._tokens.get(resource, claims or "")
        except RemitError as error:
            raise _told(error) from error


class Credential(_Asked):
    """Tokens for Azure's Blob Storage and databases, and for Remit's own doors.

    `project`: whose containers and databases; else the run's, or what `GOOGLE_CLOUD_PROJECT` names. Threads may share
    one. `get_token` raises `ValueError` unless it is given one scope.
    """

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **kwargs: Any,
    ) -> AccessToken:
        """A token for one scope, such as `https://storage.azure.com/.default`."""
        del tenant_id, enable_cae, kwargs
        return _token(self._issued(self._resource(scopes), claims))

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """The same, with the time from which it is renewed."""
        return _info(self._issued(self._resource(scopes), (options or {}).get("claims")))

    def close(self) -> None:
        """There is nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()


class AsyncCredential(_Asked):
    """The same for azure-core's asynchronous clients, adlfs among them. What has to be asked is asked in a thread."""

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **kwargs: Any,
    ) -> AccessToken:
        """A token for one scope, such as `https://storage.azure.com/.default`."""
        del tenant_id, enable_cae, kwargs
        return _token(await self._asked(scopes, claims))

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """The same, with the time from which it is renewed."""
        return _info(await self._asked(scopes, (options or {}).get("claims")))

    async def _asked(self, scopes: tuple[str, ...], claims: str | None) -> Issued:
        resource = self._resource(scopes)
        if not claims and (held := self._tokens.held(resource)):
            return held
        return await asyncio.to_thread(self._issued, resource, claims)

    async def close(self) -> None:
        """There is nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


def _told(error: RemitError, *, final: bool = False) -> AzureError:
    """An error in the words of azure-core: message and hint, which name the decision, and never a token."""
    text = f"{error.message}; {error.hint}" if error.hint else error.message
    if isinstance(error, NotSignedIn):
        from azure.identity import CredentialUnavailableError  # noqa: PLC0415 - half a second, and seldom

        return CredentialUnavailableError(message=text)
    refused = isinstance(error, Refused) and error.reason.http_status != _NOT_NOW
    if final or refused or isinstance(error, ClaimsUnmet):
        return ClientAuthenticationError(message=text)
    return ServiceRequestError(message=text)


def _token(issued: Issued) -> AccessToken:
    return _Shown(issued.token.reveal(), int(issued.expires_on))


def _info(issued: Issued) -> AccessTokenInfo:
    ends = int(issued.expires_on)
    return _ShownInfo(issued.token.reveal(), ends, refresh_on=ends - RENEW)
