"""The gateway as values: what Envoy will be made of, before it is spelled as JSON.

A *site* is what stands behind the gate under one name: a terminated host, or a service. Ways lead to it: a *door* (an
internal listener of its own, which only a CONNECT to that host reaches, whose one filter chain answers to that SNI, and
whose one virtual host answers to that `Host`), an *entry* of the endpoint (an SNI and a `Host` on its TLS port), and
for a service a folder of the outer listener. So the names agree by construction, and each way's lease table belongs to
one site. A REST call goes upstream over HTTP/1.1 and a gRPC call over HTTP/2, each with ALPN to match: a body that only
calls itself something else cannot reach the other parser.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from remit.gateway.settings import NO_FIELDS, Address, GatewaySettings, ServiceRoute

HTTPS = 443
BODY_LIMIT = 16 * 1024 * 1024  # bytes of one request that are decided on whole: Vertex takes 1.5 MB to 10 MB a call
LEASE_MS = 500  # DESIGN section 2: the longest lease
DENIAL_MS = 100  # how long a refusal may be repeated: a new grant must not wait
SYSTEM_ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")  # Debian's and Alpine's place; `envoy.py` looks further


class Mode(StrEnum):
    """How the gate treats a site: whose credential goes on, and which bodies it reads."""

    GOOGLE = "google"  # the cloud's credential; bodies are decided on
    OBJECTS = "objects"  # the cloud's credential; escaped names, and bodies that only pass
    SERVING = "serving"  # Remit's assertion; gRPC messages are decided on
    WEB = "web"  # Remit's assertion; bodies only pass

    @property
    def assertion(self) -> bool:
        """Whether the site is told who asks by Remit's own assertion, and by nothing else."""
        return self in {Mode.SERVING, Mode.WEB}

    @property
    def reads(self) -> bool:
        """Whether any body is held until it was decided on."""
        return self in {Mode.GOOGLE, Mode.SERVING}


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a site's calls go.

    `name`: the cluster's; `host`: SNI and the name that its certificate must hold; `roots`: what that is checked
    against, `None` for a connection without TLS; `once`: a connection serves one request only.
    """

    name: str
    host: str
    address: str
    port: int
    http2: bool
    roots: Path | None
    once: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """What stands behind the gate under one name.

    `host`: what the arbiter calls it; `rewrite`: the name under which calls go on, empty for the one that the caller
    used; `rest`, `grpc`: where calls of either kind go, `None` where it speaks none; `socket`: where a WebSocket goes,
    on connections that no other call ever uses, `None` where none is served; `walked`: for a service the gRPC paths
    whose message is decided on, with the field numbers of a lease's key.
    """

    host: str
    mode: Mode
    rewrite: str
    rest: Upstream | None
    grpc: Upstream | None
    socket: Upstream | None
    walked: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: NO_FIELDS)

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """All of them."""
        return tuple(filter(None, (self.rest, self.grpc, self.socket)))


@dataclass(frozen=True, slots=True)
class Door:
    """The inside of a tunnel to `host`; `listener` names its internal listener, and the cluster that leads there."""

    host: str
    listener: str
    site: Site


@dataclass(frozen=True, slots=True)
class Entry:
    """A name on the endpoint, and what stands there."""

    name: str
    site: Site


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the outer listener (`/apps/board/`), and what stands there."""

    prefix: str
    site: Site


@dataclass(frozen=True, slots=True)
class Gate:
    """What the gate is told of every site, as data (`gates.py`).

    `leasable`: by gRPC path, the field numbers of a lease's key; `known`: those that a leased message may hold.
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


@dataclass(frozen=True, slots=True)
class Plan:
    """Sites, the ways to them, and the gate; all else is read from the settings where it is spelled."""

    settings: GatewaySettings
    sites: tuple[Site, ...]
    doors: tuple[Door, ...]
    entries: tuple[Entry, ...]
    folders: tuple[Folder, ...]
    gate: Gate


def plan(settings: GatewaySettings) -> Plan:
    """The gateway that these settings ask for."""
    hosts = {host: _terminated(settings, host) for host in settings.hosts}
    services = [(route, _service(settings, route)) for route in settings.services]
    named = {route.host: site for route, site in services if route.host}
    endpoint = {name: hosts[host] for name, host in settings.endpoint.names.items()} if settings.endpoint else None
    return Plan(
        settings=settings,
        sites=(*hosts.values(), *(site for _, site in services)),
        doors=tuple(Door(host, f"door:{host}", site) for host, site in {**hosts, **named}.items()),
        entries=() if endpoint is None else tuple(Entry(name, site) for name, site in {**endpoint, **named}.items()),
        folders=tuple(Folder(route.prefix, site) for route, site in services if route.prefix),
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
        ),
    )


def _terminated(settings: GatewaySettings, host: str) -> Site:
    address, _, port = (settings.upstream_address or f"{host}:{HTTPS}").rpartition(":")
    roots = settings.upstream_ca or SYSTEM_ROOTS
    rest = Upstream(f"rest:{host}", host, address, int(port), http2=False, roots=roots)
    mode = Mode.OBJECTS if host in settings.objects else Mode.GOOGLE
    return Site(
        host=host,
        mode=mode,
        rewrite=host,
        rest=rest,
        # Over gRPC a message names the object, and here no body is read: so such calls are not served.
        grpc=replace(rest, name=f"grpc:{host}", http2=True) if mode is Mode.GOOGLE else None,
        socket=replace(rest, name=f"socket:{host}", once=True) if host in settings.websockets else None,
    )


def _service(settings: GatewaySettings, route: ServiceRoute) -> Site:
    def to(kind: str, address: Address | None, *, http2: bool = False, once: bool = False) -> Upstream | None:
        if address is None:
            return None
        roots = (address.roots or settings.upstream_ca or SYSTEM_ROOTS) if address.tls else None
        name = f"{kind}:{route.known_as}"
        return Upstream(name, address.host, address.host, address.port, http2, roots, once=once)

    return Site(
        host=route.known_as,
        mode=Mode.SERVING if route.walked else Mode.WEB,
        rewrite="",
        rest=to("rest", route.http),
        grpc=to("grpc", route.grpc, http2=True),
        socket=to("socket", route.http, once=True) if route.websockets else None,
        walked=route.walked,
    )
