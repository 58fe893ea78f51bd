"""How databases are entered to look and to change: TLS that is checked, Entra's tokens, Remit's own certificates."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from tests.conftest import EXAMPLE
from tests.unit.sql.conftest import Front, Loop
from tests.unit.trust.sql_world import World

from remit.assembly import rooms
from remit.assembly.trust import PolicyWants
from remit.assembly.trust_databases import AsDoor, entered
from remit.credentials.database_certificate import DatabaseCertificates
from remit.model.errors import TrustBroken
from remit.model.secret import AccessToken
from remit.settings.read import read
from remit.sql.settings import DoorSettings
from remit.trust.clouds.port import CloudRefused, Denied
from remit.trust.clouds.sql import Databases
from remit.trust.clouds.sql_login import SCOPE, AsAdministrator, session, takes_tokens
from remit.trust.desired.sql import sql
from remit.trust.things import Ref, settled
from remit.trust.verifying.verify import Sight, Verify

TOKEN = "eyJ0-entra-token-of-the-administrator"
PRINCIPAL = "5e000000-0000-4000-8000-000000000077"
CLIENT = "contoso-fraud-test/Pipeline"
# as Azure's own: a role of an application's, with a label that says whose
ENTRAS = """
CREATE OR REPLACE FUNCTION pg_catalog.pgaadauth_create_principal_with_oid(text, text, text, boolean, boolean)
RETURNS text LANGUAGE plpgsql SET allow_system_table_mods = on AS $$ BEGIN
  EXECUTE format('CREATE ROLE %I LOGIN', $1);
  INSERT INTO pg_shseclabel
       SELECT oid, 1260, 'pgaadauth', 'aadauth,oid=' || $2 || ',type=' || $3 FROM pg_roles WHERE rolname = $1;
  RETURN $1;
END $$
"""


class Tokens:
    def __init__(self, token):
        self.token_, self.asked = token, []

    async def token(self, scope):
        self.asked.append(scope)
        return AccessToken(self.token_)


@pytest.fixture
def world(postgres_database, tmp_path):
    made = World(postgres_database, tmp_path)
    made.run("CREATE TABLE features (id int)")
    yield made
    made.close()


@pytest.fixture
def front(postgres, tmp_path):
    """PostgreSQL with TLS, asking for Entra's token; with an authority, for certificates of it instead."""
    loop = Loop()
    unix = f"{parse_qs(urlsplit(postgres).query)['host'][0]}/.s.PGSQL.5432"
    made = Front(unix, None, tmp_path)
    made.token = TOKEN
    loop.run(made.start())
    yield made
    loop.run(made.stop())
    loop.close()


def behind(front, one, **more):
    return replace(one, address=f"127.0.0.1:{front.port}", roots=str(front.certificate), **more)


async def asked(one, folder, login, text="SELECT current_user::text"):
    async with session(one, folder, login) as opened:
        return (await (await opened.execute(text.encode())).fetchone())[0]


def test_nothing_of_the_environment_says_where_to_go(world, monkeypatch):
    """Nor what names mean there, nor as which role."""
    for name, value in {
        "PGHOSTADDR": "203.0.113.1",
        "PGHOST": "elsewhere.example",
        "PGUSER": "nobody",
        "PGDATABASE": "elsewhere",
        "PGOPTIONS": "-c role=nobody",
        "PGSSLMODE": "disable",
    }.items():
        monkeypatch.setenv(name, value)
    login = AsAdministrator(Tokens(""))
    assert asyncio.run(asked(world.roles(), world.folder, login)) == "remit"
    told = asyncio.run(asked(world.roles(), world.folder, login, "SELECT pg_catalog.current_setting('search_path')"))
    assert told == "pg_catalog, pg_temp"


@pytest.mark.promise("T6")
def test_beyond_this_machine_nothing_is_said_without_tls(world, front, monkeypatch):
    """A server that has none, or shows a certificate of nobody's, hears no password."""
    monkeypatch.setenv("PGPASSWORD", "a-password-to-keep")
    one = behind(front, world.roles())
    with pytest.raises(CloudRefused, match="certificate verify failed"):
        asyncio.run(asked(replace(one, roots=""), world.folder, AsAdministrator(Tokens(""))))
    monkeypatch.setattr("remit.trust.clouds.sql_login.is_loopback", lambda _: False)
    with pytest.raises(CloudRefused, match="does not support SSL") as refused:
        asyncio.run(asked(world.roles(), world.folder, AsAdministrator(Tokens(""))))
    assert "PGPASSFILE" in refused.value.hint
    assert not front.seen


@pytest.mark.promise("T6")
def test_an_administrator_of_entras_logs_in_with_a_token_and_it_is_never_repeated(world, front):
    one = behind(front, world.roles(), clients=(CLIENT,))
    tokens = Tokens(TOKEN)
    assert asyncio.run(asked(one, world.folder, AsAdministrator(tokens))) == "remit"
    assert tokens.asked == [SCOPE]
    said = b"SFATAL\0C28P01\0Mpassword authentication failed for " + TOKEN.encode() + b"\0\0"
    front.answers["remit"] = b"R\0\0\0\x08\0\0\0\x03" + b"E" + (len(said) + 4).to_bytes(4) + said
    with pytest.raises(CloudRefused, match="it was refused") as refused:
        asyncio.run(asked(one, world.folder, AsAdministrator(tokens)))
    assert TOKEN[:8] not in refused.value.message + refused.value.hint


@pytest.mark.promise("T6")
def test_a_password_is_not_told_to_a_server_that_asks_for_it_in_clear(world, front, monkeypatch):
    """Whoever changes an address has a certificate for it."""
    monkeypatch.setenv("PGPASSWORD", TOKEN)
    one = behind(front, world.roles())
    with pytest.raises(CloudRefused, match="cleartext password"):
        asyncio.run(asked(one, world.folder, AsAdministrator(Tokens(""))))
    monkeypatch.setenv("PGREQUIREAUTH", "password")
    assert asyncio.run(asked(one, world.folder, AsAdministrator(Tokens("")))) == "remit"


@pytest.mark.promise("T6")
def test_a_token_goes_to_no_host_but_azures_whatever_the_file_says(world):
    """It opens every database of Azure's that its holder administers: whoever changes an address would have it."""
    hosts = (
        "db.evil.example",
        "postgres.database.azure.com.evil.example",
        "xpostgres.database.azure.com",
        "203.0.113.1",
    )
    tokens = Tokens(TOKEN)
    for host in hosts:
        one = replace(world.roles(), address=f"{host}:5432", clients=(CLIENT,))
        with pytest.raises(CloudRefused, match="no token is sent"):
            asyncio.run(asked(one, world.folder, AsAdministrator(tokens)))
    assert tokens.asked == []
    assert takes_tokens("Features.postgres.database.azure.com")


def test_a_role_of_an_applications_is_made_by_its_object_id(world, front, postgres):
    one = behind(front, world.roles(), roles=(world.reader,), clients=(CLIENT,))
    settings = world.settings(one)
    cloud = Databases(settings, world.folder, AsAdministrator(Tokens(TOKEN)))
    role = next(thing for thing in sql(settings) if thing.address.kind == "sql.role")
    given = {ref: PRINCIPAL for ref in (role.fields["principal"],) if isinstance(ref, Ref)}
    wanted = replace(role, fields=settled(role.fields, given))
    with psycopg.connect(postgres, autocommit=True) as owner:
        owner.execute("SET allow_system_table_mods = on")
        owner.execute(ENTRAS)
        try:
            made = asyncio.run(cloud.make(wanted))
            again = asyncio.run(cloud.make(wanted))
            other = replace(wanted, fields={**wanted.fields, "principal": PRINCIPAL.replace("77", "78")})
            with pytest.raises(CloudRefused, match="with other principal"):
                asyncio.run(cloud.make(other))
        finally:
            owner.execute("DROP FUNCTION pg_catalog.pgaadauth_create_principal_with_oid")
    assert (made, again) == (again, made)
    assert made.fields["principal"] == PRINCIPAL
    several = replace(one, roles=(world.writer,), clients=(CLIENT, "contoso-fraud-test/MLEngineer"))
    cloud = Databases(world.settings(several), world.folder, AsAdministrator(Tokens(TOKEN)))
    role = next(thing for thing in sql(world.settings(several)) if thing.address.kind == "sql.role")
    with pytest.raises(CloudRefused, match="it has several applications"):
        asyncio.run(cloud.make(role))


@pytest.fixture
def house(world, front, tmp_path):
    """Contoso's file, over this database, entered with Remit's certificates."""
    shutil.copytree(EXAMPLE, tmp_path / "contoso", ignore=shutil.ignore_patterns(".remit"))
    file = tmp_path / "contoso" / "remit.yaml"
    text = file.read_text().replace("features-test.contoso.example:5432", f"127.0.0.1:{front.port}")
    text = text.replace("    roles: [features_reader, features_writer]", f"    roles: [{world.reader}]", 1)
    text = text.replace(
        "    database: features\n", f"    database: {world.database}\n    ca_file: {front.certificate}\n", 1
    )
    at = text.index("\n# PostgreSQL behind")
    grants = f"{world.reader}: {{tables/public.features: [SELECT]}}"
    trust = f"  databases:\n    features: {{administrator: remit, roles: {{{grants}}}}}\n"
    file.write_text(text[:at] + trust + text[at:])
    return read(file)


@pytest.mark.promise("V3")
def test_a_database_without_a_door_is_not_set_up_and_not_broken(house):
    cloud = Databases(house.trust, house.file.parent, AsDoor(house))
    sight = Sight({}, None, None, None, None, frozenset(), frozenset(), "2026-11-23", databases=cloud)
    verify = Verify(house.trust, (), sight, None, PolicyWants(rooms.judge(house), house.estate, ""))
    asyncio.run(verify._databases(()))
    assert (verify._hops, verify._findings) == ([], [])
    [said] = (line for line in verify._unseen if line.startswith("the database `features` "))
    assert "is not set up: remit.yaml has no `gateway.databases`: write where Remit's door listens" in said
    assert not house.database_authority.exists(), "nobody's authority is made by looking"


@pytest.mark.promise("V3")
def test_remit_itself_looks_and_walks_as_its_roles_where_it_has_the_key(world, front, house):
    [one] = (each for each in house.trust.databases if each.administrator)
    cloud = Databases(house.trust, house.file.parent, AsDoor(house))

    opened = replace(house, sql=DoorSettings("127.0.0.1", 5433, Path("arbiter.sock"), {}))

    async def walked():
        async with rooms.open_hops(house) as hops:
            return await entered(house, hops, one.name, world.reader)

    with pytest.raises(TrustBroken, match="cannot log in"):
        asyncio.run(Databases(opened.trust, opened.file.parent, AsDoor(opened)).look(one))
    assert asyncio.run(walked()) is False
    assert not house.database_authority.exists(), "nobody's authority is made by looking"
    DatabaseCertificates(house.database_authority).make("nobody", "t/nobody")
    front.authority = house.database_authority / "ca.pem"
    with pytest.raises(TrustBroken, match="does not exist"):
        asyncio.run(walked())
    world.run("CREATE ROLE {r} LOGIN", "GRANT DELETE ON features TO {r}")
    assert asyncio.run(walked()) is True
    assert {seen["commonName"] for seen in front.seen} == {world.reader}
    look = asyncio.run(cloud.look(one))
    assert [(str(each.place), each.privilege) for each in look.held] == [("tables/public.features", "DELETE")]
    wants = PolicyWants(rooms.judge(house), house.estate, house.credentials.tenant)
    sight = Sight({}, None, None, None, None, frozenset(), frozenset(), "2026-11-23", databases=cloud)

    class Door:
        async def enter(self, database, role):
            return await walked()

    verify = Verify(house.trust, (), sight, Door(), wants)
    asyncio.run(verify._databases(()))
    assert [(hop.name, hop.holds, hop.walked) for hop in verify._hops] == [
        (f"sql-login features/{world.reader}", True, True)
    ]
    found = {(one.kind, one.permission, one.role) for one in verify._findings}
    roles = "MLEngineer and Pipeline"  # as examples/contoso/policies/databases.cedar says
    assert found == {("missing", "SELECT", roles), ("missing", "CONNECT", roles), ("excess", "DELETE", roles)}
    assert "the database `features-prod`: `trust.databases` does not name it" in verify._unseen
    with pytest.raises(Denied):
        asyncio.run(cloud.make(next(thing for thing in sql(house.trust) if "SELECT" in thing.address.name)))
