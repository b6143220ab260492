import errno
from pathlib import Path

import pyarrow as pa
import pytest

from app.errors import UsageError
from app.storage.streams import StreamWriter, WholeFile, read_stream
from tests.fakes.disk import largest_file

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


@pytest.mark.parametrize("foreign", [pa.schema([("x", pa.int64())]), pa.schema([("n", pa.utf8())]), pa.schema([])])
def test_a_foreign_file_is_refused(foreign: pa.Schema, tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    StreamWriter(path, foreign).close()
    with pytest.raises(UsageError, match="no one column n of type int64"):
        read_stream(path, SCHEMA)


def test_a_column_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    StreamWriter(path, pa.schema([*SCHEMA, *SCHEMA])).close()
    with pytest.raises(UsageError, match="no one column n"):
        read_stream(path, SCHEMA)


def test_columns_may_be_more_and_in_another_order(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    schema = pa.schema([("extra", pa.utf8()), *SCHEMA])
    with StreamWriter(path, schema) as writer:
        writer.append(pa.RecordBatch.from_pylist([{"extra": "x", "n": 3}], schema=schema))
    assert read_stream(path, SCHEMA).to_pylist() == [{"n": 3}]


def test_what_an_older_file_lacks_is_null(written: Path) -> None:
    schema = pa.schema([("right", pa.int32()), *SCHEMA])
    table = read_stream(written, schema, added_later=("right",))
    assert table.schema == schema
    assert table["right"].null_count == 50
    assert table["n"].to_pylist() == list(range(50))
    with pytest.raises(UsageError, match="right"):
        read_stream(written, schema)


def test_a_file_that_may_not_grow_is_told_in_full(tmp_path: Path) -> None:
    with WholeFile(tmp_path / "file") as file, largest_file(100):
        assert file.write(b"x" * 90) == 90
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number says it
            file.write(b"x" * 90)
    assert caught.value.errno == errno.EFBIG


def test_rows_that_do_not_fit_are_told(tmp_path: Path) -> None:
    writer = StreamWriter(tmp_path / "rows.arrow", SCHEMA)
    with largest_file(1_000):
        with pytest.raises(OSError, match="too large"):
            writer.append(batch(0, rows=1_000))
        with pytest.raises(OSError, match="too large"):
            writer.close()
    writer.close()


def test_columns_that_nobody_asks_for_are_left_out(tmp_path: Path) -> None:
    path, schema = tmp_path / "rows.arrow", pa.schema([*SCHEMA, ("much", pa.utf8())], {"version": "1"})
    with StreamWriter(path, schema) as writer:
        writer.append(pa.RecordBatch.from_pylist([{"n": 3, "much": "x"}], schema=schema))
    table = read_stream(path, schema, without=("much",))
    assert table.to_pylist() == [{"n": 3}]
    assert table.schema.metadata == {b"version": b"1"}


def test_a_span_is_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    ends = []
    with StreamWriter(path, SCHEMA) as writer:
        for start in range(0, 50, 10):
            writer.append(batch(start))
            ends.append(writer.size)
        assert ends[-1] == path.stat().st_size
        assert read_stream(path, SCHEMA, span=(ends[0], ends[2]))["n"].to_pylist() == list(range(10, 30))
        assert read_stream(path, SCHEMA, span=(ends[-1], ends[-1])).num_rows == 0


def test_many_batches_come_back_as_few_pieces_whatever_is_null_in_them(tmp_path: Path) -> None:
    path, schema = tmp_path / "rows.arrow", pa.schema([("n", pa.int64()), ("word", pa.utf8())])
    words = [None] * 600 + ["a"] + [None] * 99
    with StreamWriter(path, schema) as writer:
        for number, word in enumerate(words):
            writer.append(pa.RecordBatch.from_pylist([{"n": number, "word": word}], schema=schema))
    table = read_stream(path, schema)
    assert table["n"].to_pylist() == list(range(700))
    assert table["word"].to_pylist() == words
    assert table["n"].num_chunks == 3


def test_what_is_all_null_takes_no_memory_of_its_own(tmp_path: Path) -> None:
    path, schema = tmp_path / "rows.arrow", pa.schema([(name, pa.int64()) for name in "nabcdefg"])
    with StreamWriter(path, schema) as writer:
        for _ in range(512):
            writer.append(pa.RecordBatch.from_pylist([{"n": 1}] * 100, schema=schema))
    before = pa.total_allocated_bytes()
    table = read_stream(path, schema)
    taken = pa.total_allocated_bytes() - before
    assert table["g"].null_count == table.num_rows == 51_200
    assert taken < 2 * 51_200 * 8  # of eight columns
