"""Databases in remit.yaml: what the door and policy are told, and what cannot be."""

import pytest
from tests.unit.settings.test_settings_read import TEXT, changed, problems

from remit.credentials.database_login import LoginKind
from remit.settings.read import read

DATABASES = """
databases:
  - name: claims
    project: contoso-fraud-test
    address: db.contoso.example:5432
    database: claims_v2
    roles: [claims_reader, claims_writer]
    ca_file: db-ca.pem
"""
DOOR = "  listen: 127.0.0.1:8443\n"


def with_databases(door="  databases: 127.0.0.1:5433\n", databases=DATABASES):
    """The example, with these in the place of its own."""
    return changed(DOOR, DOOR + door).partition("\ndatabases:\n")[0] + "\n" + databases


def test_what_is_read(tmp_path):
    (tmp_path / "remit.yaml").write_text(with_databases())
    settings = read(tmp_path / "remit.yaml")
    found = settings.estate.database("claims")
    assert (found.project, found.roles) == ("contoso-fraud-test", ("claims_reader", "claims_writer"))
    door = settings.sql
    assert (door.host, door.port, door.certificate) == ("127.0.0.1", 5433, None)
    assert door.arbiter == settings.gateway.arbiter_socket
    target = door.databases["claims"]
    assert (target.host, target.port, target.database) == ("db.contoso.example", 5432, "claims_v2")
    assert target.roots == tmp_path / "db-ca.pem"
    assert [(one.name, one.kind) for one in settings.logins] == [("claims", LoginKind.CERTIFICATE)]
    assert settings.database_authority == tmp_path / ".remit" / "databases"


def test_without_any_there_is_no_door(tmp_path):
    (tmp_path / "remit.yaml").write_text(TEXT)
    assert read(tmp_path / "remit.yaml").sql is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (with_databases("  databases: 0.0.0.0:5433\n"), "needs `gateway.tls`"),
        (with_databases("  databases: localhost:5433\n"), "is not an IP address"),
        (with_databases("  databases: 127.0.0.1:0\n"), "names no port"),
        (with_databases("  databases: 127.0.0.1:8443\n"), "is where the door itself listens"),
        (with_databases(databases=""), "none under `databases`"),
        (with_databases(databases=DATABASES.replace("fraud-test", "fraud-none")), "is no project"),
        (with_databases(databases=DATABASES.replace(":5432", ":70000")), "names no port"),
        (with_databases(databases=DATABASES.replace("claims_writer", "claims_reader")), "stands twice"),
        (with_databases(databases=DATABASES + DATABASES.replace("\ndatabases:\n", "")), "stands twice"),
        (with_databases(databases=DATABASES.replace("[claims_reader, claims_writer]", "[]")), "at least 1"),
        (with_databases(databases=DATABASES.replace("claims_writer", "'a\"b'")), "does not have the form"),
        (with_databases(databases=DATABASES.replace("claims_writer", "a/b")), "does not have the form"),
        (with_databases(databases=DATABASES + "    login: entra\n"), "no line of `credentials.azure.accounts`"),
        (with_databases(databases=DATABASES + "    login: password\n"), "login"),
        (with_databases(databases=DATABASES + "    password: x\n"), "is not a key"),
    ],
)
def test_what_cannot_be(tmp_path, text, said):
    assert any(said in found[2] for found in problems(tmp_path, text))
