"""Real TensorFlow reads real TFRecords from Azurite, behind a door that checks tokens and roles as Azure does."""

import gc
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from remit.tensorflow.errors import ReadFailed, ReadRefused

ALL = "az://contosofraudtest/features/train/*.tfrecord"
SAME = "abfs://features@contosofraudtest.dfs.core.windows.net/train/*.tfrecord"
FILES, EACH = 4, 300
WORDS = sorted(f"{file}-{number}".encode() for file in range(FILES) for number in range(EACH))


@pytest.fixture
def train(storage, written):
    """Four files of three hundred records each."""
    for file in range(FILES):
        records = [f"{file}-{number}".encode() for number in range(EACH)]
        storage.put("features", f"train/{file}.tfrecord", written(records))
    return storage


def words(dataset) -> list[bytes]:
    return sorted(dataset.as_numpy_iterator())


@pytest.fixture
def in_pieces(tmp_path, monkeypatch) -> Path:
    """Blobs come by ten thousand bytes, and whoever is silent for two seconds is not waited for; a folder."""
    from remit.tensorflow import blob

    monkeypatch.setattr(blob.Container, "chunk", 10_000)
    monkeypatch.setattr(blob, "_READ", 2)
    return tmp_path


@pytest.mark.promise("T6")
@pytest.mark.promise("T7")
@pytest.mark.parametrize("pattern", [ALL, SAME])
def test_records_are_read_by_the_jobs_own_identity(tf, train, pattern):
    from remit.tensorflow import tfrecords

    before = len(train.log())
    assert words(tfrecords(pattern)) == WORDS
    seen = [line for line in train.log()[before:] if line["operationName"] == "GetBlob"]
    assert {line["blob"] for line in seen} == {f"train/{file}.tfrecord" for file in range(FILES)}
    assert all(line["identity"]["requester"]["uti"] for line in seen), "who read stands in the cloud's own log"


@pytest.mark.promise("T5")
@pytest.mark.promise("T7")
def test_within_a_run_it_is_the_runs_identity(tf, train, metadata_server, monkeypatch):
    """What stands beside the run is asked, and nothing else that the machine has."""
    from azure.identity import ManagedIdentityCredential

    from remit.tensorflow import tfrecords

    with ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"]) as machine:
        token = machine.get_token("https://storage.azure.com/.default")
    said = {"access_token": token.token, "expires_on": str(token.expires_on), "token_type": "Bearer"}
    beside = metadata_server(json.dumps(said).encode())
    given = {
        "REMIT_JOB": "j-1",
        "IDENTITY_ENDPOINT": f"http://{beside}/secret/msi/token",
        "IDENTITY_HEADER": "secret",
        "GCE_METADATA_HOST": f"{beside}/secret",
        "GOOGLE_CLOUD_PROJECT": "contoso-fraud-test",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert words(tfrecords(ALL)) == WORDS


ADLFS = """
import adlfs
from azure.identity import DefaultAzureCredential
with DefaultAzureCredential() as credential:
    files = adlfs.AzureBlobFileSystem("contosofraudtest", credential=credential, skip_instance_cache=True)
    print(len(files.glob("features/train/*.tfrecord")), b"0-299" in files.cat_file("features/train/0.tfrecord"))
"""


@pytest.mark.promise("T7")
def test_plain_adlfs_reads_the_same_by_the_same_identity(train):
    """In a process of its own: aiohttp reads the authorities when it is imported, and never again."""
    done = subprocess.run([sys.executable, "-c", ADLFS], capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout == f"{FILES} True\n", done.stderr[-3000:]


def test_files_come_ahead_without_a_name_and_are_gone_when_read(tf, train, tmp_path):
    from remit.tensorflow import tfrecords

    folder = tmp_path / "ahead"
    dataset = tfrecords(ALL, stage=folder, interleave=2)
    for _ in range(2):
        assert words(dataset) == WORDS
    assert list(folder.iterdir()) == []
    held = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    assert [name for name in held if str(folder) in name] == []


def test_an_iteration_that_is_left_leaves_no_file_on_the_disk(tf, train, tmp_path):
    from remit.tensorflow import tfrecords

    def held():
        links = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        return [name for name in links if str(tmp_path) in name]

    dataset = tfrecords(ALL, stage=tmp_path, interleave=2)
    assert sum(1 for _ in dataset.take(3).repeat(5)) == 15
    assert next(iter(dataset)).numpy() in WORDS
    deadline = time.monotonic() + 60
    while held():
        gc.collect()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("staged", [False, True])
def test_shards_are_disjoint_and_whole(tf, train, tmp_path, count, staged):
    """By file; by record where there are more shards than files, and then they are of one size."""
    from remit.tensorflow import tfrecords

    stage = tmp_path if staged else None
    shards = [words(tfrecords(ALL, shard=(index, count), stage=stage)) for index in range(count)]
    assert sorted(itertools.chain(*shards)) == WORDS
    if count == 8:
        assert max(map(len, shards)) - min(map(len, shards)) <= FILES


@pytest.mark.parametrize("compression", ["GZIP", "ZLIB"])
def test_packed_files_are_read_both_ways(tf, storage, written, tmp_path, compression):
    from remit.tensorflow import tfrecords

    storage.put("features", "packed/x.tfrecord", written([b"one", b"two"], compression))
    for stage in (None, tmp_path):
        found = tfrecords("az://contosofraudtest/features/packed/*", compression=compression, stage=stage)
        assert words(found) == [b"one", b"two"]


@pytest.mark.promise("T8")
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "expired", "times": 2, "after": 2},
        {"kind": "busy", "times": 2, "after": 1},
        {"kind": "drop", "bytes": 1000, "times": 4, "after": 1},
        {"kind": "stall", "bytes": 1000, "seconds": 5, "times": 1},
    ],
    ids=lambda fault: fault["kind"],
)
@pytest.mark.parametrize("staged", [False, True])
def test_a_fault_on_the_way_costs_no_record_and_gives_none_twice(storage, written, in_pieces, fault, staged):
    from remit.tensorflow import tfrecords

    records = [str(number).encode() * 20 for number in range(1000)]
    storage.put("features", "cut/x.tfrecord", written(records))
    storage.control(blob_fault=fault)
    found = tfrecords("az://contosofraudtest/features/cut/*", stage=in_pieces if staged else None)
    assert list(found.as_numpy_iterator()) == records


@pytest.mark.promise("T8")
def test_a_role_that_goes_while_reading_is_told_as_what_it_is(tf, train):
    """TensorFlow knows one class of error for whatever Python raises: the text has to say it."""
    from remit.tensorflow import tfrecords

    train.control(blob_fault={"kind": "role", "times": -1})
    with pytest.raises(tf.errors.UnknownError) as told:
        words(tfrecords(ALL))
    assert "ReadRefused: `az://contosofraudtest/features/train/" in str(told.value)
    assert "remit: iam (Blob): " in str(told.value)
    assert "hint: " in str(told.value)
    assert sum(line["statusCode"] == 403 for line in train.log()[-8:]) <= FILES, "asked again after a no"


@pytest.mark.promise("T8")
@pytest.mark.promise("T9")
def test_a_role_that_lacks_is_told_before_anything_is_read(tf, train):
    from remit.tensorflow import stage, tfrecords

    for container in ("features", "staging"):
        train.control(unassign=train.assignment(container, "Storage Blob Data Contributor"))
    for ask in (lambda: tfrecords(ALL), lambda: stage(ALL, "/nowhere"), lambda: tfrecords(ALL.replace("*", "0"))):
        with pytest.raises(ReadRefused, match="cannot be read") as told:
            ask()
        assert told.value.hint


def test_a_reader_may_read_and_not_write(storage):
    from azure.core.exceptions import HttpResponseError

    storage.put("features", "reader/x", b"there")
    storage.control(unassign=storage.assignment("features", "Storage Blob Data Contributor"))
    storage.control(assign=storage.assignment("features", "Storage Blob Data Reader"))
    try:
        with pytest.raises(HttpResponseError) as refused:
            storage.put("features", "reader/x", b"changed")
        assert refused.value.error_code == "AuthorizationPermissionMismatch"
    finally:
        storage.control(unassign=storage.assignment("features", "Storage Blob Data Reader"))


@pytest.mark.promise("T7")
@pytest.mark.parametrize("name", ["AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"])
def test_no_static_credential_of_the_environment_stands_in(tf, train, monkeypatch, name):
    from remit.tensorflow import tfrecords

    key = train.keys["contosofraudtest"]
    monkeypatch.setenv(name, f"AccountName=contosofraudtest;AccountKey={key}" if "STRING" in name else key)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", key)
    train.control(blob_keys=True)
    assert words(tfrecords(ALL)) == WORDS
    assert train.log()[-1]["identity"]["type"] == "OAuth"


def test_an_accounts_key_is_taken_where_it_is_given(tf, train):
    from remit.tensorflow import tfrecords

    with pytest.raises(ReadRefused):
        tfrecords(ALL, credential=train.keys["contosofraudtest"])
    train.control(blob_keys=True)
    assert words(tfrecords(ALL, credential=train.keys["contosofraudtest"])) == WORDS


def test_a_file_that_is_replaced_while_it_is_read_is_no_mixture(storage, monkeypatch):
    from remit.tensorflow.blob import Container
    from remit.tensorflow.reading import Reader

    monkeypatch.setattr(Container, "chunk", 100)
    storage.put("features", "replaced/x", b"a" * 300)
    reader = Reader()
    [file] = reader.find("az://contosofraudtest/features/replaced/*")
    pieces = reader.pieces(file)
    assert next(pieces) == b"a" * 100
    storage.put("features", "replaced/x", b"b" * 300)
    with pytest.raises(ReadFailed):
        next(pieces)


def test_staging_brings_files_for_good(storage, tmp_path):
    from remit.tensorflow import stage

    storage.put("features", "here/a b.bin", b"one")
    [path] = stage("az://contosofraudtest/features/here/*", tmp_path / "s")
    assert path == tmp_path / "s" / "contosofraudtest" / "features" / "here" / "a b.bin"
    assert (path.read_bytes(), path.stat().st_mode & 0o077) == (b"one", 0)
    assert sorted(path.parent.iterdir()) == [path]


def test_what_stands_for_a_folder_is_no_file(storage, tmp_path):
    from remit.tensorflow import stage
    from remit.tensorflow.blob import Container, ambient

    container = Container("contosofraudtest/features", ambient)._client
    container.upload_blob("tree/inner", b"", metadata={"hdi_isfolder": "true"})
    container.upload_blob("tree/other/", b"")
    storage.put("features", "tree/inner/file.bin", b"one")
    assert [path.name for path in stage("az://contosofraudtest/features/tree/**", tmp_path)] == ["file.bin"]


def test_a_blobs_name_does_not_lead_out_of_the_folder(tmp_path):
    from remit.tensorflow.files import File
    from remit.tensorflow.locations import Location
    from remit.tensorflow.staging import _place

    for name in ("../x", "a/../../x", "/x", "a//x", "a/./x", "a\0b", ".."):
        with pytest.raises(ReadFailed, match="no name"):
            _place(File(Location("az", "acc/con", name), 1), tmp_path)


@pytest.mark.promise("T5")
def test_two_workers_train_one_model_as_one_principal(tf, storage, written, tmp_path):
    """Real processes, real collectives: each reads its own files, and both are in the cloud's log as the same one."""
    feature, train = tf.train.Feature, tf.train

    def example(number: int) -> bytes:
        x = (number % 100) / 100
        fields = {"x": x, "y": 3 * x - 1}
        named = {name: feature(float_list=train.FloatList(value=[value])) for name, value in fields.items()}
        named["id"] = feature(int64_list=train.Int64List(value=[number]))
        return train.Example(features=train.Features(feature=named)).SerializeToString()

    for file in range(4):
        storage.put("features", f"two/{file}.tfrecord", written([example(file * 50 + each) for each in range(50)]))
    before = len(storage.log())
    told = _both(tmp_path, "az://contosofraudtest/features/two/*.tfrecord")
    assert told[0]["weights"] == pytest.approx(told[1]["weights"], abs=1e-6)
    assert told[0]["weights"] == pytest.approx([3, -1], abs=0.5)
    assert sorted(told[0]["seen"] + told[1]["seen"]) == list(range(200))
    read = [line for line in storage.log()[before:] if line["operationName"] == "GetBlob"]
    assert len({line["identity"]["requester"]["objectId"] for line in read}) == 1
    assert len({line["identity"]["requester"]["uti"] for line in read}) == 2, "a token for each worker"


def _both(folder: Path, pattern: str) -> list[dict]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        places = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
    program = Path(__file__).with_name("two_workers.py")
    workers = []
    try:
        for index in range(2):
            config = {"cluster": {"worker": places}, "task": {"type": "worker", "index": index}}
            environment = os.environ | {"TF_CONFIG": json.dumps(config), "TF_CPP_MIN_LOG_LEVEL": "3"}
            with (folder / f"{index}.err").open("wb") as err:
                command = [sys.executable, str(program), pattern]
                workers.append(
                    subprocess.Popen(
                        command, env=environment, stdout=subprocess.PIPE, stderr=err, start_new_session=True
                    )
                )
        told = [worker.communicate(timeout=240)[0] for worker in workers]
    finally:
        for worker in workers:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
    assert [worker.returncode for worker in workers] == [0, 0], (folder / "0.err").read_text()[-3000:]
    return [json.loads(each.splitlines()[-1]) for each in told]
