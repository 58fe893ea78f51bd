"""A plan as a script of `gcloud` and `az`: run by the real shell, with the two commands told to write down what they hear."""

import json
import os
import subprocess
import sys

import pytest
from tests.unit.trust.google_contoso import POOL, SCIENTIST, TEST, TRAINER
from tests.unit.trust.test_trust_google_cloud import WANTED

from remit.model.errors import TrustBroken
from remit.trust.planning.gcloud import gcloud
from remit.trust.planning.plan import Act, Change, Plan, Risk, Unsafe
from remit.trust.planning.shell import Words, comment, several
from remit.trust.things import Address, Found, Ref, Text

EVIL = "x'; touch $WORK/owned; $(touch $WORK/owned) `touch $WORK/owned` \"\n touch $WORK/owned #"
COMMAND = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
name = Path(sys.argv[0]).name
files = [Path(each.rpartition("=")[2].lstrip("@")) for each in sys.argv if "/policy.json" in each or "/body.json" in each or "/keys.json" in each]
held = [json.loads(each.read_text()) for each in files]
with open(os.environ["WORK"] + "/heard", "a") as heard:
    print(json.dumps([name, *sys.argv[1:], *held]), file=heard)
answers = json.loads(Path(os.environ["WORK"], "answers").read_text())
for part, answer in answers.items():
    if part in " ".join(sys.argv[1:]):
        print(answer if isinstance(answer, str) else json.dumps(answer))
        break
"""


@pytest.fixture
def heard(tmp_path):
    """Runs a script; answers what was asked of the two commands."""
    for name in ("gcloud", "az"):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(COMMAND)
        command.chmod(0o755)

    def run(script, answers=()):
        (tmp_path / "answers").write_text(json.dumps(dict(answers)))
        (tmp_path / "script").write_text(script)
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        environment = {"PATH": path, "WORK": str(tmp_path), "TMPDIR": str(tmp_path)}
        done = subprocess.run(
            ["bash", tmp_path / "script"], env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "owned").exists()
        lines = (tmp_path / "heard").read_text().splitlines() if (tmp_path / "heard").exists() else []
        return [json.loads(line) for line in lines]

    return run


def make(kind, name, says="", **fields):
    return Change(Act.MAKE, Address(kind, name), None, fields, says)


def test_everything_of_googles_is_made(heard):
    changes = tuple(Change(Act.MAKE, each.address, None, each.fields, each.says, each) for each in WANTED)
    policy = {"etag": "e", "auditConfigs": [{"service": "x.googleapis.com"}, {"service": "sts.googleapis.com"}]}
    asked = heard(gcloud(Plan(changes)), {"get-iam-policy": policy})
    commands = [" ".join(map(str, words)) for words in asked]
    assert commands[0] == "gcloud iam workload-identity-pools create contoso --project=100000000002 --location=global"
    [own] = [words for words in asked if "create-oidc" in words and "remit" in words]
    assert own[-1] == {"keys": []}
    entra = next(words for words in asked if "create-oidc" in words and "entra" in words)
    assert "--allowed-audiences=a3" in entra
    assert next(each for each in entra if each.startswith("--attribute-condition=")).count('"') == 4
    scientist = f"serviceAccount:{SCIENTIST}"
    assert (
        f"gcloud projects add-iam-policy-binding {TEST} --member={scientist}"
        f" --role=projects/{TEST}/roles/remit_data_scientist --condition=None" in commands
    )
    [role] = [words for words in asked if "roles" in words]
    assert "--permissions=aiplatform.endpoints.predict,aiplatform.models.list" in role
    sts = next(
        words[-1]
        for words in asked
        if "set-iam-policy" in words and words[-1]["auditConfigs"][-1]["service"][:3] == "sts"
    )
    assert sts["etag"] == "e"
    assert sts["auditConfigs"] == [
        {"service": "x.googleapis.com"},
        {"service": "sts.googleapis.com", "auditLogConfigs": [{"logType": "ADMIN_READ"}, {"logType": "DATA_READ"}]},
    ]


def test_changes_and_removals_of_googles(heard):
    condition = {"title": "to, July", "expression": 'request.time < timestamp("2027-07-01T00:00:00Z") && a in [1, 2]'}
    bound = {"resource": f"accounts/{TRAINER}", "role": "roles/iam.serviceAccountUser", "member": "user:o@c.example"}
    provider = {"issuer": "https://a", "audiences": ("b",), "mapping": {"k": "has(x, y) ? 1 : 2"}, "condition": "c"}
    changes = (
        Change(
            Act.CHANGE,
            Address("google.provider", f"{POOL}/providers/entra"),
            {**provider, "mapping": {}, "disabled": True},
            {**provider, "disabled": False},
            "",
        ),
        Change(Act.CHANGE, Address("google.account", TRAINER), {"disabled": True}, {"disabled": False}, ""),
        Change(Act.REMOVE, Address("google.binding", "x"), {**bound, "condition": condition}, None, ""),
        Change(Act.REMOVE, Address("google.role", f"projects/{TEST}/roles/remit_old"), {}, None, ""),
        Change(
            Act.REMOVE,
            Address("google.audit", "x"),
            {"project": TEST, "service": "allServices", "logTypes": ("DATA_READ but not of user:eve@c.example",)},
            None,
            "",
        ),
    )
    update, enable, unbound, role, _, audit = heard(gcloud(Plan(changes)), {"get-iam-policy": {"etag": "e"}})
    assert update[5:] == [
        "entra",
        "--project=100000000002",
        "--location=global",
        "--workload-identity-pool=contoso",
        "--attribute-mapping=^;^k=has(x, y) ? 1 : 2",
        "--no-disabled",
    ]
    assert enable[1:] == ["iam", "service-accounts", "enable", TRAINER, f"--project={TEST}"]
    assert unbound[3:5] == ["remove-iam-policy-binding", TRAINER]
    assert unbound[-1] == f"--condition=^;^expression={condition['expression']};title=to, July"
    assert role[1:] == ["iam", "roles", "delete", "remit_old", f"--project={TEST}", "--quiet"]
    assert audit[-1]["auditConfigs"] == [{"service": "allServices", "auditLogConfigs": [{"logType": "DATA_READ"}]}]


def test_nothing_in_a_plan_runs_by_itself(heard):
    fields = {
        "resource": f"buckets/{EVIL}",
        "role": EVIL,
        "member": EVIL,
        "condition": {"title": EVIL, "expression": EVIL},
    }
    unsafe = (Unsafe(Risk.WIDENS, EVIL),)
    changes = (
        Change(Act.MAKE, Address("google.binding", EVIL), None, fields, EVIL, unsafe=unsafe),
        make("google.role", f"projects/{TEST}/roles/remit_x", EVIL, title=EVIL, permissions=(EVIL,), stage="GA"),
        make("google.audit", EVIL, project=EVIL, service=EVIL, logTypes=(EVIL,)),
        make(
            "entra.application", EVIL, audience=EVIL, uris=(EVIL,), roles=(EVIL,), scopes=(EVIL,), preauthorized=(EVIL,)
        ),
        make("azure.assignment", EVIL, scope=EVIL, role=EVIL, principal=EVIL),
    )
    asked = heard(gcloud(Plan(changes, (EVIL,))), {"get-iam-policy": {}, "GET": {"appRoles": [], "api": {}}})
    assert f"--member={EVIL}" in asked[0]
    assert f"--title={EVIL}" in asked[1]


def test_ids_that_entra_gives_flow_from_line_to_line(heard):
    remit, second = Address("entra.application", "remit"), Address("entra.application", "remit-google")
    principal = Address("entra.principal", "remit")
    given = Ref(remit, "appId")
    changes = (
        make(
            "entra.application",
            "remit",
            displayName="Remit",
            audience="AzureADMyOrg",
            roles=("MLEngineer",),
            scopes=("access",),
        ),
        make("entra.principal", "remit", application=given, enabled=True, assignmentRequired=True),
        make("entra.federation", "remit/managed-identity", application="remit", issuer="i", subject="s", audience="a"),
        make("entra.assignment", "MLEngineer/g1", role="MLEngineer", principal="g1", principalType="Group"),
        make("entra.consent", "User.Read.All", permission="User.Read.All", principal=Ref(principal, "id")),
        Change(Act.CHANGE, second, {"preauthorized": ()}, {"preauthorized": (given,)}, "", ids={"id": "second-object"}),
        make(
            "google.binding",
            "x",
            resource=f"accounts/{SCIENTIST}",
            role="roles/iam.workloadIdentityUser",
            member=Text((f"principal://{POOL}/subject/t/", Ref(principal, "id"))),
            condition=None,
        ),
        make("azure.assignment", "y", scope="/s", role="Reader", principal=Ref(principal, "id")),
    )
    answers = {
        "--query appId": "the-app",
        "--query id": "the-object",
        "appRoles": {"appRoles": [{"id": "role-1", "value": "MLEngineer"}, {"id": "role-2", "value": "User.Read.All"}]},
        "applications/second-object": {
            "api": {"x": 1, "oauth2PermissionScopes": [{"id": "s1", "isEnabled": True}, {"id": "s2"}]}
        },
        "applications/the-object": {"appRoles": [{"id": "old", "value": "Old", "isEnabled": True}]},
    }
    asked = heard(gcloud(Plan(changes)), answers)
    bodies = [
        words[-1] for words in asked if words[:4] == ["az", "rest", "--method", "PATCH"] and isinstance(words[-1], dict)
    ]
    closed, opened = bodies[0]["appRoles"], bodies[1]["appRoles"]
    assert closed == [{"id": "old", "value": "Old", "isEnabled": False}]
    assert [(role["value"], role["isEnabled"]) for role in opened] == [("MLEngineer", True)]
    assert bodies[-1] == {
        "api": {
            "x": 1,
            "oauth2PermissionScopes": [{"id": "s1", "isEnabled": True}, {"id": "s2"}],
            "preAuthorizedApplications": [{"appId": "the-app", "delegatedPermissionIds": ["s1"]}],
        }
    }
    posts = [json.loads(words[words.index("--body") + 1]) for words in asked if "POST" in words]
    assert posts[0] == {"appId": "the-app", "accountEnabled": True, "appRoleAssignmentRequired": True}
    assert posts[1]["name"] == "managed-identity"
    assert posts[2] == {"principalId": "g1", "resourceId": "the-object", "appRoleId": "role-1"}
    assert posts[3] == {"principalId": "the-object", "resourceId": "the-object", "appRoleId": "role-2"}
    assert f"--member=principal://{POOL}/subject/t/the-object" in asked[-2]
    assert asked[-1][asked[-1].index("--assignee-object-id") + 1] == "the-object"


def test_what_is_there_need_not_be_looked_up(heard):
    principal = Address("entra.principal", "p/r")
    change = make("azure.assignment", "y", scope="/s", role="Reader", principal=Ref(principal, "id"))
    [asked] = heard(gcloud(Plan((change,)), [Found(principal, {}, {"id": "known"})]))
    assert "known" in asked
    looked = gcloud(Plan((change,)), [Found(Address("entra.application", "p/r"), {}, {"appId": "the-app"})])
    assert "servicePrincipals(appId=" in looked
    assert "the-app" in looked
    with pytest.raises(TrustBroken, match="nothing tells the id of"):
        gcloud(Plan((change,)))


def test_removals_of_microsofts(heard):
    changes = (
        Change(Act.REMOVE, Address("entra.assignment", "x"), {}, None, "", ids={"id": "a1", "resource": "r1"}),
        Change(
            Act.REMOVE,
            Address("entra.federation", "remit/x"),
            {"application": "remit"},
            None,
            "",
            ids={"id": "f1", "application": "o1"},
        ),
        Change(Act.REMOVE, Address("azure.assignment", "x"), {}, None, "", ids={"id": "/s/a"}),
        Change(Act.REMOVE, Address("entra.application", "x"), {}, None, "", ids={"id": "o2"}),
    )
    urls = [words[-1] for words in heard(gcloud(Plan(changes)))]
    graph = "https://graph.microsoft.com/v1.0"
    assert urls == [
        f"{graph}/servicePrincipals/r1/appRoleAssignedTo/a1",
        f"{graph}/applications/o1/federatedIdentityCredentials/f1",
        "/s/a",
        f"{graph}/applications/o2",
    ]


def test_two_ids_never_share_a_variable():
    words = Words({})
    one, other = (Ref(Address("entra.application", name), "appId") for name in ("p-a/b", "p/a-b"))
    assert words.variable(one) != words.variable(other)
    assert words.variable(one) == words.variable(one)


def test_nothing_that_somebody_else_wrote_is_taken_for_an_id():
    words = Words({})
    words.text(Ref(Address("entra.application", "remit"), "appId"))
    marked = "a\ue0000\ue001b"
    assert words.word(marked) == f"'{marked}'"


def test_lists_with_commas_have_another_delimiter():
    assert several(["a", "b"]) == "a,b"
    assert several(["a,b", "c"]) == "^;^a,b;c"
    assert several(["^a"]) == "^,^^a"
    assert comment("a\nb\x1b[31m") == "# a b [31m"
