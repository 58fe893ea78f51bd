"""Messages that two parsers would read differently, and what is around them (security: TH1, TH44)."""

import pytest

from remit.catalogue import grpc_wire as grpc_wire_room
from remit.model.errors import Refused
from remit.model.reasons import Reason

L = "projects/contoso-fraud-test/locations/us-central1"
VICTIM = "projects/contoso-churn-prod/locations/us-central1"
LIST, PREDICT, CANCEL = "JobService/ListCustomJobs", "PredictionService/Predict", "JobService/CancelCustomJob"
CREATE = "JobService/CreateCustomJob"


def _varint(number, pad=0):
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        if not number and not pad:
            return bytes([*out, low])
        if not number:
            return bytes([*out, low | 0x80, *[0x80] * (pad - 1), 0])
        out.append(low | 0x80)


def _length(number, content, pad=0):
    return _varint(number << 3 | 2, pad) + _varint(len(content)) + content


def _forged(real, fake, field=1):
    """The published forgery: an extractor that ignores wire types reads `fake`, a parser reads `real`."""
    text = fake.encode()
    rest = len(text) - 5
    tail = _length(99, b"\0" * (101 - rest - 3))
    return _length(field, real.encode()) + bytes([field << 3 | 5, len(text)]) + text + tail


def _refused(catalogue, wire):
    with pytest.raises(Refused) as caught:
        catalogue.classify(wire)
    return caught.value


@pytest.mark.parametrize(("path", "child"), [(LIST, ""), (PREDICT, "/endpoints/1"), (CANCEL, "/customJobs/1")])
def test_the_three_forgeries_are_refused(catalogue, grpc_wire, path, child):
    for real, fake in ((VICTIM + child, L + child), (L + child, VICTIM + child)):
        assert _refused(catalogue, grpc_wire(path, _forged(real, fake))).reason in {
            Reason.REQUEST_AMBIGUOUS,
            Reason.REQUEST_MALFORMED,
        }


@pytest.mark.parametrize(
    "payload",
    [
        _length(1, L.encode()) + _length(1, VICTIM.encode()),
        _length(1, L.encode()) * 2,
        _length(1, L.encode(), pad=1),
        b"\x0a" + _varint(len(L), pad=1) + L.encode(),
        b"\x0b" + _length(1, VICTIM.encode()) + b"\x0c" + _length(1, L.encode()),
        b"\x0d\x01\x02\x03\x04" + _length(1, L.encode()),
        b"\x08\x05" + _length(1, L.encode()),
        _length(1, L.encode()) + _length(99, b"x"),
        _length(1, L.encode()) + b"\x18" + b"\xff" * 9 + b"\x7f",
        _length(1, L.encode()) + b"\x18\x80",
        _length(1, L.encode()) + b"\x18\x00",
        _length(1, L.encode()) + b"\x1d\x01\x00\x00\x00",
        _length(1, L.encode()) + _length(3, b"\x01"),
        _length(1, L.encode()) + _length(5, _length(1, b"a") + b"\x10\x01"),
        _length(1, L.encode())[:-1],
        _length(1, b"\xff\xfe"),
        b"\x02\x00",
    ],
    ids=lambda value: value[:12].hex() + str(len(value)),
)
def test_a_message_with_two_readings_is_refused(catalogue, grpc_wire, payload):
    if payload.endswith(b"\x18\x00"):
        # an explicit default is plain enough: every parser reads no page size
        assert catalogue.classify(grpc_wire(LIST, payload)).first.resources[0].project == "contoso-fraud-test"
        return
    assert _refused(catalogue, grpc_wire(LIST, payload)).reason in {Reason.REQUEST_AMBIGUOUS, Reason.REQUEST_MALFORMED}


def _job(encode, **more):
    spec = {"serviceAccount": "trainer@contoso-fraud-test.iam.gserviceaccount.com", **more}
    return encode(f"/google.cloud.aiplatform.v1.{CREATE}", {"parent": L, "customJob": {"jobSpec": spec}})


def _reversed_labels(*pairs):
    entries = b"".join(_length(11, _length(1, key) + _length(2, value)) for key, value in pairs)
    account = _length(4, b"trainer@contoso-fraud-test.iam.gserviceaccount.com")
    return _length(2, entries + _length(4, account)) + _length(1, L.encode())


def test_order_is_free_and_a_map_key_comes_once(catalogue, grpc_wire):
    many = [(str(index).encode(), b"v") for index in range(40)]
    assert catalogue.classify(grpc_wire(CREATE, _reversed_labels(*many))).first.acts_as.startswith("trainer@")
    assert "key twice" in _refused(catalogue, grpc_wire(CREATE, _reversed_labels((b"a", b"1"), (b"a", b"2")))).message
    assert "key twice" in _refused(catalogue, grpc_wire(CREATE, _reversed_labels((b"", b"1"), (b"", b"2")))).message


def test_an_entry_without_its_key_is_the_empty_key(catalogue, grpc_wire):
    bare = _length(11, _length(2, b"v"))
    account = _length(4, b"trainer@contoso-fraud-test.iam.gserviceaccount.com")
    once = _length(2, bare + _length(4, account)) + _length(1, L.encode())
    assert catalogue.classify(grpc_wire(CREATE, once))
    twice = _length(2, bare * 2 + _length(4, account)) + _length(1, L.encode())
    assert "key twice" in _refused(catalogue, grpc_wire(CREATE, twice)).message


def test_merged_submessages_and_two_members_of_a_oneof_are_refused(catalogue, grpc_wire, encode):
    plain = _job(encode)
    second = _length(2, _length(4, _length(4, b"trainer@contoso-churn-prod.iam.gserviceaccount.com")))
    assert "`custom_job` is given twice" in _refused(catalogue, grpc_wire(CREATE, plain + second)).message
    pool = _length(1, _length(6, _length(1, b"image")) + _length(7, _length(3, b"module")))
    account = _length(4, b"trainer@contoso-fraud-test.iam.gserviceaccount.com")
    both = _length(1, L.encode()) + _length(2, _length(4, pool + account))
    assert "given twice" in _refused(catalogue, grpc_wire(CREATE, both)).message


def test_wrong_bools_and_packed_numbers(catalogue, grpc_wire):
    account = _length(4, b"trainer@contoso-fraud-test.iam.gserviceaccount.com")
    scheduling = _length(3, b"\x18\x02")
    payload = _length(1, L.encode()) + _length(2, _length(4, scheduling + account))
    assert "neither true nor false" in _refused(catalogue, grpc_wire(CREATE, payload)).message
    # supported_deployment_resources_types (10) of Model: an enum list, packed
    for packed, said in ((b"\x01\x02", ""), (b"\x81\x00", "shortest form"), (b"\x80", "valid")):
        model = _length(2, b"m") + _length(10, packed)
        wire = grpc_wire("ModelService/UploadModel", _length(2, model) + _length(1, L.encode()))
        if said:
            assert said in _refused(catalogue, wire).message
        else:
            assert catalogue.classify(wire)


def test_data_for_a_model_is_not_entered(catalogue, grpc_wire):
    twice = b"\x20\x01\x20\x00"  # a `Value` that is true, then false: the model's affair
    payload = _length(2, twice) + _length(1, f"{L}/endpoints/1".encode())
    assert catalogue.classify(grpc_wire(PREDICT, payload)).first.resources[0].name.endswith("/endpoints/1")


def test_walking_has_an_end(catalogue, grpc_wire):
    payload = _length(2, b"") * 30_000 + _length(1, f"{L}/endpoints/1".encode())
    assert "too many" in _refused(catalogue, grpc_wire(PREDICT, payload)).message
    big = _length(1, L.encode()) + _length(2, _length(2, b"x" * (1 << 20)))
    assert "1 MiB" in _refused(catalogue, grpc_wire(CREATE, big)).message
    own = _length(1, f"{L}/endpoints/1".encode())
    # the rest is no message at all: it is refused for its size before anything is parsed
    for large in (b"\xff" * (3 << 19), own + b"\xff" * (3 << 19), own + _length(2, b"\xff" * (3 << 19))):
        refused = _refused(catalogue, grpc_wire(PREDICT, large))
        assert "1.5 MiB" in refused.message
        assert "`rawPredict`" in refused.hint


def test_a_publishers_model_takes_larger_predictions_than_an_endpoint(catalogue, grpc_wire):
    data = _length(2, _length(3, b"x" * (2 << 20)))
    name = f"{L}/publishers/google/models/m".encode()
    for payload in (_length(1, name) + data, data + _length(1, name)):
        assert catalogue.classify(grpc_wire(PREDICT, payload)).first.resources[0].type == "PublisherModel"
    # the first look sees one name, the parser another: refused for the second one
    twice = _length(1, name) + data + _length(1, f"{L}/endpoints/1".encode())
    assert "given twice" in _refused(catalogue, grpc_wire(PREDICT, twice)).message


@pytest.mark.parametrize("forged", [f"parent={VICTIM}", f"parent={L}", "", "parent=%2e%2e"])
def test_the_routing_header_is_not_looked_at(catalogue, grpc_wire, forged):
    headers = [("x-goog-request-params", forged)]
    mine = catalogue.classify(grpc_wire(LIST, {"parent": L}, headers=headers))
    theirs = catalogue.classify(grpc_wire(LIST, {"parent": VICTIM}, headers=headers))
    assert mine.first.resources[0].project == "contoso-fraud-test"
    assert theirs.first.resources[0].project == "contoso-churn-prod"


def test_framing(catalogue, grpc_wire, encode):
    message = encode(f"/google.cloud.aiplatform.v1.{LIST}", {"parent": L})
    one = b"\0" + len(message).to_bytes(4, "big") + message
    for body, reason in (
        (one + one, Reason.REQUEST_AMBIGUOUS),
        (one[:-1], Reason.REQUEST_AMBIGUOUS),
        (b"\1" + one[1:], Reason.REQUEST_AMBIGUOUS),
        (b"", Reason.REQUEST_MALFORMED),
        (b"\0\0", Reason.REQUEST_MALFORMED),
    ):
        assert _refused(catalogue, grpc_wire(LIST, {}, body=body)).reason is reason
    assert _refused(catalogue, grpc_wire(LIST, {})).reason is Reason.RESOURCE_UNKNOWN


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"content_type": "application/grpc;x=1"}, Reason.REQUEST_MALFORMED),
        ({"content_type": "application/grpc-web"}, Reason.REQUEST_MALFORMED),
        ({"content_type": "application/grpc+json"}, Reason.REQUEST_MALFORMED),
        ({"content_type": "application/json"}, Reason.METHOD_UNKNOWN),
        ({"content_type": "Application/gRPC"}, Reason.METHOD_UNKNOWN),
        ({"method": "GET"}, Reason.REQUEST_MALFORMED),
        ({"headers": [("content-type", "application/grpc")]}, Reason.REQUEST_AMBIGUOUS),
        ({"headers": [("content-encoding", "gzip")]}, Reason.REQUEST_AMBIGUOUS),
        ({"headers": [("x-http-method-override", "DELETE")]}, Reason.REQUEST_AMBIGUOUS),
        ({"host": "europe-west4-aiplatform.googleapis.com"}, Reason.HOST_UNKNOWN),
        ({"host": "aiplatform.googleapis.com"}, Reason.HOST_UNKNOWN),
        ({"host": "asia-east1-aiplatform.googleapis.com"}, Reason.HOST_UNKNOWN),
        ({"host": "us-central1-aiplatform.mtls.googleapis.com"}, Reason.HOST_UNKNOWN),
        ({"host": "us-central1-aiplatform.googleapis.com."}, Reason.HOST_UNKNOWN),
        ({"host": "evil@us-central1-aiplatform.googleapis.com"}, Reason.HOST_UNKNOWN),
        ({"host": "logging.googleapis.com"}, Reason.METHOD_UNKNOWN),
    ],
)
def test_what_is_around_the_message(catalogue, grpc_wire, more, reason):
    assert _refused(catalogue, grpc_wire(LIST, {"parent": L}, **more)).reason is reason


def test_a_global_resource_is_asked_at_the_global_host(catalogue, grpc_wire):
    name = "projects/contoso-fraud-prod/locations/global/endpoints/1"
    wire = grpc_wire("EndpointService/GetEndpoint", {"name": name}, host="aiplatform.googleapis.com")
    assert catalogue.classify(wire).first.resources[0].name.endswith("/locations/global/endpoints/1")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("PredictionService/StreamingPredict", "known, but is a stream of the client's"),
        ("PredictionService/StreamDirectPredict", "known, but is a stream of the client's"),
        ("FeatureOnlineStoreService/FeatureViewDirectWrite", "known, but is a stream of the client's"),
        ("ModelGardenService/GetPublisherModel", "known, but belongs to no project"),
        ("JobService/Nothing", "is not a method"),
        ("/google.cloud.aiplatform.v1beta1.PredictionService/StreamingPredict", "known, but is a stream"),
        ("/google.cloud.aiplatform.v2.JobService/GetCustomJob", "is not a method"),
        ("/google.cloud.aiplatform.v1beta1.JobService/getCustomJob", "is not a method"),
        ("/google.cloud.resourcemanager.v3.Projects/GetProject", "is not a method"),
    ],
)
def test_procedures_that_are_not_served(catalogue, grpc_wire, path, said):
    refused = _refused(catalogue, grpc_wire(path, b""))
    assert (refused.reason, said in refused.message) == (Reason.METHOD_UNKNOWN, True)
    target = grpc_wire(LIST, {"parent": L}).target
    assert _refused(catalogue, grpc_wire(f"{target}?x=1", b"")).reason is Reason.METHOD_UNKNOWN


@pytest.mark.parametrize(
    "name",
    [
        f"{L}/customJobs/1/../../customJobs/2",
        f"{L}/customJobs/..",
        f"{L}/customJobs/",
        f"/{L}/customJobs/1",
        f"{L}/customJobs/1/",
        f"{L}/customJobs/a%2Fb",
        f"{L}/customJobs/a\x00b",
        f"{L}/customJobs/a\nb",
        f"{L}/customJobs/\uff0e\uff0e",
        f"{L}/customJobs/-",
        f"{L}/customJobs/{'1' * 1100}",
        f"{L}/customjobs/1",
        "projects/Contoso-Fraud-Test/locations/us-central1/customJobs/1",
        "projects/0100000000001/locations/us-central1/customJobs/1",
        "projects/-/locations/us-central1/customJobs/1",
        "projects/elsewhere/locations/us-central1/customJobs/1",
        "projects/contoso.example:contoso-fraud-test/locations/us-central1/customJobs/1",
        "projects/contoso-fraud-test/locations/-/customJobs/1",
        "projects/contoso-fraud-test/locations/mars/customJobs/1",
        "customJobs/1",
    ],
)
def test_names_that_are_not_plain(catalogue, grpc_wire, name):
    refused = _refused(catalogue, grpc_wire("JobService/GetCustomJob", {"name": name}))
    assert refused.reason is Reason.RESOURCE_UNKNOWN
    assert refused.message.isprintable()
    assert len(refused.message) < 300


def test_a_message_that_was_not_sent_along_decides_nothing(catalogue, rest_wire):
    headers = [("content-type", "application/grpc")]
    wire = rest_wire("POST", f"/google.cloud.aiplatform.v1.{LIST}", headers=headers)
    assert "not sent along" in _refused(catalogue, wire).message


@pytest.mark.parametrize(
    ("kind", "payload", "said"),
    [
        (LIST, b"\x0a\x05abc", "runs over its end"),
        (LIST, b"\x0a", "has no end"),
        (LIST, b"\x18" + b"\x80" * 10, "has no end"),
        (LIST, b"\x18" + b"\xff" * 9 + b"\x02", "shortest form"),
        ("ModelService/UploadModel", _length(2, _length(10, b"\x80")), "has no end"),
        # Measurement.Metric.value is a double: a fixed width that ends early
        ("VizierService/AddTrialMeasurement", _length(3, _length(3, b"\x11\0\0\0")), "runs over its end"),
    ],
)
def test_the_walk_stands_alone(requests_by_path, kind, payload, said):
    """What protobuf's own parser refuses first is refused here as well."""
    request = requests_by_path[f"/google.cloud.aiplatform.v1.{kind}"]
    with pytest.raises(Refused, match=said):
        grpc_wire_room._Walk(payload).message(request.DESCRIPTOR, 0, len(payload))
