"""The lab's language models: Google's own client, both transports, both versions, streams as they come."""

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Iterator
from urllib.parse import parse_qsl

import grpc
import httpx
import pytest

from remit.lab import contoso
from remit.lab.api_surface import start_grpc
from remit.lab.api_table import table
from remit.lab.http import Request
from remit.lab.http_server import HttpServer
from remit.lab.iam import CLOUD_PLATFORM
from remit.lab.service import Clouds
from remit.lab.vertex.generative import Generative, split

ENGINEER = contoso.account("ml-engineer", contoso.FRAUD_TEST)
TRAINER = contoso.account("trainer", contoso.FRAUD_TEST)
PARENT = "projects/contoso-fraud-test/locations/us-central1"
GEMINI = f"{PARENT}/publishers/google/models/gemini-2.5-flash"
CLAUDE = f"{PARENT}/publishers/anthropic/models/claude-sonnet-4-5"
SAY = {"contents": [{"role": "user", "parts": [{"text": "Hello there, how are you today?"}]}]}
SAID = "You said: Hello there, how are you today?"


class World:
    """The lab's clouds on a loop of their own, REST and gRPC on loopback."""

    def __init__(self, folder):
        self.clouds = Clouds(folder)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.server = self.run(HttpServer(self.clouds.vertex.handle).listen())
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        self.grpc, self.grpc_port = self.run(start_grpc([self.clouds.vertex.surface.grpc]))

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def close(self):
        async def end():
            await self.clouds.vertex.close()
            self.server.close()
            await self.grpc.stop(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await asyncio.sleep(0)  # connections close in the loop's next turn

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def token(self, email=ENGINEER):
        return self.clouds.iam.mint(email=email, scopes=(CLOUD_PLATFORM,), lifetime=600)[0]

    def post(self, path, body, email=ENGINEER):
        headers = {"authorization": f"Bearer {self.token(email)}"}
        return httpx.post(self.url + path, json=body, headers=headers, trust_env=False)

    def ask(self, path, body, **more):
        answer = self.post(path, body, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("generative"))
    yield made
    made.close()


# Google's own client


@pytest.fixture
def client(world):
    from google import genai
    from google.oauth2.credentials import Credentials

    options = genai.types.HttpOptions(base_url=world.url, client_args={"trust_env": False})
    made = genai.Client(
        vertexai=True,
        project="contoso-fraud-test",
        location="us-central1",
        credentials=Credentials(world.token()),
        http_options=options,
    )
    yield made
    made.close()


def test_the_client_generates(client):
    answer = client.models.generate_content(model="gemini-2.5-flash", contents="Hello there, how are you today?")
    assert answer.text == SAID
    assert answer.model_version == "gemini-2.5-flash"
    usage = answer.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (8, 11, 19)


def test_the_client_sees_a_stream_as_it_comes(client):
    times, texts = [], []
    for chunk in client.models.generate_content_stream(model="gemini-2.5-flash", contents=SAY["contents"]):
        times.append(time.monotonic())
        texts.append(chunk.text)
    assert "".join(texts) == SAID
    assert len(texts) >= 3
    assert times[-1] - times[0] > 0.1  # three pauses of 50 ms: not held back until the end
    assert chunk.usage_metadata.total_token_count == 19


def test_the_client_counts_and_embeds(client):
    assert client.models.count_tokens(model="gemini-2.5-flash", contents="one two three").total_tokens == 3
    tokens = client.models.compute_tokens(model="gemini-2.5-flash", contents="one two")
    assert tokens.tokens_info[0].tokens == [b"one", b"two"]
    found = client.models.embed_content(
        model="text-embedding-005", contents=["a cat", "a cat", "a dog"], config={"output_dimensionality": 64}
    ).embeddings
    assert [len(each.values) for each in found] == [64, 64, 64]
    assert found[0].values == found[1].values != found[2].values


def test_the_client_calls_functions_and_chats(client):
    def weather(city: str = "") -> str:
        """The weather of a city."""
        return "rain"

    answer = client.models.generate_content(
        model="gemini-2.5-flash", contents="ask weather please", config={"tools": [weather]}
    )
    assert answer.text == 'weather answered {"result": "rain"}'
    chat = client.chats.create(model="gemini-2.5-flash")
    assert chat.send_message("one").text == "You said: one"
    assert chat.send_message("two").text == "You said: two"


def test_the_client_is_told_what_is_missing_and_forbidden(client, world):
    from google.genai import errors

    with pytest.raises(errors.ClientError, match=r"404 NOT_FOUND.*Publisher Model"):
        client.models.generate_content(model="unheard-of-1", contents="x")
    with pytest.raises(errors.ClientError, match="IAM_PERMISSION_DENIED"):
        client.models.generate_content(model=f"{GEMINI}".replace("fraud-test", "churn-prod"), contents="x")


# REST


def test_an_array_or_events_as_the_caller_asks(world):
    array = world.ask(f"/v1/{GEMINI}:streamGenerateContent", SAY)
    assert "".join(each["candidates"][0]["content"]["parts"][0]["text"] for each in array) == SAID
    answer = world.post(f"/v1beta1/{GEMINI}:streamGenerateContent?alt=sse", SAY)
    assert answer.headers["content-type"] == "text/event-stream"
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\r\n") if line]
    assert "".join(each["candidates"][0]["content"]["parts"][0]["text"] for each in events) == SAID
    assert [each["candidates"][0].get("finishReason") for each in events] == [None] * (len(events) - 1) + ["STOP"]


@pytest.mark.parametrize("verb", ["streamGenerateContent", "streamGenerateContent?alt=sse"])
def test_a_stream_that_is_refused_is_an_error_and_no_stream(world, verb):
    answer = world.post(f"/v1/{GEMINI}:{verb}", {})
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_both_versions_are_one(world, version):
    config = {"maxOutputTokens": 3, "candidateCount": 2}
    found = world.ask(f"/{version}/{GEMINI}:generateContent", {**SAY, "generationConfig": config})
    assert [each["content"]["parts"][0]["text"] for each in found["candidates"]] == ["You said:"] * 2
    assert {each["finishReason"] for each in found["candidates"]} == {"MAX_TOKENS"}
    plain = world.ask(
        f"/{version}/{GEMINI}:generateContent", {**SAY, "generationConfig": {"responseMimeType": "application/json"}}
    )
    assert json.loads(plain["candidates"][0]["content"]["parts"][0]["text"]) == {"text": SAID}
    assert world.ask(f"/{version}/{GEMINI}:countTokens", SAY)["totalTokens"] == 8
    assert world.ask(f"/{version}/{GEMINI}:countTokens", {"instances": [{"prompt": "a b"}]})["totalTokens"] == 2
    made = world.ask(f"/{version}/{PARENT}/endpoints", {"displayName": version})
    kind = f"type.googleapis.com/google.cloud.aiplatform.{version}."
    assert made["response"]["@type"] == f"{kind}Endpoint"
    headers = {"authorization": f"Bearer {world.token()}"}
    again = httpx.get(f"{world.url}/v1/{made['name']}", headers=headers, trust_env=False).json()
    assert again["response"]["@type"] == f"{kind}Endpoint"  # whoever asks, it stays of the version that started it
    endpoint = made["response"]["name"]
    every = httpx.get(f"{world.url}/v1/{endpoint}/operations", headers=headers, trust_env=False).json()["operations"]
    assert [each["response"]["@type"] for each in every] == [f"{kind}Endpoint"]
    assert world.ask(f"/{version}/{endpoint}:generateContent", SAY)["modelVersion"] == endpoint.rpartition("/")[2]
    for other in ("v1", "v1beta1"):
        found = httpx.get(f"{world.url}/{other}/{endpoint}", headers=headers, trust_env=False).json()
        assert found["displayName"] == version
    missing = world.post(f"/{version}/{PARENT}/endpoints/404:generateContent", SAY)
    assert missing.status_code == 404
    log = world.clouds.audit.entries("contoso-fraud-test")
    methods = {entry["protoPayload"]["methodName"] for entry in log}
    assert f"google.cloud.aiplatform.{version}.PredictionService.GenerateContent" in methods


def test_embeddings_by_the_newer_method(world):
    found = world.ask(
        f"/v1beta1/{PARENT}/publishers/google/models/gemini-embedding-001:embedContent", {"content": SAY["contents"][0]}
    )
    assert (len(found["embedding"]["values"]), found["usageMetadata"]["totalTokenCount"]) == (3072, 8)
    refused = world.post(f"/v1/{GEMINI}:predict", {"instances": [{"content": "x"}]})
    assert refused.status_code == 400
    unfit = world.post(
        f"/v1/{PARENT}/publishers/google/models/text-embedding-005:predict", {"instances": [{"text": 1}]}
    )
    assert unfit.status_code == 400


def tool(account):
    config = {"authType": "GOOGLE_SERVICE_ACCOUNT_AUTH", "googleServiceAccountConfig": {"serviceAccount": account}}
    search = {"apiSpec": "SIMPLE_SEARCH", "endpoint": "https://search.contoso.example", "authConfig": config}
    return {**SAY, "tools": [{"retrieval": {"externalApi": search}}]}


def test_a_tool_acts_only_as_an_account_that_the_caller_may_act_as(world):
    path = f"/v1beta1/{GEMINI}:generateContent"
    assert world.ask(path, tool(TRAINER))["candidates"]
    refused = world.post(path, tool(contoso.account("trainer", contoso.FRAUD_PROD)))
    assert refused.status_code == 403
    assert "permission to act as service_account" in refused.json()["error"]["message"]


def test_a_cached_content_has_to_be_there(world):
    missing = world.post(f"/v1/{GEMINI}:generateContent", {**SAY, "cachedContent": f"{PARENT}/cachedContents/404"})
    assert missing.status_code == 404
    made = world.ask(f"/v1beta1/{PARENT}/cachedContents", {"model": GEMINI, "ttl": "60s"})
    assert world.ask(f"/v1/{GEMINI}:generateContent", {**SAY, "cachedContent": made["name"]})["candidates"]


# Other houses' wire forms


def test_chat_completions_whole_and_as_a_stream(world):
    path = f"/v1beta1/{PARENT}/endpoints/openapi/chat/completions"
    body = {"model": "google/gemini-2.5-flash", "messages": [{"role": "user", "content": "one two"}]}
    found = world.ask(path, body)
    assert found["choices"][0]["message"]["content"] == "You said: one two"
    answer = world.post(path, {**body, "stream": True})
    assert answer.headers["content-type"] == "text/event-stream"
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n") if line]
    assert lines[-1] == "[DONE]"
    said = [json.loads(line)["choices"][0]["delta"]["content"] for line in lines[:-1]]
    assert "".join(said) == "You said: one two"
    assert world.post(path, {**body, "model": "google/none"}).status_code == 404


def test_messages_of_another_publisher(world):
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "one"}]}]}
    assert world.ask(f"/v1/{CLAUDE}:rawPredict", body)["content"] == [{"type": "text", "text": "You said: one"}]
    assert world.ask(f"/v1/{CLAUDE}:streamRawPredict", body)["type"] == "message"
    events = world.post(f"/v1/{CLAUDE}:streamRawPredict", {**body, "stream": True}).text
    assert events.startswith("event: message_start\n")
    assert events.rstrip().endswith('data: {"type": "message_stop"}')
    for wrong in ({}, {"messages": []}, []):
        assert world.post(f"/v1/{CLAUDE}:rawPredict", wrong).status_code == 400


def test_reasoning_engines(world):
    made = world.ask(f"/v1beta1/{PARENT}/reasoningEngines", {"displayName": "echo"})
    name = made["response"]["name"]
    asked = {"classMethod": "ask", "input": {"city": "Oslo"}}
    assert world.ask(f"/v1/{name}:query", asked)["output"] == {"class_method": "ask", "input": {"city": "Oslo"}}
    lines = world.post(f"/v1beta1/{name}:streamQuery", asked).text.splitlines()
    assert [json.loads(line) for line in lines][1] == {"city": "Oslo"}
    spec = {"displayName": "x", "spec": {"serviceAccount": contoso.account("trainer", contoso.FRAUD_PROD)}}
    assert world.post(f"/v1beta1/{PARENT}/reasoningEngines", spec).status_code == 403


# gRPC


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_stream_over_grpc_comes_message_by_message(world, version):
    method = table().methods[f"/google.cloud.aiplatform.{version}.PredictionService/StreamGenerateContent"]
    with grpc.insecure_channel(f"127.0.0.1:{world.grpc_port}") as channel:
        ask = channel.unary_stream(method.path, method.request.SerializeToString, method.response.FromString)
        request = method.request(model=GEMINI)
        content = request.contents.add(role="user")
        content.parts.add(text="Hello there, how are you today?")
        times, found = [], []
        for answer in ask(request, metadata=(("authorization", f"Bearer {world.token()}"),)):
            times.append(time.monotonic())
            found.append(answer.candidates[0].content.parts[0].text)
        assert "".join(found) == SAID
        assert max(later - sooner for sooner, later in itertools.pairwise(times)) > 0.03
        refused = ask(method.request(model=GEMINI), metadata=(("authorization", f"Bearer {world.token()}"),))
        with pytest.raises(grpc.RpcError) as error:
            next(refused)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_error_in_the_middle_stands_where_a_message_would(tmp_path):
    """Over REST the status has been sent by then."""
    from remit.lab.errors import CloudError

    async def broken(scope):
        async def each():
            yield scope.answer(model_version="first")
            raise CloudError(grpc.StatusCode.INTERNAL, "lost")

        return each()

    async def tell():
        clouds = Clouds(tmp_path)
        clouds.vertex._plays["StreamGenerateContent"] = broken
        token = "Bearer " + clouds.iam.mint(email=ENGINEER, scopes=(CLOUD_PLATFORM,), lifetime=60)[0]

        async def ask(query):
            request = Request(
                "POST",
                "h",
                f"/v1/{GEMINI}:streamGenerateContent",
                tuple(parse_qsl(query)),
                {"authorization": token},
                b"{}",
            )
            answer = await clouds.vertex.handle(request)
            return b"".join([part async for part in answer.parts])

        return await ask(""), await ask("alt=sse")

    array, events = asyncio.run(tell())
    assert json.loads(array)[1]["error"]["message"] == "lost"
    assert json.loads(events.split(b"\r\n\r\n")[1].removeprefix(b"data: "))["error"]["status"] == "INTERNAL"


@pytest.mark.parametrize("text", ["", "one", "one two", "a b c d e f g h i", "   ", "x" * 1000])
def test_pieces_are_the_whole(text):
    assert "".join(split(text)) == text


def test_a_paused_stream_that_nobody_reads_ends(world):
    """A client that goes away in the middle leaves nothing running."""
    headers = {"authorization": f"Bearer {world.token()}"}
    body = {"contents": [{"role": "user", "parts": [{"text": "word " * 200}]}]}
    with httpx.stream(
        "POST", f"{world.url}/v1/{GEMINI}:streamGenerateContent", json=body, headers=headers, trust_env=False
    ) as answer:
        next(answer.iter_bytes())
    assert world.ask(f"/v1/{GEMINI}:countTokens", SAY)["totalTokens"] == 8
    assert Generative(world.clouds.vertex._resources)._pause == 0.05
