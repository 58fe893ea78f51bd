"""Services below a folder of the outer listener: web applications, beside Remit's own pages.

Each folder has a gate of its own, off everywhere but on its routes. The proof is the other way round: on everywhere
but where the listener itself answers or asks the arbiter, so that a route that forgot its gate leads nowhere.
A folder shares its origin with Remit's pages: what it answers may neither clear nor take over what is theirs.
Source: envoy.config.route.v3.FilterConfig (Envoy 1.40 API reference).
"""

from collections.abc import Iterator

from remit.gateway import filters, gates, sites, streams
from remit.gateway.hcm import answered
from remit.gateway.plan import Folder, Mode, Plan, Site
from remit.gateway.typed import Json

_AUTHORITY = r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?"  # RFC 3986 section 3.2, less users
_WHOLE_ORIGIN = ["clear-site-data", "service-worker-allowed", "strict-transport-security", "public-key-pins"]


def chain(plan: Plan) -> list[Json]:
    """What stands before the router on the outer listener, for the folders."""
    if not plan.folders:
        return []
    return [*_gated(plan, websocket=False), streams.watch(disabled=True)]


def upgrades(plan: Plan) -> list[Json]:
    """WebSockets of the folders: filters of their own, as behind a door."""
    if not any(folder.site.socket for folder in plan.folders):
        return []
    before = [filters.stripped(filters.OURS), filters.present()]
    own = [*before, *_gated(plan, websocket=True), streams.watch(disabled=False), filters.router()]
    return [{"upgrade_type": "websocket", "enabled": False, "filters": own}]


def _gated(plan: Plan, *, websocket: bool) -> list[Json]:
    return [*(_gate(plan, folder.site, websocket=websocket) for folder in plan.folders), filters.proof()]


def _gate(plan: Plan, site: Site, *, websocket: bool) -> Json:
    passed = filters.allowed(site.mode, websocket=websocket)
    return filters.off(
        gates.gate(gates.context(plan.gate, site, passed, tunnel=False, websockets=websocket), _named(site))
    )


def routes(plan: Plan, scheme: str) -> list[Json]:
    """All folders' routes."""
    return [route for folder in plan.folders for route in _routes(plan, folder, scheme)]


def _routes(plan: Plan, folder: Folder, scheme: str) -> Iterator[Json]:
    site, prefix = folder.site, folder.prefix
    shut = {"typed_per_filter_config": filters.unproven()}
    odd = {"name": ":authority", "string_match": {"safe_regex": {"regex": _AUTHORITY}}, "invert_match": True}
    yield answered({"prefix": prefix, "headers": [odd]}, 400, **shut)
    yield from sites.odd(site, prefix, shut)
    yield answered({"prefix": prefix, "grpc": {}}, 404, **shut)
    bounds: Json = {"max_stream_duration": {"max_stream_duration": f"{plan.settings.stream_seconds}s"}}
    if site.socket:
        yield _own(folder, scheme, sites.to(site, sites.socket(prefix), site.socket, **bounds, **sites.UPGRADE))
    if site.rest:
        watched = site.mode is Mode.WEB  # any answer of a web service may stay open, whatever its caller says
        yield _own(folder, scheme, sites.to(site, {"prefix": prefix}, site.rest, watched=watched, **bounds))


def _own(folder: Folder, scheme: str, route: Json) -> Json:
    """A route with the folder's gate, and with what no service may see or say."""
    headers = {**sites.headers(folder.site, scheme), "response_headers_to_remove": _WHOLE_ORIGIN}
    on = {
        **route.get("typed_per_filter_config", {}),
        _named(folder.site): filters.switched_on(),
    }
    return {**route, **headers, "typed_per_filter_config": on}


def _named(site: Site) -> str:
    return f"gate {site.host}"


def unproven(plan: Plan) -> Json:
    """What the listener's own routes say, where the proof is demanded of all others."""
    return filters.unproven() if plan.folders else {}
