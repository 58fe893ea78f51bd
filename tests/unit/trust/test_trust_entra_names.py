"""What Remit's applications are called at Entra: each installation's own, and nobody's who was faster meanwhile."""

import asyncio
import re
from dataclasses import replace

import httpx
import pytest
from tests.unit.trust.test_trust_entra_lab import PENDING, Tenant

from remit.lab import contoso
from remit.model.errors import TrustBroken
from remit.trust.clouds.entra_applications import unique_name
from remit.trust.desired.entra import entra
from remit.trust.planning.plan import Act
from remit.trust.things import settled

FIRST = replace(PENDING, installation="contoso.example/remit")
SECOND = replace(
    PENDING,
    installation="contoso.example/remit-churn",
    applications=replace(PENDING.applications, uris=("api://remit-churn",), second="api://remit-google-churn"),
)


def written(tenant):
    """Remit's applications as they stand: unique name → document."""
    every = tenant.registry.applications.all_written().values()
    return {one["uniqueName"]: one for one in every if one["uniqueName"]}


def other(tenant):
    """Somebody else's hands at the same tenant."""
    made = Tenant.__new__(Tenant)
    made.__dict__.update(tenant.__dict__)
    made.made = set()
    made.cloud = type(tenant.cloud)(httpx.AsyncClient(transport=made), made, ours=lambda: made.made, sleep=made.sleep)
    return made


def test_a_name_is_of_one_installation_and_one_application():
    names = [unique_name(name, origin) for origin in ("a/b", "a/c") for name in ("remit", "p-x/r", "p/x-R", "p/x-r")]
    assert len(set(names)) == len(names)
    assert unique_name("remit", "a/b") == "remit-remit-f5ec9daefaeb"
    long = unique_name(f"contoso-fraud-test/{'R' * 120}", "contoso.example/remit")
    assert len(long) == 83
    assert re.fullmatch(r"[a-z0-9._-]+", long)
    assert unique_name("p/R") == "remit-p-r"  # as it was before installations had names


@pytest.mark.promise("V22")
def test_two_installations_begin_in_one_tenant_and_neither_sees_the_other():
    first = Tenant(contoso.EMPTY)
    first.apply(FIRST)
    before = written(first)
    second = other(first)
    todo = second.plan(SECOND)
    assert not todo.problems
    assert {change.act for change in todo.changes if change.address.kind == "entra.application"} == {Act.MAKE}
    second.apply(SECOND)
    assert first.plan(FIRST).empty
    assert second.plan(SECOND).empty
    after = written(first)
    assert len(after) == 2 * len(before)
    assert {name: after[name] for name in before} == before


def test_one_that_names_the_other_s_audience_is_stopped():
    first = Tenant(contoso.EMPTY)
    first.apply(FIRST)
    second = other(first)
    todo = second.plan(replace(SECOND, applications=replace(SECOND.applications, second="api://remit-google")))
    [change] = [one for one in todo.changes if one.address.name == "remit-google" and one.act is Act.CHANGE]
    assert change in todo.refused()
    todo = second.plan(replace(SECOND, applications=replace(SECOND.applications, uris=("api://remit",))))
    assert any("is there already where `app:remit` would be made" in problem for problem in todo.problems)


def test_what_was_made_under_the_older_names_is_gone_on_with_and_made_once():
    """An apply that an older Remit began: the file names nothing yet, and the journal what was made."""
    tenant = Tenant(contoso.EMPTY)
    tenant.apply(PENDING)
    count = len(written(tenant))
    assert "remit-remit" in written(tenant)
    assert tenant.plan(FIRST).empty
    tenant.apply(FIRST)
    assert len(written(tenant)) == count
    # and to whom they are nobody's, they are another installation's, but for the URIs
    found = {one.address.name for one in asyncio.run(other(tenant).cloud.read(entra(FIRST)))}
    assert "remit-cli" not in found


def thing(tenant, name):
    """An application that is to be made, as an apply has it when its turn comes."""
    found = asyncio.run(tenant.cloud.read(entra(FIRST)))
    assert name not in {one.address.name for one in found if one.address.kind == "entra.application"}
    wanted = next(one for one in entra(FIRST) if str(one.address) == f"entra.application {name}")
    return replace(wanted, fields=settled({**wanted.fields, "preauthorized": ()}, {}))


def registers(tenant, name):
    """Somebody registers an application under the name that Remit's is about to have."""
    path = f"applications(uniqueName='{unique_name(name, FIRST.installation)}')"
    headers = {"authorization": f"Bearer {asyncio.run(tenant.token('')).reveal()}", "prefer": "create-if-missing"}
    request = httpx.Request(
        "PATCH", f"https://graph.microsoft.com/v1.0/{path}", json={"displayName": "Remit"}, headers=headers
    )
    assert asyncio.run(tenant.handle_async_request(request)).status_code == 201


@pytest.mark.promise("T9")
@pytest.mark.parametrize("name", ["remit", "remit-cli", "contoso-fraud-test/MLEngineer"])
def test_whoever_is_faster_in_the_midst_of_an_apply_does_not_become_remit(name):
    tenant = Tenant(contoso.EMPTY)
    wanted = thing(tenant, name)
    registers(tenant, name)
    with pytest.raises(TrustBroken, match="was registered in the place of") as refusal:
        asyncio.run(tenant.cloud.make(wanted))
    assert "look who owns it" in refusal.value.hint
    [theirs] = [one for one in written(tenant).values() if one["displayName"] == "Remit"]
    assert (theirs["identifierUris"], theirs["appRoles"]) == ([], [])  # nothing of Remit's was given to it


@pytest.mark.promise("T9")
def test_nor_whoever_is_faster_by_the_blink_of_an_eye():
    """Between looking and registering: the upsert finds it, and says so by saying nothing."""
    tenant = Tenant(contoso.EMPTY)
    wanted = thing(tenant, "remit")
    handle, done = tenant.graph, []

    async def faster(asked):
        if asked.method == "PATCH" and "uniqueName" in asked.path and not done:
            done.append(asked)
            await handle(replace(asked, body=b'{"displayName": "Remit"}'))
        return await handle(asked)

    tenant.graph = faster
    with pytest.raises(TrustBroken, match="was registered in the place of"):
        asyncio.run(tenant.cloud.make(wanted))


def test_an_apply_that_is_gone_on_with_takes_what_it_began():
    """Its journal says that the step was begun, and nobody knows of the answer."""
    tenant = Tenant(contoso.EMPTY)
    tenant.made.add("entra.application remit")
    wanted = thing(tenant, "remit")
    registers(tenant, "remit")
    assert asyncio.run(tenant.cloud.make(wanted)).fields["uris"] == ("api://remit",)
    again = asyncio.run(tenant.cloud.make(wanted))  # and what it made itself, as often as it is asked to
    assert again.fields["uris"] == ("api://remit",)
