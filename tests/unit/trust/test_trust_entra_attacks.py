"""What the owner of an application, or of a group, would hide from a plan: each is told, and goes."""

import asyncio
import json

import httpx
import pytest
from tests.unit.trust.graph_in_memory import Anybody
from tests.unit.trust.test_trust_entra import SETTINGS, Tenant

from remit.model.errors import TrustBroken
from remit.trust.clouds.entra import Entra
from remit.trust.clouds.entra_manifest import fields_of, patches
from remit.trust.desired.entra import entra
from remit.trust.planning.plan import Act


@pytest.fixture
def tenant() -> Tenant:
    made = Tenant()
    made.apply()
    return made


def emit(document, token="accessToken"):
    claims = document["optionalClaims"] = dict(document["optionalClaims"])
    rest = [one for one in claims.get(token) or () if one["name"] != "groups"]
    properties = ["emit_as_roles", "cloud_displayname"]
    claims[token] = [*rest, {"name": "groups", "essential": False, "additionalProperties": properties}]


def another(document):
    rest = [one for one in document["optionalClaims"]["accessToken"] if one["name"] != "acct"]
    document["optionalClaims"] = {"accessToken": [*rest, {"name": "acct", "source": "user"}]}


def implicit(document):
    document["web"]["implicitGrantSettings"] = {"enableAccessTokenIssuance": True, "enableIdTokenIssuance": False}


def hidden(document):
    role = {"id": "h", "value": "Owner", "isEnabled": True, "allowedMemberTypes": ["User"]}
    document["appRoles"] = [*document["appRoles"], role]


@pytest.mark.promise("V22")
@pytest.mark.parametrize(
    ("attack", "field", "told"),
    [
        (emit, "optionalClaims", "groups (emit_as_roles, cloud_displayname)"),
        (
            lambda document: emit(document, "idToken"),
            "optionalClaims",
            "groups (emit_as_roles, cloud_displayname) of ID tokens",
        ),
        (another, "optionalClaims", "acct (user)"),
        (implicit, "implicitGrant", "access tokens"),
        (hidden, "roles", "Owner (User only)"),
    ],
)
def test_each_is_told_and_goes(tenant, attack, field, told):
    attack(tenant.application("remit"))
    [change] = tenant.plan().changes
    assert (change.act, str(change.address)) == (Act.CHANGE, "entra.application remit")
    assert told in change.before[field]
    assert told not in (change.after.get(field) or ())
    tenant.apply()
    assert tenant.plan().empty
    claims = tenant.application("remit")["optionalClaims"]
    assert "emit_as_roles" not in json.dumps(claims)
    assert sum(one["name"] == "groups" for one in claims["accessToken"]) == 1


def test_the_way_back_does_not_bring_them_back(tenant):
    document = tenant.application("remit")
    emit(document)
    implicit(document)
    before = fields_of(document, {})
    tenant.apply()
    [now] = [one for one in tenant.read() if str(one.address) == "entra.application remit"]
    assert list(patches(tenant.application("remit"), before, "remit-remit")) == []
    assert "implicitGrant" not in now.fields


@pytest.mark.promise("V22")
@pytest.mark.parametrize("name", ["remit", "remit-cli", "remit-google", "p/R"])
def test_one_that_somebody_registered_and_deleted_is_not_restored(tenant, name):
    """They would own it still, and could give it a secret once it is Remit."""
    document = tenant.application(name)
    thing = next(one for one in entra(SETTINGS) if str(one.address) == f"entra.application {name}")
    tenant.graph.deleted[document["id"]] = tenant.graph.applications.pop(document["id"])
    stranger = Entra(httpx.AsyncClient(transport=tenant.graph), Anybody())
    with pytest.raises(TrustBroken, match="a deleted application") as refusal:
        asyncio.run(stranger.make(thing))
    assert document["appId"] in refusal.value.message
    assert document["id"] in tenant.graph.deleted
    assert asyncio.run(tenant.cloud.make(thing)).ids["appId"] == document["appId"]  # it was made here
