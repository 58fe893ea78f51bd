"""The strict form of tokens, refusal by refusal."""

import base64
import json

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from remit.identity.tokens import jose, strict_json
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


HEAD = _b64(b'{"alg":"RS256","kid":"k","typ":"JWT"}')
BODY = _b64(b'{"exp":1}')
SMALL = _b64((2**1024 - 1).to_bytes(128))


@pytest.mark.parametrize(
    "text",
    [
        "x" * (jose.MAX_TOKEN + 1),
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e",
        f".{HEAD}.{BODY}.AA",
        f"{_b64(b'{' + b' ' * 600 + b'}')}.{BODY}.AA",
        f"{HEAD}=.{BODY}.AA",
        f"{HEAD}.{BODY} .AA",
        f"{HEAD}.{BODY}\n.AA",
        f"{HEAD}.{BODY}.AA\n",
        f"{HEAD}.{BODY}.A",
        f"{HEAD}.{BODY}.AB",  # stray bits
        f"{HEAD}.{BODY}.A+/A",
        f"{HEAD}.{BODY}.ÄÄ",
        f"{HEAD}.{BODY}.\u0661\u0661",
        f"{HEAD}.{BODY}.",
        f".{BODY}.AA",
        "..",
        json.dumps({"protected": HEAD, "payload": BODY, "signatures": []}),
    ],
)
def test_a_form_that_is_not_canonical_is_malformed(text: str) -> None:
    with pytest.raises(Refused) as refused:
        jose.parse_compact(UnverifiedToken(text))
    assert refused.value.reason is Reason.TOKEN_MALFORMED


def test_no_token_is_said_to_be_missing() -> None:
    with pytest.raises(Refused) as refused:
        jose.parse_compact(UnverifiedToken(""))
    assert refused.value.reason is Reason.TOKEN_MISSING


@pytest.mark.parametrize(
    "header",
    [
        b"null",
        b"[]",
        b'"RS256"',
        b"{'alg':'RS256','kid':'k'}",
        b'\xef\xbb\xbf{"alg":"RS256","kid":"k"}',
        b'{"alg":"RS256","kid":"\xff"}',
        b'{"alg":"RS256","alg":"RS256","kid":"k"}',
        b'{"alg":"RS256","kid":"k","\\u006bid":"k"}',
        b'{"alg":"RS256"}',
        b'{"kid":"k"}',
        b'{"alg":"RS256","kid":""}',
        b'{"alg":"RS256","kid":7}',
        b'{"alg":["RS256"],"kid":"k"}',
        b'{"alg":"RS256","kid":"k","typ":null}',
        *(
            json.dumps({"alg": "RS256", "kid": "k", name: value}).encode()
            for name, value in {
                "crit": ["exp"],
                "b64": False,
                "jku": "https://evil.example/keys",
                "x5u": "https://evil.example/chain",
                "jwk": {"kty": "RSA"},
                "x5c": ["MII"],
                "cty": "JWT",
                "zip": "DEF",
                "enc": "A128GCM",
                "nonce": "graph",
                "anything": "else",
            }.items()
        ),
    ],
)
def test_a_header_with_anything_unusual_is_malformed(header: bytes) -> None:
    with pytest.raises(Refused) as refused:
        jose.parse_compact(UnverifiedToken(f"{_b64(header)}.{BODY}.AA"))
    assert refused.value.reason is Reason.TOKEN_MALFORMED


def test_a_strict_form_is_read_and_hides_its_token() -> None:
    text = f"{HEAD}.{BODY}.AA"
    form = jose.parse_compact(UnverifiedToken(text))
    assert (form.alg, form.kid, form.typ, form.payload) == ("RS256", "k", "JWT", b'{"exp":1}')
    assert text not in repr(form)
    assert "exp" not in repr(form)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"[]", Reason.TOKEN_MALFORMED),
        (b'{"exp":1,"exp":2}', Reason.TOKEN_MALFORMED),
        (b'{"exp":1,"a":{"b":1,"b":2}}', Reason.TOKEN_MALFORMED),
        (b'{"exp":NaN}', Reason.TOKEN_MALFORMED),
        (b'{"exp":Infinity}', Reason.TOKEN_MALFORMED),
        (b'{"exp":1e999}', Reason.TOKEN_MALFORMED),
        (b'{"exp":99999999999999999999999}', Reason.TOKEN_MALFORMED),
        (b'{"exp":1,"a":9007199254740992}', Reason.TOKEN_MALFORMED),
        (b'{"exp":1,"a":' + b"[" * 5000 + b"]" * 5000 + b"}", Reason.TOKEN_MALFORMED),
        (b'{"exp":1,"a":' + b"[" * 17 + b"]" * 17 + b"}", Reason.TOKEN_MALFORMED),
        (b'{"exp":1,"a":"\\ud800"}', Reason.TOKEN_MALFORMED),
        (b"{}", Reason.TOKEN_CLAIMS),
        (b'{"exp":1.5}', Reason.TOKEN_CLAIMS),
        (b'{"exp":1.0}', Reason.TOKEN_CLAIMS),
        (b'{"exp":"1"}', Reason.TOKEN_CLAIMS),
        (b'{"exp":true}', Reason.TOKEN_CLAIMS),
        (b'{"exp":null}', Reason.TOKEN_CLAIMS),
    ],
)
def test_a_payload_that_is_not_strict_is_refused(payload: bytes, reason: Reason) -> None:
    form = jose.parse_compact(UnverifiedToken(f"{HEAD}.{_b64(payload)}.AA"))
    with pytest.raises(Refused) as refused:
        jose.read_claims(form)
    assert refused.value.reason is reason


def test_brackets_in_strings_and_side_by_side_are_not_depth() -> None:
    assert strict_json.parse(b'["' + b'[{\\"' * 100 + b'"]')
    assert strict_json.parse(b"[" + b"[]," * 100 + b"[]]")
    assert strict_json.parse(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"
    assert strict_json.parse(b"[9007199254740991, -9007199254740991, 1.5]") == [2**53 - 1, 1 - 2**53, 1.5]


def test_a_key_signs_with_its_algorithm_only(signing_key: RSAKey, sign) -> None:
    form = jose.parse_compact(sign({"exp": 1}))
    jose.verify(form, signing_key, "RS256")
    for algorithm in ("RS384", "PS256", "none", "HS256"):
        with pytest.raises(Refused) as refused:
            jose.verify(form, signing_key, algorithm)
        assert refused.value.reason is Reason.TOKEN_SIGNATURE


def test_a_refused_signature_does_not_carry_the_token_along(other_key: RSAKey, sign) -> None:
    token = sign({"exp": 1})
    with pytest.raises(Refused) as refused:
        jose.verify(jose.parse_compact(token), other_key, "RS256")
    assert refused.value.reason is Reason.TOKEN_SIGNATURE
    assert refused.value.__context__ is None
    assert token.reveal() not in repr(refused.value)


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # the library warns of small keys, we refuse
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kty": "oct", "k": "AAAA"}, "not a key for `RS256`"),
        ({"kty": "EC"}, "not a key for `RS256`"),
        ({"use": "enc"}, "not a key for signatures"),
        ({"key_ops": ["sign"]}, "not a key for signatures"),
        ({"key_ops": "verify"}, "not a key for signatures"),
        ({"alg": "RS512"}, "bound to another algorithm"),
        ({"alg": None}, "bound to another algorithm"),
        ({"n": None}, "not a well-formed key"),
        ({"n": "ÄÖ"}, "not a well-formed key"),
        ({"n": "A"}, "not a well-formed key"),
        ({"e": None}, "not a well-formed key"),
        ({"e": ""}, "not a well-formed key"),
        ({"n": SMALL}, "fewer than 2048 bits"),
    ],
)
def test_a_key_for_something_else_is_not_loaded(signing_key: RSAKey, change: dict[str, object], words: str) -> None:
    member = {**signing_key.as_dict(private=False), **change}
    with pytest.raises(ValueError, match=words):
        jose.load_key(member, "RS256")


def test_keys_are_loaded_without_their_private_half(signing_key: RSAKey) -> None:
    key = jose.load_key({**signing_key.as_dict(private=True), "use": "sig", "alg": "RS256"}, "RS256")
    assert not key.is_private
    elliptic = ECKey.generate_key("P-256")
    assert jose.public_members(jose.load_key(elliptic.as_dict(private=True), "ES256")).keys() == {
        "alg",
        "kty",
        "crv",
        "x",
        "y",
    }
    with pytest.raises(ValueError, match="not a key for `HS256`"):
        jose.load_key({"kty": "oct", "k": "AAAA"}, "HS256")
    with pytest.raises(ValueError, match="not a well-formed key"):
        jose.load_key({"kty": "EC", "crv": "P-256"}, "ES256")


def _generated(algorithm: str) -> Key:
    curves = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
    if algorithm in curves:
        return ECKey.generate_key(curves[algorithm])
    return OKPKey.generate_key("Ed25519") if algorithm.startswith("Ed") else RSAKey.generate_key(2048)


def _signed(algorithm: str, key: Key) -> jose.Jws:
    text = f"{_b64(json.dumps({'alg': algorithm, 'kid': 'k'}).encode())}.{BODY}"
    signature = jws.JWSRegistry.algorithms[algorithm].sign(text.encode(), key)
    return jose.parse_compact(UnverifiedToken(f"{text}.{_b64(signature)}"))


ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_listed_algorithm_verifies_with_its_own_key_and_no_other(algorithm: str, other_key: RSAKey) -> None:
    private = _generated(algorithm)
    key = jose.load_key(private.as_dict(private=True), *ALGORITHMS[ALGORITHMS.index(algorithm) :])
    assert (key.alg, key.is_private) == (algorithm, False)
    form = _signed(algorithm, private)
    jose.verify(form, key, *ALGORITHMS)
    strangers = [_generated(algorithm), ECKey.generate_key("P-256"), OKPKey.generate_key("Ed448"), other_key]
    for accepted, stranger in [(("RS999",), key), ((), key), *((ALGORITHMS, stranger) for stranger in strangers)]:
        with pytest.raises(Refused) as refused:
            jose.verify(form, stranger, *accepted)
        assert refused.value.reason is Reason.TOKEN_SIGNATURE


def test_a_key_bound_to_one_algorithm_verifies_no_other(signing_key: RSAKey) -> None:
    form = _signed("PS256", signing_key)
    public = signing_key.as_dict(private=False)
    jose.verify(form, jose.load_key({**public, "alg": "PS256"}, "RS256", "PS256"), "RS256", "PS256")
    for bound in (jose.load_key(public, "RS256", "PS256"), jose.load_key({**public, "alg": "RS256"}, "RS256", "PS256")):
        with pytest.raises(Refused):
            jose.verify(form, bound, "RS256", "PS256")


def test_no_symmetric_signature_verifies_even_when_asked_for() -> None:
    secret = OctKey.import_key({"kty": "oct", "k": "A" * 43})
    for algorithm in ("HS256", "none"):
        with pytest.raises(Refused):
            jose.verify(_signed("HS256", secret), secret, algorithm)


@pytest.mark.parametrize(
    ("member", "algorithm"),
    [
        (ECKey.generate_key("P-384").as_dict(), "ES256"),
        (ECKey.generate_key("secp256k1").as_dict(), "ES256"),
        (OKPKey.generate_key("Ed448").as_dict(), "EdDSA"),
        (OKPKey.generate_key("X25519").as_dict(), "Ed25519"),
        ({"kty": "EC", "crv": ["P-256"]}, "ES256"),
        ({"kty": ["EC"], "crv": {}}, "ES256"),
    ],
)
def test_a_key_of_another_curve_fits_nothing(member: dict[str, object], algorithm: str) -> None:
    with pytest.raises(ValueError, match="not a key for"):
        jose.load_key(member, algorithm)
