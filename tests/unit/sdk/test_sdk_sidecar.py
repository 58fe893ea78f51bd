"""What stands beside a run: who gets through its doors, by the secret that only the run knows and by whose process asks."""

import base64
import os
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import httpx
import pytest
from tests.unit.sdk.standing import Exchange, standing

from remit.sdk import loopback
from remit.sdk.sidecar import Secrets

TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"
FLAVOR = {"metadata-flavor": "Google"}


@pytest.fixture
def exchange():
    return Exchange()


@pytest.fixture
def given(exchange, tmp_path):
    with standing(exchange, tmp_path) as environment:
        yield environment


@pytest.fixture
def far():
    """A host somewhere else: it echoes what comes first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(connection.recv(100))

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def connect(proxy, target, *headers):
    """The status that a CONNECT gets, and what comes back through it."""
    place = urlsplit(proxy)
    with socket.create_connection((place.hostname, place.port), 10) as connection:
        lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}", *headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        status = int(connection.recv(1000).split(b" ")[1])
        if status != 200:
            return status, b""
        connection.sendall(b"hello")
        return status, connection.recv(100)


def basic(pair):
    return f"proxy-authorization: Basic {base64.b64encode(pair.encode()).decode()}"


@pytest.mark.promise("V22")
def test_the_proxy_wants_the_run_s_password(given, far):
    place = urlsplit(given["HTTPS_PROXY"])
    assert connect(given["HTTPS_PROXY"], far, basic(f"remit:{place.password}")) == (200, b"hello")
    assert connect(given["HTTPS_PROXY"], far, basic(f"anybody:{place.password}")) == (200, b"hello")
    wrong = [
        (),
        (basic("remit:"),),
        (basic("remit:x"),),
        (basic(place.password),),
        (basic(f"remit:{place.password}x"),),
        (f"proxy-authorization: Bearer {place.password}",),
        ("proxy-authorization: Basic %%%",),
        ("proxy-authorization: Basic /w==",),
        (f"authorization: Basic {base64.b64encode(f'remit:{place.password}'.encode()).decode()}",),
    ]
    for headers in wrong:
        assert connect(given["HTTPS_PROXY"], far, *headers) == (407, b"")


def test_a_metadata_client_and_one_that_takes_the_path_apart(given):
    place = given["GCE_METADATA_HOST"]
    answer = httpx.get(f"http://{place}{TOKEN}", headers=FLAVOR, trust_env=False)
    assert answer.json()["access_token"].startswith("token-1 ")
    bare = httpx.get(f"http://{place.partition('/')[0]}{TOKEN}", headers=FLAVOR, trust_env=False)  # as gcp-metadata
    assert (bare.status_code, "take the whole of `GCE_METADATA_HOST`" in bare.text) == (403, True)


STRANGER = """
import encodings.idna, os, sys, urllib.error, urllib.request
if sys.argv[2:]:
    os.setuid(int(sys.argv[2]))
request = urllib.request.Request(sys.argv[1], headers={"Metadata-Flavor": "Google"})
try:
    print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode().strip())
"""


@pytest.mark.promise("T10")
def test_another_user_of_the_host_gets_nothing_even_with_the_secret(given, exchange, monkeypatch):
    url = f"http://{given['GCE_METADATA_HOST']}{TOKEN}"
    stranger = ["65534"]  # nobody
    if os.getuid():  # only root may become another user: seen from the other side, we are the stranger
        monkeypatch.setattr(loopback.os, "getuid", lambda: -1)
        stranger = []
    words = [sys.executable, "-c", STRANGER, url, *stranger]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "403 this door belongs to another user\n"
    assert exchange.asked == []


def test_secrets_are_new_long_and_do_not_print():
    first, second = Secrets(), Secrets()
    values = {first.path, first.header, first.proxy, second.path, second.header, second.proxy}
    assert len(values) == 6
    assert all(len(value) == 32 for value in values)
    assert not any(value in repr(first) for value in values)
