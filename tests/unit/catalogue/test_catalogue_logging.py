"""Cloud Logging: every project and view that a message names, and none that is nobody's."""

import pytest
from google.protobuf import json_format

from remit.catalogue import log_names
from remit.catalogue.descriptors import procedures
from remit.catalogue.names import Names
from remit.model.errors import Refused
from remit.model.operation import Group
from remit.model.reasons import Reason

REQUESTS = {one.path.rpartition("/")[2]: one.request for one in procedures("logging_v2")}
TEST, PROD = "contoso-fraud-test", "contoso-fraud-prod"
VIEW = "locations/global/buckets/_Default/views/_AllLogs"
STRANGERS = [
    "",
    "projects/evil",
    "projects/",
    "projects",
    "projects/-",
    "projects/*",
    "Projects/contoso-fraud-test",
    "projects/contoso-fraud-test/",
    "/projects/contoso-fraud-test",
    "projects/contoso-fraud-test/logs/x",
    "folders/1",
    "organizations/1",
    "billingAccounts/A-B",
    "folders/1/locations/global/buckets/b/views/v",
    "projects/evil/" + VIEW,
    "projects/-/" + VIEW,
    f"projects/{TEST}/locations/-/buckets/b/views/v",
    f"projects/{TEST}/locations/global/buckets/b/views/*",
    f"projects/{TEST}/locations/global/buckets/../views/v",
    f"projects/{TEST}/locations/global/buckets/b",
    f"projects/{TEST}/locations/global/buckets/b/views/v/logs/x",
    f"projects/{TEST}/locations/global/buckets/a%2Fb/views/v",
    f"projects/{TEST}/locations/us-central1",
    f"projects/{TEST}/locations/global/buckets/b/views/{'v' * 1024}",
    f"projects/{TEST}\n",
]


@pytest.fixture
def names(estate):
    return Names(estate)


def _message(method, value):
    return json_format.ParseDict(value, REQUESTS[method](), descriptor_pool=REQUESTS[method]().DESCRIPTOR.file.pool)


def _refused(function, message, names):
    with pytest.raises(Refused) as caught:
        function(message, names)
    return caught.value.reason


def test_reads_are_limited_to_what_they_name(names):
    message = _message(
        "ListLogEntries",
        {
            "resourceNames": [
                f"projects/{TEST}",
                "projects/100000000002",
                f"projects/100000000001/{VIEW}",
                f"projects/{TEST}/{VIEW}",
                f"projects/{PROD}",
            ],
            "filter": 'logName="projects/evil/logs/x"',
        },
    )
    assert [(one.type, one.name, one.project) for one in log_names.resources_of(message, names)] == [
        ("Project", f"//cloudresourcemanager.googleapis.com/projects/{TEST}", TEST),
        ("Project", f"//cloudresourcemanager.googleapis.com/projects/{PROD}", PROD),
        ("LogView", f"//logging.googleapis.com/projects/{TEST}/{VIEW}", TEST),
    ]


@pytest.mark.parametrize("name", STRANGERS)
def test_one_strange_parent_is_enough(names, name):
    for named in ([name], [f"projects/{TEST}", name], [name, f"projects/{TEST}"]):
        message = _message("ListLogEntries", {"resourceNames": named})
        assert _refused(log_names.resources_of, message, names) is Reason.RESOURCE_UNKNOWN
        message = _message("ListLogs", {"parent": f"projects/{TEST}", "resourceNames": named})
        assert _refused(log_names.parent_of, message, names) is Reason.RESOURCE_UNKNOWN
    if name:
        message = _message("ListLogs", {"parent": name})
        assert _refused(log_names.parent_of, message, names) is Reason.RESOURCE_UNKNOWN


def test_no_parent_is_none(names):
    for method, function in (("ListLogEntries", log_names.resources_of), ("ListLogs", log_names.parent_of)):
        assert _refused(function, REQUESTS[method](), names) is Reason.RESOURCE_UNKNOWN


def test_listing_logs_reads_the_parent_and_the_rest(names):
    message = _message("ListLogs", {"parent": f"projects/{TEST}", "resourceNames": [f"projects/{PROD}/{VIEW}"]})
    assert [one.type for one in log_names.parent_of(message, names)] == ["Project", "LogView"]
    message = _message("ListLogs", {"parent": f"projects/{TEST}/{VIEW}"})
    assert [one.project for one in log_names.parent_of(message, names)] == [TEST]


@pytest.mark.parametrize(
    ("value", "projects"),
    [
        ({"logName": f"projects/{TEST}/logs/train", "entries": [{}, {}]}, [TEST]),
        ({"logName": "projects/100000000001/logs/a%2Fb"}, [TEST]),
        ({"entries": [{"logName": f"projects/{TEST}/logs/a"}, {"logName": f"projects/{PROD}/logs/b"}]}, [TEST, PROD]),
        (
            {"logName": f"projects/{PROD}/logs/x", "entries": [{"logName": f"projects/{TEST}/logs/a"}, {}]},
            [PROD, TEST],
        ),
    ],
)
def test_writes_go_where_each_entry_says(names, value, projects):
    found = log_names.written(_message("WriteLogEntries", value), names)
    assert [(one.type, one.project) for one in found] == [("Project", project) for project in projects]


@pytest.mark.parametrize(
    "log",
    [
        "projects/evil/logs/x",
        "organizations/1/logs/x",
        "folders/1/logs/x",
        "billingAccounts/1/logs/x",
        f"projects/{TEST}",
        f"projects/{TEST}/logs/",
        f"projects/{TEST}/logs/a/b",
        f"projects/{TEST}/logs/a%2fb",
        f"projects/{TEST}/logs/a%252Fb",
        f"projects/{TEST}/logs/..%2F",
        f"projects/{TEST}/logs/a b",
        f"projects/{TEST}/logs/{'a' * 512}",
        f"projects/{TEST}/logs/a\n",
        f"projects/-/logs/a{'/'}b",
        "projects/-/logs/a",
        f"projects/{TEST}/../evil/logs/a",
    ],
)
def test_a_strange_log_is_refused_wherever_it_stands(names, log):
    good = f"projects/{TEST}/logs/train"
    if log == f"projects/{TEST}/logs/..%2F":
        assert log_names.written(_message("WriteLogEntries", {"logName": log}), names), "an id as Google takes it"
        return
    for value in ({"logName": log}, {"logName": good, "entries": [{"logName": log}]}, {"entries": [{"logName": log}]}):
        assert _refused(log_names.written, _message("WriteLogEntries", value), names) is Reason.RESOURCE_UNKNOWN
    assert _refused(log_names.deleted, _message("DeleteLog", {"logName": log}), names) is Reason.RESOURCE_UNKNOWN


def test_an_entry_without_a_log_has_none(names):
    good = {"logName": f"projects/{TEST}/logs/train"}
    for value in ({}, {"entries": [{}]}, {"entries": [good, {}]}):
        assert _refused(log_names.written, _message("WriteLogEntries", value), names) is Reason.RESOURCE_UNKNOWN
    (found,) = log_names.deleted(_message("DeleteLog", good), names)
    assert found.project == TEST


def test_the_methods_have_googles_ids_and_paths():
    rows = {one.action.id: (one.action.group, one.action.permission, one.verb, one.path) for one in log_names.METHODS}
    assert rows == {
        "logging.entries.list": (Group.OBSERVE, "logging.logEntries.list", "POST", "v2/entries:list"),
        "logging.entries.write": (Group.CHANGE, "logging.logEntries.create", "POST", "v2/entries:write"),
        "logging.projects.logs.list": (Group.OBSERVE, "logging.logs.list", "GET", "v2/projects/*/logs"),
        "logging.projects.locations.buckets.views.logs.list": (
            Group.OBSERVE,
            "logging.logs.list",
            "GET",
            "v2/projects/*/locations/*/buckets/*/views/*/logs",
        ),
        "logging.projects.logs.delete": (Group.ADMINISTER, "logging.logs.delete", "DELETE", "v2/projects/*/logs/*"),
    }
    bound = {(binding.verb, binding.path) for one in procedures("logging_v2") for binding in one.bindings}
    assert {(one.verb, one.path) for one in log_names.METHODS} <= bound


def test_a_list_of_logs_is_never_repeated_unasked(catalogue, grpc_wire):
    """It names projects and views in two fields, and a lease's key would hold one of them."""
    call = "/google.logging.v2.LoggingServiceV2/ListLogs"
    wire = grpc_wire(call, {"parent": f"projects/{TEST}"}, host="logging.googleapis.com")
    assert not catalogue.classify(wire).leasable
