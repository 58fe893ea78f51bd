"""Cloud Logging in the lab: both transports, the filter language, audit entries, who may read what."""

import asyncio
import json

import grpc
import pytest

from remit.lab import contoso, filters
from remit.lab.api_surface import start_grpc
from remit.lab.api_table import table
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.errors import CloudError
from remit.lab.http import Request
from remit.lab.iam import CLOUD_PLATFORM, Iam
from remit.lab.logging_api import Logging

ENGINEER = contoso.account("ml-engineer", contoso.FRAUD_TEST)
TRAINER = contoso.account("trainer", contoso.FRAUD_TEST)
PROJECT = "projects/contoso-fraud-test"
JOB = {"type": "ml_job", "labels": {"job_id": "17"}}


class World:
    def __init__(self, iam=None):
        self.iam, self.audit = iam or Iam(), CloudAuditLog()
        self.logs = Logging(self.iam, self.audit)

    def token(self, email=ENGINEER):
        return "Bearer " + self.iam.mint(email=email, scopes=(CLOUD_PLATFORM,), lifetime=600)[0]

    def post(self, verb, body, email=ENGINEER, **headers):
        sent = {"authorization": self.token(email), **headers}
        request = Request("POST", "logging.googleapis.com", f"/v2/entries:{verb}", (), sent, json.dumps(body).encode())
        answer = asyncio.run(self.logs.handle(request))
        return answer.status, json.loads(answer.body)

    def find(self, text="", email=ENGINEER, **more):
        status, body = self.post("list", {"resourceNames": [PROJECT], "filter": text, **more}, email)
        assert status == 200, body
        return [entry["textPayload"] for entry in body.get("entries", ()) if "textPayload" in entry]


@pytest.fixture
def world():
    made = World()
    for number in range(3):
        made.logs.append(
            {
                "logName": f"{PROJECT}/logs/workerpool0-0",
                "resource": JOB,
                "severity": ["INFO", "ERROR", "INFO"][number],
                "textPayload": f"line {number}",
                "timestamp": f"2026-11-20T10:00:0{number}Z",
            }
        )
    made.logs.append({"logName": f"{PROJECT}/logs/other", "resource": {"type": "global"}, "textPayload": "elsewhere"})
    return made


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["line 0", "line 1", "line 2", "elsewhere"]),
        ('resource.type="ml_job" AND resource.labels.job_id="17"', ["line 0", "line 1", "line 2"]),
        ('resource.labels.job_id="18"', []),
        ('logName="projects/contoso-fraud-test/logs/other"', ["elsewhere"]),
        ('resource.type="ml_job" timestamp>="2026-11-20T10:00:01Z"\ntimestamp<"2026-11-20T10:00:02Z"', ["line 1"]),
        ("severity>=WARNING", ["line 1"]),
        ('textPayload:"LINE" severity!=ERROR', ["line 0", "line 2"]),
        ("resource.labels.job_id:*", ["line 0", "line 1", "line 2"]),
        ('jsonPayload.depth.none="x"', []),
        ("resource.labels.job_id>16.5", ["line 0", "line 1", "line 2"]),
        ("textPayload>5", []),
    ],
)
def test_filters(world, text, found):
    assert world.find(text) == found


@pytest.mark.parametrize(
    "text", ['a="1" OR b="2"', "NOT a=1", "(a=1)", 'a="unended', "a=", 'timestamp>"never"', "a = OR"]
)
def test_a_filter_that_is_not_understood_is_refused(text):
    with pytest.raises(CloudError) as refused:
        [one.holds({"timestamp": "2026-11-20T10:00:00Z"}) for one in filters.parse(text)]
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_label_with_a_dot_and_an_escaped_quote():
    (one,) = filters.parse(r'labels.ml.x="say \"so\""')
    assert one.holds({"labels": {"ml.x": 'say "so"'}})


def test_order_and_pages(world):
    ml = 'resource.type="ml_job"'
    assert world.find(ml, orderBy="timestamp desc") == ["line 2", "line 1", "line 0"]
    status, first = world.post("list", {"resourceNames": [PROJECT], "filter": ml, "pageSize": 2})
    assert (status, len(first["entries"])) == (200, 2)
    assert world.find(ml, pageSize=2, pageToken=first["nextPageToken"]) == ["line 2"]
    assert world.post("list", {"resourceNames": [PROJECT], "orderBy": "severity"})[0] == 400


def test_written_entries_take_the_requests_defaults(world):
    body = {
        "logName": f"{PROJECT}/logs/app",
        "resource": {"type": "global"},
        "labels": {"a": "1", "b": "2"},
        "entries": [
            {"textPayload": "hello", "labels": {"a": "own"}},
            {"textPayload": "there", "logName": "projects/100000000001/logs/two", "resource": JOB},
        ],
    }
    assert world.post("write", body, TRAINER) == (200, {})
    _, found = world.post("list", {"resourceNames": ["projects/100000000001"], "filter": 'logName:"logs/"'})
    one, two = [entry for entry in found["entries"] if entry.get("textPayload") in {"hello", "there"}]
    assert (one["logName"], one["labels"]) == (f"{PROJECT}/logs/app", {"a": "own", "b": "2"})
    assert (two["logName"], two["resource"]["type"]) == (f"{PROJECT}/logs/two", "ml_job")
    assert world.post("write", {**body, "dryRun": True}, TRAINER) == (200, {})
    assert world.find('textPayload="hello"') == ["hello"]


@pytest.mark.parametrize(
    ("verb", "body", "email"),
    [
        ("list", {"resourceNames": [PROJECT]}, contoso.account("auditor", contoso.FRAUD_TEST)),
        ("list", {"resourceNames": [PROJECT, "projects/contoso-churn-prod"]}, ENGINEER),
        (
            "write",
            {"logName": f"{PROJECT}/logs/x", "entries": [{"textPayload": "x"}]},
            contoso.account("auditor", contoso.FRAUD_TEST),
        ),
    ],
)
def test_without_the_permission_it_is_403_and_written_down(world, verb, body, email):
    status, answer = world.post(verb, body, email, **{"x-goog-request-reason": "decision/d-9"})
    assert (status, answer["error"]["status"]) == (403, "PERMISSION_DENIED")
    entry = world.audit.entries()[-1]["protoPayload"]
    assert entry["authorizationInfo"][0]["granted"] is False
    assert entry["requestMetadata"]["requestAttributes"]["reason"] == "decision/d-9"


@pytest.mark.parametrize("names", [[], ["organizations/1"], ["projects/nobodys"]])
def test_a_parent_that_is_not_there(world, names):
    assert world.post("list", {"resourceNames": names})[0] in {400, 404}


def test_nobody_is_401(world):
    request = Request("POST", "logging.googleapis.com", "/v2/entries:list", (), {}, b"{}")
    answer = asyncio.run(world.logs.handle(request))
    assert (answer.status, answer.headers["www-authenticate"][:6]) == (401, "Bearer")


class PrivateIam(Iam):
    """The trainer reads private logs too: no role of the lab's world holds that permission."""

    def held(self, caller, resource, listed=None):
        more = {"logging.logEntries.list", "logging.privateLogEntries.list"} if caller.email == TRAINER else set()
        return super().held(caller, resource, listed) | more


def test_audit_entries_read_like_any_other_but_data_access_is_private():
    world = World(PrivateIam())
    for activity in (True, False):
        world.audit.write(
            service="aiplatform.googleapis.com",
            method="google.cloud.aiplatform.v1.JobService.CreateCustomJob",
            resource="projects/100000000001/locations/us-central1",
            caller=world.iam.caller(world.token()),
            permission="aiplatform.customJobs.create",
            granted=True,
            reason="decision/d-2",
            activity=activity,
        )
    body = {
        "resourceNames": [PROJECT],
        "filter": 'protoPayload.requestMetadata.requestAttributes.reason="decision/d-2"',
    }
    (entry,) = world.post("list", body)[1]["entries"]
    assert entry["logName"].endswith("cloudaudit.googleapis.com%2Factivity")
    assert entry["protoPayload"]["authenticationInfo"]["principalEmail"] == ENGINEER
    assert len(world.post("list", body, TRAINER)[1]["entries"]) == 2


# Names of logs, and views

VIEWS = f"{PROJECT}/locations/global/buckets"


def world_of_views():
    """Entries of every sort, an engineer that may read the project, a trainer that may read one view."""
    reader = contoso.Binding(
        f"{VIEWS}/_Default/views/training", "roles/logging.viewAccessor", (f"serviceAccount:{TRAINER}",)
    )
    made = World(Iam((*contoso.BINDINGS, reader)))
    made.logs.append({"logName": f"{PROJECT}/logs/workerpool0-0", "resource": JOB, "textPayload": "trained"})
    made.logs.append({"logName": f"{PROJECT}/logs/other", "resource": {"type": "global"}, "textPayload": "elsewhere"})
    made.logs.append({"logName": "projects/contoso-churn-prod/logs/other", "resource": JOB, "textPayload": "foreign"})
    made.logs.make_view(
        "projects/100000000001/locations/global/buckets/_Default/views/training", 'resource.type="ml_job"'
    )
    for activity in (True, False):
        made.audit.write(
            service="aiplatform.googleapis.com",
            method="m",
            resource=PROJECT,
            caller=None,
            permission="p",
            granted=True,
            activity=activity,
        )
    return made


def seen(world, view, email=ENGINEER):
    """What a view shows, each entry by its text or the end of its log's name."""
    status, body = world.post("list", {"resourceNames": [view]}, email)
    assert status == 200, body
    return sorted(
        entry.get("textPayload") or entry["logName"].rpartition("%2F")[2] for entry in body.get("entries", ())
    )


@pytest.mark.parametrize(
    ("view", "email", "found"),
    [
        ("_Default/views/_Default", ENGINEER, ["elsewhere", "trained"]),
        ("_Required/views/_AllLogs", ENGINEER, ["activity"]),
        ("_Default/views/training", TRAINER, ["trained"]),
    ],
)
def test_a_view_shows_its_part(view, email, found):
    assert seen(world_of_views(), f"{VIEWS}/{view}", email) == found


@pytest.mark.parametrize(
    ("view", "email", "status"),
    [
        ("_Default/views/training", ENGINEER, 403),
        ("_Default/views/_AllLogs", ENGINEER, 403),
        ("_Default/views/_Default", TRAINER, 403),
        ("_Default/views/none", ENGINEER, 404),
        ("other/views/_Default", ENGINEER, 400),
    ],
)
def test_a_view_that_is_not_for_the_caller(view, email, status):
    world = world_of_views()
    assert world.post("list", {"resourceNames": [f"{VIEWS}/{view}"]}, email)[0] == status
    assert world.post("list", {"resourceNames": [PROJECT]}, TRAINER)[0] == 403


def test_no_view_shows_an_entry_twice():
    world = world_of_views()
    names = [PROJECT, f"{VIEWS}/_Default/views/_Default"]
    _, found = world.post("list", {"resourceNames": names, "filter": 'textPayload="trained"'})
    assert len(found["entries"]) == 1


def logs_of(world, parent, email=ENGINEER, query=()):
    request = Request(
        "GET", "logging.googleapis.com", f"/v2/{parent}/logs", query, {"authorization": world.token(email)}, b""
    )
    answer = asyncio.run(world.logs.handle(request))
    return answer.status, json.loads(answer.body)


def test_the_names_of_logs():
    world = world_of_views()
    audit = f"{PROJECT}/logs/cloudaudit.googleapis.com%2Factivity"
    names = [audit, f"{PROJECT}/logs/other", f"{PROJECT}/logs/workerpool0-0"]
    assert logs_of(world, PROJECT) == (200, {"logNames": names})
    first = logs_of(world, PROJECT, query=(("pageSize", "2"),))[1]
    assert first["logNames"] == names[:2]
    rest = logs_of(world, PROJECT, query=(("pageSize", "2"), ("pageToken", first["nextPageToken"])))
    assert rest[1]["logNames"] == names[2:]
    view = f"{VIEWS}/_Default/views/training"
    assert logs_of(world, view, TRAINER) == (200, {"logNames": names[2:]})
    assert logs_of(world, "projects/contoso-churn-prod")[0] == 403
    assert logs_of(world, "projects/contoso-fraud-test", TRAINER)[0] == 403


def test_views_and_names_over_grpc():
    world = world_of_views()

    async def story():
        server, port = await start_grpc([world.logs.surface.grpc])
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

            async def ask(name, email, **fields):
                method = table().methods[f"/google.logging.v2.LoggingServiceV2/{name}"]
                call = channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
                return await call(method.request(**fields), metadata=(("authorization", world.token(email)),))

            view = f"{VIEWS}/_Default/views/training"
            listed = await ask("ListLogEntries", TRAINER, resource_names=[view])
            names = await ask("ListLogs", TRAINER, parent=view)
            entry = {"log_name": f"{PROJECT}/logs/app", "text_payload": "written", "resource": {"type": "ml_job"}}
            await ask("WriteLogEntries", TRAINER, entries=[entry])
            again = await ask("ListLogEntries", TRAINER, resource_names=[view])
        await server.stop(0)
        return [[each.text_payload for each in found.entries] for found in (listed, again)], list(names.log_names)

    (first, second), names = asyncio.run(story())
    assert (first, second) == (["trained"], ["trained", "written"])
    assert names == [f"{PROJECT}/logs/workerpool0-0"]


def test_the_same_over_grpc(world):
    async def story():
        server, port = await start_grpc([world.logs.surface.grpc])
        method = table().methods["/google.logging.v2.LoggingServiceV2/ListLogEntries"]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask = channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            request = method.request(resource_names=[PROJECT], filter='resource.type="ml_job"')
            found = await ask(request, metadata=(("authorization", world.token()),))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask(request)
        await server.stop(0)
        return [entry.text_payload for entry in found.entries], refused.value.code()

    assert asyncio.run(story()) == (["line 0", "line 1", "line 2"], grpc.StatusCode.UNAUTHENTICATED)
