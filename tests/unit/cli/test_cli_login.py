"""`remit login` and `remit logout`: which way somebody signs in, where it is kept, and for what."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

import remit.cli
from remit.model.errors import SignInAgain
from remit.model.secret import AccessToken, Secret
from remit.sdk import broker, browser, sign_in, store
from remit.sdk.sign_in import Wanted

URL = "http://127.0.0.1:8443"
IDENTITY = {"name": "dana@contoso.example", "kind": "person"}


@pytest.fixture(autouse=True)
def _own(monkeypatch, runtime_folder):
    """Nothing of whoever runs the tests: their keyring is not even looked at."""
    for name in ("REMIT_URL", "REMIT_WORKLOAD", "REMIT_TOKEN_FILE", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REMIT_STORE", "file")
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(runtime_folder))


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            remit.cli.main(arguments)
        found = capsys.readouterr()
        return ended.value.code, found.out, found.err

    return call


class Kept:
    """A store that counts what it was told."""

    name = "keeper"

    def __init__(self):
        self.entry = Secret("before")

    def place(self):
        return "a test"

    def get(self):
        return self.entry

    def end(self):
        self.entry = None


class SignIn:
    """A sign-in that always works; keeps how it was asked for."""

    def __init__(self, asked, store):
        self.asked = asked
        self.store = store
        self.configuration = SimpleNamespace(url=URL)

    def token(self):
        return AccessToken("identity")

    def by_device(self, announce, wanted):
        self.asked.append(("device", wanted, self.store.name))
        announce({"user_code": "ABC", "verification_uri": "https://login", "message": "m"})

    def by_browser(self, show, wanted):
        self.asked.append(("browser", wanted, self.store.name))
        show("https://login/authorize?x")


class Broker:
    """An installation that knows Dana, and one decision."""

    found: object = {"challenge": "c1"}  # one for the test

    def __init__(self, url):
        assert url == URL

    def identity(self, token, *, groups=False):
        return IDENTITY

    def decision(self, token, decision):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class Machine:
    """What a test may change: whether a browser can be opened, whether it does open."""

    def __init__(self, monkeypatch):
        self.asked = []
        self.at = []
        self.set = monkeypatch.setattr
        self.opens = True
        self.set(browser, "available", lambda: True)
        self.set(browser, "show", lambda address: self.opens)
        self.set(broker, "Broker", Broker)
        outer = self

        class Signing:
            @staticmethod
            def at(url, *, place=""):
                outer.at.append((url, place))
                return SignIn(outer.asked, store.named(place or "file"))

            @staticmethod
            def kept():
                return SignIn(outer.asked, store.named("file"))

        self.set(sign_in, "SignIn", Signing)


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


SIGNED_IN = f"signed in as dana@contoso.example at {URL}\n"


def test_a_browser_opens(run, machine):
    code, out, err = run("login", "--url", URL)
    assert (code, out) == (0, "")
    assert err == f"sign in in the browser that has opened; this waits for it\n{SIGNED_IN}"
    assert machine.asked == [("browser", Wanted(), "file")]
    assert machine.at == [(URL, "")]


def test_where_no_browser_can_be_opened_a_code_is_shown(run, machine):
    machine.set(browser, "available", lambda: False)
    assert run("login", "--url", URL)[2] == (
        f"no browser can be opened here, so sign in with a code\nopen https://login and enter the code ABC\n{SIGNED_IN}"
    )
    assert machine.asked[0][0] == "device"


@pytest.mark.parametrize("option", ["--no-open", None])
def test_a_browser_that_is_not_opened_is_told_the_address(run, machine, option):
    machine.opens = False
    machine.set(browser, "available", lambda: option is None)
    code, _, err = run("login", "--url", URL, *([option] if option else []))
    assert (code, err) == (0, f"sign in in a browser on this machine: https://login/authorize?x\n{SIGNED_IN}")


@pytest.mark.parametrize(
    ("options", "event"),
    [
        (["--device"], {"event": "code", "user_code": "ABC", "verification_uri": "https://login", "message": "m"}),
        ([], {"event": "browser", "url": "https://login/authorize?x"}),
    ],
)
def test_events(run, machine, options, event):
    code, out, _ = run("login", "--url", URL, "--json", *options)
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == [event, {"event": "signed_in", **IDENTITY}]


@pytest.mark.promise("V23")
@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({"challenge": "c1"}, Wanted("c1")),
        ({"challenge": "c1", "not_before": 0}, Wanted("c1")),
        ({"challenge": "", "not_before": 1_700_000_000}, Wanted("", 1_700_000_000)),
        (SignInAgain(1_700_000_001), Wanted("", 1_700_000_001)),
    ],
)
@pytest.mark.parametrize("way", ["browser", "device"])
def test_a_sign_in_for_a_decision(run, machine, found, wanted, way):
    machine.set(Broker, "found", found)
    code, _, _ = run("login", "--for", "d-1", *(["--device"] if way == "device" else []))
    assert code == 0
    assert machine.asked == [(way, wanted, "file")]
    assert machine.at == []


@pytest.mark.parametrize("found", [{}, {"challenge": ""}, SignInAgain(0)])
def test_a_decision_that_no_sign_in_changes(run, machine, found):
    machine.set(Broker, "found", found)
    code, _, err = run("login", "--for", "d-1")
    if isinstance(found, dict):
        assert (code, err) == (2, "error: decision `d-1` does not ask for a stronger sign-in\n")
    else:
        assert code == 0  # any new one may do


def test_the_store_by_name_and_what_the_others_held(run, machine, monkeypatch):
    monkeypatch.delenv("REMIT_STORE")
    keeper, keyring = Kept(), Kept()
    keyring.name = "keyring"
    file = store.named("file")
    stores = {"keeper": keeper, "keyring": keyring, "file": file}
    machine.set(store, "named", stores.get)
    file.put(Secret("this one"))
    assert run("login", "--url", URL, "--store", "file")[0] == 0
    assert machine.at == [(URL, "file")]
    assert (keeper.entry, keyring.entry, file.get()) == (None, None, Secret("this one"))
    assert run("login", "--store", "keeper")[0] == 0  # moved
    assert machine.asked[-1] == ("browser", Wanted(), "keeper")
    assert file.get() is None
    code, _, err = run("login", "--store", "floppy")
    assert code == 2
    assert "'floppy' is not one of" in err


# workloads, with nothing in the place of the sdk


class _Installation(BaseHTTPRequestHandler):
    def do_GET(self):
        certificate = "-----BEGIN CERTIFICATE-----\nZG9vcg==\n-----END CERTIFICATE-----\n"
        provider = {"kind": "oidc", "issuer": "https://idp", "client": "c", "scope": "s"}
        document = {"provider": provider, "ca_pem": certificate, "terminated": [], "refused": []}
        if self.path == "/v1/identity":
            document = {"name": f"pipeline by {self.headers['authorization'].rpartition('.')[2]}", "kind": "workload"}
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def installation():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Installation) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def token(name):
    claims = base64.urlsafe_b64encode(json.dumps({"exp": int(time.time()) + 3600}).encode())
    return f"e30.{claims.rstrip(b'=').decode()}.{name}"


@pytest.mark.promise("V16")
def test_a_pipeline_by_its_token(run, installation, tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text(token("file"))
    code, out, err = run("login", "--url", installation, "--token-file", str(file))
    assert (code, out, err) == (0, "", f"signed in as pipeline by file at {installation}\n")
    kept = store.named("file").get().reveal()
    assert str(file) in kept
    assert token("file") not in kept  # nothing that signs in is stored
    assert run("login", "--url", installation, "--token-command", f"cat {file}")[0] == 0
    monkeypatch.setenv("REMIT_TOKEN_FILE", str(file))
    code, out, _ = run("login", "--url", installation, "--workload", "--json")
    assert (code, json.loads(out)["kind"]) == (0, "workload")
    code, _, err = run("login")  # no person is signed in here
    assert code == 2
    assert "nobody is signed in" in err


def test_a_machine_is_signed_in_by_name(run, installation, monkeypatch):
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")
    monkeypatch.setattr("remit.sdk.workload._SUPPLIERS", {"managed-identity": lambda *_: lambda: token("machine")})
    code, _, err = run("login", "--url", installation, "--workload")
    assert (code, err) == (0, f"signed in as pipeline by machine at {installation}\n")


def test_a_workload_needs_the_address(run):
    code, _, err = run("login", "--workload")
    assert code == 2
    assert "remit login --url URL" in err


def test_logout(run):
    store.named("file").put(Secret("e"))
    assert run("logout") == (0, "", "signed out\n")
    assert store.named("file").get() is None
    assert json.loads(run("logout", "--json")[1]) == {"signed_in": False}
