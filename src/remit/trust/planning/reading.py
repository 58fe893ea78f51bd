"""Reading what the clouds hold: one after the other, since what a later one holds is known by an earlier one's ids."""

from collections.abc import Sequence

from remit.model.errors import TrustBroken
from remit.trust.clouds.port import Cloud
from remit.trust.things import Found, Thing, ids_of, settled

ORDER = ("entra", "google", "azure", "sql")
"""Google's members, and principals at Azure and of databases, are ids that Entra gives."""


async def read(clouds: Sequence[Cloud], wanted: Sequence[Thing]) -> tuple[Found, ...]:
    """Everything that the trust is about, of all clouds.

    Raises `TrustBroken` that names the cloud when one does not answer: half a reading would be a plan to make again
    what is there, and to leave what should go.
    """
    by_name = {cloud.name: cloud for cloud in clouds}
    if unread := sorted({thing.address.cloud for thing in wanted} - by_name.keys()):
        raise TrustBroken(f"nobody reads {_listed(unread)}, where remit.yaml wants things")
    found: list[Found] = []
    for name in sorted(by_name, key=_place):
        found.extend(await _asked(by_name[name], wanted, found))
    return tuple(found)


async def _asked(cloud: Cloud, wanted: Sequence[Thing], known: list[Found]) -> tuple[Found, ...]:
    ids = ids_of(known)
    own = [
        Thing(thing.address, settled(thing.fields, ids), thing.needs, thing.says, thing.given)
        for thing in wanted
        if thing.address.cloud == cloud.name
    ]
    try:
        answered = await cloud.read(own)
    except TrustBroken as cause:
        raise TrustBroken(f"{cloud.name} could not be read: {cause.message}", hint=cause.hint) from cause
    if strange := [one.address for one in answered if one.address.cloud != cloud.name]:
        raise TrustBroken(f"{cloud.name} answered with `{strange[0]}`, which is not its own")
    return answered


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
