"""A worker's clock simulated: ahead, drifting, seen through a network with jitter."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from loadgen.frames import decode_rows, encode_rows
from loadgen.master.rows import SAME_CLOCK, ClockModel, ClockOffset, WorkerClock, fit_clock_model, rebase_rows
from loadgen.records import BATCH_ROWS, ERROR_CLASSES, REQUEST_SCHEMA
from tests.fakes.master import SHARE, STAGE, START_NS, batch

UPTIME_NS = 400 * 86_400 * 10**9
"""More than floating point can count in nanoseconds."""
AHEAD_NS = 7 * 3_600 * 10**9
PING_NS = 250_000_000


def seen(
    for_s: float,
    *,
    drift: float = 0.0,
    jitter_ms: float = 0.3,
    slow_answers: float = 0.0,
    base_ms: float = 0.2,
    seed: int = 1,
) -> WorkerClock:
    """As after pings four times a second. Each way takes `base_ms` and an exponential jitter; a share of answers, and
    answers alone, takes 50 ms more."""
    rng = np.random.default_rng(seed)
    clock = WorkerClock()
    for sent_ns in range(UPTIME_NS, UPTIME_NS + round(for_s * 1e9), PING_NS):
        there_ns, back_ns = np.rint((base_ms + rng.exponential(jitter_ms, 2)) * 1e6).astype(int)
        if rng.random() < slow_answers:
            back_ns += 50_000_000
        at_ns = sent_ns + int(there_ns)
        clock.add(sent_ns, on_worker(at_ns, drift), at_ns + int(back_ns))
    return clock


def on_worker(master_ns: int, drift: float) -> int:
    return master_ns + AHEAD_NS + round((master_ns - UPTIME_NS) * drift)


@pytest.mark.parametrize("drift", [0.0, 40e-6, -40e-6, 300e-6])
@pytest.mark.parametrize("seed", range(5))
def test_after_a_minute_a_moment_is_moved_right_to_a_tenth_of_a_millisecond(drift: float, seed: int) -> None:
    line = seen(60, drift=drift, seed=seed).fit_model()
    later_ns = UPTIME_NS + 90 * 10**9  # where a stage of half a minute would end
    assert abs(line.to_master_ns(on_worker(later_ns, drift)) - later_ns) < 300_000
    now_ns = UPTIME_NS + 60 * 10**9
    assert abs(line.to_master_ns(on_worker(now_ns, drift)) - now_ns) < 100_000


@pytest.mark.parametrize("seed", range(5))
def test_after_a_second_no_slope_is_made_of_jitter(seed: int) -> None:
    """The crystals of two machines differ by some 50 ppm, which is 3 ms a minute; jitter of 0.3 ms over a second would
    say 300 ppm."""
    line = seen(1.2, jitter_ms=0.3, seed=seed).fit_model()
    assert abs(line.slope) < 60e-6
    now_ns = UPTIME_NS + 10**9
    assert abs(line.to_master_ns(on_worker(now_ns, 0.0)) - now_ns) < 300_000


def test_answers_that_are_held_up_on_one_way_have_no_say() -> None:
    """Half of them come 50 ms late: a mean of all would be off by a fourth of that."""
    clock = seen(60, drift=20e-6, slow_answers=0.5)
    now_ns = UPTIME_NS + 60 * 10**9
    assert abs(clock.fit_model().to_master_ns(on_worker(now_ns, 20e-6)) - now_ns) < 100_000
    assert clock.compute_residual_ms(clock.fit_model()) < 1


def test_one_window_without_a_quick_answer_bends_nothing() -> None:
    good = [ClockOffset(UPTIME_NS + s * 10**9, AHEAD_NS, 400_000) for s in range(0, 60, 10)]
    line = fit_clock_model((*good, ClockOffset(UPTIME_NS + 60 * 10**9, AHEAD_NS + 25_000_000, 50_400_000)))
    assert abs(line.slope) < 1e-8
    assert line.to_master_ns(UPTIME_NS) == pytest.approx(UPTIME_NS - AHEAD_NS, abs=1_000)


def test_of_the_first_second_and_each_ten_after_the_shortest_round_trip_is_kept() -> None:
    clock = WorkerClock()
    for tenth in range(315):
        sent_ns = UPTIME_NS + tenth * 100_000_000
        is_best = tenth % 50 == 7
        clock.add(sent_ns, sent_ns + 1, sent_ns + (100_000 if is_best else 900_000))
    assert [reading.round_trip_ns for reading in clock.offsets] == [100_000, 100_000, 100_000, 100_000, 900_000]
    assert [round((reading.at_ns - UPTIME_NS) / 1e8) for reading in clock.offsets] == [7, 57, 157, 257, 310]
    assert clock.round_trip_ns == 900_000


def test_no_clock_is_taken_to_run_wrong_by_more_than_clocks_do() -> None:
    line = fit_clock_model(
        tuple(ClockOffset(UPTIME_NS + s * 10**9, s * 10_000_000, 100_000) for s in range(0, 300, 10))
    )
    assert line.slope == 500e-6


def test_the_residual_says_how_far_the_clock_went_from_the_line_of_a_stage() -> None:
    clock = seen(11, base_ms=0.1, jitter_ms=0.001)
    line = clock.fit_model()
    assert clock.compute_residual_ms(line) == pytest.approx(0.1, abs=0.05)  # half a round trip
    for s in range(12, 32):
        sent_ns = UPTIME_NS + s * 10**9
        clock.add(sent_ns, on_worker(sent_ns, 0.0) + 5_000_000, sent_ns + 200_000)  # a jump of 5 ms
    assert clock.compute_residual_ms(line) == pytest.approx(5.1, abs=0.1)


@pytest.mark.parametrize("line", [SAME_CLOCK, ClockModel(UPTIME_NS, AHEAD_NS, 500e-6), ClockModel(5, -AHEAD_NS, -1e-5)])
def test_there_and_back_is_the_same_moment(line: ClockModel) -> None:
    for ns in (UPTIME_NS, UPTIME_NS + 3_600 * 10**9 + 1):
        assert abs(line.to_master_ns(line.to_worker_ns(ns)) - ns) <= 1
        (moved,) = line.to_master_times(np.array([line.to_worker_ns(ns)]))
        assert abs(int(moved) - ns) <= 1


def test_a_line_needs_a_reading() -> None:
    with pytest.raises(ValueError, match="offset of the worker's clock has not been measured"):
        WorkerClock().fit_model()


LINE = ClockModel(START_NS, 1_000, 1e-6)
TIMES = [field.name for field in REQUEST_SCHEMA if field.name.endswith("_ns") and field.type == pa.int64()]


def test_rows_that_are_right_already_pass_untouched() -> None:
    body = encode_rows(batch())
    passed = rebase_rows(body, STAGE, SHARE, SHARE, SAME_CLOCK)
    assert passed.body is body
    assert (passed.sent_count, passed.max_lag_ms) == (7, 0.9)


def test_rows_of_a_worker_whose_share_has_another_number_get_its_own_and_nothing_else() -> None:
    rows = batch()
    moved = decode_rows(rebase_rows(encode_rows(rows), STAGE, SHARE, 3, SAME_CLOCK).body)
    assert moved.column("worker").to_pylist() == [3] * 10
    others = [name for name in REQUEST_SCHEMA.names if name != "worker"]
    assert moved.select(others).equals(rows.select(others))


def test_all_times_are_moved_by_the_line_and_nulls_stay() -> None:
    rows = batch()
    passed = rebase_rows(encode_rows(rows), STAGE, SHARE, SHARE, LINE)
    moved = decode_rows(passed.body)
    moved.validate(full=True)
    assert passed.max_lag_ms == 0.9  # by its own clock
    for name in TIMES:
        expected = [None if at is None else LINE.to_master_ns(at) for at in rows.column(name).to_pylist()]
        assert moved.column(name).to_pylist() == expected
    assert moved.column("end_ns").null_count == 3
    assert moved.column("first_token_ns").null_count == 10
    chunks = [
        None if times is None else list(map(LINE.to_master_ns, times)) for times in rows.column("chunk_ns").to_pylist()
    ]
    assert moved.column("chunk_ns").to_pylist() == chunks
    untouched = [name for name in REQUEST_SCHEMA.names if name not in (*TIMES, "chunk_ns")]
    assert moved.select(untouched).equals(rows.select(untouched))


def test_rows_may_have_failed_and_their_tokens_been_counted() -> None:
    count = len(ERROR_CLASSES)
    errors, counted = pa.array(ERROR_CLASSES), pa.array(["server", "tokenizer", "chunks", *[None] * (count - 3)])
    body = encode_rows(batch(count, error=errors, token_source=counted))
    assert rebase_rows(body, STAGE, SHARE, SHARE, SAME_CLOCK).body is body


def test_rows_without_an_scheduled_time_have_no_lag() -> None:
    rows = batch(scheduled_ns=pa.nulls(10, pa.int64()))
    assert rebase_rows(encode_rows(rows), STAGE, SHARE, SHARE, LINE).max_lag_ms is None


def of_another_schema() -> bytes:
    return encode_rows(pa.RecordBatch.from_arrays([pa.array([1, 2])], names=["a"]))


def with_bad_text() -> bytes:
    rows = batch(name=pa.array([b"\xff\xfe"] * 10, pa.binary()).view(pa.utf8()))
    return encode_rows(rows)


def compressed(codec: str) -> bytes:
    """Some kilobytes could be gigabytes of it."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, REQUEST_SCHEMA, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(batch())
    messages = pa.ipc.MessageReader.open_stream(stream.getvalue())
    messages.read_next_message()  # the schema
    body: bytes = messages.read_next_message().serialize().to_pybytes()
    assert decode_rows(body).equals(batch())
    return body


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the data is too short for a batch of rows"),
        (b"garbage" * 100, "not an uncompressed batch of rows"),
        (encode_rows(batch())[:-200], "sent an invalid batch of rows"),
        (of_another_schema(), "sent an invalid batch of rows"),
        (with_bad_text(), "sent an invalid batch of rows"),
        (compressed("zstd"), "compressed"),
        (compressed("lz4"), "compressed"),
        (compressed("zstd")[4:], "compressed"),  # as before Arrow 0.15, and still read
        (encode_rows(batch(error=pa.array(["\x1b[31mred", *[None] * 9]))), "unknown value in the column error"),
        (
            encode_rows(batch(token_source=pa.array(["hearsay", *[None] * 9]))),
            "unknown value in the column token_source",
        ),
        (encode_rows(batch(BATCH_ROWS + 1)), "501 rows"),
        (encode_rows(batch(0)), "0 rows"),
        (encode_rows(batch(stage=pa.array([STAGE + 1] * 10, pa.int32()))), "different stage"),
        (encode_rows(batch(worker=pa.array([SHARE] * 9 + [0], pa.int16()))), "different worker"),
        (encode_rows(batch(worker=pa.nulls(10, pa.int16()))), "different worker"),
    ],
)
def test_what_is_not_a_batch_of_the_stage_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        rebase_rows(body, STAGE, SHARE, SHARE, LINE)


def test_bytes_changed_at_random_are_refused_or_passed_on_and_never_worse() -> None:
    body, rng, refused = encode_rows(batch(40)), random.Random(3), 0
    for _ in range(2_000):
        changed = bytearray(body)
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            decode_rows(rebase_rows(bytes(changed), STAGE, SHARE, 2, LINE).body).validate(full=True)
        except ValueError:
            refused += 1
    assert 200 < refused < 2_000
