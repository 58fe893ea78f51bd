"""A session's life after the sign-in: renewal, the provider's no, its absence, and its word that somebody left."""

import asyncio

import pytest

from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import SessionSecret

pytestmark = pytest.mark.promise("V2")

HOUR = 3600


async def session_of(v):
    browser = v.browser()
    assert (await v.signed_in(browser)).status_code == 303
    return SessionSecret(browser.cookies["__Host-remit"])


async def reason_of(v, session):
    with pytest.raises(Refused) as refused:
        await v.sessions.authenticate(session, v.clock.now())
    return refused.value.reason


def test_lives_on_for_hours_by_asking_again_each_time_with_the_newest_refresh_token(visit):
    async def story(v):
        session = await session_of(v)
        before, _ = await v.sessions.authenticate(session, v.clock.now())
        for hour in range(1, 6):
            v.clock.ahead = hour * 3400
            v.provider.groups = ("ml", f"hour-{hour}")
            identity, token = await v.sessions.authenticate(session, v.clock.now())
            assert f"scripted/hour-{hour}" in identity.groups
            assert token is None
        assert v.provider.renewed == 5
        assert identity.principal == before.principal
        assert identity.session == (await v.sessions.current(session, v.clock.now())).id

    visit(story)


def test_a_crowd_of_requests_renews_once(visit):
    async def story(v):
        session = await session_of(v)
        v.clock.ahead = 3400
        now = v.clock.now()
        await asyncio.gather(*(v.sessions.authenticate(session, now) for _ in range(50)))
        assert v.provider.renewed == 1

    visit(story)


@pytest.mark.parametrize("code", ["invalid_grant", "interaction_required", "login_required", "access_denied"])
def test_ends_when_the_provider_says_no(visit, code):
    async def story(v):
        session = await session_of(v)
        v.clock.ahead, v.provider.said_no = 3400, code
        assert await reason_of(v, session) is Reason.SESSION_ENDED
        # 1. at once and for good, though the old identity had minutes left
        v.clock.ahead, v.provider.said_no = 0, ""
        assert await reason_of(v, session) is Reason.SESSION_ENDED
        assert [line.sid for line in v.ended] == ["sid-1"]

    visit(story)


@pytest.mark.parametrize("switch", ["renewal-other-person", "renewal-nonce", "renewal-auth-time"])
def test_ends_when_the_newer_token_is_somebody_else_s(visit, switch):
    async def story(v):
        session = await session_of(v)
        v.clock.ahead = 3400
        assert await reason_of(v, session) is Reason.SESSION_ENDED
        assert await v.sessions.of("scripted/dana", v.clock.now()) == []

    visit(story, switch)


@pytest.mark.parametrize("trouble", ["down", "invalid_client", "temporarily_unavailable"])
def test_a_provider_that_cannot_answer_costs_nothing_until_the_end_of_the_token(visit, trouble):
    async def story(v):
        session = await session_of(v)

        def fail(on):
            v.provider.down = on and trouble == "down"
            v.provider.said_no = trouble if on and trouble != "down" else ""

        fail(True)
        v.clock.ahead = 3400
        await v.sessions.authenticate(session, v.clock.now())
        # 1. the end of what is known: refused, with what to do
        v.clock.ahead = 3700
        with pytest.raises(Refused) as refused:
            await v.sessions.authenticate(session, v.clock.now())
        assert refused.value.reason in {Reason.SESSION_ENDED, Reason.EXCHANGE_UNAVAILABLE, Reason.EXCHANGE_REFUSED}
        # 2. back again, and the session lives on
        fail(False)
        v.clock.ahead = 3800
        await v.sessions.authenticate(session, v.clock.now())

    visit(story)


@pytest.mark.parametrize("switch", ["no-refresh", "renewal-no-id-token"])
def test_what_cannot_be_renewed_ends_with_its_identity(visit, switch):
    async def story(v):
        session = await session_of(v)
        v.clock.ahead = 3590
        if switch == "no-refresh":
            await v.sessions.authenticate(session, v.clock.now())
        v.clock.ahead = 3601
        assert await reason_of(v, session) is Reason.SESSION_ENDED

    visit(story, switch)


def test_a_long_id_token_counts_for_an_hour(visit):
    async def story(v):
        session = await session_of(v)
        identity, _ = await v.sessions.authenticate(session, v.clock.now())
        assert identity.expires_at <= v.clock.now() + HOUR

    visit(story, lifetime=24 * HOUR)


def test_keys_rotate_between_two_sign_ins(visit):
    async def story(v):
        await session_of(v)
        v.provider.rotated, v.clock.ahead = True, 31
        await session_of(v)

    visit(story)


# ---- back-channel logout

LOGOUT_REFUSED = {
    "logout-none": "token_malformed",
    "logout-hs256": "token_signature",
    "logout-public-hs256": "token_signature",
    "logout-rs512": "token_signature",
    "logout-stranger": "token_signature",
    "logout-bad-signature": "token_signature",
    "logout-unknown-kid": "token_signature",
    "logout-id-typ": "token_malformed",
    "logout-no-event": "token_claims",
    "logout-event": "token_claims",
    "logout-event-filled": "token_claims",
    "logout-nonce": "token_claims",
    "logout-aud": "token_audience",
    "logout-iss": "token_issuer",
    "logout-nobody": "token_claims",
    "logout-no-jti": "token_claims",
    "logout-no-exp": "token_claims",
    "logout-no-iat": "token_claims",
    "logout-old": "token_expired",
    "logout-over": "token_expired",
}


async def told(v, token):
    return await v.browser().ask("POST", "/sign-in/scripted/backchannel-logout", data={"logout_token": token})


@pytest.mark.parametrize(("switch", "reason"), LOGOUT_REFUSED.items())
def test_a_bad_logout_token_ends_nothing(visit, switch, reason):
    async def story(v):
        session = await session_of(v)
        answer = await told(v, v.provider.logout_token())
        assert (answer.status_code, answer.headers["x-remit-reason"]) == (400, reason)
        assert answer.headers["cache-control"] == "no-store"
        await v.sessions.authenticate(session, v.clock.now())

    visit(story, switch)


@pytest.mark.parametrize("switch", ["", "logout-no-typ", "logout-no-sub", "logout-no-sid"])
def test_a_good_logout_token_ends_the_session_once(visit, switch):
    async def story(v):
        session, other = await session_of(v), await session_of(v)
        token = v.provider.logout_token()
        answer = await told(v, token)
        assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (200, b"", "no-store")
        assert [await reason_of(v, one) for one in (session, other)] == [Reason.SESSION_ENDED] * 2
        # 1. replayed, it ends nobody's new session
        third = await session_of(v)
        assert (await told(v, token)).status_code == 400
        await v.sessions.authenticate(third, v.clock.now())

    visit(story, switch)


def test_a_logout_of_another_session_ends_none_of_ours(visit):
    async def story(v):
        session = await session_of(v)
        assert (await told(v, v.provider.logout_token())).status_code == 200
        await v.sessions.authenticate(session, v.clock.now())

    visit(story, "logout-other-sid")


def test_an_id_token_is_no_logout_token_and_the_other_way_round(visit):
    async def story(v):
        browser = v.browser()
        away = await browser.ask("GET", "/sign-in/scripted")
        await v.to_provider(away.headers["location"])
        code, grant = next(iter(v.provider.grants.items()))
        id_token = v.provider.id_token(v.provider.claims(grant, code, "access", renewal=False))
        assert (await told(v, id_token)).headers["x-remit-reason"] == "token_malformed"
        v.provider.id_token = lambda _: v.provider.logout_token()
        assert (await v.signed_in(v.browser())).headers["x-remit-reason"] == "token_malformed"

    visit(story)
