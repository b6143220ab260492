"""Export the rows of a run as Parquet, for use in other programs.

Rows are written in groups, so that the number of rows is not limited by memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pyarrow as pa

from app.storage.streams import stream_batches

_BATCHES_PER_GROUP = 256
"""Number of batches per row group."""


def write_parquet(stream: Path, schema: pa.Schema, path: Path, rename: Callable[[str], str] | None = None) -> int:
    """Write all complete batches of an Arrow stream to a Parquet file, and return the number of
    rows.

    The file contains the columns that the stream and `schema` have in common, with `rename` applied
    to every string value. The file is written completely or not at all; no file is written for a
    stream without rows.
    """
    from pyarrow import parquet

    batches = stream_batches(stream, schema)
    group_batches = list(islice(batches, _BATCHES_PER_GROUP))
    if not group_batches:
        return 0
    temporary_path, rows = path.with_name(path.name + ".part"), 0
    with temporary_path.open("wb") as file:
        with parquet.ParquetWriter(file, group_batches[0].schema, compression="zstd") as writer:
            while group_batches:
                group = pa.Table.from_batches(group_batches)
                group = group if rename is None else _rename_strings(group, rename)
                writer.write_table(group)
                rows += group.num_rows
                group_batches = list(islice(batches, _BATCHES_PER_GROUP))
        file.flush()
        os.fsync(file.fileno())
    temporary_path.replace(path)
    return rows


def _rename_strings(table: pa.Table, rename: Callable[[str], str]) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table.column(index).combine_chunks().dictionary_encode()
            texts = pa.array(
                [None if text is None else rename(text) for text in column.dictionary.to_pylist()], pa.utf8()
            )
            table = table.set_column(index, field, texts.take(column.indices))
    return table
