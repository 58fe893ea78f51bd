"""The own issuer's keys turn at the lab's Google, and every exchange meanwhile is good."""

import asyncio
import sys
import time
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from rotating_lab import Lab

from remit.credentials.google_sts import GoogleSts
from remit.credentials.own_issuer import OwnIssuer
from remit.credentials.own_keys import LONGEST, SETTLE, OwnKeys
from remit.lab import contoso
from remit.model.errors import HopFailed, TrustBroken
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.reasons import Reason
from remit.model.secret import AccessToken, Secret
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.google_names import SCOPE
from remit.trust.rotating.keys import Turning, Uploaded

PROVIDER = f"//iam.googleapis.com/{contoso.REMIT_PROVIDER.resource}"
WHO = Identity(
    principal=Principal(contoso.REMIT_ISSUER, contoso.TENANT, "somebody", Kind.WORKLOAD),
    display="somebody",
    groups=frozenset(),
    groups_at=0,
    roles=frozenset({"Pipeline"}),
    scopes=frozenset(),
    client="",
    authentication=Authentication(),
    guest=False,
    issued_at=0,
    expires_at=2**40,
    token_id="",
)


class World:
    """An arbiter with a folder of keys, and Google."""

    def __init__(self, folder: Path) -> None:
        (folder / "lab").mkdir()
        self.lab, self.folder, self.ahead = Lab(folder / "lab"), folder / "issuer", 0.0
        self.keys = OwnKeys(self.folder, self.wall)
        self.issuer = OwnIssuer(contoso.REMIT_ISSUER, self.folder, wall=self.wall)  # the arbiter's own view
        self.told: list[str] = []
        self.refuses = 0

    def wall(self) -> float:
        return time.time() + self.ahead

    def later(self, seconds: float) -> None:
        """All clocks."""
        self.ahead += seconds
        self.lab.clouds.google_clock.skew = self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    def turning(self, client: httpx.AsyncClient) -> Turning:
        async def prove(key) -> None:
            if self.refuses:
                self.refuses -= 1
                raise HopFailed("google-sts", Reason.EXCHANGE_REFUSED, "not yet")
            now = int(self.wall())
            audience = f"https:{PROVIDER}"
            claims = {"iss": contoso.REMIT_ISSUER, "sub": f"{contoso.TENANT}/proof", "aud": audience, "nbf": now}
            claims |= {"iat": now, "exp": now + 60, "tenant": contoso.TENANT, "kind": "workload", "groups": []}
            await self.sts(client, key.sign(claims))

        uploaded = Uploaded(Asking(client, self.lab, SCOPE), PROVIDER, sleep=self.sleep)
        return Turning(self.keys, uploaded, prove, SETTLE, LONGEST, self.wall, self.told.append, sleep=self.sleep)

    async def sts(self, client: httpx.AsyncClient, token: str) -> None:
        await GoogleSts(client, PROVIDER, timeout=20).exchange(Secret(token))

    async def exchange(self, client: httpx.AsyncClient) -> None:
        """As the arbiter does it, with whatever key it signs with now."""
        await self.sts(client, self.issuer.sign(WHO, f"https:{PROVIDER}").reveal())

    def at_google(self) -> set[str]:
        return {key["kid"] for key in self.lab.clouds.pools.uploaded(contoso.REMIT_ISSUER)}


def run(world: World, story) -> None:
    """A story, while another task exchanges tokens all the time; none of them may fail."""

    async def told() -> None:
        went: list[str] = []

        async def load(client: httpx.AsyncClient) -> None:
            while True:
                try:
                    await world.exchange(client)
                    went.append("")
                except Exception as failed:  # noqa: BLE001 - whatever it was, it failed
                    went.append(repr(failed))
                await asyncio.sleep(0)

        async with world.lab.client() as client:
            await world.turning(client).uploaded.write([key.jwk() for key in world.keys.published()])
            task = asyncio.create_task(load(client))
            try:
                await story(world.turning(client), went)
                count = len(went)
                while len(went) < count + 2:  # noqa: ASYNC110 - what is counted is the load itself
                    await asyncio.sleep(0)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        assert set(went) == {""}

    asyncio.run(told())


@pytest.mark.promise("V10")
def test_keys_turn_under_load_without_a_failed_exchange(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def several(went: list[str]) -> None:
        count = len(went)
        while len(went) < count + 5:  # noqa: ASYNC110 - what is counted is the load itself
            await asyncio.sleep(0)

    async def story(turning: Turning, went: list[str]) -> None:
        old = world.keys.signing().kid
        await several(went)
        world.refuses = 2  # Google learns of it after a while
        turned = await turning.turn()
        new = turned.newest
        assert turned.open
        assert turned.signs == old != new
        assert world.at_google() == {old, new}
        await several(went)
        assert (await turning.turn()).retired == ()  # too early: nothing changes
        world.later(SETTLE + 1)
        assert world.keys.signing().kid == new
        await several(went)
        assert (await turning.turn()).retired == ()  # what the old one signed is alive
        world.later(LONGEST + 1)
        done = await turning.turn()
        assert done.retired == (old,)
        assert not done.open
        assert world.at_google() == {new}
        assert [key.kid for key in world.keys.published()] == [new]
        await several(went)

    run(world, story)


@pytest.mark.promise("V10")
@pytest.mark.parametrize("when", ["staged", "published", "signing"])
def test_a_rotation_of_keys_goes_back(tmp_path: Path, when: str) -> None:
    world = World(tmp_path)

    async def story(turning: Turning, _: list[str]) -> None:
        old = world.keys.signing().kid
        if when == "staged":
            world.refuses = 10_000
            with pytest.raises(TrustBroken, match="does not take the new key"):
                await turning.turn()
            assert world.keys.staged()
        else:
            await turning.turn()
        if when == "signing":
            world.later(SETTLE + 1)
            assert world.keys.signing().kid != old
        back = await turning.rollback()
        assert back.signs == old
        assert back.open is (when == "signing")
        if when == "signing":  # what the new one signed still counts, and ends
            assert len(world.at_google()) == 2
            world.later(LONGEST + 1)
            assert old not in (await turning.turn()).retired
        assert world.at_google() == {old}
        with pytest.raises(TrustBroken, match="no rotation"):
            await turning.rollback()

    run(world, story)


def test_a_rotation_that_was_cut_goes_on_with_the_same_key(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def story(turning: Turning, _: list[str]) -> None:
        staged = world.keys.stage().kid
        turned = await turning.turn()
        assert turned.newest == staged
        # the name that it was staged under may outlive a crash
        newest = max(world.folder.glob("issuer-*.pem"))
        (world.folder / "staged.pem").hardlink_to(newest)
        assert (await turning.turn()).newest == staged
        assert len(world.keys.published()) == 2
        assert not (world.folder / "staged.pem").exists()

    run(world, story)


def test_keys_of_others_at_the_provider_stay(tmp_path: Path) -> None:
    world = World(tmp_path)
    other = OwnKeys(tmp_path / "other", world.wall).published()[0]

    async def story(turning: Turning, _: list[str]) -> None:
        mine = [key.jwk() for key in world.keys.published()]
        await turning.uploaded.write([*mine, other.jwk()])
        await turning.turn()
        world.later(SETTLE + LONGEST + 2)
        await turning.turn()
        assert world.at_google() == {world.keys.signing().kid, other.kid}

    run(world, story)


@pytest.mark.parametrize("good", [True, False])
def test_where_google_reads_the_issuer_itself(tmp_path: Path, good: bool) -> None:
    """Nothing is uploaded; a key that Google does not come to know is withdrawn before it signs."""
    keys = OwnKeys(tmp_path, time.time)
    old = keys.signing().kid
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.method)
        return httpx.Response(200, json={"oidc": {"issuerUri": contoso.REMIT_ISSUER}})

    async def prove(key) -> None:
        assert key.kid in {each.kid for each in keys.published()}
        if not good:
            raise HopFailed("google-sts", Reason.EXCHANGE_REFUSED, "unknown")

    async def sleep(seconds: float) -> None:
        """Nobody waits."""

    class Somebody:
        async def token(self, scope):
            return AccessToken("t")

    async def story() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            uploaded = Uploaded(Asking(client, Somebody(), SCOPE), PROVIDER)
            turning = Turning(keys, uploaded, prove, SETTLE, LONGEST, time.time, lambda _: None, sleep=sleep)
            if good:
                assert (await turning.turn()).newest != old
            else:
                with pytest.raises(TrustBroken, match="does not take"):
                    await turning.turn()

    asyncio.run(story())
    assert set(sent) == {"GET"}
    assert keys.signing().kid == old
    assert len(keys.published()) == (2 if good else 1)


def test_the_only_key_stays(tmp_path: Path) -> None:
    keys = OwnKeys(tmp_path, time.time)
    with pytest.raises(ValueError, match="keeps a key"):
        keys.remove(keys.signing().kid)
