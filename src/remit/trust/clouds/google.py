"""Google as the trust reads and changes it.

One part for each noun: pools and their providers, service accounts, custom roles, policies. Leaves out organisations
and folders, whose policies reach projects too, and deny policies. Source: cloud.google.com/iam/docs/reference/rest.
"""

import asyncio
from collections.abc import Sequence

from remit.model.errors import TrustBroken
from remit.trust.clouds import google_bindings
from remit.trust.clouds.asking import Asking, Sleep
from remit.trust.clouds.google_accounts import Accounts
from remit.trust.clouds.google_names import SCOPE
from remit.trust.clouds.google_needs import NEEDS, READS
from remit.trust.clouds.google_policies import Policies
from remit.trust.clouds.google_pools import Pools
from remit.trust.clouds.google_reading import Reading
from remit.trust.clouds.google_roles import Roles
from remit.trust.clouds.port import Missing
from remit.trust.settings import TrustSettings
from remit.trust.things import Found, Thing

__all__ = ["NEEDS", "READS", "SCOPE", "Google"]

_IN_POLICIES = frozenset({"google.binding", "google.audit"})


class Google:
    """Google's IAM. `ask`: as whoever reviews or changes, for tokens of `SCOPE`; `sleep`: seconds."""

    name = "google"

    def __init__(self, ask: Asking, settings: TrustSettings, *, sleep: Sleep = asyncio.sleep) -> None:
        self._accounts = Accounts(ask)
        self._policies = Policies(ask, sleep=sleep)
        self._pools = Pools(ask, settings.own_provider, sleep=sleep)
        self._roles = Roles(ask, sleep=sleep)
        self._reading = Reading(
            settings, pools=self._pools, accounts=self._accounts, roles=self._roles, policies=self._policies
        )
        self._parts: dict[str, Pools | Accounts | Roles] = {
            "google.pool": self._pools,
            "google.provider": self._pools,
            "google.account": self._accounts,
            "google.role": self._roles,
        }

    async def permissions(self, role: str) -> frozenset[str]:
        """What a role includes."""
        return await self._roles.permissions(role)

    async def read(self, wanted: Sequence[Thing]) -> tuple[Found, ...]:
        """All that there is of the trust, and nothing else (`google_reading`); raises `TrustBroken`."""
        return await self._reading([thing for thing in wanted if thing.address.cloud == self.name])

    async def make(self, thing: Thing) -> Found:
        """Make it; raises `Missing` while what it names is not known everywhere, else `TrustBroken`."""
        part = self._part(thing.address.kind)
        return await part.make(thing) if part else await self._set(thing)

    async def change(self, thing: Thing, found: Found) -> Found:
        """Make what is there as it is wanted."""
        part = self._part(thing.address.kind)
        return await part.change(thing) if part else await self._set(thing, found)

    async def remove(self, found: Found) -> None:
        """Remove it; nothing happens when it is not there."""
        part = self._part(found.address.kind)
        try:
            await (part.remove(found.address.name) if part else self._unset(found))
        except Missing:  # what it was set on is gone
            return

    def _part(self, kind: str) -> Pools | Accounts | Roles | None:
        if kind not in self._parts and kind not in _IN_POLICIES:
            raise TrustBroken(f"`{kind}` is nothing of Google's")
        return self._parts.get(kind)

    async def _set(self, thing: Thing, found: Found | None = None) -> Found:
        fields = thing.fields
        if thing.address.kind == "google.audit":
            await self._policies.edit(f"projects/{fields['project']}", google_bindings.audited(fields), audits=True)
            return Found(thing.address, fields)
        edit = google_bindings.added(fields)
        if found is not None and found.fields != fields:
            edit = google_bindings.both(google_bindings.dropped(found.fields), edit)
        await self._policies.edit(str(fields["resource"]), edit)
        return Found(thing.address, fields)

    async def _unset(self, found: Found) -> None:
        fields = found.fields
        if found.address.kind == "google.audit":
            await self._policies.edit(f"projects/{fields['project']}", google_bindings.unaudited(fields), audits=True)
        else:
            await self._policies.edit(str(fields["resource"]), google_bindings.dropped(fields))
