"""The account page, and signing out: whose it is, which forms count, what is ended."""

import asyncio
import re
from dataclasses import dataclass, replace

import httpx
import pytest
from starlette.applications import Starlette

from remit.arbiter.account import Account, form_token
from remit.model.errors import Refused
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.reasons import Reason
from remit.model.secret import SessionSecret

NOW = 1_800_000_000
ORIGIN = "https://remit.contoso.example"
EVIL = "<img src=x onerror=alert(1)>"
DANA = Identity(
    principal=Principal("https://okta.example", "okta", "dana", Kind.PERSON),
    display=f"Dana {EVIL}",
    groups=frozenset({"okta/ml", f"okta/{EVIL}"}),
    groups_at=NOW - 60,
    roles=frozenset({"MLEngineer"}),
    scopes=frozenset(),
    client="remit",
    authentication=Authentication(frozenset({"pwd"}), frozenset({"c1"}), frozenset(), NOW - 600),
    guest=True,
    issued_at=NOW,
    expires_at=NOW + 3600,
    token_id="jti",
    home="fabrikam",
)
HERE, THERE, STRANGER = "secret-here", "secret-there", "secret-stranger"


@dataclass
class Line:
    id: str
    principal: str
    provider: str = "okta"
    created_at: int = NOW - 500
    used_at: int = NOW - 50
    expires_at: int = NOW + 5000


class Sessions:
    def __init__(self):
        self.live = {
            HERE: Line("s-here", "okta/dana"),
            THERE: Line("s-there", "okta/dana"),
            STRANGER: Line("s-stranger", "okta/ada"),
        }
        self.identity = DANA
        self.refused = None

    async def authenticate(self, session, now):
        assert now == NOW
        if self.refused:
            raise self.refused
        await self.current(session, now)
        return self.identity, None

    async def current(self, session, now):
        if session.reveal() not in self.live:
            raise Refused(Reason.SESSION_ENDED)
        return self.live[session.reveal()]

    async def of(self, principal, now):
        return [line for line in self.live.values() if line.principal == principal]

    async def end(self, session):
        return self._end(lambda secret, _: secret == session.reveal())

    async def end_id(self, name):
        return self._end(lambda _, line: line.id == name)

    async def end_all(self, principal):
        return self._end(lambda _, line: line.principal == principal)

    def _end(self, which):
        gone = [secret for secret, line in self.live.items() if which(secret, line)]
        for secret in gone:
            del self.live[secret]
        return len(gone)


class Revoked:
    """The view of revocations, which names some principals."""

    epoch = 1

    def __init__(self):
        self.named = set()

    def check(self, identity, job, now):
        assert (job, now) == ("", NOW)
        if identity.principal.key in self.named:
            raise Refused(Reason.REVOKED)


@pytest.fixture
def sessions():
    return Sessions()


@pytest.fixture
def revoked():
    return Revoked()


@pytest.fixture
def ask(sessions, revoked):
    app = Starlette(routes=Account(sessions, ORIGIN, lambda: NOW * 1_000_000, revocations=revoked).routes())

    def asked(method, path, **more):
        async def go():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
                return await client.request(method, path, **more)

        return asyncio.run(go())

    return asked


def cookie(secret=HERE):
    return {"cookie": f"__Host-remit={secret}"}


def post(ask, path, form, secret=HERE, origin=ORIGIN):
    headers = cookie(secret) if secret else {}
    return ask("POST", path, data=form, headers=headers | ({"origin": origin} if origin is not None else {}))


def token(secret=HERE):
    return form_token(SessionSecret(secret))


def test_the_page_shows_who_and_where_and_escapes_it_all(ask):
    text = ask("GET", "/account", headers=cookie()).text
    assert "<img" not in text
    for shown in ("Dana &lt;img", "okta/dana", "okta/ml", "MLEngineer", "fabrikam", "pwd", "c1", "s-here", "s-there"):
        assert shown in text
    assert "s-stranger" not in text
    assert text.count(f'name="token" value="{token()}"') == 3
    assert HERE not in text.replace("s-here", "")
    assert re.search(r"<code>s-here</code><span class=\"here\">this browser</span>", text)


def test_the_page_of_somebody_with_little_to_show_and_of_somebody_with_much(ask, sessions):
    sessions.identity = replace(
        DANA,
        groups=frozenset(),
        roles=frozenset(),
        guest=False,
        home="",
        authentication=Authentication(),
    )
    text = ask("GET", "/account", headers=cookie()).text
    assert "the provider does not say" in text
    assert "Authenticated" not in text
    assert "Guest" not in text
    sessions.identity = replace(DANA, groups=frozenset(f"okta/{number}" for number in range(250)))
    assert "and 50 more" in ask("GET", "/account", headers=cookie()).text


def test_without_a_session_the_page_sends_to_sign_in(ask, sessions):
    answer = ask("GET", "/account")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    ended = ask("GET", "/account", headers=cookie("unknown"))
    assert ended.headers["x-remit-reason"] == "session_ended"
    assert "were away for too long" in ended.text
    sessions.refused = Refused(Reason.PLANE_UNAVAILABLE)
    assert ask("GET", "/account", headers=cookie()).status_code == 503
    twice = {"cookie": f"__Host-remit={HERE}; __Host-remit={HERE}"}
    assert ask("GET", "/account", headers=twice).headers["x-remit-reason"] == "request_ambiguous"


def test_signing_out_of_this_browser(ask, sessions):
    for form in ({}, {"session": "s-here"}):
        sessions.live[HERE] = Line("s-here", "okta/dana")
        answer = post(ask, "/sign-out", {"token": token(), **form})
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?signed-out")
        assert answer.headers["set-cookie"] == '__Host-remit=""; HttpOnly; Max-Age=0; Path=/; SameSite=lax; Secure'
        assert set(sessions.live) == {THERE, STRANGER}


def test_signing_out_of_another_browser_of_one_s_own(ask, sessions):
    answer = post(ask, "/sign-out", {"token": token(), "session": "s-there"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    assert set(sessions.live) == {HERE, STRANGER}


def test_nobody_signs_a_stranger_out(ask, sessions):
    assert post(ask, "/sign-out", {"token": token(), "session": "s-stranger"}).status_code == 303
    assert set(sessions.live) == {HERE, THERE, STRANGER}


def test_signing_out_everywhere(ask, sessions):
    answer = post(ask, "/sign-out/everywhere", {"token": token()})
    assert answer.headers["location"] == "/sign-in?signed-out"
    assert set(sessions.live) == {STRANGER}


def test_signing_out_needs_neither_the_provider_nor_a_valid_token(ask, sessions):
    sessions.refused = Refused(Reason.EXCHANGE_UNAVAILABLE)
    assert post(ask, "/sign-out/everywhere", {"token": token()}).status_code == 303
    assert set(sessions.live) == {STRANGER}


def test_an_ended_session_signs_out_quietly_and_asks_for_nothing_else(ask):
    assert post(ask, "/sign-out", {"token": token("old")}, "old").headers["location"] == "/sign-in?signed-out"
    assert post(ask, "/sign-out", {"x": "1"}, "").headers["location"] == "/sign-in?signed-out"
    assert post(ask, "/sign-out/everywhere", {"x": "1"}, "").headers["location"] == "/sign-in?signed-out"
    assert (
        post(ask, "/sign-out/everywhere", {"token": token("old")}, "old").headers["x-remit-reason"] == "session_ended"
    )
    named = post(ask, "/sign-out", {"token": token("old"), "session": "s-here"}, "old")
    assert named.headers["x-remit-reason"] == "session_ended"


@pytest.mark.parametrize("path", ["/sign-out", "/sign-out/everywhere"])
@pytest.mark.parametrize(
    ("origin", "form"),
    [
        (None, {"token": token()}),
        ("null", {"token": token()}),
        ("https://evil.example", {"token": token()}),
        ("http://remit.contoso.example", {"token": token()}),
        ("https://remit.contoso.example:444", {"token": token()}),
        ("https://sub.remit.contoso.example", {"token": token()}),
        (ORIGIN, {"x": "1"}),
        (ORIGIN, {"token": ""}),
        (ORIGIN, {"token": "é"}),
        (ORIGIN, {"token": token(THERE)}),
        (ORIGIN, {"token": HERE}),
    ],
)
def test_a_form_that_is_not_ours_signs_nobody_out(ask, sessions, path, origin, form):
    answer = post(ask, path, form, origin=origin)
    assert (answer.status_code, answer.headers["x-remit-reason"]) == (400, "request_malformed")
    assert set(sessions.live) == {HERE, THERE, STRANGER}


def test_two_origins_or_two_cookies_sign_nobody_out(ask, sessions):
    two = [("origin", ORIGIN), ("origin", ORIGIN), ("cookie", f"__Host-remit={HERE}")]
    assert ask("POST", "/sign-out", data={"token": token()}, headers=two).status_code == 400
    pair = [("origin", ORIGIN), ("cookie", f"__Host-remit={HERE}; __Host-remit={THERE}")]
    assert (
        ask("POST", "/sign-out", data={"token": token()}, headers=pair).headers["x-remit-reason"] == "request_ambiguous"
    )
    assert len(sessions.live) == 3


@pytest.mark.parametrize("path", ["/sign-out", "/sign-out/everywhere"])
def test_a_link_signs_nobody_out(ask, sessions, path):
    assert ask("GET", path, headers=cookie()).status_code == 405
    assert len(sessions.live) == 3


def test_whoever_is_revoked_is_told_so_and_can_still_leave(ask, sessions, revoked):
    revoked.named.add("okta/dana")
    answer = ask("GET", "/account", headers=cookie())
    assert (answer.status_code, answer.headers["x-remit-reason"]) == (403, "revoked")
    assert "Your access has been revoked" in answer.text
    assert "s-here" not in answer.text
    assert post(ask, "/sign-out/everywhere", {"token": token()}).status_code == 303
    assert set(sessions.live) == {STRANGER}
