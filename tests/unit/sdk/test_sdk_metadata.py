"""Google's metadata server: what its libraries ask, what they must never be given, and what other people get."""

import asyncio
import json

import pytest

from remit.model.errors import NotSignedIn, Refused, SignInAgain
from remit.model.reasons import Reason
from remit.model.secret import AccessToken
from remit.sdk.azure_metadata import Azure
from remit.sdk.broker import Exchanged
from remit.sdk.loopback import Head
from remit.sdk.metadata import Metadata
from remit.sdk.renewal import Tokens
from remit.sdk.resources import OWN, STORAGE
from remit.sdk.sidecar import Front

SECRET = "s3cret"
ROOT = "/computeMetadata/v1/"
ACCOUNTS = ROOT + "instance/service-accounts/"
ACCOUNT = ACCOUNTS + "default/"
FLAVOR = ("metadata-flavor", "Google")
HOST = ("host", "127.0.0.1:8080")
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
OURS = frozenset({"api://remit"})


class Exchange:
    """The broker: a token for each audience, or what it is told to raise."""

    def __init__(self):
        self.trouble = None
        self.asked = []

    def __call__(self, audience):
        self.asked.append(audience)
        if self.trouble:
            raise self.trouble
        return Exchanged(AccessToken(f"token-for-{audience}"), 900)


def front(exchange=None, project="contoso-fraud-test", number=0):
    tokens = Tokens(exchange or Exchange(), lambda: None)
    return Front(SECRET, Metadata(tokens, project, OURS, number), Azure(tokens, project, OURS, "h"))


def ask(server, path, *headers, method="GET", secret=f"/{SECRET}"):
    raw = asyncio.run(server.handle(Head(method, secret + path, (HOST, *headers))))
    head, _, body = raw.partition(b"\r\n\r\n")
    named = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    return int(head.split(b" ")[1]), named, body.decode()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", "computeMetadata/\n"),
        ("/", "computeMetadata/\n"),
        (ROOT, "instance/\nproject/\nuniverse/\n"),
        (ROOT + "project/", "numeric-project-id\nproject-id\n"),
        (ROOT + "project/project-id", "contoso-fraud-test"),
        (ROOT + "project/project-id?alt=text", "contoso-fraud-test"),
        (ROOT + "project/numeric-project-id", "48"),
        (ROOT + "universe/universe-domain", "googleapis.com"),
        (ROOT + "universe/universe_domain", "googleapis.com"),
        (ACCOUNTS, "default/\n"),
        (ACCOUNT, "aliases\nemail\nidentity\nscopes\ntoken\n"),
        (ACCOUNT + "email", "default"),
        (ACCOUNT + "aliases", "default\n"),
        (ACCOUNT + "scopes", SCOPE + "\n"),
        (ACCOUNT + "?recursive=true&alt=text", f"aliases default\nemail default\nscopes {SCOPE}\n"),
    ],
)
def test_what_google_s_libraries_ask(path, text):
    status, headers, body = ask(front(number=48), path, FLAVOR)
    assert (status, body) == (200, text)
    assert headers["content-type"] == "application/text"
    assert headers["metadata-flavor"] == "Google"


ABOUT = {"aliases": ["default"], "email": "default", "scopes": [SCOPE]}


@pytest.mark.parametrize(
    ("path", "document"),
    [
        (ACCOUNT + "?recursive=true", ABOUT),
        (ACCOUNT + "?recursive=True&alt=json", ABOUT),
        (ACCOUNTS + "default?recursive=true", ABOUT),
        (ACCOUNTS + "?recursive=true", {"default": ABOUT}),
        (ROOT + "project/?recursive=true", {"projectId": "contoso-fraud-test", "numericProjectId": 48}),
        (ROOT + "instance/?recursive=true", {"serviceAccounts": {"default": ABOUT}}),
        (ROOT + "project/project-id?alt=json", "contoso-fraud-test"),
    ],
)
def test_what_they_ask_for_as_json(path, document):
    status, headers, body = ask(front(number=48), path, FLAVOR)
    assert (status, json.loads(body)) == (200, document)
    assert headers["content-type"] == "application/json"


def test_a_directory_without_its_slash_is_redirected():
    status, headers, _ = ask(front(), ACCOUNTS + "default", FLAVOR)
    assert (status, headers["location"]) == (301, "default/")


def test_the_ping_needs_no_header_and_a_head_has_no_body():
    assert ask(front(), "/")[0] == 200
    status, headers, body = ask(front(), ROOT + "project/project-id", FLAVOR, method="HEAD")
    assert (status, headers["content-length"], body) == (200, "18", "")


@pytest.mark.promise("V22")
@pytest.mark.parametrize("path", ["/", ACCOUNT + "token", ACCOUNT + "identity?audience=remit", ROOT])
@pytest.mark.parametrize(
    "secret", ["", "/", "//" + SECRET, "/S3CRET", "/s3cre", "/s3cret2", "/%73%33cret", "/s3cret?", "/s3cret%2F", "/ü"]
)
def test_without_the_secret_there_is_nothing(path, secret):
    exchange = Exchange()
    status, _, body = ask(front(exchange), path, FLAVOR, ("metadata", "true"), secret=secret)
    assert status == (403 if secret != "/s3cret?" else 200)  # a query: the ping, which says nothing
    assert exchange.asked == []
    assert SECRET not in body


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", ACCOUNT + "token", (), 403),
        ("GET", ACCOUNT + "token", (("metadata-flavor", "google"),), 403),
        ("GET", ACCOUNT + "token", (FLAVOR, ("x-forwarded-for", "1.2.3.4")), 403),
        ("GET", ACCOUNT + "token", (FLAVOR, ("x-forwarded-for", "")), 403),
        ("GET", "/", (("x-forwarded-for", "1.2.3.4"),), 403),
        ("POST", ACCOUNT + "token", (FLAVOR,), 403),
        ("PUT", "/", (FLAVOR,), 403),
        ("GET", ACCOUNT + "identity", (FLAVOR,), 400),
        ("GET", ACCOUNT + "token/", (FLAVOR,), 404),
        ("GET", ACCOUNT + "email/", (FLAVOR,), 404),
        ("GET", ACCOUNT + "email/x", (FLAVOR,), 404),
        ("GET", ACCOUNTS + "dana@contoso.example/token", (FLAVOR,), 404),
        ("GET", ROOT + "project/numeric-project-id", (FLAVOR,), 404),
        ("GET", ROOT + "instance/attributes/", (FLAVOR,), 404),
        ("GET", ROOT + "/project/project-id", (FLAVOR,), 404),
        ("GET", "/latest/meta-data/", (FLAVOR,), 404),
        ("GET", "/project/project-id", (FLAVOR,), 404),
    ],
)
def test_what_is_refused(method, path, headers, status):
    exchange = Exchange()
    assert ask(front(exchange), path, *headers, method=method)[0] == status
    assert exchange.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        (("host", "attacker.example:8080"), FLAVOR),
        (FLAVOR,),
        (HOST, ("origin", "http://attacker.example"), FLAVOR),
        (HOST, ("sec-fetch-mode", "cors"), FLAVOR),
    ],
)
def test_a_page_in_the_user_s_browser_gets_nothing(headers):
    exchange = Exchange()
    raw = asyncio.run(front(exchange).handle(Head("GET", f"/{SECRET}{ACCOUNT}token", headers)))
    assert raw.startswith(b"HTTP/1.1 403")
    assert exchange.asked == []


def test_a_token_with_the_life_that_it_has():
    exchange = Exchange()
    status, headers, body = ask(front(exchange), ACCOUNT + "token?scopes=a,b", FLAVOR)
    found = json.loads(body)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert found["access_token"] == f"token-for-{STORAGE}contoso-fraud-test"
    assert found["token_type"] == "Bearer"
    assert 890 <= found["expires_in"] <= 900
    assert exchange.asked == [STORAGE + "contoso-fraud-test"]


@pytest.mark.parametrize("audience", ["remit", "api://remit"])
def test_an_id_token_for_the_installation_is_the_caller_s_own(audience):
    status, headers, body = ask(front(), f"{ACCOUNT}identity?audience={audience}&format=full", FLAVOR)
    assert (status, body, headers["content-type"]) == (200, f"token-for-{OWN}", "application/text")


@pytest.mark.parametrize("audience", ["https://service.example", "api://remit/", "Remit", "<script>"])
def test_an_id_token_for_anybody_else_is_not_issued(audience):
    exchange = Exchange()
    status, _, body = ask(front(exchange), f"{ACCOUNT}identity?audience={audience}", FLAVOR)
    assert status == 404
    assert body.startswith("remit issues no ID tokens for ")
    assert exchange.asked == []


@pytest.mark.parametrize("trouble", [Refused(Reason.NO_POLICY_PERMITS, "no bucket"), SignInAgain(1_700_000_000)])
def test_a_refusal_gives_a_word_that_is_good_for_nothing(trouble, capsys):
    exchange = Exchange()
    exchange.trouble = trouble
    status, _, body = ask(front(exchange), ACCOUNT + "token", FLAVOR)
    found = json.loads(body)
    assert (status, found["access_token"]) == (200, "remit-reads-nothing-here")
    assert 300 <= found["expires_in"] <= 600
    assert trouble.message in capsys.readouterr().err


@pytest.mark.parametrize(
    "trouble",
    [NotSignedIn("nobody is signed in"), Refused(Reason.EXCHANGE_UNAVAILABLE), Refused(Reason.PLANE_UNAVAILABLE)],
)
@pytest.mark.parametrize("path", ["token", "identity?audience=remit"])
def test_an_outage_is_no_token_and_says_so(trouble, path, capsys):
    exchange = Exchange()
    exchange.trouble = trouble
    status, _, body = ask(front(exchange), ACCOUNT + path, FLAVOR)
    assert (status, body) == (503, f"remit: no token can be had right now: {trouble.message}\n")
    assert trouble.message in capsys.readouterr().err


def test_once_access_has_been_revoked_there_is_nothing_more(capsys):
    exchange = Exchange()
    exchange.trouble = Refused(Reason.REVOKED)
    server = front(exchange)
    status, headers, body = ask(server, ACCOUNT + "token", FLAVOR)
    assert (status, headers["x-remit-reason"], body) == (403, "revoked", "remit: access has been revoked\n")
    exchange.trouble = None
    assert ask(server, ACCOUNT + "token", FLAVOR)[0] == 403
    assert len(exchange.asked) == 1
    assert capsys.readouterr().err == ""  # whoever started the run says it, once
    assert ask(server, ROOT + "project/project-id", FLAVOR)[2] == "contoso-fraud-test"
