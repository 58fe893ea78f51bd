"""Random messages and random damage: what is classified is what a full parse of the same bytes says."""

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remit.model.errors import Refused

HERE = "projects/contoso-fraud-test/locations/us-central1"
VICTIM = "projects/contoso-churn-prod/locations/us-central1"
CREATE = "/google.cloud.aiplatform.v1.JobService/CreateCustomJob"
PREDICT = "/google.cloud.aiplatform.v1.PredictionService/Predict"
ACCOUNTS = [f"trainer@contoso-{name}.iam.gserviceaccount.com" for name in ("fraud-test", "churn-prod")]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
# What looks like an address or a name counts as one, which is told elsewhere.
WORD = TEXT.filter(lambda text: not set(text) & set("/\\:@"))
IMAGES = st.sampled_from(["", "image", "eu.gcr.io/p/i:tag", "us-docker.pkg.dev/vertex-ai/training/tf:latest"])
PROJECTS = {
    "contoso-fraud-test": "contoso-fraud-test",
    "100000000001": "contoso-fraud-test",
    "contoso-churn-prod": "contoso-churn-prod",
    "100000000003": "contoso-churn-prod",
}
JOBS = st.fixed_dictionaries(
    {
        "displayName": TEXT,
        "labels": st.dictionaries(TEXT, TEXT, max_size=6),
        "jobSpec": st.fixed_dictionaries(
            {
                "serviceAccount": st.sampled_from(ACCOUNTS),
                "workerPoolSpecs": st.lists(
                    st.fixed_dictionaries(
                        {
                            "replicaCount": st.integers(0, 2**62).map(str),
                            "containerSpec": st.fixed_dictionaries(
                                {
                                    "imageUri": IMAGES,
                                    "args": st.lists(WORD, max_size=4),
                                    "env": st.lists(st.fixed_dictionaries({"name": WORD, "value": WORD}), max_size=3),
                                }
                            ),
                        }
                    ),
                    max_size=3,
                ),
            }
        ),
    }
)
QUIET = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)


@given(job=JOBS, project=st.sampled_from(sorted(PROJECTS)))
@QUIET
def test_a_valid_job_is_what_a_full_parse_says(catalogue, grpc_wire, encode, requests_by_path, *, job, project):
    payload = encode(CREATE, {"parent": f"projects/{project}/locations/us-central1", "customJob": job})
    request = catalogue.classify(grpc_wire(CREATE, payload))
    parsed = requests_by_path[CREATE].FromString(payload)
    assert request.first.resources[0].project == PROJECTS[parsed.parent.split("/")[1]]
    assert request.first.acts_as == parsed.custom_job.job_spec.service_account
    assert request.operations[1].resources[0].name.endswith(request.first.acts_as)


@given(
    instances=st.lists(
        st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False) | TEXT, max_size=4), max_size=4
    )
)
@QUIET
def test_instances_never_matter(catalogue, grpc_wire, encode, instances):
    payload = encode(PREDICT, {"endpoint": f"{HERE}/endpoints/1", "instances": instances})
    resource = catalogue.classify(grpc_wire(PREDICT, payload)).first.resources[0]
    assert resource.name == f"//aiplatform.googleapis.com/{HERE}/endpoints/1"


@st.composite
def _damage(draw, payload):
    data = bytearray(payload)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["flip", "insert", "drop", "copy"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                piece = b"\x0a" + bytes([len(VICTIM)]) + VICTIM.encode()
                data[at:at] = draw(st.sampled_from([piece, piece[:3], b"\x0a", b"\x0d\x33", b"\x80", b"\x12\x02"]))
            case "drop":
                del data[at : at + draw(st.integers(1, 8))]
            case _:
                data[at:at] = data[: draw(st.integers(0, len(data)))]
    return bytes(data)


@pytest.mark.parametrize(("path", "child"), [(CREATE, ""), (PREDICT, "/endpoints/1")])
@given(data=st.data())
@QUIET
def test_damage_never_moves_a_request_elsewhere(catalogue, grpc_wire, encode, requests_by_path, *, path, child, data):
    value = {"parent": HERE, "customJob": {"displayName": VICTIM, "labels": {"a": VICTIM, "b": "c"}}}
    value["customJob"]["jobSpec"] = {"serviceAccount": ACCOUNTS[0]}
    if child:
        value = {"endpoint": HERE + child, "instances": [VICTIM, {"endpoint": VICTIM + child}]}
    damaged = data.draw(_damage(encode(path, value)))
    try:
        request = catalogue.classify(grpc_wire(path, damaged))
    except Refused:
        return
    parsed = requests_by_path[path].FromString(damaged)
    named = parsed.parent if path == CREATE else parsed.endpoint
    assert request.first.resources[0].project == PROJECTS[named.split("/")[1]]
    again = json_format.MessageToDict(parsed, descriptor_pool=parsed.DESCRIPTOR.file.pool)
    assert request.first.acts_as == again.get("customJob", {}).get("jobSpec", {}).get("serviceAccount", "")
