"""`remit run`: what a command finds beside it, what it does not find, and how it ends."""

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from remit.model.errors import NotSignedIn, RemitError
from remit.sdk import run as running
from remit.sdk.run import CA_VARIABLES, run

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


def python(text, *arguments):
    return [sys.executable, "-c", text, *arguments]


@pytest.mark.promise("V22")
def test_a_command_finds_its_surroundings_and_no_secret(signed_in, installation, tmp_path, capfd):
    installation.say("/v1/token", {"access_token": "ya29.storage", "expires_in": 900})
    roots = tmp_path / "roots.pem"
    roots.write_text("the roots of before\n")
    environment = {
        **os.environ,
        "GOOGLE_APPLICATION_CREDENTIALS": "/home/dana/key.json",
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "x",
        "CURL_CA_BUNDLE": str(roots),
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "MINE": "kept",
    }
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        environment.pop(name, None)
    out = tmp_path / "out.json"
    assert run(python(REPORT, str(out)), "contoso-fraud-test", signed_in, environment) == 0
    found = json.loads(out.read_text())
    given = found["environment"]
    assert given["MINE"] == "kept"
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in given
    assert "GOOGLE_AUTH_TOKEN_FOR_TESTING" not in given
    assert given["GOOGLE_CLOUD_PROJECT"] == found["project"] == "contoso-fraud-test"
    assert given["HTTPS_PROXY"] == given["https_proxy"] != "http://127.0.0.1:1"
    assert given["NO_PROXY"] == given["no_proxy"] == "localhost,127.0.0.1"
    bundles = {given[name] for name in CA_VARIABLES}
    assert len(bundles) == 1
    assert found["bundle"] == f"the roots of before\n\n{signed_in.configuration.ca_pem}"
    assert not Path(bundles.pop()).parent.exists()
    assert found["token"]["access_token"] == "ya29.storage"
    assert re.fullmatch(r"j-[0-9a-hjkmnp-tv-z]{26}", given["REMIT_JOB"])
    assert capfd.readouterr().err == f"remit: this run is {given['REMIT_JOB']}\n"
    [(_, _, _, form)] = installation.asked
    assert f"job={given['REMIT_JOB']}" in form.decode()
    secrets = ("identity-of-dana", "ya29.storage")
    assert not any(secret in value for value in given.values() for secret in secrets)
    assert not any(secret in found["bundle"] for secret in secrets)


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


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 0),
        ("import sys; sys.exit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
    ],
)
def test_the_command_s_end_is_ours(signed_in, text, code):
    assert run(python(text), "p", signed_in, os.environ) == code


def test_a_signal_reaches_the_command(signed_in, tmp_path):
    ready = tmp_path / "ready"
    text = (
        "import signal, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "time.sleep(30)\n"
    )

    def tell():
        end = time.monotonic() + 20
        while not ready.exists() and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    assert run(python(text, str(ready)), "p", signed_in, os.environ) == 7
    thread.join()


def test_a_signal_to_a_command_that_is_gone_is_nothing():
    class Gone:
        def send_signal(self, number):
            raise ProcessLookupError

    running._forward(Gone(), signal.SIGTERM)


def test_a_command_that_is_not_there(signed_in):
    with pytest.raises(RemitError, match="`/no/such` cannot be run: No such file") as caught:
        run(["/no/such"], "p", signed_in, os.environ)
    assert "without a shell" in caught.value.hint


def test_nobody_signed_in_is_said_before_anything_starts(signed_in, tmp_path):
    signed_in.trouble = NotSignedIn("nobody is signed in")
    with pytest.raises(NotSignedIn):
        run(python("open('started', 'w')"), "p", signed_in, {**os.environ, "PWD": str(tmp_path)})
    assert not (tmp_path / "started").exists()


def test_without_roots_it_says_so(signed_in, monkeypatch, capfd):
    monkeypatch.setattr(running, "_ROOTS", ())
    monkeypatch.setenv("SSL_CERT_FILE", "/none.pem")
    monkeypatch.setattr(running.ssl, "get_default_verify_paths", lambda: type("Paths", (), {"cafile": None}))
    with running._bundle({}, "door") as bundle:
        assert bundle.read_text() == "\ndoor"
    assert "no file of trusted roots was found" in capfd.readouterr().err
    monkeypatch.setattr(running, "_ROOTS", ("/none", __file__))
    with running._bundle({"SSL_CERT_FILE": "/none.pem"}, "door") as bundle:
        assert bundle.read_text().endswith("door")
        assert bundle.stat().st_size > 1000
