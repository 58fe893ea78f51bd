"""IAM policies over REST: shown, checked as Google checks them, and changed against their etag.

Version 3 with conditions, audit configurations by update mask. Left out: invitations of owners, the last owner (whom
Google lets a project without an organisation lose), the size in bytes. Sources: cloud.google.com/iam/docs/reference/
rest/v1/Policy, cloud.google.com/iam/docs/allow-policies, cloud.google.com/iam/quotas. Sentences that Google does not
document are ours.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from grpc import StatusCode

from remit.lab import contoso, google_conditions
from remit.lab.errors import CloudError
from remit.lab.google_estate import Condition, Estate, Line, Policy
from remit.lab.google_members import member_problem
from remit.lab.google_wire import etag, invalid, members, text
from remit.lab.roles import known_roles

POLICY = ("version", "etag", "bindings", "auditConfigs")
_VERSIONS = (0, 1, 3)
_CONDITIONS = 3  # the version that has them
_MOST = 1500  # members of one policy
_LOGS = ("ADMIN_READ", "DATA_READ", "DATA_WRITE")
_BASIC = ("roles/owner", "roles/editor", "roles/viewer")


class Policies:
    """The policies of an estate."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate

    def show(self, resource: str, version: int = 1) -> dict[str, Any]:
        """The policy set on exactly this resource, as it is seen. `version`: the highest that is asked for."""
        if version not in _VERSIONS:
            raise invalid("Requested policy version must be 0, 1 or 3.")
        return describe(self._estate.policies.seen(self._estate.key(resource)) or Policy(), version)

    def put(self, resource: str, given: Mapping[str, Any], mask: str = "") -> tuple[Policy, Policy]:
        """Write a policy and return what was and what is; raises `CloudError` and changes nothing then.

        `given`: as REST has it; `mask`: `bindings` and `auditConfigs`, the former when it is empty.
        """
        # 1 the form
        members(given, POLICY, "policy.")
        paths = {path.strip() for path in mask.split(",") if path.strip()} or {"bindings", "etag"}
        if not paths <= set(POLICY):
            raise invalid(f"Invalid update mask: {mask}")
        version = given.get("version") or 1
        if version not in _VERSIONS:
            raise invalid("Policy version must be 0, 1 or 3.")
        # 2 nobody else wrote meanwhile
        key = self._estate.key(resource)
        before = self._estate.policies.written(key) or Policy()
        self._check_etag(before, given.get("etag") or "", version)
        # 3 what it says
        lines, audits = before.lines, before.audits
        if "bindings" in paths:
            lines = self._lines(resource, given.get("bindings") or [], before, version)
        if "auditConfigs" in paths:
            audits = _audits(given.get("auditConfigs") or [])
        after = Policy(lines, audits, self._estate.next())
        self._estate.policies.put(key, after)
        return before, after

    def _check_etag(self, before: Policy, given: str, version: int) -> None:
        if not given:
            return
        if given != etag(before.revision):
            raise CloudError(
                StatusCode.ABORTED,
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential "
                f"backoff. The request's ETag '{given}' did not match the current policy's ETag "
                f"'{etag(before.revision)}'.",
            )
        if version != _CONDITIONS and any(line.condition for line in before.lines):
            raise invalid("The policy has conditional bindings: its version must be 3.")

    def _lines(self, resource: str, given: object, before: Policy, version: int) -> tuple[Line, ...]:
        if not isinstance(given, list):
            raise invalid("Invalid value at 'policy.bindings'.")
        found: dict[tuple[str, Condition | None], set[str]] = {}
        old = {member for line in before.lines for member in line.members}
        for each in given:
            binding = members(each, ("role", "members", "condition"), "policy.bindings.")
            role, condition = str(binding.get("role") or ""), _condition(binding.get("condition"))
            self._check_role(resource, role, condition, before)
            if condition and version != _CONDITIONS:
                raise invalid("A policy with conditional bindings must have version 3.")
            who = binding.get("members") or []
            if not isinstance(who, list) or not all(isinstance(name, str) for name in who):
                raise invalid("Invalid value at 'policy.bindings.members'.")
            for name in who:
                problem = "" if name in old else member_problem(self._estate, name, resource)
                if problem:
                    raise invalid(problem)
            found.setdefault((role, condition), set()).update(who)
        count = sum(map(len, found.values()))
        if count > _MOST:
            raise invalid(
                f"The number of members in the policy ({count:,}) is larger than the maximum allowed size {_MOST:,}."
            )
        return tuple(Line(role, tuple(sorted(who)), condition) for (role, condition), who in found.items() if who)

    def _check_role(self, resource: str, role: str, condition: Condition | None, before: Policy) -> None:
        if condition and role in _BASIC:
            raise invalid("Conditions can't be set on primitive roles")
        if any(line.role == role for line in before.lines):
            return
        if role.startswith("projects/"):
            owner, found = contoso.owner(resource), self._estate.role(role)
            of_project = owner is not None and role.startswith(f"projects/{owner.id}/roles/")
            if found is None or found.deleted or not of_project:
                raise invalid(f"Role {role} does not exist in the resource's hierarchy.")
            return
        on_bucket, on_account = resource.startswith("projects/_/buckets/"), "/serviceAccounts/" in resource
        fits = role.startswith("roles/storage.") if on_bucket else role.startswith("roles/iam.") or role in _BASIC
        if role not in known_roles() or ((on_bucket or on_account) and not fits):
            raise invalid(f"Role {role} is not supported for this resource.")


def describe(policy: Policy, version: int = 1) -> dict[str, Any]:
    """A policy as REST shows it: to whom asks for no conditions, conditional roles under names of their own."""
    lines = []
    for line in policy.lines:
        shown: dict[str, Any] = {"role": line.role, "members": list(line.members)}
        if line.condition and version == _CONDITIONS:
            shown["condition"] = _expression(line.condition)
        elif line.condition:
            mark = hashlib.sha256(repr(line.condition).encode()).hexdigest()[:20]
            shown["role"] = f"{line.role}_withcond_{mark}"
        lines.append(shown)
    conditional = version == _CONDITIONS and any(line.condition for line in policy.lines)
    found: dict[str, Any] = {"version": _CONDITIONS if conditional else 1, "etag": etag(policy.revision)}
    found |= {"bindings": lines} if lines else {}
    audits = [{"service": service, "auditLogConfigs": [_log(*log) for log in logs]} for service, logs in policy.audits]
    return found | ({"auditConfigs": audits} if audits else {})


def delta(before: Policy, after: Policy) -> dict[str, Any]:
    """What changed, as Cloud Audit Logs tell it (google.iam.v1.logging.AuditData)."""
    old, new = _grants(before), _grants(after)
    bindings = [
        {"action": action, "role": role, "member": member} | ({"condition": _expression(on)} if on else {})
        for action, found in (("REMOVE", old - new), ("ADD", new - old))
        for role, member, on in sorted(found, key=repr)
    ]
    kept, asked = _kept(before), _kept(after)
    audits = [
        {"action": action, "service": service, "logType": log} | ({"exemptedMember": who} if who else {})
        for action, found in (("REMOVE", kept - asked), ("ADD", asked - kept))
        for service, log, who in sorted(found)
    ]
    changed = ({"bindingDeltas": bindings} if bindings else {}) | ({"auditConfigDeltas": audits} if audits else {})
    return {"@type": "type.googleapis.com/google.iam.v1.logging.AuditData", "policyDelta": changed}


def _grants(policy: Policy) -> set[tuple[str, str, Condition | None]]:
    return {(line.role, member, line.condition) for line in policy.lines for member in line.members}


def _kept(policy: Policy) -> set[tuple[str, str, str]]:
    return {(service, log, who) for service, logs in policy.audits for log, exempted in logs for who in ("", *exempted)}


def _expression(condition: Condition) -> dict[str, str]:
    found = {"expression": condition.expression, "title": condition.title}
    more = {"description": condition.description, "location": condition.location}
    return found | {name: value for name, value in more.items() if value}


def _log(kind: str, exempted: tuple[str, ...]) -> dict[str, Any]:
    return {"logType": kind} | ({"exemptedMembers": list(exempted)} if exempted else {})


def _condition(given: object) -> Condition | None:
    if given is None:
        return None
    found = members(given, ("expression", "title", "description", "location"), "policy.bindings.condition.")
    title = text(found, "title", 100)
    expression = text(found, "expression", 1 << 20)
    problem = google_conditions.problem(expression) or ("" if title else "The condition's title is empty.")
    if problem:
        raise invalid(problem)
    return Condition(expression, title, text(found, "description", 256), text(found, "location", 256))


def _audits(given: object) -> tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...]:
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for each in given if isinstance(given, list) else [None]:
        config = members(each, ("service", "auditLogConfigs"), "policy.auditConfigs.")
        service = str(config.get("service") or "")
        if service != "allServices" and not service.endswith(".googleapis.com"):
            raise invalid(f"Invalid service in the audit configuration: {service}")
        logs = found.setdefault(service, {})
        for log in config.get("auditLogConfigs") or []:
            shape = members(log, ("logType", "exemptedMembers"), "policy.auditConfigs.auditLogConfigs.")
            if shape.get("logType") not in _LOGS:
                raise invalid(f"Invalid log type in the audit configuration: {shape.get('logType')}")
            logs[shape["logType"]] = tuple(sorted(map(str, shape.get("exemptedMembers") or ())))
    return tuple((service, tuple(sorted(logs.items()))) for service, logs in found.items() if logs)
