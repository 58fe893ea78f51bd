"""`remit run` where the company reads along: pip and Hugging Face go on through its proxy, whose authority they trust.

The proxy opens every TLS connection and answers with a certificate of its own authority, as TLS inspection does; what
the clouds' hosts get is told in `test_sdk_tunnel.py`. Both programs are the real ones, in processes of their own.
"""

import base64
import hashlib
import io
import os
import ssl
import sys
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.sdk.conftest import SignedIn, configuration

from remit.lab import certificates
from remit.sdk.run import run

INDEX, HUB = "packages.corp.example", "huggingface.co"
COMMIT = "5" * 40
WEIGHTS = b'{"layers": 3}'


def wheel() -> bytes:
    """A wheel with one module and nothing else."""
    files = {
        "tiny.py": "answer = 42\n",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{name},sha256={_digest(text)},{len(text)}" for name, text in files.items()]
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr("tiny-1.0.dist-info/RECORD", "\n".join([*rows, "tiny-1.0.dist-info/RECORD,,\n"]))
    return kept.getvalue()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


WHEEL = wheel()
LINK = f'<a href="/files/tiny-1.0-py3-none-any.whl#sha256={hashlib.sha256(WHEEL).hexdigest()}">tiny</a>'
FILE = {"etag": '"a"', "x-repo-commit": COMMIT}
ANSWERS = {
    (INDEX, "/simple/tiny/"): ("text/html", f"<html><body>{LINK}</body></html>".encode(), {}),
    (INDEX, "/files/tiny-1.0-py3-none-any.whl"): ("application/octet-stream", WHEEL, {}),
    (HUB, "/contoso/tiny/resolve/main/config.json"): ("application/json", WEIGHTS, FILE),
}


class Corporate(ThreadingHTTPServer):
    """The company's proxy. `authority`: its own, which everybody's machine trusts; `asked`: host and path."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Inspecting)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.authority = folder / "corporate.pem"
        self.tls = _inspecting(self.authority, folder / "inspecting.pem")
        self.asked: list[tuple[str, str]] = []

    def handle_error(self, *_: object) -> None:
        """Says nothing: who does not trust the company hangs up."""


class _Inspecting(BaseHTTPRequestHandler):
    server: Corporate
    protocol_version = "HTTP/1.1"
    host = ""

    def do_CONNECT(self) -> None:
        self.host = self.path.partition(":")[0]
        self.send_response(200)
        self.end_headers()
        self.connection = self.request = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append((self.host, path))
        kind, body, headers = ANSWERS.get((self.host, path), ("text/plain", b"", {}))
        self.send_response(200 if (self.host, path) in ANSWERS else 404)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def finish(self) -> None:
        super().finish()
        self.connection.close()  # the server closes the one that it took, which TLS has taken over

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _inspecting(authority: Path, own: Path) -> ssl.SSLContext:
    """A context with a certificate for both hosts; its authority is written to its file."""
    now, name = datetime.now(UTC), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Corporate inspection")])
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def certificate(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder(name, subject, public, x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )

    identifier = x509.SubjectKeyIdentifier.from_public_key(root.public_key())
    signs = {"digital_signature": False, "content_commitment": False, "key_encipherment": False}
    signs |= {"data_encipherment": False, "key_agreement": False, "encipher_only": False, "decipher_only": False}
    made = (
        certificate(name, root.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **signs), critical=True)
        .add_extension(identifier, critical=False)
        .sign(root, hashes.SHA256())
    )
    authority.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    names = x509.SubjectAlternativeName([x509.DNSName(INDEX), x509.DNSName(HUB)])
    leaf = (
        certificate(x509.Name([]), key.public_key())
        .add_extension(names, critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(root, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    own.write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own)
    return context


@pytest.fixture
def corporate(tmp_path: Path) -> Iterator[Corporate]:
    with Corporate(tmp_path) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()


@pytest.fixture
def signed_in(installation, tmp_path) -> SignedIn:
    """As elsewhere, with a real certificate of the door's authority: OpenSSL reads the whole bundle."""
    door = certificates.ensure(tmp_path).authority.read_text()
    return SignedIn(configuration(installation.url, ca_pem=door))


@pytest.fixture(autouse=True)
def _registers(installation):
    installation.say("/v1/jobs", {"grants": [], "outlived": [], "lasting": 0})


def at_work(corporate, tmp_path, trusted):
    """A machine of the company's: `trusted` names the variables by which its programs trust the company's authority."""
    own = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "own"), "PIP_CONFIG_FILE": os.devnull}
    kept = {"PATH": os.environ["PATH"], **own}
    return {**kept, "HTTPS_PROXY": corporate.url, **dict.fromkeys(trusted, str(corporate.authority))}


PIP = ["-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--index-url", f"https://{INDEX}/simple/"]


@pytest.mark.parametrize("trusted", [("PIP_CERT",), ("REQUESTS_CA_BUNDLE",), ("SSL_CERT_FILE",)], ids=" ".join)
def test_pip_installs_through_the_company_s_proxy(signed_in, corporate, tmp_path, trusted):
    place = tmp_path / "packages"
    command = [sys.executable, *PIP, "--target", str(place), "tiny"]
    assert run(command, "contoso-fraud-test", signed_in, at_work(corporate, tmp_path, trusted)) == 0
    assert (place / "tiny.py").read_text() == "answer = 42\n"
    assert {host for host, _ in corporate.asked} == {INDEX}


def test_pip_s_own_file_counts_as_it_did(signed_in, corporate, tmp_path):
    (tmp_path / "pip.conf").write_text(f"[global]\ncert = {corporate.authority}\n")
    place = tmp_path / "packages"
    command = [sys.executable, *PIP, "--target", str(place), "tiny"]
    environment = {**at_work(corporate, tmp_path, ()), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    assert run(command, "contoso-fraud-test", signed_in, environment) == 0
    assert (place / "tiny.py").exists()


DOWNLOAD = """
import sys
from huggingface_hub import hf_hub_download
print(hf_hub_download("contoso/tiny", "config.json", cache_dir=sys.argv[1]))
"""


@pytest.mark.parametrize("trusted", [("SSL_CERT_FILE",), ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")], ids=" ".join)
def test_hugging_face_downloads_through_the_company_s_proxy(signed_in, corporate, tmp_path, trusted):
    command = [sys.executable, "-c", DOWNLOAD, str(tmp_path / "hub")]
    assert run(command, "contoso-fraud-test", signed_in, at_work(corporate, tmp_path, trusted)) == 0
    found = tmp_path / "hub" / "models--contoso--tiny" / "snapshots" / COMMIT / "config.json"
    assert found.read_bytes() == WEIGHTS
    assert {host for host, _ in corporate.asked} == {HUB}


def test_what_the_machine_does_not_trust_the_run_does_not_either(signed_in, corporate, tmp_path, capfd):
    command = [sys.executable, *PIP, "--retries", "0", "--target", str(tmp_path / "packages"), "tiny"]
    assert run(command, "contoso-fraud-test", signed_in, at_work(corporate, tmp_path, ())) == 1
    assert "CERTIFICATE_VERIFY_FAILED" in "".join(capfd.readouterr())
    assert corporate.asked == []
