"""What a client needs to know of an installation, as it publishes it at `/v1/configuration`."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from remit.model.errors import RemitError

_TIMEOUT = 5.0  # seconds
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Configuration:
    """One installation. `url`: the door, which also answers the API; `ca_pem`: the door's own authority.

    `terminated`: hosts that go through the gateway; `refused`: hosts that only the broker may speak to.
    """

    url: str
    authority: str
    tenant: str
    client: str
    scope: str
    ca_pem: str
    terminated: frozenset[str]
    refused: frozenset[str]


def fetch(url: str) -> Configuration:
    """Asks an installation; raises `RemitError` when it does not answer as one, or could be overheard."""
    base = url.rstrip("/")
    try:
        place = urlsplit(base)
        if place.scheme == "http" and place.hostname not in _LOOPBACK:
            message = f"`{base}` would show your sign-in to the network"
            raise RemitError(message, hint="use the installation's https address")
        answer = httpx.get(f"{base}/v1/configuration", timeout=_TIMEOUT)
        answer.raise_for_status()
        return _read(base, answer.json())
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        message = f"no installation of remit answers at `{base}`"
        raise RemitError(message, hint="is `remit serve` running there, and is the address right?") from error


def _read(url: str, document: dict[str, Any]) -> Configuration:
    return Configuration(
        url=url,
        authority=str(document["authority"]),
        tenant=str(document["tenant"]),
        client=str(document["client"]),
        scope=str(document["scope"]),
        ca_pem=str(document["ca_pem"]),
        terminated=frozenset(map(str, document["terminated"])),
        refused=frozenset(map(str, document["refused"])),
    )
