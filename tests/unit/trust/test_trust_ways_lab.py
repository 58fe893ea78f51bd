"""Every way to be Remit that is no part of the file: planned away, told with who and when, undone, and told by verify."""

import contextlib

import pytest
from tests.unit.trust.drifting_lab import World
from tests.unit.trust.verified_contoso import GRAPH

from remit.assembly import trust_drift, trust_rotate
from remit.lab import contoso, contoso_azure
from remit.model.errors import TrustBroken
from remit.trust.drifting.drift import Side
from remit.trust.drifting.report import render
from remit.trust.planning.plan import Risk
from remit.trust.planning.render import render as page
from remit.trust.rotating.due import State

ARM = "https://management.azure.com"
EVE = {"issuer": "https://eve.example", "subject": "repo:eve/x", "audiences": ["api://AzureADTokenExchange"]}
FEDERATION = f"{ARM}{contoso_azure.IDENTITY}/federatedIdentityCredentials/eve?api-version=2023-01-31"
WHO = {"entra": contoso.ADMINISTRATOR.name, "azure": contoso.ADMINISTRATOR.oid}
EXPECTED = {
    "entra.delegation": "the application remit may act as every person at Microsoft Graph: Mail.Read",
    "entra.credential": "whoever has it is remit",
    "azure.federation": "whoever controls `repo:eve/x` at `https://eve.example` is Remit, from anywhere",
}


async def mischief(send):
    """`send`: method, URL and body, as the administrator."""
    principals = {
        name: (await send("GET", f"{GRAPH}/servicePrincipals(appId='{app}')?$select=id", None))["id"]
        for name, app in (("remit", contoso.REMIT.id), ("graph", contoso.GRAPH.id), ("cli", contoso.CLI.id))
    }
    ends = {"clientId": principals["remit"], "resourceId": principals["graph"]}
    body = {**ends, "consentType": "AllPrincipals", "scope": "openid Mail.Read"}
    await send("POST", f"{GRAPH}/oauth2PermissionGrants", body)
    signing_in = {**ends, "clientId": principals["cli"], "scope": "openid profile offline_access"}
    whose = {"consentType": "Principal", "principalId": contoso.DANA.oid}
    await send("POST", f"{GRAPH}/oauth2PermissionGrants", {**signing_in, **whose})
    for place in ("servicePrincipals", "applications"):
        url = f"{GRAPH}/{place}(appId='{contoso.REMIT.id}')/addPassword"
        await send("POST", url, {"passwordCredential": {"displayName": "nightly"}})
    await send("PUT", FEDERATION, {"properties": EVE})


@pytest.mark.promise("V19")
@pytest.mark.promise("V3")
def test_each_way_in_is_a_drift_with_who_and_when_and_is_undone(tmp_path):
    world = World(tmp_path)
    assert world.clean().empty

    async def story(view):
        async def send(method, url, body):
            ask = view.logs[2]._ask if "management" in url else view.graph._ask
            return await ask(method, url, body)

        await mischief(send)
        shown = " ".join(page((await view.look()).plan).split())
        assert "the application remit may no longer act as every person at Microsoft Graph: Mail.Read" in shown
        assert "repo:eve/x of https://eve.example is no longer Remit's managed identity" in shown
        found = await trust_drift.explained(view)
        assert sorted(one.drift.change.address.kind for one in found) == sorted([*EXPECTED, "entra.credential"])
        for one in found:
            text = render([one])
            kind = one.drift.change.address.kind
            assert (one.drift.side, one.cause.who) == (Side.APPEARED, WHO[kind.partition(".")[0]]), text
            assert one.cause.at > 0
            assert [each.said for each in one.drift.unsafe] == [EXPECTED[kind]]
            assert {each.risk for each in one.drift.unsafe} == {Risk.WIDENS}
            assert one.blast[0].gains, text
            with pytest.raises(TrustBroken, match="cannot be adopted"):
                await trust_drift.adopted(view, [one.drift.key], [one.drift.key])
        secrets = [one.drift.name for one in found if one.drift.change.address.kind == "entra.credential"]
        keys = [one.drift.key for one in found]
        planned = await trust_drift.to_revert(view, keys)
        assert [change.name for change in planned.refused()] == sorted(
            secrets, reverse=True
        )  # they cannot be made again
        outcome = await trust_drift.reverted(view, planned, secrets, lambda _: None)
        assert outcome.left.empty
        # what people consented to for signing in is there still
        grants = [one async for one in view.graph.each("oauth2PermissionGrants")]
        assert sorted(one["scope"] for one in grants) == ["openid", "openid profile offline_access"]

    world.run(story)


@pytest.mark.promise("V19")
def test_a_consent_is_somebody_s_and_another_client_s_is_not(tmp_path):
    """Of two people's consents and another application's each entry explains its own."""
    world = World(tmp_path)
    assert world.clean().empty

    async def story(view):
        remit, api, other = [
            (await view.graph.get(f"servicePrincipals(appId='{app}')?$select=id"))["id"]
            for app in (contoso.CLI.id, contoso.GRAPH.id, contoso.FOREIGN.id)
        ]
        whose = {"consentType": "Principal", "principalId": contoso.DANA.oid}
        ends = {"clientId": remit, "resourceId": api, "scope": "Mail.Read"}
        await view.graph.send("POST", "oauth2PermissionGrants", {**ends, **whose})
        everybody = {"consentType": "AllPrincipals", "clientId": other, "resourceId": api, "scope": "Mail.Read"}
        await view.graph.send("POST", "oauth2PermissionGrants", everybody)
        [one] = await trust_drift.explained(view)
        assert (one.drift.now["application"], one.drift.now["whom"]) == ("remit-cli", contoso.DANA.oid)
        assert one.cause.how == "Add delegated permission grant"
        assert "Dana" in render([one]) or contoso.DANA.oid in render([one])

    world.run(story)


def test_rotate_lists_what_lies_on_a_service_principal(tmp_path, monkeypatch):
    world = World(tmp_path)

    @contextlib.asynccontextmanager
    async def tokens(_settings, _who):
        yield world.tokens

    monkeypatch.setattr(trust_rotate, "open_tokens", tokens)
    monkeypatch.setattr(trust_rotate, "cloud_client", world.client)

    async def story(view):
        url = f"servicePrincipals(appId='{contoso.REMIT.id}')/addPassword"
        made = await view.graph.send("POST", url, {"passwordCredential": {}})
        return made["keyId"], await trust_rotate.everything(world.settings, 0.0, 0.0)

    key, found = world.run(story)
    [one] = [each for each in found if each.kind.startswith("entra")]
    assert (one.kind, one.of, one.id, one.state) == ("entra secret", "remit (service principal)", key, State.NEEDLESS)
    assert "remit trust plan" in one.do
