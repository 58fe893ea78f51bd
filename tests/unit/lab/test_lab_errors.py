"""Google's refusals as the lab says them: the exact JSON, the gRPC trailer, and the control door's ways to get them."""

import asyncio
import json

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import status_pb2

from remit.lab import contoso, entra_scopes
from remit.lab.api_surface import start_grpc
from remit.lab.api_table import table
from remit.lab.errors import CloudError
from remit.lab.faults import Control, Faults, Refusing
from remit.lab.http import Request
from remit.lab.iam import CLOUD_PLATFORM
from remit.lab.refusals import KINDS, Refused, refusal
from remit.lab.service import Clouds

ENGINEER = contoso.account("ml-engineer", contoso.FRAUD_TEST)
PARENT = "projects/contoso-fraud-test/locations/us-central1"
MODEL = f"{PARENT}/publishers/google/models/gemini-2.5-flash"
VERTEX, LOGGING, STORAGE = "aiplatform.googleapis.com", "logging.googleapis.com", "storage.googleapis.com"
INFO = "type.googleapis.com/google.rpc.ErrorInfo"


class World:
    def __init__(self, folder):
        self.clouds = Clouds(folder)
        self.handler = self.clouds.faults.around(self.clouds.hosts())
        self.control = Control("secret", self.clouds.faults, self.clouds.commands())

    def token(self, email=ENGINEER):
        return "Bearer " + self.clouds.iam.mint(email=email, scopes=(CLOUD_PLATFORM,), lifetime=600)[0]

    def ask(self, host, method, path, body=None, token=None):
        headers = {"authorization": self.token() if token is None else token}
        content = json.dumps(body).encode() if body is not None else b""
        return asyncio.run(self.handler(Request(method, host, path, (), headers, content)))

    def list(self, token=None):
        """The plainest call of Vertex AI there is."""
        return self.ask(f"us-central1-{VERTEX}", "GET", f"/v1/{PARENT}/endpoints", token=token)

    def tell(self, **commands):
        request = Request("POST", "127.0.0.1", "/secret", (), {}, json.dumps(commands).encode())
        return json.loads(asyncio.run(self.control(request)).body)


@pytest.fixture(scope="module")
def clouds(tmp_path_factory):
    return World(tmp_path_factory.mktemp("errors"))


@pytest.fixture
def world(clouds):
    clouds.tell(clear=True)
    return clouds


def test_iams_own_refusal_is_googles_word_for_word(world):
    answer = world.ask(
        f"us-central1-{VERTEX}",
        "POST",
        f"/v1/{PARENT}/endpoints/1:predict",
        {"instances": [1]},
        token=world.token(contoso.account("auditor", contoso.FRAUD_TEST)),
    )
    name = f"{PARENT}/endpoints/1"
    assert (answer.status, json.loads(answer.body)) == (
        403,
        {
            "error": {
                "code": 403,
                "message": f"Permission 'aiplatform.endpoints.predict' denied on resource '//{VERTEX}/{name}' "
                "(or it may not exist).",
                "status": "PERMISSION_DENIED",
                "details": [
                    {
                        "@type": INFO,
                        "reason": "IAM_PERMISSION_DENIED",
                        "domain": VERTEX,
                        "metadata": {"permission": "aiplatform.endpoints.predict", "resource": name},
                    }
                ],
            }
        },
    )


@pytest.mark.parametrize(
    ("how", "reason", "words", "challenge"),
    [
        ("none", "CREDENTIALS_MISSING", "Request is missing required authentication credential.", ""),
        ("garbage", "ACCESS_TOKEN_TYPE_UNSUPPORTED", "Request had invalid authentication", ', error="invalid_token"'),
        ("expired", "ACCESS_TOKEN_EXPIRED", "Request had invalid authentication", ', error="invalid_token"'),
    ],
)
def test_a_credential_that_is_not_taken(world, how, reason, words, challenge):
    token = {"none": "", "garbage": "Bearer x"}.get(how) if how != "expired" else world.token()
    if how == "expired":
        assert world.list(token).status == 200
        world.tell(expire="google")
    answer = world.list(token)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["status"], words in error["message"]) == (401, "UNAUTHENTICATED", True)
    method = "google.cloud.aiplatform.v1.EndpointService.ListEndpoints"
    assert error["details"] == [
        {"@type": INFO, "reason": reason, "domain": "googleapis.com", "metadata": {"service": VERTEX, "method": method}}
    ]
    assert answer.headers["www-authenticate"] == f'Bearer realm="https://accounts.google.com/"{challenge}'


REASONS = {
    "api_disabled": (403, "SERVICE_DISABLED"),
    "consumer_invalid": (403, "CONSUMER_INVALID"),
    "iam": (403, "IAM_PERMISSION_DENIED"),
    "location_policy": (403, "LOCATION_ORG_POLICY_VIOLATED"),
    "perimeter": (403, "SECURITY_POLICY_VIOLATED"),
    "quota": (429, "RATE_LIMIT_EXCEEDED"),
    "token_expired": (401, "ACCESS_TOKEN_EXPIRED"),
    "user_project_denied": (403, "USER_PROJECT_DENIED"),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_on_demand_over_rest(world, kind):
    world.tell(refuse={"service": VERTEX, "kind": kind})
    answer = world.list()
    error = json.loads(answer.body)["error"]
    info = next(each for each in error["details"] if each["@type"] == INFO)
    assert (answer.status, info["reason"]) == REASONS[kind]
    if kind == "iam":
        assert info["metadata"]["permission"] == "aiplatform.endpoints.list"
    elif kind != "token_expired":
        assert info["metadata"]["consumer"] == "projects/100000000001"
        assert info["metadata"]["service"] == VERTEX
    told = world.tell(refuse={"service": VERTEX})
    assert (told["refusing"], world.list().status) == ({}, 200)


def test_a_quota_says_which(world):
    world.tell(refuse={"service": VERTEX, "kind": "quota"})
    details = json.loads(world.list().body)["error"]["details"]
    (failure,) = [each for each in details if each["@type"].endswith("QuotaFailure")]
    assert failure["violations"][0]["subject"] == "project:contoso-fraud-test"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_on_demand_over_grpc(world, kind):
    """The message in its place, the details in Google's trailer, for single answers and for streams."""

    async def tell():
        world.clouds.faults.refusing[VERTEX] = Refusing(kind)
        server, port = await start_grpc([world.clouds.vertex.surface.grpc])
        found = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            for name, call in (
                ("GenerateContent", channel.unary_unary),
                ("StreamGenerateContent", channel.unary_stream),
            ):
                method = table().methods[f"/google.cloud.aiplatform.v1beta1.PredictionService/{name}"]
                ask = call(method.path, method.request.SerializeToString, method.response.FromString)
                asked = ask(method.request(model=MODEL), metadata=(("authorization", world.token()),))
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await (asked if name == "GenerateContent" else asked.read())
                found.append(error.value)
        await server.stop(0)
        return found

    for error in asyncio.run(tell()):
        wanted = refusal(kind, Refused(VERTEX, resource=MODEL, permission="aiplatform.endpoints.predict"))
        said, wanted_said = (text.partition("Identifier: ")[0] for text in (error.details(), wanted.message))
        assert (error.code(), said) == (wanted.code, wanted_said)
        status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        details = [json_format.MessageToDict(each) for each in status.details]
        assert REASONS[kind][1] in {each.get("reason") for each in details}


def test_googles_client_library_reads_the_details(world):
    from google.api_core import exceptions

    error = refusal("api_disabled", Refused(VERTEX, resource=MODEL))
    answer = type("Answer", (), {"status_code": error.http_status, "headers": {}})()
    found = exceptions.format_http_response_error(answer, "GET", "u", json.loads(error.json()))
    assert (found.reason, found.domain) == ("SERVICE_DISABLED", "googleapis.com")
    assert found.metadata["consumer"] == "projects/100000000001"


@pytest.mark.parametrize(
    ("kind", "status", "reason", "domain"),
    [
        ("quota", 403, "rateLimitExceeded", "usageLimits"),
        ("api_disabled", 403, "accessNotConfigured", "usageLimits"),
        ("token_expired", 401, "authError", "global"),
        ("iam", 403, "forbidden", "global"),
        ("user_project_denied", 403, "forbidden", "global"),
        ("location_policy", 412, "conditionNotMet", "global"),
        ("perimeter", 403, "vpcServiceControls", "global"),
        ("ip_filter", 403, "forbidden", "global"),
    ],
)
def test_storage_adds_its_older_list(world, kind, status, reason, domain):
    world.tell(refuse={"service": STORAGE, "kind": kind, "permission": "storage.objects.get"})
    answer = world.ask(STORAGE, "GET", f"/storage/v1/b/{contoso.FRAUD_TEST.buckets[0]}/o")
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (status, status)
    assert (error["errors"][0]["reason"], error["errors"][0]["domain"]) == (reason, domain)
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_a_perimeter_tells_its_identifier_and_nothing_else(world):
    world.tell(refuse={"service": VERTEX, "kind": "perimeter"})
    error = json.loads(world.list().body)["error"]
    failure, info = error["details"]
    uid = info["metadata"]["uid"]
    assert error["message"].endswith(f" vpcServiceControlsUniqueIdentifier: {uid}")
    assert failure["@type"] == "type.googleapis.com/google.rpc.PreconditionFailure"
    assert failure["violations"] == [{"type": "VPC_SERVICE_CONTROLS", "description": uid}]
    assert info["metadata"] == {"service": VERTEX, "uid": uid, "consumer": "projects/100000000001"}
    world.tell(refuse={"service": STORAGE, "kind": "perimeter"})
    answer = world.ask(STORAGE, "GET", f"/storage/v1/b/{contoso.FRAUD_TEST.buckets[0]}/o/x")
    assert set(json.loads(answer.body)["error"]) == {"code", "message", "errors"}


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        (
            "perimeter",
            403,
            "<Code>SecurityPolicyViolated</Code><Message>Request violates VPC Service Controls.</Message>",
        ),
        ("ip_filter", 403, "<Code>AccessDenied</Code><Message>There is an IP filtering condition that"),
        ("iam", 403, "<Code>AccessDenied</Code>"),
        ("token_expired", 401, "<Code>AuthenticationRequired</Code>"),
    ],
)
def test_storage_s_other_api_says_it_in_xml(world, kind, status, said):
    world.tell(refuse={"service": STORAGE, "kind": kind, "permission": "storage.objects.get"})
    answer = world.ask(STORAGE, "GET", f"/{contoso.FRAUD_TEST.buckets[0]}/x")
    assert (answer.status, answer.headers["content-type"]) == (status, "application/xml; charset=UTF-8")
    assert said in answer.body.decode()


def test_a_bucket_s_filter_is_no_api_s(world):
    with pytest.raises(CloudError, match="kinds of refusals: api_disabled"):
        world.tell(refuse={"service": VERTEX, "kind": "ip_filter"})


# tokens of another kind: nobody tells the lab, it looks

BEARER = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'


def _foreign(world, whose):
    """An ID token of Google's of the very account, Entra's token for Blob Storage, another party's, garbage."""
    if whose == "google":
        return world.clouds.accounts.token(ENGINEER, f"https://{STORAGE}", full=True)
    if whose == "entra":
        tokens = world.clouds.entra.tokens
        blob = entra_scopes.resource_of(tokens.registry, "https://storage.azure.com")
        return tokens.for_machine(contoso.MANAGED_IDENTITIES[0], blob).token
    return {"garbage": "x", "another": "ya29.of-another-party"}[whose]


@pytest.mark.parametrize("whose", ["google", "entra", "garbage", "another"])
def test_a_token_of_another_kind_is_not_taken(world, whose):
    token = f"Bearer {_foreign(world, whose)}"
    answer = world.list(token)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["status"]) == (401, "UNAUTHENTICATED")
    assert error["details"][0]["reason"] == "ACCESS_TOKEN_TYPE_UNSUPPORTED"
    assert answer.headers["www-authenticate"] == BEARER
    bucket = contoso.FRAUD_TEST.buckets[0]
    for path in ("/storage/v1/b", f"/storage/v1/b/{bucket}", f"/storage/v1/b/{bucket}/o/x", f"/{bucket}/x"):
        answer = world.ask(STORAGE, "GET", path, token=token)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, BEARER)
        if path.startswith("/storage/"):
            [said] = json.loads(answer.body)["error"]["errors"]
            assert (said["message"], said["reason"], said["location"]) == (
                "Invalid Credentials",
                "authError",
                "Authorization",
            )
        else:
            assert b"<Code>AuthenticationRequired</Code>" in answer.body


def test_only_so_often_only_this_method_only_after_so_many(world):
    world.tell(refuse={"service": VERTEX, "kind": "token_expired", "method": "ListEndpoints", "times": 2, "after": 1})
    generate = world.ask(f"us-central1-{VERTEX}", "GET", f"/v1/{PARENT}/models")
    assert generate.status == 200
    assert [world.list().status for _ in range(4)] == [200, 401, 401, 200]


def test_logging_refuses_likewise(world):
    world.tell(refuse={"service": LOGGING, "kind": "user_project_denied"})
    answer = world.ask(LOGGING, "POST", "/v2/entries:list", {"resourceNames": ["projects/contoso-fraud-test"]})
    assert json.loads(answer.body)["error"]["details"][1]["reason"] == "USER_PROJECT_DENIED"
    assert world.list().status == 200
    world.tell(clear=True)
    assert world.tell()["refusing"] == {}


def test_an_unknown_kind_is_no_command(world):
    with pytest.raises(CloudError, match="api_disabled"):
        world.tell(refuse={"service": VERTEX, "kind": "bad mood"})
    assert Faults().refusal(Refused(VERTEX)) is None


def test_a_scope_that_does_not_reach(world):
    token = (
        "Bearer "
        + world.clouds.iam.mint(email=ENGINEER, scopes=("https://www.googleapis.com/auth/logging.read",), lifetime=60)[
            0
        ]
    )
    error = json.loads(world.list(token).body)["error"]
    assert (error["code"], error["details"][0]["reason"]) == (403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
