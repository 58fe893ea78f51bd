"""What applications prove themselves with: secrets, certificates, and other parties' tokens.

Contoso is born with federated identity credentials only; Graph adds others, and the control door whatever a test or a
story needs. Which ones there are is the registry's to know. Real Entra fetches an outside issuer's discovery document
and from there its keys. Here nobody can reach issuers of that kind, Remit's own among them
(`https://remit.contoso.example`): their keys are those that were uploaded to Google's provider for the same issuer
(`keys_of`), or came along with the control door's `federation`.
Sources: learn.microsoft.com/entra/identity-platform/certificate-credentials and
learn.microsoft.com/entra/workload-id/workload-identity-federation.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from remit.lab import contoso
from remit.lab.contoso import App
from remit.lab.entra_errors import EntraError
from remit.lab.entra_keys import Keys
from remit.lab.entra_registry import Document, Registry, fresh, seconds, written
from remit.lab.jwt import BrokenTokenError, decode, peek, verify, verify_with

KeysOf = Callable[[str], list[dict[str, Any]]]
_UNAUTHORIZED = 401
_SKEW = 300  # seconds that a client's clock may be off
_NEVER = "9999-12-31T23:59:59Z"
_AUDIENCE = re.compile(r"https://[^/]+/[^/]+/(?:oauth2/)?v2\.0(?:/token)?")


class Credentials:
    """Every application's credentials, as `registry` has them. `keys_of`: an outside issuer's keys."""

    def __init__(self, keys: Keys, registry: Registry, keys_of: KeysOf) -> None:
        self.registry = registry
        self._keys = keys
        self._keys_of = keys_of
        self._clock = registry.clock
        self._issuers: dict[str, list[dict[str, Any]]] = {}

    def check_secret(self, app: App, secret: str) -> str:
        """The id of the application's secret that this is; raises `EntraError` when it is none, or over."""
        secrets = self.registry.secrets
        held = [
            (seconds(each["endDateTime"]), str(each["keyId"]))
            for each in self._held(app, "passwordCredentials")
            if hmac.compare_digest(secrets[each["keyId"]].encode(), secret.encode())
        ]
        if not held:
            raise _invalid(7000215, f"Invalid client secret provided for app '{app.id}'.")
        ends, number = max(held)
        if ends <= self._clock():
            raise _invalid(7000222, f"The provided client secret keys for app '{app.id}' are expired.")
        return number

    def check_assertion(self, app: App, assertion: str) -> tuple[str, str]:
        """What vouches for an assertion: the kind of credential, and its id; raises `EntraError` when nothing does."""
        try:
            header, claims = peek(assertion)
            if claims.get("iss") == app.id:
                return "certificate", self._certified(app, assertion, header, claims)
            return "federatedIdentityCredential", self._federated(app, assertion, claims)
        except BrokenTokenError as cause:
            raise _invalid(700027, f"Client assertion failed signature validation: {cause}.") from cause

    def _certified(self, app: App, assertion: str, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """A token that the application signed itself; the libraries pad thumbprints and give times as floats."""
        found = self._key_of(app, header)
        if found is None:
            raise _invalid(700027, "Client assertion contains an invalid signature. The key was not found.")
        number, key = found
        verify_with(assertion, key)
        if claims.get("sub") != app.id:
            raise _invalid(700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
        if not _AUDIENCE.fullmatch(str(claims.get("aud", ""))):
            raise _invalid(700023, "Client assertion audience claim does not match Realm issuer.")
        self._now(claims)
        return number

    def _key_of(self, app: App, header: Mapping[str, Any]) -> tuple[str, rsa.RSAPublicKey] | None:
        """The certificate that the header's thumbprint names: its id, and its key."""
        for held in self._held(app, "keyCredentials"):
            if seconds(held["endDateTime"]) <= self._clock():
                continue
            der = base64.b64decode(held["key"])
            certificate = x509.load_der_x509_certificate(der)
            for name, digest in (("x5t", _sha1(der)), ("x5t#S256", hashlib.sha256(der).digest())):
                key = certificate.public_key()
                if name in header and decode(header[name].rstrip("=")) == digest and isinstance(key, rsa.RSAPublicKey):
                    return str(held["keyId"]), key
        return None

    def _federated(self, app: App, assertion: str, claims: Mapping[str, Any]) -> str:
        """Another party's token; the comparison is exact, as with the real one."""
        mine = self.registry.federations_of(app.id)
        issuer, subject, audience = (claims.get(name) for name in ("iss", "sub", "aud"))
        if issuer not in {each["issuer"] for each in mine}:
            raise _unmatched(700211, "issuer", issuer)
        verify(assertion, self._trusted(str(issuer)))
        if subject not in {each["subject"] for each in mine if each["issuer"] == issuer}:
            raise _unmatched(700213, "subject", subject)
        audiences = set(audience) if isinstance(audience, list) else {audience}
        matching = [each for each in mine if (each["issuer"], each["subject"]) == (issuer, subject)]
        wanted = {name for each in matching for name in each["audiences"]}
        # Entra's own tokens for the exchange name it by its id.
        if issuer == contoso.ISSUER and contoso.EXCHANGE_AUDIENCE in wanted:
            wanted.add(contoso.EXCHANGE.id)
        if not audiences & wanted:
            raise _unmatched(700212, "audience", audience)
        self._now(claims)
        return str(matching[0]["id"])

    def _trusted(self, issuer: str) -> list[dict[str, Any]]:
        if issuer == contoso.ISSUER:
            return self._keys.public()
        return self._issuers[issuer] if issuer in self._issuers else self._keys_of(issuer)

    def _now(self, claims: Mapping[str, Any]) -> None:
        now = self._clock()
        starts = claims.get("nbf", claims.get("iat", now))
        if not starts - _SKEW <= now < claims.get("exp", 0):
            raise _invalid(700024, "Client assertion is not within its valid time range.")

    def _own(self, app: str) -> Document:
        """The application object; raises `KeyError`."""
        found = self.registry.own(app)
        if found is None:
            raise KeyError(app)
        return found

    def _held(self, app: App, kind: str) -> list[dict[str, Any]]:
        """Of the application and of its service principal: either's proves both."""
        documents = (self.registry.own(app.id), self.registry.principal_of(app.id))
        return [each for document in documents if document for each in document[kind]]

    def _hold(self, app: str, kind: str, credential: Mapping[str, Any]) -> None:
        document = self._own(app)
        self.registry.applications.put(document["id"], {**document, kind: [*document[kind], credential]})

    def commands(self) -> Mapping[str, Callable[[Any], object]]:
        """For the control door, each with the `app` (id) that it is for.

        `secret`: `secret`, and `ends` (seconds since the epoch) when it does; `certificate`: `pem`; `federation`:
        `issuer`, `subject`, `audience` (Azure's exchange when absent) and `jwks`, the issuer's published key set.
        """
        return {"secret": self._add_secret, "certificate": self._add_certificate, "federation": self._add_federation}

    def _add_secret(self, given: Mapping[str, Any]) -> None:
        held: dict[str, Any] = {
            "customKeyIdentifier": None,
            "displayName": None,
            "endDateTime": written(given["ends"]) if "ends" in given else _NEVER,
            "hint": given["secret"][:3],
            "keyId": fresh(),
            "secretText": None,
            "startDateTime": self.registry.now(),
        }
        self.registry.secrets[held["keyId"]] = given["secret"]
        self._hold(given["app"], "passwordCredentials", held)

    def _add_certificate(self, given: Mapping[str, Any]) -> None:
        certificate = x509.load_pem_x509_certificate(given["pem"].encode())
        self._hold(given["app"], "keyCredentials", certified(certificate))

    def _add_federation(self, given: Mapping[str, Any]) -> None:
        audience = given.get("audience", contoso.EXCHANGE_AUDIENCE)
        held = {name: given[name] for name in ("issuer", "subject")} | {"audiences": [audience], "description": None}
        number = fresh()
        application = self._own(given["app"])["id"]
        held |= {"id": number, "name": f"lab-{number}", "application": application}
        self.registry.federations.put(number, held)
        self._issuers[given["issuer"]] = given["jwks"]["keys"]


def certified(certificate: x509.Certificate, name: str | None = None) -> dict[str, Any]:
    """A certificate as Graph's `keyCredential`."""
    der = certificate.public_bytes(serialization.Encoding.DER)
    return {
        "customKeyIdentifier": _sha1(der).hex().upper(),
        "displayName": name or certificate.subject.rfc4514_string(),
        "endDateTime": written(certificate.not_valid_after_utc.timestamp()),
        "key": base64.b64encode(der).decode(),
        "keyId": fresh(),
        "startDateTime": written(certificate.not_valid_before_utc.timestamp()),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    }


def basic(header: str) -> tuple[str, str] | None:
    """Client id and secret of an `Authorization: Basic`, `None` for anything else (RFC 6749 section 2.3.1)."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client, colon, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return None
    return (client, secret) if colon else None


def _sha1(der: bytes) -> bytes:
    return hashlib.sha1(der, usedforsecurity=False).digest()  # a thumbprint, as `x5t` is defined


def _invalid(number: int, message: str) -> EntraError:
    return EntraError("invalid_client", number, message, status=_UNAUTHORIZED)


def _unmatched(number: int, what: str, value: object) -> EntraError:
    return _invalid(number, f"No matching federated identity record found for presented assertion {what} '{value}'.")
