"""Google's and Microsoft's own clients, and TensorFlow, where a role holds below a prefix alone; at the lab and Azurite."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.unit.tensorflow.conftest import ACCOUNT, load
from tests.unit.tensorflow.test_tensorflow_cloud_storage import told

from remit.lab import contoso, lifecycle
from remit.tensorflow.errors import ReadRefused
from remit.trust.prefixes import azure_condition, google_condition

WRITER = contoso.account("data-scientist", contoso.FRAUD_TEST)
BUCKET = contoso.FRAUD_TEST.buckets[1]
NAMES = ("below/a", "below/deep/b", "below", "below2/a", "secret")


ADLFS = """
import json
import fsspec
files = fsspec.filesystem("az", account_name="contosofraudtest", anon=False)
found = {}
for verb, name in (
    ("cat", "below/a"), ("find", "below/deep/"), ("cat", "below2/a"), ("cat", "secret"), ("find", "below2/"), ("find", "")
):
    try:
        answer = getattr(files, verb)(f"features/{name}")
        found[f"{verb} {name}"] = answer.decode() if isinstance(answer, bytes) else answer
    except Exception as error:
        assert "AuthorizationPermissionMismatch" in str(error) or "403" in str(error), repr(error)
        found[f"{verb} {name}"] = "refused"
print(json.dumps(found))
"""


@pytest.fixture
def below(storage):
    """The container `features`, of which the pipeline has now what lies below `below/` and no more."""
    for name in NAMES:
        storage.put("features", name, f"content of {name}".encode())
    condition = azure_condition(["below/"], write=True)
    storage.control(assign={**storage.assignment("features", "Storage Blob Data Contributor"), "condition": condition})
    return storage


@pytest.mark.promise("T6")
def test_microsofts_client_opens_what_lies_below_and_nothing_beside(below):
    from azure.core.exceptions import HttpResponseError

    from remit.tensorflow.blob import Container, ambient

    container = Container(f"{ACCOUNT}/features", ambient)._client
    assert container.download_blob("below/a").readall() == b"content of below/a"
    assert [each.name for each in container.list_blobs(name_starts_with="below/")] == ["below/a", "below/deep/b"]
    assert {each.name for each in container.walk_blobs(name_starts_with="below/")} == {"below/a", "below/deep/"}
    container.upload_blob("below/new", b"x" * 100)
    container.delete_blob("below/new")

    def refused(act):
        with pytest.raises(HttpResponseError) as caught:
            act()
        return caught.value.status_code

    outside = ("below", "below2/a", "secret", "elsewhere", "below%2Fa", "Below/a")
    assert {refused(lambda name=name: container.download_blob(name).readall()) for name in outside} == {403}
    assert {refused(lambda name=name: container.upload_blob(name, b"x", overwrite=True)) for name in outside} == {403}
    assert {refused(lambda name=name: container.delete_blob(name)) for name in outside} == {403}
    for prefix in (None, "below", "b"):
        assert refused(lambda prefix=prefix: list(container.list_blobs(name_starts_with=prefix))) == 403
    for name in ("below/../secret", "below/./../secret", "below/%2e%2e/secret"):
        blob = container.get_blob_client(name)
        assert refused(lambda blob=blob: blob.download_blob().readall()) in {400, 403, 404}


@pytest.mark.promise("T6")
def test_adlfs_and_tensorflow_read_below_a_prefix(tf, below, written):
    from remit.tensorflow import tfrecords

    done = subprocess.run([sys.executable, "-c", ADLFS], capture_output=True, text=True, timeout=240, check=False)
    assert json.loads(done.stdout or "{}") == {
        "cat below/a": "content of below/a",
        "find below/deep/": ["features/below/deep/b"],
        "cat below2/a": "refused",
        "cat secret": "refused",
        "find below2/": "refused",
        "find ": "refused",
    }, done.stderr[-3000:]
    below.put("features", "below/0.tfrecord", written([b"one", b"two"]))
    assert sorted(tfrecords(f"az://{ACCOUNT}/features/below/*.tfrecord").as_numpy_iterator()) == [b"one", b"two"]
    with pytest.raises(ReadRefused):
        list(tfrecords(f"az://{ACCOUNT}/features/below2/*.tfrecord", patience=1).as_numpy_iterator())


class Bucket:
    """Contoso's staging bucket, on which one account holds a role below `below/`, for as long as a test lasts."""

    def __init__(self, lab: lifecycle.Lab) -> None:
        self.wire = load(Path(__file__).parents[1] / "lab" / "conftest.py").Wire(lab)
        self.token = self.wire.account_token(contoso.ADA, WRITER)
        self.wire.engineer = self.wire.account_token(contoso.DANA, contoso.account("ml-engineer", contoso.FRAUD_TEST))
        answer = httpx.post(lab.control, json={"google_administrator": True}, trust_env=False, timeout=20)
        self.administrator = answer.json()["told"]["google_administrator"]
        self.before = self.policy()

    def policy(self) -> dict:
        path = f"/storage/v1/b/{BUCKET}/iam?optionsRequestedPolicyVersion=3"
        return json.loads(self.wire.ask("storage.googleapis.com", "GET", path, bearer=self.administrator).body)

    def write(self, bindings) -> None:
        policy = {**self.policy(), "version": 3, "bindings": bindings}
        path = f"/storage/v1/b/{BUCKET}/iam"
        answer = self.wire.ask("storage.googleapis.com", "PUT", path, body=policy, bearer=self.administrator)
        assert answer.status == 200, answer.body


@pytest.fixture
def bucket(lab: lifecycle.Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name, value in lifecycle.variables(lab).items():
        monkeypatch.setenv(name, value)
    found = Bucket(lab)
    for name in NAMES:
        found.wire.put(BUCKET, name, f"content of {name}".encode())
    line = {"role": "roles/storage.objectUser", "members": [f"serviceAccount:{WRITER}"]}
    found.write([*found.before["bindings"], {**line, "condition": dict(google_condition(BUCKET, "below/"))}])
    yield found
    found.write(found.before["bindings"])


@pytest.mark.promise("T6")
def test_googles_client_opens_what_lies_below_and_nothing_beside(bucket):
    from google.api_core.exceptions import Forbidden
    from google.cloud import storage
    from google.oauth2.credentials import Credentials

    client = storage.Client(project=contoso.FRAUD_TEST.id, credentials=Credentials(bucket.token))
    there = client.bucket(BUCKET)
    assert there.blob("below/a").download_as_bytes() == b"content of below/a"
    assert [each.name for each in client.list_blobs(BUCKET, prefix="below/")] == ["below/a", "below/deep/b"]
    there.blob("below/new").upload_from_string(b"x")
    there.blob("below/sum").compose([there.blob("below/a"), there.blob("below/new")])
    assert there.copy_blob(there.blob("below/sum"), there, "below/copy").name == "below/copy"
    for name in ("below/new", "below/sum", "below/copy"):
        there.blob(name).delete()
    for name in ("below", "below2/a", "secret", "elsewhere"):
        for act in (
            there.blob(name).download_as_bytes,
            lambda name=name: there.blob(name).upload_from_string(b"x"),
            there.blob(name).create_resumable_upload_session,
            there.blob(name).delete,
            lambda name=name: there.copy_blob(there.blob(name), there, "below/copy"),
            lambda name=name: there.copy_blob(there.blob("below/a"), there, name),
            lambda name=name: there.blob("below/sum").compose([there.blob("below/a"), there.blob(name)]),
        ):
            with pytest.raises(Forbidden):
                act()
    for prefix in (None, "below", "below2/", "b"):
        with pytest.raises(Forbidden):
            list(client.list_blobs(BUCKET, prefix=prefix))


@pytest.mark.promise("T6")
def test_tensorflows_own_gs_reads_below_a_prefix(lab, bucket, written, metadata_server):
    """Its C++ lists `below/`, with the slash, as a pattern or a folder's name has it."""
    for folder in ("below", "below2"):
        bucket.wire.put(BUCKET, f"{folder}/0.tfrecord", written([b"one", b"two"]))
    answer = {"access_token": bucket.token, "expires_in": 3000, "token_type": "Bearer"}
    metadata = metadata_server(json.dumps(answer).encode())
    assert told(lab, metadata, f"gs://{BUCKET}/below/*.tfrecord") == "one two"
    assert told(lab, metadata, f"gs://{BUCKET}/below2/*.tfrecord").startswith("ReadRefused")
