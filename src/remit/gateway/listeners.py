"""The outer listener and the check.

The outer listener opens tunnels to the listed hosts, holds the services' folders, and passes a few plain paths to the
arbiter, where a cookie is read. The check verifies a token's signature before the arbiter is asked; it is the one part
that changes at run time. Bounds are of one connection or request; each says why.
"""

import re
from collections.abc import Mapping

from remit.gateway import filters, services
from remit.gateway.accesslog import access_log
from remit.gateway.clusters import ARBITER, CHECK
from remit.gateway.hcm import ADDED, TLS_VERSION, answered, downstream_tls, manager, overwritten, virtual_host
from remit.gateway.plan import BODY_LIMIT, HTTPS, Door, Plan
from remit.gateway.settings import GatewaySettings
from remit.gateway.typed import Json

OUTER = "outer"

_API_BODY = 1024 * 1024  # bytes: a token request has a few KiB, a SAML response in a form a few hundred
_API_WITHIN = "45s"  # to receive such a request, and to answer it
_BEARER = "Bearer [A-Za-z0-9._~+/=-]+"
_JOB = "j-[0-9a-z]{26}"
_BELOW = "(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*[A-Za-z0-9_~-][A-Za-z0-9._~-]*"  # no `..`, nothing empty or escaped

_AGAIN = {  # an arbiter that goes leaves questions unanswered, which the next one answers: a record more, no permit
    "retry_on": "connect-failure,reset",
    "num_retries": 5,
    "retry_back_off": {"base_interval": "0.02s", "max_interval": "0.2s"},
}


def outer(plan: Plan) -> Json:
    """The listener that callers connect to."""
    settings = plan.settings
    served = manager(
        OUTER,
        [
            filters.unrepeated(),
            filters.carried(),
            filters.stripped(filters.OURS),
            filters.form_bound(_API_BODY),
            *services.chain(plan),
            filters.router(),
        ],
        [*(_tunnel(plan, door) for door in plan.doors), _api(plan)],
        access_log=access_log(settings.access_log, OUTER, decided=bool(plan.folders)),
        codec_type="HTTP1",
        http_protocol_options={"accept_http_10": True},  # Python 3.11's http.client opens tunnels with HTTP/1.0
        upgrade_configs=[{"upgrade_type": "CONNECT"}, *services.upgrades(plan)],
        # To receive a whole request; an upload to a service may take as long as any stream.
        request_timeout=f"{settings.stream_seconds}s" if plan.folders else "30s",
    )
    address = {"socket_address": {"address": settings.listen_host, "port_value": settings.listen_port}}
    return {
        "name": OUTER,
        "address": address,
        "enable_reuse_port": False,  # a second process on our port must fail, not share our callers
        "per_connection_buffer_limit_bytes": _API_BODY,
        "filter_chains": [{"filters": [served], **_outer_tls(settings)}],
    }


def check(settings: GatewaySettings, keys: Mapping[str, str]) -> Json:
    """The native check in front of the arbiter. Without keys nobody can be known, and every check is answered 503."""
    if any(issuer in keys for issuer, _ in settings.issuers):
        checks = [filters.signatures(settings, keys), filters.router()]
        asked = {"cluster": ARBITER, "timeout": "0s", "retry_policy": _AGAIN}
        route: Json = {"match": {"prefix": "/check/"}, "route": asked}
    else:
        checks = [filters.router()]
        route = {"match": {"prefix": "/"}, "direct_response": {"status": 503}}
    served = manager(
        "check",
        checks,
        [virtual_host("check", ["*"], [route], request_headers_to_remove=ADDED)],
        path_with_escaped_slashes_action="KEEP_UNCHANGED",  # what a path may hold, each door has said
    )
    return {
        "name": CHECK,
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": BODY_LIMIT,
        "filter_chains": [{"filters": [served]}],
    }


def _tunnel(plan: Plan, door: Door) -> Json:
    """CONNECT to one host: with no identity, or with exactly one bearer token; with no job, or with one job's id.

    The authority is `host:443` in any case of letters. Of anything else Envoy's codec lets one form pass, an empty user
    (`@host:443`), and drops it before a filter, a route or the log could see it (measured): the same tunnel opens.
    """
    refused = [
        answered({"connect_matcher": {}, "headers": [_anything_but(name, form)]}, status)
        for name, form, status in (("proxy-authorization", _BEARER, 407), ("x-remit-job", _JOB, 400))
    ]
    upgrade = {"upgrade_type": "CONNECT", "connect_config": {}}
    opened = {"cluster": door.listener, "timeout": "0s", "idle_timeout": "0s", "upgrade_configs": [upgrade]}
    through = {"match": {"connect_matcher": {}}, "route": opened}
    routes = [*refused, through]
    return virtual_host(door.listener, [f"{door.host}:{HTTPS}"], routes, **_without_proof(plan))


def _anything_but(name: str, form: str) -> Json:
    """A header that is there, and is not of this form."""
    return {"name": name, "string_match": {"safe_regex": {"regex": form}}, "invert_match": True}


def _without_proof(plan: Plan) -> Json:
    open_ = services.unproven(plan)
    return {"typed_per_filter_config": open_} if open_ else {}


def _api(plan: Plan) -> Json:
    """Remit's own pages and API, the services' folders, and a refusal of all else."""
    settings = plan.settings
    below = [{"safe_regex": {"regex": re.escape(prefix) + _BELOW}} for prefix in settings.api_prefixes]
    own: Json = {
        "route": {
            "cluster": ARBITER,
            "timeout": "15s",
            "max_stream_duration": {"max_stream_duration": _API_WITHIN},
        },
        "typed_per_filter_config": {filters.FORM: filters.switched_on(), **services.unproven(plan)},
        "request_headers_to_add": [overwritten("x-remit-peer", filters.PEER_FORMAT)],
        "request_headers_to_remove": ["proxy-authorization", *ADDED],
    }
    scheme = "https" if settings.tls_certificate else "http"
    return virtual_host(
        "api",
        ["*"],
        [
            *({"match": match, **own} for match in (*({"path": path} for path in settings.api_paths), *below)),
            *services.routes(plan, scheme),
            answered({"connect_matcher": {}}, 403, **_without_proof(plan)),
            answered({"prefix": "/"}, 404, **_without_proof(plan)),
        ],
    )


def _outer_tls(settings: GatewaySettings) -> Json:
    if settings.tls_certificate is None or settings.tls_key is None:
        return {}
    files = {
        "certificate_chain": {"filename": str(settings.tls_certificate)},
        "private_key": {"filename": str(settings.tls_key)},
    }
    common = {"tls_certificates": [files], "alpn_protocols": ["http/1.1"], "tls_params": TLS_VERSION}
    return {"transport_socket": downstream_tls(common)}
