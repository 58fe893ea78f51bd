"""What the gateway must be told: plain values, no parsing, every problem at once.

Leaves out: how `remit.yaml` spells them (`settings`), what Envoy makes of them (`plan.py`).
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from remit.model.errors import Problem, SettingsInvalid

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+\Z")
_UPSTREAM = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}\Z")
_API_PATH = re.compile(r"/[A-Za-z0-9_./-]*\Z")
_API_PREFIX = re.compile(r"/([A-Za-z0-9_.-]*[A-Za-z0-9_-]/)+\Z")
_GRPC_PATH = re.compile(r"/[A-Za-z0-9_.]+/[A-Za-z0-9_]+\Z")
_REST_SUFFIX = re.compile(r":[A-Za-z0-9]+\Z")
_PORT_LIMIT = 65_535
_SOCKET_PATH_LIMIT = 107  # bytes in `sun_path`, less the final zero (unix(7))
_FIELD_LIMIT = 536_870_911  # the largest protobuf field number (protobuf.dev, Assigning Field Numbers)
_LEASE_LIMIT = 1_000_000  # about 100 bytes an entry and worker: more is a mistake, not a setting
_CHECK_LIMIT = 999  # milliseconds: a hung arbiter is answered with 503 within one second (fault F1)

NO_FIELDS: Mapping[str, tuple[int, ...]] = MappingProxyType({})  # no gRPC path


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens.

    `tls`: whether it speaks TLS, with a certificate that holds `host`; `roots`: PEM that it is checked against, `None`
    for the system's.
    """

    host: str
    port: int
    tls: bool = False
    roots: Path | None = None


@dataclass(frozen=True, slots=True)
class ServiceRoute:
    """One service behind the gate that is not Google's: web pages, WebSockets, gRPC, TensorFlow Serving.

    `known_as`: the host that the arbiter is told (`board.service`); `http`, `grpc`: where HTTP/1.1 and where HTTP/2 go,
    `None` where it speaks none; `prefix`: the folder of the outer listener that is its own (`/apps/board/`), `host`:
    its name behind CONNECT and on the endpoint; `websockets`; `walked`: gRPC paths whose message the arbiter must see,
    with the field numbers that a lease's key holds; a path that is not listed is decided by its name alone.
    """

    known_as: str
    http: Address | None = None
    grpc: Address | None = None
    prefix: str = ""
    host: str = ""
    websockets: bool = False
    walked: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: NO_FIELDS)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The second door: one TLS port for REST and gRPC, for clients that are given an address (`api_endpoint`).

    `names`: exact DNS names, each with the terminated host that it stands for; a service's own host is served there
    too. The certificate is the door's unless `certificate` and `key` (PEM files) are given.
    """

    listen_host: str
    listen_port: int
    names: Mapping[str, str]
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Everything about the gateway that an operator or another room decides.

    `hosts`: the terminated hosts, exact lower-case names, port 443 implied;
    `issuers`: `(issuer, audience)` pairs whose tokens the native check lets through to the arbiter; an issuer may stand
    in several, and each issuer's tokens are held against its own keys and audiences only;
    `arbiter_socket`, `admin_socket`: Unix sockets; `runtime`: a folder of Envoy's own, emptied by nobody else;
    `authority`: the folder of the door's certificate authority (`certificates.py`);
    `upstream_address`: `host:port` of one endpoint that answers for every host (a Private Service Connect endpoint),
    empty to reach each host by DNS; `upstream_ca`: PEM roots for upstreams, `None` for the system's;
    `tls_certificate`, `tls_key`: PEM files of the outer listener, needed off loopback;
    `api_paths`: exact paths of the outer listener that go to the arbiter, with cookies both ways, never `/check`;
    `api_prefixes`: likewise what stands below these folders (`/saml/`), in plain segments of letters, digits, `.-_~`;
    `leases`: whether a permit may be repeated without asking; `lease_max_entries`: per host and worker;
    `check_timeout_ms`: how long one check may take, 1 to 999;
    `leasable_grpc`: full gRPC paths (`/package.Service/Method`) whose permits may be repeated, with the top-level
    field numbers that name resources: their values are part of the lease's key;
    `leasable_fields`: for such a path every top-level field number of its message; one with another field is never
    answered by a lease, and a path that is not listed has the fields of its key only;
    `streaming_grpc`: full gRPC paths on which the client streams: refused, since only one message can be decided on;
    `streams`: methods whose answers stay open, ends of REST paths (`:streamGenerateContent`) and full gRPC paths: each
    open one is reported to `streams_socket`, and ends when that says so or goes away; without one none may be listed;
    `websockets`: those of the hosts on which a GET may become a WebSocket, reported likewise;
    `streams_socket`: the Unix socket of `remit.arbiter.streams`;
    `services`: what else stands behind the gate; `endpoint`: the second door, `None` for none;
    `objects`: those of the hosts whose paths hold escaped object names (Cloud Storage), and whose bodies are not read;
    `keys_seconds`: the age at which an issuer's keys that nobody renewed count for nothing;
    `connection_seconds`: the longest life of a tunnel; `stream_seconds`: of one request with its answer.
    """

    hosts: tuple[str, ...]
    issuers: tuple[tuple[str, str], ...]
    arbiter_socket: Path
    access_log: Path
    admin_socket: Path
    runtime: Path
    authority: Path
    listen_port: int
    listen_host: str = "127.0.0.1"
    upstream_address: str = ""
    upstream_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    api_paths: tuple[str, ...] = ("/healthz", "/readyz", "/v1/token")
    api_prefixes: tuple[str, ...] = ()
    concurrency: int = 1
    leases: bool = True
    lease_max_entries: int = 10_000
    check_timeout_ms: int = 900
    leasable_grpc: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: NO_FIELDS)
    leasable_fields: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: NO_FIELDS)
    streaming_grpc: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    websockets: tuple[str, ...] = ()
    streams_socket: Path | None = None
    services: tuple[ServiceRoute, ...] = ()
    endpoint: Endpoint | None = None
    objects: tuple[str, ...] = ()
    keys_seconds: int = 86_400
    connection_seconds: int = 600
    stream_seconds: int = 900

    def __post_init__(self) -> None:
        problems = tuple(Problem("gateway", 0, 0, text) for text in _problems(self))
        if problems:
            raise SettingsInvalid(problems)


def _problems(settings: GatewaySettings) -> Iterator[str]:
    yield from _names(settings)
    yield from _listener(settings)
    yield from _paths(settings)
    yield from _bounds(settings)
    yield from _methods(settings)
    yield from _streams(settings)


def _names(settings: GatewaySettings) -> Iterator[str]:
    if not settings.hosts:
        yield "`hosts` is empty: list at least one terminated host"
    for host in settings.hosts:
        if not _HOST.match(host):
            yield f"host `{host}` is not an exact lower-case DNS name"
    if len(set(settings.hosts)) != len(settings.hosts):
        yield "`hosts` names a host twice"
    if not settings.issuers:
        yield "`issuers` is empty: nobody could ever sign in"
    for issuer, audience in settings.issuers:
        if not issuer.startswith("https://") or not audience:
            yield f"issuer `{issuer}` needs an https URL and an audience"


def _listener(settings: GatewaySettings) -> Iterator[str]:
    if not 1 <= settings.listen_port <= _PORT_LIMIT:
        yield f"`listen_port` {settings.listen_port} is not a port"
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        yield "`tls_certificate` and `tls_key` come together"
    try:
        loopback = ipaddress.ip_address(settings.listen_host).is_loopback
    except ValueError:
        yield f"`listen_host` `{settings.listen_host}` is not an IP address"
        return
    if not loopback and settings.tls_certificate is None:
        yield f"plaintext on `{settings.listen_host}` would show identities to the network: set `tls_certificate`"


def _paths(settings: GatewaySettings) -> Iterator[str]:
    for socket in (settings.arbiter_socket, settings.admin_socket, *filter(None, (settings.streams_socket,))):
        if not socket.is_absolute() or len(str(socket).encode()) > _SOCKET_PATH_LIMIT:
            yield f"socket `{socket}` must be an absolute path of at most {_SOCKET_PATH_LIMIT} bytes"
    for path in settings.api_paths:
        if not _API_PATH.match(path) or path == "/check" or path.startswith("/check/"):
            yield f"api path `{path}` must be a plain path, and never `/check`, which only the gateway may ask"
    for prefix in settings.api_prefixes:
        if not _API_PREFIX.match(prefix) or prefix.startswith("/check/"):
            yield f"api prefix `{prefix}` must be a plain folder (`/saml/`), and never `/check/`"
    if settings.upstream_address and not _upstream(settings.upstream_address):
        yield f"`upstream_address` `{settings.upstream_address}` is not `host:port`"


def _upstream(address: str) -> bool:
    return bool(_UPSTREAM.match(address)) and 1 <= int(address.rpartition(":")[2]) <= _PORT_LIMIT


def _bounds(settings: GatewaySettings) -> Iterator[str]:
    bounds = (
        ("concurrency", settings.concurrency, 1, 256),
        ("lease_max_entries", settings.lease_max_entries, 2, _LEASE_LIMIT),
        ("check_timeout_ms", settings.check_timeout_ms, 1, _CHECK_LIMIT),
        ("keys_seconds", settings.keys_seconds, 1, 604_800),
        ("connection_seconds", settings.connection_seconds, 1, 86_400),
        ("stream_seconds", settings.stream_seconds, 1, 86_400),
    )
    for name, value, least, most in bounds:
        if not least <= value <= most:
            yield f"`{name}` {value} is not between {least} and {most}"


def _methods(settings: GatewaySettings) -> Iterator[str]:
    for path in (*settings.leasable_grpc, *settings.streaming_grpc):
        if not _GRPC_PATH.match(path):
            yield f"`{path}` is not a gRPC path of the form `/package.Service/Method`"
    for path, numbers in settings.leasable_grpc.items():
        if not numbers or not all(1 <= number <= _FIELD_LIMIT for number in numbers):
            yield f"`{path}` needs the field numbers that name its resources"
        if path in settings.streaming_grpc:
            yield f"`{path}` cannot be both leasable and client-streaming"
    for path, numbers in settings.leasable_fields.items():
        if path not in settings.leasable_grpc:
            yield f"`{path}` has known fields, but it is not leasable"
        elif not set(settings.leasable_grpc[path]) <= set(numbers) or max(numbers) > _FIELD_LIMIT or min(numbers) < 1:
            yield f"the known fields of `{path}` must be field numbers, and include those that name its resources"


def _streams(settings: GatewaySettings) -> Iterator[str]:
    for method in settings.streams:
        if not _GRPC_PATH.match(method) and not _REST_SUFFIX.match(method):
            yield f"stream `{method}` is neither the end of a REST path (`:verb`) nor a gRPC path"
        if method in settings.streaming_grpc:
            yield f"stream `{method}` cannot be served: on it the client streams"
    for host in settings.websockets:
        if host not in settings.hosts:
            yield f"`websockets` names `{host}`, which is not among `hosts`"
    if (settings.streams or settings.websockets) and settings.streams_socket is None:
        yield "open streams must be watched over: set `streams_socket`"
