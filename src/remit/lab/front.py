"""The one TLS port that stands for every host of the lab.

What was agreed by ALPN decides: `h2` is gRPC and goes to the plain gRPC port as it is, `http/1.1` to the HTTP server.
HTTP/2 is offered only for hosts that serve gRPC, since nothing here speaks REST over it (the real clouds do).
"""

import asyncio
import ssl

from remit.lab.certificates import Certificates
from remit.lab.http_server import HEAD_LIMIT, HttpServer
from remit.lab.streams import accepting, splice

_GRPC_HOSTS = ("aiplatform.googleapis.com", "logging.googleapis.com", "cloudresourcemanager.googleapis.com")


class Front:
    """TLS on a loopback port. `grpc_port`: where plain gRPC listens, 0 for none."""

    def __init__(self, certificates: Certificates, server: HttpServer, grpc_port: int = 0) -> None:
        self._certificates = certificates
        self._server = server
        self._grpc_port = grpc_port

    async def listen(self, port: int = 0) -> asyncio.Server:
        """Serve on loopback; port 0 takes a free one."""
        plain, both = self._context("http/1.1"), self._context("h2", "http/1.1")

        def by_name(socket: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            if self._grpc_port and name and name.endswith(_GRPC_HOSTS):
                socket.context = both

        plain.sni_callback = by_name
        return await asyncio.start_server(accepting(self._accept), "127.0.0.1", port, ssl=plain, limit=HEAD_LIMIT)

    def _context(self, *protocols: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._certificates.front, self._certificates.key)
        context.set_alpn_protocols(list(protocols))
        return context

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
            await splice((reader, writer), await asyncio.open_connection("127.0.0.1", self._grpc_port))
            return
        await self._server.serve(reader, writer)
