"""Signing in with msal itself, at the lab's Entra through its CONNECT proxy."""

import base64
import json
import re
import ssl
import threading
import time
from html import unescape
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from remit.model.errors import NotSignedIn, RemitError
from remit.sdk import sign_in
from remit.sdk.keeper import Keeper
from remit.sdk.pin import Pin
from remit.sdk.sign_in import SignIn, Wanted
from remit.sdk.store import Entry


class Browser:
    """A person in front of a browser: approves every code that is announced."""

    def __init__(self, lab, account, *, second_factor=False):
        self.lab = lab
        self.account = account
        self.second_factor = second_factor
        self.announced = []

    def __call__(self, flow):
        self.announced.append(flow)
        form = {"user_code": flow["user_code"], "account": self.account}
        if self.second_factor:
            form["second_factor"] = "approve"
        context = ssl.create_default_context(cafile=self.lab.bundle)
        with httpx.Client(proxy=f"http://127.0.0.1:{self.lab.proxy}", verify=context, trust_env=False) as client:
            client.post(flow["verification_uri"], data=form).raise_for_status()


class Opened:
    """A browser that a sign-in opens: it signs in by the account's hint, and sends the page's form where it says."""

    def __init__(self, lab, account):
        self.lab = lab
        self.account = account
        self.opened = []

    def __call__(self, address):
        self.opened.append(dict(parse_qsl(urlsplit(address).query)))
        threading.Thread(target=self._sign_in, args=(address,), daemon=True).start()

    def _sign_in(self, address):
        context = ssl.create_default_context(cafile=self.lab.bundle)
        with httpx.Client(proxy=f"http://127.0.0.1:{self.lab.proxy}", verify=context, trust_env=False) as client:
            page = client.get(f"{address}&login_hint={self.account}").raise_for_status().text
        fields = {name: unescape(value) for name, value in re.findall(r'name="([^"]+)" value="([^"]*)"', page)}
        target = urlsplit(unescape(re.search(r'action="([^"]+)"', page)[1]))
        assert target.hostname == "localhost"
        headers = {"host": target.netloc}
        httpx.post(f"http://127.0.0.1:{target.port}", data=fields, headers=headers, trust_env=False).raise_for_status()


@pytest.fixture
def kept(runtime_folder):
    found = Keeper(runtime_folder / "keeper.sock")
    yield found
    found.end()


def claims(token):
    body = token.reveal().split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


@pytest.mark.promise("V1")
def test_one_sign_in_lasts(lab_environment, installation, installed, kept):
    SignIn.at(installation.url, kept).by_device(browser := Browser(lab_environment, "dana@contoso.example"))
    assert set(browser.announced[0]) == {"user_code", "verification_uri", "message"}
    again = SignIn.kept(kept)  # another process of the same person
    first = claims(again.token())
    assert first["oid"] == "0d000000-0000-4000-8000-000000000001"
    assert first["aud"] == "a0000000-0000-4000-8000-000000000001"
    assert again.token() == SignIn.kept(kept).token()
    assert len(browser.announced) == 1
    # a stronger sign-in counts at once, also in a process that runs already
    stronger = Browser(lab_environment, "dana@contoso.example", second_factor=True)
    SignIn.kept(kept).by_device(stronger, Wanted("c1"))
    assert claims(again.token())["acrs"] == ["c1"]
    # somebody else's sign-in takes its place
    SignIn.kept(kept).by_device(Browser(lab_environment, "ada@contoso.example"))
    assert claims(again.token())["oid"] == "0d000000-0000-4000-8000-000000000002"
    sign_in.sign_out(kept)
    with pytest.raises(NotSignedIn):
        again.token()
    with pytest.raises(NotSignedIn, match="nobody is signed in") as caught:
        SignIn.kept(kept)
    assert "remit login" in caught.value.hint


@pytest.mark.promise("V1")
def test_a_sign_in_in_the_browser(lab_environment, installation, installed, kept):
    dana = Opened(lab_environment, "dana@contoso.example")
    SignIn.at(installation.url, kept).by_browser(dana, patience=20)
    [asked] = dana.opened
    assert (asked["code_challenge_method"], asked["response_mode"]) == ("S256", "form_post")
    assert asked["redirect_uri"].startswith("http://localhost:")
    again = SignIn.kept(kept)
    found = claims(again.token())
    assert found["oid"] == "0d000000-0000-4000-8000-000000000001"
    assert [each.lower() for each in found["xms_cc"]] == ["cp1"]  # so that challenges come
    assert "acrs" not in found
    assert again.origin() == kept.place()
    # more strongly, as a refused decision needs it
    SignIn.kept(kept).by_browser(dana, Wanted("c1"), patience=20)
    assert json.loads(dana.opened[1]["claims"])["access_token"]["acrs"] == {"essential": True, "value": "c1"}
    assert claims(again.token())["acrs"] == ["c1"]


def test_a_sign_in_that_is_declined(lab_environment, installation, installed, kept):
    def tell(browser):
        httpx.post(lab_environment.control, json={"browser": browser}, trust_env=False).raise_for_status()

    tell({"decline": True})
    try:
        with pytest.raises(NotSignedIn, match="did not succeed: AADSTS65004"):
            SignIn.at(installation.url, kept).by_browser(Opened(lab_environment, "dana@contoso.example"), patience=20)
    finally:
        tell({})
    assert kept.get() is None


def test_another_installation_s_sign_in_is_not_taken_over(lab_environment, installation, installed, kept):
    running = SignIn.at(installation.url, kept)
    running.by_device(Browser(lab_environment, "dana@contoso.example"))
    running.token()
    entry = Entry.opened(kept.get())
    kept.put(Entry("https://other.example", entry.pin, entry.cache).sealed())
    with pytest.raises(NotSignedIn, match="nobody is signed in"):
        running.token()


class Provider:
    """msal's application, told what to answer."""

    def __init__(self, *, flow=None, result=None, accounts=(), trouble=None):
        self.flow = flow or {"user_code": "u", "verification_uri": "v", "message": "m"}
        self.result = result
        self.accounts = list(accounts)
        self.trouble = trouble

    def initiate_device_flow(self, scopes, claims_challenge):
        if self.trouble:
            raise self.trouble
        return self.flow

    def acquire_token_by_device_flow(self, flow, claims_challenge):
        return self.result

    def get_accounts(self):
        return self.accounts

    def acquire_token_silent_with_error(self, scopes, account, *, force_refresh=False):
        if self.trouble:
            raise self.trouble
        return {"access_token": "newer"} if force_refresh else self.result


@pytest.fixture
def signing(lab_environment, installation, installed, kept):
    found = SignIn.at(installation.url, kept)

    def given(**words):
        found._application = Provider(**words)
        return found

    return given


def test_a_sign_in_that_is_not_started_or_not_finished(signing):
    with pytest.raises(NotSignedIn, match=r"refused to start a sign-in: AADSTS7000218: why$"):
        signing(flow={"error": "x", "error_description": "AADSTS7000218: why\r\nTrace"}).by_device(print)
    with pytest.raises(NotSignedIn, match="did not succeed: expired_token"):
        signing(result={"error": "expired_token"}).by_device(lambda flow: None)


@pytest.mark.parametrize(("result", "said"), [(None, "no answer"), ({"error": "invalid_grant"}, "invalid_grant")])
def test_a_sign_in_that_cannot_be_renewed(signing, result, said):
    with pytest.raises(NotSignedIn, match=f"could not be renewed: {said}"):
        signing(result=result, accounts=["dana"]).token()


@pytest.mark.promise("T5")
@pytest.mark.parametrize(("age", "token"), [(22 * 3600, ""), (24 * 3600, "newer"), (None, "")])
def test_a_token_that_google_would_find_too_old_is_renewed_before_use(signing, age, token):
    said = {} if age is None else {"iat": int(time.time()) - age}
    body = base64.urlsafe_b64encode(json.dumps(said).encode()).decode()
    held = f"e30.{body}.c2ln"
    found = signing(result={"access_token": held}, accounts=["dana"]).token()
    assert found.reveal() == (token or held)


@pytest.mark.parametrize("trouble", [ConnectionError("host"), ValueError("discovery")])
def test_a_provider_that_does_not_answer(signing, trouble):
    found = signing(trouble=trouble, accounts=["dana"])
    for ask in (found.token, lambda: found.by_device(print)):
        with pytest.raises(RemitError, match=f"does not answer: {type(trouble).__name__}"):
            ask()


def test_no_network_at_all(installation, installed, kept, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    kept.put(Entry(installation.url, Pin("")).sealed())
    with pytest.raises(
        RemitError, match=r"the identity provider at `https:..login\.microsoftonline\.com` does not answer"
    ):
        SignIn.kept(kept)


def test_a_claims_request_asks_for_what_is_wanted():
    context = {"acrs": {"essential": True, "value": "c1"}}
    later = {"nbf": {"essential": True, "value": "1700000000"}}
    assert json.loads(Wanted("c1").claims) == {"access_token": context}
    assert json.loads(Wanted("", 1_700_000_000).claims) == {"access_token": later}
    assert json.loads(Wanted("c1", 1_700_000_000).claims) == {"access_token": context | later}
    assert Wanted().claims is None
    for context in ("c", "c1x", "c²", "1", 'c1"', "c100"):
        with pytest.raises(RemitError, match="is not an authentication context"):
            _ = Wanted(context).claims
