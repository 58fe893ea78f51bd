"""Remit as a client of one OpenID provider: send a browser there, take it back, ask again later.

Authorization code with PKCE, always (RFC 6749 section 4.1, RFC 7636, OpenID Connect Core section 3.1), after RFC 9700:
`state` bound to this browser and provider, `nonce`, RFC 9207's `iss`, one exact redirect address of the provider's own.
The identity is the ID token's, or that of an access token for Remit, which its issuer's own rules judge. Leaves out:
userinfo, dynamic registration, implicit and hybrid answers, logout at the provider.
"""

import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from remit.identity.browser.held import Held
from remit.identity.browser.id_token import Expected, IdTokens
from remit.identity.browser.provider_http import unavailable
from remit.identity.browser.provider_metadata import Discovery, ProviderMetadata
from remit.identity.browser.sign_in_flow import Flow
from remit.identity.browser.token_endpoint import TokenEndpoint, Tokens, says_no
from remit.identity.settings import SignInProvider
from remit.identity.tokens.keys import KeySource
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

MAX_QUERY = 8192  # characters; Entra's codes have up to 2000
_CONTEXT = re.compile(r"c[1-9][0-9]?")  # Entra has 99 of them
_CODE = re.compile(r"[\x20-\x7e]{1,4096}")  # RFC 6749 appendix A.11

Authenticate = Callable[[UnverifiedToken, int], Awaitable[Identity]]


class RelyingParty:
    """One provider. `authenticate`: judges access tokens for Remit, needed when `provider.token` is set."""

    def __init__(
        self,
        provider: SignInProvider,
        discovery: Discovery,
        endpoint: TokenEndpoint,
        keys: KeySource,
        authenticate: Authenticate | None = None,
    ) -> None:
        if provider.token and authenticate is None:
            raise ValueError("a provider of access tokens needs somebody who judges them")
        self.provider = provider
        self._discovery = discovery
        self._endpoint = endpoint
        self._id_tokens = IdTokens(provider, keys)
        self._authenticate = authenticate if provider.token else None

    async def address(self, flow: Flow, context: str = "") -> str:
        """Where to send the browser. `context`: an authentication context of Entra's (`c1`); raises `Refused`."""
        metadata = await self._discovery.metadata()
        asked = {
            "response_type": "code",
            "client_id": self.provider.client,
            "redirect_uri": self.provider.redirect,
            "scope": " ".join(self.provider.scopes),
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": flow.challenge,
            "code_challenge_method": "S256",
        }
        if flow.max_age >= 0:
            asked["max_age"] = str(flow.max_age)
        if self.provider.prompt:
            asked["prompt"] = self.provider.prompt
        if context:
            asked["claims"] = self._claims(context)
        parts = urlsplit(metadata.authorization_endpoint)
        query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *asked.items()])
        return urlunsplit(parts._replace(query=query))

    async def finish(self, flow: Flow, query: str, now: int) -> Held:
        """What the browser brought back, as what a session holds; raises `Refused`. `query`: raw, of the callback."""
        # 1. one answer, to this flow, by this provider
        answer = _answer(query)
        if not hmac.compare_digest(answer.get("state", "").encode(), flow.state.encode()):
            raise Refused(
                Reason.REQUEST_MALFORMED,
                "the answer belongs to another sign-in: its `state` is not the one of this browser",
                hint="start again, in one tab",
            )
        metadata = await self._discovery.metadata()
        self._check_issuer(answer, metadata)
        # 2. its code, or its refusal
        if "error" in answer:
            raise says_no(answer["error"], answer.get("error_description"))
        code = answer.get("code", "")
        if not _CODE.fullmatch(code):
            raise Refused(Reason.REQUEST_MALFORMED, "the identity provider sent no code", hint="start again")
        # 3. tokens for it, which prove who that is
        tokens = await self._endpoint.redeem(metadata, code, flow.verifier, self.provider.redirect)
        expected = Expected(
            access_token=tokens.access.reveal(), since=flow.started, nonce=flow.nonce, code=code, max_age=flow.max_age
        )
        return await self._held(tokens, expected, now)

    async def renew(self, held: Held, now: int) -> Held:
        """The same session with newer tokens; raises `ProviderSaysNo` when it is over, `Refused` else."""
        if held.refresh is None:
            raise unavailable("gave nothing to renew this session with")
        metadata = await self._discovery.metadata()
        # Entra gives the ID token's scopes alone unless it is told; elsewhere silence means "the same" (RFC 6749, 6)
        scopes = self.provider.scopes if self.provider.token else ()
        tokens = await self._endpoint.refresh(metadata, held.refresh, scopes)
        expected = Expected(
            access_token=tokens.access.reveal(),
            since=now,
            nonce=held.nonce,
            subject=held.subject,
            auth_time=held.auth_time,
        )
        return await self._held(tokens, expected, now, held)

    def _claims(self, context: str) -> str:
        """Core section 5.5, for the access token, where Entra reads it."""
        if not self.provider.token or not _CONTEXT.fullmatch(context):
            raise Refused(Reason.REQUEST_MALFORMED, "this identity provider has no such authentication context")
        return json.dumps({"access_token": {"acrs": {"essential": True, "value": context}}}, separators=(",", ":"))

    def _check_issuer(self, answer: Mapping[str, str], metadata: ProviderMetadata) -> None:
        """RFC 9207 section 2.4: compared whenever it is there, and missed when it was promised."""
        named = answer.get("iss")
        if named is None and not metadata.names_itself:
            return
        if named != self.provider.issuer:
            raise Refused(Reason.TOKEN_ISSUER, "the answer comes from another identity provider", hint="start again")

    async def _held(self, tokens: Tokens, expected: Expected, now: int, before: Held | None = None) -> Held:
        claims: Mapping[str, object] = {}
        # at a renewal a provider of access tokens may leave the ID token out (Core section 12.2)
        if tokens.id_token is not None:
            claims = await self._id_tokens.verify(tokens.id_token, expected, now)
        elif before is None or self._authenticate is None:
            raise Refused(Reason.TOKEN_MISSING, "the identity provider gave no ID token")
        token = UnverifiedToken(tokens.access.reveal()) if self._authenticate else None
        identity = await self._identity(claims, token, now)
        if before is not None and identity.principal != before.identity.principal:
            raise Refused(Reason.TOKEN_CLAIMS, "the newer token speaks of somebody else than the one who signed in")
        return Held(
            identity=identity,
            obtained=now,
            ends=identity.expires_at,
            token=token,
            refresh=tokens.refresh or (before.refresh if before else None),
            subject=before.subject if before else str(claims["sub"]),
            sid=before.sid if before else str(claims.get("sid", "")),
            nonce=expected.nonce,
            auth_time=before.auth_time if before else int(str(claims.get("auth_time", 0))),
        )

    async def _identity(self, claims: Mapping[str, object], token: UnverifiedToken | None, now: int) -> Identity:
        if self._authenticate is None or token is None:
            return self._id_tokens.identity(claims, now)
        identity = await self._authenticate(token, now)
        # Entra's ID token names the same object; both came in one answer, and a mixed one is nobody's
        if claims.get("oid", identity.principal.subject) != identity.principal.subject:
            raise Refused(Reason.TOKEN_CLAIMS, "the ID token and the access token speak of two people")
        return identity


def _answer(query: str) -> Mapping[str, str]:
    """The callback's parameters, none of them twice (RFC 6749 section 3.1); raises `Refused`."""
    try:
        pairs = (
            parse_qsl(query, keep_blank_values=True, max_num_fields=32, errors="strict")
            if len(query) <= MAX_QUERY
            else []
        )
    except ValueError:
        pairs = []
    answer = dict(pairs)
    if len(answer) != len(pairs):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the identity provider's answer says something twice")
    if "code" in answer and "error" in answer:
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the identity provider's answer is both a yes and a no")
    return answer
