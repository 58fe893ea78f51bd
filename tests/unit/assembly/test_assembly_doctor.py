"""`remit doctor --live`: what it says of a machine, of whoever asks, and of what a scratch cycle leaves.

The whole of it runs against the lab in `tests/e2e/test_e2e_trust.py`.
"""

import asyncio
import base64
import json
import ssl
from pathlib import Path

import httpx
import pytest

from remit.assembly import doctor_machine as machine
from remit.assembly.doctor_access import Access
from remit.assembly.doctor_checks import State
from remit.assembly.doctor_scratch import Scratch
from remit.model.errors import TrustBroken
from remit.model.estate import Estate, Project
from remit.model.secret import AccessToken
from remit.trust.settings import StorageAccount, TrustSettings

TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
PROJECT = Project("contoso-fraud-test", "1", "test", ("us-central1",), buckets=("data",))
TRUST = TrustSettings("", TENANT, "", "", "", (), Estate((PROJECT,)))


# this machine


@pytest.mark.parametrize(
    ("environment", "state", "said"),
    [
        ({}, State.PASS, "asked directly"),
        ({"HTTPS_PROXY": "http://dana:hunter2@proxy.example:3128"}, State.PASS, "proxy.example:3128"),
        ({"https_proxy": "http://p:1", "HTTPS_PROXY": "http://p:1"}, State.PASS, "p:1"),
        ({"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:1"}, State.FAIL, "differ"),
        ({"ALL_PROXY": "http://p:1"}, State.PASS, "p:1"),
        ({"HTTPS_PROXY": "proxy.example"}, State.FAIL, "no address"),
        ({"HTTPS_PROXY": "http://dana:hunter2@p:port"}, State.FAIL, "no address"),
        ({"HTTPS_PROXY": "", "https_proxy": ""}, State.PASS, "asked directly"),
    ],
)
def test_the_way_out_is_told_without_a_proxys_password(environment, state, said):
    check = machine.proxy(environment)
    assert check.state is state
    assert said in check.said
    assert "hunter2" not in check.said + check.cure


def test_roots_must_be_there_and_be_certificates(tmp_path):
    assert machine.roots({}).state is State.PASS
    (tmp_path / "empty.pem").write_text("nothing")
    for file in (tmp_path / "none.pem", tmp_path / "empty.pem"):
        check = machine.roots({"REQUESTS_CA_BUNDLE": str(file)})
        assert (check.state, "REQUESTS_CA_BUNDLE" in check.cure) == (State.FAIL, True)


def test_variables_that_name_other_roots_are_told(monkeypatch):
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: None)
    check = machine.roots({"SSL_CERT_FILE": "/a", "CURL_CA_BUNDLE": "/b", "REQUESTS_CA_BUNDLE": "/a"})
    assert check.said == "`/a`; `CURL_CA_BUNDLE` says another"


def test_a_folder_that_others_may_enter_is_told_and_nothing_is_made(tmp_path):
    folder = tmp_path / "a" / ".remit"
    assert machine.disk(folder).state is State.PASS
    assert not folder.parent.exists()
    folder.mkdir(mode=0o700, parents=True)
    assert machine.disk(folder).state is State.PASS
    folder.chmod(0o750)
    assert machine.disk(folder).state is State.FAIL


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_ROOM", 1 << 60)
    assert "a full disk refuses everything" in machine.disk(tmp_path / "x").said


def meeting(answer):
    """What is met where a transport answers so; a proxy looks up the names, so that no test asks a name server."""

    async def meet():
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return await machine.met(client, ("a.example",), proxied=True)

    return asyncio.run(meet())


@pytest.mark.parametrize(
    ("error", "said", "cure"),
    [
        (httpx.ProxyError("407 dana:hunter2"), "the proxy lets nobody through", "the proxy"),
        (httpx.ConnectTimeout("x"), "does not answer", "443"),
        (httpx.ConnectError("x"), "not reached (ConnectError)", "443"),
    ],
)
def test_a_server_that_is_not_met_is_told_with_what_helps(error, said, cure):
    def answer(_request):
        raise error

    [check] = machine.servers(meeting(answer))
    assert check.state is State.FAIL
    assert said in check.said
    assert cure in check.cure
    assert "hunter2" not in check.said


def test_a_certificate_that_is_not_trusted_is_told_as_such():
    def answer(_request):
        cause = ssl.SSLCertVerificationError(1, "x")
        cause.verify_message = "self-signed certificate in certificate chain"
        raise httpx.ConnectError("x") from cause

    [check] = machine.servers(meeting(answer))
    assert "self-signed" in check.said
    assert "SSL_CERT_FILE" in check.cure


@pytest.mark.parametrize(("number", "said"), [(1, "at 1 of 1 server"), (2, "at 2 of 2 servers")])
def test_servers_that_answer_are_counted_in_words(number, said):
    [check] = machine.servers(meeting(lambda _: httpx.Response(404)) * number)
    assert check.said.endswith(said)


def test_any_answer_is_an_answer():
    assert [one.trouble for one in meeting(lambda _: httpx.Response(404))] == [""]


@pytest.mark.parametrize(
    ("ahead", "state", "said"),
    [
        ([0.2, -0.4, 900.0], State.PASS, "within"),  # one server whose clock is wrong says nothing of this machine's
        ([300.0, 301.0], State.FAIL, "behind"),
        ([-300.0], State.FAIL, "ahead of"),
        ([None], State.SKIPPED, "no server"),
        ([], State.SKIPPED, "no server"),
    ],
)
def test_the_clock_is_held_against_theirs(ahead, state, said):
    check = machine.clock([machine.Met("a", one) for one in ahead])
    assert check.state is state
    assert said in check.said


def test_a_date_that_is_none_is_no_time():
    assert meeting(lambda _: httpx.Response(200, headers={"date": "yesterday"}))[0].ahead is None


def test_the_servers_are_those_of_the_installation():
    found = machine.hosts(("us-central1", "global", "us-central1"), azure=True)
    assert {"us-central1-aiplatform.googleapis.com", "aiplatform.googleapis.com", machine.AZURE} <= set(found)
    assert machine.AZURE not in machine.hosts((), azure=False)
    assert len(set(found)) == len(found)


# who asks, and may they


class Tokens:
    def __init__(self, tenant=TENANT, *, at_google=True):
        claims = base64.urlsafe_b64encode(json.dumps({"tid": tenant, "upn": "admin@contoso.example"}).encode())
        self.graph = f"x.{claims.decode().rstrip('=')}.x"
        self.at_google = at_google

    async def token(self, scope):
        if "googleapis" not in scope:
            return AccessToken(self.graph)
        if not self.at_google:
            raise TrustBroken("nobody is signed in at Google", hint="gcloud auth")
        return AccessToken("ya29.x")


def looked(answer, tokens=None, trust=TRUST):
    async def look():
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return {check.name: check async for check in Access(client, tokens or Tokens(), trust)()}

    return asyncio.run(look())


def everything(request):
    """Clouds that let the caller read all of it."""
    if request.url.path.endswith(":testIamPermissions"):
        return httpx.Response(200, json=json.loads(request.content))
    if request.url.path.endswith("/iam/testPermissions"):
        return httpx.Response(200, json={"permissions": request.url.params.get_list("permissions")})
    return httpx.Response(200, json={"value": []})


def test_whoever_may_read_everything_passes():
    found = looked(everything)
    assert {name for name, check in found.items() if not check.well} == set()
    assert found["at Microsoft"].said == "admin@contoso.example"
    assert found["at Azure"].state is State.APART


def test_what_is_not_held_is_named_with_the_command_that_grants_it():
    def answer(request):
        if request.url.path.endswith("/directoryAudits") or "Microsoft.Authorization" in request.url.path:
            return httpx.Response(403, json={"error": {"code": "Forbidden", "message": "no"}})
        if request.url.path.endswith(":testIamPermissions"):
            return httpx.Response(200, json={"permissions": ["logging.logEntries.list"]})
        return everything(request) if "testPermissions" not in request.url.path else httpx.Response(200, json={})

    trust = TrustSettings("", TENANT, "", "", "", (), Estate((PROJECT,)), storage=(StorageAccount("s", "sub", "ml"),))
    found = looked(answer, trust=trust)
    assert found["Application.Read.All"].state is State.PASS
    assert found["AuditLog.Read.All"].state is State.FAIL
    assert "storage.buckets.getIamPolicy on data" in found[PROJECT.id].said
    assert "roles/iam.securityReviewer" in found[PROJECT.id].cure
    assert "roles/logging.viewer" not in found[PROJECT.id].cure
    assert "--role Reader" in found["at Azure, ml"].cure


def test_another_tenants_sign_in_is_told_before_it_is_asked_anything():
    other = "6f1c2a34-8b5d-4e6f-9a01-c0de00000002"
    found = looked(everything, Tokens(other))
    assert other in found["at Microsoft"].said
    assert found["Microsoft Graph"].state is State.SKIPPED
    assert "Application.Read.All" not in found


def test_a_cloud_where_nobody_is_signed_in_hides_no_other():
    found = looked(everything, Tokens(at_google=False))
    assert found["at Google"].cure == "gcloud auth"
    assert found[PROJECT.id].state is State.SKIPPED
    assert found["AuditLog.Read.All"].state is State.PASS


# a scratch cycle


class Clouds:
    """Graph and IAM as far as a scratch cycle meets them. `broken`: method and end of the path that are refused."""

    def __init__(self, *broken):
        self.broken = broken
        self.applications, self.federations, self.roles, self.purged = {}, {}, {}, []

    def __call__(self, request):
        path = request.url.path
        if any(request.method == method and end in path for method, end in self.broken):
            return httpx.Response(403, json={"error": {"code": "Authorization_RequestDenied", "message": "no"}})
        if request.url.host == "graph.microsoft.com":
            return self.graph(request, path)
        return self.iam(request, path)

    def graph(self, request, path):
        if path.startswith("/v1.0/directory/deletedItems"):
            if request.method == "DELETE":
                self.purged.append(path.rpartition("/")[2])
            return httpx.Response(204 if request.method == "DELETE" else 200, json={"value": []})
        if path.endswith("/federatedIdentityCredentials"):
            if request.method == "POST":
                self.federations["f1"] = {"id": "f1", **json.loads(request.content)}
                return httpx.Response(201, json=self.federations["f1"])
            return httpx.Response(200, json={"value": list(self.federations.values())})
        if "/federatedIdentityCredentials/" in path:
            self.federations.pop(path.rpartition("/")[2], None)
            return httpx.Response(204)
        return self.application(request, path)

    def application(self, request, path):
        if request.method == "DELETE":
            self.applications.clear()
            return httpx.Response(204)
        if request.method == "PATCH":
            name = path.partition("uniqueName='")[2].removesuffix("')")
            body = json.loads(request.content)
            self.applications["a1"] = {"id": "a1", "appId": "app", "uniqueName": name, **body}
            return httpx.Response(201, json=self.applications["a1"])
        found = next(iter(self.applications.values()), None)
        return httpx.Response(200, json=found) if found else httpx.Response(404, json={})

    def iam(self, request, path):
        if path.endswith("/roles") and request.method == "POST":
            body = json.loads(request.content)
            name = f"projects/{PROJECT.id}/roles/{body['roleId']}"
            self.roles[name] = {"name": name, **body["role"]}
            return httpx.Response(200, json=self.roles[name])
        if path.endswith("/roles"):
            return httpx.Response(200, json={"roles": list(self.roles.values())})
        if "/roles/" in path:
            name = path.removeprefix("/v1/")
            found = self.roles.pop(name, None) if request.method == "DELETE" else self.roles.get(name)
            return httpx.Response(200, json=found) if found else httpx.Response(404, json={})
        return httpx.Response(200, json={})


def cycled(clouds):
    async def cycle():
        async with httpx.AsyncClient(transport=httpx.MockTransport(clouds)) as client:
            scratch = Scratch(client, Tokens(), TRUST, Path("/remit.yaml"), print)
            return {check.name: check async for check in scratch()}

    return asyncio.run(cycle())


def test_a_scratch_cycle_leaves_nothing():
    clouds = Clouds()
    found = cycled(clouds)
    assert {name: check.state for name, check in found.items()} == {"at Entra": State.PASS, "at Google": State.PASS}
    assert (clouds.applications, clouds.federations, clouds.roles) == ({}, {}, {})
    assert clouds.purged == ["a1"]


@pytest.mark.parametrize("broken", [("POST", "/federatedIdentityCredentials"), ("PATCH", "/applications")])
def test_one_that_is_refused_on_its_way_is_removed(broken):
    clouds = Clouds(broken)
    found = cycled(clouds)
    assert found["at Entra"].state is State.FAIL
    assert "--needs" in found["at Entra"].cure
    assert (clouds.applications, clouds.federations) == ({}, {})
    assert found["at Google"].state is State.PASS


def test_what_cannot_be_removed_is_told():
    found = cycled(Clouds(("DELETE", "/applications/"), ("DELETE", "/roles/")))
    assert all(check.state is State.FAIL and "not removed" in check.said for check in found.values())


def test_a_role_that_is_no_doctors_stays_and_one_that_was_left_goes():
    clouds = Clouds()
    for name in ("remit_trainer", "remit_doctor_00000000"):
        whole = f"projects/{PROJECT.id}/roles/{name}"
        clouds.roles[whole] = {"name": whole, "title": "x", "includedPermissions": [], "stage": "GA"}
    assert cycled(clouds)["at Google"].state is State.PASS
    assert list(clouds.roles) == [f"projects/{PROJECT.id}/roles/remit_trainer"]
