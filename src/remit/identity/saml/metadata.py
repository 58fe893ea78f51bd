"""A SAML provider's metadata: its keys and where it signs people in, from a file or from its URL.

SAML 2.0 metadata 2.3 and 2.4, as corrected by its errata; Metadata Interoperability Profile 1.0. A URL is fetched as
keys are: https only, no redirects, bounded in time and size, at most `REFRESH` old when a sign-in needs it, so that no
task has to run; a key that is not known costs at most one fetch in `UNKNOWN_KEY`; a provider that is away, or that
answers with nonsense, leaves the last set in force for `MAX_AGE`. `validUntil` ends everything at once;
`cacheDuration` only says how often to ask, which is done more often anyway. Leaves out: signatures of metadata (the
file, the pins or TLS vouch for it), federations' aggregates, sign-out.
"""

import asyncio
import base64
import binascii
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from remit.identity.saml import xml
from remit.identity.saml.xml import Element, Malformed
from remit.identity.settings import SamlIssuer
from remit.model.errors import Refused
from remit.model.reasons import Reason

MAX_AGE = 24 * 3600.0  # seconds; how long Remit goes on with a provider that is away
REFRESH = 60.0  # seconds; a new key works, and a removed one stops, within this
UNKNOWN_KEY = 30.0  # seconds between two fetches that sign-ins can cause
FETCH = 5.0  # seconds for one fetch
MAX_METADATA = 1024 * 1024  # bytes; one application's at Entra has 80 KiB
MAX_CERTIFICATES = 8  # each is a signature to verify for garbage; Entra lists three at most

_KINDS = frozenset({"application/samlmetadata+xml", "application/xml", "text/xml"})
_MIN_MODULUS = 2048  # bits
_BOM = b"\xef\xbb\xbf"  # Entra's metadata begins with one

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Provider:
    """What metadata says: keys in their certificates, where browsers go, and its own end in epoch seconds."""

    certificates: tuple[x509.Certificate, ...]
    sign_in: str
    valid_until: int | None


class MetadataSource(Protocol):
    """Where an authenticator finds its provider."""

    async def current(self, now: int) -> Provider:
        """The provider as it is now, epoch seconds; raises `Refused` with `PLANE_UNAVAILABLE` when unknowable."""

    async def renewed(self, known: Provider, now: int) -> Provider | None:
        """The provider when its keys are others than `known` has, else `None`; may ask it, within bounds."""


def parse(data: bytes, settings: SamlIssuer) -> Provider:
    """Our provider in a document, its own or one of several; raises `Malformed`."""
    root = xml.parse(data.removeprefix(_BOM), MAX_METADATA)
    own = xml.name(xml.METADATA, "EntityDescriptor")
    found = [entity for entity in root.iter(own) if entity.get("entityID") == settings.entity_id]
    if root.tag not in (own, xml.name(xml.METADATA, "EntitiesDescriptor")) or len(found) != 1:
        raise Malformed("does not describe the provider, or does so twice")
    role = _role(found[0])
    certificates = _certificates(role, settings)
    if not certificates:
        raise Malformed("names no key that can be used")
    ends = [xml.maybe_instant(element, "validUntil") for element in (role, found[0], *found[0].iterancestors())]
    return Provider(certificates, _sign_in(role), min((end for end in ends if end is not None), default=None))


class FileMetadata:
    """Metadata in a file, read anew whenever the file is another one."""

    def __init__(self, settings: SamlIssuer, *, clock: Callable[[], float] = time.monotonic) -> None:
        if settings.metadata is None:
            raise ValueError("the provider has no metadata file")
        self._settings = settings
        self._path = settings.metadata
        self._kept = _Kept(clock)
        self._read: tuple[int, ...] | None = None

    async def current(self, now: int) -> Provider:
        """As `MetadataSource.current`."""
        await asyncio.to_thread(self._look)
        return self._kept.usable(now)

    async def renewed(self, known: Provider, now: int) -> Provider | None:
        """As `MetadataSource.renewed`."""
        return _if_other(await self.current(now), known)

    def _look(self) -> None:
        try:
            found = self._path.stat()
            identity = (found.st_mtime_ns, found.st_size, found.st_ino)
            if identity != self._read:
                self._kept.provider = parse(self._path.read_bytes(), self._settings)
                self._read = identity
            self._kept.touch()
        except (OSError, ValueError) as error:
            log.warning("metadata of %s not read: %s", self._settings.entity_id, _words(error))


class UrlMetadata:
    """Metadata at a URL. `client` must not follow redirects; `clock`: monotonic seconds."""

    def __init__(
        self,
        settings: SamlIssuer,
        client: httpx.AsyncClient,
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = FETCH,
    ) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._timeout = timeout
        self._kept = _Kept(clock)
        self._tried_at: float | None = None
        self._lock = asyncio.Lock()

    async def current(self, now: int) -> Provider:
        """As `MetadataSource.current`."""
        if self._kept.age() >= REFRESH:
            async with self._lock:
                if self._kept.age() >= REFRESH and self._may_ask():
                    await self._fetch()
        return self._kept.usable(now)

    async def renewed(self, known: Provider, now: int) -> Provider | None:
        """As `MetadataSource.renewed`."""
        async with self._lock:
            if self._kept.provider is known and self._may_ask():
                await self._fetch()
        return _if_other(self._kept.usable(now), known)

    def _may_ask(self) -> bool:
        return self._tried_at is None or self._clock() - self._tried_at >= UNKNOWN_KEY

    async def _fetch(self) -> None:
        self._tried_at = self._clock()
        try:
            async with asyncio.timeout(self._timeout):
                self._kept.provider = parse(await self._get(), self._settings)
            self._kept.touch()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, TimeoutError) as error:
            log.warning("metadata of %s not fetched: %s", self._settings.entity_id, _words(error))

    async def _get(self) -> bytes:
        if not self._settings.metadata_url.startswith("https://"):
            raise Malformed("is not at an https URL")
        # identity: a compressed answer could grow past any bound between two looks at its size
        headers = {"Accept": ", ".join(sorted(_KINDS)), "Accept-Encoding": "identity"}
        url = self._settings.metadata_url
        async with self._client.stream("GET", url, headers=headers, follow_redirects=False) as answer:
            if answer.status_code != httpx.codes.OK:
                raise Malformed(f"was answered with {answer.status_code}")
            if answer.headers.get("content-type", "").partition(";")[0].strip().lower() not in _KINDS:
                raise Malformed("was not answered with XML")
            body = bytearray()
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > MAX_METADATA:
                    raise Malformed("was answered with too much")
        return bytes(body)


class _Kept:
    """The last good metadata and when it was last known to be current."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at: float | None = None
        self.provider: Provider | None = None

    def touch(self) -> None:
        self._at = self._clock()

    def age(self) -> float:
        return float("inf") if self._at is None else self._clock() - self._at

    def usable(self, now: int) -> Provider:
        known = self.provider
        if known is None or self.age() > MAX_AGE or (known.valid_until is not None and now >= known.valid_until):
            raise Refused(Reason.PLANE_UNAVAILABLE, "the SAML provider's keys are not known right now")
        return known


def _role(entity: Element) -> Element:
    roles = entity.findall(xml.name(xml.METADATA, "IDPSSODescriptor"))
    fitting = [role for role in roles if xml.PROTOCOL in str(role.get("protocolSupportEnumeration")).split()]
    if len(fitting) != 1:
        raise Malformed("does not describe one identity provider of SAML 2.0")
    return fitting[0]


def _certificates(role: Element, settings: SamlIssuer) -> tuple[x509.Certificate, ...]:
    path = "/".join(xml.name(xml.SIGNATURE, step) for step in ("KeyInfo", "X509Data", "X509Certificate"))
    keys = role.findall(xml.name(xml.METADATA, "KeyDescriptor"))
    texts = [element for key in keys if key.get("use") in (None, "signing") for element in key.findall(path)]
    found: dict[str, x509.Certificate] = {}
    for element in texts:
        certificate = _load(str(element.text or ""))
        if certificate is None:
            log.info("a key of %s is left out: it cannot be used", settings.entity_id)
            continue
        digest = certificate.fingerprint(hashes.SHA256()).hex()
        if settings.pins and digest not in settings.pins:
            log.info("a key of %s is left out: it is not pinned", settings.entity_id)
            continue
        found[digest] = certificate
    if len(found) > MAX_CERTIFICATES:
        raise Malformed("names too many keys")
    return tuple(found.values())


def _load(encoded: str) -> x509.Certificate | None:
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode("".join(encoded.split()), validate=True))
        key = certificate.public_key()
    except (binascii.Error, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if isinstance(key, rsa.RSAPublicKey):
        return certificate if key.key_size >= _MIN_MODULUS else None
    good_curve = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(
        key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1
    )
    return certificate if good_curve else None


def _sign_in(role: Element) -> str:
    services = role.findall(xml.name(xml.METADATA, "SingleSignOnService"))
    places = [str(service.get("Location")) for service in services if service.get("Binding") == xml.REDIRECT]
    for place in places:
        parts = urlsplit(place)
        if parts.scheme == "https" and parts.hostname and not parts.fragment and place.isprintable():
            return place
    raise Malformed("names no https address to redirect browsers to")


def _if_other(provider: Provider, known: Provider) -> Provider | None:
    return provider if provider.certificates != known.certificates else None


def _words(error: Exception) -> str:
    """Why, in words of ours: a library's text may hold what a stranger sent."""
    return f"it {error}" if isinstance(error, Malformed) else type(error).__name__
