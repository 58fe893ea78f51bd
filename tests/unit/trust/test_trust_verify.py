"""What a verification makes of what it was told: permissions on which sides disagree, roles, structure, the page."""

import asyncio
from dataclasses import replace

import pytest
from tests.unit.trust.planned_contoso import SETTINGS

from remit.model.errors import TrustBroken
from remit.trust.planning.matching import Matched
from remit.trust.settings import Account, AzureClient, Role, TrustSettings
from remit.trust.things import Address, Found, Thing
from remit.trust.verifying.bindings import past_accounts
from remit.trust.verifying.compare import Line, Side, disagreements, groups_of, impersonation, strangers
from remit.trust.verifying.containers import container_findings
from remit.trust.verifying.findings import Finding, Hop, Report
from remit.trust.verifying.page import page
from remit.trust.verifying.roles import Holder, Holders, Sides, expired, role_findings
from remit.trust.verifying.structure import hops, issuer_keys
from remit.trust.verifying.wants import Wants

ACCOUNT = "ml-engineer@contoso-fraud-test.iam.gserviceaccount.com"
POOL = SETTINGS.pool
USER = "roles/iam.workloadIdentityUser"
GROUP = f"principalSet://iam.googleapis.com/{POOL}/group/g1"
DATED = ("until june", 'request.time < timestamp("2027-06-30T00:00:00Z")')


def side(wants, lines, tested=None, governed="abcdef"):
    return Side(
        ACCOUNT,
        "projects/p",
        Wants({role: frozenset(each) for role, each in wants.items()}, frozenset(governed)),
        tuple(Line(role, frozenset(each), condition) for role, each, condition in lines),
        None if tested is None else frozenset(tested),
    )


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (side({"R": "ab"}, [("r/x", "ab", None)]), []),
        (side({"R": "ab"}, [("r/x", "a", None)]), [("missing", "R", "b")]),
        (side({"R": "a"}, [("r/x", "ac", None)]), [("excess", "R", "c")]),
        (side({"R": "a"}, [("r/x", "az", None)]), []),  # of what Remit knows no action for it says nothing
        (side({"R": "a", "S": "b"}, [("r/x", "b", None)]), [("missing", "R", "a")]),
        (side({"R": "a", "S": "a"}, []), [("missing", "R and S", "a")]),
        # Google's own answer counts above what bindings say
        (side({"R": "ab"}, [("r/x", "a", None)], tested="ab"), []),
        (side({"R": "ab"}, [("r/x", "ab", None)], tested="a"), [("clash", "R", "b")]),
        (side({"R": "ab"}, [("r/x", "ab", DATED)], tested="ab"), []),
        (side({"R": "ab"}, [("r/x", "a", None), ("r/y", "b", DATED)], tested="a"), [("clash", "R", "b")]),
        (side({"R": "a"}, [("r/y", "a", DATED)]), [("clash", "R", "a")]),  # nobody asked: it is not sure
        (side({"R": "a"}, [], tested="ac"), [("excess", "R", "c")]),
        (side({"R": "a"}, [("roles/owner", "abcdef", None)]), [("excess", "R", "roles/owner")]),
    ],
)
def test_what_is_missing_too_much_and_defeated(given, found):
    told = list(disagreements(given))
    assert [(one.kind, one.role, one.permission) for one in told] == found
    assert all(one.cure and one.said and one.hop and one.account == ACCOUNT for one in told)


def with_grants(given, permissions):
    return replace(given, wants=replace(given.wants, granted=frozenset(permissions)))


def test_what_a_grant_would_permit_is_missing_too_and_said_to_be():
    """Somebody agreed to it, perhaps at night: a refusal of Google's then is the worst of all moments."""
    given = with_grants(side({"R": "ab", "S": "b"}, []), "b")
    plain, granted = disagreements(given)
    assert (plain.permission, granted.permission) == ("a", "b")
    assert "grant would" not in plain.said
    assert "refused by Google" in granted.said
    assert (granted.kind, granted.role) == ("missing", "R and S")
    held = with_grants(side({"R": "ab"}, [("r/x", "abc", None)]), "b")
    assert [(one.kind, one.permission) for one in disagreements(held)] == [("excess", "c")]


def test_a_condition_that_defeats_is_told_by_its_title_and_its_text():
    [clash] = disagreements(side({"R": "a"}, [("r/y", "a", DATED)], tested=""))
    assert all(part in clash.said for part in (*DATED, "r/y"))
    assert DATED[0] in clash.cure
    [denied] = disagreements(side({"R": "a"}, [("r/y", "a", None)], tested=""))
    assert "deny policy" in denied.cure


def bound(*members, role=USER, account=ACCOUNT):
    return [
        Found(Address("google.binding", member), {"resource": f"accounts/{account}", "role": role, "member": member})
        for member in members
    ]


@pytest.mark.parametrize(
    ("bindings", "said"),
    [
        ([], "nobody of the pool"),
        (bound(GROUP, role="roles/viewer"), "nobody of the pool"),
        (bound(GROUP.replace("/contoso/", "/contoso2/")), "nobody of the pool"),
        (bound(GROUP, account="other@p.iam.gserviceaccount.com"), "nobody of the pool"),
        (bound("user:dana@contoso.example"), "nobody of the pool"),
        (bound(f"principalSet://iam.googleapis.com/{POOL}/*"), "everybody of the pool"),
        (bound(GROUP, f"principalSet://iam.googleapis.com/{POOL}/*"), "everybody of the pool"),
        (bound(GROUP, "allAuthenticatedUsers"), "everybody may"),
        (bound("allUsers", role="roles/iam.serviceAccountTokenCreator"), "everybody may"),
        (bound(GROUP, f"principalSet://iam.googleapis.com/{POOL}/attribute.kind/person"), "everybody of the pool with"),
    ],
)
def test_nobody_and_everybody_are_both_wrong(bindings, said):
    [hop] = impersonation(ACCOUNT, POOL, bindings, ["MLEngineer"])
    assert not hop.holds
    assert hop.said.startswith(said)
    assert hop.cure
    assert ACCOUNT in hop.name


def test_a_group_of_the_pool_may_become_the_account():
    [hop] = impersonation(ACCOUNT, POOL, bound(GROUP), ["MLEngineer"])
    assert hop.holds
    assert groups_of(ACCOUNT, POOL, bound(GROUP, "user:dana@contoso.example")) == {"g1"}
    assert [one.permission for one in strangers(ACCOUNT, ["R"], bound("user:eve@x.example"))] == [USER]


def at(resource, role, member):
    fields = {"resource": resource, "role": role, "member": member, "condition": None}
    return Found(Address("google.binding", f"{resource} {role} {member}"), fields)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (at("projects/p", "r/takes", "user:eve@x.example"), "iam.serviceAccounts.getAccessToken"),
        (at("projects/p", "r/policy", "user:eve@x.example"), "resourcemanager.projects.setIamPolicy"),
        (at("projects/p", "organizations/1/roles/own", "user:eve@x.example"), "may not read"),
        (at("projects/p", "r/looks", "user:eve@x.example"), ""),
        (at("projects/p", "r/topics", "user:eve@x.example"), ""),  # a policy, and of nothing that accounts hang on
        (at("projects/p", "roles/owner", f"serviceAccount:{ACCOUNT}"), ""),  # compared with what the policy uses
        (at("projects/q", "roles/owner", f"serviceAccount:{ACCOUNT}"), "getAccessToken"),
        (at("projects/p", "r/takes", f"serviceAccount:{ACCOUNT}"), "getAccessToken"),
        (at("buckets/b", "r/looks", GROUP), "without any account"),
        (at("buckets/b", "r/looks", "allUsers"), "without any account"),
        (at(f"accounts/{ACCOUNT}", USER, GROUP), ""),  # `strangers` and `impersonation` say it
    ],
)
def test_who_comes_past_the_accounts(line, said):
    includes = {"r/looks": ["logging.logs.list"], "r/topics": ["pubsub.topics.setIamPolicy"]}
    includes |= {role: ["iam.serviceAccounts.getAccessToken"] for role in ("r/takes", "roles/owner")}
    includes["r/policy"] = ["resourcemanager.projects.setIamPolicy"]

    async def included(role):
        if role not in includes:
            raise TrustBroken("403")
        return frozenset(includes[role])

    found = asyncio.run(past_accounts([line], POOL, {(ACCOUNT, "p")}, included))
    assert len(found) == bool(said)
    assert all(said in one.said and one.kind == "excess" for one in found)


def told(roles=(), *, mapped=None, holders=(), offered="AB", others=""):
    sides = Sides(roles, mapped or {}, frozenset(offered), frozenset(others), "2026-11-22")
    return [(one.role, one.said) for one in role_findings(sides, holders)]


@pytest.mark.promise("V12")
def test_roles_that_two_sides_see_differently():
    dana, gone = Holder("A", "User", "Dana", reaches=True), Holder("A", "User", "Eve", reaches=False, why="is disabled")
    assert told(mapped={"A": True}, holders=[dana]) == []
    assert told(mapped={"A": True}, offered="", others="A") == []
    assert told(mapped={"A": True}) == [("A", "the policy permits it, and nobody holds it")]
    assert "no policy permits it" in told(mapped={"A": False}, holders=[dana])[0][1]
    assert "no policy permits it" in told(holders=[dana])[0][1]
    assert "no such app role" in told(mapped={"C": True}, others="")[0][1]
    disabled, nobody = told(mapped={"A": True}, holders=[gone])
    assert disabled[1] == "account `Eve` is disabled: `A` reaches nobody by it"
    assert "nobody holds it" in nobody[1]
    assert [one[0] for one in told(mapped={"A": True}, holders=[dana, gone])] == ["A"]
    old, new = Role("A", expires="2026-11-21"), Role("A", expires="2026-11-22")
    assert "expired on 2026-11-21" in told([old], mapped={"A": True}, holders=[dana])[0][1]
    assert told([new], mapped={"A": True}, holders=[dana]) == []


class Directory:
    """A graph of one group."""

    def __init__(self, *members):
        self._members = members

    async def each(self, path):
        for kind, enabled in self._members if path.startswith("groups/") else ():
            shown = {} if enabled is None else {"accountEnabled": enabled}
            yield {"@odata.type": f"#microsoft.graph.{kind}", "id": kind, "displayName": kind, **shown}


@pytest.mark.parametrize(
    ("members", "reaches", "why"),
    [
        ([("user", True)], True, ""),
        ([("user", None)], True, ""),  # who may not see it does not say that it is not so
        ([("group", None), ("user", False), ("user", True)], True, ""),
        ([("servicePrincipal", True)], False, "no member who is a person"),
        ([("user", False), ("device", True)], False, "no member who is a person"),
        ([("group", None)], False, "only groups"),
        ([], False, "no members"),
    ],
)
def test_a_group_s_role_reaches_people_who_are_in_it_and_may_sign_in(members, reaches, why):
    fields = {"role": "A", "principal": "g", "principalType": "Group"}
    one = Found(Address("entra.assignment", "A/g"), fields, {"id": "1", "resource": "r"})
    [holder] = asyncio.run(Holders(Directory(*members)).read([one]))
    assert holder.reaches is reaches
    assert why in holder.why


def test_an_account_s_day_has_come():
    named = [Account("a@p.iam.gserviceaccount.com", expires="2026-11-21", owner="olga"), Account("b", expires="2027")]
    settings = TrustSettings("", "", "", "", "", (), SETTINGS.estate, accounts=tuple(named))
    [clash] = expired(settings, "2026-11-22")
    assert (clash.kind, clash.account) == ("clash", named[0].email)
    assert "olga" in clash.said


def provider(**fields):
    whole = {"issuer": SETTINGS.issuer, "audiences": ("second",), "mapping": {}, "condition": "c", "disabled": False}
    return {**whole, **fields}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"disabled": True}, "its `disabled` is `true`"),
        ({"issuer": "https://login.microsoftonline.com/other/v2.0"}, "other/v2.0"),
        ({"audiences": ("first", "second")}, "`first`, `second`"),
        ({"audiences": ()}, "empty"),
        ({"condition": "true"}, "`condition` is `true`"),
        ({"mapping": {"google.subject": "assertion.email"}}, "assertion.email"),
    ],
)
def test_each_thing_that_a_provider_can_lack(fields, said):
    address = Address("google.provider", f"{POOL}/providers/entra")
    match = Matched(((Thing(address, provider()), Found(address, provider(**fields))),), ())
    [hop] = hops(match, ["google.provider"], SETTINGS)
    assert (hop.name, hop.holds) == ("google-provider entra", False)
    assert said in hop.said
    assert "set `" in hop.cure


def test_a_condition_in_other_words_is_the_same():
    address = Address("google.provider", f"{POOL}/providers/entra")
    tenant, app = SETTINGS.tenant, SETTINGS.application
    mine = provider(condition=f'assertion.azp == "{app}" && assertion.tid == "{tenant}"')
    there = provider(condition=f"assertion.tid=='{tenant}'   && assertion.azp =='{app}'")
    match = Matched(((Thing(address, mine), Found(address, there)),), ())
    [hop] = hops(match, ["google.provider"], SETTINGS)
    assert hop.holds, hop


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "1 provider accepts whom it should, and "), (2, "2 providers accept whom they should, and ")],
)
def test_what_holds_is_counted_in_words(number, said):
    addresses = [Address("google.provider", f"{POOL}/providers/{each}") for each in range(number)]
    match = Matched(tuple((Thing(each, provider()), Found(each, provider())) for each in addresses), ())
    [hop] = hops(match, ["google.provider"], SETTINGS)
    assert hop.said.startswith(said)


def test_what_nobody_wants_is_told():
    other = Found(Address("google.provider", f"{POOL}/providers/other"), provider(issuer="https://evil.example"))
    [hop] = hops(Matched((), (other,)), ["google.provider"], SETTINGS)
    assert not hop.holds
    assert "https://evil.example" in hop.said


@pytest.mark.parametrize(
    ("uploaded", "holds", "said"),
    [
        ('{"keys": [{"n": "1"}, {"n": "2"}]}', True, "the 2 keys"),
        ('{"keys": [{"n": "1"}]}', False, "stale"),
        ('{"keys": [{"n": "1"}, {"n": "2"}, {"n": "3"}]}', False, "still takes 1"),
        ('{"keys": []}', False, "does not know 2 of 2"),
        ('{"keys": [{"n": "1"}, {"n": "2"}, {"n": "1", "e": "AQ"}]}', False, "still takes 1"),  # anybody signs with it
        ("not JSON", False, "does not know 2 of 2"),
        ("", True, "from its address"),
    ],
)
def test_the_keys_that_google_has(uploaded, holds, said):
    [hop] = issuer_keys({"oidc": {"jwksJson": uploaded}}, [{"n": "1", "kid": "a"}, {"n": "2", "kid": "b"}])
    assert (hop.holds, bool(hop.cure)) == (holds, not holds)
    assert said in hop.said


SCOPE = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a/blobServices/default/containers/c"
)
CLIENTS = TrustSettings(
    "", "", "", "", "", (), SETTINGS.estate, azure=(AzureClient("p/R", "", ("remit/p/R",), (), True),)
)


@pytest.mark.promise("T9")
def test_containers_that_stay_shut_or_open_too_wide():
    address = Address("azure.assignment", f"{SCOPE} Storage Blob Data Reader p/R")
    thing = Thing(address, {"scope": SCOPE, "role": "Storage Blob Data Reader", "principal": "1"})
    principal = Address("entra.principal", "p/R")
    pairs = ((Thing(principal, {}), Found(principal, {}, {"id": "1"})), (thing, None))
    wide = [
        Found(Address("azure.assignment", scope), {"scope": scope, "role": "Owner", "principal": "1"})
        for scope in ("/subscriptions/s", "/subscriptions/s/resourceGroups/g", "/")
    ]
    found = list(container_findings(Matched(pairs, tuple(wide)), CLIENTS))
    assert [(one.kind, one.role) for one in found] == [("missing", "R"), *[("excess", "R")] * 3]
    assert found[0].resource == "containers/a/c"
    assert "subscription s: every container" in found[1].said
    assert "resource group g: every container" in found[2].said
    assert "whole tenant" in found[3].said
    conditional = Found(address, {**thing.fields, "condition": "x"})
    [clash] = container_findings(Matched((*pairs[:1], (thing, conditional)), ()), CLIENTS)
    assert clash.kind == "clash"


GOOD, BAD = (
    Hop("a", holds=True, said="fine"),
    Hop("b", holds=False, said="wrong", cure="mend it", role="R", project="p"),
)
EXCESS = [Finding("excess", "R", "sa", "projects/p", f"x.{n}", "h", "granted", f"cure {n}") for n in range(9)]


def test_a_report_is_clean_only_when_nothing_was_found():
    assert Report((GOOD,), ()).clean
    assert Report((GOOD,), (EXCESS[0],)).holds
    assert not Report((GOOD,), (EXCESS[0],)).clean
    assert not Report((GOOD, BAD), ()).clean
    assert Report((GOOD, BAD), tuple(EXCESS)).about("S") == Report((GOOD,), ())
    assert Report((GOOD, BAD), tuple(EXCESS)).about("R") == Report((GOOD, BAD), tuple(EXCESS))


def test_the_page_tells_what_was_only_read_apart_from_what_holds():
    read = replace(GOOD, walked=False)

    def said(*hops):
        return [line.text for line in page(Report(hops, ()))][-1]

    assert said(GOOD, GOOD) == "2 hops hold, and all sides agree"
    assert said(GOOD, read) == "1 hop holds, 1 was read and not walked, and all sides agree"
    assert said(read, read) == "0 hops hold, 2 were read and not walked, and all sides agree"
    assert said(GOOD, BAD, read).startswith("1 of 3 hops broken, 1 was read and not walked; ")


def test_the_page_names_the_methods_that_fail():
    def said(count, **how):
        methods = tuple(f"aiplatform.projects.locations.models.m{each:02}" for each in range(count))
        missing = replace(EXCESS[0], kind="missing", methods=methods)
        more = [replace(missing, permission=f"x.{each}") for each in range(5)]
        return [line.text.strip() for line in page(Report((GOOD,), (missing, *more)), **how)]

    lines = said(2)
    assert "fails for 2 methods: aiplatform.projects.locations.models.{m00,m01}" in lines
    assert "missing R (sa) on projects/p: x.0, x.0, x.1, and 3 more" in lines
    lines = said(13)
    at = lines.index("fails for 13 methods, each told by `remit trust verify --verbose`")
    assert lines[at + 1].startswith("aiplatform 13: m00 models, m01 models, ")
    lines = said(13, verbose=True)
    [told] = (line for line in lines if line.startswith("fails for 13 methods: "))
    assert all(f"m{each:02}" in told for each in range(13))
    assert "missing R (sa) on projects/p: x.0, x.0, x.1, x.2, x.3, x.4" in lines


def test_what_is_missing_or_defeated_comes_with_the_methods_that_the_policy_permits():
    given = side({"R": "ab"}, [("r/x", "bc", None)], tested="c")
    given = replace(given, wants=replace(given.wants, methods={"a": ("s.m.a", "s.n.a"), "b": ("s.m.b",)}))
    told = {(one.kind, one.permission): one.methods for one in disagreements(given)}
    assert told == {("missing", "a"): ("s.m.a", "s.n.a"), ("clash", "b"): ("s.m.b",), ("excess", "c"): ()}


def test_the_page_tells_each_thing_once_and_many_of_a_kind_shortly():
    lines = [line.text for line in page(Report((GOOD, BAD), tuple(EXCESS), ("databases",)))]
    assert lines == [
        "what everybody's way takes",
        "  ok      a: fine",
        "R in p",
        "  broken  b: wrong",
        "          cure: mend it",
        "",
        "where Entra, the policy and IAM disagree",
        "  excess  R (sa) on projects/p: x.0, x.1, x.2, and 6 more",
        "          granted [h]",
        "          cure: cure 0",
        "not looked at: databases",
        "",
        "1 of 2 hops broken; permissions: 9 excess",
    ]
