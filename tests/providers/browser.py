"""Browsers for tests: a real Chromium, driven over the DevTools protocol through two pipes, and one without a window.

The program is Debian's package `chromium`, or whatever `REMIT_CHROMIUM` names. Run as a script, this file installs it
when it is missing (with apt, as root), and fails when it cannot: no test is skipped for want of a browser. Nobody's
profile is touched, and no port, driver or library is needed; every person in a test has a browser context, and so cookies, of their own. A test's own
certificates are trusted by their keys (`--ignore-certificate-errors-spki-list`), and no others.
Source: chromedevtools.github.io/devtools-protocol; chrome/browser/devtools/devtools_pipe_handler.cc (a message ends
in NUL).
"""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NAMES = ("chromium", "chromium-browser", "google-chrome")
STARTING = 60.0  # seconds on a machine that has other things to do
SOON = 20.0  # seconds for a page
_HIGH = 64  # a descriptor that is neither of the two that the browser speaks on
_QUIET = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-features=OptimizationHints,MediaRouter,Translate",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--metrics-recording-only",
    "--password-store=basic",
    "--use-mock-keychain",
    "--window-size=900,900",
)


def find() -> str:
    """The program's path, empty when there is none."""
    named = os.environ.get("REMIT_CHROMIUM", "")
    return next(filter(None, (shutil.which(name) for name in ((named,) if named else NAMES))), "")


def install() -> str:
    """The program's path; installs Debian's package when it is missing, and raises `SystemExit` when it cannot."""
    with (Path(tempfile.gettempdir()) / f"remit-chromium-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not find() and os.geteuid() == 0 and shutil.which("apt-get"):
            _apt("update")
            said = _apt("--yes", "--no-install-recommends", "install", "chromium")
            if not find():
                raise SystemExit(f"apt could not install chromium:\n{said[-2000:]}")
    found = find()
    if not found:
        raise SystemExit(
            "the tests of sign-in need Chromium: install your system's package, or name it: REMIT_CHROMIUM"
        )
    return found


def _apt(*arguments: str) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "--quiet", *arguments]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    return subprocess.run(command, env=environment, check=False, text=True, **both).stdout


class Failed(Exception):
    """The browser said no, or nothing in time."""


class Chromium:
    """One browser. A context manager. `proxy`: of everything but loopback; `trusted`: PEM of servers' certificates."""

    def __init__(self, *, proxy: str = "", trusted: Sequence[str] = ()) -> None:
        self._program = install()
        self._folder = Path(tempfile.mkdtemp(prefix="remit-chromium-"))
        more = ["--no-sandbox"] if os.geteuid() == 0 else []  # it refuses to have one as root
        more += [f"--proxy-server={proxy}"] if proxy else []
        more += [f"--ignore-certificate-errors-spki-list={','.join(map(_key_hash, trusted))}"] if trusted else []
        self._flags = (*_QUIET, *more, f"--user-data-dir={self._folder}", "--remote-debugging-pipe", "about:blank")
        self._number = 0
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        pid = getattr(self, "_pid", 0)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # the session that was made for it, and nobody else's
            os.waitpid(pid, 0)
            self._listener.join(SOON)
            for end in (self._write, self._read):
                os.close(end)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _HIGH) for end in (theirs_in, theirs_out)]
        log = self._folder / "chromium.log"
        self._pid = os.posix_spawn(
            self._program,
            [self._program, *self._flags],
            {**os.environ, "HOME": str(self._folder)},
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, high[0], 3),
                (os.POSIX_SPAWN_DUP2, high[1], 4),
            ],
        )
        for end in (theirs_in, theirs_out, *high):
            os.close(end)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            self.version = str(self.tell("Browser.getVersion", within=STARTING)["product"])
        except Failed as error:
            raise Failed(f"chromium did not start: {error}\n{log.read_text(errors='replace')[-2000:]}") from None

    def _listen(self) -> None:
        rest = b""
        while chunk := os.read(self._read, 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in map(json.loads, messages):
                waiting = self._answers.pop(message.get("id", 0), None)
                if waiting:
                    waiting.put(message)

    def tell(self, method: str, session: str = "", *, within: float = SOON, **parameters: Any) -> dict[str, Any]:
        """One command and its result; raises `Failed`."""
        waiting: queue.Queue[dict[str, Any]] = queue.Queue()
        with self._lock:
            self._number += 1
            self._answers[self._number] = waiting
            message = {"id": self._number, "method": method, "params": parameters}
            if session:
                message["sessionId"] = session
            data = json.dumps(message).encode() + b"\0"
            while data:
                data = data[os.write(self._write, data) :]
        try:
            answer = waiting.get(timeout=within)
        except queue.Empty:
            raise Failed(f"`{method}` was not answered within {within:g} s") from None
        if "error" in answer:
            raise Failed(f"`{method}`: {answer['error'].get('message')}")
        return dict(answer["result"])

    @contextlib.contextmanager
    def person(self) -> Iterator["Page"]:
        """A page of somebody who has no cookie yet."""
        context = self.tell("Target.createBrowserContext")["browserContextId"]
        try:
            yield Page(self, context)
        finally:
            self.tell("Target.disposeBrowserContext", browserContextId=context)


class Page:
    """One tab. What it shows is read from the document, as it stands after its scripts ran."""

    def __init__(self, browser: Chromium, context: str) -> None:
        self._browser = browser
        self._context = context
        target = browser.tell("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        self._session = browser.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._tell("Page.enable")

    def _tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.tell(method, self._session, **parameters)

    def read(self, expression: str) -> Any:
        """The value of a JavaScript expression; raises `Failed` while one page goes and the next one comes."""
        found = self._tell("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise Failed(str(found["exceptionDetails"].get("exception", {}).get("description", expression)))
        return found["result"].get("value")

    @property
    def url(self) -> str:
        return str(self.read("location.href"))

    @property
    def text(self) -> str:
        """What a person can read."""
        return str(self.read("document.body ? document.body.innerText : ''"))

    def go(self, url: str, wanted: str) -> str:
        """Opens an address, and waits until a text can be read; returns all of it."""
        self._tell("Page.navigate", url=url)
        return self.until(wanted)

    def press(self, label: str, wanted: str) -> str:
        """Presses the link or button whose name begins like this, as a screen reader says it, and waits as `go` does."""
        mark = f"before-{time.monotonic_ns()}"
        self.read(f"window.{mark.replace('-', '_')} = true")
        pressed = self.read(
            "(() => { const found = [...document.querySelectorAll('a, button')]"
            ".find((each) => (each.getAttribute('aria-label') || each.innerText).trim()"
            f".startsWith({json.dumps(label)}));"
            " if (found) found.click(); return Boolean(found); })()"
        )
        if not pressed:
            raise Failed(f"there is no `{label}` here:\n{self.text}")
        return self.until(wanted, f"!window.{mark.replace('-', '_')}")

    def until(self, wanted: str, also: str = "true") -> str:
        """Waits for a text on a page that has come whole."""
        end, said = time.monotonic() + SOON, ""
        while time.monotonic() < end:
            with contextlib.suppress(Failed):
                if self.read(f"document.readyState === 'complete' && Boolean({also})"):
                    said = self.text
                    if wanted in said:
                        return said
            time.sleep(0.05)
        raise Failed(f"`{wanted}` did not come about; the page says:\n{said}")

    def cookies(self) -> dict[str, dict[str, Any]]:
        """All cookies of this person, by name, with their attributes as the browser holds them."""
        found = self._browser.tell("Storage.getCookies", browserContextId=self._context)["cookies"]
        return {cookie["name"]: cookie for cookie in found}

    def picture(self, path: Path) -> None:
        """Writes what the window shows, a PNG."""
        data = self._tell("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))


class Visitor:
    """Somebody at the door without a window: its cookies as they come, and each answer seen before the next step."""

    def __init__(self, door: str, cookies: Mapping[str, str] | None = None) -> None:
        self.door = door
        self.cookies = dict(cookies or {})

    def ask(self, method: str, target: str, form: Mapping[str, str] | None = None, **headers: str) -> httpx.Response:
        """One request; `target`: a path, or an address at the door."""
        held = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {**({"cookie": held} if held else {}), **headers}
        url = self.door + target.removeprefix(self.door)
        answer = httpx.request(method, url, data=form, headers=sent, trust_env=False, timeout=SOON)
        for line in answer.headers.get_list("set-cookie"):
            name, _, rest = line.partition("=")
            value, _, attributes = rest.partition(";")
            self.cookies[name] = value
            if "max-age=0" in attributes.lower():
                del self.cookies[name]
        return answer

    def depart(self, provider: str, query: str = "") -> str:
        """The provider's address that the door sends this browser to."""
        answer = self.ask("GET", f"/sign-in/{provider}{query}")
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def account(self) -> httpx.Response:
        """The account page, or why not."""
        return self.ask("GET", "/account")

    def form(self, page: str) -> dict[str, str]:
        """The token that the forms of an account page hold."""
        found = re.search(r'name="token" value="([0-9a-f]+)"', page)
        assert found, page
        return {"token": found[1]}


def _key_hash(pem: str) -> str:
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    return base64.b64encode(
        hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    ).decode()


if __name__ == "__main__":
    install()
