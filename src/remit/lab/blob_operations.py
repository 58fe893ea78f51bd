"""Which operation of Blob Storage a request is, and which permission on which container it needs.

An allow-list: what it does not know is refused, since the store behind the door trusts the door. Left out: operations
on an account (its containers, its properties, keys for signatures), batches and copies within the server, which would
each name further blobs in places that nobody has looked at. Sources: learn.microsoft.com/rest/api/storageservices/
blob-service-rest-api and authorize-with-azure-active-directory (permissions for blob service operations).
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from remit.lab.arm_conditions import LIST, NAME, PATH, PREFIX, Asked
from remit.lab.blob_errors import BlobError
from remit.lab.http import Request

HOST = re.compile(r"([a-z0-9]{3,24})\.blob\.core\.windows\.net")
_CONTAINER = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]")
_SERVICE = "Microsoft.Storage/storageAccounts/blobServices/containers"
_QUERY = frozenset(
    {"comp", "restype", "prefix", "delimiter", "marker", "maxresults", "include", "showonly", "timeout"}
    | {"blockid", "blocklisttype", "snapshot"}
)

# `comp` of a blob's request, by method → (operation, category, last words of the permission).
_BLOB = {
    ("GET", ""): ("GetBlob", "StorageRead", "blobs/read"),
    ("HEAD", ""): ("GetBlobProperties", "StorageRead", "blobs/read"),
    ("GET", "metadata"): ("GetBlobMetadata", "StorageRead", "blobs/read"),
    ("HEAD", "metadata"): ("GetBlobMetadata", "StorageRead", "blobs/read"),
    ("GET", "blocklist"): ("GetBlockList", "StorageRead", "blobs/read"),
    ("PUT", ""): ("PutBlob", "StorageWrite", "blobs/write"),
    ("PUT", "block"): ("PutBlock", "StorageWrite", "blobs/write"),
    ("PUT", "blocklist"): ("PutBlockList", "StorageWrite", "blobs/write"),
    ("PUT", "appendblock"): ("AppendBlock", "StorageWrite", "blobs/write"),
    ("PUT", "metadata"): ("SetBlobMetadata", "StorageWrite", "blobs/write"),
    ("PUT", "properties"): ("SetBlobProperties", "StorageWrite", "blobs/write"),
    ("DELETE", ""): ("DeleteBlob", "StorageDelete", "blobs/delete"),
}
_OF_CONTAINER = {
    ("GET", "list"): ("ListBlobs", "StorageRead", "blobs/read"),
    ("GET", ""): ("GetContainerProperties", "StorageRead", "read"),
    ("HEAD", ""): ("GetContainerProperties", "StorageRead", "read"),
    ("PUT", ""): ("CreateContainer", "StorageWrite", "write"),
    ("DELETE", ""): ("DeleteContainer", "StorageDelete", "delete"),
}


@dataclass(frozen=True, slots=True)
class Operation:
    """What a request does.

    `container`: `ACCOUNT/CONTAINER`; `needs`: the permission's last words; `blob`: its name; `prefix`: what a list asks
    for, `None` where it asks for none.
    """

    name: str
    category: str
    needs: str
    container: str
    blob: str
    prefix: str | None = None

    @property
    def permission(self) -> str:
        """Azure's name of the action."""
        return f"{_SERVICE}/{self.needs}"

    @property
    def data(self) -> bool:
        """Whether that is a data action: what concerns blobs is, what concerns their container is not."""
        return self.needs.startswith("blobs/")

    @property
    def asked(self) -> Asked:
        """What conditions are held against."""
        attributes = {NAME: self.container.partition("/")[2], PATH: self.blob, PREFIX: self.prefix or ""}
        given = {name: value for name, value in attributes.items() if value}
        return Asked(self.permission, LIST if self.name == "ListBlobs" else "", given)


def understand(request: Request, account: str) -> Operation:
    """The operation of a request to an account; raises `BlobError`."""
    query = _query(request)
    container, blob = _place(request.path)
    if any(name.startswith("x-ms-copy-source") or name == "x-ms-requires-sync" for name in request.headers):
        raise BlobError("UnsupportedHeader", more="The lab plays no copies within the server.")
    kind = query.get("restype", "")
    if not container or kind not in {"", "container"} or (kind == "container") == bool(blob):
        raise BlobError("AuthorizationPermissionMismatch", more="The lab's roles are on containers.")
    table = _OF_CONTAINER if kind else _BLOB
    found = table.get((request.method, query.get("comp", "")))
    if found is None:
        raise BlobError("UnsupportedHttpVerb")
    return Operation(*found, f"{account}/{container}", blob, query.get("prefix"))


def _query(request: Request) -> dict[str, str]:
    """The parameters, each known and given once in lower case: the store behind reads them again, its own way."""
    names = [name for name, _ in request.query]
    if not _QUERY.issuperset(names) or len(set(names)) < len(names):
        raise BlobError("UnsupportedQueryParameter")
    return dict(request.query)


def _place(path: str) -> tuple[str, str]:
    """Container and blob of a raw path, refused when another reader could find others in it; raises `BlobError`."""
    container, _, blob = path.removeprefix("/").partition("/")
    if not container and not blob:
        return "", ""
    dots = any(unquote(part) in {".", ".."} for part in re.split(r"[/\\]", f"{blob}/{unquote(blob)}"))
    odd = not path.isascii() or "\\" in path or "#" in path or any(ord(char) <= ord(" ") for char in path)
    if not _CONTAINER.fullmatch(container) or dots or odd:
        raise BlobError("InvalidUri")
    return container, unquote(blob)
