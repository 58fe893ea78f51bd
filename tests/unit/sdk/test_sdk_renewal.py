"""Tokens that live as long as the work: when the broker is asked, what is borne while it is away, what ends a run."""

import asyncio
import threading
import time

import pytest

from remit.model.errors import NotSignedIn, Refused, RemitError
from remit.model.reasons import Reason
from remit.model.secret import AccessToken
from remit.sdk import renewal
from remit.sdk.broker import Exchanged
from remit.sdk.renewal import Clocks, Renewing, Tokens, since_start
from remit.sdk.resources import OWN, STORAGE


class Exchange:
    """The broker: a new token every time, or what it is told to raise, after `stall` seconds."""

    def __init__(self, life=900):
        self.life = life
        self.trouble = None
        self.stall = 0.0
        self.calls = 0
        self.threads = set()

    def __call__(self):
        self.calls += 1
        call = self.calls
        self.threads.add(threading.get_ident())
        time.sleep(self.stall)
        if self.trouble:
            raise self.trouble
        return Exchanged(AccessToken(f"token-{call}"), self.life)


class Time:
    """Two clocks that a test moves; chance takes the upper end."""

    def __init__(self):
        self.steady = self.wall = 1_000_000.0

    def pass_by(self, seconds):
        self.steady += seconds
        self.wall += seconds

    def clocks(self):
        return Clocks(lambda: self.steady, lambda: self.wall, lambda _low, high: high)


class Story:
    """One audience, asked in one loop: `story(ask, time, exchange)` is a coroutine."""

    def __init__(self, life=900):
        self.time, self.exchange, self.revoked = Time(), Exchange(life), 0

    def _end(self):
        self.revoked += 1
        self.renewing.end()

    def tell(self, story):
        async def told():
            self.renewing = Renewing("Storage", self.exchange, self._end, self.time.clocks())
            await story(self)

        asyncio.run(told())

    async def token(self):
        live = await self.renewing.live()
        return live.token.reveal(), int(live.left)

    async def settled(self):
        """Until what is asked behind the caller's back has been answered."""
        if self.renewing._asking:
            await self.renewing._asking


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(renewal, "_FIRST", 0.0)  # the clocks of these tests do not move by themselves


def test_a_token_is_asked_for_once_and_behind_the_caller_s_back_before_it_is_due():
    async def told(story):
        assert await story.token() == ("token-1", 900)
        story.time.pass_by(569)
        assert await story.token() == ("token-1", 331)
        assert story.exchange.calls == 1
        story.time.pass_by(1)  # 95 % of the 600 s
        assert await story.token() == ("token-1", 330)  # nobody waits
        await story.settled()
        assert await story.token() == ("token-2", 900)
        assert story.exchange.calls == 2
        assert threading.get_ident() not in story.exchange.threads

    Story().tell(told)


def test_under_five_minutes_nothing_is_handed_out_that_could_be_newer():
    async def told(story):
        await story.token()
        story.time.pass_by(600)
        assert await story.token() == ("token-2", 900)
        story.time.pass_by(1800)
        assert await story.token() == ("token-3", 900)

    Story().tell(told)


@pytest.mark.promise("T5")
@pytest.mark.parametrize(("life", "most"), [(360, 22), (310, 45), (120, 45), (3600, 2)])
def test_twenty_minutes_of_a_client_that_asks_every_second(life, most):
    async def told(story):
        for _ in range(1200):
            _, left = await story.token()
            assert left > 0
            await story.settled()
            story.time.pass_by(1)
        assert story.exchange.calls <= most

    Story(life).tell(told)


@pytest.mark.promise("T5")
def test_a_thousand_who_ask_at_once_are_one_question():
    async def told(story):
        story.exchange.stall = 0.05
        found = await asyncio.gather(*(story.token() for _ in range(1000)))
        assert set(found) == {("token-1", 900)}
        assert story.exchange.calls == 1

    Story().tell(told)


FAILURES = [
    RemitError("remit does not answer"),
    RemitError("answered without a token"),
    NotSignedIn("the sign-in could not be renewed"),
    Refused(Reason.EXCHANGE_UNAVAILABLE),
    Refused(Reason.PLANE_UNAVAILABLE),
    Refused(Reason.RECORD_UNAVAILABLE),
    Refused(Reason.TOKEN_EXPIRED),
    Refused(Reason.TOKEN_NOT_YET_VALID),
]


@pytest.mark.promise("T5")
@pytest.mark.parametrize("trouble", FAILURES, ids=lambda error: f"{type(error).__name__}-{error.message[:20]}")
def test_while_a_token_lives_an_outage_is_borne_and_said_once(trouble, capsys):
    async def told(story):
        await story.token()
        story.exchange.trouble = trouble
        for _ in range(29):  # from 570 to 860 s
            story.time.pass_by(30 if story.exchange.calls > 1 else 570)
            if story.time.steady - 1_000_000 >= 900:
                break
            assert (await story.token())[0] == "token-1"
            await story.settled()
        with pytest.raises(type(trouble)) as caught:
            await story.token()
        assert caught.value.message == trouble.message
        story.exchange.trouble = None
        assert (await story.token())[0].startswith("token-")

    Story().tell(told)
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if line.startswith("remit: waiting for a token for Storage; ")]) == 1
    assert f"lives for 330 s more: {trouble.message}" in said[0]
    assert [line for line in said if line.startswith("remit: tokens for Storage can be had again, after ")] == said[-1:]


def test_what_nobody_foresaw_is_borne_and_told_without_its_words(capsys):
    async def told(story):
        await story.token()
        story.exchange.trouble = ValueError("eyJ-secret")
        story.time.pass_by(700)
        assert (await story.token())[0] == "token-1"
        story.time.pass_by(300)
        with pytest.raises(RemitError, match="ValueError"):
            await story.token()
        story.exchange.trouble = None
        assert (await story.token())[0].startswith("token-")

    Story().tell(told)
    assert "eyJ" not in capsys.readouterr().err


@pytest.mark.promise("T5")
def test_a_stalled_installation_holds_nobody_up_while_a_token_lives(monkeypatch):
    monkeypatch.setattr(renewal, "_A_LITTLE", 0.05)

    async def told(story):
        await story.token()
        story.exchange.stall = 1.0
        story.time.pass_by(700)
        began = time.monotonic()
        assert [await story.token() for _ in range(3)] == [("token-1", 200)] * 3
        assert time.monotonic() - began < 0.9
        assert story.exchange.calls == 2
        await story.settled()
        assert (await story.token())[0] == "token-2"

    Story().tell(told)


def test_attempts_become_rarer(monkeypatch):
    monkeypatch.setattr(renewal, "_FIRST", 1.0)
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    async def told(story):
        story.exchange.trouble = RemitError("away")
        monkeypatch.setattr(asyncio, "sleep", sleep)
        for _ in range(8):
            with pytest.raises(RemitError, match="away"):
                await story.token()

    Story().tell(told)
    assert slept == [0, 1, 2, 4, 8, 16, 30, 30]


def test_a_first_token_is_waited_for_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(renewal, "_PATIENCE", 0.05)

    async def told(story):
        story.exchange.stall = 0.5
        with pytest.raises(RemitError, match="no token for Storage came in time"):
            await story.token()
        await story.settled()
        assert (await story.token())[0] == "token-1"
        assert story.exchange.calls == 1

    Story().tell(told)


def test_an_answer_that_trickles_is_given_up(monkeypatch, capsys):
    monkeypatch.setattr(renewal, "_ANSWER", 0.05)

    async def told(story):
        story.exchange.stall = 0.5
        with pytest.raises(RemitError, match="does not come to an end with its answer"):
            await story.token()
        story.exchange.stall = 0.0
        assert (await story.token())[0] == "token-2"

    Story().tell(told)
    assert "waiting for a token for Storage: remit does not come to an end" in capsys.readouterr().err


@pytest.mark.parametrize("step", [7200, -7200, 365 * 86_400])
@pytest.mark.promise("T5")
def test_a_clock_that_is_put_right_ends_nothing(step):
    async def told(story):
        await story.token()
        story.exchange.trouble = RemitError("away")
        story.time.wall += step
        story.time.pass_by(60)
        assert await story.token() == ("token-1", 840)
        story.exchange.trouble = None
        for _ in range(2):  # the first after an outage waits for nobody
            await story.settled()
            found, _ = await story.token()
        assert found == ("token-1" if step < 0 else "token-3")

    Story().tell(told)


def test_a_machine_that_was_suspended_asks_anew():
    async def told(story):
        await story.token()
        story.time.wall += 8 * 3600  # a hypervisor stopped it: only the wall clock was put right
        assert (await story.token())[0] == "token-2"
        story.time.pass_by(8 * 3600)  # a laptop slept
        assert (await story.token())[0] == "token-3"

    Story().tell(told)


def test_the_steady_clock_does_not_go_back():
    assert since_start() <= since_start()


def test_a_refusal_ends_what_is_held_is_said_once_and_asked_about_again(capsys):
    async def told(story):
        await story.token()
        story.exchange.trouble = Refused(
            Reason.NO_POLICY_PERMITS, "remit: no bucket for you (decision d-1)", hint="ask"
        )
        story.time.pass_by(601)
        for _ in range(3):
            with pytest.raises(Refused, match="no bucket for you"):
                await story.token()
        assert story.exchange.calls == 2
        story.time.pass_by(15)
        with pytest.raises(Refused):
            await story.token()
        assert story.exchange.calls == 3
        story.exchange.trouble = None
        story.time.pass_by(15)
        assert await story.token() == ("token-4", 900)

    Story().tell(told)
    assert capsys.readouterr().err == (
        "remit: no direct access to Storage: no bucket for you (decision d-1)\nhint: ask\n"
    )


def test_access_that_is_revoked_ends_every_token_of_the_run():
    exchange, told = Exchange(), []

    async def story():
        tokens = Tokens(lambda audience: exchange(), lambda: told.append("over"), Time().clocks())
        assert (await tokens.live(STORAGE + "p")).token.reveal() == "token-1"
        exchange.trouble = Refused(Reason.REVOKED, "access has been revoked (decision d-1)")
        with pytest.raises(Refused):
            await tokens.live(OWN)
        exchange.trouble = None
        for audience in (STORAGE + "p", OWN):
            with pytest.raises(Refused, match="decision d-1") as caught:
                await tokens.live(audience)
            assert caught.value.reason is Reason.REVOKED

    asyncio.run(story())
    assert (exchange.calls, told) == (2, ["over"])


def test_a_token_that_arrives_after_the_end_is_not_kept():
    async def told(story):
        story.exchange.stall = 0.05
        asked = asyncio.create_task(story.token())
        await asyncio.sleep(0.01)
        story.renewing.end()
        with pytest.raises(Refused) as caught:
            await asked
        assert caught.value.reason is Reason.REVOKED

    Story().tell(told)
