"""The record: the durable entry of a decision, made before its effect, and of what became known of the effect later.

A record is a flat JSON object of strings, integers and lists of strings, so that its canonical form
(RFC 8785) is plain sorted JSON. Never in it: a token, a body, a query string.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from remit.model.causes import Cause
from remit.model.decision import Decision
from remit.model.identity import Identity
from remit.model.operation import Request
from remit.model.reasons import Reason

Value = str | int | list[str]


@dataclass(frozen=True, slots=True)
class Recorded:
    """Proof that an entry is durable: its index in the ledger's tree."""

    index: int


def decision_record(decision: Decision) -> Mapping[str, Value]:
    """The `decision/1` entry of one decision, refusals as fully as permits."""
    verdict = decision.verdict
    return {
        "type": "decision",
        "schema": "decision/1",
        "decision": decision.id,
        "at": decision.at,
        "outcome": str(verdict.outcome),
        "reasons": [str(reason) for reason in verdict.reasons],
        "detail": verdict.detail,
        "policies": [policy.id for policy in verdict.policies],
        "policy_version": verdict.policy_version,
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
        **_who(decision.identity),
        **_what(decision.request),
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
        return {"principal": ""}
    return {
        "principal": identity.principal.key,
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
