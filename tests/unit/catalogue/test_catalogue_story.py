"""The methods of the main story, in both their forms."""

import json
from pathlib import Path

import pytest

from remit.catalogue import storage_request
from remit.model.errors import Refused
from remit.model.operation import EXTERNAL, Group
from remit.model.reasons import Reason

L = "projects/contoso-fraud-test/locations/us-central1"
HERE = "contoso-fraud-test"
PROJECT = "//cloudresourcemanager.googleapis.com/projects/contoso-fraud-test"
NAME = f"//aiplatform.googleapis.com/{L}"
CHURN = "//aiplatform.googleapis.com/projects/contoso-churn-prod/locations/us-central1"
SA = "trainer@contoso-fraud-test.iam.gserviceaccount.com"
SDK = Path(__file__).parent / "sdk_messages.json"


def _names(operation):
    return [(resource.type, resource.name) for resource in operation.resources]


def _refused(catalogue, wire):
    with pytest.raises(Refused) as caught:
        catalogue.classify(wire)
    return caught.value


@pytest.fixture(params=["grpc", "rest"])
def create_job(request, grpc_wire, rest_wire):
    """Creates a custom job over either transport."""

    def made(job, **more):
        if request.param == "grpc":
            return grpc_wire("JobService/CreateCustomJob", {"parent": L, "customJob": job}, **more)
        return rest_wire(
            "POST", f"/v1/{L}/customJobs", json.dumps(job), query={"$alt": "json;enum-encoding=int"}, **more
        )

    return made


def test_a_custom_job_touches_project_bucket_and_account(catalogue, create_job, job):
    request = catalogue.classify(create_job(job))
    create, act = request.operations
    assert create.action.id == "aiplatform.projects.locations.customJobs.create"
    assert create.action.group is Group.LAUNCH
    assert create.action.permission == "aiplatform.customJobs.create"
    assert _names(create) == [
        ("Project", PROJECT),
        ("Bucket", "//storage.googleapis.com/projects/_/buckets/contoso-fraud-test-staging"),
    ]
    assert create.acts_as == SA
    assert (act.action.id, act.action.group) == ("iam.serviceAccounts.actAs", Group.LAUNCH)
    assert _names(act) == [("ServiceAccount", f"//iam.googleapis.com/projects/-/serviceAccounts/{SA}")]
    assert not request.leasable


def test_a_foreign_account_is_named_with_its_own_project(catalogue, create_job, job):
    churn = "trainer@contoso-churn-prod.iam.gserviceaccount.com"
    request = catalogue.classify(create_job({**job, "jobSpec": {**job["jobSpec"], "serviceAccount": churn}}))
    assert request.first.acts_as == churn
    assert request.operations[1].resources[0].project == "contoso-churn-prod"


def test_a_job_without_an_account_runs_as_the_projects_agent(catalogue, create_job, job):
    spec = {key: value for key, value in job["jobSpec"].items() if key != "serviceAccount"}
    create, act = catalogue.classify(create_job({**job, "jobSpec": spec})).operations
    assert create.acts_as == "service-100000000001@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"
    assert act.resources[0].name.endswith(create.acts_as)
    assert act.resources[0].project == HERE


def test_an_unknown_account_is_refused(catalogue, create_job, job):
    spec = {**job["jobSpec"], "serviceAccount": "root@elsewhere.iam.gserviceaccount.com"}
    assert "root@elsewhere" in _refused(catalogue, create_job({**job, "jobSpec": spec})).message


@pytest.mark.parametrize(
    ("field", "value", "touched"),
    [
        ("network", "projects/100000000001/global/networks/n", ("Network", f"//compute.googleapis.com/projects/{HERE}/global/networks/n")),
        ("persistentResourceId", "p", ("PersistentResource", f"{NAME}/persistentResources/p")),
        ("tensorboard", f"{L}/tensorboards/1", ("Tensorboard", f"{NAME}/tensorboards/1")),
        ("models", [f"{L}/models/1@2"], ("Model", f"{NAME}/models/1")),
    ],
)  # fmt: skip
def test_what_a_job_names_is_touched(catalogue, create_job, job, *, field, value, touched):
    request = catalogue.classify(create_job({**job, "jobSpec": {**job["jobSpec"], field: value}}))
    assert touched in _names(request.first)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("network", "projects/1/global/networks/n"),
        ("network", "n"),
        ("tensorboard", "projects/elsewhere/locations/us-central1/tensorboards/1"),
        ("tensorboard", f"{L}/tensorboards/-"),
        ("pscInterfaceConfig", {"networkAttachment": "a"}),
        ("models", ["projects/elsewhere/locations/us-central1/models/1"]),
    ],
)
def test_what_lies_elsewhere_is_refused(catalogue, create_job, job, field, value):
    refused = _refused(catalogue, create_job({**job, "jobSpec": {**job["jobSpec"], field: value}}))
    assert refused.reason is Reason.RESOURCE_UNKNOWN


def test_fields_outside_the_job_spec_count_too(catalogue, create_job, job):
    key = f"projects/{HERE}/locations/us-central1/keyRings/r/cryptoKeys/k"
    request = catalogue.classify(create_job({**job, "encryptionSpec": {"kmsKeyName": key}}))
    assert ("KmsKey", f"//cloudkms.googleapis.com/{key}") in _names(request.first)
    assert _refused(catalogue, create_job({**job, "encryptionSpec": {"kmsKeyName": "k"}}))
    pool = {**job["jobSpec"]["workerPoolSpecs"][0], "nfsMounts": [{"server": "s", "path": "/p", "mountPoint": "m"}]}
    reaching = catalogue.classify(create_job({**job, "jobSpec": {**job["jobSpec"], "workerPoolSpecs": [pool]}}))
    assert EXTERNAL in {operation.action for operation in reaching.operations}


@pytest.mark.parametrize(
    "uri",
    [
        "gs://evil/x",
        "GS://contoso-fraud-test-data/x",
        "gs://contoso-fraud-test-data/../x",
        "gs://contoso-fraud-test-data/a/./b",
        "gs://contoso-fraud-test-data\\x",
        "gs://Contoso-Fraud-Test-Data/x",
        "gs://contoso-fraud-test-data@evil/x",
        "gs:///x",
        "gs://contoso-fraud-test-data/x\n",
    ],
)
def test_an_output_elsewhere_is_refused(catalogue, create_job, job, uri):
    spec = {**job["jobSpec"], "baseOutputDirectory": {"outputUriPrefix": uri}}
    assert _refused(catalogue, create_job({**job, "jobSpec": spec})).reason is Reason.RESOURCE_UNKNOWN


def test_an_output_in_another_project_is_that_projects(catalogue, create_job, job):
    spec = {**job["jobSpec"], "baseOutputDirectory": {"outputUriPrefix": "gs://contoso-churn-prod-data/x"}}
    request = catalogue.classify(create_job({**job, "jobSpec": spec}))
    assert [resource.project for resource in request.first.resources] == [HERE, "contoso-churn-prod"]


def test_an_output_at_a_web_address_is_outside(catalogue, create_job, job):
    spec = {**job["jobSpec"], "baseOutputDirectory": {"outputUriPrefix": "https://storage.googleapis.com/b"}}
    request = catalogue.classify(create_job({**job, "jobSpec": spec}))
    asked = next(operation for operation in request.operations if operation.action == EXTERNAL)
    assert asked.within == request.first.action.id


def test_packages_are_read_from_known_buckets(catalogue, create_job, job):
    python = {"pythonPackageSpec": {"packageUris": ["gs://contoso-fraud-test-data/t.gz"], "pythonModule": "t"}}
    request = catalogue.classify(create_job({**job, "jobSpec": {**job["jobSpec"], "workerPoolSpecs": [python]}}))
    assert {resource.name.rpartition("/")[2] for resource in request.first.resources[1:]} == {
        "contoso-fraud-test-staging",
        "contoso-fraud-test-data",
    }


def test_the_sdks_own_messages_are_understood(catalogue, grpc_wire):
    expected = {
        "CreateCustomJob": ("customJobs.create", Group.LAUNCH, 2),
        "UploadModel": ("models.upload", Group.CHANGE, 2),
        "CreateEndpoint": ("endpoints.create", Group.CHANGE, 1),
        "DeployModel": ("endpoints.deployModel", Group.CHANGE, 2),
        "UndeployModel": ("endpoints.undeployModel", Group.CHANGE, 1),
        "GetEndpoint": ("endpoints.get", Group.OBSERVE, 1),
        "GetModel": ("models.get", Group.OBSERVE, 1),
        "ListCustomJobs": ("customJobs.list", Group.OBSERVE, 1),
        "ListEndpoints": ("endpoints.list", Group.OBSERVE, 1),
        "ListModels": ("models.list", Group.OBSERVE, 1),
    }
    seen = set()
    for path, message in json.loads(SDK.read_text())["messages"].items():
        short = path.rpartition("/")[2]
        request = catalogue.classify(grpc_wire(path, bytes.fromhex(message)))
        action, group, touched = expected[short]
        assert request.first.action.id == f"aiplatform.projects.locations.{action}"
        assert request.first.action.group is group
        assert len(request.first.resources) == touched
        assert {resource.project for resource in request.first.resources} == {HERE}
        assert request.leasable == (group is Group.OBSERVE)
        seen.add(short)
    assert seen == set(expected)


def test_deploying_touches_endpoint_and_model_whatever_its_version(catalogue, grpc_wire, rest_wire):
    body = {"deployedModel": {"model": f"{L}/models/9@1", "serviceAccount": SA}, "trafficSplit": {"0": 100}}
    for wire in (
        grpc_wire("EndpointService/DeployModel", {"endpoint": f"{L}/endpoints/8", **body}),
        rest_wire("POST", f"/v1/{L}/endpoints/8:deployModel", json.dumps(body)),
    ):
        request = catalogue.classify(wire)
        assert _names(request.first) == [("Endpoint", f"{NAME}/endpoints/8"), ("Model", f"{NAME}/models/9")]
        assert [operation.acts_as for operation in request.operations] == [SA, ""]


@pytest.mark.parametrize(
    ("model", "touched"),
    [
        (f"{L}/models/1", ("Model", f"{NAME}/models/1")),
        ("projects/100000000003/locations/us-central1/models/1", ("Model", f"{CHURN}/models/1")),
        ("publishers/google/models/gemma", ("PublisherModel", f"{NAME}/publishers/google/models/gemma")),
    ],
)
def test_a_deployed_model_counts_wherever_it_lies(catalogue, grpc_wire, model, touched):
    wire = grpc_wire("EndpointService/DeployModel", {"endpoint": f"{L}/endpoints/8", "deployedModel": {"model": model}})
    assert _names(catalogue.classify(wire).first)[1:] == [touched]


@pytest.mark.parametrize(
    "model", ["projects/elsewhere/locations/us-central1/models/1", f"{L}/models/-", f"{L}/models/1/", f"{L}/Models/1"]
)
def test_a_model_from_nowhere_is_not_deployed(catalogue, grpc_wire, model):
    wire = grpc_wire("EndpointService/DeployModel", {"endpoint": f"{L}/endpoints/8", "deployedModel": {"model": model}})
    assert _refused(catalogue, wire).reason is Reason.RESOURCE_UNKNOWN


@pytest.mark.parametrize("verb", ["predict", "rawPredict"])
def test_predictions_are_use_of_the_endpoint(catalogue, grpc_wire, rest_wire, verb):
    rest = catalogue.classify(rest_wire("POST", f"/v1/{L}/endpoints/8:{verb}", '{"instances": [[0.5, {"a": null}]]}'))
    call = "Predict" if verb == "predict" else "RawPredict"
    grpc = catalogue.classify(grpc_wire(f"PredictionService/{call}", {"endpoint": f"{L}/endpoints/8"}))
    for request in (rest, grpc):
        assert request.first.action.group is Group.USE
        assert request.first.action.permission == "aiplatform.endpoints.predict"
        assert _names(request.first) == [("Endpoint", f"{NAME}/endpoints/8")]
    # over REST the path is in the lease's key, and the gateway leases no body that could name another endpoint
    assert rest.leasable
    assert grpc.leasable
    assert (rest.lease_key_fields, grpc.lease_key_fields) == ((), ("endpoint",))


def test_a_raw_prediction_needs_no_body_and_any_type(catalogue, rest_wire):
    wire = rest_wire("POST", f"/v1/{L}/endpoints/8:rawPredict", headers=[("content-type", "image/png")])
    assert catalogue.classify(wire).leasable


@pytest.mark.parametrize("prefix", ["v1", "ui"])
@pytest.mark.parametrize("parent", ["", "endpoints/8/", "models/9/", "customJobs/7/"])
def test_operations_are_followed_under_both_addresses(catalogue, grpc_wire, rest_wire, prefix, parent):
    name = f"{L}/{parent}operations/55"
    rest = catalogue.classify(rest_wire("GET", f"/{prefix}/{name}", query={"$alt": "json;enum-encoding=int"}))
    grpc = catalogue.classify(grpc_wire("/google.longrunning.Operations/GetOperation", {"name": name}))
    assert rest.operations == grpc.operations
    assert rest.first.action.id.endswith("operations.get")
    assert rest.first.action.group is Group.OBSERVE
    assert _names(rest.first) == [("Operation", f"//aiplatform.googleapis.com/{name}")]
    assert rest.leasable
    assert grpc.leasable


def test_waiting_is_observing_and_cancelling_is_changing(catalogue, grpc_wire, rest_wire):
    name = f"{L}/operations/55"
    wait = catalogue.classify(
        grpc_wire("/google.longrunning.Operations/WaitOperation", {"name": name, "timeout": "9s"})
    )
    assert (wait.first.action.group, wait.leasable) == (Group.OBSERVE, False)
    cancel = catalogue.classify(rest_wire("POST", f"/v1/{name}:cancel"))
    assert (cancel.first.action.group, cancel.leasable) == (Group.CHANGE, False)


@pytest.mark.parametrize(
    ("verb", "path", "action", "kind"),
    [
        ("GET", "customJobs", "customJobs.list", "Project"),
        ("GET", "customJobs/1", "customJobs.get", "CustomJob"),
        ("DELETE", "customJobs/1", "customJobs.delete", "CustomJob"),
        ("POST", "customJobs/1:cancel", "customJobs.cancel", "CustomJob"),
        ("GET", "models", "models.list", "Project"),
        ("GET", "models/1@2", "models.get", "Model"),
        ("DELETE", "models/1", "models.delete", "Model"),
        ("GET", "endpoints", "endpoints.list", "Project"),
        ("GET", "endpoints/1", "endpoints.get", "Endpoint"),
        ("DELETE", "endpoints/1", "endpoints.delete", "Endpoint"),
        ("GET", "pipelineJobs", "pipelineJobs.list", "Project"),
    ],
)
def test_plain_methods_over_rest(catalogue, rest_wire, *, verb, path, action, kind):
    request = catalogue.classify(rest_wire(verb, f"/v1/{L}/{path}", "" if verb == "POST" else None))
    assert request.first.action.id == f"aiplatform.projects.locations.{action}"
    assert request.first.resources[0].type == kind
    assert request.leasable == (verb == "GET")


def test_listing_takes_its_own_parameters(catalogue, rest_wire):
    query = {"pageSize": "10", "filter": 'state="x"', "readMask": "displayName,name", "alt": "json", "prettyPrint": "0"}
    assert catalogue.classify(rest_wire("GET", f"/v1/{L}/customJobs", query=query)).leasable
    assert catalogue.classify(
        rest_wire("POST", f"/v1/{L}/endpoints", '{"displayName":"e"}', query={"endpointId": "e1"})
    )
    assert catalogue.classify(rest_wire("GET", f"/v1/projects/{HERE}/locations")).first.resources[0].name == PROJECT


@pytest.mark.promise("V6")
def test_the_sdks_own_addresses_over_rest_are_understood(catalogue, rest_wire, grpc_wire):
    """What Google's REST clients write, and gRPC does not: an escaped sign, another prefix, a list in the query."""
    version = catalogue.classify(rest_wire("GET", f"/v1/{L}/models/1%402"))
    assert version == catalogue.classify(rest_wire("GET", f"/v1/{L}/models/1@2"))
    policy = catalogue.classify(rest_wire("POST", f"/ui/{L}/endpoints/1:setIamPolicy", '{"policy": {}}'))
    assert policy.first.action.id == "aiplatform.projects.locations.endpoints.setIamPolicy"
    board = f"{L}/tensorboards/1"
    series = [f"{board}/experiments/e/runs/r/timeSeries/{number}" for number in (3, 4)]
    asked = "&".join(f"timeSeries={name.replace('/', '%2F')}" for name in series)
    read = catalogue.classify(rest_wire("GET", f"/v1/{board}:batchRead?{asked}"))
    assert [one.name.rpartition("/")[2] for one in read.first.resources] == ["1", "3", "4"]
    over_grpc = catalogue.classify(
        grpc_wire(
            "TensorboardService/BatchReadTensorboardTimeSeriesData",
            {"tensorboard": board, "timeSeries": series},
        )
    )
    assert read.operations == over_grpc.operations


def test_number_and_id_are_one_project(catalogue, rest_wire):
    by_id = catalogue.classify(rest_wire("GET", f"/v1/{L}/customJobs/1"))
    by_number = catalogue.classify(rest_wire("GET", "/v1/projects/100000000001/locations/us-central1/customJobs/1"))
    assert by_id == by_number


def test_log_entries_are_read_by_project(catalogue, grpc_wire, rest_wire):
    host = "logging.googleapis.com"
    names = ["projects/contoso-fraud-test", "projects/100000000002", "projects/contoso-fraud-prod"]
    body = {"resourceNames": names, "filter": 'logName="x"', "orderBy": "timestamp desc", "pageSize": 5}
    path = "/google.logging.v2.LoggingServiceV2/ListLogEntries"
    grpc = catalogue.classify(grpc_wire(path, body, host=host))
    rest = catalogue.classify(rest_wire("POST", "/v2/entries:list", json.dumps(body), host=host))
    assert grpc == rest
    assert grpc.first.action.permission == "logging.logEntries.list"
    assert [resource.project for resource in grpc.first.resources] == ["contoso-fraud-test", "contoso-fraud-prod"]
    assert not grpc.leasable


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["organizations/1"],
        ["projects/contoso-fraud-test", "projects/elsewhere"],
        ["projects/elsewhere/locations/global/buckets/b/views/v"],
        ["projects/contoso-fraud-test/locations/global/buckets/b"],
        ["projects/contoso-fraud-test/locations/us-central1"],
    ],
)
def test_other_log_parents_are_refused(catalogue, grpc_wire, names):
    path = "/google.logging.v2.LoggingServiceV2/ListLogEntries"
    wire = grpc_wire(path, {"resourceNames": names}, host="logging.googleapis.com")
    assert _refused(catalogue, wire).reason is Reason.RESOURCE_UNKNOWN


def test_a_project_is_read_in_three_ways(catalogue, grpc_wire, rest_wire):
    host = "cloudresourcemanager.googleapis.com"
    path = "/google.cloud.resourcemanager.v3.Projects/GetProject"
    for wire in (
        grpc_wire(path, {"name": f"projects/{HERE}"}, host=host),
        rest_wire("GET", f"/v1/projects/{HERE}", host=host),
        rest_wire("GET", "/v3/projects/100000000001", host=host),
    ):
        request = catalogue.classify(wire)
        assert request.first.action.id == "cloudresourcemanager.projects.get"
        assert _names(request.first) == [("Project", PROJECT)]


def test_a_token_for_buckets_is_a_request_too(estate):
    read = storage_request(estate, ["contoso-fraud-test-data"], "read")
    assert [operation.action.id for operation in read.operations] == ["storage.objects.get", "storage.objects.list"]
    write = storage_request(estate, ["contoso-fraud-test-data", "contoso-fraud-prod-data"], "write")
    assert [operation.action.group for operation in write.operations] == [
        Group.USE,
        Group.OBSERVE,
        Group.CHANGE,
        Group.CHANGE,
    ]
    assert [resource.project for resource in write.first.resources] == ["contoso-fraud-test", "contoso-fraud-prod"]
    for buckets in ([], ["elsewhere"]):
        with pytest.raises(Refused) as caught:
            storage_request(estate, buckets, "read")
        assert caught.value.reason is Reason.RESOURCE_UNKNOWN
