"""The running plane with three identity providers: the lab's Entra, npm's `oidc-provider` and npm's `samlp`.

One installation, one set of policies, two environments. People and a pipeline of the other two get as far as Google's
own log by the same decisions as Entra's people, and no further. Whatever another provider says of groups stands under
its name (`okta/ml-engineers`), so that nobody's directory speaks for another's.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

pytestmark = pytest.mark.e2e

HERE = Path(__file__).resolve().parent
TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
TEST = "projects/contoso-fraud-test/locations/us-central1"
PROD = "projects/contoso-fraud-prod/locations/us-central1"
VERTEX = "aiplatform.googleapis.com"
CHURN = "projects/contoso-churn-prod/locations/us-central1"
ENGINEERS = "9a000000-0000-4000-8000-000000000002"  # Entra's group `ml-engineers`
SCIENTISTS = "9a000000-0000-4000-8000-000000000004"
MALLORY = "0d000000-0000-4000-8000-0000000000ff"
SESSION = "__Host-remit"
KEYS_WITHIN = 60.0  # seconds from a provider's change of keys until it holds here
ID_LIFE = 16  # seconds that the provider's ID tokens live, so that sessions have to renew

ROLES = """
        - role: MLEngineer
          when: {<GROUPS>: ml-engineers}
        - role: DataScientist
          when: {<GROUPS>: data-scientists}
"""
ISSUERS = """
  - oidc:
      name: okta
      issuer: <OKTA>
      audience: https://api.remit.contoso.example/
      clients: [remit-cli, pipeline]
      groups_claim: groups
      roles:<ROLES>        - role: Pipeline
          when: {client_id: pipeline}
  - saml:
      name: adfs
      title: Contoso's old directory
      entity_id: <ADFS>
      metadata_url: <ADFS>
      pins: [<PIN>]
      groups_attribute: <ATTRIBUTE>
      roles:<SAML_ROLES>
# What `remit login` asks for"""
BROWSER = """
      - name: okta
        title: Contoso's other directory
        issuer: <OKTA>
        client: remit-web
        secret_file: okta.secret
        scopes: [openid, profile, groups]
        groups_claim: groups
        roles:<ROLES>
# What there is."""
FRAUD = "9a000000-0000-4000-8000-000000000001"
WORDS = {ENGINEERS: "ml-engineers", SCIENTISTS: "data-scientists", FRAUD: "ml-engineers-fraud"}
NAMED = re.compile(rf'principal( is Person)? in Group::"({"|".join(WORDS)})",[^\n]*(.*?)\n\)(?=[\n;])', re.DOTALL)


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def everybody(policies: str) -> str:
    """Contoso's policies with the groups and the strong sign-ins of all directories, where they name Entra's alone."""

    def named(found: re.Match[str]) -> str:
        kind, group, rest = found.groups(default="")
        groups = ", ".join(f'Group::"{one}"' for one in (group, f"okta/{WORDS[group]}", f"adfs/{WORDS[group]}"))
        return f"principal{kind},{rest}\n)\nwhen {{ principal in [{groups}] }}"

    # c1 is Entra's; the other provider's word for a second factor that nobody can phish is OpenID's
    return NAMED.sub(named, policies).replace('contexts.contains("c1")', 'contexts.containsAny(["c1", "phr"])')


@dataclass
class Plane:
    """The world, with the two other providers."""

    world: Any
    okta: Any
    adfs: Any

    def token(self, person: str, **asked: str) -> str:
        """An access token for Remit, of somebody at the OpenID provider."""
        from_cli = {"resource": "https://api.remit.contoso.example/", **asked}
        return str(self.okta.code_flow(person=person, **from_cli)["access_token"])

    def ask(self, token: str, method: str, target: str, body: Any = None) -> Any:
        with self.world.tunnel(identity=token) as tunnel:
            return tunnel.ask(method, f"/v1/{target}", body)

    def google(self, nonce: str) -> str:
        """The caller behind the one entry of Google's log that holds a word."""
        [entry] = self.world.cloud(nonce)
        return delegating(entry["protoPayload"])


@pytest.fixture(scope="module")
def browsers() -> ModuleType:
    return _load("plane_browsers", HERE / "browser.py")


@pytest.fixture(scope="module")
def plane(running: ModuleType, installed: tuple[Path, Path], authority: Any) -> Iterator[Plane]:
    """Everything, running; the providers are this file's own, since their keys change."""
    folder = Path(tempfile.mkdtemp(prefix="remit-plane-"))
    worlds = _load("plane_worlds", HERE.parent / "e2e" / "conftest.py")
    world, providers = None, []
    try:
        world = worlds.World(folder)
        okta = running.OidcProvider(*installed, authority, **_okta(running, world.url))
        adfs = running.SamlProvider(*installed, authority, f"{world.url}/sign-in/adfs/saml")
        for provider in (okta, adfs):
            provider.start()
            providers.append(provider)
        _configure(world, running, okta, adfs)
        world.settings = worlds.read(world.config)
        bundle = folder / "bundle.pem"
        bundle.write_text(Path(world.lab.bundle).read_text() + authority.file.read_text())
        world.environment["SSL_CERT_FILE"] = str(bundle)
        world.start()
        yield Plane(world, okta, adfs)
    finally:
        for provider in providers:
            provider.stop()
        if world:
            world.end()
        shutil.rmtree(folder, ignore_errors=True)


def _okta(running: ModuleType, door: str) -> dict[str, Any]:
    """The provider's settings: Remit's own pages as its client, and Mallory, whose groups bear other people's names."""
    web = {
        "redirect_uris": [f"{door}/sign-in/okta/callback"],
        "backchannel_logout_uri": f"{door}/sign-in/okta/backchannel-logout",
        "backchannel_logout_session_required": True,
    }
    clients = [{**client, **(web if client["client_id"] == running.WEB else {})} for client in running.CLIENTS]
    mallory = {"name": "Mallory", "groups": ["data-scientists", ENGINEERS, "okta/ml-engineers", "adfs/ml-engineers"]}
    people = {**running.PEOPLE, MALLORY: mallory}
    return {"clients": clients, "people": people, "stays": True, "idLifetime": ID_LIFE}


def _configure(world: Any, running: ModuleType, okta: Any, adfs: Any) -> None:
    """Writes remit.yaml and the policies anew."""
    certificate = x509.load_pem_x509_certificate(adfs._given["signing"]["cert"].encode())
    words = {
        "SAML_ROLES": ROLES.replace("<GROUPS>", f'"{running.GROUPS}"'),
        "ROLES": ROLES.replace("<GROUPS>", "groups"),
        "OKTA": okta.issuer,
        "ADFS": adfs.entity_id,
        "ATTRIBUTE": running.GROUPS,
        "PIN": hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
    }
    text = world.config.read_text("utf-8")
    more = "      - okta/ml-engineers\n      - okta/data-scientists\n      - adfs/ml-engineers\n  accounts: #"
    for old, new in (
        ("\n# What `remit login` asks for", ISSUERS),
        ("\n# What there is.", BROWSER),
        ("\n  accounts: #", f"\n{more}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    for word, value in words.items():
        text = text.replace(f"<{word}>", value)
    world.config.write_text(text, "utf-8")
    secret = world.config.with_name("okta.secret")
    secret.touch(mode=0o600)
    secret.write_text(running.WEB_SECRET)
    for path in world.config.with_name("policies").glob("*.cedar"):
        path.write_text(everybody(path.read_text("utf-8")), "utf-8")
    # the other providers' tokens do not say when somebody signed in, and so meet no limit on that
    world.config.with_name("policies").joinpath("obligations", "sign-in.cedar").unlink()


@pytest.fixture(scope="module")
def chromium(browsers: ModuleType, plane: Plane, authority: Any) -> Iterator[Any]:
    trusted = [Path(plane.world.lab.folder, "front.pem").read_text(), authority.server["cert"]]
    with browsers.Chromium(proxy=f"http://127.0.0.1:{plane.world.lab.proxy}", trusted=trusted) as browser:
        yield browser


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures of pages go: a folder that `REMIT_PICTURES` names, to look at them, else one that is forgotten."""
    folder = Path(os.environ.get("REMIT_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def nonce() -> str:
    return f"n{time.time_ns():x}"


@pytest.fixture(autouse=True)
def _told(plane: Plane, request: pytest.FixtureRequest) -> Iterator[None]:
    """A failure shows what the processes said."""
    before = request.session.testsfailed
    yield
    if request.session.testsfailed > before:
        print(plane.world.tail())


def job(name: str, account: str) -> dict[str, Any]:
    container = {"imageUri": "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest", "command": ["true"]}
    pool = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1", "containerSpec": container}
    return {"displayName": name, "jobSpec": {"serviceAccount": account, "workerPoolSpecs": [pool]}}


def trainer(parent: str) -> str:
    return f"trainer@{parent.split('/')[1]}.iam.gserviceaccount.com"


def launch(plane: Plane, token: str, name: str) -> dict[str, Any]:
    """The entry of Google's log for a job that somebody launches in test."""
    created = len(plane.world.cloud("CreateCustomJob"))
    launched = plane.ask(token, "POST", f"{TEST}/customJobs", job(name, trainer(TEST)))
    assert launched.status == 200, launched.body
    [entry] = plane.world.cloud("CreateCustomJob")[created:]
    return dict(entry["protoPayload"])


def delegating(entry: dict[str, Any]) -> str:
    """Whom Google saw behind the service account."""
    [caller] = entry["authenticationInfo"]["serviceAccountDelegationInfo"]
    return str(caller["principalSubject"])


# Tokens of another provider.


@pytest.mark.promise("V11")
def test_a_person_of_another_provider_calls_vertex(plane: Plane, running: ModuleType, nonce: str) -> None:
    token = plane.token(running.DANA)
    reply = plane.ask(token, "GET", f"{TEST}/models/{nonce}")
    assert reply.status == 404, reply.body  # Google's own answer: there is no such job
    assert plane.google(nonce).endswith(f"/subject/okta/{running.DANA}")
    entry = launch(plane, token, nonce)
    assert delegating(entry).endswith(f"/subject/okta/{running.DANA}")
    assert entry["authenticationInfo"]["principalEmail"] == "ml-engineer@contoso-fraud-test.iam.gserviceaccount.com"
    decision = entry["requestMetadata"]["requestAttributes"]["reason"].removeprefix("decision/")
    [record] = [row for row in plane.world.records(decision=decision) if row.kind == "decision"]
    assert (record.principal, record.outcome) == (f"okta/{running.DANA}", "permit")


@pytest.mark.promise("V11")
def test_a_pipeline_of_another_provider_launches_as_itself(plane: Plane, nonce: str) -> None:
    token = plane.okta.client_credentials()["access_token"]
    assert delegating(launch(plane, token, nonce)).endswith("/subject/okta/pipeline")
    in_production = plane.ask(token, "POST", f"{PROD}/customJobs", job(nonce, trainer(PROD)))
    assert (in_production.status, in_production.reason) == (403, "policy_forbids")


def test_who_that_is(plane: Plane, running: ModuleType) -> None:
    headers = {"authorization": f"Bearer {plane.token(running.DANA)}"}
    told = httpx.get(f"{plane.world.url}/v1/identity", headers=headers, trust_env=False).json()
    assert told["principal"] == f"okta/{running.DANA}"
    assert told["issuer"] == plane.okta.issuer
    assert told["groups"] == ["okta/ml-engineers", "okta/ml-engineers-fraud"]
    assert told["roles"] == ["MLEngineer"]
    assert told["client"] == "remit-cli"


@pytest.fixture(scope="module")
def worthless(plane: Plane, running: ModuleType) -> dict[str, tuple[str, str]]:
    """Tokens that prove nothing here, and the reason that they get."""
    forge = sys.modules["plane_worlds"].forged
    tokens = plane.okta.code_flow(person=running.DANA, resource=running.API)
    good, mallorys = str(tokens["access_token"]), rsa.generate_private_key(65537, 2048)
    entra = f"https://login.microsoftonline.com/{TENANT}/v2.0"
    foreign = plane.okta.client_credentials(running.FOREIGN, running.FOREIGN_SECRET)["access_token"]
    return {
        "unsigned": (forge(good, {}), "token_malformed"),
        "signed by somebody else": (forge(good, {}, key=mallorys), "token_signature"),
        "as Entra's": (forge(good, {"iss": entra}, key=mallorys), "token_audience"),
        "for another audience": (plane.token(running.DANA, resource=running.API_OTHER), "token_audience"),
        "that cannot be read": (plane.token(running.DANA, resource=running.API_OPAQUE), "token_malformed"),
        "of a sign-in": (str(tokens["id_token"]), "token_audience"),
        "that another client obtained": (str(foreign), "token_client"),
    }


@pytest.mark.parametrize(
    "which",
    [
        "unsigned",
        "signed by somebody else",
        "as Entra's",
        "for another audience",
        "that cannot be read",
        "of a sign-in",
        "that another client obtained",
    ],
)
def test_a_token_that_proves_nothing_gets_nowhere(
    plane: Plane, worthless: dict[str, tuple[str, str]], which: str, nonce: str
) -> None:
    token, reason = worthless[which]
    reply = plane.ask(token, "GET", f"{TEST}/models/{nonce}")
    assert (reply.status, reply.reason) == (401, reason)
    assert plane.world.cloud(nonce) == []


def test_groups_of_one_directory_are_not_those_of_another(plane: Plane, nonce: str) -> None:
    token = plane.token(MALLORY)
    reply = plane.ask(token, "POST", f"{TEST}/customJobs", job(nonce, trainer(TEST)))
    assert (reply.status, reply.reason) == (403, "approval_required")  # what data scientists may be granted
    assert plane.world.cloud(nonce) == []
    assert plane.ask(token, "GET", f"{TEST}/models/{nonce}").status == 404  # a data scientist, as the provider says
    assert plane.google(nonce).endswith(f"/subject/okta/{MALLORY}")


def test_somebody_of_another_provider_is_revoked(plane: Plane, running: ModuleType, nonce: str) -> None:
    token, config = plane.token(running.DANA), ("--config", str(plane.world.config))
    done = plane.world.remit("revoke", f"okta/{running.DANA}", *config)
    assert done.returncode == 0, done.stderr
    try:
        reply = plane.ask(token, "GET", f"{TEST}/models/{nonce}")
        assert (reply.status, reply.reason) == (403, "revoked")
        assert plane.ask(plane.world.entra.token("dana"), "GET", f"{TEST}/models/{nonce}").status == 404
    finally:
        assert plane.world.remit("revoke", "--lift", f"okta/{running.DANA}", *config).returncode == 0
    assert plane.ask(token, "GET", f"{TEST}/models/{nonce}-2").status == 404


# One policy.

PERMIT, NO, STRONGER, FORBIDDEN = "", "no_policy_permits", "step_up_required", "policy_forbids"
ASK = "approval_required"
TABLE: dict[tuple[str, str], tuple[str, str, str]] = {
    # what, where: Dana, Dana with a second factor, Ada
    ("observe", TEST): (PERMIT, PERMIT, PERMIT),
    ("observe", PROD): (PERMIT, PERMIT, NO),
    ("observe", CHURN): (NO, NO, NO),
    ("use", TEST): (PERMIT, PERMIT, PERMIT),
    ("use", PROD): (PERMIT, PERMIT, NO),
    ("launch", TEST): (PERMIT, PERMIT, ASK),
    ("launch", PROD): (STRONGER, PERMIT, NO),
    ("launch as another project", TEST): ("policy_forbids", "policy_forbids", "policy_forbids"),
    ("change", TEST): (PERMIT, PERMIT, NO),
    ("change", PROD): (STRONGER, PERMIT, NO),
}


@pytest.fixture(scope="module")
def pairs(plane: Plane, running: ModuleType) -> dict[str, tuple[str, str]]:
    """The same people, by Entra and by the other provider."""
    stronger = {"access_token": {"acrs": {"essential": True, "value": "c1"}}}
    strong = plane.world.entra.sign_in("dana", claims=stronger, second_factor=True)["access_token"]
    return {
        "dana": (plane.world.entra.token("dana"), plane.token(running.DANA)),
        "dana, stronger": (str(strong), plane.token(running.DANA, acr_values="phr")),
        "ada": (plane.world.entra.token("ada"), plane.token(running.ADA)),
    }


def outcome(plane: Plane, token: str, what: str, where: str) -> str:
    """The reason of a refusal, empty for a permit, which is what Google heard of."""
    name = str(time.time_ns())
    elsewhere = PROD if where == TEST else TEST
    method, target, body = {
        "observe": ("GET", f"{where}/models/{name}", None),
        "use": ("POST", f"{where}/endpoints/{name}:predict", {"instances": [name]}),
        "launch": ("POST", f"{where}/customJobs", job(name, trainer(where))),
        "launch as another project": ("POST", f"{where}/customJobs", job(name, trainer(elsewhere))),
        "change": ("PATCH", f"{where}/endpoints/{name}?updateMask=displayName", {"displayName": name}),
    }[what]
    before = len(plane.world.cloud(VERTEX))
    reply = plane.ask(token, method, target, body)
    assert (len(plane.world.cloud(VERTEX)) == before) == bool(reply.reason), reply.body
    assert bool(reply.decision) == bool(reply.reason)
    return str(reply.reason)


@pytest.mark.promise("V21")
@pytest.mark.promise("V11")
@pytest.mark.parametrize(("what", "where"), TABLE, ids=lambda value: value.removeprefix("projects/").split("/")[0])
def test_one_policy_two_environments_two_providers(
    plane: Plane, pairs: dict[str, tuple[str, str]], what: str, where: str
) -> None:
    for name, expected in zip(pairs, TABLE[what, where], strict=True):
        by_entra, by_okta = (outcome(plane, token, what, where) for token in pairs[name])
        # only Entra's people can be asked for a context of Entra's; for others the guard that fired is the reason
        assert (by_entra, by_okta) == (expected, FORBIDDEN if expected == STRONGER else expected), name


def test_nobody_else_proves_a_context_of_entras(plane: Plane, running: ModuleType) -> None:
    token = plane.token(running.DANA, acr_values="c1")
    assert outcome(plane, token, "launch", TEST) == PERMIT
    assert outcome(plane, token, "launch", PROD) == FORBIDDEN


# Browsers.


@pytest.mark.promise("V11")
def test_in_by_another_provider_and_out_again(chromium: Any, plane: Plane, running: ModuleType, pictures: Path) -> None:
    with chromium.person() as dana:
        shown = dana.go(f"{plane.world.url}/sign-in", "Choose where you have your account.")
        dana.picture(pictures / "three-providers.png")
        shown = dana.press("Continue with Contoso's other directory", "Where you are signed in")
        dana.picture(pictures / "okta-account.png")
        assert f"okta/{running.DANA}" in shown
        assert "okta/ml-engineers-fraud" in shown
        assert "MLEngineer" in shown
        assert dana.url == f"{plane.world.url}/account"
        cookie = dana.cookies()[SESSION]
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
        dana.press("Sign out of session", "You are signed out here.")
        assert SESSION not in dana.cookies()


@pytest.mark.promise("V11")
def test_in_by_saml_and_out_again(chromium: Any, plane: Plane, running: ModuleType, pictures: Path) -> None:
    with chromium.person() as dana:
        dana.go(f"{plane.world.url}/sign-in", "Choose where you have your account.")
        # samlp's page posts a form to the door, across sites
        shown = dana.press("Continue with Contoso's old directory", "Where you are signed in")
        dana.picture(pictures / "adfs-account.png")
        assert f"adfs/{running.DANA}" in shown
        assert "adfs/ml-engineers" in shown
        assert "MLEngineer" in shown
        [until] = re.findall(r"Good until\n(.*)\n", shown)
        assert f"ends {until}" in shown  # a response is nothing that could be renewed
        cookies = dana.cookies()
        assert SESSION in cookies
        assert "__Host-remit-flow-posted" not in cookies
        dana.press("Sign out everywhere", "You are signed out here.")
        assert SESSION not in dana.cookies()


def test_a_refusal_of_another_provider(chromium: Any, plane: Plane, pictures: Path) -> None:
    plane.okta.restart(person="nobody")
    try:
        with chromium.person() as nobody:
            assert "access_denied" in nobody.go(f"{plane.world.url}/sign-in/okta", "The identity provider said no")
            nobody.picture(pictures / "okta-refused.png")
            assert SESSION not in nobody.cookies()
    finally:
        plane.okta.restart(person=sys.modules["providers_running"].DANA)


def okta_session(plane: Plane, browsers: ModuleType, browser: httpx.Client) -> Any:
    """Somebody at the door with a session of the provider's, which `browser` has a session at too."""
    visitor = browsers.Visitor(plane.world.url)
    back = plane.okta.sign_in(visitor.depart("okta"), browser=browser)
    arrived = visitor.ask("GET", back)
    assert arrived.status_code == 303, arrived.text
    assert visitor.account().status_code == 200
    return visitor


def test_a_session_renews_at_its_provider(plane: Plane, browsers: ModuleType) -> None:
    with plane.okta.browser() as browser:
        visitor = okta_session(plane, browsers, browser)
        first = good_until(visitor)
        time.sleep(ID_LIFE + 2)
        assert visitor.account().status_code == 200
        assert good_until(visitor) > first


def good_until(visitor: Any) -> str:
    found = re.search(r'Good until</dt><dd><time datetime="([^"]+)"', visitor.account().text)
    assert found
    return found[1]


def test_the_provider_ends_a_session(plane: Plane, browsers: ModuleType) -> None:
    with plane.okta.browser() as here, plane.okta.browser() as there:
        visitor, other = okta_session(plane, browsers, here), okta_session(plane, browsers, there)
        plane.okta.sign_out(here)
        told = time.monotonic()
        while visitor.account().status_code == 200:
            assert time.monotonic() - told < 5
        assert visitor.account().headers["x-remit-reason"] == "session_ended"
        assert other.account().status_code == 200


def test_nobody_but_the_provider_ends_a_session(plane: Plane, browsers: ModuleType) -> None:
    with plane.okta.browser() as browser:
        visitor = okta_session(plane, browsers, browser)
        for token in ("", "eyJhbGciOiJub25lIn0.e30.", plane.token(sys.modules["providers_running"].DANA)):
            said = visitor.ask("POST", "/sign-in/okta/backchannel-logout", {"logout_token": token})
            assert said.status_code == 400
        assert visitor.account().status_code == 200


@pytest.mark.promise("V11")
def test_a_saml_session_gets_a_credential_of_its_own(
    plane: Plane, browsers: ModuleType, running: ModuleType, nonce: str
) -> None:
    """What an existing proxy does for an application behind it: it asks the arbiter, with the browser's cookie."""
    visitor = browsers.Visitor(plane.world.url)
    posted = plane.adfs.sign_in(visitor.depart("adfs"))
    assert posted.action == f"{plane.world.url}/sign-in/adfs/saml"
    form = {"SAMLResponse": posted.response, "RelayState": "https://evil.example"}
    flow = dict(visitor.cookies)
    stranger = browsers.Visitor(plane.world.url)
    assert stranger.ask("POST", "/sign-in/adfs/saml", form).status_code == 400
    arrived = visitor.ask("POST", "/sign-in/adfs/saml", form)
    assert (arrived.status_code, arrived.headers["location"]) == (303, "/account")
    again = browsers.Visitor(plane.world.url, flow)
    assert again.ask("POST", "/sign-in/adfs/saml", form).status_code == 400
    assert SESSION not in again.cookies

    transport = httpx.HTTPTransport(uds=str(plane.world.settings.gateway.arbiter_socket))
    host = "us-central1-aiplatform.googleapis.com"
    target = f"/v1/{TEST}/models/{nonce}"
    headers = {"host": host, "cookie": f"{SESSION}={visitor.cookies[SESSION]}", "x-remit-peer": "127.0.0.1"}
    with httpx.Client(transport=transport) as proxy:
        permit = proxy.get(f"http://arbiter/check{target}", headers=headers)
        assert permit.status_code == 200, permit.text
        refused = proxy.get(f"http://arbiter/check{target}".replace("fraud-test", "churn-prod"), headers=headers)
        assert refused.headers["x-remit-reason"] == "no_policy_permits"
    roots = ssl.create_default_context(cafile=plane.world.lab.bundle)
    with httpx.Client(proxy=f"http://127.0.0.1:{plane.world.lab.proxy}", verify=roots, trust_env=False) as google:
        credential = {"authorization": permit.headers["authorization"]}
        assert google.get(f"https://{host}{target}", headers=credential).status_code == 404
    assert plane.google(nonce).endswith(f"/subject/adfs/{running.DANA}")


def test_what_a_saml_provider_is_told_of_us(plane: Plane) -> None:
    told = httpx.get(f"{plane.world.url}/saml/adfs", trust_env=False)
    assert told.headers["content-type"].startswith("application/xml")
    assert f'Location="{plane.world.url}/sign-in/adfs/saml"' in told.text
    assert f'entityID="{plane.world.url}/saml/adfs"' in told.text


# Last, since tokens of before are worth nothing afterwards.


def test_a_change_of_keys_holds_within_a_minute(plane: Plane, running: ModuleType) -> None:
    old = plane.token(running.DANA)

    def believed(token: str) -> bool:
        return bool(plane.ask(token, "GET", f"{TEST}/models/n{time.time_ns():x}").status == 404)

    assert believed(old)
    plane.okta.restart(jwks={"keys": running.new_keys("second")})
    began, new = time.monotonic(), plane.token(running.DANA)
    took: dict[str, float] = {}
    wanted: dict[str, Callable[[], bool]] = {
        "the new key": lambda: believed(new),
        "the old one": lambda: not believed(old),
    }
    while len(took) < len(wanted):
        for name, done in wanted.items():
            if name not in took and done():
                took[name] = time.monotonic() - began
        assert time.monotonic() - began < KEYS_WITHIN, took
        time.sleep(0.5)
    assert believed(new)
    print({name: f"{seconds:.1f} s" for name, seconds in took.items()})
