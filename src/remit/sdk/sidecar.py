"""What stands beside one run on loopback: the metadata servers of Google and Azure at one door, the proxy at another.

Who enters is asked twice: the kernel says whose process it is (`peers.py`), and a secret stands in every address that
the command is given. It is in the path since google-auth, Go's and Java's clients and TensorFlow's C++ all put
`GCE_METADATA_HOST` as it is before `/computeMetadata/v1/` and send no header of ours; the proxy's is in its URL's user
information (RFC 7617). Node's gcp-metadata drops the path and gets nothing. What a browser sends is refused: by what
browsers add, or by another name for this address (DNS rebinding).
"""

import asyncio
import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from remit.sdk.azure_metadata import Azure
from remit.sdk.broker import Exchanged
from remit.sdk.configuration import Configuration
from remit.sdk.loopback import Door, Head, reply, same
from remit.sdk.metadata import FLAVOR, Metadata, Page
from remit.sdk.renewal import Tokens
from remit.sdk.tunnel import Tunnel

_NAMES = frozenset({"127.0.0.1", "localhost", "metadata.google.internal"})
_SECRET = 24  # bytes


def _secret() -> str:
    return secrets.token_urlsafe(_SECRET)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What this run's own processes know: in the path, in App Service's header, in the proxy's URL."""

    path: str = field(default_factory=_secret, repr=False)
    header: str = field(default_factory=_secret, repr=False)
    proxy: str = field(default_factory=_secret, repr=False)


class Front:
    """The door of the metadata servers."""

    def __init__(self, secret: str, google: Metadata, azure: Azure) -> None:
        self._secret = secret
        self._google = google
        self._azure = azure

    async def serve(self, head: Head, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request, one answer."""
        writer.write(await self.handle(head))
        return True

    async def handle(self, head: Head) -> bytes:
        """The same, as bytes."""
        page = await self._page(head)
        headers = {**FLAVOR, "content-type": page.kind, **(page.headers or {})}
        whole = reply(page.status, page.text.encode(), headers)
        return whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head.method == "HEAD" else whole

    async def _page(self, head: Head) -> Page:
        target, _, raw = head.target.partition("?")
        offered, slash, path = target.removeprefix("/").partition("/")
        if head.method not in ("GET", "HEAD") or head.header("x-forwarded-for") is not None or _from_a_page(head):
            return _refused("refused")
        if not same(offered, self._secret):
            return _refused("remit: this address lacks the secret of its run: take the whole of `GCE_METADATA_HOST`")
        query = dict(reversed(parse_qsl(raw, keep_blank_values=True)))
        if page := await self._azure.page(slash + path, head, query):
            return page
        if slash + path not in ("", "/") and head.header("metadata-flavor") != "Google":
            return _refused("Missing Metadata-Flavor:Google header.")
        return await self._google.page(slash + path, query)


def _refused(text: str) -> Page:
    return Page(403, "text/plain; charset=utf-8", f"{text}\n")


def _from_a_page(head: Head) -> bool:
    host = (head.header("host") or "").partition(":")[0]
    return host not in _NAMES or any(name == "origin" or name.startswith("sec-fetch-") for name, _ in head.headers)


class Sidecar:
    """The two doors of one run. `exchange`: the broker's, for an audience; `revoked` when access has been revoked."""

    def __init__(
        self,
        configuration: Configuration,
        project: str,
        exchange: Callable[[str], Exchanged],
        tunnel: Tunnel,
        revoked: Callable[[], None],
    ) -> None:
        self._secrets = Secrets()
        self._tunnel = tunnel
        own = frozenset(filter(None, (configuration.audience, configuration.url)))
        tokens = Tokens(exchange, revoked)
        front = Front(
            self._secrets.path,
            Metadata(tokens, project, own),
            Azure(tokens, project, own, self._secrets.header),
        )
        self._doors = (Door(front.serve), Door(self._through))

    async def open(self) -> None:
        """Both doors listen."""
        for door in self._doors:
            await door.open()

    async def close(self) -> None:
        """What is open ends."""
        for door in self._doors:
            await door.close()

    @property
    def addresses(self) -> Mapping[str, str]:
        """`metadata`: host, port and path; `header`: App Service's secret; `proxy`: a URL."""
        metadata, proxy = (f"127.0.0.1:{door.port}" for door in self._doors)
        return {
            "metadata": f"{metadata}/{self._secrets.path}",
            "header": self._secrets.header,
            "proxy": f"http://remit:{self._secrets.proxy}@{proxy}",
        }

    async def _through(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if not same(_password(head), self._secrets.proxy):
            headers = {"proxy-authenticate": 'Basic realm="remit run"'}
            writer.write(reply(407, b"remit: this proxy belongs to a run, and its URL has a password\n", headers))
            return True  # some ask first and send it then
        return await self._tunnel.serve(head, reader, writer)


def _password(head: Head) -> str:
    """The password of `Proxy-Authorization: Basic …`, empty when there is none (RFC 7617)."""
    scheme, _, encoded = (head.header("proxy-authorization") or "").partition(" ")
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        return ""
    return pair.partition(":")[2]
