"""The lab's clouds inside the test's own process, one real lab for the client libraries, and Vertex AI's own client."""

import asyncio
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from remit.lab import contoso, lifecycle
from remit.lab.azure_metadata import AzureMetadata
from remit.lab.faults import Clock
from remit.lab.http import Request, Response
from remit.lab.service import Clouds

LOGIN = "login.microsoftonline.com"
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
JWT = "urn:ietf:params:oauth:token-type:jwt"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
OBO = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass
class World:
    """The clouds, asked as over the wire."""

    clouds: Clouds

    def __post_init__(self) -> None:
        self.hosts = self.clouds.hosts()

    def ask(self, host: str, method: str, path: str, *, form=None, body=None, bearer="", **headers: str) -> Response:
        raw, kind = b"", ""
        if form is not None:
            raw, kind = urlencode(form).encode(), "application/x-www-form-urlencoded"
        if body is not None:
            raw, kind = json.dumps(body).encode(), "application/json"
        named = {"host": host, "content-type": kind, **{key.replace("_", "-"): value for key, value in headers.items()}}
        if bearer:
            named["authorization"] = f"Bearer {bearer}"
        bare, _, query = path.partition("?")
        pairs = tuple(tuple(pair.split("=", 1)) for pair in query.split("&") if pair)
        request = Request(method, host, bare, pairs, named, raw)
        return asyncio.run(self.clouds.faults.around(self.hosts)(request))

    def token(self, **fields: str) -> tuple[int, dict[str, Any]]:
        """One request to Entra's token endpoint."""
        response = self.ask(LOGIN, "POST", f"/{contoso.TENANT}/oauth2/v2.0/token", form=fields)
        return response.status, json.loads(response.body)

    def start_device(self, scope: str, client: str = contoso.CLI.id, claims: str = "") -> dict[str, Any]:
        fields = {"client_id": client, "scope": scope} | ({"claims": claims} if claims else {})
        response = self.ask(LOGIN, "POST", f"/{contoso.TENANT}/oauth2/v2.0/devicecode", form=fields)
        return json.loads(response.body)

    def approve(self, user_code: str, user: contoso.User, **more: str) -> Response:
        fields = {"user_code": user_code, "account": user.upn, **more}
        return self.ask(LOGIN, "POST", "/common/oauth2/deviceauth", form=fields)

    def sign_in(
        self,
        user: contoso.User,
        scope="api://remit/.default openid profile offline_access",
        client=contoso.CLI.id,
        **more: str,
    ) -> dict[str, Any]:
        flow = self.start_device(scope, client)
        self.approve(flow["user_code"], user, **more)
        status, answer = self.token(grant_type=DEVICE, client_id=client, device_code=flow["device_code"])
        assert status == 200, answer
        return answer

    def machine(self, resource=contoso.EXCHANGE_AUDIENCE, identity=contoso.MI_ARBITER) -> str:
        """A managed identity's token."""
        return self.clouds.entra.tokens.for_machine(
            identity, next(app for app in contoso.APPS if app.uri == resource)
        ).token

    def on_behalf(self, assertion: str, scope="api://remit-google/.default", **more: str) -> tuple[int, dict[str, Any]]:
        fields = {
            "grant_type": OBO,
            "client_id": contoso.REMIT.id,
            "client_assertion_type": ASSERTION,
            "client_assertion": self.machine(),
            "assertion": assertion,
            "scope": scope,
            "requested_token_use": "on_behalf_of",
        }
        return self.token(**{**fields, **more})

    def google_subject(self, user: contoso.User) -> str:
        """The token that Remit shows Google for a person."""
        status, answer = self.on_behalf(self.sign_in(user)["access_token"])
        assert status == 200, answer
        return answer["access_token"]

    def exchange(self, subject: str, **more: str) -> tuple[int, dict[str, Any]]:
        fields = {
            "grant_type": EXCHANGE,
            "audience": f"//iam.googleapis.com/{contoso.PROVIDER.resource}",
            "scope": CLOUD_PLATFORM,
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token": subject,
            "subject_token_type": JWT,
        }
        response = self.ask("sts.googleapis.com", "POST", "/v1/token", form={**fields, **more})
        return response.status, json.loads(response.body)

    def impersonate(self, federated: str, email: str, **body: Any) -> Response:
        asked = {"delegates": None, "scope": [CLOUD_PLATFORM], "lifetime": "900s", **body}
        path = f"/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
        return self.ask("iamcredentials.googleapis.com", "POST", path, body=asked, bearer=federated)

    def account_token(self, user: contoso.User, email: str) -> str:
        """The whole way: a person's sign-in to a service account's token."""
        status, federated = self.exchange(self.google_subject(user))
        assert status == 200, federated
        return json.loads(self.impersonate(federated["access_token"], email).body)["accessToken"]

    def azure(self, **more: Any) -> AzureMetadata:
        entra = self.clouds.entra
        return AzureMetadata(entra.tokens, entra.sign_ins, more.get("identities", contoso.MANAGED_IDENTITIES), Clock())


MODELS = """
import sys, tensorflow as tf
old = tf.compat.v1
root = sys.argv[1]
for version, more in ((1, 2.0), (2, 3.0)):
    class Half(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def half(self, x):
            return {"y": x / 2 + more}
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="name"), tf.TensorSpec([None], tf.int64, name="n")])
        def greet(self, name, n):
            return {"text": tf.strings.join(["hello ", name]), "more": n + 1}
    half = Half()
    signatures = {"serving_default": half.half, "greet": half.greet}
    tf.saved_model.save(half, f"{root}/half/{version}", signatures)
with tf.Graph().as_default(), old.Session() as session:
    examples = old.placeholder(tf.string, [None], name="examples")
    wanted = {"x": tf.io.FixedLenFeature([1], tf.float32), "bias": tf.io.FixedLenFeature([], tf.float32, 0.0)}
    found = tf.io.parse_example(examples, wanted)
    value = found["x"][:, 0] * 2 + found["bias"]
    scores = tf.stack([value, -value], 1)
    classes = tf.tile([["up", "down"]], [tf.shape(value)[0], 1])
    made = old.saved_model
    signatures = {
        "serving_default": made.classification_signature_def(examples, classes, scores),
        "only_scores": made.classification_signature_def(examples, None, scores),
        "size": made.regression_signature_def(examples, value),
    }
    builder = made.builder.SavedModelBuilder(f"{root}/trend/7")
    builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
    builder.save()
"""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels that TensorFlow itself wrote, as `NAME/VERSION/`: `half` halves and adds, `trend` takes examples."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, "-c", MODELS, str(folder)], check=True, capture_output=True, timeout=120)
    (folder / "half" / "labels.json").write_text('{"stable": 1, "canary": 2}')
    return folder


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Clouds(tmp_path))


class Administrator:
    """Graph, asked by the managed identity that sets up the trust, or with whatever permissions a test names."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.registry = world.clouds.directory.registry
        self.bearer = world.machine("https://graph.microsoft.com", contoso.ADMINISTRATOR)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        response = self.world.ask(
            "graph.microsoft.com", method, f"/v1.0/{path}", body=body, bearer=self.bearer, **headers
        )
        return int(response.status), json.loads(response.body) if response.body else None

    def as_one(self, *permissions: str) -> None:
        """Hold just these permissions from now on."""
        claims = {"aud": contoso.GRAPH.id, "exp": 1 << 40, "roles": permissions, "oid": contoso.ADMINISTRATOR.oid}
        self.bearer = self.world.clouds.entra.keys.signing.sign(claims)

    def make(self, name: str, **more: Any) -> dict[str, Any]:
        """A new application."""
        status, made = self("POST", "applications", {"displayName": name, **more})
        assert status == 201, made
        return made

    def principal(self, app: str) -> dict[str, Any]:
        """A new service principal."""
        status, made = self("POST", "servicePrincipals", {"appId": app})
        assert status == 201, made
        return made


@pytest.fixture
def administrator(world: World) -> Administrator:
    return Administrator(world)


@pytest.fixture
def beginner(tmp_path: Path) -> Administrator:
    """The administrator on the first day, when nobody has set up a trust."""
    return Administrator(World(Clouds(tmp_path, world=contoso.EMPTY)))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lifecycle.Lab]:
    folder = tmp_path_factory.mktemp("lab")
    yield lifecycle.up(folder)
    lifecycle.down(folder)


@pytest.fixture
def lab_environment(lab: lifecycle.Lab, monkeypatch: pytest.MonkeyPatch) -> lifecycle.Lab:
    for name, value in lifecycle.variables(lab).items():
        monkeypatch.setenv(name, value)
    return lab


class Wire(World):
    """A running lab, asked over its proxy."""

    def __init__(self, lab: lifecycle.Lab) -> None:
        self.lab = lab
        self.session = requests.Session()
        self.session.proxies = {"https": f"http://127.0.0.1:{lab.proxy}"}
        self.session.verify = lab.bundle
        self.session.trust_env = False

    def ask(self, host: str, method: str, path: str, *, form=None, body=None, bearer="", **headers: str) -> Response:
        named = {"authorization": f"Bearer {bearer}"} if bearer else {}
        answer = self.session.request(
            method, f"https://{host}{path}", data=form, json=body, headers=named | headers, timeout=20
        )
        return Response(answer.status_code, answer.content, dict(answer.headers))

    def machine(self, resource=contoso.EXCHANGE_AUDIENCE, identity=contoso.MI_ARBITER) -> str:
        query = {"api-version": "2018-02-01", "resource": resource, "client_id": identity.client_id}
        url = f"http://127.0.0.1:{self.lab.imds}/metadata/identity/oauth2/token"
        return self.session.get(url, params=query, headers={"Metadata": "true"}, timeout=20).json()["access_token"]

    def put(self, bucket: str, name: str, content: bytes) -> None:
        """An object, written by the engineer."""
        path = f"/upload/storage/v1/b/{bucket}/o"
        answer = self.session.post(
            f"https://storage.googleapis.com{path}",
            params={"uploadType": "media", "name": name},
            data=content,
            headers={"authorization": f"Bearer {self.engineer}"},
            timeout=20,
        )
        assert answer.status_code == 200, answer.text

    def read(self, uri: str) -> bytes:
        """An object, read by the engineer."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        return self.ask("storage.googleapis.com", "GET", f"/{bucket}/{name}", bearer=self.engineer).body

    def audited(self, method: str) -> list[dict[str, Any]]:
        """The lab's audit entries of one method, by the last words of its name."""
        lines = Path(self.lab.folder, "cloud_audit.jsonl").read_text("utf-8").splitlines()
        found = [json.loads(line)["protoPayload"] for line in lines]
        return [each for each in found if f".{each['methodName']}".endswith(f".{method}")]


@pytest.fixture(scope="session")
def wire(lab: lifecycle.Lab) -> Wire:
    """The lab over the wire, with an engineer's token for an hour."""
    found = Wire(lab)
    _, federated = found.exchange(found.google_subject(contoso.DANA))
    email = contoso.account("ml-engineer", contoso.FRAUD_TEST)
    answer = found.impersonate(federated["access_token"], email, lifetime="3600s")
    found.engineer = json.loads(answer.body)["accessToken"]
    return found


@pytest.fixture(params=["grpc", "rest"])
def vertex(request, wire: Wire, lab_environment, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The stock client of Vertex AI as the engineer, over each transport; it polls more often than it would."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it says of itself while it is imported
        from google.cloud import aiplatform
    from google.oauth2.credentials import Credentials

    aiplatform.init(
        project=contoso.FRAUD_TEST.id,
        location=contoso.LOCATION,
        staging_bucket=f"gs://{contoso.FRAUD_TEST.buckets[1]}",
        credentials=Credentials(wire.engineer),
        api_transport=request.param,
        service_account=contoso.account("trainer", contoso.FRAUD_TEST),
    )
    for module in (aiplatform.jobs, aiplatform.training_jobs, aiplatform.pipeline_jobs):
        monkeypatch.setattr(module, "_JOB_WAIT_TIME", 0.2)
    return aiplatform
