"""An application's secrets and certificates at Entra: seen, added, removed, and tried by a real sign-in.

A secret is told once, by Graph. A certificate is made here and goes to Graph without its key; it is added by a change
of the application, since `addKey` wants a proof by an earlier one. Sources: learn.microsoft.com/graph/api/
application-addpassword, application-removepassword, resources/keycredential, and learn.microsoft.com/entra/
identity-platform/v2-oauth2-client-creds-grant-flow.
"""

import base64
import datetime as dt
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from remit.model.errors import TrustBroken
from remit.trust.clouds.entra_graph import Graph, keyed
from remit.trust.clouds.port import CloudRefused

_LOGIN = "https://login.microsoftonline.com"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_GRAPH = "https://graph.microsoft.com/.default"  # every application may ask for a token for it, and it may do nothing
_TIMEOUT = 20.0  # seconds
_BITS = 3072
_LIFE = 300  # seconds of a client assertion
_GONE = "credential found with keyid"  # so Graph words a removal of what is not there
_HINT_LENGTH = 3  # characters of a secret that Graph tells (resources/passwordcredential, `hint`)


@dataclass(frozen=True, slots=True)
class Held:
    """A credential as Entra holds it. `tell`: what of it can be known again in a file; times: seconds."""

    id: str
    name: str
    tell: str
    starts: float
    ends: float


class Kind(Protocol):
    """Secrets, or certificates, of one application."""

    async def held(self) -> tuple[Held, ...]:
        """All of them."""

    async def add(self, name: str, days: int) -> tuple[str, bytes]:
        """A new one: its key id, and what the running service is to read."""

    async def remove(self, key: str) -> None:
        """One is gone; nothing happens when it is not there."""

    async def sign_in(self, content: bytes) -> None:
        """A token with what a file holds; raises `TrustBroken`."""

    def tell(self, content: bytes) -> str:
        """What `Held.tell` is of what a file holds."""


class Secrets:
    """Client secrets. `client`: for the token endpoint, without redirects."""

    def __init__(self, graph: Graph, client: httpx.AsyncClient, tenant: str, app: str) -> None:
        self._graph = graph
        self._endpoint = _Endpoint(client, tenant, app)
        self._path = keyed("applications", "appId", app)

    async def held(self) -> tuple[Held, ...]:
        """As `Kind.held`."""
        found = await self._graph.get(f"{self._path}?$select=id,passwordCredentials")
        return tuple(_held(each, str(each.get("hint") or "")) for each in found.get("passwordCredentials") or ())

    async def add(self, name: str, days: int) -> tuple[str, bytes]:
        """As `Kind.add`."""
        body = {"passwordCredential": {"displayName": name, "endDateTime": _written(days)}}
        made = await self._graph.send("POST", f"{self._path}/addPassword", body)
        key, text = made.get("keyId"), made.get("secretText")
        if not isinstance(key, str) or not isinstance(text, str) or not text:
            raise TrustBroken("Microsoft Graph made a secret and did not tell it")
        return key, text.encode()

    async def remove(self, key: str) -> None:
        """As `Kind.remove`."""
        try:
            await self._graph.send("POST", f"{self._path}/removePassword", {"keyId": key})
        except CloudRefused as refused:
            if _GONE not in refused.message.lower():
                raise

    async def sign_in(self, content: bytes) -> None:
        """As `Kind.sign_in`."""
        await self._endpoint.ask({"client_secret": content.decode().strip()})

    def tell(self, content: bytes) -> str:
        """As `Kind.tell`."""
        return content.decode().strip()[:_HINT_LENGTH]


class Certificates:
    """Certificates; a file holds the key and then the certificate, in PEM. `clock`: seconds since the epoch."""

    def __init__(
        self,
        graph: Graph,
        client: httpx.AsyncClient,
        tenant: str,
        app: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._graph = graph
        self._endpoint = _Endpoint(client, tenant, app)
        self._app = app
        self._path = keyed("applications", "appId", app)
        self._clock = clock

    async def held(self) -> tuple[Held, ...]:
        """As `Kind.held`."""
        return tuple(_held(each, str(each.get("customKeyIdentifier") or "")) for each in await self._keys())

    async def add(self, name: str, days: int) -> tuple[str, bytes]:
        """As `Kind.add`."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        certificate = _self_signed(key, self._app, days)
        der = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
        new = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": der, "displayName": name}
        await self._graph.send("PATCH", self._path, {"keyCredentials": [*await self._keys(), new]})
        told = _thumbprint(certificate).hex().upper()
        found = next((each for each in await self.held() if each.tell.upper() == told), None)
        if found is None:
            raise TrustBroken("Microsoft Graph does not show the certificate that was added", hint="run it again")
        return found.id, _pem(key, certificate)

    async def remove(self, key: str) -> None:
        """As `Kind.remove`."""
        held = await self._keys()
        left = [each for each in held if each["keyId"] != key]
        if len(left) < len(held):
            await self._graph.send("PATCH", self._path, {"keyCredentials": left})

    async def sign_in(self, content: bytes) -> None:
        """As `Kind.sign_in`."""
        signed = _assertion(content, self._app, self._endpoint.url, self._clock())
        await self._endpoint.ask({"client_assertion_type": _ASSERTION, "client_assertion": signed})

    def tell(self, content: bytes) -> str:
        """As `Kind.tell`."""
        return _thumbprint(x509.load_pem_x509_certificate(content)).hex().upper()

    async def _keys(self) -> list[dict[str, Any]]:
        """With what each holds, so that they can be sent back whole."""
        found = await self._graph.get(f"{self._path}?$select=id,keyCredentials")
        return list(found.get("keyCredentials") or ())


class _Endpoint:
    """Entra's token endpoint, asked as the application itself."""

    def __init__(self, client: httpx.AsyncClient, tenant: str, app: str) -> None:
        self.url = f"{_LOGIN}/{tenant}/oauth2/v2.0/token"
        self._client = client
        self._app = app

    async def ask(self, proof: Mapping[str, str]) -> None:
        form = {"grant_type": "client_credentials", "client_id": self._app, "scope": _GRAPH, **proof}
        broken = ""
        try:
            answer = await self._client.post(self.url, data=form, timeout=_TIMEOUT)
            if not answer.is_success or not answer.json().get("access_token"):
                broken = f"answered {answer.status_code} {_code(answer)}".rstrip()
        except (httpx.HTTPError, ValueError, AttributeError) as error:
            broken = f"gave no answer that can be used: {type(error).__name__}"
        if broken:  # outside the handler: a library's error holds the request, and with it the secret
            raise TrustBroken(f"a sign-in as `{self._app}` failed: entra {broken}")


def _code(answer: httpx.Response) -> str:
    """Entra's number, and nothing of what it says beside: descriptions can quote what was sent."""
    try:
        said = str(answer.json().get("error_description", ""))
    except (ValueError, AttributeError):
        return ""
    word = said.partition(":")[0]
    return f"`{word}`" if word.startswith("AADSTS") and word[6:].isdigit() else ""


def _held(told: Mapping[str, Any], tell: str) -> Held:
    return Held(
        str(told["keyId"]),
        str(told.get("displayName") or ""),
        tell,
        _seconds(told.get("startDateTime")),
        _seconds(told.get("endDateTime")),
    )


def _seconds(text: object) -> float:
    """Of Graph's time; 0 for none."""
    return dt.datetime.fromisoformat(str(text)).timestamp() if text else 0.0


def _written(days: int) -> str:
    return f"{dt.datetime.now(dt.UTC) + dt.timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def _self_signed(key: rsa.RSAPrivateKey, app: str, days: int) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, app)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(minutes=5))
    return builder.not_valid_after(now + dt.timedelta(days=days)).sign(key, hashes.SHA256())


def _pem(key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> bytes:
    pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(pem, pkcs8, plain) + certificate.public_bytes(pem)


def _thumbprint(certificate: x509.Certificate) -> bytes:
    return certificate.fingerprint(hashes.SHA1())  # noqa: S303 - how Graph names a certificate, not a protection


def _assertion(content: bytes, app: str, audience: str, now: float) -> str:
    """A client assertion (learn.microsoft.com/entra/identity-platform/certificate-credentials)."""
    key = serialization.load_pem_private_key(content, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TrustBroken("the file holds no RSA key")
    der = x509.load_pem_x509_certificate(content).public_bytes(serialization.Encoding.DER)
    header = {"alg": "PS256", "typ": "JWT", "x5t#S256": _encode(hashlib.sha256(der).digest())}
    times = {"iat": int(now), "nbf": int(now), "exp": int(now) + _LIFE}
    claims = {"aud": audience, "iss": app, "sub": app, "jti": secrets.token_urlsafe(16), **times}
    signed = ".".join(_encode(json.dumps(part).encode()) for part in (header, claims))
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return f"{signed}.{_encode(key.sign(signed.encode(), pss, hashes.SHA256()))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
