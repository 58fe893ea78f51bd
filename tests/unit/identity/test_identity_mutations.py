"""No variant of a good token is believed, whatever was done to it, and none makes anything but a refusal."""

import asyncio
import importlib.util
import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from joserfc.jwk import Key, RSAKey

from remit.identity.ports import Membership
from remit.identity.settings import EntraIssuer, OidcIssuer
from remit.identity.tokens.authenticators import Authenticators
from remit.identity.tokens.claims import SKEW
from remit.identity.tokens.entra import EntraAuthenticator
from remit.identity.tokens.oidc import OidcAuthenticator
from remit.model.errors import Refused
from remit.model.identity import Principal
from remit.model.secret import UnverifiedToken

NOW = 1_795_000_000
SEED = secrets.randbits(32)
CLI = "a0000000-0000-4000-8000-000000000002"
FABRIKAM = "6f1c2a34-8b5d-4e6f-9a01-c0de00000002"


class Keys:
    def __init__(self, key: Key) -> None:
        self._key = key

    async def key(self, kid: str) -> Key | None:
        return self._key if kid == "key-1" else None


class Directory:
    """Knows everybody's groups: a token that leaves them out well is no hostile one."""

    async def of(self, principal: Principal, now: int) -> Membership:
        return Membership(frozenset({"9a000000-0000-4000-8000-000000000001"}), now)


@pytest.fixture(scope="module")
def mutations() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(
        "identity_token_mutations", Path(__file__).with_name("token_mutations.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def everybody(settings: EntraIssuer, signing_key: RSAKey) -> Authenticators:
    """As open as an installation gets: guests, v1 audiences, a directory, a second issuer."""
    entra = EntraIssuer(
        settings.tenant,
        settings.audience,
        settings.clients,
        uris=frozenset({"api://remit"}),
        guests=frozenset({FABRIKAM}),
    )
    okta = OidcIssuer("okta", "https://okta.example", settings.audience, clients=settings.clients)
    keys = Keys(signing_key)
    return Authenticators((EntraAuthenticator(entra, keys, Directory()), OidcAuthenticator(okta, keys)))


@pytest.fixture(params=["a person, v2", "a workload, v2", "a person, v1", "a guest, v2"])
def good(request: pytest.FixtureRequest, person: Any, workload: Any, first: Any, sign: Any) -> str:
    claims = {
        "a person, v2": person,
        "a workload, v2": workload,
        "a person, v1": first(person),
        "a guest, v2": {**person, "acct": 1, "idp": f"https://sts.windows.net/{FABRIKAM}/"},
    }[request.param]
    return sign(claims).reveal()


def _refusal(runner: asyncio.Runner, everybody: Authenticators, text: str) -> str:
    """The reason why a token is refused, empty when it is believed. Anything but a refusal fails the test."""
    try:
        runner.run(everybody.authenticate(UnverifiedToken(text), NOW))
    except Refused as error:
        return str(error.reason) if not text or text not in str(error) else ""
    return ""


def test_no_variant_is_believed(everybody: Authenticators, good: str, mutations: Any, signing_key: RSAKey) -> None:
    print(f"seed {SEED}")
    with asyncio.Runner() as runner:
        assert _refusal(runner, everybody, good) == ""
        variants = list(mutations.mutations(good, signing_key.raw_value, SEED))
        verdicts = {name: _refusal(runner, everybody, text) for name, text in variants}
    texts = [text for _, text in variants]
    assert [name for name, reason in verdicts.items() if not reason] == []
    assert len(verdicts) == len(variants) > 600
    assert sum(not name.startswith("random") for name in verdicts) > 400
    assert all(text.isascii() and text.isprintable() and " " not in text for text in texts)
    assert good not in texts
    assert len(set(verdicts.values())) >= 9  # each for its own fault, not all for one


def test_the_same_seed_gives_the_same_variants(good: str, mutations: Any, signing_key: RSAKey) -> None:
    def chosen(number: int) -> list[tuple[str, str]]:
        found = mutations.mutations(good, signing_key.raw_value, number)
        return [(name, text) for name, text in found if name.startswith("random")]

    assert chosen(7) == chosen(7)
    assert chosen(7) != chosen(8)


def test_no_variant_that_http_cannot_carry_is_believed(
    everybody: Authenticators, good: str, mutations: Any, signing_key: RSAKey
) -> None:
    with asyncio.Runner() as runner:
        for name, text in mutations.unsendable(good, signing_key.raw_value):
            assert _refusal(runner, everybody, text), name


def test_flipped_bytes_are_never_believed(everybody: Authenticators, person: Any, sign: Any) -> None:
    print(f"seed {SEED}")
    good = sign(person).reveal().encode()
    refused = 0
    with asyncio.Runner() as runner:

        @seed(SEED)
        @hypothesis_settings(max_examples=1500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(1, 255)), min_size=1, max_size=6))
        def flipped(flips: list[tuple[int, int]]) -> None:
            nonlocal refused
            data = bytearray(good)
            for place, mask in flips:
                data[place] ^= mask
            if bytes(data) != good:
                assert _refusal(runner, everybody, data.decode("latin-1"))
                refused += 1

        flipped()
    assert refused > 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def test_any_value_of_any_claim_is_an_identity_or_a_refusal(
    everybody: Authenticators, person: Any, sign: Any, signing_key: RSAKey
) -> None:
    print(f"seed {SEED}")
    names = [*person, "idp", "idtyp", "auth_time", "ipaddr", "hasgroups", "_claim_names", "deviceid", "appid", "cnf"]
    with asyncio.Runner() as runner:

        @seed(SEED)
        @hypothesis_settings(max_examples=600, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(names), JSON)
        def replaced(name: str, value: object) -> None:
            text = sign(json.dumps({**person, name: value}).encode()).reveal()
            if not _refusal(runner, everybody, text):
                assert name not in {"iss", "aud", "tid", "azp", "ver"} or value == person[name]
                assert name != "exp" or (isinstance(value, int) and value > NOW - SKEW)  # any that is to come

        replaced()
