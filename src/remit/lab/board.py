"""A plain web service, for tests and for the demonstration: what any team's own page behind Remit might be.

It knows nobody and asks for nothing: it shows what it was sent, and who the assertion that came with it says is there.
A page, a form, cookies, server-sent events, a WebSocket. `python -m remit.lab.board --jwks URL --audience NAME` serves
it alone. Left out: everything that a service needs to be safe by itself.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import httpx

from remit.lab import board_socket
from remit.lab.http import Request, Response
from remit.lab.http_server import HttpServer, form, reply
from remit.lab.jwt import BrokenTokenError, verify

ASSERTION = "x-remit-assertion"
_LEEWAY = 5  # seconds by which two clocks of one machine may differ
_FRESH = 60.0  # seconds for which the keys are not read again
_REMEMBERED = 1000  # calls
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Board</title></head>
<body><h1>Board</h1><p>Signed in: <b id="who">{who}</b></p>
<form method="post" action="form"><input name="note"><button>Post</button></form><ul id="events"></ul>
<script>
new EventSource("events").onmessage = (event) => {{
  document.getElementById("events").append(Object.assign(document.createElement("li"), {{textContent: event.data}}));
}};
</script></body></html>
"""


class Keys:
    """The keys that assertions are signed with, read from their address when they are needed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: list[Mapping[str, Any]] = []
        self._read = 0.0

    async def __call__(self) -> list[Mapping[str, Any]]:
        """The keys, at most a minute old; none where there is no address."""
        if self._url and time.monotonic() - self._read > _FRESH:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                self._keys = (await client.get(self._url)).raise_for_status().json()["keys"]
            self._read = time.monotonic()
        return self._keys


class Board:
    """The service. `prefix`: the path below which it is (`/board`); `calls`: the latest requests, as at `/headers`."""

    def __init__(self, *, prefix: str = "", jwks: str = "", audience: str = "") -> None:
        self.prefix = prefix
        self.calls: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self.trust(jwks, audience)
        self._pages: Mapping[str, Callable[[Request], Awaitable[Response]]] = {
            "/": self._page,
            "/headers": self._headers,
            "/me": self._me,
            "/form": self._form,
            "/events": self._events,
            "/socket": self._socket,
            "/cookies": self._cookies,
            "/cookies/hostile": self._hostile,
        }

    def trust(self, jwks: str, audience: str) -> None:
        """Whose assertions to take: the address of the keys, and the audience that they must name."""
        self._keys, self._audience = Keys(jwks), audience

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        self.calls.append(_seen(request))
        inside = request.path.startswith(f"{self.prefix}/")
        page = self._pages.get(request.path.removeprefix(self.prefix)) if inside else None
        return await page(request) if page else reply({"error": "no such page", **_seen(request)}, HTTPStatus.NOT_FOUND)

    async def who(self, request: Request) -> dict[str, Any]:
        """The claims of a request's assertion; raises `BrokenTokenError` for one that is not to be believed."""
        token = request.headers.get(ASSERTION, "")
        if not token:
            raise BrokenTokenError("no assertion")
        claims = verify(token, await self._keys())
        now = time.time()
        audiences = claims.get("aud")
        if self._audience not in (audiences if isinstance(audiences, list) else [audiences]):
            raise BrokenTokenError("for another audience")
        if not claims.get("iat", now + 1) - _LEEWAY <= now <= claims.get("exp", 0) + _LEEWAY:
            raise BrokenTokenError("not of this time")
        return claims

    async def _name(self, request: Request) -> str:
        try:
            claims = await self.who(request)
        except BrokenTokenError:
            return "nobody"
        return str(claims.get("name") or claims.get("sub") or "nobody")

    async def _page(self, request: Request) -> Response:
        who = (await self._name(request)).replace("&", "&amp;").replace("<", "&lt;")
        return Response(200, _PAGE.format(who=who).encode(), {"content-type": "text/html; charset=utf-8"})

    async def _headers(self, request: Request) -> Response:
        return reply(_seen(request))

    async def _me(self, request: Request) -> Response:
        try:
            return reply({"claims": await self.who(request)})
        except BrokenTokenError as error:
            return reply({"error": str(error)}, HTTPStatus.UNAUTHORIZED)

    async def _form(self, request: Request) -> Response:
        if request.method != "POST":
            return reply({"error": "post a form"}, HTTPStatus.METHOD_NOT_ALLOWED)
        return reply({"fields": form(request), "who": await self._name(request)})

    async def _events(self, request: Request) -> Response:
        count, pause = int(request.parameter("count") or 5), float(request.parameter("pause") or 0.2)

        async def events() -> AsyncGenerator[bytes, None]:
            for number in range(count):
                yield f"id: {number}\ndata: event {number}\n\n".encode()
                await asyncio.sleep(pause)

        return Response(200, headers={"content-type": "text/event-stream", "cache-control": "no-cache"}, parts=events())

    async def _socket(self, request: Request) -> Response:
        return board_socket.accept(request, await self._name(request))

    async def _cookies(self, request: Request) -> Response:
        return _with_cookies(request, "board=seen; Path=/; HttpOnly", "theme=dark; Path=/")

    async def _hostile(self, request: Request) -> Response:
        """Cookies that only Remit may set, and one that anybody may."""
        stolen = ("__Host-remit", "__HOST-REMIT", "__Host-remit-next", " __Host-remit")
        return _with_cookies(request, *(f"{name}=stolen; Path=/; Secure" for name in stolen), "board=kept; Path=/")


def _with_cookies(request: Request, *cookies: str) -> Response:
    answer = reply({"cookies": request.headers.get("cookie", "")})
    return Response(answer.status, answer.body, answer.headers, cookies)


def _seen(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "target": request.target,
        "headers": dict(request.headers),
        "body": request.body.decode("utf-8", "replace"),
    }


async def _serve(port: int, board: Board) -> None:
    server = await HttpServer(board.handle).listen(port)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Serve until the process ends; the address is the first line of standard output."""
    options = argparse.ArgumentParser(prog="board")
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--prefix", default="")
    options.add_argument("--jwks", default="")
    options.add_argument("--audience", default="")
    given = options.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    asyncio.run(_serve(given.port, Board(prefix=given.prefix, jwks=given.jwks, audience=given.audience)))


if __name__ == "__main__":
    main()
