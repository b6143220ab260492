"""Simulated worker clocks that are ahead and drift, observed over a network with jitter."""

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
"""Too large for a float to represent single nanoseconds."""
AHEAD_NS = 7 * 3_600 * 10**9
PING_NS = 250_000_000


def simulate_worker_clock(
    for_s: float,
    *,
    drift: float = 0.0,
    jitter_ms: float = 0.3,
    slow_share: float = 0.0,
    base_ms: float = 0.2,
    seed: int = 1,
) -> WorkerClock:
    """Return a worker clock after pings four times per second.

    Each direction takes `base_ms` plus an exponential jitter; a share of the responses takes 50 ms more.
    """
    rng = np.random.default_rng(seed)
    clock = WorkerClock()
    for sent_ns in range(UPTIME_NS, UPTIME_NS + round(for_s * 1e9), PING_NS):
        there_ns, back_ns = np.rint((base_ms + rng.exponential(jitter_ms, 2)) * 1e6).astype(int)
        if rng.random() < slow_share:
            back_ns += 50_000_000
        at_ns = sent_ns + int(there_ns)
        clock.add(sent_ns, to_worker_time_ns(at_ns, drift), at_ns + int(back_ns))
    return clock


def to_worker_time_ns(master_ns: int, drift: float) -> int:
    return master_ns + AHEAD_NS + round((master_ns - UPTIME_NS) * drift)


@pytest.mark.parametrize("drift", [0.0, 40e-6, -40e-6, 300e-6])
@pytest.mark.parametrize("seed", range(5))
def test_clock_model_error_is_below_100_us_after_one_minute(drift: float, seed: int) -> None:
    model = simulate_worker_clock(60, drift=drift, seed=seed).fit_model()
    later_ns = UPTIME_NS + 90 * 10**9  # where a stage of half a minute would end
    assert abs(model.to_master_ns(to_worker_time_ns(later_ns, drift)) - later_ns) < 300_000
    now_ns = UPTIME_NS + 60 * 10**9
    assert abs(model.to_master_ns(to_worker_time_ns(now_ns, drift)) - now_ns) < 100_000


@pytest.mark.parametrize("seed", range(5))
def test_clock_model_ignores_jitter_after_one_second(seed: int) -> None:
    """Clocks of two machines differ by about 50 ppm, which is 3 ms per minute; jitter of 0.3 ms over one second would
    suggest 300 ppm."""
    model = simulate_worker_clock(1.2, jitter_ms=0.3, seed=seed).fit_model()
    assert abs(model.slope) < 60e-6
    now_ns = UPTIME_NS + 10**9
    assert abs(model.to_master_ns(to_worker_time_ns(now_ns, 0.0)) - now_ns) < 300_000


def test_responses_delayed_in_one_direction_do_not_bias_clock_model() -> None:
    """Half of the responses arrive 50 ms late: a mean of all would be off by a quarter of that."""
    clock = simulate_worker_clock(60, drift=20e-6, slow_share=0.5)
    now_ns = UPTIME_NS + 60 * 10**9
    assert abs(clock.fit_model().to_master_ns(to_worker_time_ns(now_ns, 20e-6)) - now_ns) < 100_000
    assert clock.compute_residual_ms(clock.fit_model()) < 1


def test_window_without_fast_response_does_not_bend_clock_model() -> None:
    offsets = [ClockOffset(UPTIME_NS + s * 10**9, AHEAD_NS, 400_000) for s in range(0, 60, 10)]
    model = fit_clock_model((*offsets, ClockOffset(UPTIME_NS + 60 * 10**9, AHEAD_NS + 25_000_000, 50_400_000)))
    assert abs(model.slope) < 1e-8
    assert model.to_master_ns(UPTIME_NS) == pytest.approx(UPTIME_NS - AHEAD_NS, abs=1_000)


def test_shortest_round_trip_of_first_second_and_of_each_10_s_is_stored() -> None:
    clock = WorkerClock()
    for tenth in range(315):
        sent_ns = UPTIME_NS + tenth * 100_000_000
        is_best = tenth % 50 == 7
        clock.add(sent_ns, sent_ns + 1, sent_ns + (100_000 if is_best else 900_000))
    assert [reading.round_trip_ns for reading in clock.offsets] == [100_000, 100_000, 100_000, 100_000, 900_000]
    assert [round((reading.at_ns - UPTIME_NS) / 1e8) for reading in clock.offsets] == [7, 57, 157, 257, 310]
    assert clock.round_trip_ns == 900_000


def test_clock_drift_is_capped_at_500_ppm() -> None:
    model = fit_clock_model(
        tuple(ClockOffset(UPTIME_NS + s * 10**9, s * 10_000_000, 100_000) for s in range(0, 300, 10))
    )
    assert model.slope == 500e-6


def test_clock_residual_is_deviation_from_model_of_stage() -> None:
    clock = simulate_worker_clock(11, base_ms=0.1, jitter_ms=0.001)
    model = clock.fit_model()
    assert clock.compute_residual_ms(model) == pytest.approx(0.1, abs=0.05)  # half a round trip
    for s in range(12, 32):
        sent_ns = UPTIME_NS + s * 10**9
        clock.add(sent_ns, to_worker_time_ns(sent_ns, 0.0) + 5_000_000, sent_ns + 200_000)  # a jump of 5 ms
    assert clock.compute_residual_ms(model) == pytest.approx(5.1, abs=0.1)


@pytest.mark.parametrize(
    "model", [SAME_CLOCK, ClockModel(UPTIME_NS, AHEAD_NS, 500e-6), ClockModel(5, -AHEAD_NS, -1e-5)]
)
def test_conversion_to_worker_clock_and_back_is_exact_to_1_ns(model: ClockModel) -> None:
    for ns in (UPTIME_NS, UPTIME_NS + 3_600 * 10**9 + 1):
        assert abs(model.to_master_ns(model.to_worker_ns(ns)) - ns) <= 1
        (moved,) = model.to_master_times(np.array([model.to_worker_ns(ns)]))
        assert abs(int(moved) - ns) <= 1


def test_clock_model_requires_measured_offset() -> None:
    with pytest.raises(ValueError, match="offset of the worker's clock has not been measured"):
        WorkerClock().fit_model()


MODEL = ClockModel(START_NS, 1_000, 1e-6)
TIMES = [field.name for field in REQUEST_SCHEMA if field.name.endswith("_ns") and field.type == pa.int64()]


def test_valid_rows_from_same_clock_pass_unchanged() -> None:
    body = encode_rows(batch())
    passed = rebase_rows(body, STAGE, SHARE, SHARE, SAME_CLOCK)
    assert passed.body is body
    assert (passed.sent_count, passed.max_lag_ms) == (7, 0.9)


def test_rows_get_worker_index_and_other_columns_are_unchanged() -> None:
    rows = batch()
    moved = decode_rows(rebase_rows(encode_rows(rows), STAGE, SHARE, 3, SAME_CLOCK).body)
    assert moved.column("worker").to_pylist() == [3] * 10
    others = [name for name in REQUEST_SCHEMA.names if name != "worker"]
    assert moved.select(others).equals(rows.select(others))


def test_times_of_rows_are_converted_to_master_clock_and_nulls_remain() -> None:
    rows = batch()
    passed = rebase_rows(encode_rows(rows), STAGE, SHARE, SHARE, MODEL)
    moved = decode_rows(passed.body)
    moved.validate(full=True)
    assert passed.max_lag_ms == 0.9  # by its own clock
    for name in TIMES:
        expected = [
            None if time_ns is None else MODEL.to_master_ns(time_ns) for time_ns in rows.column(name).to_pylist()
        ]
        assert moved.column(name).to_pylist() == expected
    assert moved.column("end_ns").null_count == 3
    assert moved.column("first_token_ns").null_count == 10
    chunks = [
        None if times is None else list(map(MODEL.to_master_ns, times)) for times in rows.column("chunk_ns").to_pylist()
    ]
    assert moved.column("chunk_ns").to_pylist() == chunks
    untouched = [name for name in REQUEST_SCHEMA.names if name not in (*TIMES, "chunk_ns")]
    assert moved.select(untouched).equals(rows.select(untouched))


def test_rows_with_errors_and_token_sources_pass_unchanged() -> None:
    count = len(ERROR_CLASSES)
    errors, counted = pa.array(ERROR_CLASSES), pa.array(["server", "tokenizer", "chunks", *[None] * (count - 3)])
    body = encode_rows(batch(count, error=errors, token_source=counted))
    assert rebase_rows(body, STAGE, SHARE, SHARE, SAME_CLOCK).body is body


def test_rows_without_scheduled_time_have_no_lag() -> None:
    rows = batch(scheduled_ns=pa.nulls(10, pa.int64()))
    assert rebase_rows(encode_rows(rows), STAGE, SHARE, SHARE, MODEL).max_lag_ms is None


def encode_rows_of_other_schema() -> bytes:
    return encode_rows(pa.RecordBatch.from_arrays([pa.array([1, 2])], names=["a"]))


def encode_rows_with_invalid_utf8() -> bytes:
    rows = batch(name=pa.array([b"\xff\xfe"] * 10, pa.binary()).view(pa.utf8()))
    return encode_rows(rows)


def encode_compressed_rows(codec: str) -> bytes:
    """Return compressed rows: a few kilobytes of them could expand to gigabytes."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, REQUEST_SCHEMA, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(batch())
    messages = pa.ipc.MessageReader.open_stream(stream.getvalue())
    messages.read_next_message()  # the schema
    body: bytes = messages.read_next_message().serialize().to_pybytes()
    assert decode_rows(body).equals(batch())
    return body


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the data is too short for a batch of rows"),
        (b"garbage" * 100, "not an uncompressed batch of rows"),
        (encode_rows(batch())[:-200], "sent an invalid batch of rows"),
        (encode_rows_of_other_schema(), "sent an invalid batch of rows"),
        (encode_rows_with_invalid_utf8(), "sent an invalid batch of rows"),
        (encode_compressed_rows("zstd"), "compressed"),
        (encode_compressed_rows("lz4"), "compressed"),
        (encode_compressed_rows("zstd")[4:], "compressed"),  # as before Arrow 0.15, and still read
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
def test_invalid_batch_of_rows_is_rejected(body: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        rebase_rows(body, STAGE, SHARE, SHARE, MODEL)


def test_randomly_corrupted_rows_raise_only_value_error() -> None:
    body, rng, rejected_count = encode_rows(batch(40)), random.Random(3), 0
    for _ in range(2_000):
        changed = bytearray(body)
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            decode_rows(rebase_rows(bytes(changed), STAGE, SHARE, 2, MODEL).body).validate(full=True)
        except ValueError:
            rejected_count += 1
    assert 200 < rejected_count < 2_000
