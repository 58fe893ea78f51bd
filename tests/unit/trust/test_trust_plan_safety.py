"""Which changes are made only when they are named, each reason with changes that have it and changes that do not."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from planned_contoso import (
    ADMINISTRATOR,
    AUDITOR,
    CLI,
    ENGINEER,
    FOUND,
    POOL,
    PROJECT,
    REMIT,
    SETTINGS,
    SUBSCRIPTION,
    TENANT,
    WANTED,
    as_found,
    permitted,
)

from remit.trust.desired import wanted
from remit.trust.planning.conditions import OWN, admits_only_remit
from remit.trust.planning.diff import plan
from remit.trust.planning.plan import Risk
from remit.trust.things import Address, Found, Ref, Text, Thing

ON_PROJECT, ON_BUCKET = f"projects/{PROJECT}", f"buckets/{PROJECT}-data"
MEMBER = f"serviceAccount:{ENGINEER}"
PINNED = f'assertion.azp == "{REMIT}" && assertion.tid == "{TENANT}"'
PUBLIC = f"principalSet://iam.googleapis.com/{POOL}"
GRAPH = next(one for one in FOUND if one.address.name == "remit" and one.address.kind == "entra.principal").ids["id"]
CONTAINER = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/contoso-ml/providers/Microsoft.Storage"
    "/storageAccounts/contosofraudtest/blobServices/default/containers/features"
)


def binding(resource, role, member, condition=None):
    fields = {"resource": resource, "role": role, "member": member, "condition": condition}
    return Address("google.binding", f"{resource} {role} {member}"), fields


def azure(scope, role, principal="someone"):
    return Address("azure.assignment", f"{scope} {role} {principal}"), {
        "scope": scope,
        "role": role,
        "principal": principal,
    }


def consent(permission):
    return Address("entra.consent", permission), {"permission": permission, "principal": GRAPH}


def risks(changes):
    return {one.risk for change in changes for one in change.unsafe}


def of_making(address, fields, found=FOUND, settings=SETTINGS):
    (change,) = plan((*WANTED, Thing(address, fields)), found, settings).changes
    return risks([change])


def of_removing(address, fields, *, settings=SETTINGS, applier=(), more=()):
    found = (*FOUND, *more, Found(address, fields))
    told = plan(WANTED, found, settings, applier=applier)
    return risks(change for change in told.changes if change.address == address)


def of_changing(name, kind="", settings=SETTINGS, **before):
    """A thing of Contoso's is as it is in `before`, and is to be as the file says."""
    found = tuple(
        replace(one, fields={**one.fields, **before}) if one.address.name == name and kind in one.address.kind else one
        for one in FOUND
    )
    changes = plan(WANTED, found, settings).changes
    assert len(changes) == 1, [change.name for change in changes]
    return risks(changes)


W, U, S, N, D, L = (
    Risk.WIDENS,
    Risk.UNCONDITIONED,
    Risk.WIDE_SCOPE,
    Risk.NOT_OURS,
    Risk.DESTROYS,
    Risk.LAST_ADMINISTRATOR,
)
MAKING = [
    (binding(ON_PROJECT, "roles/aiplatform.viewer", MEMBER), set()),
    (binding(ON_BUCKET, "roles/storage.objectAdmin", MEMBER), set()),
    (binding(f"accounts/{ENGINEER}", "roles/iam.serviceAccountTokenCreator", f"serviceAccount:{AUDITOR}"), set()),
    (binding(f"accounts/{ENGINEER}", "roles/iam.workloadIdentityUser", f"{PUBLIC}/group/new"), set()),
    (binding(ON_PROJECT, "roles/owner", MEMBER), {W}),
    (binding(ON_PROJECT, f"{ON_PROJECT}/roles/harmless", MEMBER), {W}),
    (binding(ON_BUCKET, "organizations/1/roles/harmless", MEMBER), {W}),
    (binding(ON_PROJECT, "roles/editor", MEMBER), {W}),
    (binding(ON_PROJECT, "roles/aiplatform.admin", MEMBER), {W}),
    (binding(ON_PROJECT, "roles/resourcemanager.projectIamAdmin", MEMBER), {W}),
    (binding(ON_PROJECT, "roles/iam.securityAdmin", MEMBER), {W}),
    (binding(ON_PROJECT, "roles/iam.serviceAccountAdmin", MEMBER), {W}),
    (binding(ON_PROJECT, "roles/iam.workloadIdentityPoolAdmin", MEMBER), {W}),
    (binding(ON_PROJECT, "roles/iam.serviceAccountTokenCreator", MEMBER), {W}),
    (binding(ON_PROJECT, "roles/iam.serviceAccountUser", MEMBER), {S}),
    (binding(ON_PROJECT, "roles/storage.objectViewer", MEMBER), {S}),
    (binding(ON_PROJECT, "roles/storage.admin", MEMBER), {W, S}),
    (binding(ON_BUCKET, "roles/storage.objectViewer", "allUsers"), {W}),
    (binding(ON_BUCKET, "roles/storage.objectViewer", "allAuthenticatedUsers"), {W}),
    (binding(ON_BUCKET, "roles/storage.objectViewer", "domain:contoso.example"), {W}),
    (binding(ON_BUCKET, "roles/storage.objectViewer", "projectViewer:p"), {W}),
    (binding(f"accounts/{ENGINEER}", "roles/iam.workloadIdentityUser", f"{PUBLIC}/*"), {W}),
    (binding(f"accounts/{ENGINEER}", "roles/iam.workloadIdentityUser", f"{PUBLIC}/group/*"), {W}),
    (binding(f"accounts/{ENGINEER}", "roles/iam.workloadIdentityUser", f"{PUBLIC}/attribute.kind/person"), {W}),
    (
        (
            Address("google.role", f"projects/{PROJECT}/roles/remit_x"),
            {"title": "x", "permissions": ("aiplatform.models.get",), "stage": "GA"},
        ),
        set(),
    ),
    *(
        (
            (
                Address("google.role", f"projects/{PROJECT}/roles/remit_x"),
                {"title": "x", "permissions": ("aiplatform.models.get", permission), "stage": "GA"},
            ),
            {W},
        )
        for permission in (
            "resourcemanager.projects.setIamPolicy",
            "iam.serviceAccounts.actAs",
            "iam.serviceAccounts.getAccessToken",
            "iam.serviceAccountKeys.create",
            "iam.roles.update",
            "aiplatform.*",
        )
    ),
    (
        (
            Address("google.role", f"projects/{PROJECT}/roles/remit_x"),
            {"title": "x", "permissions": ("storage.objects.get",), "stage": "GA"},
        ),
        {S},
    ),
    (
        (
            Address("google.role", f"projects/{PROJECT}/roles/remit_x"),
            {"title": "x", "permissions": ("storage.hmacKeys.create",), "stage": "GA"},
        ),
        {W, S},
    ),
    (azure(CONTAINER, "Storage Blob Data Reader"), set()),
    (azure(CONTAINER, "Storage Blob Data Owner"), {W}),
    (azure(CONTAINER, "Reader"), {W}),
    (azure(CONTAINER.partition("/blobServices")[0], "Storage Blob Data Reader"), {S}),
    (azure(f"/subscriptions/{SUBSCRIPTION}", "Owner"), {W, S}),
    (consent("Device.Read.All"), set()),
    (consent("Directory.ReadWrite.All"), {W}),
    (consent("Sites.FullControl.All"), {W}),
]


@pytest.mark.promise("V10")
@pytest.mark.parametrize(("thing", "expected"), MAKING)
def test_what_is_made(thing, expected):
    assert of_making(*thing) == expected


def test_who_may_become_an_issuer_is_safe_only_for_an_account_that_nobody_uses_yet():
    address, fields = binding(ON_PROJECT, "roles/iam.workloadIdentityPoolAdmin", MEMBER)
    account = Address("google.account", ENGINEER)
    found = tuple(one for one in FOUND if one.address != account)
    changes = plan((*WANTED, Thing(address, fields)), found, SETTINGS).changes
    assert risks(change for change in changes if change.address == address) == set()


CHANGING = [
    ("remit-google", "entra.application", {"preauthorized": ()}, {W}),
    ("remit-google", "entra.application", {"optionalClaims": ()}, set()),
    ("remit", "entra.application", {"webRedirects": ()}, {W}),
    ("remit", "entra.application", {"webRedirects": ("https://evil.example",)}, {W}),
    ("remit", "entra.application", {"roles": ()}, set()),
    ("remit", "entra.application", {"audience": "AzureADMultipleOrgs"}, {W}),
    ("remit-cli", "entra.application", {"public": False}, {W}),
    ("remit", "entra.principal", {"enabled": False}, {W}),
    ("remit", "entra.principal", {"assignmentRequired": False}, set()),
    ("remit-cli", "entra.principal", {"assignmentRequired": True}, {W}),
    ("remit/managed-identity", "entra.federation", {"subject": "other"}, {W}),
    (POOL, "google.pool", {"disabled": True}, {W}),
    (ENGINEER, "google.account", {"disabled": True}, {W}),
    (f"{POOL}/providers/entra", "google.provider", {"disabled": True}, {W}),
    (f"{POOL}/providers/entra", "google.provider", {"condition": ""}, set()),
    (f"{POOL}/providers/entra", "google.provider", {"issuer": "https://evil.example"}, {W}),
    (f"{POOL}/providers/entra", "google.provider", {"audiences": ()}, {W}),
    (f"{POOL}/providers/entra", "google.provider", {"mapping": {}}, {W}),
    (f"{PROJECT} sts.googleapis.com", "google.audit", {"logTypes": ("ADMIN_READ",)}, set()),
    (
        f"{PROJECT} iam.googleapis.com",
        "google.audit",
        {"logTypes": ("ADMIN_READ", "DATA_READ", "DATA_WRITE")},
        {N},
    ),
    (
        f"{ON_PROJECT} roles/aiplatform.user {MEMBER}",
        "google.binding",
        {"condition": {"title": "t", "expression": "false"}},
        {W},
    ),
]


@pytest.mark.promise("V10")
@pytest.mark.parametrize(("name", "kind", "before", "expected"), CHANGING)
def test_what_is_changed(name, kind, before, expected):
    assert of_changing(name, kind, **before) == expected


OTHER = "serviceAccount:other@elsewhere.iam.gserviceaccount.com"
REMOVING = [
    (binding(ON_PROJECT, "roles/viewer", MEMBER), set()),
    (binding(ON_PROJECT, "roles/viewer", f"deleted:{MEMBER}?uid=1"), set()),
    (binding(f"accounts/{ENGINEER}", "roles/iam.workloadIdentityUser", "user:eve@contoso.example"), set()),
    (binding(ON_BUCKET, "roles/storage.objectViewer", f"{PUBLIC}/group/x"), set()),
    (binding(ON_PROJECT, "roles/viewer", "user:eve@contoso.example"), {N}),
    (binding(ON_PROJECT, "roles/viewer", OTHER), {N}),
    (binding(ON_BUCKET, "roles/storage.objectViewer", f"{PUBLIC}-other/group/x"), {N}),
    ((Address("entra.application", "old-tool"), {}), {N, D}),
    ((Address("entra.application", f"{PROJECT}/Gone"), {}), {D}),
    ((Address("entra.federation", "remit/eve"), {"application": "remit", "issuer": "x", "subject": "y"}), set()),
    ((Address("entra.federation", "tool/eve"), {"application": "tool", "issuer": "x", "subject": "y"}), {N}),
    ((Address("entra.assignment", "Old/1"), {"role": "Old", "principal": "1"}), set()),
    ((Address("google.account", "x@elsewhere.iam.gserviceaccount.com"), {}), {N, D}),
    ((Address("google.pool", POOL.replace("contoso", "other")), {}), {N, D}),
    ((Address("google.provider", f"{POOL}/providers/eve"), {}), {D}),
    ((Address("google.role", f"projects/{PROJECT}/roles/remit_gone"), {}), {D}),
    ((Address("google.role", f"projects/{PROJECT}/roles/theirs"), {}), {N, D}),
    ((Address("google.audit", f"{PROJECT} x"), {"project": PROJECT, "service": "x", "logTypes": ("A",)}), {N}),
    (azure(CONTAINER, "Storage Blob Data Reader", "stranger"), {N}),
    (azure(f"/subscriptions/{SUBSCRIPTION}", "Storage Blob Data Reader", GRAPH), set()),
]


@pytest.mark.promise("V10")
@pytest.mark.parametrize(("thing", "expected"), REMOVING)
def test_what_is_removed(thing, expected):
    assert of_removing(*thing) == expected


OWNER = binding(ON_PROJECT, "roles/owner", "user:olga@contoso.example")
KEPT = Found(*binding(ON_PROJECT, "roles/owner", ADMINISTRATOR))


def conditioned(found, expression):
    return replace(found, fields={**found.fields, "condition": {"title": "t", "expression": expression}})


@pytest.mark.promise("V10")
@pytest.mark.parametrize(
    ("more", "settings", "expected"),
    [
        ((KEPT,), SETTINGS, {N}),
        ((), SETTINGS, {N, L}),
        ((KEPT,), replace(SETTINGS, administrators=()), {N, L}),
        ((conditioned(KEPT, "false"),), SETTINGS, {N, L}),
        ((Found(*binding("projects/another", "roles/owner", ADMINISTRATOR)),), SETTINGS, {N, L}),
        ((Found(*binding(ON_PROJECT, "roles/viewer", ADMINISTRATOR)),), SETTINGS, {N, L}),
        ((Found(*binding(ON_PROJECT, "roles/resourcemanager.projectIamAdmin", ADMINISTRATOR)),), SETTINGS, {N}),
        ((Found(*binding(ON_PROJECT, "roles/owner", "user:eve@x")),), SETTINGS, {N, L}),
    ],
)
def test_somebody_of_the_administrators_must_be_left_on_each_project(more, settings, expected):
    assert of_removing(*OWNER, settings=settings, more=more) == expected


@pytest.mark.promise("V10")
def test_the_applier_cannot_take_their_own_last_role():
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/contoso-ml"
    mine = azure(group, "Role Based Access Control Administrator", "me")
    above = Found(*azure(f"/subscriptions/{SUBSCRIPTION}", "Owner", "other"))
    also_me = Found(*azure(f"/subscriptions/{SUBSCRIPTION}", "Owner", "me"))
    assert of_removing(*mine) == {N, L}
    assert L in of_removing(*mine, applier=("me",), more=(above,))
    # both go, and so nobody stays
    assert L in of_removing(*mine, applier=("me",), more=(also_me,))
    graph = consent("AppRoleAssignment.ReadWrite.All")
    assert of_removing(*graph) == {L}


@pytest.mark.promise("V10")
@pytest.mark.parametrize(
    ("issuer", "condition", "admits"),
    [
        (SETTINGS.issuer, PINNED, True),
        (SETTINGS.issuer, PINNED.replace('"', "'").replace(" == ", "=="), True),
        (SETTINGS.issuer, " && ".join(reversed(PINNED.split(" && "))), True),
        (
            SETTINGS.issuer,
            Text(
                (
                    'assertion.azp == "',
                    Ref(Address("entra.application", "remit"), "appId"),
                    f'" && assertion.tid == "{TENANT}"',
                )
            ),
            True,
        ),
        (SETTINGS.own_issuer, OWN, True),
        (SETTINGS.issuer, "", False),
        (SETTINGS.issuer, None, False),
        (SETTINGS.issuer, "true", False),
        (SETTINGS.issuer, OWN, False),
        (SETTINGS.issuer, PINNED.partition(" && ")[0], False),
        (SETTINGS.issuer, PINNED.partition(" && ")[2], False),
        (SETTINGS.issuer, f"{PINNED} || true", False),
        (SETTINGS.issuer, f"{PINNED} && true || true", False),
        (SETTINGS.issuer, f"true || {PINNED}", False),
        (SETTINGS.issuer, PINNED.replace(REMIT, CLI), False),
        (SETTINGS.issuer, PINNED.replace(TENANT, ""), False),
        (SETTINGS.issuer, PINNED.replace("==", "!="), False),
        ("https://evil.example", PINNED, False),
        ("https://evil.example", OWN, False),
        (SETTINGS.own_issuer, PINNED, False),
        (SETTINGS.own_issuer, f"{OWN} || true", False),
        ("", OWN, False),
    ],
)
def test_a_provider_admits_remit_alone(issuer, condition, admits):
    assert admits_only_remit({"issuer": issuer, "condition": condition}, SETTINGS) is admits
    name = f"{POOL}/providers/another"
    fields = {"issuer": issuer, "condition": condition, "audiences": (), "mapping": {}, "disabled": False}
    if isinstance(condition, Text):
        fields["condition"] = str(condition)  # Entra has yet to give the id
    assert (U in of_making(Address("google.provider", name), fields)) is not admits


def test_an_app_id_that_the_file_does_not_hold_yet_is_the_one_that_entra_gave():
    """An interrupted first apply: the application is there, the provider is not."""
    pending = replace(SETTINGS, pending={REMIT: "remit"})
    provider = Address("google.provider", f"{POOL}/providers/entra")
    found = tuple(one for one in FOUND if one.address != provider)
    (change,) = plan(wanted(pending, permitted), found, pending).changes
    assert change.address == provider
    assert REMIT not in str(change.after["condition"])
    assert change.unsafe == ()


def test_no_issuer_of_ones_own_is_no_issuer_at_all():
    assert not admits_only_remit({"issuer": "", "condition": OWN}, replace(SETTINGS, own_issuer=""))


def test_a_credential_may_trust_the_tenant_and_remit_only():
    for issuer, expected in (
        (SETTINGS.issuer, set()),
        (SETTINGS.own_issuer, set()),
        ("https://evil.example", {W}),
        ("", {W}),
    ):
        fields = {"application": "remit", "issuer": issuer, "subject": "s", "audience": "a"}
        assert of_making(Address("entra.federation", "remit/s"), fields) == expected


def test_an_empty_estate_is_made_without_naming_anything():
    given = as_found([thing for thing in WANTED if thing.given])
    assert plan(WANTED, given, SETTINGS).refused() == ()
