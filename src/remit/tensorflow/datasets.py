"""`tfrecords`: TFRecord files as a `tf.data.Dataset`, read by the job's own identity.

Three ways, one result: files of this machine, and those that are brought ahead (`stage`), are TensorFlow's own
`TFRecordDataset`; the rest is read by ranges. How files are spread, interleaved and read ahead is tf.data's machinery.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf  # type: ignore[import-untyped]  # none are published

from remit.model.errors import RemitError
from remit.tensorflow.files import File
from remit.tensorflow.frames import COMPRESSIONS
from remit.tensorflow.patience import Patience
from remit.tensorflow.reading import Reader
from remit.tensorflow.staging import Ahead

_BUFFER = 1024 * 1024  # bytes that TFRecordDataset reads at once from a local disk


def tfrecords(
    patterns: str | Iterable[str],
    *,
    credential: Any = None,
    shard: tuple[int, int] | None = None,
    interleave: int = 4,
    prefetch: int = tf.data.AUTOTUNE,
    stage: str | Path | None = None,
    compression: str = "",
    patience: float = 120.0,
) -> Any:
    """The records of every file that the patterns stand for: a `tf.data.Dataset` of scalar strings.

    `credential`: one of azure-core's, or an account's key, for Blob Storage; the job's own identity when absent.
    `shard`: `(index, count)`: every `count`-th file; where there are fewer files than shards, every `count`-th record
    of each, so that shards are of a size. `interleave`: files that are read at the same time, a record of each in turn.
    `prefetch`: records that are read ahead. `stage`: a folder, on whose disk up to twice `interleave` files are brought
    ahead whole and without a name, gone when they were read. `compression`: `""`, `GZIP` or `ZLIB`. `patience`: seconds
    without a byte after which reading is given up; before that, what was cut goes on where it was.

    Files are looked for at once: a role that lacks, or a pattern without files, raises `ReadFailed` here. What fails
    later comes out of the dataset as TensorFlow's error, with the same text.
    """
    _check(shard, interleave, compression)
    reader = Reader(credential, Patience(patience))
    files = reader.find(patterns)
    index, count = shard or (0, 1)
    by_record = len(files) < count
    mine = files if by_record else files[index::count]
    part = shard if by_record else None
    cycle = min(interleave, len(mine))
    if all(file.location.scheme == "file" for file in mine):
        found = _local(
            tf.data.Dataset.from_tensor_slices([str(file.location) for file in mine]), part, cycle, compression
        )
    elif stage is not None:
        found = _staged(Ahead(mine, Path(stage), reader), len(mine), part, cycle, compression)
    else:
        found = _ranged(mine, reader, part, cycle, compression)
    options = tf.data.Options()
    # Which files are whose has been said: TensorFlow would cut them up once more.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return found.with_options(options).prefetch(prefetch) if shard else found.prefetch(prefetch)


def _check(shard: tuple[int, int] | None, interleave: int, compression: str) -> None:
    if shard and not 0 <= shard[0] < shard[1]:
        raise RemitError(f"`shard={shard}` is not one of `count`", hint="`(index, count)`, counted from 0")
    if interleave < 1:
        raise RemitError("`interleave` is one file at least")
    if compression not in COMPRESSIONS:
        raise RemitError(f"`{compression}` is no compression of TFRecords", hint='`""`, `GZIP` or `ZLIB`')


def _part(records: Any, shard: tuple[int, int] | None) -> Any:
    return records.shard(shard[1], shard[0]) if shard else records


def _local(names: Any, shard: tuple[int, int] | None, cycle: int, compression: str) -> Any:
    def one(name: Any) -> Any:
        return _part(tf.data.TFRecordDataset(name, compression, _BUFFER), shard)

    return names.interleave(one, cycle_length=cycle, num_parallel_calls=cycle)


def _ranged(files: list[File], reader: Reader, shard: tuple[int, int] | None, cycle: int, compression: str) -> Any:
    def records(index: Any) -> Any:
        for each in reader.records(files[int(index)], compression):
            yield np.array(each, dtype=object)

    def one(index: Any) -> Any:
        signature = tf.TensorSpec([None], tf.string)
        vectors = tf.data.Dataset.from_generator(records, args=(index,), output_signature=signature)
        return _part(vectors.prefetch(1).unbatch(), shard)

    return tf.data.Dataset.range(len(files)).interleave(one, cycle_length=cycle, num_parallel_calls=cycle)


def _staged(ahead: Ahead, number: int, shard: tuple[int, int] | None, cycle: int, compression: str) -> Any:
    def fetch(each: Any, index: Any) -> Any:
        return np.array(ahead.fetch(int(each), int(index)).encode(), dtype=object)

    def release(each: Any, place: Any) -> Any:
        ahead.release(int(each), place.decode())
        return np.array(False)  # noqa: FBT003 - what the filter is told

    def iteration(each: Any) -> Any:
        def one(place: Any) -> Any:
            records = _part(tf.data.TFRecordDataset(place, compression, _BUFFER), shard)
            gone = tf.data.Dataset.from_tensors(place).filter(lambda found: _told(release, [each, found], tf.bool))
            return records.concatenate(gone)

        indices = tf.data.Dataset.range(number)
        places = indices.map(lambda index: _told(fetch, [each, index], tf.string), num_parallel_calls=cycle)
        return places.interleave(one, cycle_length=cycle, num_parallel_calls=cycle)

    # TensorFlow ends the generator with the iteration, wherever that was left
    passes = tf.data.Dataset.from_generator(ahead.passes, output_signature=tf.TensorSpec([], tf.int64))
    return passes.flat_map(iteration)


def _told(function: Any, values: list[Any], kind: Any) -> Any:
    """What a Python function gives for values, as a scalar."""
    return tf.ensure_shape(tf.numpy_function(function, values, kind), [])
