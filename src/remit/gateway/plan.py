"""The gateway as values: what Envoy will be made of, before it is spelled as JSON.

One *door* a terminated host: an internal listener of its own, which only a CONNECT to that host reaches, whose one
filter chain answers to that SNI, and whose one virtual host answers to that `Host`. So the three names agree by
construction, and each door's lease table belongs to one host. A REST call goes upstream over HTTP/1.1 and a gRPC
call over HTTP/2, each with ALPN to match: a body that only calls itself something else cannot reach the other parser.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from remit.gateway.settings import GatewaySettings

HTTPS = 443
BODY_LIMIT = 16 * 1024 * 1024  # bytes of one request that are decided on whole: Vertex takes 1.5 MB to 10 MB a call
LEASE_MS = 500  # DESIGN section 2: the longest lease
DENIAL_MS = 100  # how long a refusal may be repeated: a new grant must not wait
SYSTEM_ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")  # Debian's and Alpine's place; `envoy.py` looks further


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a host's calls go.

    `name`: the cluster's; `host`: SNI and the name that its certificate must hold; `once`: a connection serves one
    request only.
    """

    name: str
    host: str
    address: str
    port: int
    http2: bool
    roots: Path
    once: bool = False


@dataclass(frozen=True, slots=True)
class Door:
    """One terminated host.

    `listener`: the name of its internal listener, and of the cluster that leads there; `socket`: where a WebSocket
    goes, on connections that no other call ever uses, `None` where none is served.
    """

    host: str
    listener: str
    rest: Upstream
    grpc: Upstream
    socket: Upstream | None

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """All of them."""
        return (self.rest, self.grpc, *filter(None, (self.socket,)))


@dataclass(frozen=True, slots=True)
class Gate:
    """What the Lua filter is told, as data: nothing is ever written into its source.

    `leasable`: by gRPC path, the field numbers of a lease's key; `known`: those that a leased message may hold;
    `websockets`: the hosts that serve any.
    """

    leases: bool
    lease_ms: int
    denial_ms: int
    entries: int
    timeout_ms: int
    body_bytes: int
    leasable: Mapping[str, tuple[int, ...]]
    known: Mapping[str, tuple[int, ...]]
    streaming: tuple[str, ...]
    websockets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Doors and gate; all else is read from the settings where it is spelled."""

    settings: GatewaySettings
    doors: tuple[Door, ...]
    gate: Gate


def plan(settings: GatewaySettings) -> Plan:
    """The gateway that these settings ask for."""
    return Plan(
        settings=settings,
        doors=tuple(_door(settings, host) for host in settings.hosts),
        gate=Gate(
            leases=settings.leases,
            lease_ms=LEASE_MS,
            denial_ms=DENIAL_MS,
            entries=settings.lease_max_entries,
            timeout_ms=settings.check_timeout_ms,
            body_bytes=BODY_LIMIT,
            leasable=settings.leasable_grpc,
            known={**settings.leasable_grpc, **settings.leasable_fields},
            streaming=settings.streaming_grpc,
            websockets=settings.websockets,
        ),
    )


def _door(settings: GatewaySettings, host: str) -> Door:
    socket = replace(_upstream(settings, host, f"socket:{host}", http2=False), once=True)
    return Door(
        host=host,
        listener=f"door:{host}",
        rest=_upstream(settings, host, f"rest:{host}", http2=False),
        grpc=_upstream(settings, host, f"grpc:{host}", http2=True),
        socket=socket if host in settings.websockets else None,
    )


def _upstream(settings: GatewaySettings, host: str, name: str, *, http2: bool) -> Upstream:
    address, _, port = (settings.upstream_address or f"{host}:{HTTPS}").rpartition(":")
    return Upstream(name, host, address, int(port), http2, settings.upstream_ca or SYSTEM_ROOTS)
