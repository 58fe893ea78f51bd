"""The examples of docs/tensorflow.md run as they stand there."""

import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[3] / "docs" / "tensorflow.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.promise("T7")
def test_the_first_example_reads_records(tf, storage, written, capsys):
    def payment(number: int) -> bytes:
        amount = tf.train.Feature(float_list=tf.train.FloatList(value=[number]))
        fraud = tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 2]))
        features = tf.train.Features(feature={"amount": amount, "fraud": fraud})
        return tf.train.Example(features=features).SerializeToString()

    storage.put("features", "payments/0.tfrecord", written([payment(number) for number in range(40)]))
    exec(compile(EXAMPLES[0], str(DOCUMENT), "exec"), {})  # noqa: S102 - our own document
    shown = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" ")[0] for line in shown] == ["(32,)", "(8,)"]
    assert sum(int(line.rpartition(" ")[2]) for line in shown) == 20


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_python(example):
    compile(example, str(DOCUMENT), "exec")


def test_every_argument_is_documented(tf):
    import inspect

    from remit.tensorflow import tfrecords

    shown = set(re.findall(r"^\| `(\w+)=", DOCUMENT.read_text("utf-8"), re.MULTILINE))
    assert shown == set(inspect.signature(tfrecords).parameters) - {"patterns"}
