"""Addresses of data: `az://ACCOUNT/CONTAINER/PATH`, `abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH`, `gs://`.

A token goes to the host that an address names, so that only Azure's own hosts are taken (its public cloud; sovereign
ones are left out), and nothing that carries a signature in its query. Wildcards as TensorFlow's `gfile` has them: `*`,
`?` and `[…]` stay within one name; `**` besides crosses `/`. Source: learn.microsoft.com/azure/storage/blobs/
data-lake-storage-introduction-abfs-uri.
"""

import re
from dataclasses import dataclass

from remit.model.errors import RemitError

_ACCOUNT = r"[a-z0-9]{3,24}"
_CONTAINER = r"[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]"
_AZ = re.compile(rf"az://(?P<account>{_ACCOUNT})/(?P<container>{_CONTAINER})/(?P<path>.+)")
_ABFS = re.compile(
    rf"abfss?://(?P<container>{_CONTAINER})@(?P<account>{_ACCOUNT})\.(?:dfs|blob)\.core\.windows\.net/(?P<path>.+)"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_WILD = re.compile(r"[*?\[]")
_TOKENS = re.compile(r"\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a file or a pattern of files is. `scheme`: `az`, `gs`, `file`; `root`: `ACCOUNT/CONTAINER` or a bucket."""

    scheme: str
    root: str
    path: str

    def __str__(self) -> str:
        return self.path if self.scheme == "file" else f"{self.scheme}://{self.root}/{self.path}"

    @property
    def wild(self) -> bool:
        """Whether it may stand for several files."""
        return bool(_WILD.search(self.path))

    @property
    def prefix(self) -> str:
        """What every name that it stands for begins with."""
        return _WILD.split(self.path, maxsplit=1)[0]

    def at(self, path: str) -> "Location":
        """Another file of the same place."""
        return Location(self.scheme, self.root, path)


def parse(text: str) -> Location:
    """An address or a pattern; raises `RemitError` for what is none."""
    if re.search(r"[?&]s(?:ig|v)=", text):
        message = "an address with a signature in it is a static credential"
        raise RemitError(message, hint="leave everything from `?` on away, and let the job's identity open it")
    if found := _AZ.fullmatch(text) or _ABFS.fullmatch(text):
        return Location("az", f"{found['account']}/{found['container']}", found["path"])
    if text.startswith("gs://"):
        bucket, _, path = text.removeprefix("gs://").partition("/")
        if bucket and path:
            return Location("gs", bucket, path)
    elif not _SCHEME.match(text) and text:
        return Location("file", "", text)
    raise RemitError(
        f"`{text}` is no address that can be read",
        hint="one of `az://ACCOUNT/CONTAINER/PATH`, `abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH`, `gs://BUCKET/PATH`",
    )


def matcher(pattern: str) -> re.Pattern[str]:
    """Which names a pattern stands for; raises `RemitError` for a range that runs backwards."""
    try:
        return re.compile("".join(_translated(each) for each in _TOKENS.findall(pattern)), re.DOTALL)
    except re.error:
        raise RemitError(
            f"`{pattern}` is no pattern", hint="a range goes from the lower to the higher: `[a-z]`"
        ) from None


def _translated(token: str) -> str:
    if token == "**":
        return ".*"
    if token == "*":
        return "[^/]*"
    if token == "?":
        return "[^/]"
    if len(token) > 1:
        inside = token[1:-1].replace("\\", r"\\").replace("[", r"\[")
        return f"[^/{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    return re.escape(token)
