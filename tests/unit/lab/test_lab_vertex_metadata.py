"""The metadata server of a job."""

import asyncio
import json
from urllib.parse import parse_qsl

import pytest

from remit.lab.google_accounts import GoogleAccounts
from remit.lab.http import Request
from remit.lab.iam import CLOUD_PLATFORM, Iam
from remit.lab.metadata import Metadata

ACCOUNT = "trainer@contoso-fraud-test.iam.gserviceaccount.com"
V1 = "/computeMetadata/v1/"


def ask(target, method="GET", iam=None, project="contoso-fraud-test", **headers):
    handler = Metadata(iam or Iam(clock=lambda: 1000.0), GoogleAccounts(lambda: 1000.0), clock=lambda: 1000.0).handler(
        ACCOUNT, project=project, location="us-central1"
    )
    path, _, query = target.partition("?")
    named = {"metadata-flavor": "Google", **{key.replace("_", "-"): value for key, value in headers.items()}}
    request = Request(method, "127.0.0.1", path, tuple(parse_qsl(query)), named, b"")
    answer = asyncio.run(handler(request))
    assert answer.headers["metadata-flavor"] == "Google"
    return answer


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("project/project-id", "contoso-fraud-test"),
        ("project/numeric-project-id", "100000000001"),
        ("universe/universe-domain", "googleapis.com"),
        ("instance/zone", "projects/100000000001/zones/us-central1-a"),
        ("instance/service-accounts/", f"default/\n{ACCOUNT}/\n"),
        ("instance/service-accounts/default/email", ACCOUNT),
        (f"instance/service-accounts/{ACCOUNT}/scopes", f"{CLOUD_PLATFORM}\n"),
        ("instance/service-accounts/default/", "aliases\nemail\nidentity\nscopes\ntoken\n"),
    ],
)
def test_what_a_job_can_ask(path, body):
    assert (ask(V1 + path).status, ask(V1 + path).body.decode()) == (200, body)


def test_the_ping_needs_nothing():
    assert ask("/", metadata_flavor="").status == 200


def test_the_account_in_one_object():
    found = json.loads(ask(f"{V1}instance/service-accounts/default/?recursive=true").body)
    assert found == {"aliases": ["default"], "email": ACCOUNT, "scopes": [CLOUD_PLATFORM]}


@pytest.mark.parametrize(("query", "scopes"), [("", {CLOUD_PLATFORM}), ("?scopes=a,b", {"a", "b"})])
def test_a_token_of_the_account(query, scopes):
    iam = Iam(clock=lambda: 1000.0)
    found = json.loads(ask(f"{V1}instance/service-accounts/default/token{query}", iam=iam).body)
    assert (found["expires_in"], found["token_type"]) == (3599, "Bearer")
    caller = iam.caller(f"Bearer {found['access_token']}")
    assert (caller.email, caller.scopes) == (ACCOUNT, scopes)


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        (f"{V1}project/project-id", {"metadata_flavor": ""}, 403),
        (f"{V1}project/project-id", {"x_forwarded_for": "10.0.0.1"}, 403),
        ("/", {"x_forwarded_for": "10.0.0.1"}, 403),
        (f"{V1}instance/service-accounts/other@example.com/token", {}, 404),
        (f"{V1}instance/service-accounts/default/identity", {}, 400),
        (f"{V1}instance/attributes/", {}, 404),
        ("/elsewhere", {}, 404),
    ],
)
def test_what_is_refused(target, headers, status):
    assert ask(target, **headers).status == status


def test_only_reading():
    assert ask(f"{V1}project/project-id", "POST").status == 404


def test_an_unknown_project_has_no_number():
    assert ask(f"{V1}project/numeric-project-id", project="nobodys").body == b"0"
