"""Streams of the lab's server: endpoints' raw and tensor streams, parts as they come, connections that change hands."""

import asyncio
import json
import time

import grpc
import pytest

from remit.lab import contoso
from remit.lab.api_surface import start_grpc
from remit.lab.api_table import table
from remit.lab.errors import CloudError
from remit.lab.http import Request, Response
from remit.lab.http_server import HttpServer
from remit.lab.iam import CLOUD_PLATFORM
from remit.lab.service import Clouds
from remit.lab.vertex.predictions import _plain

PARENT = "projects/contoso-fraud-test/locations/us-central1"
ENGINEER = contoso.account("ml-engineer", contoso.FRAUD_TEST)
STAGING = contoso.FRAUD_TEST.buckets[1]
IMAGE = {"imageUri": "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"}


class World:
    def __init__(self, folder):
        self.clouds = Clouds(folder)

    def token(self):
        return "Bearer " + self.clouds.iam.mint(email=ENGINEER, scopes=(CLOUD_PLATFORM,), lifetime=600)[0]

    async def rest(self, path, body):
        request = Request("POST", "h", path, (), {"authorization": self.token()}, json.dumps(body).encode())
        return await self.clouds.vertex.handle(request)

    async def ask(self, path, body):
        answer = await self.rest(path, body)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    async def serve(self, folder):
        """An endpoint with the model of a folder."""
        for path in folder.rglob("*"):
            if path.is_file():
                name = f"model/{path.relative_to(folder)}"
                self.clouds.storage.objects.write(STAGING, name, path.read_bytes(), {})
        model = {"displayName": "half", "artifactUri": f"gs://{STAGING}/model", "containerSpec": IMAGE}
        uploaded = await self.wait(await self.ask(f"/v1/{PARENT}/models:upload", {"model": model}))
        endpoint = (await self.ask(f"/v1/{PARENT}/endpoints", {"displayName": "e"}))["response"]["name"]
        body = {"deployedModel": {"model": uploaded["response"]["model"], "dedicatedResources": {}}}
        deployed = await self.wait(await self.ask(f"/v1/{endpoint}:deployModel", body))
        assert "error" not in deployed, deployed
        return endpoint

    async def wait(self, operation):
        return await self.ask(f"/v1/{operation['name']}:wait", {})


def test_an_endpoint_streams_over_both_transports(tmp_path, models):
    async def tell():
        world = World(tmp_path)
        try:
            endpoint = await world.serve(models / "half" / "1")
            whole = await world.rest(f"/v1/{endpoint}:streamRawPredict", {"instances": [1, 2, 3]})
            parts = [part async for part in whole.parts]
            tensors = {"inputs": [{"doubleVal": [2]}, {"floatVal": [4], "shape": ["1"]}]}
            struct = {"inputs": [{"structVal": {"x": {"doubleVal": [2]}}}]}
            direct = await world.ask(f"/v1beta1/{endpoint}:directPredict", struct)
            streamed = await world.rest(f"/v1/{endpoint}:serverStreamingPredict", {"inputs": tensors["inputs"][:1]})
            array = json.loads(b"".join([part async for part in streamed.parts]))
            refused = await world.rest(f"/v1/{endpoint}:directPredict", {"inputs": [{"bytesVal": ["eA=="]}]})
            return whole, parts, direct, array, refused, await over_grpc(world, endpoint)
        finally:
            await world.clouds.vertex.close()

    whole, parts, direct, array, refused, (raw, times, tensors) = asyncio.run(tell())
    assert whole.headers["content-type"] == "application/json"
    assert "x-vertex-ai-deployed-model-id" in whole.headers
    assert json.loads(b"".join(parts)) == {"predictions": [2.5, 3.0, 3.5]}
    assert len(parts) == 4
    assert direct["outputs"] == [{"dtype": "DOUBLE", "doubleVal": [3.0]}]
    assert array == [{"outputs": [{"dtype": "DOUBLE", "doubleVal": [3.0]}]}]
    assert refused.status == 400
    assert json.loads(b"".join(raw)) == {"predictions": [2.5, 3.0, 3.5]}
    assert times[-1] - times[0] > 0.1
    assert tensors == [[3.0], [4.0]]


async def over_grpc(world, endpoint):
    server, port = await start_grpc([world.clouds.vertex.surface.grpc])
    credentials = (("authorization", world.token()),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

        def call(name, **fields):
            method = table().methods[f"/google.cloud.aiplatform.v1.PredictionService/{name}"]
            ask = channel.unary_stream(method.path, method.request.SerializeToString, method.response.FromString)
            return ask(method.request(endpoint=endpoint, **fields), metadata=credentials)

        times, raw = [], []
        async for message in call("StreamRawPredict", http_body={"data": b'{"instances": [1, 2, 3]}'}):
            times.append(time.monotonic())
            raw.append(message.data)
        inputs = [{"double_val": [2]}, {"double_val": [4]}]
        found = [list(each.outputs[0].double_val) async for each in call("ServerStreamingPredict", inputs=inputs)]
    await server.stop(0)
    return raw, times, found


TENSORS = [
    ({"double_val": [1, 2, 3, 4], "shape": [2, 2]}, [[1, 2], [3, 4]]),
    ({"string_val": ["a"]}, "a"),
    ({"int64_val": [1, 2]}, [1, 2]),
    ({"list_val": [{"bool_val": [True]}, {"float_val": [0.5]}]}, [True, 0.5]),
    ({"struct_val": {"k": {"int_val": [3]}}}, {"k": 3}),
    ({"shape": [0]}, []),
    ({"shape": [-1], "int_val": [1]}, []),
    ({}, []),
]


@pytest.mark.parametrize(("fields", "value"), TENSORS)
def test_tensors_as_json(fields, value):
    assert _plain(table().message("google.cloud.aiplatform.v1.Tensor")(**fields)) == value


# The server itself


def serving(handler, talk):
    """Tells a story against the server on a port of its own."""

    async def run():
        server = await HttpServer(handler, idle=5).listen()
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            return await talk(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()
            server.close()
            await asyncio.sleep(0.01)

    return asyncio.run(run())


GET = b"GET /x?q=%41 HTTP/1.1\r\nhost: h\r\n\r\n"


def test_a_part_is_sent_when_it_is_there():
    gate = asyncio.Event()

    async def handler(request):
        async def parts():
            yield b"first"
            yield b""
            await gate.wait()
            yield b"second"

        return Response(200, parts=parts(), cookies=("a=1", "b=2"))

    async def talk(reader, writer):
        writer.write(GET)
        head = await reader.readuntil(b"\r\n\r\n")
        first = await reader.readexactly(10)
        gate.set()
        rest = await reader.readexactly(len(b"6\r\nsecond\r\n0\r\n\r\n"))
        writer.write(GET)
        again = await reader.readuntil(b"\r\n\r\n")  # the connection goes on
        return head, first, rest, again

    head, first, rest, again = serving(handler, talk)
    assert b"transfer-encoding: chunked" in head
    assert (head.count(b"set-cookie: "), first, rest) == (2, b"5\r\nfirst\r\n", b"6\r\nsecond\r\n0\r\n\r\n")
    assert again.startswith(b"HTTP/1.1 200")


def test_a_stream_that_breaks_has_no_end():
    async def handler(request):
        async def parts():
            yield b"first"
            raise CloudError(grpc.StatusCode.INTERNAL, "lost")

        return Response(200, parts=parts())

    async def talk(reader, writer):
        writer.write(GET)
        return await reader.read()

    assert serving(handler, talk).endswith(b"5\r\nfirst\r\n")


def test_nobody_asks_for_the_parts_of_a_head():
    ended = []

    async def handler(request):
        async def parts():
            ended.append(True)
            yield b"never"

        return Response(200, parts=parts())

    async def talk(reader, writer):
        writer.write(b"HEAD / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        return await reader.read()

    assert serving(handler, talk).endswith(b"\r\n\r\n")
    assert ended == []


def test_a_connection_changes_hands_and_the_target_is_as_it_came():
    async def handler(request):
        async def shout(reader, writer):
            writer.write((await reader.readexactly(5)).upper() + request.target.encode())
            await writer.drain()

        return Response(101, headers={"upgrade": "shouting", "connection": "Upgrade"}, upgraded=shout)

    async def talk(reader, writer):
        writer.write(GET + b"hello")
        return await reader.read()

    head, _, said = serving(handler, talk).partition(b"\r\n\r\n")
    assert (head.split(b"\r\n")[0], said) == (b"HTTP/1.1 101 Switching Protocols", b"HELLO/x?q=%41")
    assert b"content-length" not in head
