"""Bringing the lab up and down, and the environment that makes a program meet it instead of the clouds.

The lab is one process of its own session; its folder tells everything about it in `lab.json`, which exists only while
it is ready.
"""

import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from remit.lab import contoso
from remit.model.errors import RemitError

_READY_SECONDS = 20.0  # it takes under two on an idle machine; a loaded one is given time
_END_SECONDS = 10.0
_POLL = 0.02
_FILE = "lab.json"
_MODULE = "remit.lab.service"
EMPTY = "--empty"
"""On the process's command line: the world before anybody set up the trust."""

_LOG_TAIL = 2000  # characters of the lab's own log in an error


@dataclass(frozen=True, slots=True)
class Lab:
    """A running lab. All ports are on 127.0.0.1.

    `proxy`: the CONNECT proxy; `front`: TLS for every host, by SNI; `grpc`: plaintext gRPC; `imds`: Azure's metadata
    service; `control`: URL of the faults door; `bundle`: PEM file of the lab's authority; `board`: the sample web
    service; `serving`, `serving_grpc`: TensorFlow Serving's REST and gRPC, 0 where no models are served; `empty`:
    whether it began without a trust.
    """

    folder: str
    pid: int
    proxy: int
    front: int
    grpc: int
    imds: int
    control: str
    bundle: str
    board: int = 0
    serving: int = 0
    serving_grpc: int = 0
    empty: bool = False

    def write(self) -> None:
        """Tell that the lab is ready; only this user may read it, since it holds the control door's secret."""
        path = Path(self.folder, _FILE)
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        fresh.replace(path)


def read(folder: Path) -> Lab:
    """The lab of a folder; raises `RemitError` when none is running there."""
    folder = folder.resolve()
    try:
        lab = Lab(**json.loads((folder / _FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        lab = None
    except (ValueError, TypeError) as cause:
        raise RemitError(f"`{folder / _FILE}` is not a lab's file", hint="remove it and run `remit lab up`") from cause
    if lab is None or not _is_lab(lab.pid, folder):
        raise RemitError(f"no lab is running in `{folder}`", hint="run `remit lab up`")
    return lab


def up(folder: Path, *, models: Path | None = None, empty: bool = False, deadline: float = _READY_SECONDS) -> Lab:
    """Start a lab in the folder and wait until it is ready; the running one when there is one already.

    `models`: a folder of SavedModels, `NAME/VERSION/`, to serve as TensorFlow Serving does; `empty`: the clouds before
    anybody set up the trust; `deadline`: seconds. Raises `RemitError` when it does not become ready, and leaves no
    process behind then, and when one runs there that began otherwise.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # the state folder of an installation beside it
    folder.mkdir(exist_ok=True, mode=0o700)
    try:
        running: Lab | None = read(folder)
    except RemitError:
        (folder / _FILE).unlink(missing_ok=True)
        running = None
    if running is not None:
        return _same(running, empty=empty)
    pid = _spawn(folder, models, empty=empty)
    if not _until(lambda: (folder / _FILE).exists() or _ended(pid, folder), deadline) or _ended(pid, folder):
        if not _ended(pid, folder):
            os.kill(pid, signal.SIGKILL)
        _until(lambda: _ended(pid, folder), _END_SECONDS)
        log = folder / "lab.log"
        tail = log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]
        raise RemitError(f"the lab did not start in `{folder}`\n{tail}", hint=f"its log is `{log}`")
    return read(folder)


def _same(running: Lab, *, empty: bool) -> Lab:
    if running.empty != empty:
        how = "without a trust" if running.empty else "with Contoso's trust"
        raise RemitError(f"the lab in `{running.folder}` began {how}", hint="end it with `remit lab down`")
    return running


def down(folder: Path) -> bool:
    """End the folder's lab, with the jobs that it runs; false when there was none."""
    folder = folder.resolve()
    try:
        lab = read(folder)
    except RemitError:
        return False
    os.kill(lab.pid, signal.SIGTERM)
    if not _until(lambda: _ended(lab.pid, folder), _END_SECONDS):
        os.kill(lab.pid, signal.SIGKILL)
    (folder / _FILE).unlink(missing_ok=True)
    return True


def environment(folder: Path) -> dict[str, str]:
    """The variables with which any program meets the lab; raises `RemitError` when none is running."""
    return variables(read(folder))


def administrator(folder: Path) -> dict[str, str]:
    """What makes a program the administrator's besides: at Entra and Azure a managed identity, at Google a person.

    Raises `RemitError` when no lab is running, `OSError` when it does not answer.
    """
    order = json.dumps({"google_administrator": True}).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(read(folder).control, order, timeout=_READY_SECONDS) as answer:
        token = json.load(answer)["told"]["google_administrator"]
    return {"AZURE_CLIENT_ID": contoso.ADMINISTRATOR.client_id, "CLOUDSDK_AUTH_ACCESS_TOKEN": token}


def reach(lab: Lab) -> dict[str, str]:
    """What leads a program to the lab's hosts: every stack reads other variables for its proxy and its roots."""
    proxy, direct = f"http://127.0.0.1:{lab.proxy}", "localhost,127.0.0.1"
    trust = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
    return {
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "NO_PROXY": direct,
        "no_proxy": direct,
        **dict.fromkeys((*trust, "NODE_EXTRA_CA_CERTS"), lab.bundle),
    }


def variables(lab: Lab) -> dict[str, str]:
    """What makes this machine one of Contoso's: `reach`, and Azure's metadata service with its managed identities."""
    return reach(lab) | {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://127.0.0.1:{lab.imds}"}


def services(lab: Lab) -> dict[str, str]:
    """The lab's services that are no cloud: name → URL, as `remit.yaml` names upstreams. They ask nobody anything."""
    found = {"board": f"http://127.0.0.1:{lab.board}"}
    if lab.serving:
        found["serving"] = f"http://127.0.0.1:{lab.serving}"
        found["serving-grpc"] = f"http://127.0.0.1:{lab.serving_grpc}"
    return found


def _spawn(folder: Path, models: Path | None, *, empty: bool) -> int:
    """Start the process in a session of its own, so that it outlives this one. No `Popen`: nobody is to wait for it."""
    command = [sys.executable, "-m", _MODULE, str(folder), *([str(models.resolve())] if models else [])]
    command += [EMPTY] if empty else []
    log = os.fsencode(folder / "lab.log")
    return os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _ended(pid: int, folder: Path) -> bool:
    """Whether a lab has ended; one that this process started is also taken leave of."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return not _is_lab(pid, folder)


def _until(done: Callable[[], bool], seconds: float) -> bool:
    """Wait for something; whether it came about in time."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL)
    return True


def _is_lab(pid: int, folder: Path) -> bool:
    """Whether this process is the folder's lab: a number may long belong to somebody else's process."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return _MODULE.encode() in words and os.fsencode(folder) in words
