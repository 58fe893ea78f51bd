"""The door's authority: for its hosts only, kept private, renewed in time, never widened unseen."""

import datetime as dt
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from remit.gateway.certificates import ensure
from remit.model.errors import RemitError

HOSTS = ("us-central1-aiplatform.googleapis.com", "logging.googleapis.com")
NOW = dt.datetime.now(dt.UTC)


def load(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_what_is_made(tmp_path):
    files = ensure(tmp_path / "door", HOSTS, NOW)
    authority, leaf = load(files.authority), load(files.certificate)
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert {name.value for name in constraints.value.permitted_subtrees} == set(HOSTS)
    assert len(constraints.value.excluded_subtrees) == 2
    assert 89 < (leaf.not_valid_after_utc - NOW) / dt.timedelta(days=1) <= 90
    leaf.verify_directly_issued_by(authority)
    for private in (files.key, files.authority.with_name("ca.key")):
        assert private.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "door").stat().st_mode & 0o777 == 0o700


def test_endpoint_and_service_names_are_hosts_like_any_other(tmp_path):
    """The authority is good for them too, and a later one needs another authority: clients are never widened unseen."""
    names = (*HOSTS, "us.gateway.example.com", "board.example.com")
    files = ensure(tmp_path, names, NOW)
    constraints = load(files.authority).extensions.get_extension_for_class(x509.NameConstraints).value
    assert {name.value for name in constraints.permitted_subtrees} == set(names)
    for name in names:
        shake(files, name, files.authority)
    with pytest.raises(RemitError, match=r"not made for `model\.example\.com`"):
        ensure(tmp_path, (*names, "model.example.com"), NOW)


def test_a_good_leaf_stays(tmp_path):
    first = ensure(tmp_path, HOSTS, NOW).certificate.read_bytes()
    assert ensure(tmp_path, HOSTS, NOW + dt.timedelta(days=59)).certificate.read_bytes() == first


@pytest.mark.parametrize("days", [61, 200])
def test_an_old_leaf_is_renewed_and_the_authority_is_not(tmp_path, days):
    files = ensure(tmp_path, HOSTS, NOW)
    before, authority = files.certificate.read_bytes(), files.authority.read_bytes()
    ensure(tmp_path, HOSTS, NOW + dt.timedelta(days=days))
    assert files.certificate.read_bytes() != before
    assert files.authority.read_bytes() == authority


def test_fewer_hosts_need_another_leaf_only(tmp_path):
    files = ensure(tmp_path, HOSTS, NOW)
    authority = files.authority.read_bytes()
    ensure(tmp_path, HOSTS[:1], NOW)
    names = load(files.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOSTS[0]]
    assert files.authority.read_bytes() == authority


def test_more_hosts_are_refused(tmp_path):
    ensure(tmp_path, HOSTS[:1], NOW)
    with pytest.raises(RemitError, match="not made for `logging") as caught:
        ensure(tmp_path, HOSTS, NOW)
    assert "move" in caught.value.hint


def test_an_expired_authority(tmp_path):
    ensure(tmp_path, HOSTS, NOW)
    with pytest.raises(RemitError, match="expired"):
        ensure(tmp_path, HOSTS, NOW + dt.timedelta(days=1826))


def test_a_key_of_another_leaf_is_replaced(tmp_path):
    files = ensure(tmp_path / "a", HOSTS, NOW)
    files.key.write_bytes(ensure(tmp_path / "b", HOSTS, NOW).key.read_bytes())
    before = files.certificate.read_bytes()
    ensure(tmp_path / "a", HOSTS, NOW)
    assert files.certificate.read_bytes() != before


def test_a_lost_or_foreign_authority_key(tmp_path):
    files = ensure(tmp_path, HOSTS, NOW)
    files.certificate.unlink()
    key = tmp_path / "ca.key"
    key.unlink()
    with pytest.raises(RemitError, match="does not hold a private key"):
        ensure(tmp_path, HOSTS, NOW)
    foreign = ed25519.Ed25519PrivateKey.generate()
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(foreign.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    with pytest.raises(RemitError, match="another kind"):
        ensure(tmp_path, HOSTS, NOW)


def shake(server_files, host, roots):
    """A TLS handshake in memory, with all strictness that Python offers."""
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(server_files.certificate, server_files.key)
    trusting = ssl.create_default_context(cafile=str(roots))
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    import socket

    left, right = socket.socketpair()

    def serve():
        try:
            served.wrap_socket(left, server_side=True).close()
        except OSError:
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        trusting.wrap_socket(right, server_hostname=host).close()
    finally:
        right.close()
        thread.join()


def test_strict_clients_accept_the_hosts(tmp_path):
    files = ensure(tmp_path, HOSTS, NOW)
    for host in HOSTS:
        shake(files, host, files.authority)


def test_the_authority_is_good_for_nothing_else(tmp_path, monkeypatch):
    """Even a leaf that it signs for another host is refused by its own constraint."""
    from remit.gateway import certificates

    files = ensure(tmp_path, HOSTS, NOW)
    authority = load(files.authority)
    certificates._make_leaf(files, authority, tmp_path / "ca.key", ("storage.googleapis.com",), NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
        shake(files, "storage.googleapis.com", files.authority)
