"""What a client needs to know of an installation, as it publishes it at `/v1/configuration`.

authority, tenant, client, scope    where people sign in at Entra, as which public client, for what
provider                            another OpenID provider instead: `{"kind": "oidc", "issuer", "client", "scope"}`
audience                            whom a pipeline's token is to be issued for; else `scope` without `/.default`
ca_pem                              the certificate of the door's own authority, one
terminated, refused                 hosts that go through the gateway; hosts that only the broker may speak to
"""

import hashlib
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from remit.model.errors import RemitError

_TIMEOUT = 5.0  # seconds
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_DEFAULT = "/.default"  # Entra's word for everything that was consented to


@dataclass(frozen=True, slots=True)
class Configuration:
    """One installation. `url`: the door, which also answers the API.

    `issuer`: of the OpenID provider that people sign in at, empty for Entra, which `authority` and `tenant` name.
    """

    url: str
    authority: str
    tenant: str
    client: str
    scope: str
    ca_pem: str
    terminated: frozenset[str]
    refused: frozenset[str]
    issuer: str = ""
    audience: str = ""

    @property
    def door(self) -> str:
        """SHA-256 of the certificate of the door's authority, in hex; raises `ValueError` when that is none."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.ca_pem)).hexdigest()

    @property
    def provider(self) -> str:
        """The address of whoever people sign in at."""
        return self.issuer or self.authority


def loopback(url: str) -> bool:
    """Whether an address is this machine's own. Then no proxy may stand between, whatever the environment names."""
    try:
        return urlsplit(url).hostname in _LOOPBACK
    except ValueError:  # no address at all
        return False


def fetch(url: str) -> Configuration:
    """Asks an installation; raises `RemitError` when it does not answer as one, or could be overheard."""
    base = url.rstrip("/")
    try:
        if urlsplit(base).scheme == "http" and not loopback(base):
            message = f"`{base}` would show your sign-in to the network"
            raise RemitError(message, hint="use the installation's https address")
        answer = httpx.get(f"{base}/v1/configuration", timeout=_TIMEOUT, trust_env=not loopback(base))
        answer.raise_for_status()
        return _read(base, answer.json())
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"no installation of remit answers at `{base}`"
        raise RemitError(message, hint="is `remit serve` running there, and is the address right?") from error


def _read(url: str, document: dict[str, Any]) -> Configuration:
    sign_in = _sign_in(document)
    found = Configuration(
        url=url,
        **sign_in,
        audience=str(document.get("audience") or _resource(sign_in["scope"])),
        ca_pem=str(document["ca_pem"]),
        terminated=frozenset(map(str, document["terminated"])),
        refused=frozenset(map(str, document["refused"])),
    )
    _ = found.door  # a door without a certificate could not be told from another
    return found


def _resource(scope: str) -> str:
    """Whom a scope is for, by Entra's way of writing it; empty when it is written otherwise."""
    return scope.removesuffix(_DEFAULT) if scope.endswith(_DEFAULT) else ""


def _sign_in(document: dict[str, Any]) -> dict[str, str]:
    """Where people sign in. Only https addresses: what is sent there signs in as them."""
    provider = document.get("provider") or {"kind": "entra"}
    if provider["kind"] == "entra":
        found = {name: str(document[name]) for name in ("authority", "tenant", "client", "scope")}
        place = found["authority"]
    elif provider["kind"] == "oidc":
        found = {name: str(provider[name]) for name in ("issuer", "client", "scope")} | {"authority": "", "tenant": ""}
        place = found["issuer"]
    else:
        message = f"the installation's provider is of the kind `{provider['kind']}`, which this remit does not know"
        raise RemitError(message, hint="is this remit older than the installation?")
    if urlsplit(place).scheme != "https":
        raise ValueError(place)
    return found
