from pathlib import Path

import pyarrow as pa
import pytest

from app.storage.streams import StreamWriter, read_stream

SCHEMA = pa.schema([("n", pa.int64())])


def batch(start: int, rows: int = 10) -> pa.RecordBatch:
    return pa.record_batch([pa.array(range(start, start + rows))], schema=SCHEMA)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "rows.arrow"
    with StreamWriter(path, SCHEMA) as writer:
        for start in range(0, 50, 10):
            writer.append(batch(start))
    return path


def test_all_batches_come_back_in_order(written: Path) -> None:
    assert read_stream(written, SCHEMA)["n"].to_pylist() == list(range(50))


def test_batches_can_be_read_while_the_writer_is_open(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    with StreamWriter(path, SCHEMA) as writer:
        writer.append(batch(0))
        assert read_stream(path, SCHEMA).num_rows == 10


def test_a_stream_cut_at_any_byte_gives_its_whole_batches(written: Path, tmp_path: Path) -> None:
    content = written.read_bytes()
    cut = tmp_path / "cut.arrow"
    seen = set()
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        numbers = read_stream(cut, SCHEMA)["n"].to_pylist()
        assert numbers == list(range(len(numbers)))
        assert len(numbers) % 10 == 0
        seen.add(len(numbers))
    assert seen == {0, 10, 20, 30, 40, 50}
