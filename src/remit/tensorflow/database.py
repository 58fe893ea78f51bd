"""`rows`: the rows of a query as a `tf.data.Dataset`, a batch at a time, over a connection of the caller's making.

A connection is opened for each pass over the dataset, and `connect` gets a fresh token for it (`remit.database`); it is
read by a cursor of the server's where psycopg is used, so that a large answer never lies in memory whole. What is cut
on the way is not taken up again: rows have no place to go on from. Source: PEP 249; psycopg, "Server-side cursors".
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import tensorflow as tf  # type: ignore[import-untyped]  # none are published

from remit.model.errors import RemitError

_HINT = "convert it in the query, or declare `output_signature`"
# What a value of this kind becomes. A number with decimals of its own is a question for the query.
_KINDS: tuple[tuple[type, Any], ...] = (
    (bool, tf.bool),
    (int, tf.int64),
    (float, tf.float64),
    (str, tf.string),
    (bytes, tf.string),
    (memoryview, tf.string),
)


def rows(
    query: str,
    *,
    connect: Callable[[], Any],
    parameters: Sequence[Any] | Mapping[str, Any] = (),
    batch: int = 1024,
    output_signature: Mapping[str, Any] | None = None,
    prefetch: int = 2,
) -> Any:
    """A query's rows: a `tf.data.Dataset` of dictionaries, column → tensor of up to `batch` values.

    `connect`: opens a connection of psycopg's or of any other driver with PEP 249's interface; it is closed again
    without a commit. `parameters`: of the query, as the driver takes them. `output_signature`: column →
    `tf.TensorSpec([None], dtype)`; when absent, the first row says it, for which the query is begun once at once.
    `prefetch`: batches that are read ahead. Raises `RemitError` for columns that are no tensors; NULL is one of those.
    """
    if batch < 1:
        raise RemitError("`batch` is one row at least")
    source = _Rows(query, connect, (parameters,) if parameters else ())
    signature = dict(output_signature) if output_signature else source.derived()

    def batches() -> Iterator[dict[str, Any]]:
        for names, found in source.batches(batch):
            if set(names) != set(signature):
                raise RemitError(f"the query gives {sorted(names)}, declared are {sorted(signature)}")
            yield {
                name: _column(name, values, signature[name])
                for name, values in zip(names, zip(*found, strict=True), strict=True)
            }

    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(prefetch)


@dataclass(frozen=True, slots=True)
class _Rows:
    query: str
    connect: Callable[[], Any]
    parameters: tuple[Any, ...]

    def batches(self, size: int) -> Generator[tuple[list[str], Sequence[Sequence[Any]]], None, None]:
        """Column names and rows, until there are none."""
        with closing(self.connect()) as connection, closing(_cursor(connection)) as cursor:
            cursor.arraysize = size
            cursor.execute(self.query, *self.parameters)
            names = _names(cursor)
            while found := cursor.fetchmany(size):
                yield names, found

    def derived(self) -> dict[str, Any]:
        """What the first row says of the columns."""
        with closing(self.batches(1)) as once:
            first = next(once, None)
        if first is None:
            raise RemitError(
                "the query gives no rows, so that nothing says what its columns are", hint="declare `output_signature`"
            )
        names, found = first
        return {name: tf.TensorSpec([None], _kind(name, value)) for name, value in zip(names, found[0], strict=True)}


def _cursor(connection: Any) -> Any:
    """A server's cursor where the driver is psycopg."""
    if type(connection).__module__.partition(".")[0] == "psycopg" or hasattr(connection, "pgconn"):
        return connection.cursor(name="remit_rows")
    return connection.cursor()


def _names(cursor: Any) -> list[str]:
    names = [str(column[0]) for column in cursor.description or ()]
    if not names or len(set(names)) < len(names):
        raise RemitError(f"the query's columns are {names}: each needs a name of its own", hint="name them with `AS`")
    return names


def _kind(name: str, value: Any) -> Any:
    if value is None:
        raise RemitError(
            f"column `{name}` begins with NULL, which no tensor holds",
            hint="`coalesce` it, or declare `output_signature`",
        )
    for kind, found in _KINDS:
        if isinstance(value, kind):
            return found
    wrong = "numeric" if isinstance(value, Decimal) else type(value).__name__
    raise RemitError(f"column `{name}` is of type `{wrong}`, which no tensor holds as it is", hint=_HINT)


def _column(name: str, values: Sequence[Any], spec: Any) -> Any:
    if any(value is None for value in values):
        raise RemitError(f"column `{name}` has NULL, which no tensor holds", hint="`coalesce` it in the query")
    if spec.dtype == tf.string:
        if not all(isinstance(value, str | bytes | memoryview) for value in values):
            raise RemitError(f"column `{name}` has more than text and bytes", hint=_HINT)
        return np.array([bytes(each) if isinstance(each, memoryview) else each for each in values], dtype=object)
    if spec.dtype.is_bool and not all(isinstance(value, bool) or value in (0, 1) for value in values):
        raise RemitError(f"column `{name}` has more than yes and no", hint=_HINT)  # NumPy takes `"false"` for a yes
    if any(isinstance(value, str | bytes) for value in values):
        raise RemitError(f"column `{name}` has text", hint=_HINT)  # NumPy reads it
    if spec.dtype.is_integer and not all(isinstance(value, int) for value in values):
        raise RemitError(f"column `{name}` has more than whole numbers", hint=_HINT)  # NumPy would cut them off
    try:
        return np.array(values, dtype=spec.dtype.as_numpy_dtype)
    except (TypeError, ValueError, OverflowError) as cause:
        raise RemitError(f"column `{name}` does not fit `{spec.dtype.name}`", hint=_HINT) from cause
