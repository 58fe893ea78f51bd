"""The two doors: tunnels to listed hosts, and the endpoint, one TLS port for clients that are given an address.

Both lead to the same sites by the same filters and routes. They differ in who speaks: a tunnel may carry an identity
and a job and hands on its opener's address; on the endpoint `Authorization` is the one identity, and who speaks is who
is connected. On either, another SNI than a listed name finds no filter chain, and another `Host` than that a refusal.
"""

from remit.gateway import filters, sites
from remit.gateway.accesslog import access_log
from remit.gateway.hcm import (
    DOOR_SECRET,
    ENDPOINT_SECRET,
    answered,
    discovered_tls,
    inspected,
    manager,
    virtual_host,
)
from remit.gateway.module import peers
from remit.gateway.plan import BODY_LIMIT, HTTPS, Door, Plan, Site
from remit.gateway.settings import Endpoint
from remit.gateway.typed import Json

ENDPOINT = "endpoint"


def door(plan: Plan, door: Door) -> Json:
    """The inside of a tunnel to one host."""
    seconds = plan.settings.connection_seconds
    # The identity was fixed when the tunnel opened, so the tunnel's life is bounded.
    served = _served(plan, door.site, door.host, "door", (HTTPS,), max_connection_duration=f"{seconds}s")
    return {
        "name": door.listener,
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": sites.hold(door.site),
        "listener_filters": inspected(),
        "filter_chains": [_chain(plan, door.host, DOOR_SECRET, [peers(), served])],
    }


def endpoint(plan: Plan, given: Endpoint) -> Json:
    """The second door: a filter chain for each name."""
    secret = ENDPOINT_SECRET if given.certificate else DOOR_SECRET
    ports = tuple(dict.fromkeys((HTTPS, given.listen_port)))
    return {
        "name": ENDPOINT,
        "address": {"socket_address": {"address": given.listen_host, "port_value": given.listen_port}},
        "enable_reuse_port": False,  # a second process on our port must fail, not share our callers
        "per_connection_buffer_limit_bytes": BODY_LIMIT,
        "listener_filters": inspected(),
        "listener_filters_timeout": "10s",  # as for headers: whoever never says a name holds nothing
        "filter_chains": [
            _chain(plan, entry.name, secret, [_served(plan, entry.site, entry.name, ENDPOINT, ports)])
            for entry in plan.entries
        ],
    }


def _chain(plan: Plan, name: str, secret: str, chain: list[Json]) -> Json:
    return {
        "name": name,
        "filter_chain_match": {"server_names": [name], "transport_protocol": "tls"},
        "transport_socket": discovered_tls(plan.settings, secret),
        "transport_socket_connect_timeout": "10s",  # a handshake that never ends holds nothing
        "filters": chain,
    }


def _served(plan: Plan, site: Site, name: str, way: str, ports: tuple[int, ...], **bounds: str) -> Json:
    """The HTTP manager of one site under one name. `way`: what the access log calls it."""
    tunnel = way != ENDPOINT
    host = virtual_host(
        name,
        [name, *(f"{name}:{port}" for port in ports)],
        sites.routes(plan, site),
        **sites.headers(site, "https"),
    )
    return manager(
        way,
        sites.chain(plan, site, tunnel=tunnel),
        [host, _misdirected()],
        **sites.upgrades(plan, site, tunnel=tunnel),
        access_log=access_log(plan.settings.access_log, way, decided=True),
        codec_type="AUTO",
        **sites.behaviour(plan, site),
        **bounds,
    )


def _misdirected() -> Json:
    """Any other `Host` than the SNI's (RFC 9110 section 15.5.20)."""
    routes = [answered({"prefix": "/"}, 421), answered({"connect_matcher": {}}, 421)]
    return virtual_host("misdirected", ["*"], routes, typed_per_filter_config=filters.ungated())
