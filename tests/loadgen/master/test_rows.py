import random

import pyarrow as pa
import pytest

from loadgen.frames import rows_body, rows_of
from loadgen.master.clocks import SAME_CLOCK, ClockLine
from loadgen.master.rows import passed_rows
from loadgen.records import BATCH_ROWS, ERROR_CLASSES, REQUEST_SCHEMA
from tests.fakes.master import SHARE, STAGE, START_NS, batch

LINE = ClockLine(START_NS, 1_000, 1e-6)
TIMES = [field.name for field in REQUEST_SCHEMA if field.name.endswith("_ns") and field.type == pa.int64()]


def test_rows_that_are_right_already_pass_untouched() -> None:
    body = rows_body(batch())
    passed = passed_rows(body, STAGE, SHARE, SHARE, SAME_CLOCK)
    assert passed.body is body
    assert (passed.sent, passed.max_lag_ms) == (7, 0.9)


def test_rows_of_a_worker_whose_share_has_another_number_get_its_own_and_nothing_else() -> None:
    rows = batch()
    moved = rows_of(passed_rows(rows_body(rows), STAGE, SHARE, 3, SAME_CLOCK).body)
    assert moved.column("worker").to_pylist() == [3] * 10
    others = [name for name in REQUEST_SCHEMA.names if name != "worker"]
    assert moved.select(others).equals(rows.select(others))


def test_all_times_are_moved_by_the_line_and_nulls_stay() -> None:
    rows = batch()
    passed = passed_rows(rows_body(rows), STAGE, SHARE, SHARE, LINE)
    moved = rows_of(passed.body)
    moved.validate(full=True)
    assert passed.max_lag_ms == 0.9  # by its own clock
    for name in TIMES:
        expected = [None if at is None else LINE.master_ns(at) for at in rows.column(name).to_pylist()]
        assert moved.column(name).to_pylist() == expected
    assert moved.column("end_ns").null_count == 3
    assert moved.column("first_token_ns").null_count == 10
    chunks = [
        None if times is None else list(map(LINE.master_ns, times)) for times in rows.column("chunk_ns").to_pylist()
    ]
    assert moved.column("chunk_ns").to_pylist() == chunks
    untouched = [name for name in REQUEST_SCHEMA.names if name not in (*TIMES, "chunk_ns")]
    assert moved.select(untouched).equals(rows.select(untouched))


def test_rows_may_have_failed_and_their_tokens_been_counted() -> None:
    count = len(ERROR_CLASSES)
    errors, counted = pa.array(ERROR_CLASSES), pa.array(["server", "tokenizer", "chunks", *[None] * (count - 3)])
    body = rows_body(batch(count, error=errors, tokens_from=counted))
    assert passed_rows(body, STAGE, SHARE, SHARE, SAME_CLOCK).body is body


def test_rows_without_an_intended_time_have_no_lag() -> None:
    rows = batch(intended_ns=pa.nulls(10, pa.int64()))
    assert passed_rows(rows_body(rows), STAGE, SHARE, SHARE, LINE).max_lag_ms is None


def of_another_schema() -> bytes:
    return rows_body(pa.RecordBatch.from_arrays([pa.array([1, 2])], names=["a"]))


def with_bad_text() -> bytes:
    rows = batch(name=pa.array([b"\xff\xfe"] * 10, pa.binary()).view(pa.utf8()))
    return rows_body(rows)


def compressed(codec: str) -> bytes:
    """Some kilobytes could be gigabytes of it."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, REQUEST_SCHEMA, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(batch())
    messages = pa.ipc.MessageReader.open_stream(stream.getvalue())
    messages.read_next_message()  # the schema
    body: bytes = messages.read_next_message().serialize().to_pybytes()
    assert rows_of(body).equals(batch())
    return body


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no batch"),
        (b"garbage" * 100, "no batch"),
        (rows_body(batch())[:-200], "no batch"),
        (of_another_schema(), "no batch"),
        (with_bad_text(), "no batch"),
        (compressed("zstd"), "compressed"),
        (compressed("lz4"), "compressed"),
        (compressed("zstd")[4:], "compressed"),  # as before Arrow 0.15, and still read
        (rows_body(batch(error=pa.array(["\x1b[31mred", *[None] * 9]))), "another error"),
        (rows_body(batch(tokens_from=pa.array(["hearsay", *[None] * 9]))), "another tokens_from"),
        (rows_body(batch(BATCH_ROWS + 1)), "501 rows"),
        (rows_body(batch(0)), "0 rows"),
        (rows_body(batch(stage=pa.array([STAGE + 1] * 10, pa.int32()))), "another stage"),
        (rows_body(batch(worker=pa.array([SHARE] * 9 + [0], pa.int16()))), "another worker"),
        (rows_body(batch(worker=pa.nulls(10, pa.int16()))), "another worker"),
    ],
)
def test_what_is_not_a_batch_of_the_stage_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        passed_rows(body, STAGE, SHARE, SHARE, LINE)


def test_bytes_changed_at_random_are_refused_or_passed_on_and_never_worse() -> None:
    body, rng, refused = rows_body(batch(40)), random.Random(3), 0
    for _ in range(2_000):
        changed = bytearray(body)
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            rows_of(passed_rows(bytes(changed), STAGE, SHARE, 2, LINE).body).validate(full=True)
        except ValueError:
            refused += 1
    assert 200 < refused < 2_000
