"""What the clouds must hold, in remit.yaml: what is read, what is refused, and ids that take their places."""

import os
import stat

import pytest
from tests.unit.settings.test_settings_read import EXAMPLE, TEXT, changed, place, problems

from remit.model.errors import SettingsInvalid
from remit.settings import placeholders
from remit.settings.read import read
from remit.settings.trust import settle
from remit.trust.settings import Account, AzureClient, Role, StorageAccount

REMIT, CLI = "a0000000-0000-4000-8000-000000000001", "a0000000-0000-4000-8000-000000000002"
STORAGE, READER = "a0000000-0000-4000-8000-000000000011", "a0000000-0000-4000-8000-000000000012"
ENGINEER = "contoso-fraud-test/MLEngineer"
IDS = {"remit": REMIT, "remit-cli": CLI, ENGINEER: STORAGE}
PENDING = TEXT.replace(REMIT, "app:remit").replace(CLI, "app:remit-cli").replace(STORAGE, f"app:{ENGINEER}")
WITHOUT = TEXT[: TEXT.index("  administrators:")] + TEXT[TEXT.index("\n# PostgreSQL") :]


def test_what_is_read():
    trust = read(EXAMPLE).trust
    assert trust.administrators == ("user:admin@contoso.example",)
    assert (trust.own_issuer, trust.own_provider.rpartition("/")[2]) == ("https://remit.contoso.example", "remit")
    assert (trust.apart, trust.pending) == ((), {})
    applications = trust.applications
    assert (applications.remit, applications.cli, applications.uris) == (REMIT, CLI, ("api://remit",))
    assert (applications.second, applications.managed_identity[:2]) == ("api://remit-google", "3c")
    assert len(applications.clients) == 4
    assert trust.roles[1] == Role(
        "DataScientist",
        people=("0d000000-0000-4000-8000-000000000002",),
        about="looks at what was trained and asks it for predictions",
        owner="olga@contoso.example",
        expires="2027-06-30",
    )
    assert trust.accounts[-1] == Account(
        "remit-keys@contoso-fraud-prod.iam.gserviceaccount.com",
        {"projects/contoso-fraud-prod": ("roles/iam.workloadIdentityPoolAdmin",)},
        ("remit",),
    )
    assert trust.azure[0] == AzureClient(
        ENGINEER,
        STORAGE,
        ("remit/contoso-fraud-test/MLEngineer", "remit/contoso-fraud-test/Pipeline"),
        ("contosofraudtest/features", "contosofraudtest/staging"),
        write=True,
    )
    assert [one.name for one in trust.azure[1:]] == [
        "contoso-fraud-test/DataScientist",
        "contoso-fraud-prod/MLEngineer",
    ]
    assert trust.storage[0] == StorageAccount("contosofraudtest", "5b000000-0000-4000-8000-000000000001", "contoso-ml")


def test_a_file_without_it_is_read_as_ever(tmp_path):
    (tmp_path / "remit.yaml").write_text(WITHOUT)
    trust = read(tmp_path / "remit.yaml").trust
    assert (trust.roles, trust.accounts, trust.storage, trust.administrators) == ((), (), (), ())
    assert trust.applications.redirects == ("http://127.0.0.1:8443/sign-in/entra/callback",)


@pytest.mark.parametrize(
    ("origin", "added"),
    [
        ("http://127.0.0.1:9443", []),  # Entra disregards the port on loopback
        ("https://remit.contoso.example", []),
        ("https://remit.contoso.example:8443", ["https://remit.contoso.example:8443/sign-in/entra/callback"]),
        ("https://door.contoso.example", ["https://door.contoso.example/sign-in/entra/callback"]),
    ],
)
def test_where_browsers_may_be_sent_back_to(tmp_path, origin, added):
    (tmp_path / "remit.yaml").write_text(changed("  browser:\n", f"  browser:\n    origin: {origin}\n"))
    redirects = read(tmp_path / "remit.yaml").trust.applications.redirects
    assert len(redirects) == 5 + len(added)
    assert set(added) < set(redirects)


@pytest.mark.parametrize(
    ("day", "read_as"),
    [("2027-06-30", "2027-06-30"), ('"2027-06-30"', "2027-06-30"), ("'2028-02-29'", "2028-02-29")],
)
def test_a_day_with_and_without_quotes(tmp_path, day, read_as):
    (tmp_path / "remit.yaml").write_text(changed("expires: 2027-06-30", f"expires: {day}"))
    assert read(tmp_path / "remit.yaml").trust.roles[0].expires == read_as


GRANT = "projects/contoso-fraud-test: [policy, roles/logging.viewer]"
SCIENTIST = "data-scientist@contoso-fraud-test.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    ("old", "new", "needle", "message"),
    [
        *(
            ("expires: 2027-06-30", f"expires: {day}", f"expires: {day}", "this is no day of the form")
            for day in ("soon", "'2027-02-30'", "2027-06-30 10:00:00", "'2027-6-3'", "'20270630'", "2027", "[]")
        ),
        ("expires: 2027-06-30", "expires: 2027-02-30", "2027-02-30", "not allowed here"),
        ("- group/okta/ml-engineers", "- group/ml-engineers", "group/ml-", "does not have the form"),
        ("- group/okta/ml-engineers", "- group/*", "group/*", "does not have the form"),
        ("- group/okta/ml-engineers", "- group/okta/*", "group/okta/*", "does not have the form"),
        ("- group/okta/ml-engineers", "- allUsers", "allUsers", "does not have the form"),
        ("- group/okta/ml-engineers", '- "*"', '"*"', "does not have the form"),
        ("subject/okta/pipeline", f"subject/{'x' * 128}", "subject/xxx", "does not have the form"),
        ("people: [0d0", "people: [ada@contoso.example, 0d0", "ada@", "does not have the form"),
        ("user:admin@", "admin@", '"admin@', "does not have the form"),
        ("user:admin@", "user:Admin@", '"user:Admin@', "does not have the form"),
        ('["user:admin@contoso.example"]', "[allAuthenticatedUsers]", "allAuth", "does not have the form"),
        ("  redirects:", "  apart: [allUsers]\n  redirects:", "allUsers", "does not have the form"),
        ("  redirects:", "  surprise: 1\n  redirects:", "surprise", "is not a key"),
        ("https://localhost/", "http://contoso.example/", "http://contoso", "does not have the form"),
        ("https://localhost/", "https://*.contoso.example/", "https://*", "does not have the form"),
        (GRANT, GRANT.replace("policy", "owner"), "owner, roles", "does not have the form"),
        (GRANT, GRANT.partition(":")[0] + ": []", "projects/contoso-fraud-test: []", "at least 1"),
        (GRANT, GRANT.replace("projects/", "organizations/"), "organizations/", "does not have the form"),
        ("    DataScientist:\n", "    Data Scientist:\n", "Data Scientist:", "does not have the form"),
        ("contoso-ml}", "contoso-ml.}", "resource_group: contoso-ml.", "does not have the form"),
    ],
)
def test_wrong_values(tmp_path, old, new, needle, message):
    text = changed(old, new)
    found = problems(tmp_path, text)
    assert any(one[:2] == place(text, needle) and message in one[2] for one in found), found


@pytest.mark.parametrize(
    ("old", "new", "needle", "message"),
    [
        (GRANT, GRANT.replace("projects/contoso-fraud-test", "projects/contoso-other"), "projects/contoso-other", "`co"),
        ("buckets/contoso-churn-prod-data", "buckets/somebodys", "buckets/somebodys", "is not among the buckets"),
        ("accounts/trainer@", "accounts/nobody@", "accounts/nobody@", "is not an account of this file"),
        ("        buckets/contoso-fraud-test-data: [roles/storage.objectV", "        buckets/contoso-fraud-test-data: [policy, roles/storage.objectV", "policy, roles/storage", "is for projects only"),
        ("[roles/aiplatform.viewer, roles/logging.viewer, roles/iam.securityReviewer]\n        projects/contoso-fraud-prod: [", "[roles/aiplatform.viewer]\n        projects/contoso-fraud-prod: [policy, ", "policy, roles/iam", "nobody works as"),
        (GRANT, GRANT.replace("policy", "roles/logging.viewer"), "roles/logging.viewer]\n        buckets/contoso-fraud-test-data: [roles/storage.objectV", "stands twice"),
        ("    remit-keys@contoso-fraud-prod.", "    remit-keys@contoso-other.", "remit-keys@contoso-other", "of no project"),
        ("    Security:\n      about", "    Guards:\n      about", "role: Security", "is not among the roles"),
        ("    contosofraudprod: {", "    contosofraudelse: {", "storage: # where", "`contosofraudprod` of containers"),
        ("      audience: a0000000-0000-4000-8000-000000000001", f"      audience: {READER}", f"audience: {READER}", "it is one"),
        ("  redirects:", f"  apart: [serviceAccount:{SCIENTIST}]\n  redirects:", "serviceAccount:data", "cannot be kept apart"),
        ("  redirects:", "  apart: [principalSet://iam.googleapis.com/projects/100000000002/locations/global/workloadIdentityPools/contoso/*]\n  redirects:", "principalSet://", "cannot be kept apart"),
        ("administrators: [", f'administrators: ["serviceAccount:{SCIENTIST}", ', '"serviceAccount:data', "cannot be an administrator"),
    ],
)  # fmt: skip
def test_what_no_single_key_can_say(tmp_path, old, new, needle, message):
    text = changed(old, new)
    [(line, column, said)] = problems(tmp_path, text)
    assert (line, column) == place(text, needle)
    assert message in said


def test_all_of_it_is_said_at_once(tmp_path):
    text = changed("    Security:\n      about", "    Guards:\n      about")
    text = text.replace("buckets/contoso-churn-prod-data", "buckets/somebodys").replace(
        "contosofraudprod: {", "other: {"
    )
    assert len(problems(tmp_path, text)) == 3


# applications that Entra has yet to make


def test_nothing_starts_with_an_application_that_is_not_there(tmp_path):
    file = tmp_path / "remit.yaml"
    file.write_text(PENDING + "surprise: 1\n")
    with pytest.raises(SettingsInvalid):
        read(file)
    file.write_text(PENDING)
    with pytest.raises(SettingsInvalid) as caught:
        read(file)
    assert "remit trust apply" in caught.value.hint
    found = [(one.line, one.column) for one in caught.value.problems]
    assert found[0] == place(PENDING, "audience: app:remit")
    assert len(found) == 8
    assert all("`app:" in one.message for one in caught.value.problems)


def test_the_trust_is_planned_with_it(tmp_path):
    (tmp_path / "remit.yaml").write_text(PENDING)
    trust = read(tmp_path / "remit.yaml", pending=True).trust
    assert {name: one for one, name in trust.pending.items()} == {name: placeholders.stand_in(name) for name in IDS}
    assert trust.pending[trust.application] == "remit"
    assert trust.pending[trust.applications.cli] == "remit-cli"
    assert trust.pending[trust.azure[0].client] == trust.azure[0].name == ENGINEER
    assert len({*map(placeholders.stand_in, IDS), REMIT}) == 4


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  client: app:remit-cli", "  client: app:remit", "write `app:remit-cli`"),
        ("application: app:remit", "application: app:second", "write `app:remit`"),
        (f"client: app:{ENGINEER}", "client: app:contoso-fraud-test/Pipeline", f"write `app:{ENGINEER}`"),
        ("- app:remit-cli", "- app:somebody", "is no application that belongs here"),
        ("- app:remit-cli", "- 'app:'", "does not have the form"),
        ("tenant: 6f1c2a34-8b5d-4e6f-9a01-c0de00000001", "tenant: app:remit", "does not have the form"),
    ],
)
def test_a_placeholder_stands_for_one_application(tmp_path, old, new, said):
    file = tmp_path / "remit.yaml"
    assert old in PENDING
    file.write_text(PENDING.replace(old, new))
    with pytest.raises(SettingsInvalid, match="app:") as caught:
        read(file, pending=True)
    assert any(said in one.message for one in caught.value.problems), caught.value.problems


def test_another_issuers_client_is_no_placeholder(tmp_path):
    file = tmp_path / "remit.yaml"
    okta = "      - {name: okta, title: Okta, issuer: 'https://okta.contoso.example', client: 'app:remit'}\n"
    file.write_text(changed("    providers:\n", f"    providers:\n{okta}"))
    before = file.read_bytes()
    assert read(file).identity.providers[0].client == "app:remit"
    assert settle(file, IDS) == ()
    assert file.read_bytes() == before


def test_ids_take_their_places_and_nothing_else_changes(tmp_path):
    file = tmp_path / "remit.yaml"
    odd = PENDING.replace("client: app:remit-cli", 'client: "app:remit-cli" # app:remit-cli').replace("\n", "\r\n")
    odd = "\ufeff" + odd.replace("about: trains", "about: app:remit trains ü").replace("application: app:remit", "application:   'app:remit'")  # fmt: skip
    file.write_bytes(odd.encode())
    assert settle(file, {"remit": REMIT, "somebody": CLI}) == ("remit",)
    assert settle(file, {"remit": REMIT}) == ()
    assert settle(file, IDS) == ("remit-cli", ENGINEER)
    wanted = odd.replace("'app:remit'", f"'{REMIT}'").replace('"app:remit-cli" # app:remit-cli', f'"{CLI}" # @')
    wanted = wanted.replace("app:remit trains", "@ trains").replace("app:remit-cli", CLI).replace("app:remit", REMIT)
    wanted = wanted.replace(f"app:{ENGINEER}", STORAGE).replace("# @", "# app:remit-cli").replace("@ trains", "app:remit trains")  # fmt: skip
    assert file.read_bytes() == wanted.encode()
    assert read(file).trust.pending == {}


def test_the_example_comes_back_byte_for_byte(tmp_path):
    file = tmp_path / "remit.yaml"
    file.write_text(PENDING)
    settle(file, IDS)
    assert file.read_text() == TEXT


def test_the_file_keeps_its_mode_and_a_link_stays_one(tmp_path):
    file, link = tmp_path / "there.yaml", tmp_path / "remit.yaml"
    file.write_text(PENDING)
    file.chmod(0o664)
    link.symlink_to(file)
    before = os.umask(0o077)
    try:
        settle(link, IDS)
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o664
    assert sorted(one.name for one in tmp_path.iterdir()) == ["remit.yaml", "there.yaml"]
    assert file.read_text() == TEXT


@pytest.mark.parametrize("one", ["", "app:remit", f"{REMIT}\n", f"{REMIT} # x", REMIT.replace("a", "A"), "x: y"])
def test_only_ids_are_written(tmp_path, one):
    file = tmp_path / "remit.yaml"
    file.write_text(PENDING)
    with pytest.raises(SettingsInvalid, match="none of entra"):
        settle(file, {"remit": one})
    assert file.read_text() == PENDING


def test_a_file_that_somebody_else_writes_meanwhile_stays_theirs(tmp_path, monkeypatch):
    file = tmp_path / "remit.yaml"
    file.write_text(PENDING)

    def meanwhile(name, data):
        file.write_text(PENDING + "# theirs\n")
        return parse(name, data)

    parse = placeholders.parse
    monkeypatch.setattr(placeholders, "parse", meanwhile)
    with pytest.raises(SettingsInvalid, match="changed while") as caught:
        settle(file, {"remit": REMIT})
    assert caught.value.hint == f"put `{REMIT}` in the place of `app:remit`"
    assert file.read_text() == PENDING + "# theirs\n"
