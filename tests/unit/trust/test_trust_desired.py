"""What the clouds must hold, out of the file: the values, who refers to whom, and what no cloud takes."""

from dataclasses import replace

import pytest
from tests.unit.trust.test_trust_entra import CLI, CLIENT, GROUP, IDENTITY, OTHER, REMIT, SETTINGS, TENANT

from remit.model.estate import Estate, Project
from remit.trust.desired import wanted
from remit.trust.desired.entra import CONSENTS, entra
from remit.trust.desired.limits import limits
from remit.trust.settings import Account, AzureClient, Mapping, Role, StorageAccount
from remit.trust.things import Address, Ref, Text, Thing, refs

PERSON, WORKLOAD = "0d000000-0000-4000-8000-000000000001", "3d000000-0000-4000-8000-000000000002"
POOL = "projects/1/locations/global/workloadIdentityPools/contoso"
ENGINEER = "ml-engineer@contoso-test.iam.gserviceaccount.com"


def by_name(things):
    found = {str(thing.address): thing for thing in things}
    assert len(found) == len(things)
    return found


def test_the_second_audience_has_one_client():
    second = by_name(entra(SETTINGS))["entra.application remit-google"]
    assert second.fields["preauthorized"] == (Ref(Address("entra.application", "remit"), "appId"),)
    assert second.fields["scopes"] == ("exchange",)
    assert second.fields["optionalClaims"] == ("acct", "acrs", "groups", "sid")
    assert second.says == "lets only Remit obtain tokens that Google accepts, on behalf of who signed in to it"


def test_remit_has_the_roles_of_the_file_and_the_claims_that_it_reads():
    remit = by_name(entra(SETTINGS))["entra.application remit"].fields
    assert remit["roles"] == ("MLEngineer", "Security")
    assert (remit["uris"], remit["scopes"]) == (("api://remit",), ("access",))
    assert {"acrs", "xms_cc", "groups"} <= set(remit["optionalClaims"])
    assert (remit["groupClaims"], remit["audience"], remit["public"]) == ("SecurityGroup", "AzureADMyOrg", False)


@pytest.mark.parametrize("name", ["remit-cli", "p/R"])
def test_what_only_asks_for_tokens_exposes_nothing(name):
    fields = by_name(entra(SETTINGS))[f"entra.application {name}"].fields
    empty = {key for key, value in fields.items() if not value}
    assert {"uris", "webRedirects", "scopes", "roles", "preauthorized", "groupClaims"} <= empty


def test_an_app_id_is_wanted_only_where_entra_gave_it():
    known = replace(SETTINGS, pending={CLI: "remit-cli"})
    things = by_name(entra(known))
    assert things["entra.application remit"].fields["appId"] == REMIT
    assert things["entra.application remit-cli"].fields["appId"] is None
    assert things["entra.application p/R"].fields["appId"] == CLIENT
    stand_ins = [str(value) for thing in entra(SETTINGS) for value in thing.fields.values()]
    assert not any(one in text for one in SETTINGS.pending for text in stand_ins)


def test_whoever_has_a_role_has_it_as_what_it_is():
    role = Role("MLEngineer", (GROUP,), (PERSON,), (WORKLOAD,), about="trains models")
    things = by_name(entra(replace(SETTINGS, roles=(role,))))
    kinds = {oid: things[f"entra.assignment MLEngineer/{oid}"] for oid in (GROUP, PERSON, WORKLOAD)}
    assert [thing.fields["principalType"] for thing in kinds.values()] == ["Group", "User", "ServicePrincipal"]
    assert kinds[GROUP].says == f"lets the direct members of group {GROUP} work as MLEngineer: trains models"


def test_remit_proves_itself_without_a_secret():
    things = by_name(entra(SETTINGS))
    own = things["entra.federation remit/managed-identity"].fields
    assert own["issuer"] == f"https://login.microsoftonline.com/{TENANT}/v2.0"
    assert own["subject"] == Ref(Address("entra.principal", "managed-identity"), "id")
    identity = things["entra.principal managed-identity"]
    assert (identity.given, identity.fields) == (True, {"appId": IDENTITY})
    other = things["entra.federation p/R/remit-p-r"].fields
    assert (other["issuer"], other["subject"]) == ("https://remit.contoso.example", "remit/p/R")


def test_only_remit_keeps_out_whoever_has_no_role():
    closed = {
        name
        for name, thing in by_name(entra(SETTINGS)).items()
        if thing.address.kind == "entra.principal" and thing.fields.get("assignmentRequired")
    }
    assert closed == {"entra.principal remit"}


def test_a_file_without_applications_wants_nothing_of_entra():
    assert entra(replace(SETTINGS, applications=None)) == ()


WHOLE = replace(
    SETTINGS,
    mappings=(Mapping("MLEngineer", "contoso-test", ENGINEER),),
    estate=Estate(
        (Project("contoso-test", "1", "test", ("us-central1",), ("data",), (ENGINEER,), ("store/features",)),)
    ),
    accounts=(Account(ENGINEER, {"projects/contoso-test": ("policy",)}),),
    storage=(StorageAccount("store", "5b000000-0000-4000-8000-000000000001", "ml"),),
)


def test_the_three_clouds_are_one_list_in_which_everything_that_is_referred_to_stands():
    things = wanted(WHOLE, lambda email, project: ("aiplatform.models.list",))
    known = by_name(things)
    assert {thing.address.cloud for thing in things} == {"entra", "google", "azure"}
    for thing in things:
        assert thing.says
        assert not thing.says.endswith(".")
        for address in (*thing.needs, *(ref.of for value in thing.fields.values() for ref in refs(value))):
            assert str(address) in known, thing.address
    assert things == wanted(WHOLE, lambda email, project: ("aiplatform.models.list",))
    assert limits(things) == ()


def thing(kind, name, **fields):
    return Thing(Address(kind, name), fields)


def federation(number, **fields):
    whole = {
        "application": "p/R",
        "issuer": "https://i.example",
        "subject": str(number),
        "audience": "api://x",
        **fields,
    }
    return thing("entra.federation", f"p/R/c{number}", **whole)


def provider(**fields):
    whole = {"issuer": "https://i.example", "audiences": (), "mapping": {}, "condition": "true", **fields}
    return thing("google.provider", f"{POOL}/providers/entra", **whole)


def subject(text):
    return thing("google.binding", f"b {text}", member=f"principal://iam.googleapis.com/{POOL}/subject/{text}")


REFERENCE = Ref(Address("entra.principal", "remit"), "id")
WITHIN = [
    [federation(n) for n in range(20)],
    [federation(1, subject="s" * 600, audience="a" * 600)],
    [subject("s" * 127)],
    [provider(audiences=tuple("a" * 256 + str(n) for n in range(0)), condition="c" * 4096)],
    [provider(audiences=tuple(str(n) for n in range(10)), mapping={"google.subject": "e" * 2048})],
    [thing("google.pool", "projects/1/locations/global/workloadIdentityPools/" + "p" * 32)],
    [thing("google.account", "a" * 30 + "@p.iam.gserviceaccount.com")],
    [thing("google.role", "projects/p/roles/" + "r" * 64, title="t" * 100, permissions=("p",) * 3000)],
    [thing("entra.application", "a", displayName="d" * 256, roles=("r" * 120, "a.b:c/d"), scopes=("access",))],
    [
        thing(
            "entra.application",
            "a",
            webRedirects=("https://a.example/cb", "http://localhost:80/cb", "http://127.0.0.1/"),
        )
    ],
]
BROKEN = [
    ([federation(n) for n in range(21)], "`entra.application p/R` would have 21 federated credentials"),
    ([federation(1, subject="s" * 601)], "the subject of `entra.federation p/R/c1` has 601 characters: 600 at most"),
    ([federation(1, issuer="i" * 601)], "the issuer of `entra.federation p/R/c1` has 601 characters"),
    ([federation(1, issuer="")], "has no issuer"),
    (
        [thing("entra.federation", "p/R/" + "n" * 121, application="p/R", issuer="i", subject="s", audience="a")],
        "the name of `entra.federation p/R/n",
    ),
    ([subject("s" * 128)], "has 128 bytes: Google takes a subject of 127 at most"),
    ([subject("é" * 64)], "has 128 bytes"),
    (
        [
            thing(
                "google.binding",
                "b",
                member=Text((f"principal://iam.googleapis.com/{POOL}/subject/{'t' * 92}", REFERENCE)),
            )
        ],
        "has 128 bytes",
    ),
    ([provider(audiences=tuple(str(n) for n in range(11)))], "has 11 audiences: 10 at most"),
    ([provider(audiences=("a" * 257,))], "has 257 characters: 256"),
    ([provider(condition="c" * 4097)], "has 4097 characters: 4096 at most"),
    ([provider(condition=Text(("c" * 4061, REFERENCE)))], "has 4097 characters: 4096 at most"),
    ([provider(mapping={"google.subject": "e" * 2049})], "the mapping of `google.subject` of `google.provider"),
    ([provider(mapping={f"attribute.a{n}": "x" for n in range(51)})], "51 mapped attributes"),
    ([provider(issuer="http://i.example")], "not `https`"),
    ([thing("google.pool", f"{POOL[: -len('contoso')]}con")], "`con` is no pool's name"),
    ([thing("google.pool", f"{POOL[: -len('contoso')]}gcp-contoso")], "`gcp-contoso` is no pool's name"),
    ([thing("google.pool", f"{POOL[: -len('contoso')]}{'p' * 33}")], "is no pool's name"),
    (
        [thing("google.provider", f"{POOL}/providers/Entra", issuer="https://i.example")],
        "`Entra` is no provider's name",
    ),
    ([thing("google.account", "short@p.iam.gserviceaccount.com")], "is no service account"),
    ([thing("google.account", "a" * 31 + "@p.iam.gserviceaccount.com")], "is no service account"),
    ([thing("google.role", "projects/p/roles/a-b", title="t")], "`a-b` is no custom role's name"),
    ([thing("google.role", "projects/p/roles/abc", title="é" * 51)], "has 102 bytes: 100"),
    ([thing("google.role", "projects/p/roles/abc", permissions=("p",) * 3001)], "3001 permissions"),
    ([thing("entra.application", "a", roles=("ML Engineer",))], "`ML Engineer` is no app role's name"),
    ([thing("entra.application", "a", roles=(".hidden",))], "`.hidden` is no app role's name"),
    ([thing("entra.application", "a", roles=("r" * 121,))], "is no app role's name"),
    ([thing("entra.application", "a", roles=("Ärztin",))], "is no app role's name"),
    ([thing("entra.application", "a", roles=("access",), scopes=("access",))], "`access` is a role and a scope"),
    ([thing("entra.application", "a", displayName="d" * 257)], "the display name of `entra.application a` has 257"),
    ([thing("entra.application", "a", webRedirects=("http://evil.example/",))], "is no redirect URI"),
    ([thing("entra.application", "a", webRedirects=("http://localhost.evil.example/",))], "is no redirect URI"),
]


@pytest.mark.parametrize("things", WITHIN)
def test_what_clouds_take_is_no_problem(things):
    assert limits(things) == ()


@pytest.mark.parametrize(("things", "said"), BROKEN)
def test_each_limit_is_told_by_name_before_anything_is_asked(things, said):
    [problem] = limits(things)
    assert said in problem
    assert "\n" not in problem


def test_a_file_with_too_many_of_one_kind_is_told():
    subjects = tuple(f"remit/p/R{number}" for number in range(21))
    settings = replace(SETTINGS, azure=(AzureClient("p/R", CLIENT, subjects, (), write=True),))
    [problem] = limits(entra(settings))
    assert problem.startswith("`entra.application p/R` would have 21 federated credentials")


def test_what_is_somebody_elses_is_not_judged():
    assert limits([replace(thing("google.account", "x@y"), given=True)]) == ()


def test_two_roles_of_one_holder_are_two():
    roles = (Role("A", groups=(GROUP, OTHER)), Role("B", groups=(GROUP,)))
    names = [name for name in by_name(entra(replace(SETTINGS, roles=roles))) if name.startswith("entra.assignment")]
    assert names == [f"entra.assignment {each}" for each in (f"A/{GROUP}", f"A/{OTHER}", f"B/{GROUP}")]
    assert set(CONSENTS) == {
        thing.fields["permission"] for thing in entra(SETTINGS) if thing.address.kind == "entra.consent"
    }
