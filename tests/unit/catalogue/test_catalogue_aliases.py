"""One canonical operation: whatever version, transport, address or spelling asks for it (TH3, TH4, TH10)."""

import json
import random
import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from remit.catalogue.api import vertex_api
from remit.catalogue.descriptors import descriptor, held, put
from remit.catalogue.methods import vertex
from remit.model.errors import Refused
from remit.model.reasons import Reason

HERE, NUMBER = "contoso-fraud-test", "100000000001"
SCOPED = [method for method in vertex() if method.scoped]
PACKAGES = {"v1": "google.cloud.aiplatform.v1.", "v1beta1": "google.cloud.aiplatform.v1beta1."}


def _path(form, project=HERE):
    return (
        form.replace("projects/*", f"projects/{project}")
        .replace("locations/*", "locations/us-central1")
        .replace("*", "x1")
    )


def _served(verb, path):
    return vertex_api().rest.find(path, verb)


def _outcome(catalogue, wire):
    """The request without what only the transport decides, or the reason why there is none."""
    try:
        return replace(catalogue.classify(wire), leasable=False, lease_key_fields=())
    except Refused as refused:
        return refused.reason


@pytest.fixture
def plain(rest_wire):
    """The plainest request for a path: an empty body where one is taken."""

    def wire(verb, path, query=""):
        served = _served(verb, path)
        return rest_wire(verb, f"/{path}{query}", "{}" if served.binding.body else None)

    return wire


def test_both_versions_are_one_operation(catalogue, plain):
    pairs = 0
    for method in SCOPED:
        if len(method.versions) == 2:
            first, second = (catalogue.classify(plain(method.verb, _path(method.path_in(v)))) for v in method.versions)
            assert first == second
            assert first.first.action == method.action
            pairs += 1
    # what 1,130 pairs of both documents are, but for those that belong to no project
    assert pairs == 788


def test_id_and_number_are_one_project(catalogue, plain):
    for method in SCOPED:
        by_id, by_number = (
            catalogue.classify(plain(method.verb, _path(method.path, project))) for project in (HERE, NUMBER)
        )
        assert by_id == by_number
    for other in ("CONTOSO-FRAUD-TEST", "0100000000001", "contoso.example:contoso-fraud-test", "100000000001.0"):
        path = f"v1/projects/{other}/locations/us-central1/customJobs"
        with pytest.raises(Refused) as caught:
            catalogue.classify(plain("GET", path))
        assert caught.value.reason is Reason.RESOURCE_UNKNOWN


def _in_all_apis(form: str) -> bool:
    """Whether a method is one that each of Google's APIs has: of operations, IAM and locations."""
    custom = form.rpartition(":")[2]
    named = form in {"projects/*/locations", "projects/*/locations/*"}
    return named or "/operations" in form or custom in {"getIamPolicy", "setIamPolicy", "testIamPermissions"}


def test_every_way_to_what_all_apis_have_is_one(catalogue, plain):
    ways = 0
    for method in SCOPED:
        path = f"ui/{method.form}"
        if _served(method.verb, _path(path)) is not None:
            assert _in_all_apis(method.form)
            assert catalogue.classify(plain(method.verb, _path(path))) == catalogue.classify(
                plain(method.verb, _path(method.path))
            )
            ways += 1
    assert ways == sum(_in_all_apis(method.form) for method in SCOPED)


def _both(method) -> Iterator[tuple]:
    """The version, procedure and REST form of a method that has both, once for each version of the procedure."""
    for version in method.versions:
        for path in method.grpc:
            other = next((name for name, package in PACKAGES.items() if path.startswith(package)), version)
            served = _served(method.verb, method.path_in(version))
            if other == version and served.procedure and served.procedure.path == f"/{path}":
                yield version, served


def _message(served, name):
    message = served.procedure.request()
    for field, value in served.binding.values(name):
        put(message, field, value)
    if served.binding.body not in {"", "*"}:
        held(message, served.binding.body).SetInParent()  # as an empty body does
    return message


def _cases():
    return [
        (method, version, served)
        for method in SCOPED
        if not method.action.id.endswith(".listWait")
        for version, served in _both(method)
    ]


def test_rest_and_grpc_are_one_operation(catalogue, plain, grpc_wire):
    """Every method that has both forms, in each version."""
    cases = _cases()
    assert len(cases) > 1200
    for method, version, served in cases:
        path = _path(method.path_in(version))
        message = _message(served, served.binding.value(path))
        rest = catalogue.classify(plain(method.verb, path))
        grpc = catalogue.classify(grpc_wire(served.procedure.path, message.SerializeToString()))
        assert replace(rest, leasable=False) == replace(grpc, leasable=False, lease_key_fields=())
        assert not grpc.leasable or grpc.lease_key_fields == (served.binding.field,)


STRINGS = (
    *("", "plain", "a b", "gs://contoso-fraud-test-data/x", "gs://contoso-churn-prod-data/y", "gs://evil/x"),
    *("https://elsewhere.example/x", "bq://contoso-fraud-test.d.t", "us-docker.pkg.dev/p/r/i:1", "{{$.inputs}}"),
    *("trainer@contoso-fraud-test.iam.gserviceaccount.com", "trainer@contoso-churn-prod.iam.gserviceaccount.com"),
    *("projects/contoso-fraud-test/global/networks/n", "projects/elsewhere/global/networks/n", "n1-standard-4"),
    *(f"projects/{NUMBER}/locations/us-central1/models/7@2", "publishers/google/models/gemini", "//x", "0", "e\u0301"),
)
WELL_KNOWN = {"Duration": "3s", "Timestamp": "2026-01-01T00:00:00Z", "FieldMask": "displayName"}


def _filled(kind: Descriptor, dice: random.Random, depth: int = 0) -> dict:
    """A random message as JSON: some fields, at most one of each oneof, strings that name things."""
    value: dict = {}
    groups: set[str] = set()
    fields = [field for field in kind.fields if depth < 2 or field.message_type is None]
    for field in dice.sample(fields, min(len(fields), 7 - depth)):
        group = field.containing_oneof.name if field.containing_oneof else field.name
        if group not in groups:
            groups.add(group)
            one = _map(field, dice, depth) if _is_map(field) else _value(field, dice, depth)
            value[field.json_name] = [one] if field.is_repeated and not _is_map(field) else one
    return value


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _map(field, dice, depth):
    entry = field.message_type.fields_by_name
    plain_key = entry["key"].type == FieldDescriptor.TYPE_STRING
    return {dice.choice(("k", "key")) if plain_key else "1": _value(entry["value"], dice, depth)}


def _value(field, dice, depth):
    if field.message_type is not None:
        return _inside(field.message_type, dice, depth)
    if field.enum_type is not None:
        return dice.choice(field.enum_type.values).number
    plain = {
        FieldDescriptor.TYPE_BOOL: dice.random() < 0.5,
        FieldDescriptor.TYPE_STRING: dice.choice(STRINGS),
        FieldDescriptor.TYPE_BYTES: "YQ==",
    }
    return plain.get(field.type, dice.choice((0, 1, 3)))


def _inside(kind, dice, depth):
    name = kind.full_name.removeprefix("google.protobuf.")
    if name == "Struct":
        return {"a": {"b": [dice.choice(STRINGS), None, 1.5]}}
    if name in {"Value", "ListValue"}:
        return [dice.choice(STRINGS), {"c": dice.choice(STRINGS)}]
    if name == "Any":
        return {"@type": "type.googleapis.com/google.protobuf.Empty", "value": {}}
    return WELL_KNOWN.get(name) or _filled(kind, dice, depth + 1)


def test_whatever_a_message_holds_rest_and_grpc_are_decided_alike(catalogue, rest_wire, grpc_wire):
    """Random bodies for every method that takes one, in both versions: one request, or one reason against it."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    outcomes: dict = {}
    for method, version, served in _cases():
        if not served.binding.body or served.document or method.action.id.endswith("awPredict"):
            continue
        path = _path(method.path_in(version))
        message = _message(served, served.binding.value(path))
        part = message if served.binding.body == "*" else held(message, served.binding.body)
        for _ in range(4):
            body = _filled(descriptor(part), dice)
            for field, _ in served.binding.variables:
                _leave_out(body, field.removeprefix(f"{served.binding.body}.").split("."))
            pool = message.DESCRIPTOR.file.pool
            whole = type(message)()
            whole.CopyFrom(message)
            target = whole if part is message else held(whole, served.binding.body)
            try:
                json_format.ParseDict(body, target, descriptor_pool=pool)
            except json_format.ParseError:
                continue  # an `Any` of a kind that the pool lacks
            rest = _outcome(catalogue, rest_wire(method.verb, f"/{path}", json.dumps(body)))
            grpc = _outcome(catalogue, grpc_wire(served.procedure.path, whole.SerializeToString()))
            assert rest == grpc, (path, body)
            outcomes[type(rest)] = outcomes.get(type(rest), 0) + 1
    assert min(outcomes.values()) > 200, outcomes


def _leave_out(body, names):
    """Takes the path's own name out of a body."""
    first, *rest = names
    for key in [key for key in body if _snake(key) == first]:
        if rest:
            _leave_out(body[key], rest)
        else:
            del body[key]


def _snake(name):
    return "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in name)


def test_both_spellings_are_one_and_never_together(catalogue, rest_wire, job):
    """TH43: `serviceAccount` and `service_account`, wherever they stand."""
    root = f"/v1/projects/{HERE}/locations/us-central1/customJobs"

    def snake(value):
        if isinstance(value, dict):
            return {_snake(key): snake(one) for key, one in value.items()}
        return [snake(one) for one in value] if isinstance(value, list) else value

    labels = job["labels"]
    camel = catalogue.classify(rest_wire("POST", root, json.dumps(job)))
    assert catalogue.classify(rest_wire("POST", root, json.dumps({**snake(job), "labels": labels}))) == camel
    spec = {**job["jobSpec"], "service_account": "trainer@contoso-churn-prod.iam.gserviceaccount.com"}
    assert _outcome(catalogue, rest_wire("POST", root, json.dumps({**job, "jobSpec": spec}))) is (
        Reason.REQUEST_AMBIGUOUS
    )
