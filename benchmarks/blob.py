"""TFRecords from Blob Storage: does reading by identity cost anything beside reading with a key?

One Azurite behind the lab's one door, which takes keys when told: the same pipeline reads the same files with a token
(asked for once, as in a job) and with the account's key, by ranges and staged ahead, in turns, so that whatever else
the machine does meets both. Beside them the same files on the local disk. `within`: the token's rate as a share of the
key's, by the medians of all rounds. Exits with 1 when that is below 0.9 for either way.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
from figures import RESULTS, keep, machine, versions

from remit.lab import contoso, contoso_azure, lifecycle

ACCOUNT, CONTAINER = "contosofraudtest", "features"
IDENTITY = contoso.FRAUD_PIPELINE
RECORD = 1000  # bytes
LEAST = 0.9  # of the key's rate: what the issue promises


def azurite() -> ModuleType:
    """The starter of Azurite that the tests use."""
    path = Path(__file__).parents[1] / "tests" / "providers" / "azurite.py"
    spec = importlib.util.spec_from_file_location("providers_azurite", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def storage(stack: ExitStack, folder: Path) -> str:
    """Starts the lab before an Azurite, makes this process the pipeline's machine, and returns the account's key."""
    lab = lifecycle.up(folder / "lab")
    stack.callback(lifecycle.down, folder / "lab")
    store = stack.enter_context(azurite().azurite(ACCOUNT))
    role = {"principal": IDENTITY.oid, "container": f"{ACCOUNT}/{CONTAINER}", "role": contoso_azure.CONTRIBUTOR}
    place = {"address": store.address, "keys": store.keys}
    httpx.post(lab.control, json={"azurite": place, "assign": role, "blob_keys": True}).raise_for_status()
    os.environ |= lifecycle.variables(lab) | {"AZURE_CLIENT_ID": IDENTITY.client_id}
    return str(store.keys[ACCOUNT])


def fill(folder: Path, files: int, records: int, credential: Any) -> None:
    """Writes the files, here and there."""
    import tensorflow as tf  # noqa: PLC0415 - seconds
    from azure.storage.blob import ContainerClient  # noqa: PLC0415 - the same

    client = ContainerClient(f"https://{ACCOUNT}.blob.core.windows.net", CONTAINER, credential=credential)
    client.create_container()
    for file in range(files):
        path = folder / f"{file}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for _ in range(records):
                writer.write(os.urandom(RECORD))
        with path.open("rb") as content:
            client.upload_blob(path.name, content)


def rate(read: Callable[[], Any], expected: int) -> float:
    """Records a second of one pass, from the call to the last record."""
    began = time.perf_counter()
    found = sum(int(batch.shape[0]) for batch in read().batch(1024))
    if found != expected:
        raise RuntimeError(f"{found} records instead of {expected}")
    return found / (time.perf_counter() - began)


def main() -> int:
    """Measures, and writes `results/blob.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--records", type=int, default=20_000, help="of a thousand bytes, in each file")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench")))
        key = storage(stack, folder)
        fill(folder, options.files, options.records, key)
        rates = measured(folder, key, options.rounds, options.files * options.records)
    middle = {name: round(statistics.median(each)) for name, each in rates.items()}
    within = {way: round(middle[f"{way}, token"] / middle[f"{way}, key"], 3) for way in ("ranges", "staged")}
    figures = {"records_a_second": middle, "within": within, "every": {n: [*map(round, e)] for n, e in rates.items()}}
    given = {"files": options.files, "records": options.records, "bytes": RECORD, "rounds": options.rounds}
    packages = versions("tensorflow-cpu", "azure-storage-blob", "azure-identity")
    keep("blob", {"machine": machine(), "versions": packages, **given, **figures}, options.results)
    sys.stdout.write(json.dumps({**given, **figures}) + "\n")
    return int(min(within.values()) < LEAST)


def measured(folder: Path, key: str, rounds: int, expected: int) -> dict[str, list[float]]:
    """Every pipeline's rates, one of each a round, after a round that does not count."""
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - half a second

    from remit.tensorflow import tfrecords  # noqa: PLC0415 - TensorFlow

    there, ahead = f"az://{ACCOUNT}/{CONTAINER}/*.tfrecord", folder / "ahead"
    token = DefaultAzureCredential()
    pipelines = {
        "local": lambda: tfrecords(f"{folder}/*.tfrecord"),
        "ranges, key": lambda: tfrecords(there, credential=key),
        "ranges, token": lambda: tfrecords(there, credential=token),
        "staged, key": lambda: tfrecords(there, credential=key, stage=ahead),
        "staged, token": lambda: tfrecords(there, credential=token, stage=ahead),
    }
    rates: dict[str, list[float]] = {name: [] for name in pipelines}
    for count in range(rounds + 1):
        for name in sorted(pipelines, reverse=bool(count % 2)):
            found = rate(pipelines[name], expected)
            if count:
                rates[name].append(found)
    return rates


if __name__ == "__main__":
    sys.exit(main())
