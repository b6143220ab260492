from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.errors import DamagedFileError
from app.storage.parquet import write_parquet
from app.storage.streams import StreamWriter

_SCHEMA = pa.schema([("stage", pa.int32()), ("end_ns", pa.int64()), ("error", pa.utf8())], metadata={"rows": "1"})


def _stream(path: Path, batches: int, schema: pa.Schema = _SCHEMA) -> pa.Table:
    columns = {
        "stage": pa.array(np.arange(10, dtype=np.int32)),
        "end_ns": pa.array(np.arange(10) * 10**15),
        "error": pa.array([None, "dns"] * 5),
    }
    batch = pa.record_batch([columns[name] for name in schema.names], schema=schema)
    with StreamWriter(path, schema) as writer:
        for _ in range(batches):
            writer.append(batch)
    return pa.Table.from_batches([batch] * batches, schema)


@pytest.mark.parametrize("batches", [1, 256, 300])
def test_parquet_file_has_all_rows_for_any_number_of_batches(batches: int, tmp_path: Path) -> None:
    expected = _stream(tmp_path / "rows.arrow", batches)
    assert write_parquet(tmp_path / "rows.arrow", _SCHEMA, tmp_path / "rows.parquet") == 10 * batches
    assert pq.read_table(tmp_path / "rows.parquet").equals(expected)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_parquet_files_of_the_same_rows_are_identical(tmp_path: Path) -> None:
    _stream(tmp_path / "rows.arrow", 3)
    for name in ("a", "b"):
        write_parquet(tmp_path / "rows.arrow", _SCHEMA, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_parquet_file_of_a_truncated_stream_has_its_complete_batches_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    _stream(path, 3, pa.schema(list(_SCHEMA)[:2]))
    path.write_bytes(path.read_bytes()[:-40])
    assert write_parquet(path, _SCHEMA, tmp_path / "rows.parquet") == 20
    assert pq.read_table(tmp_path / "rows.parquet").column_names == ["stage", "end_ns"]


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff"])
def test_no_parquet_file_is_written_for_an_empty_stream(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "broken.arrow").write_bytes(content)
    _stream(tmp_path / "empty.arrow", 0)
    for name in ("broken.arrow", "empty.arrow", "none.arrow"):
        assert write_parquet(tmp_path / name, _SCHEMA, tmp_path / "rows.parquet") == 0
    assert not (tmp_path / "rows.parquet").exists()


def test_invalid_stream_is_rejected_without_a_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "broken.arrow").write_bytes(b"no stream")
    with pytest.raises(DamagedFileError, match=r"broken\.arrow is damaged"):
        write_parquet(tmp_path / "broken.arrow", _SCHEMA, tmp_path / "rows.parquet")
    assert not (tmp_path / "rows.parquet").exists()


def test_class_numbers_become_names_or_null_in_parquet(tmp_path: Path) -> None:
    schema = pa.schema([("class", pa.int16())])
    with StreamWriter(tmp_path / "rows.arrow", schema) as writer:
        writer.append(pa.record_batch([pa.array([1, None, 0, 9, -2], pa.int16())], schema=schema))
    path = tmp_path / "rows.parquet"
    write_parquet(tmp_path / "rows.arrow", schema, path, str.upper, class_names=("chat", "batch"))
    assert pq.read_table(path)["class"].to_pylist() == ["BATCH", None, "CHAT", None, None]
    write_parquet(tmp_path / "rows.arrow", schema, path)
    assert pq.read_table(path)["class"].to_pylist() == [1, None, 0, 9, -2]
