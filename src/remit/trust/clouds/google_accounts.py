"""Service accounts: read, made, enabled and disabled, removed.

A deleted one can be undeleted for 30 days, by its unique id alone; a new one of the same name has another, so that what
was bound to the old stays dead. Source: cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from remit.model.errors import TrustBroken
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.google_names import IAM, account_path, local_part, project_of
from remit.trust.clouds.google_operations import listed
from remit.trust.clouds.port import CloudRefused, Conflict, Missing
from remit.trust.things import Address, Found, Thing

_DESCRIPTION = "Kept by Remit: remit trust plan"


class Accounts:
    """Service accounts. `deleted`: e-mail → unique id of those that policies still name as deleted."""

    def __init__(self, ask: Asking) -> None:
        self._ask = ask
        self.deleted: dict[str, str] = {}

    async def read(self, email: str) -> Found | None:
        """The account, `None` where there is none."""
        try:
            return _found(email, await self._ask("GET", f"{IAM}/{account_path(email)}"))
        except Missing:
            return None

    async def of_project(self, project: str) -> AsyncIterator[Found]:
        """Every account that lies in a project."""
        async for entry in listed(self._ask, f"{IAM}/projects/{project}/serviceAccounts?pageSize=100", "accounts"):
            yield _found(str(entry["email"]), entry)

    async def make(self, thing: Thing) -> Found:
        """Make an account; undelete it where Google keeps its name for the deleted one."""
        email = thing.address.name
        body = {
            "accountId": local_part(email),
            "serviceAccount": {"displayName": local_part(email), "description": _DESCRIPTION},
        }
        if not project_of(email):
            raise TrustBroken(f"`{email}` is none that could be made: Google makes it itself")
        try:
            document = await self._ask("POST", f"{IAM}/projects/{project_of(email)}/serviceAccounts", body)
        except CloudRefused as refused:
            if not isinstance(refused, Conflict) and refused.code != "FAILED_PRECONDITION":
                raise
            document = await self._taken(email)
        return await self._switched(thing, document)

    async def change(self, thing: Thing) -> Found:
        """Enable or disable it."""
        return await self._switched(thing, await self._ask("GET", f"{IAM}/{account_path(thing.address.name)}"))

    async def remove(self, email: str) -> None:
        """Delete it; its name and its unique id stay together for 30 days."""
        try:
            await self._ask("DELETE", f"{IAM}/{account_path(email)}")
        except Missing:
            return

    async def _taken(self, email: str) -> dict[str, Any]:
        try:
            return await self._ask("GET", f"{IAM}/{account_path(email)}")
        except Missing:
            if email not in self.deleted:
                raise
        path = f"{IAM}/projects/{project_of(email)}/serviceAccounts/{self.deleted[email]}:undelete"
        answer = await self._ask("POST", path, {})
        restored: dict[str, Any] = answer.get("restoredAccount") or {}
        return restored

    async def _switched(self, thing: Thing, document: Mapping[str, Any]) -> Found:
        email, disabled = thing.address.name, bool(thing.fields["disabled"])
        if bool(document.get("disabled")) is not disabled:
            await self._ask("POST", f"{IAM}/{account_path(email)}:{'disable' if disabled else 'enable'}", {})
        return _found(email, {**document, "disabled": disabled})


def _found(email: str, document: Mapping[str, Any]) -> Found:
    ids = {"email": email, **({"uniqueId": str(document["uniqueId"])} if document.get("uniqueId") else {})}
    return Found(Address("google.account", email), {"disabled": bool(document.get("disabled"))}, ids)
