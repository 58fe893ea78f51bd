"""A filter behind a matcher: it runs, or is passed over as if it were not there.

Passing over costs the match alone. A match that cannot be made passes nothing over: the filter runs.
Source: envoy.filters.http.match_delegate, envoy.extensions.common.matching.v3.ExtensionWithMatcher.
"""

from remit.gateway.typed import Json, extension, message

NAMESPACE = "remit"  # of the dynamic metadata that the gate sets


def unless(predicate: Json, name: str, given: Json) -> Json:
    """The filter `given` under this name, passed over when `predicate` is true."""
    skip = {"name": "skip", "typed_config": message("extensions.filters.common.matcher.action.v3.SkipFilter")}
    rule = {"predicate": predicate, "on_match": {"action": skip}}
    fields = {"extension_config": given, "xds_matcher": {"matcher_list": {"matchers": [rule]}}}
    filter_ = extension("filters.http.match_delegate", "extensions.common.matching.v3.ExtensionWithMatcher", fields)
    return {**filter_, "name": name}


def marked(key: str, value: Json) -> Json:
    """Whether what the gate set under `key` is one. `value`: a value matcher."""
    kind = "extensions.matching.common_inputs.network.v3.DynamicMetadataInput"
    given = {"name": "mark", "typed_config": message(kind, filter=NAMESPACE, path=[{"key": key}])}
    match = message("extensions.matching.input_matchers.metadata.v3.Metadata", value=value)
    return {"single_predicate": {"input": given, "custom_match": {"name": "value", "typed_config": match}}}
