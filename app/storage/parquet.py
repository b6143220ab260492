"""The rows of a run as Parquet, for other programs. Row groups follow each other, so any number of rows fits."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pyarrow as pa

from app.storage.streams import stream_batches

_TOGETHER = 256
"""Batches to a row group."""


def write_parquet(stream: Path, schema: pa.Schema, path: Path, renamed: Callable[[str], str] | None = None) -> int:
    """All whole batches of an Arrow stream with the columns it has in common with `schema`; returns the number of rows.
    The file is there whole or not at all; none is made of a stream without a row. `renamed` changes its texts."""
    from pyarrow import parquet

    batches = stream_batches(stream, schema)
    first = list(islice(batches, _TOGETHER))
    if not first:
        return 0
    draft, rows = path.with_name(path.name + ".part"), 0
    with draft.open("wb") as file:
        with parquet.ParquetWriter(file, first[0].schema, compression="zstd") as writer:
            while first:
                group = pa.Table.from_batches(first)
                group = group if renamed is None else _renamed(group, renamed)
                writer.write_table(group)
                rows += group.num_rows
                first = list(islice(batches, _TOGETHER))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return rows


def _renamed(table: pa.Table, renamed: Callable[[str], str]) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table.column(place).combine_chunks().dictionary_encode()
            words = pa.array(
                [None if one is None else renamed(one) for one in column.dictionary.to_pylist()], pa.utf8()
            )
            table = table.set_column(place, field, words.take(column.indices))
    return table
