"""The rows of a run as Parquet, for other programs. Row groups follow each other, so any number of rows fits."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pyarrow as pa

from app.storage.streams import stream_batches

_TOGETHER = 256
"""Batches to a row group."""


def write_parquet(stream: Path, schema: pa.Schema, path: Path) -> int:
    """All whole batches of an Arrow stream with the columns it has in common with `schema`; returns the number of rows.
    The file is there whole or not at all; none is made of a stream without a row."""
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
                writer.write_table(group)
                rows += group.num_rows
                first = list(islice(batches, _TOGETHER))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return rows
