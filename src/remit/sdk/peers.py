"""Whose process is at the other end of a loopback connection (proc(5), /proc/net/tcp and tcp6).

The sidecar's doors stand on loopback, which all users of a host share: only the user who started it may enter.
Processes of one user are not told apart (DESIGN section 7). A client with a dual-stack socket (gRPC's C core) stands in
the second table, its IPv4 addresses mapped.
"""

from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_MAPPED = "0000000000000000FFFF0000"  # ::ffff:0:0/96, as the kernel prints it on a little-endian machine
_LOCAL, _REMOTE, _UID = 1, 2, 7  # columns of the tables


def owner(client: tuple[str, int], server: tuple[str, int], tables: tuple[Path, ...] = _TABLES) -> int | None:
    """The user id that owns the client's end of an IPv4 connection; `None` when the kernel does not list it."""
    ends = (_hex(client), _hex(server))
    wanted = (ends, (_MAPPED + ends[0], _MAPPED + ends[1]))
    for table in tables:
        if not table.exists():  # a kernel without IPv6
            continue
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            columns = line.split()
            if (columns[_LOCAL], columns[_REMOTE]) in wanted:
                return int(columns[_UID])
    return None


def _hex(address: tuple[str, int]) -> str:
    """`127.0.0.1`, 80 is `0100007F:0050`: the address in host byte order (little endian on x86-64)."""
    host, port = address
    octets = bytes(int(part) for part in host.split("."))
    return f"{octets[::-1].hex().upper()}:{port:04X}"
