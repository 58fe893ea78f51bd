"""A server of Azure SQL's first words, TDS 8.0: TLS first, then pre-login, then a login with a token in it.

It reads what Microsoft's driver puts on the wire and answers by the database that was asked for: it lets in, or refuses
as Azure SQL does. It knows nothing of SQL. Source: [MS-TDS] 2.2.6.4 (LOGIN7, FeatureExt, FEDAUTH), 2.2.6.5 (PRELOGIN),
2.2.7 (ERROR, DONE, ENVCHANGE, LOGINACK, FEATUREEXTACK).
"""

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_PRELOGIN, _LOGIN, _RESPONSE, _LAST = 18, 16, 4, 1  # packet types, the status of a message's last
_FEDAUTH, _END = 2, 0xFF  # features of a login
SECURITY_TOKEN = 1  # bFedAuthLibrary: the client has brought one
_DONE = b"\xfd" + struct.pack("<HHQ", 0, 0, 0)
_PRELOGIN_ANSWER = (
    (0, bytes([16, 0, 3, 232, 0, 0])),  # version
    (1, b"\0"),  # encryption: the connection is TLS already
    (6, b"\x01"),  # FEDAUTHREQUIRED
)


@dataclass(frozen=True, slots=True)
class Login:
    """What stood in a LOGIN7 message. `library`: how a token came, `None` when there was none."""

    database: str
    user: str
    password: str
    library: int | None
    token: str


class AzureSql:
    """The server, on a free port. `refusals`: database → number and message of an error; `logins` as they came."""

    def __init__(self, folder: Path, refusals: dict[str, tuple[int, str]]) -> None:
        self.logins: list[Login] = []
        self._refusals = refusals
        self.certificate, pair = _certificate(folder)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(pair)
        self._tls.set_alpn_protocols(["tds/8.0"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        """Nobody listens any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was shut down
            while True:
                raw, _ = self._listener.accept()
                with (
                    raw,
                    contextlib.suppress(OSError, EOFError),
                    self._tls.wrap_socket(raw, server_side=True) as client,
                ):
                    self._serve(client)

    def _serve(self, client: ssl.SSLSocket) -> None:
        assert client.selected_alpn_protocol() == "tds/8.0"
        kind, _ = _message(client)
        assert kind == _PRELOGIN
        _send(client, _prelogin())
        kind, body = _message(client)
        assert kind == _LOGIN
        login = _read(body)
        self.logins.append(login)
        if refused := self._refusals.get(login.database):
            _send(client, _error(*refused) + b"\xfd" + struct.pack("<HHQ", 2, 0, 0))
            return
        _send(client, _welcome(login.database))
        while _message(client):
            _send(client, _DONE)


def _exactly(client: ssl.SSLSocket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = client.recv(count - len(found))
        if not part:
            raise EOFError
        found += part
    return found


def _message(client: ssl.SSLSocket) -> tuple[int, bytes]:
    """A whole message, of as many packets as it has."""
    body = b""
    while True:
        kind, status, length = struct.unpack(">BBH4x", _exactly(client, 8))
        body += _exactly(client, length - 8)
        if status & _LAST:
            return kind, body


def _send(client: ssl.SSLSocket, body: bytes) -> None:
    client.sendall(struct.pack(">BBHHBB", _RESPONSE, _LAST, len(body) + 8, 0, 1, 0) + body)


def _prelogin() -> bytes:
    heads, data, start = b"", b"", len(_PRELOGIN_ANSWER) * 5 + 1
    for kind, value in _PRELOGIN_ANSWER:
        heads += struct.pack(">BHH", kind, start + len(data), len(value))
        data += value
    return heads + bytes([_END]) + data


def _read(body: bytes) -> Login:
    def text(at: int) -> str:
        place, length = struct.unpack_from("<HH", body, at)
        return body[place : place + 2 * length].decode("utf-16-le")

    library, token = None, ""
    (pointer,) = struct.unpack_from("<H", body, 56)
    (at,) = struct.unpack_from("<I", body, pointer)
    while body[at] != _END:
        feature, length = struct.unpack_from("<BI", body, at)
        if feature == _FEDAUTH:
            options, size = struct.unpack_from("<BI", body, at + 5)
            library = options >> 1
            token = body[at + 10 : at + 10 + size].decode("utf-16-le")
            assert length == size + 5
        at += 5 + length
    return Login(text(68), text(40), text(44), library, token)


def _error(number: int, message: str) -> bytes:
    body = struct.pack("<IBBH", number, 1, 14, len(message)) + message.encode("utf-16-le")
    body += _named("contoso") + b"\0" + struct.pack("<I", 1)
    return b"\xaa" + struct.pack("<H", len(body)) + body


def _welcome(database: str) -> bytes:
    server, collation = "Microsoft SQL Server", bytes([0x09, 0x04, 0xD0, 0x00, 0x34])  # SQL_Latin1_General_CP1_CI_AS
    body = b"\x01" + struct.pack(">I", 0x08000000) + _named(server) + bytes([16, 0, 3, 232])
    acknowledged = b"\xae" + struct.pack("<BI", _FEDAUTH, 0) + bytes([_END])
    size = b"\x04" + _named("8000") + _named("4096")
    changes = (b"\x01" + _named(database) + b"\0", size, b"\x07\x05" + collation + b"\0")
    environment = b"".join(b"\xe3" + struct.pack("<H", len(each)) + each for each in changes)
    return environment + b"\xad" + struct.pack("<H", len(body)) + body + acknowledged + _DONE


def _named(text: str) -> bytes:
    """B_VARCHAR: its length in characters, then UTF-16."""
    return struct.pack("<B", len(text)) + text.encode("utf-16-le")


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for `localhost` that nobody vouches for, and the same with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now, names = dt.datetime.now(dt.UTC), [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    public = made.public_bytes(serialization.Encoding.PEM)
    certificate, pair = folder / "server.cer", folder / "pair.pem"
    certificate.write_bytes(public)
    pair.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, none) + public)
    return certificate, pair
