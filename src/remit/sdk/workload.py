"""A sign-in without a person: by an identity that the surroundings give, and that nobody has to store.

    token-file         a file with a token for Remit, read anew each time      --token-file, REMIT_TOKEN_FILE
    token-command      a command that prints one                               --token-command, REMIT_TOKEN_COMMAND
    github             GitHub Actions, `permissions: id-token: write`          ACTIONS_ID_TOKEN_REQUEST_URL and _TOKEN
    workload-identity  Entra, by a federated token (AKS)                       AZURE_FEDERATED_TOKEN_FILE
    certificate        Entra, by a certificate                                 AZURE_CLIENT_CERTIFICATE_PATH
    managed-identity   Entra, by the machine's own identity                    IDENTITY_ENDPOINT, or by name
    kubernetes         a service account's projected token                     /var/run/secrets/remit/token is there
    google-metadata    a Google service account: Vertex job, Cloud Run         CLOUD_ML_JOB_ID, CLOUD_RUN_JOB, K_SERVICE

That is also the order in which they are looked for; `REMIT_WORKLOAD` names one. Azure's credentials are those of
azure-identity, which renew by themselves. A virtual machine's identity, Azure's or Google's, is taken only by name,
since its metadata service answers whoever is on the machine: a person who signed out is not to become the machine.
Inside `remit run` the managed identity is the run's own. Tokens are read for their age alone, so that they are renewed:
Google takes no subject token over 24 h old; who they name, the arbiter says. Sources: Kubernetes, "ServiceAccount token
volume projection"; cloud.google.com/compute/docs/instances/verifying-instance-identity.
"""

import base64
import json
import os
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import httpx

from remit.model.errors import NotSignedIn, RemitError
from remit.model.secret import AccessToken
from remit.sdk.configuration import Configuration, loopback
from remit.sdk.pin import Pin

_MAXIMUM = 64 << 10  # bytes of a token
_MARGIN = 60  # seconds before its end at which a token is fetched anew: pipelines' live for five minutes
_TIMEOUT = 30.0  # seconds for a command or a pipeline's service
_OLDEST = 23 * 3600  # seconds: Google's STS takes no subject token that is over 24 h old, however long it lives
_PROJECTED = Path("/var/run/secrets/remit/token")
_METADATA = "metadata.google.internal"
_TENANT, _CLIENT = "AZURE_TENANT_ID", "AZURE_CLIENT_ID"


class Kind(StrEnum):
    """Where an identity comes from. The value is its name in `REMIT_WORKLOAD`."""

    TOKEN_FILE = "token-file"
    TOKEN_COMMAND = "token-command"
    GITHUB = "github"
    FEDERATED = "workload-identity"
    CERTIFICATE = "certificate"
    MANAGED = "managed-identity"
    KUBERNETES = "kubernetes"
    GOOGLE = "google-metadata"


@dataclass(frozen=True, slots=True)
class Source:
    """One identity of the surroundings. `why` it was taken, for people; `value`: the file or the command."""

    kind: Kind
    why: str
    value: str = ""


_SIGNS = {
    Kind.TOKEN_FILE: "REMIT_TOKEN_FILE",
    Kind.TOKEN_COMMAND: "REMIT_TOKEN_COMMAND",
    Kind.GITHUB: "ACTIONS_ID_TOKEN_REQUEST_URL",
    Kind.FEDERATED: "AZURE_FEDERATED_TOKEN_FILE",
    Kind.CERTIFICATE: "AZURE_CLIENT_CERTIFICATE_PATH",
    Kind.MANAGED: "IDENTITY_ENDPOINT",
}
_GOOGLE_SIGNS = {"CLOUD_ML_JOB_ID": "a Vertex AI job", "CLOUD_RUN_JOB": "a Cloud Run job", "K_SERVICE": "Cloud Run"}


def ambient(environment: Mapping[str, str], projected: Path = _PROJECTED) -> Source | None:
    """The identity of these surroundings, `None` when they give none; raises `RemitError` for a name that is none."""
    if wanted := environment.get("REMIT_WORKLOAD"):
        if wanted not in set(Kind):
            raise RemitError(f"`REMIT_WORKLOAD` names `{wanted}`", hint=f"name one of {', '.join(Kind)}")
        kind = Kind(wanted)
        value = str(projected) if kind is Kind.KUBERNETES else environment.get(_SIGNS.get(kind, ""), "")
        return Source(kind, "`REMIT_WORKLOAD` names it", value)
    for kind, sign in _SIGNS.items():
        if environment.get(sign):
            inside = kind is Kind.MANAGED and environment.get("REMIT_JOB")
            why = f"this is inside `remit run`, {inside}" if inside else f"`{sign}` is set"
            return Source(kind, why, environment[sign])
    if projected.is_file():
        return Source(Kind.KUBERNETES, f"`{projected}` is there", str(projected))
    for sign, place in _GOOGLE_SIGNS.items():
        if environment.get(sign):
            return Source(Kind.GOOGLE, f"`{sign}` is set: {place}")
    return None


class Workload:
    """A workload's sign-in at one installation."""

    def __init__(
        self, configuration: Configuration, source: Source, pin: Pin, environment: Mapping[str, str] = os.environ
    ) -> None:
        self.configuration = configuration
        self.source = source
        self._pin = pin
        self._ask = _SUPPLIERS[source.kind](configuration, source, environment)
        self._lock = threading.Lock()

    def token(self) -> AccessToken:
        """A token that names this workload, with at least a minute left; raises `NotSignedIn`."""
        self._pin.check(self.configuration)
        with self._lock:
            return AccessToken(self._ask())

    def origin(self) -> str:
        """Where the identity comes from, for people."""
        return f"{self.source.kind}, since {self.source.why}"


Ask = Callable[[], str]
Supplier = Callable[[Configuration, Source, Mapping[str, str]], Ask]


def _file(_configuration: Configuration, source: Source, _environment: Mapping[str, str]) -> Ask:
    def ask() -> str:
        try:
            with Path(source.value).open("rb") as file:
                return _token(file.read(_MAXIMUM + 1), f"the file `{source.value}`")
        except OSError as error:
            message = f"the token file `{source.value}` cannot be read: {error.strerror}"
            raise NotSignedIn(message, hint="`--token-file` or `REMIT_TOKEN_FILE` names it") from error

    return ask


def _command(_configuration: Configuration, source: Source, _environment: Mapping[str, str]) -> Ask:
    words = shlex.split(source.value)

    def ask() -> str:
        try:
            done = subprocess.run(words, stdout=subprocess.PIPE, timeout=_TIMEOUT, check=False)  # noqa: S603 - the user's own command
        except (OSError, IndexError, subprocess.TimeoutExpired) as error:
            raise NotSignedIn(f"the token command cannot be run: {type(error).__name__}") from None
        if done.returncode:
            raise NotSignedIn(f"the token command ended with {done.returncode}")
        return _token(done.stdout, "the token command")

    return _Kept(ask)


def _github(configuration: Configuration, _source: Source, environment: Mapping[str, str]) -> Ask:
    # docs.github.com/actions/reference/security/oidc: the runner's own address and a bearer of this job's
    url = httpx.URL(environment.get("ACTIONS_ID_TOKEN_REQUEST_URL", ""))
    secret = environment.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
    hint = "the workflow needs `permissions: id-token: write`"
    if not secret or (url.scheme != "https" and not loopback(str(url))):
        raise NotSignedIn("the surroundings are not GitHub Actions' with a token", hint=hint)
    if not configuration.audience:
        raise NotSignedIn(f"`{configuration.url}` does not say whom a pipeline's token is to be issued for")

    def ask() -> str:
        try:
            headers = {"authorization": f"Bearer {secret}"}
            answer = httpx.get(
                url.copy_merge_params({"audience": configuration.audience}), headers=headers, timeout=_TIMEOUT
            )
            return _token(str(answer.raise_for_status().json()["value"]).encode(), "GitHub")
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            said = type(error).__name__
        raise NotSignedIn(f"GitHub gave no token: {said}", hint=hint)  # outside: the error holds the request

    return _Kept(ask)


def _google(configuration: Configuration, _source: Source, environment: Mapping[str, str]) -> Ask:
    """An ID token of the service account that this machine or job runs as, for the installation and nobody else."""
    host = environment.get("GCE_METADATA_HOST") or _METADATA
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/identity"
    if not configuration.audience:
        raise NotSignedIn(f"`{configuration.url}` does not say whom a machine's token is to be issued for")

    def ask() -> str:
        try:
            wanted = {"audience": configuration.audience, "format": "full"}
            headers = {"metadata-flavor": "Google"}
            answer = httpx.get(url, params=wanted, headers=headers, timeout=_TIMEOUT, trust_env=False)
            answer.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            said = type(error).__name__
        else:
            if answer.headers.get("metadata-flavor") == "Google":
                return _token(answer.content, "Google's metadata server")
            said = "it is none"
        hint = "does this machine or job run as a service account?"
        raise NotSignedIn(f"Google's metadata server gave no token: {said}", hint=hint)

    return _Kept(ask)


class _Kept:
    """Asks again a minute before the token ends, and before it is a day old."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._token = ""

    def __call__(self) -> str:
        if _end(self._token) - time.time() < _MARGIN or aged(self._token):
            self._token = self._ask()
        return self._token


def _token(raw: bytes, place: str) -> str:
    text = raw.decode("ascii", "replace").strip()
    if len(raw) > _MAXIMUM or not _end(text):
        raise NotSignedIn(f"{place} holds no signed token")
    return text


def _end(token: str) -> float:
    """When a token says that it ends, 0 when it says nothing."""
    return _said(token, "exp")


def aged(token: str) -> bool:
    """Whether a token says that it is too old to be exchanged at Google, however long it lives."""
    begun = _said(token, "iat")
    return bool(begun) and time.time() - begun > _OLDEST


def _said(token: str, claim: str) -> float:
    try:
        part = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))[claim])
    except (IndexError, ValueError, KeyError, TypeError, RecursionError):
        return 0


def _federated(configuration: Configuration, source: Source, environment: Mapping[str, str]) -> Ask:
    from azure.identity import WorkloadIdentityCredential  # noqa: PLC0415 - half a second, and only a workload asks

    tenant, client = _demanded(source, environment, _TENANT, _CLIENT)
    return _azure(
        WorkloadIdentityCredential(
            tenant_id=tenant,
            client_id=client,
            token_file_path=source.value,
            authority=environment.get("AZURE_AUTHORITY_HOST") or configuration.authority or None,
        ),
        configuration,
    )


def _certificate(configuration: Configuration, source: Source, environment: Mapping[str, str]) -> Ask:
    from azure.identity import CertificateCredential  # noqa: PLC0415 - half a second, and only a workload asks

    tenant, client = _demanded(source, environment, _TENANT, _CLIENT)
    authority = environment.get("AZURE_AUTHORITY_HOST")
    try:
        credential = CertificateCredential(
            tenant,
            client,
            source.value,
            password=environment.get("AZURE_CLIENT_CERTIFICATE_PASSWORD"),
            send_certificate_chain=environment.get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "").lower() in {"1", "true"},
            authority=authority or configuration.authority or None,
            disable_instance_discovery=bool(authority),  # whom the machine's own environment names, it vouches for
        )
    except (OSError, ValueError) as error:
        raise NotSignedIn(f"the certificate `{source.value}` cannot be used: {type(error).__name__}") from None
    return _azure(credential, configuration)


def _managed(configuration: Configuration, _source: Source, environment: Mapping[str, str]) -> Ask:
    from azure.identity import ManagedIdentityCredential  # noqa: PLC0415 - half a second, and only a workload asks

    return _azure(ManagedIdentityCredential(client_id=environment.get(_CLIENT) or None), configuration)


def _demanded(source: Source, environment: Mapping[str, str], *names: str) -> list[str]:
    needed = {**{name: environment.get(name) for name in names}, _SIGNS[source.kind]: source.value}
    if missing := [name for name, value in needed.items() if not value]:
        raise NotSignedIn(f"the identity `{source.kind}` needs `{missing[0]}`, which is not set")
    return [environment[name] for name in names]


def _azure(credential: object, configuration: Configuration) -> Ask:
    from azure.core.exceptions import AzureError  # noqa: PLC0415 - comes with azure-identity

    def ask() -> str:
        try:
            return str(credential.get_token(configuration.scope).token)  # type: ignore[attr-defined]  # TokenCredential
        except (AzureError, OSError, ValueError) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
        raise NotSignedIn(f"azure gave no token: {said[0]}", hint="is this identity assigned to the workload?")

    return ask


_SUPPLIERS: dict[Kind, Supplier] = {
    Kind.TOKEN_FILE: _file,
    Kind.TOKEN_COMMAND: _command,
    Kind.GITHUB: _github,
    Kind.FEDERATED: _federated,
    Kind.CERTIFICATE: _certificate,
    Kind.MANAGED: _managed,
    Kind.KUBERNETES: _file,
    Kind.GOOGLE: _google,
}
