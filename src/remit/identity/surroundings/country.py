"""Which country an address lies in, by a MaxMind DB file that the installation brings: none is shipped.

Any database whose records hold `country.iso_code` (GeoLite2 and GeoIP2 Country and City, DB-IP). The file is read into
memory, so that one that is overwritten in place cannot bring the process down, and read anew when it changes; one that
cannot be read leaves the last one in force. Source: maxmind.github.io/MaxMind-DB. Leaves out: fetching it.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import maxminddb

MAX_FILE = 512 * 1024 * 1024  # bytes: GeoIP2 City, the largest with countries, has 120 MiB
REMEMBERED = 4096  # addresses; a look-up costs some ten microseconds

_CODE = re.compile(r"[A-Z]{2}")

_Stamp = tuple[int, int, int]


class Countries:
    """Looks addresses up in `path`; `None` for an installation without a database. Call `refresh` before, and often."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._reader: maxminddb.Reader | None = None
        self._stamp: _Stamp | None = None
        self._remembered: dict[str, str] = {}
        self.trouble = ""

    @property
    def known(self) -> bool:
        """Whether there is a database at all."""
        return self._reader is not None

    def refresh(self) -> None:
        """Reads the file when it is new or has changed; blocks. What is wrong with it is in `trouble`."""
        if self._path is None:
            return
        try:
            status = self._path.stat()
            stamp = status.st_mtime_ns, status.st_ino, status.st_size
            if stamp == self._stamp:
                return
            reader = maxminddb.open_database(_bounded(self._path, status.st_size), maxminddb.MODE_MEMORY)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            self.trouble = f"the country database `{self._path}` cannot be read: {type(error).__name__}"
            return
        self._reader, self._stamp, self._remembered, self.trouble = reader, stamp, {}, ""

    def of(self, address: IPv4Address | IPv6Address) -> str:
        """ISO 3166-1 alpha-2, upper case; empty when unknown."""
        reader, remembered = self._reader, self._remembered
        if reader is None:
            return ""
        text = str(address)
        code = remembered.get(text)
        if code is None:
            code = _look_up(reader, address)
            if len(remembered) >= REMEMBERED:
                remembered.clear()
            remembered[text] = code
        return code


def _bounded(path: Path, size: int) -> Path:
    if size > MAX_FILE:
        raise ValueError("larger than any database of countries")
    return path


def _look_up(reader: maxminddb.Reader, address: IPv4Address | IPv6Address) -> str:
    try:
        record = reader.get(address)
    except (ValueError, maxminddb.InvalidDatabaseError):  # an IPv6 address in a database of IPv4, or a broken record
        return ""
    country = record.get("country") if isinstance(record, dict) else None
    code = country.get("iso_code") if isinstance(country, dict) else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""
