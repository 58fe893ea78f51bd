"""A cloud in small: Entra, its metadata server, Google STS and IAM, on one real server, told how to behave."""

import asyncio
import base64
import importlib.util
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import pytest

from remit.credentials.azure_imds import ManagedIdentity
from remit.credentials.entra_obo import EntraOnBehalfOf
from remit.credentials.google_iam import GoogleIam
from remit.credentials.google_sts import GoogleSts
from remit.credentials.obtainer import Obtainer, OwnWay
from remit.credentials.own_issuer import OwnIssuer
from remit.credentials.settings import AccountMapping, CredentialSettings
from remit.model.identity import Authentication, Identity, Kind, Principal

TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
SETTINGS = CredentialSettings(
    tenant=TID,
    application="a0000000-0000-4000-8000-000000000001",
    scope="api://remit-google/.default",
    managed_identity="3c000000-0000-4000-8000-000000000001",
    provider="//iam.googleapis.com/projects/100000000002/locations/global/workloadIdentityPools/contoso/providers/entra",
    mappings=(
        AccountMapping("MLEngineer", "contoso-fraud-test", "ml-engineer@contoso-fraud-test.iam.gserviceaccount.com"),
        AccountMapping("MLEngineer", "contoso-fraud-prod", "ml-engineer@contoso-fraud-prod.iam.gserviceaccount.com"),
        AccountMapping(
            "DataScientist", "contoso-fraud-test", "data-scientist@contoso-fraud-test.iam.gserviceaccount.com"
        ),
        AccountMapping("Pipeline", "contoso-fraud-test", "trainer@contoso-fraud-test.iam.gserviceaccount.com"),
    ),
)
OWN_PROVIDER = (
    "//iam.googleapis.com/projects/100000000002/locations/global/workloadIdentityPools/contoso/providers/remit"
)
HOPS = ("azure-imds", "entra-obo", "google-sts", "google-iam", "google-downscope")


class Clock:
    """Monotonic seconds and wall time, moved together by hand."""

    def __init__(self) -> None:
        self.moved = 0.0

    def clock(self) -> float:
        return 1000.0 + self.moved

    def wall(self) -> float:
        return time.time() + self.moved


class Cloud:
    """Gives each hop's token a name that says what it was made from: `obo(TOKEN)`, `fed(obo(TOKEN))`.

    `override[hop]` answers in another way; `life[hop]` is what the hop says its tokens live; `calls` counts.
    """

    def __init__(self, fake: ModuleType, clock: Clock) -> None:
        self.fake = fake
        self.clock = clock
        self.override: dict[str, Any] = {}
        self.life = {"azure-imds": 86399, "entra-obo": 4200, "google-sts": 3599, "google-downscope": None}
        self.calls: Counter[str] = Counter()
        self.seen: list[tuple[str, Any, dict[str, Any]]] = []
        self.pause = 0.0

    def __call__(self, asked: Any) -> Awaitable[Any]:
        return self._answer(asked)

    async def _answer(self, asked: Any) -> Any:
        hop, form = self._hop(asked)
        self.calls[hop] += 1
        self.seen.append((hop, asked, form))
        number = self.calls[hop]
        if self.pause:
            await asyncio.sleep(self.pause)
        answer = self.override.get(hop)
        if answer is not None:
            return answer(form) if callable(answer) else answer
        return self.json(getattr(self, "_" + hop.replace("-", "_"))(asked, form, number))

    def _hop(self, asked: Any) -> tuple[str, dict[str, Any]]:
        target = urlsplit(asked.path)
        if target.path == "/metadata/identity/oauth2/token":
            return "azure-imds", dict(parse_qsl(target.query))
        if target.path == f"/{TID}/oauth2/v2.0/token":
            return "entra-obo", dict(parse_qsl(asked.body.decode()))
        if target.path == "/v1/token":
            form = dict(parse_qsl(asked.body.decode()))
            return ("google-downscope" if "options" in form else "google-sts"), form
        assert target.path.endswith(":generateAccessToken")
        return "google-iam", json.loads(asked.body)

    def json(self, document: object, status: int = 200) -> Any:
        headers = {"content-type": "application/json; charset=utf-8"}
        return self.fake.Answer(json.dumps(document).encode(), status, headers)

    def _azure_imds(self, asked: Any, form: dict[str, Any], number: int) -> dict[str, Any]:
        return {"access_token": f"mi-{number}", "expires_in": str(self.life["azure-imds"]), "token_type": "Bearer"}

    def _entra_obo(self, asked: Any, form: dict[str, Any], number: int) -> dict[str, Any]:
        token = f"obo({form['assertion']})"
        return {"token_type": "Bearer", "expires_in": self.life["entra-obo"], "access_token": token}

    def _google_sts(self, asked: Any, form: dict[str, Any], number: int) -> dict[str, Any]:
        subject = form["subject_token"]
        if form["audience"] == OWN_PROVIDER:
            payload = subject.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            assert claims["aud"] == f"https:{OWN_PROVIDER}"
            subject = f"own({claims['sub']};{','.join(claims['groups'])};{','.join(claims['roles'])})"
        return self._google(f"fed({subject})", self.life["google-sts"])

    def _google_downscope(self, asked: Any, form: dict[str, Any], number: int) -> dict[str, Any]:
        rules = json.loads(form["options"])["accessBoundary"]["accessBoundaryRules"]
        names = ",".join(rule["availableResource"].rsplit("/", 1)[1] for rule in rules)
        return self._google(f"down({form['subject_token']}:{names})", self.life["google-downscope"])

    def _google(self, token: str, life: int | None) -> dict[str, Any]:
        more = {} if life is None else {"expires_in": life}
        kind = "urn:ietf:params:oauth:token-type:access_token"
        return {"access_token": token, "issued_token_type": kind, "token_type": "Bearer", **more}

    def _google_iam(self, asked: Any, form: dict[str, Any], number: int) -> dict[str, Any]:
        federated = asked.headers["authorization"].removeprefix("Bearer ")
        account = unquote(asked.path).rsplit("/", 1)[1].removesuffix(":generateAccessToken")
        ends = datetime.fromtimestamp(self.clock.wall() + int(form["lifetime"][:-1]), UTC)
        token = f"sa({federated}|{account}|{'+'.join(scope.rsplit('/', 1)[1] for scope in form['scope'])}|{number})"
        return {"accessToken": token, "expireTime": ends.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


@pytest.fixture(scope="session")
def fake_https() -> ModuleType:
    path = Path(__file__).parents[1] / "identity" / "fake_https.py"
    spec = importlib.util.spec_from_file_location("credentials_fake_https", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def certificate(fake_https: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fake_https.Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of keys, made once: RSA keys take their time."""
    folder = tmp_path_factory.mktemp("own")
    OwnIssuer("https://remit.contoso.example", folder)
    return folder


Story = Callable[[Obtainer, Cloud, Clock], Awaitable[None]]


@pytest.fixture
def tell(fake_https: ModuleType, certificate: Any, own_folder: Path) -> Callable[..., None]:
    """Runs a story with an obtainer whose hops go to a cloud over TLS (and to its metadata server without).

    `own`: whether Remit has an issuer of its own; `groups`: those that it tells.
    """

    @asynccontextmanager
    async def world(
        seconds: float, *, own: bool, groups: frozenset[str]
    ) -> AsyncIterator[tuple[Obtainer, Cloud, Clock]]:
        clock = Clock()
        cloud = Cloud(fake_https, clock)
        async with (
            fake_https.FakeServer(cloud, certificate) as secure,
            fake_https.FakeServer(cloud, None) as plain,
            httpx.AsyncClient(verify=certificate.client(), trust_env=False) as client,
        ):
            issuer = OwnIssuer("https://remit.contoso.example", own_folder, groups=groups)
            own_sts = GoogleSts(client, OWN_PROVIDER, timeout=seconds, base=secure.url)
            obtainer = Obtainer(
                SETTINGS,
                identity=ManagedIdentity(client, SETTINGS.managed_identity, timeout=seconds, host=plain.url),
                entra=EntraOnBehalfOf(client, SETTINGS, timeout=seconds, authority=secure.url),
                sts=GoogleSts(client, SETTINGS.provider, timeout=seconds, base=secure.url),
                iam=GoogleIam(client, timeout=seconds, wall=clock.wall, base=secure.url),
                own=OwnWay(issuer, own_sts) if own else None,
                clock=clock.clock,
                wall=clock.wall,
            )
            yield obtainer, cloud, clock
            await obtainer.close()

    def told(story: Story, timeout: float = 5.0, *, own: bool = False, groups: frozenset[str] = frozenset()) -> None:
        async def main() -> None:
            async with world(timeout, own=own, groups=groups) as (obtainer, cloud, clock):
                await story(obtainer, cloud, clock)

        asyncio.run(main())

    return told


def somebody(
    number: int = 1,
    *roles: str,
    tenant: str = TID,
    kind: Kind = Kind.PERSON,
    groups: frozenset[str] = frozenset(),
    session: str = "",
) -> Identity:
    return Identity(
        principal=Principal(
            f"https://login.microsoftonline.com/{tenant}/v2.0", tenant, f"0d000000-0000-4000-8000-{number:012}", kind
        ),
        display="somebody",
        groups=groups,
        groups_at=0,
        roles=frozenset(roles or ("MLEngineer",)),
        scopes=frozenset(),
        client="",
        authentication=Authentication(),
        guest=False,
        issued_at=0,
        expires_at=2**40,
        token_id="uti",
        session=session,
    )


@pytest.fixture(name="somebody")
def somebody_fixture() -> Callable[..., Identity]:
    return somebody
