"""Where the gate's native module is: beside this file, compiled for each machine when Remit was built.

The source is Zig, `module.zig` first; `tools/native.py` compiles it. Leaves out what the module does.
"""

import platform
from pathlib import Path

from remit.model.errors import RemitError

MACHINES = ("x86_64", "aarch64")
_LIBRARIES = Path(__file__).parent / "lib"


def module_path(machine: str = "", libraries: Path = _LIBRARIES) -> Path:
    """The module for a machine, this one if none is named; raises `RemitError` when there is none."""
    machine = machine or platform.machine()
    if machine not in MACHINES:
        raise RemitError(
            f"the gate's native module does not run on `{machine}`",
            hint=f"run the gateway on Linux on one of: {', '.join(MACHINES)}",
        )
    module = libraries / f"remit-gate.{machine}.so"
    if not module.is_file():
        raise RemitError(
            "the gate's native module was not compiled",
            hint="in a checkout: `make native`; elsewhere install Remit again, with `pip install`",
        )
    return module
