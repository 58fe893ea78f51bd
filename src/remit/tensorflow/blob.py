"""Azure Blob Storage by the job's own identity: names, sizes, and bytes by range.

Microsoft's client is used as it is, without the retries that it would do on its own pace, and without any credential
from the environment's variables: a connection string that happens to lie there must not stand in for an identity. (That
is why adlfs, which reads those, does not stand between.) A file is read in the version that it had when it was found.
Source: learn.microsoft.com/rest/api/storageservices/get-blob, specifying-conditional-headers.
"""

import os
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.storage.blob import ContainerClient

from remit.sdk.beside import beside
from remit.tensorflow.files import File
from remit.tensorflow.locations import Location, matcher
from remit.tensorflow.patience import Verdict

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

RANGE = 8 * 1024 * 1024  # bytes of one request: what is read twice at most after a cut
_CONNECT, _READ = 20, 30  # seconds without an answer, without a byte
_UNAUTHORIZED = 401
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


class Container:
    """One container. `credential`: makes the credential, anew when a token was turned down."""

    chunk = RANGE

    def __init__(self, root: str, credential: Callable[[], Any]) -> None:
        self._account, _, self._name = root.partition("/")
        self._credential = credential
        self._lock = threading.Lock()
        self._client = self._connect()

    def _connect(self) -> ContainerClient:
        url = f"https://{self._account}.blob.core.windows.net"
        times: dict[str, Any] = {"connection_timeout": _CONNECT, "read_timeout": _READ, "retry_total": 0}
        return ContainerClient(url, self._name, credential=self._credential(), **times)

    def find(self, pattern: Location) -> Iterator[File]:
        """Every blob that a pattern stands for."""
        if not pattern.wild:
            found = self._client.get_blob_client(pattern.path).get_blob_properties()
            yield File(pattern, found.size, found.etag)
            return
        fits = matcher(pattern.path)
        for blob in self._client.list_blobs(name_starts_with=pattern.prefix, include=["metadata"]):
            if fits.fullmatch(blob.name) and not _folder(blob):
                yield File(pattern.at(blob.name), blob.size, blob.etag)

    def read(self, file: File, start: int, length: int) -> bytes:
        """These bytes of the version that was found."""
        blob = self._client.get_blob_client(file.location.path)
        same: dict[str, Any] = {"etag": file.version, "match_condition": MatchConditions.IfNotModified}
        found: bytes = blob.download_blob(start, length, max_concurrency=1, **same).readall()
        return found

    def renew(self) -> None:
        """From now on with a new credential, which holds no token yet. Reads that are under way end as they are."""
        with self._lock:
            self._client = self._connect()

    def judge(self, error: BaseException) -> Verdict:
        """What an error means: a role that lacks is no matter of the network, and the other way round."""
        status = getattr(error, "status_code", None)
        if status is None and isinstance(error, ClientAuthenticationError):
            return Verdict.NEVER  # the credential itself was refused
        if status == _UNAUTHORIZED:
            return Verdict.RENEW
        if status is not None:
            return Verdict.AGAIN if status in _PASSING else Verdict.NEVER
        if isinstance(error, ServiceRequestError | ServiceResponseError | HttpResponseError):
            return Verdict.NEVER if _untrusted(error) else Verdict.AGAIN
        return Verdict.AGAIN if isinstance(error, ConnectionError | TimeoutError) else Verdict.NEVER


def ambient() -> "TokenCredential":
    """The job's own identity: what stands beside its run, else what azure-identity finds on an Azure machine."""
    if beside(os.environ):
        from remit.sdk.credential import Credential  # noqa: PLC0415 - one of two

        return Credential()
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - half a second

    return DefaultAzureCredential()


def _folder(blob: Any) -> bool:
    """Whether a blob only stands for a folder: accounts with a hierarchical namespace list those as well."""
    return bool(not blob.size and (blob.name.endswith("/") or (blob.metadata or {}).get("hdi_isfolder") == "true"))


def _untrusted(error: BaseException) -> bool:
    """Whether a certificate was not believed, which waiting does not mend."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        if isinstance(each, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(each):
            return True
        each = each.__cause__ or each.__context__ or getattr(each, "inner_exception", None)
    return False
