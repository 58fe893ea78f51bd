"""Azure SQL at the edge of its driver: Microsoft's own sends the token that Remit gave, and tells what the server said.

mssql-python's wheel has the driver, without a driver manager: `mssql-odbc`, chosen by its own variable. It stands here
for pyodbc too, which gives the driver the same attribute (SQL_COPT_SS_ACCESS_TOKEN) and needs unixODBC's libraries to
be imported at all. Each failure is one that Azure SQL reports so (`vectors/cloud_errors`).
"""

import json
import os
import subprocess
import sys

import pytest
from tests.unit.sdk.standing import Exchange, standing
from tests.unit.sdk.tds import SECURITY_TOKEN, AzureSql, Login

PRINCIPAL = "Login failed for user '<token-identified principal>'."
FIREWALL = (
    "Cannot open server 'contoso' requested by the login. Client with IP address '192.0.2.7' is not allowed to access "
    "the server.  To enable access, use the Windows Azure Management Portal or run sp_set_firewall_rule on the master "
    "database to create a firewall rule for this IP address or address range.  It may take up to five minutes for this "
    "change to take effect."
)
REFUSALS = {
    "iam": (18456, PRINCIPAL),
    "expired": (18456, f"{PRINCIPAL} Token is expired."),
    "audience": (18456, f"{PRINCIPAL} The server is not currently configured to accept this token."),
    "firewall": (40615, FIREWALL),
    "throttled": (40501, "The service is currently busy. Retry the request after 10 seconds."),
}
EXPECTED = {
    "iam": ("iam", "FROM EXTERNAL PROVIDER", "Entra administrator"),
    "expired": ("expired", "anew for each connection", ""),
    "audience": ("audience", "sql://PROJECT", ""),
    "firewall": ("firewall", "have the address or the network admitted", "administrators of the database server"),
    "throttled": ("throttled", "fewer connections", "owner of the database"),
    "dns": ("dns", "check the name", "DNS"),
    "tls": ("tls", "remit run", "proxy"),
}
PROGRAM = """
import json, sys, mssql_python
import remit, remit.database
host, port, certificate = sys.argv[1:]
mssql_python.pooling(enabled=False)

def tries(name, database, *, host=host, more=f"ServerCertificate={certificate};", **login):
    text = f"Server={host},{port};Database={database};Encrypt=strict;{more}ConnectRetryCount=0;"
    try:
        mssql_python.connect(text, timeout=60, autocommit=True, **login).close()
        told = {"cause": ""}
    except Exception as error:
        found = remit.failures.diagnose(error)
        told = {key: str(getattr(found, key)) for key in ("cause", "service", "hint", "who")}
        told |= {"text": f"{error!r} {error}"}
    print(json.dumps({"name": name, **told}), flush=True)

def attributes():
    return {"attrs_before": remit.database.mssql_attributes("sql://contoso-fraud-test")}

tries("pyodbc's", "features", **attributes())
tries("mssql-python's", "features", token_provider=remit.database.token_provider("sql://contoso-fraud-test"))
for name in ("iam", "expired", "audience", "firewall", "throttled"):
    tries(name, name, **attributes())
tries("dns", "features", host="contoso.database.windows.invalid", **attributes())
tries("tls", "features", more="", **attributes())
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the driver did with every login, and what the server saw: one process, since it loads one driver."""
    folder = tmp_path_factory.mktemp("sql")
    server = AzureSql(folder, REFUSALS)
    try:
        with standing(Exchange(), folder) as environment:
            words = [sys.executable, "-c", PROGRAM, "localhost", str(server.port), str(server.certificate)]
            given = {**os.environ, **environment, "MSSQL_PYTHON_NATIVE_PROVIDER": "mssql-odbc"}
            done = subprocess.run(words, env=given, capture_output=True, text=True, check=False, timeout=300)
    finally:
        server.close()
    assert done.returncode == 0, done.stderr
    return {found["name"]: found for found in map(json.loads, done.stdout.splitlines())}, server.logins, done


@pytest.mark.promise("T6")
def test_the_token_is_on_the_wire_and_no_other_login(told):
    _, logins, _ = told
    features = [login for login in logins if login.database == "features"]
    assert len(features) == 2
    for login in features:
        assert (login.user, login.password, login.library) == ("", "", SECURITY_TOKEN)
        assert login.token == "token-1 //database.windows.net/projects/contoso-fraud-test"
    assert all(isinstance(login, Login) and login.token.startswith("token-") for login in logins)


@pytest.mark.promise("T6")
@pytest.mark.parametrize("name", ["pyodbc's", "mssql-python's"])
def test_the_driver_connects(told, name):
    found, _, _ = told
    assert found[name]["cause"] == "", found[name]


@pytest.mark.promise("T8")
@pytest.mark.parametrize("name", EXPECTED)
def test_a_failure_says_what_it_is(told, name):
    found, (cause, hint, who) = told[0][name], EXPECTED[name]
    assert (found["cause"], found["service"]) == (cause, "SQL"), found
    assert hint in found["hint"], found
    assert who in found["who"], found


@pytest.mark.promise("V22")
def test_no_token_is_told(told):
    _, logins, done = told
    assert logins
    assert not any("token-1" in text for text in (done.stdout, done.stderr))
