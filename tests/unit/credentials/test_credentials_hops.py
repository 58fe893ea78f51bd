"""Every hop, well and badly, against a real server; no failure carries a token."""

import asyncio
import gzip
import json
import logging
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from remit.credentials.entra_obo import EntraOnBehalfOf
from remit.credentials.google_iam import GoogleIam
from remit.credentials.google_sts import GoogleSts
from remit.credentials.hop import MAX_ANSWER, Hop, Token, cloud_client, code, metadata_client
from remit.credentials.settings import CredentialSettings
from remit.model.credential import Purpose
from remit.model.errors import HopFailed
from remit.model.reasons import Reason
from remit.model.secret import AccessToken, UnverifiedToken

ACCOUNT = "ml-engineer@contoso-fraud-test.iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
PURPOSE = Purpose(ACCOUNT, (SCOPE,))
NARROW = Purpose(ACCOUNT, (SCOPE,), ("bucket-a", "bucket-b"))
HOPS = ("azure-imds", "entra-obo", "google-sts", "google-iam", "google-downscope")
CANARY = "canary-4f1d"
JSON = {"content-type": "application/json"}


async def _fails(obtainer: Any, identity: Any, purpose: Purpose = NARROW) -> HopFailed:
    """The failure of a chain whose tokens all hold the canary, checked for what it gives away."""
    with pytest.raises(HopFailed) as failed:
        await obtainer.obtain(identity, UnverifiedToken(CANARY), purpose)
    error = failed.value
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    ours = shown.split("async def _fails")[-1]
    assert CANARY not in ours.replace(f"UnverifiedToken({CANARY!r})", "")
    assert CANARY not in repr((error.args, error.message, error.hint))
    chain: BaseException | None = error
    while chain is not None:
        assert isinstance(chain, HopFailed)
        chain = chain.__context__
    return error


def test_the_chain_says_to_each_cloud_what_it_expects(tell: Callable[..., None], somebody: Any) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        credential = await obtainer.obtain(somebody(), UnverifiedToken("dana"), NARROW)
        assert credential.token.reveal() == f"down(sa(fed(obo(dana))|{ACCOUNT}|cloud-platform|1):bucket-a,bucket-b)"
        assert (credential.account, credential.scopes) == (ACCOUNT, (SCOPE,))
        assert 890 <= credential.expires_at - clock.wall() <= 900
        assert "dana" not in repr(credential)
        assert [hop for hop, _, _ in cloud.seen] == list(HOPS)
        imds, obo, sts, iam, down = ((asked, form) for _, asked, form in cloud.seen)
        assert imds[0].method == "GET"
        assert imds[0].headers["metadata"] == "true"
        assert imds[1] == {
            "api-version": "2018-02-01",
            "resource": "api://AzureADTokenExchange",
            "client_id": "3c000000-0000-4000-8000-000000000001",
        }
        assert obo[1] == {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "requested_token_use": "on_behalf_of",
            "scope": "api://remit-google/.default",
            "client_id": "a0000000-0000-4000-8000-000000000001",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": "mi-1",
            "assertion": "dana",
        }
        exchange = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        }
        assert sts[1] == exchange | {
            "subject_token": "obo(dana)",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "audience": "//iam.googleapis.com/projects/100000000002/locations/global/workloadIdentityPools/contoso/providers/entra",
            "scope": "https://www.googleapis.com/auth/iam",
        }
        assert "authorization" not in sts[0].headers
        assert iam[0].path == f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
        assert iam[1] == {"scope": [SCOPE], "lifetime": "900s"}
        rules = json.loads(down[1]["options"])["accessBoundary"]["accessBoundaryRules"]
        assert rules[0] == {
            "availableResource": "//storage.googleapis.com/projects/_/buckets/bucket-a",
            "availablePermissions": ["inRole:roles/storage.objectAdmin", "inRole:roles/storage.legacyBucketReader"],
        }
        assert len(rules) == 2
        for asked, _ in (imds, obo, sts, iam, down):
            assert CANARY not in asked.path

    tell(story)


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500},
        {"status": 503},
        {"status": 429},
        {"status": 408},
        {"status": 302, "headers": {"location": "/elsewhere", **JSON}},
        {"status": 307, "headers": {"location": "https://127.0.0.1:9/", **JSON}},
        {"status": 204, "body": b""},
        {"headers": {"content-type": "text/html"}},
        {"headers": {}},
        {"headers": {**JSON, "content-encoding": "gzip"}, "body": gzip.compress(b"{}")},
        {"body": b""},
        {"body": b"[]"},
        {"body": b"null"},
        {"body": b"{"},
        {"body": b"\xff\xfe"},
        {"body": b'{"access_token":"a","access_token":"b"}'},
        {"body": b'{"expires_in":NaN}'},
        {"body": b'{"a":' + b"[" * 20_000},
        {"body": b" " * (MAX_ANSWER + 1)},
        {"body": b'{"access_token":"canary-4f1d","accessToken":"canary-4f1d",', "half": True},
        {"hang": True},
    ],
    ids=lambda answer: str(answer)[:60],
)
def test_a_hop_that_answers_badly_is_unavailable_and_named(
    tell: Callable[..., None], fake_https: ModuleType, somebody: Any, hop: str, answer: dict[str, Any]
) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        cloud.override[hop] = fake_https.Answer(**answer)
        error = await _fails(obtainer, somebody())
        assert (error.hop, error.reason) == (hop, Reason.EXCHANGE_UNAVAILABLE)
        assert f"`{hop}`" in error.message
        assert cloud.calls[hop] == 1
        assert all("/elsewhere" not in asked.path for _, asked, _ in cloud.seen)

    tell(story, timeout=0.3 if answer.get("hang") else 5.0)


@pytest.mark.parametrize(
    ("hop", "document"),
    [
        ("azure-imds", {"access_token": CANARY, "token_type": "Bearer"}),
        ("azure-imds", {"access_token": CANARY, "token_type": "Bearer", "expires_in": "soon"}),
        ("azure-imds", {"access_token": CANARY, "token_type": "Bearer", "expires_in": "0"}),
        ("entra-obo", {"access_token": CANARY, "token_type": "pop", "expires_in": 3600}),
        ("entra-obo", {"access_token": CANARY, "expires_in": 3600}),
        ("entra-obo", {"access_token": CANARY, "token_type": "Bearer", "expires_in": 3600.0}),
        ("entra-obo", {"access_token": CANARY, "token_type": "Bearer", "expires_in": True}),
        ("entra-obo", {"access_token": CANARY, "token_type": "Bearer", "expires_in": -1}),
        ("entra-obo", {"access_token": CANARY, "token_type": "Bearer", "expires_in": 10**9}),
        ("entra-obo", {"access_token": CANARY, "token_type": "Bearer", "expires_in": 59}),
        ("entra-obo", {"access_token": f"{CANARY}\r\nX: y", "token_type": "Bearer", "expires_in": 3600}),
        ("entra-obo", {"access_token": "", "token_type": "Bearer", "expires_in": 3600}),
        ("entra-obo", {"access_token": [CANARY[:3]], "token_type": "Bearer", "expires_in": 3600}),
        ("google-sts", {"access_token": CANARY, "token_type": "Bearer", "expires_in": 3600}),
        ("google-sts", {"access_token": CANARY, "token_type": "Bearer", "issued_token_type": "id_token"}),
        ("google-iam", {"accessToken": CANARY}),
        ("google-iam", {"expireTime": "2999-01-01T00:00:00Z"}),
        ("google-iam", {"accessToken": CANARY, "expireTime": "2999-01-01T00:00:00Z"}),
        ("google-iam", {"accessToken": CANARY, "expireTime": "2020-01-01T00:00:00Z"}),
        ("google-iam", {"accessToken": CANARY, "expireTime": "2999-13-01T00:00:00Z"}),
        ("google-iam", {"accessToken": CANARY, "expireTime": "2999-01-01T00:00:00+00:00"}),
        ("google-iam", {"accessToken": CANARY, "expireTime": 1795000000}),
        ("google-downscope", {"access_token": CANARY, "token_type": "Bearer", "expires_in": 900}),
    ],
    ids=str,
)
def test_an_answer_of_the_wrong_shape_is_unavailable(
    tell: Callable[..., None], somebody: Any, hop: str, document: dict[str, Any]
) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        cloud.override[hop] = cloud.json(document)
        error = await _fails(obtainer, somebody())
        assert (error.hop, error.reason) == (hop, Reason.EXCHANGE_UNAVAILABLE)

    tell(story)


@pytest.mark.parametrize(
    ("hop", "refusal", "said"),
    [
        (
            "azure-imds",
            (400, {"error": "invalid_request", "error_description": f"Identity {CANARY} not found"}),
            "invalid_request",
        ),
        (
            "entra-obo",
            (400, {"error": "interaction_required", "error_description": f"AADSTS50076: {CANARY}"}),
            "AADSTS50076",
        ),
        (
            "entra-obo",
            (400, {"error": "invalid_grant", "error_description": f"{CANARY} AADSTS50076:"}),
            "invalid_grant",
        ),
        ("entra-obo", (401, {"error": "invalid_client", "error_description": "AADSTS700211: no"}), "AADSTS700211"),
        ("entra-obo", (400, {"error": f"bad {CANARY}"}), "400"),
        ("entra-obo", (400, {"error": [CANARY]}), "400"),
        ("google-sts", (400, {"error": "unauthorized_client", "error_description": CANARY}), "unauthorized_client"),
        ("google-sts", (403, {}), "403"),
        (
            "google-iam",
            (403, {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": CANARY}}),
            "PERMISSION_DENIED",
        ),
        ("google-iam", (404, {"error": {"code": 404, "status": "NOT_FOUND"}}), "NOT_FOUND"),
        ("google-iam", (401, {"error": "unauthenticated"}), "unauthenticated"),
        ("google-downscope", (400, {"error": "invalid_request"}), "invalid_request"),
    ],
    ids=str,
)
def test_a_clouds_refusal_is_told_by_its_own_code_alone(
    tell: Callable[..., None], somebody: Any, hop: str, refusal: tuple[int, Any], said: str
) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        status, document = refusal
        cloud.override[hop] = cloud.json(document, status)
        error = await _fails(obtainer, somebody())
        assert (error.hop, error.reason) == (hop, Reason.EXCHANGE_REFUSED)
        assert said in error.message

    tell(story)


def test_a_refusal_without_json_is_still_a_refusal_and_hints_help(
    tell: Callable[..., None], fake_https: ModuleType, somebody: Any
) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        cloud.override["google-iam"] = fake_https.Answer(b"<html>", 403, {"content-type": "text/html"})
        error = await _fails(obtainer, somebody())
        assert (error.reason, error.message) == (Reason.EXCHANGE_REFUSED, "`google-iam` answered 403")
        cloud.override["google-iam"] = cloud.json({"error": {"status": "PERMISSION_DENIED"}}, 403)
        assert "trust verify" in (await _fails(obtainer, somebody())).hint
        cloud.override["entra-obo"] = cloud.json({"error_description": "AADSTS50076: x"}, 400)
        assert "second factor" in (await _fails(obtainer, somebody(2))).hint

    tell(story)


def test_nothing_is_logged_that_could_be_used(
    tell: Callable[..., None], somebody: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        await obtainer.obtain(somebody(), UnverifiedToken(CANARY), NARROW)
        cloud.override["google-iam"] = cloud.json({"error": {"status": "PERMISSION_DENIED", "message": CANARY}}, 403)
        await _fails(obtainer, somebody(), PURPOSE)

    with caplog.at_level(logging.DEBUG):
        tell(story)
    assert caplog.records
    assert CANARY not in caplog.text
    assert "mi-1" not in caplog.text


def test_a_narrowed_token_lives_no_longer_than_its_source(tell: Callable[..., None], somebody: Any) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        cloud.life["google-downscope"] = 3600
        credential = await obtainer.obtain(somebody(), UnverifiedToken("a"), NARROW)
        assert credential.expires_at - clock.wall() <= 900
        cloud.life["google-downscope"] = 400
        credential = await obtainer.obtain(somebody(), UnverifiedToken("b"), NARROW)
        assert 390 <= credential.expires_at - clock.wall() <= 400

    tell(story)


def test_a_token_that_is_about_to_end_is_not_handed_out(tell: Callable[..., None], somebody: Any) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        ends = datetime.fromtimestamp(clock.wall() + 299, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        cloud.override["google-iam"] = cloud.json({"accessToken": CANARY, "expireTime": ends})
        error = await _fails(obtainer, somebody(), PURPOSE)
        assert (error.hop, error.reason) == ("google-iam", Reason.EXCHANGE_UNAVAILABLE)
        assert "300 s" in error.message

    tell(story)


def test_what_cannot_be_asked_is_refused_before_it_is_asked(tell: Callable[..., None], somebody: Any) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        for account in ("", "x", "a/../../b@c.iam.gserviceaccount.com", "a@b.example", f"{ACCOUNT}\n", f"{ACCOUNT}?x"):
            error = await _fails(obtainer, somebody(), Purpose(account, (SCOPE,)))
            assert (error.hop, error.reason) == ("google-iam", Reason.EXCHANGE_REFUSED)
        assert cloud.calls["google-iam"] == 0
        many = Purpose(ACCOUNT, (SCOPE,), tuple(f"bucket-{number}" for number in range(11)))
        error = await _fails(obtainer, somebody(), many)
        assert (error.hop, error.reason) == ("google-downscope", Reason.EXCHANGE_REFUSED)
        assert cloud.calls["google-downscope"] == 0

    tell(story)


def test_tokens_go_over_https_only() -> None:
    settings = CredentialSettings("t", "a", "s", "m", "p", ())

    async def main() -> None:
        async with cloud_client() as client:
            for base in ("http://sts.example", "https://sts.example/", "", "ftp://x"):
                for make in (
                    lambda base: EntraOnBehalfOf(client, settings, timeout=1, authority=base),
                    lambda base: GoogleSts(client, "p", timeout=1, base=base),
                    lambda base: GoogleIam(client, timeout=1, base=base),
                ):
                    with pytest.raises(ValueError, match="https"):
                        make(base)
            assert not client.follow_redirects
        async with metadata_client() as client:
            assert not client.follow_redirects
            assert not client.trust_env

    asyncio.run(main())


def test_nobody_home_and_an_untrusted_certificate_are_unavailable(fake_https: ModuleType, certificate: Any) -> None:
    async def main() -> None:
        async with cloud_client() as client, fake_https.FakeServer(lambda _: None, certificate) as server:
            for base in ("https://127.0.0.1:9", server.url):
                with pytest.raises(HopFailed) as failed:
                    await GoogleSts(client, "p", timeout=2, base=base).exchange(AccessToken(CANARY))
                assert failed.value.reason is Reason.EXCHANGE_UNAVAILABLE
                assert failed.value.__context__ is None
            assert server.asked == []
            hop = Hop("h", client, timeout=1, words=lambda _: "")
            with pytest.raises(HopFailed, match="InvalidURL"):
                await hop.get("https://127.0.0.1:port", {})

    asyncio.run(main())


@pytest.mark.parametrize("value", [None, 7, "", "two words", "a" * 41, "ya29.x", "line\n", "eyJhbGciOiJSUzI1NiJ9"])
def test_only_the_shape_of_a_code_is_repeated(value: object) -> None:
    assert code(value) == ""
    assert code("unauthorized_client") == "unauthorized_client"


def test_a_token_does_not_print() -> None:
    assert CANARY not in repr(Token(AccessToken(CANARY), 1.0))
