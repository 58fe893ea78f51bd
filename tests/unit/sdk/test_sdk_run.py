"""`remit run`: what a command finds beside it, what it does not find, how it ends, and what the installation is told."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from tests.unit.sdk.conftest import CERTIFICATE

from remit.model.errors import NotSignedIn, Refused, RemitError
from remit.model.secret import AccessToken
from remit.sdk import run as running
from remit.sdk.child import Relay, relayed
from remit.sdk.environment import CA_VARIABLES
from remit.sdk.places import taken
from remit.sdk.run import run

REPORT = """
import json, os, sys, urllib.request
found = {"environment": dict(os.environ), "bundle": open(os.environ["SSL_CERT_FILE"]).read()}
metadata = "http://" + os.environ["GCE_METADATA_HOST"] + "/computeMetadata/v1/"
def ask(path):
    request = urllib.request.Request(metadata + path, headers={"Metadata-Flavor": "Google"})
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read().decode()
found["project"] = ask("project/project-id")
found["token"] = json.loads(ask("instance/service-accounts/default/token"))
json.dump(found, open(sys.argv[1], "w"))
"""
JOB = r"j-[0-9a-hjkmnp-tv-z]{26}"


FAMILY = f"remit-test-{os.getpid()}"


@pytest.fixture(autouse=True)
def _registers(installation, monkeypatch):
    installation.say("/v1/jobs", {"grants": [], "outlived": [], "lasting": 0})
    monkeypatch.setattr(running, "taken", partial(taken, family=FAMILY))  # other runs of this machine are not ours


def python(text, *arguments):
    return [sys.executable, "-c", text, *arguments]


def told(installation):
    """What the installation was told of runs: method, path and document."""
    return [
        (method, path, json.loads(body or b"{}")) for method, path, _, body in installation.asked if "/jobs" in path
    ]


@pytest.mark.promise("V22")
def test_a_command_finds_its_surroundings_and_no_secret(signed_in, installation, tmp_path, capfd):
    installation.say("/v1/token", {"access_token": "ya29.storage", "expires_in": 900})
    roots = tmp_path / "roots.pem"
    roots.write_text("the roots of before\n")
    environment = {
        **os.environ,
        **dict.fromkeys(CA_VARIABLES, str(roots)),
        "GOOGLE_APPLICATION_CREDENTIALS": "/home/dana/key.json",
        "AZURE_CLIENT_SECRET": "x",
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "MINE": "kept",
    }
    environment.pop("SSL_CERT_DIR", None)
    out = tmp_path / "out.json"
    assert run(python(REPORT, str(out)), "contoso-fraud-test", signed_in, environment) == 0
    found = json.loads(out.read_text())
    given = found["environment"]
    assert given["MINE"] == "kept"
    assert not {"GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CLIENT_SECRET"} & set(given)
    assert given["GOOGLE_CLOUD_PROJECT"] == found["project"] == "contoso-fraud-test"
    assert re.fullmatch(r"http://remit:[\w-]{32}@127\.0\.0\.1:[0-9]+", given["HTTPS_PROXY"])
    bundles = {given[name] for name in CA_VARIABLES}
    assert len(bundles) == 1
    assert found["bundle"] == f"the roots of before\n\n{signed_in.configuration.ca_pem}"
    assert not Path(bundles.pop()).parent.exists()
    assert found["token"]["access_token"] == "ya29.storage"
    job = given["REMIT_JOB"]
    assert re.fullmatch(JOB, job)
    assert capfd.readouterr().err == (
        f"remit: this run is {job}\n"
        "remit: the command does not see AZURE_CLIENT_SECRET, GOOGLE_APPLICATION_CREDENTIALS: "
        "this run has an identity of its own\n"
    )
    [form] = [parse_qs(body.decode()) for _, path, _, body in installation.asked if path == "/v1/token"]
    assert form["job"] == [job]
    assert form["audience"] == ["//storage.googleapis.com/projects/contoso-fraud-test"]
    secrets = ("identity-of-dana", "ya29.storage")
    assert not any(secret in value for value in given.values() for secret in secrets)
    assert not any(secret in found["bundle"] for secret in secrets)


LIBRARIES = """
import asyncio, json, os, sys
import azure.identity, azure.identity.aio, google.auth, google.auth.transport.requests, google.oauth2.id_token
credentials, project = google.auth.default()
request = google.auth.transport.requests.Request()
credentials.refresh(request)
found = {"project": project, "google": credentials.token, "email": credentials.service_account_email}
found["id"] = google.oauth2.id_token.fetch_id_token(request, "remit") if len(sys.argv) > 2 else ""
found["azure"] = azure.identity.DefaultAzureCredential().get_token("https://storage.azure.com/.default").token
async def later():
    async with azure.identity.aio.DefaultAzureCredential() as credential:
        return (await credential.get_token("https://database.windows.net/.default")).token
found["aio"] = asyncio.run(later())
json.dump(found, open(sys.argv[1], "w"))
"""


@pytest.mark.promise("V8")
def test_unmodified_libraries_find_their_tokens(signed_in, installation, tmp_path):
    installation.say("/v1/token", {"access_token": "a-token", "expires_in": 900})
    out = tmp_path / "out.json"
    environment = {**os.environ, "AZURE_CLIENT_ID": "another", "AZURE_TENANT_ID": "t"}
    assert run(python(LIBRARIES, str(out)), "contoso-fraud-test", signed_in, environment) == 0
    found = json.loads(out.read_text())
    assert found == {
        "project": "contoso-fraud-test",
        "google": "a-token",
        "email": "default",
        "id": "",
        "azure": "a-token",
        "aio": "a-token",
    }
    wanted = [parse_qs(body.decode())["audience"][0] for _, path, _, body in installation.asked if path == "/v1/token"]
    assert [audience.rpartition("/projects/")[0] for audience in wanted] == [
        "//storage.googleapis.com",
        "//blob.core.windows.net",
        "//database.windows.net",
    ]


KERNEL = """
import json, sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python3", startup_timeout=120)
said = []
client.execute_interactive(
    "import google.auth, google.auth.transport.requests as r\\n"
    "c, p = google.auth.default(); c.refresh(r.Request()); print(c.token, p)",
    timeout=120,
    output_hook=lambda message: said.append(message["content"].get("text", "")),
)
client.stop_channels()
manager.shutdown_kernel(now=True)
open(sys.argv[1], "w").write("".join(said))
"""


@pytest.mark.promise("V8")
def test_a_notebook_s_kernel_has_the_run_s_identity(signed_in, installation, tmp_path):
    installation.say("/v1/token", {"access_token": "a-token", "expires_in": 900})
    out = tmp_path / "out"
    assert run(python(KERNEL, str(out)), "contoso-fraud-test", signed_in, os.environ) == 0
    assert out.read_text() == "a-token contoso-fraud-test\n"


WRITTEN = """
import os, sys
from remit.model.secret import AccessToken
from remit.sdk.run import run
from tests.unit.sdk.conftest import SignedIn, configuration
url, folder = sys.argv[1:]
written = []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        mode, flags = arguments[1] or "", arguments[2] or 0
        if set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.append(os.path.abspath(os.fsdecode(arguments[0])))
sys.addaudithook(hook)
child = "import os, subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', os.environ['ASK']]).returncode)"
code = run([sys.executable, "-c", child], "contoso-fraud-test", SignedIn(configuration(url)), os.environ)
print(code, *sorted(set(written)), sep="\\n")
"""
ASK = """
import json, os, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def ask(url, **headers):
    return json.load(opener.open(urllib.request.Request(url, headers=headers)))["access_token"]
token = "http://" + os.environ["GCE_METADATA_HOST"] + "/computeMetadata/v1/instance/service-accounts/default/token"
assert ask(token, **{"Metadata-Flavor": "Google"}) == "ya29.storage"
resource = os.environ["IDENTITY_ENDPOINT"] + "?resource=https://storage.azure.com"
assert ask(resource, **{"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]}) == "ya29.storage"
everything = " ".join(value for name, value in os.environ.items() if name != "ASK")
assert "ya29.storage" not in everything and "identity-of-dana" not in everything
"""


@pytest.mark.promise("V22")
def test_no_secret_reaches_the_disk(installation, tmp_path):
    """An audit hook in the sidecar's own process names every file that it opens for writing (sys.addaudithook)."""
    installation.say("/v1/token", {"access_token": "ya29.storage", "expires_in": 900})
    runtime, temporary = tmp_path / "runtime", tmp_path / "tmp"
    runtime.mkdir(mode=0o700)
    temporary.mkdir()
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime), "TMPDIR": str(temporary), "ASK": ASK}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    environment.pop("SSL_CERT_DIR", None)
    done = subprocess.run(
        python(WRITTEN, installation.url, str(tmp_path)), env=environment, capture_output=True, text=True, check=True
    )
    code, *written = done.stdout.splitlines()
    assert (code, done.stderr.count("\n")) == ("0", 1), done.stderr
    own = [Path(file) for file in written if not file.startswith(("/dev/", "/proc/"))]
    named = [file for file in own if file.parent != temporary]  # but for the file by which `tempfile` tries a folder
    assert [file.name for file in named] == ["roots.pem"]
    assert all(file.is_relative_to(tmp_path) for file in named)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


REVOKED = """
import os, sys, urllib.error, urllib.request
request = urllib.request.Request(
    "http://" + os.environ["GCE_METADATA_HOST"] + "/computeMetadata/v1/instance/service-accounts/default/token",
    headers={"Metadata-Flavor": "Google"},
)
try:
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
except urllib.error.HTTPError as error:
    print(error.code)
sys.exit(7)
"""


def test_a_run_that_is_revoked_says_so_and_ends_as_its_command_does(signed_in, installation, capfd):
    installation.say("/v1/token", {"error": "access_denied"}, 403, x_remit_reason="revoked")
    assert run(python(REVOKED), "p", signed_in, os.environ) == 7
    found = capfd.readouterr()
    assert found.out == "403\n"
    job = found.err.splitlines()[0].removeprefix("remit: this run is ")
    assert found.err.splitlines()[1:] == [
        f"remit: access has been revoked: {job} has no credentials and no connections any more"
    ]


# What the installation is told


def test_the_installation_is_told_of_every_run_and_of_its_end(signed_in, installation, capfd):
    assert run(python(""), "fraud", signed_in, os.environ) == 0
    job = capfd.readouterr().err.split()[-1]
    assert told(installation) == [
        ("POST", "/v1/jobs", {"job": job, "project": "fraud"}),
        ("DELETE", f"/v1/jobs?job={job}", {}),
    ]


@pytest.mark.promise("V13")
def test_a_name_and_a_duration_are_told_and_what_is_answered_is_said(signed_in, installation, capfd):
    outlived = [
        {"hop": "sign-in", "lasts": 43_200, "why": "sign-ins end after 12 h", "change": "run it as a workload"},
        {"hop": "login", "lasts": 5400},
        {"hop": "upload", "lasts": 45, "why": "", "change": ""},
    ]
    installation.say("/v1/jobs", {"grants": ["g-1", "g-2"], "outlived": outlived, "lasting": 86_400})
    assert run(python(""), "fraud", signed_in, os.environ, name="nightly", lasting=86_400) == 0
    job, *said = capfd.readouterr().err.splitlines()
    assert said == [
        "remit: 2 grants begin with `nightly`",
        "remit: this run outlives its sign-in (12 h): sign-ins end after 12 h",
        "hint: run it as a workload",
        "remit: this run outlives its login (90 min)",
        "remit: this run outlives its upload (45 s)",
    ]
    assert told(installation)[0][2] == {
        "job": job.split()[-1],
        "project": "fraud",
        "name": "nightly",
        "lasting": 86_400,
    }


@pytest.mark.parametrize(
    ("grants", "said"), [([], "0 grants begin"), (["g-1"], "1 grant begins"), (["g-1", "g-2"], "2 grants begin")]
)
def test_grants_that_begin_are_counted_in_words(signed_in, installation, capfd, grants, said):
    installation.say("/v1/jobs", {"grants": grants})
    assert run(python(""), "fraud", signed_in, os.environ, name="nightly") == 0
    assert capfd.readouterr().err.splitlines()[1] == f"remit: {said} with `nightly`"


def test_a_run_that_is_refused_does_not_start_and_is_not_announced(signed_in, installation, tmp_path, capfd):
    document = {"error": "access_denied", "error_description": "this run would outlive its sign-in"}
    installation.say("/v1/jobs", document, 403, x_remit_reason="policy_forbids", x_remit_decision="d-1")
    with pytest.raises(Refused, match="would outlive its sign-in"):
        run(python("import sys; open(sys.argv[1], 'w')", str(tmp_path / "started")), "p", signed_in, os.environ)
    assert not (tmp_path / "started").exists()
    assert [method for method, _, _ in told(installation)] == ["POST"]
    assert capfd.readouterr().err == ""


def test_an_end_that_cannot_be_told_is_said_and_changes_nothing(signed_in, installation, capfd):
    def token():
        if not signed_in.alive:
            raise NotSignedIn("nobody is signed in on this machine")
        return AccessToken("identity-of-dana")

    signed_in.alive, signed_in.token = True, token
    text = "import sys, time; sys.exit(3)"
    original = running.asyncio.run

    def ends(coroutine):
        try:
            return original(coroutine)
        finally:
            signed_in.alive = False

    running.asyncio.run = ends
    try:
        assert run(python(text), "p", signed_in, os.environ) == 3
    finally:
        running.asyncio.run = original
    first, second = capfd.readouterr().err.splitlines()
    job = first.split()[-1]
    assert second == f"remit: what was issued for {job} ends with its time only: nobody is signed in on this machine"


@pytest.mark.promise("T10")
def test_another_project_of_the_same_user_is_refused(signed_in, installation):
    with taken("fraud", "j-1", FAMILY), pytest.raises(RemitError, match="another project, `fraud`, lasts: j-1"):
        run(python(""), "risk", signed_in, os.environ)
    assert told(installation) == []


# How it ends


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 0),
        ("import sys; sys.exit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
    ],
)
def test_the_command_s_end_is_ours(signed_in, installation, text, code):
    assert run(python(text), "p", signed_in, os.environ) == code
    assert [method for method, _, _ in told(installation)] == ["POST", "DELETE"]


def until(found, seconds=60):
    end = time.monotonic() + seconds
    while not found() and time.monotonic() < end:
        time.sleep(0.01)
    assert found()


def sent_to_ourselves(number, ready):
    def tell():
        until(ready.exists)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def not_ignored():
    """Makes this process one that a signal ends, as it is not below `nohup`."""
    before = {}
    yield lambda number: before.setdefault(number, signal.signal(number, lambda *_: None))
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1])
def test_a_signal_reaches_the_command_and_its_end_is_told(signed_in, installation, tmp_path, number, not_ignored):
    not_ignored(number)
    ready = tmp_path / "ready"
    text = (
        "import signal, sys, time, pathlib\n"
        "signal.signal(int(sys.argv[2]), lambda *_: sys.exit(7))\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "time.sleep(60)\n"
    )
    thread = sent_to_ourselves(number, ready)
    before = signal.getsignal(number)
    assert run(python(text, str(ready), str(int(number))), "p", signed_in, os.environ) == 7
    thread.join()
    assert signal.getsignal(number) is before
    assert [method for method, _, _ in told(installation)] == ["POST", "DELETE"]


def test_a_signal_before_the_command_begins_ends_the_run(signed_in, installation, tmp_path):
    text = "import sys; open(sys.argv[1], 'w')"
    original = signed_in.token
    asked = []

    def token():
        asked.append(1)
        if len(asked) == 2:  # while the installation is told
            os.kill(os.getpid(), signal.SIGTERM)
        return original()

    signed_in.token = token
    assert run(python(text, str(tmp_path / "started")), "p", signed_in, os.environ) == 143
    assert not (tmp_path / "started").exists()
    assert [method for method, _, _ in told(installation)] == ["POST", "DELETE"]


def test_a_signal_to_a_command_that_is_gone_is_nothing():
    class Gone:
        def send_signal(self, number):
            raise ProcessLookupError

    relay = Relay()
    relay.child = Gone()
    relay.take(signal.SIGTERM, None)
    assert (relay.received, relay.code) == (signal.SIGTERM, 143)


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with relayed() as relay:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert relay.received == 0
    finally:
        signal.signal(signal.SIGHUP, before)


OURS = """
import os, sys
from remit.sdk.run import run
from tests.unit.sdk.conftest import SignedIn, configuration
sys.exit(run([sys.executable, "-c", sys.argv[2]], "contoso-fraud-test", SignedIn(configuration(sys.argv[1])), os.environ))
"""
COUNTS = """
import signal, sys, time
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
print("ready", sys.stdin.isatty(), sys.stdout.isatty(), flush=True)
print("read", sys.stdin.readline().strip(), flush=True)
end = time.monotonic() + 60
while not seen and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(1)
print("interrupts", len(seen), flush=True)
"""


def test_a_terminal_is_the_command_s_own_and_its_interrupt_comes_once(installation, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        python("import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" + OURS, installation.url, COUNTS),
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,  # whose terminal this becomes
    )
    os.close(theirs)
    said = b""

    def comes(text):
        nonlocal said
        while text not in said:
            said += os.read(terminal, 1000)

    comes(b"ready True True")
    os.write(terminal, b"hello\n")
    comes(b"read hello")
    os.write(terminal, b"\x03")  # Ctrl-C
    comes(b"interrupts 1")
    while True:
        try:
            if not os.read(terminal, 1000):
                break
        except OSError:  # the last of its processes is gone
            break
    os.close(terminal)
    assert process.wait(60) == 0
    assert [method for method, _, _ in told(installation)] == ["POST", "DELETE"]


def test_an_interrupt_of_the_whole_group_is_130(installation):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    text = "import signal, time; signal.signal(2, signal.SIG_DFL); print('ready', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        python(OURS, installation.url, text), env=environment, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout.readline() == b"ready\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    process.stdout.close()
    assert [method for method, _, _ in told(installation)] == ["POST", "DELETE"]


def test_input_passes_through(installation):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    text = "import sys; sys.stdout.write(sys.stdin.read().upper())"
    done = subprocess.run(
        python(OURS, installation.url, text), env=environment, input=b"abc", capture_output=True, check=True
    )
    assert done.stdout == b"ABC"


def test_a_command_that_is_not_there(signed_in, installation):
    with pytest.raises(RemitError, match="`/no/such` cannot be run: No such file") as caught:
        run(["/no/such"], "p", signed_in, os.environ)
    assert "without a shell" in caught.value.hint
    assert [method for method, _, _ in told(installation)] == ["POST", "DELETE"]


def test_nobody_signed_in_is_said_before_anything_starts(signed_in, installation, tmp_path):
    signed_in.trouble = NotSignedIn("nobody is signed in")
    with pytest.raises(NotSignedIn):
        run(python("import sys; open(sys.argv[1], 'w')", str(tmp_path / "started")), "p", signed_in, os.environ)
    assert not (tmp_path / "started").exists()
    assert installation.asked == []


def test_without_roots_it_says_so(monkeypatch, capfd):
    monkeypatch.setattr(running, "system_roots", lambda: "")
    with running._folder({}, CERTIFICATE) as (files, gcloud):
        assert set(files) == set(CA_VARIABLES) - {"PIP_CERT"}
        assert not list(Path(gcloud).iterdir())
    assert "no file of trusted roots was found" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, ""),
        ({"https_proxy": "http://corp:3128"}, "http://corp:3128"),
        ({"ALL_PROXY": "http://corp:3128"}, "http://corp:3128"),
        ({"ALL_PROXY": "socks5://corp:1080"}, ""),
        ({"HTTPS_PROXY": "http://one:1", "ALL_PROXY": "http://two:2"}, "http://one:1"),
    ],
)
def test_where_other_hosts_are_reached(environment, proxy):
    assert running._onward(environment).proxy == proxy
