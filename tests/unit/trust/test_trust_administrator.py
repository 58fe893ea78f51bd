"""The tokens of whoever runs the command, and of Remit itself."""

import asyncio
import base64
import json
from types import SimpleNamespace

import pytest
from azure.core.exceptions import ClientAuthenticationError

from remit.model.errors import HopFailed, TrustBroken
from remit.model.reasons import Reason
from remit.model.secret import AccessToken
from remit.trust.clouds.administrator import VARIABLE, Administrator
from remit.trust.clouds.itself import Itself

GRAPH = "https://graph.microsoft.com/.default"
ARM = "https://management.azure.com/.default"
GOOGLE = "https://www.googleapis.com/auth/cloud-platform"
TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"


class Credential:
    """A fake of azure-identity's: what was asked is kept."""

    def __init__(self, life=3600.0, token="t"):
        self.asked = []
        self.life = life
        self.value = token

    def get_token(self, *scopes, tenant_id=None):
        self.asked.append((scopes, tenant_id))
        return SimpleNamespace(token=f"{self.value}", expires_on=1000.0 + self.life)


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def asked(tokens, *scopes):
    async def all_():
        return [(await tokens.token(scope)).reveal() for scope in scopes]

    return asyncio.run(all_())


def test_gclouds_own_variable_comes_first(monkeypatch):
    monkeypatch.setenv(VARIABLE, "given")
    assert asked(Administrator(TENANT, credential=Credential), GOOGLE) == ["given"]


def test_microsoft_is_asked_for_the_files_tenant_once_a_life():
    credential = Credential()
    tokens = Administrator(TENANT, credential=lambda: credential, clock=lambda: 1000.0)
    assert asked(tokens, GRAPH, GRAPH, ARM) == ["t", "t", "t"]
    assert credential.asked == [((GRAPH,), TENANT), ((ARM,), TENANT)]


def test_a_token_that_ends_soon_is_fetched_anew():
    credential = Credential(life=200.0)
    tokens = Administrator(TENANT, credential=lambda: credential, clock=lambda: 1000.0)
    asked(tokens, GRAPH, GRAPH)
    assert len(credential.asked) == 2


def test_a_microsoft_token_never_goes_to_google_nor_the_other_way(monkeypatch):
    monkeypatch.setenv(VARIABLE, "googles")
    tokens = Administrator(TENANT, credential=lambda: Credential(token="microsofts"), clock=lambda: 1000.0)
    assert asked(tokens, GRAPH, ARM, GOOGLE) == ["microsofts", "microsofts", "googles"]


def test_nobody_signed_in_at_microsoft():
    class Nobody(Credential):
        def get_token(self, *scopes, tenant_id=None):
            raise ClientAuthenticationError("DefaultAzureCredential failed\nand more\nand more")

    with pytest.raises(TrustBroken) as told:
        asked(Administrator(TENANT, credential=Nobody), GRAPH)
    assert told.value.message == "nobody is signed in at Microsoft for this: DefaultAzureCredential failed"
    assert told.value.hint == f"`az login --tenant {TENANT}`"
    assert told.value.__cause__ is None


def test_nobody_signed_in_at_google(monkeypatch, tmp_path):
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST", "GCE_METADATA_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(TrustBroken) as told:
        asked(Administrator(TENANT), GOOGLE)
    assert told.value.message.startswith("nobody is signed in at Google: ")
    assert "gcloud auth application-default login" in told.value.hint


def jwt(claims):
    return ".".join(
        base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b"{}", json.dumps(claims).encode(), b"s")
    )


@pytest.mark.parametrize(
    ("token", "ids"),
    [
        (jwt({"oid": "o-1"}), {"o-1"}),
        (jwt({"sub": "x"}), set()),
        (jwt([]), set()),
        ("opaque", set()),
        ("a.%%%.c", set()),
        ("a..c", set()),
    ],
)
def test_who_it_is_is_read_where_it_says(token, ids):
    tokens = Administrator(TENANT, credential=lambda: Credential(token=token), clock=lambda: 1000.0)
    assert asyncio.run(tokens.ids()) == ids


def source(value):
    async def give():
        if isinstance(value, Exception):
            raise value
        return AccessToken(value)

    return give


def test_remit_itself_has_a_way_to_each():
    tokens = Itself(graph=source("g"), management=source("m"), google=source("o"))
    assert asked(tokens, GRAPH, ARM, GOOGLE) == ["g", "m", "o"]


@pytest.mark.parametrize("scope", ["https://graph.microsoft.com.evil/.default", "https://vault.azure.net/.default", ""])
def test_remit_itself_has_no_token_for_others(scope):
    with pytest.raises(TrustBroken, match="remit has no token for"):
        asked(Itself(graph=source("g"), management=source("m"), google=source("o")), scope)


def test_a_broken_hop_is_a_broken_trust():
    failed = HopFailed("azure-imds", Reason.EXCHANGE_UNAVAILABLE, "`azure-imds` could not be reached")
    with pytest.raises(TrustBroken) as told:
        asked(Itself(graph=source(failed), management=source("m"), google=source("o")), GRAPH)
    assert told.value.message == failed.message
    assert "remit trust verify" in told.value.hint
