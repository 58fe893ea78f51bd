"""Remit's own issuer: its keys, what it signs, and who goes that way."""

import base64
import json
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwk, jwt
from joserfc.errors import JoseError

from remit.credentials import own_keys
from remit.credentials.own_issuer import OwnIssuer
from remit.credentials.purpose import CLOUD_PLATFORM
from remit.model.credential import Purpose
from remit.model.errors import HopFailed, SettingsInvalid
from remit.model.identity import Kind, Principal
from remit.model.reasons import Reason
from remit.model.secret import Secret, UnverifiedToken

URL = "https://remit.contoso.example"
AUDIENCE = "https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/remit"
PURPOSE = Purpose("ml-engineer@contoso-fraud-test.iam.gserviceaccount.com", (CLOUD_PLATFORM,))
Tell = Callable[..., None]


@pytest.fixture
def issuer(own_folder: Path) -> OwnIssuer:
    return OwnIssuer(URL, own_folder)


def opened(issuer: OwnIssuer, token: Secret) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, by a library that had no part in it."""
    keys = jwk.KeySet.import_key_set(issuer.jwks())  # type: ignore[arg-type] - plain JSON
    read = jwt.decode(token.reveal(), keys, algorithms=["RS256"])
    return read.header, read.claims


def test_what_it_signs(issuer: OwnIssuer, somebody: Any) -> None:
    who = somebody(1, "Pipeline", "Another", kind=Kind.WORKLOAD, groups=frozenset({"b", "a"}))
    token = issuer.sign(who, AUDIENCE)
    header, claims = opened(issuer, token)
    assert header == {"alg": "RS256", "typ": "JWT", "kid": header["kid"]}
    assert abs(claims["exp"] - time.time() - 600) < 3
    assert claims["iat"] == claims["nbf"] == claims["exp"] - 605
    assert {name: claims[name] for name in ("iss", "sub", "aud", "tenant", "kind", "groups", "roles")} == {
        "iss": URL,
        "sub": who.principal.key,
        "aud": AUDIENCE,
        "tenant": who.principal.tenant,
        "kind": "workload",
        "groups": ["a", "b"],
        "roles": ["Another", "Pipeline"],
    }
    assert claims["jti"] != opened(issuer, issuer.sign(who, AUDIENCE))[1]["jti"]
    assert token.reveal() not in repr(token)


def test_the_documents(issuer: OwnIssuer) -> None:
    document = issuer.discovery()
    assert document["issuer"] == URL
    assert document["jwks_uri"] == f"{URL}/.well-known/jwks.json"
    [key] = issuer.jwks()["keys"]  # type: ignore[misc] - plain JSON
    assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}
    assert key["kid"] == jwk.RSAKey.import_key(key).thumbprint()
    assert len(base64.urlsafe_b64decode(key["n"] + "==")) >= 256


@pytest.mark.parametrize("url", ["http://remit.contoso.example", f"{URL}/"])
def test_an_issuer_is_an_https_url(own_folder: Path, url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        OwnIssuer(url, own_folder)


@pytest.mark.parametrize("lifetime", [0, -1, 601])
def test_a_subject_token_is_short_lived(issuer: OwnIssuer, somebody: Any, lifetime: int) -> None:
    with pytest.raises(ValueError, match="1 to 600"):
        issuer.sign(somebody(), AUDIENCE, lifetime)


def _as(identity: Any, tenant: str, subject: str) -> Any:
    return replace(identity, principal=Principal(URL, tenant, subject, Kind.WORKLOAD))


@pytest.mark.parametrize(
    ("tenant", "subject"),
    [("okta", "x" * 123), ("okta", "ä" * 62), ("okta", ""), ("", "x"), ("a/b", "c")],
)
def test_subjects_that_are_not_vouched_for(issuer: OwnIssuer, somebody: Any, tenant: str, subject: str) -> None:
    with pytest.raises(HopFailed) as refused:
        issuer.sign(_as(somebody(), tenant, subject), AUDIENCE)
    assert (refused.value.hop, refused.value.reason) == ("own-issuer", Reason.EXCHANGE_REFUSED)
    assert "x" * 20 not in refused.value.message
    issuer.sign(_as(somebody(), "okta", "x" * 122), AUDIENCE)


def test_groups_are_bounded_and_may_be_chosen(own_folder: Path, somebody: Any) -> None:
    many = frozenset(f"g{number}" for number in range(401))
    long = frozenset("g" * 100 + str(number) for number in range(80))
    for groups in (many, long):
        with pytest.raises(HopFailed, match="cannot be told to google") as refused:
            OwnIssuer(URL, own_folder).sign(somebody(groups=groups), AUDIENCE)
        assert "own_groups" in refused.value.hint
    chosen = OwnIssuer(URL, own_folder, groups=frozenset({"g7", "elsewhere"}))
    assert opened(chosen, chosen.sign(somebody(groups=many), AUDIENCE))[1]["groups"] == ["g7"]
    assert chosen.vouched(somebody()) == ()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_keys, "BITS", 2048)  # they are quicker to make


def test_a_key_is_made_once_and_is_nobody_elses(tmp_path: Path, small: None, somebody: Any) -> None:
    folder = tmp_path / "keys"
    first = OwnIssuer(URL, folder)
    [path] = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert OwnIssuer(URL, folder).jwks() == first.jwks()
    [key] = own_keys.OwnKeys(folder, time.time).published()
    assert repr(key) == f"<OwnKey {key.kid}>"


def test_two_processes_that_start_at_once_have_one_key(tmp_path: Path, small: None) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: OwnIssuer(URL, tmp_path).jwks(), range(4)))
    assert all(each == found[0] for each in found)
    assert len(list(tmp_path.iterdir())) == 1


def test_rotation_overlaps(tmp_path: Path, small: None, somebody: Any) -> None:
    now = [time.time()]
    issuer = OwnIssuer(URL, tmp_path, wall=lambda: now[0])
    beside = OwnIssuer(URL, tmp_path, wall=lambda: now[0])
    before = issuer.sign(somebody(), AUDIENCE)
    old = opened(issuer, before)[0]["kid"]
    new = issuer.rotate()
    # published at once by everybody, and it signs when readers have had their time
    assert beside.jwks() == issuer.jwks()
    assert len(issuer.jwks()["keys"]) == 2  # type: ignore[arg-type] - plain JSON
    assert opened(beside, beside.sign(somebody(), AUDIENCE))[0]["kid"] == old
    now[0] = time.time() + own_keys.SETTLE + 1  # making the key may have taken long
    assert opened(beside, beside.sign(somebody(), AUDIENCE))[0]["kid"] == new
    opened(beside, before)
    (tmp_path / "issuer-000001.pem").unlink()
    with pytest.raises(JoseError, match="No key"):
        opened(beside, before)


def _pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rubbish", "not a PEM private key"),
        (_pem(ec.generate_private_key(ec.SECP256R1())), "not an RSA key"),
        (_pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "not an RSA key"),  # noqa: S505 - refused
    ],
)
def test_files_that_are_no_key(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "issuer-000001.pem"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(SettingsInvalid, match=message):
        OwnIssuer(URL, tmp_path)


def test_keys_that_others_reach_are_not_used(tmp_path: Path, small: None, somebody: Any) -> None:
    issuer = OwnIssuer(URL, tmp_path)
    path = tmp_path / "issuer-000001.pem"
    path.chmod(0o640)
    with pytest.raises(SettingsInvalid, match="reached by others") as refused:
        OwnIssuer(URL, tmp_path)
    assert refused.value.hint.startswith("chmod 600")
    path.chmod(0o600)
    os.utime(path, (1, 1))
    issuer.sign(somebody(), AUDIENCE)
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(SettingsInvalid, match="no key any more"):
        issuer.jwks()
    with pytest.raises(HopFailed) as failed:
        issuer.sign(somebody(), AUDIENCE)
    assert failed.value.reason is Reason.EXCHANGE_UNAVAILABLE
    (tmp_path / "issuer-000002.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsInvalid, match="cannot be opened"):
        OwnIssuer(URL, tmp_path)


def _subject(credential: Any) -> str:
    token: str = credential.token.reveal()
    return token.partition("|")[0].removeprefix("sa(fed(").removesuffix(")")


def test_who_goes_which_way(tell: Tell, somebody: Any) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        async def way(identity: Any, token: str | None) -> str:
            given = None if token is None else UnverifiedToken(token)
            return _subject(await obtainer.obtain(identity, given, PURPOSE))

        assert await way(somebody(1), "dana") == "obo(dana)"
        workload = somebody(2, "Pipeline", kind=Kind.WORKLOAD, groups=frozenset({"g"}))
        assert await way(workload, "mi") == f"own({workload.principal.key};g;Pipeline)"
        assert (await way(somebody(3, tenant="okta"), "t")).startswith("own(okta/")
        assert (await way(somebody(1, session="s"), None)).startswith(f"own({somebody(1).principal.key};")
        assert cloud.calls["azure-imds"] == 1
        assert cloud.calls["entra-obo"] == 1

    tell(story, own=True)


def test_whose_groups_entra_leaves_out_goes_by_remits_word(tell: Tell, somebody: Any) -> None:
    """Google asks nobody for groups that a token does not hold."""
    olga = somebody(1, groups=frozenset(f"g{number:03}" for number in range(201)))
    crowd = somebody(2, groups=frozenset(f"g{number:03}" for number in range(401)))

    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        assert _subject(await obtainer.obtain(olga, UnverifiedToken("olga"), PURPOSE)).startswith("own(")
        assert _subject(await obtainer.obtain(crowd, UnverifiedToken("crowd"), PURPOSE)) == "obo(crowd)"

    async def chosen(obtainer: Any, cloud: Any, clock: Any) -> None:
        found = _subject(await obtainer.obtain(crowd, UnverifiedToken("crowd"), PURPOSE))
        assert found == f"own({crowd.principal.key};g007;MLEngineer)"

    async def without(obtainer: Any, cloud: Any, clock: Any) -> None:
        assert _subject(await obtainer.obtain(olga, UnverifiedToken("olga"), PURPOSE)) == "obo(olga)"

    tell(story, own=True)
    tell(chosen, own=True, groups=frozenset({"g007"}))
    tell(without)


def test_a_narrower_identity_never_gets_a_wider_ones_token(tell: Tell, somebody: Any) -> None:
    """TH24, TH25: everything that Remit vouches for is part of the key, and so is what proved it."""
    kinds = {"kind": Kind.WORKLOAD}
    wide = somebody(1, "Pipeline", "Another", groups=frozenset({"a", "b"}), **kinds)
    token = UnverifiedToken("t")
    others = (
        (somebody(1, "Pipeline", groups=frozenset({"a", "b"}), **kinds), token),
        (somebody(1, "Pipeline", "Another", groups=frozenset({"a"}), **kinds), token),
        (somebody(1, "Pipeline", "Another", groups=frozenset({"ab"}), **kinds), token),
        (somebody(1, "PipelineAnother", groups=frozenset({"a", "b"}), **kinds), token),
        (somebody(1, "Pipeline", "Another", groups=frozenset({"a", "b"}), session="s", **kinds), token),
        (wide, UnverifiedToken("u")),
        (wide, None),
        (replace(wide, token_id="another"), token),
        (replace(wide, principal=replace(wide.principal, issuer="https://elsewhere.example")), token),
    )

    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        first = await obtainer.obtain(wide, token, PURPOSE)
        assert (await obtainer.obtain(wide, token, PURPOSE)).token == first.token
        seen = {first.token.reveal()}
        for identity, shown in others:
            seen.add((await obtainer.obtain(identity, shown, PURPOSE)).token.reveal())
        assert len(seen) == len(others) + 1
        assert cloud.calls["google-sts"] == len(others) + 1

    tell(story, own=True)


def test_what_google_refuses_or_cannot_do_is_named(tell: Tell, somebody: Any) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        cloud.override["google-sts"] = cloud.json({"error": "unauthorized_client"}, 400)
        with pytest.raises(HopFailed, match="`google-sts` answered 400 `unauthorized_client`"):
            await obtainer.obtain(somebody(tenant="okta"), None, PURPOSE)
        cloud.override.clear()
        obtainer._patience, cloud.pause = 0.05, 0.3
        with pytest.raises(HopFailed, match="`google-sts` did not answer within"):
            await obtainer.obtain(somebody(tenant="okta"), None, PURPOSE)
        with pytest.raises(HopFailed, match="google takes") as refused:
            await obtainer.obtain(_as(somebody(), "okta", "x" * 200), None, PURPOSE)
        assert refused.value.hop == "own-issuer"

    tell(story, own=True)


def test_the_applications_own_token_for_graph(tell: Tell) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        cloud.override["entra-obo"] = cloud.json({"token_type": "Bearer", "expires_in": 3599, "access_token": "own"})
        for scope in ("", "https://graph.microsoft.com/.default"):
            await obtainer._entra.own(Secret("assertion"), scope)
            assert cloud.seen[-1][2]["scope"] == (scope or "api://remit-google/.default")
            assert cloud.seen[-1][2]["grant_type"] == "client_credentials"

    tell(story)


def test_tokens_are_plain_jws(issuer: OwnIssuer, somebody: Any) -> None:
    parts = issuer.sign(somebody(), AUDIENCE).reveal().split(".")
    assert len(parts) == 3
    header = json.loads(base64.urlsafe_b64decode(parts[0] + "=="))
    assert header["alg"] == "RS256"
