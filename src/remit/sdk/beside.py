"""Asking what stands beside this run for a token: in Azure's form (App Service), and for Storage in Google's.

Only on loopback, with no proxy and no redirect: what is sent are the run's own secrets. App Service names the same
variables on its machines, so a run is told by `REMIT_JOB`. Leaves out what answers: `sidecar.py`.
Sources: learn.microsoft.com/azure/app-service/overview-managed-identity (REST endpoint reference),
cloud.google.com/compute/docs/metadata.
"""

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from remit.model.errors import Refused, RemitError
from remit.model.reasons import Reason
from remit.model.secret import AccessToken, Secret
from remit.sdk.resources import NOTHING, Resource
from remit.sdk.tokens import Issued

_TIMEOUT = 30.0  # seconds: it asks the broker, which asks a cloud
_MAXIMUM = 256 << 10  # bytes of an answer
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_GOOGLE = "/computeMetadata/v1/instance/service-accounts/default/token"
_REFUSED = frozenset({401, 403})  # HTTP
_UNAVAILABLE = frozenset({429, 500, 502, 503, 504})  # HTTP: what may pass in a moment
_HINT = "is this still the environment that `remit run` made?"


class Beside:
    """What stands beside this run. `endpoint` and `secret`: of Azure's form; `google`: host, port and path."""

    def __init__(self, endpoint: str, secret: Secret, google: str) -> None:
        self._endpoint, self._secret, self._google = endpoint, secret, f"http://{google}{_GOOGLE}"
        if not (_here(self._endpoint) and _here(self._google)):
            raise RemitError("what the environment names beside this run is not on this machine", hint=_HINT)

    def ask(self, resource: Resource) -> Issued:
        """A token; raises `Refused`, and `RemitError` when nobody answers."""
        if resource.azure:
            target = f"{self._endpoint}?api-version=2019-08-01&resource={quote(resource.azure, safe='')}"
            found = _get(target, {"x-identity-header": self._secret.reveal(), "metadata": "true"})
        else:
            found = _get(self._google, {"metadata-flavor": "Google"})
        try:
            token, now = AccessToken(str(found["access_token"])), time.time()
            ends = now + float(found["expires_in"]) if "expires_in" in found else float(found["expires_on"])
        except (KeyError, TypeError, ValueError):
            raise RemitError("what stands beside this run answered without a token") from None
        if token.reveal() == NOTHING:
            hint = "the run said why on stderr: `remit: no direct access to Storage: …`"
            raise Refused(Reason.NO_POLICY_PERMITS, f"no token can be had for `{resource}`", hint=hint)
        return Issued(token, ends)


def beside(environment: Mapping[str, str]) -> Beside | None:
    """What stands beside this run, `None` outside of one; raises `RemitError` for a run that has lost it."""
    if not environment.get("REMIT_JOB"):
        return None
    found = [environment.get(name, "") for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "GCE_METADATA_HOST")]
    if not all(found):
        message = "this is a run of remit, and the environment no longer names what stands beside it"
        raise RemitError(message, hint=_HINT)
    return Beside(found[0], Secret(found[1]), found[2])


def _here(url: str) -> bool:
    try:
        place = urlsplit(url)
        return place.scheme == "http" and place.hostname in _LOOPBACK and bool(place.port) and "@" not in place.netloc
    except ValueError:
        return False


def _get(url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_TIMEOUT)
    answer = None
    try:
        connection.request("GET", f"{place.path}?{place.query}" if place.query else place.path, headers=dict(headers))
        answer = connection.getresponse()
        body = answer.read(_MAXIMUM)
    except (OSError, http.client.HTTPException):
        answer = None
    finally:
        connection.close()
    if answer is None:  # outside the handler: the error would hold the request, and with it the run's secret
        raise RemitError("what stands beside this run does not answer", hint="has `remit run` ended?")
    document = _json(body)
    if answer.status == http.HTTPStatus.OK and document:
        return document
    raise _refusal(answer.status, answer.headers.get("x-remit-reason", ""), document, body)


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _refusal(status: int, reason: str, document: Mapping[str, Any], body: bytes) -> Refused:
    said = document.get("message") or document.get("error_description") or body[:500].decode("utf-8", "replace").strip()
    if reason in set(Reason):
        return Refused(Reason(reason), str(said))
    if status in _REFUSED:
        return Refused(Reason.NO_POLICY_PERMITS, str(said))
    if status in _UNAVAILABLE or status < http.HTTPStatus.BAD_REQUEST:
        return Refused(Reason.PLANE_UNAVAILABLE, str(said))
    return Refused(Reason.REQUEST_MALFORMED, str(said))
