"""Google's Admin Activity log: changes of policies, roles, accounts, pools.

Source: cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list, cloud.google.com/iam/docs/audit-logging,
google.iam.v1.logging.AuditData (`policyDelta`). Left out: organisations' and folders' logs.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from remit.model.estate import Estate
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.google_names import project_of
from remit.trust.drifting.drift import Drift
from remit.trust.drifting.log import PAGES, Entry, Logged, moment, stamp
from remit.trust.drifting.marks import THERE, Mark, Marks, field_mark, whole
from remit.trust.things import Fields, Found, Value

_URL = "https://logging.googleapis.com/v2/entries:list"
_METHODS = ("setIam", "google.iam.")  # `SetIamPolicy`, `SetIAMPolicy`, `storage.setIamPermissions`; the rest of IAM
_LOG = "cloudaudit.googleapis.com%2Factivity"
_PAGE = 1000
_BUCKETS = "projects/_/buckets/"

Document = Mapping[str, Any]


class GoogleLog:
    """`ask`: as whoever reviews; `estate`: which project a bucket lies in."""

    cloud = "google"

    def __init__(self, ask: Asking, estate: Estate) -> None:
        self._ask = ask
        self._estate = estate

    async def read(self, drifts: Sequence[Drift], found: Sequence[Found], since: float) -> Logged:
        """Of the projects in which something drifted; raises `TrustBroken`."""
        del found
        entries: list[Entry] = []
        whole_ = True
        for project in sorted({_project(one, self._estate) for one in drifts} - {""}):
            for method in _METHODS:
                documents, complete = await self._list(project, method, since)
                entries += [entry for entry in map(understood, documents) if entry]
                whole_ = whole_ and complete
        return Logged(tuple(entries), "" if whole_ else "it holds more than was read")

    async def _list(self, project: str, method: str, since: float) -> tuple[list[Document], bool]:
        terms = (f'logName:"{_LOG}"', f'protoPayload.methodName:"{method}"', f'timestamp>="{stamp(since)}"')
        body = {
            "resourceNames": [f"projects/{project}"],
            "filter": " AND ".join(terms),
            "orderBy": "timestamp desc",
            "pageSize": _PAGE,
        }
        found: list[Document] = []
        for _ in range(PAGES):
            page = await self._ask("POST", _URL, body)
            found += [one for one in page.get("entries") or () if isinstance(one, Mapping)]
            if not page.get("nextPageToken"):
                return found, True
            body["pageToken"] = page["nextPageToken"]
        return found, False


def _project(drift: Drift, estate: Estate) -> str:
    """In which project's log a change of it stands; empty where nobody knows."""
    name = drift.change.address.name
    kind, _, rest = name.partition(" ")[0].partition("/")
    if drift.change.address.kind == "google.account":
        return project_of(name)
    if drift.change.address.kind == "google.audit":
        return name.partition(" ")[0]
    if kind == "buckets":
        return next((each.id for each in estate.projects if rest in each.buckets), "")
    return project_of(rest) if kind == "accounts" else rest.partition("/")[0] if kind == "projects" else ""


def understood(document: Document) -> Entry | None:
    """What an entry of the log says that was done; `None` for what was refused, and for what is none of the trust."""
    payload = _object(document, "protoPayload")
    if _object(payload, "status").get("code"):
        return None
    method = str(payload.get("methodName", ""))
    found = Marks()
    if "policydelta" in json.dumps(payload.get("serviceData") or payload.get("metadata") or {}).casefold():
        found = _of_policy(document, payload)
    elif reader := _READERS.get(method.rpartition(".")[2]):
        found = reader(document, payload)
    if not found.any:
        return None
    who = _object(payload, "authenticationInfo")
    caller = str(who.get("principalEmail") or who.get("principalSubject") or "")
    return Entry(moment(document.get("timestamp")), caller, method, found)


def _of_policy(document: Document, payload: Document) -> Marks:
    delta = _object(_object(payload, "serviceData"), "policyDelta") or _object(payload.get("metadata"), "policyDelta")
    came, went = set[Mark](), set[Mark]()
    resource = _resource(document, payload)
    for one in _list(delta, "bindingDeltas"):
        side = came if one.get("action") == "ADD" else went
        side.add(whole("google.binding", _binding(resource, one)))
    for one in _list(delta, "auditConfigDeltas"):
        side = came if one.get("action") == "ADD" else went
        project = resource.removeprefix("projects/")
        log = str(one.get("logType", ""))
        who = f" but not of {one['exemptedMember']}" if one.get("exemptedMember") else ""
        side.add(("google.audit", f"{project} {one.get('service')}", "logTypes", f"{log}{who}"))
    return Marks(frozenset(came), frozenset(went))


def _binding(resource: str, delta: Document) -> Fields:
    given = _object(delta, "condition")
    condition: Value = {key: str(given.get(key, "")) for key in ("title", "expression")} if given else None
    return {
        "resource": resource,
        "role": str(delta.get("role", "")),
        "member": str(delta.get("member", "")),
        "condition": condition,
    }


def _resource(document: Document, payload: Document) -> str:
    """As a binding names it: an account's entry says its e-mail in a label, and its number in the name."""
    name, labels = str(payload.get("resourceName", "")), _object(_object(document, "resource"), "labels")
    if name.startswith(_BUCKETS):
        return f"buckets/{name.removeprefix(_BUCKETS)}"
    if "/serviceAccounts/" in name:
        return f"accounts/{labels.get('email_id') or name.rpartition('/')[2]}"
    return f"projects/{labels.get('project_id') or name.removeprefix('projects/')}"


def _account(document: Document, payload: Document) -> Marks:
    email = str(_object(_object(document, "resource"), "labels").get("email_id", ""))
    method = str(payload.get("methodName", "")).rpartition(".")[2]
    there = ("google.account", email, THERE)
    if method in {"DisableServiceAccount", "EnableServiceAccount"}:
        disabled = method.startswith("Disable")
        return Marks(frozenset({field_mark("google.account", email, "disabled", disabled)}))
    return Marks(went=frozenset({there})) if method == "DeleteServiceAccount" else Marks(frozenset({there}))


def _role(_: Document, payload: Document) -> Marks:
    name, kind = str(payload.get("resourceName", "")), "google.role"
    method, request = str(payload.get("methodName", "")), _object(payload, "request")
    there = (kind, name, THERE)
    if method.endswith(".DeleteRole"):
        return Marks(went=frozenset({there}))
    given = _object(request, "role") or request
    fields: dict[str, Value] = {key: str(given[key]) for key in ("title", "stage") if given.get(key)}
    permissions = given.get("includedPermissions") or given.get("included_permissions")
    if permissions:
        fields["permissions"] = tuple(map(str, permissions))
    told = frozenset(field_mark(kind, name, key, value) for key, value in fields.items())
    return Marks(told if method.endswith(".UpdateRole") else told | {there})


def _pool(_: Document, payload: Document) -> Marks:
    name, method = str(payload.get("resourceName", "")), str(payload.get("methodName", "")).rpartition(".")[2]
    kind = "google.provider" if method.endswith("Provider") else "google.pool"
    there = frozenset({(kind, name, THERE)})
    if method.startswith("Delete"):
        return Marks(went=there)
    request = _object(payload, "request")
    noun = method.removeprefix("Create").removeprefix("Update").removeprefix("Undelete")
    given = _object(request, f"{noun[:1].lower()}{noun[1:]}") or request
    told = frozenset(field_mark(kind, name, key, value) for key, value in _given(given))
    return Marks(told if method.startswith("Update") else told | there)


def _given(body: Document) -> Iterator[tuple[str, Value]]:
    """The fields that a body of a pool or provider sets."""
    if "disabled" in body:
        yield "disabled", bool(body["disabled"])
    if "attributeCondition" in body:
        yield "condition", str(body["attributeCondition"])
    if "attributeMapping" in body:
        yield "mapping", {str(key): str(value) for key, value in _object(body, "attributeMapping").items()}
    oidc = _object(body, "oidc")
    if "issuerUri" in oidc:
        yield "issuer", str(oidc["issuerUri"])
    if oidc:
        yield "audiences", tuple(map(str, oidc.get("allowedAudiences") or ()))


_READERS: Mapping[str, Callable[[Document, Document], Marks]] = {
    **{f"{verb}ServiceAccount": _account for verb in ("Create", "Delete", "Undelete", "Disable", "Enable")},
    **{f"{verb}Role": _role for verb in ("Create", "Update", "Delete", "Undelete")},
    **{
        f"{verb}WorkloadIdentityPool{noun}": _pool
        for verb in ("Create", "Update", "Delete", "Undelete")
        for noun in ("", "Provider")
    },
}


def _object(document: Any, name: str) -> Mapping[str, Any]:
    found = document.get(name) if isinstance(document, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _list(document: Document, name: str) -> list[Document]:
    found = document.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
