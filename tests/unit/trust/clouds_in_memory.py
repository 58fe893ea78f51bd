"""Clouds in memory: they give ids, show what was changed only after a while, and can be struck at any point."""

from collections.abc import Mapping, Sequence

from remit.trust.clouds.port import Cloud, CloudRefused, Conflict, Missing
from remit.trust.planning.plan import Act, Change, Plan
from remit.trust.things import Address, Found, Thing, ids_of, refs, settled


class Killed(BaseException):
    """The process dies here: nothing may handle it."""


class World:
    """The time, everything that there is, and where to strike.

    `lag`: seconds until a change is seen; `strike`: the number of the point to die at; `points`: how many were passed.
    """

    def __init__(self, lag=0.0):
        self.lag = lag
        self.now = 1000.0
        self.things = {}
        self.history = [(0.0, {})]
        self.given = 0
        self.points = 0
        self.strike = None
        self.refusing = {}
        self.calls = []

    async def sleep(self, seconds):
        self.now += seconds

    def point(self):
        self.points += 1
        if self.strike == self.points:
            self.strike = None
            raise Killed

    def sync(self, descriptor):
        """In place of fsync: one may die once the line is written."""
        self.point()

    def seen(self):
        """What reads show: the last state that is old enough."""
        return next(state for at, state in reversed(self.history) if at <= self.now - self.lag or at == 0.0)

    def put(self, found):
        self.things = {**self.things, found.address: found}
        self.history.append((self.now, self.things))

    def drop(self, address):
        self.things = {one: found for one, found in self.things.items() if one != address}
        self.history.append((self.now, self.things))

    def settle(self):
        """Time passes until everything is seen."""
        self.now += self.lag + 1

    def holds(self):
        """Name → fields, ids aside."""
        return {str(address): dict(found.fields) for address, found in sorted(self.things.items())}

    def clouds(self) -> Mapping[str, Cloud]:
        return {name: MemoryCloud(name, self) for name in ("entra", "google", "azure")}


class MemoryCloud:
    """One cloud of a world."""

    def __init__(self, name, world):
        self.name = name
        self.world = world

    async def read(self, wanted: Sequence[Thing]) -> tuple[Found, ...]:
        return tuple(found for address, found in sorted(self.world.seen().items()) if address.cloud == self.name)

    async def make(self, thing: Thing) -> Found:
        self._begin("make", thing.address)
        self._known(thing)
        there = self.world.things.get(thing.address)
        if there and dict(there.fields) != dict(thing.fields):
            raise Conflict(f"`{thing.address}` is there already", status=409)
        if not there:
            self.world.given += 1
            ids = {"id": f"id-{self.world.given}"}
            if thing.address.kind == "entra.application":
                ids["appId"] = f"{self.world.given:08x}-0000-4000-8000-00000000a000"
            self.world.put(Found(thing.address, dict(thing.fields), ids))
        self.world.point()
        return self.world.things[thing.address]

    async def change(self, thing: Thing, found: Found) -> Found:
        self._begin("change", thing.address)
        self._known(thing)
        there = self.world.things.get(thing.address)
        if there is None:
            raise Missing(f"there is no `{thing.address}`", status=404)
        news = {name: value for name, value in thing.fields.items() if found.fields.get(name) != value}
        self.world.put(Found(thing.address, {**there.fields, **news}, there.ids))
        self.world.point()
        return self.world.things[thing.address]

    async def remove(self, found: Found) -> None:
        self._begin("remove", found.address)
        self.world.drop(found.address)
        self.world.point()

    def _begin(self, verb, address):
        self.world.point()
        self.world.calls.append((verb, str(address)))
        if error := self.world.refusing.get(address):
            raise error

    def _known(self, thing):
        """Every id that it names must be seen already."""
        shown = {id_ for found in self.world.seen().values() for id_ in found.ids.values()}
        for value in thing.fields.values():
            assert not list(refs(value)), thing
            if isinstance(value, str) and value.startswith("id-") and value not in shown:
                raise Missing(f"`{value}` is not seen yet", status=404)


def planned(wanted: Sequence[Thing], found: Sequence[Found]) -> Plan:
    """A small plan: makes and changes as they are wanted, then removals, the last first."""
    ids = ids_of(tuple(found))
    there = {one.address: one for one in found}
    changes = []
    for thing in wanted:
        fields, now = settled(thing.fields, ids), there.pop(thing.address, None)
        if now is None:
            changes.append(Change(Act.MAKE, thing.address, None, fields, thing.says, thing))
        elif dict(now.fields) != dict(fields):
            changes.append(Change(Act.CHANGE, thing.address, now.fields, fields, thing.says, thing, now.ids))
    gone = (Change(Act.REMOVE, now.address, now.fields, None, "taken away", None, now.ids) for now in there.values())
    return Plan((*changes, *reversed([*gone])))


def refused(address: Address, message: str = "no") -> Mapping[Address, CloudRefused]:
    """A cloud's answer that no repetition changes."""
    return {address: CloudRefused(message, status=400)}
