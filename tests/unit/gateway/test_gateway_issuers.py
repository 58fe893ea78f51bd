"""Several issuers: each one's tokens by its own keys, audiences and algorithms, and by nothing of another's."""

import json
import time
import warnings

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from remit.gateway.keys import public_keys
from remit.model.errors import RemitError

ENTRA = "https://login.microsoftonline.com/6f1c2a34-8b5d-4e6f-9a01-c0de00000001/v2.0"
ENTRA_V1 = "https://sts.windows.net/6f1c2a34-8b5d-4e6f-9a01-c0de00000001/"
GITHUB = "https://token.actions.githubusercontent.com"
OKTA = "https://contoso.okta.example"
SILENT = "https://silent.example"
APP = "a0000000-0000-4000-8000-000000000001"
ISSUERS = (
    (ENTRA, APP),
    (ENTRA_V1, APP),
    (ENTRA_V1, "api://remit"),
    (GITHUB, "remit"),
    (OKTA, "remit"),
    (SILENT, "remit"),
)


def jwks(*keys):
    return json.dumps({"keys": [key.as_dict(private=isinstance(key, OctKey)) for key in keys]})


class Keys:
    """Every issuer's keys, all with the same `kid`."""

    def __init__(self):
        self.entra = RSAKey.generate_key(2048, parameters={"kid": "k"})
        self.github = RSAKey.generate_key(2048, parameters={"kid": "k"})
        self.okta = ECKey.generate_key("P-256", parameters={"kid": "k"})
        self.okta_next = OKPKey.generate_key("Ed25519", parameters={"kid": "next"})
        self.shared = OctKey.generate_key(256, parameters={"kid": "shared"})
        self.sets = {
            ENTRA: jwks(self.entra),
            ENTRA_V1: jwks(self.entra),
            GITHUB: jwks(self.github),
            OKTA: jwks(self.okta, self.okta_next, self.shared),
        }


def token(key, issuer, audience=APP, alg="RS256", **claims):
    now = int(time.time())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joserfc prefers the name `Ed25519`, which Envoy does not know
        body = {"iss": issuer, "aud": audience, "exp": now + 600, "iat": now, **claims}
        return jwt.encode({"alg": alg, "kid": key.kid}, body, key, algorithms=[alg])


@pytest.fixture(scope="module")
def keys():
    return Keys()


@pytest.fixture(scope="module")
def place(another_world, keys):
    world = another_world(issuers=ISSUERS)
    world.loop.run(world.envoy.update_keys(keys.sets))
    return world


@pytest.fixture
def many(place):
    place.reset()
    return place


def said(world, given):
    answer = world.call(f"/v1/{time.monotonic_ns()}", token=given)
    return answer.reason or answer.status


def test_each_issuers_tokens_pass(many, keys):
    good = (
        token(keys.entra, ENTRA),
        token(keys.entra, ENTRA_V1),
        token(keys.entra, ENTRA_V1, "api://remit"),
        token(keys.github, GITHUB, "remit"),
        token(keys.github, GITHUB, "remit", "PS256"),
        token(keys.okta, OKTA, "remit", "ES256"),
        token(keys.okta_next, OKTA, "remit", "EdDSA"),
    )
    assert [said(many, given) for given in good] == [200] * len(good)
    assert len(many.arbiter.seen) == len(good)


def test_no_issuers_tokens_pass_by_anothers_keys_or_audience(many, keys):
    cases = (
        (token(keys.github, ENTRA), "token_signature"),
        (token(keys.entra, GITHUB, "remit"), "token_signature"),
        (token(keys.okta, GITHUB, "remit", "ES256"), "token_signature"),
        (token(keys.entra, ENTRA, "api://remit"), "token_audience"),
        (token(keys.entra, ENTRA, "remit"), "token_audience"),
        (token(keys.entra, ENTRA_V1, "remit"), "token_audience"),
        (token(keys.github, GITHUB, APP), "token_audience"),
        (token(keys.okta_next, GITHUB, "remit", "EdDSA"), "token_signature"),
        (token(keys.shared, OKTA, "remit", "HS256"), "token_signature"),
        (token(keys.entra, "https://evil.example"), "token_issuer"),
        (token(keys.entra, ENTRA + "/"), "token_issuer"),
        (token(keys.github, GITHUB, "remit", exp=1), "token_expired"),
        (token(keys.okta, OKTA, "remit", "ES256", nbf=2**31), "token_not_yet_valid"),
        ("opaque", "token_malformed"),
    )
    for given, reason in cases:
        assert said(many, given) == reason
    assert many.arbiter.seen == many.upstream.seen == []


def test_an_issuer_without_keys_is_refused_and_disturbs_nobody(many, keys):
    assert said(many, token(keys.github, SILENT, "remit")) == "token_issuer"
    assert many.loop.run(many.envoy.healthy())
    with pytest.raises(RemitError, match=SILENT):
        many.loop.run(many.envoy.update_keys({SILENT: '{"keys":[]}'}))
    assert said(many, token(keys.entra, ENTRA)) == 200


def test_new_keys_of_one_issuer_leave_the_others(many, keys):
    fresh = RSAKey.generate_key(2048, parameters={"kid": "k"})
    many.loop.run(many.envoy.update_keys({GITHUB: jwks(fresh), "https://nobody.example": "nonsense"}))
    assert said(many, token(keys.github, GITHUB, "remit")) == "token_signature"
    assert said(many, token(fresh, GITHUB, "remit")) == 200
    assert said(many, token(keys.entra, ENTRA)) == 200
    many.loop.run(many.envoy.update_keys({GITHUB: keys.sets[GITHUB]}))
    assert said(many, token(keys.github, GITHUB, "remit")) == 200


def test_keys_grow_old_one_issuer_at_a_time(another_world, keys):
    world = another_world(issuers=ISSUERS, keys_seconds=4)
    world.loop.run(world.envoy.update_keys(keys.sets))
    deadline = time.monotonic() + 12
    while said(world, token(keys.github, GITHUB, "remit")) == 200:
        world.loop.run(world.envoy.update_keys({ENTRA: keys.sets[ENTRA]}))
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert said(world, token(keys.entra, ENTRA)) == 200
    assert world.loop.run(world.envoy.healthy())


RSA = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ({"keys": [RSA]}, 1),
        ({"keys": [RSA | {"use": "sig"}, RSA | {"use": "enc"}, {"kty": "oct", "k": "AQAB"}]}, 1),
        (
            {
                "keys": [
                    {"kty": "EC", "crv": "P-256", "x": "A", "y": "A"},
                    {"kty": "EC", "crv": "P-999", "x": "A", "y": "A"},
                ]
            },
            1,
        ),
        ({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "A"}, {"kty": "OKP", "crv": "X25519", "x": "A"}]}, 1),
        ({"keys": [RSA | {"n": "!!"}, RSA | {"e": 3}, RSA | {"n": ""}, {"kty": "RSA"}, {"kty": ["RSA"]}, 1, None]}, 0),
        ({"keys": []}, 0),
        ({"keys": 1}, 0),
        ({}, 0),
        ([], 0),
        (None, 0),
        (1, 0),
    ],
)
def test_what_is_kept_of_a_set(text, kept):
    if kept:
        assert len(json.loads(public_keys(ENTRA, json.dumps(text)))["keys"]) == kept
        return
    with pytest.raises(RemitError, match="none that verifies"):
        public_keys(ENTRA, json.dumps(text))


@pytest.mark.parametrize("text", ["", "nonsense", "[" * 100_000])
def test_what_is_no_json_at_all(text):
    with pytest.raises(RemitError, match="none that verifies"):
        public_keys(ENTRA, text)
