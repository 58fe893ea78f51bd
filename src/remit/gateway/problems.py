"""What is wrong with the gateway's settings: every problem at once, each as one sentence.

Leaves out: where in `remit.yaml` it was said (`settings`), and what only a running machine can tell (is the port free,
does the certificate hold the name).
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from remit.gateway.settings import Address, Endpoint, GatewaySettings, ServiceRoute

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+\Z")
_UPSTREAM = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}\Z")
_MACHINE = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")
_KNOWN_AS = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\.service\Z")
_API_PATH = re.compile(r"/[A-Za-z0-9_./-]*\Z")
_API_PREFIX = re.compile(r"/([A-Za-z0-9_.-]*[A-Za-z0-9_-]/)+\Z")
_GRPC_PATH = re.compile(r"/[A-Za-z0-9_.]+/[A-Za-z0-9_]+\Z")
_REST_END = re.compile(r"(:[A-Za-z0-9]+|(/[A-Za-z0-9_-]+)+)\Z")
_PORT_LIMIT = 65_535
_SOCKET_PATH_LIMIT = 104  # bytes in `sun_path`, less the final zero (unix(7)) and room for a process id
_FIELD_LIMIT = 536_870_911  # the largest protobuf field number (protobuf.dev, Assigning Field Numbers)
_LEASE_LIMIT = 1_000_000  # about 100 bytes an entry and worker: more is a mistake, not a setting
_CHECK_LIMIT = 999  # milliseconds: a hung arbiter is answered with 503 within one second (fault F1)


def problems(settings: GatewaySettings) -> Iterator[str]:
    """Everything that cannot be as it is said; nothing when all is well."""
    yield from _names(settings)
    yield from _listener(settings)
    yield from _paths(settings)
    yield from _bounds(settings)
    yield from _methods(settings)
    yield from _streams(settings)
    yield from _services(settings)
    yield from _folders(settings)
    if settings.endpoint:
        yield from _endpoint(settings, settings.endpoint)


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
        if not _GRPC_PATH.match(method) and not _REST_END.match(method):
            yield f"stream `{method}` is neither the end of a REST path (`:verb`, `/word/word`) nor a gRPC path"
        if method in settings.streaming_grpc:
            yield f"stream `{method}` cannot be served: on it the client streams"
    for host in settings.websockets:
        if host not in settings.hosts:
            yield f"`websockets` names `{host}`, which is not among `hosts`"
    for host in settings.objects:
        if host not in settings.hosts:
            yield f"`objects` names `{host}`, which is not among `hosts`"
        if host in settings.websockets:
            yield f"`{host}` cannot hold objects and serve WebSockets"
    open_ones = settings.streams or settings.websockets or settings.services
    if open_ones and settings.streams_socket is None:
        yield "open streams must be watched over: set `streams_socket`"


def _services(settings: GatewaySettings) -> Iterator[str]:
    services = settings.services
    yield from _twice("the name", (service.known_as for service in services))
    yield from _twice("the prefix", (service.prefix for service in services))
    yield from _twice("the host", (service.host for service in services))
    for service in services:
        yield from (f"service `{service.known_as}` {said}" for said in _service(settings, service))


def _twice(what: str, values: Iterable[str]) -> Iterator[str]:
    given = [value for value in values if value]
    for value in sorted({value for value in given if given.count(value) > 1}):
        yield f"{what} `{value}` belongs to two services"


def _service(settings: GatewaySettings, service: ServiceRoute) -> Iterator[str]:
    yield from _place(settings, service)
    if not service.http and not service.grpc:
        yield "leads nowhere: give it `http`, `grpc` or both"
    if service.prefix and not service.http:
        yield "has a `prefix` and no `http`: gRPC has no prefixes"
    if service.websockets and not service.http:
        yield "has `websockets` and no `http`: they begin as a GET over HTTP/1.1"
    for address in filter(None, (service.http, service.grpc)):
        yield from _address(address)
    for path, numbers in service.walked.items():
        if not _GRPC_PATH.match(path) or not numbers or not all(1 <= number <= _FIELD_LIMIT for number in numbers):
            yield f"walks `{path}`, which needs the form `/package.Service/Method` and field numbers"


def _place(settings: GatewaySettings, service: ServiceRoute) -> Iterator[str]:
    if not _KNOWN_AS.match(service.known_as):
        yield "needs a name of the form `NAME.service`"
    if not service.prefix and not service.host:
        yield "stands nowhere: give it a `prefix`, a `host` or both"
    if service.host and not _HOST.match(service.host):
        yield f"has the host `{service.host}`, which is not an exact lower-case DNS name"
    if service.host in settings.hosts:
        yield f"has the host `{service.host}`, which is among `hosts`"


def _address(address: Address) -> Iterator[str]:
    if not _MACHINE.match(address.host) and not _is_ip(address.host):
        yield f"has the address `{address.host}`, which is neither a lower-case DNS name nor an IP address"
    if not 1 <= address.port <= _PORT_LIMIT:
        yield f"has the port {address.port}, which is none"
    if address.roots and not address.tls:
        yield "has roots for a certificate that nobody shows: set `tls`"


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _folders(settings: GatewaySettings) -> Iterator[str]:
    """Whoever owns a folder of the outer listener owns all that is below it: there is no second owner."""
    prefixes = sorted({service.prefix for service in settings.services if service.prefix})
    ours = {*settings.api_paths, *settings.api_prefixes, "/check/"}
    for prefix in prefixes:
        if not _API_PREFIX.match(prefix):
            yield f"service prefix `{prefix}` must be a plain folder (`/apps/board/`)"
        for other in prefixes:
            if other != prefix and other.startswith(prefix):
                yield f"service prefix `{prefix}` covers `{other}`"
        for path in sorted(ours):
            if path.startswith(prefix) or path + "/" == prefix:
                yield f"service prefix `{prefix}` covers `{path}`, which is Remit's own"
            elif path.endswith("/") and prefix.startswith(path):
                yield f"service prefix `{prefix}` lies below `{path}`, which is Remit's own"


def _endpoint(settings: GatewaySettings, endpoint: Endpoint) -> Iterator[str]:
    behind = {service.host for service in settings.services if service.host}
    if not _is_ip(endpoint.listen_host):
        yield f"the endpoint's `listen_host` `{endpoint.listen_host}` is not an IP address"
    if not 1 <= endpoint.listen_port <= _PORT_LIMIT:
        yield f"the endpoint's `listen_port` {endpoint.listen_port} is not a port"
    if (endpoint.listen_host, endpoint.listen_port) == (settings.listen_host, settings.listen_port):
        yield "the endpoint needs an address of its own, other than the outer listener's"
    if not endpoint.names and not behind:
        yield "the endpoint has no `names`, and no service has a `host`: nobody could reach anything there"
    if (endpoint.certificate is None) != (endpoint.key is None):
        yield "the endpoint's `certificate` and `key` come together"
    for name, host in endpoint.names.items():
        yield from _stands_for(settings, name, host)


def _stands_for(settings: GatewaySettings, name: str, host: str) -> Iterator[str]:
    if not _HOST.match(name):
        yield f"endpoint name `{name}` is not an exact lower-case DNS name"
    if host not in settings.hosts:
        yield f"endpoint name `{name}` stands for `{host}`, which is not among `hosts`"
    if name in settings.hosts and name != host:
        yield f"endpoint name `{name}` is another host than the one that it stands for"
    if any(name == service.host for service in settings.services):
        yield f"endpoint name `{name}` is the host of a service"
