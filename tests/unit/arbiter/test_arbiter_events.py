"""`/v1/events`: RFC 8935's answers to a transmitter."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from remit.arbiter.events import Events
from remit.model.errors import NotRecorded, Refused
from remit.model.reasons import Reason

NOW = 1_800_000_000
SET = {"content-type": "application/secevent+jwt", "accept": "application/json"}


class House:
    """A receiver that is told what to say; keeps what it got."""

    def __init__(self, said=None):
        self.said = said
        self.got = []

    async def receive(self, token, now):
        self.got.append((token.reveal(), now))
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    def post(self, content=b"a.b.c", headers=SET):
        async def send():
            endpoint = Events(self.receive, lambda: NOW * 1_000_000)
            app = Starlette(routes=[Route("/v1/events", endpoint.__call__, methods=["POST"])])
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host.example") as client:
                return await client.post("/v1/events", content=content, headers=headers)

        return asyncio.run(send())


def test_what_is_in_effect_is_accepted_with_an_empty_body():
    house = House()
    answer = house.post()
    assert (answer.status_code, answer.content) == (202, b"")
    assert house.got == [("a.b.c", NOW)]


def test_the_content_type_may_have_a_parameter():
    assert House().post(headers={"content-type": "application/secevent+JWT; charset=utf-8"}).status_code == 202


def test_what_is_not_accepted_says_why():
    answer = House(("invalid_audience", "the token is meant for somebody else")).post()
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-language"] == "en"
    assert answer.json() == {"err": "invalid_audience", "description": "the token is meant for somebody else"}


@pytest.mark.parametrize("error", [NotRecorded("the disk is full"), Refused(Reason.PLANE_UNAVAILABLE)])
def test_what_could_not_be_done_now_is_to_be_delivered_again(error):
    answer = House(error).post()
    assert (answer.status_code, answer.content) == (503, b"")
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/json"}, {"content-type": "application/jwt"}])
def test_another_content_type_reaches_nobody(headers):
    house = House()
    answer = house.post(headers=headers)
    assert (answer.status_code, answer.json()["err"]) == (400, "invalid_request")
    assert house.got == []


def test_too_much_reaches_nobody():
    house = House()
    answer = house.post(b"x" * (17 << 10))
    assert (answer.status_code, answer.json()["err"]) == (400, "invalid_request")
    assert house.got == []


def test_bytes_that_are_no_text_are_the_receiver_s_to_refuse():
    house = House()
    house.post(b"\xff\xfe")
    assert house.got == [("ÿþ", NOW)]
