"""Keys, tokens and a provider for the tests of identity."""

import base64
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import RSAKey

from remit.identity.settings import EntraIssuer
from remit.model.secret import UnverifiedToken

TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
REMIT = "a0000000-0000-4000-8000-000000000001"
CLI = "a0000000-0000-4000-8000-000000000002"
PIPELINE_CLIENT = "3c000000-0000-4000-8000-000000000002"
NOW = 1_795_000_000
KID = "key-1"


@pytest.fixture(scope="session")
def fake_https() -> ModuleType:
    path = Path(__file__).with_name("fake_https.py")
    spec = importlib.util.spec_from_file_location("identity_fake_https", path)
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
def signing_key() -> RSAKey:
    return RSAKey.generate_key(2048)


@pytest.fixture(scope="session")
def other_key() -> RSAKey:
    return RSAKey.generate_key(2048)


@pytest.fixture
def settings() -> EntraIssuer:
    return EntraIssuer(TID, REMIT, frozenset({CLI, PIPELINE_CLIENT}))


@pytest.fixture
def person() -> dict[str, Any]:
    """Dana's claims."""
    return {
        "aud": REMIT,
        "iss": f"https://login.microsoftonline.com/{TID}/v2.0",
        "iat": NOW - 60,
        "nbf": NOW - 60,
        "exp": NOW + 3600,
        "acct": 0,
        "aio": "x",
        "amr": ["pwd", "mfa"],
        "acrs": ["c1"],
        "azp": CLI,
        "azpacr": "0",
        "groups": ["9a000000-0000-4000-8000-000000000001"],
        "name": "Dana",
        "oid": "0d000000-0000-4000-8000-000000000001",
        "preferred_username": "dana@contoso.example",
        "roles": ["MLEngineer"],
        "scp": "access_as_user extra",
        "sid": "00000000-0000-4000-8000-0000000000aa",
        "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
        "tid": TID,
        "uti": "GCyDdLsQ8kSRhNSN3WkAAA",
        "ver": "2.0",
        "xms_cc": ["CP1"],
    }


@pytest.fixture
def workload(person: dict[str, Any]) -> dict[str, Any]:
    """The pipeline's claims: an app-only token of a managed identity."""
    oid = "3d000000-0000-4000-8000-000000000002"
    dropped = {"scp", "acct", "amr", "acrs", "preferred_username", "name", "groups", "sid"}
    kept = {name: value for name, value in person.items() if name not in dropped}
    return {**kept, "azp": PIPELINE_CLIENT, "idtyp": "app", "oid": oid, "sub": oid, "roles": ["Pipeline"]}


@pytest.fixture
def first() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The same claims as a v1 token has them."""

    def made(claims: dict[str, Any]) -> dict[str, Any]:
        renamed = {"azp": "appid", "azpacr": "appidacr", "preferred_username": "unique_name"}
        kept = {renamed.get(name, name): value for name, value in claims.items()}
        return {**kept, "iss": f"https://sts.windows.net/{TID}/", "ver": "1.0", "aud": "api://remit"}

    return made


@pytest.fixture
def sign(signing_key: RSAKey) -> Callable[..., UnverifiedToken]:
    def signed(claims: Mapping[str, Any] | bytes, key: RSAKey | None = None, **header: Any) -> UnverifiedToken:
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        protected = {"alg": "RS256", "typ": "JWT", "kid": KID} | header
        protected = {name: value for name, value in protected.items() if value is not None}
        if protected["alg"] == "RS256" and not protected.keys() - {"alg", "typ", "kid"}:
            return UnverifiedToken(jws.serialize_compact(protected, payload, key or signing_key))
        # what the library would not sign: any header at all, with a good signature beneath it
        head = base64.urlsafe_b64encode(json.dumps(protected).encode()).rstrip(b"=").decode()
        return resign(f"{head}.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}", key or signing_key)

    return signed


def resign(signing_input: str, key: RSAKey) -> UnverifiedToken:
    signature = jws.JWSRegistry.algorithms["RS256"].sign(signing_input.encode(), key)
    return UnverifiedToken(f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}")


@pytest.fixture(name="resign")
def resign_fixture(signing_key: RSAKey) -> Callable[[str], UnverifiedToken]:
    return lambda signing_input: resign(signing_input, signing_key)
