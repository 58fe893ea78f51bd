"""Failures tell the truth: each is injected into its cloud, and read back from the exception in the job's own process."""

import sys
from typing import Any

import pytest
from tests.e2e.jobs_world import DANA, HERE, Ended, Jobs, shared, since

pytestmark = pytest.mark.e2e

# name in `jobs_failing.py` → cause, and a word of what the job is told
EXPECTED = {
    "Blob iam": ("iam", "Storage Blob Data Reader"),
    "Blob iam by adlfs": ("iam", "Storage Blob Data Reader"),
    "Blob expired": ("expired", "remit.Credential"),
    "Blob audience": ("audience", "https://storage.azure.com/.default"),
    "Blob firewall": ("firewall", "a role does not help"),
    "Blob throttled": ("throttled", "fewer readers"),
    "Blob dns": ("dns", "check the name"),
    "Blob tls": ("tls", "remit run"),
    "Storage iam": ("iam", "give it a role"),
    "Storage expired": ("expired", "remit.google.Credentials"),
    "Storage throttled": ("throttled", "ask less often"),
    "Storage token": ("token", "a client that renews"),
    "Storage dns": ("dns", "check the name"),
    "Storage tls": ("tls", "remit run"),
    "Vertex refused": ("refused", "choose a smaller machine"),
    "Vertex iam": ("iam", "give it a role"),
    "Vertex expired": ("expired", "remit.google.Credentials"),
    "Vertex throttled": ("throttled", "ask less often"),
    "Vertex dns": ("dns", "check the name"),
    "Vertex tls": ("tls", "remit run"),
    "SQL iam": ("iam", "log in as one that has it"),
    "SQL refused": ("refused", "ask the owner of the fraud database"),
    "SQL expired": ("expired", "remit login"),
    "SQL audience": ("audience", "remit login"),
    "SQL firewall": ("firewall", "Networking"),
    "SQL throttled": ("throttled", ""),
    "SQL dns": ("dns", "check the name"),
    "SQL tls": ("tls", "remit run"),
}
BY_REMIT = ("Vertex refused", "SQL refused", "SQL expired", "SQL audience")


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
    found, (cause, word) = failures[name], EXPECTED[name]
    assert found["cause"] == cause, found
    assert word in found["hint"], found
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
