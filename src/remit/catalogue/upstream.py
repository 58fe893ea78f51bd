"""What an upstream's answer means: why Google said no to a permitted request, and what came into being by a yes.

A refusal is told by its `ErrorInfo` where it has one (REST), else by the older `errors[].reason`, else by its text,
which is all that a gRPC status has. Nothing is decided on it: it goes into the record and into a header, so that a
guess is worth having, and a text that fits nothing is `UNKNOWN`.
Sources: google/api/error_reason.proto, google/rpc/error_details.proto, cloud.google.com/apis/design/errors,
cloud.google.com/storage/docs/json_api/v1/status-codes, cloud.google.com/storage/docs/xml-api/reference-status,
cloud.google.com/vpc-service-controls/docs/troubleshooting.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from remit.catalogue.frame import LENGTH, Unclear, fields, payload
from remit.model.causes import Cause
from remit.model.wire import UpstreamAnswer

_LONGEST_DETAIL = 200
_LONGEST_TEXT = 4096  # characters of a message that are searched
_GRPC_STATUSES = {7: 403, 8: 429, 16: 401}

# Reasons in the domain `googleapis.com` (google/api/error_reason.proto), and the metadata that says most.
_BY_REASON: Mapping[str, tuple[Cause, str]] = MappingProxyType(
    {
        "IAM_PERMISSION_DENIED": (Cause.IAM, "permission"),
        "SERVICE_DISABLED": (Cause.API_DISABLED, "service"),
        "SERVICE_NOT_VISIBLE": (Cause.API_DISABLED, "service"),
        "BILLING_DISABLED": (Cause.API_DISABLED, "consumer"),
        "RATE_LIMIT_EXCEEDED": (Cause.QUOTA, "quota_metric"),
        "RESOURCE_QUOTA_EXCEEDED": (Cause.QUOTA, "quota_metric"),
        "EMULATOR_QUOTA_EXCEEDED": (Cause.QUOTA, "quota_metric"),
        "LOCATION_ORG_POLICY_VIOLATED": (Cause.REGION, "location"),
        "LOCATION_POLICY_VIOLATED": (Cause.REGION, "location"),
        "LOCATION_TAX_POLICY_VIOLATED": (Cause.REGION, "location"),
        "CONSUMER_INVALID": (Cause.WRONG_PROJECT, "consumer"),
        "CONSUMER_SUSPENDED": (Cause.WRONG_PROJECT, "consumer"),
        "GCP_SUSPENDED": (Cause.WRONG_PROJECT, "consumer"),
        "RESOURCE_PROJECT_INVALID": (Cause.WRONG_PROJECT, "resource"),
        "USER_PROJECT_DENIED": (Cause.WRONG_PROJECT, "consumer"),
        "ACCESS_TOKEN_EXPIRED": (Cause.TOKEN, ""),
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT": (Cause.TOKEN, "method"),
        "ACCESS_TOKEN_TYPE_UNSUPPORTED": (Cause.TOKEN, ""),
        "ACCOUNT_STATE_INVALID": (Cause.TOKEN, "email"),
        "ACCOUNT_TYPE_UNSUPPORTED": (Cause.TOKEN, ""),
        "CREDENTIALS_MISSING": (Cause.TOKEN, ""),
        "CREDENTIAL_TYPE_UNSUPPORTED": (Cause.TOKEN, ""),
        "JWT_TOKEN_INVALID": (Cause.TOKEN, ""),
        "OVERLOADED_CREDENTIALS": (Cause.TOKEN, ""),
        "SECURITY_POLICY_VIOLATED": (Cause.FIREWALL, "uid"),  # VPC Service Controls
        # An organisation's rules that are about neither place, network nor permission: named, and not guessed at.
        "ORG_RESTRICTION_VIOLATION": (Cause.UNKNOWN, ""),
        "RESOURCE_USAGE_RESTRICTION_VIOLATED": (Cause.UNKNOWN, "service"),
    }
)
# `errors[].reason` of APIs that are older than ErrorInfo, and `Code` of Storage's XML.
_BY_OLD_REASON: Mapping[str, Cause] = MappingProxyType(
    {
        "accessNotConfigured": Cause.API_DISABLED,
        "accountDisabled": Cause.API_DISABLED,
        "dailyLimitExceeded": Cause.QUOTA,
        "quotaExceeded": Cause.QUOTA,
        "rateLimitExceeded": Cause.QUOTA,
        "userRateLimitExceeded": Cause.QUOTA,
        "insufficientPermissions": Cause.TOKEN,
        "SecurityPolicyViolated": Cause.FIREWALL,
        "vpcServiceControls": Cause.FIREWALL,
        "UserProjectAccessDenied": Cause.WRONG_PROJECT,
        "userProjectAccessDenied": Cause.WRONG_PROJECT,
    }
)
_PERMISSION = r"[a-z][A-Za-z0-9]*(?:\.[A-Za-z0-9]+){1,4}"
# In this order: the rarer text first, since nearly all of them hold the word "permission". A group is the detail.
_BY_TEXT = tuple(
    (cause, re.compile(pattern))
    for cause, pattern in (
        (Cause.FIREWALL, r"vpcServiceControlsUniqueIdentifier: ([A-Za-z0-9_-]+)"),
        (Cause.FIREWALL, r"prohibited by organization's policy|violates VPC Service Controls|IP filtering condition"),
        (Cause.API_DISABLED, r"has not been used in project .*/apis/(?:api|library)/([a-z0-9.-]+)"),
        (Cause.API_DISABLED, r"([A-Z][A-Za-z ]{1,60} API) has not been used in project"),
        (Cause.API_DISABLED, r"requires billing to be enabled"),
        (Cause.QUOTA, r"[Qq]uota exceeded for (?:quota metric )?'?([A-Za-z0-9 ./_-]+)"),
        (Cause.QUOTA, r"exceed quota limits: ([A-Za-z0-9./_-]+)"),
        (Cause.QUOTA, r"[Rr]esource (?:has been )?exhausted|[Qq]uota .{0,40}exceeded|[Rr]ate limit exceeded"),
        (Cause.REGION, r"Permission denied on '(locations/[a-z0-9-]+)'"),
        (Cause.REGION, r"[Ll]ocation '?([a-z0-9-]+)'? is not found or access is unauthorized"),
        (Cause.REGION, r"(constraints/gcp\.resourceLocations)"),
        (Cause.REGION, r"not (?:supported|available) in (?:the )?(?:region|location) '?([a-z0-9-]+)"),
        (Cause.TOKEN, r"insufficient authentication scopes"),
        (Cause.TOKEN, r"[Ii]nvalid authentication credential|missing required authentication credential"),
        (Cause.WRONG_PROJECT, r"Permission denied on resource project ([A-Za-z0-9:._-]+?)\.?(?:\s|$)"),
        (Cause.WRONG_PROJECT, r"required permission to use project ([A-Za-z0-9:._-]+?)\.?(?:\s|$)"),
        (Cause.WRONG_PROJECT, r"Project '?([A-Za-z0-9:._/-]+?)'? (?:not found|has been deleted|was not found)"),
        (Cause.IAM, rf"[Pp]ermissions?:? ['\"`]?({_PERMISSION})['\"`]? (?:denied|for|on)"),
        (Cause.IAM, rf"(?:does not have|[Rr]equired|[Mm]issing)(?: permissions?:?)? ['\"`]?({_PERMISSION})\b"),
        (Cause.IAM, r"[Pp]ermission .{0,20}act as service.account"),
        (Cause.IAM, r"does not have (?:the )?(?:required )?permission|do not have permission|not authorized to"),
        (Cause.IAM, r"\bdoes not have .{1,80} access to|Access denied"),
    )
)
_XML_CODE = re.compile(rb"<Error>.{0,40}?<Code>([A-Za-z]{1,60})</Code>", re.DOTALL)
_TOO_LARGE = re.compile(r"larger than max")


@dataclass(frozen=True, slots=True)
class _Said:
    """A refusal taken apart: its `ErrorInfo`s, its older reasons, its text."""

    infos: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    older: tuple[str, ...] = ()
    text: str = ""


def cause_of(answer: UpstreamAnswer) -> tuple[Cause | None, str]:
    """Why Google refused, and the permission, API or quota that it named; `None` for what is no such refusal."""
    over_grpc = answer.grpc_status >= 0
    status = _GRPC_STATUSES.get(answer.grpc_status, 0) if over_grpc else answer.status
    if status not in _GRPC_STATUSES.values():
        return None, ""
    said = _Said(text=answer.message) if over_grpc else _said(answer.body)
    if over_grpc and status == _GRPC_STATUSES[8] and _TOO_LARGE.search(said.text):
        return None, ""  # gRPC's own word for a message that is too large
    cause, detail = _told(said)
    if status != _GRPC_STATUSES[7]:
        cause = Cause.TOKEN if status == _GRPC_STATUSES[16] else Cause.QUOTA
    return cause, _printable(detail)


def started_by(content_type: str, body: bytes) -> str:
    """The `name` in an answer of 2xx: of the operation or the job that came into being; empty for none."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        answer = _json(body)
        name = answer.get("name", "") if isinstance(answer, dict) else ""
        return name if isinstance(name, str) else ""
    return _field_one(body) if kind in {"application/grpc", "application/grpc+proto"} else ""


def _told(said: _Said) -> tuple[Cause, str]:
    for reason, metadata in said.infos:
        if reason in _BY_REASON:
            cause, key = _BY_REASON[reason]
            named = metadata.get(key)
            return cause, named if isinstance(named, str) and named else reason
    older = next((_BY_OLD_REASON[reason] for reason in said.older if reason in _BY_OLD_REASON), None)
    cause, detail = _read_text(said.text[:_LONGEST_TEXT])
    if older is not None:
        return older, detail if cause is older else ""
    return cause, detail


def _read_text(text: str) -> tuple[Cause, str]:
    flat = " ".join(text.split())
    for cause, pattern in _BY_TEXT:
        found = pattern.search(flat)
        if found:
            return cause, found[1].strip() if found.groups() else ""
    return Cause.UNKNOWN, ""


def _said(body: bytes) -> _Said:
    answer = _json(body)
    if isinstance(answer, list) and answer:
        answer = answer[0]  # a stream's answer is an array
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        code = _XML_CODE.search(body)
        older = (code[1].decode(),) if code else ()
        return _Said(older=older, text=body.decode("utf-8", "replace") if code else "")
    message = error.get("message")
    reasons = (one.get("reason") for one in _objects(error.get("errors")))
    return _Said(
        tuple(_infos(error)),
        tuple(reason for reason in reasons if isinstance(reason, str)),
        message if isinstance(message, str) else "",
    )


def _infos(error: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for detail in _objects(error.get("details")):
        reason, metadata = detail.get("reason"), detail.get("metadata")
        if isinstance(reason, str):
            yield reason, metadata if isinstance(metadata, dict) else {}


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    yield from (one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()


def _json(body: bytes) -> Any:
    """A JSON text in which no object names a key twice, `None` for anything else."""
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError
    return value


def _field_one(body: bytes) -> str:
    try:
        found = [field for field in fields(payload(body)) if field.number == 1]
        if len(found) != 1 or found[0].wire != LENGTH:
            return ""
        return bytes(found[0].content).decode("utf-8")
    except (Unclear, UnicodeDecodeError):
        return ""


def _printable(text: str) -> str:
    """Printable ASCII, at most 200 characters."""
    return "".join(sign if " " <= sign <= "~" else "?" for sign in text[:_LONGEST_DETAIL])
