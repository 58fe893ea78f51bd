"""The client of Microsoft Graph over real TLS: pages, throttling, deadlines, and answers that are none."""

import asyncio
import json

import httpx
import pytest

from remit.identity.directory import graph as graph_module
from remit.identity.directory.graph import Failing, Graph, GraphFailed
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import AccessToken

JSON = {"content-type": "application/json; odata.metadata=minimal"}
ANSWERED = "what-graph-said"


class Clock:
    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def tell(fake_https, certificate):
    """Runs a story with a Graph that answers with `script`, in turn, the last one for ever."""

    def told(script, story, **more):
        async def token():
            return AccessToken("the-token")

        async def main():
            clock = Clock()
            turns = iter(range(10_000))

            def handler(asked):
                step = script[min(next(turns), len(script) - 1)]
                return step(asked) if callable(step) else step

            async with (
                fake_https.FakeServer(handler, certificate) as server,
                httpx.AsyncClient(verify=certificate.client()) as client,
            ):
                given = {"deadline": 2.0, "token": token, **more}
                graph = Graph(client, tenant="t", base=server.url, clock=clock, sleep=clock.sleep, **given)
                graph.server, graph.clock = server, clock
                return await story(graph)

        return asyncio.run(main())

    return told


@pytest.fixture
def answer(fake_https):
    def answered(document, status=200, **headers):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return fake_https.Answer(body, status, {**JSON, **named})

    return answered


def collect(path="/v1.0/things", limit=10, **more):
    return lambda graph: graph.collect(path, limit=limit, **more)


def fails(tell, script, story, **more):
    with pytest.raises(GraphFailed) as failed:
        tell(script, story, **more)
    text = f"{failed.value} {failed.value.hint} {failed.value.__cause__!r} {failed.value.__context__!r}"
    assert ANSWERED not in text
    assert "the-token" not in text
    return failed.value.failing


def test_pages_are_followed_with_the_token_and_no_compression(tell, answer):
    def first(asked):
        assert asked.headers["authorization"] == "Bearer the-token"
        assert asked.headers["accept-encoding"] == "identity"
        assert (asked.method, json.loads(asked.body)) == ("POST", {"x": 1})
        host = asked.headers["host"]
        return answer({"value": [1, 2], "@odata.nextLink": f"https://{host}/v1.0/things?$skiptoken=a"})

    def second(asked):
        assert (asked.method, asked.body, asked.path) == ("GET", b"", "/v1.0/things?$skiptoken=a")
        return answer({"value": [3], "@odata.deltaLink": f"https://{asked.headers['host']}/v1.0/d"})

    async def story(graph):
        listing = await graph.collect("/v1.0/things", limit=3, body={"x": 1})
        assert listing.items == (1, 2, 3)
        assert listing.delta.endswith("/v1.0/d")

    tell([first, second], story)


@pytest.mark.parametrize(
    "link",
    ["https://elsewhere.example/v1.0/x", "http://127.0.0.1/v1.0/x", "/v1.0/x", 7, "https://127.0.0.1:1@evil/", None],
)
@pytest.mark.parametrize("name", ["@odata.nextLink", "@odata.deltaLink"])
def test_a_link_to_another_host_is_not_followed(tell, answer, link, name):
    assert fails(tell, [answer({"value": [], name: link})], collect()) is Failing.UNREADABLE


def test_pages_without_end(tell, answer, monkeypatch):
    def same(asked):
        return answer({"value": [], "@odata.nextLink": f"https://{asked.headers['host']}{asked.path}"})

    assert fails(tell, [same], collect()) is Failing.UNREADABLE
    count = iter(range(1000))

    def another(asked):
        return answer({"value": [], "@odata.nextLink": f"https://{asked.headers['host']}/v1.0/{next(count)}"})

    monkeypatch.setattr(graph_module, "MAX_PAGES", 5)
    assert fails(tell, [another], collect()) is Failing.UNREADABLE


def test_more_than_was_bargained_for(tell, answer, monkeypatch):
    assert fails(tell, [answer({"value": [1] * 11})], collect()) is Failing.TOO_MUCH
    code = {"error": {"code": "Directory_ResultSizeLimitExceeded", "message": ANSWERED}}
    assert fails(tell, [answer(code, 400)], collect()) is Failing.TOO_MUCH
    monkeypatch.setattr(graph_module, "MAX_ANSWER", 100)
    assert fails(tell, [answer({"value": ["x" * 100]})], collect()) is Failing.TOO_MUCH


def test_throttling_is_waited_for_as_long_as_graph_says(tell, answer):
    async def story(graph):
        assert (await graph.collect("/v1.0/things", limit=9, deadline=30)).items == (1,)
        assert graph.clock.slept == [3.0, 0.5, 0.5]

    script = [
        answer({}, 429, retry_after="3"),
        answer({}, 503),
        answer({}, 504, retry_after="Fri, 1 Jan"),
        answer({"value": [1]}),
    ]
    tell(script, story)


def test_a_wait_beyond_the_deadline_is_not_begun_and_binds_everybody(tell, answer):
    async def story(graph):
        for _ in range(2):
            with pytest.raises(GraphFailed) as failed:
                await graph.collect("/v1.0/things", limit=9)
            assert failed.value.failing is Failing.UNAVAILABLE
        assert len(graph.server.asked) == 1
        graph.clock.now += 60
        assert (await graph.collect("/v1.0/things", limit=9)).items == ()

    tell([answer({}, 429, retry_after="60"), answer({"value": []})], story)


def test_no_answer_silences_everybody_for_days(tell, answer):
    async def story(graph):
        with pytest.raises(GraphFailed):
            await graph.collect("/v1.0/things", limit=9)
        graph.clock.now += graph_module.MAX_PAUSE
        assert (await graph.collect("/v1.0/things", limit=9)).items == ()

    tell([answer({}, 429, retry_after="999999"), answer({"value": []})], story)


@pytest.mark.parametrize(
    ("status", "body", "failing"),
    [
        (401, {"error": {"code": "InvalidAuthenticationToken", "message": ANSWERED}}, Failing.REFUSED),
        (403, {"error": {"message": ANSWERED}}, Failing.REFUSED),
        (404, {"error": ANSWERED}, Failing.NOT_FOUND),
        (410, {}, Failing.RESYNC),
        (400, {"error": {"code": "SyncStateNotFound", "message": ANSWERED}}, Failing.RESYNC),
        (400, {"error": {"code": ANSWERED}}, Failing.UNREADABLE),
        (500, b"<html>what-graph-said", Failing.UNAVAILABLE),
        (302, {}, Failing.UNREADABLE),
        (200, {}, Failing.UNREADABLE),
        (200, [1], Failing.UNREADABLE),
        (200, b'{"value": [], "value": []}', Failing.UNREADABLE),
        (200, {"value": ANSWERED}, Failing.UNREADABLE),
    ],
)
def test_what_is_no_answer(tell, answer, status, body, failing):
    assert fails(tell, [answer(body, status)], collect()) is failing


def test_an_answer_that_is_not_json_by_its_type(tell, fake_https):
    page = fake_https.Answer(b'{"value": []}', 200, {"content-type": "text/html"})
    assert fails(tell, [page], collect()) is Failing.UNREADABLE


def test_no_answer_at_all(tell, fake_https):
    assert fails(tell, [fake_https.Answer(hang=True)], collect(), deadline=0.1) is Failing.UNAVAILABLE
    assert fails(tell, [fake_https.Answer(half=True)], collect()) is Failing.UNAVAILABLE


def test_no_token_no_question(tell, answer):
    async def token():
        raise Refused(Reason.EXCHANGE_UNAVAILABLE, hint="look at the managed identity")

    with pytest.raises(GraphFailed) as failed:
        tell([answer({"value": []})], collect(), token=token)
    assert failed.value.failing is Failing.REFUSED
    assert failed.value.hint == "look at the managed identity"


def test_a_token_that_is_not_believed_is_dropped_once_and_another_one_tried(tell, answer):
    shown, given = [], iter(["old", "new", "newer"])
    kept = [next(given)]

    async def token():
        return AccessToken(kept[-1])

    def drop(refused):
        assert refused.reveal() == kept[-1]
        if len(kept) == 2:
            return False
        kept.append(next(given))
        return True

    def believing(asked):
        shown.append(asked.headers["authorization"])
        return answer({"value": [1]}) if shown[-1] == "Bearer new" else answer({}, 401)

    assert tell([believing], collect(), token=token, drop=drop).items == (1,)
    assert shown == ["Bearer old", "Bearer new"]
    with pytest.raises(GraphFailed) as failed:
        tell([answer({}, 401)], collect(), token=token, drop=drop)
    assert failed.value.failing is Failing.REFUSED


@pytest.mark.parametrize("base", ["http://graph.microsoft.com", "https://graph.microsoft.com/", "https://a@b", "graph"])
def test_only_a_plain_https_address_is_asked(base):
    with pytest.raises(ValueError, match="https"):
        Graph(httpx.AsyncClient(), None, tenant="t", base=base)


def batched(answer, part):
    """A batch is answered with these, told by the last letter of their URLs; in reverse."""

    def handler(asked):
        if asked.path != "/v1.0/$batch":
            return answer({"value": [asked.path]})
        requests = json.loads(asked.body)["requests"]
        assert len(requests) <= 20
        host = asked.headers["host"]
        said = [{"id": each["id"], **part(each["url"], host)} for each in requests]
        return answer({"responses": said[::-1]})

    return handler


def test_batches_keep_their_order_and_ask_again_for_what_was_throttled(tell, answer):
    throttled = iter([True, True])

    def part(url, host):
        if url.endswith("/3") and next(throttled, False):
            return {"status": 429, "headers": {"Retry-After": "1"}}
        body = {"value": [url]}
        if url.endswith("/30"):
            body["@odata.nextLink"] = f"https://{host}/v1.0/more"
        return {"status": 200, "body": body}

    async def story(graph):
        paths = [f"/v1.0/{number}" for number in range(45)]
        listings = await graph.batch([*paths, paths[0]], limit=2)
        assert [listing.items[0] for listing in listings] == [*(f"/{number}" for number in range(45)), "/0"]
        assert listings[30].items == ("/30", "/v1.0/more")
        assert graph.clock.slept == [1.0, 1.0]
        assert (await graph.batch([], limit=1)) == ()
        with pytest.raises(GraphFailed) as failed:
            await graph.batch(["/v1.0/30"], limit=1)
        assert failed.value.failing is Failing.TOO_MUCH

    tell([batched(answer, part)], story, deadline=10.0)


@pytest.mark.parametrize(
    ("document", "failing"),
    [
        ({"responses": []}, Failing.UNREADABLE),
        ({"responses": 7}, Failing.UNREADABLE),
        ({"responses": [7, {"id": "x"}, {"id": "0"}]}, Failing.UNREADABLE),
        ({"responses": [{"id": "0", "status": 404, "body": {}}]}, Failing.NOT_FOUND),
        ({"responses": [{"id": "0", "status": 200, "body": 5}]}, Failing.UNREADABLE),
    ],
)
def test_batches_that_are_not_answered(tell, answer, document, failing):
    assert fails(tell, [answer(document)], lambda graph: graph.batch(["/v1.0/a"], limit=1)) is failing
