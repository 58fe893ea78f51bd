"""ID tokens: proof that the person in front of this browser signed in at the provider, now, for us.

OpenID Connect Core 1.0 sections 2, 3.1.3.6, 3.1.3.7 and 12.2, each rule as a step; stricter where the standard leaves
a choice: `kid` is needed even when the provider has one key, encrypted and unsigned tokens are refused also when they
come over TLS, `iat` must lie within the sign-in. Leaves out: access tokens (their issuer's own rules), userinfo.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from remit.identity.settings import SignInProvider
from remit.identity.tokens import jose
from remit.identity.tokens.claims import (
    SKEW,
    Claim,
    Need,
    check,
    contexts_of,
    is_seconds,
    is_subject,
    is_text,
    printable,
    seconds,
    texts,
)
from remit.identity.tokens.keys import KeySource, check_signature
from remit.identity.tokens.role_rules import facts_of, roles_of
from remit.model.errors import Refused
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

MAX_IDENTITY = 3600  # seconds that the claims of an ID token count as who somebody is, before the provider is asked
_TEXT = "a string"
_SECONDS = "a whole number of seconds"
_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


def _is_audience(value: object) -> bool:
    return is_text(value) or (isinstance(value, list) and bool(value) and all(map(is_text, value)))


CLAIMS: Mapping[str, Claim] = {
    "iss": Claim(Need.REQUIRED, is_text, _TEXT, Reason.TOKEN_ISSUER),
    "sub": Claim(Need.REQUIRED, is_subject, "a string that prints"),
    "aud": Claim(Need.REQUIRED, _is_audience, "a string or a list of strings", Reason.TOKEN_AUDIENCE),
    "exp": Claim(Need.REQUIRED, is_seconds, _SECONDS),
    "iat": Claim(Need.REQUIRED, is_seconds, _SECONDS),
    "azp": Claim(Need.OPTIONAL, is_text, _TEXT, Reason.TOKEN_CLIENT),
    "nonce": Claim(Need.OPTIONAL, is_text, _TEXT),  # required at sign-in, by a step of its own
    "auth_time": Claim(Need.OPTIONAL, is_seconds, _SECONDS),
    "sid": Claim(Need.OPTIONAL, is_text, _TEXT),
    "jti": Claim(Need.OPTIONAL, is_text, _TEXT),
    "acr": Claim(Need.OPTIONAL, is_text, _TEXT),
    "amr": Claim(Need.OPTIONAL, lambda value: isinstance(value, list) and all(map(is_text, value)), "strings"),
    "at_hash": Claim(Need.OPTIONAL, is_text, _TEXT),
    "c_hash": Claim(Need.OPTIONAL, is_text, _TEXT),
    # the marks of a logout token or security event, and of an access token
    **dict.fromkeys(("events", "client_id"), Claim(Need.FOREIGN)),
}


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ID token must fit.

    At sign-in: `nonce` and `code` as they went over the wire, `since` when it began, `max_age` in seconds when a fresh
    authentication was asked for, else -1. At a renewal: `subject` and `auth_time` (0 for unsaid) of the sign-in and its
    `nonce`, which the token need not repeat.
    """

    access_token: str = field(repr=False)
    since: int
    nonce: str = field(default="", repr=False)
    code: str = field(default="", repr=False)
    max_age: int = -1
    subject: str = ""
    auth_time: int = 0


class IdTokens:
    """One provider's ID tokens. `keys` answers with its current public keys."""

    def __init__(self, provider: SignInProvider, keys: KeySource) -> None:
        self._provider = provider
        self._keys = keys

    async def verify(self, token: UnverifiedToken, expected: Expected, now: int) -> Mapping[str, object]:
        """The claims of a good token; raises `Refused`."""
        # 1. strict form, and the mark of no other kind of token
        form = jose.parse_compact(token)
        if form.typ not in {"", "JWT"}:
            raise Refused(Reason.TOKEN_MALFORMED, "the ID token's `typ` is that of another kind of token")
        # 2. signed by a current key of the provider, with an algorithm that remit.yaml lists
        await check_signature(form, self._keys, *self._provider.algorithms)
        # 3. every claim of its shape
        claims = jose.read_claims(form)
        check(claims, CLAIMS)
        # 4. this issuer, for us, now
        check_party(claims, self._provider)
        check_times(claims, expected.since, now)
        # 5. this sign-in: its nonce, its code, its access token, its person, as fresh as was asked
        _check_nonce(claims, expected)
        _check_hash(claims, "at_hash", expected.access_token, form.alg)
        _check_hash(claims, "c_hash", expected.code, form.alg)
        _check_person(claims, expected)
        _check_age(claims, expected, now)
        return claims

    def identity(self, claims: Mapping[str, object], now: int) -> Identity:
        """Who verified claims speak of, with all their groups; raises `Refused`, `IDENTITY_INCOMPLETE` without."""
        provider = self._provider
        return Identity(
            principal=Principal(provider.issuer, provider.name, str(claims["sub"]), Kind.PERSON),
            display=_display(claims),
            groups=_groups(claims, provider),
            groups_at=seconds(claims, "iat"),
            roles=roles_of(provider.roles, facts_of(claims)),
            scopes=frozenset(),
            client=provider.client,
            authentication=Authentication(
                methods=texts(claims, "amr"),
                contexts=contexts_of(claims.get("acr")),
                at=seconds(claims, "auth_time"),
            ),
            guest=False,
            issued_at=seconds(claims, "iat"),
            expires_at=min(seconds(claims, "exp"), now + MAX_IDENTITY),
            token_id=str(claims.get("jti", "")),
            session=str(claims.get("sid", "")),
        )


def check_party(claims: Mapping[str, object], provider: SignInProvider) -> None:
    """`iss`, `aud` and `azp`; raises `Refused`."""
    if claims["iss"] != provider.issuer:
        raise Refused(Reason.TOKEN_ISSUER)
    audience = claims["aud"]
    audiences = audience if isinstance(audience, list) else [audience]
    if provider.client not in audiences:
        raise Refused(Reason.TOKEN_AUDIENCE)
    if claims.get("azp", provider.client) != provider.client:
        raise Refused(Reason.TOKEN_CLIENT)
    if len(audiences) > 1 and "azp" not in claims:
        raise Refused(Reason.TOKEN_CLIENT, "the token is for several, and does not say who obtained it (`azp`)")


def check_times(claims: Mapping[str, object], since: int, now: int) -> None:
    """`iat` between `since` and now, `exp` to come, each give or take `SKEW`; raises `Refused`."""
    issued, ends = seconds(claims, "iat"), seconds(claims, "exp")
    clock = "compare the clocks of this machine and of the identity provider"
    if ends <= issued:
        raise Refused(Reason.TOKEN_CLAIMS, "the token's claim `exp` is not after `iat`")
    if now >= ends + SKEW:
        raise Refused(Reason.TOKEN_EXPIRED, hint=clock)
    if now < issued - SKEW:
        raise Refused(Reason.TOKEN_NOT_YET_VALID, hint=clock)
    if issued < since - SKEW:
        raise Refused(Reason.TOKEN_EXPIRED, "the token was issued before it was asked for", hint=clock)
    if seconds(claims, "auth_time") > issued + SKEW:  # or no revocation would ever be newer than the sign-in
        raise Refused(Reason.TOKEN_CLAIMS, "the token's claim `auth_time` is after `iat`")


def _display(claims: Mapping[str, object]) -> str:
    names = (claims.get(name) for name in ("preferred_username", "name", "email", "sub"))
    return printable(next((name for name in names if isinstance(name, str) and name), ""))


def _check_nonce(claims: Mapping[str, object], expected: Expected) -> None:
    """The sign-in's own; a renewal's token may leave it out (section 12.2), and may not have another one."""
    nonce = str(claims.get("nonce", expected.nonce if expected.subject else ""))
    if not expected.nonce or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        raise Refused(Reason.TOKEN_CLAIMS, "the ID token belongs to another sign-in: its `nonce` is not ours")


def _check_hash(claims: Mapping[str, object], name: str, value: str, alg: str) -> None:
    """Section 3.1.3.6: the left half of the value's hash, which the code flow's tokens may leave out."""
    if name not in claims:
        return
    digest = _HASHES.get(alg[-3:], hashlib.sha512)(value.encode()).digest()  # EdDSA: Ed25519's own SHA-512
    wanted = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    if not value or not hmac.compare_digest(str(claims[name]).encode(), wanted):
        raise Refused(Reason.TOKEN_CLAIMS, f"the ID token belongs to another answer: its `{name}` does not fit")


def _check_person(claims: Mapping[str, object], expected: Expected) -> None:
    if not expected.subject:
        return
    if claims["sub"] != expected.subject:
        raise Refused(Reason.TOKEN_CLAIMS, "the ID token speaks of somebody else than the one who signed in")
    if expected.auth_time and claims.get("auth_time", expected.auth_time) != expected.auth_time:
        raise Refused(Reason.TOKEN_CLAIMS, "the ID token speaks of another sign-in: its `auth_time` differs")


def _check_age(claims: Mapping[str, object], expected: Expected, now: int) -> None:
    if expected.max_age < 0:
        return
    if "auth_time" not in claims:
        raise Refused(
            Reason.TOKEN_CLAIMS,
            "a fresh sign-in was asked for, and the ID token does not say when it was (`auth_time`)",
            hint="ask an administrator to have the provider emit `auth_time`",
        )
    if now - seconds(claims, "auth_time") > expected.max_age + (now - expected.since) + SKEW:
        raise Refused(Reason.TOKEN_EXPIRED, "a fresh sign-in was asked for, and the provider kept the old one")


def _groups(claims: Mapping[str, object], provider: SignInProvider) -> frozenset[str]:
    """All of them under the provider's name, or a refusal: what stands elsewhere or has another shape is unknown."""
    name = provider.groups_claim
    if not name:
        return frozenset()
    value, elsewhere = claims.get(name, []), claims.get("_claim_names", {})
    told = isinstance(value, list) and all(map(is_text, value)) and isinstance(elsewhere, dict)
    if not told or name in elsewhere or "hasgroups" in claims:  # type: ignore[operator]  # a dict, when it was told
        raise Refused(Reason.IDENTITY_INCOMPLETE, hint="ask an administrator to emit fewer groups in ID tokens")
    return frozenset(f"{provider.name}/{group}" for group in texts(claims, name))
