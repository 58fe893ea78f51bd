"""`remit.tensorflow`: what `tf.data` cannot reach by an identity: TFRecords in Blob Storage, and rows of a database.

Records come as an ordinary `tf.data.Dataset`; to shuffle, batch, map and repeat is tf.data's own part. Left out:
writing. Each module names its sources.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remit.tensorflow.database import rows as rows
    from remit.tensorflow.datasets import tfrecords as tfrecords
    from remit.tensorflow.staging import stage as stage

__all__ = ["rows", "stage", "tfrecords"]
_LAZY = {"rows": "database", "stage": "staging", "tfrecords": "datasets"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        message = f"module `{__name__}` has no attribute `{name}`"
        raise AttributeError(message)
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
