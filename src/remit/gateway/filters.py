"""The HTTP filters, spelled for Envoy 1.40: the gate, the demand for its proof, the native signature check.

Source: envoy.extensions.filters.http (lua, rbac, jwt_authn, set_filter_state, header_mutation, buffer, router), v3.
"""

from collections.abc import Mapping

from remit.gateway import matched
from remit.gateway.headers import OBJECTS, PASSED, SERVICE, SERVICE_WEBSOCKET, WEBSOCKET, Names, anything_but
from remit.gateway.plan import Gate, Mode, Site
from remit.gateway.program import context, source
from remit.gateway.settings import GatewaySettings
from remit.gateway.typed import Json, extension, message

LUA = "envoy.filters.http.lua"
PROOF = "proof"
MUTATION = "envoy.filters.http.header_mutation"
OURS = ("x-remit-", "x-envoy-")  # what only Remit and Envoy may call a header
TUNNEL = "remit.tunnel"
PEER = "remit.peer"
JOB = "remit.job"
CALLER = "x-remit-caller"  # inside a door: the peer, a space, the job or `-`; one header, since the gate reads each
FORM = "form"
MARKED = "marked"
PEER_FORMAT = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"

_CLOCK_SKEW = 60  # seconds between the provider's clock and ours; identity's own rules are as strict or stricter


def gate(name: str = LUA) -> Json:
    """The Lua filter. It never clears the route cache: what it removes and replaces chooses no route.

    Each has a program of its own, with its own leases, so each belongs to one site. By another name it is off until a
    route switches it on (`gated`).
    """
    fields = {"default_source_code": {"inline_string": source()}, "clear_route_cache": False}
    return _off_unless(name == LUA, _called(name, "extensions.filters.http.lua.v3.Lua", fields))


def gate_context(values: Gate, site: Site) -> Json:
    """What the gate is told, on a virtual host or a route."""
    return message("extensions.filters.http.lua.v3.LuaPerRoute", filter_context=context(values, site))


def ungated() -> Json:
    """For a route that answers by itself and leads nowhere: neither gate nor proof."""
    return {LUA: message("extensions.filters.http.lua.v3.LuaPerRoute", disabled=True), **unproven()}


def unproven() -> Json:
    """For a route that leads to the arbiter itself, or nowhere."""
    return {PROOF: message("config.route.v3.FilterConfig", disabled=True)}


def proof() -> Json:
    """Only a request that the gate marked as permitted passes: an error in Lua lets requests through (measured).

    The mark is a decision's id without a reason: `answer.lua` gives a refusal its reason before its id. What refuses
    permits nobody, and the mark passes it over: an RBAC filter that looks at the mark itself writes down for each
    request what it found (5,700 instructions, measured).
    """
    nobody = extension("filters.http.rbac", "extensions.filters.http.rbac.v3.RBAC", {"rules": {"action": "ALLOW"}})
    decided = matched.marked("decision", {"string_match": {"prefix": "d-"}})
    refused = matched.marked("reason", {"present_match": True})
    return matched.unless([decided, matched.negated(refused)], PROOF, nobody)


def off(given: Json) -> Json:
    """A filter that does nothing, and costs nothing, until a route switches it on."""
    return {"disabled": True, **given}


def switched_on(per_route: Json | None = None) -> Json:
    """Switches a filter on, for a route, that is off elsewhere; by an empty `per_route` it stays as it is there."""
    return message("config.route.v3.FilterConfig", config=per_route or {})


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


def cleaned(passed: Names, *, tunnel: bool, name: str = MUTATION) -> Json:
    """Before the gate: only known headers stay, a tunnel's identity is the only one, the caller is named.

    On a tunnel that carries an identity the inner `Authorization` is overwritten unread. The job is the tunnel's alone:
    whoever speaks without one, speaks for none. No request trailer goes on, and no answer's trailer speaks for Remit.
    By another name it is off until a route switches it on.
    """
    mutations = [
        _removed({"safe_regex": {"regex": anything_but(passed)}}),
        *([_overwrite("authorization", f"%FILTER_STATE({TUNNEL}:PLAIN)%")] if tunnel else []),
        _overwrite(CALLER, f"%FILTER_STATE({PEER}:PLAIN)% " + (f"%FILTER_STATE({JOB}:PLAIN)%" if tunnel else "-")),
    ]
    theirs = {"request_trailers_mutations": [_removed({"safe_regex": {"regex": ".*"}})]}
    back = {"response_trailers_mutations": [_removed({"prefix": "x-remit-"}), _removed({"exact": "set-cookie"})]}
    fields = {"mutations": {"request_mutations": mutations, **theirs, **back}}
    kind = "extensions.filters.http.header_mutation.v3.HeaderMutation"
    return _off_unless(name == MUTATION, _called(name, kind, fields))


def marked() -> Json:
    """Behind the proof: tells the watch which decision this is. What goes to a service loses it at the router."""
    mark = _overwrite("x-goog-request-reason", f"decision/%DYNAMIC_METADATA({matched.NAMESPACE}:decision)%")
    kind = "extensions.filters.http.header_mutation.v3.HeaderMutation"
    return _called(MARKED, kind, {"mutations": {"request_mutations": [mark]}})


def stripped(prefixes: tuple[str, ...]) -> Json:
    """Removes request headers whose names only Remit may use."""
    mutations = [_removed({"prefix": prefix}) for prefix in prefixes]
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


def _overwrite(name: str, value: str) -> Json:
    """Sets a header, unless the value is empty."""
    return {"append": {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}


def _removed(names: Json) -> Json:
    """Removes the headers whose names match."""
    return {"remove_on_match": {"key_matcher": names}}


def _called(name: str, kind: str, fields: Json) -> Json:
    """An extension under exactly this name."""
    return {"name": name, "typed_config": message(kind, **fields)}


def _off_unless(on: bool, given: Json) -> Json:  # noqa: FBT001  # named by the function
    return given if on else off(given)


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
