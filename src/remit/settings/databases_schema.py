"""The keys of remit.yaml for databases: what stands behind the gateway's door for PostgreSQL."""

from typing import Annotated, Literal

from pydantic import Field

from remit.settings.section import Section
from remit.settings.services_schema import ServiceName

Address = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$", max_length=260)]
# Names that need no quotes, and those of Entra's principals, which may be addresses; 63 bytes as PostgreSQL keeps them.
Role = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.@$-]{0,62}$")]


class Database(Section):
    """One database, and the roles that a connection through Remit may log in as."""

    name: ServiceName
    project: str
    address: Address
    database: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,63}$")]
    roles: Annotated[list[Role], Field(min_length=1)]
    login: Literal["certificate", "entra"] = "certificate"
    ca_file: str | None = None
