"""What the lab's Graph tells of whole groups and of roles, and which permissions it takes."""

import asyncio
import json
import time

import pytest

from remit.lab import contoso
from remit.lab.directory import Directory
from remit.lab.entra_born import role_id
from remit.lab.graph import Graph
from remit.lab.http import Request

FRAUD, ENGINEERS = contoso.ML_ENGINEERS_FRAUD, contoso.ML_ENGINEERS
ASSIGNED = f"/v1.0/servicePrincipals(appId='{contoso.REMIT.id}')/appRoleAssignedTo"


class Tenant:
    """Graph with a token of the permissions that a test names."""

    def __init__(self):
        self.directory = Directory(time.time)
        log = type("Log", (), {"entries": []})()
        self.graph = Graph(self, log, time.time, self.directory)
        self.permissions = ["Directory.Read.All"]

    def verify(self, token):
        """This test is about what stands behind the keys."""
        return {"aud": contoso.GRAPH.uri, "exp": time.time() + 60, "roles": self.permissions}

    def __call__(self, target):
        path, _, query = target.removeprefix("https://graph.microsoft.com").partition("?")
        pairs = tuple(tuple(pair.split("=", 1)) for pair in query.split("&") if pair)
        headers = {"authorization": "Bearer t"}
        answer = asyncio.run(self.graph(Request("GET", "graph.microsoft.com", path, pairs, headers, b"")))
        return int(answer.status), json.loads(answer.body)

    def all(self, target):
        items = []
        while target:
            status, page = self(target)
            assert status == 200, page
            items += page["value"]
            target = page.get("@odata.nextLink")
        return items


@pytest.fixture
def tenant():
    return Tenant()


def test_members_are_direct_and_typed(tenant):
    found = {one["id"]: one["@odata.type"] for one in tenant.all(f"/v1.0/groups/{FRAUD.id}/members?$select=id&$top=2")}
    assert found == dict.fromkeys(FRAUD.members, "#microsoft.graph.user")
    [nested] = tenant.all(f"/v1.0/groups/{ENGINEERS.id}/members")
    assert (nested["id"], nested["@odata.type"]) == (FRAUD.id, "#microsoft.graph.group")
    tenant.directory.join(FRAUD.id, contoso.FRAUD_PIPELINE.oid)
    tenant.directory.delete(contoso.DANA.oid)
    found = {one["id"]: one["@odata.type"] for one in tenant.all(f"/v1.0/groups/{FRAUD.id}/members")}
    assert contoso.DANA.oid not in found
    assert found[contoso.FRAUD_PIPELINE.oid] == "#microsoft.graph.servicePrincipal"


def test_owners_that_exist(tenant):
    path = f"/v1.0/groups/{FRAUD.id}/owners?$select=id,displayName"
    assert [one["displayName"] for one in tenant.all(path)] == ["Olga"]
    tenant.directory.delete(contoso.OLGA.oid)
    assert tenant.all(path) == []


def test_groups_are_listed_page_by_page(tenant):
    found = tenant.all("/v1.0/groups?$top=100&$select=id,displayName,securityEnabled")
    assert [one["id"] for one in found] == [group.id for group in contoso.GROUPS]
    assert all(one["securityEnabled"] is True for one in found)


def test_roles_and_who_holds_them(tenant):
    [own] = (one for one in tenant.all("/v1.0/servicePrincipals") if one["appId"] == contoso.REMIT.id)
    roles = {role["id"]: role["value"] for role in own["appRoles"]}
    assert roles[role_id("MLEngineer")] == "MLEngineer"
    held = {(one["principalId"], roles[one["appRoleId"]]) for one in tenant.all(f"{ASSIGNED}?$top=1")}
    assert (contoso.DANA.oid, "MLEngineer") in held
    assert (contoso.FRAUD_PIPELINE.oid, "Pipeline") in held
    tenant.directory.delete(contoso.DANA.oid)
    assert contoso.DANA.oid not in {one["principalId"] for one in tenant.all(ASSIGNED)}
    assert tenant.all(ASSIGNED.replace(contoso.REMIT.id, contoso.CLI.id)) == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1.0/groups/9f000000-0000-4000-8000-000000000001/members",
        "/v1.0/groups/9f000000-0000-4000-8000-000000000001/owners",
        f"/v1.0/groups/{contoso.DANA.oid}/members",
        ASSIGNED.replace(contoso.REMIT.id, "9f000000-0000-4000-8000-000000000001"),
    ],
)
def test_what_is_not_there_is_not_found(tenant, path):
    assert tenant(path)[0] == 404


GROUPS = ("GroupMember.Read.All", "Group.Read.All", "Directory.Read.All")
APPLICATIONS = ("Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All")


@pytest.mark.parametrize(
    ("path", "enough", "lacking"),
    [
        ("/v1.0/groups", GROUPS, ("User.Read.All", "Application.Read.All", "User.ReadBasic.All")),
        (f"/v1.0/groups/{FRAUD.id}/members", GROUPS, ("User.Read.All", "Application.Read.All")),
        (f"/v1.0/groups/{FRAUD.id}/owners", GROUPS, ("User.Read.All", "Application.Read.All")),
        (ASSIGNED, APPLICATIONS, ("User.Read.All", "GroupMember.Read.All", "Group.Read.All")),
    ],
)
def test_the_permissions_that_it_takes(tenant, path, enough, lacking):
    for permission in enough:
        tenant.permissions = [permission]
        assert tenant(path)[0] == 200, permission
    for permissions in ([], *([each] for each in lacking)):
        tenant.permissions = permissions
        assert tenant(path)[0] == 403, permissions


def test_contoso_s_consent_is_enough_for_all_of_it(tenant):
    tenant.permissions = list(contoso.GRAPH_ROLES[contoso.REMIT.id])
    for path in ("/v1.0/users", "/v1.0/servicePrincipals", "/v1.0/groups", ASSIGNED, f"/v1.0/groups/{FRAUD.id}/owners"):
        assert tenant(path)[0] == 200
