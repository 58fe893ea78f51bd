"""The part of a policy set that can concern one question: the engine tries every policy that it is given.

A policy is left out only when its scope cannot match. The scope is tried before any condition and cannot fail to
evaluate, so what is left out would neither have decided nor been an error: a slice answers as the whole does, by the
same ids (held by a property test, `test_policy_slices`). Conditions are not looked at. What a question's principal,
action and resource lie in is read from the very entities that the engine has, and never from elsewhere. Leaves out
templates, which are refused at loading; a scope of a kind not known here counts as one that matches everything.
Source: https://docs.cedarpolicy.com/auth/authorization.html, and cedarpy's typed trees (`cedarpy.pst`).
"""

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cedarpy import PolicySet, pst

from remit.policy.sight import WHOLE, looked_at

_LARGEST = 500  # policies; building one takes some 30 us each, and trying one 2 us: beyond this the whole set is asked
_MOST = 5_000  # policies in all slices that are kept: some 30 MB, measured at 6 KB each
Name = tuple[str, str]
Parents = Mapping[Name, tuple[Name, ...]]
"""What each entity is directly in; entities by type and id."""


def parents(entities: Iterable[Mapping[str, Any]]) -> Parents:
    """The parents that entities in the form of Cedar's JSON have, ids in their explicit form."""
    return {name_of(each["uid"]): tuple(map(name_of, each["parents"])) for each in entities}


def line(start: Mapping[str, str], above: Parents) -> tuple[Name, ...]:
    """An entity and all that it is in, itself first."""
    found = [name_of(start)]
    seen = set(found)
    for name in found:  # which grows while it is gone through
        for up in above.get(name, ()):
            if up not in seen:
                seen.add(up)
                found.append(up)
    return tuple(found)


def name_of(uid: Mapping[str, str]) -> Name:
    """An entity's name, of its explicit form."""
    return uid["type"], uid["id"]


def names(policies: Iterable[pst.Template], *, scopes: bool = True) -> frozenset[Name]:
    """Every entity that policies name in their conditions, and their `scopes`."""
    parts = (policy if scopes else policy.clauses for policy in policies)
    return frozenset(_written(each) for part in parts for each in pst.entity_uids(part))


def _written(entity: pst.EntityUid) -> Name:
    return str(entity.type), entity.id


class Slices:
    """A policy set that hands out its parts. Safe to share between threads."""

    def __init__(self, whole: PolicySet) -> None:
        """Raises `ValueError` for a set that the engine cannot take apart."""
        self.whole = whole
        self._trees = tuple(whole.to_pst().static_policies.items())
        self._all = (1 << len(self._trees)) - 1
        # sets of policies are integers, bit N for the policy at place N: a thousand of them are met in microseconds
        self._principals = _index((tree.principal for _, tree in self._trees), self._all)
        self._actions = _index((tree.action for _, tree in self._trees), self._all)
        self._resources = _index((tree.resource for _, tree in self._trees), self._all)
        self._looking: dict[str, int] = {}
        for place, (_, tree) in enumerate(self._trees):
            for attribute in looked_at(tree):
                self._looking[attribute] = self._looking.get(attribute, 0) | 1 << place
        self._kept: OrderedDict[int, PolicySet] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def part(self, principal: tuple[Name, ...], action: tuple[Name, ...], resource: tuple[Name, ...]) -> PolicySet:
        """All policies whose scope matches, with their ids of the whole set; each argument is a `line`."""
        return self.taken(self.matching(principal, action, resource))

    def matching(self, principal: tuple[Name, ...], action: tuple[Name, ...], resource: tuple[Name, ...]) -> int:
        """The same as an integer, which `taken`, `ids` and `look_at` take."""
        wanted = self._principals.matching(principal)
        wanted &= self._actions.matching(action)
        wanted &= self._resources.matching(resource)
        return wanted

    def ids(self, wanted: int) -> frozenset[str]:
        """The ids of a part's policies."""
        return frozenset(self._trees[place][0] for place in _places(wanted))

    def look_at(self, wanted: int, attribute: str) -> bool:
        """Whether any of a part's policies looks at this attribute of the context."""
        return bool(wanted & (self._looking.get(attribute, 0) | self._looking.get(WHOLE, 0)))

    def taken(self, wanted: int) -> PolicySet:
        """A part's policies; it may be the whole set, which says the same."""
        size = wanted.bit_count()
        if wanted == self._all or size > _LARGEST:
            return self.whole
        with self._lock:
            if wanted in self._kept:
                self._kept.move_to_end(wanted)
                return self._kept[wanted]
        made = self._made(wanted)
        with self._lock:
            if wanted not in self._kept:
                self._kept[wanted] = made
                self._held += size
            while self._held > _MOST:
                self._held -= self._kept.popitem(last=False)[0].bit_count()
        return made

    def _made(self, wanted: int) -> PolicySet:
        trees = pst.FrozenMap(dict(self._trees[place] for place in _places(wanted)))
        return PolicySet.from_pst(pst.PolicySet(pst.FrozenMap(), trees, ()))


def _places(wanted: int) -> Iterator[int]:
    """Which bits are set, lowest first."""
    while wanted:
        lowest = wanted & -wanted
        yield lowest.bit_length() - 1
        wanted ^= lowest


def _bits() -> defaultdict[Name, int]:
    return defaultdict(int)


@dataclass(slots=True)
class _Index:
    """The policies by what one part of their scope demands. `unplaced`, `unkinded`: those that demand nothing of it."""

    unplaced: int
    unkinded: int
    at: defaultdict[Name, int] = field(default_factory=_bits)
    below: defaultdict[Name, int] = field(default_factory=_bits)
    kinds: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def matching(self, line_: tuple[Name, ...]) -> int:
        own = line_[0]
        placed = self.unplaced | self.at.get(own, 0)
        for name in line_:
            placed |= self.below.get(name, 0)
        return placed & (self.unkinded | self.kinds.get(own[0], 0))


def _index(scopes: Iterable[pst.PrincipalOrResourceConstraint | pst.ActionConstraint], all_: int) -> _Index:
    index = _Index(all_, all_)
    for place, scope in enumerate(scopes):
        bit = 1 << place
        match scope:
            case pst.ScopeEq(entity=pst.EntityUid() as entity) | pst.ActionEq(entity=entity):
                index.unplaced &= ~bit
                index.at[_written(entity)] |= bit
            case pst.ScopeIn(entity=pst.EntityUid() as entity) | pst.ScopeIsIn(entity=pst.EntityUid() as entity):
                index.unplaced &= ~bit
                index.below[_written(entity)] |= bit
            case pst.ActionIn(entities=entities):
                index.unplaced &= ~bit
                for entity in entities:
                    index.below[_written(entity)] |= bit
        if isinstance(scope, pst.ScopeIs | pst.ScopeIsIn):
            index.unkinded &= ~bit
            index.kinds[str(scope.entity_type)] |= bit
    return index
