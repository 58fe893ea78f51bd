"""The difference between what the clouds must hold and what they do, as a plan. Pure: nothing here asks.

Leaves out: why a change is unsafe (`safety`), what can never be (`desired/limits.py`, whose findings are given).
"""

from collections.abc import Collection, Iterator, Sequence

from remit.trust.planning.matching import Matched, differing, matched, tidy
from remit.trust.planning.order import ordered
from remit.trust.planning.plan import Act, Change, Plan
from remit.trust.planning.safety import judged
from remit.trust.planning.words import taken
from remit.trust.settings import TrustSettings
from remit.trust.things import Address, Found, Thing, Value, refs

_SECOND = Address("entra.application", "remit-google")


def plan(
    wanted: Sequence[Thing],
    found: Sequence[Found],
    settings: TrustSettings,
    *,
    problems: Sequence[str] = (),
    applier: Collection[str] = (),
    ours: Collection[str] = (),
) -> Plan:
    """What is to be done so that what is found is what is wanted.

    `problems`: what is known to be wrong already (limits of the clouds); `applier`: ids by which the clouds know
    whoever will apply it, as far as they are known; `ours`: ids of what Remit itself made here, addresses of
    what it may have made.
    """
    match = matched(wanted, found)
    changes, circle = ordered([*_made(match), *_removed(match, settings)], wanted)
    told = [*problems, *_problems(match, wanted, settings), *_taken(match, ours), *_circle(circle)]
    return Plan(judged(changes, match, settings, applier), tuple(dict.fromkeys(told)))


def _made(match: Matched) -> Iterator[Change]:
    seen = set[Address]()
    for thing, one in match.pairs:
        if thing.given or thing.address in seen:
            continue
        seen.add(thing.address)
        if one is None:
            yield Change(Act.MAKE, thing.address, None, thing.fields, thing.says, thing)
        elif differing(thing.address.kind, one.fields, thing.fields):
            yield Change(Act.CHANGE, thing.address, _tidied(one), thing.fields, thing.says, thing, one.ids)


def _removed(match: Matched, settings: TrustSettings) -> Iterator[Change]:
    apart = frozenset({*settings.administrators, *settings.apart})
    for one in match.rest:
        holder = one.fields.get("member") or one.fields.get("principal")
        if holder not in apart:
            yield Change(Act.REMOVE, one.address, _tidied(one), None, taken(one), None, one.ids)


def _tidied(one: Found) -> dict[str, Value]:
    return {name: tidy(value) for name, value in one.fields.items()}


def _problems(match: Matched, wanted: Sequence[Thing], settings: TrustSettings) -> Iterator[str]:
    if not settings.roles:
        yield "no role stands under `trust.roles`: `remit trust init --from-clouds PROVIDER` writes what is there"
    for first, second in match.twice:
        same = f"`{first.address}` is wanted twice"
        yield same if first.address == second.address else f"`{first.address}` and `{second.address}` are the same"
    for thing, one in match.pairs:
        if thing.given and one is None:
            yield f"`{thing.address}` is not there, and is not Remit's to make"
    known = {thing.address for thing in wanted}
    for thing in wanted:
        others = {*thing.needs, *(ref.of for value in thing.fields.values() for ref in refs(value))}
        for other in sorted(others - known):
            yield f"`{thing.address}` needs `{other}`, which nobody makes"


def _taken(match: Matched, ours: Collection[str]) -> Iterator[str]:
    """Applications that were there first: whoever made one owns it, and could give it a secret and be Remit.

    Not the second audience: nothing works as it, and Google's condition admits Remit's own application alone.
    """
    for thing, one in match.pairs:
        if one is None or thing.address.kind != "entra.application" or thing.address == _SECOND:
            continue
        name, given = thing.address.name, one.ids.get("appId", "")
        if thing.fields.get("appId") is None and not {given, str(thing.address)} & set(ours):
            yield (
                f"an application is there already where `app:{name}` would be made: look who owns it, then write "
                f"`{given}` into remit.yaml if it is yours, delete it for good, or name other URIs if it is to stay"
            )


def _circle(circle: Sequence[Change]) -> Iterator[str]:
    if circle:
        yield f"these wait for each other: {', '.join(f'`{change.name}`' for change in circle)}"
