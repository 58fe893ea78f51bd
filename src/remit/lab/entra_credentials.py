"""What applications prove themselves with: secrets, certificates, and other parties' tokens.

Contoso is born with federated identity credentials only; the control door adds whatever a test or a story needs. Real
Entra fetches an outside issuer's discovery document and from there its keys. Here nobody can reach issuers of that
kind, Remit's own among them (`https://remit.contoso.example`): their keys are those that were uploaded to Google's
provider for the same issuer (`keys_of`), or came along with the control door's `federation`.
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
from remit.lab.contoso import App, Federation
from remit.lab.entra_errors import EntraError
from remit.lab.entra_keys import Keys
from remit.lab.jwt import BrokenTokenError, decode, peek, verify, verify_with

KeysOf = Callable[[str], list[dict[str, Any]]]
_UNAUTHORIZED = 401
_SKEW = 300  # seconds that a client's clock may be off
_AUDIENCE = re.compile(r"https://[^/]+/[^/]+/(?:oauth2/)?v2\.0(?:/token)?")


class Credentials:
    """Every application's credentials. `clock`: seconds since the epoch; `keys_of`: an outside issuer's keys."""

    def __init__(self, keys: Keys, clock: Callable[[], float], keys_of: KeysOf) -> None:
        self._keys = keys
        self._keys_of = keys_of
        self._clock = clock
        self._secrets: dict[str, list[tuple[str, float]]] = {}
        self._certificates: dict[str, list[x509.Certificate]] = {}
        self._federations = list(contoso.FEDERATIONS)
        self._issuers: dict[str, list[dict[str, Any]]] = {}

    def check_secret(self, app: App, secret: str) -> None:
        """Raise `EntraError` unless the secret is the application's."""
        held = [ends for each, ends in self._secrets.get(app.id, ()) if hmac.compare_digest(each, secret)]
        if not held:
            raise _invalid(7000215, f"Invalid client secret provided for app '{app.id}'.")
        if max(held) <= self._clock():
            raise _invalid(7000222, f"The provided client secret keys for app '{app.id}' are expired.")

    def check_assertion(self, app: App, assertion: str) -> None:
        """Raise `EntraError` unless the assertion is signed with the application's certificate, or federated."""
        try:
            header, claims = peek(assertion)
            if claims.get("iss") == app.id:
                self._certified(app, assertion, header, claims)
            else:
                self._federated(app, assertion, claims)
        except BrokenTokenError as cause:
            raise _invalid(700027, f"Client assertion failed signature validation: {cause}.") from cause

    def _certified(self, app: App, assertion: str, header: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
        """A token that the application signed itself; the libraries pad thumbprints and give times as floats."""
        key = self._key_of(app, header)
        if key is None:
            raise _invalid(700027, "Client assertion contains an invalid signature. The key was not found.")
        verify_with(assertion, key)
        if claims.get("sub") != app.id:
            raise _invalid(700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
        if not _AUDIENCE.fullmatch(str(claims.get("aud", ""))):
            raise _invalid(700023, "Client assertion audience claim does not match Realm issuer.")
        self._now(claims)

    def _key_of(self, app: App, header: Mapping[str, Any]) -> rsa.RSAPublicKey | None:
        """The key of the certificate that the header's thumbprint names."""
        for certificate in self._certificates.get(app.id, ()):
            der = certificate.public_bytes(serialization.Encoding.DER)
            for name, digest in (("x5t", _sha1(der)), ("x5t#S256", hashlib.sha256(der).digest())):
                key = certificate.public_key()
                if name in header and decode(header[name].rstrip("=")) == digest and isinstance(key, rsa.RSAPublicKey):
                    return key
        return None

    def _federated(self, app: App, assertion: str, claims: Mapping[str, Any]) -> None:
        """Another party's token; the comparison is exact, as with the real one."""
        mine = [each for each in self._federations if each.app == app.id]
        issuer, subject, audience = (claims.get(name) for name in ("iss", "sub", "aud"))
        if issuer not in {each.issuer for each in mine}:
            raise _unmatched(700211, "issuer", issuer)
        verify(assertion, self._trusted(str(issuer)))
        if subject not in {each.subject for each in mine if each.issuer == issuer}:
            raise _unmatched(700213, "subject", subject)
        audiences = set(audience) if isinstance(audience, list) else {audience}
        wanted = {each.audience for each in mine if (each.issuer, each.subject) == (issuer, subject)}
        # Entra's own tokens for the exchange name it by its id.
        if not audiences & (wanted | ({contoso.EXCHANGE.id} if issuer == contoso.ISSUER else set())):
            raise _unmatched(700212, "audience", audience)
        self._now(claims)

    def _trusted(self, issuer: str) -> list[dict[str, Any]]:
        if issuer == contoso.ISSUER:
            return self._keys.public()
        return self._issuers[issuer] if issuer in self._issuers else self._keys_of(issuer)

    def _now(self, claims: Mapping[str, Any]) -> None:
        now = self._clock()
        starts = claims.get("nbf", claims.get("iat", now))
        if not starts - _SKEW <= now < claims.get("exp", 0):
            raise _invalid(700024, "Client assertion is not within its valid time range.")

    def commands(self) -> Mapping[str, Callable[[Any], object]]:
        """For the control door, each with the `app` (id) that it is for.

        `secret`: `secret`, and `ends` (seconds since the epoch) when it does; `certificate`: `pem`; `federation`:
        `issuer`, `subject`, `audience` (Azure's exchange when absent) and `jwks`, the issuer's published key set.
        """
        return {"secret": self._add_secret, "certificate": self._add_certificate, "federation": self._add_federation}

    def _add_secret(self, given: Mapping[str, Any]) -> None:
        ends = float(given.get("ends", "inf"))
        self._secrets.setdefault(given["app"], []).append((given["secret"], ends))

    def _add_certificate(self, given: Mapping[str, Any]) -> None:
        certificate = x509.load_pem_x509_certificate(given["pem"].encode())
        self._certificates.setdefault(given["app"], []).append(certificate)

    def _add_federation(self, given: Mapping[str, Any]) -> None:
        audience = given.get("audience", contoso.EXCHANGE_AUDIENCE)
        self._federations.append(Federation(given["app"], given["issuer"], given["subject"], audience))
        self._issuers[given["issuer"]] = given["jwks"]["keys"]


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
