"""Envoy's admin interface over its Unix socket: readiness, counters.

Source: Envoy 1.40, administration interface (`/ready`, `/stats`).
"""

import ssl
from collections.abc import Mapping
from pathlib import Path

import httpx

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""No roots, so no TLS to anybody: reading the system's roots costs 45 ms, and a client is made four times a second."""
_TIMEOUT = 2.0  # seconds: a local process that answers later is not well


class Admin:
    """A client of one Envoy's admin socket. Errors are `httpx.HTTPError`."""

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)

    async def ready(self) -> bool:
        """Whether Envoy has its listeners and serves."""
        try:
            return (await self._get("/ready")).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    async def stats(self, pattern: str) -> Mapping[str, int]:
        """Counters and gauges whose whole name matches the regular expression."""
        response = await self._get("/stats", {"format": "json", "filter": pattern})
        response.raise_for_status()
        rows = response.json()["stats"]
        return {row["name"]: row["value"] for row in rows if isinstance(row.get("value"), int)}

    async def _get(self, path: str, parameters: Mapping[str, str] | None = None) -> httpx.Response:
        transport = httpx.AsyncHTTPTransport(uds=self._socket, verify=_NO_TLS)
        client = httpx.AsyncClient(transport=transport, base_url="http://envoy", timeout=_TIMEOUT, trust_env=False)
        async with client:
            return await client.get(path, params=parameters)
