"""A real OpenID provider over TLS that keeps every rule, except those that a switch makes it break.

It holds its client to the rules too: exact redirect address, PKCE with S256, one use of a code, client authentication.
A switch is a name in `switches`; what it does stands where the name is asked for. With no switch it is a good provider.
"""

import base64
import hashlib
import hmac
import json
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from joserfc import jwe, jwt
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

Answer = sys.modules["scripted_fake_https"].Answer

CLIENT = "remit-browser"
SECRET = "s3cret/with+odd:chars é"
EVENT = "http://schemas.openid.net/event/backchannel-logout"
LIFETIME = 3600


class Keys:
    """Made once: two for RSA, one for EC, one of somebody else, and the client's own."""

    def __init__(self) -> None:
        self.first = RSAKey.generate_key(2048)
        self.second = RSAKey.generate_key(2048)
        self.stranger = RSAKey.generate_key(2048)
        self.curve = ECKey.generate_key("P-256")
        self.client = RSAKey.generate_key(2048)


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def half_hash(value: str) -> str:
    return encode(hashlib.sha256(value.encode()).digest()[:16])


@dataclass
class Grant:
    asked: dict[str, str]
    auth_time: int
    used: bool = False


@dataclass
class ScriptedProvider:
    """`handle` is a handler for `FakeServer`; `url` is set once that listens."""

    keys: Keys
    switches: frozenset[str] = frozenset()
    url: str = ""
    algorithm: str = "RS256"
    groups: tuple[str, ...] = ("ml", "all")
    grants: dict[str, Grant] = field(default_factory=dict)
    refreshes: dict[str, Grant] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    discovered: int = 0
    renewed: int = 0
    rotated: bool = False
    down: bool = False
    said_no: str = ""
    subject: str = "dana"
    lifetime: int = LIFETIME
    clock: Callable[[], int] = lambda: int(time.time())

    def on(self, switch: str) -> bool:
        return switch in self.switches

    @property
    def issuer(self) -> str:
        return self.url

    # ---- the wire

    def handle(self, asked: Any) -> Any:
        if self.down:
            return Answer(b"down", 503, {"content-type": "text/plain"})
        parts = urlsplit(asked.path)
        match asked.method, parts.path:
            case "GET", "/.well-known/openid-configuration":
                return self.discovery()
            case "GET", "/jwks":
                return self.json({"keys": self.published()})
            case "GET", "/authorize":
                return self.authorize(dict(parse_qsl(parts.query, keep_blank_values=True)))
            case "POST", "/token":
                return self.token(asked)
        return Answer(b"nothing here", 404, {"content-type": "text/plain"})

    def json(self, document: Any, status: int = 200) -> Any:
        return Answer(json.dumps(document).encode(), status, {"content-type": "application/json;charset=utf-8"})

    # ---- discovery

    def discovery(self) -> Any:
        self.discovered += 1
        if self.on("discovery-redirect"):
            return Answer(b"", 302, {"location": f"{self.url}/elsewhere"})
        if self.on("discovery-html"):
            return Answer(b"<html>", 200, {"content-type": "text/html"})
        if self.on("discovery-huge"):
            return self.json({"issuer": self.issuer, "padding": "x" * 300_000})
        if self.on("discovery-twice"):
            return Answer(b'{"issuer":"https://evil.example","issuer":"%s"}' % self.issuer.encode())
        document = {
            "issuer": self.issuer + ("/other" if self.on("discovery-issuer") else ""),
            "authorization_endpoint": f"{self.url}/authorize?tenant=one",
            "token_endpoint": f"{self.url}/token".replace("https", "http" if self.on("discovery-plain") else "https"),
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["code", "id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.algorithm],
            "code_challenge_methods_supported": ["plain"] if self.on("no-s256") else ["S256", "plain"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
            "authorization_response_iss_parameter_supported": True,
        }
        if self.on("post-only"):
            document["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        if self.on("secret-jwt-only"):
            document["token_endpoint_auth_methods_supported"] = ["client_secret_jwt"]
        if self.on("iss-not-promised"):
            del document["authorization_response_iss_parameter_supported"]
        if self.on("no-code"):
            document["response_types_supported"] = ["id_token"]
        return self.json(document)

    def published(self) -> list[dict[str, Any]]:
        named = {"k2" if self.rotated else "k1": self.keys.second if self.rotated else self.keys.first}
        if self.algorithm == "ES256":
            named = {"e1": self.keys.curve}
        if self.on("two-keys"):
            named["k2"] = self.keys.second
        return [{**key.as_dict(private=False), "kid": kid, "use": "sig"} for kid, key in named.items()]

    # ---- the authorization endpoint, where the person has signed in already

    def authorize(self, asked: dict[str, str]) -> Any:
        rules = {
            "response_type": asked.get("response_type") == "code",
            "client_id": asked.get("client_id") == CLIENT,
            "scope": "openid" in asked.get("scope", "").split(),
            "state": len(asked.get("state", "")) >= 22,
            "nonce": len(asked.get("nonce", "")) >= 22,
            "code_challenge_method": asked.get("code_challenge_method") == "S256",
            "code_challenge": len(asked.get("code_challenge", "")) == 43,
            "tenant": asked.get("tenant") == "one",
            "response_mode": "response_mode" not in asked,
        }
        self.complaints += [name for name, kept in rules.items() if not kept]
        code = secrets.token_urlsafe(24)
        age = 9000 if self.on("stale-login") else 5
        self.grants[code] = Grant(asked, self.clock() - age)
        answer = [("code", code), ("state", asked["state"]), ("iss", self.issuer)]
        if self.on("error"):
            answer[0:1] = [("error", "access_denied"), ("error_description", "AADSTS50105: <script>alert(1)</script>")]
        if self.on("error-odd"):
            answer[0:1] = [("error", "<script>alert(1)</script>")]
        if self.on("error-and-code"):
            answer.append(("error", "access_denied"))
        if self.on("no-code-given"):
            answer.pop(0)
        if self.on("code-twice"):
            answer.append(("code", "another"))
        changed = {
            "state-wrong": ("state", "another"),
            "iss-wrong": ("iss", "https://other.example"),
        }
        for switch, (name, value) in changed.items():
            if self.on(switch):
                answer = [(key, value if key == name else kept) for key, kept in answer]
        for switch, name in {"state-missing": "state", "iss-missing": "iss", "iss-not-promised": "iss"}.items():
            if self.on(switch):
                answer = [pair for pair in answer if pair[0] != name]
        return Answer(b"", 302, {"location": f"{asked['redirect_uri']}?{urlencode(answer)}"})

    # ---- the token endpoint

    def token(self, asked: Any) -> Any:
        form = dict(parse_qsl(asked.body.decode()))
        if not self.authenticated(asked.headers.get("authorization", ""), form):
            return self.json({"error": "invalid_client"}, 401)
        if self.said_no:
            return self.json({"error": self.said_no}, 400)
        for switch, answer in {
            "token-redirect": Answer(b"", 307, {"location": f"{self.url}/elsewhere"}),
            "token-huge": self.json({"access_token": "x" * 300_000, "token_type": "Bearer"}),
            "token-slow": Answer(hang=True),
            "token-half": Answer(half=True),
            "token-500": self.json({"error": "server_error"}, 500),
            "token-html": Answer(b"<html>", 200, {"content-type": "text/html"}),
            "token-twice": Answer(b'{"access_token":"a","access_token":"b","token_type":"Bearer"}'),
            "token-mac": self.json({"access_token": "a", "token_type": "mac", "id_token": "x"}),
        }.items():
            if self.on(switch):
                return answer
        return self.redeemed(form) if form.get("grant_type") == "authorization_code" else self.refreshed(form)

    def authenticated(self, authorization: str, form: dict[str, str]) -> bool:
        if "client_assertion" in form:
            claims = jwt.decode(form["client_assertion"], self.keys.client, algorithms=["RS256"]).claims
            wanted = {"iss": CLIENT, "sub": CLIENT, "aud": f"{self.url}/token"}
            return wanted.items() <= claims.items() and "authorization" not in form
        if self.on("post-only"):
            return not authorization and (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)
        scheme, _, pair = authorization.partition(" ")
        name, _, secret = base64.b64decode(pair).decode().partition(":")
        return (scheme, unquote_plus(name), unquote_plus(secret)) == ("Basic", CLIENT, SECRET)

    def redeemed(self, form: dict[str, str]) -> Any:
        grant = self.grants.get(form.get("code", ""))
        if grant is None or grant.used or grant.asked["redirect_uri"] != form.get("redirect_uri"):
            return self.json({"error": "invalid_grant"}, 400)
        grant.used = True
        if encode(hashlib.sha256(form["code_verifier"].encode()).digest()) != grant.asked["code_challenge"]:
            return self.json({"error": "invalid_grant"}, 400)
        return self.json(self.tokens(grant, form["code"]))

    def refreshed(self, form: dict[str, str]) -> Any:
        grant = self.refreshes.pop(form.get("refresh_token", ""), None)
        if grant is None:
            return self.json({"error": "invalid_grant"}, 400)
        self.renewed += 1
        if self.on("renewal-other-person"):
            self.subject = "mallory"
        return self.json(self.tokens(grant, "", renewal=True))

    def tokens(self, grant: Grant, code: str, *, renewal: bool = False) -> dict[str, Any]:
        access = secrets.token_urlsafe(24)
        answer = {"access_token": access, "token_type": "bearer", "expires_in": self.lifetime}
        refresh = secrets.token_urlsafe(24)
        if not self.on("no-refresh"):
            self.refreshes[refresh] = grant
            answer["refresh_token"] = refresh
        if not self.on("no-id-token") and not (renewal and self.on("renewal-no-id-token")):
            answer["id_token"] = self.id_token(self.claims(grant, code, access, renewal=renewal))
        return answer

    # ---- ID tokens

    def claims(self, grant: Grant, code: str, access: str, *, renewal: bool) -> dict[str, Any]:
        now = self.clock()
        claims = {
            "iss": self.issuer,
            "sub": self.subject,
            "aud": CLIENT,
            "iat": now,
            "exp": now + self.lifetime,
            "auth_time": grant.auth_time,
            "nonce": grant.asked["nonce"],
            "sid": "sid-1",
            "at_hash": half_hash(access),
            "name": "Dana <b>Örn</b>",
            "email": "dana@okta.example",
            "groups": list(self.groups),
            "department": ["fraud"],
            "amr": ["pwd", "otp"],
            "acr": "urn:contoso:2",
            "groups_source": True,
        }
        if renewal:
            del claims["nonce"]
            if self.on("renewal-nonce"):
                claims["nonce"] = "another"
            if self.on("renewal-auth-time"):
                claims["auth_time"] += 100
        else:
            claims["c_hash"] = half_hash(code)
        changes: dict[str, dict[str, Any]] = {
            "iss": {"iss": "https://other.example"},
            "aud": {"aud": "somebody-else"},
            "aud-list": {"aud": [CLIENT]},
            "aud-several": {"aud": [CLIENT, "somebody-else"]},
            "aud-several-azp": {"aud": [CLIENT, "somebody-else"], "azp": CLIENT},
            "azp": {"azp": "somebody-else"},
            "nonce": {"nonce": "another"},
            "at-hash": {"at_hash": half_hash("another")},
            "c-hash": {"c_hash": half_hash("another")},
            "iat-future": {"iat": now + 300, "exp": now + 600},
            "iat-old": {"iat": now - 1000},
            "iat-text": {"iat": str(now)},
            "exp-past": {"iat": now - 50, "exp": now - 65, "nbf": now - 100},
            "exp-short": {"exp": now - 61, "iat": now - 70},
            "groups-elsewhere": {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "x"}}},
            "groups-aggregated": {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"JWT": "x.y.z"}}},
            "name-elsewhere": {"_claim_names": {"name": "src1"}, "_claim_sources": {"src1": {"endpoint": "x"}}},
            "groups-text": {"groups": "ml"},
            "events": {"events": {EVENT: {}}},
            "sub-control": {"sub": "dana\n"},
        }
        removals = {
            "no-sub": "sub",
            "no-iat": "iat",
            "no-exp": "exp",
            "no-nonce": "nonce",
            "no-aud": "aud",
            "no-at-hash": "at_hash",
            "no-c-hash": "c_hash",
            "no-auth-time": "auth_time",
        }
        for switch, change in changes.items():
            if self.on(f"id-token-{switch}"):
                claims |= change
        for switch, name in removals.items():
            if self.on(f"id-token-{switch}"):
                claims.pop(name, None)
        if self.on("id-token-groups-elsewhere"):
            del claims["groups"]
        return claims

    def id_token(self, claims: dict[str, Any]) -> str:
        if self.on("id-token-encrypted"):
            key = self.keys.client
            return jwe.encrypt_compact({"alg": "RSA-OAEP", "enc": "A128CBC-HS256", "cty": "JWT"}, b"x", key)
        header: dict[str, Any] = {"kid": self.kid, "typ": "JWT"}
        if self.on("id-token-unknown-kid"):
            header["kid"] = "unknown"
        if self.on("id-token-no-kid"):
            del header["kid"]
        if self.on("id-token-no-typ"):
            del header["typ"]
        if self.on("id-token-access-typ"):
            header["typ"] = "at+jwt"
        return self.sign(header, claims, "id-token")

    @property
    def kid(self) -> str:
        return "e1" if self.algorithm == "ES256" else ("k2" if self.rotated else "k1")

    def sign(self, header: dict[str, Any], claims: dict[str, Any], kind: str) -> str:
        algorithm = self.algorithm
        key: Any = self.keys.second if self.rotated else self.keys.first
        if algorithm == "ES256":
            key = self.keys.curve
        if self.on(f"{kind}-hs256"):
            algorithm, key = "HS256", SECRET.encode()
        if self.on(f"{kind}-public-hs256"):
            algorithm, key = "HS256", self.keys.first.as_pem(private=False)
        if self.on(f"{kind}-rs512"):
            algorithm = "RS512"
        if self.on(f"{kind}-stranger"):
            key = self.keys.stranger
        head = encode(json.dumps({"alg": "none" if self.on(f"{kind}-none") else algorithm, **header}).encode())
        text = f"{head}.{encode(json.dumps(claims).encode())}"
        if self.on(f"{kind}-none"):
            return f"{text}."
        if algorithm == "HS256":  # by hand: no library would do it with a public key
            signature = hmac.digest(key, text.encode(), "sha256")
        else:
            signature = JWSRegistry.algorithms[algorithm].sign(text.encode(), key)
        if self.on(f"{kind}-bad-signature"):
            signature = bytes([signature[0] ^ 1]) + signature[1:]
        return f"{text}.{encode(signature)}"

    # ---- back-channel logout

    def logout_token(self) -> str:
        now = self.clock()
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_urlsafe(12),
            "sid": "sid-1",
            "sub": self.subject,
            "events": {EVENT: {}},
        }
        changes: dict[str, dict[str, Any]] = {
            "nonce": {"nonce": "n"},
            "aud": {"aud": "somebody-else"},
            "iss": {"iss": "https://other.example"},
            "event": {"events": {"http://schemas.openid.net/event/other": {}}},
            "event-filled": {"events": {EVENT: {"x": 1}}},
            "other-sid": {"sid": "sid-2"},
            "old": {"iat": now - 1000, "exp": now + 100},
            "over": {"iat": now - 300, "exp": now - 100},
        }
        for switch, change in changes.items():
            if self.on(f"logout-{switch}"):
                claims |= change
        for switch, names in {
            "no-event": ["events"],
            "no-sid": ["sid"],
            "no-sub": ["sub"],
            "nobody": ["sub", "sid"],
            "no-jti": ["jti"],
            "no-exp": ["exp"],
            "no-iat": ["iat"],
        }.items():
            if self.on(f"logout-{switch}"):
                claims = {name: value for name, value in claims.items() if name not in names}
        header = {"kid": "unknown" if self.on("logout-unknown-kid") else self.kid, "typ": "logout+jwt"}
        if self.on("logout-no-typ"):
            del header["typ"]
        if self.on("logout-id-typ"):
            header["typ"] = "JWT"
        return self.sign(header, claims, "logout")
