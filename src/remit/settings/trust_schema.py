"""The keys of remit.yaml for the agreement between the clouds: who holds which role, and what each account may do."""

import datetime as dt
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from remit.model.prefixes import PREFIX
from remit.settings.databases_schema import Role as DatabaseRole
from remit.settings.google_schema import Account
from remit.settings.identity_schema import Guid
from remit.settings.section import Section
from remit.settings.services_schema import ServiceName


def _day(value: Any) -> str:
    """YAML reads `2027-06-30` as a date of its own kind; in quotes it is a text. Both are a day."""
    if type(value) is dt.date:  # a `datetime` is one too, and no day
        return value.isoformat()
    try:
        day = dt.date.fromisoformat(value).isoformat()
        if day == value:  # not one of the standard's other forms
            return day
    except (ValueError, TypeError):
        pass
    raise PydanticCustomError("day", "this is no day of the form `2027-06-30`")


# learn.microsoft.com/entra/identity-platform/reply-url: https, and http on loopback
Redirect = Annotated[
    str,
    Field(
        pattern=r"^(https://[a-z0-9.-]+|http://(localhost|127\.0\.0\.1))(:[0-9]{1,5})?/[A-Za-z0-9._~/-]*$",
        max_length=256,
    ),
]
_GUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_EMAIL = r"[^\sA-Z@:/]+@[a-z0-9.-]+"  # Google writes addresses in members in lower case

Day = Annotated[
    str, BeforeValidator(_day), Field(json_schema_extra={"format": "date", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"})
]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=256)]
# learn.microsoft.com/graph/api/resources/approle, `value`
RoleValue = Annotated[str, Field(pattern=r"^[!#-\-/-\[\]-~][!#-\[\]-~]{0,119}$")]
Administrator = Annotated[str, Field(pattern=rf"^(user|group|serviceAccount):{_EMAIL}$", max_length=320)]
Apart = Annotated[
    str,
    Field(
        pattern=rf"^((user|group|serviceAccount):{_EMAIL}|domain:[a-z0-9.-]+|principal(Set)?://\S+|azure:{_GUID})$",
        max_length=512,
    ),
]
# 127 bytes are what `google.subject` holds (cloud.google.com/iam/docs/workload-identity-federation)
Member = Annotated[
    str,
    Field(
        pattern=(
            r"^(remit|subject/[^\s*]{1,127}"
            rf"|group/({_GUID}|[a-z][a-z0-9_]{{1,31}}/[^\s*]{{1,200}}))$"
        )
    ),
]
# a bucket with what of it lies below a prefix, too
Resource = Annotated[
    str, Field(pattern=rf"^((projects|buckets|accounts)/[a-z0-9._@-]+|buckets/[a-z0-9._-]+/{PREFIX})$", max_length=162)
]
GoogleRole = Annotated[
    str,
    Field(
        pattern=r"^(policy|roles/[A-Za-z0-9_.]+|(projects|organizations)/[a-z0-9-]+/roles/[A-Za-z0-9_.]+)$",
        max_length=160,
    ),
]
_NAME = r'([^\s"./\x00-\x1f\x7f]+|"([^"\x00-\x1f\x7f]|"")+")'
DatabaseObject = Annotated[
    str, Field(pattern=rf"^(database|schemas/{_NAME}|(tables|sequences)/{_NAME}\.{_NAME})$", max_length=300)
]
# the words themselves differ from kind to kind: `trust_databases.py` tells which
Privilege = Annotated[str, Field(pattern=r"^[A-Z]{3,10}$")]
StorageName = Annotated[str, Field(pattern=r"^[a-z0-9]{3,24}$")]
ResourceGroup = Annotated[str, Field(pattern=r"^[A-Za-z0-9_().-]{0,89}[A-Za-z0-9_()-]$")]


class TrustRole(Section):
    """An app role of Remit's, and who holds it by an assignment at Entra."""

    about: Line | None = None
    owner: Line | None = None
    expires: Day | None = None
    groups: list[Guid] = []
    people: list[Guid] = []
    workloads: list[Guid] = []


class TrustAccount(Section):
    """What a service account may do, and who may become it."""

    grants: dict[Resource, Annotated[list[GoogleRole], Field(min_length=1)]] = {}
    members: list[Member] = []
    owner: Line | None = None
    expires: Day | None = None


class TrustStorage(Section):
    """Where a storage account lies in Azure."""

    subscription: Guid
    resource_group: ResourceGroup


class TrustDatabase(Section):
    """What the roles of a database may do there, and who gives it to them."""

    administrator: DatabaseRole
    roles: dict[DatabaseRole, dict[DatabaseObject, Annotated[list[Privilege], Field(min_length=1)]]] = {}


class Trust(Section):
    """What the clouds must hold, and who reads it there."""

    reviewer: Account
    administrators: list[Administrator] = []
    apart: list[Apart] = []
    redirects: list[Redirect] = []
    roles: dict[RoleValue, TrustRole] = {}
    accounts: dict[Account, TrustAccount] = {}
    storage: dict[StorageName, TrustStorage] = {}
    databases: dict[ServiceName, TrustDatabase] = {}
