"""Whether policies fit the schema, each found out once.

The engine tries a policy on every action that is declared, so a policy is validated with those that it names and the
stand-ins of the rest: what it does not name it cannot tell from its group's stand-in (`schema`). What it comes to then
depends on no other policy, and a text that was found good with the same actions is good for as long as this process
lives: of an edited set, only what is new is looked at. What is not good is never remembered.
Source: https://docs.cedarpolicy.com/policies/validation.html
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from operator import itemgetter

from cedarpy import Schema, validate_policies

from remit.model.operation import Group
from remit.policy.lint import Policy
from remit.policy.schema import schema_text
from remit.policy.slices import names

_MOST = 20_000  # texts that are remembered, at 100 bytes each
_AT_ONCE = 2  # threads: the engine validates without the interpreter's lock
_good: set[bytes] = set()


def faults(policies: Sequence[Policy], actions: Mapping[str, Group]) -> list[tuple[Policy, str]]:
    """What is wrong with policies by the schema, in their order; `actions`: of the catalogue, with their groups."""
    unknown: dict[str, dict[int, bytes]] = defaultdict(dict)
    for place, policy in enumerate(policies):
        schema = schema_text(actions, (name for kind, name in names([policy.tree]) if kind == "Action"))
        digest = hashlib.sha256(f"{len(schema)} {schema}{policy.statement.text}".encode()).digest()
        if digest not in _good:
            unknown[schema][place] = digest
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda schema: _faults(schema, unknown[schema], policies), list(unknown))
        return [(policies[place], message) for place, message in sorted(chain.from_iterable(found), key=itemgetter(0))]


def _faults(schema: str, some: Mapping[int, bytes], policies: Sequence[Policy]) -> list[tuple[int, str]]:
    """Of the policies at some places, and remembers the good ones."""
    places = list(some)
    text = "\n".join(policies[place].statement.text for place in places)
    told = validate_policies(text, Schema.from_str(schema, release_gil=True), release_gil=True)
    found = [
        (
            places[int(error.policy_id.removeprefix("policy"))],
            error.error.removeprefix(f"for policy `{error.policy_id}`, "),
        )
        for error in told.errors
    ]
    bad = {place for place, _ in found}
    if told.validation_passed is not (not bad):
        message = "the engine says neither that policies are good nor what is wrong with them"
        raise ValueError(message)
    if len(_good) >= _MOST:
        _good.clear()
    _good.update(digest for place, digest in some.items() if place not in bad)
    return found
