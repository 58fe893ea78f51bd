"""What is said of a drift that cannot be adopted: what to edit by hand, by keys that there are, or that none is."""

import re
import typing
from dataclasses import replace

import pytest
from pydantic import BaseModel
from tests.unit.trust.planned_contoso import SETTINGS

from remit.model.errors import TrustBroken
from remit.settings.schema import RemitYaml
from remit.trust.drifting import byhand
from remit.trust.drifting.adoption import adoption
from remit.trust.drifting.drift import Drift, Side
from remit.trust.planning.plan import Act, Change
from remit.trust.prefixes import READER, VERSION, azure_condition
from remit.trust.settings import AzureClient, DatabaseRoles
from remit.trust.things import KINDS, Address

CLIENT = "contoso-fraud-test/MLEngineer"
KNOWN = replace(
    SETTINGS,
    azure=(AzureClient(CLIENT, "app", ("remit/contoso-fraud-test/MLEngineer",), ("a/c",), write=False),),
    databases=(DatabaseRoles("features", "db.example:5432", "features", ("reader",), administrator="dba"),),
    own_issuer="https://remit.contoso.example",
)
ACCOUNT = SETTINGS.mappings[0].account
MEMBER = f"principalSet://iam.googleapis.com/{SETTINGS.pool}/group/g1"
STRANGER = "user:eve@contoso.example"
ACTS = {Side.APPEARED: Act.REMOVE, Side.ALTERED: Act.CHANGE, Side.GONE: Act.MAKE}
SCOPE = "/subscriptions/s/x/containers/c"
OTHER = {"title": "t", "expression": "true"}


def drift(kind, name, side, *, was=None, now=None):
    address = Address(kind, name)
    return Drift(Change(ACTS[side], address, now, was, ""), side)


def appeared(kind, name="x", /, **fields):
    return drift(kind, name, Side.APPEARED, now=fields)


def gone(kind, name="x", /, **fields):
    return drift(kind, name, Side.GONE, was=fields)


def altered(kind, name="x", /, same=None, before=None, **fields):
    same = same or {}
    return drift(kind, name, Side.ALTERED, was={**same, **(before or {})}, now={**same, **fields})


def grant(on, privilege, role="reader", **more):
    return {"database": "features", "object": on, "role": role, "privilege": privilege, **more}


BY_HAND = [
    (altered("entra.application", "remit", roles=("New",)), "`trust.roles`"),
    (altered("entra.application", "remit", roles=("New",), webRedirects=("u",)), "`trust.redirects`"),
    (altered("entra.application", "remit", uris=("api://x",)), "`uris` of the tenant in `issuers`"),
    (altered("entra.application", "remit-google", uris=("api://x",)), "`credentials.on_behalf_of.scope`"),
    (gone("entra.application", CLIENT), f"the line of `{CLIENT}` out of `credentials.azure.accounts`"),
    (gone("entra.principal", CLIENT), "`credentials.azure.accounts`"),
    (gone("entra.federation", f"{CLIENT}/x", application=CLIENT), "`credentials.azure.accounts`"),
    (
        appeared("entra.federation", application=CLIENT, issuer=KNOWN.own_issuer, subject="remit/p/R"),
        "`subject: remit/p/R`",
    ),
    (appeared("entra.assignment", role="New", principal="1", principalType="User"), "write `New` with who holds it"),
    (altered("entra.assignment", principalType="Group"), "`groups`, `people` or `workloads` of `trust.roles`"),
    (gone("azure.assignment", f"{SCOPE} r {CLIENT}", role=READER), "`containers` of `credentials.azure.accounts`"),
    (appeared("azure.assignment", f"{SCOPE} r {CLIENT}", role=READER, principal="1"), "`access: read`"),
    (
        altered(
            "azure.assignment",
            same={"scope": SCOPE, "role": READER},
            condition=azure_condition(["a/"], write=False),
            conditionVersion=VERSION,
        ),
        "all, or below which prefixes",
    ),
    (gone("google.pool", disabled=False), "`credentials.google.provider`"),
    (gone("google.provider", issuer="x"), "`credentials.own_issuer.provider`"),
    (gone("google.account", disabled=False), "`credentials.accounts`"),
    (gone("google.role", permissions=()), "in the place of `policy`"),
    (altered("google.role", permissions=("x",)), "`policy.folder`"),
    (gone("google.binding", resource=f"accounts/{SETTINGS.reviewer}", member=MEMBER, role="r"), "`trust.reviewer`"),
    (appeared("google.binding", resource="projects/p", member=MEMBER, role="roles/viewer"), "`trust.accounts`"),
    (
        appeared("google.binding", resource="projects/p", member=STRANGER, role="r", condition=OTHER),
        f"keep `{STRANGER}` under `trust.apart`",
    ),
    (altered("sql.role", "features/reader", principal="1"), "`client` of `credentials.azure.accounts`"),
    (gone("sql.role", "features/reader", login=True), "`roles` of its database under `databases`"),
    (gone("sql.grant", **grant("database", "CONNECT")), "take `reader` out of `roles` of `features` under `databases`"),
    (appeared("sql.grant", **grant("tables/s.t", "SELECT", "public")), "`trust.databases.features.roles`"),
]
NO_KEY = [
    altered("entra.application", "remit", displayName="Other"),
    altered("entra.application", "remit", displayName="Other", roles=("New",)),
    altered("entra.application", CLIENT, webRedirects=("https://evil.example",)),
    gone("entra.application", "remit"),
    altered("entra.principal", "remit", before={"enabled": True}, enabled=False),
    appeared("entra.federation", application="remit", issuer="https://evil.example", subject="x"),
    appeared("entra.consent", permission="Directory.ReadWrite.All"),
    appeared("entra.delegation", application="remit"),
    appeared("entra.credential", application="remit"),
    appeared("entra.assignment", role="default access", principal="1", principalType="User"),
    appeared("entra.assignment", role="9a000000-0000-4000-8000-000000000002", principal="1", principalType="User"),
    appeared("azure.assignment", f"{SCOPE} Owner {CLIENT}", role="Owner", principal="1"),
    altered(
        "azure.assignment", same={"scope": SCOPE, "role": READER}, condition="somebody else's", conditionVersion=VERSION
    ),
    appeared("azure.federation", issuer="https://evil.example", subject="x"),
    altered("google.pool", disabled=True),
    appeared("google.provider", issuer="https://evil.example"),
    altered("google.provider", condition="true"),
    altered("google.account", disabled=True),
    altered("google.role", title="Other"),
    appeared("google.role", permissions=()),
    appeared("google.binding", resource="projects/p", member=f"serviceAccount:{ACCOUNT}", role="r", condition=OTHER),
    altered("google.binding", resource="buckets/b", member=f"serviceAccount:{ACCOUNT}", condition=OTHER),
    altered("google.audit", before={"logTypes": ("ADMIN_READ",)}, logTypes=()),
    altered("sql.role", "features/reader", superuser=True),
    appeared("sql.grant", **grant("functions/f()", "EXECUTE", "public")),
    altered("sql.grant", same=grant("tables/s.t", "SELECT"), grantable=True),
]


def told(one):
    with pytest.raises(TrustBroken) as refused:
        adoption(one, KNOWN)
    assert refused.value.message.startswith(f"`{one.name}` cannot be adopted: ")
    assert refused.value.hint.endswith(f"`remit trust drift revert {one.key}`")
    return refused.value


@pytest.mark.parametrize(("one", "edit"), BY_HAND, ids=lambda one: getattr(one, "name", ""))
def test_what_takes_an_edit_by_hand_names_the_key(one, edit):
    error = told(one)
    assert error.message.endswith(": that takes an edit by hand")
    assert edit in error.hint


@pytest.mark.parametrize("one", NO_KEY, ids=lambda one: one.name)
def test_what_no_key_says_is_said_to_be_so_and_why(one):
    error = told(one)
    assert re.search(r": no key of remit\.yaml says (it|its `.+`): \S+", error.message)
    assert error.hint.startswith("undo it: ")


def test_every_kind_that_can_drift_has_words_for_both():
    looked_up = {"azure.identity", "sql.object"}  # nobody's to change here: never in a plan
    assert byhand._FIXED.keys() == KINDS.keys() - looked_up
    told_of = {one.change.address.kind for one in NO_KEY}
    assert told_of == KINDS.keys() - looked_up


def test_the_keys_that_are_named_are_remit_yamls():
    fixed = [*byhand._ALTERED.values(), *byhand._GONE.values(), *byhand._FIXED.values()]
    texts = [*fixed, *(told(one).hint.partition("; or undo it")[0] for one, _ in BY_HAND)]
    named = {each for text in texts for each in re.findall(r"`([a-z_]+(?:\.[A-Za-z_@.-]+)*)`", text)}
    paths = {each for each in named if each.partition(".")[0] in RemitYaml.model_fields}
    assert len(paths) > 10
    for path in paths:
        assert there(RemitYaml, path.split(".")), path


def there(kind, names):
    """Whether the names lead from a part of the schema to another; a name that people choose is any."""
    kinds = list(parts(kind))
    if not names:
        return True
    models = [each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel)]
    found = [each.model_fields[names[0]].annotation for each in models if names[0] in each.model_fields]
    chosen = [typing.get_args(each)[1] for each in kinds if typing.get_origin(each) is dict]
    return any(there(each, names[1:]) for each in (*found, *chosen))


def parts(kind):
    """What an annotation may be: of optional and annotated ones, of lists each entry."""
    yield kind
    if typing.get_origin(kind) is not dict:
        for each in typing.get_args(kind):
            yield from parts(each)
