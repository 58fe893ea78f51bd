"""A job in which everything fails that can, each with the client that a job has, and what `diagnose` makes of it.

python jobs_failing.py CONTROL IMDS DSN DATABASE PROXY CA: the lab's control door, its metadata service, Remit's door for
the database, the database itself, and the clouds without Remit: the lab's proxy and its authority. One line of JSON for each failure: its name, the diagnosis, the exception's own text.
"""

import contextlib
import datetime as dt
import json
import os
import sys
import warnings

warnings.filterwarnings("ignore")

import adlfs  # noqa: E402 - libraries warn of each other
import certifi  # noqa: E402
import google.auth  # noqa: E402
import google.auth.credentials  # noqa: E402
import httpx  # noqa: E402
import psycopg  # noqa: E402
from azure.core.credentials import AccessToken  # noqa: E402
from azure.identity import DefaultAzureCredential  # noqa: E402
from azure.storage.blob import BlobServiceClient  # noqa: E402
from google.cloud import storage  # noqa: E402
from google.cloud.aiplatform_v1.services.job_service import JobServiceClient  # noqa: E402
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient  # noqa: E402

import remit  # noqa: E402
import remit.database  # noqa: E402

CONTROL, IMDS, DSN, DATABASE, PROXY, CA = sys.argv[1:]
PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]
BUNDLE = os.environ["REQUESTS_CA_BUNDLE"]
ACCOUNT = "https://contosofraudtest.blob.core.windows.net"
PIPELINE = "3c000000-0000-4000-8000-000000000002"


def control(**commands):
    """Tells the lab to break, or to be well again."""
    httpx.post(CONTROL, json=commands, trust_env=False, timeout=30).raise_for_status()


@contextlib.contextmanager
def broken(mended, **commands):
    """While the lab is broken."""
    control(**commands)
    try:
        yield
    finally:
        control(**mended)


def fails(name, action):
    """Prints what a failure is taken for."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 - whatever a client raises is asked about
        found = remit.failures.diagnose(error)
        told = {key: str(getattr(found, key)) for key in ("cause", "service", "message", "hint", "decision", "who")}
        print(json.dumps({"name": name, **told, "text": str(error)[:2000]}), flush=True)
    else:
        print(json.dumps({"name": name, "cause": "it did not fail"}), flush=True)


@contextlib.contextmanager
def changed(**variables):
    """With other variables in the environment, which requests reads with every call."""
    before = {name: os.environ[name] for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.update(before)


def straight():
    """Past every proxy, as where a company's own DNS is asked."""
    return changed(NO_PROXY="*", no_proxy="*")


def alone():
    """Without the gateway, which would put the right token in the place of a wrong one."""
    return changed(HTTPS_PROXY=PROXY, https_proxy=PROXY, REQUESTS_CA_BUNDLE=CA)


class Fixed:
    """A credential of azure-core's with one token."""

    def __init__(self, token):
        self._token = token

    def get_token(self, *_scopes, **_more):
        return AccessToken(self._token, int(dt.datetime.now(dt.UTC).timestamp()) + 3600)


class Mine(google.auth.credentials.Credentials):
    """One of google-auth's, with one token."""

    def __init__(self, token):
        super().__init__()
        self.token = token

    def refresh(self, request):
        """It stays what it is."""


def aged():
    """A token for Remit that was good yesterday, as Entra issued it then."""
    asked = {"api-version": "2018-02-01", "resource": "api://remit", "client_id": PIPELINE}
    with broken({"skew_entra": 0}, skew_entra=-172_800):
        url = f"{IMDS}/metadata/identity/oauth2/token"
        answer = httpx.get(url, params=asked, headers={"metadata": "true"}, trust_env=False, timeout=30)
    return answer.raise_for_status().json()["access_token"]


def blob():
    """Azure Blob Storage: azure-storage-blob, and adlfs once."""
    ambient = DefaultAzureCredential()
    once = {"retry_total": 0, "connection_timeout": 20}

    def read(credential=ambient, url=ACCOUNT, **more):
        client = BlobServiceClient(url, credential=credential, **once, **more)
        return lambda: client.get_blob_client("features", "payments/1.tfrecord").download_blob().readall()

    def by_adlfs():
        files = adlfs.AzureBlobFileSystem("contosofraudtest", anon=False, skip_instance_cache=True)
        files.cat_file("features/payments/1.tfrecord")

    well = {"blob_fault": None}
    for name, kind in (("iam", "role"), ("expired", "expired"), ("throttled", "busy"), ("firewall", "firewall")):
        with broken(well, blob_fault={"kind": kind, "times": -1}):
            fails(f"Blob {name}", read())
    with broken(well, blob_fault={"kind": "role", "times": -1}):
        fails("Blob iam by adlfs", by_adlfs)
    own = remit.Credential().get_token("remit").token  # good at Remit, and nowhere else
    fails("Blob audience", read(Fixed(own)))
    with straight():
        fails("Blob dns", read(Fixed(own), "https://contoso.blob.core.windows.net.invalid"))
    fails("Blob tls", read(connection_verify=certifi.where()))


def cloud_storage():
    """Google's Cloud Storage, by google-cloud-storage."""

    def read(credentials=None, **more):
        client = storage.Client(PROJECT, credentials, **more)
        return lambda: (
            client.bucket(f"{PROJECT}-data").blob("payments/1.tfrecord").download_as_bytes(retry=None, timeout=20)
        )

    service = "storage.googleapis.com"
    kinds = {
        "iam": "iam",
        "expired": "token_expired",
        "throttled": "quota",
        "firewall": "perimeter",
        "firewall of a bucket": "ip_filter",
    }
    for name, kind in kinds.items():
        wrong = {"service": service, "kind": kind, "permission": "storage.objects.get"}
        with broken({"refuse": {"service": service}}, refuse=wrong):
            fails(f"Storage {name}", read())
    fails("Storage token", read(Mine("ya29.of-another-party")))
    fails(
        "Storage audience", read(Mine(DefaultAzureCredential().get_token("https://storage.azure.com/.default").token))
    )
    with straight():
        given = {"client_options": {"api_endpoint": "https://storage.googleapis.com.invalid"}}
        fails("Storage dns", read(Mine("none"), **given))
    os.environ["REQUESTS_CA_BUNDLE"] = certifi.where()
    fails("Storage tls", read(Mine("none")))
    os.environ["REQUESTS_CA_BUNDLE"] = BUNDLE


def vertex():
    """Vertex AI, by Google's own client over REST and gRPC."""
    host = "us-central1-aiplatform.googleapis.com"
    parent = f"projects/{PROJECT}/locations/us-central1"

    def models(host=host, credentials=None, transport="rest"):
        options = {"api_endpoint": host}
        client = ModelServiceClient(credentials=credentials, transport=transport, client_options=options)
        return lambda: list(client.list_models(parent=parent, retry=None, timeout=20))

    def launches_too_much():
        client = JobServiceClient(transport="rest", client_options={"api_endpoint": host})
        image = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest"
        pool = {"machine_spec": {"machine_type": "a3-megagpu-8g"}, "container_spec": {"image_uri": image}}
        account = f"trainer@{PROJECT}.iam.gserviceaccount.com"
        job = {"display_name": "huge", "job_spec": {"service_account": account, "worker_pool_specs": [pool]}}
        client.create_custom_job(parent=parent, custom_job=job, retry=None, timeout=20)

    fails("Vertex refused", launches_too_much)
    service = "aiplatform.googleapis.com"
    kinds = {"iam": "iam", "throttled": "quota", "expired": "token_expired", "firewall": "perimeter"}
    for name, kind in kinds.items():
        with broken({"refuse": {"service": service}}, refuse={"service": service, "kind": kind}):
            fails(f"Vertex {name}", models())
            fails(f"Vertex {name} over gRPC", models(transport="grpc"))
    with alone():
        other = DefaultAzureCredential().get_token("https://storage.azure.com/.default").token
        fails("Vertex audience", models(credentials=Mine(other)))
    with straight():
        fails("Vertex dns", models(f"{host}.invalid"))
    os.environ["REQUESTS_CA_BUNDLE"] = certifi.where()
    fails("Vertex tls", models())
    os.environ["REQUESTS_CA_BUNDLE"] = BUNDLE


def database():
    """PostgreSQL, by psycopg."""

    def connect(password=None, **more):
        password = password or remit.database.password("remit")
        return lambda: psycopg.connect(DSN, password=password, connect_timeout=20, **more).close()

    def reads_salaries():
        with psycopg.connect(DSN, password=remit.database.password("remit")) as connection:
            connection.execute("SELECT * FROM salaries")

    fails("SQL iam", reads_salaries)
    fails("SQL refused", connect(user="fraud_writer"))
    fails("SQL expired", connect(aged()))
    other = DefaultAzureCredential().get_token("https://storage.azure.com/.default").token
    fails("SQL audience", connect(other))
    fails("SQL firewall", connect(user="fraud_firewalled"))
    fails("SQL throttled", connect(user="fraud_busy"))
    fails("SQL dns", connect("none", host="db.contoso.example.invalid"))
    proof = {"sslmode": "verify-full", "sslrootcert": certifi.where()}
    fails("SQL tls", connect("none", port=DATABASE, **proof))


for work in (blob, cloud_storage, vertex, database):
    work()
