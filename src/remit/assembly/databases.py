"""What the arbiter answers the door for databases with, fitted together."""

from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine

from remit.access.database import Connect, Statements
from remit.access.decide import Rooms
from remit.arbiter.database import Database
from remit.audit.lookup import find_decision
from remit.catalogue import database_request
from remit.credentials.database_certificate import DatabaseCertificates
from remit.credentials.database_login import DatabaseLogins
from remit.identity.revocation.view import RevocationView
from remit.model.estate import Estate
from remit.model.operation import Request
from remit.settings.read import Settings


def database(settings: Settings, fitted: Rooms, reader: Engine, view: RevocationView) -> Database:
    """The endpoints. `reader`: where records are looked up."""
    certificates = DatabaseCertificates(settings.database_authority)
    logins = DatabaseLogins(settings.logins, settings.credentials.azure, certificates, fitted.obtainer)
    find = partial(find_decision, reader)
    return Database(Connect(fitted, _Databases(settings.estate), logins), Statements(fitted), find, view.ended)


@dataclass(frozen=True, slots=True)
class _Databases:
    """catalogue's part of the story."""

    estate: Estate

    def request(self, database: str, role: str) -> Request:
        """The operation of connecting to a database as a role; raises `Refused`."""
        return database_request(self.estate, database, role)
