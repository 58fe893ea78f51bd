"""One of two workers that train one model together: it reads its own files as whoever the job is.

    TF_CONFIG='{"cluster": {"worker": ["127.0.0.1:5001", "127.0.0.1:5002"]}, "task": {"type": "worker", "index": 0}}' \
        python two_workers.py az://ACCOUNT/CONTAINER/PATTERN

Nothing here knows of a token, nor of Remit but for the one line that names the data; it runs under `remit run` as it
does on a machine with a managed identity. Prints one JSON line: the examples that it saw, and the weights at the end.
"""

import json
import os
import sys

import tensorflow as tf

from remit.tensorflow import tfrecords

BATCH, EPOCHS = 25, 12
WANTED = {
    name: tf.io.FixedLenFeature([], kind) for name, kind in (("id", tf.int64), ("x", tf.float32), ("y", tf.float32))
}


def main(pattern: str) -> None:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    def mine(context):
        shard = (context.input_pipeline_id, context.num_input_pipelines)
        records = tfrecords(pattern, shard=shard, interleave=2)
        return records.batch(BATCH).map(lambda each: tf.io.parse_example(each, WANTED))

    data = strategy.distribute_datasets_from_function(mine)
    with strategy.scope():
        mean = tf.VariableAggregation.MEAN
        weight, bias = (tf.Variable(0.0, aggregation=mean) for _ in range(2))

    @tf.function
    def train(examples):
        def one(each):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((weight * each["x"] + bias - each["y"]) ** 2)
            for variable, gradient in zip((weight, bias), tape.gradient(loss, [weight, bias]), strict=True):
                variable.assign_sub(0.5 * gradient)
            return each["id"]

        return strategy.run(one, args=(examples,))

    seen = set()
    for _ in range(EPOCHS):
        for examples in data:
            seen.update(train(examples).numpy().tolist())
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    print(
        json.dumps(
            {"worker": index, "seen": sorted(seen), "weights": [float(each.numpy()) for each in (weight, bias)]}
        ),
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1])
