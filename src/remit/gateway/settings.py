"""What the gateway must be told: plain values, no parsing.

Leaves out: how `remit.yaml` spells them (`settings`), which of them cannot be (`problems.py`), what Envoy makes of them
(`plan.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from remit.gateway.problems import problems
from remit.model.errors import Problem, SettingsInvalid

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
    `streams`: methods whose answers stay open, full gRPC paths and ends of REST paths (`:streamGenerateContent`,
    `/chat/completions`; a gRPC path is told by its dot): each open one is reported to `streams_socket`, and ends when
    that says so or goes away; without one none may be listed;
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

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that the doors' own certificate must hold."""
        behind = (service.host for service in self.services if service.host)
        ours = self.endpoint.names if self.endpoint and not self.endpoint.certificate else ()
        return tuple(dict.fromkeys((*self.hosts, *behind, *ours)))

    def __post_init__(self) -> None:
        found = tuple(Problem("gateway", 0, 0, text) for text in problems(self))
        if found:
            raise SettingsInvalid(found)
