"""What a request and a response are inside the lab."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to a lab host. `host`: lower case, no port; `path`: raw, undecoded; headers lower case."""

    method: str
    host: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes

    def parameter(self, name: str) -> str:
        """One query parameter's value, empty when absent."""
        return next((value for key, value in self.query if key == name), "")


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back. `content-length` and `date` are added by the server."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Response]]
