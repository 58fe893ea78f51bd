"""What every benchmark says of where it was measured, and where its figures are kept."""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Where this was measured."""
    models = (line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in line)
    return {
        "cpu": next(models, ":").partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_average": os.getloadavg(),
    }


def versions(*packages: str) -> dict[str, str]:
    """What it was measured with."""
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def keep(name: str, document: Mapping[str, Any], folder: Path = RESULTS) -> None:
    """Writes `NAME.json`."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
