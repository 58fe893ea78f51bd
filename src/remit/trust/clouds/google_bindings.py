"""IAM policies as documents: who may do what, and what is logged; read and edited without touching the rest.

Pure. An edit answers whether it changed anything; conditions, exemptions and lines of others stay as they are. Sources:
cloud.google.com/iam/docs/reference/rest/v1/Policy, cloud.google.com/logging/docs/audit/configure-data-access.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from remit.trust.things import Fields, Value

Edit = Callable[[dict[str, Any]], bool]

EVERY_SERVICE = "allServices"
_BUT = " but not of "


def lines(policy: Mapping[str, Any], resource: str) -> Iterator[Fields]:
    """Every member of every line, as the fields of a binding."""
    for line in policy.get("bindings", ()):
        for member in line.get("members", ()):
            yield {
                "resource": resource,
                "role": str(line.get("role", "")),
                "member": str(member),
                "condition": _condition(line),
            }


def added(fields: Fields) -> Edit:
    """Adds one member to the line of its role and condition."""

    def edit(policy: dict[str, Any]) -> bool:
        same = _lines_like(policy, fields)
        if any(fields["member"] in line.get("members", ()) for line in same):
            return False
        if same:
            same[0]["members"] = [*same[0].get("members", ()), fields["member"]]
        else:
            line: dict[str, Any] = {"role": fields["role"], "members": [fields["member"]]}
            condition = fields["condition"]
            line |= {"condition": dict(condition)} if isinstance(condition, Mapping) else {}
            policy["bindings"] = [*policy.get("bindings", ()), line]
        return True

    return edit


def dropped(fields: Fields) -> Edit:
    """Takes one member out of every line of its role and condition."""

    def edit(policy: dict[str, Any]) -> bool:
        with_it = [line for line in _lines_like(policy, fields) if fields["member"] in line.get("members", ())]
        for line in with_it:
            line["members"] = [member for member in line["members"] if member != fields["member"]]
        policy["bindings"] = [line for line in policy.get("bindings", ()) if line.get("members")]
        return bool(with_it)

    return edit


def both(first: Edit, second: Edit) -> Edit:
    """One edit after the other, in one writing."""
    return lambda policy: any([first(policy), second(policy)])


def _lines_like(policy: Mapping[str, Any], fields: Fields) -> list[dict[str, Any]]:
    return [
        line
        for line in policy.get("bindings", ())
        if line.get("role") == fields["role"] and _condition(line) == fields["condition"]
    ]


def _condition(line: Mapping[str, Any]) -> Value:
    found = line.get("condition")
    return {"title": str(found.get("title", "")), "expression": str(found.get("expression", ""))} if found else None


def audits(policy: Mapping[str, Any], project: str, services: frozenset[str]) -> Iterator[Fields]:
    """What is logged of the services; of `allServices`, whose exemptions hold for each, only if it has some."""
    for entry in policy.get("auditConfigs", ()):
        service = str(entry.get("service", ""))
        types = tuple(sorted(map(_type, entry.get("auditLogConfigs", ()))))
        if service in services or (service == EVERY_SERVICE and any(_BUT in each for each in types)):
            yield {"project": project, "service": service, "logTypes": types}


def _type(entry: Mapping[str, Any]) -> str:
    exempted = ", ".join(sorted(map(str, entry.get("exemptedMembers", ()))))
    return f"{entry.get('logType', '')}{_BUT + exempted if exempted else ''}"


def audited(fields: Fields) -> Edit:
    """Sets what is logged of a service, with nobody exempted."""
    logged = fields["logTypes"]
    types = sorted(map(str, logged)) if isinstance(logged, tuple) else []
    wanted = [{"logType": each} for each in types]

    def edit(policy: dict[str, Any]) -> bool:
        rest = [each for each in policy.get("auditConfigs", ()) if each.get("service") != fields["service"]]
        same = [each for each in policy.get("auditConfigs", ()) if each.get("service") == fields["service"]]
        if len(same) == 1 and sorted(map(_type, same[0].get("auditLogConfigs", ()))) == types:
            return False
        policy["auditConfigs"] = [*rest, {"service": fields["service"], "auditLogConfigs": wanted}]
        return True

    return edit


def unaudited(fields: Fields) -> Edit:
    """Ends what is logged of a service; of `allServices` only the exemptions, since the rest is not of the trust."""

    def edit(policy: dict[str, Any]) -> bool:
        before = policy.get("auditConfigs", ())
        after = []
        for each in before:
            if each.get("service") != fields["service"]:
                after.append(each)
            elif fields["service"] == EVERY_SERVICE:
                types = [{"logType": one.get("logType")} for one in each.get("auditLogConfigs", ())]
                after.append({**each, "auditLogConfigs": types})
        policy["auditConfigs"] = after
        return list(before) != after

    return edit
