"""Every refusal that is the gate's own, through the real Envoy: what the caller gets, and that nothing reaches the upstream."""

import http.client
import json

import grpc
import pytest

from remit.model.reasons import Reason

WAYS = ["tunnel", "endpoint"]
JSON = "Content-Type: application/json\r\n"
VERTEX = "us-central1-aiplatform.googleapis.com"
BIDI = "/google.cloud.aiplatform.v1.PredictionService/StreamingPredict"


@pytest.fixture(params=WAYS)
def way(request):
    """Both doors behave alike."""
    return request.param


def refused(world, answer, status, reason, *, asked=0):
    assert (answer.status, answer.reason) == (status, reason)
    assert Reason(reason).http_status == status
    body = json.loads(answer.body)["error"]
    assert body["code"] == status
    assert body["details"][0]["reason"] == reason.upper()
    assert len(world.arbiter.seen) == asked
    assert world.upstream.seen == []


def test_no_identity(world):
    answer = world.call()
    refused(world, answer, 401, "token_missing")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "value", ["Basic dXNlcjpwYXNz", "XBearer abc", "bearer abc", "Bearer a b", "Bearer ", "Bearer ä"]
)
def test_an_identity_that_is_not_one_bearer_token(world, value):
    refused(world, world.call(headers=f"Authorization: {value}\r\n"), 401, "token_malformed")


def test_two_authorization_headers(world):
    token = world.issuer.token()
    refused(world, world.call(token=token, headers="Authorization: Bearer x\r\n"), 401, "token_malformed")


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "HEAD", "FOO"])
def test_a_method_that_no_api_has(world, method):
    answer = world.call(token=world.issuer.token(), method=method)
    assert answer.status == (400 if method == "FOO" else 403)  # Envoy's codec knows no such method at all
    assert world.arbiter.seen == world.upstream.seen == []


@pytest.mark.parametrize("path", ["/v1/a;b", "/v1/a#b", "/v1/[a]", "/v1/a|b", '/v1/"a"', "/v1/a\\b", "/v1/ä"])
def test_a_target_with_odd_characters(world, path):
    answer = world.send(
        f"GET {path} HTTP/1.1\r\nHost: {world.name(VERTEX)}\r\nAuthorization: Bearer {world.issuer.token()}\r\n\r\n".encode(
            "latin-1"
        )
    )
    assert answer.status == 400
    assert world.arbiter.seen == world.upstream.seen == []


def test_an_absolute_target_of_another_host(world):
    answer = world.call("https://storage.googleapis.com/v1/x", token=world.issuer.token())
    assert answer.status == 421
    assert world.arbiter.seen == world.upstream.seen == []


@pytest.mark.parametrize("path", ["/v1/a%2Fb", "/v1/a%5cb"])
def test_escaped_slashes(world, path):
    assert world.call(path, token=world.issuer.token()).status == 400
    assert world.arbiter.seen == world.upstream.seen == []


def test_an_encoded_body(world):
    answer = world.call(
        "/v1/e:predict",
        method="POST",
        token=world.issuer.token(),
        headers=JSON + "Content-Encoding: gzip\r\n",
        body=b"x",
    )
    refused(world, answer, 400, "request_ambiguous")


def test_a_repeated_content_type(world):
    headers = JSON + "Content-Type: text/plain\r\n"
    answer = world.call("/v1/x", method="POST", token=world.issuer.token(), headers=headers, body=b"{}")
    refused(world, answer, 400, "request_ambiguous")


def test_a_get_with_a_body(world):
    answer = world.call(token=world.issuer.token(), body=b"{}")
    refused(world, answer, 400, "request_ambiguous")


def test_a_repeated_host(world):
    answer = world.call(token=world.issuer.token(), headers="Host: storage.googleapis.com\r\n")
    assert answer.status in {400, 421}
    assert world.arbiter.seen == world.upstream.seen == []


def test_a_body_larger_than_16_mib(world):
    answer = world.call("/v1/x", method="POST", token=world.issuer.token(), headers=JSON, body=b"x" * 17_000_000)
    assert answer.status == 413
    assert world.arbiter.seen == world.upstream.seen == []


def test_a_message_larger_than_16_mib(world):
    with pytest.raises(grpc.RpcError) as caught:
        world.rpc(b"\x0a\x01x" + b"\xfa\x06\x80\x80\x80\x08" + b"a" * 2**24, token=world.issuer.token())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert world.arbiter.seen == world.upstream.seen == []


def rpc_refused(world, code, message, body=b"", asked=0, **more):
    with pytest.raises(grpc.RpcError) as caught:
        world.rpc(body, **more)
    assert caught.value.code() is code
    assert message in caught.value.details()
    assert len(world.arbiter.seen) == asked
    assert world.upstream.seen == []


def test_grpc_without_identity(world):
    rpc_refused(world, grpc.StatusCode.UNAUTHENTICATED, "carries no identity")


def test_grpc_methods_on_which_the_client_streams(world):
    token = world.issuer.token()
    rpc_refused(world, grpc.StatusCode.PERMISSION_DENIED, "client streams", path=BIDI, token=token)


def test_a_client_stream_is_refused_without_waiting_for_its_end(world):
    with world.channel() as channel:
        metadata = (("authorization", f"Bearer {world.issuer.token()}"),)
        call = channel.stream_stream(BIDI)(endless(), metadata=metadata, timeout=10)
        with pytest.raises(grpc.RpcError):
            list(call)
    assert call.code() is grpc.StatusCode.PERMISSION_DENIED


def endless():
    import time

    for _ in range(100):
        yield b"x"
        time.sleep(0.05)


def test_two_messages_in_one_call(world):
    with world.channel() as channel:
        metadata = (("authorization", f"Bearer {world.issuer.token()}"),)
        call = channel.stream_unary("/google.cloud.aiplatform.v1.JobService/CreateCustomJob")
        with pytest.raises(grpc.RpcError) as caught:
            call(iter([b"\x0a\x01a", b"\x0a\x01b"]), metadata=metadata, timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(world.arbiter.seen) == 1  # it has its record
    assert world.upstream.seen == []


def test_a_compressed_message(world):
    compressed = {"token": world.issuer.token(), "compression": grpc.Compression.Gzip, "body": b"\x0a\x7f" + b"a" * 127}
    rpc_refused(world, grpc.StatusCode.INVALID_ARGUMENT, "one plain message", asked=1, **compressed)


@pytest.mark.parametrize("kind", ["application/grpc;x=1", "application/grpc+json", "application/grpc-web"])
def test_grpc_of_another_kind(world, kind):
    answer = world.call(
        "/a.B/C", method="POST", token=world.issuer.token(), headers=f"Content-Type: {kind}\r\n", body=b"x"
    )
    assert answer.headers["grpc-status"] == "3"
    assert world.arbiter.seen == world.upstream.seen == []


def test_grpc_with_another_verb(world):
    headers = "Content-Type: application/grpc\r\n"
    answer = world.call("/a.B/C", method="PUT", token=world.issuer.token(), headers=headers, body=b"\0\0\0\0\0")
    assert answer.headers["grpc-status"] == "3"
    assert world.arbiter.seen == world.upstream.seen == []


def test_garbage_tokens_never_reach_the_arbiter(world):
    token = world.issuer.token()
    signature = token.rpartition(".")[2]
    cases = {
        "garbage": "token_malformed",
        "a.b.c": "token_malformed",
        token[: -len(signature)] + signature[::-1]: "token_signature",
        world.issuer.token(exp=1): "token_expired",
        world.issuer.token(nbf=2**31): "token_not_yet_valid",
        world.issuer.token(aud="somebody"): "token_audience",
        world.issuer.token(iss="https://evil.example"): "token_issuer",
    }
    for given, reason in cases.items():
        answer = world.call(f"/v1/{reason}", token=given)
        refused(world, answer, 401, reason)
        assert "invalid_token" in answer.headers["www-authenticate"]
    rpc_refused(world, grpc.StatusCode.UNAUTHENTICATED, "not accepted", token=world.issuer.token(exp=1))


def test_a_token_in_the_query_is_no_identity(world):
    refused(world, world.call(f"/v1/x?access_token={world.issuer.token()}"), 401, "token_missing")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "request_malformed"), (401, "token_claims"), (403, "method_unknown"), (503, "record_unavailable")],
)
def test_the_arbiters_refusal_goes_through_as_it_is(world, status, reason):
    reply = world.arbiter.refuse(status, reason, www_authenticate='Bearer claims="x"')
    world.arbiter.answer = lambda _: reply
    answer = world.call(f"/v1/{reason}", token=world.issuer.token())
    assert (answer.status, answer.reason, answer.body) == (status, reason, reply.body)
    assert answer.headers["www-authenticate"] == 'Bearer claims="x"'
    assert answer.headers["x-remit-decision"] == reply.headers["x-remit-decision"]
    assert answer.headers["cache-control"] == "no-store"
    assert world.upstream.seen == []


def test_the_arbiters_refusal_over_grpc(world):
    world.arbiter.answer = lambda _: world.arbiter.refuse()
    rpc_refused(
        world, grpc.StatusCode.PERMISSION_DENIED, "no policy permits this, really", asked=1, token=world.issuer.token()
    )


def test_a_refusal_without_a_grpc_status_gets_the_one_of_its_code(world):
    reply = world.arbiter.refuse(403)
    del reply.headers["x-remit-grpc-status"], reply.headers["x-remit-grpc-message"]
    world.arbiter.answer = lambda _: reply
    rpc_refused(world, grpc.StatusCode.PERMISSION_DENIED, "no_policy_permits", asked=1, token=world.issuer.token())


def test_a_refusal_cannot_say_grpc_ok(world):
    reply = world.arbiter.refuse(403)
    reply.headers["x-remit-grpc-status"] = "0"
    world.arbiter.answer = lambda _: reply
    rpc_refused(world, grpc.StatusCode.PERMISSION_DENIED, "", asked=1, token=world.issuer.token())


def test_a_refusal_of_a_head_has_no_body(world):
    """Else it would be the beginning of the next answer on a connection that callers share."""
    head = f"HEAD /v1/x HTTP/1.1\r\nHost: {world.name(VERTEX)}\r\n\r\n".encode()
    with world.tunnel(world.name(VERTEX)) as inner:
        for _ in range(2):
            inner.sendall(head)
            answer = http.client.HTTPResponse(inner, method="HEAD")
            answer.begin()
            assert (answer.status, answer.headers["x-remit-reason"]) == (401, "token_missing")
            assert int(answer.headers["content-length"]) > 0
        inner.settimeout(0.2)
        with pytest.raises(TimeoutError):
            inner.recv(1)
