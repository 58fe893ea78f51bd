"""What the clouds hold against what remit.yaml says, as hops: applications, credentials, pool, providers, accounts.

Pure. What holds is told in one line for each kind, what does not by its name and with its cure.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from remit.model.counts import counted
from remit.trust.planning.conditions import admits_only_remit
from remit.trust.planning.matching import Matched, differing
from remit.trust.planning.plan import plain
from remit.trust.planning.words import listed, whom
from remit.trust.settings import TrustSettings
from remit.trust.things import Found, Thing, Value, refs
from remit.trust.verifying.findings import Hop

_ROLE = "google.role"  # matters where it is bound, and a binding that is not there is a finding (`bindings`)
_MANY = 30  # entries of a list that is told whole
_PLAN = "`remit trust plan` shows the change, and `remit trust apply` makes it"
_HOPS: Mapping[str, tuple[str, str, str]] = {
    "entra.application": (
        "entra-application",
        "application is as remit.yaml says",
        "applications are as remit.yaml says",
    ),
    "entra.principal": (
        "entra-principal",
        "service principal is there, and enabled",
        "service principals are there, and enabled",
    ),
    "entra.federation": (
        "entra-credential",
        "federated credential trusts whom it should",
        "federated credentials trust whom they should",
    ),
    "entra.consent": (
        "entra-consent",
        "permission at Microsoft Graph is consented to",
        "permissions at Microsoft Graph are consented to",
    ),
    "entra.delegation": (
        "entra-delegation",
        "application of Remit's may act as people elsewhere",
        "applications of Remit's may act as people elsewhere",
    ),
    "google.pool": ("google-pool", "pool is there, and enabled", "pools are there, and enabled"),
    "google.provider": (
        "google-provider",
        "provider accepts whom it should, and nobody else",
        "providers accept whom they should, and nobody else",
    ),
    "google.account": (
        "google-account",
        "service account is there, and enabled",
        "service accounts are there, and enabled",
    ),
    "google.role": (
        "google-role",
        "custom role holds what the policy permits, and nothing else",
        "custom roles hold what the policy permits, and nothing else",
    ),
    "google.audit": ("google-audit", "log keeps who did what, of everybody", "logs keep who did what, of everybody"),
}
"""Kind → the hop's name, and what is said of one that holds, and of several."""

_NONE: Mapping[str, str] = {"entra.delegation": "no application of Remit's may act as anybody elsewhere"}
"""Kind of which nothing is wanted → what is said when nothing is there."""

_CURES: Mapping[tuple[str, str], str] = {
    ("entra.application", "preauthorized"): "only the one client that remit.yaml says may obtain tokens for it",
    ("entra.application", "roles"): "an app role that is not there is in nobody's token",
    ("entra.principal", "enabled"): "enable it: until then there is no token by it, or for it",
    ("google.pool", "disabled"): "enable the pool: until then nobody reaches Google",
    ("google.provider", "disabled"): "enable the provider: until then its tokens are refused",
    ("google.provider", "issuer"): "it trusts another issuer, or another tenant",
    ("google.provider", "audiences"): "it has to take tokens for the second audience, and no others",
    ("google.provider", "condition"): "otherwise a caller could exchange a token without Remit, or Remit could not",
    ("google.provider", "mapping"): "otherwise one principal could be taken for another",
    ("google.account", "disabled"): "enable it: until then nobody works as it",
}


def hops(match: Matched, kinds: Sequence[str], settings: TrustSettings) -> Iterator[Hop]:
    """A hop for each kind that holds, and one for each thing that does not."""
    for kind in kinds:
        name, *good = _HOPS[kind]
        pairs = [(thing, one) for thing, one in match.pairs if thing.address.kind == kind and (one or kind != _ROLE)]
        broken = [hop for thing, one in pairs for hop in _one(name, thing, one, settings)]
        if kind != _ROLE:
            broken += [_unwanted(name, one) for one in match.rest if one.address.kind == kind]
        yield from broken
        if kind in _NONE and not broken:
            yield Hop(name, holds=True, said=_NONE[kind])
        if pairs and not broken:
            unknown = any(any(refs(value)) for thing, _ in pairs for value in thing.fields.values())
            said = f"{counted(len(pairs), *good)}{', as far as ids of Entra do not have to tell' if unknown else ''}"
            yield Hop(name, holds=True, said=said, walked=not unknown)


def _one(name: str, thing: Thing, one: Found | None, settings: TrustSettings) -> Iterator[Hop]:
    kind, short = thing.address.kind, _short(thing.address.name)
    if one is None:
        yield Hop(f"{name} {short}", holds=False, said=f"there is no `{thing.address}`", cure=_PLAN)
        return
    fields = () if thing.given else differing(kind, one.fields, thing.fields)
    for field in fields:
        if any(refs(thing.fields.get(field))):
            continue  # with what it is to be compared nobody said
        if field == "condition" and admits_only_remit(one.fields, settings):
            continue  # the same in other words
        there, wanted = _both(one.fields.get(field), thing.fields.get(field))
        why = _CURES.get((kind, field), "")
        cure = f"set `{field}` to {wanted}{f': {why}' if why else ''}; {_PLAN}"
        yield Hop(f"{name} {short}", holds=False, said=f"its `{field}` is {there}", cure=cure)


def _unwanted(name: str, one: Found) -> Hop:
    """More than remit.yaml says: a second tenant's provider, a credential that trusts somebody else."""
    fields = one.fields
    if one.address.kind == "entra.delegation":
        application = str(fields["application"])
        said = f"it may act as {whom(fields)} at {fields['api']}: {listed(fields['scopes'])}"
        return Hop(f"{name} {application}", holds=False, said=said, cure=f"remove it; {_PLAN}")
    issuer = f" trusts `{fields['issuer']}`," if fields.get("issuer") else ""
    subject = f" `{fields['subject']}`," if fields.get("subject") else ""
    said = f"`{_short(one.address.name)}`{issuer}{subject} and remit.yaml knows nothing of it"
    return Hop(f"{name} {_short(one.address.name)}", holds=False, said=said, cure=f"remove it; {_PLAN}")


def issuer_keys(document: Mapping[str, Any], own: Sequence[Mapping[str, Any]]) -> Iterator[Hop]:
    """The keys that Google has of Remit's own issuer, against those that it signs with. `document`: the provider's."""
    uploaded = str((document.get("oidc") or {}).get("jwksJson") or "")
    if not uploaded:
        yield Hop("google-keys", holds=True, said="Google reads the keys of Remit's own issuer from its address")
        return
    known, mine = _numbers(uploaded), {_number(key): str(key.get("kid")) for key in own}
    lacking = sorted(kid for number, kid in mine.items() if number not in known)
    cure = "`remit trust rotate keys` uploads them, as somebody who may change the provider"
    if lacking:
        unknown = f"{len(lacking)} of {counted(len(mine), 'key')}"
        said = f"the key set is stale: Google does not know {unknown}, `{lacking[0]}` first"
        yield Hop("google-keys", holds=False, said=said, cure=cure)
    elif strange := len(known - mine.keys()):
        said = f"the key set is stale: Google still takes {counted(strange, 'key')} that Remit does not have"
        cure = "find out whose they are, then upload Remit's alone: docs/operating.md, keys of the own issuer"
        yield Hop("google-keys", holds=False, said=said, cure=cure)
    else:
        yield Hop("google-keys", holds=True, said=f"Google knows the {counted(len(mine), 'key')} of Remit's own issuer")


def _number(key: Mapping[str, Any]) -> tuple[str, str]:
    """What makes a key this one: with another exponent it is anybody's."""
    return str(key.get("n")), str(key.get("e"))


def _numbers(text: str) -> set[tuple[str, str]]:
    try:
        return {_number(key) for key in json.loads(text)["keys"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def _both(before: Value, after: Value) -> tuple[str, str]:
    """What is there and what is wanted; of long lists what only one of them has."""
    if not (isinstance(before, tuple) and isinstance(after, tuple) and max(len(before), len(after)) > _MANY):
        return _shown(before), _shown(after)
    more = _shown(tuple(each for each in before if each not in after))
    less = _shown(tuple(each for each in after if each not in before))
    return f"not what is wanted: more by {more}, less by {less}", "what is wanted"


def _shown(value: Value) -> str:
    found = plain(value)
    if isinstance(found, str):
        return f"`{found}`" if found else "empty"
    if isinstance(found, list | tuple):
        return ", ".join(f"`{each}`" for each in found) or "empty"
    return f"`{json.dumps(found)}`"


def _short(name: str) -> str:
    """The last part of a resource's name; applications' names have a slash of their own."""
    return name.rpartition("/")[2] if name.startswith("projects/") else name
