"""What tokens the broker has to give: of the mapped account for buckets, of applications at Azure for all they open."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from remit.access.exchange import Audience, Offer, Target
from remit.catalogue import blob_request, database_request, storage_request
from remit.credentials.azure_federation import purpose_at_azure
from remit.credentials.purpose import STORAGE, STORAGE_READ
from remit.credentials.settings import AzureLine
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.identity import Identity
from remit.model.operation import Request
from remit.model.reasons import Reason
from remit.settings.read import Settings

_SCOPES: dict[Literal["write", "read"], str] = {"write": STORAGE, "read": STORAGE_READ}
_SERVICES = {Target.BLOB: "storage", Target.POSTGRESQL: "postgresql", Target.SQL: "sql"}


def offers_of(settings: Settings) -> "Offers":
    """What one installation has to give."""
    grants = [name for account in settings.trust.accounts for name in account.grants]
    parts = (name.removeprefix("buckets/") for name in grants if name.startswith("buckets/") and name.endswith("/"))
    return Offers(settings.estate, settings.credentials.azure, tuple(dict.fromkeys(parts)))


@dataclass(frozen=True, slots=True)
class Offers:
    """Implements `access.exchange.Offers` for one estate.

    `lines`: of applications at Azure, in their order; `parts`: `BUCKET/PREFIX/` below which accounts hold something.
    """

    estate: Estate
    lines: tuple[AzureLine, ...] = ()
    parts: tuple[str, ...] = ()

    def offers(self, identity: Identity, audience: Audience) -> Sequence[Offer]:
        """The tokens for an audience, the widest first; raises `Refused` when there is none for this identity."""
        if audience.target is Target.STORAGE:
            return self._storage(audience)
        return self._azure(identity, audience)

    def _storage(self, audience: Audience) -> Sequence[Offer]:
        found = self.estate.project(audience.project)
        if found is None or not found.buckets:
            raise Refused(Reason.RESOURCE_UNKNOWN, f"no bucket of a project `{audience.project}` is known")
        names = (*found.buckets, *(each for each in self.parts if each.partition("/")[0] in found.buckets))
        return [
            Offer(names, partial(storage_request, self.estate, mode=mode), (scope,))
            for mode, scope in _SCOPES.items()
            if mode == "read" or not audience.reading
        ]

    def _azure(self, identity: Identity, audience: Audience) -> Sequence[Offer]:
        service = _SERVICES[audience.target]
        project = self.estate.project(audience.project)
        if project is None and not audience.client:
            raise Refused(Reason.RESOURCE_UNKNOWN, f"project `{audience.project}` is not in `remit.yaml`")
        # the project that is asked for, or that of the application that is: each one stands for one project
        asked = [
            line
            for line in self.lines
            if service in line.services
            and (line.client == audience.client if audience.client else project and line.project == project.id)
        ]
        offers = [self._offer(line, service) for line in asked if line.role in identity.roles]
        if not offers:
            where = f"the application `{audience.client}`" if audience.client else f"`{audience.project}`"
            message = f"no application at Azure is mapped for the roles of this identity and {where}"
            raise Refused(Reason.NO_ACCOUNT, message, hint="ask for an app role that is mapped there")
        return offers

    def _offer(self, line: AzureLine, service: str) -> Offer:
        purpose = purpose_at_azure(line, service)
        if service == "storage":
            return Offer(line.containers, partial(blob_request, self.estate, access=line.access), purpose=purpose)
        databases = (self.estate.database(name) for name in line.databases)
        logins = tuple(f"{each.name}/{role}" for each in databases if each for role in each.roles)
        return Offer(logins, self._connecting, purpose=purpose)

    def _connecting(self, logins: Sequence[str]) -> Request:
        """To log in as any of these (`DATABASE/ROLE`): which of them, the database itself says."""
        return Request(tuple(database_request(self.estate, *login.split("/", 1)).first for login in logins))
