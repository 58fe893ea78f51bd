"""Signing in with msal at a provider that is not Entra: a small one of our own, with TLS and rules of its own."""

import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.unit.sdk.conftest import CERTIFICATE

from remit.lab import certificates
from remit.model.errors import NotSignedIn, RemitError
from remit.sdk.keeper import Keeper
from remit.sdk.sign_in import SignIn, Wanted


def encoded(value):
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class Provider(ThreadingHTTPServer):
    """An OpenID provider: discovery, code with PKCE, device code, refresh. Keeps what it was asked."""

    daemon_threads = True

    def __init__(self, made, path=""):
        super().__init__(("127.0.0.1", 0), _Endpoints)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(made.front, made.key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.path = path
        self.issuer = f"https://localhost:{self.server_address[1]}{path}"
        self.bundle = str(made.authority)
        self.codes = {}
        self.forms = []
        self.life = 3600
        self.nonce = None

    def token(self, scope, nonce=""):
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": "dana", "aud": "cli", "iat": now, "exp": now + 3600, "nonce": nonce}
        body = f"{encoded(b'{}')}.{encoded(json.dumps(claims).encode())}.sig"
        answer = {"token_type": "Bearer", "expires_in": self.life, "scope": scope, "id_token": body}
        return answer | {"access_token": f"at-{secrets.token_hex(4)}", "refresh_token": f"rt-{secrets.token_hex(4)}"}


class _Endpoints(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self):
        place = self.server.issuer
        if self.path == f"{self.server.path}/.well-known/openid-configuration":
            named = {name: f"{place}/{name}" for name in ("authorization_endpoint", "token_endpoint")}
            self.say({"issuer": place, "device_authorization_endpoint": f"{place}/device", **named})
        else:
            self.say({}, 404)

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["content-length"])).decode()
        form = {name: values[0] for name, values in parse_qs(raw).items()}
        self.server.forms.append((self.path, form))
        if self.path == f"{self.server.path}/device":
            device = {"device_code": "dc", "user_code": "ABC", "verification_uri": "https://idp/d"}
            self.say(device | {"expires_in": 60, "interval": 1})  # and no message, which only Entra sends
        elif form["grant_type"] == "authorization_code":
            asked = self.server.codes.pop(form["code"], None)
            verifier = encoded(hashlib.sha256(form["code_verifier"].encode()).digest())
            good = asked and asked["code_challenge"] == verifier and asked["redirect_uri"] == form["redirect_uri"]
            nonce = self.server.nonce or (asked or {}).get("nonce", "")
            self.say(
                self.server.token(asked["scope"], nonce) if good else {"error": "invalid_grant"}, 200 if good else 400
            )
        else:
            self.say(self.server.token("openid api/jobs"))

    def say(self, document, status=200):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(params=["", "/realms/contoso"])
def provider(request, tmp_path, monkeypatch):
    with Provider(certificates.ensure(tmp_path), request.param) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, server.bundle)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def signing(provider, installation, runtime_folder):
    described = {"kind": "oidc", "issuer": provider.issuer, "client": "cli", "scope": "openid api/jobs"}
    document = {"provider": described, "ca_pem": CERTIFICATE, "terminated": [], "refused": []}
    installation.say("/v1/configuration", document)
    kept = Keeper(runtime_folder / "keeper.sock")
    yield SignIn.at(installation.url, kept)
    kept.end()


def person(provider, *, iss=None, error=None, mode="POST"):
    """Somebody in front of a browser, who signs in and is sent back."""
    shown = []

    def open_(url):
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        shown.append(asked)
        code = secrets.token_hex(8)
        provider.codes[code] = asked
        told = {"error": error} if error else {"code": code}
        told |= {"state": asked["state"], **({"iss": iss} if iss else {})}
        port = urlsplit(asked["redirect_uri"]).port
        headers = {"host": f"localhost:{port}"}
        back = f"http://127.0.0.1:{port}"

        def send():
            if mode == "GET":
                httpx.get(back, params=told, headers=headers, trust_env=False)
            else:
                httpx.post(back, data=told, headers=headers, trust_env=False)

        threading.Thread(target=send, daemon=True).start()

    return open_, shown


@pytest.mark.promise("V11")
@pytest.mark.parametrize("mode", ["POST", "GET"])
def test_the_browser(provider, signing, mode):
    open_, shown = person(provider, iss=provider.issuer, mode=mode)
    signing.by_browser(open_, patience=10)
    [asked] = shown
    assert asked["code_challenge_method"] == "S256"
    assert asked["response_mode"] == "form_post"
    assert asked["prompt"] == "consent"
    assert set(asked["scope"].split()) == {"openid", "profile", "offline_access", "api/jobs"}
    assert "claims" not in asked
    first = signing.token().reveal()
    assert first.startswith("at-")
    assert signing.token().reveal() == first
    assert SignIn.kept(signing.store).token().reveal() == first
    assert not any("claims" in form for _, form in provider.forms)


def test_it_renews(provider, signing):
    provider.life = 100  # under five minutes: msal takes it for spent
    signing.by_browser(person(provider)[0], patience=10)
    first, second = signing.token().reveal(), signing.token().reveal()
    assert first != second
    assert [form["grant_type"] for _, form in provider.forms] == [
        "authorization_code",
        "refresh_token",
        "refresh_token",
    ]


def test_the_device(provider, signing):
    announced = []
    signing.by_device(announced.append)
    assert announced == [{"user_code": "ABC", "verification_uri": "https://idp/d", "message": ""}]
    assert signing.token().reveal().startswith("at-")


def test_an_answer_of_another_provider(provider, signing):
    with pytest.raises(NotSignedIn, match="another identity provider"):
        signing.by_browser(person(provider, iss="https://evil.example")[0], patience=10)
    assert provider.forms == []  # the code went nowhere


def test_an_answer_that_is_no(provider, signing):
    with pytest.raises(NotSignedIn, match="did not succeed: access_denied"):
        signing.by_browser(person(provider, error="access_denied")[0], patience=10)


def test_an_id_token_of_another_sign_in(provider, signing):
    provider.nonce = "another"
    with pytest.raises(RemitError, match="does not answer: RuntimeError"):
        signing.by_browser(person(provider)[0], patience=10)
    with pytest.raises(NotSignedIn):
        signing.token()


def test_what_such_a_provider_can_be_asked(provider, signing):
    open_, shown = person(provider)
    signing.by_browser(open_, Wanted(not_before=1_700_000_000), patience=10)
    assert shown[0]["prompt"] == "login consent"
    with pytest.raises(NotSignedIn, match="cannot be asked for the authentication context `c1`"):
        signing.by_device(print, Wanted("c1"))


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"kind": "saml"}, "is of the kind `saml`, which this remit does not know"),
        ({"kind": "oidc", "issuer": "http://idp", "client": "c", "scope": "s"}, "no installation of remit"),
        ({"kind": "oidc"}, "no installation of remit"),
        ({"issuer": "x"}, "no installation of remit"),
        ("oidc", "no installation of remit"),
    ],
)
def test_a_provider_that_nobody_can_sign_in_at(installation, described, said):
    document = {"provider": described, "ca_pem": CERTIFICATE, "terminated": [], "refused": []}
    installation.say("/v1/configuration", document)
    with pytest.raises(RemitError, match=said):
        SignIn.at(installation.url)


def test_a_provider_under_another_name(provider, installation, runtime_folder):
    port = urlsplit(provider.issuer).port
    described = {"kind": "oidc", "issuer": f"https://127.0.0.1:{port}", "client": "cli", "scope": "openid"}
    document = {"provider": described, "ca_pem": CERTIFICATE, "terminated": [], "refused": []}
    installation.say("/v1/configuration", document)
    with pytest.raises(RemitError, match=r"the identity provider at `https://127\.0\.0\.1:"):
        SignIn.at(installation.url, Keeper(runtime_folder / "k.sock"))
