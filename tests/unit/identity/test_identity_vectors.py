"""Standards' own vectors against the strict forms: Wycheproof, the JOSE cookbook, JSONTestSuite."""

import base64
import json
from pathlib import Path

import pytest
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from remit.identity.settings import OidcIssuer
from remit.identity.tokens import jose, strict_json
from remit.identity.tokens.keys import read_key_set
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

VECTORS = Path(__file__).parents[2] / "vectors"
WYCHEPROOF = json.loads((VECTORS / "wycheproof/json_web_signature_test.json").read_text())
WYCHEPROOF_KEYS = json.loads((VECTORS / "wycheproof/json_web_key_test.json").read_text())
JSON_CASES = json.loads((VECTORS / "json-parsing/JSONTestSuite.json").read_text())["cases"]

CASES = [(group, test) for group in WYCHEPROOF["testGroups"] for test in group["tests"]]
INVALID = [(group, test) for group, test in CASES if test["result"] == "invalid"]
VALID = [(group, test) for group, test in CASES if test["result"] == "valid"]

# Wycheproof calls these valid and strict readers do not: the key is bound to another algorithm than the header's
# (346, 350), or to `ES521`, which no standard names (347, 351); a stray character stands inside base64 (372, 373)
VALID_YET_REFUSED = {346, 347, 350, 351, 372, 373}
SYMMETRIC = {test["tcId"] for group, test in VALID if "public" not in group}
# called invalid for their padding, of which the published file has none left: they are test 357, which is valid
SAME_AS_357 = {367, 370}
ACCEPTED = 46 - len(VALID_YET_REFUSED | SYMMETRIC)


def _accepts(group: dict, text: str, *, symmetric: bool = False) -> bool:
    """As for an issuer with this one key. The product loads no symmetric key; `symmetric` loads it here."""
    member = group.get("public") or group["private"]
    algorithm = member.get("alg", "")
    try:
        form = jose.parse_compact(UnverifiedToken(text))
        if form.kid != member.get("kid", form.kid):
            return False
        if symmetric and member["kty"] == "oct":
            jws.deserialize_compact(text, OctKey.import_key({"kty": "oct", "k": member["k"]}), algorithms=[algorithm])
        else:
            jose.verify(form, jose.load_key(member, algorithm), algorithm)
    except (Refused, ValueError, JoseError):
        return False
    return True


def test_every_invalid_wycheproof_token_is_refused() -> None:
    assert len(INVALID) == 355
    assert [test["tcId"] for group, test in INVALID if _accepts(group, test["jws"])] == []


def test_every_valid_wycheproof_token_of_strict_form_and_a_public_key_is_accepted() -> None:
    assert len(VALID) == 46
    assert sum(_accepts(group, test["jws"]) for group, test in VALID) == ACCEPTED
    refused = {test["tcId"] for group, test in VALID if not _accepts(group, test["jws"])}
    assert refused == VALID_YET_REFUSED | SYMMETRIC


def test_the_strict_form_alone_suffices_for_tokens_with_a_symmetric_key() -> None:
    refused = {test["tcId"] for group, test in VALID if not _accepts(group, test["jws"], symmetric=True)}
    assert refused == VALID_YET_REFUSED
    texts = {test["tcId"]: test["jws"] for _, test in CASES}
    accepted = {test["tcId"] for group, test in INVALID if _accepts(group, test["jws"], symmetric=True)}
    assert accepted == SAME_AS_357
    assert {texts[number] for number in SAME_AS_357} == {texts[357]}


def _accepts_from_set(group: dict, text: str) -> bool:
    """As for an issuer that publishes this set, and signs with any algorithm that is supported."""
    document = group.get("public") or group["private"]
    issuer = OidcIssuer("any", "https://any.example", "us", algorithms=("RS256", "PS256", "ES256", "ES384", "EdDSA"))
    try:
        keys = read_key_set(document if "keys" in document else {"keys": [document]}, issuer)
        form = jose.parse_compact(UnverifiedToken(text))
        if form.kid not in keys:
            return False
        jose.verify(form, keys[form.kid], *issuer.algorithms)
    except (Refused, ValueError):
        return False
    return True


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # the library warns of small keys, we refuse
def test_a_wycheproof_set_of_keys_verifies_what_it_should_and_nothing_else() -> None:
    cases = [(group, test) for group in WYCHEPROOF_KEYS["testGroups"] for test in group["tests"]]
    assert len(cases) == 26
    assert [test["tcId"] for group, test in cases if _accepts_from_set(group, test["jws"])] == [5]
    # the other valid ones have symmetric keys, which no issuer publishes
    assert [test["tcId"] for _, test in cases if test["result"] == "valid"] == [2, 5, 13, 14, 15]


def test_the_cookbook_ed25519_signature_verifies() -> None:
    example = json.loads((VECTORS / "jose-cookbook/curve25519_jws.json").read_text())
    token = UnverifiedToken(example["output"]["compact"])
    with pytest.raises(Refused):
        jose.parse_compact(token)  # it names no key
    form = jose.Jws(token, "EdDSA", "key", "", example["input"]["payload"].encode())
    jose.verify(form, jose.load_key(example["input"]["key"], "EdDSA"), "EdDSA")


@pytest.mark.parametrize("name", ["jws_4_1.rsa_v15_signature", "jws_4_2.rsa-pss_signature", "jws_4_3.ecdsa_signature"])
def test_cookbook_signatures_verify(name: str) -> None:
    example = json.loads((VECTORS / f"jose-cookbook/{name}.json").read_text())
    form = jose.parse_compact(UnverifiedToken(example["output"]["compact"]))
    algorithm = example["input"]["alg"]
    jose.verify(form, jose.load_key(example["input"]["key"], algorithm), algorithm)
    assert form.payload.decode() == example["input"]["payload"]
    assert form.kid == example["input"]["key"]["kid"]


def test_cookbook_detached_content_does_not_verify() -> None:
    example = json.loads((VECTORS / "jose-cookbook/jws_4_5.signature_with_detached_content.json").read_text())
    form = jose.parse_compact(UnverifiedToken(example["output"]["compact"]))
    with pytest.raises(Refused) as refused:
        jose.verify(form, OctKey.import_key({"kty": "oct", "k": example["input"]["key"]["k"]}), "HS256")
    assert refused.value.reason is Reason.TOKEN_SIGNATURE


def _parses(case: dict) -> bool:
    try:
        strict_json.parse(base64.b64decode(case["b64"]))
    except ValueError:
        return False
    return True


def test_all_json_that_must_be_refused_is() -> None:
    cases = [case for case in JSON_CASES if case["expect"] == "reject"]
    assert len(cases) == 188
    assert [case["name"] for case in cases if _parses(case)] == []


def test_all_json_that_must_be_accepted_is_but_for_members_that_stand_twice() -> None:
    cases = [case for case in JSON_CASES if case["expect"] == "accept"]
    assert len(cases) == 95
    assert {Path(case["name"]).stem for case in cases if not _parses(case)} == {
        "y_object_duplicated_key",
        "y_object_duplicated_key_and_value",
    }


def test_json_that_parsers_may_read_either_way_never_does_worse_than_a_refusal() -> None:
    undecided = [case for case in JSON_CASES if case["expect"] not in {"accept", "reject"}]
    assert len(undecided) == 57
    accepted = {Path(case["name"]).stem for case in undecided if _parses(case)}
    assert not {name for name in accepted if "surrogate" in name or "BOM" in name or "huge_exp" in name}
