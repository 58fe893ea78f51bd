"""Which certificates pip was told to trust: `PIP_CERT`, or `cert` in one of its files.

The copy of requests inside pip takes `REQUESTS_CA_BUNDLE` before both (requests' issue 3829), so a bundle that names
the first must hold the second too, or pip stops working behind a company's TLS inspection. Leaves out `--cert`, which
the same variable beats, and files of a virtual environment that is not active. Other than for pip, a file that no
variable of pip's names, and what any file names, count by an absolute path only: else whoever wrote the folder that a
run begins in could say whom requests trusts.
Source: https://pip.pypa.io/en/stable/topics/configuration/
"""

import configparser
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_SYSTEM = Path("/etc")
_SECTIONS = ("install", "download", "global")  # a command's own comes before the one for all


def pip_certificates(environment: Mapping[str, str]) -> str:
    """The file that pip trusts by its own settings, empty where it has none."""
    if environment.get("PIP_CERT"):
        return environment["PIP_CERT"]
    if environment.get("PIP_CONFIG_FILE") == os.devnull:  # pip's own word for none at all
        return ""
    return next((found for file in _files(environment) if (found := _cert(file))), "")


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    """Pip's files, the one that counts most first."""
    if given := environment.get("PIP_CONFIG_FILE"):
        yield Path(given)
    yield from filter(Path.is_absolute, _found(environment))


def _found(environment: Mapping[str, str]) -> Iterator[Path]:
    """Those that pip finds by itself."""
    if environment.get("VIRTUAL_ENV"):
        yield Path(environment["VIRTUAL_ENV"]) / "pip.conf"
    if home := environment.get("HOME"):
        yield Path(environment.get("XDG_CONFIG_HOME") or f"{home}/.config") / "pip" / "pip.conf"
        yield Path(home) / ".pip" / "pip.conf"
    yield _SYSTEM / "pip.conf"
    for folder in (environment.get("XDG_CONFIG_DIRS") or str(_SYSTEM / "xdg")).split(os.pathsep):
        yield Path(folder) / "pip" / "pip.conf"


def _cert(file: Path) -> str:
    """What a file says; one that cannot be read is pip's to complain about."""
    found = configparser.RawConfigParser()
    try:
        found.read(file, encoding="utf-8")
        said = next((found[each]["cert"] for each in _SECTIONS if found.has_option(each, "cert")), "")
        place = Path(said).expanduser()  # as pip does
    except (OSError, RuntimeError, configparser.Error, UnicodeDecodeError):  # `~` of nobody
        return ""
    return str(place) if place.is_absolute() else ""
