"""The browser's way in: authorize, the code and its redemption, single sign-on, sign-out."""

import json
import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest

from remit.lab import contoso
from remit.lab.entra_authorize import s256
from remit.lab.jwt import peek

LOGIN = "login.microsoftonline.com"
VERIFIER = "v" * 43
WEB = "https://remit.contoso.example/sign-in/entra/callback"
C1 = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
SECRET = "a secret of the story"
ASKED = {
    "client_id": contoso.REMIT.id,
    "response_type": "code",
    "redirect_uri": WEB,
    "scope": "api://remit/access openid profile offline_access",
    "state": "s-1",
    "nonce": "n-1",
    "code_challenge": s256(VERIFIER),
    "code_challenge_method": "S256",
    "login_hint": "dana@contoso.example",
}


def authorize(world, cookie="", tenant=contoso.TENANT, **changes):
    fields = {key: value for key, value in {**ASKED, **changes}.items() if value is not None}
    query = "&".join(f"{key}={value}" for key, value in fields.items())
    return world.ask(LOGIN, "GET", f"/{tenant}/oauth2/v2.0/authorize?{query}", cookie=cookie)


def sent(response):
    """What went back to the client, from wherever the browser carries it."""
    if response.status == 302:
        return {key: value[0] for key, value in parse_qs(urlsplit(response.headers["location"]).query).items()}
    pairs = re.findall(r'name="([^"]+)" value="([^"]*)"', response.body.decode())
    return {key: unescape(value) for key, value in pairs}


def redeem(world, code, **changes):
    world.clouds.commands()["secret"]({"app": contoso.REMIT.id, "secret": SECRET})
    fields = {
        "grant_type": "authorization_code",
        "client_id": contoso.REMIT.id,
        "client_secret": SECRET,
        "code": code,
        "redirect_uri": WEB,
        "code_verifier": VERIFIER,
    }
    return world.token(**{key: value for key, value in {**fields, **changes}.items() if value is not None})


def cookie_of(response):
    return response.headers["set-cookie"].partition(";")[0]


def refused(answer, number, error="invalid_grant"):
    status, body = answer
    assert (status, body["error_codes"], body["error"]) == (400, [number], error), body


def test_a_sign_in_becomes_tokens(world):
    response = authorize(world)
    back = sent(response)
    assert response.headers["location"].startswith(f"{WEB}?")
    assert back["state"] == "s-1"
    assert "HttpOnly" in response.headers["set-cookie"]
    status, answer = redeem(world, back["code"])
    assert status == 200, answer
    access, identity = peek(answer["access_token"])[1], peek(answer["id_token"])[1]
    assert identity["nonce"] == "n-1"
    assert identity["aud"] == contoso.REMIT.id
    assert identity["iss"] == contoso.ISSUER
    assert identity["sid"] == access["sid"] == back["session_state"]
    assert identity["auth_time"] == access["auth_time"]
    assert identity["roles"] == ["MLEngineer"]
    assert "email" not in identity
    assert (access["aud"], access["azp"], access["azpacr"]) == (contoso.REMIT.id, contoso.REMIT.id, "1")
    assert answer["refresh_token"]
    entry = world.clouds.entra.sign_ins.entries[-1]
    assert (entry["isInteractive"], entry["userId"]) == (True, contoso.DANA.oid)


def test_the_form_posts_itself_and_escapes(world):
    response = authorize(world, response_mode="form_post", state='"><script>')
    assert response.status == 200
    assert b"document.forms[0].submit()" in response.body
    assert b'"><script>"' not in response.body
    back = sent(response)
    assert back["state"] == '"><script>'
    assert redeem(world, back["code"])[0] == 200


def test_the_request_may_be_posted(world):
    response = world.ask(LOGIN, "POST", f"/{contoso.TENANT}/oauth2/v2.0/authorize", form=ASKED)
    assert redeem(world, sent(response)["code"])[0] == 200


def test_email_is_there_when_asked_for(world):
    code = sent(authorize(world, scope="openid email"))["code"]
    answer = redeem(world, code)[1]
    assert peek(answer["id_token"])[1]["email"] == "dana@contoso.example"
    assert peek(answer["access_token"])[1]["aud"] == contoso.GRAPH.uri
    assert "refresh_token" not in answer


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"client_id": None}, 900144),
        ({"client_id": "b0000000-0000-4000-8000-000000000001"}, 700016),
        ({"redirect_uri": None}, 900144),
        ({"redirect_uri": "https://evil.example/sign-in/entra/callback"}, 50011),
        ({"redirect_uri": WEB + "/"}, 50011),
        ({"redirect_uri": WEB + "#x"}, 50011),
        ({"redirect_uri": "http://127.0.0.1@evil.example/sign-in/entra/callback"}, 50011),
        ({"redirect_uri": "http://127.0.0.1:99/elsewhere"}, 50011),
        ({"login_hint": "una@fabrikam.example"}, 50020),
        ({"login_hint": "nobody@contoso.example"}, 50034),
    ],
)
def test_what_stays_on_the_page(world, changes, number):
    response = authorize(world, **changes)
    assert response.status == 400
    assert "location" not in response.headers
    assert f"AADSTS{number}".encode() in response.body


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "id_token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"request": "e30.e30."}, "invalid_request"),
        ({"scope": None}, "invalid_request"),
        ({"scope": "api://nobody/x"}, "invalid_resource"),
        ({"claims": "[]"}, "invalid_request"),
        ({"claims": '{"access_token":{"nbf":{"value":"soon"}}}'}, "invalid_request"),
        ({"prompt": "none"}, "login_required"),
    ],
)
def test_what_the_client_is_told(world, changes, error):
    back = sent(authorize(world, **changes))
    assert (back["error"], back["state"]) == (error, "s-1")
    assert back["error_description"].startswith("AADSTS")
    assert "code" not in back


def test_a_public_client_needs_pkce(world):
    changes = {"client_id": contoso.CLI.id, "redirect_uri": "http://localhost:41001"}
    assert sent(authorize(world, **changes, code_challenge=None))["error"] == "invalid_request"
    code = sent(authorize(world, **changes))["code"]
    fields = {"client_id": contoso.CLI.id, "client_secret": None, "redirect_uri": "http://localhost:41001"}
    status, answer = redeem(world, code, **fields)
    assert status == 200
    assert peek(answer["access_token"])[1]["azpacr"] == "0"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:8443", "https://localhost:9", "http://localhost"])
def test_loopback_redirects_take_any_port(world, uri):
    uri += "/sign-in/entra/callback"
    assert authorize(world, redirect_uri=uri).headers["location"].startswith(uri)


def test_a_redirect_can_be_registered(world):
    world.clouds.commands()["redirect_uri"]({"app": contoso.REMIT.id, "uri": "https://other.example/cb?x=1"})
    location = authorize(world, redirect_uri="https://other.example/cb?x=1").headers["location"]
    assert location.startswith("https://other.example/cb?x=1&code=")


def test_a_code_is_good_once_for_its_client_redirect_and_verifier(world):
    code = sent(authorize(world))["code"]
    refused(redeem(world, code, redirect_uri="https://elsewhere.example"), 500112)
    refused(redeem(world, code, code_verifier="w" * 43), 501481)
    refused(redeem(world, code, code_verifier=None), 501481)
    refused(redeem(world, code, client_id=contoso.CLI.id, client_secret=None), 70000)
    refused(redeem(world, "unknown"), 70000)
    assert redeem(world, code, client_secret="wrong")[1]["error_codes"] == [7000215]
    assert redeem(world, code)[0] == 200
    refused(redeem(world, code), 54005)
    late = sent(authorize(world))["code"]
    world.clouds.entra_clock.skew = 601
    refused(redeem(world, late), 70008)


def test_the_token_call_may_ask_for_another_resource(world):
    code = sent(authorize(world))["code"]
    answer = redeem(world, code, scope="api://remit-google/.default")[1]
    assert peek(answer["access_token"])[1]["aud"] == contoso.GOOGLE.id


def test_nobody_sits_there_and_the_page_offers_everybody(world):
    page = authorize(world, login_hint=None).body.decode()
    assert "Dana" in page
    assert "Una" not in page
    assert "Una" in authorize(world, login_hint=None, tenant="common").body.decode()
    link = unescape(re.search(r'href="([^"]+dana[^"]+)"', page)[1])
    query = {key: value[0] for key, value in parse_qs(urlsplit(link).query).items()}
    assert query == ASKED
    world.clouds.commands()["browser"]({"account": "sam@contoso.example"})
    assert peek(redeem(world, sent(authorize(world, login_hint=None))["code"])[1]["id_token"])[1]["name"] == "Sam"


def test_the_person_may_decline(world):
    world.clouds.commands()["browser"]({"decline": True})
    assert sent(authorize(world))["error"] == "access_denied"


def test_step_up(world):
    claims = sent(authorize(world, claims=C1))
    answer = redeem(world, claims["code"])[1]
    token = peek(answer["access_token"])[1]
    assert (token["amr"], token["acrs"]) == (["pwd", "mfa"], ["c1"])
    world.clouds.commands()["browser"]({"second_factor": "refuse"})
    assert sent(authorize(world, claims=C1))["error"] == "access_denied"
    assert "code" in sent(authorize(world))
    world.clouds.commands()["browser"]({"second_factor": "always"})
    assert peek(redeem(world, sent(authorize(world))["code"])[1]["access_token"])[1]["acrs"] == ["c1"]


def test_single_sign_on(world):
    first = authorize(world)
    cookie = cookie_of(first)
    again = authorize(world, cookie, login_hint=None, prompt="none")
    assert sent(again)["session_state"] == sent(first)["session_state"]
    stronger = authorize(world, cookie, claims=C1, prompt="none")
    assert sent(stronger)["error"] == "interaction_required"
    assert json.loads(sent(stronger)["claims"]) == json.loads(C1)
    stepped = authorize(world, cookie, login_hint=None, claims=C1)
    assert sent(stepped)["session_state"] == sent(first)["session_state"]
    token = peek(redeem(world, sent(stepped)["code"])[1]["access_token"])[1]
    assert token["acrs"] == ["c1"]
    assert "code" in sent(authorize(world, cookie, claims=C1, prompt="none"))
    other = authorize(world, cookie, login_hint="sam@contoso.example")
    assert sent(other)["session_state"] != sent(first)["session_state"]
    assert sent(authorize(world, cookie, login_hint="sam@contoso.example", prompt="none"))["error"] == "login_required"
    assert authorize(world, cookie, login_hint=None, prompt="select_account").status == 200


def test_a_sign_in_is_done_again_when_it_is_too_old(world):
    first = authorize(world)
    before = peek(redeem(world, sent(first)["code"])[1]["id_token"])[1]["auth_time"]
    world.clouds.entra_clock.skew = 100
    same = authorize(world, cookie_of(first), max_age="1000", prompt="none")
    assert peek(redeem(world, sent(same)["code"])[1]["id_token"])[1]["auth_time"] == before
    assert sent(authorize(world, cookie_of(first), max_age="10", prompt="none"))["error"] == "login_required"
    for changes in ({"max_age": "10"}, {"prompt": "login"}):
        newer = authorize(world, cookie_of(first), **changes)
        assert peek(redeem(world, sent(newer)["code"])[1]["id_token"])[1]["auth_time"] >= before + 100


def test_signing_out_ends_the_browsers_sign_in_and_returns_to_known_addresses_only(world):
    cookie = cookie_of(authorize(world))
    path = f"/{contoso.TENANT}/oauth2/v2.0/logout"
    back = world.ask(LOGIN, "GET", f"{path}?post_logout_redirect_uri={WEB}&state=x", cookie=cookie)
    assert (back.status, back.headers["location"]) == (302, f"{WEB}?state=x")
    assert "Max-Age=0" in back.headers["set-cookie"]
    assert sent(authorize(world, cookie, prompt="none"))["error"] == "login_required"
    assert world.ask(LOGIN, "GET", f"{path}?post_logout_redirect_uri={WEB}").headers["location"] == WEB
    for query in ("", "?post_logout_redirect_uri=https://evil.example/"):
        assert world.ask(LOGIN, "GET", path + query).status == 200


def test_a_disabled_account_does_not_sign_in_and_its_code_is_worth_nothing(world):
    first = authorize(world)
    world.clouds.commands()["disable"](contoso.DANA.oid)
    response = authorize(world)
    assert response.status == 400
    assert b"AADSTS50057" in response.body
    refused(redeem(world, sent(first)["code"]), 50057)
    assert b"AADSTS50057" in authorize(world, cookie_of(first)).body
    world.clouds.commands()["enable"](contoso.DANA.oid)
    assert "code" in sent(authorize(world, cookie_of(first), prompt="none"))


def test_the_client_may_show_its_secret_in_a_header(world):
    import base64

    code = sent(authorize(world))["code"]
    redeem(world, "unknown")
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": WEB, "code_verifier": VERIFIER}
    value = base64.b64encode(f"{contoso.REMIT.id}:{SECRET}".encode()).decode()
    path = f"/{contoso.TENANT}/oauth2/v2.0/token"
    for header in ("Basic !", "Basic bm9jb2xvbg==", "Bearer x"):
        response = world.ask(LOGIN, "POST", path, form=form, authorization=header)
        assert json.loads(response.body)["error_codes"] == [900144]
    response = world.ask(LOGIN, "POST", path, form=form, authorization=f"Basic {value}")
    assert response.status == 200
