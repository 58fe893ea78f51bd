"""TensorFlow's own `gs://`, and the one habit of it that must not pass: without a token it goes on as nobody.

Its C++ asks the metadata server (`GCE_METADATA_HOST`) for a token, and when that fails it sends none from then on, for
the life of the process: a public bucket would be read by nobody in particular, and another one would answer as if a
role were missing. So the metadata server is asked here before, the same way (curl heeds `http_proxy` and `no_proxy`, as
this does). Source: tsl/platform/cloud/google_auth_provider.cc, curl_http_request.cc (which status is which error).
"""

import contextlib
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from remit.tensorflow.errors import ReadRefused
from remit.tensorflow.files import File
from remit.tensorflow.locations import Location
from remit.tensorflow.patience import Verdict

_TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"
_ANSWER = {"access_token": str, "token_type": str, "expires_in": int}  # what TensorFlow reads, or takes as no answer
_SECONDS = 5.0
_FILES = ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_AUTH_TOKEN_FOR_TESTING")
_STATUS = re.compile(r"HTTP response code (\d{3})")
_PASSING = ("UnavailableError", "DeadlineExceededError", "AbortedError", "ResourceExhaustedError", "InternalError")


class CloudStorage:
    """Files at `gs://`, through TensorFlow. `environment`: where TensorFlow looks for its identity."""

    chunk = 8 * 1024 * 1024

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        import tensorflow as tf  # type: ignore[import-untyped]  # noqa: PLC0415 - no types are published; it takes seconds

        self._gfile: Any = tf.io.gfile
        self._environment = environment

    def find(self, pattern: Location) -> Iterator[File]:
        """Every object that a pattern stands for; raises `ReadRefused` while TensorFlow has no identity."""
        identified(self._environment)
        with _by_somebody():
            names = self._gfile.glob(str(pattern)) if pattern.wild else [str(pattern)]
            sizes = [self._gfile.stat(name).length for name in names]
        for name, size in zip(names, sizes, strict=True):
            yield File(pattern.at(name.removeprefix(f"gs://{pattern.root}/")), size)

    def read(self, file: File, start: int, length: int) -> bytes:
        """These bytes; raises `ReadRefused` while TensorFlow has no identity."""
        identified(self._environment)
        with _by_somebody(), self._gfile.GFile(str(file.location), "rb") as opened:
            opened.seek(start)
            found: bytes = opened.read(length)
        return found

    def renew(self) -> None:
        """TensorFlow's token is its own."""

    def judge(self, error: BaseException) -> Verdict:
        """A metadata server that does not answer may come back; a role that lacks does not."""
        if isinstance(error, Anonymous):
            return Verdict.AGAIN
        if isinstance(error, _Unaccepted):
            return Verdict.RENEW
        name = type(error).__name__
        return Verdict.AGAIN if name in _PASSING or isinstance(error, ConnectionError) else Verdict.NEVER


class Anonymous(ReadRefused):
    """TensorFlow would read as nobody."""


class _Unaccepted(ReadRefused):
    """Cloud Storage did not take the token that TensorFlow sent, or TensorFlow sent none."""


@contextlib.contextmanager
def _by_somebody() -> Iterator[None]:
    """Tells a token that was not taken from a role that lacks: TensorFlow has one class of error for both."""
    try:
        yield
    except Exception as error:
        status = _STATUS.search(str(error))
        if status is None or status[1] != "401":
            raise
        nobody = "anonymous" in str(error).lower()
        message = "TensorFlow reads `gs://` as nobody" if nobody else "Cloud Storage did not take TensorFlow's token"
        hint = "the metadata server gave it no token once, and it does not ask again: start the job anew"
        raise _Unaccepted(message, hint=hint if nobody else "is the machine's clock right?") from error


def identified(environment: Mapping[str, str]) -> None:
    """Raises `Anonymous` unless TensorFlow will get a token."""
    if static := [name for name in _FILES if environment.get(name)]:
        if not environment.get("REMIT_JOB"):
            return  # whoever set it wants it, and it is not nobody
        message = "a credential in the environment would stand in for this run's identity at `gs://`"
        raise ReadRefused(message, hint=f"unset `{static[0]}`")
    if environment.get("NO_GCE_CHECK", "").lower() == "true":
        message = "`NO_GCE_CHECK` keeps TensorFlow from asking for a token, and it would read `gs://` as nobody"
        raise ReadRefused(message, hint="unset it")
    host = environment.get("GCE_METADATA_HOST", "metadata.google.internal")
    asked = urllib.request.Request(f"http://{host}{_TOKEN}", headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.build_opener().open(asked, timeout=_SECONDS) as answer:  # the proxies of this moment
            said = json.loads(answer.read(65536))
        good = isinstance(said, dict) and all(type(said.get(name)) is kind for name, kind in _ANSWER.items())
        cause: Exception | None = None
    except (OSError, ValueError) as error:
        good, cause = False, error
        if isinstance(error, urllib.error.HTTPError):
            error.close()
    if not good:
        raise Anonymous(
            "the metadata server gives no token, and TensorFlow would read `gs://` as nobody",
            hint="start the job with `remit run`; is `no_proxy` set for 127.0.0.1?",
        ) from cause
