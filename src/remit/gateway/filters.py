"""The HTTP filters, spelled for Envoy 1.40: the demand for the gate's proof, the native signature check, and others.

Source: envoy.extensions.filters.http (rbac, jwt_authn, set_filter_state, header_mutation, buffer, router), v3.
"""

from collections.abc import Mapping

from remit.gateway import matched
from remit.gateway.gates import GATE
from remit.gateway.headers import OBJECTS, PASSED, SERVICE, SERVICE_WEBSOCKET, WEBSOCKET, Names
from remit.gateway.plan import Mode
from remit.gateway.settings import GatewaySettings
from remit.gateway.typed import Json, extension, message

PROOF = "proof"
OURS = ("x-remit-", "x-envoy-")  # what only Remit and Envoy may call a header
TUNNEL = "remit.tunnel"
PEER = "remit.peer"
JOB = "remit.job"
FORM = "form"
PEER_FORMAT = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"

_CLOCK_SKEW = 60  # seconds between the provider's clock and ours; identity's own rules are as strict or stricter


def ungated() -> Json:
    """For a route that answers by itself and leads nowhere: neither gate nor proof."""
    return {GATE: message("config.route.v3.FilterConfig", disabled=True), **unproven()}


def unproven() -> Json:
    """For a route that leads to the arbiter itself, or nowhere."""
    return {PROOF: message("config.route.v3.FilterConfig", disabled=True)}


def proof() -> Json:
    """Only a request that the gate marked as permitted passes, whatever became of the gate.

    The mark holds the decision's id. What refuses permits nobody, and the mark passes it over: an RBAC filter that
    looks at the mark itself writes down for each request what it found (5,700 instructions, measured).
    """
    nobody = extension("filters.http.rbac", "extensions.filters.http.rbac.v3.RBAC", {"rules": {"action": "ALLOW"}})
    return matched.unless(matched.marked("permitted", {"string_match": {"prefix": "d-"}}), PROOF, nobody)


def off(given: Json) -> Json:
    """A filter that does nothing, and costs nothing, until a route switches it on."""
    return {"disabled": True, **given}


def switched_on() -> Json:
    """Switches a filter on, for a route, that is off elsewhere."""
    return message("config.route.v3.FilterConfig", config={})


def signatures(settings: GatewaySettings, keys: Mapping[str, str]) -> Json:
    """The native check of the token's signature, issuer, audience and times. `keys`: a JWK set (RFC 7517) an issuer.

    A token is held against the provider that has its `iss`, with that one's keys and audiences. An issuer without keys
    has no provider: its tokens are refused as an unknown issuer's. The keys choose the algorithms, of which Envoy knows
    RS, PS, ES and EdDSA (measured); which of them an issuer may use, identity's own rules say.
    """
    known = [issuer for issuer in dict(settings.issuers) if issuer in keys]
    providers = {
        f"issuer-{number}": _provider(issuer, [to for by, to in settings.issuers if by == issuer], keys[issuer])
        for number, issuer in enumerate(known)
    }
    required = [{"provider_name": name} for name in providers]
    demand = required[0] if len(required) == 1 else {"requires_any": {"requirements": required}}
    fields = {"providers": providers, "rules": [{"match": {"prefix": "/"}, "requires": demand}]}
    return extension("filters.http.jwt_authn", "extensions.filters.http.jwt_authn.v3.JwtAuthentication", fields)


def _provider(issuer: str, audiences: list[str], keys: str) -> Json:
    return {
        "issuer": issuer,
        "audiences": audiences,
        "local_jwks": {"inline_string": keys},
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "forward": True,  # the arbiter reads the token by its own, stricter rules
        "require_expiration": True,
        "clock_skew_seconds": _CLOCK_SKEW,
    }


def carried() -> Json:
    """What a tunnel hands to its door: the caller's identity and job, when it has them, and the caller's address."""
    values = [
        _shared(TUNNEL, "%REQ(PROXY-AUTHORIZATION)%"),
        _shared(JOB, "%REQ(X-REMIT-JOB)%"),
        _shared(PEER, PEER_FORMAT),
    ]
    return _state(values)


def _state(values: list[Json]) -> Json:
    kind = "extensions.filters.http.set_filter_state.v3.Config"
    return extension("filters.http.set_filter_state", kind, {"on_request_headers": values})


def unrepeated() -> Json:
    """Refuses a tunnel with two identities or two jobs: only this kind of matcher sees repeated headers, by a comma."""
    rules = [
        {"predicate": _holds_comma(name), "on_match": _act("DENY")} for name in ("proxy-authorization", "x-remit-job")
    ]
    tree = {"matcher_list": {"matchers": rules}, "on_no_match": _act("ALLOW")}
    return extension("filters.http.rbac", "extensions.filters.http.rbac.v3.RBAC", {"matcher": tree})


def _holds_comma(name: str) -> Json:
    given = message("type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name)
    return {"single_predicate": {"input": {"name": name, "typed_config": given}, "value_match": {"contains": ","}}}


def present() -> Json:
    """Where there is no tunnel: who speaks is who is connected."""
    return _state([_shared(PEER, PEER_FORMAT)])


def allowed(mode: Mode, *, websocket: bool) -> Names:
    """The request headers that a site of this mode may see."""
    if mode.assertion:
        return SERVICE_WEBSOCKET if websocket else SERVICE
    return WEBSOCKET if websocket else OBJECTS if mode is Mode.OBJECTS else PASSED


def stripped(prefixes: tuple[str, ...]) -> Json:
    """Removes request headers whose names only Remit may use."""
    mutations = [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in prefixes]
    return extension(
        "filters.http.header_mutation",
        "extensions.filters.http.header_mutation.v3.HeaderMutation",
        {"mutations": {"request_mutations": mutations}},
    )


def form_bound(most: int) -> Json:
    """Holds a request to a page or to the API until it is whole, refuses a larger one; off unless a route wants it."""
    fields = {"max_request_bytes": most}
    return {"disabled": True, **extension(FORM, "extensions.filters.http.buffer.v3.Buffer", fields)}


def router() -> Json:
    """The last filter. No `x-envoy-*` header goes either way."""
    return extension(
        "filters.http.router", "extensions.filters.http.router.v3.Router", {"suppress_envoy_headers": True}
    )


def _act(action: str) -> Json:
    return {"action": {"name": "action", "typed_config": message("config.rbac.v3.Action", name=action, action=action)}}


def _shared(key: str, text: str) -> Json:
    return {
        "object_key": key,
        # Hashable: the value is part of the key of the connection pool that leads to the door. With `envoy.string` two
        # tunnels that open at once can be handed each other's connection, and identity with it (measured).
        "factory_key": "envoy.hashable_string",
        "format_string": {"text_format_source": {"inline_string": text}, "omit_empty_values": True},
        "skip_if_empty": True,
        "shared_with_upstream": "ONCE",
    }
