"""What a command of `remit run` finds in its environment: addresses, a project, files of public certificates.

No token. What names another identity, or is a credential by itself, is taken out, since every library would take it
before the run's own. Roots of trust stay what they were, each variable's for itself, plus the door's own authority
(requests' hold pip's too, `pip_trust.py`); plain `http` goes where it went.
Sources: the libraries themselves, as they read these variables.
"""

import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed leaves it out

from remit.sdk.configuration import Configuration
from remit.sdk.pip_trust import pip_certificates

CA_VARIABLES = {  # and where each library looks besides
    "REQUESTS_CA_BUNDLE": ("CURL_CA_BUNDLE",),  # requests
    "SSL_CERT_FILE": ("SSL_CERT_DIR",),  # Python's ssl, aiohttp, httpx
    "CURL_CA_BUNDLE": (),  # TensorFlow's C++
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": (),  # gRPC's C core
    "NODE_EXTRA_CA_CERTS": (),  # Node
    "PGSSLROOTCERT": (),  # libpq
    "PIP_CERT": (),  # pip, where it was set: else pip asks the system
}
_ONLY_IF_SET = frozenset({"PIP_CERT"})
PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy")
DIRECT_VARIABLES = ("NO_PROXY", "no_proxy")
_HTTP_VARIABLES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ROOTS = (  # where systems keep their roots, for a Python that was built elsewhere
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/cert.pem",  # Alpine
)
_NAME_ROOM = 32  # characters: PostgreSQL keeps 63 of a name, and a run's id is 28 of them
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_FOREIGN = re.compile(
    "GOOGLE_(APPLICATION_CREDENTIALS|AUTH_TOKEN_FOR_TESTING|API_KEY|CREDENTIALS|OAUTH_ACCESS_TOKEN)"
    "|GOOGLE_SERVICE_ACCOUNT(_KEY|_PATH)?|G(OOGLE_)?CLOUD_KEYFILE_JSON|GEMINI_API_KEY"  # polars, Terraform, genai
    "|CLOUDSDK_AUTH_.*"
    "|AZURE_CLIENT_(ID|SECRET|CERTIFICATE_.*|SEND_CERTIFICATE_CHAIN)"
    "|AZURE_(USERNAME|PASSWORD|FEDERATED_TOKEN.*)"
    "|AZURE_STORAGE_((ACCOUNT_|ACCESS_|MASTER_)?KEY|CONNECTION_STRING|SAS_(TOKEN|KEY)|(ACCESS_)?TOKEN)"
    "|AZURE_STORAGE_(CLIENT_(ID|SECRET)|TENANT_ID)"  # adlfs takes them before any other identity
    "|FSSPEC_(?i:abfss?|az|gcs|gs)(_(?i:.*(key|token|secret|credential|connection_string)|client_id|tenant_id))?"
    "|TF_AZURE_STORAGE_(KEY|SAS.*)"
    "|MSI_(ENDPOINT|SECRET)|IMDS_ENDPOINT|IDENTITY_SERVER_THUMBPRINT"  # other forms of managed identity
    "|REMIT_(TOKEN_.*|WORKLOAD)|ACTIONS_ID_TOKEN_REQUEST_.*"  # what the run itself signed in by
)
_IN_THE_WAY = frozenset(
    {
        "NO_GCE_CHECK",  # google-auth: there is no metadata server
        "GCE_METADATA_ROOT",  # its old name
        "GCE_METADATA_MTLS_MODE",  # a metadata server by another protocol
        "grpc_proxy",  # gRPC takes it before `https_proxy`
        "no_grpc_proxy",
    }
)


@dataclass(frozen=True, slots=True)
class Run:
    """What a run gives its command. `addresses`: as `Sidecar.addresses`; `bundles`: a file for each variable.

    `gcloud`: an empty folder: google-auth and TensorFlow would take a sign-in of gcloud's before the run's own.
    """

    job: str
    project: str
    configuration: Configuration
    addresses: Mapping[str, str]
    bundles: Mapping[str, str]
    gcloud: str


def foreign(environment: Mapping[str, str]) -> list[str]:
    """The names of what is another identity's, or a credential."""
    return sorted(name for name, value in environment.items() if value and _FOREIGN.fullmatch(name))


def environment_of(run: Run, environment: Mapping[str, str]) -> dict[str, str]:
    """The command's environment, made from the caller's."""
    kept = {
        name: value for name, value in environment.items() if name not in _IN_THE_WAY and not _FOREIGN.fullmatch(name)
    }
    given = first(environment, DIRECT_VARIABLES)
    if "*" in _entries(given):  # nothing went through a proxy
        kept = {name: value for name, value in kept.items() if name not in _HTTP_VARIABLES}
    url, metadata = "http://" + run.addresses["metadata"], run.addresses["metadata"]
    return {
        **kept,
        **run.bundles,
        **dict.fromkeys(PROXY_VARIABLES, run.addresses["proxy"]),
        **dict.fromkeys(DIRECT_VARIABLES, _direct(given, run.configuration)),
        "CLOUDSDK_CONFIG": run.gcloud,
        "GCE_METADATA_HOST": metadata,
        "GCE_METADATA_IP": metadata,  # where google-auth looks whether there is one
        "GOOGLE_CLOUD_PROJECT": run.project,
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": url,
        "IDENTITY_ENDPOINT": url + "/msi/token",
        "IDENTITY_HEADER": run.addresses["header"],
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        # by this name the door for databases knows the run that a connection belongs to, and ends with
        "PGAPPNAME": " ".join(filter(None, (environment.get("PGAPPNAME", "")[:_NAME_ROOM], run.job))),
        "REMIT_JOB": run.job,
        "REMIT_URL": run.configuration.url,
    }


def _direct(given: str, configuration: Configuration) -> str:
    """Loopback, and what went straight before, unless it is a host whose calls have to pass the gateway."""
    ours = (*configuration.terminated, *configuration.refused)

    def covers(entry: str) -> bool:
        return any(proxy_bypass_environment(host, {"no": entry.removeprefix("*")}) for host in ours)

    kept = (entry for entry in _entries(given) if entry not in (*_LOOPBACK, "*") and not covers(entry))
    return ",".join((*_LOOPBACK, *kept))


def _entries(given: str) -> list[str]:
    return [entry for part in given.split(",") if (entry := part.strip())]


def first(environment: Mapping[str, str], names: Sequence[str]) -> str:
    """The first of these variables that says anything."""
    return next((environment[name] for name in names if environment.get(name)), "")


def bundles(environment: Mapping[str, str], ca_pem: str, folder: Path) -> dict[str, str]:
    """Writes, for each variable, what its library trusted before and the door's own authority; most are one file.

    A variable that names nothing readable is taken for one that is not set: then it is the system's roots.
    """
    files: dict[str, str] = {}
    named = {}
    for name, others in CA_VARIABLES.items():
        if name in _ONLY_IF_SET and not environment.get(name):
            continue
        trusted = _trusted(environment, name, others)
        if trusted not in files:
            file = folder / f"roots-{len(files)}.pem" if files else folder / "roots.pem"
            file.write_text(f"{trusted}\n{ca_pem}", encoding="utf-8")
            files[trusted] = str(file)
        named[name] = files[trusted]
    return named


def _trusted(environment: Mapping[str, str], name: str, others: Sequence[str]) -> str:
    own = _certificates(environment.get(name, ""))
    besides = "".join(_certificates(environment.get(other, "")) for other in others)
    if name == "SSL_CERT_FILE":  # the folder is trusted besides the file; httpx looks at one of them
        return _with(own or system_roots(), besides)
    if name == "REQUESTS_CA_BUNDLE" and not own and not besides:  # pip will look here before its own settings
        return _with(system_roots(), _certificates(pip_certificates(environment)))
    return own or besides or system_roots()


def _with(roots: str, more: str) -> str:
    return roots + "".join(f"{each}\n" for each in dict.fromkeys(_PEM.findall(more)) if each not in roots)


def _certificates(place: str) -> str:
    """What a file holds, or the files of a folder of certificates; empty when that is nothing."""
    path = Path(place)
    try:
        if place and path.is_dir():
            files = {file.resolve() for file in path.iterdir() if file.is_file()}
            texts = (file.read_text(encoding="utf-8", errors="replace") for file in sorted(files))
            return "".join(f"{text}\n" for text in texts if _PEM.search(text))
        return path.read_text(encoding="utf-8", errors="replace") if place and path.is_file() else ""
    except OSError:
        return ""


def system_roots() -> str:
    """The system's roots, empty when there are none to be found."""
    places = (ssl.get_default_verify_paths().openssl_cafile, *_ROOTS)
    return next((text for place in places if (text := _certificates(place))), "")
