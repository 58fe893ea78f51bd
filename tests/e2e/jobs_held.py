"""A job that holds all that a run can hold, does what it is told on its input, and says what happens to it."""

import base64
import http.client
import json
import os
import sys
import threading
import time
import urllib.parse

import psycopg
from azure.identity import DefaultAzureCredential

import remit
import remit.database

DSN, PROJECT = sys.argv[1], os.environ["GOOGLE_CLOUD_PROJECT"]
proxy = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])
basic = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
lock = threading.Lock()


def say(event, **more):
    with lock:
        print(json.dumps({"event": event, "at": time.time(), **more}), flush=True)


def tunnel(host):
    connection = http.client.HTTPSConnection(proxy.hostname, proxy.port, timeout=120)
    connection.set_tunnel(host, 443, {"Proxy-Authorization": "Basic " + basic})
    return connection


def ask(connection):
    connection.request("GET", f"/v1/projects/{PROJECT}/locations/us-central1/models")
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def vertex():
    """One tunnel, and one call after the other in it."""
    connection = tunnel("us-central1-aiplatform.googleapis.com")
    status, text = ask(connection)
    say("opened", what="vertex", status=status)
    while status == 200:
        time.sleep(0.1)
        try:
            status, text = ask(connection)
        except (OSError, http.client.HTTPException) as error:
            status, text = 0, type(error).__name__
    say("vertex", status=status, text=text)


def straight():
    connection = tunnel("storage.googleapis.com")
    connection.connect()
    say("opened", what="straight")
    try:
        connection.sock.settimeout(600)
        say("straight", text=repr(connection.sock.recv(1)))
    except OSError as error:
        say("straight", text=type(error).__name__)


def database():
    with psycopg.connect(DSN, password=remit.database.password("remit")) as connection:
        say("opened", what="database")
        try:
            connection.execute("SELECT pg_sleep(600)")
        except psycopg.Error as error:
            say("database", text=str(error))


for each in (vertex, straight, database):
    threading.Thread(target=each, daemon=True).start()
DefaultAzureCredential().get_token("https://storage.azure.com/.default")
say("token")
for line in sys.stdin:
    word = line.strip()
    if word == "renew":
        try:
            # another of the run's tokens, which it has not held yet: as a renewal, it is decided on anew
            import google.auth
            import google.auth.transport.requests

            credentials, _ = google.auth.default()
            credentials.refresh(google.auth.transport.requests.Request())
            say("renewed")
        except Exception as error:  # noqa: BLE001 - whatever a client raises is asked about
            found = remit.failures.diagnose(error)
            say("renewal", text=str(error), cause=str(found.cause), message=found.message)
    elif word == "ask":
        say("asked", status=ask(tunnel("us-central1-aiplatform.googleapis.com"))[0])
    elif word == "query":
        with psycopg.connect(DSN, password=remit.database.password("remit")) as connection:
            say("queried", row=connection.execute("SELECT 1").fetchone())
    else:
        sys.exit(7)
