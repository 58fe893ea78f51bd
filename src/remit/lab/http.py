"""What a request and a response are inside the lab."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from remit.lab.streams import Connected


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to a lab host. `host`: lower case, no port; `path`: raw, undecoded; headers lower case.

    `target`: path and query as they came.
    """

    method: str
    host: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    target: str = ""

    def parameter(self, name: str) -> str:
        """One query parameter's value, empty when absent."""
        return next((value for key, value in self.query if key == name), "")


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back. `content-length` and `date` are added by the server.

    `cookies`: a `set-cookie` header each; `parts`: a body that comes bit by bit, instead of `body`, each part sent at
    once, in chunks unless a `content-length` is among the headers; `upgraded`: what takes the connection over after a
    101.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()
    parts: AsyncGenerator[bytes, None] | None = None
    upgraded: Connected | None = None


Handler = Callable[[Request], Awaitable[Response]]
