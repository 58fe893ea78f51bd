"""Signing in at a provider that keeps the rules, and at one that breaks exactly one of them."""

import pytest

pytestmark = pytest.mark.promise("V11")

# switch -> the reason that the page of refusal names
REFUSED = {
    # discovery
    "discovery-issuer": "token_issuer",
    "discovery-redirect": "exchange_unavailable",
    "discovery-html": "exchange_unavailable",
    "discovery-huge": "exchange_unavailable",
    "discovery-twice": "exchange_unavailable",
    "discovery-plain": "exchange_unavailable",
    "no-s256": "exchange_unavailable",
    "no-code": "exchange_unavailable",
    "secret-jwt-only": "exchange_unavailable",
    # the answer in the browser
    "state-wrong": "request_malformed",
    "state-missing": "request_malformed",
    "iss-wrong": "token_issuer",
    "iss-missing": "token_issuer",
    "error": "exchange_refused",
    "error-odd": "exchange_refused",
    "error-and-code": "request_ambiguous",
    "code-twice": "request_ambiguous",
    "no-code-given": "request_malformed",
    # the answer of the token endpoint
    "token-redirect": "exchange_unavailable",
    "token-huge": "exchange_unavailable",
    "token-slow": "exchange_unavailable",
    "token-half": "exchange_unavailable",
    "token-500": "exchange_unavailable",
    "token-html": "exchange_unavailable",
    "token-twice": "exchange_unavailable",
    "token-mac": "exchange_unavailable",
    "no-id-token": "token_missing",
    # the ID token: form and signature
    "id-token-encrypted": "token_malformed",
    "id-token-no-kid": "token_malformed",
    "id-token-access-typ": "token_malformed",
    "id-token-none": "token_malformed",
    "id-token-hs256": "token_signature",
    "id-token-public-hs256": "token_signature",
    "id-token-rs512": "token_signature",
    "id-token-stranger": "token_signature",
    "id-token-unknown-kid": "token_signature",
    "id-token-bad-signature": "token_signature",
    # the ID token: claims
    "id-token-iss": "token_issuer",
    "id-token-aud": "token_audience",
    "id-token-no-aud": "token_audience",
    "id-token-aud-several": "token_client",
    "id-token-azp": "token_client",
    "id-token-nonce": "token_claims",
    "id-token-no-nonce": "token_claims",
    "id-token-at-hash": "token_claims",
    "id-token-c-hash": "token_claims",
    "id-token-no-sub": "token_claims",
    "id-token-sub-control": "token_claims",
    "id-token-no-iat": "token_claims",
    "id-token-iat-text": "token_claims",
    "id-token-iat-future": "token_not_yet_valid",
    "id-token-iat-old": "token_expired",
    "id-token-no-exp": "token_claims",
    "id-token-exp-past": "token_claims",
    "id-token-exp-short": "token_expired",
    "id-token-groups-elsewhere": "identity_incomplete",
    "id-token-groups-aggregated": "identity_incomplete",
    "id-token-groups-text": "identity_incomplete",
    "id-token-events": "token_claims",
}
ACCEPTED = [
    "",
    "iss-not-promised",
    "post-only",
    "no-refresh",
    "two-keys",
    "id-token-aud-list",
    "id-token-aud-several-azp",
    "id-token-no-at-hash",
    "id-token-no-c-hash",
    "id-token-no-typ",
    "id-token-no-auth-time",
    "id-token-name-elsewhere",
]


@pytest.mark.parametrize("switch", ACCEPTED)
def test_accepts(visit, switch):
    async def story(v):
        browser = v.browser()
        answer = await v.signed_in(browser, "/sign-in/scripted?to=/notebooks/7%3Fcell%3D1")
        assert (answer.status_code, answer.headers["location"]) == (303, "/notebooks/7?cell=1")
        assert list(browser.cookies) == ["__Host-remit"]
        assert v.provider.complaints == []
        account = await browser.ask("GET", "/account")
        assert account.status_code == 200
        assert "Dana &lt;b&gt;Örn&lt;/b&gt;" in account.text
        assert "scripted/ml" in account.text
        assert "Fraud" in account.text
        assert "Boss" not in account.text

    visit(story, switch)


@pytest.mark.parametrize(("switch", "reason"), REFUSED.items())
def test_refuses(visit, switch, reason):
    async def story(v):
        browser = v.browser()
        answer = await v.signed_in(browser)
        assert answer.headers.get("x-remit-reason") == reason, answer.text
        assert answer.status_code in {400, 401, 403, 503}
        assert "__Host-remit" not in browser.cookies
        assert "<script>" not in answer.text
        assert f"<code>{reason}</code>" in answer.text
        # 1. nothing is left of the sign-in, and nobody is signed in
        assert not browser.cookies
        assert (await browser.ask("GET", "/account")).headers["location"] == "/sign-in"

    visit(story, switch)


def test_names_the_provider_s_error_code_and_nothing_else_of_its_words(visit):
    async def story(v):
        text = (await v.signed_in(v.browser())).text
        assert "<code>access_denied AADSTS50105</code>" in text
        assert "alert(1)" not in text

    visit(story, "error")


@pytest.mark.parametrize(
    ("key", "options", "switches"),
    [
        ("es256", {"algorithm": "ES256", "algorithms": ("RS256", "ES256")}, ()),
        ("assertion", {"assertion": True}, ()),
    ],
)
def test_accepts_what_settings_allow(visit, key, options, switches):
    async def story(v):
        assert (await v.signed_in(v.browser())).status_code == 303

    visit(story, *switches, **options)


@pytest.mark.parametrize(
    ("options", "switches"),
    [
        ({"algorithm": "ES256"}, ()),
        ({"algorithm": "ES256", "algorithms": ("RS256", "ES256")}, ("id-token-bad-signature",)),
    ],
)
def test_refuses_what_settings_do_not_allow(visit, options, switches):
    async def story(v):
        assert (await v.signed_in(v.browser())).headers["x-remit-reason"] in {"token_signature", "plane_unavailable"}

    visit(story, *switches, **options)


def test_a_code_is_sent_once_and_an_answer_is_used_once(visit):
    async def story(v):
        browser = v.browser()
        away = await browser.ask("GET", "/sign-in/scripted")
        flow = dict(browser.cookies)
        back = await v.to_provider(away.headers["location"])
        assert (await browser.ask("GET", back)).status_code == 303
        # 1. the same answer, with the same cookie put back
        thief = v.browser()
        thief.cookies = flow
        again = await thief.ask("GET", back)
        assert again.headers["x-remit-reason"] == "request_malformed"
        assert "used before" in again.text

    visit(story)


def test_an_answer_that_failed_is_used_too(visit):
    async def story(v):
        browser = v.browser()
        away = await browser.ask("GET", "/sign-in/scripted")
        flow = dict(browser.cookies)
        back = await v.to_provider(away.headers["location"])
        assert (await browser.ask("GET", back + "&iss=x")).headers["x-remit-reason"] == "request_ambiguous"
        browser.cookies = flow
        again = await browser.ask("GET", back)
        assert "used before" in again.text

    visit(story)


def test_an_answer_of_another_browser_signs_nobody_in(visit):
    """Login cross-site request forgery: the attacker's own answer in the victim's browser."""

    async def story(v):
        attacker, victim = v.browser(), v.browser()
        away = await attacker.ask("GET", "/sign-in/scripted")
        back = await v.to_provider(away.headers["location"])
        # 1. in a browser that began nothing
        assert (await victim.ask("GET", back)).headers["x-remit-reason"] == "request_malformed"
        # 2. in one that began a sign-in of its own
        await victim.ask("GET", "/sign-in/scripted")
        answer = await victim.ask("GET", back)
        assert answer.headers["x-remit-reason"] == "request_malformed"
        assert "__Host-remit" not in victim.cookies

    visit(story)


def test_a_sign_in_that_takes_too_long_is_over(visit):
    async def story(v):
        browser = v.browser()
        away = await browser.ask("GET", "/sign-in/scripted")
        back = await v.to_provider(away.headers["location"])
        v.clock.ahead = 601
        answer = await browser.ask("GET", back)
        assert "longer than 10 minutes" in answer.text

    visit(story)


def test_a_fresh_sign_in_is_asked_for_and_checked(visit):
    async def story(v):
        return await v.signed_in(v.browser(), "/sign-in/scripted?fresh")

    assert visit(story).status_code == 303
    assert visit(story, "stale-login").headers["x-remit-reason"] == "token_expired"
    assert visit(story, "id-token-no-auth-time").headers["x-remit-reason"] == "token_claims"


def test_signing_in_again_rotates_the_secret_and_ends_the_session_before(visit):
    async def story(v):
        browser = v.browser()
        await v.signed_in(browser)
        before = browser.cookies["__Host-remit"]
        await v.signed_in(browser)
        assert browser.cookies["__Host-remit"] != before
        old = v.browser()
        old.cookies = {"__Host-remit": before}
        assert (await old.ask("GET", "/account")).headers["x-remit-reason"] == "session_ended"
        assert len(v.ended) == 1

    visit(story)


def test_a_planted_session_cookie_is_never_adopted(visit):
    async def story(v):
        browser = v.browser()
        browser.cookies["__Host-remit"] = planted = "A" * 43
        assert (await v.signed_in(browser)).status_code == 303
        assert browser.cookies["__Host-remit"] != planted

    visit(story)


def test_a_provider_that_is_down_gives_a_clear_page_and_is_not_asked_by_everybody(visit):
    async def story(v):
        v.provider.down = True
        first = await v.browser().ask("GET", "/sign-in/scripted")
        assert (first.status_code, first.headers["x-remit-reason"]) == (503, "exchange_unavailable")
        v.provider.down = False
        assert (await v.browser().ask("GET", "/sign-in/scripted")).status_code == 503
        assert v.provider.discovered == 0
        v.clock.ahead = 16
        assert (await v.browser().ask("GET", "/sign-in/scripted")).status_code == 303
        # 1. an old document serves while no newer one can be had, for a day
        v.provider.down, v.clock.ahead = True, 4000
        assert (await v.browser().ask("GET", "/sign-in/scripted")).status_code == 303
        v.clock.ahead = 25 * 3600
        assert (await v.browser().ask("GET", "/sign-in/scripted")).status_code == 503

    visit(story)


def test_an_unreadable_client_secret_is_a_clear_page(visit, tmp_path):
    async def story(v):
        browser = v.browser()
        away = await browser.ask("GET", "/sign-in/scripted")
        (tmp_path / "client-secret").unlink()
        back = await v.to_provider(away.headers["location"])
        answer = await browser.ask("GET", back)
        assert answer.headers["x-remit-reason"] == "exchange_unavailable"
        assert "<code>secret_file</code>" in answer.text

    visit(story)
