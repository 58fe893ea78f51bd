"""The lab's clouds inside the test's own process, and one real lab for the client libraries."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

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


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Clouds(tmp_path))


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
