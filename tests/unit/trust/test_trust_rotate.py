"""Secrets and certificates are replaced at the lab's Entra, stopped at every step, and nobody who signs in notices."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from rotating_lab import Lab

from remit.lab import contoso
from remit.model.errors import TrustBroken
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.entra_graph import SCOPE, Graph
from remit.trust.rotating import secret
from remit.trust.rotating.due import Credential, State, judged
from remit.trust.rotating.entra import Certificates, Secrets
from remit.trust.rotating.journal import Journal, Step
from remit.trust.rotating.secret import Rotating

APP = contoso.REMIT.id
KINDS = {"secret": Secrets, "certificate": Certificates}


class Killed(BaseException):
    """The process ended here."""


class World:
    """One application, and the file that its service reads."""

    def __init__(self, folder: Path, name: str, lab: Lab | None = None) -> None:
        folder.joinpath("lab").mkdir(parents=True)
        self.lab, self.name, self.folder = lab or Lab(folder / "lab"), name, folder
        self.file = folder / "secret"
        self.writes, self.dies_at = 0, -1
        self.told: list[str] = []

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def dies(self) -> None:
        if self.writes == self.dies_at:
            raise Killed
        self.writes += 1

    async def work(self, client, *, settle: float = 0.0) -> Rotating:
        graph = Graph(Asking(client, self.lab, SCOPE, sleep=self.pause))
        kind = Mortal(KINDS[self.name](graph, client, contoso.TENANT, APP), self)
        journal = MortalJournal(self.folder, APP)
        journal.world = self
        return Rotating(kind, journal, self.told.append, settle=settle, limit=5.0, sleep=self.pause)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))

    async def first(self) -> None:
        """The one credential that there is, in use."""
        async with self.lab.client() as client:
            work = await self.work(client)
            for one in await work.kind.held():
                await work.kind.remove(one.id)
            await secret.begin(work, APP, self.name, self.file)

    async def held(self) -> set[str]:
        async with self.lab.client() as client:
            return {one.id for one in await (await self.work(client)).kind.held()}

    async def signs_in(self) -> None:
        async with self.lab.client() as client:
            await (await self.work(client)).kind.sign_in(self.file.read_bytes())


class Mortal:
    """A kind of credentials whose process may end right after each change."""

    def __init__(self, kind, world: World) -> None:
        self._kind, self._world = kind, world
        self.held, self.sign_in, self.tell = kind.held, kind.sign_in, kind.tell

    async def add(self, name: str, days: int):
        made = await self._kind.add(name, days)
        self._world.dies()
        return made

    async def remove(self, key: str) -> None:
        await self._kind.remove(key)
        self._world.dies()


class MortalJournal(Journal):
    """A journal whose process may end right after each line."""

    world: World

    def write(self, rotation, step):
        written = super().write(rotation, step)
        self.world.dies()
        return written


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@asynccontextmanager
async def load(world: World) -> AsyncIterator[list[bool]]:
    """Sign-ins all the time, two at once, each with what the file holds right then; how each went."""
    went: list[bool] = []

    async def one() -> None:
        while True:
            try:
                await world.signs_in()
                went.append(True)
            except TrustBroken:
                went.append(False)
            await asyncio.sleep(0.002)

    tasks = [asyncio.create_task(one()) for _ in range(2)]
    try:
        yield went
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.promise("V10")
@pytest.mark.parametrize("name", list(KINDS))
def test_it_is_replaced_under_load_without_a_failed_sign_in(tmp_path: Path, name: str) -> None:
    world = World(tmp_path, name)

    async def story() -> None:
        await world.first()
        [old] = await world.held()
        before = world.file.read_bytes()
        async with load(world) as went, world.lab.client() as client:
            done = await secret.begin(await world.work(client, settle=0.02), APP, name, world.file)
            while len(went) < 20:  # noqa: ASYNC110 - what is counted is the load itself
                await asyncio.sleep(0.01)
        assert went
        assert all(went)
        assert done.old == (old,)
        assert await world.held() == {done.new}
        assert world.file.read_bytes() != before
        assert world.file.stat().st_mode & 0o777 == 0o600
        assert names(tmp_path) == ["lab", f"rotate-{APP}.jsonl", "secret"]
        kind = (await world.work(world.lab.client())).kind
        with pytest.raises(TrustBroken, match="AADSTS"):
            await kind.sign_in(before)

    asyncio.run(story())


@pytest.mark.promise("V10")
@pytest.mark.parametrize("way", ["resume", "rollback"])
def test_killed_at_every_step_it_goes_on_or_back(tmp_path: Path, way: str) -> None:
    over, lab = False, Lab(tmp_path)
    for step in range(20):
        over = asyncio.run(_killed(World(tmp_path / str(step), "secret", lab), way, step))
        if over:
            break
    assert over
    assert step > 6


async def _killed(world: World, way: str, step: int) -> bool:
    """Whether it was over before the process ended."""
    await world.first()
    [old] = await world.held()
    before = world.file.read_bytes()
    async with load(world) as went, world.lab.client() as client:
        world.writes, world.dies_at = 0, step
        try:
            await secret.begin(await world.work(client), APP, world.name, world.file)
        except Killed:
            world.dies_at = -1
            work = await world.work(client)
            begun = work.journal.open()
            if begun is None:  # it ended with its last line
                return False
            if way == "rollback" and begun.step is not Step.REMOVE:
                await secret.rollback(work)
                assert world.file.read_bytes() == before
                assert await world.held() == {old}
            else:
                if way == "rollback":
                    with pytest.raises(TrustBroken, match="no way back"):
                        await secret.rollback(work)
                done = await secret.resume(work)
                assert await world.held() == {done.new}
            assert work.journal.open() is None
            left = {each.name for each in world.folder.iterdir()}
            assert left == {"lab", f"rotate-{APP}.jsonl", "secret"}
            await world.signs_in()
            over = False
        else:
            over = True
    assert all(went)
    return over


def test_a_way_back_that_was_cut_is_gone_on_with_and_never_turned(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    for step in range(3):
        world = World(tmp_path / str(step), "secret", lab)

        async def story(world: World = world, step: int = step) -> None:
            await world.first()
            before = world.file.read_bytes()
            async with world.lab.client() as client:
                work = await world.work(client)
                world.writes, world.dies_at = 0, 4  # the file is switched
                with pytest.raises(Killed):
                    await secret.begin(work, APP, "secret", world.file)
                assert world.file.read_bytes() != before
                world.writes, world.dies_at = 0, step
                with pytest.raises(Killed):
                    await secret.rollback(work)
                world.dies_at = -1
                if work.journal.open():
                    with pytest.raises(TrustBroken, match="on the way back"):
                        await secret.resume(work)
                    await secret.rollback(work)
            assert world.file.read_bytes() == before
            await world.signs_in()

        asyncio.run(story())


def test_the_journal_tells_no_secret(tmp_path: Path) -> None:
    world = World(tmp_path, "secret")
    asyncio.run(world.first())
    text = (tmp_path / f"rotate-{APP}.jsonl").read_text()
    assert [json.loads(line)["step"] for line in text.splitlines()] == [
        *("add", "prove", "switch", "settle", "remove", "done"),
    ]
    assert world.file.read_text() not in text
    assert world.file.read_text() not in " ".join(world.told)
    assert (tmp_path / f"rotate-{APP}.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_journal_that_a_crash_cut_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path, "secret")
    asyncio.run(world.first())
    path = tmp_path / f"rotate-{APP}.jsonl"
    path.write_bytes(path.read_bytes() + b'{"at": 1, "app"')
    journal = Journal(tmp_path, APP)
    assert journal.open() is None
    lines = path.read_bytes().splitlines()
    last = {name: value for name, value in json.loads(lines[-2]).items() if name != "at"}
    again = journal.write(secret.Rotation(**{**last, "old": ()}), Step.PROVE)
    assert journal.open() == again
    path.write_bytes(b'{"at": 1}\n')
    with pytest.raises(TrustBroken, match="cannot be understood"):
        journal.open()


def test_one_that_entra_does_not_take_replaces_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, "secret")

    async def story() -> None:
        await world.first()
        before, held = world.file.read_bytes(), await world.held()
        async with world.lab.client() as client:
            work = await world.work(client)

            async def refuses(content: bytes) -> None:
                raise TrustBroken("a sign-in failed")

            work.kind.sign_in = refuses
            with pytest.raises(TrustBroken, match="after"):
                await secret.begin(work, APP, "secret", world.file)
            assert world.file.read_bytes() == before
            with pytest.raises(TrustBroken, match="interrupted"):
                await secret.begin(work, APP, "secret", world.file)
            await secret.rollback(await world.work(client))
        assert await world.held() == held

    asyncio.run(story())


def test_whoever_else_signs_in_with_another_keeps_it(tmp_path: Path) -> None:
    world = World(tmp_path, "secret")

    async def story() -> None:
        await world.first()
        [mine] = await world.held()
        text = world.file.read_text()
        world.lab.clouds.commands()["secret"]({"app": APP, "secret": "another's, for another service"})
        async with world.lab.client() as client:
            await secret.begin(await world.work(client), APP, "secret", world.file)
            assert mine not in await world.held()
            assert len(await world.held()) == 2
            # two that look alike: nobody guesses
            text = world.file.read_text()
            world.lab.clouds.commands()["secret"]({"app": APP, "secret": text[:3] + "0" * 20})
            work = await world.work(client)
            with pytest.raises(TrustBroken, match="may hold any of 2") as caught:
                await secret.begin(work, APP, "secret", world.file)
            assert "--old" in caught.value.hint
            with pytest.raises(TrustBroken, match="holds no"):
                await secret.begin(work, APP, "secret", world.file, old="b0000000-0000-4000-8000-000000000000")

    asyncio.run(story())


def test_what_is_due() -> None:
    day = 86_400.0
    found = [
        Credential("a", "good", "1", "", 0, 100 * day),
        Credential("a", "due", "2", "", 0, 20 * day),
        Credential("a", "expired", "3", "", 0, 9 * day),
        Credential("a", "for ever", "4", "", 0, 0),
        Credential("a", "key", "5", "", 0, 100 * day, State.NEEDLESS),
    ]
    told = [(one.of, one.state) for one in judged(found, 10 * day, 30 * day)]
    assert told == [
        ("expired", State.EXPIRED),
        ("due", State.DUE),
        ("key", State.NEEDLESS),
        ("good", State.GOOD),
        ("for ever", State.GOOD),
    ]
