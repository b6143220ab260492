import errno
import struct
from pathlib import Path

import pyarrow as pa
import pytest

from app.errors import DamagedFileError, UsageError
from app.storage import streams
from app.storage.streams import StreamWriter, is_truncated, read_stream, stream_batches
from app.storage.unbuffered_file import UnbufferedFile
from tests.fakes.disk import largest_file

SCHEMA = pa.schema([("n", pa.int64())])


def batch(start: int, rows: int = 10) -> pa.RecordBatch:
    return pa.record_batch([pa.array(range(start, start + rows))], schema=SCHEMA)


@pytest.fixture
def stream_path(tmp_path: Path) -> Path:
    path = tmp_path / "rows.arrow"
    with StreamWriter(path, SCHEMA) as writer:
        for start in range(0, 50, 10):
            writer.append(batch(start))
    return path


def test_batches_of_a_stream_are_read_in_order(stream_path: Path) -> None:
    assert read_stream(stream_path, SCHEMA)["n"].to_pylist() == list(range(50))


def test_batches_of_a_stream_are_readable_while_the_writer_is_open(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    with StreamWriter(path, SCHEMA) as writer:
        writer.append(batch(0))
        assert read_stream(path, SCHEMA).num_rows == 10


def test_stream_truncated_at_any_byte_has_its_complete_batches(stream_path: Path, tmp_path: Path) -> None:
    content = stream_path.read_bytes()
    cut = tmp_path / "cut.arrow"
    row_counts = set()
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        numbers = read_stream(cut, SCHEMA)["n"].to_pylist()
        assert numbers == list(range(len(numbers)))
        assert len(numbers) % 10 == 0
        row_counts.add(len(numbers))
    assert row_counts == {0, 10, 20, 30, 40, 50}


@pytest.mark.parametrize("foreign", [pa.schema([("x", pa.int64())]), pa.schema([("n", pa.utf8())]), pa.schema([])])
def test_stream_with_another_schema_is_rejected(foreign: pa.Schema, tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    StreamWriter(path, foreign).close()
    with pytest.raises(UsageError, match="exactly one column n of type int64"):
        read_stream(path, SCHEMA)


def test_stream_with_a_duplicate_column_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    StreamWriter(path, pa.schema([*SCHEMA, *SCHEMA])).close()
    with pytest.raises(UsageError, match="exactly one column n"):
        read_stream(path, SCHEMA)


def test_stream_with_additional_and_reordered_columns_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    schema = pa.schema([("extra", pa.utf8()), *SCHEMA])
    with StreamWriter(path, schema) as writer:
        writer.append(pa.RecordBatch.from_pylist([{"extra": "x", "n": 3}], schema=schema))
    assert read_stream(path, SCHEMA).to_pylist() == [{"n": 3}]


def test_missing_optional_column_of_a_stream_is_null(stream_path: Path) -> None:
    schema = pa.schema([("correct_rows", pa.int32()), *SCHEMA])
    table = read_stream(stream_path, schema, optional_columns=("correct_rows",))
    assert table.schema == schema
    assert table["correct_rows"].null_count == 50
    assert table["n"].to_pylist() == list(range(50))
    with pytest.raises(UsageError, match="correct_rows"):
        read_stream(stream_path, schema)


def test_write_beyond_the_file_size_limit_raises_efbig(tmp_path: Path) -> None:
    with UnbufferedFile(tmp_path / "file") as file, largest_file(100):
        assert file.write(b"x" * 90) == 90
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number says it
            file.write(b"x" * 90)
    assert caught.value.errno == errno.EFBIG


def test_rows_beyond_the_file_size_limit_are_reported(tmp_path: Path) -> None:
    writer = StreamWriter(tmp_path / "rows.arrow", SCHEMA)
    with largest_file(1_000):
        with pytest.raises(OSError, match="too large"):
            writer.append(batch(0, rows=1_000))
        with pytest.raises(OSError, match="too large"):
            writer.close()
    writer.close()


def test_excluded_columns_of_a_stream_are_not_read(tmp_path: Path) -> None:
    path, schema = tmp_path / "rows.arrow", pa.schema([*SCHEMA, ("much", pa.utf8())], {"version": "1"})
    with StreamWriter(path, schema) as writer:
        writer.append(pa.RecordBatch.from_pylist([{"n": 3, "much": "x"}], schema=schema))
    table = read_stream(path, schema, excluded_columns=("much",))
    assert table.to_pylist() == [{"n": 3}]
    assert table.schema.metadata == {b"version": b"1"}


def test_span_of_a_stream_is_read_separately(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    ends = []
    with StreamWriter(path, SCHEMA) as writer:
        for start in range(0, 50, 10):
            writer.append(batch(start))
            ends.append(writer.size)
        assert ends[-1] == path.stat().st_size
        assert read_stream(path, SCHEMA, span=(ends[0], ends[2]))["n"].to_pylist() == list(range(10, 30))
        assert read_stream(path, SCHEMA, span=(ends[-1], ends[-1])).num_rows == 0


def test_many_batches_of_a_stream_are_combined_into_few_chunks(tmp_path: Path) -> None:
    path, schema = tmp_path / "rows.arrow", pa.schema([("n", pa.int64()), ("word", pa.utf8())])
    words = [None] * 600 + ["a"] + [None] * 99
    with StreamWriter(path, schema) as writer:
        for number, word in enumerate(words):
            writer.append(pa.RecordBatch.from_pylist([{"n": number, "word": word}], schema=schema))
    table = read_stream(path, schema)
    assert table["n"].to_pylist() == list(range(700))
    assert table["word"].to_pylist() == words
    assert table["n"].num_chunks == 3


def test_columns_of_a_stream_with_only_nulls_share_memory(tmp_path: Path) -> None:
    path, schema = tmp_path / "rows.arrow", pa.schema([(name, pa.int64()) for name in "nabcdefg"])
    with StreamWriter(path, schema) as writer:
        for _ in range(512):
            writer.append(pa.RecordBatch.from_pylist([{"n": 1}] * 100, schema=schema))
    before = pa.total_allocated_bytes()
    table = read_stream(path, schema)
    allocated_bytes = pa.total_allocated_bytes() - before
    assert table["g"].null_count == table.num_rows == 51_200
    assert allocated_bytes < 2 * 51_200 * 8  # the size of two of the eight columns


TEXTS = pa.schema([("word", pa.utf8())])


def texts(*words: str) -> pa.RecordBatch:
    return pa.record_batch([pa.array(words, pa.utf8())], schema=TEXTS)


def write_stream(path: Path, *batches: pa.RecordBatch) -> Path:
    with StreamWriter(path, batches[0].schema) as writer:
        for record_batch in batches:
            writer.append(record_batch)
    return path


_OFFSETS = struct.pack("<2i", 3, 6)
"""Offsets of the words "one" and "two", which occur only once in the stream."""


@pytest.mark.parametrize(
    ("original", "changed"),
    [(_OFFSETS, struct.pack("<2i", 3, 1 << 30)), (_OFFSETS, struct.pack("<2i", -3, 6)), (b"onetwo", b"on\xff\xfewo")],
    ids=["beyond the buffer", "backwards", "no UTF-8"],
)
def test_stream_values_that_could_crash_the_process_are_rejected(
    original: bytes, changed: bytes, tmp_path: Path
) -> None:
    path = write_stream(tmp_path / "rows.arrow", texts("good"), texts("one", "two"))
    content = path.read_bytes()
    assert content.count(original) == 1
    path.write_bytes(content.replace(original, changed))
    with pytest.raises(DamagedFileError, match=r"rows\.arrow is damaged"):
        read_stream(path, TEXTS)
    with pytest.raises(DamagedFileError):
        list(stream_batches(path, TEXTS))


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_batch_is_rejected_before_decompression(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    zeros = pa.record_batch([pa.array([0] * 500_000, pa.int64())], schema=SCHEMA)
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA, options=options) as stream:
        stream.write_batch(zeros)
    before = pa.total_allocated_bytes()
    with pytest.raises(DamagedFileError, match="compressed"):
        read_stream(path, SCHEMA)
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_number_of_rows_and_columns_of_a_stream_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = pa.schema([(f"n{number}", pa.int64()) for number in range(streams.MAX_COLUMNS + 1)])
    StreamWriter(tmp_path / "wide.arrow", wide).close()
    with pytest.raises(DamagedFileError, match="257 columns"):
        read_stream(tmp_path / "wide.arrow", SCHEMA)
    long = pa.schema([("n", pa.int8())])
    rows = pa.record_batch([pa.array(bytes(streams.MAX_BATCH_ROWS + 1), pa.int8())], schema=long)
    with pytest.raises(DamagedFileError, match="1,048,577 rows"):
        read_stream(write_stream(tmp_path / "long.arrow", rows), long)
    monkeypatch.setattr(streams, "MAX_ROWS", 25)
    with pytest.raises(UsageError, match="more than 25 rows"):
        read_stream(write_stream(tmp_path / "many.arrow", batch(0), batch(10), batch(20)), SCHEMA)


def test_end_marker_before_the_end_of_the_file_is_damage(stream_path: Path) -> None:
    content = bytearray(stream_path.read_bytes())
    second = content.index(b"\xff\xff\xff\xff", content.index(b"\xff\xff\xff\xff", 8) + 8)
    content[second + 4 : second + 8] = bytes(4)
    stream_path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="continues after the end of the stream"):
        read_stream(stream_path, SCHEMA)


def test_stream_without_its_end_marker_is_truncated(stream_path: Path) -> None:
    assert not is_truncated(stream_path)
    stream_path.write_bytes(stream_path.read_bytes()[:-1])
    assert is_truncated(stream_path)
