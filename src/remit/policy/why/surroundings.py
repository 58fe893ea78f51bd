"""Changes of what is around a request: where it comes from, when, how risky the sign-in is, what the work outlives.

A place or a risk that nothing but "another one" is demanded of is tried with one that fits, which the change names.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address, ip_network

from remit.model.decision import Circumstances
from remit.model.explanation import Change, Means
from remit.policy.schema import vocabulary
from remit.policy.why.demands import Ask, Demand
from remit.policy.why.fixes import Fix, Situation, Ways, either, listed, one

_RISKS = ("none", "low", "medium", "high")
_ELSEWHERE = ("192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1")  # for documentation, RFC 5737 and 3849


def at_moments(moments: Iterable[int]) -> Ways:
    """To wait, until each of these times (seconds since the epoch)."""
    return tuple(frozenset({_waiting(moment, late)}) for late, moment in enumerate(moments))


def risked(demand: Demand) -> Ways:
    """A sign-in whose risk is the least that fits."""
    fits: dict[Ask, Callable[[str], bool]] = {
        Ask.ONE_OF: lambda risk: risk in demand.values,
        Ask.NONE_OF: lambda risk: risk not in demand.values,
        Ask.THERE: lambda _: True,
    }
    if demand.ask not in fits:
        return ()
    fitting = next((risk for risk in _RISKS if fits[demand.ask](risk)), "")
    if not fitting:
        return ()
    what = "a sign-in without risk" if fitting == "none" else f"a sign-in whose risk is `{fitting}`"
    edit = partial(_around, lambda found: replace(found, risk=fitting))
    return one(Means.RISK, what, "risk", edit, value=fitting, weak=demand.ask is Ask.THERE)


def placed(demand: Demand) -> Ways:
    """Another place to ask from: a country, a named location, an address."""
    match demand.path:
        case ("country",):
            return _in_country(demand)
        case ("locations",):
            return _located(demand)
        case ("locations_known",) if demand.ask is Ask.TRUE:
            edit = partial(_around, lambda found: replace(found, locations_known=True))
            return one(Means.PLACE, "from an address whose named locations are known", "locations known", edit)
        case ("peer",) if demand.ask in {Ask.INSIDE, Ask.OUTSIDE}:
            return either(_address(value, inside=demand.ask is Ask.INSIDE) for value in demand.values)
        case ("outlived",):
            return _shorter(demand)
    return ()


def _waiting(moment: int, late: int) -> Fix:
    told = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Fix(Change(Means.TIME, f"at {told}", told), "now", partial(_at, moment), late=late)


def _in_country(demand: Demand) -> Ways:
    match demand.ask:
        case Ask.ONE_OF:
            return _country(demand.values, f"from {listed(demand.values, 'or')}")
        case Ask.NONE_OF:
            return _country(_others(demand.values), f"from another country than {listed(demand.values, 'or')}")
        case Ask.THERE:
            return _country(_others(()), "from an address whose country is known", weak=True)
    return ()


def _country(countries: tuple[str, ...], what: str, *, weak: bool = False) -> Ways:
    if not countries:
        return ()
    edit = partial(_around, lambda found: replace(found, country=countries[0]))
    return one(Means.PLACE, what, "country", edit, value=countries[0], weak=weak)


def _others(countries: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(vocabulary("Country") - set(countries)))


def _located(demand: Demand) -> Ways:
    match demand.ask:
        case Ask.HOLDS:
            return _locations(demand.values)
        case Ask.HOLDS_ANY:
            return either(_locations((value,)) for value in demand.values)
        case Ask.LACKS:
            edit = partial(_around, lambda found: replace(found, locations=found.locations - set(demand.values)))
            what = f"from outside of {listed(demand.values, 'and')}"
            return one(Means.PLACE, what, f"location {demand.values}", edit)
    return ()


def _locations(values: tuple[str, ...]) -> Ways:
    edit = partial(_around, lambda found: replace(found, locations=found.locations | set(values)))
    return one(Means.PLACE, f"from {listed(values, 'and')}", f"location {values}", edit, value=", ".join(values))


def _shorter(demand: Demand) -> Ways:
    """Work that is over before what it depends on: which hop that is, and how to make it last, is told beforehand."""
    within, lacks = demand.ask is Ask.WITHIN, demand.ask is Ask.LACKS
    if not within and not lacks:
        return ()
    values = frozenset(demand.values)
    edit = partial(
        _around, lambda found: replace(found, outlived=found.outlived & values if within else found.outlived - values)
    )
    what = "a shorter duration, so that what the work depends on does not end before it"
    return one(Means.WORK, what, "outlived", edit, command="remit doctor lifetime")


def _address(text: str, *, inside: bool) -> Ways:
    """An address of a range, or one that nobody has outside of it."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:  # a range that is none has no addresses
        return ()
    first = network[1] if network.num_addresses > 1 else network[0]
    outside = (each for each in map(ip_address, _ELSEWHERE) if each not in network)
    address = first if inside else next(outside, None)
    if address is None:
        return ()
    what = f"from an address {'in' if inside else 'outside of'} `{text}`"
    return one(Means.PLACE, what, "peer", partial(_around, lambda found: replace(found, peer=str(address))), value=text)


def _around(change: Callable[[Circumstances], Circumstances], situation: Situation) -> Situation:
    return replace(situation, circumstances=change(situation.circumstances))


def _at(moment: int, situation: Situation) -> Situation:
    """Later: what has ended by then is no longer in force."""
    held = tuple(grant for grant in situation.circumstances.grants if grant.since <= moment < grant.until)
    return replace(situation, circumstances=replace(situation.circumstances, now=moment, grants=held))
