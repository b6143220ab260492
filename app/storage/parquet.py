"""Export the rows of a run as Parquet, for use in other programs.

Rows are written in groups, so that the number of rows is not limited by memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute

from app.storage.streams import stream_batches

_BATCHES_PER_GROUP = 256
"""Number of batches per row group."""


def write_parquet(
    stream: Path,
    schema: pa.Schema,
    path: Path,
    replace_text: Callable[[str], str] | None = None,
    *,
    class_names: Sequence[str] = (),
) -> int:
    """Write all complete batches of an Arrow stream to a Parquet file, and return the number of
    rows.

    The file contains the columns that the stream and `schema` have in common, with `replace_text`
    applied to every string value. With `class_names`, the column `class` contains names instead of
    their numbers. The file is written completely or not at all; no file is written for a stream
    without rows.
    """
    from pyarrow import parquet

    batches = stream_batches(stream, schema)
    group_batches = list(islice(batches, _BATCHES_PER_GROUP))
    if not group_batches:
        return 0
    temporary_path, row_count = path.with_name(path.name + ".part"), 0
    with temporary_path.open("wb") as file:
        file_schema = _name_classes(group_batches[0].schema.empty_table(), class_names).schema
        with parquet.ParquetWriter(file, file_schema, compression="zstd") as writer:
            while group_batches:
                row_group = _name_classes(pa.Table.from_batches(group_batches), class_names)
                row_group = row_group if replace_text is None else _replace_strings(row_group, replace_text)
                writer.write_table(row_group)
                row_count += row_group.num_rows
                group_batches = list(islice(batches, _BATCHES_PER_GROUP))
        file.flush()
        os.fsync(file.fileno())
    temporary_path.replace(path)
    return row_count


def _name_classes(table: pa.Table, class_names: Sequence[str]) -> pa.Table:
    index = table.schema.get_field_index("class")
    if not class_names or index < 0:
        return table
    numbers = table.column(index)
    is_named = pa.compute.is_in(numbers, value_set=pa.array(range(len(class_names)), pa.int16()))
    names = pa.array(class_names, pa.utf8()).take(pa.compute.if_else(is_named, numbers, None).combine_chunks())
    return table.set_column(index, pa.field("class", pa.utf8()), names)


def _replace_strings(table: pa.Table, replace_text: Callable[[str], str]) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table.column(index).combine_chunks().dictionary_encode()
            replaced_texts = pa.array(
                [None if text is None else replace_text(text) for text in column.dictionary.to_pylist()], pa.utf8()
            )
            table = table.set_column(index, field, replaced_texts.take(column.indices))
    return table
