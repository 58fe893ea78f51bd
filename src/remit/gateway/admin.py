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

    async def epoch(self) -> int | None:
        """The number of the Envoy that answers, `None` while none does: of two, the older one answers at first."""
        try:
            found = (await self._get("/server_info")).json()["command_line_options"]["restart_epoch"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None
        return found if isinstance(found, int) else None

    async def drain(self) -> None:
        """Closes the listeners to new connections, and tells the open ones to close when their answers are done."""
        for path in ("/healthcheck/fail", "/drain_listeners?graceful&skip_exit"):
            (await self._post(path)).raise_for_status()

    async def stats(self, pattern: str) -> Mapping[str, int]:
        """Counters and gauges whose whole name matches the regular expression."""
        response = await self._get("/stats", {"format": "json", "filter": pattern})
        response.raise_for_status()
        rows = response.json()["stats"]
        return {row["name"]: row["value"] for row in rows if isinstance(row.get("value"), int)}

    async def _get(self, path: str, parameters: Mapping[str, str] | None = None) -> httpx.Response:
        async with self._client() as client:
            return await client.get(path, params=parameters)

    async def _post(self, path: str) -> httpx.Response:
        async with self._client() as client:
            return await client.post(path)

    def _client(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=self._socket, verify=_NO_TLS)
        return httpx.AsyncClient(transport=transport, base_url="http://envoy", timeout=_TIMEOUT, trust_env=False)
