"""Roles over REST: the predefined ones, which anybody may read, and a project's own, made and changed.

A deleted role can be had back for seven days, and its id cannot be used again for thirty more. Left out: roles of
organisations, deprecated stages. Source: cloud.google.com/iam/docs/reference/rest/v1/projects.roles,
cloud.google.com/iam/docs/creating-custom-roles, cloud.google.com/iam/quotas.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.errors import CloudError
from remit.lab.google_estate import UNDELETABLE, CustomRole, Estate
from remit.lab.google_wire import body, etag, invalid, mask, members, missing, page, taken, text, yes
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.iam import Caller, Iam
from remit.lab.iam_activity import Act, Activity
from remit.lab.roles import NOT_IN_CUSTOM_ROLES, known_permissions, known_roles, permissions_of

PATH = re.compile(r"/v1/projects/(?P<project>[a-z0-9-]+)/roles(?:/(?P<role>[A-Za-z0-9_.]+)(?P<verb>:undelete)?)?")
_ID = re.compile(r"[A-Za-z0-9_.]{3,64}")
_ROLE = ("name", "title", "description", "includedPermissions", "stage", "etag", "deleted")
_STAGES = ("ALPHA", "BETA", "GA", "DEPRECATED", "DISABLED", "EAP")
_PERMISSIONS, _BYTES = 3000, 64 * 1024  # of one role: names, and names with title and description
_MOST = 300  # of one project
_PAGE = 300
_CHANGES = ("title", "description", "includedPermissions", "stage")


class IamRoles:
    """Answers what is of roles."""

    def __init__(self, iam: Iam, activity: Activity) -> None:
        self._iam = iam
        self._estate: Estate = iam.estate
        self._activity = activity

    def predefined(self, request: Request) -> Response:
        """A role of Google's, or their list; nothing is needed to ask."""
        name = request.path.removeprefix("/v1/")
        full = request.parameter("view") == "FULL"
        if name == "roles":
            shown, more = page(request, [_predefined(each, full=full) for each in known_roles()], _PAGE)
            return reply({"roles": shown} | more)
        if name not in known_roles():
            raise missing(f"The role named {name} was not found.")
        return reply(_predefined(name, full=True))

    def testable(self, request: Request) -> Response:
        """The permissions that a resource can be asked of, and whether custom roles may hold them."""
        body(request, ("fullResourceName", "pageSize", "pageToken"))
        every = [
            {"name": each, "stage": "GA"}
            | ({"customRolesSupportLevel": "NOT_SUPPORTED"} if each in NOT_IN_CUSTOM_ROLES else {})
            for each in sorted(known_permissions())
        ]
        return reply({"permissions": every})

    def handle(self, request: Request, caller: Caller, match: Mapping[str, str]) -> Response:
        """Answer one request whose path is one of a project's roles; raises `CloudError`."""
        project = contoso.project(match["project"])
        parent = f"projects/{project.id if project else match['project']}"
        name = f"{parent}/roles/{match['role']}" if match["role"] else ""
        if match["verb"] and request.method == "POST":
            body(request, ("etag",))
            return self._undelete(caller, name, parent)
        if match["verb"]:
            raise missing(f"Method not found: {request.method} {request.path}")
        if request.method == "GET":
            self._iam.require(caller, f"iam.roles.{'get' if name else 'list'}", parent)
            return self._get(name) if name else self._list(request, parent)
        if request.method == "POST" and not name:
            return self._create(request, caller, parent)
        if request.method == "PATCH" and name:
            return self._patch(request, caller, name, parent)
        if request.method == "DELETE" and name:
            return self._delete(request, caller, name, parent)
        raise missing(f"Method not found: {request.method} {request.path}")

    def _act(self, caller: Caller, verb: str, name: str, parent: str, given: Mapping[str, Any]) -> Act:
        labels = {"project_id": parent.partition("/")[2], "role_name": name}
        return Act(
            caller,
            f"iam.roles.{verb}",
            name,
            f"google.iam.admin.v1.{verb.capitalize()}Role",
            {"name": name, **given},
            on=parent,
            monitored={"type": "iam_role", "labels": labels},
        )

    def _get(self, name: str) -> Response:
        found = self._estate.role(name)
        if found is None:
            raise missing(f"The role named {name} was not found.")
        return reply(show(found))

    def _list(self, request: Request, parent: str) -> Response:
        full, deleted = request.parameter("view") == "FULL", yes(request, "showDeleted")
        every = [self._estate.role(name) for name in sorted(self._estate.roles.all_seen())]
        shown = [
            show(role, full=full)
            for role in every
            if role and role.name.startswith(f"{parent}/") and (deleted or not role.deleted)
        ]
        found, more = page(request, shown, _PAGE)
        return reply(({"roles": found} if found else {}) | more)

    def _create(self, request: Request, caller: Caller, parent: str) -> Response:
        given = body(request, ("roleId", "role"))
        identifier = str(given.get("roleId") or "")
        name = f"{parent}/roles/{identifier}"
        with self._activity.of(self._act(caller, "create", name, parent, given)) as act:
            if not _ID.fullmatch(identifier):
                raise invalid(f"The role_id {identifier} is not 3 to 64 letters, digits, underscores and periods.")
            old = self._estate.roles.written(name)
            if old and not old.deleted:
                raise taken(f"A role named {identifier} in {parent} already exists.")
            if old and self._estate.kept(old.deleted, 37 * 24 * 3600.0):
                raise CloudError(
                    StatusCode.FAILED_PRECONDITION,
                    f"You can't create a role_id ({identifier}) which has been marked for deletion.",
                )
            mine = [each for each in self._estate.roles.all_written() if each.startswith(f"{parent}/")]
            if len(mine) >= _MOST:
                raise CloudError(StatusCode.RESOURCE_EXHAUSTED, f"A project has at most {_MOST} roles of its own.")
            role = self._put(_changed(CustomRole(name), given.get("role") or {}, _CHANGES))
            act.response = show(role)
        return reply(show(role))

    def _patch(self, request: Request, caller: Caller, name: str, parent: str) -> Response:
        given = body(request, _ROLE)
        with self._activity.of(self._act(caller, "update", name, parent, given)) as act:
            role = self._alive(name, str(given.get("etag") or ""))
            masked = request.parameter("updateMask")
            names = mask(masked, _CHANGES) if masked else [each for each in _CHANGES if each in given]
            role = self._put(_changed(role, given, names))
            act.response = show(role)
        return reply(show(role))

    def _delete(self, request: Request, caller: Caller, name: str, parent: str) -> Response:
        with self._activity.of(self._act(caller, "delete", name, parent, {})) as act:
            role = self._alive(name, request.parameter("etag"))
            role = self._put(replace(role, deleted=self._estate.clock()))
            act.response = show(role)
        return reply(show(role))

    def _undelete(self, caller: Caller, name: str, parent: str) -> Response:
        with self._activity.of(self._act(caller, "undelete", name, parent, {})) as act:
            role = self._estate.roles.written(name)
            if role is None or not self._estate.kept(role.deleted, UNDELETABLE):
                raise missing(f"The role named {name} was not found.")
            if not role.deleted:
                raise CloudError(StatusCode.FAILED_PRECONDITION, f"The role named {name} is not deleted.")
            role = self._put(replace(role, deleted=0.0))
            act.response = show(role)
        return reply(show(role))

    def _alive(self, name: str, given: str) -> CustomRole:
        """The role that is to be changed, when the etag is its own."""
        role = self._estate.roles.written(name)
        if role is None or not self._estate.kept(role.deleted, UNDELETABLE):
            raise missing(f"The role named {name} was not found.")
        if role.deleted:
            raise CloudError(StatusCode.FAILED_PRECONDITION, f"The role named {name} is deleted.")
        if given not in {"", etag(role.revision)}:
            raise CloudError(StatusCode.ABORTED, "There were concurrent policy changes. Please retry the whole "
                             "read-modify-write with exponential backoff.")  # fmt: skip
        return role

    def _put(self, role: CustomRole) -> CustomRole:
        fresh = replace(role, revision=self._estate.next())
        self._estate.roles.put(fresh.name, fresh)
        return fresh


def _changed(role: CustomRole, given: object, names: list[str] | tuple[str, ...]) -> CustomRole:
    """The role with these members as they are given; raises `CloudError`."""
    found = members(given, _ROLE, "role.")
    changes: dict[str, Any] = {}
    changes |= {"title": text(found, "title", 100)} if "title" in names else {}
    changes |= {"about": text(found, "description", 300)} if "description" in names else {}
    if "stage" in names and found.get("stage"):
        if found["stage"] not in _STAGES:
            raise invalid(f"Invalid value at 'role.stage': {found['stage']}")
        changes["stage"] = found["stage"]
    if "includedPermissions" in names:
        changes["permissions"] = _permissions(found.get("includedPermissions") or [])
    changed = replace(role, **changes)
    size = sum(len(each.encode()) for each in (changed.title, changed.about, *changed.permissions))
    if len(changed.permissions) > _PERMISSIONS or size > _BYTES:
        raise invalid(f"A role has at most {_PERMISSIONS} permissions, and 64 KB of title, description and names.")
    return changed


def _permissions(given: object) -> tuple[str, ...]:
    if not isinstance(given, list):
        raise invalid("Invalid value at 'role.includedPermissions'.")
    for each in given:
        if each not in known_permissions() or each in NOT_IN_CUSTOM_ROLES:
            raise invalid(f"Permission {each} is not valid.")
    return tuple(sorted(set(given)))


def show(role: CustomRole, *, full: bool = True) -> dict[str, Any]:
    """A project's own role as REST shows it."""
    found: dict[str, Any] = {"name": role.name, "title": role.title, "etag": etag(role.revision)}
    found |= {"description": role.about} if role.about else {}
    found |= {"includedPermissions": list(role.permissions)} if full and role.permissions else {}
    found |= {"stage": role.stage} if role.stage != "ALPHA" else {}  # the first of the enumeration, never shown
    return found | ({"deleted": True} if role.deleted else {})


def _predefined(name: str, *, full: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "stage": "GA"}
    return found | ({"includedPermissions": sorted(permissions_of(name))} if full else {})
