"""The story of an upstream's answer: what it teaches, what it never does, and that nobody waits for it."""

import asyncio
import time
from dataclasses import dataclass, field

import pytest
from tests.unit.access.nothing import Endless, NoRuns

from remit.access.answered import AGE, Learn
from remit.access.decide import Rooms
from remit.model.causes import Cause
from remit.model.errors import NotRecorded
from remit.model.wire import Answered, UpstreamAnswer

AT = 1_800_000_000_000_000
HOST = "us-central1-aiplatform.googleapis.com"
NAME = "//aiplatform.googleapis.com/projects/p/locations/us-central1/customJobs/7"
BUCKET = "//storage.googleapis.com/projects/_/buckets/b"
UPLOAD = f"{BUCKET}/uploads/7"
RECORD = {
    "decision": "d-1",
    "at": AT - 1_000_000,
    "outcome": "permit",
    "host": HOST,
    "principal": "tid/dana",
    "project": "p",
    "starts": 1,
}
STARTED = Answered(started=NAME)
REFUSED = Answered(cause=Cause.IAM, detail="aiplatform.customJobs.create")
OK = UpstreamAnswer(200, "application/json", body=b"{}")
NO = UpstreamAnswer(403, "application/json", body=b"{}")


@dataclass
class House:
    """The rooms that the story asks, told what to say."""

    said: Answered | Exception = STARTED
    record_: dict | Exception | None = field(default_factory=lambda: dict(RECORD))
    fails: Exception | None = None
    pause: float = 0.0
    entries: list[dict] = field(default_factory=list)
    owned: list[tuple] = field(default_factory=list)

    def find(self, decision):
        if isinstance(self.record_, Exception):
            raise self.record_
        return self.record_ if decision == "d-1" else None

    def answered(self, host, answer):
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    async def started(self, name, principal, decision, at):
        await asyncio.sleep(self.pause)
        if self.fails:
            raise self.fails
        self.owned.append((name, principal, decision, at))

    async def record(self, entry):
        if self.fails:
            raise self.fails
        self.entries.append(dict(entry))

    def story(self, **more):
        rooms = Rooms(*[self] * 11, runs=NoRuns(), lifetimes=Endless(), clock=lambda: AT)
        return Learn(rooms, self.find, **more)

    def told(self, *answers, decision="d-1", host=HOST):
        async def go():
            story = self.story()
            return [await story(decision, host, answer) for answer in answers]

        return asyncio.run(go())


def test_what_was_started_belongs_to_whoever_was_permitted():
    house = House()
    assert house.told(OK) == [None]
    assert house.owned == [(NAME, "tid/dana", "d-1", AT)]
    assert house.entries == []


@pytest.mark.promise("V20")
def test_a_refusal_is_written_down_once_and_told_each_time():
    house = House(REFUSED)
    assert house.told(NO, NO, NO) == [Cause.IAM] * 3
    assert house.owned == []
    [entry] = house.entries
    assert entry == {
        "type": "answer",
        "schema": "answer/1",
        "decision": "d-1",
        "at": AT,
        "status": 403,
        "cause": "iam",
        "detail": "aiplatform.customJobs.create",
    }


@pytest.mark.parametrize("said", [STARTED, REFUSED])
@pytest.mark.parametrize(
    ("record", "decision", "host"),
    [
        (None, "d-1", HOST),
        (RECORD, "d-2", HOST),
        (RECORD, "", HOST),
        (RECORD, "d-1", "europe-west4-aiplatform.googleapis.com"),
        (RECORD, "d-1", ""),
        ({**RECORD, "outcome": "deny"}, "d-1", HOST),
        ({**RECORD, "outcome": "step_up"}, "d-1", HOST),
        ({**RECORD, "at": AT - AGE - 1}, "d-1", HOST),
        ({**RECORD, "at": AT + 61_000_000}, "d-1", HOST),
        ({}, "d-1", HOST),
        (OSError("gone"), "d-1", HOST),
    ],
)
def test_an_answer_without_its_young_permit_teaches_nothing(said, record, decision, host):
    house = House(said, record)
    assert house.told(OK, decision=decision, host=host) == [None]
    assert (house.owned, house.entries) == ([], [])


@pytest.mark.parametrize(
    ("changes", "answer", "name"),
    [
        ({"starts": 0}, OK, NAME),
        ({"starts": None}, OK, NAME),
        ({"principal": ""}, NO, NAME),
        ({}, UpstreamAnswer(403), NAME),
        ({}, UpstreamAnswer(302), NAME),
        ({}, UpstreamAnswer(200, grpc_status=7), NAME),
        ({}, OK, NAME.replace("/p/", "/q/")),
        ({}, OK, NAME.replace("/projects/p/", "/projects/p-evil/")),
        ({}, OK, "//aiplatform.googleapis.com/x/projects/p/jobs/1"),
        ({}, OK, "projects/p"),
        ({"project": ""}, OK, "//a/projects//x"),
        ({}, OK, UPLOAD),
        ({"resources": [f"{BUCKET}-2"]}, OK, UPLOAD),
        ({"resources": ["//a/projects/q/x/y/z"]}, OK, "//a/projects/q/x/y/z/uploads/7"),
    ],
)
def test_nothing_else_is_ever_owned(changes, answer, name):
    house = House(Answered(started=name), {**RECORD, **changes})
    assert house.told(answer) == [None]
    assert house.owned == []


def test_an_upload_belongs_to_whoever_was_permitted_in_its_bucket():
    house = House(Answered(started=UPLOAD), {**RECORD, "resources": [BUCKET]})
    assert house.told(OK) == [None]
    assert [name for name, *_ in house.owned] == [UPLOAD]


def test_a_grpc_answer_that_succeeded_may_say_so():
    house = House()
    house.told(UpstreamAnswer(200, "application/grpc", 0))
    assert len(house.owned) == 1


@pytest.mark.parametrize("error", [NotRecorded("full"), ZeroDivisionError(), OSError("no")])
def test_nothing_that_fails_reaches_the_caller(error):
    assert House(STARTED, fails=error).told(OK) == [None]
    assert House(error).told(OK) == [None]
    assert House(REFUSED, fails=error).told(NO) == [Cause.IAM]  # known all the same


def test_the_caller_does_not_wait_and_nothing_is_lost():
    house = House(pause=0.2)

    async def go():
        story = house.story(patience=0.05)
        began = time.monotonic()
        assert await story("d-1", HOST, OK) is None
        assert time.monotonic() - began < 0.15
        assert house.owned == []
        await story.close()

    asyncio.run(go())
    assert len(house.owned) == 1


def test_a_cause_that_could_not_be_written_is_written_with_the_next_refusal():
    house = House(REFUSED)

    async def go():
        story = house.story()
        house.fails = NotRecorded("the disk is full")
        assert await story("d-1", HOST, NO) is Cause.IAM
        house.fails = None
        assert await story("d-1", HOST, NO) is Cause.IAM

    asyncio.run(go())
    assert [entry["type"] for entry in house.entries] == ["answer"]
