"""The keys of remit.yaml for Azure: containers, and the applications whose tokens open them."""

from typing import Annotated, Literal

from pydantic import Field

from remit.model.prefixes import PREFIX
from remit.settings.identity_schema import AppId, Text
from remit.settings.section import Section

# learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata, without `$root`
Container = Annotated[str, Field(pattern=r"^[a-z0-9]{3,24}/[a-z0-9](-?[a-z0-9]){2,62}$", max_length=88)]
# the same, or what of it lies below a prefix
Opened = Annotated[str, Field(pattern=rf"^[a-z0-9]{{3,24}}/[a-z0-9](-?[a-z0-9]){{2,62}}(/{PREFIX})?$", max_length=179)]


class AzureAccount(Section):
    """An application of Entra that stands for a role in a project, and all that its tokens open."""

    role: Text
    project: str
    client: AppId
    subject: Annotated[str, Field(min_length=1, max_length=600)] | None = None
    services: Annotated[list[Literal["storage", "postgresql", "sql"]], Field(min_length=1)] = ["storage"]
    access: Literal["read", "write"] = "read"
    containers: list[Opened] | None = None
    databases: list[Text] = []


class Azure(Section):
    """The ways to Azure."""

    accounts: Annotated[list[AzureAccount], Field(min_length=1)]
