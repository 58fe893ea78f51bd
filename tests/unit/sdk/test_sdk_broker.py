"""What clients ask of an installation, and how it is told to them when it says no or nothing."""

from urllib.parse import parse_qs

import pytest

from remit.model.errors import Refused, RemitError, SignInAgain
from remit.model.reasons import Reason
from remit.model.secret import AccessToken
from remit.sdk.broker import Broker
from remit.sdk.configuration import fetch
from remit.sdk.resources import STORAGE

DANA = AccessToken("identity-of-dana")
DOCUMENT = {
    "authority": "https://login.microsoftonline.com",
    "tenant": "t",
    "client": "c",
    "scope": "s",
    "ca_pem": "-----BEGIN CERTIFICATE-----\nZG9vcg==\n-----END CERTIFICATE-----\n",
    "terminated": ["a"],
    "refused": ["b"],
}


def test_an_exchange(installation):
    installation.say("/v1/token", {"access_token": "ya29", "expires_in": 900})
    found = Broker(installation.url).exchange(DANA, STORAGE + "contoso-fraud-test")
    assert (found.token, found.expires_in) == (AccessToken("ya29"), 900)
    [(method, _, headers, body)] = installation.asked
    assert method == "POST"
    assert parse_qs(body.decode())["audience"] == ["//storage.googleapis.com/projects/contoso-fraud-test"]
    assert "authorization" not in headers


def test_a_run_s_exchange_names_it(installation):
    installation.say("/v1/token", {"access_token": "ya29", "expires_in": 900})
    Broker(installation.url).exchange(DANA, STORAGE + "p", "j-1")
    Broker(installation.url).exchange(DANA, STORAGE + "p")
    assert [parse_qs(body.decode()).get("job") for *_, body in installation.asked] == [["j-1"], None]


@pytest.mark.parametrize(("document", "since"), [({"not_before": 1_700_000_000}, 1_700_000_000), ({}, 0), ([], 0)])
def test_a_sign_in_that_no_longer_counts_says_since_when(installation, document, since):
    installation.say("/v1/identity", document, 401, x_remit_reason="sign_in_again")
    with pytest.raises(SignInAgain) as caught:
        Broker(installation.url).identity(DANA)
    assert caught.value.not_before == since


def test_groups_are_asked_for_by_their_paths(installation):
    installation.say("/v1/identity", {"paths": []})
    Broker(installation.url).identity(DANA, groups=True)
    assert installation.asked[0][1] == "/v1/identity?groups=paths"


def test_no_proxy_reads_what_goes_to_loopback(installation, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    installation.say("/v1/identity", {"name": "Dana"})
    installation.say("/v1/configuration", DOCUMENT)
    assert Broker(installation.url).identity(DANA) == {"name": "Dana"}
    assert fetch(installation.url).client == "c"


def test_who_one_is_and_what_was_decided(installation):
    installation.say("/v1/identity", {"name": "Dana"})
    installation.say("/v1/decision", {"challenge": "c1"})
    broker = Broker(installation.url)
    assert broker.identity(DANA) == {"name": "Dana"}
    assert broker.decision(DANA, "d-1") == {"challenge": "c1"}
    assert [path for _, path, *_ in installation.asked] == ["/v1/identity", "/v1/decision?id=d-1"]
    assert {headers["authorization"] for _, _, headers, _ in installation.asked} == {"Bearer identity-of-dana"}


@pytest.mark.parametrize(
    ("status", "document", "headers", "reason", "message"),
    [
        (
            403,
            {"error_description": "not you"},
            {"x_remit_reason": "no_policy_permits"},
            Reason.NO_POLICY_PERMITS,
            "not you",
        ),
        (401, {}, {"x_remit_reason": "token_expired"}, Reason.TOKEN_EXPIRED, Reason.TOKEN_EXPIRED.sentence),
        (403, [], {}, Reason.PLANE_UNAVAILABLE, Reason.PLANE_UNAVAILABLE.sentence),
        (502, b"<html>", {"x_remit_reason": "made up"}, Reason.PLANE_UNAVAILABLE, Reason.PLANE_UNAVAILABLE.sentence),
        (200, [], {}, Reason.PLANE_UNAVAILABLE, Reason.PLANE_UNAVAILABLE.sentence),
    ],
)
def test_an_answer_that_is_no(  # noqa: PLR0917 - a table's columns
    installation, status, document, headers, reason, message
):
    installation.say("/v1/identity", document, status, **headers)
    with pytest.raises(Refused) as caught:
        Broker(installation.url).identity(DANA)
    assert (caught.value.reason, caught.value.message) == (reason, message)


@pytest.mark.parametrize("document", [{}, {"access_token": "x"}, {"access_token": "x", "expires_in": "soon"}])
def test_a_token_that_is_none(installation, document):
    installation.say("/v1/token", document)
    with pytest.raises(RemitError, match="without a token"):
        Broker(installation.url).exchange(DANA, STORAGE + "p")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[bad"])
def test_nobody_answers(url):
    with pytest.raises(RemitError, match="remit does not answer at") as caught:
        Broker(url).exchange(DANA, STORAGE + "p")
    assert caught.value.__context__ is None  # a library's error would hold the request, and the token
    assert "remit serve" in caught.value.hint


def test_a_configuration(installation):
    installation.say("/v1/configuration", DOCUMENT)
    found = fetch(installation.url + "/")
    assert (found.url, found.terminated, found.refused) == (installation.url, frozenset("a"), frozenset("b"))


@pytest.mark.parametrize(
    ("more", "audience"),
    [({}, ""), ({"scope": "api://remit/.default"}, "api://remit"), ({"audience": "pipelines"}, "pipelines")],
)
def test_whom_a_pipeline_s_token_is_for(installation, more, audience):
    installation.say("/v1/configuration", {**DOCUMENT, **more})
    found = fetch(installation.url)
    assert (found.audience, found.provider) == (audience, DOCUMENT["authority"])


@pytest.mark.parametrize(
    "document",
    [
        b"<html>",
        [],
        {},
        {**DOCUMENT, "terminated": None},
        {**DOCUMENT, "ca_pem": "no certificate"},
        {**DOCUMENT, "authority": "http://login.example"},
    ],
)
def test_what_is_no_installation(installation, document):
    installation.say("/v1/configuration", document)
    with pytest.raises(RemitError, match="no installation of remit answers"):
        fetch(installation.url)


@pytest.mark.parametrize(
    "url", ["", "http://127.0.0.1:1", "ftp://127.0.0.1", "http://[bad", "https://127.0.0.1:1", "remit.example"]
)
def test_where_there_is_none(url):
    with pytest.raises(RemitError, match="no installation of remit answers"):
        fetch(url)


@pytest.mark.parametrize(
    "url", ["http://remit.example", "http://127.0.0.1:80@remit.example", "http://10.0.0.1:8443", "http://"]
)
def test_a_sign_in_is_never_shown_to_the_network(url):
    with pytest.raises(RemitError, match="would show your sign-in to the network"):
        fetch(url)
