"""The lab's clouds inside this process, as the rotations meet them: over HTTP, by its administrator."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from remit.lab import contoso
from remit.lab.errors import CloudError
from remit.lab.http import Request
from remit.lab.service import Clouds
from remit.model.secret import AccessToken


async def _streamed(content: bytes) -> AsyncIterator[bytes]:
    """As over the wire: it is read once."""
    yield content


class Lab(httpx.AsyncBaseTransport):
    """All hosts. `asked`: method and path of every request."""

    def __init__(self, folder: Path) -> None:
        self.clouds = Clouds(folder)
        self._handle = self.clouds.faults.around(self.clouds.hosts())
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        target = request.url.raw_path.decode().partition("?")[0]
        self.asked.append(f"{request.method} {target}")
        headers = {name.lower(): value for name, value in request.headers.items()}
        pairs = tuple(request.url.params.multi_items())
        try:
            answer = await self._handle(Request(request.method, request.url.host, target, pairs, headers, body))
        except CloudError as refused:  # as the lab's server answers
            return httpx.Response(refused.http_status, content=refused.json())
        return httpx.Response(answer.status, headers=answer.headers, content=_streamed(answer.body))

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self)

    async def token(self, scope: str) -> AccessToken:
        """As the administrator."""
        if "googleapis" in scope:
            return AccessToken(self.clouds.commands()["google_administrator"](True))
        return AccessToken(self.clouds.entra.tokens.for_machine(contoso.ADMINISTRATOR, contoso.GRAPH).token)
