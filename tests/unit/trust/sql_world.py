"""A database of a real PostgreSQL, reached over TCP on loopback, and the trust over it alone."""

import asyncio
import contextlib
import secrets
import socket
import threading
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import psycopg
from tests.unit.trust.planned_contoso import SETTINGS

from remit.trust.applying import apply as applying
from remit.trust.applying import rollback as going_back
from remit.trust.applying.apply import Applying, Seen
from remit.trust.clouds.sql import Databases
from remit.trust.clouds.sql_login import AsAdministrator
from remit.trust.desired.limits import limits
from remit.trust.desired.sql import sql
from remit.trust.planning.diff import plan
from remit.trust.planning.reading import read
from remit.trust.settings import DatabaseRoles

ADMINISTRATOR = "remit"


class Nobody:
    """No token is asked for: these databases take none."""

    async def token(self, scope):
        raise AssertionError(scope)


class Relay:
    """A port on loopback before a server's Unix socket."""

    def __init__(self, path):
        self.path = path
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.ended = False
        self.port = self.listening.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self):
        with contextlib.suppress(OSError), self.listening:
            while True:
                client, _ = self.listening.accept()
                if self.ended:
                    client.close()
                    return
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self.path)
            back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
            back.start()
            self._pump(client, server)
            back.join()

    @staticmethod
    def _pump(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def close(self):
        self.ended = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._accepting.join()


class World:
    """`url`: of a database of the test's own; roles of it are named anew each time, since they are the server's."""

    def __init__(self, url, folder):
        parts = urlsplit(url)
        self.url, self.folder, self.database = url, folder, parts.path.strip("/")
        self.relay = Relay(f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432")
        tag = secrets.token_hex(4)
        self.reader, self.writer, self.group = (f"{name}_{tag}" for name in ("reader", "wri'\"ter", "grp"))
        self.told = []

    def run(self, *statements):
        with psycopg.connect(self.url, autocommit=True) as connection:
            for one in statements:
                connection.execute(one.format(r=self.reader, g=self.group, w=self.writer.replace('"', '""')))

    def ask(self, text, *given):
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(text, given or None).fetchall()

    def roles(self, **grants):
        """The file: `reader` and `writer` by keyword, each object → privileges."""
        return DatabaseRoles(
            name="features",
            address=f"127.0.0.1:{self.relay.port}",
            database=self.database,
            roles=(self.reader, self.writer),
            project="contoso-fraud-test",
            administrator=ADMINISTRATOR,
            grants={getattr(self, name): given for name, given in grants.items()},
        )

    def settings(self, one):
        return replace(SETTINGS, databases=(one,), azure=(), mappings=(), accounts=())

    def cloud(self, settings):
        return Databases(settings, self.folder, AsAdministrator(Nobody()))

    async def look(self, settings):
        wanted = sql(settings)
        found = await read((self.cloud(settings),), wanted)
        return Seen(plan(wanted, found, settings, problems=limits(wanted)), found)

    def applying(self, settings, cloud=None):
        clouds = {"sql": cloud or self.cloud(settings)}
        return Applying(
            clouds, lambda: self.look(settings), self.folder / "trust", self.told.append, lambda _: None, no_sleep
        )

    def plan(self, settings):
        return asyncio.run(self.look(settings)).plan

    def apply(self, settings, *allowed, cloud=None, plan=None):
        made = plan or self.plan(settings)
        return asyncio.run(applying.apply(self.applying(settings, cloud), made.checksum, allowed))

    def resume(self, settings):
        return asyncio.run(applying.resume(self.applying(settings)))

    def rollback(self, settings):
        return asyncio.run(going_back.rollback(self.applying(settings)))

    def names(self, settings):
        return [f"{change.act} {change.name}" for change in self.plan(settings).changes]

    def close(self):
        self.relay.close()
        with psycopg.connect(self.url, autocommit=True) as connection:
            for role in (self.group, self.reader, self.writer):
                name = psycopg.sql.Identifier(role)
                for text in ("REASSIGN OWNED BY {} TO CURRENT_USER", "DROP OWNED BY {} CASCADE", "DROP ROLE {}"):
                    with contextlib.suppress(psycopg.errors.UndefinedObject):
                        connection.execute(psycopg.sql.SQL(text).format(name))


async def no_sleep(seconds):
    del seconds
