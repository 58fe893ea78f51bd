"""Changing Google's access with Google's own client, whose requests and answers are held against its description."""

import json
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
from googleapiclient import discovery
from googleapiclient.discovery_cache import get_static_doc
from googleapiclient.errors import HttpError
from httplib2 import Response as HttpAnswer
from tests.unit.lab.conftest import CLOUD_PLATFORM, World

from remit.lab import contoso, lifecycle
from remit.lab.errors import CloudError
from remit.lab.faults import Fault
from remit.lab.google_wire import DAY
from remit.lab.service import Clouds
from remit.model.errors import RemitError

TEST, PROD = contoso.FRAUD_TEST, contoso.FRAUD_PROD
ENGINEER = contoso.account("ml-engineer", TEST)
ADMIN = f"user:{contoso.ADMIN}"
LOCATION = f"projects/{PROD.number}/locations/global"
MAPPING = {"google.subject": "assertion.sub"}


def conforms(document: dict[str, Any], schema: dict[str, Any], value: Any, place: str = "") -> None:
    """No member that Google's description does not have, and every one of its type."""
    schema = document["schemas"][schema["$ref"]] if "$ref" in schema else schema
    kind = schema.get("type", "any")
    assert isinstance(value, {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}.get(kind, object)), place  # fmt: skip
    if kind == "object":
        known, other = schema.get("properties", {}), schema.get("additionalProperties")
        for name, inner in value.items():
            assert name in known or other, f"{place}.{name} is not described"
            conforms(document, known.get(name) or other, inner, f"{place}.{name}")
    if kind == "array":
        for inner in value:
            conforms(document, schema["items"], inner, f"{place}[]")


class Wire:
    """What Google's client takes for an HTTP connection: the lab's clouds in this process."""

    def __init__(self, world: World, bearer: str, methods: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> None:
        self.world, self.bearer, self.methods = world, bearer, methods
        self.current = ""

    def request(self, uri: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any) -> Any:
        parts = urlsplit(uri)
        query = "&".join(unquote(pair) for pair in parts.query.split("&") if pair != "alt=json")
        path = f"{parts.path}?{query}" if query else parts.path
        document, described = self.methods[self.current]
        given = json.loads(body) if body else None
        if given is not None and "request" in described:
            conforms(document, described["request"], given, self.current)
        host = parts.netloc
        try:
            answer = self.world.ask(host, method, path, body=given, bearer=self.bearer)
        except CloudError as error:
            return HttpAnswer({"status": error.http_status, "content-type": "application/json"}), error.json()
        if answer.status == 200:
            conforms(document, described["response"], json.loads(answer.body), self.current)
        return HttpAnswer({"status": answer.status, "content-type": "application/json"}), answer.body


def methods(document: dict[str, Any], resource: dict[str, Any]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    found = {each["id"]: (document, each) for each in resource.get("methods", {}).values()}
    for inner in resource.get("resources", {}).values():
        found |= methods(document, inner)
    return found


class Google:
    """Google's APIs by their methods' ids: `google("iam.projects.roles.get", name=…)`."""

    def __init__(self, world: World, bearer: str = "") -> None:
        self.world = world
        token = bearer or world.clouds.commands()["google_administrator"](True)
        self.apis: dict[str, Any] = {}
        known: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self.wire = Wire(world, token, known)
        for name, version in (("iam", "v1"), ("cloudresourcemanager", "v1"), ("storage", "v1")):
            document = json.loads(get_static_doc(name, version))
            known |= methods(document, document)
            self.apis[name] = discovery.build_from_document(document, http=self.wire)

    def __call__(self, method: str, **given: Any) -> dict[str, Any]:
        api, *path, last = method.split(".")
        place = self.apis[api]
        for each in path:
            place = getattr(place, each)()
        self.wire.current = method
        return getattr(place, last)(**given).execute()

    def refused(self, method: str, **given: Any) -> tuple[int, str]:
        with pytest.raises(HttpError) as caught:
            self(method, **given)
        error = json.loads(caught.value.content)["error"]
        return caught.value.status_code, error["message"]

    def policy(self, project: contoso.Project = TEST) -> dict[str, Any]:
        asked = {"options": {"requestedPolicyVersion": 3}}
        return self("cloudresourcemanager.projects.getIamPolicy", resource=project.id, body=asked)

    def set_policy(self, policy: dict[str, Any], mask: str = "") -> dict[str, Any]:
        body = {"policy": policy} | ({"updateMask": mask} if mask else {})
        return self("cloudresourcemanager.projects.setIamPolicy", resource=TEST.id, body=body)

    def refused_policy(self, policy: dict[str, Any]) -> tuple[int, str]:
        return self.refused("cloudresourcemanager.projects.setIamPolicy", resource=TEST.id, body={"policy": policy})

    def account(self, name: str = "newcomer") -> str:
        made = self("iam.projects.serviceAccounts.create", name=f"projects/{TEST.id}", body={"accountId": name})
        return made["email"]

    def use(self, email: str, member: str, role: str = "roles/iam.workloadIdentityUser") -> None:
        name = f"projects/-/serviceAccounts/{email}"
        held = self("iam.projects.serviceAccounts.getIamPolicy", resource=name)
        held.setdefault("bindings", []).append({"role": role, "members": [member]})
        self("iam.projects.serviceAccounts.setIamPolicy", resource=name, body={"policy": held})


@pytest.fixture
def google(world: World) -> Google:
    return Google(world)


@pytest.fixture
def empty(tmp_path) -> Google:
    return Google(World(Clouds(tmp_path, world=contoso.EMPTY)))


def named(email: str, project: str = "-") -> str:
    return f"projects/{project}/serviceAccounts/{email}"


def grant(policy: dict[str, Any], role: str, member: str, condition: Any = None) -> dict[str, Any]:
    line = {"role": role, "members": [member]} | ({"condition": condition} if condition else {})
    return {**policy, "bindings": [*policy.get("bindings", []), line]}


def may(world: World, email: str, permission: str, resource: str) -> bool:
    """Whether an account's token is good for something now."""
    caller = world.clouds.iam.caller(
        f"Bearer {world.clouds.iam.mint(email=email, scopes=[CLOUD_PLATFORM], lifetime=60)[0]}"
    )
    return world.clouds.iam.effective(caller, [permission], resource) == [permission]


# Service accounts


def test_an_account_lives_dies_and_comes_back(google):
    email = google.account()
    name = named(email, TEST.id)
    shown = google("iam.projects.serviceAccounts.get", name=name)
    assert (shown["projectId"], shown["uniqueId"]) == (TEST.id, shown["oauth2ClientId"])
    body = {"serviceAccount": {"displayName": "New", "description": "about"}, "updateMask": "displayName"}
    changed = google("iam.projects.serviceAccounts.patch", name=name, body=body)
    assert changed["displayName"] == "New"
    assert "description" not in changed
    google("iam.projects.serviceAccounts.disable", name=name, body={})
    assert google("iam.projects.serviceAccounts.get", name=name)["disabled"] is True
    google("iam.projects.serviceAccounts.enable", name=name, body={})
    assert email in {
        each["email"] for each in google("iam.projects.serviceAccounts.list", name=f"projects/{TEST.id}")["accounts"]
    }
    google.set_policy(grant(google.policy(), "roles/logging.viewer", f"serviceAccount:{email}"))
    google("iam.projects.serviceAccounts.delete", name=name)
    gone = f"deleted:serviceAccount:{email}?uid={shown['uniqueId']}"
    assert gone in json.dumps(google.policy())
    assert google.refused("iam.projects.serviceAccounts.get", name=name)[0] == 404
    restored = google("iam.projects.serviceAccounts.undelete", name=named(shown["uniqueId"]), body={})
    assert restored["restoredAccount"]["uniqueId"] == shown["uniqueId"]
    assert f'"serviceAccount:{email}"' in json.dumps(google.policy())
    assert may(google.world, email, "logging.logs.list", f"projects/{TEST.id}")


def test_another_account_of_the_same_name_inherits_nothing(google):
    email = google.account()
    first = google("iam.projects.serviceAccounts.get", name=named(email))["uniqueId"]
    google.set_policy(grant(google.policy(), "roles/logging.viewer", f"serviceAccount:{email}"))
    google.use(email, ADMIN)
    old, _ = google.world.clouds.iam.mint(email=email, scopes=[CLOUD_PLATFORM], lifetime=60)
    google("iam.projects.serviceAccounts.delete", name=named(email))
    assert google.account() == email
    second = google("iam.projects.serviceAccounts.get", name=named(email))["uniqueId"]
    assert first != second
    assert not may(google.world, email, "logging.logs.list", f"projects/{TEST.id}")
    assert "bindings" not in google("iam.projects.serviceAccounts.getIamPolicy", resource=named(email))
    with pytest.raises(CloudError, match="invalid authentication"):
        google.world.clouds.iam.caller(f"Bearer {old}")
    assert google.refused("iam.projects.serviceAccounts.undelete", name=named(first), body={})[0] == 409


def test_a_deleted_account_is_kept_for_thirty_days(google):
    email = google.account()
    number = google("iam.projects.serviceAccounts.get", name=named(email))["uniqueId"]
    google("iam.projects.serviceAccounts.delete", name=named(email))
    google.world.clouds.commands()["skew_google"](31 * DAY)
    later = Google(google.world)
    assert later.refused("iam.projects.serviceAccounts.undelete", name=named(number), body={})[0] == 404


@pytest.mark.parametrize("name", ["short", "Capital-name", "1digit-first", "dash-at-end-", "x" * 31, ""])
def test_names_of_accounts(google, name):
    found = google.refused("iam.projects.serviceAccounts.create", name=f"projects/{TEST.id}", body={"accountId": name})
    assert found[0] == 400


def test_an_account_is_made_once(google):
    body = {"accountId": "ml-engineer"}
    status, message = google.refused("iam.projects.serviceAccounts.create", name=f"projects/{TEST.id}", body=body)
    assert (status, message) == (
        409,
        f"Service account ml-engineer already exists within project projects/{TEST.id}.",
    )


def test_disabled_and_deleted_accounts_are_nobodys_any_more(world, google):
    token = world.account_token(contoso.DANA, ENGINEER)
    federated = world.exchange(world.google_subject(contoso.DANA))[1]["access_token"]
    google("iam.projects.serviceAccounts.disable", name=named(ENGINEER), body={})
    with pytest.raises(CloudError) as caught:
        world.clouds.iam.caller(f"Bearer {token}")
    assert caught.value.details[0]["reason"] == "ACCOUNT_STATE_INVALID"
    with pytest.raises(CloudError) as caught:
        world.impersonate(federated, ENGINEER)
    assert caught.value.code.name == "FAILED_PRECONDITION"
    google("iam.projects.serviceAccounts.enable", name=named(ENGINEER), body={})
    assert world.clouds.iam.caller(f"Bearer {token}").email == ENGINEER
    google("iam.projects.serviceAccounts.delete", name=named(ENGINEER))
    with pytest.raises(CloudError) as caught:
        world.impersonate(federated, ENGINEER)
    assert caught.value.message == f"Not found; Gaia id not found for email {ENGINEER}"


# Policies


def test_two_writers(google):
    mine, yours = google.policy(), google.policy()
    google.set_policy(grant(mine, "roles/logging.viewer", ADMIN))
    status, message = google.refused_policy(grant(yours, "roles/logging.logWriter", ADMIN))
    assert status == 409
    assert message.startswith("There were concurrent policy changes. Please retry the whole read-modify-write")
    google.set_policy(grant(google.policy(), "roles/logging.logWriter", ADMIN))
    roles = {line["role"] for line in google.policy()["bindings"] if ADMIN in line["members"]}
    assert roles == {"roles/owner", "roles/logging.viewer", "roles/logging.logWriter"}


@pytest.mark.parametrize(
    ("role", "member", "message"),
    [
        ("roles/viewer", "serviceAccount:x@contoso-fraud-test.iam.gserviceaccount.com", "does not exist."),
        ("roles/viewer", "dana@contoso.example", "is of an unknown type"),
        ("roles/viewer", "user:dana", "Invalid value for member"),
        ("roles/viewer", "allUsers", "cannot be added"),
        ("roles/viewer", f"principalSet://iam.googleapis.com/{LOCATION}/workloadIdentityPools/none/*", "Identity Pool does not exist"),
        ("roles/viewer", f"principal://iam.googleapis.com/{contoso.PROVIDER.pool}/subject/", "Invalid principal"),
        ("roles/viewer", f"deleted:serviceAccount:{ENGINEER}?uid=1", "Invalid value for member"),
        ("roles/nothing", ADMIN, "is not supported for this resource."),
        (f"projects/{TEST.id}/roles/none", ADMIN, "does not exist in the resource's hierarchy."),
    ],
)  # fmt: skip
def test_bindings_that_are_not_taken(google, role, member, message):
    before = google.policy()
    status, said = google.refused_policy(grant(before, role, member))
    assert (status, message in said) == (400, True), said
    assert google.policy() == before


UNTIL = {"title": "until", "expression": 'request.time < timestamp("2999-01-01T00:00:00Z")'}


def test_conditions_are_enforced_and_never_lost(google):
    trainer, bucket = contoso.account("trainer", TEST), f"projects/_/buckets/{TEST.buckets[0]}"
    where = {"title": "one folder", "expression": f'resource.name.startsWith("{bucket}/objects/open/")'}
    held = google("storage.buckets.getIamPolicy", bucket=TEST.buckets[0])
    held["bindings"] = [line for line in held["bindings"] if line["role"] != "roles/storage.objectAdmin"]
    held = grant(held, "roles/storage.objectViewer", f"serviceAccount:{trainer}", where)
    assert google.refused("storage.buckets.setIamPolicy", bucket=TEST.buckets[0], body=held)[0] == 400
    google("storage.buckets.setIamPolicy", bucket=TEST.buckets[0], body={**held, "version": 3})
    assert may(google.world, trainer, "storage.objects.get", f"{bucket}/objects/open/a")
    assert not may(google.world, trainer, "storage.objects.get", f"{bucket}/objects/closed/a")
    policy = google("storage.buckets.getIamPolicy", bucket=TEST.buckets[0], optionsRequestedPolicyVersion=3)
    assert (policy["version"], where in [line.get("condition") for line in policy["bindings"]]) == (3, True)
    # whoever does not ask for conditions sees that there are some, and cannot write them away
    blind = google("storage.buckets.getIamPolicy", bucket=TEST.buckets[0])
    assert any("_withcond_" in line["role"] for line in blind["bindings"])
    assert google.refused("storage.buckets.setIamPolicy", bucket=TEST.buckets[0], body=blind)[0] == 400
    stale = {**held, "version": 3}
    assert google.refused("storage.buckets.setIamPolicy", bucket=TEST.buckets[0], body=stale)[0] == 412


def test_a_grant_that_ends(google):
    policy = {**grant(google.policy(), "roles/logging.viewer", f"serviceAccount:{contoso.account('trainer', TEST)}", UNTIL)}  # fmt: skip
    google.set_policy({**policy, "version": 3})
    trainer = contoso.account("trainer", TEST)
    assert may(google.world, trainer, "logging.logs.list", f"projects/{TEST.id}")
    google.world.clouds.commands()["skew_google"](1000 * 365 * DAY)
    assert not may(google.world, trainer, "logging.logs.list", f"projects/{TEST.id}")


@pytest.mark.parametrize(
    ("role", "expression"),
    [
        ("roles/logging.viewer", "request.time <"),
        ("roles/logging.viewer", "1 + 1"),
        ("roles/logging.viewer", 'api.getAttribute("x", 1) == 1'),
        ("roles/logging.viewer", 'resource.matchTag("a", "b")'),
        ("roles/logging.viewer", ""),
        ("roles/owner", "true"),
    ],
)
def test_conditions_that_are_not_taken(google, role, expression):
    condition = {"title": "t", "expression": expression}
    assert google.refused_policy({**grant(google.policy(), role, ADMIN, condition), "version": 3})[0] == 400


def test_audit_configurations_change_by_mask_alone(world, google):
    policy = google.policy()
    assert {each["service"] for each in policy["auditConfigs"]} == {service for service, _ in contoso.AUDITED}
    google.set_policy({key: value for key, value in policy.items() if key != "auditConfigs"})
    assert google.policy()["auditConfigs"] == policy["auditConfigs"]
    google.set_policy({"etag": google.policy()["etag"], "auditConfigs": []}, "auditConfigs")
    assert google.policy()["bindings"] == policy["bindings"]
    # nobody asks for the log now, so nothing of an impersonation is kept
    count = len(world.clouds.audit.entries(TEST.id))
    world.account_token(contoso.DANA, ENGINEER)
    assert len(world.clouds.audit.entries(TEST.id)) == count
    config = {"service": "iam.googleapis.com", "auditLogConfigs": [{"logType": "ADMIN_READ"}]}
    google.set_policy({"auditConfigs": [config]}, "auditConfigs")
    world.account_token(contoso.DANA, ENGINEER)
    entries = world.clouds.audit.entries(TEST.id)
    assert entries[-1]["protoPayload"]["methodName"] == "GenerateAccessToken"
    delta = entries[-2]["protoPayload"]["serviceData"]["policyDelta"]["auditConfigDeltas"]
    assert delta == [{"action": "ADD", "service": "iam.googleapis.com", "logType": "ADMIN_READ"}]


def test_changes_stand_in_the_log_with_who_and_what(google):
    trainer = f"serviceAccount:{contoso.account('trainer', TEST)}"
    google.set_policy(grant(google.policy(), "roles/logging.viewer", trainer))
    intruder = Google(google.world, google.world.clouds.iam.mint(email=ENGINEER, scopes=[CLOUD_PLATFORM], lifetime=60)[0])  # fmt: skip
    assert intruder.refused("iam.projects.serviceAccounts.delete", name=named(ENGINEER))[0] == 403
    body = {"resourceNames": [f"projects/{TEST.id}"], "filter": 'logName="projects/contoso-fraud-test/logs/cloudaudit.googleapis.com%2Factivity"'}  # fmt: skip
    answer = google.world.ask(
        "logging.googleapis.com", "POST", "/v2/entries:list", body=body, bearer=google.wire.bearer
    )
    first, second = [entry["protoPayload"] for entry in json.loads(answer.body)["entries"]]
    assert (first["serviceName"], first["methodName"]) == ("cloudresourcemanager.googleapis.com", "SetIamPolicy")
    assert first["authenticationInfo"]["principalEmail"] == contoso.ADMIN
    assert first["serviceData"]["policyDelta"]["bindingDeltas"] == [
        {"action": "ADD", "role": "roles/logging.viewer", "member": trainer}
    ]
    assert second["methodName"] == "google.iam.admin.v1.DeleteServiceAccount"
    assert (second["authenticationInfo"]["principalEmail"], second["status"]["code"]) == (ENGINEER, 7)


# Pools and providers


def poll(google: Google, operation: dict[str, Any], kind: str = "") -> dict[str, Any]:
    assert "done" not in operation
    done = google(f"iam.projects.locations.workloadIdentityPools.{kind}operations.get", name=operation["name"])
    assert done["done"] is True
    return done["response"]


POOLS = "iam.projects.locations.workloadIdentityPools"


def test_a_pool_and_a_provider_from_nothing(empty):
    pool = poll(empty, empty(f"{POOLS}.create", parent=LOCATION, workloadIdentityPoolId="contoso", body={"displayName": "C"}))  # fmt: skip
    assert (pool["state"], pool["name"]) == ("ACTIVE", contoso.PROVIDER.pool)
    body = {
        "attributeMapping": dict(contoso.PROVIDER.mapping),
        "attributeCondition": contoso.PROVIDER.condition,
        "oidc": {"issuerUri": contoso.ISSUER, "allowedAudiences": [contoso.GOOGLE.id]},
    }
    made = empty(f"{POOLS}.providers.create", parent=pool["name"], workloadIdentityPoolProviderId="entra", body=body)
    provider = poll(empty, made, "providers.")
    assert {key: provider[key] for key in body} == body
    listed = empty(f"{POOLS}.providers.list", parent=pool["name"])["workloadIdentityPoolProviders"]
    assert [{**each, "@type": provider["@type"]} for each in listed] == [provider]
    email = empty.account("ml-engineer")
    empty.use(email, contoso.group_member(contoso.ML_ENGINEERS))
    assert [each["name"] for each in empty(f"{POOLS}.list", parent=LOCATION)["workloadIdentityPools"]] == [pool["name"]]


def test_a_deleted_pool_lets_nobody_in_and_keeps_its_name(world, google):
    federated = world.exchange(world.google_subject(contoso.DANA))[1]["access_token"]
    google(f"{POOLS}.delete", name=contoso.PROVIDER.pool)
    assert world.exchange(world.google_subject(contoso.DANA))[1]["error"] == "invalid_target"
    with pytest.raises(CloudError):
        world.impersonate(federated, ENGINEER)
    assert google(f"{POOLS}.get", name=contoso.PROVIDER.pool)["state"] == "DELETED"
    assert google(f"{POOLS}.list", parent=LOCATION) == {}
    assert len(google(f"{POOLS}.list", parent=LOCATION, showDeleted=True)["workloadIdentityPools"]) == 1
    again = {"parent": LOCATION, "workloadIdentityPoolId": "contoso", "body": {}}
    assert google.refused(f"{POOLS}.create", **again) == (409, "Requested entity already exists")
    google(f"{POOLS}.undelete", name=contoso.PROVIDER.pool, body={})
    assert world.impersonate(federated, ENGINEER).status == 200
    google(f"{POOLS}.delete", name=contoso.PROVIDER.pool)
    world.clouds.commands()["skew_google"](31 * DAY)
    later = Google(world)
    assert later.refused(f"{POOLS}.undelete", name=contoso.PROVIDER.pool, body={})[0] == 404
    later(f"{POOLS}.create", **again)
    assert later(f"{POOLS}.providers.list", parent=contoso.PROVIDER.pool) == {}


def test_a_disabled_pool_ends_tokens_and_a_disabled_provider_does_not(world, google):
    federated = world.exchange(world.google_subject(contoso.DANA))[1]["access_token"]
    off, on = {"disabled": True}, {"disabled": False}
    google(f"{POOLS}.providers.patch", name=contoso.PROVIDER.resource, updateMask="disabled", body=off)
    assert world.exchange(world.google_subject(contoso.DANA))[1]["error"] == "invalid_target"
    assert world.impersonate(federated, ENGINEER).status == 200
    google(f"{POOLS}.patch", name=contoso.PROVIDER.pool, updateMask="disabled", body=off)
    with pytest.raises(CloudError):
        world.impersonate(federated, ENGINEER)
    google(f"{POOLS}.patch", name=contoso.PROVIDER.pool, updateMask="disabled", body=on)
    assert world.impersonate(federated, ENGINEER).status == 200


def test_a_deleted_provider_comes_back(world, google):
    name = contoso.PROVIDER.resource
    google(f"{POOLS}.providers.delete", name=name)
    assert world.exchange(world.google_subject(contoso.DANA))[1]["error"] == "invalid_target"
    assert google.refused(f"{POOLS}.providers.patch", name=name, updateMask="disabled", body={})[0] == 404
    google(f"{POOLS}.providers.undelete", name=name, body={})
    assert world.exchange(world.google_subject(contoso.DANA))[0] == 200
    assert google.refused(f"{POOLS}.providers.undelete", name=name, body={})[0] == 404


OIDC = {"issuerUri": "https://i.example"}


@pytest.mark.parametrize(
    ("identifier", "body"),
    [
        ("abc", {"attributeMapping": MAPPING, "oidc": OIDC}),
        ("gcp-mine", {"attributeMapping": MAPPING, "oidc": OIDC}),
        ("x" * 33, {"attributeMapping": MAPPING, "oidc": OIDC}),
        ("entra2", {"oidc": OIDC}),
        ("entra2", {"attributeMapping": MAPPING}),
        ("entra2", {"attributeMapping": MAPPING, "oidc": {"issuerUri": "http://i.example"}}),
        ("entra2", {"attributeMapping": MAPPING, "oidc": {**OIDC, "allowedAudiences": ["a"] * 11}}),
        ("entra2", {"attributeMapping": MAPPING, "oidc": {**OIDC, "allowedAudiences": ["a" * 257]}}),
        ("entra2", {"attributeMapping": MAPPING, "oidc": OIDC, "displayName": "x" * 33}),
        ("entra2", {"attributeMapping": MAPPING, "oidc": OIDC, "description": "x" * 257}),
        ("entra2", {"attributeMapping": MAPPING, "oidc": OIDC, "attributeCondition": f'"{"x" * 4096}" == ""'}),
        ("entra2", {"attributeMapping": MAPPING, "oidc": OIDC, "attributeCondition": "assertion.sub =="}),
        ("entra2", {"attributeMapping": {"google.subject": f'"{"x" * 2048}"'}, "oidc": OIDC}),
        ("entra2", {"attributeMapping": {**MAPPING, "attribute.Upper": "assertion.x"}, "oidc": OIDC}),
        ("entra2", {"attributeMapping": {**MAPPING, "google.other": "assertion.x"}, "oidc": OIDC}),
        ("entra2", {"attributeMapping": {**MAPPING, **{f"attribute.a{number}": "assertion.x" for number in range(51)}}, "oidc": OIDC}),
    ],
)  # fmt: skip
def test_providers_that_are_not_taken(google, identifier, body):
    given = {"parent": contoso.PROVIDER.pool, "workloadIdentityPoolProviderId": identifier, "body": body}
    assert google.refused(f"{POOLS}.providers.create", **given)[0] == 400


def test_unknown_members_are_refused(google):
    answer = google.world.ask  # Google's client would not send them
    path = f"/v1/{contoso.PROVIDER.pool}/providers?workloadIdentityPoolProviderId=entra2"
    for body in ({"colour": 1}, {"attributeMapping": MAPPING, "oidc": {**OIDC, "colour": 1}}):
        with pytest.raises(CloudError, match='Unknown name "colour"'):
            answer("iam.googleapis.com", "POST", path, body=body, bearer=google.wire.bearer)


# Roles


def test_a_role_of_ones_own(google):
    parent, name = f"projects/{TEST.id}", f"projects/{TEST.id}/roles/remit_auditor"
    role = {"title": "Remit: auditor", "includedPermissions": ["logging.logEntries.list"], "stage": "GA"}
    made = google("iam.projects.roles.create", parent=parent, body={"roleId": "remit_auditor", "role": role})
    assert (made["name"], made["stage"]) == (name, "GA")
    auditor = contoso.account("auditor", TEST)
    google.set_policy(grant(google.policy(), name, f"serviceAccount:{auditor}"))
    assert may(google.world, auditor, "logging.logEntries.list", parent)
    wider = {"includedPermissions": ["logging.logs.list"], "etag": made["etag"]}
    changed = google("iam.projects.roles.patch", name=name, updateMask="includedPermissions", body=wider)
    assert (changed["title"], changed["includedPermissions"]) == ("Remit: auditor", ["logging.logs.list"])
    assert google.refused("iam.projects.roles.patch", name=name, body=wider)[0] == 409
    assert may(google.world, auditor, "logging.logs.list", parent)
    google("iam.projects.roles.patch", name=name, updateMask="stage", body={"stage": "DISABLED"})
    assert not may(google.world, auditor, "logging.logs.list", parent)
    google("iam.projects.roles.patch", name=name, updateMask="stage", body={"stage": "GA"})
    assert google("iam.projects.roles.delete", name=name)["deleted"] is True
    assert not may(google.world, auditor, "logging.logs.list", parent)
    assert google("iam.projects.roles.list", parent=parent) == {}
    again = {"parent": parent, "body": {"roleId": "remit_auditor", "role": role}}
    assert google.refused("iam.projects.roles.create", **again) == (
        400,
        "You can't create a role_id (remit_auditor) which has been marked for deletion.",
    )
    google("iam.projects.roles.undelete", name=name, body={})
    assert may(google.world, auditor, "logging.logs.list", parent)
    google("iam.projects.roles.delete", name=name)
    google.world.clouds.commands()["skew_google"](8 * DAY)
    later = Google(google.world)
    assert later.refused("iam.projects.roles.undelete", name=name, body={})[0] == 404
    assert later.refused("iam.projects.roles.create", **again)[0] == 400
    google.world.clouds.commands()["skew_google"](38 * DAY)
    assert Google(google.world)("iam.projects.roles.create", **again)["name"] == name


@pytest.mark.parametrize(
    ("identifier", "role"),
    [
        ("remit-auditor", {}),
        ("ab", {}),
        ("fine", {"includedPermissions": ["logging.nothing.at.all"]}),
        ("fine", {"includedPermissions": ["resourcemanager.projects.list"]}),
        ("fine", {"title": "x" * 101}),
        ("fine", {"stage": "OPEN"}),
    ],
)
def test_roles_that_are_not_taken(google, identifier, role):
    body = {"roleId": identifier, "role": role}
    assert google.refused("iam.projects.roles.create", parent=f"projects/{TEST.id}", body=body)[0] == 400


def test_predefined_roles_are_shown_to_anybody(google):
    assert (
        "aiplatform.endpoints.predict" in google("iam.roles.get", name="roles/aiplatform.user")["includedPermissions"]
    )
    assert {"roles/owner", "roles/browser"} <= {each["name"] for each in google("iam.roles.list")["roles"]}
    assert google.refused("iam.roles.get", name="roles/none")[0] == 404
    body = {"fullResourceName": f"//cloudresourcemanager.googleapis.com/projects/{TEST.id}"}
    every = google("iam.permissions.queryTestablePermissions", body=body)["permissions"]
    assert [each["name"] for each in every if "customRolesSupportLevel" in each] == ["resourcemanager.projects.list"]


# Who may, and when it is seen

CHANGES = (
    ("iam.projects.serviceAccounts.create", {"name": f"projects/{TEST.id}", "body": {"accountId": "newcomer"}}),
    ("iam.projects.serviceAccounts.delete", {"name": named(ENGINEER)}),
    ("iam.projects.serviceAccounts.disable", {"name": named(ENGINEER), "body": {}}),
    ("iam.projects.serviceAccounts.patch", {"name": named(ENGINEER), "body": {"updateMask": "displayName"}}),
    ("iam.projects.serviceAccounts.setIamPolicy", {"resource": named(ENGINEER), "body": {"policy": {}}}),
    ("iam.projects.roles.create", {"parent": f"projects/{TEST.id}", "body": {"roleId": "mine", "role": {}}}),
    ("iam.projects.roles.list", {"parent": f"projects/{TEST.id}"}),
    (f"{POOLS}.create", {"parent": LOCATION, "workloadIdentityPoolId": "another", "body": {}}),
    (f"{POOLS}.delete", {"name": contoso.PROVIDER.pool}),
    (f"{POOLS}.providers.delete", {"name": contoso.PROVIDER.resource}),
    (f"{POOLS}.list", {"parent": LOCATION}),
    ("cloudresourcemanager.projects.setIamPolicy", {"resource": TEST.id, "body": {"policy": {}}}),
    ("storage.buckets.setIamPolicy", {"bucket": TEST.buckets[0], "body": {"bindings": []}}),
)


@pytest.mark.parametrize(("method", "given"), CHANGES, ids=[method for method, _ in CHANGES])
def test_who_may_not(world, method, given):
    token, _ = world.clouds.iam.mint(email=ENGINEER, scopes=[CLOUD_PLATFORM], lifetime=60)
    before = world.clouds.estate.policies.all_written()
    assert Google(world, token).refused(method, **given)[0] == 403
    assert world.clouds.estate.policies.all_written() == before


def test_changes_are_seen_when_they_have_gone_round(google):
    google.world.clouds.commands()["lag"]({"google": 3600.0})
    email = google.account()
    assert google.refused("iam.projects.serviceAccounts.get", name=named(email))[0] == 404
    status, message = google.refused_policy(grant(google.policy(), "roles/logging.viewer", f"serviceAccount:{email}"))
    assert (status, message) == (400, f"Service account {email} does not exist.")
    before = google.policy()
    after = google.set_policy(grant(before, "roles/logging.viewer", ADMIN))
    assert google.policy() == before
    assert after["etag"] != before["etag"]
    assert google.refused_policy(before)[0] == 409


def test_nothing_is_there_before_the_trust_is_set_up(empty):
    for project in contoso.PROJECTS:
        assert "accounts" not in empty("iam.projects.serviceAccounts.list", name=f"projects/{project.id}")
        assert [line["members"] for line in empty.policy(project)["bindings"]] == [[ADMIN]]
        assert "auditConfigs" not in empty.policy(project)
        for bucket in project.buckets:
            assert "bindings" not in empty("storage.buckets.getIamPolicy", bucket=bucket)


def test_an_empty_lab_and_its_administrator(tmp_path):
    lab = lifecycle.up(tmp_path, empty=True)
    try:
        assert lifecycle.up(tmp_path, empty=True) == lab
        with pytest.raises(RemitError, match="began without a trust"):
            lifecycle.up(tmp_path)
        given = lifecycle.administrator(tmp_path)
        assert given["AZURE_CLIENT_ID"] == contoso.ADMINISTRATOR.client_id
        proxies, bearer = {"https": f"http://127.0.0.1:{lab.proxy}"}, given["CLOUDSDK_AUTH_ACCESS_TOKEN"]
        answer = requests.post(
            "https://iam.googleapis.com/v1/projects/contoso-fraud-test/serviceAccounts",
            json={"accountId": "ml-engineer"},
            headers={"authorization": f"Bearer {bearer}"},
            proxies=proxies,
            verify=lab.bundle,
            timeout=60,
        )
        assert answer.json()["email"] == ENGINEER
    finally:
        lifecycle.down(tmp_path)


def test_google_is_busy_three_times(google):
    google.world.clouds.faults.hosts["iam.googleapis.com"] = Fault(429, retry_after=2, times=3)
    found = [google.world.ask("iam.googleapis.com", "GET", "/v1/roles", bearer=google.wire.bearer) for _ in range(4)]
    assert [each.status for each in found] == [429, 429, 429, 200]
    assert found[0].headers["retry-after"] == "2"


def test_keys_that_somebody_made_are_listed_and_ended(google):
    name = f"projects/-/serviceAccounts/{ENGINEER}"
    assert "keys" not in google("iam.projects.serviceAccounts.keys.list", name=name)
    made = json.loads(google.world.clouds.account_keys.make(ENGINEER))["private_key_id"]
    [found] = google("iam.projects.serviceAccounts.keys.list", name=name, keyTypes="USER_MANAGED")["keys"]
    assert found["name"] == f"{name}/keys/{made}"
    assert found["keyType"] == "USER_MANAGED"
    assert "keys" not in google("iam.projects.serviceAccounts.keys.list", name=name, keyTypes="SYSTEM_MANAGED")
    assert google("iam.projects.serviceAccounts.keys.get", name=found["name"]) == found
    google("iam.projects.serviceAccounts.keys.delete", name=found["name"])
    assert "keys" not in google("iam.projects.serviceAccounts.keys.list", name=name)
