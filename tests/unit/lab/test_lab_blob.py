"""The lab's Blob Storage: whose token, which role, which request; what it answers, and what it writes down.

What lets a request through is held against Azurite and Microsoft's own clients in tests/unit/tensorflow; here the door
has no store behind it, so that whatever passes meets `ServerBusy`.
"""

import asyncio
import json
import re
import time

import pytest

from remit.lab import contoso, contoso_azure
from remit.lab.blob import Blob
from remit.lab.blob_azurite import signature
from remit.lab.entra_keys import Keys
from remit.lab.http import Request, Response
from remit.lab.jwt import SigningKey

HOST = "contosofraudtest.blob.core.windows.net"
READER, WRITER = contoso_azure.FRAUD_TEST_READER, contoso_azure.FRAUD_TEST_STORAGE
KEY = "a2V5" * 16


class Door:
    def __init__(self, keys: Keys, folder) -> None:
        self.keys, self.log = keys, folder / "log.jsonl"
        self.blob = Blob(self.keys, time.time, self.log)

    def token(self, app=READER, key=None, **over) -> str:
        now = int(time.time())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": contoso.issuer(contoso.TENANT, "1.0"),
            "tid": contoso.TENANT,
            "oid": app.principal,
            "appid": app.id,
            "uti": "u",
            "nbf": now - 5,
            "exp": now + 600,
        }
        claims = {name: value for name, value in (claims | over).items() if value is not None}
        return (key or self.keys.signing).sign(claims)

    def ask(self, method="GET", target="/features/x", *, authorization=None, host=HOST, **headers) -> Response:
        path, _, query = target.partition("?")
        pairs = tuple(tuple(pair.partition("=")[::2]) for pair in query.split("&") if pair)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if authorization != "":
            named["authorization"] = authorization or f"Bearer {self.token()}"
        return asyncio.run(self.blob(Request(method, host, path, pairs, named, b"", target)))

    def code(self, *args, **given) -> tuple[int, str]:
        answer = self.ask(*args, **given)
        assert re.search(rb"<Code>(\w+)</Code>", answer.body)[1].decode() == answer.headers["x-ms-error-code"]
        return answer.status, answer.headers["x-ms-error-code"]

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture(scope="module")
def keys() -> Keys:
    """Entra's, which take a while to make."""
    return Keys()


@pytest.fixture
def door(keys, tmp_path) -> Door:
    return Door(keys, tmp_path)


PASSED = (503, "ServerBusy")
ROLE = (403, "AuthorizationPermissionMismatch")


def test_a_good_token_with_a_role_passes_and_an_absent_store_is_said(door):
    answer = door.ask()
    assert (answer.status, answer.headers["x-ms-error-code"]) == PASSED
    assert b"was not told of an Azurite" in answer.body


WRONG_TOKENS = {
    "signature": ({"key": SigningKey()}, "Signature validation failed"),
    "audience": ({"aud": "https://graph.microsoft.com"}, "Audience validation failed"),
    "audiences": ({"aud": ["https://storage.azure.com"]}, "Audience validation failed"),
    "another account": ({"aud": "https://contosofraudprod.blob.core.windows.net"}, "Audience validation failed"),
    "no audience": ({"aud": None}, "Audience validation failed"),
    "expired": ({"exp": int(time.time()) - 1}, "The token is expired"),
    "no end": ({"exp": None}, "The token is expired"),
    "not yet": ({"nbf": int(time.time()) + 86_400}, "not yet valid"),
    "no beginning": ({"nbf": None}, "not yet valid"),
    "issuer": ({"iss": "https://sts.windows.net/other/"}, "Issuer validation failed"),
    "tenant": ({"tid": contoso.FABRIKAM}, "Issuer validation failed"),
    "nobody": ({"oid": None}, "Issuer validation failed"),
}


@pytest.mark.promise("T8")
@pytest.mark.parametrize("name", WRONG_TOKENS)
def test_a_wrong_token_is_answered_as_azure_does(door, name):
    over, detail = WRONG_TOKENS[name]
    answer = door.ask(authorization=f"Bearer {door.token(**over)}")
    assert (answer.status, answer.headers["x-ms-error-code"]) == (401, "InvalidAuthenticationInfo")
    assert f"<AuthenticationErrorDetail>{detail}" in answer.body.decode() or detail in answer.body.decode()
    challenge = answer.headers["www-authenticate"]
    assert challenge == (
        f"Bearer authorization_uri=https://login.microsoftonline.com/{contoso.TENANT}/oauth2/authorize "
        "resource_id=https://storage.azure.com"
    )


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("", (401, "NoAuthenticationInformation")),
        ("Bearer not.a.token", (401, "InvalidAuthenticationInfo")),
        ("Bearer", (401, "InvalidAuthenticationInfo")),
        (f"SharedKey contosofraudtest:{KEY}", (403, "KeyBasedAuthenticationNotPermitted")),
        (f"SharedKeyLite contosofraudtest:{KEY}", (403, "KeyBasedAuthenticationNotPermitted")),
        ("Basic eDp5", (403, "KeyBasedAuthenticationNotPermitted")),
    ],
)
def test_what_is_no_token_does_not_pass(door, authorization, expected):
    assert door.code(authorization=authorization) == expected


def test_a_signature_in_the_address_is_a_key(door):
    assert door.code(target="/features/x?sv=2024-01-01&sig=abc") == (403, "KeyBasedAuthenticationNotPermitted")


@pytest.mark.promise("T6")
@pytest.mark.parametrize(
    ("app", "method", "target", "expected"),
    [
        (READER, "GET", "/features/a/b", PASSED),
        (READER, "HEAD", "/features/a/b", PASSED),
        (READER, "GET", "/features?restype=container&comp=list&prefix=a", PASSED),
        (READER, "PUT", "/features/a", ROLE),
        (READER, "PUT", "/features/a?comp=block&blockid=x", ROLE),
        (READER, "DELETE", "/features/a", ROLE),
        (READER, "PUT", "/features?restype=container", ROLE),
        (READER, "GET", "/staging/a", ROLE),
        (READER, "GET", "/staging?restype=container&comp=list", ROLE),
        (READER, "GET", "/unknown/a", ROLE),
        (READER, "GET", "/?comp=list", ROLE),
        (READER, "GET", "/", ROLE),
        (WRITER, "PUT", "/features/a", PASSED),
        (WRITER, "PUT", "/staging/a?comp=blocklist", PASSED),
        (WRITER, "DELETE", "/staging/a", PASSED),
        (contoso_azure.FRAUD_PROD_READER, "GET", "/features/a", ROLE),
        (contoso.NIGHTLY, "GET", "/features/a", ROLE),
    ],
)
def test_a_role_on_a_container_permits_just_that(door, app, method, target, expected):
    assert door.code(method, target, authorization=f"Bearer {door.token(app)}") == expected


ODD = [
    ("GET", "/features/../staging/x"),
    ("GET", "/features/%2e%2e/staging/x"),
    ("GET", "/features/a/./x"),
    ("GET", "/features\\..\\staging/x"),
    ("GET", "/features%2fx"),
    ("GET", "/%66eatures/x"),
    ("GET", "//features/x"),
    ("GET", "/features/x#/y"),
    ("GET", "/FEATURES/x"),
    ("GET", "/features/x?comp=metadata&comp=list"),
    ("GET", "/features/x?COMP=list"),
    ("GET", "/features/x?restype=container"),
    ("GET", "/features?restype=service&comp=properties"),
    ("GET", "/features/x?comp=tags"),
    ("GET", "/features/x?unknown=1"),
    ("POST", "/features?restype=container&comp=batch"),
    ("POST", "/?restype=service&comp=userdelegationkey"),
    ("PUT", "/features?restype=container&comp=acl"),
    ("PATCH", "/features/x"),
    ("OPTIONS", "/features/x"),
]


@pytest.mark.parametrize(("method", "target"), ODD)
def test_what_another_reader_could_take_for_something_else_goes_no_further(door, method, target):
    status, _ = door.code(method, target, authorization=f"Bearer {door.token(WRITER)}")
    assert 400 <= status < 500


def test_a_copy_would_read_with_somebody_elses_eyes(door):
    bearer = f"Bearer {door.token(WRITER)}"
    source = "https://contosofraudprod.blob.core.windows.net/features/x"
    assert door.code("PUT", authorization=bearer, x_ms_copy_source=source) == (400, "UnsupportedHeader")


@pytest.mark.parametrize("host", ["unknown.blob.core.windows.net", "a.contosofraudtest.blob.core.windows.net"])
def test_an_account_that_contoso_has_not_is_none(door, host):
    assert door.code(host=host)[0] == 404


def test_keys_are_taken_once_the_control_door_allows_them(door):
    door.blob.azurite.place({"address": "http://127.0.0.1:1", "keys": {"contosofraudtest": KEY}})
    headers = {"x-ms-date": "Sun, 22 Nov 2026 18:00:00 GMT", "x-ms-version": "2021-12-02"}
    request = Request("GET", HOST, "/staging/x", (), headers, b"", "/staging/x")
    good = signature(request, headers, "contosofraudtest", KEY)
    given = {name.replace("-", "_"): value for name, value in headers.items()}
    assert door.code(target="/staging/x", authorization=good, **given)[0] == 403
    door.blob.commands()["blob_keys"](True)
    assert door.code(target="/staging/x", authorization=good, **given) == PASSED
    assert door.code(target="/staging/y", authorization=good, **given) == (403, "AuthenticationFailed")
    assert door.code("DELETE", "/staging/x", authorization=good, **given) == (403, "AuthenticationFailed")


@pytest.mark.promise("T3")
def test_who_did_what_to_which_blob_is_written_down(door):
    door.ask("GET", "/features/train/a%20b", x_ms_range="bytes=0-99")
    door.ask("DELETE", "/features/x")
    read, deleted = door.lines()
    assert (read["operationName"], read["category"], read["blob"]) == ("GetBlob", "StorageRead", "train/a b")
    assert read["container"] == "contosofraudtest/features"
    assert read["range"] == "bytes=0-99"
    assert read["identity"]["requester"] == {
        "objectId": READER.principal,
        "tenantId": contoso.TENANT,
        "appId": READER.id,
        "audience": "https://storage.azure.com",
        "tokenIssuer": contoso.issuer(contoso.TENANT, "1.0"),
        "uti": "u",
    }
    assert (deleted["category"], deleted["statusText"]) == ("StorageDelete", "AuthorizationPermissionMismatch")
    assert "eyJ" not in door.log.read_text(), "no token is in a log"


def test_an_assignment_comes_and_goes(door):
    given = {"principal": contoso.NIGHTLY.principal, "container": "contosofraudtest/features"}
    bearer = f"Bearer {door.token(contoso.NIGHTLY)}"
    commands = door.blob.commands()
    commands["assign"](given | {"role": contoso_azure.READER})
    assert door.code(authorization=bearer) == PASSED
    commands["unassign"](given | {"role": contoso_azure.READER})
    assert door.code(authorization=bearer) == ROLE


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("busy", PASSED),
        ("expired", (401, "InvalidAuthenticationInfo")),
        ("role", ROLE),
        ("firewall", (403, "AuthorizationFailure")),
    ],
)
def test_it_fails_when_told_as_often_as_told(door, kind, expected):
    door.blob.faults.add({"kind": kind, "after": 1, "times": 2})
    texts = [door.ask().body.decode() for _ in range(4)]
    assert ["not told" in text for text in texts] == [True, False, False, True]
    door.blob.faults.add({"kind": kind})
    assert door.code() == expected
    with pytest.raises(ValueError, match="kinds"):
        door.blob.faults.add({"kind": "mischief"})
