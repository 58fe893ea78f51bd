"""What Google must hold, out of remit.yaml."""

from dataclasses import replace

import pytest
from tests.unit.trust.google_contoso import (
    APP,
    AUDITOR,
    ENGINEER,
    GROUP,
    KEEPER,
    PERSON,
    POOL,
    PROD,
    SCIENTIST,
    SETTINGS,
    TENANT,
    TEST,
    TRAINER,
    permitted,
)

from remit.model.errors import TrustBroken
from remit.trust.clouds.google_names import googles_own, project_of, role_name
from remit.trust.desired.google import google, holdable
from remit.trust.settings import Account
from remit.trust.things import KINDS, Address, Ref, Text, refs, settled

THINGS = google(SETTINGS, permitted)
BY_NAME = {(thing.address.kind, thing.address.name): thing for thing in THINGS}
USER = "roles/iam.workloadIdentityUser"


def bindings(settings=SETTINGS):
    return {thing.address.name for thing in google(settings, permitted) if thing.address.kind == "google.binding"}


def test_the_second_audience_is_taken_from_remit_and_nobody_else():
    fields = BY_NAME["google.provider", f"{POOL}/providers/entra"].fields
    assert fields["audiences"] == (Ref(Address("entra.application", "remit-google"), "appId"),)
    assert fields["condition"] == f'assertion.azp == "{APP}" && assertion.tid == "{TENANT}"'
    assert fields["mapping"]["google.subject"] == 'assertion.tid + "/" + assertion.oid'


def test_an_application_that_entra_has_yet_to_name():
    pending = replace(SETTINGS, pending={APP: "remit"})
    provider = next(thing for thing in google(pending, permitted) if thing.address.name.endswith("/entra"))
    remit = Ref(Address("entra.application", "remit"), "appId")
    assert remit in set(refs(provider.fields["condition"]))
    later = settled(provider.fields, {remit: "the-id"})
    assert later["condition"] == f'assertion.azp == "the-id" && assertion.tid == "{TENANT}"'


def test_remits_own_provider_and_its_pool():
    own = BY_NAME["google.provider", f"{POOL}/providers/remit"]
    assert own.fields["issuer"] == "https://remit.contoso.example"
    assert own.fields["audiences"] == ()
    assert own.needs == (Address("google.pool", POOL),)
    assert "google.provider" not in {
        thing.address.kind for thing in google(replace(SETTINGS, own_provider="", provider=""), permitted)
    }


def test_who_may_become_what():
    on = {name for name in bindings() if USER in name}
    pool = f"//iam.googleapis.com/{POOL}"
    assert on == {
        f"accounts/{ENGINEER} {USER} principalSet:{pool}/group/{GROUP}",
        f"accounts/{SCIENTIST} {USER} principal:{pool}/subject/{TENANT}/{PERSON}",
        f"accounts/{AUDITOR} {USER} remit",
        f"accounts/{KEEPER} {USER} remit",
        f"accounts/{KEEPER} {USER} principalSet:{pool}/group/okta/keys",
    }
    thing = BY_NAME["google.binding", f"accounts/{AUDITOR} {USER} remit"]
    itself = Ref(Address("entra.principal", "remit"), "id")
    assert thing.fields["member"] == Text((f"principal:{pool}/subject/{TENANT}/", itself))


def test_what_accounts_are_granted():
    scientist = f"serviceAccount:{SCIENTIST}"
    assert {name for name in bindings() if name.endswith(scientist)} == {
        f"projects/{TEST} projects/{TEST}/roles/remit_data_scientist {scientist}",
        f"projects/{TEST} roles/logging.viewer {scientist}",
    }
    role = BY_NAME["google.role", f"projects/{TEST}/roles/remit_data_scientist"]
    assert role.fields["permissions"] == ("aiplatform.endpoints.predict", "aiplatform.models.list")
    act_as = BY_NAME["google.binding", f"accounts/{TRAINER} roles/iam.serviceAccountUser serviceAccount:{ENGINEER}"]
    assert act_as.needs == (Address("google.account", ENGINEER), Address("google.account", TRAINER))
    assert f"buckets/{TEST}-data roles/storage.objectAdmin serviceAccount:{ENGINEER}" in bindings()


def test_a_role_that_the_policy_leaves_empty_is_not_made():
    things = google(SETTINGS, lambda email, project: ())
    assert not [thing for thing in things if thing.address.kind == "google.role" or "remit_" in thing.address.name]


def test_accounts_elsewhere_are_somebody_elses():
    foreign = "shared@other-project.iam.gserviceaccount.com"
    settings = replace(SETTINGS, accounts=(*SETTINGS.accounts, Account(foreign)))
    given = {
        thing.address.name: thing.given for thing in google(settings, permitted) if "account" in thing.address.kind
    }
    assert given == {**dict.fromkeys((ENGINEER, SCIENTIST, AUDITOR, TRAINER, KEEPER), False), foreign: True}


def test_two_accounts_of_one_name_share_no_role():
    one, other = role_name(ENGINEER, TEST), role_name(ENGINEER.replace(TEST, PROD), TEST)
    assert one == f"projects/{TEST}/roles/remit_ml_engineer"
    assert other != one
    longest = f"{'a' * 30}@{'b' * 30}.iam.gserviceaccount.com"
    assert len(role_name(longest, TEST).rpartition("/")[2]) <= 64


def test_addresses_and_identities_are_unique_and_everything_says_something():
    assert len(BY_NAME) == len(THINGS)
    keys = [
        (t.address.kind, *(str(t.fields[f]) for f in KINDS[t.address.kind])) for t in THINGS if KINDS[t.address.kind]
    ]
    assert len(set(keys)) == len(keys)
    assert all(thing.says and "\n" not in thing.says for thing in THINGS)
    known = {thing.address for thing in THINGS}
    assert all(need in known for thing in THINGS for need in thing.needs)


@pytest.mark.parametrize("member", ["group/", "user:dana@contoso.example", "*", "attribute.azp/x", "allUsers"])
def test_a_member_of_no_known_form_is_refused(member):
    settings = replace(SETTINGS, accounts=(Account(ENGINEER, {}, (member,)),))
    with pytest.raises(TrustBroken, match="no member of a pool"):
        google(settings, permitted)


@pytest.mark.parametrize(
    "permissions", [[f"s.things.p{n}" for n in range(3001)], [f"s.{'x' * 100}.p{n}" for n in range(700)]]
)
def test_more_than_a_custom_role_can_hold_is_told(permissions):
    with pytest.raises(TrustBroken, match="more than one custom role can hold") as told:
        google(SETTINGS, lambda email, project: tuple(permissions))
    assert "divide" in told.value.hint


def test_what_no_projects_role_can_hold_is_said():
    assert holdable(("b", "resourcemanager.projects.list", "a", "b")) == (
        ("a", "b"),
        ("resourcemanager.projects.list",),
    )
    things = google(SETTINGS, lambda email, project: ("aiplatform.models.list", "resourcemanager.projects.list"))
    [role] = [thing for thing in things if thing.address.kind == "google.role"]
    assert "resourcemanager.projects.list" in role.says
    assert role.fields["permissions"] == ("aiplatform.models.list",)


def test_policy_is_granted_on_projects_only():
    settings = replace(SETTINGS, accounts=(Account(ENGINEER, {f"buckets/{TEST}-data": ("policy",)}),))
    with pytest.raises(TrustBroken, match="`policy` on"):
        google(settings, permitted)


AGENT = "serviceAccount:service-100000000001@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    ("resource", "role", "member", "own"),
    [
        (f"projects/{TEST}", "roles/aiplatform.customCodeServiceAgent", AGENT, True),
        (f"projects/{TEST}", "roles/aiplatform.serviceAgent", AGENT.replace("-cc", ""), True),
        (f"projects/{TEST}", "roles/owner", AGENT, False),
        (f"projects/{TEST}", "roles/editor", AGENT, False),
        (f"projects/{TEST}", "roles/aiplatform.customCodeServiceAgent", AGENT.replace("01@", "99@"), False),
        (f"projects/{TEST}", "roles/x.serviceAgent", AGENT.replace("gcp-sa-aiplatform-cc", "evil-system"), False),
        (f"projects/{TEST}", "roles/editor", "serviceAccount:100000000001@cloudservices.gserviceaccount.com", True),
        (f"projects/{TEST}", "roles/owner", "serviceAccount:100000000001@cloudservices.gserviceaccount.com", False),
        (f"projects/{TEST}", "roles/editor", "serviceAccount:100000000001-compute@developer.gserviceaccount.com", True),
        (f"projects/{TEST}", "roles/editor", "serviceAccount:999-compute@developer.gserviceaccount.com", False),
        (f"buckets/{TEST}-data", "roles/storage.legacyBucketOwner", f"projectEditor:{TEST}", True),
        (f"buckets/{TEST}-data", "roles/storage.objectAdmin", f"projectEditor:{TEST}", False),
        (f"projects/{TEST}", "roles/storage.legacyBucketOwner", f"projectEditor:{TEST}", False),
        (f"projects/{TEST}", "roles/viewer", "user:dana@contoso.example", False),
    ],
)
def test_what_google_puts_there_itself(resource, role, member, own):
    assert googles_own(SETTINGS, resource, role, member) is own


@pytest.mark.parametrize(
    ("email", "project"),
    [
        (ENGINEER, TEST),
        ("100000000001-compute@developer.gserviceaccount.com", ""),
        ("service-1@gcp-sa-aiplatform.iam.gserviceaccount.com", ""),
        ("a/../b@x.iam.gserviceaccount.com", ""),
    ],
)
def test_the_project_of_an_account(email, project):
    assert project_of(email) == project
