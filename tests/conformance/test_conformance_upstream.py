"""Google's own refusals are told apart from Remit's, on both doors and over both transports."""

import json

import grpc
import pytest

PARENT = "projects/contoso-fraud-test/locations/us-central1"
CHURN = "projects/contoso-churn-prod/locations/us-central1"
LIST = "/google.cloud.aiplatform.v1.JobService/ListNasJobs"
SERVICE = "aiplatform.googleapis.com"
KINDS = [
    # how the lab refuses, REST status, gRPC status, the cause
    ({"kind": "iam", "permission": "aiplatform.nasJobs.list"}, 403, grpc.StatusCode.PERMISSION_DENIED, "iam"),
    ({"kind": "api_disabled"}, 403, grpc.StatusCode.PERMISSION_DENIED, "api_disabled"),
    ({"kind": "perimeter"}, 403, grpc.StatusCode.PERMISSION_DENIED, "firewall"),
    ({"kind": "quota"}, 429, grpc.StatusCode.RESOURCE_EXHAUSTED, "quota"),
]

pytestmark = [pytest.mark.e2e]
kinds = pytest.mark.parametrize("kind", KINDS, ids=[kind[3] for kind in KINDS])
ways = pytest.mark.parametrize("way", ["tunnel", "endpoint"])


@pytest.fixture
def refuses(lab_told):
    """Tells the lab's Vertex AI to refuse lists of NAS jobs, which no program here asks for."""

    def refuse(how):
        lab_told(refuse={"service": SERVICE, "method": "ListNasJobs", **how})

    yield refuse
    lab_told(refuse={"service": SERVICE, "kind": None})


def told(plane, decision):
    """The record of an upstream's refusal: what it is, and why."""
    [row] = plane.records(decision=decision, outcome="refused")
    return row.kind, row.reasons


@pytest.mark.promise("V20")
@ways
@kinds
def test_over_rest(plane, asks, refuses, way, kind):
    how, status, _, cause = kind
    refuses(how)
    answer = asks(way, "dana", "GET", f"/v1/{PARENT}/nasJobs")
    assert (answer.status_code, answer.headers.get("x-remit-upstream")) == (status, cause), answer.text
    assert "x-remit-reason" not in answer.headers
    assert "remit" not in answer.json()["error"]["message"]
    assert told(plane, answer.headers["x-remit-decision"]) == ("answer", (cause,))


@pytest.mark.promise("V20")
@ways
@kinds
def test_over_grpc(plane, calls, refuses, way, kind):
    how, _, code, cause = kind
    refuses(how)
    error, sent = calls(way, "dana", LIST, b"\n" + bytes([len(PARENT)]) + PARENT.encode())
    assert (error.code(), sent.get("x-remit-upstream")) == (code, cause), (error, sent)
    assert "x-remit-reason" not in sent
    assert told(plane, sent["x-remit-decision"]) == ("answer", (cause,))


@pytest.mark.promise("V20")
def test_an_operator_finds_it(plane, asks, refuses):
    refuses(KINDS[0][0])
    decision = asks("tunnel", "dana", "GET", f"/v1/{PARENT}/nasJobs").headers["x-remit-decision"]
    question = ("--outcome", "refused", "--decision", decision, "--json", "--config", str(plane.config))
    ran = plane.person("dana").remit("audit", "query", *question)
    assert ran.code == 0, ran.err
    [row] = [json.loads(line) for line in ran.out.splitlines()]
    assert (row["kind"], row["reasons"], row["decision"]) == ("answer", ["iam"], decision)


@ways
def test_what_the_cloud_says_of_itself_cannot_be_forged_upstream_of_remit(asks, refuses, way):
    """A permitted answer has neither word."""
    answer = asks(way, "dana", "GET", f"/v1/{PARENT}/nasJobs")
    assert answer.status_code == 200, answer.text
    assert not {"x-remit-upstream", "x-remit-reason"} & set(answer.headers)


@ways
def test_remits_own_refusal_is_no_clouds(asks, calls, way):
    answer = asks(way, "dana", "GET", f"/v1/{CHURN}/nasJobs")
    assert (answer.status_code, answer.headers["x-remit-reason"]) == (403, "no_policy_permits"), answer.text
    assert "x-remit-upstream" not in answer.headers
    error, sent = calls(way, "dana", LIST, b"\n" + bytes([len(CHURN)]) + CHURN.encode())
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert sent["x-remit-reason"] == "no_policy_permits"
    assert "x-remit-upstream" not in sent
