"""Google's side against the lab, which enforces what Google does: an empty estate is filled, read, changed, emptied."""

import asyncio
from pathlib import Path

import httpx
import pytest
from tests.unit.trust.google_contoso import AUDITOR, SETTINGS
from tests.unit.trust.google_described import held
from tests.unit.trust.test_trust_google_cloud import WANTED, binding
from tests.unit.trust.test_trust_google_conformance import life

from remit.lab import contoso
from remit.lab.errors import CloudError
from remit.lab.http import Request
from remit.lab.service import Clouds
from remit.model.errors import TrustBroken
from remit.model.secret import AccessToken
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.google import SCOPE, Google
from remit.trust.clouds.port import Denied, Missing
from remit.trust.things import Address, Found, Thing


class Lab(httpx.AsyncBaseTransport):
    """The lab's hosts inside this process, each request held against Google's description first."""

    def __init__(self, clouds: Clouds) -> None:
        self._handle = clouds.faults.around(clouds.hosts())
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        self.asked.append(held(request))
        headers = {name.lower(): value for name, value in request.headers.items()}
        pairs = tuple(request.url.params.multi_items())
        target = request.url.raw_path.decode().partition("?")[0]
        try:
            answer = await self._handle(Request(request.method, request.url.host, target, pairs, headers, body))
        except CloudError as refused:  # as the lab's server answers
            return httpx.Response(refused.http_status, content=refused.json())
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


class Administrator:
    def __init__(self, clouds: Clouds) -> None:
        self._clouds = clouds

    async def token(self, scope):
        return AccessToken(self._clouds.commands()["google_administrator"](True))


class Reviewer(Administrator):
    """The reviewing account, with no more than `READS` asks for."""

    async def token(self, scope):
        return AccessToken(self._clouds.iam.mint(email=AUDITOR, scopes=[scope], lifetime=900)[0])


def run(clouds, story, who=Administrator):
    async def told():
        async with httpx.AsyncClient(transport=Lab(clouds)) as client:
            return await story(Google(Asking(client, who(clouds), SCOPE, sleep=once), SETTINGS, sleep=once))

    return asyncio.run(told())


async def once(seconds):
    """The lab's clock is not waited for."""


def test_a_whole_life_at_the_lab(tmp_path: Path):
    clouds = Clouds(tmp_path, world=contoso.EMPTY)

    async def story(cloud):
        before = await cloud.read(WANTED)
        everything = await life(cloud)
        return before, everything, await cloud.read(())

    before, everything, after = run(clouds, story)
    assert {one.address.kind for one in before} <= {"google.binding"}
    assert all("user:admin@contoso.example" in one.address.name for one in before)
    now = {one.address: one.fields for one in everything}
    assert {each.address: each.fields for each in WANTED}.items() <= now.items()
    assert {one.address.kind for one in after} <= {"google.binding", "google.pool", "google.role"}


def test_an_account_that_is_not_seen_yet_is_missing(tmp_path: Path):
    clouds = Clouds(tmp_path, world=contoso.EMPTY)
    account = next(each for each in WANTED if each.address.name == AUDITOR)
    granted = next(
        each
        for each in WANTED
        if each.address.kind == "google.binding" and each.fields["member"] == f"serviceAccount:{AUDITOR}"
    )

    async def story(cloud):
        clouds.lags["google"].seconds = 3600.0
        await cloud.make(account)
        with pytest.raises(Missing):
            await cloud.make(granted)

    run(clouds, story)


def test_writers_at_the_lab_lose_nothing(tmp_path: Path):
    clouds = Clouds(tmp_path, world=contoso.EMPTY)
    accounts = [each for each in WANTED if each.address.kind == "google.account"]
    place = "projects/contoso-fraud-test"
    lines = [binding(place, "roles/logging.viewer", f"serviceAccount:{each.address.name}") for each in accounts]

    async def story(cloud):
        for each in accounts:
            await cloud.make(each)
        await asyncio.gather(*map(cloud.make, lines))
        return await cloud.read(lines)

    assert {each.address for each in lines} <= {one.address for one in run(clouds, story)}


def test_contosos_trust_is_read_whole_and_nothing_of_googles_own(tmp_path: Path):
    found = run(Clouds(tmp_path), lambda cloud: cloud.read(WANTED), Reviewer)
    by_name = {str(one.address): one for one in found}
    assert len(by_name) == len(found)
    entra = next(one for name, one in by_name.items() if name.endswith("/providers/entra"))
    assert entra.fields["condition"] == contoso.PROVIDER.condition
    assert entra.fields["mapping"] == dict(contoso.PROVIDER.mapping)
    assert not [name for name in by_name if "gcp-sa-" in name or "projectOwner:" in name]


def test_the_reviewer_changes_nothing(tmp_path: Path):
    clouds = Clouds(tmp_path)
    account = Found(Address("google.account", AUDITOR), {"disabled": False})
    for each in WANTED:
        if each.address.kind in {"google.role", "google.pool"}:
            with pytest.raises(TrustBroken):
                run(clouds, lambda cloud, each=each: cloud.make(replaced(each)), Reviewer)
    with pytest.raises(Denied):
        run(clouds, lambda cloud: cloud.remove(account), Reviewer)


def replaced(thing):
    return Thing(Address(thing.address.kind, f"{thing.address.name}2"), thing.fields)
