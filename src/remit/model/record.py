"""The record: the durable entry of a decision, made before its effect, and of what became known of the effect later.

A record is a flat JSON object of strings, integers and lists of strings, so that its canonical form
(RFC 8785) is plain sorted JSON. Never in it: a token, a body, a query string.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from remit.model.causes import Cause
from remit.model.decision import Decision
from remit.model.identity import Device, Identity
from remit.model.obligation import REDACTABLE
from remit.model.operation import Request
from remit.model.reasons import Reason
from remit.model.snapshot import write_facts

Value = str | int | list[str]

FACTS_LIMIT = 24 << 10
"""Bytes of `facts` in a record, beyond which they are left out: an entry has 64 KiB, and a request that touches
hundreds of resources names each of them in the other fields too. Such a decision is recorded, and never replayed."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Proof that an entry is durable: its index in the ledger's tree."""

    index: int


def decision_record(decision: Decision) -> Mapping[str, Value]:
    """The `decision/1` entry of one decision, refusals as fully as permits.

    What obligations redact is blank in every field of it, and named in `redacted`; raises `ValueError` for what cannot
    be redacted.
    """
    verdict = decision.verdict
    decision = _redacted(decision, verdict.obligations.redact)
    return {
        "type": "decision",
        "schema": "decision/1",
        "decision": decision.id,
        "at": decision.at,
        "outcome": str(verdict.outcome),
        "reasons": [str(reason) for reason in verdict.reasons],
        "detail": verdict.detail,
        "hint": verdict.hint,
        "policies": [policy.id for policy in verdict.policies],
        "policy_version": verdict.policy_version,
        "obligations": list(verdict.obligations.rules),
        "redacted": sorted(verdict.obligations.redact),
        "grants": list(verdict.grants),
        "challenge": verdict.challenge,
        "not_before": verdict.not_before,
        "peer": decision.circumstances.peer,
        "country": decision.circumstances.country,
        "locations": sorted(decision.circumstances.locations),
        "locations_known": int(decision.circumstances.locations_known),
        "risk": decision.circumstances.risk,
        "job": decision.circumstances.job,
        "epoch": decision.circumstances.epoch,
        "method": decision.wire_method,
        "host": decision.wire_host,
        "path": decision.wire_path,
        "account": decision.account,
        "facts": _facts(decision),
        **_who(decision.identity),
        **_what(decision.request),
    }


def membership_digest(identity: Identity) -> str:
    """What a record names the groups and roles of an identity by."""
    return _known_digest(identity.groups, identity.roles)


@lru_cache(1_000)  # of thousands of groups it takes milliseconds, and every decision asks for it twice
def _known_digest(groups: frozenset[str], roles: frozenset[str]) -> str:
    return digest_of(groups, roles)


def digest_of(groups: Iterable[str], roles: Iterable[str]) -> str:
    """SHA-256 over how many groups there are, each one sorted, and each role likewise, all with their lengths; hex."""
    whole = hashlib.sha256()
    for members in (sorted(groups), sorted(roles)):
        whole.update(len(members).to_bytes(8, "big"))
        for each in members:
            data = each.encode("utf-8", "surrogatepass")
            whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()


def membership_record(digest: str, at: int, groups: int, roles: int) -> Mapping[str, Value]:
    """The `membership/1` entry: groups and roles that decisions were taken on, which are kept beside the ledger.

    `digest`: as in `digest_of`, which holds the lists to what they were; `groups`, `roles`: how many.
    """
    return {
        "type": "membership",
        "schema": "membership/1",
        "at": at,
        "digest": digest,
        "groups": groups,
        "roles": roles,
    }


def policies_record(version: str, at: int, digest: str, files: Iterable[str]) -> Mapping[str, Value]:
    """The `policies/1` entry: a set of policies from its first decision on, whose texts are kept beside the ledger.

    `digest`: SHA-256 over the texts; `files`: their names.
    """
    return {
        "type": "policies",
        "schema": "policies/1",
        "at": at,
        "version": version,
        "digest": digest,
        "files": sorted(files),
    }


def outcome_record(decision: Decision, at: int, hop: str, reason: Reason, message: str) -> Mapping[str, Value]:
    """The `outcome/1` entry: a permitted decision whose credential could not be had, so that nothing happened.

    `at`: microseconds since the epoch; `hop`: the one that failed, as in `HopFailed`.
    """
    return {
        "type": "outcome",
        "schema": "outcome/1",
        "decision": decision.id,
        "at": at,
        "hop": hop,
        "reason": str(reason),
        "detail": message,
    }


def answer_record(decision: str, at: int, status: int, cause: Cause, detail: str) -> Mapping[str, Value]:
    """The `answer/1` entry: a permitted request that its upstream refused, and the probable cause.

    `at`: when it was told, microseconds since the epoch; `status`: HTTP; `detail`: as in `Answered`.
    """
    return {
        "type": "answer",
        "schema": "answer/1",
        "decision": decision,
        "at": at,
        "status": status,
        "cause": str(cause),
        "detail": detail,
    }


def started_record(name: str, principal: str, decision: str, at: int) -> Mapping[str, Value]:
    """The `started/1` entry: what came into being by a permitted request, which belongs to its caller from then on.

    `name`: canonical; `principal`: `Principal.key`; `at`: when it was told, microseconds since the epoch.
    """
    return {
        "type": "started",
        "schema": "started/1",
        "decision": decision,
        "at": at,
        "principal": principal,
        "resource": name,
    }


def _who(identity: Identity | None) -> dict[str, Value]:
    if identity is None:
        return {"principal": "", "membership": ""}
    return {
        "principal": identity.principal.key,
        "membership": membership_digest(identity),
        "issuer": identity.principal.issuer,
        "kind": str(identity.principal.kind),
        "name": identity.display,
        "client": identity.client,
        "uti": identity.token_id,
        "session": identity.session,
        "groups_at": identity.groups_at,
        "amr": sorted(identity.authentication.methods),
        "acrs": sorted(identity.authentication.contexts),
        "auth_time": identity.authentication.at,
        "issued": identity.issued_at,
        "expires": identity.expires_at,
        "home": identity.home,
        "device": identity.device.id,
    }


def _what(request: Request | None) -> dict[str, Value]:
    if request is None:
        return {"action": ""}
    return {
        "action": request.first.action.id,
        "actions": [operation.action.id for operation in request.operations],
        "resource": request.first.resources[0].name,
        "resources": [resource.name for operation in request.operations for resource in operation.resources],
        "project": request.first.resources[0].project,
        "acts_as": [operation.acts_as for operation in request.operations if operation.acts_as],
        "starts": int(request.starts),
    }


def _facts(decision: Decision) -> str:
    """Empty where there is nothing to decide again, too much of it, or a text that no entry can hold."""
    if decision.identity is None or decision.request is None:
        return ""
    facts = write_facts(decision.identity, decision.request, decision.circumstances)
    try:
        size = len(json.dumps(facts, ensure_ascii=False).encode())  # with its quotes escaped, as in the record
    except UnicodeEncodeError:  # a lone surrogate
        return ""
    return facts if size <= FACTS_LIMIT else ""


def _redacted(decision: Decision, names: frozenset[str]) -> Decision:
    """The decision with these fields blank, wherever it holds them."""
    if not names:
        return decision
    if not names <= REDACTABLE:
        raise ValueError(f"`{min(names - REDACTABLE)}` cannot be redacted")
    around = decision.circumstances
    around = replace(around, peer="") if "peer" in names else around
    around = replace(around, country="") if "country" in names else around
    around = replace(around, locations=frozenset()) if "locations" in names else around
    return replace(
        decision,
        circumstances=around,
        identity=_anonymous(decision.identity, names) if decision.identity else None,
        request=_without_paths(decision.request) if decision.request and "path" in names else decision.request,
        wire_path="" if "path" in names else decision.wire_path,
    )


def _anonymous(identity: Identity, names: frozenset[str]) -> Identity:
    identity = replace(identity, display="") if "name" in names else identity
    identity = replace(identity, device=Device()) if "device" in names else identity
    return replace(identity, address="") if "peer" in names else identity  # where the token was obtained from


def _without_paths(request: Request) -> Request:
    return replace(request, operations=tuple(replace(operation, within="") for operation in request.operations))
