"""Databases: what connecting to one as a role amounts to. What a role may there is the database's own word."""

from remit.catalogue.names import shown
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.reasons import Reason

CONNECT = Action("postgresql.databases.connect", Group.USE, "postgresql.databases.connect")
"""Logging in to a database as one of its roles."""

ACTIONS = (CONNECT,)


def database_request(estate: Estate, name: str, role: str) -> Request:
    """The operation of connecting to the database of this name as a role, both exactly as `remit.yaml` spells them.

    Raises `Refused` with `RESOURCE_UNKNOWN` for what does not stand there.
    """
    database = estate.database(name)
    if database is None:
        hint = "it is the name in `remit.yaml` that counts, not the database's own"
        raise Refused(Reason.RESOURCE_UNKNOWN, f"no database {shown(name)} is known", hint=hint)
    if role not in database.roles:
        hint = f"ask for one of {', '.join(f'`{one}`' for one in database.roles)}" if database.roles else ""
        raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(role)} is no role of the database `{name}`", hint=hint)
    place = f"//remit/projects/{database.project}/databases/{name}/roles/{role}"
    return Request((Operation(CONNECT, (Resource("DatabaseRole", place, database.project),)),))
