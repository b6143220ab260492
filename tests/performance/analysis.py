"""How long a million request rows take to become a stage's numbers, plain and streamed. Budget: 10 M plain in 10 s."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from app.analysis.objectives import parse_objective
from app.analysis.stages import summarize_stage
from app.records.result import Stage
from tests.fakes.queues import build_stage_data, constant_s, request_rows

ROWS = 1_000_000
CHUNKS = 64
RATE_PER_S = 10_000.0


def main() -> None:
    arrivals = constant_s(RATE_PER_S, ROWS / RATE_PER_S)
    rows = request_rows(arrivals, np.random.default_rng(1).exponential(0.01, arrivals.size))
    stage_data = build_stage_data(RATE_PER_S, ROWS / RATE_PER_S, arrivals="constant")
    slo = (parse_objective("latency_ms.p95 < 50"),)
    _measure(f"{ROWS:,} plain rows", lambda: summarize_stage(rows, None, stage_data, slo))
    streams = _streams(rows["scheduled_ns"].to_numpy())
    token_slo = (parse_objective("ttft_ms.p99 < 500"),)
    _measure(f"{ROWS:,} streams of {CHUNKS} chunks", lambda: summarize_stage(streams, None, stage_data, token_slo))


def _measure(label: str, summarize: Callable[[], Stage]) -> None:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        summarize()
        seconds.append(time.perf_counter() - start)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{label}: first {seconds[0]:.2f} s, median {np.median(seconds):.2f} s of 5, process peak {peak_gib:.2f} GiB")


def _streams(scheduled_ns: np.ndarray) -> pa.Table:
    """Gaps of 15 to 25 ms, one token each."""
    gaps = np.random.default_rng(2).integers(15_000_000, 25_000_000, (ROWS, CHUNKS))
    gaps[:, 0] = 100_000_000
    times = np.cumsum(gaps, axis=1) + scheduled_ns[:, None]
    starts = pa.array(np.arange(0, ROWS * CHUNKS + 1, CHUNKS, dtype=np.int32))
    last = pa.array(times[:, -1])
    return pa.table(
        {
            **dict.fromkeys(("scheduled_ns", "sent_ns"), pa.array(scheduled_ns)),
            **dict.fromkeys(("first_byte_ns", "first_token_ns", "first_output_ns"), pa.array(times[:, 0])),
            **dict.fromkeys(("end_ns", "last_token_ns"), last),
            "error": pa.nulls(ROWS, pa.string()),
            "tokens_in": pa.array(np.full(ROWS, 100, dtype=np.int32)),
            "tokens_out": pa.array(np.full(ROWS, CHUNKS, dtype=np.int32)),
            "token_source": pa.array(["server"] * ROWS),
            "chunk_ns": pa.ListArray.from_arrays(starts, pa.array(times.ravel())),
            "chunk_tokens": pa.nulls(ROWS, pa.list_(pa.int32())),
        }
    )


if __name__ == "__main__":
    main()
