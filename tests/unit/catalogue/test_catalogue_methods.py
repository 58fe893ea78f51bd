"""Every method of both versions, once understood and in each of the ways in which it is refused (TH5, TH6, TH7, TH10).

Requests are made from the table: what a method's path names is what its request must be found to touch.
"""

import json
import re

import pytest

from remit.catalogue.api import vertex_api
from remit.catalogue.methods import vertex
from remit.catalogue.names import Names
from remit.model.errors import Refused
from remit.model.operation import Group
from remit.model.reasons import Reason
from remit.model.wire import UpstreamAnswer

HERE = "contoso-fraud-test"
GLOBAL = "aiplatform.googleapis.com"
SCOPED = [(method, version) for method in vertex() if method.scoped for version in method.versions]
BARE = [(method, version) for method in vertex() if not method.scoped for version in method.versions]
# The last part of a path is how something is asked, and no resource of its own.
_WAYS = re.compile(r"/(chat/completions|(openapi|google)/.*|(deployedModels/[^/]*/)?invoke/[^/]*|content|cancel)$")
SINGLE = ("cacheConfig", "ragEngineConfig", "semanticGovernancePolicyEngine")


def _target(method, version, *, project=HERE, location="us-central1"):
    path = method.path_in(version).replace("projects/*", f"projects/{project}")
    return "/" + path.replace("locations/*", f"locations/{location}").replace("*", "x1")


@pytest.fixture
def made(rest_wire):
    """The plainest request of a method: an empty body where one is taken."""

    def wire(method, version, *, query="", host=None, **place):
        served = vertex_api().rest.find(_target(method, version)[1:], method.verb)
        taken = bool(getattr(served, "binding", None) and served.binding.body)
        body = "{}" if taken else None
        more = {"host": host} if host else {}
        return rest_wire(method.verb, _target(method, version, **place) + query, body, **more)

    return wire


def _reason(catalogue, wire):
    with pytest.raises(Refused) as caught:
        catalogue.classify(wire)
    return caught.value.reason


def _named(target):
    """By hand, what a target names: its path up to the last id."""
    path = target.split("/", 2)[2].partition(":")[0]
    own = re.match(r"(.*/endpoints/(?:openapi|google))/", path)
    if own:
        return own[1]
    path = _WAYS.sub("", path)
    while not path.endswith(("/x1", f"/{HERE}", "/us-central1", *SINGLE)):
        path = path.rpartition("/")[0]
    return path


def test_all_methods_are_served(catalogue, made):
    assert len(SCOPED) == 792 + 1087 + 8, "what the documents list, and what only the descriptors do"
    for method, version in SCOPED:
        request = catalogue.classify(made(method, version))
        first = request.first
        assert first.action == method.action
        named = _named(_target(method, version))
        resource = first.resources[0]
        assert resource.project == HERE
        if re.fullmatch(r"projects/[^/]+(/locations/[^/]+)?", named):
            assert (resource.type, resource.name) == (
                "Project",
                f"//cloudresourcemanager.googleapis.com/projects/{HERE}",
            )
        else:
            assert resource.name == f"//aiplatform.googleapis.com/{named}"
            assert (resource.type == "Operation") == ("/operations/" in named)
        assert not request.leasable or method.action.group in {Group.USE, Group.OBSERVE}


def test_every_method_is_refused_outside_of_the_estate(catalogue, made):
    for method, version in SCOPED:
        assert _reason(catalogue, made(method, version, project="elsewhere")) is Reason.RESOURCE_UNKNOWN
        assert _reason(catalogue, made(method, version, project="-")) is Reason.RESOURCE_UNKNOWN
        if "locations/*" in method.path:
            for place in ("mars", "-"):
                assert _reason(catalogue, made(method, version, location=place)) is Reason.RESOURCE_UNKNOWN


def test_every_method_is_refused_at_another_locations_host(catalogue, made):
    for method, version in SCOPED:
        if "locations/*" in method.path:
            assert _reason(catalogue, made(method, version, location="europe-west4")) is Reason.HOST_UNKNOWN
            assert _reason(catalogue, made(method, version, host=GLOBAL)) is Reason.HOST_UNKNOWN


@pytest.mark.parametrize(
    "query", ["?alt=json&$alt=json", "?alt=json&%24alt=json", "?key=x", "?access_token=x", "?$httpMethod=GET", "?a.b=c"]
)
def test_every_method_refuses_a_query_of_two_readings(catalogue, made, query):
    for method, version in SCOPED:
        assert _reason(catalogue, made(method, version, query=query)) in {
            Reason.REQUEST_AMBIGUOUS,
            Reason.REQUEST_MALFORMED,
        }


def test_every_method_takes_the_systems_parameters_and_sse_only_where_it_streams(catalogue, made):
    for method, version in SCOPED:
        for query in ("?alt=json", "?%24alt=json%3Benum-encoding%3Dint", "?$alt=json;enum-encoding=int&prettyPrint=0"):
            assert catalogue.classify(made(method, version, query=query)).first.action == method.action
        for query in ("?alt=sse", "?%24alt=sse"):
            if method.streams:
                assert catalogue.classify(made(method, version, query=query))
            else:
                assert _reason(catalogue, made(method, version, query=query)) is Reason.REQUEST_MALFORMED
    streaming = {method.action.id.rpartition(".")[2] for method, _ in SCOPED if method.streams}
    assert {"streamGenerateContent", "streamRawPredict", "serverStreamingPredict", "streamQuery"} < streaming
    assert not streaming & {"generateContent", "predict", "create", "get", "list"}


def test_no_method_without_a_project_is_served(catalogue, made):
    assert len(BARE) == 352 + 513
    for method, version in BARE:
        with pytest.raises(Refused) as caught:
            catalogue.classify(made(method, version))
        assert caught.value.reason is Reason.METHOD_UNKNOWN
        assert f"`{method.action.id}` is known, but this form of it belongs to no project" in caught.value.message


def test_no_method_takes_another_verb_or_tail(catalogue, rest_wire):
    known = {(method.verb, method.path_in(version)) for method, version in SCOPED}
    for method, version in SCOPED:
        form = method.path_in(version)
        for verb in ("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "post"):
            # `GET …/v1/responses/compact` reads the response whose id is `compact`
            if (verb, form) not in known and not form.endswith("/v1/responses/compact"):
                assert _reason(catalogue, rest_wire(verb, _target(method, version))) is Reason.METHOD_UNKNOWN
        for tail in (":fly", "/", "/x/y/z"):
            assert _reason(catalogue, rest_wire(method.verb, _target(method, version) + tail)) in {
                Reason.METHOD_UNKNOWN,
                Reason.REQUEST_AMBIGUOUS,
            }


def test_every_inference_verb_is_decided_by_its_own_id(catalogue, rest_wire):
    """TH7: a permit for `predict` is no permit for its twelve neighbours."""
    endpoint = f"/v1/projects/{HERE}/locations/us-central1/endpoints/1"
    seen = set()
    for tail in (
        *(":predict", ":rawPredict", ":streamRawPredict", ":serverStreamingPredict", ":directPredict"),
        *(":directRawPredict", ":predictLongRunning", ":explain", ":generateContent", ":streamGenerateContent"),
        *(":countTokens", ":computeTokens", ":fetchPredictOperation", "/chat/completions", "/invoke/v2"),
        "/deployedModels/7/invoke/v2",
    ):
        request = catalogue.classify(rest_wire("POST", endpoint + tail, "{}"))
        assert request.first.resources[0].name.endswith("/endpoints/1")
        assert request.first.resources[0].type == "Endpoint"
        seen.add(request.first.action.id)
    assert len(seen) == 16


@pytest.mark.parametrize(
    ("path", "action", "name"),
    [
        ("endpoints/openapi/chat/completions", "endpoints.chat.completions", "endpoints/openapi"),
        ("endpoints/openapi/completions", "endpoints.openapi.completions", "endpoints/openapi"),
        ("endpoints/openapi/embeddings", "endpoints.openapi.embeddings", "endpoints/openapi"),
        ("endpoints/openapi:predict", "endpoints.predict", "endpoints/openapi"),
        ("endpoints/google/science/inference", "endpoints.google.science.inference", "endpoints/google"),
        ("endpoints/x/chat/completions", "endpoints.chat.completions", "endpoints/x"),
        ("endpoints/models:predict", "endpoints.predict", "endpoints/models"),
        ("endpoints/operations:predict", "endpoints.predict", "endpoints/operations"),
        ("publishers/google/models/gemini@001:predict", "publishers.models.predict", "publishers/google/models/gemini"),
        ("publishers/google/v1/responses", "publishers.v1.responses", "publishers/google"),
        ("models/7@2:deleteVersion", "models.deleteVersion", "models/7"),
    ],
)
def test_literals_come_before_ids(catalogue, rest_wire, *, path, action, name):
    verb = "DELETE" if path.endswith("deleteVersion") else "POST"
    root = f"projects/{HERE}/locations/us-central1"
    first = catalogue.classify(rest_wire(verb, f"/v1/{root}/{path}", "{}" if verb == "POST" else None)).first
    assert first.action.id == f"aiplatform.projects.locations.{action}"
    assert first.resources[0].name == f"//aiplatform.googleapis.com/{root}/{name}"


L = f"projects/{HERE}/locations/us-central1"


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("PATCH", "metadataStores/default/contexts/c", '{"name": "NAME"}'),
        ("PATCH", "memoryBanks/1/memories/2", '{"name": "NAME"}'),
        ("POST", "memoryBanks/1/memories/2:rollback", '{"name": "NAME"}'),
        ("POST", "endpoints/1:predictLongRunning", '{"endpoint": "NAME"}'),
        ("POST", "endpoints/1/chat/completions", '{"endpoint": "NAME"}'),
        ("POST", "endpoints/1:predict", '{"endpoint": "NAME"}'),
        ("POST", "metadataStores/default/contexts/c:addContextChildren", '{"context": "NAME"}'),
    ],
)
def test_a_body_may_repeat_the_paths_name_and_not_contradict_it(catalogue, rest_wire, verb, path, body):
    """TH2, for messages with a descriptor and without, nested names and plain ones."""
    name = f"{L}/{path.partition(':')[0].removesuffix('/chat/completions')}"
    for version in ("v1", "v1beta1"):
        target = f"/{version}/{L}/{path}"
        assert catalogue.classify(rest_wire(verb, target, body.replace("NAME", name)))
        for other in (name + "x", name.replace(HERE, "contoso-churn-prod"), name.replace(HERE, "100000000001"), ""):
            assert _reason(catalogue, rest_wire(verb, target, body.replace("NAME", other))) is Reason.REQUEST_AMBIGUOUS
    nested = f'{{"name": "{name}", "name": "{name}"}}'
    assert _reason(catalogue, rest_wire(verb, f"/v1/{L}/{path}", nested)) is Reason.REQUEST_AMBIGUOUS


def test_a_query_may_not_name_what_the_path_names(catalogue, rest_wire):
    for verb, path in (
        ("PATCH", "metadataStores/default/contexts/c?context.name=x"),
        ("PATCH", "metadataStores/default/contexts/c?context=x"),
        ("PATCH", "metadataStores/default/contexts/c?name=x"),
        ("PATCH", "memoryBanks/1/memories/2?name=x"),
        ("GET", "memoryBanks/1/memories/2?name=x"),
        ("GET", "memoryBanks/1/memories?parent=x"),
        ("POST", "memoryBanks/1/memories?parent=x"),
        ("POST", "endpoints/1/chat/completions?endpoint=x"),
        ("POST", "endpoints/1/chat/completions?model=x"),
    ):
        assert _reason(catalogue, rest_wire(verb, f"/v1/{L}/{path}", "{}" if verb != "GET" else None)) is (
            Reason.REQUEST_MALFORMED
        )


def test_methods_without_a_published_message_take_plain_parameters_only(catalogue, rest_wire):
    target = f"/v1/{L}/memoryBanks/1/memories"
    for query in ("pageSize=3&pageToken=a&filter=b", "order_by=x", "orderBy=x&readMask=a,b"):
        assert catalogue.classify(rest_wire("GET", f"{target}?{query}"))
    assert catalogue.classify(rest_wire("POST", f"{target}?memoryId=m1", "{}"))
    for query in ("pageSize=1&page_size=1", "memoryId=m1", "anything=1", "PageSize=1&pageSize=1"):
        assert _reason(catalogue, rest_wire("GET", f"{target}?{query}")) is Reason.REQUEST_MALFORMED
    for query in ("memoryId=a/b", "memoryId=..", "memoryId=a&memory_id=b", "sessionId=a", "memoryId="):
        assert _reason(catalogue, rest_wire("POST", f"{target}?{query}", "{}")) is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize(
    "body", ['{"a":1,"a":2}', '{"fooBar":1,"foo_bar":1}', "[]", "{", '{"a":NaN}', '{"a":"\\ud800"}', "\ufeff{}"]
)
def test_a_body_without_a_published_message_is_strict_json(catalogue, rest_wire, body):
    for path in ("memoryBanks/1/memories", "endpoints/1/chat/completions"):
        wire = rest_wire("POST", f"/v1/{L}/{path}", body)
        assert _reason(catalogue, wire) in {Reason.REQUEST_AMBIGUOUS, Reason.REQUEST_MALFORMED}


@pytest.mark.parametrize("value", ["websocket", "h2c", ""])
def test_no_connection_becomes_another(catalogue, rest_wire, value):
    headers = [("upgrade", value), ("connection", "upgrade")]
    for target in (f"/v1/{L}/customJobs", "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"):
        assert _reason(catalogue, rest_wire("GET", target, headers=headers)) is Reason.METHOD_UNKNOWN


def test_a_stamp_changes_labels_and_nothing_else(catalogue, rest_wire, grpc_wire, job, requests_by_path):
    labels = {"remit-decision": "d-1"}
    path = "/google.cloud.aiplatform.v1.JobService/CreateCustomJob"
    rest = rest_wire("POST", f"/v1/{L}/customJobs?$alt=json;enum-encoding=int", json.dumps(job))
    grpc = grpc_wire(path, {"parent": L, "customJob": job})
    assert catalogue.classify(rest).stampable
    assert catalogue.classify(grpc).stampable
    stamped = json.loads(catalogue.stamp(rest, labels))
    assert stamped == {**job, "labels": {**job["labels"], **labels}}
    framed = catalogue.stamp(grpc, labels)
    assert framed[0] == 0
    assert int.from_bytes(framed[1:5], "big") == len(framed) - 5
    message = requests_by_path[path].FromString(framed[5:])
    assert dict(message.custom_job.labels) == {**job["labels"], **labels}
    del message.custom_job.labels["remit-decision"]
    assert message == requests_by_path[path].FromString(grpc.body[5:])
    # what was decided is what is sent: read again, both ask for the same
    again = rest_wire("POST", f"/v1/{L}/customJobs", json.dumps(stamped))
    assert catalogue.classify(again).operations[0].resources == catalogue.classify(rest).operations[0].resources
    assert not catalogue.classify(rest_wire("GET", f"/v1/{L}/customJobs")).stampable
    with pytest.raises(Refused, match="no room for labels"):
        catalogue.stamp(rest_wire("GET", f"/v1/{L}/customJobs"), labels)


@pytest.mark.parametrize(
    ("answer", "started"),
    [
        (b'{"name": "projects/100000000001/locations/us-central1/customJobs/7"}', f"{L}/customJobs/7"),
        (
            b'{"name": "projects/100000000001/locations/us-central1/models/3/operations/9"}',
            f"{L}/models/3/operations/9",
        ),
        (b'{"name": "projects/1/locations/us-central1/customJobs/7"}', ""),
        (b'{"name": "projects/100000000001/locations/us-central1/nothing/7"}', ""),
        (b'{"name": 7}', ""),
        (b'{"name": "a", "name": "b"}', ""),
        (b"[]", ""),
        (b"", ""),
    ],
)
def test_what_came_into_being_is_read_from_the_answer(catalogue, answer, started):
    host = "us-central1-aiplatform.googleapis.com"
    expected = f"//aiplatform.googleapis.com/{started}" if started else ""
    told = catalogue.answered(host, UpstreamAnswer(200, "application/json; charset=UTF-8", body=answer))
    assert (told.started, told.cause) == (expected, None)
    for status, grpc in ((404, -1), (200, 5)):
        failed = UpstreamAnswer(status, "application/json", grpc_status=grpc, body=answer)
        assert catalogue.answered(host, failed).started == ""


def test_full_names_of_any_service_come_down_to_the_estate(estate):
    names = Names(estate)
    full = "//{}.googleapis.com/projects/contoso-fraud-test/{}"
    for written, kind, name in (
        ("projects/100000000001/global/networks/n", "Network", full.format("compute", "global/networks/n")),
        ("projects/contoso-fraud-test/regions/r/subnetworks/s", "Network", full.format("compute", "regions/r/subnetworks/s")),
        ("//compute.googleapis.com/projects/contoso-fraud-test/zones/z/instances/i", "CloudResource", full.format("compute", "zones/z/instances/i")),
        ("projects/contoso-fraud-test/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/3", "KmsKey", full.format("cloudkms", "locations/l/keyRings/r/cryptoKeys/k")),
        ("projects/100000000001/secrets/s/versions/latest", "Secret", full.format("secretmanager", "secrets/s")),
        ("//bigquery.googleapis.com/projects/contoso-fraud-test/datasets/d/tables/t", "Table", full.format("bigquery", "datasets/d/tables/t")),
        ("projects/contoso-fraud-test/locations/eu/buckets/b/views/v", "LogView", full.format("logging", "locations/eu/buckets/b/views/v")),
        ("projects/contoso-fraud-test/locations/us-central1/datasets/7", "Dataset", full.format("aiplatform", "locations/us-central1/datasets/7")),
        ("//aiplatform.googleapis.com/projects/100000000001/locations/us-central1/tensorboards/1/experiments/e", "Tensorboard", full.format("aiplatform", "locations/us-central1/tensorboards/1/experiments/e")),
        ("//storage.googleapis.com/projects/_/buckets/contoso-fraud-test-data", "Bucket", "//storage.googleapis.com/projects/_/buckets/contoso-fraud-test-data"),
        ("projects/-/serviceAccounts/trainer@contoso-fraud-test.iam.gserviceaccount.com", "ServiceAccount", "//iam.googleapis.com/projects/-/serviceAccounts/trainer@contoso-fraud-test.iam.gserviceaccount.com"),
        ("projects/100000000001", "Project", "//cloudresourcemanager.googleapis.com/projects/contoso-fraud-test"),
    ):  # fmt: skip
        resource = names.resource(written)
        assert (resource.type, resource.name, resource.project) == (kind, name, HERE)


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            "/",
            "//",
            "projects",
            "projects/",
            "projects/-",
            "projects/elsewhere",
            "organizations/1",
            "folders/1/x/2",
        ),
        *("projects/elsewhere/global/networks/n", "projects/contoso-fraud-test/global/networks/-"),
        *("projects/contoso-fraud-test/global/networks/..", "projects/contoso-fraud-test/nothing/x"),
        *("//compute.googleapis.com/projects/elsewhere/zones/z", "//compute.googleapis.com/zones/z"),
        *(
            "//evil.example/projects/contoso-fraud-test/x/y",
            "//compute.googleapis.com.evil/projects/contoso-fraud-test",
        ),
        *("//Compute.googleapis.com/projects/contoso-fraud-test/x/y", "//storage.googleapis.com/evil"),
        "projects/contoso-churn-prod/serviceAccounts/trainer@contoso-fraud-test.iam.gserviceaccount.com",
        "projects/-/serviceAccounts/root@elsewhere.iam.gserviceaccount.com",
        "projects/contoso-fraud-test/locations/us-central1/models/1:x",
        "projects/contoso-fraud-test/global/networks/n\n",
        f"projects/contoso-fraud-test/global/networks/{'n' * 1100}",
    ],
)
def test_other_names_are_refused(estate, written):
    with pytest.raises(Refused) as caught:
        Names(estate).resource(written)
    assert caught.value.reason is Reason.RESOURCE_UNKNOWN
