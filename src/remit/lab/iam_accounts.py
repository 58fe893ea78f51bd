"""Service accounts over REST: made, changed, disabled, deleted, had back, and who may use them.

A deleted account's name is free at once, for an account with a number of its own that inherits nothing; whatever was
granted to the deleted one stands under `deleted:` until it is undeleted or removed. Left out: keys (`iam_keys`),
signing, the quota of accounts. Source: cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts,
cloud.google.com/iam/docs/service-accounts-delete-undelete.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.errors import CloudError
from remit.lab.google_estate import Account, Estate
from remit.lab.google_policies import Policies, describe
from remit.lab.google_wire import body, etag, invalid, mask, members, missing, page, taken, text
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.iam import Caller, Iam
from remit.lab.iam_activity import Act, Activity

PATH = re.compile(
    r"/v1/projects/(?P<project>-|[a-z0-9-]+)/serviceAccounts"
    r"(?:/(?P<account>[^/:]+?)(?::(?P<verb>getIamPolicy|setIamPolicy|testIamPermissions|disable|enable|undelete))?)?"
)
_ID = re.compile(r"[a-z]([-a-z0-9]{4,28}[a-z0-9])")
_ACCOUNT = (
    *("name", "projectId", "uniqueId", "email", "displayName", "etag", "description", "oauth2ClientId", "disabled"),
)
_PAGE = 100
_ADMIN = "google.iam.admin.v1"


class IamAccounts:
    """Answers what is of service accounts."""

    def __init__(self, iam: Iam, policies: Policies, activity: Activity) -> None:
        self._iam = iam
        self._estate: Estate = iam.estate
        self._policies = policies
        self._activity = activity

    def handle(self, request: Request, caller: Caller, match: Mapping[str, str]) -> Response:
        """Answer one request whose path is one of accounts, but for testIamPermissions; raises `CloudError`."""
        project, name, verb = match["project"], match["account"] or "", match["verb"] or ""
        if not name:
            return self._of_project(request, caller, project)
        email = self._email(name)
        if verb == "getIamPolicy" and request.method == "POST":
            version = request.parameter("options.requestedPolicyVersion")
            self._iam.require(caller, "iam.serviceAccounts.getIamPolicy", _resource(email))
            self._there(email)
            return reply(self._policies.show(_resource(email), int(version) if version.isdigit() else 1))
        if verb == "undelete" and request.method == "POST":
            return self._undelete(caller, name, body(request, ()))
        how = {
            ("GET", ""): self._get,
            ("PATCH", ""): self._patch,
            ("DELETE", ""): self._delete,
            ("POST", "setIamPolicy"): self._set_policy,
            ("POST", "disable"): self._switch,
            ("POST", "enable"): self._switch,
        }.get((request.method, verb))
        if how is None:
            raise missing(f"Method not found: {request.method} {request.path}")
        return how(request, caller, email)

    def _email(self, name: str) -> str:
        found = self._estate.account_written(name)
        return found.email if found else name

    def _there(self, email: str) -> Account:
        """The account as it is seen, for who may see it; raises `CloudError`."""
        found = self._estate.account(email)
        if found is None:
            raise missing(f"Unknown service account: {email}")
        return found

    def _written(self, email: str) -> Account:
        """The account as it was last written; one that nobody sees yet is not there for a change either."""
        self._there(email)
        found = self._estate.account_written(email)
        if found is None:
            raise missing(f"Unknown service account: {email}")
        return found

    def _act(self, caller: Caller, permission: str, method: str, account: Account, given: Mapping[str, Any]) -> Act:
        labels = {"email_id": account.email, "project_id": account.project, "unique_id": account.number}
        return Act(
            caller,
            f"iam.serviceAccounts.{permission}",
            f"projects/-/serviceAccounts/{account.number}",
            f"{_ADMIN}.{method}",
            {"name": f"projects/-/serviceAccounts/{account.email}", **given},
            on=_resource(account.email),
            monitored={"type": "service_account", "labels": labels},
        )

    # Of a project

    def _of_project(self, request: Request, caller: Caller, project: str) -> Response:
        if request.method == "POST":
            return self._create(request, caller, project)
        if request.method != "GET":
            raise missing(f"Method not found: {request.method} {request.path}")
        self._iam.require(caller, "iam.serviceAccounts.list", f"projects/{project}")
        found = contoso.project(project)
        every = [
            show(each)
            for each in self._estate.accounts.all_seen().values()
            if found and each.project == found.id and not each.deleted
        ]
        shown, more = page(request, every, _PAGE)
        return reply(({"accounts": shown} if shown else {}) | more)

    def _create(self, request: Request, caller: Caller, project: str) -> Response:
        given = body(request, ("accountId", "serviceAccount"))
        wanted = members(given.get("serviceAccount") or {}, _ACCOUNT, "service_account.")
        found, name = contoso.project(project), str(given.get("accountId") or "")
        email = f"{name}@{found.id if found else project}.iam.gserviceaccount.com"
        account = Account(email, self._estate.fresh_number(email), revision=self._estate.next())
        act = self._act(caller, "create", "CreateServiceAccount", account, {"account_id": name})
        act.on = act.resource = f"projects/{found.id if found else project}"
        with self._activity.of(act):
            if not _ID.fullmatch(name):
                raise invalid(
                    "The account ID has 6 to 30 characters of lower case letters, digits and dashes, begins with a "
                    "letter and does not end with a dash."
                )
            if self._estate.account_written(email):
                raise taken(
                    f"Service account {name} already exists within project projects/{found.id if found else project}."
                )
            account = replace(account, title=text(wanted, "displayName", 100), about=text(wanted, "description", 256))
            self._estate.accounts.put(account.number, account)
            act.response = show(account)
        return reply(show(account))

    # Of an account

    def _get(self, _: Request, caller: Caller, email: str) -> Response:
        self._iam.require(caller, "iam.serviceAccounts.get", _resource(email))
        return reply(show(self._there(email)))

    def _named(self, email: str) -> Account:
        """The account that an entry is of, whether there is one or not."""
        return self._estate.account_written(email) or Account(email, self._estate.number(email))

    def _patch(self, request: Request, caller: Caller, email: str) -> Response:
        given = body(request, ("serviceAccount", "updateMask"))
        wanted = members(given.get("serviceAccount") or {}, _ACCOUNT, "service_account.")
        with self._activity.of(self._act(caller, "update", "PatchServiceAccount", self._named(email), given)) as act:
            account = self._written(email)
            if wanted.get("etag") not in {None, "", etag(account.revision)}:
                raise CloudError(StatusCode.ABORTED, "The service account was changed meanwhile: its etag is another.")
            names = mask(str(given.get("updateMask") or ""), ("displayName", "description"))
            changes: dict[str, Any] = {}
            changes |= {"title": text(wanted, "displayName", 100)} if "displayName" in names else {}
            changes |= {"about": text(wanted, "description", 256)} if "description" in names else {}
            account = self._put(account, **changes)
            act.response = show(account)
        return reply(show(account))

    def _switch(self, request: Request, caller: Caller, email: str) -> Response:
        body(request, ())
        verb = request.path.rpartition(":")[2]
        method = f"{verb.capitalize()}ServiceAccount"
        with self._activity.of(self._act(caller, verb, method, self._named(email), {})):
            self._put(self._written(email), disabled=verb == "disable")
        return reply({})

    def _delete(self, _: Request, caller: Caller, email: str) -> Response:
        with self._activity.of(self._act(caller, "delete", "DeleteServiceAccount", self._named(email), {})):
            account = self._put(self._written(email), deleted=self._estate.clock())
            self._estate.rename_member(f"serviceAccount:{email}", _gone(account))
        return reply({})

    def _undelete(self, caller: Caller, number: str, given: Mapping[str, Any]) -> Response:
        """By its number alone: the name may be another account's by now."""
        found = self._estate.accounts.written(number)
        account = found or Account(f"{number}@", number)
        act = self._act(caller, "undelete", "UndeleteServiceAccount", account, given)
        act.on = f"projects/{account.project}" if found else f"projects/-/serviceAccounts/{number}"
        with self._activity.of(act):
            if found is None or not found.deleted or not self._estate.kept(found.deleted):
                raise missing(f"Unknown service account: {number}")
            if self._estate.account_written(found.email):
                raise taken(f"Service account {found.email} already exists.")
            account = self._put(found, deleted=0.0)
            self._estate.rename_member(_gone(account), f"serviceAccount:{account.email}")
        return reply({"restoredAccount": show(account)})

    def _set_policy(self, request: Request, caller: Caller, email: str) -> Response:
        given = body(request, ("policy", "updateMask"))
        with self._activity.of(self._act(caller, "setIamPolicy", "SetIAMPolicy", self._named(email), given)) as act:
            self._written(email)
            before, after = self._policies.put(
                _resource(email), given.get("policy") or {}, str(given.get("updateMask") or "")
            )
            act.policy(before, after)
        return reply(describe(after, 3))

    def _put(self, account: Account, **changes: Any) -> Account:
        changed = replace(account, **changes, revision=self._estate.next())
        self._estate.accounts.put(changed.number, changed)
        return changed


def show(account: Account) -> dict[str, Any]:
    """The account as REST shows it."""
    found: dict[str, Any] = {
        "name": f"projects/{account.project}/serviceAccounts/{account.email}",
        "projectId": account.project,
        "uniqueId": account.number,
        "email": account.email,
        "etag": etag(account.revision),
        "oauth2ClientId": account.number,
    }
    found |= {"displayName": account.title} if account.title else {}
    found |= {"description": account.about} if account.about else {}
    return found | ({"disabled": True} if account.disabled else {})


def _resource(email: str) -> str:
    return f"projects/-/serviceAccounts/{email}"


def _gone(account: Account) -> str:
    """The member that a deleted account is."""
    return f"deleted:serviceAccount:{account.email}?uid={account.number}"
