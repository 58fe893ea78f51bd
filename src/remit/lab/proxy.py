"""The CONNECT proxy that makes the lab's hosts be where the clouds' are.

Tunnels to the TLS front for listed hosts at port 443, and answers 403 to everything else, so it guards egress too and
keeps the hosts that were asked for. HTTP/1.0 CONNECT is taken: some clients still send it.
"""

import asyncio
import re
from collections import deque

from remit.lab.streams import accepting, close, splice

# Every host that the lab plays. Anything else a client reaches for is refused, which shows it.
HOSTS = re.compile(
    r"login\.microsoftonline\.com|graph\.microsoft\.com|management\.azure\.com|accounts\.google\.com"
    r"|(?:token|pipelines)\.actions\.githubusercontent\.com|oidc\.cluster\.contoso\.example"
    r"|(?:sts|oauth2|iamcredentials|iam|cloudresourcemanager|logging|storage|www|aiplatform)\.googleapis\.com"
    r"|[a-z]+-[a-z]+[0-9]+-aiplatform\.googleapis\.com"
    r"|[a-z0-9]{3,24}\.blob\.core\.windows\.net"
)
_LINE = re.compile(rb"CONNECT ([A-Za-z0-9.-]+):([0-9]{1,5}) HTTP/1\.[01]\r\n")
_HEAD_SECONDS = 10.0
_REMEMBERED = 1000  # refused hosts kept for `refused`
_LIMIT = 16 * 1024  # bytes of a CONNECT's head


class Proxy:
    """A CONNECT proxy in front of `front_port`. `refused`: the latest targets that were not let through."""

    def __init__(self, front_port: int) -> None:
        self._front_port = front_port
        self.refused: deque[str] = deque(maxlen=_REMEMBERED)

    async def listen(self, port: int = 0) -> asyncio.Server:
        """Serve on loopback; port 0 takes a free one."""
        return await asyncio.start_server(accepting(self._accept), "127.0.0.1", port, limit=_LIMIT)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            await close(writer)
            return
        match = _LINE.match(head)
        if match is None or match[2] != b"443" or not HOSTS.fullmatch(match[1].decode().lower()):
            self.refused.append(head.split(b"\r\n")[0].decode("latin-1"))
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await close(writer)
            return
        front = await asyncio.open_connection("127.0.0.1", self._front_port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await splice((reader, writer), front)
