"""Google's own description of its APIs, and whether a request keeps to it: method, path, query, body."""

import json
import re
from functools import cache
from importlib import resources

_APIS = {
    "iam.googleapis.com": ("iam.v1.json", "/"),
    "cloudresourcemanager.googleapis.com": ("cloudresourcemanager.v1.json", "/"),
    "storage.googleapis.com": ("storage.v1.json", "/storage/v1/"),
}
_TYPES = {"string": str, "boolean": bool, "integer": int, "object": dict, "array": list}


@cache
def _document(host):
    name, prefix = _APIS[host]
    folder = resources.files("googleapiclient") / "discovery_cache" / "documents"
    document = json.loads((folder / name).read_bytes())
    return document, [(method, _path(document, method, prefix)) for method in _methods(document)]


def _methods(node):
    yield from node.get("methods", {}).values()
    for inner in node.get("resources", {}).values():
        yield from _methods(inner)


def _path(document, method, prefix):
    """A method's path as a pattern, each parameter as its own pattern says."""
    pattern = ""
    for literal, name in re.findall(r"([^{]*)(?:\{\+?([^}]+)\})?", method["path"]):
        given = method["parameters"].get(name, {}).get("pattern", "^[^/]+$").strip("^$") if name else ""
        pattern += re.escape(literal) + (f"(?:{given})" if name else "")
    return re.compile(re.escape(prefix) + pattern)


def held(request):
    """The method that a request is, after the whole of it was held against the description."""
    document, methods = _document(request.url.host)
    path = request.url.path
    fitting = [
        method for method, pattern in methods if method["httpMethod"] == request.method and pattern.fullmatch(path)
    ]
    assert len(fitting) == 1, (request.method, path, [each["id"] for each in fitting])
    [method] = fitting
    query = {name: each for name, each in method["parameters"].items() if each["location"] == "query"}
    for name, value in request.url.params.multi_items():
        assert name in query, (method["id"], name)
        assert query[name]["type"] != "integer" or value.isdecimal(), (name, value)
        assert value in query[name].get("enum", [value]), (name, value)
    if "request" in method:
        _schema(document["schemas"], method["request"], json.loads(request.content), method["id"])
    else:
        assert not request.content, (method["id"], "takes no body")
    return method["id"]


def _schema(schemas, schema, value, place):
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    kind = _TYPES[schema["type"]]
    assert isinstance(value, kind), (place, value)
    assert not (kind is int and isinstance(value, bool)), (place, value)
    assert value in schema.get("enum", [value]) if kind is str else True, (place, value)
    if kind is list:
        for each in value:
            _schema(schemas, schema["items"], each, f"{place}[]")
    elif kind is dict:
        for name, each in value.items():
            known = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            assert known, f"{place} has no member `{name}`"
            assert not known.get("readOnly"), f"`{name}` of {place} is Google's to say"
            _schema(schemas, known, each, f"{place}.{name}")
