"""Starts the two providers as processes, over TLS of the tests' own, and drives them as a browser would."""

import base64
import contextlib
import datetime as dt
import hashlib
import html
import ipaddress
import json
import queue
import re
import secrets
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey, RSAKey

HERE = Path(__file__).resolve().parent
READY = 30.0  # seconds for Node to start on a busy machine
LIFETIME = 600  # seconds that tokens live

DANA = "0d000000-0000-4000-8000-000000000001"
ADA = "0d000000-0000-4000-8000-000000000002"
CLI, CLI_REDIRECT = "remit-cli", "http://127.0.0.1/callback"
WEB, WEB_SECRET, WEB_REDIRECT = "remit-web", "web-" + "s" * 40, "https://remit.contoso.example/sign-in/callback"
PIPELINE, PIPELINE_SECRET = "pipeline", "pipeline-" + "s" * 40
FOREIGN, FOREIGN_SECRET = "somebody-else", "foreign-" + "s" * 40
API = "https://api.remit.contoso.example/"
API_ES256 = "https://es256.remit.contoso.example/"
API_OPAQUE = "https://opaque.remit.contoso.example/"
API_OTHER = "https://other.contoso.example/"

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
PEOPLE = {
    DANA: {"name": "Dana", "preferred_username": "dana", "groups": ["ml-engineers", "ml-engineers-fraud"]},
    ADA: {"name": "Ada", "preferred_username": "ada", "groups": ["data-scientists"]},
}
CLIENTS: list[dict[str, Any]] = [
    {
        "client_id": CLI,
        "token_endpoint_auth_method": "none",
        "application_type": "native",
        "redirect_uris": [CLI_REDIRECT],
        "grant_types": ["authorization_code", "refresh_token", DEVICE],
        "response_types": ["code"],
    },
    {
        "client_id": WEB,
        "client_secret": WEB_SECRET,
        "redirect_uris": [WEB_REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    },
    *(
        {
            "client_id": name,
            "client_secret": secret,
            "redirect_uris": [],
            "grant_types": ["client_credentials"],
            "response_types": [],
        }
        for name, secret in ((PIPELINE, PIPELINE_SECRET), (FOREIGN, FOREIGN_SECRET))
    ),
]


class Authority:
    """A certificate authority of one test session, and a server's certificate for 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        key, self._name = ec.generate_private_key(ec.SECP256R1()), _name("the tests' own")
        own = _certificate(key.public_key(), self._name, self._name)
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        own = own.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        self.file = folder / "ca.pem"
        self.file.write_bytes(own.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        server = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        issued = _certificate(server.public_key(), _name("127.0.0.1"), self._name)
        issued = issued.add_extension(address, critical=False).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
        self.server = {"key": _pem(server), "cert": _text(issued.sign(key, hashes.SHA256()))}

    def context(self) -> ssl.SSLContext:
        """For a client that trusts this authority only."""
        return ssl.create_default_context(cafile=str(self.file))


class Listener:
    """A client's address on loopback, over TLS, that keeps what a provider posts there. A context manager."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.posted: queue.Queue[dict[str, str]] = queue.Queue()
        self._server = HTTPServer(("127.0.0.1", 0), self._handler())
        chain = folder / "listener.pem"
        chain.write_text(authority.server["key"] + authority.server["cert"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}/told"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        posted = self.posted

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                posted.put(dict(parse_qsl(self.rfile.read(length).decode())))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: a log is no assertion."""

        return Handler


@dataclass
class Signing:
    """A SAML provider's key in its certificate, PEM."""

    key: str
    cert: str

    @classmethod
    def new(cls) -> Self:
        key = rsa.generate_private_key(65537, 2048)
        name = _name("saml")
        return cls(_pem(key), _text(_certificate(key.public_key(), name, name).sign(key, hashes.SHA256())))


def new_keys(name: str) -> list[dict[str, Any]]:
    """An RSA and an EC key with their private halves, as JWKs."""
    made = {"RS256": RSAKey.generate_key(2048), "ES256": ECKey.generate_key("P-256")}
    return [
        {**key.as_dict(private=True), "kid": f"{name}-{alg}", "use": "sig", "alg": alg} for alg, key in made.items()
    ]


class Program:
    """One provider's process. `issuer`: its origin, the same after a restart."""

    def __init__(self, script: str, node: Path, modules: Path, authority: Authority, given: Mapping[str, Any]) -> None:
        self._command = [node, "--no-deprecation", "--no-warnings", HERE / script]
        self._given = {"modules": str(modules), **authority.server, "port": 0, **given}
        self._authority = authority
        self._process: subprocess.Popen[str] | None = None
        self.issuer = ""

    @property
    def ca(self) -> Path:
        """The file with the authority's certificate."""
        return self._authority.file

    def context(self) -> ssl.SSLContext:
        """For a client that trusts this provider's authority only."""
        return self._authority.context()

    def start(self, **changed: Any) -> None:
        """Starts, with other settings than before if there are any; fails when the program does not come up."""
        self._given |= changed
        process = subprocess.Popen(
            self._command,
            env={"NODE_EXTRA_CA_CERTS": str(self.ca)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(self._given) + "\n")
        process.stdin.flush()
        alarm = threading.Timer(READY, process.kill)
        alarm.start()
        line = process.stdout.readline()
        alarm.cancel()
        if not line:
            process.kill()
            raise AssertionError(f"the provider did not start:\n{process.communicate()[1]}")
        self.issuer = json.loads(line)["issuer"]
        self._given["port"] = urlsplit(self.issuer).port

    def stop(self) -> None:
        """Ends the process, by its id."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.communicate(timeout=READY)

    def restart(self, **changed: Any) -> None:
        """Ends it and starts it on the same port; what it held in memory is gone."""
        self.stop()
        self.start(**changed)

    @contextlib.contextmanager
    def browser(self) -> Iterator[httpx.Client]:
        """A client with a jar of its own that follows nobody by itself."""
        with httpx.Client(verify=self.context(), trust_env=False, base_url=self.issuer, timeout=READY) as client:
            yield client


class OidcProvider(Program):
    """npm's `oidc-provider`. Its clients, people and resources are the constants above."""

    def __init__(self, node: Path, modules: Path, authority: Authority, **given: Any) -> None:
        resources = {API: "RS256", API_ES256: "ES256", API_OPAQUE: "opaque", API_OTHER: "RS256"}
        defaults = {
            "jwks": {"keys": new_keys("first")},
            "clients": CLIENTS,
            "people": PEOPLE,
            "person": DANA,
            "resources": resources,
            "lifetime": LIFETIME,
        }
        super().__init__("oidc_provider.mjs", node, modules, authority, defaults | given)

    def discovery(self) -> dict[str, Any]:
        """The discovery document."""
        with self.browser() as client:
            return dict(client.get("/.well-known/openid-configuration").raise_for_status().json())

    def sign_in(self, url: str, person: str = "", *, browser: httpx.Client | None = None) -> str:
        """Opens an authorization URL as a browser, signs in, and returns the URL that the provider sends it back to.

        `person`: who signs in when the URL does not say (`login_hint`); `nobody` is refused. `browser`: one with a
        session already.
        """
        with contextlib.ExitStack() as stack:
            client = browser or stack.enter_context(self.browser())
            query = dict(parse_qsl(urlsplit(url).query))
            if person and "login_hint" not in query:
                url = f"{url}&{urlencode({'login_hint': person})}"
            while url.startswith(f"{self.issuer}/"):
                answer = client.get(url)
                assert answer.is_redirect, f"the provider answered {answer.status_code}: {answer.text[:500]}"
                url = urljoin(url, answer.headers["location"])
            return url

    def code_flow(
        self, *, person: str = DANA, client: str = CLI, secret: str = "", redirect: str = CLI_REDIRECT, **asked: str
    ) -> dict[str, Any]:
        """Tokens by authorization code with PKCE, for `resource` if it is asked for."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": client,
            "response_type": "code",
            "redirect_uri": redirect,
            "scope": "openid offline_access profile groups jobs",
            "prompt": "consent",
            "state": "s",
            "nonce": "n",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **asked,
        }
        back = self.sign_in(f"{self.issuer}/auth?{urlencode(query)}", person)
        answer = dict(parse_qsl(urlsplit(back).query))
        assert back.startswith(redirect), back
        assert (answer["state"], answer["iss"]) == ("s", self.issuer)
        form = {"grant_type": "authorization_code", "code": answer["code"], "redirect_uri": redirect}
        resource = {"resource": asked["resource"]} if "resource" in asked else {}
        auth = (client, secret) if secret else None
        who = {} if secret else {"client_id": client}
        return self.token(auth=auth, code_verifier=verifier, **who, **form, **resource)

    def sign_out(self, browser: httpx.Client) -> None:
        """Ends the browser's session at the provider, which then tells its clients (`backchannel_logout_uri`)."""
        page = browser.get("/session/end")
        fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page.text))
        answer = browser.post("/session/end/confirm", data={**fields, "logout": "yes"})
        assert answer.is_redirect, answer.text

    def client_credentials(
        self, client: str = PIPELINE, secret: str = PIPELINE_SECRET, resource: str = API
    ) -> dict[str, Any]:
        """A token that a client gets for itself."""
        return self.token(auth=(client, secret), grant_type="client_credentials", scope="jobs", resource=resource)

    def device_flow(self, resource: str = API, person: str = DANA) -> dict[str, Any]:
        """Tokens by device code, approved in another browser."""
        with self.browser() as client:
            asked = {"client_id": CLI, "scope": "openid offline_access jobs", "resource": resource}
            begun = client.post("/device/auth", data=asked).raise_for_status().json()
            waiting = {"grant_type": DEVICE, "client_id": CLI, "device_code": begun["device_code"]}
            pending = client.post("/token", data=waiting).json()
            assert pending["error"] == "authorization_pending", pending
            self._approve(client, begun["verification_uri_complete"])
            return dict(client.post("/token", data=waiting).raise_for_status().json())

    def token(self, *, auth: tuple[str, str] | None = None, **form: str) -> dict[str, Any]:
        """The token endpoint's answer; fails when it is an error."""
        with self.browser() as client:
            answer = client.post("/token", data=form, auth=auth or httpx.USE_CLIENT_DEFAULT)
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

    def _approve(self, client: httpx.Client, url: str) -> None:
        page = self._follow(client, client.get(url))
        for _ in range(4):
            if "signed in" in page.text:
                return
            action = re.search(r'action="([^"]+)"', page.text)
            assert action, page.text
            fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page.text))
            page = self._follow(client, client.post(action[1], data={**fields, "confirm": "yes"}))
        raise AssertionError(page.text)

    def _follow(self, client: httpx.Client, answer: httpx.Response) -> httpx.Response:
        while answer.is_redirect:
            answer = client.get(urljoin(str(answer.url), answer.headers["location"]))
        return answer


@dataclass
class Posted:
    """What a SAML provider makes a browser post."""

    action: str
    response: str
    relay: str


PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
GROUPS = "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups"


@dataclass
class Person:
    """Somebody at the SAML provider."""

    id: str = DANA
    format: str = PERSISTENT
    attributes: dict[str, Any] = field(
        default_factory=lambda: {GROUPS: ["ml-engineers", "fraud"], "displayName": "Dana", "department": "fraud"}
    )


class SamlProvider(Program):
    """npm's `samlp`. `entity_id`: its own; `recipient`: where it posts its answers."""

    def __init__(self, node: Path, modules: Path, authority: Authority, recipient: str, **given: Any) -> None:
        transient = Person(format=PERSISTENT.replace("persistent", "transient"))
        people = {"dana": vars(Person()), "transient": vars(transient)}
        defaults = {"signing": vars(Signing.new()), "people": people, "person": "dana", "recipient": recipient}
        super().__init__("saml_provider.mjs", node, modules, authority, defaults | given)

    @property
    def entity_id(self) -> str:
        """Also the URL of its metadata."""
        return f"{self.issuer}/metadata"

    def sign_in(self, url: str) -> Posted:
        """Opens the URL of an AuthnRequest as a browser, and returns the form that comes back."""
        with self.browser() as client:
            page = client.get(url)
            assert page.status_code == 200, page.text
            action = re.search(r'action="([^"]*)"', page.text)
            fields = dict(re.findall(r'name="(\w+)"\s+value="([^"]*)"', page.text))
            assert action, page.text
            return Posted(*map(html.unescape, (action[1], fields["SAMLResponse"], fields["RelayState"])))

    def mint(self, **options: Any) -> str:
        """A response as text, with samlp's own options (`audience`, `recipient`, `signResponse`, …)."""
        with self.browser() as client:
            answer = client.post("/mint", json={"person": "dana", **options})
            assert answer.status_code == 200, answer.text
            return answer.text


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(key: Any, subject: x509.Name, issuer: x509.Name) -> x509.CertificateBuilder:
    today = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    return builder.not_valid_before(today - dt.timedelta(days=1)).not_valid_after(today + dt.timedelta(days=1))


def _pem(key: Any) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return str(key.private_bytes(encoding, form, serialization.NoEncryption()).decode())


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
