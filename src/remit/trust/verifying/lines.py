"""The roles that an account holds on a resource, with what they include, out of the policies that were read."""

import asyncio
from collections.abc import Mapping, Sequence

from remit.trust.clouds.google import Google
from remit.trust.prefixes import below
from remit.trust.things import Found
from remit.trust.verifying.compare import Line

_EVERYBODY = ("allUsers", "allAuthenticatedUsers")


async def lines_of(google: Google, account: str, resource: str, bindings: Sequence[Found]) -> tuple[Line, ...]:
    """Every line that names the account, or everybody, on exactly this resource; raises `TrustBroken`."""
    members = {f"serviceAccount:{account}", *_EVERYBODY}
    mine = [one for one in bindings if one.fields.get("resource") == resource and one.fields.get("member") in members]
    return tuple(await asyncio.gather(*(_line(google, one) for one in mine)))


async def _line(google: Google, one: Found) -> Line:
    condition = one.fields.get("condition")
    told = (str(condition["title"]), str(condition["expression"])) if isinstance(condition, Mapping) else None
    role = str(one.fields["role"])
    return Line(role, await google.permissions(role), told, next(iter(below(one.fields)), ""))
