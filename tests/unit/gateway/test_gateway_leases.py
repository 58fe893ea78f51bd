"""Leases: repeated for the same question only, for half a second at most, and never shared between callers."""

import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

JSON = "Content-Type: application/json\r\n"
PREDICT = "/google.cloud.aiplatform.v1.PredictionService/Predict"
CREATE = "/google.cloud.aiplatform.v1.JobService/CreateCustomJob"
LOGGING = "logging.googleapis.com"
E = "/v1/projects/p/locations/us-central1/endpoints/"


@pytest.fixture
def leased(world):
    world.arbiter.answer = lambda _: world.arbiter.permit(500)
    return world


def asked(world, path):
    return len([seen for seen in world.arbiter.seen if seen.target == f"/check{path}"])


def test_a_lease_answers_for_half_a_second(leased):
    token = leased.issuer.token()
    began = time.monotonic()
    while time.monotonic() - began < 0.35:
        assert leased.call("/v1/a", token=token).status == 200
    assert asked(leased, "/v1/a") == 1
    time.sleep(0.3)
    leased.call("/v1/a", token=token)
    assert asked(leased, "/v1/a") == 2


def test_half_a_second_counts_from_the_question(world):
    world.arbiter.answer = lambda _: world.arbiter.permit(500).__class__(
        headers=world.arbiter.permit(500).headers, delay=0.4
    )
    token = world.issuer.token()
    world.call("/v1/slow", token=token)
    time.sleep(0.12)
    world.call("/v1/slow", token=token)
    assert asked(world, "/v1/slow") == 2


def test_a_lease_never_lasts_longer_than_half_a_second(world):
    world.arbiter.answer = lambda _: world.arbiter.permit(60_000)
    token = world.issuer.token()
    world.call("/v1/long", token=token)
    time.sleep(0.6)
    world.call("/v1/long", token=token)
    assert asked(world, "/v1/long") == 2


def test_no_lease_when_the_arbiter_gives_none(world):
    for _ in range(3):
        world.call("/v1/none", token=world.issuer.token("same", exp=2**31, nbf=1, iat=1))
    assert asked(world, "/v1/none") == 3


def test_a_lease_is_renewed_by_one_request_while_it_lives(leased):
    token = leased.issuer.token()
    leased.call("/v1/renew", token=token)
    time.sleep(0.42)
    with ThreadPoolExecutor(4) as threads:
        for answer in threads.map(lambda _: leased.call("/v1/renew", token=token), range(4)):
            assert answer.status == 200
    assert asked(leased, "/v1/renew") == 2


def test_a_lease_outlives_its_failed_renewal_for_its_own_time_only(leased):
    token = leased.issuer.token()
    began = time.monotonic()
    leased.call("/v1/held", token=token)
    leased.arbiter.answer = lambda _: leased.arbiter.permit().__class__(500)
    time.sleep(0.42 - (time.monotonic() - began) if time.monotonic() - began < 0.42 else 0)
    statuses = [leased.call("/v1/held", token=token).status]
    time.sleep(0.3)
    statuses.append(leased.call("/v1/held", token=token).status)
    assert statuses == [200, 503]


def test_a_refused_renewal_ends_the_lease(leased):
    token = leased.issuer.token()
    leased.call("/v1/ended", token=token)
    leased.arbiter.answer = lambda _: leased.arbiter.refuse()
    time.sleep(0.42)
    assert leased.call("/v1/ended", token=token).status == 403
    assert leased.call("/v1/ended", token=token).status == 403


def test_what_is_in_the_key(leased):
    one, two = leased.issuer.token("dana"), leased.issuer.token("ada")
    variants = [
        {"token": one},
        {"token": two},
        {"token": one, "method": "POST", "path": "/v1/k:rawPredict"},
        {"token": one, "path": "/v1/k?x=1"},
        {"token": one, "path": "/v1/k?x=2"},
        {"token": one, "headers": JSON},
        {"token": one, "host": LOGGING, "name": LOGGING},
    ]
    for _ in range(2):
        for variant in variants:
            assert leased.call(**{"path": "/v1/k"} | variant).status == 200
    assert len(leased.arbiter.seen) == len(variants)


def test_the_peer_is_in_the_key(leased):
    token = leased.issuer.token()
    peers = {leased.call("/v1/peer", token=token).status for _ in range(2)}
    assert peers == {200}
    assert [seen.one("x-remit-peer") for seen in leased.arbiter.seen] == ["127.0.0.1"]


def test_an_identity_on_the_tunnel_and_one_inside_are_the_same_caller(leased):
    token = leased.issuer.token()
    leased.call("/v1/t", token=token)
    leased.call("/v1/t", identity=token, token="something-else")
    assert asked(leased, "/v1/t") == 1
    assert [seen.one("authorization") for seen in leased.upstream.seen] == ["Bearer ya29.google"] * 2


def test_two_callers_never_share(world):
    """Many at once, similar tokens: what reaches the upstream is always the caller's own credential."""

    def answer(seen):
        return world.arbiter.permit(500, credential="for-" + seen.one("authorization").removeprefix("Bearer ")[-24:])

    world.arbiter.answer = answer
    tokens = [world.issuer.token("dana"), world.issuer.token("dana-"), world.issuer.token("ada")]
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    picks = [(chance.choice(tokens), chance.randrange(3), chance.random() < 0.5) for _ in range(150)]

    def one(pick):
        token, path, inside = pick
        given = {"token": token} if inside else {"identity": token, "token": tokens[0]}
        return world.call(f"/v1/share{path}", headers=f"User-Agent: {token[-24:]}\r\n", **given).status

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(one, picks)) == {200}
    assert len(world.upstream.seen) == 150
    for seen in world.upstream.seen:
        assert seen.one("authorization") == f"Bearer for-{seen.one('user-agent')}"
    assert len(world.arbiter.seen) < 75


def test_denials_are_repeated_briefly(world):
    world.arbiter.answer = lambda _: world.arbiter.refuse()
    token = world.issuer.token()
    with world.tunnel() as inner:
        request = f"GET /v1/denied HTTP/1.1\r\nHost: us-central1-aiplatform.googleapis.com\r\nAuthorization: Bearer {token}\r\n\r\n"
        answers = [world.send(request.encode(), connection=inner) for _ in range(3)]
        assert {answer.status for answer in answers} == {403}
        assert len({answer.body for answer in answers}) == 1
        assert asked(world, "/v1/denied") == 1
        time.sleep(0.15)
        world.arbiter.answer = lambda _: world.arbiter.permit()
        assert world.send(request.encode(), connection=inner).status == 200


@pytest.mark.parametrize("status", [400, 503])
def test_other_refusals_are_not_repeated(world, status):
    world.arbiter.answer = lambda _: world.arbiter.refuse(status, "request_malformed")
    token = world.issuer.token()
    for _ in range(2):
        assert world.call(f"/v1/not{status}", token=token).status == status
    assert asked(world, f"/v1/not{status}") == 2


@pytest.mark.parametrize(
    ("path", "headers", "body", "times"),
    [
        (f"{E}1:predict", JSON, b'{"instances": [1]}', 1),
        (f"{E}2:predict?alt=json", JSON, b'{"instances": [1]}', 1),
        (f"/v1beta1{E[3:]}2:predict", JSON, b'{"instances": [1]}', 1),
        (f"{E}3:predict", JSON, b'{"instances": [1], "endpoint": "projects/victim"}', 2),
        (f"{E}4:predict", JSON, b'{"instances": [1], "\\u0065ndpoint": "projects/victim"}', 2),
        (f"{E}5:predict", JSON, b"{'instances': [1], endpoint: 'projects/victim'}", 2),
        (f"{E}6:predict", JSON, '{"endpoint": "x"}'.encode("utf-16"), 2),
        (f"{E}7:predict", "Content-Type: application/x-www-form-urlencoded\r\n", b"x=1", 2),
        (f"{E}8:rawPredict", JSON, b'{"endpoint": "whatever"}', 1),
        (f"{E}9:streamRawPredict", JSON, b'{"endpoint": "whatever"}', 1),
        (f"{E}9:predictX", JSON, b"{}", 2),
        (f"{E}9:explain", JSON, b"{}", 2),
        ("/v1/projects/p/locations/l/publishers/google/models/m:predict", JSON, b'{"instances": [1]}', 2),
        ("/v1beta1/publishers/google/models/m:predict", JSON, b'{"instances": [1]}', 2),
        (f"{E}1/x:predict", JSON, b"{}", 2),
        (f"{E}endpoints/1:predict", JSON, b"{}", 2),
        (f"/v1/projects/p{E[3:]}1/endpoints/2:predict", JSON, b"{}", 2),
        (f"{E}1:rawPredictX", JSON, b"{}", 2),
        (f"/v1/customJobs?x={E}1:predict", JSON, b"{}", 2),
        ("/v1/customJobs?x=:predict", JSON, b"{}", 2),
        ("/v1/customJobs?x=:rawPredict", JSON, b"{}", 2),
        ("/v1/customJobs", JSON, b"{}", 2),
    ],
)
def test_which_bodies_a_lease_may_answer_for(leased, path, headers, body, times):
    token = leased.issuer.token()
    for _ in range(2):
        assert leased.call(path, method="POST", token=token, headers=headers, body=body).status == 200
    assert asked(leased, path) == times
    whole = leased.arbiter.seen[0].one("x-remit-body") == "whole"
    assert whole == (not path.endswith(("9:streamRawPredict", "8:rawPredict")))
    assert leased.arbiter.seen[0].body == (body if whole else b"")
    assert [seen.body for seen in leased.upstream.seen] == [body, body]


def test_grpc_leases_hold_the_messages_resource(leased):
    token = leased.issuer.token()
    mine, other = leased.message(f1="projects/mine"), leased.message(f1="projects/other")
    for body in (mine, mine + leased.message(f2="x"), other, mine, other):
        assert leased.rpc(body, token=token) == body
    assert [seen.body[5:] for seen in leased.arbiter.seen] == [mine, other]


def test_grpc_methods_that_are_not_listed_are_always_asked_for(leased):
    for _ in range(2):
        leased.rpc(leased.message(f1="projects/mine"), path=CREATE, token=leased.issuer.token())
    assert len(leased.arbiter.seen) == 2


def string(number, value, kind=2):
    return bytes([number << 3 | kind, len(value)]) + value


FORGERIES = {
    "the field twice": string(1, b"projects/victim") + string(1, b"projects/mine"),
    "the wrong wire type": bytes([1 << 3 | 0, 5]),
    "a fixed32 that reads as text": string(1, b"victim") + bytes([0x0D, 13]) + b"projects/mine",
    "a group around it": bytes([2 << 3 | 3]) + string(1, b"x") + bytes([2 << 3 | 4]),
    "an overlong tag": bytes([0x8A, 0x00, 1]) + b"x",
    "an overlong length": bytes([0x0A, 0x81, 0x00]) + b"x",
    "field zero": bytes([0x02, 1]) + b"x",
    "a cut length": bytes([0x0A, 9]) + b"x",
    "a cut fixed64": string(1, b"x") + bytes([2 << 3 | 1]) + b"123",
    "a cut varint": string(1, b"x") + bytes([2 << 3 | 0, 0x80]),
    "a tag beyond 32 bits": string(1, b"x") + b"\xfa\xff\xff\xff\xff\x01" + b"\x00",
    "no field at all": b"",
    "another field only": string(2, b"projects/mine"),
    "a field that the message does not have": string(1, b"projects/mine") + string(9, b"x"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_message_that_can_be_read_in_two_ways_is_never_leased(leased, name):
    token = leased.issuer.token()
    for _ in range(2):
        leased.rpc(FORGERIES[name], token=token, metadata=(("x-goog-request-params", "endpoint=projects%2Fmine"),))
    assert len(leased.arbiter.seen) == 2
    assert not any(seen.all("x-goog-request-params") for seen in leased.upstream.seen)


def test_harmless_fields_do_not_disturb_a_lease(leased):
    body = string(1, b"x") + bytes([2 << 3 | 0, 0xFF, 0x7F, 3 << 3 | 1]) + b"12345678" + bytes([4 << 3 | 5]) + b"1234"
    for _ in range(2):
        leased.rpc(body, token=(token := leased.issuer.token("fix", exp=2**31, nbf=1, iat=1)))
    assert token
    assert len(leased.arbiter.seen) == 1


def test_a_warm_lease_does_not_cover_a_field_that_the_arbiter_refuses(world):
    known, unknown = world.message(f1="projects/warm"), world.message(f1="projects/warm", f5="x")
    ways = {known: world.arbiter.permit(500), unknown: world.arbiter.refuse(400, "request_ambiguous")}
    world.arbiter.answer = lambda seen: ways[seen.body[5:]]
    token = world.issuer.token()
    assert world.rpc(known, token=token) == known
    with pytest.raises(grpc.RpcError):
        world.rpc(unknown, token=token)
    assert world.rpc(known, token=token) == known  # and the lease is still warm
    assert [seen.body[5:] for seen in world.arbiter.seen] == [known, unknown]
    assert [seen.body for seen in world.upstream.seen] == [known, known]


def test_where_no_fields_are_listed_only_those_of_the_key_are_known(another_world):
    world = another_world(leasable_fields={})
    world.arbiter.answer = lambda _: permit_500()
    token = world.issuer.token()
    bare, more = string(1, b"projects/mine"), string(1, b"projects/mine") + string(2, b"x")
    for body in (bare, bare, more, more):
        assert world.rpc(body, token=token) == body
    assert [seen.body[5:] for seen in world.arbiter.seen] == [bare, more, more]


def test_without_leases_every_request_is_asked_for(another_world):
    world = another_world(leases=False)
    world.arbiter.answer = lambda _: permit_500()
    for _ in range(3):
        assert world.call("/v1/x", token=world.issuer.token()).status == 200
    assert len(world.arbiter.seen) == 3


def permit_500():
    from types import SimpleNamespace

    headers = {"x-remit-decision": "d-1", "authorization": "Bearer y", "x-remit-lease-ms": "500", "x-remit-epoch": "0"}
    return SimpleNamespace(status=200, headers=headers, body=b"", delay=0, raw=None, hold=None)


def test_the_table_is_bounded(another_world):
    world = another_world(lease_max_entries=4)
    world.arbiter.answer = lambda _: permit_500()
    token = world.issuer.token()
    with world.tunnel(identity=token) as inner:
        for path in [*"abcdef", "f", "a"]:
            request = f"GET /v1/{path} HTTP/1.1\r\nHost: us-central1-aiplatform.googleapis.com\r\n\r\n"
            assert world.send(request.encode(), connection=inner).status == 200
    assert [seen.target[-1] for seen in world.arbiter.seen] == [*"abcdef", "a"]


def test_streams_pass_unbuffered(leased):
    method = "/google.cloud.aiplatform.v1.PredictionService/StreamRawPredict"
    with leased.channel() as channel:
        metadata = (("authorization", f"Bearer {leased.issuer.token()}"),)
        arrived = [time.monotonic() for _ in channel.unary_stream(method)(b"\x0a\x01x", metadata=metadata, timeout=10)]
    assert len(arrived) == 3
    assert arrived[2] - arrived[0] > 0.2


def seen_epochs(world, *epochs):
    """Makes the arbiter answer with these epochs, one after another, and then with the last."""
    left = list(epochs)

    def answer(_):
        return world.arbiter.permit(500, epoch=left.pop(0) if len(left) > 1 else left[0])

    world.arbiter.answer = answer


@pytest.fixture(scope="module")
def aged(another_world):
    """A world of its own: what a worker has seen of epochs stays."""
    return another_world()


@pytest.fixture
def fresh(aged, world):
    aged.reset()
    aged.arbiter.permit, aged.arbiter.refuse = world.arbiter.permit, world.arbiter.refuse
    return aged


def test_a_higher_epoch_ends_every_lease(fresh):
    token = fresh.issuer.token()
    seen_epochs(fresh, 1, 1, 2, 2)
    for path in ("/v1/one", "/v1/two", "/v1/one", "/v1/three", "/v1/three", "/v1/one", "/v1/one"):
        assert fresh.call(path, token=token).status == 200
    assert [asked(fresh, f"/v1/{path}") for path in ("one", "two", "three")] == [2, 1, 1]


def test_a_refusal_with_a_higher_epoch_ends_them_too(fresh):
    one, two = fresh.issuer.token("dana"), fresh.issuer.token("ada")
    seen_epochs(fresh, 3)
    assert fresh.call("/v1/mine", token=one).status == 200
    fresh.arbiter.answer = lambda _: fresh.arbiter.refuse(403, "revoked", x_remit_epoch="4")
    assert fresh.call("/v1/mine", token=two).status == 403
    assert fresh.call("/v1/mine", token=one).status == 403
    fresh.arbiter.answer = lambda _: fresh.arbiter.refuse(403, "no_policy_permits", x_remit_epoch="5")
    assert fresh.call("/v1/other", token=one).reason == "no_policy_permits"
    assert fresh.call("/v1/mine", token=two).reason == "no_policy_permits"  # and refusals that were repeated


def test_an_answer_that_was_under_way_is_asked_for_again(fresh):
    token = fresh.issuer.token()
    seen_epochs(fresh, 10, 9, 10)
    assert fresh.call("/v1/first", token=token).status == 200
    assert fresh.call("/v1/second", token=token).status == 200
    assert asked(fresh, "/v1/second") == 2


def test_an_arbiter_that_has_not_heard_is_no_arbiter(fresh):
    token = fresh.issuer.token()
    seen_epochs(fresh, 20, 19)
    assert fresh.call("/v1/heard", token=token).status == 200
    answer = fresh.call("/v1/not", token=token)
    assert (answer.status, answer.reason) == (503, "plane_unavailable")
    assert fresh.call("/v1/heard", token=token).status == 200  # its lease is of the highest epoch
    time.sleep(0.42)
    assert fresh.call("/v1/heard", token=token).status == 200  # and stands in while it lasts
    time.sleep(0.2)
    assert fresh.call("/v1/heard", token=token).status == 503
    assert len(fresh.upstream.seen) == 3


def test_a_refusal_from_before_is_not_believed_either(fresh):
    token = fresh.issuer.token()
    seen_epochs(fresh, 30)
    fresh.call("/v1/heard", token=token)
    fresh.arbiter.answer = lambda _: fresh.arbiter.refuse(403, "no_policy_permits", x_remit_epoch="29")
    assert fresh.call("/v1/late", token=token).reason == "plane_unavailable"


def test_a_held_lease_of_an_earlier_epoch_does_not_stand_in(fresh):
    """Its renewal is under way when another answer raises the epoch, and fails."""
    token = fresh.issuer.token()
    seen_epochs(fresh, 40)
    assert fresh.call("/v1/held", token=token).status == 200
    failing = fresh.arbiter.permit(500).__class__(500, delay=0.06)
    newer = fresh.arbiter.permit(500, epoch=41)
    fresh.arbiter.answer = lambda seen: failing if seen.target.endswith("held") else newer
    time.sleep(0.405)
    with ThreadPoolExecutor(2) as threads:
        renewal = threads.submit(fresh.call, "/v1/held", token=token)
        time.sleep(0.01)
        assert threads.submit(fresh.call, "/v1/newer", token=token).result().status == 200
        assert renewal.result().status == 503


JOB = "j-" + "0123456789abcdefghijklmnop"


def test_a_tunnels_job_goes_to_the_arbiter_and_into_the_key(leased):
    token = leased.issuer.token()
    raw = (
        f"GET /v1/job HTTP/1.1\r\nHost: us-central1-aiplatform.googleapis.com\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    other = JOB[:-1] + "0"
    for job in (JOB, None, other, JOB, None, other):
        with leased.tunnel(job=job) as inner:
            assert leased.send(raw.encode(), connection=inner).status == 200
    assert [seen.one("x-remit-job") for seen in leased.arbiter.seen] == [JOB, None, other]
    assert {seen.one("x-remit-peer") for seen in leased.arbiter.seen} == {"127.0.0.1"}
    assert not any(seen.all("x-remit-job") for seen in leased.upstream.seen)


def test_what_one_run_was_permitted_is_leased_to_no_other_and_to_nobody_outside(world):
    """A policy may permit within a job alone: each run is asked for, and has its own answer for as long as it lasts."""

    def answer(seen):
        return world.arbiter.permit(500) if seen.one("x-remit-job") == JOB else world.arbiter.refuse()

    world.arbiter.answer = answer
    token = world.issuer.token("runner")
    raw = f"GET /v1/within HTTP/1.1\r\nHost: {LOGGING}\r\nAuthorization: Bearer {token}\r\n\r\n"
    for job in (JOB, None, JOB[:-1] + "0", JOB, None) * 2:
        with world.tunnel(LOGGING, job=job) as inner:
            assert world.send(raw.encode(), connection=inner).status == (200 if job == JOB else 403), job
    assert {seen.one("x-remit-job") for seen in world.arbiter.seen} == {JOB, None, JOB[:-1] + "0"}
    assert len(world.upstream.seen) == 4


def test_a_job_inside_the_tunnel_is_nobodys(leased):
    token = leased.issuer.token()
    for job in (None, JOB):
        with leased.tunnel(job=job) as inner:
            head = f"GET /v1/inner HTTP/1.1\r\nHost: us-central1-aiplatform.googleapis.com\r\nAuthorization: Bearer {token}\r\n"
            forged = f"X-Remit-Job: j-{'z' * 26}\r\nX-Remit-Caller: 6.6.6.6 j-{'z' * 26}\r\n\r\n"
            assert leased.send((head + forged).encode(), connection=inner).status == 200
    assert [seen.one("x-remit-job") for seen in leased.arbiter.seen] == [None, JOB]
    assert {seen.one("x-remit-peer") for seen in leased.arbiter.seen} == {"127.0.0.1"}


def test_tunnels_of_many_jobs_at_once_are_never_mixed_up(leased):
    token = leased.issuer.token()
    jobs = [None, *(f"j-{number:026d}" for number in range(30))] * 3

    def one(job):
        raw = f"GET /v1/mix{job} HTTP/1.1\r\nHost: us-central1-aiplatform.googleapis.com\r\nAuthorization: Bearer {token}\r\n\r\n"
        with leased.tunnel(job=job) as inner:
            return leased.send(raw.encode(), connection=inner).status

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(one, jobs)) == {200}
    for seen in leased.arbiter.seen:
        assert seen.target == f"/check/v1/mix{seen.one('x-remit-job')}"


@pytest.mark.parametrize(
    "job", ["", "j-", "j-1", JOB + "0", JOB.upper(), "x" + JOB, f"{JOB} {JOB}", f"{JOB},{JOB}", "j-" + "-" * 26]
)
def test_a_tunnel_for_what_is_no_job(world, job):
    raw, status = world.connect(headers=f"X-Remit-Job: {job}\r\n")
    raw.close()
    assert status == 400 or (status == 403 and "," in job)


def test_a_tunnel_for_two_jobs(world):
    raw, status = world.connect(headers=f"X-Remit-Job: {JOB}\r\n" * 2)
    raw.close()
    assert status in {400, 403}


BENCH = Path(__file__).parents[3] / "benchmarks" / "leases.py"


def test_no_crossing_among_many_callers_and_bounded_memory(tmp_path):
    """The benchmark, with fewer requests: one Envoy, shared connections, tokens alike to their last part."""
    given = ("--requests", "30000", "--distinct", "10000", "--results", str(tmp_path))
    done = subprocess.run(
        [sys.executable, str(BENCH), *given], capture_output=True, text=True, timeout=300, check=False
    )
    print(done.stdout, done.stderr)
    figures = json.loads(done.stdout)
    assert figures["crossed"] == 0
    assert figures["asked"] < 0.5 * figures["requests"]  # the others went by leases
    assert figures["after_mib"] - figures["before_mib"] < 64
    assert done.returncode == 0
