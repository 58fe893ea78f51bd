"""The job of the soak: trains on TFRecords that it reads anew for every epoch, and counts what it read and what failed.

    python soak_job.py --gs gs://BUCKET/digits --az az://ACCOUNT/CONTAINER/digits --stop FILE

Nothing here knows of Remit but where `tf.data` cannot reach: TensorFlow reads `gs://` itself, `remit.tensorflow` reads
Blob Storage and what is held out, and google-auth asks with one set of credentials all along, as a client that was made
once. A read that fails is counted and told, and the job goes on. It ends when FILE exists.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google.auth
import tensorflow as tf
from google.auth.transport.requests import AuthorizedSession

from remit.tensorflow import tfrecords

PIXELS, DIGITS = 64, 10
SCHEMA = {"pixels": tf.io.FixedLenFeature([PIXELS], tf.float32), "label": tf.io.FixedLenFeature([], tf.int64)}
SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"


class Reads:
    """What was read, by kind, and what failed."""

    def __init__(self) -> None:
        self.records: Counter[str] = Counter()
        self.passes: Counter[str] = Counter()
        self.failed: list[str] = []

    def batches(self, kind: str, records: Callable[[], Any]) -> list[Any]:
        """A whole pass over a dataset: pixels in 0..1 and digits; empty when it failed."""
        try:
            found = [(each["pixels"] / 16.0, each["label"]) for each in records().batch(64).map(parsed)]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a read that failed, and is told
            self.failed.append(f"{kind}: {error}")
            return []
        self.passes[kind] += 1
        self.records[kind] += sum(int(label.shape[0]) for _, label in found)
        return found

    def fetch(self, session: AuthorizedSession, uri: str) -> None:
        """An object, by google-auth."""
        try:
            session.get(f"https://storage.googleapis.com/{uri.removeprefix('gs://')}", timeout=30).raise_for_status()
        except Exception as error:  # noqa: BLE001 - likewise
            self.failed.append(f"google-auth: {error}")
        else:
            self.passes["google-auth"] += 1


def parsed(records: Any) -> Any:
    """Examples of a batch."""
    return tf.io.parse_example(records, SCHEMA)


def main() -> int:
    """Trains until it is told to stop; 1 when a read has failed."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--gs", required=True)
    arguments.add_argument("--az", required=True)
    arguments.add_argument("--stop", type=Path, required=True)
    arguments.add_argument("--pause", type=float, default=0.2, help="seconds between epochs")
    options = arguments.parse_args()
    tf.keras.utils.set_random_seed(7)
    layers = [tf.keras.layers.Dense(64, activation="relu"), tf.keras.layers.Dense(DIGITS, activation="softmax")]
    model = tf.keras.Sequential([tf.keras.Input((PIXELS,)), *layers])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    reads, session, epochs = Reads(), AuthorizedSession(google.auth.default(scopes=[SCOPE])[0]), 0
    right: list[float] = []
    while not options.stop.exists():
        for pixels, label in [
            *reads.batches("gs", lambda: tf.data.TFRecordDataset(tf.io.gfile.glob(f"{options.gs}/train-*.tfrecord"))),
            *reads.batches("az", lambda: tfrecords(f"{options.az}/train-*.tfrecord")),
        ]:
            model.train_on_batch(pixels, label)
        held_out = reads.batches("held out", lambda: tfrecords(f"{options.gs}/heldout-*.tfrecord"))
        right = [float(hit) for pixels, label in held_out for hit in tf.argmax(model(pixels), 1) == label]
        reads.fetch(session, f"{options.gs}/questions.json")
        epochs += 1
        sys.stdout.write(f"epoch {epochs}\n")
        sys.stdout.flush()
        time.sleep(options.pause)
    accuracy = round(sum(right) / len(right), 3) if right else 0.0
    counted = {"epochs": epochs, "passes": reads.passes, "records": reads.records, "accuracy": accuracy}
    sys.stdout.write(json.dumps({**counted, "failed": reads.failed}) + "\n")
    return int(bool(reads.failed))


if __name__ == "__main__":
    sys.exit(main())
