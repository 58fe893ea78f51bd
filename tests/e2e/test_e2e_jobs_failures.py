"""Failures tell the truth: each is injected into its cloud, and read back from the exception in the job's own process."""

import sys
from typing import Any

import pytest
from tests.e2e.jobs_world import DANA, HERE, Ended, Jobs, shared, since

pytestmark = pytest.mark.e2e

DNS, PROXY, IAM_ADMIN = "whoever runs this network's DNS", "whoever runs the proxy", "whoever may set the IAM policy"
ACCOUNT_OWNER, PERIMETER = "an Owner", "the administrators of VPC Service Controls"
SERVER = "the administrators of the database server"
# name in `jobs_failing.py` → cause, a word of what the job is told, and of who can change it: nobody gives a token back
# its life, or another audience
EXPECTED = {
    "Blob iam": ("iam", "Storage Blob Data Reader", ACCOUNT_OWNER),
    "Blob iam by adlfs": ("iam", "Storage Blob Data Reader", ACCOUNT_OWNER),
    "Blob expired": ("expired", "remit.Credential", ""),
    "Blob audience": ("audience", "https://storage.azure.com/.default", ""),
    "Blob firewall": ("firewall", "a role does not help", ACCOUNT_OWNER),
    "Blob throttled": ("throttled", "fewer readers", "the owner of the storage account"),
    "Blob dns": ("dns", "check the name", DNS),
    "Blob tls": ("tls", "remit run", PROXY),
    "Storage iam": ("iam", "give it a role", IAM_ADMIN),
    "Storage expired": ("expired", "remit.google.Credentials", ""),
    "Storage audience": ("audience", "remit.google.Credentials", ""),
    "Storage firewall": ("firewall", "a role does not help", PERIMETER),
    "Storage firewall of a bucket": ("firewall", "the bucket's IP filter", "storage.buckets.setIpFilter"),
    "Storage throttled": ("throttled", "ask less often", ""),
    "Storage token": ("token", "a client that renews", ""),
    "Storage dns": ("dns", "check the name", DNS),
    "Storage tls": ("tls", "remit run", PROXY),
    "Vertex refused": ("refused", "choose a smaller machine", "platform team"),
    "Vertex iam": ("iam", "give it a role", IAM_ADMIN),
    "Vertex iam over gRPC": ("iam", "give it a role", IAM_ADMIN),
    "Vertex expired": ("expired", "remit.google.Credentials", ""),
    "Vertex expired over gRPC": ("expired", "remit.google.Credentials", ""),
    "Vertex audience": ("audience", "remit.google.Credentials", ""),
    "Vertex firewall": ("firewall", "a role does not help", PERIMETER),
    "Vertex firewall over gRPC": ("firewall", "a role does not help", PERIMETER),
    "Vertex throttled": ("throttled", "ask less often", ""),
    "Vertex throttled over gRPC": ("throttled", "ask less often", ""),
    "Vertex dns": ("dns", "check the name", DNS),
    "Vertex tls": ("tls", "remit run", PROXY),
    "SQL iam": ("iam", "log in as one that has it", "the owner of that table"),
    "SQL refused": ("refused", "ask the owner of the fraud database", "owner of the fraud database"),
    "SQL expired": ("expired", "remit login", ""),
    "SQL audience": ("audience", "remit login", ""),
    "SQL firewall": ("firewall", "Networking", SERVER),
    "SQL throttled": ("throttled", "", SERVER),
    "SQL dns": ("dns", "check the name", DNS),
    "SQL tls": ("tls", "remit run", PROXY),
}
BY_REMIT = ("Vertex refused", "SQL refused", "SQL expired", "SQL audience")
PERMITTED = tuple(
    f"Vertex {kind}{how}" for kind in ("iam", "expired", "firewall", "throttled") for how in ("", " over gRPC")
)


@pytest.fixture(scope="module")
def jobs(pytestconfig: pytest.Config, postgres: str) -> Jobs:
    return shared(pytestconfig, postgres)


@pytest.fixture(scope="module")
def began() -> int:
    return since()


@pytest.fixture(scope="module")
def run(jobs: Jobs, began: int) -> Ended:
    del began
    words = [jobs.lab.control, f"http://127.0.0.1:{jobs.lab.imds}", jobs.dsn, str(jobs.database)]
    words += [f"http://127.0.0.1:{jobs.lab.proxy}", jobs.lab.bundle]
    return jobs.run(jobs.signed_in("dana"), [sys.executable, str(HERE / "jobs_failing.py"), *words])


@pytest.fixture(scope="module")
def failures(run: Ended) -> dict[str, dict[str, Any]]:
    assert run.code == 0, run.err
    return {line["name"]: line for line in run.lines}


def test_everything_failed(failures: dict[str, dict[str, Any]]) -> None:
    assert set(failures) == set(EXPECTED)


@pytest.mark.promise("T8")
@pytest.mark.parametrize("name", EXPECTED)
def test_a_failure_says_what_it_is(failures: dict[str, dict[str, Any]], name: str) -> None:
    found, (cause, word, who) = failures[name], EXPECTED[name]
    assert found["cause"] == cause, found
    assert word in found["hint"], found
    assert who in found["who"], found
    assert bool(found["who"]) == bool(who), found
    assert found["service"] == ("Remit" if name in BY_REMIT else name.split(maxsplit=1)[0]), found


@pytest.mark.promise("T8")
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("Vertex refused", ("work-on-usual-machines", "platform team")),
        ("SQL refused", ("nobody-writes-the-fraud-database", "owner of the fraud database")),
    ],
)
def test_a_refusal_names_its_decision_and_who_can_change_it(
    jobs: Jobs, failures: dict[str, dict[str, Any]], began: int, name: str, changed: tuple[str, str]
) -> None:
    found = failures[name]
    asked = jobs.records(since=began, who=DANA, decision=found["decision"])
    [row] = [row for row in asked if row.kind == "decision"]
    assert (row.outcome, *row.policies, found["who"]) == ("deny", *changed)


@pytest.mark.promise("T8")
def test_every_class_is_injected_into_every_service() -> None:
    classes = {"iam", "expired", "audience", "firewall", "dns", "tls", "throttled"}
    injected = {(name.split()[0], cause) for name, (cause, _, _) in EXPECTED.items()}
    assert {(service, one) for service in ("Blob", "SQL", "Storage", "Vertex") for one in classes} <= injected


@pytest.mark.promise("T8")
@pytest.mark.parametrize("name", PERMITTED)
def test_a_cloud_s_no_behind_the_gateway_names_the_permit_and_stands_beside_it(
    jobs: Jobs, failures: dict[str, dict[str, Any]], began: int, name: str
) -> None:
    asked = jobs.records(since=began, who=DANA, decision=failures[name]["decision"])
    assert [row.outcome for row in asked if row.kind == "decision"] == ["permit"]
    cause = {"expired": "token", "throttled": "quota"}.get(name.split()[1], name.split()[1])
    assert (cause,) in {row.reasons for row in asked if row.kind == "answer"}  # a lease may have led to two


@pytest.mark.promise("T8")
@pytest.mark.parametrize("name", ["SQL firewall", "SQL throttled"])
def test_a_database_s_own_no_names_the_permit_that_led_there(
    jobs: Jobs, failures: dict[str, dict[str, Any]], began: int, name: str
) -> None:
    asked = jobs.records(since=began, who=DANA, decision=failures[name]["decision"])
    assert [row.outcome for row in asked if row.kind == "decision"] == ["permit"]


@pytest.mark.promise("T8")
def test_what_a_cloud_refused_is_on_its_own_record(jobs: Jobs, failures: dict[str, dict[str, Any]]) -> None:
    assert failures
    said = {(line["statusCode"], line["statusText"]) for line in jobs.blob_log()}
    assert {
        (403, "AuthorizationPermissionMismatch"),
        (401, "InvalidAuthenticationInfo"),
        (403, "AuthorizationFailure"),
        (503, "ServerBusy"),
    } <= said


@pytest.mark.promise("V22")
def test_no_diagnosis_holds_a_token(failures: dict[str, dict[str, Any]]) -> None:
    for found in failures.values():
        assert "eyJ" not in f"{found}"
        assert "ya29." not in f"{found}"
