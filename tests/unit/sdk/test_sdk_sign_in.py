"""Signing in with msal itself, at the lab's Entra through its CONNECT proxy."""

import base64
import json
import ssl

import httpx
import pytest

from remit.model.errors import NotSignedIn, RemitError
from remit.model.secret import Secret
from remit.sdk import sign_in
from remit.sdk.keeper import Keeper
from remit.sdk.sign_in import SignIn, claims_for


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
    SignIn.kept(kept).by_device(stronger, claims_for("c1"))
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


@pytest.fixture
def installed(installation):
    installation.say(
        "/v1/configuration",
        {
            "authority": "https://login.microsoftonline.com",
            "tenant": "6f1c2a34-8b5d-4e6f-9a01-c0de00000001",
            "client": "a0000000-0000-4000-8000-000000000002",
            "scope": "api://remit/.default",
            "ca_pem": "",
            "terminated": [],
            "refused": [],
        },
    )


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

    def acquire_token_silent_with_error(self, scopes, account):
        if self.trouble:
            raise self.trouble
        return self.result


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


@pytest.mark.parametrize("trouble", [ConnectionError("host"), ValueError("discovery")])
def test_a_provider_that_does_not_answer(signing, trouble):
    found = signing(trouble=trouble, accounts=["dana"])
    for ask in (found.token, lambda: found.by_device(print)):
        with pytest.raises(RemitError, match=f"does not answer: {type(trouble).__name__}"):
            ask()


def test_no_network_at_all(installation, installed, kept, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    kept.put(Secret(json.dumps({"url": installation.url, "cache": "{}"})))
    with pytest.raises(
        RemitError, match=r"the identity provider at `https:..login\.microsoftonline\.com` does not answer"
    ):
        SignIn.kept(kept)


def test_a_claims_request_asks_for_one_context():
    assert json.loads(claims_for("c1")) == {"access_token": {"acrs": {"essential": True, "value": "c1"}}}
    for context in ("", "c", "c1x", "c²", "1", 'c1"', "c100"):
        with pytest.raises(RemitError, match="is not an authentication context"):
            claims_for(context)
