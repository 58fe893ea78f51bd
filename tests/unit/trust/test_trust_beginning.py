"""The beginning of remit.yaml: from a few answers, and from what the clouds hold."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from remit.assembly import policy_check, rooms
from remit.assembly.trust import PolicyWants
from remit.settings.read import read
from remit.trust.beginning import first
from remit.trust.beginning.answers import QUESTIONS, FirstRole, Level, answers, wrong
from remit.trust.beginning.complete import completed, second_audience
from remit.trust.beginning.describe import describe
from remit.trust.desired import wanted
from remit.trust.planning.diff import plan
from remit.trust.settings import Account, Applications, AzureClient, TrustSettings
from remit.trust.things import Address, Found, Ref, settled

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso" / "remit.yaml"
CONTOSO = read(EXAMPLE).trust
GROUPS = [f"9a000000-0000-4000-8000-00000000000{number}" for number in range(1, 6)]
GIVEN = {
    "tenant": ("6f1c2a34-8b5d-4e6f-9a01-c0de00000001",),
    "project": ("contoso-fraud-test",),
    "number": ("100000000001",),
    "bucket": ("contoso-fraud-test-data",),
    "role": (f"MLEngineer={GROUPS[1]}:launch", f"DataScientist={GROUPS[3]}:use", f"Security={GROUPS[4]}"),
    "managed-identity": ("3c000000-0000-4000-8000-000000000001",),
    "administrator": ("user:admin@contoso.example",),
    "own-issuer": ("https://remit.contoso.example",),
}


def installed(tmp_path, given):
    """The installation that the answers make."""
    assert wrong(given) == ()
    (tmp_path / "policies").mkdir(parents=True, exist_ok=True)
    (tmp_path / "policies" / "roles.cedar").write_text(first.policies(answers(given)))
    (tmp_path / "remit.yaml").write_text(first.remit_yaml(answers(given)))
    settings = read(tmp_path / "remit.yaml", pending=True)
    policy_check.named_actions(settings)  # raises for policies that do not fit
    return settings


# a few answers


def test_a_first_file_is_read_and_its_applications_are_yet_to_be_made(tmp_path):
    trust = installed(tmp_path, GIVEN).trust
    assert set(trust.pending.values()) == {"remit", "remit-cli"}
    assert trust.applications.uris == ("api://6f1c2a34-8b5d-4e6f-9a01-c0de00000001/remit-contoso-fraud-test",)
    assert trust.applications.second == "api://6f1c2a34-8b5d-4e6f-9a01-c0de00000001/remit-google-contoso-fraud-test"
    assert trust.installation == "contoso.example/remit-contoso-fraud-test"
    assert [(role.name, role.groups) for role in trust.roles] == [
        ("MLEngineer", (GROUPS[1],)),
        ("DataScientist", (GROUPS[3],)),
        ("Security", (GROUPS[4],)),
    ]
    assert trust.own_issuer == "https://remit.contoso.example"
    assert {account.email.partition("@")[0] for account in trust.accounts} == {
        *("remit-ml-engineer", "remit-data-scientist", "remit-security", "remit-trainer", "remit-reviewer")
    }
    # nobody but who launches may act as another account, and nobody holds a role of Google's on Vertex AI
    grants = {account.email.partition("@")[0]: account.grants for account in trust.accounts}
    assert [local for local, held in grants.items() if any(one.startswith("accounts/") for one in held)] == [
        "remit-ml-engineer"
    ]
    assert not any("aiplatform" in role for held in grants.values() for roles in held.values() for role in roles)
    assert not any(one.startswith("buckets/") for one in grants["remit-security"])


def test_its_policies_give_each_role_what_was_said_and_no_more(tmp_path):
    settings = installed(tmp_path, GIVEN)
    wants = PolicyWants(rooms.judge(settings), settings.estate, settings.credentials.tenant)
    launch, use, observe = (
        wants.permissions(role, frozenset(), "contoso-fraud-test")
        for role in ("MLEngineer", "DataScientist", "Security")
    )
    assert observe < use < launch
    assert "aiplatform.endpoints.predict" in use
    assert "aiplatform.customJobs.create" in launch - use
    assert wants.permissions("Somebody", frozenset(), "contoso-fraud-test") == frozenset()
    assert not wants.permissions("MLEngineer", frozenset(), "contoso-fraud-prod")


def test_the_clouds_can_be_planned_with_it(tmp_path):
    settings = installed(tmp_path, GIVEN)
    things = wanted(settings.trust, lambda _email, _project: ("aiplatform.endpoints.predict",))
    made = plan(things, given_found(things), settings.trust)
    assert made.changes
    assert made.problems == ()


def test_any_answers_make_a_file_that_is_read(tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(40):
        names = chance.sample(["MLEngineer", "Ab", "sre", "Data2Go", "x" * 32, "HTTPTeam", "Null", "True", "on"], 3)
        given = GIVEN | {
            "role": tuple(f"{name}={chance.choice(GROUPS)}:{chance.choice(list(Level))}" for name in names),
            "bucket": tuple(f"b{index}-0_x.y" for index in range(chance.randrange(3))),
            "environment": (chance.choice(["test", "prod", "null", "yes", "on", "n"]),),
            "own-issuer": chance.choice([(), ("https://remit.contoso.example:8443",)]),
        }
        settings = installed(tmp_path / str(number), given)
        assert [role.name for role in settings.trust.roles] == names
        assert settings.estate.projects[0].environment == given["environment"][0]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("tenant", "contoso.example"),
        ("tenant", "6f1c2a34-8b5d-4e6f-9a01-c0de00000001\n"),
        ("project", "Contoso"),
        ("number", "0100000"),
        ("number", "１00000"),  # noqa: RUF001 - a digit of another script
        ("location", "us-central1]"),
        ("environment", "test: {"),
        ("bucket", "gs://contoso"),
        ("role", "MLEngineer"),
        ("role", f"ML Engineer={GROUPS[0]}"),
        ("role", f"MLEngineer={GROUPS[0]}:own"),
        ("administrator", "admin@contoso.example"),
        ("administrator", 'user:a"b@contoso.example'),
        ("administrator", "user:Admin@contoso.example"),
        ("own-issuer", "http://remit.contoso.example"),
        ("own-issuer", "https://remit.contoso.example/x"),
    ],
)
def test_what_is_no_answer_is_told(name, answer):
    [said] = wrong(GIVEN | {name: (answer,)})
    assert said.startswith(f"`--{name}` is ")


def test_everything_that_is_missing_is_told_at_once():
    assert len(wrong({})) == len([one for one in QUESTIONS if one.needed and not one.default])
    assert "roles whose" in wrong(GIVEN | {"role": (f"A1={GROUPS[0]}", f"a1={GROUPS[0]}")})[0]
    assert "roles whose" in wrong(GIVEN | {"role": (f"Trainer={GROUPS[0]}",)})[0]
    assert "twice" in wrong(GIVEN | {"role": (f"A1={GROUPS[0]}", f"A1={GROUPS[1]}")})[0]


@pytest.mark.parametrize(
    ("name", "account"),
    [
        ("MLEngineer", "remit-ml-engineer"),
        ("DataScientist", "remit-data-scientist"),
        ("sre", "remit-sre"),
        ("HTTPTeam", "remit-http-team"),
        ("AVeryLongRoleIndeedItIs", "remit-a-very-long-role-indeed"),
    ],
)
def test_the_account_of_a_role_is_one_that_google_takes(name, account):
    assert FirstRole(name, "", Level.USE).account == account
    assert 6 <= len(account) <= 30


# what the clouds hold


def given_found(things):
    """What is somebody else's and was there before."""
    return tuple(
        Found(one.address, one.fields, {"id": f"0e000000-0000-4000-8000-0000000000{index:02}"})
        for index, one in enumerate(things)
        if one.given
    )


def estate(settings):
    """The clouds as they are when they hold just what settings say."""
    things = wanted(settings, lambda _email, _project: ("aiplatform.endpoints.predict",))
    ids = {}
    for index, one in enumerate(things):
        if one.address.kind in {"entra.application", "entra.principal"}:
            ids[Ref(one.address, "id")] = f"0e000000-0000-4000-8000-00000000{index:04}"
        if one.address.kind == "entra.application":
            ids[Ref(one.address, "appId")] = one.fields["appId"] or f"0a000000-0000-4000-8000-00000000{index:04}"
    return tuple(
        Found(
            one.address,
            settled(one.fields, ids),
            {ref.name: value for ref, value in ids.items() if ref.of == one.address},
        )
        for one in things
    )


def known(settings):
    """What only people know of an estate."""
    bare = [replace(project, accounts=()) for project in settings.estate.projects]
    return TrustSettings(
        issuer=settings.issuer,
        tenant=settings.tenant,
        application=settings.application,
        provider=settings.provider,
        reviewer=settings.reviewer,
        mappings=settings.mappings,
        estate=replace(settings.estate, projects=tuple(bare), databases=()),
        applications=Applications(settings.application, (), "", "", settings.applications.managed_identity),
        azure=tuple(AzureClient(one.name, one.client, (), (), write=False) for one in settings.azure),
        storage=settings.storage,
        administrators=settings.administrators,
    )


def fields(settings):
    things = wanted(settings, lambda _email, _project: ("aiplatform.endpoints.predict",))
    return {str(one.address): one.fields for one in things}


def test_an_estate_is_described_so_that_nothing_is_left_to_do(tmp_path):
    there = estate(CONTOSO)
    described = completed(known(CONTOSO), there)
    assert described.left == ()
    text = describe(described.settings, "contoso.example/remit")
    (tmp_path / "remit.yaml").write_text(text)
    again = read(tmp_path / "remit.yaml").trust
    assert fields(again) == fields(CONTOSO)
    assert plan(wanted(again, lambda _email, _project: ("aiplatform.endpoints.predict",)), there, again).changes == ()
    assert completed(described.settings, there) == described  # nothing is added by looking again
    assert second_audience(known(CONTOSO), there).startswith("0a")


def test_what_no_file_can_say_is_told():
    there = list(estate(CONTOSO))
    pool = f"principalSet://iam.googleapis.com/{CONTOSO.pool}/*"

    def binding(resource, role, member, condition=None):
        one = {"resource": resource, "role": role, "member": member, "condition": condition}
        there.append(Found(Address("google.binding", f"{resource} {role} {member}"), one))

    binding("projects/contoso-fraud-test", "roles/viewer", "user:kim@contoso.example")
    binding("projects/contoso-fraud-test", "roles/viewer", "allUsers")
    binding("projects/contoso-fraud-test", "roles/aiplatform.user", pool)
    binding("accounts/trainer@contoso-fraud-prod.iam.gserviceaccount.com", "roles/iam.workloadIdentityUser", pool)
    binding(
        "projects/contoso-fraud-prod", "roles/viewer", "user:lee@contoso.example", {"title": "t", "expression": "e"}
    )
    described = completed(known(CONTOSO), there)
    assert described.settings.apart == ("user:kim@contoso.example",)
    assert len(described.left) == 4
    assert sum("of the pool holds" in one for one in described.left) == 2
    assert any("has a condition" in one for one in described.left)
    assert any(one.startswith("`allUsers` holds") for one in described.left)


def test_what_clouds_say_is_never_more_than_text(tmp_path):
    odd = ["a: b", "null", "yes", "{x}", "- x", "#x", '"', "\\", "é", "1e3", "0x10", "2027-01-01", "&a", "*a", "!!x"]
    names = {one: replace(CONTOSO.roles[0], name=f"Q{one.strip()}".replace(" ", "").replace('"', "").replace("\\", "").replace("é", "")) for one in odd}  # fmt: skip
    roles = tuple({role.name: role for role in names.values()}.values())
    members = tuple(f"subject/{one.replace(' ', '').replace('*', '')}x" for one in odd)
    accounts = (*CONTOSO.accounts[:-1], Account(CONTOSO.accounts[-1].email, members=members))
    settings = replace(CONTOSO, roles=(*CONTOSO.roles, *roles), accounts=accounts)
    (tmp_path / "remit.yaml").write_text(describe(settings, "contoso.example/remit"))
    again = read(tmp_path / "remit.yaml").trust
    assert [role.name for role in again.roles] == [role.name for role in settings.roles]
    assert again.accounts[-1].members == members
