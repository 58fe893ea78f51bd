"""`remit run -- COMMAND`: a command with ambient, renewing credentials, and no secret on disk or in its environment.

Beside the command stand a metadata server and a CONNECT proxy on loopback; the environment names them, and a bundle of
the roots that were trusted before plus the door's own authority. The command's exit code and signals pass through.
Each run has an id, which its tunnels and its requests for tokens carry: `remit revoke` takes it. With a name of its own
it takes what was granted just in time for a run of that name, and gives it back when it ends.
"""

import asyncio
import contextlib
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from remit.model.errors import RemitError
from remit.model.names import job_id
from remit.model.reasons import Reason
from remit.sdk.api import Api
from remit.sdk.broker import Broker
from remit.sdk.loopback import Door, Head
from remit.sdk.metadata import Metadata
from remit.sdk.sign_in import SignedIn
from remit.sdk.tunnel import Onward, Tunnel

CA_VARIABLES = (
    "REQUESTS_CA_BUNDLE",  # requests
    "SSL_CERT_FILE",  # Python's ssl, aiohttp, httpx
    "CURL_CA_BUNDLE",  # TensorFlow's C++
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",  # gRPC's C core
    "NODE_EXTRA_CA_CERTS",  # Node
)
_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy")
_DIRECT_VARIABLES = ("NO_PROXY", "no_proxy")
_ROOTS = (  # where systems keep their roots, for a Python that was built elsewhere
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/cert.pem",  # Alpine
)
_STATIC = ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_AUTH_TOKEN_FOR_TESTING")
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def run(command: Sequence[str], project: str, sign_in: SignedIn, environment: Mapping[str, str], name: str = "") -> int:
    """Runs a command in a project and returns its exit code, 128 + n when signal n ended it.

    `name`: of the run, for which grants may wait: they begin with it and end with it. Raises `RemitError` when the
    installation does not take the name.
    """
    sign_in.token()  # nobody signed in: say so before the command starts
    job = job_id(time.time_ns() // 1000)
    sys.stderr.write(f"remit: this run is {job}\n")
    with _granted(Api(sign_in.configuration.url, sign_in.token), job, name):
        return asyncio.run(_run(command, project, sign_in, environment, job))


@contextlib.contextmanager
def _granted(api: Api, job: str, name: str) -> Iterator[None]:
    """Takes what was granted for a run of this name, and gives it back."""
    if not name:
        yield
        return
    grants = api.post("/v1/jobs", {"job": job, "name": name}).get("grants", [])
    sys.stderr.write(f"remit: {len(grants)} grants begin with `{name}`\n")
    try:
        yield
    finally:
        try:
            api.delete("/v1/jobs", job=job)
        except RemitError as error:  # the command's own exit code counts; the grants end with their time
            sys.stderr.write(f"remit: what was granted to {job} ends with its time only: {error.message}\n")


async def _run(
    command: Sequence[str], project: str, sign_in: SignedIn, environment: Mapping[str, str], job: str
) -> int:
    broker = Broker(sign_in.configuration.url)
    tunnel = Tunnel(sign_in.configuration, sign_in.token, _onward(environment), job)

    def revoked() -> None:
        sys.stderr.write(f"remit: {Reason.REVOKED.sentence}: {job} has no credentials and no connections any more\n")
        tunnel.end()

    metadata = Metadata(project, lambda: broker.storage_token(sign_in.token(), project, job), revoked)
    doors = (Door(partial(_serve_metadata, metadata)), Door(tunnel.serve))
    for door in doors:
        await door.open()
    with _bundle(environment, sign_in.configuration.ca_pem) as bundle:
        try:
            added = job_environment(project, doors[0].port, doors[1].port, bundle) | {"REMIT_JOB": job}
            kept = {name: value for name, value in environment.items() if name not in _STATIC}
            return await _child(command, {**kept, **added})
        finally:
            for door in doors:
                await door.close()


def _onward(environment: Mapping[str, str]) -> Onward:
    return Onward(_first(environment, _PROXY_VARIABLES), _first(environment, _DIRECT_VARIABLES))


async def _serve_metadata(
    metadata: Metadata, head: Head, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    writer.write(await metadata.handle(head))
    return True


def job_environment(project: str, metadata_port: int, proxy_port: int, bundle: Path) -> dict[str, str]:
    """What a command finds in its environment: addresses, a project and a file of public certificates."""
    proxy, metadata = f"http://127.0.0.1:{proxy_port}", f"127.0.0.1:{metadata_port}"
    return {
        **dict.fromkeys(_PROXY_VARIABLES, proxy),
        **dict.fromkeys(_DIRECT_VARIABLES, "localhost,127.0.0.1"),
        **dict.fromkeys(CA_VARIABLES, str(bundle)),
        "GCE_METADATA_HOST": metadata,
        "GCE_METADATA_IP": metadata,
        "GOOGLE_CLOUD_PROJECT": project,
    }


async def _child(command: Sequence[str], environment: Mapping[str, str]) -> int:
    try:
        child = await asyncio.create_subprocess_exec(*command, env=environment)
    except OSError as error:
        message = f"`{command[0]}` cannot be run: {error.strerror}"
        raise RemitError(message, hint="what stands after `--` is run as it is, without a shell") from error
    loop = asyncio.get_running_loop()
    for number in _FORWARDED:
        loop.add_signal_handler(number, _forward, child, number)
    code = await child.wait()
    return code if code >= 0 else 128 - code


def _forward(child: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(number)


@contextlib.contextmanager
def _bundle(environment: Mapping[str, str], ca_pem: str) -> Iterator[Path]:
    """The roots that this environment trusted before, plus the door's own: a file that goes when the command ends."""
    places = (_first(environment, CA_VARIABLES), ssl.get_default_verify_paths().cafile or "", *_ROOTS)
    roots = next((Path(place) for place in places if place and Path(place).is_file()), None)
    trusted = roots.read_text(encoding="utf-8") if roots else ""
    if not trusted:
        sys.stderr.write("remit: no file of trusted roots was found; only the gateway's hosts can be reached\n")
    with tempfile.TemporaryDirectory(prefix="remit-") as folder:
        bundle = Path(folder) / "roots.pem"
        bundle.write_text(f"{trusted}\n{ca_pem}", encoding="utf-8")
        yield bundle


def _first(environment: Mapping[str, str], names: Sequence[str]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")
