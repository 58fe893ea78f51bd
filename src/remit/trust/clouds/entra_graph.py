"""Microsoft Graph: its paths, its pages, and what its errors mean.

Version 1.0 only. What was just made is not seen everywhere at once: Graph says so with 404, and with two sentences in
answers of 400, which all become `Missing`. Sources: learn.microsoft.com/graph/paging, /graph/errors, /graph/api/
serviceprincipal-post-serviceprincipals.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from remit.model.errors import TrustBroken
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.port import CloudRefused, Denied, Missing

HOST = "graph.microsoft.com"
SCOPE = f"https://{HOST}/.default"
_ROOT = f"https://{HOST}/v1.0/"
_PAGES = 1000  # of one list: more is a server that runs in circles
_NOT_YET = (
    "does not reference a valid application object",
    "nobackingapplicationobject",
    "one of its queried reference-property objects are not present",
)
_HINTS = (
    (
        "must use a verified domain",
        "an identifier URI has to hold the tenant's id, the application's id or a domain that the tenant has verified",
    ),
    (
        "same value for property identifieruris",
        "an identifier URI belongs to one application of a tenant, and to a deleted one until it is deleted for good",
    ),
)
_MAY_NOT = "`remit trust plan --needs` lists the permissions at Microsoft Graph, each with what it is for"

Document = dict[str, Any]
Body = Mapping[str, Any]


def keyed(collection: str, key: str, value: str) -> str:
    """One of a collection by an alternate key (`applications(appId='…')`): OData's quotes, then the URL's."""
    return f"{collection}({key}='{quote(value.replace(chr(39), chr(39) * 2), safe='')}')"


def literal(value: str) -> str:
    """A text in a `$filter`, ready for a URL."""
    return quote("'" + value.replace("'", "''") + "'", safe="")


class Graph:
    """Graph, asked by paths below its version."""

    def __init__(self, ask: Asking) -> None:
        self._ask = ask

    async def get(self, path: str) -> Document:
        """One object; raises `Missing`."""
        return await self.send("GET", path)

    async def find(self, path: str) -> Document | None:
        """One object, `None` where there is no such thing."""
        try:
            return await self.get(path)
        except Missing:
            return None

    async def send(self, method: str, path: str, body: Body | None = None, **headers: str) -> Document:
        """The answer, empty where Graph sends none; raises `TrustBroken`."""
        return await self._to(method, _ROOT + path, body, **headers)

    async def delete(self, path: str) -> None:
        """Delete it; nothing happens when it is not there."""
        try:
            await self.send("DELETE", path)
        except Missing:
            return

    async def each(self, path: str) -> AsyncIterator[Document]:
        """Everything on every page of a list. The token goes to Graph, wherever a page says that the next one lies."""
        url = _ROOT + path
        for _ in range(_PAGES):
            page = await self._to("GET", url)
            values = page.get("value")
            if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
                raise TrustBroken(f"`{path.partition('?')[0]}` answered no list")
            for value in values:
                yield value
            if "@odata.nextLink" not in page:
                return
            url = _next(page["@odata.nextLink"])
        raise TrustBroken(f"`{path.partition('?')[0]}` has no last page")

    async def _to(self, method: str, url: str, body: Body | None = None, **headers: str) -> Document:
        try:
            return await self._ask(method, url, body, **headers)
        except CloudRefused as refusal:
            raise _told(refusal) from refusal


def _next(link: object) -> str:
    parts = urlsplit(link) if isinstance(link, str) else None
    # the whole authority: a name and a password before the host would be part of it
    if parts is None or parts.scheme != "https" or parts.netloc != HOST:
        raise TrustBroken("Microsoft Graph names a next page that is not at Microsoft Graph")
    return parts.geturl()


def _told(refusal: CloudRefused) -> CloudRefused:
    """The same refusal, for what it is."""
    said = refusal.message.lower()
    if refusal.status == 400 and any(sentence in said for sentence in _NOT_YET):  # noqa: PLR2004 - HTTP's own number
        return Missing(refusal.message, status=refusal.status, code=refusal.code)
    if isinstance(refusal, Denied):
        return Denied(refusal.message, status=refusal.status, code=refusal.code, hint=_MAY_NOT)
    hint = next((hint for sentence, hint in _HINTS if sentence in said), "")
    if hint:
        return CloudRefused(refusal.message, status=refusal.status, code=refusal.code, hint=hint)
    return refusal
