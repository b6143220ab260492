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


def write_parquet(stream: Path, schema: pa.Schema, path: Path, replace_text: Callable[[str], str] | None = None) -> int:
    """Write all complete batches of an Arrow stream to a Parquet file, and return the number of
    rows.

    The file contains the columns that the stream and `schema` have in common, with `replace_text`
    applied to every string value. The file is written completely or not at all; no file is written
    for a stream without rows.
    """
    from pyarrow import parquet

    batches = stream_batches(stream, schema)
    group_batches = list(islice(batches, _BATCHES_PER_GROUP))
    if not group_batches:
        return 0
    temporary_path, row_count = path.with_name(path.name + ".part"), 0
    with temporary_path.open("wb") as file:
        with parquet.ParquetWriter(file, group_batches[0].schema, compression="zstd") as writer:
            while group_batches:
                row_group = pa.Table.from_batches(group_batches)
                row_group = row_group if replace_text is None else _replace_strings(row_group, replace_text)
                writer.write_table(row_group)
                row_count += row_group.num_rows
                group_batches = list(islice(batches, _BATCHES_PER_GROUP))
        file.flush()
        os.fsync(file.fileno())
    temporary_path.replace(path)
    return row_count


def _replace_strings(table: pa.Table, replace_text: Callable[[str], str]) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table.column(index).combine_chunks().dictionary_encode()
            replaced_texts = pa.array(
                [None if text is None else replace_text(text) for text in column.dictionary.to_pylist()], pa.utf8()
            )
            table = table.set_column(index, field, replaced_texts.take(column.indices))
    return table
