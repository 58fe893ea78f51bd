"""The order in which changes can be made: each behind those that it needs, and what goes last, in reverse. Pure."""

import heapq
from collections.abc import Mapping, Sequence

from remit.trust.planning.matching import rank
from remit.trust.planning.plan import Act, Change
from remit.trust.things import Address, Thing, refs


def ordered(changes: Sequence[Change], wanted: Sequence[Thing]) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """The changes in order, and those that wait for each other in a circle, which are not among them."""
    building = {change.address: change for change in changes if change.act is not Act.REMOVE}
    going = sorted(
        (change for change in changes if change.act is Act.REMOVE),
        key=lambda change: (rank(change.address.kind), change.address.name),
        reverse=True,
    )
    behind = {address: set[Address]() for address in building}
    for thing in wanted:
        if thing.address in building:
            behind[thing.address] = needed(thing, building)
    done = _sorted(behind)
    circle = sorted(building.keys() - set(done))
    return (*(building[address] for address in done), *going), tuple(building[address] for address in circle)


def needed(thing: Thing, building: Mapping[Address, Change]) -> set[Address]:
    """What a change waits for: all that it needs, and of what it refers to what has no id yet."""
    told = {address for address in thing.needs if address in building}
    ids = {ref.of for value in thing.fields.values() for ref in refs(value)}
    return told | {address for address in ids if address in building and building[address].act is Act.MAKE}


def _sorted(behind: Mapping[Address, set[Address]]) -> list[Address]:
    """By Kahn's way, and of those that are free the first by kind and name, so that the order is always the same."""
    waits = {address: set(others) for address, others in behind.items()}
    free = [_key(address) for address, others in waits.items() if not others]
    heapq.heapify(free)
    done: list[Address] = []
    while free:
        address = heapq.heappop(free)[1]
        done.append(address)
        for other, others in waits.items():
            if address in others:
                others.discard(address)
                if not others:
                    heapq.heappush(free, _key(other))
    return done


def _key(address: Address) -> tuple[tuple[int, str], Address]:
    return rank(address.kind), address
