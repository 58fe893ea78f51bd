"""The script for PostgreSQL's roles, carried out by a real server, twice."""

import psycopg
import pytest

from remit.trust.planning.sql import sql
from remit.trust.settings import DatabaseRoles
from remit.trust.things import Address, Ref

ODD = "re$remit$ader"  # a role that would end the quote that it stands in


def statements(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith(("\\", "--")))


@pytest.mark.promise("T6")
def test_a_server_that_held_nothing_holds_the_roles_and_no_more(postgres_database):
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        name = connection.info.dbname
        told = sql([DatabaseRoles("features", "db.example:5432", name, ("plain_reader", ODD))], {})
        connection.execute("CREATE ROLE \"plain_reader\" SUPERUSER PASSWORD 'left'")
        for _ in range(2):
            connection.execute(statements(told))
        rows = connection.execute(
            "SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolbypassrls, rolpassword IS NULL, "
            "has_database_privilege(rolname, %s, 'CONNECT') FROM pg_authid WHERE rolname = ANY(%s) ORDER BY 1",
            (name, ["plain_reader", ODD]),
        ).fetchall()
        for role in ("plain_reader", ODD):
            connection.execute(f'REVOKE ALL ON DATABASE "{name}" FROM "{role}"; DROP ROLE "{role}"')
    assert rows == [(role, True, False, False, False, True, True) for role in ("plain_reader", ODD)]
    assert "\\connect postgres - db.example 5432" in told
    assert f'hostssl  {name}  plain_reader,"{ODD}"  NETWORK  cert' in told


def test_an_application_of_entras_logs_in_as_a_role_by_its_object_id():
    client = "contoso-fraud-test/Pipeline"
    one = DatabaseRoles("claims", "[fd00::1]:5432", "claims", ("it's",), (client,))
    ids = {Ref(Address("entra.principal", client), "id"): "5e000000-0000-4000-8000-000000000011"}
    told = sql([one], ids)
    assert "\\connect postgres - fd00::1 5432" in told
    create = "pgaadauth_create_principal_with_oid('it''s', '5e000000-0000-4000-8000-000000000011', 'service'"
    assert create in told
    assert "remit trust apply" in sql([one], {}), "what Entra has yet to give is said, not left out"
    assert "pgaadauth_create" not in sql([one], {})
    more = DatabaseRoles("claims", "a:1", "claims", ("one", "two"), (client,))
    told = sql([more], ids)
    assert "2 roles and 1 application" in told
    assert not [line for line in told.splitlines() if line.startswith(("SELECT", "WHERE"))], "a person says whose it is"
