import asyncio
import json
import time

import pytest

from remit.lab import contoso
from remit.lab.directory import CREATED, Directory
from remit.lab.graph import Graph
from remit.lab.http import Request
from remit.lab.jwt import SigningKey, verify

HOST = "https://graph.microsoft.com"
DANA, OLGA = contoso.DANA.oid, contoso.OLGA.oid
FRAUD = contoso.ML_ENGINEERS_FRAUD.id
KEY = SigningKey()  # making one takes long


class Tenant:
    """Graph, its directory and a token with the permissions that a test names."""

    def __init__(self):
        self.clock = time.time
        self.key = KEY
        self.directory = Directory(self.clock)
        log = type("Log", (), {"entries": [{"id": str(number)} for number in range(3)]})()
        self.graph = Graph(self, log, self.clock, self.directory)
        self.permissions = ["Directory.Read.All"]
        self.claims = {}

    def verify(self, token):
        return verify(token, [self.key.public(contoso.ISSUER)])

    def __call__(self, method, target, body=None, **headers):
        path, _, query = target.removeprefix(HOST).partition("?")
        pairs = tuple(tuple(pair.split("=", 1)) for pair in query.split("&") if pair)
        claims = {"aud": contoso.GRAPH.uri, "exp": time.time() + 60, "roles": self.permissions, **self.claims}
        headers = {"authorization": f"Bearer {self.key.sign(claims)}"} | headers
        raw = b"" if body is None else json.dumps(body).encode()
        answer = asyncio.run(self.graph(Request(method, "graph.microsoft.com", path, pairs, headers, raw)))
        return answer.status, json.loads(answer.body) if answer.body else None, answer.headers

    def all(self, target):
        """Every page, and the link at the end."""
        items = []
        while True:
            status, page, _ = self("GET", target)
            assert status == 200, page
            items += page["value"]
            target = page.get("@odata.nextLink")
            if not target:
                return items, page.get("@odata.deltaLink")


@pytest.fixture
def tenant():
    return Tenant()


def code(answer):
    assert answer[1]["error"]["message"]
    return answer[0], answer[1]["error"]["code"]


def test_groups_are_transitive_and_follow_the_directory(tenant):
    path = f"/v1.0/users/{DANA}/getMemberObjects"
    ids = tenant("POST", path, {"securityEnabledOnly": True})[1]["value"]
    assert ids == [FRAUD, contoso.ML_ENGINEERS.id, contoso.ML_ALL.id]
    tenant.permissions = ["GroupMember.ReadWrite.All"]
    reference = {"@odata.id": f"{HOST}/v1.0/directoryObjects/{DANA}"}
    target = f"/v1.0/groups/{contoso.SECURITY.id}/members/$ref"
    assert tenant("POST", target, reference)[0] == 204
    assert code(tenant("POST", target, reference)) == (400, "Request_BadRequest")
    assert tenant("DELETE", f"/v1.0/groups/{FRAUD}/members/{DANA}/$ref")[0] == 204
    assert code(tenant("DELETE", f"/v1.0/groups/{FRAUD}/members/{DANA}/$ref"))[0] == 404
    assert code(tenant("POST", target, {"@odata.id": "https://elsewhere.example/x"}))[0] == 400
    assert code(tenant("POST", target, {"@odata.id": reference["@odata.id"].replace("0d", "0e")}))[0] == 404
    assert [group.name for group in tenant.directory.groups_of(DANA)] == ["security"]


def test_workloads_are_asked_without_security_only(tenant):
    oid = contoso.FRAUD_PIPELINE.oid
    tenant.directory.join(contoso.ML_ALL.id, oid)
    path = f"/v1.0/servicePrincipals/{oid}/getMemberGroups"
    assert tenant("POST", path, {"securityEnabledOnly": False})[1]["value"] == [contoso.ML_ALL.id]
    assert code(tenant("POST", path, {"securityEnabledOnly": True}))[0] == 400
    assert code(tenant("POST", path, {}))[0] == 400
    assert code(tenant("POST", path, [1]))[0] == 400
    assert code(tenant("POST", path.replace("servicePrincipals", "users"), {"securityEnabledOnly": True}))[0] == 404
    assert (
        tenant("POST", path.replace("servicePrincipals", "directoryObjects"), {"securityEnabledOnly": False})[0] == 200
    )


def test_more_groups_than_an_answer_holds(tenant):
    groups = [contoso.Group(f"9c000000-0000-4000-8000-{n:012}", f"g{n}", (DANA,)) for n in range(11_001)]
    tenant.graph.operations.directory = Directory(tenant.clock, groups)
    answer = tenant("POST", f"/v1.0/users/{DANA}/getMemberObjects", {"securityEnabledOnly": True})
    assert code(answer) == (400, "Directory_ResultSizeLimitExceeded")


def test_direct_memberships_come_in_pages(tenant):
    items, _ = tenant.all(f"/v1.0/users/{OLGA}/memberOf?$select=id,displayName")
    assert len(items) == 251
    assert set(items[0]) == {"@odata.type", "id", "displayName"}
    page = tenant("GET", f"/v1.0/users/{OLGA}/memberOf?$top=999")[1]
    assert len(page["value"]) == 251
    assert "@odata.nextLink" not in page
    assert len(tenant("GET", f"/v1.0/users/{OLGA}/transitiveMemberOf/microsoft.graph.group")[1]["value"]) == 100
    above, _ = tenant.all(f"/v1.0/groups/{FRAUD}/memberOf")
    assert [group["displayName"] for group in above] == ["ml-engineers"]
    assert code(tenant("GET", "/v1.0/groups/9f000000-0000-4000-8000-000000000001/memberOf"))[0] == 404
    for wrong in ("1000", "0", "x"):
        assert code(tenant("GET", f"/v1.0/users/{OLGA}/memberOf?$top={wrong}"))[0] == 400
    for wrong in ("e30", "!", "W10"):
        assert tenant("GET", f"/v1.0/users/{OLGA}/memberOf?$skiptoken={wrong}")[0] in {200, 400}


def test_accounts_are_listed_disabled_and_their_sessions_ended(tenant):
    users, _ = tenant.all("/v1.0/users?$top=2&$select=id,accountEnabled")
    assert {user["id"] for user in users} == {user.oid for user in contoso.USERS}
    assert all(user["accountEnabled"] for user in users)
    assert len(tenant.all("/v1.0/servicePrincipals")[0]) == len(contoso.APPS) + len(contoso.MANAGED_IDENTITIES)
    tenant.permissions = ["User.ReadWrite.All", "Application.ReadWrite.All"]
    assert tenant("PATCH", f"/v1.0/users/{DANA}", {"accountEnabled": False})[0] == 204
    assert not tenant.directory.enabled(DANA.upper())
    assert tenant("GET", f"/v1.0/users/{DANA}")[1]["accountEnabled"] is False
    assert tenant("PATCH", f"/v1.0/servicePrincipals/{contoso.MI_ARBITER.oid}", {"accountEnabled": False})[0] == 204
    assert code(tenant("PATCH", f"/v1.0/users/{DANA}", {"displayName": "x"}))[0] == 400
    assert code(tenant("PATCH", f"/v1.0/users/{contoso.MI_ARBITER.oid}", {"accountEnabled": True}))[0] == 404
    assert tenant.directory.sessions_valid_from(DANA) == CREATED
    assert tenant("POST", f"/v1.0/users/{DANA}/revokeSignInSessions")[1]["value"] is True
    assert time.time() - 5 < tenant.directory.sessions_valid_from(DANA) <= time.time()
    assert tenant("DELETE", f"/v1.0/users/{DANA}")[0] == 204
    assert code(tenant("GET", f"/v1.0/users/{DANA}"))[0] == 404
    assert tenant.directory.groups_of(DANA) == ()


def test_changes_are_told_from_round_to_round(tenant):
    tenant.graph.operations.page_size = 2
    path = "/v1.0/users/delta?$select=id,accountEnabled,signInSessionsValidFromDateTime"
    users, link = tenant.all(path)
    assert {user["id"] for user in users} == {user.oid for user in contoso.USERS}
    assert users[0]["signInSessionsValidFromDateTime"] == "2025-01-06T08:00:00Z"
    assert "displayName" not in users[0]
    assert tenant.all(link)[0] == []
    for command, oid in (("disable", DANA), ("revoke_sessions", OLGA), ("delete_account", contoso.ADA.oid)):
        tenant.directory.commands()[command](oid)
    tenant.directory.set_enabled(contoso.MI_ARBITER.oid, enabled=False)
    changed, following = tenant.all(link)
    assert {item["id"]: item.get("accountEnabled", item.get("@removed")) for item in changed} == {
        DANA: False,
        OLGA: True,
        contoso.ADA.oid: {"reason": "changed"},
    }
    tenant.directory.commands()["restore_account"](contoso.ADA.oid)
    assert [item["id"] for item in tenant.all(following)[0]] == [contoso.ADA.oid]
    workloads, _ = tenant.all("/v1.0/servicePrincipals/delta?$select=id,accountEnabled")
    assert {"id": contoso.MI_ARBITER.oid, "accountEnabled": False} in workloads
    tenant.graph.commands()["graph_forget"](True)
    assert code(tenant("GET", following)) == (410, "resyncRequired")


def test_places_have_names(tenant):
    tenant.permissions = ["Policy.Read.All"]
    path = "/v1.0/identity/conditionalAccess/namedLocations"
    assert [each["displayName"] for each in tenant.all(path)[0]] == ["Head office", "Sanctioned countries"]
    tenant.graph.commands()["graph_locations"]([{"displayName": "Elsewhere", "id": "1"}])
    assert tenant.all(path)[0] == [{"displayName": "Elsewhere", "id": "1"}]


def test_sign_ins_come_in_pages(tenant):
    tenant.permissions = ["AuditLog.Read.All"]
    tenant.graph.commands()["graph_page"](2)
    assert [each["id"] for each in tenant.all("/v1.0/auditLogs/signIns")[0]] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("method", "path", "enough", "lacking"),
    [
        ("POST", f"users/{DANA}/getMemberObjects", "User.Read.All GroupMember.Read.All", "GroupMember.Read.All"),
        ("GET", f"users/{DANA}/memberOf", "User.ReadBasic.All GroupMember.Read.All", "User.Read.All"),
        ("GET", f"groups/{FRAUD}/memberOf", "GroupMember.Read.All", "User.Read.All"),
        ("GET", "users/delta", "User.Read.All", "GroupMember.Read.All"),
        ("GET", "servicePrincipals/delta", "Application.Read.All", "User.Read.All"),
        ("GET", "identity/conditionalAccess/namedLocations", "Policy.Read.All", "Directory.Read.All"),
        ("PATCH", f"users/{DANA}", "User.Read.All User.EnableDisableAccount.All", "User.EnableDisableAccount.All"),
        ("POST", f"users/{DANA}/revokeSignInSessions", "User.RevokeSessions.All", "User.Read.All"),
        ("DELETE", f"users/{DANA}", "User.DeleteRestore.All", "User.Read.All"),
        ("POST", f"groups/{FRAUD}/members/$ref", "GroupMember.ReadWrite.All", "GroupMember.Read.All"),
        ("GET", "auditLogs/signIns", "AuditLog.Read.All", "Directory.Read.All"),
    ],
)
def test_each_operation_is_behind_its_permission(tenant, method, path, enough, lacking):
    body = {"securityEnabledOnly": True, "accountEnabled": True}
    tenant.permissions = lacking.split()
    assert code(tenant(method, f"/v1.0/{path}", body)) == (403, "Authorization_RequestDenied")
    tenant.permissions = enough.split()
    assert tenant(method, f"/v1.0/{path}", body)[0] != 403


def test_batches_answer_each_request_by_its_id(tenant):
    urls = [f"/groups/{FRAUD}/memberOf?$select=id", f"/users/{DANA}", "/nonsense"]
    asked = [{"id": str(number), "method": "GET", "url": url} for number, url in enumerate(urls)]
    asked.append(
        {"id": "9", "method": "POST", "url": f"/users/{DANA}/getMemberObjects", "body": {"securityEnabledOnly": True}}
    )
    status, answer, _ = tenant("POST", "/v1.0/$batch", {"requests": asked})
    assert status == 200
    found = {each["id"]: (each["status"], each["body"]) for each in answer["responses"]}
    assert [found[key][0] for key in ("0", "1", "2", "9")] == [200, 200, 400, 200]
    assert found["0"][1]["value"] == [{"@odata.type": "#microsoft.graph.group", "id": contoso.ML_ENGINEERS.id}]
    assert len(found["9"][1]["value"]) == 3
    tenant.graph.commands()["graph_throttle"]({"times": 1, "retry_after": 7})
    first = tenant("POST", "/v1.0/$batch", {"requests": asked[:2]})[1]["responses"]
    assert {each["id"]: each["status"] for each in first} == {"0": 429, "1": 200}
    assert next(each for each in first if each["id"] == "0")["headers"]["Retry-After"] == "7"
    assert code(tenant("POST", "/v1.0/$batch", {"requests": asked * 6}))[0] == 400
    assert code(tenant("POST", "/v1.0/$batch", []))[0] == 400
    tenant.permissions = ["Application.ReadWrite.All"]
    asked = [
        {
            "id": "a",
            "method": "PATCH",
            "url": f"/servicePrincipals/{contoso.MI_ARBITER.oid}",
            "body": {"accountEnabled": True},
        }
    ]
    assert tenant("POST", "/v1.0/$batch", {"requests": asked})[1]["responses"] == [
        {"id": "a", "status": 204, "headers": {}}
    ]


def test_throttling_tells_when_to_come_back(tenant):
    tenant.graph.throttle(2, 3)
    for _ in range(2):
        answer = tenant("GET", f"/v1.0/users/{DANA}")
        assert code(answer) == (429, "TooManyRequests")
        assert answer[2]["retry-after"] == "3"
    assert tenant("GET", f"/v1.0/users/{DANA}")[0] == 200


def test_bodies_that_are_no_json(tenant):
    request = Request("POST", "", f"/v1.0/users/{DANA}/getMemberObjects", (), {}, b"{")
    request.headers["authorization"] = (
        f"Bearer {tenant.key.sign({'aud': contoso.GRAPH.id, 'exp': time.time() + 60, 'roles': ['Directory.Read.All']})}"
    )
    assert asyncio.run(tenant.graph(request)).status == 400
    batch = Request("POST", "", "/v1.0/$batch", (), request.headers, b"{")
    assert asyncio.run(tenant.graph(batch)).status == 400


def test_tokens_that_are_not_for_graph(tenant):
    for headers in ({"authorization": "Basic x"}, {"authorization": "Bearer a.b.c"}):
        assert code(tenant("GET", "/v1.0/users", **headers)) == (401, "InvalidAuthenticationToken")
    for claims in ({"aud": "other"}, {"exp": time.time() - 1}):
        tenant.claims = claims
        assert code(tenant("GET", "/v1.0/users"))[0] == 401


def test_the_directory_by_itself():
    directory = Directory(lambda: 1234.9)
    assert not directory.enabled("0d000000-0000-4000-8000-00000000000f")
    assert directory.sessions_valid_from("0d000000-0000-4000-8000-00000000000f") == 0
    assert directory.find("0d000000-0000-4000-8000-00000000000f") is None
    commands = directory.commands()
    commands["revoke_sessions"](DANA)
    assert directory.sessions_valid_from(DANA) == 1234
    assert commands["join"]({"group": contoso.SECURITY.id, "member": DANA})
    assert not commands["join"]({"group": contoso.SECURITY.id, "member": DANA})
    assert commands["leave"]({"group": contoso.SECURITY.id, "member": DANA})
    assert not commands["leave"]({"group": contoso.SECURITY.id, "member": DANA})
    commands["disable"](DANA)
    commands["enable"](DANA)
    assert directory.enabled(DANA)
    loop = [contoso.Group("9d000000-0000-4000-8000-000000000001", "a", (DANA, "9d000000-0000-4000-8000-000000000002"))]
    loop.append(contoso.Group("9d000000-0000-4000-8000-000000000002", "b", ("9d000000-0000-4000-8000-000000000001",)))
    assert [group.name for group in Directory(lambda: 0.0, loop).groups_of(DANA)] == ["a", "b"]
