"""Graph's applications and service principals: made, changed, deleted and brought back, each behind its permission."""

from remit.lab import contoso

REMIT = contoso.REMIT.id
ROLE = {
    "id": "11111111-0000-4000-8000-000000000001",
    "value": "Reader",
    "displayName": "Reader",
    "description": "reads",
    "allowedMemberTypes": ["User", "Application"],
    "isEnabled": True,
}
SCOPE = {
    "id": "22222222-0000-4000-8000-000000000001",
    "value": "access",
    "adminConsentDisplayName": "access",
    "adminConsentDescription": "access",
    "isEnabled": True,
    "type": "User",
}


def code(answer):
    assert answer[1]["error"]["message"]
    return answer[0], answer[1]["error"]["code"]


def listed(administrator, path):
    found = []
    while path:
        status, answer = administrator("GET", path.removeprefix("https://graph.microsoft.com/v1.0/"))
        assert status == 200, answer
        found += answer["value"]
        path = answer.get("@odata.nextLink")
    return found


def test_contosos_applications_are_told_as_they_stand(administrator):
    names = {each["displayName"] for each in listed(administrator, "applications?$top=2")}
    assert names == {app.name for app in contoso.APPS if app not in contoso.MICROSOFTS}
    status, remit = administrator("GET", f"applications(appId='{REMIT}')")
    assert status == 200
    assert remit["identifierUris"] == ["api://remit"]
    assert remit["groupMembershipClaims"] == "SecurityGroup"
    assert {each["name"] for each in remit["optionalClaims"]["accessToken"]} == contoso.REMIT.optional
    assert [each["value"] for each in remit["appRoles"]] == ["DataScientist", "MLEngineer", "Pipeline", "Security"]
    assert remit["web"]["redirectUris"] == list(contoso.REMIT.redirects)
    [client] = remit["api"]["preAuthorizedApplications"]
    assert client["appId"] == contoso.CLI.id
    [client] = administrator("GET", f"applications(appId='{contoso.GOOGLE.id}')")[1]["api"]["preAuthorizedApplications"]
    assert client["appId"] == REMIT
    assert administrator("GET", f"applications/{remit['id']}?$select=id,displayName")[1].keys() == {
        "@odata.context",
        "id",
        "displayName",
    }


FILTERS = [
    (f"appId eq '{REMIT}'", {"Remit"}),
    ("displayName eq 'remit'", {"Remit"}),
    ("identifierUris/any(x:x eq 'api://remit')", {"Remit"}),
    ("startswith(displayName, 'Remit')", {"Remit", "Remit command line", "Remit at Google"}),
    ("startswith(displayName,'Remit') and isFallbackPublicClient eq true", {"Remit command line"}),
    ("api/oauth2PermissionScopes/any(s:s/value eq 'exchange')", {"Remit at Google"}),
    ("createdDateTime lt 2025-01-01T00:00:00Z", set()),
    ("displayName eq 'it''s'", set()),
    ("uniqueName eq 'nobody'", set()),
]
NO_FILTERS = ("appId", "appId eq", "appId eq 'a' or appId eq 'b'", "appId eq 'a' and", "not(appId eq 'a')", "x eq 3x")


def test_filters(administrator):
    for text, found in FILTERS:
        assert {each["displayName"] for each in listed(administrator, f"applications?$filter={text}")} == found, text
    for text in NO_FILTERS:
        assert code(administrator("GET", f"applications?$filter={text}"))[0] == 400, text


def test_an_upsert_makes_one_application_however_often_it_is_sent(administrator):
    path, body = "applications(uniqueName='remit-new')", {"displayName": "New", "identifierUris": ["api://new"]}
    assert code(administrator("PATCH", path, body))[0] == 404
    status, made = administrator("PATCH", path, body, prefer="create-if-missing")
    assert (status, made["uniqueName"], made["identifierUris"]) == (201, "remit-new", ["api://new"])
    assert made["api"]["requestedAccessTokenVersion"] is None
    assert administrator("PATCH", path, {**body, "notes": "again"}, prefer="create-if-missing") == (204, None)
    status, found = administrator("GET", path)
    assert (status, found["id"], found["notes"]) == (200, made["id"], "again")
    assert len(listed(administrator, "applications?$filter=uniqueName eq 'remit-new'")) == 1
    assert code(administrator("PATCH", path, {"uniqueName": "other"}))[0] == 400
    assert code(administrator("PATCH", f"applications/{made['id']}", {"appId": REMIT}))[0] == 400
    assert code(administrator("POST", "applications", {"displayName": "x", "uniqueName": "y"}))[0] == 400


def test_what_is_complex_is_merged_and_what_is_a_list_is_replaced(administrator):
    made = administrator.make("New", api={"oauth2PermissionScopes": [SCOPE]}, web={"redirectUris": ["https://a/b"]})
    path = f"applications/{made['id']}"
    assert administrator("PATCH", path, {"api": {"requestedAccessTokenVersion": 2}})[0] == 204
    assert administrator("PATCH", path, {"web": {"redirectUris": ["https://c/d"]}, "tags": ["t"]})[0] == 204
    found = administrator("GET", path)[1]
    assert [each["value"] for each in found["api"]["oauth2PermissionScopes"]] == ["access"]
    assert found["api"]["requestedAccessTokenVersion"] == 2
    assert found["web"]["redirectUris"] == ["https://c/d"]
    assert found["web"]["implicitGrantSettings"]["enableIdTokenIssuance"] is False
    assert found["tags"] == ["t"]


WRONG = [
    {"nonsense": 1},
    {"displayName": ""},
    {"displayName": None},
    {"displayName": 3},
    {"displayName": "x" * 257},
    {"isFallbackPublicClient": "yes"},
    {"identifierUris": "api://x"},
    {"identifierUris": ["api://x", "api://x"]},
    {"identifierUris": ["x"]},
    {"identifierUris": ["api://remit"]},
    {"signInAudience": "Everybody"},
    {"groupMembershipClaims": "Some"},
    {"api": {"requestedAccessTokenVersion": 3}},
    {"api": {"nonsense": 1}},
    {"api": None},
    {"api": {"preAuthorizedApplications": [{"appId": REMIT, "delegatedPermissionIds": [ROLE["id"]]}]}},
    {"appRoles": [{**ROLE, "id": "x"}]},
    {"appRoles": [{**ROLE, "displayName": None}]},
    {"appRoles": [{**ROLE, "value": "a b"}]},
    {"appRoles": [ROLE, {**ROLE, "id": ROLE["id"].replace("1", "2")}]},
    {"appRoles": [ROLE, {**ROLE, "value": "Other"}]},
    {"optionalClaims": {"accessToken": ["acct"]}},
    {"web": {"redirectUris": ["https://a/b#c"]}},
    {"passwordCredentials": [{"displayName": "x"}]},
    {"keyCredentials": [{"type": "AsymmetricX509Cert", "usage": "Verify", "key": "bm8="}]},
    {"keyCredentials": [{"type": "Symmetric", "usage": "Verify", "key": "bm8="}]},
]


def test_what_the_directory_does_not_take(administrator):
    made = administrator.make("New")
    for body in WRONG:
        assert code(administrator("PATCH", f"applications/{made['id']}", body))[0] == 400, body
        assert administrator("GET", f"applications/{made['id']}")[1]["displayName"] == "New"
        assert code(administrator("POST", "applications", {"displayName": "Other", **body}))[0] == 400, body


def test_roles_and_scopes_are_disabled_before_they_go(administrator):
    made = administrator.make("New", appRoles=[ROLE], api={"oauth2PermissionScopes": [SCOPE]})
    path = f"applications/{made['id']}"
    for without, disabled in (
        ({"appRoles": []}, {"appRoles": [{**ROLE, "isEnabled": False}]}),
        (
            {"api": {"oauth2PermissionScopes": []}},
            {"api": {"oauth2PermissionScopes": [{**SCOPE, "isEnabled": False}]}},
        ),
    ):
        assert code(administrator("PATCH", path, without)) == (400, "CannotDeleteOrUpdateEnabledEntitlement")
        assert administrator("PATCH", path, disabled)[0] == 204
        assert administrator("PATCH", path, without)[0] == 204
    assert administrator("PATCH", path, {"appRoles": [{**ROLE, "value": "Writer"}]})[0] == 204
    assert administrator("PATCH", path, {"appRoles": [{**ROLE, "value": "Renamed"}]})[0] == 204


def test_a_deleted_application_keeps_its_names_for_thirty_days(administrator):
    path = "applications(uniqueName='remit-new')"
    body = {"displayName": "New", "identifierUris": ["api://new"]}
    made = administrator("PATCH", path, body, prefer="create-if-missing")[1]
    principal = administrator.principal(made["appId"])
    assert administrator("DELETE", path)[0] == 204
    assert code(administrator("GET", path))[0] == 404
    assert code(administrator("GET", f"servicePrincipals/{principal['id']}"))[0] == 404
    for again in ({"displayName": "x", "identifierUris": ["api://new"]},):
        assert code(administrator("POST", "applications", again)) == (400, "Request_BadRequest")
    status, answer = administrator("PATCH", path, {"displayName": "New"}, prefer="create-if-missing")
    assert (status, answer["error"]["message"]) == (
        400,
        "Another object with the same value for property uniqueName already exists.",
    )
    [deleted] = listed(administrator, "directory/deletedItems/microsoft.graph.application")
    assert (deleted["id"], bool(deleted["deletedDateTime"])) == (made["id"], True)
    assert administrator("GET", f"directory/deletedItems/{made['id']}")[1]["displayName"] == "New"
    assert administrator("POST", f"directory/deletedItems/{made['id']}/restore")[0] == 200
    assert administrator("GET", path)[1]["appId"] == made["appId"]
    assert administrator("GET", f"servicePrincipals(appId='{made['appId']}')")[1]["id"] == principal["id"]
    assert code(administrator("POST", f"directory/deletedItems/{made['id']}/restore"))[0] == 404
    assert administrator("DELETE", path)[0] == 204
    assert administrator("DELETE", f"directory/deletedItems/{made['id']}")[0] == 204
    status, other = administrator("PATCH", path, body, prefer="create-if-missing")
    assert status == 201
    assert other["id"] != made["id"]
    assert administrator("DELETE", path)[0] == 204
    administrator.world.clouds.entra_clock.skew = 31 * 24 * 3600
    administrator.as_one("Application.ReadWrite.All")
    assert listed(administrator, "directory/deletedItems/microsoft.graph.application") == []
    assert administrator("PATCH", path, body, prefer="create-if-missing")[0] == 201


def test_a_service_principal_shows_what_its_application_exposes(administrator):
    made = administrator.make("New", appRoles=[ROLE], identifierUris=["api://new"])
    principal = administrator.principal(made["appId"])
    assert [each["value"] for each in principal["appRoles"]] == ["Reader"]
    assert principal["servicePrincipalNames"] == [made["appId"], "api://new"]
    path = f"servicePrincipals(appId='{made['appId']}')"
    assert code(administrator("POST", "servicePrincipals", {"appId": made["appId"]})) == (
        409,
        "Request_MultipleObjectsWithSameKeyValue",
    )
    assert administrator("PATCH", path, {"appRoleAssignmentRequired": True, "tags": ["x"]})[0] == 204
    found = administrator("GET", path)[1]
    assert (found["appRoleAssignmentRequired"], found["tags"]) == (True, ["x"])
    assert code(administrator("PATCH", path, {"accountEnabled": None}))[0] == 400
    assert code(administrator("PATCH", path, {"displayName": "x"}))[0] == 400
    [listed_one] = listed(administrator, f"servicePrincipals?$filter=appId eq '{made['appId']}'")
    assert listed_one["id"] == principal["id"]
    assert administrator("DELETE", path)[0] == 204
    assert code(administrator("GET", path))[0] == 404
    again = administrator.principal(made["appId"])
    assert again["id"] != principal["id"]
    status, answer = administrator("POST", "servicePrincipals", {"appId": ROLE["id"]})
    assert (status, answer["error"]["details"][0]["code"]) == (400, "NoBackingApplicationObject")
    assert "does not reference a valid application object" in answer["error"]["message"]
    assert code(administrator("POST", "servicePrincipals", {}))[0] == 400
    kinds = {each["id"]: each["servicePrincipalType"] for each in listed(administrator, "servicePrincipals")}
    assert kinds[contoso.MI_ARBITER.oid] == "ManagedIdentity"


def test_the_first_day_knows_nothing_of_remit(beginner):
    assert [each["displayName"] for each in listed(beginner, "applications")] == [
        contoso.FOREIGN.name,
        contoso.NIGHTLY.name,
    ]
    assert code(beginner("GET", f"servicePrincipals(appId='{REMIT}')"))[0] == 404
    assert len(listed(beginner, "servicePrincipals")) == 2 + len(contoso.MICROSOFTS) + len(contoso.MANAGED_IDENTITIES)
    graph = f"servicePrincipals(appId='{contoso.GRAPH.id}')"
    held = listed(beginner, f"{graph}/appRoleAssignedTo")
    assert {each["principalId"] for each in held} == {contoso.ADMINISTRATOR.oid}
    roles = {each["id"]: each["value"] for each in beginner("GET", graph)[1]["appRoles"]}
    assert {roles[each["appRoleId"]] for each in held} == set(contoso.ADMINISTRATOR_ROLES)


PERMISSIONS = [
    ("GET", "applications", "Application.Read.All"),
    ("POST", "applications", "Application.ReadWrite.All"),
    ("PATCH", "applications(uniqueName='x')", "Application.ReadWrite.All"),
    ("GET", "directory/deletedItems/microsoft.graph.servicePrincipal", "Application.Read.All"),
    ("POST", "servicePrincipals", "Application.ReadWrite.All"),
    ("PATCH", f"servicePrincipals(appId='{REMIT}')", "Application.ReadWrite.All"),
    ("POST", f"applications(appId='{REMIT}')/federatedIdentityCredentials", "Application.ReadWrite.All"),
    ("GET", f"applications(appId='{REMIT}')/federatedIdentityCredentials", "Application.Read.All"),
    ("POST", f"applications(appId='{REMIT}')/addPassword", "Application.ReadWrite.All"),
    ("POST", f"applications(appId='{REMIT}')/addKey", "Application.ReadWrite.All"),
    (
        "POST",
        f"servicePrincipals(appId='{REMIT}')/appRoleAssignedTo",
        "AppRoleAssignment.ReadWrite.All Application.Read.All",
    ),
    ("DELETE", f"servicePrincipals(appId='{REMIT}')/appRoleAssignedTo/x", "AppRoleAssignment.ReadWrite.All"),
    ("POST", "oauth2PermissionGrants", "DelegatedPermissionGrant.ReadWrite.All"),
    ("GET", "auditLogs/directoryAudits", "AuditLog.Read.All"),
    ("DELETE", f"servicePrincipals(appId='{REMIT}')", "Application.ReadWrite.All"),
    ("DELETE", f"applications(appId='{REMIT}')", "Application.ReadWrite.All"),
]


def test_each_call_is_behind_its_permission(administrator):
    for method, path, enough in PERMISSIONS:
        short = [enough.split()[:-1], ["Application.Read.All"] if "ReadWrite" in enough else ["User.Read.All"]]
        for permissions in short:
            administrator.as_one(*permissions)
            refused = code(administrator(method, path, {}))
            assert refused == (403, "Authorization_RequestDenied"), (method, path, permissions)
        administrator.as_one(*enough.split())
        assert administrator(method, path, {})[0] != 403, (method, path)


def test_paths_may_come_escaped_and_in_a_batch(administrator):
    assert administrator("GET", f"applications%28appId%3D%27{REMIT}%27%29")[0] == 200
    asked = [
        {
            "id": "1",
            "method": "PATCH",
            "url": "/applications(uniqueName='in-a-batch')",
            "headers": {"Prefer": "create-if-missing", "Content-Type": "application/json"},
            "body": {"displayName": "Batch"},
        },
        {"id": "2", "method": "GET", "url": "/applications(uniqueName='in-a-batch')"},
    ]
    status, answer = administrator("POST", "$batch", {"requests": asked})
    assert status == 200
    assert {each["id"]: each["status"] for each in answer["responses"]} == {"1": 201, "2": 200}
    administrator.world.clouds.commands()["graph_throttle"]({"times": 1, "retry_after": 2})
    assert code(administrator("POST", "applications", {"displayName": "x"}))[0] == 429


def test_a_change_is_seen_when_the_lag_is_over(administrator):
    lag = administrator.world.clouds.commands()["lag"]
    lag({"entra": 3600})
    made = administrator.make("Late")
    assert code(administrator("GET", f"applications/{made['id']}"))[0] == 404
    assert code(administrator("POST", "servicePrincipals", {"appId": made["appId"]})) == (400, "Request_BadRequest")
    path = "applications(uniqueName='late')"
    assert administrator("PATCH", path, {"displayName": "Late"}, prefer="create-if-missing")[0] == 201
    assert administrator("PATCH", path, {"displayName": "Late"}, prefer="create-if-missing")[0] == 204
    assert code(administrator("GET", path))[0] == 404
    lag({"entra": 0})
    early = administrator.make("Early")
    lag({"entra": 3600})
    principal = administrator.principal(early["appId"])
    remit = administrator("GET", f"servicePrincipals(appId='{REMIT}')")[1]
    body = {"principalId": principal["id"], "resourceId": remit["id"], "appRoleId": remit["appRoles"][0]["id"]}
    assert code(administrator("POST", f"servicePrincipals/{remit['id']}/appRoleAssignedTo", body))[0] == 404
    assert administrator("PATCH", f"applications/{early['id']}", {"displayName": "Renamed"})[0] == 204
    assert administrator("GET", f"applications/{early['id']}")[1]["displayName"] == "Early"
