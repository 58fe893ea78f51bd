"""The people and workloads of policy tests: identities that no provider has to vouch for.

They exist in tests only: nothing that decides for real imports this module.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as fields_of

from remit.model.identity import Authentication, Device, Identity, Kind, Principal
from remit.policy.trials.written import Fields

_TENANT = "00000000-0000-4000-8000-000000000000"
_OBJECT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEY = re.compile(r"[^/\s]+/\S+")
_LIFE = 3600  # seconds that the token of a test holds

_STRENGTH = ("methods", "contexts", "capabilities", "signed_in", "device")
_DEVICE = tuple(each.name for each in fields_of(Device))
WORKLOAD = ("id", "groups", "roles", "attributes", "home")
PERSON = (*WORKLOAD, *_STRENGTH, "guest")
"""What may be said of a workload, and of a person."""


@dataclass(frozen=True, slots=True)
class Strength:
    """How somebody signed in, and from what. `age`: seconds since, `None` when nobody says."""

    methods: frozenset[str] = frozenset()
    contexts: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    age: int | None = 0
    device: Device = field(default=Device())

    def changed(self, around: Fields) -> "Strength":
        """The same with what is said there in its place."""
        age = self.age
        if "signed_in" in around:
            age = None if around.raw("signed_in") == "unknown" else around.seconds("signed_in")
        sets = {
            name: frozenset(around.texts(name)) if name in around else getattr(self, name)
            for name in ("methods", "contexts", "capabilities")
        }
        device = _device(around.fields("device", _DEVICE)) if "device" in around else self.device
        return Strength(**sets, age=age, device=device)


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody of whom tests speak."""

    name: str
    principal: Principal
    groups: frozenset[str]
    roles: frozenset[str]
    guest: bool
    home: str
    attributes: tuple[tuple[str, str], ...]
    strength: Strength

    def identity(self, now: int, around: Fields) -> Identity:
        """Them at a time (seconds since the epoch), with what a test says of this one sign-in."""
        strength = self.strength.changed(around)
        at = now - strength.age if strength.age is not None and self.principal.kind is Kind.PERSON else 0
        return Identity(
            principal=self.principal,
            display=self.name,
            groups=self.groups,
            groups_at=now,
            roles=self.roles,
            scopes=frozenset(),
            client="",
            authentication=Authentication(strength.methods, strength.contexts, strength.capabilities, at),
            guest=self.guest,
            issued_at=now,
            expires_at=now + _LIFE,
            token_id="",
            home=self.home,
            device=strength.device,
            attributes=self.attributes,
        )


def actor(name: str, given: Fields, groups: Mapping[str, str], *, person: bool) -> Actor:
    """Somebody as a file describes them. `groups`: ids by the names that the file uses."""
    key = given.text("id", f"{_TENANT}/{name}")
    if not _KEY.fullmatch(key):
        given.complain("id", "must be `TENANT/OBJECT-ID`")
    tenant, _, subject = key.partition("/")
    tags = given.fields("attributes")
    usual = Strength(frozenset({"pwd"}), capabilities=frozenset({"cp1"})) if person else Strength()
    return Actor(
        name=name,
        principal=Principal("", tenant, subject, Kind.PERSON if person else Kind.WORKLOAD),
        groups=frozenset(_groups(given, groups)),
        roles=frozenset(given.texts("roles")),
        guest=given.flag("guest"),
        home=given.text("home"),
        attributes=tuple(sorted((tag, tags.text(tag)) for tag in tags)),
        strength=usual.changed(given),
    )


def _groups(given: Fields, groups: Mapping[str, str]) -> list[str]:
    found = []
    for index, one in enumerate(given.texts("groups")):
        if one not in groups and not _OBJECT_ID.fullmatch(one):
            given.complain_of("groups", index, f"`{one}` is no group under `given.groups`, and no object id")
        found.append(groups.get(one, one))
    return found


def _device(given: Fields) -> Device:
    return Device(
        id=given.text("id"),
        managed=given.flag("managed"),
        compliant=given.flag("compliant"),
        known_network=given.flag("known_network"),
    )
