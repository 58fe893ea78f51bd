"""Contoso's installation, written out beside a lab: the example's own files, pointed at the lab's door."""

import shutil
import socket
from importlib import resources
from pathlib import Path

import httpx

from remit.credentials.own_issuer import OwnIssuer
from remit.lab.lifecycle import Lab
from remit.settings.read import read

_LISTEN = "  listen: 127.0.0.1:8443\n"


def example(name: str) -> Path:
    """A folder of the examples that the package carries."""
    return Path(str(resources.files("remit") / "examples" / name))


def write_contoso(folder: Path, lab: Lab) -> Path:
    """Writes `remit.yaml` and the policies into a folder; returns the former.

    The one difference from the example is the gateway: a free port, and the lab in the place of Google's addresses.
    """
    source = example("contoso")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source / "policies", folder / "policies", dirs_exist_ok=True)
    text = (source / "remit.yaml").read_text(encoding="utf-8")
    upstream = f"  upstream:\n    address: 127.0.0.1:{lab.front}\n    ca_file: {lab.bundle}\n"
    gateway = f"  listen: 127.0.0.1:{free_port()}\n{upstream}"
    target = folder / "remit.yaml"
    target.write_text(text.replace(_LISTEN, gateway), encoding="utf-8")
    return target


def publish_keys(config: Path, lab: Lab) -> None:
    """Gives the lab's Google the keys of Remit's own issuer, as an administrator uploads them to its provider."""
    settings = read(config)
    issuer = OwnIssuer(settings.credentials.own_issuer, settings.own_keys)
    order = {"provider_keys": {"name": "remit", "jwks": issuer.jwks()}}
    httpx.post(lab.control, json=order, trust_env=False).raise_for_status()


def free_port() -> int:
    """A port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
