"""Whose process is at the other end of a connection on this machine (sock_diag(7), proc(5), unix(7)).

The sidecar's doors stand on loopback, which all users of a host share: only the user who started it may enter. The
kernel is asked about the one connection; where it does not answer, its list of all is read (`/proc/net/tcp` and
`tcp6`), which takes 20 ms where thousands are listed. Where it lists none (not Linux, some sandboxes) nothing is told
apart here, and the secret that every door demands has to do. Processes of one user are not told apart (DESIGN section
7). A client with a dual-stack socket (gRPC's C core) has its IPv4 addresses mapped. An end that its process has closed
is listed as root's, with no inode: it is nobody's.
"""

import contextlib
import socket
import struct
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_MAPPED = "0000000000000000FFFF0000"  # ::ffff:0:0/96, as the kernel prints it on a little-endian machine
_LOCAL, _REMOTE, _UID, _INODE = 1, 2, 7, 9  # columns of the tables

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG (linux/netlink.h)
_BY_FAMILY, _REQUEST = 20, 1  # SOCK_DIAG_BY_FAMILY (linux/sock_diag.h), NLM_F_REQUEST
_EVERY = 0xFFFF_FFFF  # states, and no cookie (linux/inet_diag.h)
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ASKED = struct.Struct("=BBBxI")  # inet_diag_req_v2 to its socket id: family, protocol, extensions, states
_SOCKET = struct.Struct("=4s16s16sIII")  # inet_diag_sockid: ports, local and remote address, interface, cookie
_ANSWER = struct.Struct("=4x4s16s16s12x12xII")  # inet_diag_msg: the same, then timers and queues, user, inode
_CREDENTIALS = struct.Struct("=3i")  # struct ucred: process, user, group
_PATIENCE = 1.0  # seconds: the kernel answers at once
_MOST = 8192  # bytes


def owner(client: tuple[str, int], server: tuple[str, int], tables: tuple[Path, ...] = _TABLES) -> int | None:
    """The user id that owns the client's end of an IPv4 connection; `None` when the kernel does not list it."""
    with contextlib.suppress(OSError, LookupError):
        return _asked(client, server)
    ends = (_hex(client), _hex(server))
    wanted = (ends, (_MAPPED + ends[0], _MAPPED + ends[1]))
    for table in tables:
        if not table.exists():  # a kernel without IPv6
            continue
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            columns = line.split()
            if (columns[_LOCAL], columns[_REMOTE]) in wanted:
                return int(columns[_UID]) if columns[_INODE] != "0" else None
    return None


def uid_of(connection: socket.socket) -> int:
    """The user id of the process at the other end of a Unix connection: who listened or connected (unix(7))."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])


def tells(tables: tuple[Path, ...] = _TABLES) -> bool:
    """Whether this kernel says whose a connection is."""
    return any(table.exists() for table in tables)


def _asked(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The same, of the kernel; raises `OSError` or `LookupError` when it says nothing of this very connection."""
    ports = struct.pack("!HH", client[1], server[1])
    near, far = socket.inet_aton(client[0]), socket.inet_aton(server[0])
    question = _ASKED.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, _EVERY)
    question += _SOCKET.pack(ports, near, far, 0, _EVERY, _EVERY)
    header = _HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST, 1, 0)
    family = getattr(socket, "AF_NETLINK", None)  # Linux's alone
    if family is None:
        raise LookupError
    with socket.socket(family, socket.SOCK_DGRAM, _SOCK_DIAG) as kernel:
        kernel.settimeout(_PATIENCE)
        kernel.sendto(header + question, (0, 0))
        answer, sender = kernel.recvfrom(_MOST)
    if sender[0] != 0 or len(answer) < _HEADER.size + _ANSWER.size or _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
        raise LookupError
    about, local, remote, user, inode = _ANSWER.unpack_from(answer, _HEADER.size)
    mapped = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96
    pairs = ((near + bytes(12), far + bytes(12)), (mapped + near, mapped + far))
    if about != ports or (local, remote) not in pairs:  # a listener with the client's port
        raise LookupError
    return int(user) if inode else None


def _hex(address: tuple[str, int]) -> str:
    """`127.0.0.1`, 80 is `0100007F:0050`: the address in host byte order (little endian on x86-64)."""
    host, port = address
    octets = bytes(int(part) for part in host.split("."))
    return f"{octets[::-1].hex().upper()}:{port:04X}"
