"""The pages of signing in: where they send a browser, what they say, which cookies they give, take and refuse."""

import asyncio
import base64
import hashlib
import re
from dataclasses import dataclass

import httpx
import pytest
from starlette.applications import Starlette

from remit.arbiter.pages import page, refusal
from remit.arbiter.sign_in import SignInPages
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import Secret, SessionSecret, UnverifiedToken

NOW = 1_800_000_000
ORIGIN = "https://remit.contoso.example"
EVIL = "<script>alert(1)</script>\"'&"


@dataclass
class Departure:
    location: str = "https://idp.example/authorize?state=x"
    flow: Secret = Secret("sealed")  # noqa: RUF009 - it cannot change
    posted: bool = False


@dataclass
class Arrival:
    session: SessionSecret = SessionSecret("new-session")  # noqa: RUF009 - it cannot change
    to: str = "/notebooks/1"


class Identity:
    """What stands behind the pages: told how to answer, and keeps what it was asked."""

    def __init__(self):
        self.providers = [("entra", "Contoso")]
        self.asked = []
        self.departure = Departure()
        self.refused = None

    def _say(self, answer, *asked):
        self.asked.append(asked)
        if self.refused is not None:
            raise self.refused
        return answer

    async def begin(self, name, to, now, *, context="", fresh=False):
        return self._say(self.departure, "begin", name, to, now, context, fresh)

    async def finish(self, name, query, cookie, before, now):
        return self._say(Arrival(), "finish", name, query, cookie.reveal(), before, now)

    async def accept(self, name, response, cookie, before, now):
        return self._say(Arrival(), "accept", name, response, cookie.reveal(), before, now)

    async def logout(self, name, token, now):
        return self._say(1, "logout", name, token, now)


@pytest.fixture
def identity():
    return Identity()


@pytest.fixture
def ask(identity):
    app = Starlette(routes=SignInPages(identity, lambda: NOW * 1_000_000).routes())

    def asked(method, path, **more):
        async def go():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
                return await client.request(method, path, **more)

        return asyncio.run(go())

    return asked


def cookies_of(answer):
    return answer.headers.get_list("set-cookie")


GONE = '__Host-remit-flow=""; HttpOnly; Max-Age=0; Path=/; SameSite=lax; Secure'


def test_the_choice_has_a_button_for_each_provider_and_carries_the_address(ask, identity):
    identity.providers = [("entra", "Contoso"), ("okta", EVIL)]
    text = ask("GET", "/sign-in", params={"to": "/x?a=b&c"}).text
    assert 'href="/sign-in/entra?to=%2Fx%3Fa%3Db%26c"' in text
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "session already" not in text
    assert "session already" in ask("GET", "/sign-in", headers={"cookie": "__Host-remit=x"}).text
    assert "You are signed out" in ask("GET", "/sign-in?signed-out").text
    identity.providers = []
    assert "No identity provider" in ask("GET", "/sign-in").text


def test_every_page_keeps_to_itself(ask):
    answer = ask("GET", "/sign-in")
    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert answer.headers["content-security-policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    for forbidden in ("<script", " style=", " onclick", "http://", "url(", "@import"):
        assert forbidden not in answer.text


def test_the_way_there(ask, identity):
    answer = ask("GET", "/sign-in/entra?to=/x&context=c1&fresh")
    assert (answer.status_code, answer.headers["location"]) == (303, identity.departure.location)
    assert identity.asked == [("begin", "entra", "/x", NOW, "c1", True)]
    assert cookies_of(answer) == ["__Host-remit-flow=sealed; HttpOnly; Max-Age=600; Path=/; SameSite=lax; Secure"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    identity.departure = Departure(posted=True)
    assert cookies_of(ask("GET", "/sign-in/entra")) == [
        "__Host-remit-flow-posted=sealed; HttpOnly; Max-Age=600; Path=/; SameSite=none; Secure"
    ]


def test_the_way_back_gives_a_session_and_takes_the_flow(ask, identity):
    answer = ask(
        "GET",
        "/sign-in/entra/callback?code=a%20b&state=x",
        headers={"cookie": "a=b; __Host-remit-flow=sealed; __Host-remit=old; __Host-remit-flow-posted=no"},
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/notebooks/1")
    assert identity.asked == [("finish", "entra", "code=a%20b&state=x", "sealed", SessionSecret("old"), NOW)]
    assert cookies_of(answer) == ["__Host-remit=new-session; HttpOnly; Path=/; SameSite=lax; Secure", GONE]


def test_the_way_back_without_cookies(ask, identity):
    ask("GET", "/sign-in/entra/callback?x", headers={"cookie": "__host-remit=1; __Host-remitX=2; =3; ;"})
    ask("GET", "/sign-in/entra/callback", headers={"cookie": "__Host-remit-flow=" + "a" * 5000})
    assert [asked[3:5] for asked in identity.asked] == [("", None), ("", None)]


@pytest.mark.promise("V20")
@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.POLICY_PERMITS])
def test_every_refusal_has_a_page_that_says_why_and_what_to_do(ask, identity, reason):
    identity.refused = Refused(reason, f"it was `lit{EVIL}eral`, and {EVIL}", hint="")
    for path in ("/sign-in/entra", "/sign-in/entra/callback?code=a"):
        answer = ask("GET", path)
        status = 404 if reason is Reason.RESOURCE_UNKNOWN else reason.http_status
        assert (answer.status_code, answer.headers["x-remit-reason"]) == (status, str(reason))
        assert f"<code>{reason}</code>" in answer.text
        assert re.search(r"<code>r-[0-9a-z]{8}</code>", answer.text)
        assert '<time datetime="2027-01-15T08:00:00Z">' in answer.text
        assert "What to do:" in answer.text
        assert "<script>" not in answer.text
        assert "<code>lit&lt;script&gt;" in answer.text
        assert "__Host-remit=" not in str(cookies_of(answer))
    assert cookies_of(answer) == [GONE]


def test_a_hint_for_terminals_becomes_one_for_browsers():
    with_hint = refusal(Refused(Reason.TOKEN_EXPIRED, hint="get a new token: `remit login`"), NOW).body.decode()
    assert "remit login" not in with_hint
    assert "clock" in with_hint
    plain = refusal(Refused(Reason.TOKEN_EXPIRED, "said!", hint="wait a `minute"), NOW, to="/x").body.decode()
    assert "Wait a `minute." in plain
    assert "Said!<" in plain
    assert 'href="/sign-in?to=%2Fx"' in plain


def test_the_log_has_the_reference_of_the_page_and_no_stranger_s_words(ask, identity, caplog):
    caplog.set_level("INFO", logger="remit.arbiter.pages")
    identity.refused = Refused(Reason.TOKEN_TENANT)
    shown = re.search(r"r-[0-9a-z]{8}", ask("GET", "/sign-in/entra").text)[0]
    assert shown in caplog.text
    assert "sign-in at entra" in caplog.text
    ask("GET", "/sign-in/%0Aevil")
    assert "evil" not in caplog.text


@pytest.mark.parametrize("name", ["__Host-remit", "__Host-remit-flow"])
@pytest.mark.parametrize("split", [True, False])
def test_two_cookies_of_one_name_are_refused(ask, identity, name, split):
    headers = [("cookie", f"{name}=a"), ("cookie", f"{name}=b")] if split else [("cookie", f"{name}=a;{name}=a")]
    answer = ask("GET", "/sign-in/entra/callback?code=a", headers=headers)
    assert (answer.status_code, answer.headers["x-remit-reason"]) == (400, "request_ambiguous")
    assert identity.asked == []
    if name == "__Host-remit":
        assert ask("GET", "/sign-in", headers=headers).status_code == 400


# ---- SAML's way back


def test_a_posted_answer(ask, identity):
    answer = ask(
        "POST",
        "/sign-in/okta/saml",
        data={"SAMLResponse": "abc+/=", "RelayState": "https://evil.example"},
        headers={"cookie": "__Host-remit-flow-posted=sealed; __Host-remit-flow=no"},
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/notebooks/1")
    assert identity.asked == [("accept", "okta", "abc+/=", "sealed", None, NOW)]
    assert cookies_of(answer)[1] == '__Host-remit-flow-posted=""; HttpOnly; Max-Age=0; Path=/; SameSite=none; Secure'


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"json": {"SAMLResponse": "a"}}, "request_malformed"),
        ({"content": b"SAMLResponse=a&SAMLResponse=b"}, "request_ambiguous"),
        ({"content": b"SAMLResponse=" + b"a" * (256 << 10)}, "request_malformed"),
        ({"content": b"a=%ff"}, "request_malformed"),
        ({"content": b"a=\xff"}, "request_malformed"),
        ({"content": b"&".join([b"a=1"] * 9)}, "request_malformed"),
    ],
)
def test_a_form_that_is_none_is_refused(ask, identity, more, reason):
    more.setdefault("headers", {"content-type": "application/x-www-form-urlencoded"})
    if "json" in more:
        del more["headers"]
    assert ask("POST", "/sign-in/okta/saml", **more).headers["x-remit-reason"] == reason
    assert identity.asked == []


def test_a_form_that_never_ends_is_refused(identity, monkeypatch):
    monkeypatch.setattr("remit.arbiter.sign_in._TIMEOUT", 0.05)
    app = Starlette(routes=SignInPages(identity, lambda: NOW * 1_000_000).routes())
    sent = []

    async def receive():
        await asyncio.sleep(5)

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    scope = {"type": "http", "method": "POST", "path": "/sign-in/okta/saml", "query_string": b"", "headers": headers}
    asyncio.run(app({**scope, "raw_path": b"", "http_version": "1.1", "scheme": "https"}, receive, send))
    assert sent[0]["status"] == 400


# ---- the provider's logout


def test_a_logout_token_is_passed_on(ask, identity):
    answer = ask("POST", "/sign-in/entra/backchannel-logout", data={"logout_token": "a.b.c"})
    assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (200, b"", "no-store")
    assert identity.asked == [("logout", "entra", UnverifiedToken("a.b.c"), NOW)]


def test_a_refused_logout_token_says_why(ask, identity):
    identity.refused = Refused(Reason.TOKEN_AUDIENCE)
    answer = ask("POST", "/sign-in/entra/backchannel-logout", data={"x": "1"})
    assert (answer.status_code, answer.headers["cache-control"]) == (400, "no-store")
    assert answer.json()["error"] == "invalid_request"
    assert answer.json()["error_description"].startswith("token_audience: ")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/sign-in"),
        ("POST", "/sign-in/entra"),
        ("POST", "/sign-in/entra/callback"),
        ("GET", "/sign-in/entra/saml"),
        ("GET", "/sign-in/entra/backchannel-logout"),
    ],
)
def test_other_methods_are_not_served(ask, identity, method, path):
    assert ask(method, path).status_code == 405
    assert identity.asked == []


def test_a_template_that_lacks_a_value_fails_aloud():
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        page("refused")
