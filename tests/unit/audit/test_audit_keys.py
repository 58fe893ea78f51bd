import os
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from remit.audit.keys import load_key, make_key
from remit.model.errors import SettingsInvalid


def test_a_key_is_made_once_and_loads_again(tmp_path):
    path = tmp_path / "audit" / "ledger.key"
    made = make_key(path, "contoso.example/remit")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(load_key(path, "contoso.example/remit").verifier) == str(made.verifier)
    before = path.read_bytes()
    with pytest.raises(SettingsInvalid, match="never replaced"):
        make_key(path, "contoso.example/remit")
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_key_that_others_reach_is_refused(tmp_path, mode):
    path = tmp_path / "ledger.key"
    make_key(path, "contoso.example/remit")
    path.chmod(mode)
    with pytest.raises(SettingsInvalid, match="reached by others") as refused:
        load_key(path, "contoso.example/remit")
    assert "chmod 600" in refused.value.hint


def test_another_users_key_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "ledger.key"
    make_key(path, "contoso.example/remit")
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(SettingsInvalid, match="reached by others"):
        load_key(path, "contoso.example/remit")


def test_a_key_behind_a_link_and_a_missing_one_are_refused(tmp_path):
    make_key(tmp_path / "ledger.key", "contoso.example/remit")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "ledger.key")
    for path in (link, tmp_path / "missing"):
        with pytest.raises(SettingsInvalid, match="cannot be opened"):
            load_key(path, "contoso.example/remit")


def test_what_is_no_ed25519_key_is_refused(tmp_path):
    path = tmp_path / "ledger.key"
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for content, says in ((b"garbage", "not a PEM"), (other, "not an Ed25519")):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(SettingsInvalid, match=says):
            load_key(path, "contoso.example/remit")


def test_an_origin_that_names_no_log_is_refused(tmp_path):
    path = tmp_path / "ledger.key"
    make_key(path, "contoso.example/remit")
    with pytest.raises(SettingsInvalid, match="cannot name a log"):
        load_key(path, "two words")
