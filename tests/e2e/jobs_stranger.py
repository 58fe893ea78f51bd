"""What a run of another user tries, who has been told all of the first one's secrets."""

import base64
import hashlib
import http.client
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

KEEP = ("GCE_METADATA_HOST", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_POD_IDENTITY_AUTHORITY_HOST", "HTTPS_PROXY")
TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url, **headers):
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=60) as answer:  # noqa: S310 - loopback
            return 200, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, type(error).__name__


def connect(proxy):
    place = urllib.parse.urlsplit(proxy)
    basic = base64.b64encode(f"{place.username}:{place.password}".encode()).decode()
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    target = "us-central1-aiplatform.googleapis.com:443"
    connection.putrequest("CONNECT", target, skip_host=True)
    connection.putheader("Proxy-Authorization", "Basic " + basic)
    connection.endheaders()
    answer = connection.sock.recv(4096).decode()
    return int(answer.split()[1]) if answer else 0, answer.rpartition("\r\n\r\n")[2]


def tries(given):
    resource = "?api-version=2019-08-01&resource=remit"
    yield get("http://" + given["GCE_METADATA_HOST"] + TOKEN, **{"Metadata-Flavor": "Google"})
    imds = given["AZURE_POD_IDENTITY_AUTHORITY_HOST"] + "/metadata/identity/oauth2/token"
    yield get(imds + "?api-version=2018-02-01&resource=remit", Metadata="true")
    yield get(given["IDENTITY_ENDPOINT"] + resource, **{"X-IDENTITY-HEADER": given["IDENTITY_HEADER"]})
    yield connect(given["HTTPS_PROXY"])


def reads(path):
    try:
        return len(Path(path).read_bytes())
    except OSError as error:
        return type(error).__name__


own = {name: os.environ[name] for name in KEEP}
mine = json.loads(list(tries(own))[2][1])["access_token"]
print(
    json.dumps(
        {
            "given": own,
            "uid": os.getuid(),
            "job": os.environ["REMIT_JOB"],
            "pid": os.getpid(),
            "mine": hashlib.sha256(mine.encode()).hexdigest(),
            "own": [status for status, _ in tries(own)],
        }
    ),
    flush=True,
)
other = json.loads(sys.stdin.readline())
answers = list(tries(other["given"]))
print(
    json.dumps({"other": [list(one) for one in answers], "environ": reads(f"/proc/{other['pid']}/environ")}), flush=True
)
sys.stdin.readline()
