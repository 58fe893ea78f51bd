"""The real client libraries, with nothing but the lab's environment variables."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from remit.lab import contoso, lifecycle
from remit.model.errors import RemitError

ENGINEER = contoso.account("ml-engineer", contoso.FRAUD_TEST)
LOGIN = "https://login.microsoftonline.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def approve(flow, user, **more):
    page = requests.get(flow["verification_uri"], timeout=5)
    assert re.search(r'<form method="post"', page.text)
    fields = {"user_code": flow["user_code"], "account": user.upn, **more}
    answer = requests.post(flow["verification_uri"], data=fields, timeout=5)
    assert "You have signed in" in answer.text


def application():
    import msal

    return msal.PublicClientApplication(contoso.CLI.id, authority=f"{LOGIN}/{contoso.TENANT}", http_cache={})


def signed_in(app, user, **more):
    flow = app.initiate_device_flow(scopes=["api://remit/.default"])
    approve(flow, user, **more)
    answer = app.acquire_token_by_device_flow(flow)
    assert "access_token" in answer, answer
    return answer["access_token"]


def on_behalf(lab, person):
    """What Remit's arbiter posts: its machine's token as the assertion of who it is."""
    machine = requests.get(
        f"http://127.0.0.1:{lab.imds}/metadata/identity/oauth2/token",
        params={
            "api-version": "2018-02-01",
            "resource": contoso.EXCHANGE_AUDIENCE,
            "client_id": contoso.MI_ARBITER.client_id,
        },
        headers={"Metadata": "true"},
        timeout=5,
    ).json()["access_token"]
    answer = requests.post(
        f"{LOGIN}/{contoso.TENANT}/oauth2/v2.0/token",
        data={
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "client_id": contoso.REMIT.id,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": machine,
            "assertion": person,
            "scope": "api://remit-google/.default",
            "requested_token_use": "on_behalf_of",
        },
        timeout=5,
    )
    return answer.json()["access_token"]


def credentials(subject, email):
    from google.auth import identity_pool

    class Supplier(identity_pool.SubjectTokenSupplier):
        def get_subject_token(self, context, request):
            return subject

    return identity_pool.Credentials(
        f"//iam.googleapis.com/{contoso.PROVIDER.resource}",
        "urn:ietf:params:oauth:token-type:jwt",
        token_url="https://sts.googleapis.com/v1/token",
        service_account_impersonation_url="https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
        f"{email}:generateAccessToken",
        subject_token_supplier=Supplier(),
        scopes=[SCOPE],
    )


def test_msal_signs_in_refreshes_and_is_challenged(lab_environment):
    app = application()
    signed_in(app, contoso.DANA)
    account = app.get_accounts()[0]
    assert account["home_account_id"] == f"{contoso.DANA.oid}.{contoso.TENANT}"
    assert "access_token" in app.acquire_token_silent(["api://remit/.default"], account)
    challenge = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
    refused = app.acquire_token_silent_with_error(["api://remit/.default"], account, claims_challenge=challenge)
    assert refused["error_codes"] == [50076]
    assert json.loads(refused["claims"]) == json.loads(challenge)
    flow = app.initiate_device_flow(scopes=["api://remit/.default"], claims_challenge=challenge)
    approve(flow, contoso.DANA, second_factor="approve")
    assert "access_token" in app.acquire_token_by_device_flow(flow)


def test_google_auth_exchanges_and_impersonates(lab_environment):
    import google.auth.transport.requests

    subject = on_behalf(lab_environment, signed_in(application(), contoso.DANA))
    found = credentials(subject, ENGINEER)
    found.refresh(google.auth.transport.requests.Request())
    assert found.token.startswith("ya29.")
    answer = requests.get(
        "https://cloudresourcemanager.googleapis.com/v1/projects/contoso-fraud-test",
        headers={"authorization": f"Bearer {found.token}"},
        timeout=5,
    )
    assert answer.json()["projectNumber"] == "100000000001"


def test_google_auth_narrows(lab_environment):
    import google.auth.transport.requests
    from google.auth import downscoped

    subject = on_behalf(lab_environment, signed_in(application(), contoso.DANA))
    bucket = contoso.FRAUD_TEST.buckets[0]
    rule = downscoped.AccessBoundaryRule(
        available_resource=f"//storage.googleapis.com/projects/_/buckets/{bucket}",
        available_permissions=["inRole:roles/storage.objectAdmin"],
    )
    narrowed = downscoped.Credentials(credentials(subject, ENGINEER), downscoped.CredentialAccessBoundary([rule]))
    narrowed.refresh(google.auth.transport.requests.Request())
    headers = {"authorization": f"Bearer {narrowed.token}"}
    url = "https://storage.googleapis.com/storage/v1/b"
    assert requests.get(f"{url}/{bucket}/o", headers=headers, timeout=5).status_code == 200
    assert requests.get(f"{url}/{contoso.FRAUD_TEST.buckets[1]}/o", headers=headers, timeout=5).status_code == 403
    project = "https://cloudresourcemanager.googleapis.com/v1/projects/contoso-fraud-test"
    assert requests.get(project, headers=headers, timeout=5).status_code == 403


def test_google_auth_is_refused_without_remit(lab_environment):
    import google.auth.exceptions
    import google.auth.transport.requests

    app = application()
    flow = app.initiate_device_flow(scopes=["api://remit-google/.default"])
    approve(flow, contoso.DANA)
    alone = app.acquire_token_by_device_flow(flow)["access_token"]
    with pytest.raises(google.auth.exceptions.OAuthError, match="rejected by the attribute"):
        credentials(alone, ENGINEER).refresh(google.auth.transport.requests.Request())
    ada = on_behalf(lab_environment, signed_in(application(), contoso.ADA))
    with pytest.raises(google.auth.exceptions.RefreshError, match=re.escape("iam.serviceAccounts.getAccessToken")):
        credentials(ada, ENGINEER).refresh(google.auth.transport.requests.Request())


CALL = """
import grpc, sys
channel = grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials())
call = channel.unary_unary(sys.argv[2])
try:
    call(b"", timeout=20, metadata=[("authorization", "Bearer nothing")])
except grpc.RpcError as error:
    print(error.code().name, error.details())
"""


@pytest.mark.parametrize(
    ("host", "method"),
    [
        ("logging.googleapis.com", "/google.logging.v2.LoggingServiceV2/ListLogEntries"),
        ("us-central1-aiplatform.googleapis.com", "/google.cloud.aiplatform.v1.JobService/ListCustomJobs"),
    ],
)
def test_grpc_comes_through_the_proxy(lab, host, method):
    command = [sys.executable, "-c", CALL, f"{host}:443", method]
    environment = os.environ | lifecycle.variables(lab)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("UNAUTHENTICATED Request had invalid authentication credentials.")


def test_unlisted_hosts_are_out_of_reach(lab_environment):
    with pytest.raises(requests.exceptions.ProxyError, match="403"):
        requests.get("https://pypi.org/", timeout=5)


def test_the_lab_fails_when_told(lab_environment):
    control, url = lab_environment.control, "https://sts.googleapis.com/v1/token"
    try:
        requests.post(control, json={"fault": {"host": "sts.googleapis.com", "status": 500}}, timeout=5)
        assert requests.post(url, timeout=5).status_code == 500
        requests.post(control, json={"fault": {"host": "sts.googleapis.com", "hang": 30}}, timeout=5)
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.post(url, timeout=0.2)
    finally:
        requests.post(control, json={"clear": True}, timeout=5)
    assert requests.post(url, timeout=5).status_code == 400


def test_up_and_down(tmp_path, monkeypatch):
    folder = tmp_path / "lab"
    with pytest.raises(RemitError, match="no lab is running"):
        lifecycle.environment(folder)
    assert not lifecycle.down(folder)
    started = time.monotonic()
    lab = lifecycle.up(folder)
    # it is promised to take under two seconds; a loaded machine is given more
    assert time.monotonic() - started < 6
    try:
        assert lifecycle.up(folder) == lab
        variables = lifecycle.environment(folder)
        assert variables["HTTPS_PROXY"] == f"http://127.0.0.1:{lab.proxy}"
        assert f"export SSL_CERT_FILE={lab.bundle}" in (folder / "env").read_text()
        assert (folder / "lab.json").stat().st_mode & 0o077 == 0
    finally:
        assert lifecycle.down(folder)
    with pytest.raises(ProcessLookupError):
        os.kill(lab.pid, 0)
    assert not (folder / "lab.json").exists()
    assert (folder / "lab.log").read_text() == ""


def test_a_lab_that_cannot_start_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "lab"
    (folder / "objects").mkdir(parents=True)
    (folder / "bundle.pem").mkdir()
    with pytest.raises(RemitError, match="did not start") as caught:
        lifecycle.up(folder)
    assert "IsADirectoryError" in caught.value.message
    with pytest.raises(RemitError, match="did not start"):
        lifecycle.up(tmp_path / "slow", deadline=0.01)
    assert not lifecycle.down(tmp_path / "slow")


def test_a_strange_file_is_named(tmp_path):
    Path(tmp_path, "lab.json").write_text("[]")
    with pytest.raises(RemitError, match=re.escape("is not a lab's file")):
        lifecycle.read(tmp_path)
