"""Trains on TFRecords in a bucket and writes a SavedModel beside them, as any Vertex AI job does.

Nothing here knows of Remit: TensorFlow reads and writes `gs://` as the job's service account.
"""

import argparse
import os

import tensorflow as tf

PIXELS, DIGITS, STEPS = 64, 10, 45


def digits(pattern: str) -> tf.data.Dataset:
    """Pixels in 0..1 and the digit, from the TFRecords that match a pattern."""
    schema = {"pixels": tf.io.FixedLenFeature([PIXELS], tf.float32), "label": tf.io.FixedLenFeature([], tf.int64)}
    files = tf.io.gfile.glob(pattern)
    records = tf.data.TFRecordDataset(files).map(lambda record: tf.io.parse_single_example(record, schema))
    return records.map(lambda example: (example["pixels"] / 16.0, example["label"]))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--epochs", type=int, default=12)
    options = arguments.parse_args()
    tf.keras.utils.set_random_seed(7)

    train = digits(f"{options.data}/train-*.tfrecord").cache().shuffle(2000).batch(32)
    held_out = digits(f"{options.data}/heldout-*.tfrecord").batch(512)
    model = tf.keras.Sequential(
        [
            tf.keras.Input((PIXELS,), name="pixels"),
            tf.keras.layers.Dense(64, activation="relu"),
            tf.keras.layers.Dense(DIGITS, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    for epoch in range(1, options.epochs + 1):
        history = model.fit(train.repeat(), steps_per_epoch=STEPS, verbose=0).history
        print(f"epoch {epoch}: loss {history['loss'][0]:.3f} accuracy {history['accuracy'][0]:.3f}", flush=True)
    _, accuracy = model.evaluate(held_out, verbose=0)
    print(f"held-out accuracy {accuracy:.3f}", flush=True)
    model.export(os.environ["AIP_MODEL_DIR"], verbose=False)
    print("model written", flush=True)


if __name__ == "__main__":
    main()
