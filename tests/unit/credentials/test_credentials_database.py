"""Logins to databases: certificates for one role and some minutes, and Azure's tokens for those who have a line."""

import asyncio
import datetime as dt
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from remit.credentials import database_certificate
from remit.credentials.database_certificate import MINUTES, DatabaseCertificates, ensure
from remit.credentials.database_login import DatabaseLogin, DatabaseLogins, LoginKind
from remit.credentials.settings import AzureLine
from remit.model.credential import Cloud, Credential
from remit.model.errors import HopFailed, Refused, SettingsInvalid
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.reasons import Reason
from remit.model.secret import AccessToken

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
DANA = Identity(
    principal=Principal("https://issuer", "6f1c2a34-8b5d-4e6f-9a01-c0de00000001", "d" * 36, Kind.PERSON),
    display="Dana",
    groups=frozenset(),
    groups_at=0,
    roles=frozenset({"MLEngineer"}),
    scopes=frozenset(),
    client="cli",
    authentication=Authentication(),
    guest=False,
    issued_at=0,
    expires_at=0,
    token_id="uti",
)
CLIENT = "a0000000-0000-4000-8000-000000000011"
LINE = AzureLine("MLEngineer", "p", CLIENT, "remit/p/MLEngineer", ("postgresql",), databases=("events",))


def request(name="fraud", role="fraud_reader", project="p"):
    place = f"//remit/projects/{project}/databases/{name}/roles/{role}"
    action = Action("postgresql.databases.connect", Group.USE)
    return Request((Operation(action, (Resource("DatabaseRole", place, project),)),))


class Azure:
    async def obtain(self, identity, token, purpose):
        self.purpose = purpose
        return Credential(AccessToken("entra"), 0, purpose.account, purpose.scopes)


@pytest.fixture
def logins(tmp_path):
    known = (DatabaseLogin("fraud", "p", LoginKind.CERTIFICATE), DatabaseLogin("events", "p", LoginKind.ENTRA))
    found = DatabaseLogins(known, (LINE,), DatabaseCertificates(tmp_path / "ca", lambda: NOW), Azure())
    found.folder = tmp_path / "ca"
    return found


def obtained(logins, identity, asked):
    purpose = logins.purpose(identity, asked)
    return purpose, asyncio.run(logins.obtain(identity, None, purpose))


def test_a_certificate_is_for_one_role_and_names_the_person(logins):
    purpose, credential = obtained(logins, DANA, request())
    assert (purpose.account, credential.account, credential.scopes) == ("fraud_reader", "fraud_reader", ())
    found = x509.load_pem_x509_certificate(credential.token.reveal().encode())
    assert [one.value for one in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["fraud_reader"]
    assert found.subject.get_attributes_for_oid(NameOID.USER_ID)[0].value == DANA.principal.key
    assert found.not_valid_after_utc == NOW + dt.timedelta(minutes=MINUTES)
    assert credential.expires_at == int(found.not_valid_after_utc.timestamp())
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(usage.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    authority = ensure(logins.folder, NOW)
    found.verify_directly_issued_by(authority.certificate)
    assert "PRIVATE" not in repr(credential)


def test_every_certificate_has_a_key_of_its_own(logins):
    keys = {obtained(logins, DANA, request())[1].token.reveal() for _ in range(3)}
    assert len(keys) == 3


def test_the_authority_stays(logins, tmp_path):
    obtained(logins, DANA, request())
    before = (logins.folder / "ca.pem").read_bytes()
    again = DatabaseCertificates(logins.folder, lambda: NOW)
    again.make("fraud_reader", "t/dana")
    assert (logins.folder / "ca.pem").read_bytes() == before
    assert sorted(path.name for path in logins.folder.iterdir()) == ["ca.key", "ca.pem"]
    assert (logins.folder / "ca.key").stat().st_mode & 0o777 == 0o600


def spoilt(folder, what):
    other = DatabaseCertificates(folder.with_name("other"), lambda: NOW)
    other.make("a", "t/a")
    match what:
        case "another key":
            (folder / "ca.key").write_bytes((other._folder / "ca.key").read_bytes())
        case "open to others":
            (folder / "ca.key").chmod(0o644)
        case "no key":
            (folder / "ca.key").unlink()
        case "no certificate":
            (folder / "ca.pem").write_text("nothing")


@pytest.mark.parametrize("what", ["another key", "open to others", "no key", "no certificate"])
def test_an_authority_that_is_not_whole_signs_nothing(logins, what):
    obtained(logins, DANA, request())
    spoilt(logins.folder, what)
    with pytest.raises((HopFailed, SettingsInvalid, ValueError, OSError)):
        ensure(logins.folder, NOW)
    with pytest.raises(HopFailed) as caught:
        DatabaseCertificates(logins.folder, lambda: NOW).make("fraud_reader", "t/dana")
    assert caught.value.reason is Reason.EXCHANGE_UNAVAILABLE
    assert caught.value.hop == database_certificate.HOP


def test_an_authority_that_has_expired_says_so(logins):
    obtained(logins, DANA, request())
    with pytest.raises(HopFailed, match="has expired"):
        ensure(logins.folder, NOW + dt.timedelta(days=2000))


@pytest.mark.parametrize("role", ["", "x" * 64, "ü" * 32])
def test_a_role_has_a_name_that_postgresql_keeps_whole(logins, role):
    with pytest.raises(HopFailed):
        logins._certificates.make(role, "t/dana")


def test_a_token_is_the_lines_own(logins):
    purpose, credential = obtained(logins, DANA, request("events", "writer"))
    assert (purpose.cloud, purpose.account) == (Cloud.AZURE, CLIENT)
    assert purpose.scopes == ("https://ossrdbms-aad.database.windows.net/.default",)
    assert credential.token.reveal() == "entra"


@pytest.mark.parametrize(
    "line",
    [
        replace(LINE, role="Auditor"),
        replace(LINE, project="q"),
        replace(LINE, services=("storage", "sql")),
        replace(LINE, databases=()),
        replace(LINE, databases=("other",)),
    ],
)
def test_nobody_logs_in_without_a_line(logins, line):
    logins._lines = (line,)
    with pytest.raises(Refused) as caught:
        logins.purpose(DANA, request("events", "writer"))
    assert caught.value.reason is Reason.NO_ACCOUNT


@pytest.mark.parametrize(
    "asked",
    [
        request("other"),
        request(project="q"),
        Request((*request().operations, *request().operations)),
        Request((replace(request().first, resources=request().first.resources * 2),)),
        Request((replace(request().first, resources=(replace(request().first.resources[0], type="Database"),)),)),
        Request((replace(request().first, resources=(replace(request().first.resources[0], name="//a/b"),)),)),
    ],
)
def test_a_login_is_to_one_known_database_as_one_role(logins, asked):
    with pytest.raises(Refused):
        logins.purpose(DANA, asked)
